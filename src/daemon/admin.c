#include "daemon/admin.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <microhttpd.h>

#include "base/assert.h"
#include "daemon/bind.h"
#include "daemon/clock.h"
#include "daemon/routes.h"
#include "daemon/token.h"

struct server {
    struct MHD_Daemon *daemon;
    char address[IST_BOUND_ADDRESS_BYTES];
};

struct ist_admin {
    struct ist_admin_config config;
    struct ist_routes routes;
    struct ist_token token;
    struct server servers[IST_ADMIN_ADDRESSES_MAX];
    size_t count;
};

/* How far a request has come; what *con_cls points to. */
enum stage { STAGE_TOO_LONG, STAGE_BODY };
static const enum stage stage_too_long = STAGE_TOO_LONG, stage_body = STAGE_BODY;

/* ---- who asks --------------------------------------------------------------------------------------- */

static bool is_loopback(const struct sockaddr *address) {
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
        return ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
        return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
               (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && v6->sin6_addr.s6_addr[12] == IN_LOOPBACKNET);
    }
    return false;
}

/* A browser sends Origin with every POST, a proxy says for whom it asks. */
static bool is_passed_on(struct MHD_Connection *connection) {
    static const char *const headers[] = {MHD_HTTP_HEADER_ORIGIN, MHD_HTTP_HEADER_FORWARDED,
                                          MHD_HTTP_HEADER_VIA, "X-Forwarded-For"};
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        if (MHD_lookup_connection_value(connection, MHD_HEADER_KIND, headers[i]) != NULL) {
            return true;
        }
    }
    return false;
}

static bool may_change(const struct ist_admin *admin, struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *peer =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const char *authorization =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
    return ist_token_matches(&admin->token, authorization) ||
           (peer != NULL && peer->client_addr != NULL && is_loopback(peer->client_addr) &&
            !is_passed_on(connection));
}

/* ---- one request ------------------------------------------------------------------------------------ */

/* Takes the answer's body over. */
static enum MHD_Result send_answer(const struct ist_admin *admin, struct MHD_Connection *connection,
                                   struct ist_route_answer *answer) {
    static char no_memory[] = "{\"error\":\"out of memory\"}";
    char *body = answer->body == NULL ? no_memory : answer->body;
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(body), body, MHD_RESPMEM_MUST_COPY);
    ist_release(admin->config.alloc, answer->body);
    if (response == NULL) {
        return MHD_NO; /* closes the connection */
    }
    bool complete =
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer->type) == MHD_YES &&
        MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store") == MHD_YES &&
        (answer->allow == NULL ||
         MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, answer->allow) == MHD_YES);
    enum MHD_Result result =
        complete ? MHD_queue_response(connection, answer->status, response) : MHD_NO;
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result refuse(const struct ist_admin *admin, struct MHD_Connection *connection,
                              unsigned status, const char *why) {
    struct ist_route_answer answer;
    ist_routes_refuse(admin->config.alloc, status, why, &answer);
    return send_answer(admin, connection, &answer);
}

static enum MHD_Result count_length(void *context, enum MHD_ValueKind kind, const char *name,
                                    const char *value) {
    (void)kind;
    (void)value;
    unsigned *count = context;
    *count += strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0;
    return MHD_YES;
}

/* What the headers announce as a body: 0, or the status with which it is refused. Two lengths, or one that two
 * parsers could read differently, are how requests are smuggled. */
static unsigned judge_body(struct MHD_Connection *connection) {
    unsigned lengths = 0;
    MHD_get_connection_values(connection, MHD_HEADER_KIND, count_length, &lengths);
    const char *length =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    if (MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING) !=
        NULL) {
        return 411;
    }
    if (length == NULL && lengths == 0) {
        return 0;
    }
    if (lengths > 1 || length == NULL || length[0] == '\0' ||
        strspn(length, "0123456789") != strlen(length)) {
        return 400;
    }
    return strtoull(length, NULL, 10) <= IST_ADMIN_BODY_BYTES_MAX ? 0 : 413;
}

static enum MHD_Result answer_page(struct ist_admin *admin, struct MHD_Connection *connection,
                                   const char *path, const char *method) {
    struct ist_route_request request = {
        .method = method, .path = path, .may_change = may_change(admin, connection)};
    request.has_bytes = MHD_lookup_connection_value_n(connection, MHD_GET_ARGUMENT_KIND, "bytes", 5,
                                                      &request.bytes, NULL) == MHD_YES;
    struct ist_route_answer answer;
    ist_routes_answer(&admin->routes, &request, &answer);
    return send_answer(admin, connection, &answer);
}

