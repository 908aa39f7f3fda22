#include "tests/integration/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/integration/raw.h"

#define REPLY_BYTES_MAX (8 * MIB)

void http_send(const struct server *server, const void *bytes, size_t count, struct http_reply *reply) {
    *reply = (struct http_reply){.text = malloc(REPLY_BYTES_MAX + 1)};
    assert_non_null(reply->text);
    int fd = raw_connect(server->manage[0]);
    (void)raw_send(fd, bytes, count); /* refusing the rest is an answer, too */
    reply->bytes = raw_read(fd, reply->text, REPLY_BYTES_MAX);
    close(fd);
    reply->text[reply->bytes] = '\0';
    int status = 0;
    if (sscanf(reply->text, "HTTP/1.%*1d %3d", &status) == 1) {
        reply->status = status;
    }
    char *body = strstr(reply->text, "\r\n\r\n");
    reply->body = body == NULL ? "" : body + 4;
}

void http_request(const struct server *server, const char *method, const char *path,
                  const char *headers, struct http_reply *reply) {
    struct bytes request = {0};
    bytes_add(&request, method, strlen(method));
    bytes_add(&request, " ", 1);
    bytes_add(&request, path, strlen(path));
    static const char common[] = " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    bytes_add(&request, common, strlen(common));
    if (strcmp(method, "POST") == 0) {
        static const char empty[] = "Content-Length: 0\r\n";
        bytes_add(&request, empty, strlen(empty));
    }
    bytes_add(&request, headers, strlen(headers));
    bytes_add(&request, "\r\n", 2);
    http_send(server, request.data, request.count, reply);
    bytes_free(&request);
}

void http_free(struct http_reply *reply) {
    free(reply->text);
    *reply = (struct http_reply){0};
}

/* The value behind `name` in the text of /metrics; 0 when there are only others of its family: a counter that has
 * not yet counted is left out. */
static double find_sample(const char *text, const char *name) {
    size_t bytes = strlen(name), family_bytes = strcspn(name, "{");
    bool has_family = false;
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, bytes) == 0 && line[bytes] == ' ') {
            return strtod(line + bytes, NULL);
        }
        has_family |= strncmp(line, name, family_bytes) == 0 && line[family_bytes] == '{';
    }
    if (!has_family || name[family_bytes] == '\0') {
        fail_msg("/metrics knows no %s", name);
    }
    return 0;
}

double server_metric(const struct server *server, const char *name) {
    struct http_reply reply;
    http_request(server, "GET", "/metrics", "", &reply);
    assert_int_equal(reply.status, 200);
    double value = find_sample(reply.body, name);
    http_free(&reply);
    return value;
}

uint64_t server_pool_bytes(const struct server *server, const char *state) {
    static const char *const states[] = {"free", "reserved", "committed", "doomed"};
    struct http_reply reply;
    http_request(server, "GET", "/metrics", "", &reply);
    assert_int_equal(reply.status, 200);
    double sum = 0, wanted = -1;
    for (size_t i = 0; i < 4; i++) {
        char name[64];
        snprintf(name, sizeof(name), "infinistore_pool_bytes{state=\"%s\"}", states[i]);
        assert_non_null(strstr(reply.body, name));
        double value = find_sample(reply.body, name);
        sum += value;
        if (strcmp(states[i], state) == 0) {
            wanted = value;
        }
    }
    double size = find_sample(reply.body, "infinistore_pool_size_bytes");
    assert_true(size > 0 && sum == size);
    http_free(&reply);
    assert_true(wanted >= 0);
    return (uint64_t)wanted;
}

bool server_is_idle(const struct server *server) {
    return server_pool_bytes(server, "reserved") == 0 && server_pool_bytes(server, "doomed") == 0 &&
           server_metric(server, "infinistore_pinned_entries") == 0;
}
