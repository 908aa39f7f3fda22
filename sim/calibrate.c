#include "sim/calibrate.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "sim/fabric.h"
#include "sim/memory.h"
#include "tools/histogram.h"

#define LOOP_REQUESTS 2000u
#define TERMS 3u /* base, keys, bytes */
#define OPS_MAX 8u

/* ---- the loop ------------------------------------------------------------------------------------------ */

struct loop {
    struct sim_fabric fabric;
    double client_ns, server_ns, way_ns;
    double client_free_ns, server_free_ns;
    unsigned left;
    struct ist_histogram latency_ns;
};

struct token {
    struct loop *loop;
    struct sim_event event;
    uint64_t begin_ns;
};

static double later(double a, double b) {
    return a > b ? a : b;
}

/* From the client's processor through the server's and back. The processors take requests in their order. */
static void send_token(struct token *token) {
    struct loop *loop = token->loop;
    double now_ns = (double)sim_fabric_now_ns(&loop->fabric);
    token->begin_ns = sim_fabric_now_ns(&loop->fabric);
    loop->client_free_ns = later(now_ns, loop->client_free_ns) + loop->client_ns;
    loop->server_free_ns =
        later(loop->client_free_ns + loop->way_ns, loop->server_free_ns) + loop->server_ns;
    sim_event_at(&loop->fabric, &token->event, (uint64_t)(loop->server_free_ns + loop->way_ns));
}

static void on_back(void *owner) {
    struct token *token = owner;
    struct loop *loop = token->loop;
    ist_histogram_record(&loop->latency_ns, sim_fabric_now_ns(&loop->fabric) - token->begin_ns);
    if (loop->left > 0) {
        loop->left--;
        send_token(token);
    }
}

double sim_calibrate_loop(double client_ns, double server_ns, double way_ns, unsigned depth,
                          double *p50_ns) {
    struct loop *loop = sim_memory_new(1, sizeof(*loop));
    struct token *tokens = sim_memory_new(depth, sizeof(*tokens));
    loop->client_ns = client_ns;
    loop->server_ns = server_ns;
    loop->way_ns = way_ns;
    loop->left = LOOP_REQUESTS;
    sim_fabric_init(&loop->fabric);
    ist_histogram_init(&loop->latency_ns);
    for (unsigned i = 0; i < depth; i++) {
        tokens[i].loop = loop;
        sim_event_init(&tokens[i].event, on_back, &tokens[i]);
        send_token(&tokens[i]);
    }
    while (sim_fabric_step(&loop->fabric)) {
    }
    double seconds = (double)sim_fabric_now_ns(&loop->fabric) / 1e9;
    double per_sec = seconds > 0 ? (double)loop->latency_ns.count / seconds : 0;
    *p50_ns = (double)ist_histogram_percentile(&loop->latency_ns, 0.5);
    sim_fabric_fini(&loop->fabric);
    free(tokens);
    free(loop);
    return per_sec;
}

/* ---- parameters ---------------------------------------------------------------------------------------- */

/* Least squares of relative errors: sums of products, then elimination. */
struct fit {
    double matrix[TERMS][TERMS + 1];
    unsigned count;
};

static void fit_add(struct fit *fit, const struct sim_calibrate_row *row, double value) {
    const double terms[TERMS + 1] = {1 / value, row->keys / value, row->keys * row->value_bytes / value,
                                     1};
    for (unsigned i = 0; i < TERMS; i++) {
        for (unsigned j = 0; j <= TERMS; j++) {
            fit->matrix[i][j] += terms[i] * terms[j];
        }
    }
    fit->count++;
}

static struct sim_calibrate_cost fit_solve(struct fit *fit) {
    double result[TERMS] = {0};
    for (unsigned i = 0; i < TERMS; i++) {
        for (unsigned j = 0; j < TERMS && fit->matrix[i][i] > 0; j++) {
            double factor = j == i ? 0 : fit->matrix[j][i] / fit->matrix[i][i];
            for (unsigned k = 0; k <= TERMS; k++) {
                fit->matrix[j][k] -= factor * fit->matrix[i][k];
            }
        }
    }
    for (unsigned i = 0; i < TERMS; i++) {
        double value = fit->matrix[i][i] > 0 ? fit->matrix[i][TERMS] / fit->matrix[i][i] : 0;
        result[i] = value > 0 ? value : 0; /* nothing costs less than nothing */
    }
    return (struct sim_calibrate_cost){result[0], result[1], result[2]};
}

