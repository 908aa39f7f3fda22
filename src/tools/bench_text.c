#include "tools/bench_text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"
#include "tools/bench_grammar.h"

#define LINE_MAX_BYTES 512u
#define IN_BYTES (64u << 10)
#define OUT_VECTORS 256u /* pieces sent by one call, 3 a key */
#define OUT_KEYS (OUT_VECTORS / 3)
#define HEAD_MAX (IST_KEY_BYTES_MAX + 128u)

struct link {
    const struct ist_bench_grammar *grammar;
    int fd;
    /* In flight, the oldest at `first`: a ring. */
    struct ist_bench_request **ring;
    size_t first, count;
    /* Of the oldest. */
    size_t key;         /* whose reply is awaited */
    uint64_t left;      /* bytes of its value that are still to come */
    size_t behind_left; /* bytes behind the value */
    enum ist_status status;
    uint8_t *at; /* where they go */
    /* Received, not yet looked at: in[from..to). */
    size_t from, to;
    char in[IN_BYTES];
    /* To be sent. */
    struct iovec vectors[OUT_VECTORS];
    size_t vector_count;
    char heads[OUT_KEYS][HEAD_MAX];
    size_t head_count;
};

#define RING IST_REQUESTS_IN_FLIGHT_MAX

/* ---- open, close -------------------------------------------------------------------------------- */

static int connect_to(const char *endpoint) {
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in loopback = {.sin_family = AF_INET};
    char host[64];
    unsigned port = 0;
    const struct sockaddr *address = (struct sockaddr *)&loopback;
    socklen_t bytes = sizeof loopback;
    if (strncmp(endpoint, "unix:", 5) == 0) {
        snprintf(local.sun_path, sizeof local.sun_path, "%s", endpoint + 5);
        address = (struct sockaddr *)&local;
        bytes = sizeof local;
    } else if (sscanf(endpoint, "%63[0-9.]:%u", host, &port) == 2 && port <= UINT16_MAX) {
        loopback.sin_port = htons((uint16_t)port);
        if (inet_pton(AF_INET, host, &loopback.sin_addr) != 1) {
            return -1;
        }
    }
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, address, bytes) != 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static enum ist_status text_open(const struct ist_bench_grammar *grammar,
                                 const struct ist_bench_target *target, void **link, char *error,
                                 size_t error_bytes) {
    struct link *new = calloc(1, sizeof *new);
    struct ist_bench_request **ring = calloc(RING, sizeof *ring);
    int fd = new == NULL || ring == NULL ? -1 : connect_to(target->endpoint);
    if (fd < 0) {
        snprintf(error, error_bytes, "%s: %s", target->endpoint, strerror(errno));
        free(ring);
        free(new);
        return IST_PEER;
    }
    const struct timeval timeout = {.tv_sec = (time_t)(target->timeout_ns / IST_NS_PER_SEC) + 1};
    const int one = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* no-op on AF_UNIX */
    new->grammar = grammar;
    new->ring = ring;
    new->fd = fd;
    *link = new;
    return IST_OK;
}

static struct ist_bench_request *ring_pop(struct link *link) {
    struct ist_bench_request *request = link->ring[link->first];
    link->first = (link->first + 1) % RING;
    link->count--;
    return request;
}

static void text_close(void *context) {
    struct link *link = context;
    close(link->fd);
    while (link->count > 0) {
        struct ist_bench_request *request = ring_pop(link);
        request->done(request, IST_PEER);
    }
    free(link->ring);
    free(link);
}

/* ---- sending ------------------------------------------------------------------------------------ */

static enum ist_status socket_failed(void) {
    return errno == EAGAIN || errno == EWOULDBLOCK ? IST_TIMEOUT : IST_PEER;
}

static enum ist_status flush(struct link *link) {
    struct msghdr message = {.msg_iov = link->vectors, .msg_iovlen = link->vector_count};
    while (message.msg_iovlen > 0) {
        ssize_t sent = sendmsg(link->fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0) {
            return socket_failed();
        }
        while (message.msg_iovlen > 0 && (size_t)sent >= message.msg_iov->iov_len) {
            sent -= (ssize_t)message.msg_iov->iov_len;
            message.msg_iov++;
            message.msg_iovlen--;
        }
        if (message.msg_iovlen > 0) {
            message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + sent;
            message.msg_iov->iov_len -= (size_t)sent;
        }
    }
    link->vector_count = 0;
    link->head_count = 0;
    return IST_OK;
}

