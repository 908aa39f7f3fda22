/* Runs a client until its reply is in, a signal or a key arrives, or a time has come. */
#ifndef IST_TOOLS_CLI_WAIT_H
#define IST_TOOLS_CLI_WAIT_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "infinistore/infinistore.h"

struct ist_cli_wait {
    int signal_fd;
    sigset_t before;
};

enum ist_cli_event { IST_CLI_TIME, IST_CLI_REPLY, IST_CLI_SIGNAL, IST_CLI_KEYSTROKE };

/* Blocks the signals, so that they are events and nothing else, until fini. Those that are ignored stay so.
 * Returns OK, NO_MEMORY (the kernel gives no descriptor). */
enum ist_status ist_cli_wait_init(struct ist_cli_wait *wait, const int *signals, size_t count);
/* Unblocks them: one that came since then takes its usual effect here. */
void ist_cli_wait_fini(struct ist_cli_wait *wait);

/* CLOCK_MONOTONIC. */
uint64_t ist_cli_now_ns(void);

/* done    set by a callback of the client: REPLY. NULL: replies are no event.
 * key_fd  a terminal; set to -1 when it ends. -1: keystrokes are no event.
 * what    the signal's number, or the key's byte.
 * until_ns on the clock of ist_cli_now_ns(). */
enum ist_cli_event ist_cli_wait_for(const struct ist_cli_wait *wait, struct ist_client *client,
                                    const bool *done, int *key_fd, uint64_t until_ns, int *what);

#endif
