/* src/verbs/survey, gid_table: what devices say of themselves, on the software HCA. */
#include "tests/support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/hca/hca.h"
#include "verbs/survey.h"

#define ELSEWHERE 4000000u /* no interface of this machine has this index */

static struct {
    struct ist_hca *hca;
    struct failing_alloc failing;
    struct ist_survey survey;
} f;

static int setup(void **state) {
    (void)state;
    struct ist_hca_config config;
    ist_hca_config_init(&config, 3);
    memset(&f, 0, sizeof(f));
    failing_alloc_init(&f.failing, 0);
    f.hca = ist_hca_new(&config);
    assert_non_null(f.hca);
    return 0;
}

/* The fabric aborts when anything that was made is left. */
static int teardown(void **state) {
    (void)state;
    ist_survey_fini(&f.survey);
    ist_hca_free(f.hca);
    assert_int_equal(f.failing.live, 0);
    return 0;
}

static void plug_in_two(void) {
    struct ist_hca_device_config config;
    ist_hca_device_config_roce(&config, "roce", 0);
    config.ports = 2;
    config.port[1] = config.port[0];
    config.port[1].state = IBV_PORT_DOWN;
    config.port[1].active_mtu = IBV_MTU_1024;
    config.port[1].gids = 3;
    config.port[1].gid[2].ifindex = ELSEWHERE;
    config.dmabuf = true;
    assert_non_null(ist_hca_add_device(f.hca, &config));
    ist_hca_device_config_ib(&config, "ib", 1);
    config.port[0].grh_required = true;
    config.max_qp_rd_atom = 0;
    assert_non_null(ist_hca_add_device(f.hca, &config));
}

static void test_survey__no_device__empty(void **state) {
    (void)state;
    assert_int_equal(ist_survey_init(&f.survey, &f.failing.alloc), IST_OK);
    assert_int_equal(f.survey.devices_count, 0);
    assert_int_equal(f.survey.error, 0);
}

static void test_survey__kernel_without_rdma__says_so(void **state) {
    (void)state;
    ist_hca_free(f.hca);
    f.hca = NULL;
    assert_int_equal(ist_survey_init(&f.survey, &f.failing.alloc), IST_OK);
    assert_int_equal(f.survey.error, ENOSYS);
    assert_int_equal(f.survey.devices_count, 0);
}

static void test_survey__two_devices__all_that_they_say(void **state) {
    (void)state;
    plug_in_two();
    assert_int_equal(ist_survey_init(&f.survey, &f.failing.alloc), IST_OK);
    assert_int_equal(f.survey.devices_count, 2);
    const struct ist_survey_device *roce = &f.survey.devices[0], *ib = &f.survey.devices[1];
    assert_string_equal(roce->name, "roce");
    assert_string_equal(roce->firmware, "sim");
    assert_int_equal(roce->error, 0);
    assert_int_equal(roce->limits.queue_pair_wr, 8192);
    assert_int_equal(roce->limits.reads_in, 16);
    assert_int_equal(roce->queue_pairs, 1 << 16);
    assert_int_equal(roce->dmabuf, IST_DMABUF_YES);
    assert_false(roce->is_soft_roce);
    assert_int_equal(roce->ports_count, 2);
    assert_int_equal(roce->ports[0].number, 1);
    assert_int_equal(roce->ports[0].state, IST_PORT_ACTIVE);
    assert_int_equal(roce->ports[0].link, IST_DEVICE_LINK_ETHERNET);
    assert_int_equal(roce->ports[0].mtu_bytes, 4096);
    assert_int_equal(roce->ports[0].gids_count, 4);
    assert_int_equal(roce->ports[0].gids[0].type, IST_GID_ROCE_V1);
    assert_int_equal(roce->ports[0].gids[3].type, IST_GID_ROCE_V2);
    assert_int_equal(roce->ports[0].gids[3].index, 3);
    assert_int_equal(roce->ports[0].gids[3].interface, 1);
    assert_true(roce->ports[0].gids[3].is_here);
    assert_int_equal(roce->ports[1].state, IST_PORT_DOWN);
    assert_int_equal(roce->ports[1].mtu_bytes, 1024);
    assert_int_equal(roce->ports[1].mtu_bytes_max, 4096);
    assert_int_equal(roce->ports[1].gids_count, 3);
    assert_false(roce->ports[1].gids[2].is_here);
    assert_int_equal(roce->ports[1].gids[2].interface, ELSEWHERE);
    assert_string_equal(ib->name, "ib");
    assert_int_equal(ib->limits.reads_in, 0);
    assert_int_equal(ib->dmabuf, IST_DMABUF_NO);
    assert_int_equal(ib->ports[0].link, IST_DEVICE_LINK_INFINIBAND);
    assert_int_equal(ib->ports[0].lid, 2);
    assert_true(ib->ports[0].requires_grh);
    assert_int_equal(ib->ports[0].gids[0].type, IST_GID_INFINIBAND);
}

