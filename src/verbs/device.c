#include "verbs/device.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "verbs/attributes.h"
#include "verbs/gid_table.h"

struct ist_device {
    struct ist_device_config config;
    struct ibv_context *context;
    struct ibv_pd *domain;
    unsigned port;
    bool infiniband, requires_grh;
    struct ist_device_limits limits;
};

/* ---- opening ---------------------------------------------------------------------------------------- */

static bool link_is(enum ist_device_link wanted, uint8_t layer) {
    switch (wanted) {
    case IST_DEVICE_LINK_ANY: return true;
    case IST_DEVICE_LINK_ETHERNET: return layer == IBV_LINK_LAYER_ETHERNET;
    case IST_DEVICE_LINK_INFINIBAND: return layer == IBV_LINK_LAYER_INFINIBAND;
    }
    return false;
}

/* The port to use of an open device: the configured one, or the first active one of the wanted link. */
static bool find_port(struct ist_device *device, unsigned ports, char *why, size_t why_bytes) {
    const char *name = ist_device_name(device);
    unsigned first = device->config.port == 0 ? 1 : device->config.port;
    unsigned last = device->config.port == 0 ? ports : device->config.port;
    snprintf(why, why_bytes, "%s has no port %u", name, first);
    for (unsigned port = first; port <= last && port <= ports; port++) {
        struct ibv_port_attr attributes;
        int error = ibv_query_port(device->context, (uint8_t)port, &attributes);
        if (error != 0) {
            snprintf(why, why_bytes, "%s port %u cannot be asked: %s", name, port, strerror(error));
        } else if (attributes.state != IBV_PORT_ACTIVE) {
            snprintf(why, why_bytes, "%s port %u is not active", name, port);
        } else if (!link_is(device->config.link, attributes.link_layer)) {
            snprintf(why, why_bytes, "%s port %u is not of the wanted link type", name, port);
        } else {
            device->port = port;
            device->infiniband = attributes.link_layer == IBV_LINK_LAYER_INFINIBAND;
            device->requires_grh = (attributes.flags & IBV_QPF_GRH_REQUIRED) != 0;
            return true;
        }
    }
    return false;
}

void ist_device_read_limits(const struct ibv_device_attr *attributes,
                            struct ist_device_limits *limits) {
    limits->queue_pair_wr = ist_positive(attributes->max_qp_wr);
    limits->sge = ist_positive(attributes->max_sge);
    limits->cqe = ist_positive(attributes->max_cqe);
    limits->srq_wr = ist_positive(attributes->max_srq_wr);
    limits->reads_out = ist_positive(attributes->max_qp_init_rd_atom);
    limits->reads_in = ist_positive(attributes->max_qp_rd_atom);
    limits->registration_bytes = attributes->max_mr_size;
}

static bool choose_gid(const struct ist_device *device, const uint8_t *peer,
                       struct ist_gid_entry *gid) {
    struct ist_gid_entry entries[IST_GID_TABLE_MAX];
    uint8_t source[IST_GID_LENGTH];
    size_t count = ist_gid_table_read(device->context, device->port, entries);
    bool has_source = peer != NULL && !device->infiniband && ist_gid_source(peer, source);
    const struct ist_gid_entry *best =
        ist_gid_choose(entries, count, has_source ? source : NULL, device->config.hint_gid_index);
    if (best != NULL) {
        *gid = *best;
    }
    return best != NULL;
}

/* Nothing of it is open when this fails. */
static bool open_device(struct ist_device *device, struct ibv_device *found, char *why,
                        size_t why_bytes) {
    const char *name = ibv_get_device_name(found);
    device->context = ibv_open_device(found);
    if (device->context == NULL) {
        snprintf(why, why_bytes, "%s cannot be opened: %s", name, strerror(errno));
        return false;
    }
    struct ibv_device_attr attributes;
    int error = ibv_query_device(device->context, &attributes);
    if (error != 0) {
        snprintf(why, why_bytes, "%s cannot be asked: %s", name, strerror(error));
        goto no_device;
    }
    if (!find_port(device, attributes.phys_port_cnt, why, why_bytes)) {
        goto no_device;
    }
    ist_device_read_limits(&attributes, &device->limits);
    struct ist_gid_entry gid;
    if (!choose_gid(device, NULL, &gid)) {
        snprintf(why, why_bytes, "%s port %u has no usable GID", name, device->port);
        goto no_device;
    }
    int flags = fcntl(device->context->async_fd, F_GETFL);
    if (flags < 0 || fcntl(device->context->async_fd, F_SETFL, flags | O_NONBLOCK) != 0) {
        snprintf(why, why_bytes, "%s: its events cannot be watched: %s", name, strerror(errno));
        goto no_device;
    }
    device->domain = ibv_alloc_pd(device->context);
    if (device->domain == NULL) {
        snprintf(why, why_bytes, "%s gives no protection domain: %s", name, strerror(errno));
        goto no_device;
    }
    return true;

no_device:
    ibv_close_device(device->context);
    return false;
}

