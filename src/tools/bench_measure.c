#include "tools/bench_measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/size.h"
#include "tools/bench_clock.h"
#include "tools/bench_crew.h"

#define ROUND_NS 100000000ull        /* about how long one side's part of a round takes */
#define ROUND_WAVES 8u               /* a round fills every client's depth at least so often */
#define ROUNDS_MAX 4096u             /* whose ratios are kept */
#define COPY_BYTES_MAX (64ull << 20) /* of memcpy in a round */
#define PINGS_MAX 5000u              /* in a round */
#define UNTIMED_BYTES (4ull << 20)   /* of a request that only stores or removes */
#define UNTIMED_KEYS 512u

/* What one side did so far, without the first round. */
struct tally {
    struct ist_bench_load *load; /* NULL: raw, or memcpy */
    uint64_t requests, bytes, elapsed_ns;
    struct ist_histogram latency;
    double *ratios; /* ours by its, ROUNDS_MAX */
    size_t ratio_count;
    double round_rate; /* of the round, by the nanosecond */
};

enum { OURS, RIVAL, RAW, COPY, PERFTEST, TALLIES };

struct rounds {
    const struct ist_bench_measure *measure;
    char *error;
    struct tally tallies[TALLIES];
    size_t cursor;   /* the next round's first key */
    size_t step;     /* keys of a round; 0: not known yet */
    uint64_t number; /* rounds so far, the first included */
    uint64_t values, verified, read_back;
};

static size_t verify_step(const struct ist_bench_options *options) {
    switch (options->verify) {
    case IST_BENCH_VERIFY_ALL: return 1;
    case IST_BENCH_VERIFY_SAMPLE: return IST_BENCH_SAMPLE;
    case IST_BENCH_VERIFY_NONE: break;
    }
    return 0;
}

/* ---- the sides of a round ----------------------------------------------------------------------- */

static void tally_add(struct rounds *rounds, struct tally *tally, uint64_t requests, uint64_t bytes,
                      uint64_t elapsed_ns) {
    bool moves = rounds->measure->op == IST_BENCH_PUT || rounds->measure->op == IST_BENCH_GET;
    uint64_t amount = moves ? bytes : requests;
    tally->round_rate = elapsed_ns == 0 ? 0 : (double)amount / (double)elapsed_ns;
    if (rounds->number > 0) {
        tally->requests += requests;
        tally->bytes += bytes;
        tally->elapsed_ns += elapsed_ns;
    }
}

static enum ist_status round_load(struct rounds *rounds, struct tally *tally,
                                  struct ist_bench_slice *slice) {
    const struct ist_bench_measure *measure = rounds->measure;
    slice->latency = rounds->number > 0 ? &tally->latency : NULL;
    enum ist_status status = ist_bench_load_run(tally->load, slice, rounds->error);
    if (status != IST_OK) {
        return status;
    }
    tally_add(rounds, tally, slice->requests, slice->bytes, slice->elapsed_ns);
    size_t step = verify_step(measure->options);
    if (measure->op != IST_BENCH_GET) {
        return IST_OK;
    }
    rounds->values += slice->reached - slice->first;
    return step == 0 ? IST_OK
                     : ist_bench_load_verify(tally->load, measure->set, slice->first, slice->reached,
                                             step, &rounds->verified, rounds->error);
}

