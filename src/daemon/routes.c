#include "daemon/routes.h"

#include <string.h>

#include "base/json.h"
#include "base/size.h"
#include "daemon/clock.h"
#include "daemon/pages.h"
#include "daemon/selftest.h"
#include "infinistore/infinistore.h"

#define JSON "application/json"

/* ---- bodies ----------------------------------------------------------------------------------------- */

/* Takes the finished text over. */
static void finish(struct ist_json *json, unsigned status, struct ist_route_answer *answer) {
    const char *text = ist_json_text(json);
    *answer = (struct ist_route_answer){.status = status, .type = JSON};
    if (text == NULL) {
        ist_json_fini(json);
        answer->status = 503;
        return;
    }
    answer->body = json->text;
}

void ist_routes_refuse(const struct ist_alloc *alloc, unsigned status, const char *why,
                       struct ist_route_answer *answer) {
    struct ist_json json;
    ist_json_init(&json, alloc);
    ist_json_object(&json);
    ist_json_key(&json, "error");
    ist_json_string(&json, why);
    ist_json_end(&json);
    finish(&json, status, answer);
}

/* Is it time for another warning of what anybody can cause? Of several threads one gets the yes. */
static bool may_warn(struct ist_routes *routes) {
    uint64_t now_ns = ist_clock_ns();
    uint64_t quiet_until_ns = atomic_load(&routes->quiet_until_ns);
    return now_ns >= quiet_until_ns &&
           atomic_compare_exchange_strong(&routes->quiet_until_ns, &quiet_until_ns,
                                          now_ns + IST_ROUTES_WARNING_REST_NS);
}

/* {"status": "ok", "NAME": count}; the status is left out when name_only. */
static void answer_count(struct ist_routes *routes, const char *name, uint64_t count, bool name_only,
                         struct ist_route_answer *answer) {
    struct ist_json json;
    ist_json_init(&json, routes->alloc);
    ist_json_object(&json);
    if (!name_only) {
        ist_json_key(&json, "status");
        ist_json_string(&json, "ok");
    }
    ist_json_key(&json, name);
    ist_json_uint(&json, count);
    ist_json_end(&json);
    finish(&json, 200, answer);
}

/* False: the loop did not answer, and that is the answer. */
static bool call(struct ist_routes *routes, const struct ist_control_request *request,
                 uint64_t timeout_ns, struct ist_control_answer *control,
                 struct ist_route_answer *answer) {
    enum ist_status status = ist_control_call(routes->control, request, timeout_ns, control);
    if (status != IST_OK) {
        ist_routes_refuse(routes->alloc, 503,
                          status == IST_NO_SPACE ? "too many requests at a time"
                          : status == IST_PEER   ? "the daemon is shutting down"
                                                 : "the daemon does not answer in time",
                          answer);
    }
    return status == IST_OK;
}

/* ---- the pages -------------------------------------------------------------------------------------- */

static void get_health(struct ist_routes *routes, const struct ist_route_request *request,
                       struct ist_route_answer *answer) {
    (void)request;
    struct ist_control_answer control;
    const struct ist_control_request draining = {.command = IST_COMMAND_DRAINING};
    if (call(routes, &draining, IST_ROUTES_HEALTH_TIMEOUT_NS, &control, answer)) {
        bool drains = control.count != 0;
        struct ist_json json;
        ist_json_init(&json, routes->alloc);
        ist_json_object(&json);
        ist_json_key(&json, "status");
        ist_json_string(&json, drains ? "draining" : "ok");
        ist_json_end(&json);
        finish(&json, drains ? 503 : 200, answer);
    }
}

static void get_kvmap_len(struct ist_routes *routes, const struct ist_route_request *request,
                          struct ist_route_answer *answer) {
    (void)request;
    struct ist_control_answer control;
    const struct ist_control_request keys = {.command = IST_COMMAND_KEYS};
    if (call(routes, &keys, IST_ROUTES_TIMEOUT_NS, &control, answer)) {
        answer_count(routes, "len", control.count, true, answer);
    }
}

static void get_figures(struct ist_routes *routes, bool metrics, struct ist_route_answer *answer) {
    struct ist_control_answer control;
    const struct ist_control_request stats = {.command = IST_COMMAND_STATS};
    if (!call(routes, &stats, IST_ROUTES_TIMEOUT_NS, &control, answer)) {
        return;
    }
    const struct ist_page_facts facts = {.version = IST_VERSION,
                                         .started_at_sec = routes->started_at_sec,
                                         .uptime_sec =
                                             (ist_clock_ns() - routes->started_at_ns) / IST_NS_PER_SEC};
    char *body = metrics ? ist_page_metrics(routes->alloc, &control.stats, &facts)
                         : ist_page_stats(routes->alloc, &control.stats, &facts);
    *answer = (struct ist_route_answer){
        .status = body == NULL ? 503 : 200,
        .type = metrics ? "text/plain; version=0.0.4; charset=utf-8" : JSON,
        .body = body,
    };
}

static void get_stats(struct ist_routes *routes, const struct ist_route_request *request,
                      struct ist_route_answer *answer) {
    (void)request;
    get_figures(routes, false, answer);
}

static void get_metrics(struct ist_routes *routes, const struct ist_route_request *request,
                        struct ist_route_answer *answer) {
    (void)request;
    get_figures(routes, true, answer);
}

