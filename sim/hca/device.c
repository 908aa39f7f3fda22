/* Devices, contexts, and what ibv_query_device() tells. */
#include <arpa/inet.h>
#include <unistd.h>

#include <sys/eventfd.h>

#include "base/assert.h"
#include "sim/hca/objects.h"

#undef ibv_query_port

/* ---- devices ------------------------------------------------------------------------------------- */

static void config_common(struct ist_hca_device_config *config, const char *name) {
    *config = (struct ist_hca_device_config){
        .ports = 1,
        .comp_vectors = 4,
        .max_qp = 1 << 16,
        .max_qp_wr = 8192,
        .max_sge = 30,
        .max_cq = 1 << 16,
        .max_cqe = 1 << 17,
        .max_mr = 1 << 20,
        .max_pd = 1 << 16,
        .max_qp_rd_atom = 16,
        .max_qp_init_rd_atom = 16,
        .max_srq = 1 << 16,
        .max_srq_wr = 8192,
        .max_srq_sge = 31,
        .max_inline = 512,
        .max_mr_size = 1ull << 40,
    };
    snprintf(config->name, sizeof(config->name), "%s", name);
    config->port[0] = (struct ist_hca_port_config){
        .state = IBV_PORT_ACTIVE,
        .max_mtu = IBV_MTU_4096,
        .active_mtu = IBV_MTU_4096,
        .max_msg_bytes = 1u << 30,
    };
}

static union ibv_gid link_local(uint8_t number) {
    union ibv_gid gid = {.raw = {[0] = 0xfe, [1] = 0x80, [15] = (uint8_t)(number + 1)}};
    gid.raw[14] = number == UINT8_MAX;
    return gid;
}

void ist_hca_device_config_roce(struct ist_hca_device_config *config, const char *name,
                                uint8_t number) {
    config_common(config, name);
    const union ibv_gid local = link_local(number);
    union ibv_gid ipv4 = {.raw = {[10] = 0xff, [11] = 0xff, [12] = 10}};
    memcpy(ipv4.raw + 14, local.raw + 14, 2);
    struct ist_hca_port_config *port = &config->port[0];
    port->link_layer = IBV_LINK_LAYER_ETHERNET;
    port->gids = 4;
    port->gid[0] = (struct ist_hca_gid){.gid = local, .type = IBV_GID_TYPE_ROCE_V1, .ifindex = 1};
    port->gid[1] = (struct ist_hca_gid){.gid = local, .type = IBV_GID_TYPE_ROCE_V2, .ifindex = 1};
    port->gid[2] = (struct ist_hca_gid){.gid = ipv4, .type = IBV_GID_TYPE_ROCE_V1, .ifindex = 1};
    port->gid[3] = (struct ist_hca_gid){.gid = ipv4, .type = IBV_GID_TYPE_ROCE_V2, .ifindex = 1};
}

void ist_hca_device_config_ib(struct ist_hca_device_config *config, const char *name, uint8_t number) {
    config_common(config, name);
    struct ist_hca_port_config *port = &config->port[0];
    port->link_layer = IBV_LINK_LAYER_INFINIBAND;
    port->lid = (uint16_t)(number + 1);
    port->gids = 1;
    port->gid[0] = (struct ist_hca_gid){.gid = link_local(number), .type = IBV_GID_TYPE_IB};
}

struct ist_hca_device *ist_hca_add_device(struct ist_hca *hca,
                                          const struct ist_hca_device_config *config) {
    IST_ASSERT(config->ports <= IST_HCA_PORTS_MAX);
    struct ist_hca_device *device = ist_allocate_zeroed(hca->config.alloc, 1, sizeof(*device));
    if (device == NULL) {
        return NULL;
    }
    device->hca = hca;
    device->config = *config;
    device->device.node_type = IBV_NODE_CA;
    device->device.transport_type = IBV_TRANSPORT_IB;
    snprintf(device->device.name, sizeof(device->device.name), "%s", config->name);
    snprintf(device->device.dev_name, sizeof(device->device.dev_name), "hca_%.50s", config->name);
    for (unsigned i = 0; i < config->ports; i++) {
        device->port[i].config = config->port[i];
    }
    hca_enter();
    struct ist_hca_device **last = &hca->devices;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    *last = device;
    hca_leave();
    return device;
}

struct ist_hca_device *ist_hca_find_device(struct ist_hca *hca, const char *name) {
    hca_enter();
    struct ist_hca_device *device = hca->devices;
    while (device != NULL && strcmp(device->config.name, name) != 0) {
        device = device->next;
    }
    hca_leave();
    return device;
}

struct ibv_qp *ist_hca_find_qp(struct ist_hca *hca, uint32_t number) {
    hca_enter();
    struct hca_qp *qp = hca_numbers_find(&hca->qp_numbers, number);
    hca_leave();
    return qp == NULL ? NULL : &qp->qp;
}

struct ibv_device **ibv_get_device_list(int *devices) {
    struct ist_hca *hca = hca_enter();
    if (hca == NULL) {
        errno = ENOSYS; /* as without ib_uverbs */
        return NULL;
    }
    struct ibv_device **list = NULL;
    int count = 0;
    if (!hca_fails(hca, IST_HCA_CALL_LIST, __func__)) {
        for (struct ist_hca_device *device = hca->devices; device != NULL; device = device->next) {
            count += !device->fatal;
        }
        list = ist_allocate_zeroed(hca->config.alloc, (size_t)count + 1, sizeof(*list));
    }
    if (list == NULL) {
        errno = ENOMEM;
    } else {
        hca->counts.device_lists++;
        int i = 0;
        for (struct ist_hca_device *device = hca->devices; device != NULL; device = device->next) {
            if (!device->fatal) {
                list[i++] = &device->device;
            }
        }
        if (devices != NULL) {
            *devices = count;
        }
    }
    hca_leave();
    return list;
}

