/* The client over RDMA when something ends early: deadlines, the server, the device, memory, calls that fail. What a
 * callback has given back to the caller nobody may read or write any more. */
#include "tests/rdma_house.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/clock.h"

#define VALUE_BYTES 100000u
#define VALUES 8u
#define SPARE_BYTES (64u << 10)

static struct {
    struct ist_client *client, *witness; /* the second one is never hurt */
    uint8_t *memory, *seen;
    char names[VALUES][8];
} f;

static unsigned rounds(unsigned many) {
    return getenv("IST_TEST_SHORT") == NULL ? many : (many + 7) / 8;
}

static void begin(struct house_options options) {
    memset(&f, 0, sizeof(f));
    house_begin(options);
    f.memory = calloc(VALUES, VALUE_BYTES);
    f.seen = calloc(VALUES, VALUE_BYTES);
    assert_true(f.memory != NULL && f.seen != NULL);
    f.client = house_client_of(IST_TRANSPORT_RDMA);
    f.witness = house_client_of(IST_TRANSPORT_TCP);
    assert_int_equal(ist_memory_register(f.client, f.memory, VALUES * VALUE_BYTES), IST_OK);
    for (unsigned i = 0; i < VALUES; i++) {
        snprintf(f.names[i], sizeof(f.names[i]), "%u", i);
    }
}

static void end(void) {
    ist_client_free(f.client);
    ist_client_free(f.witness);
    free(f.memory);
    free(f.seen);
    house_end();
}

static struct ist_key key_of(unsigned i) {
    return (struct ist_key){.data = f.names[i], .bytes = strlen(f.names[i])};
}

static void puts_of(struct ist_put_item *puts) {
    for (unsigned i = 0; i < VALUES; i++) {
        puts[i] = (struct ist_put_item){
            .key = key_of(i), .value = f.memory + i * VALUE_BYTES, .value_bytes = VALUE_BYTES};
    }
}

static void gets_of(struct ist_get_item *gets, uint8_t *memory) {
    for (unsigned i = 0; i < VALUES; i++) {
        gets[i] = (struct ist_get_item){
            .key = key_of(i), .buffer = memory + i * VALUE_BYTES, .buffer_bytes = VALUE_BYTES};
    }
}

static void fill_all(uint64_t seed) {
    for (unsigned i = 0; i < VALUES; i++) {
        house_fill(f.memory + i * VALUE_BYTES, VALUE_BYTES, seed + i);
    }
}

static void assert_all_filled(const uint8_t *memory, uint64_t seed) {
    for (unsigned i = 0; i < VALUES; i++) {
        house_assert_filled(memory + i * VALUE_BYTES, VALUE_BYTES, seed + i);
    }
}

/* Everything that may still move does. */
static void let_it_run(void) {
    assert_int_equal(ist_ping(f.witness, 0), IST_OK);
    (void)ist_hca_run(house_hca(), 3000);
    (void)house_rdma_connections();
    (void)ist_hca_run(house_hca(), 3000);
}

/* All or none of them, each whole. */
static void assert_stored(uint64_t seed, bool may_miss) {
    struct ist_get_item gets[VALUES];
    gets_of(gets, f.seen);
    enum ist_status status = ist_get(f.witness, gets, VALUES, 0);
    assert_true(status == IST_OK || (may_miss && status == IST_NOT_FOUND));
    for (unsigned i = 0; i < VALUES; i++) {
        assert_int_equal(gets[i].status, gets[0].status);
        if (gets[i].status == IST_OK) {
            house_assert_filled(f.seen + i * VALUE_BYTES, VALUE_BYTES, seed + i);
        }
    }
}

/* The client works as on the first day. */
static void assert_works(void) {
    struct ist_put_item puts[VALUES];
    struct ist_get_item gets[VALUES];
    puts_of(puts);
    gets_of(gets, f.memory);
    enum ist_status status = IST_PEER;
    fill_all(1000);
    for (unsigned i = 0; i < 20 && status == IST_PEER; i++) {
        status = ist_put(f.client, puts, VALUES, 0, 0);
    }
    assert_int_equal(status, IST_OK);
    fill_all(0);
    assert_int_equal(ist_get(f.client, gets, VALUES, 0), IST_OK);
    assert_all_filled(f.memory, 1000);
    assert_int_equal(ist_client_transport(f.client), IST_TRANSPORT_RDMA);
}

