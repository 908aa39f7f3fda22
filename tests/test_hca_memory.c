/* sim/hca: protection domains and memory regions. Rule 5. */
#include "tests/hca_pair.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIGNALED IBV_SEND_SIGNALED

/* ---- registration -------------------------------------------------------------------------------- */

static void test_reg_mr__wrong_arguments__refused(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 1);
    options.device[0].max_mr_size = PAIR_BUFFER_BYTES;
    pair_init_devices(&pair, &options);
    pair_open(&pair, &pair.side[0]);
    struct ibv_pd *pd = pair.side[0].pd;
    uint8_t *buffer = pair.side[0].buffer;
    const struct {
        size_t length;
        unsigned access;
        int error;
    } wrong[] = {
        {0, IBV_ACCESS_LOCAL_WRITE, EINVAL},
        {PAIR_BUFFER_BYTES + 1, IBV_ACCESS_LOCAL_WRITE, EINVAL},
        {SIZE_MAX, IBV_ACCESS_LOCAL_WRITE, EINVAL},
        {1, IBV_ACCESS_REMOTE_WRITE, EINVAL}, /* man reg_mr: not without LOCAL_WRITE */
        {1, IBV_ACCESS_REMOTE_ATOMIC, EINVAL},
        {1, 1u << 19, EINVAL},
        {1, IBV_ACCESS_ON_DEMAND, EOPNOTSUPP},
        {1, IBV_ACCESS_ZERO_BASED, EOPNOTSUPP},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_null(ibv_reg_mr(pd, buffer, wrong[i].length, wrong[i].access));
        assert_int_equal(errno, wrong[i].error);
    }
    pair_fini(&pair);
}

static void test_reg_mr__memory_that_is_not_there__efault(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 2);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *mapped =
        mmap(NULL, 2000 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(mapped != MAP_FAILED);
    assert_int_equal(munmap(mapped + 1999 * page, page), 0);
    assert_null(ibv_reg_mr(pair.side[0].pd, mapped, 2000 * page, IBV_ACCESS_LOCAL_WRITE));
    assert_int_equal(errno, EFAULT);
    struct ibv_mr *mr = ibv_reg_mr(pair.side[0].pd, mapped, 1999 * page, IBV_ACCESS_LOCAL_WRITE);
    assert_non_null(mr);
    assert_int_equal(ibv_dereg_mr(mr), 0);
    assert_int_equal(munmap(mapped, 1999 * page), 0);
    pair_fini(&pair);
}

static void test_reg_mr__relaxed_ordering__taken(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 3);
    unsigned access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_RELAXED_ORDERING;
    struct ibv_mr *mr = ibv_reg_mr(pair.side[0].pd, pair.side[0].buffer, 10, access);
    assert_non_null(mr);
    assert_int_equal(ibv_dereg_mr(mr), 0);
    pair_fini(&pair);
}

static void test_reg_mr__many__keys_differ_and_never_come_again(void **state) {
    (void)state;
    enum { REGIONS = 300 };
    struct pair pair;
    pair_init_seed(&pair, 4);
    uint32_t keys[2 * REGIONS];
    for (int i = 0; i < REGIONS; i++) {
        struct ibv_mr *mr =
            ibv_reg_mr(pair.side[0].pd, pair.side[0].buffer, 10, IBV_ACCESS_LOCAL_WRITE);
        assert_non_null(mr);
        assert_int_not_equal(mr->lkey, mr->rkey);
        keys[2 * i] = mr->lkey;
        keys[2 * i + 1] = mr->rkey;
        for (int j = 0; j < i; j++) {
            assert_true(keys[2 * j] != mr->lkey && keys[2 * j + 1] != mr->rkey);
        }
        assert_int_equal(ibv_dereg_mr(mr), 0);
    }
    /* Nobody can guess the next: they are no sequence. */
    int near = 0;
    for (int i = 2; i < 2 * REGIONS; i++) {
        uint32_t distance = keys[i] - keys[i - 2];
        near += distance < 1u << 16 || distance > UINT32_MAX - (1u << 16);
    }
    assert_true(near < 5);
    pair_fini(&pair);
}

