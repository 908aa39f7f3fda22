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
#include "tools/results.h"

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

/* Both close the file. */
static int write_json(const struct ist_replay_result *result, const char *path, FILE *file) {
    char *json = ist_replay_report_json(result);
    if (json == NULL) {
        (void)fclose(file);
        return complain(CODE_FAILED, "out of memory");
    }
    bool written = ist_results_begin(file) && fputs(json, file) >= 0;
    free(json);
    return fclose(file) == 0 && written ? CODE_OK : complain_of_file(path);
}

static int write_svg(const struct ist_replay_result *result, const char *path, FILE *file) {
    bool written = ist_results_begin(file);
    ist_replay_plot_write(file, result);
    written = ferror(file) == 0 && written;
    return fclose(file) == 0 && written ? CODE_OK : complain_of_file(path);
}

/* For the results; NULL: it is not asked for. */
struct files {
    FILE *json, *svg;
};

static void close_files(const struct files *files) {
    if (files->json != NULL) {
        (void)fclose(files->json);
    }
    if (files->svg != NULL) {
        (void)fclose(files->svg);
    }
}

/* False: one cannot be, and that was said. */
static bool open_files(const struct ist_replay_options *options, struct files *files) {
    *files = (struct files){0};
    if (options->json_path != NULL && (files->json = ist_results_open(options->json_path)) == NULL) {
        (void)complain_of_file(options->json_path);
        return false;
    }
    if (options->svg_path != NULL && (files->svg = ist_results_open(options->svg_path)) == NULL) {
        (void)complain_of_file(options->svg_path);
        close_files(files);
        return false;
    }
    return true;
}

/* Closes the files. */
static int report(const struct ist_replay_result *result, const struct files *files) {
    const struct ist_replay_figures *figures = &result->figures;
    const struct ist_replay_options *options = result->options;
    int code = CODE_OK;
    if (figures->requests > 0) {
        ist_replay_report_table(stdout, result);
    }
    if (files->json != NULL && write_json(result, options->json_path, files->json) != CODE_OK) {
        code = CODE_FAILED;
    }
    if (files->svg != NULL && write_svg(result, options->svg_path, files->svg) != CODE_OK) {
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

static int play_traffic(const struct ist_replay_options *options, struct ist_replay_traffic *traffic) {
    char error[ERROR_MAX] = "";
    struct files files;
    int code = CODE_FAILED;
    struct ist_replay_result *result = malloc(sizeof(*result));
    if (result == NULL) {
        return complain(code, "out of memory");
    }
    if (open_files(options, &files)) {
        if (ist_replay_run(options, traffic, stdout, isatty(STDERR_FILENO) ? stderr : NULL, result,
                           error, sizeof(error))) {
            code = report(result, &files);
        } else {
            (void)complain(code, error);
            close_files(&files);
        }
    }
    free(result);
    return code;
}

static int play(const struct ist_replay_options *options) {
    char error[ERROR_MAX] = "";
    struct ist_replay_traffic *traffic = NULL;
    enum ist_status status = ist_replay_traffic_new(options, &traffic, error, sizeof(error));
    if (status != IST_OK) {
        return complain(status == IST_INVALID ? CODE_WRONG_OPTION : CODE_FAILED, error);
    }
    int code = play_traffic(options, traffic);
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
