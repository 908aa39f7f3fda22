/* src/verbs/queue_pair: what a queue pair is told of its peer, by which way it goes there, and which peers cannot be. */
#include "tests/support.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <infiniband/verbs.h>

#include "sim/hca/hca.h"
#include "verbs/queue_pair.h"

#define RANDOM_NUMBER 0xab123456u /* of packets: more than its 24 bits */
#define NUMBER 0x123456u

static struct {
    struct ist_hca *hca;
    struct failing_alloc failing;
    struct ist_log log;
    unsigned warnings, errors;
    struct ist_hca_device *hca_device;
    struct ist_device *device;
    struct ist_completion *completion;
    struct ist_queue_pair *queue_pair;
} f;

static void count_line(void *context, enum ist_log_level level, uint64_t session, const char *message) {
    (void)context;
    (void)message;
    assert_true(level > IST_LOG_WARNING || session == 77 || session == 0);
    f.warnings += level == IST_LOG_WARNING;
    f.errors += level == IST_LOG_ERROR;
}

static int setup(void **state) {
    (void)state;
    struct ist_hca_config config;
    memset(&f, 0, sizeof(f));
    failing_alloc_init(&f.failing, 0);
    f.log = (struct ist_log){.level = IST_LOG_DEBUG, .write = count_line};
    ist_hca_config_init(&config, 6);
    f.hca = ist_hca_new(&config);
    assert_non_null(f.hca);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    ist_queue_pair_free(f.queue_pair);
    ist_completion_free(f.completion);
    ist_device_close(f.device);
    ist_hca_free(f.hca);
    assert_int_equal(f.failing.live, 0);
    return 0;
}

static void open_device(const struct ist_hca_device_config *about) {
    char why[128];
    const struct ist_device_config config = {
        .hint_gid_index = -1, .alloc = &f.failing.alloc, .log = &f.log};
    f.hca_device = ist_hca_add_device(f.hca, about);
    assert_non_null(f.hca_device);
    assert_int_equal(ist_device_open(&config, &f.device, why, sizeof(why)), IST_OK);
    const struct ist_completion_config completion = {.device = f.device,
                                                     .queue_pairs_max = 2,
                                                     .send_wr = 8,
                                                     .messages = 4,
                                                     .message_bytes = 512,
                                                     .alloc = &f.failing.alloc,
                                                     .log = &f.log};
    assert_int_equal(ist_completion_new(&completion, &f.completion), IST_OK);
}

static void renew(bool remote_access) {
    const struct ist_queue_pair_config config = {.completion = f.completion,
                                                 .remote_access = remote_access,
                                                 .packet_number = RANDOM_NUMBER,
                                                 .user = &f,
                                                 .session = 77};
    ist_queue_pair_free(f.queue_pair);
    f.queue_pair = NULL;
    assert_int_equal(ist_queue_pair_new(&config, &f.queue_pair), IST_OK);
}

static void open_roce(void) {
    struct ist_hca_device_config about;
    ist_hca_device_config_roce(&about, "roce", 0);
    about.max_qp_rd_atom = 7;
    about.max_qp_init_rd_atom = 9;
    open_device(&about);
    renew(false);
}

static void open_infiniband(bool requires_grh) {
    struct ist_hca_device_config about;
    ist_hca_device_config_ib(&about, "ib", 0);
    about.port[0].grh_required = requires_grh;
    open_device(&about);
    renew(false);
}

/* The other end, as it would say. */
static struct ist_queue_pair_end peer(void) {
    return (struct ist_queue_pair_end){.number = NUMBER,
                                       .packet_number = 0x654321,
                                       .gid = {[10] = 0xff, [11] = 0xff, 10, 0, 0, 2},
                                       .lid = 2,
                                       .mtu_bytes = 4096,
                                       .reads = 5,
                                       .messages = 3,
                                       .message_bytes = 4096};
}