static void test_reg_dmabuf_mr__device_without__eopnotsupp(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 5);
    assert_null(ibv_reg_dmabuf_mr(pair.side[0].pd, 0, 4096, 0, 0, IBV_ACCESS_LOCAL_WRITE));
    assert_int_equal(errno, EOPNOTSUPP);
    pair_fini(&pair);
}

static void test_reg_dmabuf_mr__device_with__moves_its_bytes(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 6);
    options.device[0].dmabuf = true;
    pair_init(&pair, &options);
    int fd = memfd_create("gpu", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, 65536), 0);
    assert_int_equal(pwrite(fd, "bytes of a GPU", 14, 5000), 14);
    /* From offset 5000, as address 1 << 40. */
    struct ibv_mr *mr =
        ibv_reg_dmabuf_mr(pair.side[0].pd, 5000, 20000, 1ull << 40, fd, IBV_ACCESS_LOCAL_WRITE);
    assert_non_null(mr);
    struct ibv_sge sge = {.addr = 1ull << 40, .length = 14, .lkey = mr->lkey};
    struct ibv_send_wr wr = {.wr_id = 1,
                             .sg_list = &sge,
                             .num_sge = 1,
                             .opcode = IBV_WR_RDMA_WRITE,
                             .send_flags = SIGNALED},
                       *bad;
    wr.wr.rdma.remote_addr = (uintptr_t)pair.side[1].buffer;
    wr.wr.rdma.rkey = pair.side[1].mr->rkey;
    assert_int_equal(ibv_post_send(pair.side[0].qp, &wr, &bad), 0);
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_SUCCESS);
    assert_memory_equal(pair.side[1].buffer, "bytes of a GPU", 14);
    assert_null(ibv_reg_dmabuf_mr(pair.side[0].pd, 0, 4096, 0, -1, IBV_ACCESS_LOCAL_WRITE));
    assert_null(ibv_reg_dmabuf_mr(pair.side[0].pd, 0, 4096, 0, fd, IBV_ACCESS_REMOTE_WRITE));
    assert_int_equal(errno, EINVAL);
    assert_int_equal(ibv_dereg_mr(mr), 0);
    close(fd);
    pair_fini(&pair);
}

/* ---- access -------------------------------------------------------------------------------------- */

/* A READ or WRITE of side 0 to `remote_addr` with `rkey`. */
static void post_to(struct pair *pair, enum ibv_wr_opcode opcode, uint64_t remote_addr, uint32_t bytes,
                    uint32_t rkey) {
    struct ibv_sge sge = {(uintptr_t)pair->side[0].buffer, bytes, pair->side[0].mr->lkey};
    struct ibv_send_wr wr = {.wr_id = 1,
                             .sg_list = &sge,
                             .num_sge = 1,
                             .opcode = opcode,
                             .send_flags = SIGNALED},
                       *bad;
    wr.wr.rdma.remote_addr = remote_addr;
    wr.wr.rdma.rkey = rkey;
    assert_int_equal(ibv_post_send(pair->side[0].qp, &wr, &bad), 0);
}

static void expect_remote(enum ibv_wr_opcode opcode, uint64_t offset, uint32_t bytes,
                          enum ibv_wc_status status) {
    struct pair pair;
    pair_init_seed(&pair, 7);
    post_to(&pair, opcode, (uintptr_t)pair.side[1].buffer + offset, bytes, pair.side[1].mr->rkey);
    pair_expect(&pair, pair.side[0].send_cq, 1, status);
    pair_fini(&pair);
}

