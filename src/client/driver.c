#include "client/driver.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "client/clock.h"

#define TURNS_MAX 64u /* of one call of ist_client_process() */
#define LOOKS 16u     /* for a message, before others get the CPU */

/* ---- those who wait elsewhere --------------------------------------------------------------------------- */

static void settle(struct ist_driver *driver);

/* Whoever waits for the epoll descriptor will be woken when there is something to do. A timer that is early costs one
 * call of ist_client_process(); moving it with each request would cost more. */
static void arm(struct ist_driver *driver, uint64_t now_ns) {
    bool moved = true;
    for (unsigned turns = 0; moved && turns < TURNS_MAX; turns++) {
        moved = ist_connection_arm(&driver->connection, now_ns);
        if (moved) {
            settle(driver);
        }
    }
    if (!ist_wakeup_watch(&driver->wakeup, &driver->connection)) {
        ist_connection_close(&driver->connection, IST_PEER);
        settle(driver);
    }
    uint64_t at_ns = ist_connection_deadline_ns(&driver->connection);
    if (at_ns < driver->wakeup.timer_ns) {
        ist_wakeup_set_timer(&driver->wakeup, at_ns);
    }
    if (moved || (driver->first_due != NULL && !driver->calling)) {
        ist_wakeup_set_event(&driver->wakeup);
    }
}

/* ---- beginning and end --------------------------------------------------------------------------------- */

enum ist_status ist_driver_init(struct ist_driver *driver, struct ist_endpoints *endpoints,
                                const struct ist_driver_config *config) {
    *driver = (struct ist_driver){.config = *config};
    if (!ist_wakeup_open(&driver->wakeup)) {
        return IST_NO_MEMORY;
    }
    if (!ist_baton_init(&driver->baton)) {
        goto close_wakeup;
    }
    driver->config.connection.closing = ist_wakeup_forget;
    driver->config.connection.closing_arg = &driver->wakeup;
    if (ist_connection_init(&driver->connection, endpoints, &driver->config.connection) != IST_OK) {
        goto end_baton;
    }
    return IST_OK;

end_baton:
    ist_baton_fini(&driver->baton);
close_wakeup:
    ist_wakeup_close(&driver->wakeup);
    return IST_NO_MEMORY;
}

static size_t run_callbacks(struct ist_driver *driver, struct ist_waiter *leading);

void ist_driver_fini(struct ist_driver *driver) {
    ist_baton_take(&driver->baton);
    IST_ASSERT(driver->leader == NULL && driver->first_follower == NULL && !driver->calling);
    driver->ending = true;
    ist_connection_close(&driver->connection, IST_PEER);
    settle(driver);
    (void)run_callbacks(driver, NULL);
    IST_ASSERT(driver->first_fresh == NULL);
    ist_baton_give(&driver->baton);
    ist_connection_fini(&driver->connection);
    ist_baton_fini(&driver->baton);
    ist_wakeup_close(&driver->wakeup);
}

void ist_driver_leave(struct ist_driver *driver) {
    if (!ist_baton_try(&driver->baton)) {
        return; /* a thread of the parent's was at work at the fork(): nobody knows what is open */
    }
    if (driver->connection.fd >= 0) {
        close(driver->connection.fd);
    }
    ist_wakeup_close(&driver->wakeup);
}

/* ---- what is done -------------------------------------------------------------------------------------- */

/* The leader may wait for the wrong things by now. */
static void wake_leader(struct ist_driver *driver) {
    const struct ist_connection *connection = &driver->connection;
    if (driver->waiting &&
        (driver->leader->done || (driver->first_due != NULL && !driver->calling) ||
         !ist_connection_is_armed(connection) ||
         driver->waiting_for != ist_connection_generation(connection) ||
         (ist_connection_wait(connection, IST_SOURCE_SOCKET).events & ~driver->waiting_events) != 0 ||
         ist_connection_deadline_ns(connection) < driver->waiting_until_ns)) {
        ist_wakeup_set_event(&driver->wakeup);
    }
}

static void wake_waiter(struct ist_driver *driver, struct ist_waiter *waiter, enum ist_status status) {
    waiter->status = status;
    waiter->done = true;
    ist_sleeper_call(&waiter->sleeper, &driver->baton);
}

