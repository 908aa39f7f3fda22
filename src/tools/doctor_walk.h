/* The way to a server: what the steps of infinistore-doctor --connect have in hand, and the steps. Each says in
 * step->text what it found; when it fails also in step->advice what to do. */
#ifndef IST_TOOLS_DOCTOR_WALK_H
#define IST_TOOLS_DOCTOR_WALK_H

#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "tools/doctor_options.h"
#include "tools/doctor_steps.h"
#include "verbs/completion.h"
#include "verbs/device.h"
#include "verbs/memory.h"
#include "verbs/queue_pair.h"
#include "wire/codec.h"
#include "wire/frame.h"

#define IST_DOCTOR_REPLY_BYTES 4096u  /* the longest reply that is asked for is much shorter */
#define IST_DOCTOR_VALUE_BYTES 65536u /* large enough to fill packets of every MTU, and to be several */

struct ist_doctor_walk {
    const struct ist_doctor_options *options; /* borrowed */
    struct ist_doctor_step *step;             /* the one that is being done */
    uint64_t until_ns;                        /* it must be over by then */
    /* the stream */
    struct addrinfo *addresses; /* owned */
    int fd;                     /* owned; -1: none */
    struct sockaddr_storage address;
    /* the device, all owned */
    struct ist_log log; /* its last line: why a verbs call failed */
    char logged[IST_DOCTOR_TEXT_MAX];
    struct ist_device *device;
    struct ist_completion *completion;
    struct ist_queue_pair *queue_pair;
    uint8_t *memory; /* twice IST_DOCTOR_VALUE_BYTES: what is put, and what is got */
    struct ist_region region;
    struct ist_endpoint server;
    /* what has come, over whichever of the two */
    uint8_t in[IST_DOCTOR_REPLY_BYTES];
    size_t in_bytes;
    uint64_t request_id;
    char key[64];
};

/* ---- doctor_stream.c ---- */

bool ist_doctor_resolve(struct ist_doctor_walk *walk);
bool ist_doctor_connect_tcp(struct ist_doctor_walk *walk);
bool ist_doctor_hello(struct ist_doctor_walk *walk);
/* CONNECT: the server makes its queue pair. */
bool ist_doctor_ask_for_queue_pair(struct ist_doctor_walk *walk);

/* ---- doctor_device.c ---- */

bool ist_doctor_open_device(struct ist_doctor_walk *walk);
bool ist_doctor_choose_gid(struct ist_doctor_walk *walk);
bool ist_doctor_register(struct ist_doctor_walk *walk);
bool ist_doctor_connect_queue_pair(struct ist_doctor_walk *walk);

/* ---- doctor_talk.c: over the queue pair ---- */

bool ist_doctor_ping(struct ist_doctor_walk *walk);
bool ist_doctor_put(struct ist_doctor_walk *walk);
bool ist_doctor_get(struct ist_doctor_walk *walk);
bool ist_doctor_compare(struct ist_doctor_walk *walk);
bool ist_doctor_remove(struct ist_doctor_walk *walk);

/* ---- doctor_connect.c ---- */

/* Always false. advice: NULL for none; text as of printf. */
__attribute__((format(printf, 3, 4))) bool
ist_doctor_failed(struct ist_doctor_walk *walk, const char *advice, const char *format, ...);
/* Always true. */
__attribute__((format(printf, 2, 3))) bool ist_doctor_done(struct ist_doctor_walk *walk,
                                                           const char *format, ...);
uint64_t ist_doctor_now_ns(void);
/* Until the step's time is over, for poll(). */
int ist_doctor_left_ms(const struct ist_doctor_walk *walk);
/* A whole frame has come: 1. More is needed: 0. It is not of this protocol: -1. */
int ist_doctor_has_reply(const struct ist_doctor_walk *walk, struct ist_frame *frame);
void ist_doctor_drop_reply(struct ist_doctor_walk *walk, const struct ist_frame *frame);
/* The peer's address as a GID; false: it has none (it is on this machine, by a path). */
bool ist_doctor_peer_gid(const struct ist_doctor_walk *walk, uint8_t gid[IST_GID_LENGTH]);

#endif