static void test_remote_access__at_the_bounds__inside_only(void **state) {
    (void)state;
    static const enum ibv_wr_opcode opcodes[] = {IBV_WR_RDMA_READ, IBV_WR_RDMA_WRITE};
    const uint64_t end = PAIR_BUFFER_BYTES;
    for (int i = 0; i < 2; i++) {
        expect_remote(opcodes[i], 0, PAIR_BUFFER_BYTES, IBV_WC_SUCCESS);
        expect_remote(opcodes[i], end - 1, 1, IBV_WC_SUCCESS);
        expect_remote(opcodes[i], end, 1, IBV_WC_REM_ACCESS_ERR);
        expect_remote(opcodes[i], 1, PAIR_BUFFER_BYTES, IBV_WC_REM_ACCESS_ERR);
        expect_remote(opcodes[i], (uint64_t)-1, 1, IBV_WC_REM_ACCESS_ERR);
        expect_remote(opcodes[i], (uint64_t)-1, 2, IBV_WC_REM_ACCESS_ERR);
    }
}

static void test_remote_access__address_and_length_wrap__refused(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 8);
    post_to(&pair, IBV_WR_RDMA_WRITE, UINT64_MAX - 10, 60000, pair.side[1].mr->rkey);
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_REM_ACCESS_ERR);
    pair_fini(&pair);
}

static void test_remote_access__iova__addresses_are_those(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 9);
    const uint64_t iova = UINT64_MAX - PAIR_BUFFER_BYTES; /* ends at the last address but one */
    struct ibv_mr *mr = ibv_reg_mr_iova(pair.side[1].pd, pair.side[1].buffer, PAIR_BUFFER_BYTES, iova,
                                        pair.options.access);
    assert_non_null(mr);
    pair_fill(&pair, 0, 9);
    post_to(&pair, IBV_WR_RDMA_WRITE, iova + 100, 1000, mr->rkey);
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_SUCCESS);
    assert_true(pair_holds(&pair, 1, 100, 1000, 9));
    post_to(&pair, IBV_WR_RDMA_WRITE, UINT64_MAX - 99, 101, mr->rkey);
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_REM_ACCESS_ERR);
    assert_null(ibv_reg_mr_iova(pair.side[1].pd, pair.side[1].buffer, 100, UINT64_MAX - 50,
                                IBV_ACCESS_LOCAL_WRITE));
    assert_int_equal(ibv_dereg_mr(mr), 0);
    pair_fini(&pair);
}

static void expect_access(unsigned access, enum ibv_wr_opcode opcode, enum ibv_wc_status status) {
    struct pair pair;
    pair_init_seed(&pair, 10);
    struct ibv_mr *mr = ibv_reg_mr(pair.side[1].pd, pair.side[1].buffer, 1000, access);
    assert_non_null(mr);
    post_to(&pair, opcode, (uintptr_t)pair.side[1].buffer, 1000, mr->rkey);
    pair_expect(&pair, pair.side[0].send_cq, 1, status);
    assert_int_equal(ibv_dereg_mr(mr), 0);
    pair_fini(&pair);
}

static void test_remote_access__region_without_the_right__refused(void **state) {
    (void)state;
    const unsigned none = IBV_ACCESS_LOCAL_WRITE;
    const unsigned read = IBV_ACCESS_REMOTE_READ;
    const unsigned write = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_LOCAL_WRITE;
    expect_access(none, IBV_WR_RDMA_READ, IBV_WC_REM_ACCESS_ERR);
    expect_access(none, IBV_WR_RDMA_WRITE, IBV_WC_REM_ACCESS_ERR);
    expect_access(read, IBV_WR_RDMA_READ, IBV_WC_SUCCESS);
    expect_access(read, IBV_WR_RDMA_WRITE, IBV_WC_REM_ACCESS_ERR);
    expect_access(write, IBV_WR_RDMA_READ, IBV_WC_REM_ACCESS_ERR);
    expect_access(write, IBV_WR_RDMA_WRITE, IBV_WC_SUCCESS);
}

