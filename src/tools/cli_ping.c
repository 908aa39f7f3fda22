#include "tools/cli_ping.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>

#include "tools/cli_rtt.h"
#include "tools/cli_wait.h"

#define ENDPOINT_BYTES 300u /* a host name, and its port */

struct pinger {
    struct ist_cli *cli;
    struct ist_cli_wait wait;
    struct ist_cli_rtt rtt;
    bool answered;
    enum ist_status status;        /* of the reply */
    char endpoint[ENDPOINT_BYTES]; /* that answered last; "" none */
    uint64_t begun_ns;
    bool interrupted;
    enum ist_status failure; /* of the last one that failed */
    enum ist_cli_exit code;  /* LOCAL: standard output cannot be written, and that was said */
};

static void reply_in(void *arg, enum ist_status status) {
    struct pinger *pinger = arg;
    pinger->status = status;
    pinger->answered = true;
    if (status == IST_OK) {
        ist_client_endpoint(pinger->cli->client, pinger->endpoint, sizeof(pinger->endpoint));
    }
}

static void say_reply(struct pinger *pinger, enum ist_status status, double ms) {
    const struct ist_cli *cli = pinger->cli;
    if (cli->options->json) {
        return;
    }
    if (status == IST_OK) {
        bool is_known = pinger->endpoint[0] != '\0'; /* else it has just been lost */
        printf("reply from %s: seq=%" PRIu64 " time=%.3f ms\n",
               is_known ? pinger->endpoint : cli->endpoints, pinger->rtt.sent, ms);
    } else {
        printf("no reply from %s: seq=%" PRIu64 " %s\n", cli->endpoints, pinger->rtt.sent,
               ist_status_text(status));
    }
    pinger->code = ist_cli_flush();
}

/* Waits for a reply (done not NULL) or a time; true: go on, false: interrupted. */
static bool wait_for(struct pinger *pinger, const bool *done, uint64_t until_ns) {
    int no_keys = -1, what;
    enum ist_cli_event event =
        ist_cli_wait_for(&pinger->wait, pinger->cli->client, done, &no_keys, until_ns, &what);
    pinger->interrupted = event == IST_CLI_SIGNAL;
    return !pinger->interrupted;
}

static void ping_once(struct pinger *pinger) {
    struct ist_cli *cli = pinger->cli;
    uint64_t begun_ns = ist_cli_now_ns();
    pinger->answered = false;
    enum ist_status status = ist_ping_async(cli->client, cli->options->timeout_ns, reply_in, pinger);
    if (status == IST_OK) {
        if (!wait_for(pinger, &pinger->answered, UINT64_MAX)) {
            return;
        }
        status = pinger->status;
    }
    double ms = (double)(ist_cli_now_ns() - begun_ns) / 1e6;
    pinger->rtt.sent++;
    if (status == IST_OK) {
        ist_cli_rtt_add(&pinger->rtt, ms);
    } else {
        pinger->failure = status;
    }
    say_reply(pinger, status, ms);
}

static enum ist_cli_exit summary_as_json(const struct pinger *pinger, enum ist_cli_exit code) {
    const struct ist_cli_rtt *rtt = &pinger->rtt;
    const struct {
        const char *name;
        double ms;
    } figures[] = {{"min_ms", rtt->min_ms},
                   {"avg_ms", rtt->mean_ms},
                   {"max_ms", rtt->max_ms},
                   {"mdev_ms", ist_cli_rtt_deviation_ms(rtt)}};
    struct ist_json json;
    /* interrupted before the first was answered, none has failed either */
    bool undecided = code != IST_CLI_DONE && pinger->failure == IST_OK;
    enum ist_status status = undecided ? IST_AGAIN : pinger->failure;
    ist_cli_json_begin(&json, status);
    if (status != IST_OK) {
        ist_json_key(&json, "error");
        ist_json_string(&json, ist_status_text(status));
    }
    if (pinger->endpoint[0] != '\0') {
        ist_json_key(&json, "endpoint");
        ist_json_string(&json, pinger->endpoint);
    }
    ist_json_key(&json, "sent");
    ist_json_uint(&json, rtt->sent);
    ist_json_key(&json, "received");
    ist_json_uint(&json, rtt->received);
    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++) {
        ist_json_key(&json, figures[i].name);
        ist_json_double(&json, rtt->received > 0 ? figures[i].ms : NAN);
    }
    return ist_cli_json_end(&json, code);
}

static enum ist_cli_exit say_summary(const struct pinger *pinger, enum ist_cli_exit code) {
    const struct ist_cli_rtt *rtt = &pinger->rtt;
    double lost = rtt->sent == 0 ? 0 : 100 * (double)(rtt->sent - rtt->received) / (double)rtt->sent;
    if (pinger->cli->options->json) {
        return summary_as_json(pinger, code);
    }
    if (pinger->cli->options->count == 1 && !pinger->interrupted) {
        return code; /* its one line says it all */
    }
    printf("\n--- %s ping statistics ---\n%" PRIu64 " sent, %" PRIu64
           " received, %.3g%% lost, in %.0f ms\n",
           pinger->cli->endpoints, rtt->sent, rtt->received, lost,
           (double)(ist_cli_now_ns() - pinger->begun_ns) / 1e6);
    if (rtt->received > 0) {
        printf("rtt min/avg/max/mdev = %.3f/%.3f/%.3f/%.3f ms\n", rtt->min_ms, rtt->mean_ms,
               rtt->max_ms, ist_cli_rtt_deviation_ms(rtt));
    }
    return code;
}

enum ist_cli_exit ist_cli_ping(struct ist_cli *cli) {
    static const int signals[] = {SIGINT};
    const struct ist_cli_options *options = cli->options;
    struct pinger pinger = {.cli = cli, .begun_ns = ist_cli_now_ns()};
    if (ist_cli_wait_init(&pinger.wait, signals, 1) != IST_OK) {
        return ist_cli_fail_local(cli, "ping: the kernel gives no descriptor for signals");
    }
    uint64_t next_ns = pinger.begun_ns;
    for (uint64_t i = 0; options->count == 0 || i < options->count; i++) {
        if (i > 0 && !wait_for(&pinger, NULL, next_ns)) {
            break;
        }
        /* from now, when the one before took longer than that */
        uint64_t now_ns = ist_cli_now_ns();
        next_ns = (next_ns > now_ns ? next_ns : now_ns) + options->interval_ns;
        ping_once(&pinger);
        if (pinger.interrupted || pinger.code != IST_CLI_DONE) {
            break;
        }
    }
    ist_cli_wait_fini(&pinger.wait);
    ist_client_free(cli->client); /* a request in flight would write to `pinger` */
    cli->client = NULL;
    if (pinger.code != IST_CLI_DONE) {
        return pinger.code;
    }
    bool all = pinger.rtt.sent > 0 && pinger.rtt.received == pinger.rtt.sent;
    return say_summary(&pinger, all ? IST_CLI_DONE : IST_CLI_SERVER);
}
