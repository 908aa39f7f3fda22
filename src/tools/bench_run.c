#include "tools/bench_run.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/size.h"
#include "infinistore/infinistore.h"
#include "tools/bench_load.h"
#include "tools/bench_measure.h"
#include "tools/bench_raw.h"
#include "tools/bench_rival.h"
#include "tools/bench_scout.h"
#include "tools/bench_set.h"
#include "tools/bench_text.h"

#define DEPTH_MOVES 16u       /* default for put and get */
#define PROBE_BYTES 64u       /* values of the keys that exists and match ask for */
#define PROBE_KEYS_MIN 32768u /* of them, where there is room */
#define PROBE_MATCHES 4u      /* or as many as so many matches take */

struct run {
    const struct ist_bench_options *options;
    struct ist_bench_report *report;
    char *error;
    uint32_t number; /* in the keys */
    uint64_t working_set_bytes;
    struct ist_bench_scout scout;
    struct ist_bench_raw *raw;
    struct ist_bench_perftest *perftest;
    struct ist_bench_rival_server *rival;
    struct ist_bench_memory memory;
    struct ist_bench_set set;
    struct ist_bench_measure measure;
};

/* ---- combinations ------------------------------------------------------------------------------- */

static struct ist_bench_list depths_of(const struct ist_bench_options *options, enum ist_bench_op op) {
    if (options->depths.count > 0) {
        return options->depths;
    }
    bool moves = op == IST_BENCH_PUT || op == IST_BENCH_GET;
    return (struct ist_bench_list){{moves ? DEPTH_MOVES : 1}, 1};
}

static struct ist_bench_list batches_of(const struct ist_bench_options *options, enum ist_bench_op op) {
    return op == IST_BENCH_MATCH ? (struct ist_bench_list){{options->match_keys}, 1} : options->batches;
}

static enum ist_status measure_one(struct run *run, enum ist_bench_op op, uint64_t clients,
                                   uint64_t depth, uint64_t batch) {
    struct ist_bench_measure measure = run->measure;
    struct ist_bench_result result;
    measure.op = op;
    measure.shape = (struct ist_bench_shape){
        .clients = (size_t)clients, .depth = (size_t)depth, .batch = (size_t)batch};
    if (op == IST_BENCH_MATCH && measure.side_count == 2 && !measure.sides[1].peer->matches) {
        measure.side_count = 1;
    }
    enum ist_status status = ist_bench_measure(&measure, &result, run->error);
    if (status == IST_OK) {
        status = ist_bench_report_add(run->report, &result);
    }
    return status;
}

/* Every shape of load, for one operation on the present set. */
static enum ist_status measure_op(struct run *run, enum ist_bench_op op) {
    const struct ist_bench_list clients = run->options->clients;
    const struct ist_bench_list depths = depths_of(run->options, op);
    const struct ist_bench_list batches = batches_of(run->options, op);
    size_t shapes = clients.count * depths.count * batches.count;
    enum ist_status status = IST_OK;
    for (size_t i = 0; i < shapes && status == IST_OK && run->options->ops[op]; i++) {
        status = measure_one(run, op, clients.items[i / depths.count / batches.count],
                             depths.items[i / batches.count % depths.count],
                             batches.items[i % batches.count]);
    }
    return status;
}

/* ---- sets --------------------------------------------------------------------------------------- */

static size_t least(uint64_t a, uint64_t b) {
    return (size_t)(a < b ? a : b);
}

/* How many values of the size there may be: as many as the memory holds, and unless the working set was asked
 * for, no more than fill half of the pool. */
static size_t count_of(const struct run *run, uint64_t value_bytes, uint64_t block_bytes) {
    uint64_t count = run->working_set_bytes / ist_bench_stride(value_bytes);
    if (run->options->working_set_bytes == 0) {
        count = least(count, run->scout.pool_bytes / 2 / block_bytes);
    }
    return count == 0 ? 1 : (size_t)count;
}