static void
test_remote_access__queue_pair_without_the_right__refused_one_way_or_the_other(void **state) {
    (void)state;
    int access_errors = 0, invalid = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct pair_options options;
        struct pair pair;
        pair_options_init(&options, seed);
        options.qp_access = 0;
        pair_init(&pair, &options);
        post_to(&pair, seed % 2 == 0 ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE,
                (uintptr_t)pair.side[1].buffer, 10, pair.side[1].mr->rkey);
        struct ibv_wc wc;
        pair_run(&pair);
        assert_int_equal(ibv_poll_cq(pair.side[0].send_cq, 1, &wc), 1);
        access_errors += wc.status == IBV_WC_REM_ACCESS_ERR;
        invalid += wc.status == IBV_WC_REM_INV_REQ_ERR;
        assert_int_equal(pair_state(pair.side[1].qp), IBV_QPS_ERR);
        pair_fini(&pair);
    }
    assert_true(access_errors > 0 && invalid > 0 && access_errors + invalid == 20);
}

static void test_keys__of_another_domain_or_device_or_kind__refused(void **state) {
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct pair pair;
        pair_init_seed(&pair, 11);
        struct ibv_pd *pd = ibv_alloc_pd(pair.side[1].context);
        struct ibv_mr *mr = ibv_reg_mr(pd, pair.side[1].buffer, 1000, pair.options.access);
        assert_non_null(mr);
        uint32_t keys[] = {mr->rkey, pair.side[0].mr->rkey, pair.side[1].mr->lkey, 0};
        post_to(&pair, IBV_WR_RDMA_WRITE, (uintptr_t)pair.side[1].buffer, 10, keys[kind]);
        pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_REM_ACCESS_ERR);
        assert_int_equal(ibv_dereg_mr(mr), 0);
        assert_int_equal(ibv_dealloc_pd(pd), 0);
        pair_fini(&pair);
    }
}

static void expect_local(enum ibv_wr_opcode opcode, uint64_t offset, uint32_t bytes, unsigned access,
                         enum ibv_wc_status status) {
    struct pair pair;
    pair_init_seed(&pair, 12);
    pair_receive(&pair, 1, 1, 0, 1000);
    struct ibv_mr *mr = ibv_reg_mr(pair.side[0].pd, pair.side[0].buffer, 1000, access);
    assert_non_null(mr);
    struct ibv_sge sge = {(uintptr_t)pair.side[0].buffer + offset, bytes, mr->lkey};
    struct ibv_send_wr wr = {.wr_id = 1, .sg_list = &sge, .num_sge = 1, .opcode = opcode}, *bad;
    wr.send_flags = SIGNALED;
    wr.wr.rdma.remote_addr = (uintptr_t)pair.side[1].buffer;
    wr.wr.rdma.rkey = pair.side[1].mr->rkey;
    assert_int_equal(ibv_post_send(pair.side[0].qp, &wr, &bad), 0);
    pair_expect(&pair, pair.side[0].send_cq, 1, status);
    assert_int_equal(ibv_dereg_mr(mr), 0);
    pair_fini(&pair);
}

static void test_local_access__out_of_bounds_or_read_only__loc_prot_err(void **state) {
    (void)state;
    expect_local(IBV_WR_SEND, 0, 1000, 0, IBV_WC_SUCCESS);
    expect_local(IBV_WR_SEND, 1, 1000, 0, IBV_WC_LOC_PROT_ERR);
    expect_local(IBV_WR_RDMA_WRITE, 1000, 1, 0, IBV_WC_LOC_PROT_ERR);
    expect_local(IBV_WR_RDMA_READ, 0, 1000, IBV_ACCESS_LOCAL_WRITE, IBV_WC_SUCCESS);
    expect_local(IBV_WR_RDMA_READ, 0, 1000, 0, IBV_WC_LOC_PROT_ERR);
    expect_local(IBV_WR_RDMA_READ, 1, 1000, IBV_ACCESS_LOCAL_WRITE, IBV_WC_LOC_PROT_ERR);
}

