#include "verbs/gid.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANY_PORT 4791  /* RoCE v2's own; nothing is sent to it */
#define INDEX_MAX 255u /* of struct ibv_global_route's sgid_index */

static bool is_zero(const uint8_t *gid) {
    static const uint8_t zero[IST_GID_LENGTH];
    return memcmp(gid, zero, IST_GID_LENGTH) == 0;
}

static bool is_mapped(const uint8_t *gid) {
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(gid, prefix, sizeof(prefix)) == 0;
}

static bool is_link_local(const uint8_t *gid) {
    return gid[0] == 0xfe && (gid[1] & 0xc0) == 0x80;
}

static enum ist_gid_rank judge(const struct ist_gid_entry *entry, const uint8_t *source,
                               const char **why) {
    if (is_zero(entry->gid)) {
        *why = "empty";
        return IST_GID_UNUSABLE;
    }
    if (entry->type == IST_GID_ROCE_V1) {
        *why = "RoCE v1 does not cross routers, and v2 peers do not hear it";
        return IST_GID_UNUSABLE;
    }
    if (!entry->is_here) {
        *why = "its network interface is in another namespace";
        return IST_GID_UNUSABLE;
    }
    if (entry->index > INDEX_MAX) {
        *why = "no queue pair can name so large an index";
        return IST_GID_UNUSABLE;
    }
    if (source != NULL && memcmp(entry->gid, source, IST_GID_LENGTH) == 0) {
        *why = "the address that routes to the peer";
        return IST_GID_ROUTED;
    }
    if (is_mapped(entry->gid)) {
        *why = "IPv4";
        return IST_GID_IPV4;
    }
    if (is_link_local(entry->gid)) {
        *why = entry->type == IST_GID_INFINIBAND ? "of this subnet" : "link-local: the same link only";
        return IST_GID_LINK_LOCAL;
    }
    *why = "global IPv6";
    return IST_GID_IPV6;
}

enum ist_gid_rank ist_gid_rank(const struct ist_gid_entry *entry, const uint8_t *source,
                               const char **why) {
    const char *text;
    enum ist_gid_rank rank = judge(entry, source, &text);
    if (why != NULL) {
        *why = text;
    }
    return rank;
}

const struct ist_gid_entry *ist_gid_choose(const struct ist_gid_entry *entries, size_t count,
                                           const uint8_t *source, int hint) {
    const struct ist_gid_entry *best = NULL;
    enum ist_gid_rank best_rank = IST_GID_UNUSABLE;
    for (size_t i = 0; i < count; i++) {
        enum ist_gid_rank rank = ist_gid_rank(&entries[i], source, NULL);
        if (hint >= 0) {
            if (entries[i].index == (uint32_t)hint && hint <= (int)INDEX_MAX) {
                return &entries[i];
            }
        } else if (rank > best_rank) {
            best = &entries[i];
            best_rank = rank;
        }
    }
    return best;
}

/* A datagram socket that is connected knows its source address: the kernel's own routing decision. */
static bool source_ipv4(const uint8_t *peer, uint8_t *source) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(ANY_PORT)};
    socklen_t length = sizeof(address);
    memcpy(&address.sin_addr, peer + 12, 4);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    bool good = connect(fd, (const struct sockaddr *)&address, length) == 0 &&
                getsockname(fd, (struct sockaddr *)&address, &length) == 0;
    close(fd);
    if (good) {
        memcpy(source, peer, 12);
        memcpy(source + 12, &address.sin_addr, 4);
    }
    return good;
}

static bool source_ipv6(const uint8_t *peer, uint8_t *source) {
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(ANY_PORT)};
    socklen_t length = sizeof(address);
    memcpy(&address.sin6_addr, peer, IST_GID_LENGTH);
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    bool good = connect(fd, (const struct sockaddr *)&address, length) == 0 &&
                getsockname(fd, (struct sockaddr *)&address, &length) == 0;
    close(fd);
    if (good) {
        memcpy(source, &address.sin6_addr, IST_GID_LENGTH);
    }
    return good;
}

bool ist_gid_source(const uint8_t peer[IST_GID_LENGTH], uint8_t source[IST_GID_LENGTH]) {
    return is_mapped(peer) ? source_ipv4(peer, source) : source_ipv6(peer, source);
}
