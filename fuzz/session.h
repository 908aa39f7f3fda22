/* The stories of the target `session`: options, then these events. What is not said here stands in session.c. */
#ifndef IST_FUZZ_SESSION_H
#define IST_FUZZ_SESSION_H

#include "fuzz/script.h"

/* Pool in 512-byte blocks less 1 (up to 127), sessions less 1 (with 128: invariants are checked
 * after every call, not only every record), requests in flight (0: the default), 2 bytes queued in 16 bytes
 * (0: the default), 2 bytes which allocation fails (0: none). */
#define SESSION_OPTION_BYTES 7u

/* The argument's low two bits are the session, the others how input and output are cut. */
enum session_event {
    SESSION_OPEN,
    SESSION_OPEN_RDMA,
    SESSION_SAY,      /* the client sends these bytes */
    SESSION_ASK,      /* the client sends a good frame, of these choices: see phrase.h */
    SESSION_TAKE,     /* the client reads so many bytes, 2; without data: all */
    SESSION_POST,     /* the NIC takes so many works, 1 */
    SESSION_COMPLETE, /* so many complete, 1 */
    SESSION_CONNECT,  /* a queue pair is made, or not */
    SESSION_TIME,     /* so many ms pass, 2 */
    SESSION_CLOSE,
    SESSION_ADMIN,  /* argument: purge, evict so many bytes, statistics, drain */
    SESSION_STARVE, /* argument odd: there is no memory at all from here on */
    SESSION_EVENTS,
};

void session_invent(struct script *script, struct fuzz_input *random);

#endif
