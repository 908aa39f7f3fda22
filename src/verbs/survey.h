/* Everything that this machine's RDMA devices say of themselves, read once: for people, and for who judges a set-up.
 * Changes nothing. */
#ifndef IST_VERBS_SURVEY_H
#define IST_VERBS_SURVEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "infinistore/status.h"
#include "verbs/device.h"
#include "verbs/gid.h"

enum ist_port_state {
    IST_PORT_DOWN,
    IST_PORT_INITIALISING, /* InfiniBand: it waits for a subnet manager */
    IST_PORT_ARMED,
    IST_PORT_ACTIVE,
    IST_PORT_OTHER,
};

struct ist_survey_port {
    unsigned number;
    int error; /* errno of asking; 0: the rest is known */
    enum ist_port_state state;
    enum ist_device_link link; /* ANY: neither of the two */
    bool requires_grh;         /* InfiniBand */
    uint16_t lid;
    uint32_t mtu_bytes, mtu_bytes_max;
    struct ist_gid_entry *gids; /* owned */
    size_t gids_count;
};

/* dma-buf: can memory of another device, as a GPU, be registered by its descriptor? */
enum ist_survey_dmabuf { IST_DMABUF_UNKNOWN, IST_DMABUF_NO, IST_DMABUF_YES };

struct ist_survey_device {
    char name[64], firmware[64];
    int error;         /* errno of opening or asking it; 0: the rest is known */
    bool is_soft_roce; /* Linux' rdma_rxe */
    struct ist_device_limits limits;
    uint32_t queue_pairs, regions; /* at most */
    enum ist_survey_dmabuf dmabuf;
    struct ist_survey_port *ports; /* owned */
    size_t ports_count;
};

struct ist_survey {
    const struct ist_alloc *alloc;
    int error;                         /* errno of listing them; ENOSYS: the kernel has no RDMA */
    struct ist_survey_device *devices; /* owned */
    size_t devices_count;
};

/* survey: embedded; to be ended whatever this returns. Returns OK (what could not be asked says so), NO_MEMORY. */
enum ist_status ist_survey_init(struct ist_survey *survey, const struct ist_alloc *alloc);
void ist_survey_fini(struct ist_survey *survey);

#endif