struct waiting {
    unsigned calls;
    enum ist_status status;
};

static void on_done(void *arg, enum ist_status status) {
    struct waiting *waiting = arg;
    waiting->calls++;
    waiting->status = status;
    fill_all(8000); /* the caller's, from now on */
}

/* ---- deadlines ---------------------------------------------------------------------------------------------- */

#define DEADLINE_NS 2000000ull

/* The server does a little, then nothing until the deadline has passed; what its NIC was told goes on. */
static void pass_deadline(const struct waiting *waiting, unsigned turns) {
    for (unsigned i = 0; i < turns && waiting->calls == 0; i++) {
        house_turn();
        (void)ist_hca_run(house_hca(), 2);
        (void)ist_client_process(f.client);
    }
    while (waiting->calls == 0) {
        (void)ist_client_process(f.client);
    }
    assert_true(waiting->status == IST_OK || waiting->status == IST_TIMEOUT);
    house_unpark();
}

static void test_put__deadline_anywhere__memory_is_the_callers_again(void **state) {
    (void)state;
    begin((struct house_options){.seed = 21});
    unsigned late = 0;
    for (unsigned round = 0; round < rounds(80); round++) {
        struct ist_put_item puts[VALUES];
        struct waiting waiting = {0};
        uint64_t purged;
        assert_works();
        assert_int_equal(ist_purge(f.witness, &purged, 0), IST_OK);
        puts_of(puts);
        fill_all(round);
        house_park();
        assert_int_equal(ist_put_async(f.client, puts, VALUES, 0, DEADLINE_NS, on_done, &waiting),
                         IST_OK);
        pass_deadline(&waiting, round);
        late += waiting.status == IST_TIMEOUT;
        let_it_run(); /* on_done() has filled it with what must not be stored now */
        assert_stored(round, waiting.status != IST_OK);
    }
    assert_true(late > 0);
    end();
}

static void test_get__deadline_anywhere__memory_is_the_callers_again(void **state) {
    (void)state;
    begin((struct house_options){.seed = 22});
    unsigned late = 0;
    for (unsigned round = 0; round < rounds(80); round++) {
        struct ist_get_item gets[VALUES];
        struct waiting waiting = {0};
        assert_works();
        gets_of(gets, f.memory);
        fill_all(7000);
        house_park();
        assert_int_equal(ist_get_async(f.client, gets, VALUES, DEADLINE_NS, on_done, &waiting), IST_OK);
        pass_deadline(&waiting, round);
        late += waiting.status == IST_TIMEOUT;
        let_it_run();
        assert_all_filled(f.memory, 8000);
    }
    assert_true(late > 0);
    end();
}

/* A blocking call, too. */
static void test_call__deadline_passes__timeout_and_connected_anew(void **state) {
    (void)state;
    begin((struct house_options){.seed = 20});
    struct ist_put_item puts[VALUES];
    puts_of(puts);
    house_park();
    assert_int_equal(ist_put(f.client, puts, VALUES, 0, DEADLINE_NS), IST_TIMEOUT);
    for (unsigned i = 0; i < VALUES; i++) {
        assert_int_equal(puts[i].status, IST_TIMEOUT);
    }
    assert_int_equal(ist_client_incarnation(f.client), 0);
    house_unpark();
    assert_works();
    end();
}

/* ---- what is in flight -------------------------------------------------------------------------------------- */

/* A get, some way on its way. The server is parked. */
static void start_get(struct ist_get_item *gets, struct waiting *waiting, unsigned turns) {
    gets_of(gets, f.memory);
    *waiting = (struct waiting){0};
    fill_all(7000);
    enum ist_status status = IST_PEER;
    for (unsigned i = 0; i < 20 && status != IST_OK; i++) {
        status = ist_ping(f.client, 0); /* connects */
    }
    assert_int_equal(status, IST_OK);
    house_park();
    assert_int_equal(ist_get_async(f.client, gets, VALUES, 0, on_done, waiting), IST_OK);
    for (unsigned i = 0; i < turns && waiting->calls == 0; i++) {
        house_turn();
        (void)ist_hca_run(house_hca(), 2);
        (void)ist_client_process(f.client);
    }
}

