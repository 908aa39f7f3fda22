#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "sim/policy.h"

#define CAPACITIES_MAX 16u
#define ROWS_MAX 16u

static const char usage[] =
    "usage: infinistore-sim policy TRACE [--capacities 1000,3000,10000] [--policies lru] [--json]\n"
    "  hit ratios in percent of a cache of so many blocks, by what decides which block goes\n";

struct study {
    const char *path;
    char *policies; /* names, separated by commas */
    bool json;
    size_t capacities[CAPACITIES_MAX];
    size_t capacity_count;
    struct sim_blocks blocks;
};

struct row {
    char name[64];
    double percent[CAPACITIES_MAX];
};

static bool parse_capacities(struct study *study, const char *text) {
    study->capacity_count = 0;
    for (const char *at = text;;) {
        char *end;
        errno = 0;
        unsigned long long number = strtoull(at, &end, 10);
        if (errno != 0 || end == at || *at < '0' || *at > '9' || number < 1 || number > UINT32_MAX ||
            study->capacity_count == CAPACITIES_MAX) {
            return false;
        }
        study->capacities[study->capacity_count++] = (size_t)number;
        if (*end == '\0') {
            return true;
        }
        if (*end != ',') {
            return false;
        }
        at = end + 1;
    }
}

static double percent(const struct study *study, uint64_t hits) {
    return study->blocks.number_count == 0 ? 0
                                           : 100. * (double)hits / (double)study->blocks.number_count;
}

/* Of the real policies. False: one has no such name. */
static bool add_policies(struct study *study, struct row *rows, size_t *count) {
    char *rest = study->policies, *name;
    while ((name = strsep(&rest, ",")) != NULL && *count + 2 < ROWS_MAX) {
        for (unsigned tail_first = 0; tail_first < 2; tail_first++) {
            struct row *row = &rows[(*count)++];
            snprintf(row->name, sizeof(row->name), "%s, touched %s first", name,
                     tail_first ? "tail" : "head");
            for (size_t i = 0; i < study->capacity_count; i++) {
                uint64_t hits = sim_policy_hits(&study->blocks, name, tail_first, study->capacities[i]);
                if (hits == UINT64_MAX) {
                    fprintf(stderr, "infinistore-sim: no such policy: %s\n", name);
                    return false;
                }
                row->percent[i] = percent(study, hits);
            }
        }
    }
    return true;
}

static void add_row(const struct study *study, struct row *row, const char *name,
                    uint64_t (*hits)(const struct sim_blocks *blocks, size_t capacity)) {
    snprintf(row->name, sizeof(row->name), "%s", name);
    for (size_t i = 0; i < study->capacity_count; i++) {
        row->percent[i] = percent(study, hits(&study->blocks, study->capacities[i]));
    }
}

static void print_table(const struct study *study, const struct row *rows, size_t count) {
    printf("%zu requests, %zu blocks, %zu of them different; unlimited %.2f\n",
           study->blocks.request_count, study->blocks.number_count, study->blocks.distinct,
           percent(study, sim_policy_unlimited(&study->blocks)));
    printf("%-28s", "blocks");
    for (size_t i = 0; i < study->capacity_count; i++) {
        printf(" %9zu", study->capacities[i]);
    }
    for (size_t row = 0; row < count; row++) {
        printf("\n%-28s", rows[row].name);
        for (size_t i = 0; i < study->capacity_count; i++) {
            printf(" %9.2f", rows[row].percent[i]);
        }
    }
    putchar('\n');
}

static void print_json(const struct study *study, const struct row *rows, size_t count) {
    struct ist_json json;
    ist_json_init(&json, ist_alloc_system());
    ist_json_object(&json);
    ist_json_key(&json, "requests");
    ist_json_uint(&json, study->blocks.request_count);
    ist_json_key(&json, "blocks");
    ist_json_uint(&json, study->blocks.number_count);
    ist_json_key(&json, "unlimited_percent");
    ist_json_double(&json, percent(study, sim_policy_unlimited(&study->blocks)));
    ist_json_key(&json, "capacities");
    ist_json_array(&json);
    for (size_t i = 0; i < study->capacity_count; i++) {
        ist_json_uint(&json, study->capacities[i]);
    }
    ist_json_end(&json);
    ist_json_key(&json, "hit_percent");
    ist_json_object(&json);
    for (size_t row = 0; row < count; row++) {
        ist_json_key(&json, rows[row].name);
        ist_json_array(&json);
        for (size_t i = 0; i < study->capacity_count; i++) {
            ist_json_double(&json, rows[row].percent[i]);
        }
        ist_json_end(&json);
    }
    ist_json_end(&json);
    ist_json_end(&json);
    puts(ist_json_text(&json) == NULL ? "out of memory" : ist_json_text(&json));
    ist_json_fini(&json);
}

/* 0: to be done; else what to exit with, plus 1. */
static int parse(struct study *study, int argc, char **argv) {
    static const struct option options[] = {
        {"capacities", required_argument, NULL, 'c'},
        {"policies", required_argument, NULL, 'p'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int id;
    while ((id = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (id) {
        case 'c':
            if (!parse_capacities(study, optarg)) {
                fprintf(stderr, "infinistore-sim: --capacities: %s\n", optarg);
                return 1 + 2;
            }
            break;
        case 'p': study->policies = optarg; break;
        case 'j': study->json = true; break;
        case 'h': fputs(usage, stdout); return 1;
        default: return 1 + 2;
        }
    }
    if (optind + 1 != argc) {
        fputs(usage, stderr);
        return 1 + 2;
    }
    study->path = argv[optind];
    return 0;
}

int sim_policy_command(int argc, char **argv) {
    char usual[] = "lru";
    struct study study = {.policies = usual, .capacities = {1000, 3000, 10000, 30000, 100000}};
    struct row rows[ROWS_MAX];
    size_t count = 1;
    study.capacity_count = 5;
    int outcome = parse(&study, argc, argv);
    if (outcome != 0) {
        return outcome - 1;
    }
    sim_blocks_init(&study.blocks);
    bool done = sim_blocks_read(&study.blocks, study.path);
    if (done) {
        add_row(&study, &rows[0], "FIFO", sim_policy_fifo);
        done = add_policies(&study, rows, &count);
    }
    if (done) {
        add_row(&study, &rows[count++], "S3-FIFO", sim_policy_s3fifo);
        add_row(&study, &rows[count++], "exact offline optimum", sim_policy_optimum);
        if (study.json) {
            print_json(&study, rows, count);
        } else {
            print_table(&study, rows, count);
        }
    }
    sim_blocks_fini(&study.blocks);
    return done ? EXIT_SUCCESS : 2;
}
