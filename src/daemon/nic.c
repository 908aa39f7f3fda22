#include "daemon/nic.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "daemon/registration.h"
#include "daemon/thread.h"

#define WHY_BYTES (IST_LOG_LINE_MAX / 2)

struct ist_nic {
    struct ist_nic_config config;
    struct ist_nic_service service;

    /* The loop's, but while a thread is at work the thread's. */
    struct ist_device *device;             /* NULL: none */
    struct ist_registration *registration; /* of the whole pool; NULL: none */
    bool has_found;                        /* a device, whether of use or not */
    char why[WHY_BYTES];                   /* there is none of use */

    bool has_thread;
    pthread_t thread;
    ev_async finished;
    ev_timer look;
    double look_sec; /* until the next time */
    struct ist_rdma *rdma;
    char told[WHY_BYTES]; /* the last `why` that the log has got */
    atomic_bool is_stopping;

    pthread_mutex_t
        preparing; /* held for as long as registering takes, but never by the loop; guards: */
    uint8_t *memory;
    uint64_t bytes;                  /* that were prepared */
    struct ist_registration *target; /* what comes is added to it; NULL: not now */

    pthread_mutex_t telling; /* never held for long; guards: */
    bool has_port;
    struct ist_nic_port port;
};

/* ---- devices: on a thread of its own, but for the first ------------------------------------------------- */

static void drop_device(struct ist_nic *nic) {
    pthread_mutex_lock(&nic->preparing);
    nic->target = NULL;
    pthread_mutex_unlock(&nic->preparing);
    ist_registration_free(nic->registration);
    ist_device_close(nic->device);
    nic->registration = NULL;
    nic->device = NULL;
}

/* What of the pool is there already; then whoever prepares it goes on. */
static void catch_up(struct ist_nic *nic) {
    uint64_t done = 0, left = 1;
    while (left > 0 && ist_registration_is_whole(nic->registration) &&
           !atomic_load(&nic->is_stopping)) {
        pthread_mutex_lock(&nic->preparing);
        left = nic->bytes - done;
        uint8_t *memory = nic->memory + done;
        nic->target = left == 0 ? nic->registration : NULL;
        pthread_mutex_unlock(&nic->preparing);
        /* No short part at the end: see ist_registration_add(). */
        uint64_t chunk = left < 2 * nic->config.chunk_bytes ? left : nic->config.chunk_bytes;
        if (chunk > 0) {
            ist_registration_add(nic->registration, memory, chunk);
            done += chunk;
        }
    }
}

/* Afterwards there is a device with the whole pool, or none. */
static enum ist_status find_device(struct ist_nic *nic) {
    enum ist_status status =
        ist_device_open(&nic->config.device, &nic->device, nic->why, sizeof(nic->why));
    nic->has_found = status == IST_OK;
    if (status != IST_OK) {
        return status;
    }
    status = ist_registration_new(nic->device, nic->config.segments_max, nic->config.pool_bytes_max,
                                  nic->config.device.alloc, nic->config.device.log, &nic->registration);
    if (status == IST_OK) {
        catch_up(nic);
        status = ist_registration_is_whole(nic->registration) ? IST_OK : IST_DEVICE;
    }
    if (status != IST_OK) {
        snprintf(nic->why, sizeof(nic->why), "the pool cannot be registered with %s",
                 ist_device_name(nic->device));
        drop_device(nic);
    }
    return status;
}

static void *work(void *context) {
    struct ist_nic *nic = context;
    drop_device(nic);
    (void)find_device(nic);
    ev_async_send(nic->service.rdma.loop, &nic->finished);
    return NULL;
}

/* ---- the loop ------------------------------------------------------------------------------------------- */

static void look_later(struct ist_nic *nic) {
    ev_timer_stop(nic->service.rdma.loop, &nic->look);
    ev_timer_set(&nic->look, nic->look_sec, 0.);
    ev_timer_start(nic->service.rdma.loop, &nic->look);
}

static void tell_port(struct ist_nic *nic, bool has_port) {
    pthread_mutex_lock(&nic->telling);
    nic->has_port = has_port;
    if (has_port) {
        snprintf(nic->port.device, sizeof(nic->port.device), "%s", ist_device_name(nic->device));
        nic->port.port = ist_device_port(nic->device);
    }
    pthread_mutex_unlock(&nic->telling);
}

/* The connections end now; there is nothing to be had from the device. */
static void on_died(void *context) {
    struct ist_nic *nic = context;
    tell_port(nic, false);
    ist_log_warning(nic->config.device.log, 0,
                    "no RDMA any more on %s, serving TCP only: looking for a device",
                    ist_device_name(nic->device));
    look_later(nic);
}

