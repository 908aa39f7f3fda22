#include "sim/perf.h"

#include <stdlib.h>

#include "base/assert.h"
#include "sim/fabric.h"
#include "sim/memory.h"
#include "sim/random.h"
#include "store/store.h"

#define UNIT_BYTES 512u /* the store's pool counts blocks: each is so long there */
#define STEP_NS (60 * SIM_SEC)
#define BUSY_SHARE 0.8 /* that one plans with */

/* What one has at a time. */
struct resource {
    uint64_t free_ns, busy_ns;
};

struct server {
    struct ist_store *store;
    struct resource in, out, processor;
};

struct node {
    struct resource in, out;
    struct job *job; /* of a prefill node: what it computes */
};

struct job {
    struct perf *perf;
    const struct sim_blocks_request *request;
    const uint32_t *numbers;
    struct node *node;
    struct server *server;
    struct sim_event loaded_event, computed_event, stored_event;
    size_t hits, stored_count, fetched_count;
    struct ist_entry **entries; /* hits, then what it reserved: stored_count of these */
    uint64_t tokens, before;    /* new ones, and those in front of them */
    unsigned loaded, computed;
    bool computing;
    uint64_t compute_ns; /* a layer */
    uint64_t begin_ns, stored_ns, waited_ns, idle_since_ns;
};

struct perf {
    const struct sim_perf_config *config;
    const struct sim_blocks *blocks;
    struct sim_perf_figures *figures;
    struct sim_fabric fabric;
    struct server *servers;
    struct node *prefills, *decodes;
    struct sim_event arrival;
    size_t arrived, begun; /* requests: those between them wait */
    size_t next_decode;
    uint64_t layer_bytes; /* of a block */
    uint64_t compute_ns, lag_ns, wait_ns, loading_compute_ns, gpu_ns;
    struct sim_perf_second *series;
    size_t steps;
};

static uint64_t now_of(const struct perf *perf) {
    return sim_fabric_now_ns(&perf->fabric);
}

static struct sim_perf_second *step_at(struct perf *perf, uint64_t at_ns) {
    size_t step = (size_t)(at_ns / STEP_NS);
    if (step >= perf->steps) {
        size_t steps = step + 1;
        perf->series = sim_memory_resize(perf->series, steps, sizeof(*perf->series));
        for (size_t i = perf->steps; i < steps; i++) {
            perf->series[i] = (struct sim_perf_second){0};
        }
        perf->steps = steps;
    }
    return &perf->series[step];
}

/* ---- resources ----------------------------------------------------------------------------------------- */

/* Returns when it is done. */
static uint64_t use(struct resource *resource, uint64_t from_ns, uint64_t for_ns) {
    uint64_t begin_ns = resource->free_ns > from_ns ? resource->free_ns : from_ns;
    resource->free_ns = begin_ns + for_ns;
    resource->busy_ns += for_ns;
    return resource->free_ns;
}

static uint64_t transfer(const struct perf *perf, struct resource *out, struct resource *in,
                         uint64_t from_ns, uint64_t bytes) {
    uint64_t for_ns = (uint64_t)((double)bytes * 8e9 / perf->config->link_bits_per_sec);
    uint64_t begin_ns = from_ns > out->free_ns ? from_ns : out->free_ns;
    begin_ns = begin_ns > in->free_ns ? begin_ns : in->free_ns;
    (void)use(out, begin_ns, for_ns);
    return use(in, begin_ns, for_ns) + perf->config->link_latency_ns;
}

/* A request of so many keys comes to the server: when it has worked on it. */
static uint64_t process(struct perf *perf, struct server *server, size_t keys, uint64_t bytes) {
    const struct sim_perf_config *config = perf->config;
    double cost_ns =
        config->request_ns + config->key_ns * (double)keys + config->byte_ns * (double)bytes;
    step_at(perf, now_of(perf))->processor_ns += (uint64_t)cost_ns;
    return use(&server->processor, now_of(perf) + config->link_latency_ns, (uint64_t)cost_ns);
}

/* One layer of so many blocks. Both return when all of it has arrived. */
static uint64_t get_layer(struct perf *perf, struct server *server, struct node *node, size_t blocks) {
    uint64_t bytes = blocks * perf->layer_bytes;
    uint64_t end_ns =
        transfer(perf, &server->out, &node->in, process(perf, server, blocks, bytes), bytes);
    step_at(perf, end_ns)->got_bytes += bytes;
    perf->figures->got_bytes += bytes;
    return end_ns;
}

