/* infinistore-bench: measures a running server, and checks what it gives back. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "infinistore/infinistore.h"
#include "tools/bench_clock.h"
#include "tools/bench_load.h"
#include "tools/bench_options.h"
#include "tools/bench_report.h"
#include "tools/bench_run.h"
#include "tools/replay.h"
#include "tools/results.h"
#include "tools/streams.h"

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static int complain(const char *text, int code) {
    fprintf(stderr, "infinistore-bench: %s\n", text);
    return code;
}

static int complain_of_json(const char *path) {
    fprintf(stderr, "infinistore-bench: --json %s: %s\n", path, strerror(errno));
    return EXIT_FAILED;
}

/* Closes the file. */
static int write_json(const struct ist_bench_report *report, const char *path, FILE *file) {
    char *text = ist_bench_report_json(report);
    bool written =
        text != NULL && ist_results_begin(file) && fputs(text, file) >= 0 && fputc('\n', file) != EOF;
    written = fclose(file) == 0 && written;
    free(text);
    return written ? EXIT_FINE : complain_of_json(path);
}

static int run(const struct ist_bench_options *options) {
    struct ist_bench_report report;
    char error[IST_BENCH_ERROR_MAX] = "";
    FILE *json = options->json_path == NULL ? NULL : ist_results_open(options->json_path);
    if (options->json_path != NULL && json == NULL) {
        return complain_of_json(options->json_path);
    }
    ist_bench_report_init(&report, stdout, isatty(STDERR_FILENO) == 1 ? stderr : NULL, options);
    enum ist_status status = ist_bench_run(options, &report, error);
    report.error = status == IST_OK ? NULL : error;
    ist_bench_report_tail(&report);
    int code = EXIT_FINE;
    if (status != IST_OK) {
        code = complain(error, status == IST_CONFIG ? EXIT_USAGE : EXIT_FAILED);
    }
    if (json != NULL && write_json(&report, options->json_path, json) != EXIT_FINE) {
        code = EXIT_FAILED;
    }
    ist_bench_report_fini(&report);
    return code;
}

static int do_as_asked(int argc, char **argv) {
    struct ist_bench_options options;
    char error[IST_BENCH_ERROR_MAX];
    if (argc > 1 && strcmp(argv[1], "replay") == 0) {
        return ist_replay_main(argc - 1, argv + 1);
    }
    switch (ist_bench_options_parse(argc, argv, getenv("INFINISTORE_ENDPOINT"), &options, error,
                                    sizeof error)) {
    case IST_BENCH_RUN: ist_bench_clock_init(); return run(&options);
    case IST_BENCH_HELP: ist_bench_options_help(stdout); return EXIT_FINE;
    case IST_BENCH_VERSION: puts("infinistore-bench " IST_VERSION); return EXIT_FINE;
    case IST_BENCH_WRONG: break;
    }
    return complain(error, EXIT_USAGE);
}

int main(int argc, char **argv) {
    ist_streams_occupy();
    int code = do_as_asked(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        fprintf(stderr, "infinistore-bench: cannot write standard output: %s\n", strerror(errno));
        return code == EXIT_FINE ? EXIT_FAILED : code;
    }
    return code;
}
