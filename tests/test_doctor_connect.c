/* src/tools/doctor --connect, over the software HCA: the whole way to a server of the real rooms, and each step that can
 * be blocked, with what it says then. */
#include "tests/rdma_house.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/doctor_connect.h"
#include "tools/doctor_walk.h"

#define CALLS_MAX 400u

static struct ist_doctor_steps steps;

/* Goes to `peer` with these options; the house's server when NULL. */
static void go_with(const char *peer, struct ist_doctor_options options) {
    char text[300], *colon;
    uint8_t gid[IST_GID_LENGTH];
    bool has_peer;
    snprintf(text, sizeof(text), "%s", peer == NULL ? house_endpoint() : peer);
    colon = strrchr(text, ':');
    assert_non_null(colon);
    snprintf(options.port, sizeof(options.port), "%.5s", colon + 1);
    *colon = '\0';
    snprintf(options.host, sizeof(options.host), "%.255s", text);
    options.connect = peer == NULL ? house_endpoint() : peer;
    options.dev_name = options.dev_name == NULL ? "client" : options.dev_name;
    options.timeout_ns = options.timeout_ns == 0 ? 20 * 1000000000ull : options.timeout_ns;
    ist_doctor_connect(&options, &steps, &has_peer, gid);
}

static void go(void) {
    go_with(NULL, (struct ist_doctor_options){.hint_gid_index = -1});
}

/* All before the step are done, none behind it is tried. */
static void assert_fails_at(const char *name, const char *says, const char *advises) {
    bool is_behind = false;
    assert_true(steps.has_failed);
    for (size_t i = 0; i < steps.count; i++) {
        const struct ist_doctor_step *step = &steps.all[i];
        bool is_it = strcmp(step->name, name) == 0;
        enum ist_doctor_outcome expected = is_behind ? IST_DOCTOR_NOT_TRIED
                                           : is_it   ? IST_DOCTOR_FAILED
                                                     : IST_DOCTOR_DONE;
        if (step->outcome != expected ||
            (is_it && (strstr(step->text, says) == NULL || strstr(step->advice, advises) == NULL))) {
            fail_msg("step %s, %d: \"%s\", \"%s\"", step->name, step->outcome, step->text,
                     step->advice);
        }
        is_behind = is_behind || is_it;
    }
    assert_true(is_behind);
}

static void assert_all_done(void) {
    for (size_t i = 0; i < steps.count; i++) {
        if (steps.all[i].outcome != IST_DOCTOR_DONE || steps.all[i].text[0] == '\0') {
            fail_msg("step %s: %s", steps.all[i].name, steps.all[i].text);
        }
    }
    assert_false(steps.has_failed);
}

/* ---- the way is free ------------------------------------------------------------------------------------- */

static void test_connect__all_is_well__every_step_and_nothing_left(void **state) {
    (void)state;
    house_begin((struct house_options){.seed = 1});
    for (unsigned i = 0; i < 3; i++) {
        go();
        assert_all_done();
        assert_int_equal(steps.count, 13);
        house_await_connections(0);
    }
    struct ist_store_usage usage;
    house_usage(&usage);
    assert_int_equal(usage.free_bytes, usage.pool_bytes);
    house_end();
}

static void test_connect__packets_get_lost__all_the_same(void **state) {
    (void)state;
    house_begin((struct house_options){.seed = 2, .lossy = true});
    go();
    assert_all_done();
    house_await_connections(0);
    house_end();
}

/* ---- it is not ------------------------------------------------------------------------------------------- */

static void test_resolve__no_such_name__says_so(void **state) {
    (void)state;
    char name[300];
    memset(name, 'x', 200); /* no part of a name may be so long: nobody is asked */
    snprintf(name + 200, sizeof(name) - 200, ":1");
    go_with(name, (struct ist_doctor_options){.hint_gid_index = -1});
    assert_fails_at("resolve", "is not found", "getent hosts");
}

/* A listener of our own: what it does with one connection is `act`. */
struct other {
    int fd;
    char name[64];
    void (*act)(int fd);
    pthread_t thread;
};

static void *other_run(void *context) {
    struct other *other = context;
    int fd = accept(other->fd, NULL, NULL);
    if (fd >= 0) {
        other->act(fd);
        close(fd);
    }
    return NULL;
}