/* Takes what the exchange has done: blocking calls learn of it, callbacks become due. */
static void settle(struct ist_driver *driver) {
    struct ist_exchange *exchange = driver->connection.exchange;
    struct ist_request *request;
    while ((request = ist_exchange_next_done(exchange)) != NULL) {
        if (request->done == NULL) {
            driver->in_flight--;
            wake_waiter(driver, request->arg, request->status);
            ist_exchange_release(exchange, request);
        } else {
            request->next_done = NULL;
            *(driver->last_due == NULL ? &driver->first_due : &driver->last_due->next_done) = request;
            driver->last_due = request;
        }
    }
}

static bool is_caller(const struct ist_driver *driver) {
    return driver->calling && pthread_equal(driver->caller, pthread_self());
}

/* In the way of a callback. */
static void warn(struct ist_driver *driver) {
    char line[sizeof(driver->connection.why_tcp) + 64];
    snprintf(line, sizeof(line), "infinistore: no RDMA, using TCP: %s", driver->connection.why_tcp);
    driver->connection.warning_is_due = false;
    if (driver->config.warn != NULL) {
        ist_baton_give(&driver->baton);
        driver->config.warn(driver->config.warn_arg, line);
        ist_baton_take(&driver->baton);
    }
}

/* A callback may take long, or wait for what another thread does with this client: that one must not wait for us. */
static void step_down(struct ist_driver *driver) {
    driver->leader = NULL;
    if (driver->first_follower != NULL) {
        ist_sleeper_call(&driver->first_follower->sleeper, &driver->baton);
    } else if (driver->asynchronous > 0) {
        arm(driver, ist_client_now_ns());
    }
}

/* All that are due, and become due meanwhile, unless another thread does it already. leading: the caller's, who leads until
 * then; or NULL. Returns how many. */
static size_t run_callbacks(struct ist_driver *driver, struct ist_waiter *leading) {
    size_t count = 0;
    if (driver->calling) {
        return 0;
    }
    driver->calling = true;
    driver->caller = pthread_self();
    if (leading != NULL) {
        step_down(driver);
    }
    if (driver->connection.warning_is_due) {
        warn(driver);
    }
    while (driver->first_due != NULL) {
        struct ist_request *request = driver->first_due;
        ist_done_fn done = request->done;
        void *arg = request->arg;
        enum ist_status status = request->status;
        driver->first_due = request->next_done;
        if (driver->first_due == NULL) {
            driver->last_due = NULL;
        }
        ist_exchange_release(driver->connection.exchange, request);
        driver->in_flight--;
        driver->asynchronous--;
        count++;
        ist_baton_give(&driver->baton);
        done(arg, status);
        ist_baton_take(&driver->baton);
    }
    driver->calling = false;
    return count;
}

/* ---- submitting ---------------------------------------------------------------------------------------- */

static enum ist_status may_submit(const struct ist_driver *driver, const struct ist_request *request) {
    if (driver->ending) {
        return IST_PEER;
    }
    if (request->done == NULL && is_caller(driver)) {
        return IST_INVALID;
    }
    return driver->in_flight >= IST_REQUESTS_IN_FLIGHT_MAX ? IST_AGAIN : IST_OK;
}

/* It may be submitted. */
static void hand_over(struct ist_driver *driver, struct ist_request *request, uint64_t now_ns) {
    enum ist_status status = ist_exchange_submit(driver->connection.exchange, request,
                                                 ist_later_ns(now_ns, request->timeout_ns));
    IST_ASSERT(status == IST_OK); /* there are never more in the exchange than in flight */
}

/* What a callback submits is sent when all callbacks have run. Then the clock is read, once for all. */
static void keep(struct ist_driver *driver, struct ist_request *request) {
    request->next_fresh = NULL;
    *(driver->last_fresh == NULL ? &driver->first_fresh : &driver->last_fresh->next_fresh) = request;
    driver->last_fresh = request;
}

/* now_ns: written unless a callback submits. */
static enum ist_status submit(struct ist_driver *driver, struct ist_request *request,
                              uint64_t timeout_ns, uint64_t *now_ns) {
    enum ist_status status = may_submit(driver, request);
    if (status != IST_OK) {
        ist_request_abort(request, status);
        ist_request_free(request);
        return status;
    }
    driver->in_flight++;
    driver->asynchronous += request->done != NULL;
    request->timeout_ns = timeout_ns;
    if (is_caller(driver)) {
        keep(driver, request);
        return IST_OK;
    }
    *now_ns = ist_client_now_ns();
    ist_connection_look(&driver->connection, *now_ns);
    hand_over(driver, request, *now_ns);
    ist_connection_open(&driver->connection, *now_ns);
    ist_connection_flush(&driver->connection, *now_ns);
    settle(driver);
    return IST_OK;
}

