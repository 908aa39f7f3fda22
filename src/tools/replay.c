#include "tools/replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "infinistore/infinistore.h"
#include "tools/replay_options.h"
#include "tools/replay_plot.h"
#include "tools/replay_report.h"
#include "tools/replay_run.h"

#define ERROR_MAX 512

enum { CODE_OK, CODE_FAILED, CODE_WRONG_OPTION };

static int complain(int code, const char *what) {
    fprintf(stderr, "infinistore-bench replay: %s\n", what);
    return code;
}

static int complain_of_file(const char *path) {
    fprintf(stderr, "infinistore-bench replay: %s: %s\n", path, strerror(errno));
    return CODE_FAILED;
}

static int write_json(const struct ist_replay_result *result, const char *path) {
    char *json = ist_replay_report_json(result);
    if (json == NULL) {
        return complain(CODE_FAILED, "out of memory");
    }
    FILE *file = fopen(path, "we");
    bool written = file != NULL && fputs(json, file) >= 0;
    free(json);
    if (file == NULL || (fclose(file) != 0) || !written) {
        return complain_of_file(path);
    }
    return CODE_OK;
}

static int write_svg(const struct ist_replay_result *result, const char *path) {
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        return complain_of_file(path);
    }
    ist_replay_plot_write(file, result);
    bool written = ferror(file) == 0;
    if (fclose(file) != 0 || !written) {
        return complain_of_file(path);
    }
    return CODE_OK;
}

static int report(const struct ist_replay_result *result) {
    const struct ist_replay_figures *figures = &result->figures;
    const struct ist_replay_options *options = result->options;
    int code = CODE_OK;
    if (figures->requests > 0) {
        ist_replay_report_table(stdout, result);
    }
    if (options->json_path != NULL && write_json(result, options->json_path) != CODE_OK) {
        code = CODE_FAILED;
    }
    if (options->svg_path != NULL && write_svg(result, options->svg_path) != CODE_OK) {
        code = CODE_FAILED;
    }
    if (figures->failure[0] != '\0') {
        code = complain(CODE_FAILED, figures->failure);
    }
    if (figures->wrong_values > 0) {
        fprintf(stderr, "infinistore-bench replay: %llu wrong values; the first: %s\n",
                (unsigned long long)figures->wrong_values, figures->wrong);
        code = CODE_FAILED;
    }
    if (fflush(stdout) != 0) {
        code = complain_of_file("stdout");
    }
    return code;
}

static int play(const struct ist_replay_options *options) {
    char error[ERROR_MAX] = "";
    struct ist_replay_traffic *traffic = NULL;
    enum ist_status status = ist_replay_traffic_new(options, &traffic, error, sizeof(error));
    if (status != IST_OK) {
        return complain(status == IST_INVALID ? CODE_WRONG_OPTION : CODE_FAILED, error);
    }
    struct ist_replay_result *result = malloc(sizeof(*result));
    int code = CODE_FAILED;
    if (result == NULL) {
        (void)complain(code, "out of memory");
    } else if (!ist_replay_run(options, traffic, stdout, isatty(STDERR_FILENO) ? stderr : NULL, result,
                               error, sizeof(error))) {
        (void)complain(code, error);
    } else {
        code = report(result);
    }
    free(result);
    ist_replay_traffic_free(traffic);
    return code;
}

int ist_replay_main(int argc, char **argv) {
    struct ist_replay_options options;
    char error[ERROR_MAX] = "";
    switch (ist_replay_options_parse(argc, argv, getenv("INFINISTORE_ENDPOINT"), &options, error,
                                     sizeof(error))) {
    case IST_REPLAY_RUN: return play(&options);
    case IST_REPLAY_HELP: ist_replay_options_help(stdout); return CODE_OK;
    case IST_REPLAY_VERSION: puts("infinistore-bench " IST_VERSION); return CODE_OK;
    case IST_REPLAY_LIST_MODELS: ist_replay_options_list_models(stdout); return CODE_OK;
    case IST_REPLAY_WRONG: return complain(CODE_WRONG_OPTION, error);
    }
    return CODE_WRONG_OPTION;
}
