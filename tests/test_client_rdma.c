/* The client over RDMA: the public calls, against a server of the real rooms, on the software HCA. */
#include "tests/rdma_house.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/clock.h"

#define MEMORY_BYTES (4u << 20)
#define BATCH 3000u
#define MS 1000000ull

static struct {
    struct ist_client *client;
    uint8_t *memory;
} f;

static struct ist_key key_of(const char *text) {
    return (struct ist_key){.data = text, .bytes = strlen(text)};
}

static struct ist_put_item put_of(const char *key, size_t at, size_t bytes) {
    return (struct ist_put_item){.key = key_of(key), .value = f.memory + at, .value_bytes = bytes};
}

static struct ist_get_item get_of(const char *key, size_t at, size_t bytes) {
    return (struct ist_get_item){.key = key_of(key), .buffer = f.memory + at, .buffer_bytes = bytes};
}

static void begin(struct house_options options, enum ist_transport transport) {
    memset(&f, 0, sizeof(f));
    house_begin(options);
    f.memory = calloc(1, MEMORY_BYTES);
    assert_non_null(f.memory);
    f.client = house_client_of(transport);
    assert_int_equal(ist_memory_register(f.client, f.memory, MEMORY_BYTES), IST_OK);
}

static void end(void) {
    ist_client_free(f.client);
    free(f.memory);
    house_end();
}

/* A value goes there and comes back. */
static void exchange_value(const char *key, size_t bytes, uint64_t seed) {
    house_fill(f.memory, bytes, seed);
    struct ist_put_item put = put_of(key, 0, bytes);
    assert_int_equal(ist_put(f.client, &put, 1, 0, 0), IST_OK);
    assert_int_equal(put.status, IST_OK);
    struct ist_get_item get = get_of(key, MEMORY_BYTES / 2, bytes);
    assert_int_equal(ist_get(f.client, &get, 1, 0), IST_OK);
    assert_int_equal(get.value_bytes, bytes);
    house_assert_filled(f.memory + MEMORY_BYTES / 2, bytes, seed);
}

/* ---- values ------------------------------------------------------------------------------------------------ */

static void test_put_get__over_rdma__same_bytes_and_all_operations(void **state) {
    (void)state;
    begin((struct house_options){.seed = 1}, IST_TRANSPORT_RDMA);
    char why[64] = "something";
    assert_int_equal(ist_client_transport(f.client), IST_TRANSPORT_RDMA);
    ist_client_why_tcp(f.client, why, sizeof(why));
    assert_string_equal(why, "");
    assert_int_equal(house_rdma_connections(), 1);
    assert_int_equal(ist_client_incarnation(f.client), 1);
    exchange_value("small", 1, 3);
    exchange_value("large", 2000001, 4);
    const struct ist_key keys[3] = {key_of("small"), key_of("none"), key_of("large")};
    bool present[3];
    size_t number;
    int64_t last;
    uint64_t purged;
    assert_int_equal(ist_exists(f.client, keys, 3, present, 0), IST_OK);
    assert_true(present[0] && !present[1] && present[2]);
    assert_int_equal(ist_match_prefix(f.client, keys, 3, &number, 0), IST_OK);
    assert_int_equal(number, 1);
    assert_int_equal(ist_match_last(f.client, keys, 3, &last, 0), IST_OK);
    assert_int_equal(last, 2);
    assert_int_equal(ist_remove(f.client, keys, 1, &number, 0), IST_OK);
    assert_int_equal(number, 1);
    assert_int_equal(ist_ping(f.client, 0), IST_OK);
    assert_int_equal(ist_purge(f.client, &purged, 0), IST_OK);
    assert_int_equal(purged, 1);
    end();
}