static double cost_of(struct sim_calibrate_cost cost, const struct sim_calibrate_row *row) {
    return cost.base + cost.key * row->keys + cost.byte * row->keys * row->value_bytes;
}

static bool is_fitted_size(const struct sim_calibrate *calibrate, const struct sim_calibrate_row *row) {
    size_t smaller = 0;
    for (size_t i = 0; i < calibrate->count; i++) {
        bool is_first = calibrate->rows[i].value_bytes < row->value_bytes;
        for (size_t j = 0; j < i && is_first; j++) {
            is_first = calibrate->rows[j].value_bytes != calibrate->rows[i].value_bytes;
        }
        smaller += is_first;
    }
    return smaller % 2 == 0;
}

/* Alone, a request takes all stages one behind the other; with many at a time, the slowest stage for each. */
static bool predict_op(struct sim_calibrate *calibrate, const char *op, double shallow, double deep) {
    struct fit alone = {0}, many = {0};
    for (size_t i = 0; i < calibrate->count; i++) {
        struct sim_calibrate_row *row = &calibrate->rows[i];
        if (strcmp(row->op, op) != 0 || !is_fitted_size(calibrate, row)) {
            continue;
        }
        row->fitted = row->depth == shallow || row->depth == deep;
        if (row->depth == shallow) {
            fit_add(&alone, row, row->p50_ns);
        } else if (row->depth == deep) {
            fit_add(&many, row, 1e9 / row->requests_per_sec);
        }
    }
    if (alone.count < TERMS || many.count < TERMS) {
        return false;
    }
    const struct sim_calibrate_cost whole = fit_solve(&alone), slowest = fit_solve(&many);
    for (size_t i = 0; i < calibrate->count; i++) {
        struct sim_calibrate_row *row = &calibrate->rows[i];
        if (strcmp(row->op, op) == 0) {
            double server_ns = cost_of(slowest, row), rest_ns = cost_of(whole, row) - server_ns;
            rest_ns = rest_ns > 0 ? rest_ns : 0;
            double client_ns = rest_ns < server_ns ? rest_ns : server_ns;
            row->predicted_per_sec = sim_calibrate_loop(client_ns, server_ns, (rest_ns - client_ns) / 2,
                                                        (unsigned)row->depth, &row->predicted_p50_ns);
        }
    }
    return true;
}

bool sim_calibrate_predict(struct sim_calibrate *calibrate) {
    if (calibrate->count == 0) {
        return false;
    }
    double shallow = calibrate->rows[0].depth, deep = shallow;
    for (size_t i = 0; i < calibrate->count; i++) {
        shallow = fmin(shallow, calibrate->rows[i].depth);
        deep = fmax(deep, calibrate->rows[i].depth);
    }
    for (size_t i = 0; i < calibrate->count; i++) {
        bool is_first = true;
        for (size_t j = 0; j < i; j++) {
            is_first = is_first && strcmp(calibrate->rows[j].op, calibrate->rows[i].op) != 0;
        }
        if (is_first && !predict_op(calibrate, calibrate->rows[i].op, shallow, deep)) {
            return false;
        }
    }
    return true;
}

/* ---- in and out ---------------------------------------------------------------------------------------- */

