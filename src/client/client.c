/* The public calls: each makes a request and hands it to the driver. */
#include "client/client.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/driver.h"

#define DEFAULT_ENDPOINTS "127.0.0.1"

struct ist_client {
    const struct ist_alloc *alloc;
    uint64_t request_timeout_ns;
    pid_t process; /* that made it: a child of a fork() has a copy of all but the threads */
    struct ist_driver driver;
};

/* ---- threads that are cancelled ------------------------------------------------------------------------- */

/* A thread works for others, too, with the lock, or as the one that waits for the socket: it is not to end in the middle of
 * that. Returns what to go back to. */
static int put_off_cancel(void) {
    int before;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    return before;
}

static void allow_cancel(int before) {
    pthread_setcancelstate(before, &before);
}

/* ---- beginning and end --------------------------------------------------------------------------------- */

static uint64_t value_or(uint64_t value, uint64_t otherwise) {
    return value == 0 ? otherwise : value;
}

static void warn_on_stderr(void *arg, const char *line) {
    (void)arg;
    fprintf(stderr, "%s\n", line);
}

static enum ist_device_link link_of(enum ist_client_link link) {
    switch (link) {
    case IST_CLIENT_LINK_ANY: break;
    case IST_CLIENT_LINK_ETHERNET: return IST_DEVICE_LINK_ETHERNET;
    case IST_CLIENT_LINK_INFINIBAND: return IST_DEVICE_LINK_INFINIBAND;
    }
    return IST_DEVICE_LINK_ANY;
}

/* What cannot be asked for. Returns OK, INVALID. */
static enum ist_status check_options(const struct ist_client_options *options, char *error,
                                     size_t error_bytes) {
    const char *wrong = NULL;
    if ((unsigned)options->transport > IST_TRANSPORT_AUTO) {
        wrong = "no such transport";
    } else if ((unsigned)options->link > IST_CLIENT_LINK_INFINIBAND) {
        wrong = "no such link type";
    } else if (options->device != NULL &&
               (options->device[0] == '\0' || strlen(options->device) >= IST_LINK_NAME_BYTES)) {
        wrong = "no device has such a name";
    } else if (options->port > UINT8_MAX) {
        wrong = "no device has such a port";
    } else if (options->use_gid_index && options->gid_index > UINT8_MAX) {
        wrong = "no port has a GID of that index";
    }
    if (wrong != NULL) {
        snprintf(error, error_bytes, "client: %s", wrong);
        return IST_INVALID;
    }
    return IST_OK;
}

static struct ist_driver_config config_of(const struct ist_client *client,
                                          const struct ist_client_options *options) {
    struct ist_driver_config config = {
        .connection = {.timeout_ns = value_or(options->connect_timeout_ns, IST_CONNECT_TIMEOUT_NS),
                       .transport = options->transport,
                       .link = {.port = options->port,
                                .link = link_of(options->link),
                                .hint_gid_index =
                                    options->use_gid_index ? (int)options->gid_index : -1},
                       .alloc = client->alloc},
        .poll_ns = options->poll_ns,
        .warn = options->warn == NULL ? warn_on_stderr : options->warn,
        .warn_arg = options->warn_arg};
    if (options->device != NULL) {
        snprintf(config.connection.link.device, sizeof(config.connection.link.device), "%s",
                 options->device);
    }
    return config;
}

static enum ist_status set_up(struct ist_client *client, const struct ist_client_options *options,
                              char *error, size_t error_bytes) {
    struct ist_endpoints endpoints;
    const char *text = options->endpoints == NULL ? DEFAULT_ENDPOINTS : options->endpoints;
    enum ist_status status = check_options(options, error, error_bytes);
    if (status == IST_OK) {
        status = ist_endpoints_parse(text, client->alloc, &endpoints, error, error_bytes);
    }
    if (status != IST_OK) {
        return status;
    }
    const struct ist_driver_config config = config_of(client, options);
    errno = ENOMEM;
    status = ist_driver_init(&client->driver, &endpoints, &config);
    if (status != IST_OK) {
        snprintf(error, error_bytes, "client: %s", strerrordesc_np(errno));
        ist_endpoints_fini(&endpoints);
    }
    return status;
}