static void other_begin(struct other *other, void (*act)(int fd)) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    *other = (struct other){.fd = socket(AF_INET, SOCK_STREAM, 0), .act = act};
    assert_int_equal(bind(other->fd, (struct sockaddr *)&address, length), 0);
    assert_int_equal(getsockname(other->fd, (struct sockaddr *)&address, &length), 0);
    snprintf(other->name, sizeof(other->name), "127.0.0.1:%u", ntohs(address.sin_port));
    if (act != NULL) {
        assert_int_equal(listen(other->fd, 1), 0);
        assert_int_equal(pthread_create(&other->thread, NULL, other_run, other), 0);
    }
}

static void other_end(struct other *other) {
    if (other->act != NULL) {
        pthread_join(other->thread, NULL);
    }
    close(other->fd);
}

static void test_connect__nobody_listens__says_so(void **state) {
    (void)state;
    struct other other;
    other_begin(&other, NULL); /* bound, so that the port is nobody else's */
    go_with(other.name, (struct ist_doctor_options){.hint_gid_index = -1});
    assert_fails_at("connect", "refused", "start infinistore there");
    other_end(&other);
}

static void wait_for_end(int fd) {
    char bytes[256];
    while (recv(fd, bytes, sizeof(bytes), 0) > 0) {
    }
}

static void answer_http(int fd) {
    static const char text[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    (void)send(fd, text, strlen(text), MSG_NOSIGNAL);
    wait_for_end(fd);
}

static void take_and_close(int fd) {
    char bytes[256];
    (void)recv(fd, bytes, sizeof(bytes), 0);
}

/* A reply of ours, whatever was asked. */
static void answer(int fd, enum ist_operation operation, uint64_t id, const uint8_t *body,
                   size_t bytes) {
    uint8_t out[IST_FRAME_BYTES + 256];
    const struct ist_frame frame = {.operation = operation,
                                    .flags = IST_FRAME_REPLY,
                                    .request_id = id,
                                    .body_bytes = (uint32_t)bytes};
    ist_frame_encode(&frame, out);
    memcpy(out + IST_FRAME_BYTES, body, bytes);
    (void)send(fd, out, IST_FRAME_BYTES + bytes, MSG_NOSIGNAL);
}

static void answer_hello(int fd, enum ist_status status) {
    const struct ist_hello_reply reply = {.status = status,
                                          .version = 1,
                                          .incarnation = 1,
                                          .keys_max = 1,
                                          .key_bytes_max = 1024,
                                          .body_bytes_max = 4096,
                                          .in_flight_max = 1,
                                          .value_bytes_max = 1,
                                          .server = ist_span_of_string("other/1")};
    uint8_t body[IST_CODEC_HELLO_BYTES];
    size_t written;
    if (ist_codec_encode_hello_reply(&reply, body, sizeof(body), &written) == IST_OK) {
        answer(fd, IST_OP_HELLO, 1, body, written);
    }
}

static void refuse_hello(int fd) {
    answer_hello(fd, IST_PROTOCOL);
    wait_for_end(fd);
}

static void answer_nonsense(int fd) {
    answer(fd, IST_OP_HELLO, 1, (const uint8_t *)"\xff\xff\xff\xff", 4);
    wait_for_end(fd);
}

static void answer_another_request(int fd) {
    answer(fd, IST_OP_HELLO, 77, (const uint8_t *)"", 0);
    wait_for_end(fd);
}

static void have_no_queue_pair_left(int fd) {
    const struct ist_endpoint end = {.status = IST_NO_SPACE};
    uint8_t body[IST_CODEC_ENDPOINT_BYTES];
    size_t written;
    answer_hello(fd, IST_OK);
    if (ist_codec_encode_endpoint(&end, body, sizeof(body), &written) == IST_OK) {
        answer(fd, IST_OP_CONNECT, 2, body, written);
    }
    wait_for_end(fd);
}

/* An end that nobody can connect to: no GID, no messages. */
static void have_an_end_that_cannot_be(int fd) {
    const struct ist_endpoint end = {.end = {.number = 5}};
    uint8_t body[IST_CODEC_ENDPOINT_BYTES];
    size_t written;
    answer_hello(fd, IST_OK);
    if (ist_codec_encode_endpoint(&end, body, sizeof(body), &written) == IST_OK) {
        answer(fd, IST_OP_CONNECT, 2, body, written);
    }
    wait_for_end(fd);
}

static void answer_connect_with_nonsense(int fd) {
    answer_hello(fd, IST_OK);
    answer(fd, IST_OP_CONNECT, 2, (const uint8_t *)"\xff\xff\xff\xff", 4);
    wait_for_end(fd);
}

static void test_answers__that_servers_should_not_give__told(void **state) {
    static const struct {
        void (*act)(int fd);
        const char *step, *says;
    } cases[] = {
        {refuse_hello, "hello", "it refuses"},
        {answer_nonsense, "hello", "malformed"},
        {answer_another_request, "hello", "no infinistore"},
        {have_no_queue_pair_left, "ask", "as many queue pairs as it can have"},
        {answer_connect_with_nonsense, "ask", "malformed"},
        {have_an_end_that_cannot_be, "queue pair", "cannot be"},
    };
    (void)state;
    house_begin((struct house_options){.seed = 20}); /* for its devices */
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct other other;
        other_begin(&other, cases[i].act);
        go_with(other.name, (struct ist_doctor_options){.hint_gid_index = -1});
        assert_fails_at(cases[i].step, cases[i].says, "");
        other_end(&other);
    }
    house_end();
}