enum ist_status ist_driver_submit(struct ist_driver *driver, struct ist_request *request,
                                  uint64_t timeout_ns) {
    uint64_t now_ns = 0;
    ist_baton_take(&driver->baton);
    enum ist_status status = submit(driver, request, timeout_ns, &now_ns);
    if (status == IST_OK && !is_caller(driver)) {
        arm(driver, now_ns);
        wake_leader(driver);
    }
    ist_baton_give(&driver->baton);
    return status;
}

/* After callbacks: what they have submitted. */
static void flush(struct ist_driver *driver, uint64_t now_ns) {
    if (driver->first_fresh != NULL) {
        now_ns = ist_client_now_ns();
        ist_connection_look(&driver->connection, now_ns);
    }
    while (driver->first_fresh != NULL) {
        struct ist_request *request = driver->first_fresh;
        driver->first_fresh = request->next_fresh;
        hand_over(driver, request, now_ns);
    }
    driver->last_fresh = NULL;
    if (ist_exchange_in_flight(driver->connection.exchange) > 0) {
        ist_connection_open(&driver->connection, now_ns);
        ist_connection_flush(&driver->connection, now_ns);
        settle(driver);
    }
}

/* ---- working ------------------------------------------------------------------------------------------- */

/* leading: as above. It leads again afterwards, unless another has begun to. */
static size_t work(struct ist_driver *driver, struct ist_waiter *leading,
                   const short ready[IST_SOURCES], uint64_t now_ns) {
    ist_connection_run(&driver->connection, ready, now_ns);
    settle(driver);
    if (driver->first_due == NULL && !driver->connection.warning_is_due) {
        return 0;
    }
    size_t count = run_callbacks(driver, leading);
    flush(driver, now_ns);
    if (leading != NULL && driver->leader == NULL) {
        driver->leader = leading;
    } else if (driver->leader != leading) {
        wake_leader(driver);
    }
    return count;
}

/* Over a socket it costs as much to ask as to try; over RDMA one call tells of all sources. */
static void look_ready(const struct ist_driver *driver, short ready[IST_SOURCES]) {
    if (!ist_connection_is_remote(&driver->connection) || !ist_wakeup_look(&driver->wakeup, ready)) {
        for (unsigned i = 0; i < IST_SOURCES; i++) {
            ready[i] = POLLIN | POLLOUT;
        }
    }
}

size_t ist_driver_process(struct ist_driver *driver) {
    ist_baton_take(&driver->baton);
    size_t count = 0;
    if (!is_caller(driver)) {
        ist_wakeup_clear_event(&driver->wakeup);
        uint64_t now_ns = ist_client_now_ns();
        if (now_ns >= driver->wakeup.timer_ns) {
            ist_wakeup_set_timer(&driver->wakeup, IST_NO_DEADLINE_NS);
        }
        unsigned turns = 0;
        do {
            short ready[IST_SOURCES];
            look_ready(driver, ready);
            count += work(driver, NULL, ready, now_ns);
        } while (driver->connection.recv_more && ++turns < TURNS_MAX);
        arm(driver, now_ns);
        wake_leader(driver);
    }
    ist_baton_give(&driver->baton);
    return count;
}

/* Looks for messages without sleeping, as long as the user wants that and nobody's time is up. True: something has been done,
 * here or by others, who do not wake a leader that does not sleep. */
static bool spin(struct ist_driver *driver, uint64_t *now_ns) {
    uint64_t until_ns = ist_later_ns(*now_ns, driver->config.poll_ns);
    bool moved = false;
    while (!moved && *now_ns < until_ns && ist_connection_is_remote(&driver->connection) &&
           *now_ns < ist_connection_deadline_ns(&driver->connection)) {
        for (unsigned i = 0; i < LOOKS && !moved; i++) {
            moved = ist_connection_spin(&driver->connection, *now_ns);
        }
        if (!moved || ist_baton_is_wanted(&driver->baton)) {
            *now_ns = ist_baton_give_way(&driver->baton, until_ns); /* others may submit */
        }
        moved = moved || (driver->leader != NULL && driver->leader->done) ||
                (driver->first_due != NULL && !driver->calling);
    }
    return moved;
}