static void test_survey__device_without_ports__none(void **state) {
    (void)state;
    struct ist_hca_device_config config;
    ist_hca_device_config_roce(&config, "roce", 0);
    config.ports = 0;
    assert_non_null(ist_hca_add_device(f.hca, &config));
    assert_int_equal(ist_survey_init(&f.survey, &f.failing.alloc), IST_OK);
    assert_int_equal(f.survey.devices[0].ports_count, 0);
    assert_int_equal(f.survey.devices[0].error, 0);
}

/* Ports that together have more GIDs than one call takes are asked one by one. */
static void test_survey__more_gids_than_a_call_takes__all_the_same(void **state) {
    (void)state;
    struct ist_hca_device_config config;
    ist_hca_device_config_roce(&config, "roce", 0);
    assert_non_null(ist_hca_add_device(f.hca, &config));
    /* Of the first survey this is the table's call: what it reads then, it reads one by one. */
    for (uint64_t n = 1;; n++) {
        ist_hca_fail_nth(f.hca, IST_HCA_CALL_QUERY, n);
        assert_int_equal(ist_survey_init(&f.survey, &f.failing.alloc), IST_OK);
        const char *failed = ist_hca_failed(f.hca);
        assert_non_null(failed);
        if (strcmp(failed, "ibv_query_gid_table") == 0 || strcmp(failed, "ibv_query_gid_ex") == 0) {
            break;
        }
        ist_survey_fini(&f.survey);
    }
    assert_int_equal(f.survey.devices[0].ports[0].gids_count, 4);
}

static void test_survey__nth_call_fails__the_rest_is_told(void **state) {
    (void)state;
    const unsigned calls = IST_HCA_CALL_ALL & ~(unsigned)IST_HCA_CALL_DESTROY;
    plug_in_two();
    unsigned failures = 0;
    for (uint64_t n = 1;; n++) {
        ist_hca_fail_nth(f.hca, calls, n);
        assert_int_equal(ist_survey_init(&f.survey, &f.failing.alloc), IST_OK);
        if (ist_hca_failed(f.hca) == NULL) {
            break;
        }
        failures++;
        size_t errors = f.survey.error != 0;
        for (size_t i = 0; i < f.survey.devices_count; i++) {
            errors += f.survey.devices[i].error != 0;
        }
        assert_true(errors <= 1);
        assert_true(f.survey.error != 0 || f.survey.devices_count == 2);
        ist_survey_fini(&f.survey);
    }
    assert_true(failures >= 10);
    assert_int_equal(f.survey.devices[1].ports_count, 1);
}

static void test_survey__nth_allocation_fails__nothing_is_left(void **state) {
    (void)state;
    plug_in_two();
    enum ist_status status = IST_NO_MEMORY;
    for (uint64_t n = 1; status == IST_NO_MEMORY; n++) {
        failing_alloc_init(&f.failing, n);
        status = ist_survey_init(&f.survey, &f.failing.alloc);
        assert_true(n < 20);
        if (status != IST_OK) {
            ist_survey_fini(&f.survey);
            assert_int_equal(f.failing.live, 0);
        }
    }
    assert_int_equal(status, IST_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_survey__no_device__empty),
        TEST(test_survey__kernel_without_rdma__says_so),
        TEST(test_survey__two_devices__all_that_they_say),
        TEST(test_survey__device_without_ports__none),
        TEST(test_survey__more_gids_than_a_call_takes__all_the_same),
        TEST(test_survey__nth_call_fails__the_rest_is_told),
        TEST(test_survey__nth_allocation_fails__nothing_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
