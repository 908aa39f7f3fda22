#include "tools/replay_traffic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "workload/generator.h"
#include "workload/unlimited.h"

struct ist_replay_traffic {
    FILE *file; /* NULL: generated */
    struct ist_trace_reader *reader;
    struct ist_generator *generator;
    struct ist_unlimited *unlimited;
    uint64_t left; /* requests that may still be given out */
    bool begun;
    uint64_t first_ms, span_ms;
    const char *error;
    char name[256];
};

static enum ist_status open_trace(struct ist_replay_traffic *traffic, const char *path, char *error,
                                  size_t error_bytes) {
    bool is_stdin = strcmp(path, "-") == 0;
    snprintf(traffic->name, sizeof(traffic->name), "%s", is_stdin ? "stdin" : path);
    traffic->file = is_stdin ? stdin : fopen(path, "re");
    if (traffic->file == NULL) {
        snprintf(error, error_bytes, "--trace %s: %s", path, strerror(errno));
        return IST_INVALID;
    }
    return ist_trace_reader_new(ist_alloc_system(), traffic->name, ist_source_of_file(traffic->file),
                                &traffic->reader);
}

enum ist_status ist_replay_traffic_new(const struct ist_replay_options *options,
                                       struct ist_replay_traffic **traffic, char *error,
                                       size_t error_bytes) {
    snprintf(error, error_bytes, "out of memory");
    struct ist_replay_traffic *new = calloc(1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    enum ist_status status = IST_OK;
    new->left = options->limit_requests == 0 ? UINT64_MAX : options->limit_requests;
    new->error = "out of memory";
    if (options->trace_path != NULL) {
        status = open_trace(new, options->trace_path, error, error_bytes);
    } else {
        new->left = options->requests < new->left ? options->requests : new->left;
        snprintf(new->name, sizeof(new->name), "generated trace, seed %llu",
                 (unsigned long long)options->seed);
        status = ist_generator_new(ist_alloc_system(), options->seed, &new->generator);
    }
    if (status == IST_OK) {
        status = ist_unlimited_new(ist_alloc_system(), &new->unlimited);
    }
    if (status != IST_OK) {
        ist_replay_traffic_free(new);
        return status;
    }
    *traffic = new;
    return IST_OK;
}

void ist_replay_traffic_free(struct ist_replay_traffic *traffic) {
    if (traffic == NULL) {
        return;
    }
    ist_trace_reader_free(traffic->reader);
    ist_generator_free(traffic->generator);
    ist_unlimited_free(traffic->unlimited);
    if (traffic->file != NULL && traffic->file != stdin) {
        fclose(traffic->file);
    }
    free(traffic);
}

const char *ist_replay_traffic_name(const struct ist_replay_traffic *traffic) {
    return traffic->name;
}

enum ist_status ist_replay_traffic_next(struct ist_replay_traffic *traffic,
                                        struct ist_trace_request *request, size_t *hits) {
    if (traffic->left == 0) {
        return IST_NOT_FOUND;
    }
    enum ist_status status = traffic->reader != NULL ? ist_trace_reader_next(traffic->reader, request)
                                                     : ist_generator_next(traffic->generator, request);
    if (status == IST_INVALID) {
        traffic->error = ist_trace_reader_error(traffic->reader);
    }
    if (status == IST_OK) {
        status = ist_unlimited_request(traffic->unlimited, request->blocks, request->block_count, hits);
    }
    if (status != IST_OK) {
        traffic->left = 0;
        return status;
    }
    traffic->left--;
    if (!traffic->begun) {
        traffic->begun = true;
        traffic->first_ms = request->arrival_ms;
    }
    uint64_t arrival_ms = ist_replay_traffic_arrival_ms(traffic, request);
    traffic->span_ms = arrival_ms > traffic->span_ms ? arrival_ms : traffic->span_ms;
    return IST_OK;
}

const char *ist_replay_traffic_error(const struct ist_replay_traffic *traffic) {
    return traffic->error;
}

uint64_t ist_replay_traffic_span_ms(const struct ist_replay_traffic *traffic) {
    return traffic->span_ms;
}

uint64_t ist_replay_traffic_arrival_ms(const struct ist_replay_traffic *traffic,
                                       const struct ist_trace_request *request) {
    return request->arrival_ms > traffic->first_ms ? request->arrival_ms - traffic->first_ms : 0;
}