static void store_values(void) {
    struct ist_put_item puts[VALUES];
    puts_of(puts);
    fill_all(1);
    enum ist_status status = IST_PEER;
    for (unsigned i = 0; i < 20 && status != IST_OK; i++) {
        status = ist_put(f.client, puts, VALUES, 0, 0);
    }
    assert_int_equal(status, IST_OK);
}

static void test_unregister__in_flight__ended_first(void **state) {
    (void)state;
    begin((struct house_options){.seed = 23});
    store_values();
    unsigned ended = 0;
    for (unsigned round = 0; round < rounds(60); round++) {
        struct ist_get_item gets[VALUES];
        struct waiting waiting;
        start_get(gets, &waiting, round);
        bool was_running = waiting.calls == 0;
        assert_int_equal(ist_memory_unregister(f.client, f.memory, VALUES * VALUE_BYTES), IST_OK);
        while (waiting.calls == 0) {
            (void)ist_client_process(f.client);
        }
        ended += was_running && waiting.status == IST_PEER;
        house_unpark();
        let_it_run();
        assert_all_filled(f.memory, 8000);
        assert_int_equal(ist_memory_register(f.client, f.memory, VALUES * VALUE_BYTES), IST_OK);
    }
    assert_true(ended > 0);
    assert_works();
    end();
}

static void test_unregister__of_other_memory_in_flight__nothing_happens(void **state) {
    (void)state;
    begin((struct house_options){.seed = 24});
    uint8_t other[4096];
    struct ist_get_item gets[VALUES];
    struct waiting waiting;
    store_values();
    assert_int_equal(ist_memory_register(f.client, other, sizeof(other)), IST_OK);
    assert_int_equal(ist_memory_register(f.client, f.memory, VALUES * VALUE_BYTES), IST_OK);
    start_get(gets, &waiting, 0);
    assert_int_equal(waiting.calls, 0);
    assert_int_equal(ist_memory_unregister(f.client, other, sizeof(other)), IST_OK);
    assert_int_equal(ist_memory_unregister(f.client, f.memory, VALUES * VALUE_BYTES), IST_OK);
    house_unpark();
    while (waiting.calls == 0) {
        (void)ist_client_process(f.client);
        (void)ist_hca_run(house_hca(), 4);
    }
    assert_int_equal(waiting.status, IST_OK);
    end();
}

static void test_free__in_flight__peer_and_memory_is_the_callers(void **state) {
    (void)state;
    begin((struct house_options){.seed = 25});
    store_values();
    for (unsigned round = 0; round < rounds(60); round++) {
        struct ist_get_item gets[VALUES];
        struct waiting waiting;
        start_get(gets, &waiting, round);
        ist_client_free(f.client);
        assert_int_equal(waiting.calls, 1);
        house_unpark();
        let_it_run();
        assert_all_filled(f.memory, 8000);
        f.client = house_client_of(IST_TRANSPORT_RDMA);
        assert_int_equal(ist_memory_register(f.client, f.memory, VALUES * VALUE_BYTES), IST_OK);
    }
    end();
}

/* ---- the other side, and the device ------------------------------------------------------------------------- */

enum blow { SERVER_ENDS, SERVER_KILLED, PORT_DOWN, DEVICE_FATAL, BLOWS };

static void strike(enum blow blow) {
    switch (blow) {
    case SERVER_ENDS: house_restart(false); break;
    case SERVER_KILLED: house_restart(true); break;
    case PORT_DOWN: ist_hca_set_link(house_device("client"), 1, false); break;
    case DEVICE_FATAL: ist_hca_device_fatal(house_device("client")); break;
    case BLOWS: break;
    }
}

static void uncut(enum blow blow) {
    if (blow != DEVICE_FATAL) {
        ist_hca_set_cut(house_device("client"), 1, false);
    }
}

