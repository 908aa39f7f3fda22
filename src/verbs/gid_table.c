#include "verbs/gid_table.h"

#include <net/if.h>
#include <string.h>

#include <infiniband/verbs.h>

static enum ist_gid_type type_of(uint32_t type) {
    return type == IBV_GID_TYPE_ROCE_V2   ? IST_GID_ROCE_V2
           : type == IBV_GID_TYPE_ROCE_V1 ? IST_GID_ROCE_V1
                                          : IST_GID_INFINIBAND;
}

static bool interface_is_here(uint32_t index) {
    char name[IF_NAMESIZE];
    return index == 0 || if_indextoname(index, name) != NULL;
}

static struct ist_gid_entry entry_of(const struct ibv_gid_entry *found) {
    struct ist_gid_entry entry = {.index = found->gid_index,
                                  .type = type_of(found->gid_type),
                                  .interface = found->ndev_ifindex,
                                  .is_here = interface_is_here(found->ndev_ifindex)};
    memcpy(entry.gid, found->gid.raw, IST_GID_LENGTH);
    return entry;
}

/* One by one: for devices whose ports together have more than one call takes. */
static size_t read_slowly(struct ibv_context *context, unsigned port, struct ist_gid_entry *entries) {
    struct ibv_port_attr attributes;
    size_t count = 0;
    if (ibv_query_port(context, (uint8_t)port, &attributes) != 0) {
        return 0;
    }
    for (int i = 0; i < attributes.gid_tbl_len && count < IST_GID_TABLE_MAX; i++) {
        struct ibv_gid_entry found;
        if (ibv_query_gid_ex(context, port, (uint32_t)i, &found, 0) == 0) {
            entries[count++] = entry_of(&found);
        }
    }
    return count;
}

size_t ist_gid_table_read(struct ibv_context *context, unsigned port,
                          struct ist_gid_entry entries[IST_GID_TABLE_MAX]) {
    struct ibv_gid_entry all[IST_GID_TABLE_MAX];
    ssize_t found = ibv_query_gid_table(context, all, IST_GID_TABLE_MAX, 0);
    size_t count = 0;
    if (found < 0) {
        return read_slowly(context, port, entries);
    }
    for (ssize_t i = 0; i < found; i++) {
        if (all[i].port_num == port) {
            entries[count++] = entry_of(&all[i]);
        }
    }
    return count;
}
