#include "verbs/survey.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "verbs/attributes.h"
#include "verbs/gid_table.h"

#define RXE_VENDOR 0xffffffu /* Linux, drivers/infiniband/sw/rxe/rxe_param.h: RXE_VENDOR_ID */
#define PROBE_BYTES 4096u

static enum ist_port_state state_of(enum ibv_port_state state) {
    switch (state) {
    case IBV_PORT_DOWN: return IST_PORT_DOWN;
    case IBV_PORT_INIT: return IST_PORT_INITIALISING;
    case IBV_PORT_ARMED: return IST_PORT_ARMED;
    case IBV_PORT_ACTIVE: return IST_PORT_ACTIVE;
    case IBV_PORT_NOP:
    case IBV_PORT_ACTIVE_DEFER: break;
    }
    return IST_PORT_OTHER;
}

static enum ist_device_link link_of(uint8_t layer) {
    return layer == IBV_LINK_LAYER_ETHERNET     ? IST_DEVICE_LINK_ETHERNET
           : layer == IBV_LINK_LAYER_INFINIBAND ? IST_DEVICE_LINK_INFINIBAND
                                                : IST_DEVICE_LINK_ANY;
}

static enum ist_status ask_port(const struct ist_survey *survey, struct ibv_context *context,
                                struct ist_survey_port *port) {
    struct ibv_port_attr attributes;
    struct ist_gid_entry entries[IST_GID_TABLE_MAX];
    port->error = ibv_query_port(context, (uint8_t)port->number, &attributes);
    if (port->error != 0) {
        return IST_OK;
    }
    port->state = state_of(attributes.state);
    port->link = link_of(attributes.link_layer);
    port->requires_grh = (attributes.flags & IBV_QPF_GRH_REQUIRED) != 0;
    port->lid = attributes.lid;
    port->mtu_bytes = ist_mtu_bytes(attributes.active_mtu);
    port->mtu_bytes_max = ist_mtu_bytes(attributes.max_mtu);
    size_t count = ist_gid_table_read(context, port->number, entries);
    if (count == 0) {
        return IST_OK;
    }
    port->gids = ist_allocate(survey->alloc, count * sizeof(entries[0]));
    if (port->gids == NULL) {
        return IST_NO_MEMORY;
    }
    memcpy(port->gids, entries, count * sizeof(entries[0]));
    port->gids_count = count;
    return IST_OK;
}

/* A descriptor that is none: who knows the call says so, who does not says that. */
static enum ist_survey_dmabuf probe_dmabuf(struct ibv_context *context) {
    struct ibv_pd *domain = ibv_alloc_pd(context);
    if (domain == NULL) {
        return IST_DMABUF_UNKNOWN;
    }
    struct ibv_mr *mr = ibv_reg_dmabuf_mr(domain, 0, PROBE_BYTES, 0, -1, IBV_ACCESS_LOCAL_WRITE);
    int error = errno;
    if (mr != NULL) {
        (void)ibv_dereg_mr(mr);
    }
    (void)ibv_dealloc_pd(domain);
    return mr != NULL || error == EBADF                                         ? IST_DMABUF_YES
           : error == EOPNOTSUPP || error == ENOSYS || error == EPROTONOSUPPORT ? IST_DMABUF_NO
                                                                                : IST_DMABUF_UNKNOWN;
}

static enum ist_status ask_device(const struct ist_survey *survey, struct ibv_device *found,
                                  struct ist_survey_device *device) {
    snprintf(device->name, sizeof(device->name), "%s", ibv_get_device_name(found));
    struct ibv_context *context = ibv_open_device(found);
    if (context == NULL) {
        device->error = errno;
        return IST_OK;
    }
    struct ibv_device_attr attributes;
    enum ist_status status = IST_OK;
    device->error = ibv_query_device(context, &attributes);
    if (device->error != 0) {
        goto close;
    }
    snprintf(device->firmware, sizeof(device->firmware), "%s", attributes.fw_ver);
    device->is_soft_roce = attributes.vendor_id == RXE_VENDOR;
    device->queue_pairs = ist_positive(attributes.max_qp);
    device->regions = ist_positive(attributes.max_mr);
    ist_device_read_limits(&attributes, &device->limits);
    device->dmabuf = probe_dmabuf(context);
    if (attributes.phys_port_cnt == 0) {
        goto close;
    }
    device->ports =
        ist_allocate_zeroed(survey->alloc, attributes.phys_port_cnt, sizeof(*device->ports));
    if (device->ports == NULL) {
        status = IST_NO_MEMORY;
        goto close;
    }
    device->ports_count = attributes.phys_port_cnt;
    for (size_t i = 0; i < device->ports_count && status == IST_OK; i++) {
        device->ports[i].number = (unsigned)i + 1;
        status = ask_port(survey, context, &device->ports[i]);
    }
close:
    (void)ibv_close_device(context);
    return status;
}

enum ist_status ist_survey_init(struct ist_survey *survey, const struct ist_alloc *alloc) {
    int count = 0;
    *survey = (struct ist_survey){.alloc = alloc};
    struct ibv_device **list = ibv_get_device_list(&count);
    if (list == NULL) {
        survey->error = errno;
        return IST_OK;
    }
    enum ist_status status = IST_OK;
    if (count > 0) {
        survey->devices = ist_allocate_zeroed(alloc, (size_t)count, sizeof(*survey->devices));
        status = survey->devices == NULL ? IST_NO_MEMORY : IST_OK;
    }
    for (int i = 0; i < count && status == IST_OK; i++) {
        status = ask_device(survey, list[i], &survey->devices[survey->devices_count++]);
    }
    ibv_free_device_list(list);
    return status;
}

void ist_survey_fini(struct ist_survey *survey) {
    for (size_t i = 0; i < survey->devices_count; i++) {
        struct ist_survey_device *device = &survey->devices[i];
        for (size_t k = 0; k < device->ports_count; k++) {
            ist_release(survey->alloc, device->ports[k].gids);
        }
        ist_release(survey->alloc, device->ports);
    }
    ist_release(survey->alloc, survey->devices);
    *survey = (struct ist_survey){.alloc = survey->alloc};
}