static enum ist_status round_raw(struct rounds *rounds, const struct ist_bench_slice *slice) {
    const struct ist_bench_measure *measure = rounds->measure;
    struct tally *tally = &rounds->tallies[RAW];
    struct ist_histogram *latency = rounds->number > 0 ? &tally->latency : NULL;
    bool get = measure->op == IST_BENCH_GET;
    if (!get && measure->op != IST_BENCH_PUT) {
        uint64_t pings = slice->requests < PINGS_MAX ? slice->requests : PINGS_MAX, elapsed_ns = 0;
        enum ist_status status = ist_bench_raw_ping(measure->raw, pings, &measure->options->pin,
                                                    latency, &elapsed_ns, rounds->error);
        tally_add(rounds, tally, pings, 0, elapsed_ns);
        return status;
    }
    uint64_t keys = slice->reached - slice->first, request_bytes = measure->set->value_bytes;
    if (measure->shape.batch * request_bytes <= measure->memory->bytes) {
        request_bytes *= measure->shape.batch;
    }
    struct ist_bench_raw_move move = {
        .get = get,
        .request_bytes = request_bytes,
        .requests = keys * measure->set->value_bytes / request_bytes,
        .depth = measure->shape.depth,
        .memory = get ? measure->memory->sink : measure->memory->source,
        .memory_bytes = measure->memory->bytes,
        .pin = &measure->options->pin,
        .latency = latency,
    };
    move.requests = move.requests == 0 ? 1 : move.requests;
    enum ist_status status = ist_bench_raw_move(measure->raw, &move, rounds->error);
    tally_add(rounds, tally, move.requests, move.requests * request_bytes, move.elapsed_ns);
    return status;
}

struct copying {
    const struct ist_bench_set *set;
    size_t first, count;
};

static void copy_work(void *context, size_t member) {
    (void)member;
    const struct copying *copying = context;
    const struct ist_bench_set *set = copying->set;
    for (size_t i = 0; i < copying->count; i++) {
        size_t at = (copying->first + i) % set->count;
        memcpy(ist_bench_set_sink(set, at), ist_bench_set_source(set, at), set->value_bytes);
    }
}

/* Values are copied from their place in the source to that in the sink, half the set away from those that the
 * round just touched; and spoiled there, so that no get is taken for good because of them. */
static enum ist_status round_copy(struct rounds *rounds, const struct ist_bench_slice *slice) {
    const struct ist_bench_measure *measure = rounds->measure;
    const struct ist_bench_set *set = measure->set;
    size_t most = (size_t)(COPY_BYTES_MAX / set->value_bytes), count = slice->reached - slice->first;
    struct copying copying = {.set = set, .first = slice->first + set->count / 2};
    copying.count = count <= most ? count : most == 0 ? 1 : most;
    uint64_t elapsed_ns = 0;
    enum ist_status status =
        ist_bench_crew_run(1, &measure->options->pin, copy_work, &copying, &elapsed_ns);
    if (status != IST_OK) {
        snprintf(rounds->error, IST_BENCH_ERROR_MAX, "memcpy: %s", ist_status_text(status));
        return status;
    }
    tally_add(rounds, &rounds->tallies[COPY], copying.count, copying.count * set->value_bytes,
              elapsed_ns);
    for (size_t i = 0; i < copying.count; i++) {
        memset(ist_bench_set_sink(set, (copying.first + i) % set->count), 0, set->value_bytes);
    }
    return IST_OK;
}

/* As many values of the size, in its own way: between one buffer here and one there. */
static enum ist_status round_perftest(struct rounds *rounds, const struct ist_bench_slice *slice) {
    const struct ist_bench_measure *measure = rounds->measure;
    uint64_t clients = measure->shape.clients;
    const struct ist_bench_perftest_move move = {
        .get = measure->op == IST_BENCH_GET,
        .value_bytes = measure->set->value_bytes,
        .depth = measure->shape.depth * measure->shape.batch,
        .queue_pairs = clients,
        .iterations = (slice->reached - slice->first) / clients,
    };
    double rate = 0;
    enum ist_status status = ist_bench_perftest_run(measure->perftest, &move, &rate, rounds->error);
    if (status == IST_OK && rate > 0) {
        uint64_t bytes = (slice->reached - slice->first) * move.value_bytes;
        tally_add(rounds, &rounds->tallies[PERFTEST], slice->reached - slice->first, bytes,
                  (uint64_t)((double)bytes / rate * 1e9));
    }
    return status;
}

static void note_ratios(struct rounds *rounds) {
    double ours = rounds->tallies[OURS].round_rate;
    for (size_t i = RIVAL; i < TALLIES; i++) {
        struct tally *tally = &rounds->tallies[i];
        if (rounds->number > 0 && tally->round_rate > 0 && tally->ratio_count < ROUNDS_MAX) {
            tally->ratios[tally->ratio_count++] = ours / tally->round_rate;
        }
    }
}

