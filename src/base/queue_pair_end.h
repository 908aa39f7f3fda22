/* One end of a reliable-connected queue pair, as the other end has to know it: plain numbers, which the wire carries and the
 * device edge uses, and neither of these rooms knows the other. */
#ifndef IST_BASE_QUEUE_PAIR_END_H
#define IST_BASE_QUEUE_PAIR_END_H

#include <stdint.h>

#define IST_GID_BYTES 16u

struct ist_queue_pair_end {
    uint32_t number;        /* 24 bits */
    uint32_t packet_number; /* of the first packet that it sends, 24 bits */
    uint8_t gid[IST_GID_BYTES];
    uint16_t lid;       /* 0 on Ethernet */
    uint32_t mtu_bytes; /* of a path, at most */
    uint32_t reads;     /* RDMA READs of the peer that it answers at a time */
    uint32_t messages;  /* receive buffers that wait for the peer: its credits to begin with */
    uint32_t message_bytes;
};

#endif