static void set_up(struct run *run) {
    run->measure = (struct ist_bench_measure){
        .options = run->options,
        .report = run->report,
        .sides = {{ist_bench_store(), run->options->endpoint}},
        .side_count = 1,
        .raw = run->raw,
        .perftest = run->perftest,
        .memory = &run->memory,
        .set = &run->set,
    };
    if (run->rival != NULL) {
        run->measure.sides[1] = (struct ist_bench_side){
            run->options->rival == IST_BENCH_REDIS ? ist_bench_redis() : ist_bench_memcached(),
            ist_bench_rival_endpoint(run->rival)};
        run->measure.side_count = 2;
    }
}

/* Stores the set on every side, measures, and removes it, also when that failed: then as far as it goes. */
static enum ist_status with_set(struct run *run, const enum ist_bench_op *ops, size_t op_count) {
    char ignored[IST_BENCH_ERROR_MAX];
    enum ist_status status = IST_OK;
    size_t stored = 0;
    ist_bench_set_fill(&run->set, 0, run->set.count, run->set.version);
    while (stored < run->measure.side_count && status == IST_OK) {
        status = ist_bench_store_all(&run->measure, stored++, run->error);
    }
    for (size_t i = 0; i < op_count && status == IST_OK; i++) {
        status = measure_op(run, ops[i]);
    }
    for (size_t i = 0; i < stored; i++) {
        bool good = status == IST_OK;
        enum ist_status removed = ist_bench_remove_all(&run->measure, i, good ? run->error : ignored);
        status = good ? removed : status;
    }
    return status;
}

static enum ist_status begin_set(struct run *run, uint64_t value_bytes, size_t count) {
    char size[IST_SIZE_TEXT_MAX];
    ist_bench_report_progress(run->report, "storing %zu values of %s", count,
                              ist_size_text(value_bytes, size));
    enum ist_status status = ist_bench_set_init(&run->set, &run->memory, run->number, value_bytes,
                                                run->options->key_bytes, count);
    if (status != IST_OK) {
        snprintf(run->error, IST_BENCH_ERROR_MAX, "%s", ist_status_text(status));
    }
    return status;
}

static enum ist_status measure_size(struct run *run, size_t index) {
    static const enum ist_bench_op ops[] = {IST_BENCH_PUT, IST_BENCH_GET};
    uint64_t value_bytes = run->options->sizes.items[index];
    size_t count = count_of(run, value_bytes, run->scout.block_bytes[index]);
    enum ist_status status = begin_set(run, value_bytes, count);
    if (status == IST_OK) {
        status = with_set(run, ops, 2);
        ist_bench_set_fini(&run->set);
    }
    return status;
}

static enum ist_status measure_questions(struct run *run) {
    static const enum ist_bench_op ops[] = {IST_BENCH_EXISTS, IST_BENCH_MATCH};
    const struct ist_bench_options *options = run->options;
    uint64_t match = options->ops[IST_BENCH_MATCH] ? options->match_keys : 0;
    uint64_t wanted = PROBE_MATCHES * match > PROBE_KEYS_MIN ? PROBE_MATCHES * match : PROBE_KEYS_MIN;
    uint64_t room = least(run->scout.pool_bytes / 2 / run->scout.block_bytes[options->sizes.count],
                          run->memory.bytes / PROBE_BYTES);
    size_t count = least(wanted, room);
    if (count == 0 || count < match) {
        snprintf(run->error, IST_BENCH_ERROR_MAX,
                 "--match-keys %llu: half of the server's pool has room for %llu keys",
                 (unsigned long long)match, (unsigned long long)room);
        return IST_CONFIG;
    }
    enum ist_status status = begin_set(run, PROBE_BYTES, count);
    if (status == IST_OK) {
        status = with_set(run, ops, 2);
        ist_bench_set_fini(&run->set);
    }
    return status;
}

static enum ist_status measure_everything(struct run *run) {
    const struct ist_bench_options *options = run->options;
    enum ist_status status = IST_OK;
    if (options->ops[IST_BENCH_PUT] || options->ops[IST_BENCH_GET]) {
        for (size_t i = 0; i < options->sizes.count && status == IST_OK; i++) {
            status = measure_size(run, i);
        }
    }
    if (status == IST_OK && (options->ops[IST_BENCH_EXISTS] || options->ops[IST_BENCH_MATCH])) {
        status = measure_questions(run);
    }
    return status;
}