/* All sides. Who is first in a round finds colder caches: they take turns. */
static enum ist_status round_run(struct rounds *rounds, struct ist_bench_slice *slice) {
    const struct ist_bench_measure *measure = rounds->measure;
    bool moves = measure->op == IST_BENCH_PUT || measure->op == IST_BENCH_GET;
    for (size_t i = 0; i < measure->side_count; i++) {
        size_t side = (rounds->number + i) % measure->side_count;
        enum ist_status status = round_load(rounds, &rounds->tallies[side], slice);
        if (status != IST_OK) {
            return status;
        }
        slice->end = slice->reached; /* the other does what the first did, however long it takes */
        slice->time_ns = 0;
    }
    if (measure->raw != NULL) {
        enum ist_status status = round_raw(rounds, slice);
        if (status == IST_OK && moves) {
            status = round_copy(rounds, slice);
        }
        if (status != IST_OK) {
            return status;
        }
    }
    rounds->tallies[PERFTEST].round_rate = 0; /* it cannot always tell */
    if (measure->perftest != NULL && moves) {
        enum ist_status status = round_perftest(rounds, slice);
        if (status != IST_OK) {
            return status;
        }
    }
    note_ratios(rounds);
    return IST_OK;
}

/* ---- rounds ------------------------------------------------------------------------------------- */

/* Keys of a round, from what the first one managed in the time it had: a whole number of rounds makes up a
 * pass over the set. */
static size_t step_of(const struct rounds *rounds, const struct ist_bench_slice *first) {
    const struct ist_bench_shape *shape = &rounds->measure->shape;
    size_t count = rounds->measure->set->count, batch = shape->batch;
    double keys =
        (double)(first->reached - first->first) * ((double)ROUND_NS / (double)(first->elapsed_ns + 1));
    size_t waves = ROUND_WAVES * shape->clients * shape->depth * batch;
    keys = keys < (double)waves ? (double)waves : keys;
    size_t parts = keys >= (double)count ? 1 : (size_t)((double)count / keys + 0.5);
    size_t step = (count + parts - 1) / (parts == 0 ? 1 : parts);
    return (step + batch - 1) / batch * batch;
}

static size_t round_end(const struct rounds *rounds) {
    const struct ist_bench_measure *measure = rounds->measure;
    size_t left = measure->set->count - rounds->cursor;
    size_t keys = rounds->step == 0 ? left : rounds->step;
    if (left < keys + keys / 2) {
        keys = left; /* no short round at the end of a pass */
    }
    uint64_t count = measure->options->count, done = rounds->tallies[OURS].requests;
    if (count > 0 && keys / measure->shape.batch > count - done) {
        keys = (size_t)(count - done) * measure->shape.batch;
    }
    return rounds->cursor + keys;
}

static bool is_done(const struct rounds *rounds) {
    const struct ist_bench_options *options = rounds->measure->options;
    const struct tally *ours = &rounds->tallies[OURS];
    if (options->count > 0) {
        return ours->requests >= options->count;
    }
    return ours->elapsed_ns >= options->duration_ns;
}

/* A pass begins: new contents for puts. A pass of puts that an earlier measurement left off is gone on with, so
 * that no key is ever more than one version behind. */
static void begin_pass(struct rounds *rounds) {
    struct ist_bench_set *set = rounds->measure->set;
    rounds->cursor = 0;
    if (rounds->measure->op != IST_BENCH_PUT) {
        return;
    }
    if (set->fresh < set->count) {
        rounds->cursor = set->fresh;
        return;
    }
    set->version++;
    set->fresh = 0;
    ist_bench_set_fill(set, 0, set->count, set->version);
}