/* One run over one transport. */
static bool run_selftest(struct ist_routes *routes, const struct ist_selftest_rdma *rdma,
                         struct ist_selftest *test) {
    bool good = ist_selftest_run(routes->service, rdma, IST_ROUTES_SELFTEST_TIMEOUT_NS, test);
    if (!good && may_warn(routes)) {
        ist_log_error(routes->log, 0, "self-test over %s: %s failed at %s: %s",
                      rdma == NULL ? "TCP" : "RDMA", test->failed, test->endpoint, test->error);
    }
    return good;
}

/* The members that tell of it, into an object that is open. */
static void say_selftest(struct ist_json *json, const struct ist_selftest *test) {
    ist_json_key(json, "seconds");
    ist_json_object(json);
    for (size_t i = 0; i < test->step_count; i++) {
        ist_json_key(json, test->steps[i].name);
        ist_json_double(json, (double)test->steps[i].elapsed_ns / 1e9);
    }
    ist_json_end(json);
    if (test->failed != NULL) {
        ist_json_key(json, "failed");
        ist_json_string(json, test->failed);
        ist_json_key(json, "error");
        ist_json_string(json, test->error);
    }
}

static void get_selftest(struct ist_routes *routes, const struct ist_route_request *request,
                         struct ist_route_answer *answer) {
    (void)request;
    struct ist_selftest tcp, rdma;
    struct ist_selftest_rdma port;
    bool good = run_selftest(routes, NULL, &tcp), rdma_good = true;
    bool has_rdma = routes->rdma.find != NULL && routes->rdma.find(routes->rdma.context, &port);
    if (has_rdma) {
        rdma_good = run_selftest(routes, &port, &rdma);
    }
    struct ist_json json;
    ist_json_init(&json, routes->alloc);
    ist_json_object(&json);
    ist_json_key(&json, "status");
    ist_json_string(&json, good && rdma_good ? "ok" : "failed");
    ist_json_key(&json, "transport");
    ist_json_string(&json, "tcp");
    ist_json_key(&json, "endpoint");
    ist_json_string(&json, tcp.endpoint);
    say_selftest(&json, &tcp);
    if (has_rdma) {
        ist_json_key(&json, "rdma");
        ist_json_object(&json);
        ist_json_key(&json, "status");
        ist_json_string(&json, rdma_good ? "ok" : "failed");
        ist_json_key(&json, "device");
        ist_json_string(&json, port.device);
        say_selftest(&json, &rdma);
        ist_json_end(&json);
    }
    ist_json_end(&json);
    finish(&json, good && rdma_good ? 200 : 503, answer);
}

static void post_purge(struct ist_routes *routes, const struct ist_route_request *request,
                       struct ist_route_answer *answer) {
    (void)request;
    struct ist_control_answer control;
    const struct ist_control_request purge = {.command = IST_COMMAND_PURGE};
    if (call(routes, &purge, IST_ROUTES_TIMEOUT_NS, &control, answer)) {
        ist_log_info(routes->log, 0, "POST /purge: %llu keys went", (unsigned long long)control.count);
        answer_count(routes, "num", control.count, false, answer);
    }
}

static void post_evict(struct ist_routes *routes, const struct ist_route_request *request,
                       struct ist_route_answer *answer) {
    struct ist_control_answer control;
    struct ist_control_request evict = {.command = IST_COMMAND_EVICT_TO, .share = routes->evict_share};
    if (request->has_bytes) {
        evict.command = IST_COMMAND_EVICT;
        if (request->bytes == NULL || ist_size_parse(request->bytes, 1, &evict.bytes) != IST_OK) {
            ist_routes_refuse(routes->alloc, 400, "bytes: not a size, e.g. 1048576 or 512M", answer);
            return;
        }
    }
    if (call(routes, &evict, IST_ROUTES_TIMEOUT_NS, &control, answer)) {
        ist_log_info(routes->log, 0, "POST /evict: %llu bytes went", (unsigned long long)control.count);
        answer_count(routes, "evicted_bytes", control.count, false, answer);
    }
}

/* ---- which ------------------------------------------------------------------------------------------ */

static const struct route {
    const char *path;
    bool is_post;
    void (*answer)(struct ist_routes *, const struct ist_route_request *, struct ist_route_answer *);
} table[] = {
    {"/health", false, get_health},     {"/metrics", false, get_metrics},
    {"/stats", false, get_stats},       {"/kvmap_len", false, get_kvmap_len},
    {"/selftest", false, get_selftest}, {"/purge", true, post_purge},
    {"/evict", true, post_evict},
};

static const struct route *find_route(const char *path) {
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(table[i].path, path) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

void ist_routes_answer(struct ist_routes *routes, const struct ist_route_request *request,
                       struct ist_route_answer *answer) {
    const struct route *route = find_route(request->path);
    if (route == NULL) {
        ist_routes_refuse(routes->alloc, 404, "there is no such page", answer);
        return;
    }
    bool is_read = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
    bool is_post = strcmp(request->method, "POST") == 0;
    if (route->is_post ? !is_post : !is_read) {
        ist_routes_refuse(routes->alloc, 405, "this page has another method", answer);
        answer->allow = route->is_post ? "POST" : "GET, HEAD";
        return;
    }
    if (route->is_post && !request->may_change) {
        if (may_warn(routes)) {
            ist_log_warning(routes->log, 0,
                            "POST %s refused: neither from this machine nor with the token",
                            route->path);
        }
        ist_routes_refuse(routes->alloc, 403,
                          "only from the machine itself, or with the token of --manage-token-file",
                          answer);
        return;
    }
    route->answer(routes, request, answer);
}
