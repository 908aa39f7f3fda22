#include "client/endpoint.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/span.h"

#define UNIX_PREFIX "unix:"
#define PORT_DIGITS_MAX 5u
#define PORT_MAX 65535u
#define SHOWN_BYTES_MAX 80u /* of a wrong endpoint, so that the cause is seen, too */

_Static_assert(sizeof(UNIX_PREFIX) + sizeof(((struct sockaddr_un *)0)->sun_path) <=
                   IST_ENDPOINT_TEXT_BYTES,
               "the longest path fits an endpoint's text");

static bool is_space(uint8_t byte) {
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static struct ist_span trimmed(struct ist_span text) {
    while (text.bytes > 0 && is_space(text.data[0])) {
        text.data++;
        text.bytes--;
    }
    while (text.bytes > 0 && is_space(text.data[text.bytes - 1])) {
        text.bytes--;
    }
    return text;
}

static void copy_text(char *out, struct ist_span text) {
    memcpy(out, text.data, text.bytes);
    out[text.bytes] = '\0';
}

static bool parse_port(struct ist_span text, uint16_t *port) {
    unsigned value = 0;
    if (text.bytes == 0 || text.bytes > PORT_DIGITS_MAX) {
        return false;
    }
    for (size_t i = 0; i < text.bytes; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        value = value * 10 + (text.data[i] - '0');
    }
    if (value == 0 || value > PORT_MAX) {
        return false;
    }
    *port = (uint16_t)value;
    return true;
}

/* Each parse_ function returns NULL, or what is wrong. */

static const char *parse_path(struct ist_span path, struct ist_server_endpoint *endpoint) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path.bytes == 0) {
        return "no path";
    }
    if (path.bytes >= sizeof(address.sun_path)) {
        return "a path that is too long for a socket";
    }
    copy_text(address.sun_path, path);
    memcpy(&endpoint->address.storage, &address, sizeof(address));
    endpoint->address.bytes = sizeof(address);
    return NULL;
}

static const char *parse_v6(struct ist_server_endpoint *endpoint) {
    char service[PORT_DIGITS_MAX + 1];
    snprintf(service, sizeof(service), "%u", endpoint->port);
    /* Not inet_pton(): it knows no scope, as in fe80::1%eth0. */
    const struct addrinfo hints = {
        .ai_family = AF_INET6, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found;
    if (getaddrinfo(endpoint->host, service, &hints, &found) != 0) {
        return "not an IPv6 address";
    }
    memcpy(&endpoint->address.storage, found->ai_addr, found->ai_addrlen);
    endpoint->address.bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return NULL;
}

static void parse_v4(struct ist_server_endpoint *endpoint) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(endpoint->port)};
    if (inet_pton(AF_INET, endpoint->host, &address.sin_addr) == 1) {
        memcpy(&endpoint->address.storage, &address, sizeof(address));
        endpoint->address.bytes = sizeof(address);
    }
}

/* host, host:port, [v6], [v6]:port */
static const char *parse_host(struct ist_span text, struct ist_server_endpoint *endpoint) {
    bool bracketed = text.data[0] == '[';
    const uint8_t *end = text.data + text.bytes;
    const uint8_t *colon = memchr(text.data, ':', text.bytes);
    struct ist_span host = ist_span_of(text.data, (size_t)((colon == NULL ? end : colon) - text.data));
    if (bracketed) {
        const uint8_t *bracket = memchr(text.data, ']', text.bytes);
        if (bracket == NULL) {
            return "a bracket that is not closed";
        }
        host = ist_span_of(text.data + 1, (size_t)(bracket - text.data - 1));
        colon = bracket + 1 < end ? bracket + 1 : NULL;
    }
    if (colon != NULL && !bracketed && memchr(colon + 1, ':', (size_t)(end - colon - 1)) != NULL) {
        return "an IPv6 address is written in brackets";
    }
    if (host.bytes == 0 || memchr(host.data, ' ', host.bytes) != NULL) {
        return "no host";
    }
    endpoint->port = IST_SERVICE_PORT;
    if (colon != NULL &&
        (*colon != ':' ||
         !parse_port(ist_span_of(colon + 1, (size_t)(end - colon - 1)), &endpoint->port))) {
        return "a port is a number from 1 to 65535";
    }
    if (host.bytes > IST_HOST_BYTES_MAX) {
        return "too long";
    }
    copy_text(endpoint->host, host);
    if (bracketed) {
        return parse_v6(endpoint);
    }
    parse_v4(endpoint);
    return NULL;
}

static const char *parse(struct ist_span text, struct ist_server_endpoint *endpoint) {
    const size_t prefix = strlen(UNIX_PREFIX);
    *endpoint = (struct ist_server_endpoint){0};
    if (text.bytes == 0) {
        return "empty";
    }
    if (text.bytes >= IST_ENDPOINT_TEXT_BYTES) {
        return "too long";
    }
    copy_text(endpoint->text, text);
    if (text.bytes >= prefix && memcmp(text.data, UNIX_PREFIX, prefix) == 0) {
        return parse_path(ist_span_of(text.data + prefix, text.bytes - prefix), endpoint);
    }
    return parse_host(text, endpoint);
}

static size_t count_commas(const char *text) {
    size_t commas = 0;
    for (; *text != '\0'; text++) {
        commas += *text == ',';
    }
    return commas;
}

enum ist_status ist_endpoints_parse(const char *text, const struct ist_alloc *alloc,
                                    struct ist_endpoints *endpoints, char *error, size_t error_bytes) {
    size_t count = count_commas(text) + 1;
    if (count > IST_ENDPOINTS_MAX) {
        snprintf(error, error_bytes, "more than %u endpoints", IST_ENDPOINTS_MAX);
        return IST_INVALID;
    }
    struct ist_server_endpoint *items = ist_allocate_array(alloc, count, sizeof(*items));
    if (items == NULL) {
        snprintf(error, error_bytes, "out of memory");
        return IST_NO_MEMORY;
    }
    for (size_t i = 0; i < count; i++) {
        size_t bytes = strcspn(text, ",");
        struct ist_span one = trimmed(ist_span_of(text, bytes));
        const char *wrong = parse(one, &items[i]);
        if (wrong != NULL) {
            snprintf(error, error_bytes, "endpoint \"%.*s\": %s",
                     (int)(one.bytes < SHOWN_BYTES_MAX ? one.bytes : SHOWN_BYTES_MAX),
                     (const char *)one.data, wrong);
            ist_release(alloc, items);
            return IST_INVALID;
        }
        text += bytes + 1;
    }
    *endpoints = (struct ist_endpoints){.alloc = alloc, .items = items, .count = count};
    return IST_OK;
}

void ist_endpoints_fini(struct ist_endpoints *endpoints) {
    ist_release(endpoints->alloc, endpoints->items);
    *endpoints = (struct ist_endpoints){0};
}