static void show_progress(const struct rounds *rounds) {
    const struct ist_bench_measure *measure = rounds->measure;
    const struct tally *ours = &rounds->tallies[OURS];
    char size[IST_SIZE_TEXT_MAX];
    bool moves = measure->op == IST_BENCH_PUT || measure->op == IST_BENCH_GET;
    double rate = ours->elapsed_ns == 0 ? 0
                                        : (double)(moves ? ours->bytes : ours->requests) * 1e9 /
                                              (double)ours->elapsed_ns / (moves ? 1048576. : 1.);
    ist_bench_report_progress(
        measure->report, "%s %s, %zu x %zu: %.1f s, %.0f %s", ist_bench_op_name(measure->op),
        ist_size_text(measure->set->value_bytes, size), measure->shape.clients, measure->shape.depth,
        (double)ours->elapsed_ns / 1e9, rate, moves ? "MiB/s" : "req/s");
}

static enum ist_status run_rounds(struct rounds *rounds) {
    const struct ist_bench_measure *measure = rounds->measure;
    size_t usable = measure->set->count;
    if (measure->op == IST_BENCH_MATCH) {
        usable -= usable % measure->shape.batch;
    }
    begin_pass(rounds);
    while (!is_done(rounds)) {
        struct ist_bench_slice slice = {.op = measure->op,
                                        .set = measure->set,
                                        .first = rounds->cursor,
                                        .time_ns = rounds->number == 0 ? ROUND_NS : 0};
        slice.end = round_end(rounds) < usable ? round_end(rounds) : usable;
        enum ist_status status = round_run(rounds, &slice);
        if (status != IST_OK) {
            return status;
        }
        if (rounds->number == 0) {
            rounds->step = step_of(rounds, &slice);
        }
        rounds->number++;
        rounds->cursor = slice.reached;
        if (measure->op == IST_BENCH_PUT) {
            measure->set->fresh = slice.reached;
        }
        show_progress(rounds);
        if (rounds->cursor >= usable && !is_done(rounds)) {
            begin_pass(rounds);
        }
    }
    return IST_OK;
}

/* Everything that was put must be there, on every side. */
static enum ist_status read_back(struct rounds *rounds) {
    const struct ist_bench_measure *measure = rounds->measure;
    size_t step = verify_step(measure->options);
    for (size_t i = 0; i < measure->side_count && step > 0; i++) {
        struct ist_bench_load *load = rounds->tallies[i].load;
        struct ist_bench_slice slice = {
            .op = IST_BENCH_GET, .set = measure->set, .end = measure->set->count};
        enum ist_status status = ist_bench_load_run(load, &slice, rounds->error);
        if (status == IST_OK) {
            status = ist_bench_load_verify(load, measure->set, 0, measure->set->count, step,
                                           &rounds->read_back, rounds->error);
        }
        if (status != IST_OK) {
            return status;
        }
    }
    return IST_OK;
}

/* ---- a measurement ------------------------------------------------------------------------------ */

static void rounds_free(struct rounds *rounds) {
    for (size_t i = 0; i < TALLIES; i++) {
        ist_bench_load_free(rounds->tallies[i].load);
        free(rounds->tallies[i].ratios);
    }
    free(rounds);
}

static struct ist_bench_target target_of(const struct ist_bench_measure *measure,
                                         const struct ist_bench_side *side) {
    return (struct ist_bench_target){.endpoint = side->endpoint,
                                     .timeout_ns = measure->options->timeout_ns,
                                     .transport = &measure->options->transport,
                                     .memory = measure->memory};
}

static enum ist_status rounds_new(const struct ist_bench_measure *measure, char *error,
                                  struct rounds **rounds) {
    struct rounds *new = calloc(1, sizeof *new);
    enum ist_status status = new == NULL ? IST_NO_MEMORY : IST_OK;
    for (size_t i = 0; status == IST_OK && i < TALLIES; i++) {
        new->tallies[i].ratios = calloc(ROUNDS_MAX, sizeof(double));
        status = new->tallies[i].ratios == NULL ? IST_NO_MEMORY : IST_OK;
    }
    if (status != IST_OK) {
        snprintf(error, IST_BENCH_ERROR_MAX, "%s", ist_status_text(status));
    }
    for (size_t i = 0; status == IST_OK && i < measure->side_count; i++) {
        const struct ist_bench_side *side = &measure->sides[i];
        const struct ist_bench_target target = target_of(measure, side);
        status = ist_bench_load_new(side->peer, &target, &measure->shape, &measure->options->pin,
                                    &new->tallies[i].load, error);
    }
    if (status == IST_OK && measure->raw != NULL) {
        status = ist_bench_raw_connect(measure->raw, measure->shape.clients, error);
    }
    if (status != IST_OK) {
        if (new != NULL) {
            rounds_free(new);
        }
        return status;
    }
    new->measure = measure;
    new->error = error;
    *rounds = new;
    return IST_OK;
}