enum ist_status ist_device_open(const struct ist_device_config *config, struct ist_device **device,
                                char *why, size_t why_bytes) {
    int count = 0;
    struct ibv_device **list = ibv_get_device_list(&count);
    if (list == NULL) {
        snprintf(why, why_bytes, "RDMA devices cannot be listed: %s",
                 errno == ENOSYS ? "the kernel has no RDMA" : strerror(errno));
        return IST_DEVICE;
    }
    struct ist_device *new = ist_allocate_zeroed(config->alloc, 1, sizeof(*new));
    enum ist_status status = new == NULL ? IST_NO_MEMORY : IST_DEVICE;
    snprintf(why, why_bytes, config->name == NULL ? "no RDMA device" : "no RDMA device %s",
             config->name);
    for (int i = 0; i < count && status == IST_DEVICE; i++) {
        if (config->name != NULL && strcmp(config->name, ibv_get_device_name(list[i])) != 0) {
            continue;
        }
        *new = (struct ist_device){.config = *config};
        if (open_device(new, list[i], why, why_bytes)) {
            status = IST_OK;
        }
    }
    ibv_free_device_list(list);
    if (status != IST_OK) {
        ist_release(config->alloc, new);
        return status;
    }
    *device = new;
    return IST_OK;
}

void ist_device_close(struct ist_device *device) {
    if (device == NULL) {
        return;
    }
    /* These fail when the device is gone. */
    (void)ibv_dealloc_pd(device->domain);
    (void)ibv_close_device(device->context);
    ist_release(device->config.alloc, device);
}

const char *ist_device_name(const struct ist_device *device) {
    return ibv_get_device_name(device->context->device);
}

unsigned ist_device_port(const struct ist_device *device) {
    return device->port;
}

bool ist_device_is_infiniband(const struct ist_device *device) {
    return device->infiniband;
}

bool ist_device_requires_grh(const struct ist_device *device) {
    return device->requires_grh;
}

const struct ist_device_limits *ist_device_limits(const struct ist_device *device) {
    return &device->limits;
}

enum ist_status ist_device_ask_port(const struct ist_device *device, struct ist_device_port *port) {
    struct ibv_port_attr attributes;
    int error = ibv_query_port(device->context, (uint8_t)device->port, &attributes);
    if (error != 0) {
        ist_log_error(device->config.log, 0, "%s port %u cannot be asked: %s", ist_device_name(device),
                      device->port, strerror(error));
        return IST_DEVICE;
    }
    *port = (struct ist_device_port){.lid = attributes.lid,
                                     .mtu_bytes = ist_mtu_bytes(attributes.active_mtu),
                                     .requires_grh = (attributes.flags & IBV_QPF_GRH_REQUIRED) != 0};
    return IST_OK;
}

struct ibv_context *ist_device_context(const struct ist_device *device) {
    return device->context;
}

struct ibv_pd *ist_device_domain(const struct ist_device *device) {
    return device->domain;
}

/* ---- GIDs ------------------------------------------------------------------------------------------- */

enum ist_status ist_device_gid(const struct ist_device *device, const uint8_t *peer,
                               struct ist_gid_entry *gid) {
    if (!choose_gid(device, peer, gid)) {
        ist_log_warning(device->config.log, 0, "%s port %u: none of its GIDs is usable",
                        ist_device_name(device), device->port);
        return IST_DEVICE;
    }
    return IST_OK;
}

/* ---- events ----------------------------------------------------------------------------------------- */

int ist_device_fd(const struct ist_device *device) {
    return device->context->async_fd;
}

static void translate(const struct ist_device *device, const struct ibv_async_event *from,
                      struct ist_device_event *event) {
    bool ours = from->element.port_num == (int)device->port;
    *event = (struct ist_device_event){.kind = IST_DEVICE_OTHER};
    switch (from->event_type) {
    case IBV_EVENT_PORT_ERR: event->kind = ours ? IST_DEVICE_PORT_DOWN : IST_DEVICE_OTHER; break;
    case IBV_EVENT_PORT_ACTIVE: event->kind = ours ? IST_DEVICE_PORT_UP : IST_DEVICE_OTHER; break;
    case IBV_EVENT_DEVICE_FATAL:
    case IBV_EVENT_CQ_ERR:
    case IBV_EVENT_SRQ_ERR: event->kind = IST_DEVICE_FAILED; break;
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
        event->kind = IST_DEVICE_QUEUE_PAIR_FAILED;
        event->queue_pair = from->element.qp->qp_num;
        break;
    case IBV_EVENT_QP_LAST_WQE_REACHED:
        event->kind = IST_DEVICE_LAST_RECEIVE;
        event->queue_pair = from->element.qp->qp_num;
        break;
    case IBV_EVENT_SRQ_LIMIT_REACHED: event->kind = IST_DEVICE_RECEIVES_LOW; break;
    case IBV_EVENT_COMM_EST:
    case IBV_EVENT_SQ_DRAINED:
    case IBV_EVENT_PATH_MIG:
    case IBV_EVENT_PATH_MIG_ERR:
    case IBV_EVENT_LID_CHANGE:
    case IBV_EVENT_PKEY_CHANGE:
    case IBV_EVENT_SM_CHANGE:
    case IBV_EVENT_CLIENT_REREGISTER:
    case IBV_EVENT_GID_CHANGE:
    case IBV_EVENT_WQ_FATAL: break;
    }
}

enum ist_status ist_device_next_event(struct ist_device *device, struct ist_device_event *event) {
    struct ibv_async_event from;
    if (ibv_get_async_event(device->context, &from) != 0) {
        return IST_AGAIN;
    }
    translate(device, &from, event);
    event->text = ibv_event_type_str(from.event_type);
    bool is_ours = event->kind == IST_DEVICE_PORT_DOWN || event->kind == IST_DEVICE_PORT_UP ||
                   event->kind == IST_DEVICE_FAILED;
    enum ist_log_level level = is_ours ? IST_LOG_WARNING : IST_LOG_DEBUG;
    ist_log_write(device->config.log, level, 0, "%s port %u: %s", ist_device_name(device), device->port,
                  event->text);
    ibv_ack_async_event(&from);
    return IST_OK;
}
