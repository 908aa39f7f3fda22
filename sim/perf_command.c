#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "sim/memory.h"
#include "sim/perf.h"
#include "sim/perf_report.h"
#include "sim/policy.h"

#define GIB (1ull << 30)

static const char usage[] =
    "usage: infinistore-sim perf [OPTIONS] [TRACE]\n"
    "  TRACE                 requests in Mooncake's format, plain or compressed\n"
    "  --generate N          or so many made ones (default 12000), from --seed N\n"
    "  --pace F              so many times as fast as they were (1)\n"
    "  --model NAME          llama-3-8b, llama-3-70b (default), llama-3-405b, deepseek-v3, qwen2.5-7b, "
    "qwen2.5-72b\n"
    "  --gpu NAME            a prefill node's: h100x8 (default), h100, a100x8, a100, l40s\n"
    "  --prefills N --decodes N --servers N   nodes (4, 4, 2)\n"
    "  --link GBITS          of each node and server: 25, 100, 200, 400 (default) or any other\n"
    "  --latency-us F        one way (5)\n"
    "  --pools SIZES         all servers' pools together: 256G,1T,4T (in GiB without a suffix)\n"
    "  --policy NAME         what is evicted (lru)\n"
    "  --request-us F --key-us F --byte-ns F  of the server's processor (3, 0.1, 0)\n"
    "  --json                instead of the table\n"
    "  --csv FILE            a line for each minute, with the largest pool\n"
    "  --plot DIR            ttft.svg, hits.svg, link.svg\n";

struct perf_options {
    struct sim_perf_report report;
    const char *trace, *csv, *plot;
    uint64_t seed, generate;
    bool json;
};

enum option_id {
    OPT_GENERATE = 1,
    OPT_SEED,
    OPT_PACE,
    OPT_MODEL,
    OPT_GPU,
    OPT_PREFILLS,
    OPT_DECODES,
    OPT_SERVERS,
    OPT_LINK,
    OPT_LATENCY,
    OPT_POOLS,
    OPT_POLICY,
    OPT_REQUEST,
    OPT_KEY,
    OPT_BYTE,
    OPT_JSON,
    OPT_CSV,
    OPT_PLOT,
    OPT_HELP,
};

static const struct option long_options[] = {
    {"generate", required_argument, NULL, OPT_GENERATE},
    {"seed", required_argument, NULL, OPT_SEED},
    {"pace", required_argument, NULL, OPT_PACE},
    {"model", required_argument, NULL, OPT_MODEL},
    {"gpu", required_argument, NULL, OPT_GPU},
    {"prefills", required_argument, NULL, OPT_PREFILLS},
    {"decodes", required_argument, NULL, OPT_DECODES},
    {"servers", required_argument, NULL, OPT_SERVERS},
    {"link", required_argument, NULL, OPT_LINK},
    {"latency-us", required_argument, NULL, OPT_LATENCY},
    {"pools", required_argument, NULL, OPT_POOLS},
    {"policy", required_argument, NULL, OPT_POLICY},
    {"request-us", required_argument, NULL, OPT_REQUEST},
    {"key-us", required_argument, NULL, OPT_KEY},
    {"byte-ns", required_argument, NULL, OPT_BYTE},
    {"json", no_argument, NULL, OPT_JSON},
    {"csv", required_argument, NULL, OPT_CSV},
    {"plot", required_argument, NULL, OPT_PLOT},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static bool parse_real(const char *text, double least, double most, double *value) {
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(number) || number < least || number > most) {
        return false;
    }
    *value = number;
    return true;
}

static bool parse_count(const char *text, uint64_t least, uint64_t most, uint64_t *value) {
    double number;
    if (!parse_real(text, (double)least, (double)most, &number) || number != floor(number)) {
        return false;
    }
    *value = (uint64_t)number;
    return true;
}

static bool parse_nodes(const char *text, unsigned least, unsigned most, unsigned *value) {
    uint64_t number;
    bool parsed = parse_count(text, least, most, &number);
    *value = parsed ? (unsigned)number : *value;
    return parsed;
}