/* What was found is served on; or was of no use, and is tried less often. */
static void serve(struct ist_nic *nic) {
    struct ist_rdma_config config = nic->service.rdma;
    config.device = nic->device;
    config.registration = nic->registration;
    config.died = on_died;
    config.died_context = nic;
    if (nic->device != NULL && ist_rdma_new(&config, &nic->rdma) == IST_OK) {
        nic->look_sec = nic->config.look_sec;
        tell_port(nic, true);
        return;
    }
    if (nic->device != NULL) {
        snprintf(nic->why, sizeof(nic->why), "%s cannot be used", ist_device_name(nic->device));
    }
    look_later(nic);
    nic->look_sec = !nic->has_found                            ? nic->config.look_sec
                    : 2 * nic->look_sec < IST_NIC_LOOK_SEC_MAX ? 2 * nic->look_sec
                                                               : IST_NIC_LOOK_SEC_MAX;
}

/* Why there is none: once, unless it becomes something else. */
void ist_nic_announce(struct ist_nic *nic) {
    const struct ist_log *log = nic->config.device.log;
    if (nic->rdma != NULL) {
        ist_log_info(log, 0, "RDMA on %s port %u, for up to %u clients", ist_device_name(nic->device),
                     ist_device_port(nic->device), ist_rdma_connections_max(nic->rdma));
        nic->told[0] = '\0';
    } else if (strcmp(nic->told, nic->why) != 0) {
        ist_log_write(log, nic->config.is_wanted ? IST_LOG_WARNING : IST_LOG_INFO, 0,
                      "no RDMA, serving TCP only: %s", nic->why);
        memcpy(nic->told, nic->why, sizeof(nic->told));
    }
}

static void on_finished(struct ev_loop *loop, ev_async *async, int revents) {
    (void)loop;
    (void)revents;
    struct ist_nic *nic = async->data;
    pthread_join(nic->thread, NULL);
    nic->has_thread = false;
    serve(nic);
    ist_nic_announce(nic);
    if (nic->rdma != NULL) {
        nic->service.changed(nic->service.context, nic->rdma);
    }
}

static void on_look(struct ev_loop *loop, ev_timer *timer, int revents) {
    (void)loop;
    (void)revents;
    struct ist_nic *nic = timer->data;
    if (nic->rdma != NULL && ist_rdma_connections(nic->rdma) > 0) {
        look_later(nic); /* they are about to end */
        return;
    }
    if (nic->rdma != NULL) {
        nic->service.changed(nic->service.context, NULL);
        ist_rdma_free(nic->rdma);
        nic->rdma = NULL;
    }
    nic->has_thread = ist_thread_start(&nic->thread, work, nic) == 0;
    if (!nic->has_thread) {
        look_later(nic);
    }
}

/* ---- what others call ----------------------------------------------------------------------------------- */

enum ist_status ist_nic_new(const struct ist_nic_config *config, struct ist_nic **nic) {
    struct ist_nic *new = ist_allocate_zeroed(config->device.alloc, 1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->config = *config;
    new->look_sec = config->look_sec;
    atomic_init(&new->is_stopping, false);
    pthread_mutex_init(&new->preparing, NULL);
    pthread_mutex_init(&new->telling, NULL);
    if (find_device(new) == IST_NO_MEMORY) {
        ist_nic_free(new);
        return IST_NO_MEMORY;
    }
    *nic = new;
    return IST_OK;
}

void ist_nic_free(struct ist_nic *nic) {
    if (nic == NULL) {
        return;
    }
    drop_device(nic);
    pthread_mutex_destroy(&nic->preparing);
    pthread_mutex_destroy(&nic->telling);
    ist_release(nic->config.device.alloc, nic);
}

void ist_nic_prepare(struct ist_nic *nic, uint8_t *memory, uint64_t bytes) {
    pthread_mutex_lock(&nic->preparing);
    nic->memory = nic->bytes == 0 ? memory : nic->memory;
    nic->bytes += bytes;
    if (nic->target != NULL) {
        ist_registration_add(nic->target, memory, bytes);
    }
    pthread_mutex_unlock(&nic->preparing);
}

void ist_nic_start(struct ist_nic *nic, const struct ist_nic_service *service) {
    nic->service = *service;
    ev_async_init(&nic->finished, on_finished);
    ev_init(&nic->look, on_look);
    nic->finished.data = nic;
    nic->look.data = nic;
    ev_async_start(service->rdma.loop, &nic->finished);
    serve(nic);
}

void ist_nic_stop(struct ist_nic *nic) {
    if (nic == NULL || nic->service.rdma.loop == NULL) {
        return;
    }
    atomic_store(&nic->is_stopping, true);
    if (nic->has_thread) {
        pthread_join(nic->thread, NULL);
        nic->has_thread = false;
    }
    ev_timer_stop(nic->service.rdma.loop, &nic->look);
    ev_async_stop(nic->service.rdma.loop, &nic->finished);
    tell_port(nic, false);
    ist_rdma_free(nic->rdma);
    nic->rdma = NULL;
    nic->service.rdma.loop = NULL;
}

struct ist_rdma *ist_nic_rdma(const struct ist_nic *nic) {
    return nic->rdma;
}

bool ist_nic_port(struct ist_nic *nic, struct ist_nic_port *port) {
    pthread_mutex_lock(&nic->telling);
    bool has_port = nic->has_port;
    *port = nic->port;
    pthread_mutex_unlock(&nic->telling);
    return has_port;
}
