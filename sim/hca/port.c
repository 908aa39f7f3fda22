/* Ports: state, addresses, partition keys; and the table of operations of a context. */
#include "sim/hca/objects.h"

#undef ibv_query_port

#define PKEY 0xffff /* the default partition, full member: IBTA 10.9 */

const struct ibv_context_ops hca_context_ops = {
    .poll_cq = hca_poll_cq,
    .req_notify_cq = hca_req_notify_cq,
    .post_srq_recv = hca_post_srq_recv,
    .post_send = hca_post_send,
    .post_recv = hca_post_recv,
};

struct hca_port *hca_port(struct ist_hca_device *device, uint32_t number) {
    return number >= 1 && number <= device->config.ports ? &device->port[number - 1] : NULL;
}

bool hca_gid_is_empty(const union ibv_gid *gid) {
    static const union ibv_gid none;
    return memcmp(gid, &none, sizeof(none)) == 0;
}

/* Locked; NULL, and unlocked with errno set, when the query fails. */
static struct hca_port *enter_query(struct ibv_context *context, uint32_t number,
                                    const char *function) {
    struct ist_hca *hca = hca_enter();
    struct hca_port *port = hca_port(hca_device(context), number);
    bool fails = hca_fails(hca, IST_HCA_CALL_QUERY, function) || hca_context_gone(context);
    if (!fails && port != NULL) {
        return port;
    }
    hca_leave();
    errno = fails ? EIO : EINVAL;
    return NULL;
}

int hca_query_port(struct ibv_context *context, uint8_t number, struct ibv_port_attr *attr,
                   size_t bytes) {
    const struct hca_port *port = enter_query(context, number, "ibv_query_port");
    if (port == NULL) {
        return errno;
    }
    const struct ist_hca_port_config *config = &port->config;
    const bool up = config->state == IBV_PORT_ACTIVE;
    const struct ibv_port_attr full = {
        .state = config->state,
        .max_mtu = config->max_mtu,
        .active_mtu = config->active_mtu,
        .gid_tbl_len = (int)config->gids,
        .port_cap_flags = IBV_PORT_CM_SUP,
        .max_msg_sz = config->max_msg_bytes,
        .pkey_tbl_len = 1,
        .lid = config->lid,
        .sm_lid = config->link_layer == IBV_LINK_LAYER_INFINIBAND ? 1 : 0,
        .max_vl_num = 1,
        .subnet_timeout = 18,
        .active_width = 2,        /* 4 lanes */
        .active_speed = 32,       /* of 25 Gb/s: IBTA 14.2.5, PortInfo */
        .phys_state = up ? 5 : 3, /* LinkUp, Disabled: the same */
        .link_layer = config->link_layer,
        .flags = config->grh_required ? IBV_QPF_GRH_REQUIRED : 0,
    };
    memset(attr, 0, bytes);
    memcpy(attr, &full, bytes < sizeof(full) ? bytes : sizeof(full));
    hca_leave();
    return 0;
}

/* Programs that were compiled before the port attributes grew; ours are not. */
int ibv_query_port(struct ibv_context *context, uint8_t number, struct _compat_ibv_port_attr *attr) {
    (void)context;
    (void)number;
    (void)attr;
    hca_violation("ibv_query_port: the old one is not provided");
}

int ibv_query_gid(struct ibv_context *context, uint8_t number, int index, union ibv_gid *gid) {
    const struct hca_port *port = enter_query(context, number, __func__);
    if (port == NULL) {
        return -1;
    }
    bool found = index >= 0 && (uint32_t)index < port->config.gids;
    if (found) {
        *gid = port->config.gid[index].gid; /* all zero when empty, as sysfs has it */
    }
    hca_leave();
    if (!found) {
        errno = EINVAL;
        return -1;
    }
    return 0;
}

static struct ibv_gid_entry entry_of(const struct hca_port *port, uint32_t number, uint32_t index) {
    const struct ist_hca_gid *gid = &port->config.gid[index];
    return (struct ibv_gid_entry){.gid = gid->gid,
                                  .gid_index = index,
                                  .port_num = number,
                                  .gid_type = gid->type,
                                  .ndev_ifindex = gid->ifindex};
}

int _ibv_query_gid_ex(struct ibv_context *context, uint32_t number, uint32_t index,
                      struct ibv_gid_entry *entry, uint32_t flags, size_t bytes) {
    const struct hca_port *port = enter_query(context, number, "ibv_query_gid_ex");
    if (port == NULL) {
        return errno;
    }
    int error = 0;
    if (index >= port->config.gids || flags != 0) {
        error = EINVAL;
    } else if (hca_gid_is_empty(&port->config.gid[index].gid)) {
        error = ENODATA; /* man query_gid_ex */
    } else {
        struct ibv_gid_entry full = entry_of(port, number, index);
        memset(entry, 0, bytes);
        memcpy(entry, &full, bytes < sizeof(full) ? bytes : sizeof(full));
    }
    hca_leave();
    return error;
}

ssize_t _ibv_query_gid_table(struct ibv_context *context, struct ibv_gid_entry *entries, size_t room,
                             uint32_t flags, size_t bytes) {
    if (enter_query(context, 1, "ibv_query_gid_table") == NULL) {
        return -errno;
    }
    ssize_t found = 0;
    struct ist_hca_device *device = hca_device(context);
    for (uint32_t number = 1; number <= device->config.ports; number++) {
        const struct hca_port *port = hca_port(device, number);
        for (uint32_t i = 0; i < port->config.gids; i++) {
            if (hca_gid_is_empty(&port->config.gid[i].gid)) {
                continue;
            }
            if (found >= 0 && (size_t)found < room) {
                struct ibv_gid_entry full = entry_of(port, number, i);
                memcpy((uint8_t *)entries + (size_t)found * bytes, &full, bytes);
                found++;
            } else {
                found = -EINVAL; /* as the kernel answers when the table is longer than the room */
            }
        }
    }
    hca_leave();
    return flags != 0 || bytes != sizeof(struct ibv_gid_entry) ? -EINVAL : found;
}

int ibv_query_pkey(struct ibv_context *context, uint8_t number, int index, __be16 *pkey) {
    if (enter_query(context, number, __func__) == NULL) {
        return -1;
    }
    hca_leave();
    if (index != 0) {
        errno = EINVAL;
        return -1;
    }
    *pkey = PKEY; /* the same in both byte orders */
    return 0;
}

int ibv_get_pkey_index(struct ibv_context *context, uint8_t number, __be16 pkey) {
    if (enter_query(context, number, __func__) == NULL) {
        return -1;
    }
    hca_leave();
    if (pkey != PKEY) {
        errno = EINVAL;
        return -1;
    }
    return 0;
}