static void test_access__zero_bytes__keys_do_not_matter(void **state) {
    (void)state;
    struct pair pair;
    pair_init_seed(&pair, 13);
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_WRITE, .id = 1, .rkey = 3, .flags = SIGNALED});
    pair_post(&pair, 0, (struct pair_work){IBV_WR_RDMA_READ, .id = 2, .rkey = 3, .flags = SIGNALED});
    pair_expect(&pair, pair.side[0].send_cq, 1, IBV_WC_SUCCESS);
    pair_expect(&pair, pair.side[0].send_cq, 2, IBV_WC_SUCCESS);
    pair_fini(&pair);
}

static void test_access__srq_of_another_domain__its_keys_count(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 14);
    pair_init_devices(&pair, &options);
    pair_open(&pair, &pair.side[0]);
    pair_open(&pair, &pair.side[1]);
    struct ibv_pd *pd = ibv_alloc_pd(pair.side[1].context);
    struct ibv_srq_init_attr attr = {.attr = {.max_wr = 4, .max_sge = 1}};
    pair.side[1].srq = ibv_create_srq(pd, &attr);
    assert_non_null(pair.side[1].srq);
    for (int i = 0; i < 2; i++) {
        pair_make_qp(&pair, &pair.side[i]);
        assert_int_equal(pair_to_init(&pair, &pair.side[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pair_to_rtr(&pair, &pair.side[i], &pair.side[1 - i]), 0);
        assert_int_equal(pair_to_rts(&pair, &pair.side[i]), 0);
    }
    struct ibv_mr *mr = ibv_reg_mr(pd, pair.side[1].buffer, 1000, IBV_ACCESS_LOCAL_WRITE);
    assert_non_null(mr);
    struct ibv_sge sge = {(uintptr_t)pair.side[1].buffer, 1000, mr->lkey};
    struct ibv_recv_wr wr = {.wr_id = 5, .sg_list = &sge, .num_sge = 1}, *bad;
    assert_int_equal(ibv_post_srq_recv(pair.side[1].srq, &wr, &bad), 0);
    pair_receive(&pair, 1, 6, 0, 1000); /* with the key of the queue pair's domain */
    pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .bytes = 100});
    pair_post(&pair, 0, (struct pair_work){IBV_WR_SEND, .bytes = 100});
    pair_expect(&pair, pair.side[1].recv_cq, 5, IBV_WC_SUCCESS);
    pair_expect(&pair, pair.side[1].recv_cq, 6, IBV_WC_LOC_PROT_ERR);
    assert_int_equal(ibv_dereg_mr(mr), 0);
    pair_destroy_qp(&pair.side[1]);
    assert_int_equal(ibv_destroy_srq(pair.side[1].srq), 0);
    pair.side[1].srq = NULL;
    assert_int_equal(ibv_dealloc_pd(pd), 0);
    pair_fini(&pair);
}

/* ---- deregistration in mid-transfer -------------------------------------------------------------- */

/* After `steps` the region of `side` goes. Returns how the request ends; SUCCESS also when it had ended. */
static enum ibv_wc_status deregister_after(enum ibv_wr_opcode opcode, int side, int steps) {
    struct pair pair;
    pair_init_seed(&pair, 15);
    pair_receive(&pair, 1, 1, 0, 30000);
    pair_post(&pair, 0, (struct pair_work){opcode, .id = 2, .bytes = 30000, .flags = SIGNALED});
    for (int i = 0; i < steps; i++) {
        ist_hca_step(pair.hca);
    }
    assert_int_equal(ibv_dereg_mr(pair.side[side].mr), 0);
    pair.side[side].mr = NULL;
    /* Unreachable at once: nothing reads or writes it from now on. */
    assert_int_equal(mprotect((void *)((uintptr_t)pair.side[side].buffer & ~0xfffull), 4096, PROT_NONE),
                     0);
    pair_run(&pair);
    assert_int_equal(
        mprotect((void *)((uintptr_t)pair.side[side].buffer & ~0xfffull), 4096, PROT_READ | PROT_WRITE),
        0);
    struct ibv_wc wc;
    assert_int_equal(ibv_poll_cq(pair.side[0].send_cq, 1, &wc), 1);
    pair_fini(&pair);
    return wc.status;
}