/* To the house's server, over TCP. */
static int call_house(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons((uint16_t)atoi(strrchr(house_endpoint(), ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ? fd : -1;
}

/* Handshakes are short: each is received at once. Returns its length. */
static ssize_t pass_on(int from, int to, uint8_t *bytes, size_t room) {
    ssize_t got = recv(from, bytes, room, 0);
    return got > 0 ? send(to, bytes, (size_t)got, MSG_NOSIGNAL) : -1;
}

/* Between the doctor and the house's server, which falls silent when it has a queue pair. When the doctor has connected its
 * own, and waits for an answer over it, a byte comes over TCP. */
static void chatter(int fd) {
    uint8_t bytes[1024];
    struct ist_endpoint end;
    int server = call_house();
    bool is_good =
        pass_on(fd, server, bytes, sizeof(bytes)) > 0 && pass_on(server, fd, bytes, sizeof(bytes)) > 0;
    ssize_t asked = is_good ? pass_on(fd, server, bytes, sizeof(bytes)) : -1;
    if (asked > (ssize_t)IST_FRAME_BYTES &&
        ist_codec_decode_endpoint(ist_span_of(bytes + IST_FRAME_BYTES, (size_t)asked - IST_FRAME_BYTES),
                                  &end) == IST_OK &&
        recv(server, bytes, 1, MSG_PEEK) == 1) {
        house_park();
        (void)pass_on(server, fd, bytes, sizeof(bytes));
        const struct ibv_qp *qp = ist_hca_find_qp(house_hca(), end.end.number);
        while (qp != NULL && *(const volatile enum ibv_qp_state *)&qp->state != IBV_QPS_RTS) {
            sched_yield();
        }
        (void)send(fd, "x", 1, MSG_NOSIGNAL);
    }
    wait_for_end(fd);
    close(server);
}

static void test_message__server_silent_over_rdma_and_talks_over_tcp__told(void **state) {
    (void)state;
    struct other other;
    house_begin((struct house_options){.seed = 21});
    other_begin(&other, chatter);
    go_with(other.name, (struct ist_doctor_options){.hint_gid_index = -1});
    assert_fails_at("message", "over TCP", "");
    other_end(&other);
    house_unpark();
    house_await_connections(0);
    house_end();
}

static void test_hello__another_server__says_so(void **state) {
    (void)state;
    struct other other;
    const struct ist_doctor_options options = {.hint_gid_index = -1, .timeout_ns = 200000000};
    other_begin(&other, answer_http);
    go_with(other.name, (struct ist_doctor_options){.hint_gid_index = -1});
    assert_fails_at("hello", "no infinistore", "22345");
    other_end(&other);
    other_begin(&other, take_and_close);
    go_with(other.name, (struct ist_doctor_options){.hint_gid_index = -1});
    assert_fails_at("hello", "closed", "service port");
    other_end(&other);
    other_begin(&other, wait_for_end);
    go_with(other.name, options);
    assert_fails_at("hello", "no answer within 0.2 s", "service port");
    other_end(&other);
}

static void test_device__none_here__says_so(void **state) {
    (void)state;
    house_begin((struct house_options){.seed = 3});
    go_with(NULL, (struct ist_doctor_options){.hint_gid_index = -1, .dev_name = "mlx5_9"});
    assert_fails_at("device", "mlx5_9", "findings above");
    house_end();
}

static void test_gid__first_version_wished_for__says_so(void **state) {
    (void)state;
    house_begin((struct house_options){.seed = 4});
    go_with(NULL, (struct ist_doctor_options){.hint_gid_index = 0});
    assert_fails_at("gid", "RoCE v1", "--hint-gid-index");
    house_end();
}

static void test_register__no_memory_may_be_locked__says_so(void **state) {
    (void)state;
    house_begin((struct house_options){.seed = 5});
    ist_hca_fail_nth(house_hca(), IST_HCA_CALL_REGISTER, 1);
    go();
    assert_fails_at("register", "128 KiB", "ulimit -l");
    house_end();
}

static void test_ask__server_without_a_device__says_so(void **state) {
    (void)state;
    house_begin((struct house_options){.seed = 6, .no_server_device = true});
    go();
    assert_fails_at("ask", "server has no RDMA", "run infinistore-doctor there");
    house_end();
}

static void test_addresses__that_nobody_answers_at__which_side(void **state) {
    (void)state;
    house_begin((struct house_options){.seed = 7});
    ist_hca_set_patience(house_hca(), 50);
    ist_hca_hold_neighbours(house_device("server"), true);
    go();
    assert_fails_at("ask", "from there, nobody answers at 10.0.0.", "ping");
    ist_hca_hold_neighbours(house_device("server"), false);
    ist_hca_hold_neighbours(house_device("client"), true);
    go();
    assert_fails_at("queue pair", "nobody answers at the server's address 10.0.0.", "ping");
    ist_hca_hold_neighbours(house_device("client"), false);
    go();
    assert_all_done();
    house_await_connections(0);
    house_end();
}

static void test_message__packets_do_not_get_through__firewall(void **state) {
    (void)state;
    house_begin((struct house_options){.seed = 8});
    ist_hca_set_cut(house_device("client"), 1, true);
    go();
    assert_fails_at("message", "RDMA failed: transport retry counter exceeded", "UDP port 4791");
    ist_hca_set_cut(house_device("client"), 1, false);
    house_await_connections(0);
    house_end();
}

static void test_compare__another_byte__which(void **state) {
    (void)state;
    struct ist_doctor_walk *walk = calloc(1, sizeof(*walk));
    struct ist_doctor_step step = {0};
    assert_non_null(walk);
    walk->step = &step;
    walk->memory = calloc(2, IST_DOCTOR_VALUE_BYTES);
    assert_non_null(walk->memory);
    assert_true(ist_doctor_compare(walk));
    walk->memory[2 * IST_DOCTOR_VALUE_BYTES - 1] = 1;
    assert_false(ist_doctor_compare(walk));
    assert_non_null(strstr(step.text, "byte 65535 of 65536"));
    free(walk->memory);
    free(walk);
}

/* Whatever call fails, the doctor's or the server's: a step says so, and nothing is left. */
static void test_connect__nth_verbs_call_fails__told_and_nothing_left(void **state) {
    (void)state;
    const unsigned calls = IST_HCA_CALL_ALL & ~(unsigned)(IST_HCA_CALL_DESTROY | IST_HCA_CALL_EVENT |
                                                          IST_HCA_CALL_POLL | IST_HCA_CALL_ARM);
    const uint64_t stride = getenv("IST_TEST_SHORT") != NULL ? 5 : 1;
    unsigned failures = 0;
    for (uint64_t n = 1; n < CALLS_MAX; n += stride) {
        house_begin((struct house_options){.seed = 100 + n});
        ist_hca_fail_nth(house_hca(), calls, n);
        go();
        bool has_failed = ist_hca_failed(house_hca()) != NULL;
        ist_hca_fail_nth(house_hca(), calls, 0);
        failures += steps.has_failed;
        for (size_t i = 0; i < steps.count; i++) {
            assert_true(steps.all[i].outcome != IST_DOCTOR_FAILED || steps.all[i].text[0] != '\0');
        }
        house_await_connections(0);
        house_end();
        if (!has_failed) {
            break;
        }
    }
    assert_true(failures >= 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect__all_is_well__every_step_and_nothing_left),
        cmocka_unit_test(test_connect__packets_get_lost__all_the_same),
        cmocka_unit_test(test_resolve__no_such_name__says_so),
        cmocka_unit_test(test_connect__nobody_listens__says_so),
        cmocka_unit_test(test_message__server_silent_over_rdma_and_talks_over_tcp__told),
        cmocka_unit_test(test_hello__another_server__says_so),
        cmocka_unit_test(test_answers__that_servers_should_not_give__told),
        cmocka_unit_test(test_device__none_here__says_so),
        cmocka_unit_test(test_gid__first_version_wished_for__says_so),
        cmocka_unit_test(test_register__no_memory_may_be_locked__says_so),
        cmocka_unit_test(test_ask__server_without_a_device__says_so),
        cmocka_unit_test(test_addresses__that_nobody_answers_at__which_side),
        cmocka_unit_test(test_message__packets_do_not_get_through__firewall),
        cmocka_unit_test(test_compare__another_byte__which),
        cmocka_unit_test(test_connect__nth_verbs_call_fails__told_and_nothing_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