enum ist_status ist_client_new_with(const struct ist_client_options *options,
                                    const struct ist_alloc *alloc, struct ist_client **client,
                                    char *error, size_t error_bytes) {
    static const struct ist_client_options defaults;
    char nowhere[1];
    if (error == NULL || error_bytes == 0) {
        error = nowhere;
        error_bytes = sizeof(nowhere);
    }
    options = options == NULL ? &defaults : options;
    struct ist_client *new = ist_allocate_zeroed(alloc, 1, sizeof(*new));
    if (new == NULL) {
        snprintf(error, error_bytes, "client: out of memory");
        return IST_NO_MEMORY;
    }
    new->alloc = alloc;
    new->process = getpid();
    new->request_timeout_ns = value_or(options->request_timeout_ns, IST_REQUEST_TIMEOUT_NS);
    enum ist_status status = set_up(new, options, error, error_bytes);
    if (status != IST_OK) {
        ist_release(alloc, new);
        return status;
    }
    int cancel = put_off_cancel();
    status = ist_driver_connect(&new->driver);
    allow_cancel(cancel);
    if (status != IST_OK) {
        snprintf(error, error_bytes, "%s", new->driver.connection.error);
        ist_client_free(new);
        return status;
    }
    *client = new;
    return IST_OK;
}

enum ist_status ist_client_new(const struct ist_client_options *options, struct ist_client **client,
                               char *error, size_t error_bytes) {
    return ist_client_new_with(options, ist_alloc_system(), client, error, error_bytes);
}

void ist_client_free(struct ist_client *client) {
    int cancel = put_off_cancel();
    if (client != NULL && client->process != getpid()) {
        ist_driver_leave(&client->driver);
    } else if (client != NULL) {
        ist_driver_fini(&client->driver);
        ist_release(client->alloc, client);
    }
    allow_cancel(cancel);
}

int ist_client_fd(const struct ist_client *client) {
    return client->driver.wakeup.epoll_fd;
}

size_t ist_client_process(struct ist_client *client) {
    int cancel = put_off_cancel();
    size_t count = ist_driver_process(&client->driver);
    allow_cancel(cancel);
    return count;
}

/* The mutex is no part of what a const client promises to leave alone. */
static struct ist_driver *driver_of(const struct ist_client *client) {
    return &((struct ist_client *)(uintptr_t)client)->driver;
}

uint64_t ist_client_incarnation(const struct ist_client *client) {
    return ist_driver_incarnation(driver_of(client));
}

void ist_client_endpoint(const struct ist_client *client, char *text, size_t text_bytes) {
    ist_driver_endpoint(driver_of(client), text, text_bytes);
}

enum ist_transport ist_client_transport(const struct ist_client *client) {
    return ist_driver_is_remote(driver_of(client)) ? IST_TRANSPORT_RDMA : IST_TRANSPORT_TCP;
}

void ist_client_why_tcp(const struct ist_client *client, char *text, size_t text_bytes) {
    ist_driver_why_tcp(driver_of(client), text, text_bytes);
}

static enum ist_status register_source(struct ist_client *client,
                                       const struct ist_region_source *source) {
    int cancel = put_off_cancel();
    enum ist_status status = ist_driver_register(&client->driver, source);
    allow_cancel(cancel);
    return status;
}

enum ist_status ist_memory_register(struct ist_client *client, void *address, size_t bytes) {
    const struct ist_region_source source = {.address = (uintptr_t)address, .bytes = bytes, .fd = -1};
    return register_source(client, &source);
}

enum ist_status ist_memory_register_dmabuf(struct ist_client *client, int fd, uint64_t offset,
                                           size_t bytes, void *address) {
    const struct ist_region_source source = {
        .address = (uintptr_t)address, .bytes = bytes, .fd = fd, .offset = offset};
    return fd < 0 ? IST_INVALID : register_source(client, &source);
}

enum ist_status ist_memory_unregister(struct ist_client *client, const void *address, size_t bytes) {
    int cancel = put_off_cancel();
    enum ist_status status = ist_driver_unregister(&client->driver, (uintptr_t)address, bytes);
    allow_cancel(cancel);
    return status;
}