void ibv_free_device_list(struct ibv_device **list) {
    struct ist_hca *hca = hca_enter();
    if (list == NULL) {
        hca_violation("ibv_free_device_list: NULL");
    }
    if (hca == NULL || hca->counts.device_lists == 0) {
        hca_violation("ibv_free_device_list: no list is out");
    }
    hca->counts.device_lists--;
    ist_release(hca->config.alloc, list);
    hca_leave();
}

const char *ibv_get_device_name(struct ibv_device *device) {
    return device->name;
}

__be64 ibv_get_device_guid(struct ibv_device *device) {
    const struct ist_hca_device *it = HCA_CONTAINER(device, struct ist_hca_device, device);
    return it->config.port[0].gid[0].gid.global.interface_id;
}

int ibv_get_device_index(struct ibv_device *device) {
    (void)device;
    return -1;
}

int ibv_fork_init(void) {
    return 0;
}

/* ---- contexts ------------------------------------------------------------------------------------ */

static struct ibv_context *open_device(struct ist_hca *hca, struct ist_hca_device *device) {
    struct hca_context *context = ist_allocate_zeroed(hca->config.alloc, 1, sizeof(*context));
    if (context == NULL) {
        return NULL;
    }
    context->device = device;
    context->verbs.sz = sizeof(context->verbs);
    context->verbs.query_port = hca_query_port;
    struct ibv_context *visible = &context->verbs.context;
    visible->device = &device->device;
    visible->ops = hca_context_ops;
    visible->cmd_fd = -1;
    visible->num_comp_vectors = device->config.comp_vectors;
    visible->abi_compat = __VERBS_ABI_IS_EXTENDED;
    pthread_mutex_init(&visible->mutex, NULL);
    if (!hca_notices_reserve(context, HCA_NOTICES_PORTS)) {
        goto free_context;
    }
    visible->async_fd = eventfd(0, EFD_CLOEXEC);
    if (visible->async_fd < 0) {
        goto free_notices;
    }
    context->next = hca->contexts;
    hca->contexts = context;
    hca->counts.contexts++;
    return visible;

free_notices:
    ist_release(hca->config.alloc, context->notice);
free_context:
    ist_release(hca->config.alloc, context);
    return NULL;
}

struct ibv_context *ibv_open_device(struct ibv_device *device) {
    struct ist_hca_device *it = HCA_CONTAINER(device, struct ist_hca_device, device);
    struct ist_hca *hca = hca_enter();
    struct ibv_context *context = NULL;
    int error = ENOMEM;
    if (it->fatal) {
        error = EIO;
    } else if (!hca_fails(hca, IST_HCA_CALL_OPEN, __func__)) {
        context = open_device(hca, it);
    }
    hca_leave();
    if (context == NULL) {
        errno = error;
    }
    return context;
}

int ibv_close_device(struct ibv_context *context) {
    struct hca_context *it = hca_context(context);
    struct ist_hca *hca = hca_enter();
    if (it->objects > 0) {
        hca_leave();
        errno = EBUSY;
        return -1;
    }
    bool fails = hca_fails(hca, IST_HCA_CALL_DESTROY, __func__);
    struct hca_context **link = &hca->contexts;
    while (*link != it) {
        link = &(*link)->next;
    }
    *link = it->next;
    close(context->async_fd);
    pthread_mutex_destroy(&context->mutex);
    ist_release(hca->config.alloc, it->notice);
    ist_release(hca->config.alloc, it);
    hca->counts.contexts--;
    hca_leave();
    if (fails) {
        errno = EIO;
        return -1;
    }
    return 0;
}

/* ---- what a device can do ------------------------------------------------------------------------ */

static void fill_attr(const struct ist_hca_device *device, struct ibv_device_attr *attr) {
    const struct ist_hca_device_config *config = &device->config;
    *attr = (struct ibv_device_attr){
        .fw_ver = "sim",
        .node_guid = config->port[0].gid[0].gid.global.interface_id,
        .sys_image_guid = config->port[0].gid[0].gid.global.interface_id,
        .max_mr_size = config->max_mr_size,
        .page_size_cap = 0xfffff000,
        .max_qp = config->max_qp,
        .max_qp_wr = config->max_qp_wr,
        .device_cap_flags = IBV_DEVICE_RC_RNR_NAK_GEN | IBV_DEVICE_PORT_ACTIVE_EVENT,
        .max_sge = config->max_sge,
        .max_sge_rd = config->max_sge,
        .max_cq = config->max_cq,
        .max_cqe = config->max_cqe,
        .max_mr = config->max_mr,
        .max_pd = config->max_pd,
        .max_qp_rd_atom = config->max_qp_rd_atom,
        .max_res_rd_atom = config->max_qp_rd_atom,
        .max_qp_init_rd_atom = config->max_qp_init_rd_atom,
        .atomic_cap = IBV_ATOMIC_NONE,
        .max_srq = config->max_srq,
        .max_srq_wr = config->max_srq_wr,
        .max_srq_sge = config->max_srq_sge,
        .max_pkeys = 1,
        .local_ca_ack_delay = 15,
        .phys_port_cnt = config->ports,
    };
}

static int query_device(struct ibv_context *context, struct ibv_device_attr *attr) {
    struct ist_hca *hca = hca_enter();
    bool fails = hca_fails(hca, IST_HCA_CALL_QUERY, "ibv_query_device") || hca_context_gone(context);
    if (!fails) {
        fill_attr(hca_device(context), attr);
    }
    hca_leave();
    return fails ? EIO : 0;
}

int ibv_query_device(struct ibv_context *context, struct ibv_device_attr *attr) {
    return query_device(context, attr);
}