static void test_items__each_its_status__as_over_tcp(void **state) {
    (void)state;
    const enum ist_transport transports[] = {IST_TRANSPORT_RDMA, IST_TRANSPORT_TCP};
    for (size_t t = 0; t < 2; t++) {
        begin((struct house_options){.seed = 2}, transports[t]);
        assert_int_equal(ist_client_transport(f.client), transports[t]);
        house_fill(f.memory, 4096, 1);
        struct ist_put_item puts[2] = {put_of("a", 0, 100), put_of("b", 100, 200)};
        assert_int_equal(ist_put(f.client, puts, 2, 0, 0), IST_OK);
        house_fill(f.memory, 4096, 2);
        struct ist_put_item again[2] = {put_of("a", 0, 50), put_of("c", 50, 60)};
        assert_int_equal(ist_put(f.client, again, 2, IST_IF_ABSENT, 0), IST_EXISTS);
        assert_int_equal(again[0].status, IST_EXISTS);
        assert_int_equal(again[1].status, IST_OK);
        struct ist_get_item gets[5] = {get_of("a", 8192, 100), get_of("none", 8292, 10),
                                       get_of("b", 8302, 199), get_of("c", 8501, 1000),
                                       get_of("b", 0, 0)};
        gets[4].buffer = NULL;
        memset(f.memory + 8192, 0x5a, 2000);
        assert_int_equal(ist_get(f.client, gets, 5, 0), IST_NOT_FOUND);
        const enum ist_status expected[5] = {IST_OK, IST_NOT_FOUND, IST_TOO_SMALL, IST_OK,
                                             IST_TOO_SMALL};
        const uint64_t lengths[5] = {100, 0, 200, 60, 200};
        for (size_t i = 0; i < 5; i++) {
            assert_int_equal(gets[i].status, expected[i]);
            assert_int_equal(gets[i].value_bytes, lengths[i]);
        }
        house_assert_filled(f.memory + 8192, 100, 1);
        assert_int_equal(f.memory[8292], 0x5a);
        assert_int_equal(f.memory[8302], 0x5a);
        assert_int_equal(f.memory[8561], 0x5a);
        struct ist_put_item huge = put_of("huge", 0, HOUSE_POOL_BYTES + 1);
        assert_int_equal(ist_put(f.client, &huge, 1, 0, 0), IST_TOO_BIG);
        end();
    }
}

static void test_batch__of_thousands__all_of_it(void **state) {
    (void)state;
    begin((struct house_options){.seed = 3}, IST_TRANSPORT_RDMA);
    static char names[BATCH][16];
    static struct ist_put_item puts[BATCH];
    static struct ist_get_item gets[BATCH];
    size_t count = getenv("IST_TEST_SHORT") == NULL ? 1500 : 300, bytes = 700;
    for (size_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof(names[i]), "key %zu", i);
        house_fill(f.memory + i * bytes, bytes, i);
        puts[i] = put_of(names[i], i * bytes, bytes);
        gets[i] = get_of(names[i], 2 * MEMORY_BYTES / 4 + i * bytes, bytes);
    }
    assert_int_equal(ist_put(f.client, puts, count, 0, 0), IST_OK);
    assert_int_equal(ist_get(f.client, gets, count, 0), IST_OK);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(gets[i].value_bytes, bytes);
        house_assert_filled(f.memory + 2 * MEMORY_BYTES / 4 + i * bytes, bytes, i);
    }
    end();
}

/* ---- memory ------------------------------------------------------------------------------------------------ */

static void test_items__not_registered__invalid_and_the_others_served(void **state) {
    (void)state;
    begin((struct house_options){.seed = 4}, IST_TRANSPORT_RDMA);
    uint8_t stranger[64];
    memset(stranger, 9, sizeof(stranger));
    house_fill(f.memory, 300, 1);
    struct ist_put_item puts[3] = {put_of("a", 0, 100), put_of("b", 0, 64), put_of("c", 100, 200)};
    puts[1].value = stranger;
    assert_int_equal(ist_put(f.client, puts, 3, 0, 0), IST_INVALID);
    assert_int_equal(puts[0].status, IST_OK);
    assert_int_equal(puts[1].status, IST_INVALID);
    assert_int_equal(puts[2].status, IST_OK);
    const struct ist_key keys[3] = {key_of("a"), key_of("b"), key_of("c")};
    bool present[3];
    assert_int_equal(ist_exists(f.client, keys, 3, present, 0), IST_OK);
    assert_true(present[0] && !present[1] && present[2]);

    struct ist_get_item gets[3] = {get_of("a", 4096, 100), get_of("c", 0, 64), get_of("c", 8192, 200)};
    gets[1].buffer = stranger;
    assert_int_equal(ist_get(f.client, gets, 3, 0), IST_INVALID);
    assert_int_equal(gets[0].status, IST_OK);
    assert_int_equal(gets[1].status, IST_INVALID);
    assert_int_equal(gets[1].value_bytes, 0);
    assert_int_equal(gets[2].status, IST_OK);
    house_assert_filled(f.memory + 4096, 100, 1);
    for (size_t i = 0; i < sizeof(stranger); i++) {
        assert_int_equal(stranger[i], 9);
    }
    /* Nothing but strangers; half a stranger. */
    assert_int_equal(ist_put(f.client, &puts[1], 1, 0, 0), IST_INVALID);
    struct ist_put_item half = put_of("d", MEMORY_BYTES - 10, 11);
    assert_int_equal(ist_put(f.client, &half, 1, 0, 0), IST_INVALID);
    half.value_bytes = 10;
    assert_int_equal(ist_put(f.client, &half, 1, 0, 0), IST_OK);
    end();
}