static void add(struct link *link, const void *data, size_t bytes) {
    IST_ASSERT(link->vector_count < OUT_VECTORS);
    link->vectors[link->vector_count++] =
        (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = bytes};
}

static struct ist_key key_at(const struct ist_bench_request *request, size_t index) {
    switch (request->op) {
    case IST_BENCH_PUT: return request->puts[index].key;
    case IST_BENCH_GET: return request->gets[index].key;
    case IST_BENCH_EXISTS:
    case IST_BENCH_MATCH:
    case IST_BENCH_REMOVE: break;
    }
    return request->keys[index];
}

static enum ist_status text_submit(void *context, struct ist_bench_request *request) {
    struct link *link = context;
    IST_ASSERT(link->count < RING);
    for (size_t i = 0; i < request->count; i++) {
        if (link->head_count == OUT_KEYS) {
            enum ist_status status = flush(link);
            if (status != IST_OK) {
                return status;
            }
        }
        char *head = link->heads[link->head_count++];
        bool put = request->op == IST_BENCH_PUT;
        int used = link->grammar->write(head, HEAD_MAX, request->op, key_at(request, i),
                                        put ? request->puts[i].value_bytes : 0);
        add(link, head, (size_t)used);
        if (put) {
            add(link, request->puts[i].value, request->puts[i].value_bytes);
            add(link, "\r\n", 2);
        }
    }
    if (link->count == 0) {
        link->key = 0;
        link->status = IST_OK;
    }
    link->ring[(link->first + link->count++) % RING] = request;
    return IST_OK;
}

/* ---- receiving ---------------------------------------------------------------------------------- */

/* Receives into the value that is on its way, if one is, and what lies behind it into `in`, which is empty. */
static enum ist_status receive(struct link *link) {
    struct iovec vectors[2] = {{link->at, link->left}, {link->in, IN_BYTES}};
    ssize_t got;
    do {
        got = link->left > 0 ? readv(link->fd, vectors, 2) : recv(link->fd, link->in, IN_BYTES, 0);
    } while (got < 0 && errno == EINTR);
    if (got <= 0) {
        return got == 0 ? IST_PEER : socket_failed();
    }
    uint64_t direct = (uint64_t)got < link->left ? (uint64_t)got : link->left;
    link->at += direct;
    link->left -= direct;
    link->from = 0;
    link->to = (size_t)got - direct;
    return IST_OK;
}

/* Takes what `in` has of the value and of what follows it. False: there is more to come. */
static bool take_value(struct link *link) {
    uint64_t there = link->to - link->from;
    uint64_t part = there < link->left ? there : link->left;
    if (part > 0) {
        memcpy(link->at, link->in + link->from, part);
        link->at += part;
        link->left -= part;
        link->from += part;
    }
    there = link->to - link->from;
    size_t behind = there < link->behind_left ? there : link->behind_left;
    link->from += behind;
    link->behind_left -= behind;
    return link->left == 0 && link->behind_left == 0;
}

/* Cuts the next line from `in` and ends it with a NUL. NULL: there is no whole one. */
static char *take_line(struct link *link) {
    char *line = link->in + link->from;
    char *end = memchr(line, '\n', link->to - link->from);
    if (end == NULL) {
        return NULL;
    }
    link->from += (size_t)(end - line) + 1;
    if (end > line && end[-1] == '\r') {
        end--;
    }
    *end = '\0';
    return line;
}

static void key_failed(struct link *link, struct ist_bench_request *request, enum ist_status status) {
    if (request->op == IST_BENCH_PUT) {
        request->puts[link->key].status = status;
    } else if (request->op == IST_BENCH_GET) {
        request->gets[link->key].status = status;
    }
    link->status = link->status == IST_OK ? status : link->status;
}