size_t ist_client_in_flight(const struct ist_client *client) {
    return ist_driver_in_flight(driver_of(client));
}

/* ---- both forms of every call -------------------------------------------------------------------------- */

/* How a request is to be run: with a callback, or blocking. */
struct form {
    bool blocking;
    uint64_t timeout_ns;
    ist_done_fn done;
    void *arg;
};

static struct form blocking(uint64_t timeout_ns) {
    return (struct form){.blocking = true, .timeout_ns = timeout_ns};
}

static struct form asynchronous(uint64_t timeout_ns, ist_done_fn done, void *arg) {
    return (struct form){.timeout_ns = timeout_ns, .done = done, .arg = arg};
}

/* made: what came of making the request. */
static enum ist_status start(struct ist_client *client, enum ist_status made,
                             struct ist_request *request, struct form form) {
    if (made != IST_OK) {
        return made;
    }
    if (!form.blocking && form.done == NULL) {
        ist_request_abort(request, IST_INVALID);
        ist_request_free(request);
        return IST_INVALID;
    }
    uint64_t timeout_ns = value_or(form.timeout_ns, client->request_timeout_ns);
    request->done = form.done;
    request->arg = form.arg;
    int cancel = put_off_cancel();
    enum ist_status status = form.blocking ? ist_driver_call(&client->driver, request, timeout_ns)
                                           : ist_driver_submit(&client->driver, request, timeout_ns);
    allow_cancel(cancel);
    return status;
}

static enum ist_status put(struct ist_client *client, struct ist_put_item *items, size_t count,
                           unsigned flags, struct form form) {
    struct ist_request *request = NULL;
    enum ist_status made = ist_request_new_put(client->alloc, items, count, flags, &request);
    for (size_t i = 0; made != IST_OK && items != NULL && i < count; i++) {
        items[i].status = made;
    }
    return start(client, made, request, form);
}

enum ist_status ist_put_async(struct ist_client *client, struct ist_put_item *items, size_t count,
                              unsigned flags, uint64_t timeout_ns, ist_done_fn done, void *arg) {
    return put(client, items, count, flags, asynchronous(timeout_ns, done, arg));
}

enum ist_status ist_put(struct ist_client *client, struct ist_put_item *items, size_t count,
                        unsigned flags, uint64_t timeout_ns) {
    return put(client, items, count, flags, blocking(timeout_ns));
}

static enum ist_status get(struct ist_client *client, struct ist_get_item *items, size_t count,
                           struct form form) {
    struct ist_request *request = NULL;
    enum ist_status made = ist_request_new_get(client->alloc, items, count, &request);
    for (size_t i = 0; made != IST_OK && items != NULL && i < count; i++) {
        items[i].status = made;
        items[i].value_bytes = 0;
    }
    return start(client, made, request, form);
}

enum ist_status ist_get_async(struct ist_client *client, struct ist_get_item *items, size_t count,
                              uint64_t timeout_ns, ist_done_fn done, void *arg) {
    return get(client, items, count, asynchronous(timeout_ns, done, arg));
}

enum ist_status ist_get(struct ist_client *client, struct ist_get_item *items, size_t count,
                        uint64_t timeout_ns) {
    return get(client, items, count, blocking(timeout_ns));
}

static enum ist_status exists(struct ist_client *client, const struct ist_key *keys, size_t count,
                              bool *present, struct form form) {
    struct ist_request *request = NULL;
    enum ist_status made = ist_request_new_exists(client->alloc, keys, count, present, &request);
    return start(client, made, request, form);
}

enum ist_status ist_exists_async(struct ist_client *client, const struct ist_key *keys, size_t count,
                                 bool *present, uint64_t timeout_ns, ist_done_fn done, void *arg) {
    return exists(client, keys, count, present, asynchronous(timeout_ns, done, arg));
}

enum ist_status ist_exists(struct ist_client *client, const struct ist_key *keys, size_t count,
                           bool *present, uint64_t timeout_ns) {
    return exists(client, keys, count, present, blocking(timeout_ns));
}