/* The leader waits for the connection, or for an event. What is ready: written. */
static void wait_ready(struct ist_driver *driver, short ready[IST_SOURCES], uint64_t now_ns) {
    const struct ist_connection *connection = &driver->connection;
    memset(ready, 0, IST_SOURCES * sizeof(*ready));
    if (spin(driver, &now_ns) || ist_connection_arm(&driver->connection, now_ns)) {
        return;
    }
    uint64_t until_ns = ist_connection_deadline_ns(connection);
    if (driver->first_due != NULL && !driver->calling) {
        until_ns = now_ns;
    }
    struct timespec timeout = ist_timespec_of(until_ns > now_ns ? until_ns - now_ns : 0);
    struct pollfd polled[IST_SOURCES + 1];
    for (unsigned i = 0; i < IST_SOURCES; i++) {
        struct ist_wait wait = ist_connection_wait(connection, (enum ist_connection_source)i);
        polled[i] = (struct pollfd){.fd = wait.fd, .events = wait.events};
    }
    polled[IST_SOURCES] = (struct pollfd){.fd = driver->wakeup.event_fd, .events = POLLIN};
    driver->waiting_for = ist_connection_generation(connection);
    driver->waiting_events = polled[IST_SOURCE_SOCKET].events;
    driver->waiting_until_ns = until_ns;
    driver->waiting = true;
    ist_baton_give(&driver->baton);
    int count = ppoll(polled, IST_SOURCES + 1, until_ns == IST_NO_DEADLINE_NS ? NULL : &timeout, NULL);
    ist_baton_take(&driver->baton);
    driver->waiting = false;
    if (count > 0 && polled[IST_SOURCES].revents != 0) {
        ist_wakeup_clear_event(&driver->wakeup);
    }
    for (unsigned i = 0;
         i < IST_SOURCES && count > 0 && driver->waiting_for == ist_connection_generation(connection);
         i++) {
        ready[i] = polled[i].revents;
    }
}

/* Until it is done, or another leads. */
static void lead(struct ist_driver *driver, struct ist_waiter *waiter, uint64_t now_ns) {
    driver->leader = waiter;
    while (!waiter->done && driver->leader == waiter) {
        short ready[IST_SOURCES];
        wait_ready(driver, ready, now_ns);
        now_ns = ist_client_now_ns();
        (void)work(driver, waiter, ready, now_ns);
    }
    if (driver->leader == waiter) {
        driver->leader = NULL;
    }
}

static void follow(struct ist_driver *driver, struct ist_waiter *waiter) {
    waiter->next = driver->first_follower;
    waiter->previous = NULL;
    if (waiter->next != NULL) {
        waiter->next->previous = waiter;
    }
    driver->first_follower = waiter;
    ist_sleeper_wait(&waiter->sleeper, &driver->baton);
    *(waiter->previous == NULL ? &driver->first_follower : &waiter->previous->next) = waiter->next;
    if (waiter->next != NULL) {
        waiter->next->previous = waiter->previous;
    }
}

/* Until it is done. */
static void wait_until_done(struct ist_driver *driver, struct ist_waiter *waiter, uint64_t now_ns) {
    while (!waiter->done) {
        if (driver->leader == NULL) {
            lead(driver, waiter, now_ns);
        } else {
            follow(driver, waiter);
            now_ns = ist_client_now_ns();
        }
    }
    /* Also when it did not lead: it may have been called to, and have been done meanwhile. */
    if (driver->leader == NULL) {
        if (driver->first_follower != NULL) {
            ist_sleeper_call(&driver->first_follower->sleeper, &driver->baton);
        }
        if (driver->asynchronous > 0) {
            arm(driver, now_ns);
        }
    }
}

enum ist_status ist_driver_call(struct ist_driver *driver, struct ist_request *request,
                                uint64_t timeout_ns) {
    struct ist_waiter waiter = {.sleeper = IST_SLEEPER_INITIALIZER};
    uint64_t now_ns = 0;
    request->done = NULL;
    request->arg = &waiter;
    ist_baton_take(&driver->baton);
    enum ist_status status = submit(driver, request, timeout_ns, &now_ns);
    if (status == IST_OK) {
        wake_leader(driver);
        wait_until_done(driver, &waiter, now_ns);
        status = waiter.status;
    }
    ist_baton_give(&driver->baton);
    return status;
}