/* Returns OK; PROTOCOL: nothing that follows can be understood. */
static enum ist_status answer_key(struct link *link, struct ist_bench_request *request,
                                  const char *line) {
    uint64_t bytes = 0;
    enum ist_bench_reply reply = link->grammar->read(line, request->op, &bytes);
    if (reply == IST_BENCH_REPLY_ERROR) {
        return IST_PROTOCOL;
    }
    if (request->op == IST_BENCH_EXISTS) {
        request->present[link->key] = reply == IST_BENCH_REPLY_OK;
    } else if (reply == IST_BENCH_REPLY_MISSING && request->op != IST_BENCH_REMOVE) {
        key_failed(link, request, IST_NOT_FOUND);
    }
    if (reply == IST_BENCH_REPLY_VALUE) {
        struct ist_get_item *item = &request->gets[link->key];
        if (bytes > item->buffer_bytes) {
            return IST_PROTOCOL;
        }
        item->value_bytes = bytes;
        link->at = item->buffer;
        link->left = bytes;
        link->behind_left = strlen(link->grammar->behind_value);
    }
    return IST_OK;
}

/* Handles what `in` holds. *done is increased by the requests that were done. */
static enum ist_status digest(struct link *link, size_t *done) {
    while (link->count > 0) {
        struct ist_bench_request *request = link->ring[link->first];
        if (link->left > 0 || link->behind_left > 0) {
            if (!take_value(link)) {
                return IST_OK;
            }
        } else {
            const char *line = take_line(link);
            if (line == NULL) {
                return IST_OK;
            }
            enum ist_status status = answer_key(link, request, line);
            if (status != IST_OK) {
                return status;
            }
            if (link->left > 0) {
                continue;
            }
        }
        if (++link->key == request->count) {
            enum ist_status status = link->status;
            (void)ring_pop(link);
            link->key = 0;
            link->status = IST_OK;
            ++*done;
            request->done(request, status);
        }
    }
    return IST_OK;
}

/* Room for the rest of a line that was cut. */
static enum ist_status receive_more(struct link *link) {
    size_t kept = link->to - link->from;
    if (kept == 0) {
        return receive(link);
    }
    if (kept >= LINE_MAX_BYTES) {
        return IST_PROTOCOL;
    }
    memmove(link->in, link->in + link->from, kept);
    ssize_t got;
    do {
        got = recv(link->fd, link->in + kept, IN_BYTES - kept, 0);
    } while (got < 0 && errno == EINTR);
    if (got <= 0) {
        return got == 0 ? IST_PEER : socket_failed();
    }
    link->from = 0;
    link->to = kept + (size_t)got;
    return IST_OK;
}

static enum ist_status text_wait(void *context) {
    struct link *link = context;
    size_t done = 0;
    enum ist_status status = flush(link);
    while (status == IST_OK && done == 0) {
        status = digest(link, &done);
        if (status == IST_OK && done == 0) {
            status = receive_more(link);
        }
    }
    return status;
}

static void call_done(struct ist_bench_request *request, enum ist_status status) {
    *(enum ist_status *)request->owner = status;
}

static enum ist_status text_call(void *context, struct ist_bench_request *request) {
    void (*done)(struct ist_bench_request *, enum ist_status) = request->done;
    void *owner = request->owner;
    enum ist_status result = IST_OK;
    struct link *link = context;
    IST_ASSERT(link->count == 0);
    request->done = call_done;
    request->owner = &result;
    enum ist_status status = text_submit(link, request);
    if (status == IST_OK) {
        status = text_wait(link);
    }
    if (status != IST_OK && link->count > 0) {
        (void)ring_pop(link); /* nobody waits for it any more; the link is of no use */
    }
    request->done = done;
    request->owner = owner;
    return status != IST_OK ? status : result;
}

static enum ist_status redis_open(const struct ist_bench_target *target, void **link, char *error,
                                  size_t error_bytes) {
    return text_open(ist_bench_redis_grammar(), target, link, error, error_bytes);
}

static enum ist_status memcached_open(const struct ist_bench_target *target, void **link, char *error,
                                      size_t error_bytes) {
    return text_open(ist_bench_memcached_grammar(), target, link, error, error_bytes);
}

const struct ist_bench_peer *ist_bench_redis(void) {
    static const struct ist_bench_peer peer = {.name = "redis",
                                               .open = redis_open,
                                               .close = text_close,
                                               .call = text_call,
                                               .submit = text_submit,
                                               .wait = text_wait};
    return &peer;
}

const struct ist_bench_peer *ist_bench_memcached(void) {
    static const struct ist_bench_peer peer = {.name = "memcached",
                                               .open = memcached_open,
                                               .close = text_close,
                                               .call = text_call,
                                               .submit = text_submit,
                                               .wait = text_wait};
    return &peer;
}
