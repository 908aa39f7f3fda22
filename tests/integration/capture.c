#include "tests/integration/capture.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/integration/harness.h"

#define ROCE_PORT 4791
#define HEAD_BYTES 128 /* of a packet: Ethernet, IP, UDP, BTH */
#define BATCH 64
#define ROOM_BYTES (256 << 20)
#define BTH_BYTES 12u
#define ICRC_BYTES 4u

struct capture {
    int fd;
    in_addr_t address;
    atomic_bool stop;
    pthread_t thread;
    struct capture_counts counts;
};

/* The kind, and the bytes of the extended header behind the BTH (IBTA 9.2.1, table 38). */
static enum capture_kind kind_of(uint8_t opcode, uint32_t *extended) {
    static const struct {
        enum capture_kind kind;
        uint32_t extended;
    } kinds[] = {
        {CAPTURE_SEND, 0},          {CAPTURE_SEND, 0},          {CAPTURE_SEND, 0},
        {CAPTURE_SEND, 4},          {CAPTURE_SEND, 0},          {CAPTURE_SEND, 4},
        {CAPTURE_WRITE, 16},        {CAPTURE_WRITE, 0},         {CAPTURE_WRITE, 0},
        {CAPTURE_WRITE, 4},         {CAPTURE_WRITE, 16},        {CAPTURE_WRITE, 20},
        {CAPTURE_READ_REQUEST, 16}, {CAPTURE_READ_RESPONSE, 4}, {CAPTURE_READ_RESPONSE, 0},
        {CAPTURE_READ_RESPONSE, 4}, {CAPTURE_READ_RESPONSE, 4}, {CAPTURE_ACK, 4},
        {CAPTURE_ATOMIC, 12},       {CAPTURE_ATOMIC, 28},       {CAPTURE_ATOMIC, 28},
    };
    if (opcode >= sizeof(kinds) / sizeof(kinds[0])) {
        *extended = 0;
        return CAPTURE_OTHER;
    }
    *extended = kinds[opcode].extended;
    return kinds[opcode].kind;
}

static void count(struct capture *capture, const uint8_t *packet, size_t bytes) {
    struct iphdr ip;
    struct udphdr udp;
    if (bytes < ETH_HLEN + sizeof(ip) + sizeof(udp) + BTH_BYTES) {
        return;
    }
    if ((packet[12] << 8 | packet[13]) != ETH_P_IP) {
        return; /* an address is asked for, or IPv6, which the test does not use */
    }
    memcpy(&ip, packet + ETH_HLEN, sizeof(ip));
    const uint8_t *behind = packet + ETH_HLEN + 4u * ip.ihl;
    memcpy(&udp, behind, sizeof(udp));
    int side = ip.saddr == capture->address ? 0 : 1;
    if (ip.protocol != IPPROTO_UDP || ntohs(udp.dest) != ROCE_PORT) {
        capture->counts.other_bytes[side] += ntohs(ip.tot_len);
        return;
    }
    const uint8_t *bth = behind + sizeof(udp);
    uint32_t extended, pad = bth[1] >> 4 & 3u;
    enum capture_kind kind = kind_of(bth[0], &extended);
    struct capture_count *counted = &capture->counts.from[side][kind];
    counted->packets++;
    counted->bytes += ntohs(udp.len) - sizeof(udp) - BTH_BYTES - extended - pad - ICRC_BYTES;
}

static void *run(void *arg) {
    struct capture *capture = arg;
    static uint8_t heads[BATCH][HEAD_BYTES];
    struct iovec pieces[BATCH];
    struct mmsghdr messages[BATCH];
    memset(messages, 0, sizeof(messages));
    for (size_t i = 0; i < BATCH; i++) {
        pieces[i] = (struct iovec){.iov_base = heads[i], .iov_len = HEAD_BYTES};
        messages[i].msg_hdr.msg_iov = &pieces[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    for (;;) { /* told to stop, it takes what is there */
        int got = recvmmsg(capture->fd, messages, BATCH, MSG_DONTWAIT, NULL);
        for (int i = 0; i < got; i++) {
            count(capture, heads[i], messages[i].msg_len);
        }
        if (got <= 0) {
            if (atomic_load(&capture->stop)) {
                return NULL;
            }
            struct pollfd polled = {.fd = capture->fd, .events = POLLIN};
            poll(&polled, 1, 50);
        }
    }
}

struct capture *capture_begin(const char *netdev, const char *address) {
    struct capture *capture = calloc(1, sizeof(*capture));
    assert_non_null(capture);
    assert_int_equal(inet_pton(AF_INET, address, &capture->address), 1);
    capture->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    assert_true(capture->fd >= 0);
    /* The kernel keeps the heads only: what it holds for us is then enough for seconds. */
    struct sock_filter all = {.code = BPF_RET | BPF_K, .k = HEAD_BYTES};
    const struct sock_fprog program = {.len = 1, .filter = &all};
    assert_int_equal(setsockopt(capture->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)),
                     0);
    assert_int_equal(
        setsockopt(capture->fd, SOL_SOCKET, SO_RCVBUFFORCE, &(int){ROOM_BYTES}, sizeof(int)), 0);
    const struct sockaddr_ll here = {.sll_family = AF_PACKET,
                                     .sll_protocol = htons(ETH_P_ALL), /* or what leaves is not seen */
                                     .sll_ifindex = (int)if_nametoindex(netdev)};
    assert_true(here.sll_ifindex > 0);
    assert_int_equal(bind(capture->fd, (const struct sockaddr *)&here, sizeof(here)), 0);
    assert_int_equal(pthread_create(&capture->thread, NULL, run, capture), 0);
    return capture;
}

void capture_end(struct capture *capture, struct capture_counts *counts) {
    struct tpacket_stats lost = {0};
    socklen_t bytes = sizeof(lost);
    atomic_store(&capture->stop, true);
    assert_int_equal(pthread_join(capture->thread, NULL), 0);
    assert_int_equal(getsockopt(capture->fd, SOL_PACKET, PACKET_STATISTICS, &lost, &bytes), 0);
    *counts = capture->counts;
    counts->lost = lost.tp_drops;
    close(capture->fd);
    free(capture);
}

void capture_print(const struct capture_counts *counts) {
    static const char *const names[CAPTURE_KINDS] = {
        "SEND", "RDMA WRITE", "RDMA READ request", "RDMA READ response", "ACK", "ATOMIC", "other"};
    print_message("           %-20s %10s %12s %10s %12s\n", "packets, bytes", "server", "", "client",
                  "");
    for (size_t i = 0; i < CAPTURE_KINDS; i++) {
        const struct capture_count *server = &counts->from[0][i], *client = &counts->from[1][i];
        print_message("           %-20s %10llu %12llu %10llu %12llu\n", names[i],
                      (unsigned long long)server->packets, (unsigned long long)server->bytes,
                      (unsigned long long)client->packets, (unsigned long long)client->bytes);
    }
    print_message("           %-20s %10s %12llu %10s %12llu\n", "no RoCE", "",
                  (unsigned long long)counts->other_bytes[0], "",
                  (unsigned long long)counts->other_bytes[1]);
}