static struct ist_queue_pair_end peer_of_subnet(uint8_t last_of_prefix) {
    struct ist_queue_pair_end end = peer();
    memset(end.gid, 0, sizeof(end.gid));
    end.gid[0] = 0xfe;
    end.gid[1] = 0x80;
    end.gid[7] = last_of_prefix;
    end.gid[15] = 2;
    return end;
}

static struct ibv_qp_attr attributes(void) {
    struct ibv_qp_attr found;
    struct ibv_qp_init_attr init;
    struct ist_queue_pair_end end;
    ist_queue_pair_end(f.queue_pair, &end);
    assert_int_equal(ibv_query_qp(ist_hca_find_qp(f.hca, end.number), &found, IBV_QP_STATE, &init), 0);
    return found;
}

static struct ibv_qp_attr connect_to(const struct ist_queue_pair_end *end) {
    assert_int_equal(ist_queue_pair_connect(f.queue_pair, end), IST_OK);
    assert_true(ist_queue_pair_is_ready(f.queue_pair));
    return attributes();
}

static void test_connect__roce__as_both_ends_say(void **state) {
    (void)state;
    open_roce();
    const struct ist_queue_pair_end end = peer();
    struct ist_queue_pair_end own;
    ist_queue_pair_end(f.queue_pair, &own);
    assert_int_equal(own.packet_number, RANDOM_NUMBER & 0xffffff);
    assert_int_equal(own.reads, 7);
    assert_int_equal(own.messages, 4);
    assert_int_equal(own.message_bytes, 512);
    assert_int_equal(own.lid, 0);
    const struct ibv_qp_attr found = connect_to(&end);
    assert_int_equal(found.qp_state, IBV_QPS_RTS);
    assert_int_equal(found.path_mtu, IBV_MTU_4096);
    assert_int_equal(found.dest_qp_num, NUMBER);
    assert_int_equal(found.rq_psn, 0x654321);
    assert_int_equal(found.sq_psn, own.packet_number);
    assert_int_equal(found.max_dest_rd_atomic, 7); /* what it answers */
    assert_int_equal(found.max_rd_atomic, 5);      /* what the peer answers */
    assert_int_equal(found.ah_attr.port_num, 1);
    assert_int_equal(found.ah_attr.is_global, 1);
    assert_int_equal(found.ah_attr.grh.sgid_index, 3);
    assert_int_equal(found.ah_attr.grh.hop_limit, 64); /* behind routers, too */
    assert_memory_equal(found.ah_attr.grh.dgid.raw, end.gid, sizeof(end.gid));
    assert_int_equal(found.qp_access_flags, 0);
    /* A dead peer is noticed within seconds; one that has no buffer just now is waited for (man ibv_modify_qp: 7). */
    double seconds = 4.096e-6 * (double)(1u << found.timeout) * (found.retry_cnt + 1);
    assert_true(seconds > 1 && seconds < 4);
    assert_int_equal(found.rnr_retry, 7);
    assert_int_equal(ist_queue_pair_message_room(f.queue_pair), 512);
    renew(true);
    assert_int_equal(attributes().qp_access_flags, IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE);
}

static void test_connect__another_mtu_or_fewer_reads__the_smaller(void **state) {
    (void)state;
    static const struct {
        uint32_t bytes;
        enum ibv_mtu mtu;
    } mtus[] = {{256, IBV_MTU_256},   {511, IBV_MTU_256},   {512, IBV_MTU_512},   {1023, IBV_MTU_512},
                {1024, IBV_MTU_1024}, {2047, IBV_MTU_1024}, {2048, IBV_MTU_2048}, {4095, IBV_MTU_2048},
                {4096, IBV_MTU_4096}, {65536, IBV_MTU_4096}};
    open_roce();
    for (size_t i = 0; i < sizeof(mtus) / sizeof(mtus[0]); i++) {
        struct ist_queue_pair_end end = peer();
        end.mtu_bytes = mtus[i].bytes;
        end.reads = i == 0 ? 300 : 1;
        end.message_bytes = i == 0 ? 300 : 512;
        renew(false);
        const struct ibv_qp_attr found = connect_to(&end);
        assert_int_equal(found.path_mtu, mtus[i].mtu);
        assert_int_equal(found.max_rd_atomic, i == 0 ? 9 : 1);
        assert_int_equal(ist_queue_pair_message_room(f.queue_pair), i == 0 ? 300 : 512);
    }
}