static void recover(enum blow blow) {
    struct ist_hca_device_config device;
    if (blow == PORT_DOWN) {
        ist_hca_set_link(house_device("client"), 1, true);
    } else if (blow == DEVICE_FATAL) {
        ist_hca_device_config_roce(&device, "client", 1);
        assert_non_null(ist_hca_add_device(house_hca(), &device));
    }
}

/* Does the client say that this is why it has no RDMA? */
static bool is_why(const char *text) {
    char why[300];
    ist_client_why_tcp(f.client, why, sizeof(why));
    return strstr(why, text) != NULL;
}

static void test_blows__in_flight__peer_then_as_before(void **state) {
    (void)state;
    for (enum blow blow = 0; blow < BLOWS; blow++) {
        unsigned ended = 0;
        for (unsigned round = 0; round < rounds(24); round++) {
            begin((struct house_options){.seed = 100 * blow + round});
            struct ist_get_item gets[VALUES];
            struct waiting waiting;
            store_values();
            start_get(gets, &waiting, round);
            ist_hca_set_cut(house_device("client"), 1, round % 2 == 1); /* or it is over too soon */
            if (blow == SERVER_ENDS || blow == SERVER_KILLED) {
                house_unpark();
            }
            strike(blow);
            if (blow == PORT_DOWN || blow == DEVICE_FATAL) {
                house_unpark();
            }
            uint64_t until_ns = ist_client_now_ns() + 60 * IST_NS_PER_SEC;
            while (waiting.calls == 0) {
                (void)ist_client_process(f.client);
                (void)ist_hca_run(house_hca(), 4);
                assert_true(ist_client_now_ns() < until_ns);
            }
            assert_true(waiting.status == IST_OK || waiting.status == IST_PEER);
            ended += waiting.status == IST_PEER;
            /* What is noticed first, the event or its consequences, is as it comes. */
            assert_true(waiting.status == IST_OK || blow < PORT_DOWN || is_why("down") ||
                        is_why("failed"));
            uncut(blow);
            (void)ist_hca_run(house_hca(), 3000);
            assert_all_filled(f.memory, 8000);
            recover(blow);
            if (blow == SERVER_ENDS || blow == SERVER_KILLED) {
                (void)ist_ping(f.witness, 0); /* finds out */
            }
            assert_works();
            end();
        }
        assert_true(ended > 0);
    }
}

/* One ping is answered, and another will not be: the queue cannot be looked at, or armed, any more. Whoever waits for the
 * descriptor must hear of it. True: a call has failed. */
static bool fail_queue(uint64_t nth) {
    struct waiting answered = {0}, lost = {0};
    struct pollfd polled = {.fd = ist_client_fd(f.client), .events = POLLIN};
    house_park();
    assert_int_equal(ist_ping_async(f.client, 0, on_done, &answered), IST_OK);
    for (unsigned i = 0; i < 40; i++) {
        house_turn();
        (void)ist_hca_run(house_hca(), 4);
    }
    assert_int_equal(ist_ping_async(f.client, 0, on_done, &lost), IST_OK);
    ist_hca_fail_nth(house_hca(), IST_HCA_CALL_ARM | IST_HCA_CALL_POLL, nth);
    while (poll(&polled, 1, 0) == 1) {
        (void)ist_client_process(f.client);
    }
    bool has_failed = ist_hca_failed(house_hca()) != NULL;
    ist_hca_fail_nth(house_hca(), 0, 0);
    assert_int_equal(lost.calls, has_failed);
    assert_int_equal(lost.status, has_failed ? IST_PEER : IST_OK);
    house_unpark();
    while (lost.calls == 0) {
        (void)ist_client_process(f.client);
    }
    return has_failed;
}

static void test_queue__cannot_be_looked_at_or_armed__all_are_told(void **state) {
    (void)state;
    uint64_t nth = 1;
    bool has_failed = true;
    for (; has_failed && nth < 30; nth++) {
        begin((struct house_options){.seed = 60 + nth});
        has_failed = fail_queue(nth);
        assert_works();
        end();
    }
    assert_true(nth > 3 && !has_failed);
}