static void test_memory__overlapping_and_repeated__any_pointer_inside(void **state) {
    (void)state;
    begin((struct house_options){.seed = 5}, IST_TRANSPORT_RDMA);
    assert_int_equal(ist_memory_unregister(f.client, f.memory, MEMORY_BYTES), IST_OK);
    assert_int_equal(ist_memory_unregister(f.client, f.memory, MEMORY_BYTES), IST_NOT_FOUND);
    struct ist_put_item put = put_of("a", 1000, 1000);
    assert_int_equal(ist_put(f.client, &put, 1, 0, 0), IST_INVALID);

    /* Two that adjoin are two. */
    assert_int_equal(ist_memory_register(f.client, f.memory, 1500), IST_OK);
    assert_int_equal(ist_memory_register(f.client, f.memory + 1500, 1500), IST_OK);
    assert_int_equal(ist_put(f.client, &put, 1, 0, 0), IST_INVALID);
    /* One that lies over both. */
    assert_int_equal(ist_memory_register(f.client, f.memory + 500, 2000), IST_OK);
    assert_int_equal(ist_memory_register(f.client, f.memory + 500, 2000), IST_OK);
    assert_int_equal(ist_put(f.client, &put, 1, 0, 0), IST_OK);
    assert_int_equal(ist_memory_unregister(f.client, f.memory + 500, 2000), IST_OK);
    assert_int_equal(ist_put(f.client, &put, 1, 0, 0), IST_OK);
    assert_int_equal(ist_memory_unregister(f.client, f.memory + 500, 2000), IST_OK);
    assert_int_equal(ist_put(f.client, &put, 1, 0, 0), IST_INVALID);

    assert_int_equal(ist_memory_register(f.client, f.memory, 0), IST_INVALID);
    assert_int_equal(ist_memory_register(f.client, NULL, 10), IST_INVALID);
    assert_int_equal(ist_memory_register(f.client, f.memory, SIZE_MAX), IST_INVALID);
    assert_int_equal(ist_memory_register(f.client, f.memory, 1ull << 60), IST_TOO_BIG);
    ist_hca_fail_nth(house_hca(), IST_HCA_CALL_REGISTER, 1);
    assert_int_equal(ist_memory_register(f.client, f.memory, MEMORY_BYTES), IST_NO_MEMORY);
    ist_hca_fail_nth(house_hca(), 0, 0);
    assert_int_equal(ist_memory_register(f.client, f.memory, MEMORY_BYTES), IST_OK);
    assert_int_equal(ist_put(f.client, &put, 1, 0, 0), IST_OK);
    end();
}

static void test_memory__over_tcp__the_same_calls(void **state) {
    (void)state;
    begin((struct house_options){.seed = 6}, IST_TRANSPORT_TCP);
    exchange_value("a", 5000, 1);
    assert_int_equal(ist_memory_unregister(f.client, f.memory, MEMORY_BYTES), IST_OK);
    exchange_value("a", 5000, 2);
    assert_int_equal(ist_memory_unregister(f.client, f.memory, MEMORY_BYTES), IST_NOT_FOUND);
    assert_int_equal(ist_memory_register(f.client, f.memory, 0), IST_INVALID);
    /* What only a device can read is out of reach. */
    uint8_t *gpu = f.memory + 65536;
    assert_int_equal(ist_memory_register_dmabuf(f.client, 0, 0, 4096, gpu), IST_OK);
    struct ist_put_item puts[2] = {put_of("b", 0, 10), put_of("c", 65536 + 4095, 1)};
    assert_int_equal(ist_put(f.client, puts, 2, 0, 0), IST_INVALID);
    struct ist_get_item get = get_of("a", 65530, 7);
    assert_int_equal(ist_get(f.client, &get, 1, 0), IST_INVALID);
    struct ist_put_item beside = put_of("b", 65536 - 10, 10);
    assert_int_equal(ist_put(f.client, &beside, 1, 0, 0), IST_OK);
    assert_int_equal(ist_memory_unregister(f.client, gpu, 4096), IST_OK);
    assert_int_equal(ist_put(f.client, puts, 2, 0, 0), IST_OK);
    assert_int_equal(ist_memory_register_dmabuf(f.client, -1, 0, 4096, gpu), IST_INVALID);
    end();
}

