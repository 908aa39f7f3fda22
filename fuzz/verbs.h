/* The stories of the target `verbs`. What is not said here stands in verbs.c. */
#ifndef IST_FUZZ_VERBS_H
#define IST_FUZZ_VERBS_H

#include "fuzz/script.h"
#include "fuzz/verbs_device.h"

/* The argument: bit 0 which side, bits 1 and 2 which of its queue pairs, bits 3 and 4 which of the other side's, bits 5 to 7
 * how. */
enum verbs_event {
    VERBS_OPEN, /* a device and its queues, in place of what was there; name, port, link, hint, pairs, requests, messages,
                   their bytes: 1 each */
    VERBS_SURVEY,
    VERBS_REGISTER, /* the side's memory, in two parts if `how` is odd: where they meet 2; or something odd: how 2 and 4 */
    VERBS_PAIR,     /* is made, in place of what was there; how odd: the peer may reach memory */
    VERBS_CONNECT,  /* to the other side's; data: changes of what it says, where 1, what 1 */
    VERBS_MESSAGES, /* the bytes of each, 2 */
    VERBS_WORK,     /* read 1, bytes 2, remote offset 2, wrong key 1, for each */
    VERBS_FLUSH,
    VERBS_POLL,      /* at most so many, 1; 0: all. how odd: buffers are kept */
    VERBS_GIVE_BACK, /* how many, 1; 0: all */
    VERBS_EVENTS,
    VERBS_RUN, /* steps 2; 0: until all is quiet */
    VERBS_BREAK,
    VERBS_FREE,
    VERBS_RAW,   /* what src/verbs never posts: operation 1, bytes 2, immediate 4, wrong key 1 */
    VERBS_FAULT, /* which 1, how 1 */
    VERBS_FAIL,  /* calls 2, which of these 1; or the allocation, when there are none */
    VERBS_KINDS,
};

#define VERBS_ARGUMENT(side, pair, other, how)                                                         \
    ((uint8_t)((side) | (pair) << 1 | (other) << 3 | (how) << 5))

/* The options: seed 1, loss 1, then both devices. */
#define VERBS_OPTION_BYTES (2 + 2 * VERBS_DEVICE_BYTES)

void verbs_invent(struct script *script, struct fuzz_input *random);

#endif