static int compare_sizes(const void *a, const void *b) {
    const uint64_t *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

static bool parse_pools(char *text, struct sim_perf_report *report) {
    char *name;
    report->pool_count = 0;
    while ((name = strsep(&text, ",")) != NULL) {
        uint64_t bytes;
        if (report->pool_count == SIM_PERF_POOLS_MAX || ist_size_parse(name, GIB, &bytes) != IST_OK ||
            bytes == 0 || bytes > GIB << 24) {
            return false;
        }
        report->pools[report->pool_count++] = bytes;
    }
    qsort(report->pools, report->pool_count, sizeof(report->pools[0]), compare_sizes);
    return true;
}

static bool set_gpu(struct sim_perf_report *report, const char *name) {
    const struct sim_gpu *gpu = sim_gpu_find(name);
    if (gpu != NULL) {
        report->gpu = gpu->name;
        report->config.node_flops = gpu->flops * gpu->efficiency;
    }
    return gpu != NULL;
}

static bool set_option(struct perf_options *options, enum option_id id, char *value) {
    struct sim_perf_config *config = &options->report.config;
    double number = 0;
    bool valid = true;
    switch (id) {
    case OPT_GENERATE: return parse_count(value, 1, 10000000, &options->generate);
    case OPT_SEED: return parse_count(value, 0, 1ull << 50, &options->seed);
    case OPT_PACE: return parse_real(value, 1e-3, 1e6, &config->pace);
    case OPT_MODEL: config->model = ist_model_find(value); return config->model != NULL;
    case OPT_GPU: return set_gpu(&options->report, value);
    case OPT_PREFILLS: return parse_nodes(value, 1, SIM_PERF_NODES_MAX, &config->prefills);
    case OPT_DECODES: return parse_nodes(value, 0, SIM_PERF_NODES_MAX, &config->decodes);
    case OPT_SERVERS: return parse_nodes(value, 1, SIM_PERF_SERVERS_MAX, &config->servers);
    case OPT_LINK:
        valid = parse_real(value, 0.1, 1e5, &number);
        config->link_bits_per_sec = valid ? number * 1e9 : config->link_bits_per_sec;
        return valid;
    case OPT_LATENCY:
        valid = parse_real(value, 0, 1e6, &number);
        config->link_latency_ns = (uint64_t)(number * 1e3);
        return valid;
    case OPT_POOLS: return parse_pools(value, &options->report);
    case OPT_POLICY: config->policy = value; return true;
    case OPT_REQUEST:
        valid = parse_real(value, 0, 1e6, &number);
        config->request_ns = number * 1e3;
        return valid;
    case OPT_KEY:
        valid = parse_real(value, 0, 1e6, &number);
        config->key_ns = number * 1e3;
        return valid;
    case OPT_BYTE: return parse_real(value, 0, 1e6, &config->byte_ns);
    case OPT_JSON: options->json = true; return true;
    case OPT_CSV: options->csv = value; return true;
    case OPT_PLOT: options->plot = value; return true;
    case OPT_HELP: break;
    }
    return false;
}

/* 0: to be done; else what to exit with, plus 1. */
static int parse(struct perf_options *options, int argc, char **argv) {
    int id, index = 0;
    while ((id = getopt_long(argc, argv, "", long_options, &index)) != -1) {
        if (id == '?') {
            return 1 + 2;
        }
        if (id == OPT_HELP) {
            fputs(usage, stdout);
            return 1;
        }
        if (!set_option(options, (enum option_id)id, optarg)) {
            fprintf(stderr, "infinistore-sim: --%s: %s\n", long_options[index].name, optarg);
            return 1 + 2;
        }
    }
    if (optind < argc - 1) {
        fputs(usage, stderr);
        return 1 + 2;
    }
    options->trace = argv[optind];
    return 0;
}

static bool write_files(const struct perf_options *options) {
    bool done = true;
    if (options->csv != NULL) {
        FILE *file = fopen(options->csv, "w");
        if (file != NULL) {
            sim_perf_report_csv(file, &options->report);
        }
        done = file != NULL && fclose(file) == 0;
        if (!done) {
            perror(options->csv);
        }
    }
    return (options->plot == NULL || sim_perf_report_plots(options->plot, &options->report)) && done;
}

static void run_all(struct sim_perf_report *report, const struct sim_blocks *blocks) {
    struct sim_perf_config config = report->config;
    config.pool_bytes = 0;
    sim_perf_run(&config, blocks, &report->without);
    for (size_t i = 0; i < report->pool_count; i++) {
        config.pool_bytes = report->pools[i];
        sim_perf_run(&config, blocks, &report->with[i]);
    }
}

static bool policy_exists(const char *name) {
    struct sim_blocks none = {0};
    return name == NULL || sim_policy_hits(&none, name, true, 1) != UINT64_MAX;
}

int sim_perf_command(int argc, char **argv) {
    struct perf_options *options = sim_memory_new(1, sizeof(*options));
    struct sim_perf_report *report = &options->report;
    *options = (struct perf_options){.seed = 1, .generate = 12000};
    report->config = (struct sim_perf_config){
        .model = ist_model_find("llama-3-70b"),
        .prefills = 4,
        .decodes = 4,
        .servers = 2,
        .pace = 1,
        .link_bits_per_sec = 400e9,
        .link_latency_ns = 5000,
        .request_ns = 3000,
        .key_ns = 100,
    };
    report->pools[0] = 256 * GIB;
    report->pools[1] = 1024 * GIB;
    report->pools[2] = 4096 * GIB;
    report->pool_count = 3;
    (void)set_gpu(report, "h100x8");
    int outcome = parse(options, argc, argv);
    if (outcome == 0 && !policy_exists(report->config.policy)) {
        fprintf(stderr, "infinistore-sim: --policy: %s\n", report->config.policy);
        outcome = 1 + 2;
    }
    struct sim_blocks blocks;
    sim_blocks_init(&blocks);
    report->trace = options->trace == NULL ? "generated" : options->trace;
    if (outcome == 0 && options->trace == NULL) {
        sim_blocks_generate(&blocks, options->seed, (size_t)options->generate);
    } else if (outcome == 0 && !sim_blocks_read(&blocks, options->trace)) {
        outcome = 1 + 2;
    }
    if (outcome == 0) {
        run_all(report, &blocks);
        bool told = true;
        if (options->json) {
            told = sim_perf_report_json(stdout, report);
        } else {
            sim_perf_report_table(stdout, report);
        }
        outcome = told && write_files(options) ? 1 : 1 + 2;
        sim_perf_figures_fini(&report->without);
        for (size_t i = 0; i < report->pool_count; i++) {
            sim_perf_figures_fini(&report->with[i]);
        }
    }
    sim_blocks_fini(&blocks);
    free(options);
    return outcome - 1;
}