/* A call of the client's own fails in mid-life: it says which, until there is RDMA again. */
static void test_call_of_ours__fails_in_flight__said(void **state) {
    (void)state;
    static const struct {
        unsigned calls;
        const char *said;
    } cases[] = {{IST_HCA_CALL_SEND, "requests cannot be posted"},
                 {IST_HCA_CALL_RECEIVE, "receive buffer cannot be posted"},
                 {IST_HCA_CALL_ARM, "cannot be armed"},
                 {IST_HCA_CALL_POLL, "cannot be polled: -5"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        begin((struct house_options){.seed = 80 + i});
        assert_true(is_why(""));
        house_park();
        struct waiting waiting = {0};
        assert_int_equal(ist_ping_async(f.client, 0, on_done, &waiting), IST_OK);
        for (unsigned turn = 0; turn < 40; turn++) {
            house_turn(); /* the answer is on its way: all calls from now on are the client's */
            (void)ist_hca_run(house_hca(), 4);
        }
        ist_hca_fail_nth(house_hca(), cases[i].calls, 1);
        if (cases[i].calls == IST_HCA_CALL_SEND) {
            struct waiting refused = {0};
            assert_int_equal(ist_ping_async(f.client, 0, on_done, &refused), IST_OK);
            (void)ist_client_process(f.client);
            assert_int_equal(refused.status, IST_PEER);
        }
        for (unsigned turn = 0; turn < 40 && ist_hca_failed(house_hca()) == NULL; turn++) {
            (void)ist_client_process(f.client);
        }
        assert_non_null(ist_hca_failed(house_hca()));
        ist_hca_fail_nth(house_hca(), 0, 0);
        assert_true(is_why(cases[i].said));
        house_unpark();
        assert_works();
        assert_false(is_why(cases[i].said));
        end();
    }
}

/* AUTO: without a device there is TCP, and RDMA again when it has come back. */
static void test_auto__device_goes_and_comes__tcp_meanwhile(void **state) {
    (void)state;
    begin((struct house_options){.seed = 31});
    struct ist_client *client = house_client_of(IST_TRANSPORT_AUTO);
    uint8_t value[1000];
    struct ist_put_item put = {.key = key_of(0), .value = value, .value_bytes = sizeof(value)};
    memset(value, 1, sizeof(value));
    assert_int_equal(ist_client_transport(client), IST_TRANSPORT_RDMA);
    assert_int_equal(ist_memory_register(client, value, sizeof(value)), IST_OK);
    assert_int_equal(ist_put(client, &put, 1, 0, 0), IST_OK);
    ist_hca_device_fatal(house_device("client"));
    enum ist_status status = IST_PEER;
    for (unsigned i = 0; i < 20 && status == IST_PEER; i++) {
        status = ist_put(client, &put, 1, 0, 0);
    }
    assert_int_equal(status, IST_OK);
    assert_int_equal(ist_client_transport(client), IST_TRANSPORT_TCP);
    assert_int_equal(house_warnings(), 1);
    recover(DEVICE_FATAL);
    house_restart(false);
    status = IST_PEER;
    for (unsigned i = 0; i < 20 && status == IST_PEER; i++) {
        status = ist_put(client, &put, 1, 0, 0);
    }
    assert_int_equal(status, IST_OK);
    assert_int_equal(ist_client_transport(client), IST_TRANSPORT_RDMA);
    assert_int_equal(house_warnings(), 1);
    ist_client_free(client);
    end();
}

/* ---- calls that fail ---------------------------------------------------------------------------------------- */

/* One life of a client. Every answer but OK and its values must be one of those that tell of this. */
static void live(const struct ist_alloc *alloc, enum ist_transport transport) {
    struct ist_client *client = NULL;
    char error[300] = "";
    enum ist_status status = house_client(transport, alloc, &client, error);
    if (status != IST_OK) {
        assert_true(status == IST_NO_MEMORY || status == IST_DEVICE || status == IST_PEER ||
                    status == IST_PROTOCOL);
        assert_true(error[0] != '\0');
        return;
    }
    struct ist_put_item put = {.key = key_of(0), .value = f.memory, .value_bytes = 5000};
    struct ist_get_item get = {.key = key_of(0), .buffer = f.memory + 5000, .buffer_bytes = 5000};
    for (unsigned i = 0; i < 3; i++) {
        status = ist_memory_register(client, f.memory, 10000);
        bool registered = status == IST_OK;
        assert_true(registered || status == IST_NO_MEMORY);
        house_fill(f.memory, 5000, i);
        status = ist_put(client, &put, 1, 0, 0);
        assert_true(status == IST_OK || status == IST_NO_MEMORY || status == IST_PEER ||
                    status == IST_DEVICE || (status == IST_INVALID && !registered));
        if (status == IST_OK) {
            status = ist_get(client, &get, 1, 0);
            assert_true(status == IST_OK || status == IST_NO_MEMORY || status == IST_PEER ||
                        status == IST_DEVICE);
        }
        if (status == IST_OK) {
            house_assert_filled(f.memory + 5000, 5000, i);
        }
        if (registered) {
            assert_int_equal(ist_memory_unregister(client, f.memory, 10000), IST_OK);
        }
    }
    ist_client_free(client);
}

static void test_client__nth_allocation_fails__told_and_nothing_left(void **state) {
    (void)state;
    begin((struct house_options){.seed = 41});
    struct failing_alloc failing;
    for (unsigned auto_too = 0; auto_too < 2; auto_too++) {
        enum ist_transport transport = auto_too == 1 ? IST_TRANSPORT_AUTO : IST_TRANSPORT_RDMA;
        failing_alloc_init(&failing, 0);
        live(&failing.alloc, transport);
        uint64_t calls = failing.calls;
        assert_true(calls > 20);
        for (uint64_t nth = 1; nth <= calls; nth += rounds(8) == 8 ? 1 : 4) {
            failing_alloc_init(&failing, nth);
            live(&failing.alloc, transport);
            assert_int_equal(failing.live, 0);
        }
    }
    house_await_connections(1);
    assert_works();
    end();
}

/* Which calls fail for the client, and which for the server, is as it comes: both must live with it. */
static void test_client__nth_verbs_call_fails__told_and_nothing_left(void **state) {
    (void)state;
    static const unsigned kinds[] = {
        IST_HCA_CALL_LIST,   IST_HCA_CALL_OPEN,     IST_HCA_CALL_QUERY,
        IST_HCA_CALL_CREATE, IST_HCA_CALL_REGISTER, IST_HCA_CALL_MODIFY,
        IST_HCA_CALL_POST,   IST_HCA_CALL_EVENT,    IST_HCA_CALL_DESTROY,
    };
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
        begin((struct house_options){.seed = 42 + kind});
        ist_hca_fail_nth(house_hca(), kinds[kind], 0);
        live(ist_alloc_system(), IST_TRANSPORT_RDMA);
        uint64_t calls = ist_hca_calls(house_hca()), most = rounds(48);
        for (uint64_t nth = 1; nth <= calls; nth += calls / most + 1) {
            ist_hca_fail_nth(house_hca(), kinds[kind], nth);
            live(ist_alloc_system(), nth % 2 == 0 ? IST_TRANSPORT_RDMA : IST_TRANSPORT_AUTO);
            ist_hca_fail_nth(house_hca(), 0, 0);
            house_restart(false); /* some failures end RDMA in a server for good */
        }
        assert_works();
        end();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put__deadline_anywhere__memory_is_the_callers_again),
        cmocka_unit_test(test_get__deadline_anywhere__memory_is_the_callers_again),
        cmocka_unit_test(test_call__deadline_passes__timeout_and_connected_anew),
        cmocka_unit_test(test_queue__cannot_be_looked_at_or_armed__all_are_told),
        cmocka_unit_test(test_unregister__in_flight__ended_first),
        cmocka_unit_test(test_unregister__of_other_memory_in_flight__nothing_happens),
        cmocka_unit_test(test_free__in_flight__peer_and_memory_is_the_callers),
        cmocka_unit_test(test_blows__in_flight__peer_then_as_before),
        cmocka_unit_test(test_call_of_ours__fails_in_flight__said),
        cmocka_unit_test(test_auto__device_goes_and_comes__tcp_meanwhile),
        cmocka_unit_test(test_client__nth_allocation_fails__told_and_nothing_left),
        cmocka_unit_test(test_client__nth_verbs_call_fails__told_and_nothing_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