static enum ist_status number(struct ist_client *client, enum ist_operation operation,
                              const struct ist_key *keys, size_t count, size_t *out, struct form form) {
    struct ist_request *request = NULL;
    enum ist_status made = ist_request_new_number(client->alloc, operation, keys, count, out, &request);
    return start(client, made, request, form);
}

enum ist_status ist_match_prefix_async(struct ist_client *client, const struct ist_key *keys,
                                       size_t count, size_t *matched, uint64_t timeout_ns,
                                       ist_done_fn done, void *arg) {
    return number(client, IST_OP_MATCH_PREFIX, keys, count, matched,
                  asynchronous(timeout_ns, done, arg));
}

enum ist_status ist_match_prefix(struct ist_client *client, const struct ist_key *keys, size_t count,
                                 size_t *matched, uint64_t timeout_ns) {
    return number(client, IST_OP_MATCH_PREFIX, keys, count, matched, blocking(timeout_ns));
}

static enum ist_status match_last(struct ist_client *client, const struct ist_key *keys, size_t count,
                                  int64_t *index, struct form form) {
    struct ist_request *request = NULL;
    enum ist_status made = ist_request_new_match_last(client->alloc, keys, count, index, &request);
    return start(client, made, request, form);
}

enum ist_status ist_match_last_async(struct ist_client *client, const struct ist_key *keys,
                                     size_t count, int64_t *index, uint64_t timeout_ns,
                                     ist_done_fn done, void *arg) {
    return match_last(client, keys, count, index, asynchronous(timeout_ns, done, arg));
}

enum ist_status ist_match_last(struct ist_client *client, const struct ist_key *keys, size_t count,
                               int64_t *index, uint64_t timeout_ns) {
    return match_last(client, keys, count, index, blocking(timeout_ns));
}

enum ist_status ist_remove_async(struct ist_client *client, const struct ist_key *keys, size_t count,
                                 size_t *removed, uint64_t timeout_ns, ist_done_fn done, void *arg) {
    return number(client, IST_OP_REMOVE, keys, count, removed, asynchronous(timeout_ns, done, arg));
}

enum ist_status ist_remove(struct ist_client *client, const struct ist_key *keys, size_t count,
                           size_t *removed, uint64_t timeout_ns) {
    return number(client, IST_OP_REMOVE, keys, count, removed, blocking(timeout_ns));
}

static enum ist_status purge(struct ist_client *client, uint64_t *purged, struct form form) {
    struct ist_request *request = NULL;
    enum ist_status made = ist_request_new_purge(client->alloc, purged, &request);
    return start(client, made, request, form);
}

enum ist_status ist_purge_async(struct ist_client *client, uint64_t *purged, uint64_t timeout_ns,
                                ist_done_fn done, void *arg) {
    return purge(client, purged, asynchronous(timeout_ns, done, arg));
}

enum ist_status ist_purge(struct ist_client *client, uint64_t *purged, uint64_t timeout_ns) {
    return purge(client, purged, blocking(timeout_ns));
}

static enum ist_status ping(struct ist_client *client, struct form form) {
    struct ist_request *request = NULL;
    enum ist_status made = ist_request_new_ping(client->alloc, &request);
    return start(client, made, request, form);
}

enum ist_status ist_ping_async(struct ist_client *client, uint64_t timeout_ns, ist_done_fn done,
                               void *arg) {
    return ping(client, asynchronous(timeout_ns, done, arg));
}

enum ist_status ist_ping(struct ist_client *client, uint64_t timeout_ns) {
    return ping(client, blocking(timeout_ns));
}

static enum ist_status stat_metrics(struct ist_client *client, struct ist_metrics **metrics,
                                    struct form form) {
    struct ist_request *request = NULL;
    enum ist_status made = ist_request_new_stat(client->alloc, metrics, &request);
    return start(client, made, request, form);
}

enum ist_status ist_stat_async(struct ist_client *client, struct ist_metrics **metrics,
                               uint64_t timeout_ns, ist_done_fn done, void *arg) {
    return stat_metrics(client, metrics, asynchronous(timeout_ns, done, arg));
}

enum ist_status ist_stat(struct ist_client *client, struct ist_metrics **metrics, uint64_t timeout_ns) {
    return stat_metrics(client, metrics, blocking(timeout_ns));
}
