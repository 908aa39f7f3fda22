#include "client/upgrade.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "client/attempt.h"
#include "client/clock.h"

/* Where the queue pairs are connected and nothing gets through, a firewall or the wrong network drops it: the retries of a
 * queue pair take about 2 s. Less when there is less time. */
#define PROOF_NS (3 * IST_NS_PER_SEC)

/* ---- when there is no RDMA ------------------------------------------------------------------------------- */

static void explain(struct ist_connection *connection, const char *why) {
    const struct ist_server_endpoint *endpoint = &connection->endpoints.items[connection->endpoint];
    snprintf(connection->why_tcp, sizeof(connection->why_tcp), "%s: %s", endpoint->text, why);
}

/* AUTO goes on over TCP: loudly, once. */
static void fall_back(struct ist_connection *connection, const char *why) {
    explain(connection, why);
    if (!connection->has_warned) {
        connection->has_warned = connection->warning_is_due = true;
    }
}

/* The session over TCP is as good as before. */
static void refused(struct ist_connection *connection, enum ist_status status, uint64_t now_ns) {
    const char *why = connection->link.why;
    ist_link_close(&connection->link);
    if (connection->wanted == IST_TRANSPORT_AUTO) {
        fall_back(connection, why);
        ist_exchange_open(connection->exchange, &connection->link.regions);
        return;
    }
    explain(connection, why);
    ist_attempt_next(connection, status, why, now_ns);
}

/* The server has a queue pair for us, and waits for what we say over it. */
static void lost(struct ist_connection *connection, enum ist_status status, uint64_t now_ns) {
    const char *why = connection->link.why;
    if (connection->wanted == IST_TRANSPORT_AUTO) {
        fall_back(connection, why);
        ist_attempt_again_by_tcp(connection, now_ns);
        return;
    }
    explain(connection, why);
    ist_attempt_next(connection, status, why, now_ns);
}

void ist_upgrade_failed(struct ist_connection *connection, uint64_t now_ns) {
    lost(connection, IST_DEVICE, now_ns);
}

void ist_upgrade_timed_out(struct ist_connection *connection, uint64_t now_ns) {
    snprintf(connection->link.why, sizeof(connection->link.why),
             "no message gets through between the queue pairs");
    lost(connection, IST_DEVICE, now_ns);
}

void ist_upgrade_undone(struct ist_connection *connection) {
    explain(connection, connection->link.why);
}

/* ---- when there is ---------------------------------------------------------------------------------------- */

/* The server's address as a GID; NULL: it has none. */
static const uint8_t *gid_of(const struct ist_address *address, uint8_t gid[IST_GID_BYTES]) {
    if (address->storage.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&address->storage;
        memset(gid, 0, 10);
        gid[10] = gid[11] = 0xff;
        memcpy(gid + 12, &in->sin_addr, 4);
        return gid;
    }
    if (address->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->storage;
        memcpy(gid, &in6->sin6_addr, IST_GID_BYTES);
        return gid;
    }
    return NULL;
}

static void choose(struct ist_connection *connection, uint64_t now_ns) {
    if (connection->wanted == IST_TRANSPORT_TCP || connection->tcp_only) {
        ist_exchange_open(connection->exchange, &connection->link.regions);
        return;
    }
    uint8_t gid[IST_GID_BYTES];
    struct ist_endpoint own;
    const uint8_t *peer = gid_of(&connection->addresses[connection->address], gid);
    enum ist_status status = ist_link_open(&connection->link, peer, &own);
    if (status == IST_OK) {
        ist_exchange_connect(connection->exchange, &own);
    } else {
        refused(connection, status == IST_NO_MEMORY ? IST_NO_MEMORY : IST_DEVICE, now_ns);
    }
}

static void connect_to_peer(struct ist_connection *connection, uint64_t now_ns) {
    struct ist_link *link = &connection->link;
    const struct ist_endpoint *peer = ist_exchange_peer(connection->exchange);
    if (peer->status != IST_OK) {
        snprintf(link->why, sizeof(link->why), "the server answers CONNECT with %s%s",
                 ist_status_name(peer->status),
                 peer->status == IST_DEVICE ? ": it has no RDMA, or none that works: its log says why"
                                            : "");
        refused(connection, IST_DEVICE, now_ns);
        return;
    }
    if (link->queue_pair == NULL || ist_link_has_failed(link)) {
        if (link->why[0] == '\0') {
            snprintf(link->why, sizeof(link->why), "the device has failed meanwhile");
        }
        lost(connection, IST_DEVICE, now_ns);
        return;
    }
    if (ist_link_connect(link, peer) != IST_OK) {
        lost(connection, IST_DEVICE, now_ns);
    }
}

/* The queue pairs are connected, or cannot be. */
static void prove(struct ist_connection *connection, uint64_t now_ns) {
    enum ist_status status = ist_link_connected(&connection->link);
    if (status == IST_AGAIN) {
        return;
    }
    if (status != IST_OK) {
        lost(connection, IST_DEVICE, now_ns);
        return;
    }
    uint64_t left_ns =
        connection->address_until_ns > now_ns ? connection->address_until_ns - now_ns : 0;
    connection->proof_until_ns = now_ns + (connection->wanted == IST_TRANSPORT_RDMA ? left_ns
                                           : left_ns / 2 < PROOF_NS                 ? left_ns / 2
                                                                                    : PROOF_NS);
    ist_exchange_prove(connection->exchange, &connection->link.regions);
}

void ist_upgrade_go_on(struct ist_connection *connection, uint64_t now_ns) {
    if (ist_exchange_state(connection->exchange) == IST_EXCHANGE_CHOICE) {
        choose(connection, now_ns);
    }
    if (ist_exchange_state(connection->exchange) == IST_EXCHANGE_CONNECTED) {
        if (connection->link.reacher == NULL) {
            connect_to_peer(connection, now_ns);
        } else {
            prove(connection, now_ns);
        }
    }
    if (ist_exchange_state(connection->exchange) == IST_EXCHANGE_OPEN &&
        ist_exchange_is_remote(connection->exchange)) {
        connection->has_warned = false;
        connection->why_tcp[0] = '\0';
    }
}
