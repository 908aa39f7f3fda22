/* The stories of the target `exchange`. What is not said here stands in exchange.c. */
#ifndef IST_FUZZ_EXCHANGE_H
#define IST_FUZZ_EXCHANGE_H

/* The argument's low three bits say how what is sent and received is cut. */
enum exchange_event {
    EXCHANGE_BEGIN, /* a connection; from 128 on: as for RDMA */
    EXCHANGE_GO_ON, /* after HELLO, as for RDMA: odd: there is a queue pair */
    EXCHANGE_ASK,   /* operation 1, deadline and flag 1, keys 1, for each: name 1, length 2 */
    EXCHANGE_TAKE,  /* so many bytes leave, 2; without data: all */
    EXCHANGE_ANSWER, /* the oldest request that left is answered; from 200 on: with a byte changed, where 2, how 1 */
    EXCHANGE_SAY,  /* these bytes come from the server */
    EXCHANGE_TIME, /* so many ms pass, 2 */
    EXCHANGE_END,  /* the connection is gone */
    EXCHANGE_FAIL, /* the allocation after so many others, 0 to 7, fails; 0: none */
    EXCHANGE_EVENTS,
};

#endif