static double number_of(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

static bool read_row(struct sim_calibrate_row *row, const json_t *result) {
    const char *op = json_string_value(json_object_get(result, "op"));
    if (op == NULL) {
        return false;
    }
    *row = (struct sim_calibrate_row){
        .value_bytes = number_of(result, "value_bytes"),
        .keys = number_of(result, "keys_per_request"),
        .depth = number_of(result, "depth"),
        .requests_per_sec = number_of(result, "requests_per_second"),
        .p50_ns = 1000 * number_of(json_object_get(result, "latency_us"), "p50"),
    };
    snprintf(row->op, sizeof(row->op), "%s", op);
    return row->keys >= 1 && row->depth >= 1 && row->depth <= 4096 && row->requests_per_sec > 0 &&
           row->p50_ns > 0 && row->value_bytes >= 0;
}

bool sim_calibrate_read(struct sim_calibrate *calibrate, const char *path) {
    json_error_t error;
    json_t *json = json_load_file(path, 0, &error), *result;
    size_t index;
    *calibrate = (struct sim_calibrate){0};
    if (json == NULL) {
        fprintf(stderr, "infinistore-sim: %s: %s\n", path, error.text);
        return false;
    }
    bool valid = true;
    json_array_foreach(json_object_get(json, "results"), index, result) {
        valid = valid && calibrate->count < SIM_CALIBRATE_ROWS_MAX &&
                read_row(&calibrate->rows[calibrate->count], result);
        calibrate->count += valid;
    }
    json_decref(json);
    if (!valid || calibrate->count == 0) {
        fprintf(stderr, "infinistore-sim: %s: not what infinistore-bench --json writes\n", path);
    }
    return valid && calibrate->count > 0;
}

static int compare(const void *a, const void *b) {
    const double *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

static double error_of(double predicted, double measured) {
    return fabs(predicted / measured - 1);
}

static double median_error(const struct sim_calibrate *calibrate, bool of_latency) {
    double errors[SIM_CALIBRATE_ROWS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < calibrate->count; i++) {
        const struct sim_calibrate_row *row = &calibrate->rows[i];
        if (!row->fitted) {
            errors[count++] = of_latency ? error_of(row->predicted_p50_ns, row->p50_ns)
                                         : error_of(row->predicted_per_sec, row->requests_per_sec);
        }
    }
    qsort(errors, count, sizeof(errors[0]), compare);
    return count == 0 ? 0 : errors[count / 2];
}

double sim_calibrate_rate_error(const struct sim_calibrate *calibrate) {
    return median_error(calibrate, false);
}

double sim_calibrate_latency_error(const struct sim_calibrate *calibrate) {
    return median_error(calibrate, true);
}

void sim_calibrate_write(FILE *out, const struct sim_calibrate *calibrate) {
    fprintf(out, "%-7s %8s %5s %5s %12s %12s %7s %12s %12s %7s\n", "op", "bytes", "keys", "depth",
            "requests/s", "simulated", "error", "p50, us", "simulated", "error");
    for (size_t i = 0; i < calibrate->count; i++) {
        const struct sim_calibrate_row *row = &calibrate->rows[i];
        fprintf(out, "%-7s %8.0f %5.0f %5.0f %12.0f %12.0f %6.1f%% %12.1f %12.1f %6.1f%%%s\n", row->op,
                row->value_bytes, row->keys, row->depth, row->requests_per_sec, row->predicted_per_sec,
                100 * (row->predicted_per_sec / row->requests_per_sec - 1), row->p50_ns / 1000,
                row->predicted_p50_ns / 1000, 100 * (row->predicted_p50_ns / row->p50_ns - 1),
                row->fitted ? "  fitted" : "");
    }
    fprintf(out,
            "median error of those that were not fitted: %.1f%% of the rate, %.1f%% of the median "
            "latency\n",
            100 * sim_calibrate_rate_error(calibrate), 100 * sim_calibrate_latency_error(calibrate));
}

int sim_calibrate_command(int argc, char **argv) {
    if (argc != 2 || argv[1][0] == '-') {
        fputs("usage: infinistore-sim calibrate FILE   (of infinistore-bench --json; make calibrate)\n",
              argc == 2 && strcmp(argv[1], "--help") == 0 ? stdout : stderr);
        return argc == 2 && strcmp(argv[1], "--help") == 0 ? EXIT_SUCCESS : 2;
    }
    struct sim_calibrate *calibrate = sim_memory_new(1, sizeof(*calibrate));
    bool done = sim_calibrate_read(calibrate, argv[1]);
    if (done && !sim_calibrate_predict(calibrate)) {
        fputs("infinistore-sim: too few measurements: several sizes and batches, at two depths\n",
              stderr);
        done = false;
    }
    if (done) {
        sim_calibrate_write(stdout, calibrate);
    }
    free(calibrate);
    return done ? EXIT_SUCCESS : 2;
}