/* A descriptor of memory plays the GPU's. */
static void test_dmabuf__values_in_it__put_and_got(void **state) {
    (void)state;
    begin((struct house_options){.seed = 16}, IST_TRANSPORT_RDMA);
    int fd = memfd_create("gpu", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, 65536), 0);
    uint8_t *seen = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(seen, MAP_FAILED);
    uint8_t *gpu = (uint8_t *)(uintptr_t)(1ull << 40); /* nothing that the CPU could read */
    assert_int_equal(ist_memory_register_dmabuf(f.client, fd, 4096, 32768, gpu), IST_OK);
    house_fill(seen + 4096 + 100, 5000, 3);
    struct ist_put_item put = {.key = key_of("g"), .value = gpu + 100, .value_bytes = 5000};
    assert_int_equal(ist_put(f.client, &put, 1, 0, 0), IST_OK);
    struct ist_get_item get = {.key = key_of("g"), .buffer = gpu + 10000, .buffer_bytes = 5000};
    assert_int_equal(ist_get(f.client, &get, 1, 0), IST_OK);
    house_assert_filled(seen + 4096 + 10000, 5000, 3);
    assert_int_equal(ist_memory_unregister(f.client, gpu, 32768), IST_OK);
    assert_int_equal(ist_put(f.client, &put, 1, 0, 0), IST_INVALID);
    munmap(seen, 65536);
    close(fd);
    end();
}

/* ---- transports -------------------------------------------------------------------------------------------- */

static bool stat_has(const char *name) {
    struct ist_metrics *metrics;
    assert_int_equal(ist_stat(f.client, &metrics, 0), IST_OK);
    bool found = false;
    for (size_t i = 0; i < metrics->count; i++) {
        found = found || strcmp(metrics->items[i].name, name) == 0;
    }
    ist_metrics_free(metrics);
    return found;
}

static void falls_back(struct house_options options, const char *why) {
    begin(options, IST_TRANSPORT_AUTO);
    char text[300];
    assert_int_equal(ist_client_transport(f.client), IST_TRANSPORT_TCP);
    assert_int_equal(house_warnings(), 1);
    assert_non_null(strstr(house_warning(), why));
    assert_non_null(strstr(house_warning(), "using TCP"));
    ist_client_why_tcp(f.client, text, sizeof(text));
    assert_non_null(strstr(text, why));
    exchange_value("a", 100000, 1);
    assert_true(stat_has("infinistore_client_transport{wanted=\"auto\",used=\"tcp\"}"));
    house_restart(false);
    struct ist_key key = key_of("a");
    bool present = true;
    (void)ist_exists(f.client, &key, 1, &present, 0); /* may find out that the server is gone */
    assert_int_equal(ist_exists(f.client, &key, 1, &present, 0), IST_OK);
    assert_false(present);
    assert_int_equal(house_warnings(), 1);
    end();
}

static void test_auto__no_rdma_here_or_there__tcp_and_one_warning(void **state) {
    (void)state;
    falls_back((struct house_options){.seed = 7, .no_client_device = true}, "no RDMA device client");
    falls_back((struct house_options){.seed = 8, .no_server_device = true}, "DEVICE");
}

static void test_auto__rdma_is_there__rdma_and_no_warning(void **state) {
    (void)state;
    begin((struct house_options){.seed = 9}, IST_TRANSPORT_AUTO);
    assert_int_equal(ist_client_transport(f.client), IST_TRANSPORT_RDMA);
    exchange_value("a", 100000, 1);
    assert_int_equal(house_warnings(), 0);
    assert_true(stat_has("infinistore_client_transport{wanted=\"auto\",used=\"rdma\"}"));
    end();
}

static void refuses(struct house_options options, const char *why) {
    struct ist_client *client = NULL;
    char error[300] = "";
    house_begin(options);
    assert_int_equal(house_client(IST_TRANSPORT_RDMA, ist_alloc_system(), &client, error), IST_DEVICE);
    if (strstr(error, why) == NULL || strstr(error, house_endpoint()) == NULL) {
        fail_msg("%s", error);
    }
    house_end();
}