/* Called with the headers, with each piece of the body, and at the end. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *data,
                                  size_t *data_bytes, void **con_cls) {
    (void)version;
    (void)data;
    struct ist_admin *admin = context;
    if (*con_cls == &stage_too_long) {
        return refuse(admin, connection, 414, "the URL is too long");
    }
    if (*con_cls == NULL) {
        unsigned status = judge_body(connection);
        *con_cls = (void *)(uintptr_t)&stage_body;
        return status == 0 ? MHD_YES
                           : refuse(admin, connection, status, "this body is not accepted here");
    }
    if (*data_bytes > 0) {
        *data_bytes = 0; /* nobody reads it */
        return MHD_YES;
    }
    return answer_page(admin, connection, path, method);
}

/* The first to see a request. What it returns is in *con_cls. */
static void *on_url(void *context, const char *url, struct MHD_Connection *connection) {
    (void)context;
    (void)connection;
    return strlen(url) > IST_ADMIN_URL_BYTES_MAX ? (void *)(uintptr_t)&stage_too_long : NULL;
}

__attribute__((format(printf, 2, 0))) static void on_log(void *context, const char *format,
                                                         va_list arguments) {
    const struct ist_admin *admin = context;
    char line[IST_LOG_LINE_MAX];
    if (vsnprintf(line, sizeof(line), format, arguments) > 0) {
        line[strcspn(line, "\n")] = '\0';
        ist_log_debug(admin->config.log, 0, "HTTP: %s", line);
    }
}

/* ---- start and end ---------------------------------------------------------------------------------- */

/* Signals are for the loop's thread. poll: select would end at 1,024 descriptors. */
static struct MHD_Daemon *start_daemon(struct ist_admin *admin, int fd) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, admin,
        MHD_OPTION_EXTERNAL_LOGGER, on_log, admin, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_URI_LOG_CALLBACK, on_url, admin, MHD_OPTION_CONNECTION_LIMIT,
        IST_ADMIN_CONNECTIONS_MAX, MHD_OPTION_PER_IP_CONNECTION_LIMIT, IST_ADMIN_CONNECTIONS_OF_ONE,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)IST_ADMIN_CONNECTION_BYTES,
        MHD_OPTION_CONNECTION_TIMEOUT, IST_ADMIN_IDLE_SEC, MHD_OPTION_END);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return daemon;
}

/* Serves one socket, which is the daemon's from now on, whatever comes of it. */
static bool serve(struct ist_admin *admin, const struct ist_bound *bound) {
    if (admin->count == IST_ADMIN_ADDRESSES_MAX) {
        ist_log_error(admin->config.log, 0, "cannot serve HTTP on %s: more than %d addresses",
                      bound->address, IST_ADMIN_ADDRESSES_MAX);
        close(bound->fd);
        return false;
    }
    struct server *server = &admin->servers[admin->count];
    server->daemon = start_daemon(admin, bound->fd);
    if (server->daemon == NULL) {
        /* It has closed the socket nevertheless (libmicrohttpd 0.9.75, without memory or threads). */
        ist_log_error(admin->config.log, 0, "cannot serve HTTP on %s: no thread or no memory",
                      bound->address);
        return false;
    }
    memcpy(server->address, bound->address, sizeof(server->address));
    admin->count++;
    return true;
}

static enum ist_status serve_host(struct ist_admin *admin, const char *host) {
    struct ist_bound bound[IST_BOUND_MAX];
    size_t count = 0;
    enum ist_status status =
        ist_bind_tcp(admin->config.log, host, admin->config.config->manage_port, bound, &count);
    for (size_t i = 0; i < count; i++) {
        if (status != IST_OK) {
            close(bound[i].fd);
        } else if (!serve(admin, &bound[i])) {
            status = IST_CONFIG;
        }
    }
    return status;
}

enum ist_status ist_admin_new(const struct ist_admin_config *config, struct ist_admin **admin) {
    struct ist_admin *new = ist_allocate_zeroed(config->alloc, 1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->config = *config;
    new->routes = (struct ist_routes){.control = config->control,
                                      .alloc = config->alloc,
                                      .log = config->log,
                                      .service = config->service,
                                      .rdma = config->rdma,
                                      .evict_share = config->config->evict_min_threshold,
                                      .started_at_sec = (uint64_t)time(NULL),
                                      .started_at_ns = ist_clock_ns()};
    enum ist_status status = IST_OK;
    if (config->config->manage_token_file != NULL) {
        status = ist_token_read(config->log, config->config->manage_token_file, &new->token);
    }
    for (size_t i = 0; i < config->config->host_count && status == IST_OK; i++) {
        status = serve_host(new, config->config->hosts[i]);
    }
    if (status != IST_OK) {
        ist_admin_free(new);
        return status;
    }
    *admin = new;
    return IST_OK;
}

void ist_admin_free(struct ist_admin *admin) {
    if (admin == NULL) {
        return;
    }
    for (size_t i = 0; i < admin->count; i++) {
        MHD_stop_daemon(admin->servers[i].daemon); /* closes the socket, too */
    }
    ist_release(admin->config.alloc, admin);
}

const char *ist_admin_address(const struct ist_admin *admin, size_t n) {
    return n < admin->count ? admin->servers[n].address : NULL;
}
