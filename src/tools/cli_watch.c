#include "tools/cli_watch.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/cli_figures.h"
#include "tools/cli_output.h"
#include "tools/cli_stat.h"
#include "tools/cli_terminal.h"
#include "tools/cli_view.h"
#include "tools/cli_wait.h"

#define HEADING_EVERY 20 /* lines: so that one is always in sight */

struct watch {
    struct ist_cli *cli;
    struct ist_cli_wait wait;
    struct ist_cli_terminal terminal;
    bool screen; /* draw; else write lines */
    int key_fd;

    /* the request in flight */
    bool asked, answered;
    enum ist_status status;
    struct ist_metrics *metrics;

    /* what is shown */
    struct ist_cli_view view;
    char clock[16];
    uint64_t taken_ns;    /* when view.total came; 0: not yet */
    uint64_t incarnation; /* of the server it came from */
    size_t lines;
    enum ist_cli_exit code; /* when it is over */
    bool over;
    int signal;                    /* to end with once all is as it was; 0: none */
    char error[IST_CLI_ERROR_MAX]; /* to say then; "": nothing */
};

static void answer_in(void *arg, enum ist_status status) {
    struct watch *watch = arg;
    watch->status = status;
    watch->answered = true;
}

static void end_with(struct watch *watch, enum ist_cli_exit code) {
    watch->over = true;
    watch->code = code;
}

/* ---- showing ------------------------------------------------------------------------------------------ */

static void set_clock(struct watch *watch) {
    struct tm local;
    time_t now = time(NULL);
    if (localtime_r(&now, &local) == NULL ||
        strftime(watch->clock, sizeof(watch->clock), "%H:%M:%S", &local) == 0) {
        watch->clock[0] = '\0';
    }
    watch->view.clock = watch->clock;
}

/* Drawn in memory and written at once, so that nobody sees half of it. */
static void draw(struct watch *watch) {
    char *text = NULL;
    size_t bytes = 0;
    struct ist_cli_screen screen = {.out = open_memstream(&text, &bytes),
                                    .colour = ist_cli_terminal_has_colour(STDOUT_FILENO),
                                    .utf8 = ist_cli_terminal_is_utf8(),
                                    .live = true};
    if (screen.out == NULL) {
        return; /* the next one may fit */
    }
    ist_cli_terminal_size(STDOUT_FILENO, &screen.columns, &screen.rows);
    ist_cli_view_draw(&watch->view, &screen);
    if (fclose(screen.out) == 0 &&
        ist_cli_output_fd(STDOUT_FILENO, "the terminal", text, bytes, watch->error) != IST_CLI_DONE) {
        end_with(watch, IST_CLI_LOCAL);
    }
    free(text);
}

static void write_line(struct watch *watch) {
    enum ist_cli_exit code = IST_CLI_DONE;
    if (watch->cli->options->json) {
        code = ist_cli_stat_json(watch->metrics);
    } else if (watch->view.seconds > 0) { /* the first answer is what the others are compared with */
        if (watch->lines++ % HEADING_EVERY == 0) {
            ist_cli_view_heading(stdout);
        }
        ist_cli_view_line(&watch->view, stdout);
        code = ist_cli_flush();
    }
    if (code != IST_CLI_DONE) {
        end_with(watch, code);
    }
}

/* ---- asking ------------------------------------------------------------------------------------------- */

static void take_figures(struct watch *watch) {
    struct ist_cli_figures before = watch->view.total;
    uint64_t now_ns = ist_cli_now_ns(), incarnation = ist_client_incarnation(watch->cli->client);
    bool comparable = watch->taken_ns != 0 && incarnation == watch->incarnation;
    ist_cli_figures_read(watch->metrics, &watch->view.total);
    watch->view.seconds = comparable ? (double)(now_ns - watch->taken_ns) / 1e9 : 0;
    ist_cli_figures_since(&watch->view.total, &before, &watch->view.growth);
    ist_cli_view_remember(&watch->view);
    watch->taken_ns = now_ns;
    watch->incarnation = incarnation;
}

static void take_answer(struct watch *watch) {
    watch->asked = watch->answered = false;
    set_clock(watch);
    watch->view.problem = NULL;
    if (watch->status == IST_OK) {
        take_figures(watch);
        if (!watch->screen) {
            write_line(watch);
        }
        ist_metrics_free(watch->metrics);
        watch->metrics = NULL;
    } else if (watch->screen) {
        watch->view.problem = ist_status_text(watch->status);
        watch->view.seconds = 0; /* nothing is known about now */
    } else {
        end_with(watch, ist_cli_fail_status(watch->cli, watch->status));
    }
    if (watch->screen) {
        draw(watch);
    }
}