static uint64_t put_layer(struct perf *perf, struct server *server, struct node *node, size_t blocks) {
    uint64_t bytes = blocks * perf->layer_bytes;
    uint64_t end_ns =
        transfer(perf, &node->out, &server->in, process(perf, server, blocks, bytes), bytes);
    step_at(perf, end_ns)->put_bytes += bytes;
    perf->figures->put_bytes += bytes;
    return end_ns + perf->config->link_latency_ns;
}

/* ---- the store ----------------------------------------------------------------------------------------- */

static struct ist_span key_of(const uint32_t *number) {
    return ist_span_of(number, sizeof(*number));
}

/* Pins the prefix that is there, the last first, so that its head ends most recent. */
static void take_prefix(struct job *job) {
    struct ist_store *store = job->server->store;
    while (job->hits < job->request->count && ist_store_acquire(store, key_of(&job->numbers[job->hits]),
                                                                &job->entries[job->hits]) == IST_OK) {
        job->hits++;
    }
    for (size_t i = job->hits; i > 0; i--) {
        ist_store_refresh(store, job->entries[i - 1]);
    }
}

static void release_prefix(struct job *job) {
    for (size_t i = 0; i < job->hits; i++) {
        ist_store_release(job->server->store, job->entries[i]);
    }
}

/* What is missing gets its blocks; what finds none, or is there meanwhile, is not put. */
static void reserve_rest(struct job *job) {
    for (size_t i = job->hits; i < job->request->count; i++) {
        job->stored_count +=
            ist_store_reserve(job->server->store, key_of(&job->numbers[i]), UNIT_BYTES, true,
                              &job->entries[job->hits + job->stored_count]) == IST_OK;
    }
}

static void commit_rest(struct job *job) {
    struct ist_store *store = job->server->store;
    for (size_t i = job->stored_count; i > 0; i--) {
        struct ist_entry *entry = job->entries[job->hits + i - 1];
        if (ist_store_commit(store, entry, true) == IST_OK) {
            ist_store_release(store, entry);
        }
    }
}

/* ---- a decode node ------------------------------------------------------------------------------------- */

static void free_job(struct job *job) {
    free(job->entries);
    free(job);
}

static void on_fetched(void *owner) {
    struct job *job = owner;
    struct perf *perf = job->perf;
    if (job->loaded < perf->config->model->layers) {
        job->loaded++;
        sim_event_at(&perf->fabric, &job->loaded_event,
                     get_layer(perf, job->server, job->node, job->hits));
        return;
    }
    ist_histogram_record(&perf->figures->fetch_ns, now_of(perf) - job->begin_ns);
    release_prefix(job);
    free_job(job);
}

static void begin_fetch(struct job *job) {
    struct perf *perf = job->perf;
    job->node = &perf->decodes[perf->next_decode++ % perf->config->decodes];
    job->begin_ns = now_of(perf);
    job->hits = 0;
    job->loaded = 0;
    take_prefix(job);
    perf->figures->decode_missing += job->request->count - job->hits;
    sim_event_init(&job->loaded_event, on_fetched, job);
    if (job->hits == 0) {
        free_job(job);
        return;
    }
    on_fetched(job);
}

/* ---- a prefill node ------------------------------------------------------------------------------------ */

static void begin_next(struct perf *perf);

static void on_stored(void *owner) {
    struct job *job = owner;
    struct perf *perf = job->perf;
    commit_rest(job);
    release_prefix(job);
    if (perf->config->decodes > 0) {
        begin_fetch(job);
    } else {
        free_job(job);
    }
}

static void end_prefill(struct job *job) {
    struct perf *perf = job->perf;
    uint64_t now_ns = now_of(perf), layers = perf->config->model->layers;
    uint64_t arrival_ns = (uint64_t)((double)job->request->arrival_ms * SIM_MS / perf->config->pace);
    uint64_t ttft_ns = now_ns - arrival_ns;
    ist_histogram_record(&perf->figures->ttft_ns, ttft_ns);
    step_at(perf, now_ns)->requests++;
    step_at(perf, now_ns)->ttft_sum_ns += ttft_ns;
    step_at(perf, now_ns)->blocks += job->request->count;
    step_at(perf, now_ns)->hits += job->hits;
    perf->compute_ns += layers * job->compute_ns;
    perf->gpu_ns += now_ns - job->begin_ns;
    if (job->hits > 0) {
        perf->wait_ns += job->waited_ns;
        perf->loading_compute_ns += layers * job->compute_ns;
    }
    job->node->job = NULL;
    if (perf->config->pool_bytes == 0) {
        free_job(job);
    } else {
        job->stored_ns = job->stored_ns > now_ns ? job->stored_ns : now_ns;
        perf->lag_ns += job->stored_ns - now_ns;
        sim_event_at(&perf->fabric, &job->stored_event, job->stored_ns);
    }
    begin_next(perf);
}