/* A device that can do more than the numbers of a queue pair have room for. */
static void test_connect__very_many_reads__as_many_as_can_be_said(void **state) {
    (void)state;
    struct ist_hca_device_config about;
    ist_hca_device_config_roce(&about, "roce", 0);
    about.max_qp_rd_atom = about.max_qp_init_rd_atom = 1000;
    open_device(&about);
    renew(false);
    struct ist_queue_pair_end end = peer(), own;
    end.reads = 1000;
    ist_queue_pair_end(f.queue_pair, &own);
    assert_int_equal(own.reads, 255);
    const struct ibv_qp_attr found = connect_to(&end);
    assert_int_equal(found.max_rd_atomic, 255);
    assert_int_equal(found.max_dest_rd_atomic, 255);
}

static void test_connect__infiniband__header_for_other_subnets_only(void **state) {
    (void)state;
    open_infiniband(false);
    struct ist_queue_pair_end end = peer_of_subnet(0);
    struct ibv_qp_attr found = connect_to(&end);
    assert_int_equal(found.ah_attr.is_global, 0);
    assert_int_equal(found.ah_attr.dlid, 2);
    renew(false);
    end = peer_of_subnet(1);
    found = connect_to(&end);
    assert_int_equal(found.ah_attr.is_global, 1);
    assert_int_equal(found.ah_attr.grh.sgid_index, 0);
    assert_memory_equal(found.ah_attr.grh.dgid.raw, end.gid, sizeof(end.gid));
    renew(false);
    memset(end.gid, 0, sizeof(end.gid)); /* its LID is enough */
    found = connect_to(&end);
    assert_int_equal(found.ah_attr.is_global, 0);
}

static void test_connect__infiniband_port_that_insists__always_a_header(void **state) {
    (void)state;
    open_infiniband(true);
    struct ist_queue_pair_end end = peer_of_subnet(0);
    assert_int_equal(connect_to(&end).ah_attr.is_global, 1);
    memset(end.gid, 0, sizeof(end.gid));
    assert_false(ist_queue_pair_end_is_valid(f.device, &end));
}

static void expect_valid(struct ist_queue_pair_end end, bool is_valid) {
    assert_int_equal(ist_queue_pair_end_is_valid(f.device, &end), is_valid);
}

static void test_end_is_valid__each_number__up_to_its_bound(void **state) {
    (void)state;
    open_roce();
    struct ist_queue_pair_end end = peer();
    end.number = end.packet_number = 0xffffff;
    end.mtu_bytes = end.message_bytes = 256;
    end.reads = end.messages = 1;
    end.lid = 0; /* of no meaning on Ethernet */
    expect_valid(end, true);
    struct ist_queue_pair_end wrong[7] = {end, end, end, end, end, end, end};
    wrong[0].number++;
    wrong[1].packet_number++;
    wrong[2].mtu_bytes--;
    wrong[3].message_bytes--;
    wrong[4].reads = 0;
    wrong[5].messages = 0;
    memset(wrong[6].gid, 0, sizeof(end.gid));
    for (size_t i = 0; i < 7; i++) {
        expect_valid(wrong[i], false);
        assert_int_equal(ist_queue_pair_connect(f.queue_pair, &wrong[i]), IST_INVALID);
    }
    connect_to(&end); /* what was refused has changed nothing */
}

static void test_end_is_valid__infiniband__lids_of_one_port(void **state) {
    (void)state;
    open_infiniband(false);
    static const struct {
        uint16_t lid;
        bool is_valid;
    } cases[] = {{0, false}, {1, true}, {0xbfff, true}, {0xc000, false}, {0xffff, false}};
    for (size_t i = 0; i < 5; i++) {
        struct ist_queue_pair_end end = peer_of_subnet(0);
        end.lid = cases[i].lid;
        expect_valid(end, cases[i].is_valid);
    }
}