/* ---- before and after --------------------------------------------------------------------------- */

static enum ist_status check_cpus(const char *option, const struct ist_bench_list *cpus, char *error) {
    cpu_set_t ours;
    CPU_ZERO(&ours);
    (void)sched_getaffinity(0, sizeof ours, &ours);
    for (size_t i = 0; i < cpus->count; i++) {
        if (!CPU_ISSET((size_t)cpus->items[i], &ours)) {
            snprintf(error, IST_BENCH_ERROR_MAX, "%s %llu: not a CPU that this process may use", option,
                     (unsigned long long)cpus->items[i]);
            return IST_CONFIG;
        }
    }
    return IST_OK;
}

static enum ist_status scout_server(struct run *run) {
    const struct ist_bench_options *options = run->options;
    uint64_t sizes[IST_BENCH_LIST_MAX + 1];
    memcpy(sizes, options->sizes.items, options->sizes.count * sizeof sizes[0]);
    sizes[options->sizes.count] = PROBE_BYTES;
    if (getrandom(&run->number, sizeof run->number, 0) != sizeof run->number) {
        run->number = 0;
    }
    enum ist_status status =
        ist_bench_scout(options, run->number, sizes, options->sizes.count + 1, &run->scout, run->error);
    if (status != IST_OK) {
        return status;
    }
    run->working_set_bytes = options->working_set_bytes != 0
                                 ? options->working_set_bytes
                                 : least(IST_BENCH_WORKING_SET_BYTES, run->scout.pool_bytes / 2);
    for (size_t i = 0; i < options->sizes.count; i++) {
        uint64_t stride = ist_bench_stride(options->sizes.items[i]);
        if (run->working_set_bytes < stride) {
            run->working_set_bytes = stride; /* one value at the least */
        }
    }
    run->report->working_set_bytes = run->working_set_bytes;
    return IST_OK;
}

/* Processes first: a fork of a process with threads, or with much memory, is another matter. */
static enum ist_status start_others(struct run *run) {
    const struct ist_bench_options *options = run->options;
    bool unix_socket = strncmp(options->endpoint, "unix:", 5) == 0;
    enum ist_status status = IST_OK;
    if (options->rival != IST_BENCH_NO_RIVAL) {
        ist_bench_report_progress(run->report, "starting %s", ist_bench_rival_name(options->rival));
        /* memcached gives the memory of one size to no other: each gets its own. */
        uint64_t memory_bytes = run->working_set_bytes * options->sizes.count;
        status = ist_bench_rival_new(options->rival, unix_socket, memory_bytes, &options->pin_peers,
                                     &run->rival, run->error);
    }
    if (status == IST_OK && options->raw) {
        status = ist_bench_raw_new(unix_socket, run->working_set_bytes, &options->pin_peers, &run->raw,
                                   run->error);
    }
    if (status == IST_OK && options->perftest) {
        const char *device = options->transport.device;
        status = ist_bench_perftest_new(
            device, options->server_device != NULL ? options->server_device : device, &options->pin,
            &options->pin_peers, &run->perftest, run->error);
    }
    return status;
}

enum ist_status ist_bench_run(const struct ist_bench_options *options, struct ist_bench_report *report,
                              char *error) {
    struct run run = {.options = options, .report = report, .error = error};
    enum ist_status status = check_cpus("--pin", &options->pin, error);
    if (status == IST_OK) {
        status = check_cpus("--pin-peers", &options->pin_peers, error);
    }
    if (status == IST_OK) {
        status = scout_server(&run);
    }
    if (status == IST_OK) {
        status = start_others(&run);
    }
    if (status == IST_OK) {
        status = ist_bench_memory_init(&run.memory, run.working_set_bytes);
        if (status != IST_OK) {
            snprintf(error, IST_BENCH_ERROR_MAX, "--working-set: no memory for it here, twice");
        }
    }
    if (status == IST_OK) {
        set_up(&run);
        ist_bench_report_head(report);
        status = measure_everything(&run);
    }
    ist_bench_memory_fini(&run.memory);
    ist_bench_raw_free(run.raw);
    ist_bench_perftest_free(run.perftest);
    ist_bench_rival_free(run.rival);
    return status;
}