static void compute(struct job *job) {
    struct perf *perf = job->perf;
    bool is_there = job->hits == 0 || job->loaded > job->computed;
    if (!job->computing && is_there && job->computed < perf->config->model->layers) {
        job->computing = true;
        job->waited_ns += now_of(perf) - job->idle_since_ns;
        sim_event_at(&perf->fabric, &job->computed_event, now_of(perf) + job->compute_ns);
    }
}

static void on_computed(void *owner) {
    struct job *job = owner;
    struct perf *perf = job->perf;
    job->computing = false;
    job->computed++;
    job->idle_since_ns = now_of(perf);
    if (job->stored_count > 0) {
        job->stored_ns = put_layer(perf, job->server, job->node, job->stored_count);
    }
    if (job->computed == perf->config->model->layers) {
        end_prefill(job);
    } else {
        compute(job);
    }
}

static void on_loaded(void *owner) {
    struct job *job = owner;
    struct perf *perf = job->perf;
    job->loaded++;
    if (job->loaded < perf->config->model->layers) {
        sim_event_at(&perf->fabric, &job->loaded_event,
                     get_layer(perf, job->server, job->node, job->hits));
    }
    compute(job);
}

/* The server has told how much is there. */
static void on_matched(void *owner) {
    struct job *job = owner;
    struct perf *perf = job->perf;
    job->idle_since_ns = now_of(perf);
    if (perf->config->pool_bytes > 0) {
        take_prefix(job);
        reserve_rest(job);
    }
    perf->figures->hits += job->hits;
    job->before = job->hits * IST_BLOCK_TOKENS;
    job->before =
        job->before < job->request->input_tokens ? job->before : job->request->input_tokens - 1;
    job->tokens = job->request->input_tokens - job->before;
    job->compute_ns =
        1 + (uint64_t)(1e9 * sim_compute_layer_flops(perf->config->model, job->tokens, job->before) /
                       perf->config->node_flops);
    sim_event_init(&job->loaded_event, on_loaded, job);
    if (job->hits > 0) {
        sim_event_at(&perf->fabric, &job->loaded_event,
                     get_layer(perf, job->server, job->node, job->hits));
    }
    compute(job);
}

static struct server *server_of(struct perf *perf, const uint32_t *numbers, size_t count) {
    return &perf->servers[sim_random_mix(numbers[count > 1 ? 1 : 0]) % perf->config->servers];
}

static void begin_job(struct perf *perf, struct node *node, const struct sim_blocks_request *request) {
    struct job *job = sim_memory_new(1, sizeof(*job));
    job->perf = perf;
    job->request = request;
    job->numbers = perf->blocks->numbers + request->first;
    job->node = node;
    job->server = server_of(perf, job->numbers, request->count);
    job->entries = sim_memory_new(request->count, sizeof(struct ist_entry *));
    job->begin_ns = now_of(perf);
    node->job = job;
    sim_event_init(&job->computed_event, on_computed, job);
    sim_event_init(&job->stored_event, on_stored, job);
    sim_event_init(&job->loaded_event, on_matched, job);
    uint64_t at_ns = job->begin_ns;
    if (perf->config->pool_bytes > 0) {
        at_ns = process(perf, job->server, request->count, 0) + perf->config->link_latency_ns;
    }
    sim_event_at(&perf->fabric, &job->loaded_event, at_ns);
}

static void begin_next(struct perf *perf) {
    for (unsigned i = 0; i < perf->config->prefills && perf->begun < perf->arrived; i++) {
        if (perf->prefills[i].job == NULL) {
            begin_job(perf, &perf->prefills[i], &perf->blocks->requests[perf->begun++]);
        }
    }
}

static void schedule_arrival(struct perf *perf) {
    if (perf->arrived < perf->blocks->request_count) {
        uint64_t at_ms = perf->blocks->requests[perf->arrived].arrival_ms;
        sim_event_at(&perf->fabric, &perf->arrival,
                     (uint64_t)((double)at_ms * SIM_MS / perf->config->pace));
    }
}

static void on_arrival(void *owner) {
    struct perf *perf = owner;
    perf->arrived++;
    begin_next(perf);
    schedule_arrival(perf);
}

/* ---- all of it ----------------------------------------------------------------------------------------- */

uint64_t sim_perf_block_bytes(const struct ist_model *model) {
    return ist_model_block_bytes(model) * model->layers;
}