static void test_connect__nobody_answers__peer_and_broken(void **state) {
    (void)state;
    open_roce();
    const struct ist_queue_pair_end end = peer();
    ist_hca_set_patience(f.hca, 0);
    ist_hca_hold_neighbours(f.hca_device, true);
    assert_int_equal(ist_queue_pair_connect(f.queue_pair, &end), IST_PEER);
    assert_int_equal(f.warnings, 1);
    assert_int_equal(f.errors, 0);
    assert_int_equal(attributes().qp_state, IBV_QPS_ERR);
    assert_false(ist_queue_pair_is_ready(f.queue_pair));
}

/* Either of the two steps. */
static void test_connect__device_refuses__device_and_broken(void **state) {
    (void)state;
    open_roce();
    for (uint64_t n = 1; n <= 2; n++) {
        const struct ist_queue_pair_end end = peer();
        renew(false);
        ist_hca_fail_nth(f.hca, IST_HCA_CALL_MODIFY, n);
        assert_int_equal(ist_queue_pair_connect(f.queue_pair, &end), IST_DEVICE);
        assert_int_equal(f.errors, n);
        assert_int_equal(attributes().qp_state, IBV_QPS_ERR);
        assert_int_equal(ist_queue_pair_room(f.queue_pair), 0);
    }
}

/* A completion of a dead queue pair that had the number before. */
static void test_retire__more_than_was_posted__broken(void **state) {
    (void)state;
    open_roce();
    const struct ist_queue_pair_end end = peer();
    connect_to(&end);
    assert_int_equal(ist_queue_pair_retire(f.queue_pair, 1), 0);
    assert_false(ist_queue_pair_is_ready(f.queue_pair));
    assert_int_equal(ist_queue_pair_outstanding(f.queue_pair), 0);
}

static void test_new__device_has_no_room_for_inline_bytes__goes_without(void **state) {
    (void)state;
    struct ist_hca_device_config about;
    ist_hca_device_config_roce(&about, "roce", 0);
    about.max_inline = 0;
    open_device(&about);
    renew(false);
    const struct ist_queue_pair_end end = peer();
    connect_to(&end);
    assert_true(ist_queue_pair_message_room(f.queue_pair) > 0);
    memset(ist_queue_pair_message(f.queue_pair), 'm', 100);
    ist_queue_pair_add_message(f.queue_pair, 100);
    assert_int_equal(ist_queue_pair_flush(f.queue_pair), IST_OK);
    assert_int_equal(f.errors, 0);
}

/* Memory of just the size that the device takes at once, and a byte more. */
static void test_register__up_to_the_limit__then_too_big(void **state) {
    (void)state;
    static uint8_t memory[4097];
    struct ist_hca_device_config about;
    struct ist_region region = {0};
    ist_hca_device_config_roce(&about, "roce", 0);
    about.max_mr_size = 4096;
    about.dmabuf = true;
    open_device(&about);
    assert_int_equal(ist_region_register(f.device, memory, 4097, IST_MEMORY_LOCAL, &region),
                     IST_TOO_BIG);
    assert_int_equal(ist_region_register(f.device, memory, 0, IST_MEMORY_LOCAL, &region), IST_INVALID);
    assert_null(region.mr);
    assert_int_equal(ist_region_register(f.device, memory, 4096, IST_MEMORY_LOCAL, &region), IST_OK);
    assert_int_equal(region.address, (uintptr_t)memory);
    assert_int_equal(region.bytes, 4096);
    ist_region_drop(&region);
    assert_null(region.mr);
    int fd = memfd_create("test", 0);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 8192), 0);
    assert_int_equal(ist_region_register_dmabuf(f.device, fd, 0, 4097, 64, IST_MEMORY_REMOTE, &region),
                     IST_TOO_BIG);
    assert_int_equal(ist_region_register_dmabuf(f.device, fd, 0, 0, 64, IST_MEMORY_REMOTE, &region),
                     IST_INVALID);
    assert_int_equal(
        ist_region_register_dmabuf(f.device, fd, 4096, 4096, 64, IST_MEMORY_REMOTE, &region), IST_OK);
    assert_int_equal(region.address, 64);
    assert_int_equal(region.bytes, 4096);
    ist_region_drop(&region);
    close(fd);
}

