/* What of RoCE v2 crosses a network device: packets and bytes by direction and by operation, read beside the kernel
 * from a packet socket (CAP_NET_RAW). */
#ifndef IST_TESTS_INTEGRATION_CAPTURE_H
#define IST_TESTS_INTEGRATION_CAPTURE_H

#include <stdint.h>

/* What the operation codes of reliable connections say (IBTA 9.2.1), without first, middle and last. */
enum capture_kind {
    CAPTURE_SEND,
    CAPTURE_WRITE,
    CAPTURE_READ_REQUEST,
    CAPTURE_READ_RESPONSE,
    CAPTURE_ACK,
    CAPTURE_ATOMIC,
    CAPTURE_OTHER,
    CAPTURE_KINDS,
};

struct capture_count {
    uint64_t packets, bytes; /* of payload */
};

struct capture_counts {
    struct capture_count from[2][CAPTURE_KINDS]; /* 0: the address that was named; 1: all others */
    uint64_t lost;                               /* packets that came too fast */
    uint64_t other_bytes[2];                     /* of IPv4 packets that are not RoCE */
};

struct capture;

/* address: "10.78.0.1". The test fails when there is no such device, or no permission. */
struct capture *capture_begin(const char *netdev, const char *address);
/* What came until now. Frees. */
void capture_end(struct capture *capture, struct capture_counts *counts);
void capture_print(const struct capture_counts *counts);

#endif