static void test_rdma__none_here_or_there__an_error_that_says_so(void **state) {
    (void)state;
    refuses((struct house_options){.seed = 10, .no_client_device = true}, "no RDMA device client");
    refuses((struct house_options){.seed = 11, .no_server_device = true}, "the server answers CONNECT");
}

/* Nothing passes beyond the next switch: only a message that arrives proves that RDMA can be had. */
static void test_connect__nothing_gets_through__told_or_tcp(void **state) {
    (void)state;
    struct ist_client *client = NULL;
    char error[300] = "";
    house_begin((struct house_options){.seed = 12});
    ist_hca_set_cut(house_device("server"), 1, true);
    assert_int_equal(house_client(IST_TRANSPORT_RDMA, ist_alloc_system(), &client, error), IST_DEVICE);
    assert_non_null(strstr(error, "queue pair"));
    client = house_client_of(IST_TRANSPORT_AUTO);
    assert_int_equal(ist_client_transport(client), IST_TRANSPORT_TCP);
    assert_int_equal(house_warnings(), 1);
    assert_int_equal(ist_ping(client, 0), IST_OK);
    ist_client_free(client);
    house_end();
}

/* ---- the end of a server ----------------------------------------------------------------------------------- */

static void after_restart(bool killed, uint64_t seed) {
    begin((struct house_options){.seed = seed}, IST_TRANSPORT_RDMA);
    exchange_value("a", 100000, 1);
    house_restart(killed);
    enum ist_status status = IST_PEER;
    for (unsigned i = 0; i < 10 && status != IST_OK; i++) {
        status = ist_ping(f.client, 0);
        assert_true(status == IST_OK || status == IST_PEER);
    }
    assert_int_equal(status, IST_OK);
    assert_int_equal(ist_client_incarnation(f.client), 2);
    assert_int_equal(ist_client_transport(f.client), IST_TRANSPORT_RDMA);
    exchange_value("a", 100000, 2);
    end();
}

static void test_server__restarted__connected_anew_by_the_next_request(void **state) {
    (void)state;
    after_restart(false, 13);
    after_restart(true, 14);
}

/* ---- asynchronous ------------------------------------------------------------------------------------------ */

struct waiting {
    unsigned calls;
    enum ist_status status;
};

static void on_done(void *arg, enum ist_status status) {
    struct waiting *waiting = arg;
    waiting->calls++;
    waiting->status = status;
}

static void process_until(const struct waiting *waiting, unsigned calls) {
    uint64_t until_ns = ist_client_now_ns() + 60 * IST_NS_PER_SEC;
    while (waiting->calls < calls) {
        struct pollfd polled = {.fd = ist_client_fd(f.client), .events = POLLIN};
        assert_int_equal(poll(&polled, 1, 60000), 1);
        (void)ist_client_process(f.client);
        assert_true(ist_client_now_ns() < until_ns);
    }
}

static void test_asynchronous__sixteen_at_a_time__by_the_descriptor(void **state) {
    (void)state;
    begin((struct house_options){.seed = 15}, IST_TRANSPORT_RDMA);
    struct waiting waiting = {0};
    struct ist_put_item puts[16];
    struct ist_get_item gets[16];
    char names[16][8];
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 16; i++) {
            snprintf(names[i], sizeof(names[i]), "%u", i);
            house_fill(f.memory + i * 4096, 4096, round + i);
            puts[i] = put_of(names[i], i * 4096, 4096);
            gets[i] = get_of(names[i], 1000000 + i * 4096, 4096);
            assert_int_equal(ist_put_async(f.client, &puts[i], 1, 0, 0, on_done, &waiting), IST_OK);
        }
        process_until(&waiting, 16);
        for (unsigned i = 0; i < 16; i++) {
            assert_int_equal(ist_get_async(f.client, &gets[i], 1, 0, on_done, &waiting), IST_OK);
        }
        process_until(&waiting, 32);
        for (unsigned i = 0; i < 16; i++) {
            assert_int_equal(gets[i].status, IST_OK);
            house_assert_filled(f.memory + 1000000 + i * 4096, 4096, round + i);
        }
        waiting.calls = 0;
    }
    end();
}