/* A device that has less room than it said takes a part of a chain: that part comes out, and no more is waited for. */
static void test_flush__device_takes_a_part__that_part_is_outstanding(void **state) {
    (void)state;
    struct ist_hca_device_config about;
    struct ist_queue_pair_end own;
    struct ist_completion_event events[16];
    ist_hca_device_config_roce(&about, "roce", 0);
    about.max_qp_wr = 8;
    open_device(&about);
    renew(false);
    const struct ist_queue_pair_end end = peer();
    connect_to(&end);
    ist_queue_pair_end(f.queue_pair, &own);
    for (unsigned i = 0; i < 3; i++) {
        struct ibv_send_wr request = {.opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED}, *refused;
        assert_int_equal(ibv_post_send(ist_hca_find_qp(f.hca, own.number), &request, &refused), 0);
    }
    const struct ist_one_sided work = {.read = true, .piece_count = 0};
    for (unsigned i = 0; i < 8; i++) {
        ist_queue_pair_add_work(f.queue_pair, &work);
    }
    assert_int_equal(ist_queue_pair_flush(f.queue_pair), IST_DEVICE);
    assert_int_equal(f.errors, 1);
    assert_false(ist_queue_pair_is_ready(f.queue_pair));
    assert_int_equal(ist_queue_pair_outstanding(f.queue_pair), 5);
    ist_hca_run(f.hca, UINT64_MAX);
    size_t count = ist_completion_poll(f.completion, events, 16);
    uint64_t works = 0;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(events[i].kind, IST_COMPLETION_FAILED);
        works += ist_queue_pair_retire(f.queue_pair, events[i].count);
    }
    assert_int_equal(works, 5);
    assert_int_equal(ist_queue_pair_outstanding(f.queue_pair), 0);
}

/* Whatever failed: there is still a place for it. */
static void test_new__nth_allocation_fails__as_many_fit_as_before(void **state) {
    (void)state;
    struct ist_hca_device_config about;
    struct ist_queue_pair *made[2] = {NULL, NULL}, *none = NULL;
    ist_hca_device_config_roce(&about, "roce", 0);
    open_device(&about);
    const struct ist_queue_pair_config config = {.completion = f.completion};
    for (uint64_t n = 1; n <= 5; n++) {
        f.failing.fail_at = f.failing.calls + n;
        assert_int_equal(ist_queue_pair_new(&config, &none), IST_NO_MEMORY);
        assert_null(none);
    }
    f.failing.fail_at = 0;
    assert_int_equal(ist_queue_pair_new(&config, &made[0]), IST_OK);
    assert_int_equal(ist_queue_pair_new(&config, &made[1]), IST_OK);
    assert_int_equal(ist_queue_pair_new(&config, &none), IST_NO_SPACE);
    ist_queue_pair_free(made[0]);
    ist_queue_pair_free(made[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_connect__roce__as_both_ends_say),
        TEST(test_connect__another_mtu_or_fewer_reads__the_smaller),
        TEST(test_connect__very_many_reads__as_many_as_can_be_said),
        TEST(test_connect__infiniband__header_for_other_subnets_only),
        TEST(test_connect__infiniband_port_that_insists__always_a_header),
        TEST(test_end_is_valid__each_number__up_to_its_bound),
        TEST(test_end_is_valid__infiniband__lids_of_one_port),
        TEST(test_connect__nobody_answers__peer_and_broken),
        TEST(test_connect__device_refuses__device_and_broken),
        TEST(test_retire__more_than_was_posted__broken),
        TEST(test_new__device_has_no_room_for_inline_bytes__goes_without),
        TEST(test_register__up_to_the_limit__then_too_big),
        TEST(test_flush__device_takes_a_part__that_part_is_outstanding),
        TEST(test_new__nth_allocation_fails__as_many_fit_as_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
