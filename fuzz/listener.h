/* One session as its client sees it: what it has asked, and whether all that it hears is a good answer to that. */
#ifndef IST_FUZZ_LISTENER_H
#define IST_FUZZ_LISTENER_H

#include "tests/conversation.h"

#define LISTENER_WAITING_MAX 1024u

struct listener {
    bool is_rdma;
    /* said */
    uint8_t header[IST_FRAME_BYTES];
    size_t header_bytes;
    uint64_t skip; /* of the frame that is being said, behind its header */
    bool is_lost;  /* what was said is of no protocol: no more is understood */
    struct ist_frame waiting[LISTENER_WAITING_MAX]; /* asked, and not answered */
    size_t waiting_count;
    /* heard */
    struct bytes heard;    /* the beginning of a reply */
    uint64_t payload_left; /* of a reply whose body was heard */
};

void listener_said(struct listener *listener, const uint8_t *data, size_t bytes);
void listener_heard(struct listener *listener, const uint8_t *data, size_t bytes);
/* All is answered that was asked to its end, and no reply is cut off. */
void listener_check_idle(const struct listener *listener);
void listener_fini(struct listener *listener);

#endif
