#include "tools/doctor_connect.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "infinistore/limits.h"
#include "tools/doctor_walk.h"

static const struct {
    const char *name;
    bool (*go)(struct ist_doctor_walk *walk);
} steps_known[] = {
    {"resolve", ist_doctor_resolve},
    {"connect", ist_doctor_connect_tcp},
    {"hello", ist_doctor_hello},
    {"device", ist_doctor_open_device},
    {"gid", ist_doctor_choose_gid},
    {"register", ist_doctor_register},
    {"ask", ist_doctor_ask_for_queue_pair},
    {"queue pair", ist_doctor_connect_queue_pair},
    {"message", ist_doctor_ping},
    {"put", ist_doctor_put},
    {"get", ist_doctor_get},
    {"compare", ist_doctor_compare},
    {"remove", ist_doctor_remove},
};
#define STEPS (sizeof(steps_known) / sizeof(steps_known[0]))
_Static_assert(STEPS <= IST_DOCTOR_STEPS_MAX, "all have room");

/* ---- what all steps use ------------------------------------------------------------------------------- */

uint64_t ist_doctor_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * IST_NS_PER_SEC + (uint64_t)now.tv_nsec;
}

int ist_doctor_left_ms(const struct ist_doctor_walk *walk) {
    uint64_t now_ns = ist_doctor_now_ns();
    return now_ns >= walk->until_ns ? 0 : (int)((walk->until_ns - now_ns + 999999) / 1000000);
}

bool ist_doctor_failed(struct ist_doctor_walk *walk, const char *advice, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(walk->step->text, sizeof(walk->step->text), format, arguments);
    va_end(arguments);
    snprintf(walk->step->advice, sizeof(walk->step->advice), "%s", advice == NULL ? "" : advice);
    return false;
}

bool ist_doctor_done(struct ist_doctor_walk *walk, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(walk->step->text, sizeof(walk->step->text), format, arguments);
    va_end(arguments);
    return true;
}

int ist_doctor_has_reply(const struct ist_doctor_walk *walk, struct ist_frame *frame) {
    switch (ist_frame_decode(ist_span_of(walk->in, walk->in_bytes), frame)) {
    case IST_OK: break;
    case IST_AGAIN: return 0;
    default: return -1;
    }
    size_t bytes = IST_FRAME_BYTES + (size_t)frame->body_bytes;
    if (bytes > sizeof(walk->in) || frame->payload_bytes != 0 ||
        (frame->flags & IST_FRAME_REPLY) == 0 || frame->request_id != walk->request_id) {
        return -1;
    }
    return walk->in_bytes >= bytes ? 1 : 0;
}

void ist_doctor_drop_reply(struct ist_doctor_walk *walk, const struct ist_frame *frame) {
    size_t bytes = IST_FRAME_BYTES + (size_t)frame->body_bytes;
    memmove(walk->in, walk->in + bytes, walk->in_bytes - bytes);
    walk->in_bytes -= bytes;
}

bool ist_doctor_peer_gid(const struct ist_doctor_walk *walk, uint8_t gid[IST_GID_LENGTH]) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (walk->fd < 0) {
        return false;
    }
    if (walk->address.ss_family == AF_INET) {
        struct sockaddr_in address;
        memcpy(&address, &walk->address, sizeof(address));
        memcpy(gid, mapped, sizeof(mapped));
        memcpy(gid + sizeof(mapped), &address.sin_addr, sizeof(address.sin_addr));
        return true;
    }
    struct sockaddr_in6 address;
    memcpy(&address, &walk->address, sizeof(address));
    memcpy(gid, &address.sin6_addr, IST_GID_LENGTH);
    return walk->address.ss_family == AF_INET6;
}

/* ---- the way ------------------------------------------------------------------------------------------ */

static void keep_line(void *context, enum ist_log_level level, uint64_t session, const char *message) {
    struct ist_doctor_walk *walk = context;
    (void)level;
    (void)session;
    snprintf(walk->logged, sizeof(walk->logged), "%s", message);
}

static void walk_end(struct ist_doctor_walk *walk) {
    ist_queue_pair_free(walk->queue_pair);
    ist_completion_free(walk->completion);
    ist_region_drop(&walk->region);
    ist_device_close(walk->device);
    free(walk->memory);
    if (walk->fd >= 0) {
        close(walk->fd);
    }
    if (walk->addresses != NULL) {
        freeaddrinfo(walk->addresses);
    }
    free(walk);
}

static void go(struct ist_doctor_walk *walk, struct ist_doctor_steps *steps) {
    for (size_t i = 0; i < STEPS; i++) {
        struct ist_doctor_step *step = &steps->all[i];
        *step = (struct ist_doctor_step){.name = steps_known[i].name, .outcome = IST_DOCTOR_NOT_TRIED};
        if (steps->has_failed) {
            continue;
        }
        uint64_t begin_ns = ist_doctor_now_ns();
        walk->step = step;
        walk->until_ns = begin_ns + walk->options->timeout_ns;
        steps->has_failed = !steps_known[i].go(walk);
        step->outcome = steps->has_failed ? IST_DOCTOR_FAILED : IST_DOCTOR_DONE;
        step->took_ns = ist_doctor_now_ns() - begin_ns;
    }
}

void ist_doctor_connect(const struct ist_doctor_options *options, struct ist_doctor_steps *steps,
                        bool *has_peer, uint8_t peer[IST_GID_LENGTH]) {
    uint64_t number = 0;
    struct ist_doctor_walk *walk = calloc(1, sizeof(*walk));
    *steps = (struct ist_doctor_steps){.count = STEPS};
    *has_peer = false;
    snprintf(steps->peer, sizeof(steps->peer), "%s", options->connect);
    if (walk == NULL) {
        steps->count = 0;
        steps->has_failed = true;
        return;
    }
    walk->options = options;
    walk->fd = -1;
    walk->log = (struct ist_log){.level = IST_LOG_WARNING, .write = keep_line, .context = walk};
    if (getrandom(&number, sizeof(number), 0) != sizeof(number)) {
        number = ist_doctor_now_ns(); /* the key is to be nobody else's: the time will do */
    }
    snprintf(walk->key, sizeof(walk->key), "infinistore-doctor/%016llx", (unsigned long long)number);
    go(walk, steps);
    *has_peer = ist_doctor_peer_gid(walk, peer);
    walk_end(walk);
}
