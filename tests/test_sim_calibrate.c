/* Calibration: loops that one can work out by hand, and measurements that were made up. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/calibrate.h"
#include "tests/support.h"

static void expect_near(double value, double wanted, double share) {
    if (fabs(value / wanted - 1) > share) {
        fail_msg("%g instead of %g", value, wanted);
    }
}

static void test_loop__one_at_a_time__the_sum(void **state) {
    (void)state;
    double p50_ns;
    double per_sec = sim_calibrate_loop(2000, 3000, 500, 1, &p50_ns);
    expect_near(p50_ns, 6000, 0.01);
    expect_near(per_sec, 1e9 / 6000, 0.01);
}

static void test_loop__many__the_slowest(void **state) {
    (void)state;
    double p50_ns;
    double per_sec = sim_calibrate_loop(2000, 3000, 500, 16, &p50_ns);
    expect_near(per_sec, 1e9 / 3000, 0.01);
    expect_near(p50_ns, 16 * 3000, 0.05);
}

/* Measurements as the model would have them. */
static void make_up(struct sim_calibrate *calibrate) {
    static const double sizes[] = {4096, 16384, 65536, 262144}, batches[] = {1, 4, 16},
                        depths[] = {1, 4, 16};
    *calibrate = (struct sim_calibrate){0};
    for (size_t i = 0; i < 4 * 3 * 3; i++) {
        struct sim_calibrate_row *row = &calibrate->rows[calibrate->count++];
        *row = (struct sim_calibrate_row){.op = "get",
                                          .value_bytes = sizes[i / 9],
                                          .keys = batches[i / 3 % 3],
                                          .depth = depths[i % 3]};
        double server_ns = 3000 + 200 * row->keys + 0.1 * row->keys * row->value_bytes;
        double client_ns = 2000 + 100 * row->keys + 0.05 * row->keys * row->value_bytes;
        row->requests_per_sec =
            sim_calibrate_loop(client_ns, server_ns, 0, (unsigned)row->depth, &row->p50_ns);
    }
}

static void test_predict__made_up__found_again(void **state) {
    (void)state;
    static struct sim_calibrate calibrate;
    make_up(&calibrate);
    assert_true(sim_calibrate_predict(&calibrate));
    size_t fitted = 0;
    for (size_t i = 0; i < calibrate.count; i++) {
        const struct sim_calibrate_row *row = &calibrate.rows[i];
        fitted += row->fitted;
        expect_near(row->predicted_per_sec, row->requests_per_sec, 0.05);
        expect_near(row->predicted_p50_ns, row->p50_ns, 0.05);
    }
    assert_int_equal(fitted, 2 * 3 * 2); /* half of the sizes, all batches, two depths */
    assert_true(sim_calibrate_rate_error(&calibrate) < 0.03);
    assert_true(sim_calibrate_latency_error(&calibrate) < 0.03);
    calibrate.rows[13].requests_per_sec *= 100; /* one that was not fitted: the median does not care */
    assert_true(sim_calibrate_rate_error(&calibrate) < 0.03);
}

static void test_predict__too_few__false(void **state) {
    (void)state;
    static struct sim_calibrate calibrate;
    calibrate = (struct sim_calibrate){0};
    assert_false(sim_calibrate_predict(&calibrate));
    make_up(&calibrate);
    calibrate.count = 2;
    assert_false(sim_calibrate_predict(&calibrate));
}

static void write_file(char *path, const char *text) {
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void test_read__files__rows_or_false(void **state) {
    (void)state;
    static struct sim_calibrate calibrate;
    char good[] = "/tmp/ist-calibrate-XXXXXX", bad[] = "/tmp/ist-calibrate-XXXXXX";
    write_file(good,
               "{\"results\":[{\"op\":\"put\",\"value_bytes\":4096,\"keys_per_request\":8,\"depth\":16,"
               "\"requests_per_second\":6826.5,\"latency_us\":{\"p50\":436.2}}]}");
    write_file(bad, "{\"results\":[{\"op\":\"put\"}]}");
    assert_true(sim_calibrate_read(&calibrate, good));
    assert_int_equal(calibrate.count, 1);
    assert_string_equal(calibrate.rows[0].op, "put");
    expect_near(calibrate.rows[0].p50_ns, 436200, 1e-6);
    assert_false(sim_calibrate_read(&calibrate, bad));
    assert_false(sim_calibrate_read(&calibrate, "/nonexistent/file"));
    unlink(good);
    unlink(bad);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loop__one_at_a_time__the_sum),
        cmocka_unit_test(test_loop__many__the_slowest),
        cmocka_unit_test(test_predict__made_up__found_again),
        cmocka_unit_test(test_predict__too_few__false),
        cmocka_unit_test(test_read__files__rows_or_false),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
