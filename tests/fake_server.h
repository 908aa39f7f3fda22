/* A server for tests of the client: a thread of its own that treats each connection as the test says. It knows the
 * protocol just well enough, and misbehaves on request. */
#ifndef IST_TESTS_FAKE_SERVER_H
#define IST_TESTS_FAKE_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fake_way {
    FAKE_GOOD,        /* answers everything; a GET of key "N" (a number) finds N bytes */
    FAKE_CLOSE,       /* closes at once */
    FAKE_SILENT,      /* never says a word */
    FAKE_GARBAGE,     /* says what is no protocol of ours */
    FAKE_OLD,         /* speaks another version */
    FAKE_CLOSE_LATER, /* good, but closes when the first request is here, unanswered */
    FAKE_CLOSE_HALF,  /* good, but closes in the middle of the first reply that has a payload */
    FAKE_MUTE,        /* shakes hands, reads requests, does not answer until fake_speak() */
    FAKE_DEAF,        /* shakes hands, reads no more until fake_speak() */
    FAKE_HOLD,        /* good, but answers the first PING only behind the first PUT */
    FAKE_LIAR,        /* shakes hands, then answers each request with a reply to another one */
};

struct fake;

/* ways: one for each connection, in their order; the last is for all further ones. The incarnation is 1000 + the
 * number of the connection. path: of a local socket; NULL: on loopback, family AF_INET or AF_INET6. */
struct fake *fake_start(const enum fake_way *ways, size_t count, int family, const char *path);
/* The same on a port of before. */
struct fake *fake_start_at(const enum fake_way *ways, size_t count, uint16_t port);
/* Closes everything. */
void fake_stop(struct fake *fake);

/* "127.0.0.1:12345", "[::1]:12345", "unix:/path". */
const char *fake_endpoint(const struct fake *fake);
uint16_t fake_port(const struct fake *fake);
size_t fake_connections(struct fake *fake); /* accepted so far */
size_t fake_requests(struct fake *fake);    /* read so far, HELLO not counted */
/* MUTE and DEAF ones become good. */
void fake_speak(struct fake *fake);

/* The value of key "N", N bytes long. */
uint8_t fake_byte(uint64_t value_bytes, uint64_t at);

#endif