static void summarise(struct rounds *rounds, struct ist_bench_result *result) {
    const struct ist_bench_measure *measure = rounds->measure;
    bool moves = measure->op == IST_BENCH_PUT || measure->op == IST_BENCH_GET;
    *result = (struct ist_bench_result){
        .op = measure->op,
        .value_bytes = moves ? measure->set->value_bytes : 0,
        .batch = measure->shape.batch,
        .clients = measure->shape.clients,
        .depth = measure->shape.depth,
        .rounds = rounds->number - 1,
        .values = rounds->values,
        .verified = rounds->verified,
        .read_back = rounds->read_back,
    };
    struct ist_bench_figures *const figures[TALLIES] = {&result->ours, &result->rival, &result->raw,
                                                        &result->copy, &result->perftest};
    for (size_t i = 0; i < TALLIES; i++) {
        const struct tally *tally = &rounds->tallies[i];
        ist_bench_figures_of(tally->requests, tally->bytes, tally->elapsed_ns, &tally->latency,
                             figures[i]);
    }
    struct tally *raw = &rounds->tallies[RAW], *copy = &rounds->tallies[COPY],
                 *rival = &rounds->tallies[RIVAL], *perftest = &rounds->tallies[PERFTEST];
    result->of_rival = ist_bench_median(rival->ratios, rival->ratio_count);
    result->of_perftest = ist_bench_median(perftest->ratios, perftest->ratio_count);
    result->of_copy = ist_bench_median(copy->ratios, copy->ratio_count);
    result->of_raw = ist_bench_median(raw->ratios, raw->ratio_count);
    if (!moves && result->raw.p50_ns > 0) {
        result->of_raw = (double)result->ours.p50_ns / (double)result->raw.p50_ns;
    }
}

enum ist_status ist_bench_measure(const struct ist_bench_measure *measure,
                                  struct ist_bench_result *result, char *error) {
    struct rounds *rounds = NULL;
    enum ist_status status = rounds_new(measure, error, &rounds);
    if (status != IST_OK) {
        return status;
    }
    status = run_rounds(rounds);
    if (status == IST_OK && measure->op == IST_BENCH_PUT) {
        status = read_back(rounds);
    }
    if (status == IST_OK) {
        summarise(rounds, result);
    }
    rounds_free(rounds);
    return status;
}

/* ---- not measured ------------------------------------------------------------------------------- */

static enum ist_status do_all(const struct ist_bench_measure *measure, size_t side,
                              enum ist_bench_op op, char *error) {
    uint64_t keys = UNTIMED_BYTES / measure->set->value_bytes;
    const struct ist_bench_shape shape = {
        .clients = 1,
        .depth = 2,
        .batch = keys > UNTIMED_KEYS ? UNTIMED_KEYS
                 : keys == 0         ? 1
                                     : (size_t)keys,
    };
    struct ist_bench_load *load = NULL;
    const struct ist_bench_target target = target_of(measure, &measure->sides[side]);
    enum ist_status status = ist_bench_load_new(measure->sides[side].peer, &target, &shape,
                                                &measure->options->pin, &load, error);
    if (status != IST_OK) {
        return status;
    }
    struct ist_bench_slice slice = {.op = op, .set = measure->set, .end = measure->set->count};
    status = ist_bench_load_run(load, &slice, error);
    ist_bench_load_free(load);
    return status;
}

enum ist_status ist_bench_store_all(const struct ist_bench_measure *measure, size_t side, char *error) {
    return do_all(measure, side, IST_BENCH_PUT, error);
}

enum ist_status ist_bench_remove_all(const struct ist_bench_measure *measure, size_t side,
                                     char *error) {
    return do_all(measure, side, IST_BENCH_REMOVE, error);
}
