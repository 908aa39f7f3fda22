#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "tools/doctor_names.h"
#include "tools/doctor_walk.h"

#define SEND_WR 16u
#define MESSAGES 4u
#define MESSAGE_BYTES 1024u
#define UINT24_MAX 0xffffffu

bool ist_doctor_open_device(struct ist_doctor_walk *walk) {
    const struct ist_doctor_options *options = walk->options;
    const struct ist_device_config config = {.name = options->dev_name,
                                             .port = options->ib_port,
                                             .link = options->link,
                                             .hint_gid_index = options->hint_gid_index,
                                             .alloc = ist_alloc_system(),
                                             .log = &walk->log};
    char why[256];
    enum ist_status status = ist_device_open(&config, &walk->device, why, sizeof(why));
    if (status != IST_OK) {
        return ist_doctor_failed(walk, "see the findings above; the server can be used by TCP", "%s",
                                 status == IST_NO_MEMORY ? "no memory" : why);
    }
    return ist_doctor_done(walk, "%s port %u", ist_device_name(walk->device),
                           ist_device_port(walk->device));
}

/* Which GID the queue pair will take towards the server, and whether packets leave by it. */
bool ist_doctor_choose_gid(struct ist_doctor_walk *walk) {
    uint8_t peer[IST_GID_LENGTH], source[IST_GID_LENGTH];
    char own[IST_DOCTOR_GID_TEXT_MAX], other[IST_DOCTOR_GID_TEXT_MAX];
    struct ist_gid_entry gid = {0};
    const char *why;
    bool has_peer = ist_doctor_peer_gid(walk, peer);
    if (ist_device_gid(walk->device, has_peer ? peer : NULL, &gid) != IST_OK) {
        return ist_doctor_failed(walk, "see the findings above", "%s", walk->logged);
    }
    bool has_source = has_peer && ist_gid_source(peer, source);
    enum ist_gid_rank rank = ist_gid_rank(&gid, has_source ? source : NULL, &why);
    ist_doctor_gid_text(gid.gid, own);
    if (rank == IST_GID_UNUSABLE) {
        return ist_doctor_failed(walk, "take --hint-gid-index away, or name another",
                                 "index %u, %s: %s", (unsigned)gid.index, own, why);
    }
    if (rank != IST_GID_ROUTED && has_source && gid.type == IST_GID_ROCE_V2) {
        return ist_doctor_done(
            walk, "index %u, %s: %s; TCP leaves by %s, which is no RDMA address: let us see",
            (unsigned)gid.index, own, why, ist_doctor_gid_text(source, other));
    }
    return ist_doctor_done(walk, "index %u, %s: %s", (unsigned)gid.index, own, why);
}

static bool make_queue_pair(struct ist_doctor_walk *walk) {
    const struct ist_completion_config completion_config = {.device = walk->device,
                                                            .queue_pairs_max = 1,
                                                            .send_wr = SEND_WR,
                                                            .messages = MESSAGES,
                                                            .message_bytes = MESSAGE_BYTES,
                                                            .alloc = ist_alloc_system(),
                                                            .log = &walk->log};
    uint8_t peer[IST_GID_LENGTH];
    uint32_t packet_number = 0;
    if (getrandom(&packet_number, sizeof(packet_number), 0) != sizeof(packet_number)) {
        packet_number = (uint32_t)ist_doctor_now_ns();
    }
    enum ist_status status = ist_completion_new(&completion_config, &walk->completion);
    const struct ist_queue_pair_config config = {.completion = walk->completion,
                                                 .remote_access = true,
                                                 .packet_number = packet_number & UINT24_MAX,
                                                 .peer = ist_doctor_peer_gid(walk, peer) ? peer : NULL,
                                                 .user = walk};
    status = status == IST_OK ? ist_queue_pair_new(&config, &walk->queue_pair) : status;
    return status == IST_OK ||
           ist_doctor_failed(walk, "dmesg | tail tells more", "no queue pair: %s",
                             walk->logged[0] != '\0' ? walk->logged : ist_status_text(status));
}

bool ist_doctor_register(struct ist_doctor_walk *walk) {
    const size_t bytes = 2 * (size_t)IST_DOCTOR_VALUE_BYTES;
    walk->memory = malloc(bytes);
    if (walk->memory == NULL) {
        return ist_doctor_failed(walk, NULL, "no memory");
    }
    for (size_t i = 0; i < bytes; i++) {
        walk->memory[i] = i < IST_DOCTOR_VALUE_BYTES ? (uint8_t)(i * 131 + i / 251) : 0;
    }
    enum ist_status status =
        ist_region_register(walk->device, walk->memory, bytes, IST_MEMORY_REMOTE, &walk->region);
    if (status != IST_OK) {
        return ist_doctor_failed(
            walk,
            status == IST_NO_MEMORY ? "raise the limit of locked memory: ulimit -l unlimited"
                                    : "dmesg | tail tells more",
            "%zu KiB of memory cannot be registered: %s", bytes >> 10, ist_status_text(status));
    }
    return make_queue_pair(walk) &&
           ist_doctor_done(walk, "%zu KiB of memory, and a queue pair", bytes >> 10);
}

bool ist_doctor_connect_queue_pair(struct ist_doctor_walk *walk) {
    const struct ist_queue_pair_end *server = &walk->server.end;
    char gid[IST_DOCTOR_GID_TEXT_MAX];
    ist_doctor_gid_text(server->gid, gid);
    switch (ist_queue_pair_connect(walk->queue_pair, server)) {
    case IST_OK: return ist_doctor_done(walk, "ready to send and to receive");
    case IST_PEER:
        return ist_doctor_failed(
            walk,
            "the addresses of the two RDMA interfaces must reach each other: ping ADDRESS;\n"
            "choose others by --hint-gid-index on either side",
            "nobody answers at the server's address %s", gid);
    case IST_INVALID:
        return ist_doctor_failed(walk, "do both ends use the same link type?",
                                 "the server's end cannot be: GID %s, MTU %u", gid, server->mtu_bytes);
    default:
        return ist_doctor_failed(
            walk, "is there a route to that address? ip route get ADDRESS; dmesg | tail tells more",
            "towards %s: %s", gid, walk->logged);
    }
}