static void ask(struct watch *watch) {
    struct ist_cli *cli = watch->cli;
    watch->asked = true;
    watch->status =
        ist_stat_async(cli->client, &watch->metrics, cli->options->timeout_ns, answer_in, watch);
    watch->answered = watch->status != IST_OK; /* then nobody calls back */
}

/* ---- signals and keys --------------------------------------------------------------------------------- */

/* Ctrl-Z: the shell must find its terminal as it was, and we ours when we come back. */
static void suspend(struct watch *watch) {
    ist_cli_terminal_leave(&watch->terminal);
    raise(SIGSTOP);
    ist_cli_terminal_enter(&watch->terminal);
    draw(watch);
}

static void take_signal(struct watch *watch, int number) {
    switch (number) {
    case SIGWINCH:
        if (watch->screen) {
            draw(watch);
        }
        break;
    case SIGTSTP: suspend(watch); break;
    case SIGINT: end_with(watch, IST_CLI_DONE); break;
    default:
        watch->signal = number;
        end_with(watch, IST_CLI_DONE);
        break;
    }
}

static void take_event(struct watch *watch, enum ist_cli_event event, int what) {
    switch (event) {
    case IST_CLI_TIME: break;
    case IST_CLI_REPLY: take_answer(watch); break;
    case IST_CLI_SIGNAL: take_signal(watch, what); break;
    case IST_CLI_KEYSTROKE:
        if (what == 'q' || what == 'Q' || what == 4) { /* 4: Ctrl-D, the end of input */
            end_with(watch, IST_CLI_DONE);
        }
        break;
    }
}

/* ---- the loop ----------------------------------------------------------------------------------------- */

/* Once an interval. A view that stands still says why. */
static void tick(struct watch *watch) {
    if (!watch->asked) {
        ask(watch);
    } else if (watch->screen) {
        set_clock(watch);
        watch->view.problem = "the server has not answered yet";
        draw(watch);
    }
}

static void run(struct watch *watch) {
    uint64_t interval_ns = watch->cli->options->interval_ns, next_ns = ist_cli_now_ns();
    while (!watch->over) {
        int what = 0;
        uint64_t now_ns = ist_cli_now_ns();
        if (now_ns >= next_ns) {
            /* at a steady pace, but never in haste to catch up */
            next_ns = next_ns + interval_ns > now_ns ? next_ns + interval_ns : now_ns + interval_ns;
            tick(watch);
        }
        enum ist_cli_event event = ist_cli_wait_for(&watch->wait, watch->cli->client, &watch->answered,
                                                    &watch->key_fd, next_ns, &what);
        take_event(watch, event, what);
    }
}

enum ist_cli_exit ist_cli_watch(struct ist_cli *cli) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP};
    bool screen = !cli->options->json && ist_cli_terminal_is_screen(STDOUT_FILENO);
    struct watch *watch = calloc(1, sizeof(*watch));
    if (watch == NULL) {
        return ist_cli_fail_local(cli, "stat: out of memory");
    }
    watch->cli = cli;
    watch->screen = screen;
    watch->terminal = (struct ist_cli_terminal){.in = STDIN_FILENO, .out = STDOUT_FILENO};
    watch->view.endpoints = cli->endpoints;
    watch->view.interval_s = (double)cli->options->interval_ns / 1e9;
    watch->key_fd = -1;
    set_clock(watch);
    /* without a screen SIGTSTP and SIGWINCH keep their usual effect */
    if (ist_cli_wait_init(&watch->wait, signals, screen ? 6 : 4) != IST_OK) {
        free(watch);
        return ist_cli_fail_local(cli, "stat: the kernel gives no descriptor for signals");
    }
    if (screen) {
        ist_cli_terminal_enter(&watch->terminal);
        watch->key_fd = watch->terminal.keys ? STDIN_FILENO : -1;
    }
    run(watch);
    ist_cli_terminal_leave(&watch->terminal);
    ist_client_free(cli->client); /* a request in flight would write to `watch` */
    cli->client = NULL;
    ist_cli_wait_fini(&watch->wait);
    if (watch->signal != 0) {
        raise(watch->signal);
    }
    enum ist_cli_exit code =
        watch->error[0] == '\0' ? watch->code : ist_cli_fail_local(cli, watch->error);
    ist_metrics_free(watch->metrics);
    free(watch);
    return code;
}