enum ist_status ist_driver_connect(struct ist_driver *driver) {
    struct ist_connection *connection = &driver->connection;
    ist_baton_take(&driver->baton);
    uint64_t now_ns = ist_client_now_ns();
    ist_connection_open(connection, now_ns);
    while (connection->state != IST_CONNECTION_IDLE && connection->state != IST_CONNECTION_OPEN) {
        short ready[IST_SOURCES];
        wait_ready(driver, ready, now_ns);
        now_ns = ist_client_now_ns();
        (void)work(driver, NULL, ready, now_ns);
    }
    bool is_open = connection->state == IST_CONNECTION_OPEN;
    if (is_open) {
        arm(driver, now_ns);
    }
    ist_baton_give(&driver->baton);
    return is_open ? IST_OK : connection->failure;
}

uint64_t ist_driver_incarnation(struct ist_driver *driver) {
    ist_baton_take(&driver->baton);
    uint64_t incarnation = ist_exchange_incarnation(driver->connection.exchange);
    ist_baton_give(&driver->baton);
    return incarnation;
}

bool ist_driver_is_remote(struct ist_driver *driver) {
    ist_baton_take(&driver->baton);
    bool is_remote = ist_connection_is_remote(&driver->connection);
    ist_baton_give(&driver->baton);
    return is_remote;
}

void ist_driver_endpoint(struct ist_driver *driver, char *text, size_t text_bytes) {
    ist_baton_take(&driver->baton);
    const struct ist_connection *connection = &driver->connection;
    bool is_open = connection->state == IST_CONNECTION_OPEN;
    snprintf(text, text_bytes, "%s",
             is_open ? connection->endpoints.items[connection->endpoint].text : "");
    ist_baton_give(&driver->baton);
}

void ist_driver_why_tcp(struct ist_driver *driver, char *why, size_t why_bytes) {
    ist_baton_take(&driver->baton);
    snprintf(why, why_bytes, "%s", driver->connection.why_tcp);
    ist_baton_give(&driver->baton);
}

/* ---- memory -------------------------------------------------------------------------------------------- */

/* To pin many GiB takes seconds: others go on meanwhile. Returns AGAIN when there is another device, or none, afterwards. */
static enum ist_status try_register(struct ist_driver *driver, const struct ist_region_source *source) {
    struct ist_link *link = &driver->connection.link;
    struct ist_region region = {0};
    enum ist_status status = IST_OK;
    if (ist_regions_add_known(&link->regions, source, &status)) {
        return status;
    }
    struct ist_device_share *share = ist_link_share(link);
    if (share != NULL) {
        ist_baton_give(&driver->baton);
        status = ist_regions_register(share->device, source, &region);
        ist_baton_take(&driver->baton);
    }
    bool is_needed = status == IST_OK && share == link->share;
    if (share != link->share) {
        status = IST_AGAIN;
    } else if (is_needed && ist_regions_add_known(&link->regions, source, &status)) {
        is_needed = false; /* another thread has done the same */
    } else if (is_needed) {
        status = ist_regions_insert(&link->regions, source, &region);
        is_needed = status == IST_OK;
    }
    if (!is_needed) {
        ist_region_drop(&region);
    }
    ist_link_unshare(link, share);
    return status;
}

enum ist_status ist_driver_register(struct ist_driver *driver, const struct ist_region_source *source) {
    enum ist_status status;
    ist_baton_take(&driver->baton);
    do {
        status = try_register(driver, source);
    } while (status == IST_AGAIN);
    ist_baton_give(&driver->baton);
    return status;
}

enum ist_status ist_driver_unregister(struct ist_driver *driver, uint64_t address, uint64_t bytes) {
    struct ist_connection *connection = &driver->connection;
    struct ist_regions *regions = &connection->link.regions;
    ist_baton_take(&driver->baton);
    if (ist_regions_is_last(regions, address, bytes) &&
        ist_exchange_uses(connection->exchange, address, bytes)) {
        ist_connection_close(connection, IST_PEER);
        settle(driver);
        arm(driver, ist_client_now_ns());
        wake_leader(driver);
    }
    enum ist_status status = ist_regions_remove(regions, address, bytes);
    ist_baton_give(&driver->baton);
    return status;
}

size_t ist_driver_in_flight(struct ist_driver *driver) {
    ist_baton_take(&driver->baton);
    size_t in_flight = driver->in_flight;
    ist_baton_give(&driver->baton);
    return in_flight;
}