static void test_dereg_mr__in_mid_transfer__unreachable_at_once(void **state) {
    (void)state;
    static const struct {
        enum ibv_wr_opcode opcode;
        int side;
        enum ibv_wc_status status;
    } cases[] = {
        {IBV_WR_RDMA_READ, 0, IBV_WC_LOC_PROT_ERR},  {IBV_WR_RDMA_READ, 1, IBV_WC_REM_ACCESS_ERR},
        {IBV_WR_RDMA_WRITE, 0, IBV_WC_LOC_PROT_ERR}, {IBV_WR_RDMA_WRITE, 1, IBV_WC_REM_ACCESS_ERR},
        {IBV_WR_SEND, 0, IBV_WC_LOC_PROT_ERR},       {IBV_WR_SEND, 1, IBV_WC_REM_OP_ERR},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int steps = 0; steps <= 20; steps += 5) {
            assert_int_equal(deregister_after(cases[i].opcode, cases[i].side, steps), cases[i].status);
        }
        assert_int_equal(deregister_after(cases[i].opcode, cases[i].side, 1000), IBV_WC_SUCCESS);
    }
}

/* ---- busy ---------------------------------------------------------------------------------------- */

static void test_destroy__in_use__ebusy(void **state) {
    (void)state;
    struct pair_options options;
    struct pair pair;
    pair_options_init(&options, 16);
    options.srq = true;
    pair_init(&pair, &options);
    struct pair_side *side = &pair.side[0];
    assert_int_equal(ibv_dealloc_pd(side->pd), EBUSY);
    assert_int_equal(ibv_destroy_cq(side->send_cq), EBUSY);
    assert_int_equal(ibv_destroy_cq(side->recv_cq), EBUSY);
    assert_int_equal(ibv_destroy_srq(side->srq), EBUSY);
    assert_int_equal(ibv_destroy_comp_channel(side->channel), EBUSY);
    assert_int_equal(ibv_close_device(side->context), -1);
    assert_int_equal(errno, EBUSY);
    pair_destroy_qp(side);
    assert_int_equal(ibv_dealloc_pd(side->pd), EBUSY); /* the region and the SRQ */
    assert_int_equal(ibv_dereg_mr(side->mr), 0);
    side->mr = NULL;
    assert_int_equal(ibv_dealloc_pd(side->pd), EBUSY);
    pair_fini(&pair);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reg_mr__wrong_arguments__refused),
        cmocka_unit_test(test_reg_mr__memory_that_is_not_there__efault),
        cmocka_unit_test(test_reg_mr__relaxed_ordering__taken),
        cmocka_unit_test(test_reg_mr__many__keys_differ_and_never_come_again),
        cmocka_unit_test(test_reg_dmabuf_mr__device_without__eopnotsupp),
        cmocka_unit_test(test_reg_dmabuf_mr__device_with__moves_its_bytes),
        cmocka_unit_test(test_remote_access__at_the_bounds__inside_only),
        cmocka_unit_test(test_remote_access__address_and_length_wrap__refused),
        cmocka_unit_test(test_remote_access__iova__addresses_are_those),
        cmocka_unit_test(test_remote_access__region_without_the_right__refused),
        cmocka_unit_test(
            test_remote_access__queue_pair_without_the_right__refused_one_way_or_the_other),
        cmocka_unit_test(test_keys__of_another_domain_or_device_or_kind__refused),
        cmocka_unit_test(test_local_access__out_of_bounds_or_read_only__loc_prot_err),
        cmocka_unit_test(test_access__zero_bytes__keys_do_not_matter),
        cmocka_unit_test(test_access__srq_of_another_domain__its_keys_count),
        cmocka_unit_test(test_dereg_mr__in_mid_transfer__unreachable_at_once),
        cmocka_unit_test(test_destroy__in_use__ebusy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