static void open_stores(struct perf *perf) {
    const struct sim_perf_config *config = perf->config;
    uint64_t blocks = config->pool_bytes / config->servers / sim_perf_block_bytes(config->model);
    for (unsigned i = 0; i < config->servers && config->pool_bytes > 0; i++) {
        const struct ist_store_config store_config = {
            .pool_bytes_max = (blocks == 0 ? 1 : blocks) * UNIT_BYTES,
            .min_block_bytes = UNIT_BYTES,
            .granule_bytes = UNIT_BYTES,
            .policy = config->policy,
            .hash_key = {1, i},
            .alloc = ist_alloc_system(),
        };
        enum ist_status status = ist_store_new(&store_config, &perf->servers[i].store);
        IST_ASSERT(status == IST_OK);
        status = ist_store_grow(perf->servers[i].store, store_config.pool_bytes_max);
        IST_ASSERT(status == IST_OK);
    }
}

/* How many nodes a server feeds before something of it is busy too much of the time. */
static void find_scarce(const struct sim_perf_config *config, struct sim_perf_figures *figures) {
    const double shares[] = {figures->in_share, figures->out_share, figures->processor_share};
    static const char *const names[] = {"link in", "link out", "processor"};
    size_t most = 0;
    for (size_t i = 1; i < 3; i++) {
        most = shares[i] > shares[most] ? i : most;
    }
    figures->scarce = names[most];
    double nodes = (double)(config->prefills + config->decodes) / config->servers;
    figures->nodes_per_server = shares[most] > 0 ? nodes * BUSY_SHARE / shares[most] : 0;
}

static void finish(struct perf *perf) {
    const struct sim_perf_config *config = perf->config;
    struct sim_perf_figures *figures = perf->figures;
    double time_ns = (double)now_of(perf) + 1;
    double step_bytes = config->link_bits_per_sec / 8 * (double)STEP_NS / 1e9 * config->servers;
    figures->requests = perf->blocks->request_count;
    figures->blocks = perf->blocks->number_count;
    figures->duration_ns = now_of(perf);
    figures->put_overhead = perf->compute_ns == 0 ? 0 : (double)perf->lag_ns / (double)perf->compute_ns;
    figures->load_overhead =
        perf->loading_compute_ns == 0 ? 0 : (double)perf->wait_ns / (double)perf->loading_compute_ns;
    figures->gpu_share = (double)perf->gpu_ns / time_ns / config->prefills;
    for (unsigned i = 0; i < config->servers && config->pool_bytes > 0; i++) {
        struct server *server = &perf->servers[i];
        struct ist_store_usage usage;
        ist_store_usage(server->store, &usage);
        figures->evicted += usage.evicted_entries;
        figures->in_share += (double)server->in.busy_ns / time_ns / config->servers;
        figures->out_share += (double)server->out.busy_ns / time_ns / config->servers;
        figures->processor_share += (double)server->processor.busy_ns / time_ns / config->servers;
        ist_store_check(server->store);
        ist_store_free(server->store);
    }
    for (size_t i = 0; i < perf->steps; i++) {
        double in = (double)perf->series[i].put_bytes / step_bytes;
        double out = (double)perf->series[i].got_bytes / step_bytes;
        figures->peak_in_share = in > figures->peak_in_share ? in : figures->peak_in_share;
        figures->peak_out_share = out > figures->peak_out_share ? out : figures->peak_out_share;
    }
    find_scarce(config, figures);
    figures->series = perf->series;
    figures->steps = perf->steps;
    figures->step_ns = STEP_NS;
}

void sim_perf_run(const struct sim_perf_config *config, const struct sim_blocks *blocks,
                  struct sim_perf_figures *figures) {
    struct perf perf = {
        .config = config,
        .blocks = blocks,
        .figures = figures,
        .layer_bytes = ist_model_block_bytes(config->model),
    };
    *figures = (struct sim_perf_figures){0};
    ist_histogram_init(&figures->ttft_ns);
    ist_histogram_init(&figures->fetch_ns);
    sim_fabric_init(&perf.fabric);
    perf.servers = sim_memory_new(config->servers, sizeof(struct server));
    perf.prefills = sim_memory_new(config->prefills, sizeof(struct node));
    perf.decodes = sim_memory_new(config->decodes, sizeof(struct node));
    open_stores(&perf);
    sim_event_init(&perf.arrival, on_arrival, &perf);
    schedule_arrival(&perf);
    while (sim_fabric_step(&perf.fabric)) {
    }
    finish(&perf);
    sim_fabric_fini(&perf.fabric);
    free(perf.servers);
    free(perf.prefills);
    free(perf.decodes);
}

void sim_perf_figures_fini(struct sim_perf_figures *figures) {
    free(figures->series);
    figures->series = NULL;
}