/* A thousand requests where sixteen messages have room. */
static void test_asynchronous__more_than_the_credits__few_doorbells(void **state) {
    (void)state;
    begin((struct house_options){.seed = 17}, IST_TRANSPORT_RDMA);
    static struct ist_put_item puts[16];
    struct waiting waiting = {0};
    char names[16][8];
    unsigned batches = 25;
    ist_hca_fail_nth(house_hca(), IST_HCA_CALL_POST, 0);
    for (unsigned round = 0; round < batches; round++) {
        for (unsigned i = 0; i < 16; i++) {
            snprintf(names[i], sizeof(names[i]), "%u", i);
            puts[i] = put_of(names[i], i * 4096, 4096);
            assert_int_equal(ist_put_async(f.client, &puts[i], 1, 0, 0, on_done, &waiting), IST_OK);
        }
        process_until(&waiting, 16 * (round + 1));
    }
    /* Of both sides: a request, its READ, its reply, and receive buffers given back for both. */
    assert_true(ist_hca_calls(house_hca()) <= 16 * batches * 4);
    static struct ist_get_item gets[1000];
    waiting.calls = 0;
    for (unsigned i = 0; i < 1000; i++) {
        gets[i] = get_of(names[i % 16], 1000000 + i * 16, 16);
        assert_int_equal(ist_get_async(f.client, &gets[i], 1, 0, on_done, &waiting), IST_OK);
    }
    process_until(&waiting, 1000);
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(gets[i].status, IST_TOO_SMALL);
    }
    end();
}

static void test_poll__a_while_before_sleeping__the_same_answers(void **state) {
    (void)state;
    begin((struct house_options){.seed = 18}, IST_TRANSPORT_RDMA);
    ist_client_free(f.client);
    const struct ist_client_options options = {.endpoints = house_endpoint(),
                                               .transport = IST_TRANSPORT_RDMA,
                                               .device = "client",
                                               .poll_ns = 50 * MS};
    char error[300];
    assert_int_equal(ist_client_new(&options, &f.client, error, sizeof(error)), IST_OK);
    assert_int_equal(ist_memory_register(f.client, f.memory, MEMORY_BYTES), IST_OK);
    for (unsigned i = 0; i < 20; i++) {
        exchange_value("a", 10000, i);
    }
    end();
}

/* What a user may not ask for. */
static void test_new__options_that_cannot_be__invalid_and_named(void **state) {
    (void)state;
    static const struct {
        struct ist_client_options options;
        const char *named;
    } wrong[] = {
        {{.transport = (enum ist_transport)3}, "transport"},
        {{.link = (enum ist_client_link)3}, "link"},
        {{.device = ""}, "name"},
        {{.device = "a name that is longer than any device has, even with a long prefix"}, "name"},
        {{.port = 256}, "port"},
        {{.use_gid_index = true, .gid_index = 256}, "GID"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct ist_client *client = NULL;
        char error[300] = "";
        assert_int_equal(ist_client_new(&wrong[i].options, &client, error, sizeof(error)), IST_INVALID);
        assert_non_null(strstr(error, wrong[i].named));
        assert_null(client);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_get__over_rdma__same_bytes_and_all_operations),
        cmocka_unit_test(test_items__each_its_status__as_over_tcp),
        cmocka_unit_test(test_batch__of_thousands__all_of_it),
        cmocka_unit_test(test_items__not_registered__invalid_and_the_others_served),
        cmocka_unit_test(test_memory__overlapping_and_repeated__any_pointer_inside),
        cmocka_unit_test(test_memory__over_tcp__the_same_calls),
        cmocka_unit_test(test_dmabuf__values_in_it__put_and_got),
        cmocka_unit_test(test_auto__no_rdma_here_or_there__tcp_and_one_warning),
        cmocka_unit_test(test_auto__rdma_is_there__rdma_and_no_warning),
        cmocka_unit_test(test_rdma__none_here_or_there__an_error_that_says_so),
        cmocka_unit_test(test_connect__nothing_gets_through__told_or_tcp),
        cmocka_unit_test(test_server__restarted__connected_anew_by_the_next_request),
        cmocka_unit_test(test_asynchronous__sixteen_at_a_time__by_the_descriptor),
        cmocka_unit_test(test_asynchronous__more_than_the_credits__few_doorbells),
        cmocka_unit_test(test_poll__a_while_before_sleeping__the_same_answers),
        cmocka_unit_test(test_new__options_that_cannot_be__invalid_and_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
