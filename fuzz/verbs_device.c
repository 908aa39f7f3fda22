#include "fuzz/verbs_device.h"

#include <limits.h>

#define ELSEWHERE 4000000u /* no interface of this machine has this index */

/* Numbers of which drivers and their bugs are made; most bytes leave the usual one. */
static int odd(uint8_t choice, int usual) {
    static const int odd_numbers[] = {0, 1, 2, 3, 5, 7, 16, 63, 255, 256, 4096, INT_MAX, -1, INT_MIN};
    size_t count = sizeof(odd_numbers) / sizeof(odd_numbers[0]);
    return choice >= 1 && choice <= count ? odd_numbers[choice - 1] : usual;
}

static struct ist_hca_gid gid_of(const uint8_t *bytes, bool is_infiniband) {
    static const union ibv_gid kinds[] = {
        {.raw = {[10] = 0xff, [11] = 0xff, [12] = 10}},
        {.raw = {0xfe, 0x80}},
        {.raw = {0x20, 0x01, 0x0d, 0xb8}},
        {.raw = {[10] = 0xff, [11] = 0xff, [12] = 127}},
        {.raw = {0xfe, 0xbf}},
        {.raw = {0xfe, 0xc0}},
        {.raw = {0}},
        {.raw = {0xff, 0x02}},
    };
    struct ist_hca_gid gid = {.gid = kinds[bytes[0] % 8],
                              .type = is_infiniband           ? IBV_GID_TYPE_IB
                                      : bytes[0] / 8 % 2 == 0 ? IBV_GID_TYPE_ROCE_V2
                                                              : IBV_GID_TYPE_ROCE_V1,
                              .ifindex = bytes[1] % 4 == 1   ? ELSEWHERE
                                         : bytes[1] % 4 == 2 ? 0
                                                             : 1,
                              .network = bytes[1] / 64u};
    gid.gid.raw[15] = bytes[2];
    return gid;
}

static void set_numbers(struct fuzz_input *input, struct ist_hca_device_config *config) {
    config->max_qp_wr = odd(fuzz_u8(input), config->max_qp_wr);
    config->max_sge = odd(fuzz_u8(input), config->max_sge);
    config->max_cqe = odd(fuzz_u8(input), config->max_cqe);
    config->max_srq_wr = odd(fuzz_u8(input), config->max_srq_wr);
    config->max_qp_rd_atom = odd(fuzz_u8(input), config->max_qp_rd_atom);
    config->max_qp_init_rd_atom = odd(fuzz_u8(input), config->max_qp_init_rd_atom);
    config->max_inline = (uint32_t)odd(fuzz_u8(input), (int)config->max_inline) % 8192u;
    uint8_t region = fuzz_u8(input);
    config->max_mr_size = region == 0 ? config->max_mr_size : (uint64_t)region * 97;
    config->max_mr = odd(fuzz_u8(input), config->max_mr);
    config->max_qp = odd(fuzz_u8(input), config->max_qp);
}

void verbs_device_config(struct fuzz_input input, const char *name, uint8_t number,
                         struct ist_hca_device_config *config) {
    static const enum ibv_port_state states[] = {IBV_PORT_ACTIVE, IBV_PORT_DOWN, IBV_PORT_INIT,
                                                 IBV_PORT_ARMED, IBV_PORT_NOP};
    uint8_t kind = fuzz_u8(&input);
    bool is_infiniband = kind % 2 == 1;
    (is_infiniband ? ist_hca_device_config_ib : ist_hca_device_config_roce)(config, name, number);
    struct ist_hca_port_config *port = &config->port[0];
    config->ports = (kind & 2) != 0 ? 2 : 1;
    config->dmabuf = (kind & 8) != 0;
    port->grh_required = (kind & 4) != 0;
    config->port[1] = *port;
    port->state = states[fuzz_u8(&input) % 5];
    config->port[1].state = states[fuzz_u8(&input) % 5];
    port->active_mtu = (enum ibv_mtu)(fuzz_u8(&input) % 8 ^ (unsigned)IBV_MTU_4096);
    set_numbers(&input, config);
    for (uint32_t i = 0; input.bytes >= 3; i++) {
        struct ist_span bytes = fuzz_take(&input, 3);
        if ((bytes.data[0] | bytes.data[1] | bytes.data[2]) != 0) {
            port->gid[i] = gid_of(bytes.data, is_infiniband);
            port->gids = i >= port->gids ? i + 1 : port->gids;
        }
    }
}

/* ---- which GID ----------------------------------------------------------------------------------------- */

static bool is_empty(const union ibv_gid *gid) {
    static const union ibv_gid none;
    return memcmp(gid, &none, sizeof(none)) == 0;
}

static int worth(const struct ist_hca_gid *gid) {
    const uint8_t *raw = gid->gid.raw;
    if (is_empty(&gid->gid) || gid->type == IBV_GID_TYPE_ROCE_V1 || gid->ifindex == ELSEWHERE) {
        return 0;
    }
    if (memcmp(raw, "\0\0\0\0\0\0\0\0\0\0\377\377", 12) == 0) {
        return 3;
    }
    return raw[0] == 0xfe && raw[1] >= 0x80 && raw[1] <= 0xbf ? 1 : 2;
}

int verbs_device_gid(const struct ist_hca_port_config *port, int hint) {
    int best = -1, best_worth = 0;
    if (hint >= 0) {
        return (uint32_t)hint < port->gids && !is_empty(&port->gid[hint].gid) ? hint : -1;
    }
    for (uint32_t i = 0; i < port->gids; i++) {
        if (worth(&port->gid[i]) > best_worth) {
            best = (int)i;
            best_worth = worth(&port->gid[i]);
        }
    }
    return best;
}
