/* What a client saw of each key, and whether any order of what was done explains it.
 *
 * Every version of a key is written once. All that speaks of one version (its put, and every get that returned it) is
 * a cluster: `first_end`, when the first of it had ended, and `last_begin`, when the last of it began. What speaks
 * of absence (a remove, a get that found nothing) is a cluster for itself. Two clusters of a key may not each begin
 * after the other's first end: then no order explains them. (Gibbons and Korach, "Testing shared memories", 1997:
 * that is necessary and, for versions written once, sufficient.)
 *
 * Absence needs a reason as well: no version that was surely there, or a remove, a purge, or an eviction. Evictions are
 * counted: the lost versions of a server's life may not be more than it says that it evicted.
 *
 * A life is a server from its start to its end: nothing of one shows in another. */
#ifndef IST_SIM_HISTORY_H
#define IST_SIM_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "infinistore/status.h"

struct sim_history;

#define SIM_NO_VERSION 0u /* versions count from 1 over all keys */

/* When something of a client was begun, and when he had the answer. */
struct sim_window {
    uint64_t begin_ns, end_ns; /* end SIM_NEVER_NS: he never had it */
};

struct sim_history *sim_history_new(void);
void sim_history_free(struct sim_history *history);

/* A server starts. Returns the life's number, from 1. */
uint32_t sim_history_life(struct sim_history *history, unsigned server);

/* A put begins, not before those of the key that were told already: it gets a version. */
uint64_t sim_history_put(struct sim_history *history, unsigned server, uint64_t key, uint64_t bytes,
                         uint64_t begin_ns);

/* Those of one request, whose numbers follow each other, become visible together. */
void sim_history_together(struct sim_history *history, uint64_t first_version, size_t count);
/* One get returned this version of one key, and that one of another: NULL, or a text when the second was older than what
 * the first came with. What that is may not have been answered yet: then the text comes when it is, if it was stored. */
const char *sim_history_both(struct sim_history *history, uint64_t version, uint64_t other);

/* Each of the following returns NULL, or a text that tells what cannot be.
 * done: it was acknowledged in that life. refused: it must never be seen. (Neither: nobody knows.) */
const char *sim_history_put_done(struct sim_history *history, uint32_t life, uint64_t version,
                                 struct sim_window window);
void sim_history_put_refused(struct sim_history *history, uint64_t version);
const char *sim_history_got(struct sim_history *history, uint32_t life, uint64_t version,
                            struct sim_window window);
/* except: a version that does not count, or SIM_NO_VERSION. lost: set when only an eviction explains it. */
const char *sim_history_absent(struct sim_history *history, uint32_t life, uint64_t key,
                               uint64_t except, struct sim_window window, bool *lost);
const char *sim_history_present(struct sim_history *history, uint32_t life, uint64_t key,
                                uint64_t except, struct sim_window window);

/* A remove or a purge begins, not before the last one: from now on it may explain an absence. Returns its number, for its end. */
uint64_t sim_history_remove(struct sim_history *history, unsigned server, uint64_t key,
                            uint64_t begin_ns);
uint64_t sim_history_purge(struct sim_history *history, unsigned server, uint64_t begin_ns);
/* It was acknowledged in that life. */
const char *sim_history_removed(struct sim_history *history, uint32_t life, uint64_t key,
                                uint64_t number, struct sim_window window);
const char *sim_history_purged(struct sim_history *history, uint32_t life, uint64_t number,
                               struct sim_window window);

/* What a life says that it evicted so far. */
void sim_history_evicted(struct sim_history *history, uint32_t life, uint64_t entries);
/* Lost in it, and said to be evicted as of the last sim_history_evicted(). */
uint64_t sim_history_lost(const struct sim_history *history, uint32_t life);
uint64_t sim_history_said_evicted(const struct sim_history *history, uint32_t life);
/* Could a key be present, is it for sure, as far as is known and evictions aside? */
bool sim_history_may_be_present(const struct sim_history *history, uint32_t life, uint64_t key,
                                struct sim_window window);

/* The versions of a key that a get could return, newest first: start with *cursor = 0; SIM_NO_VERSION when there are
 * no more. Those that were refused, or belong to another life, come as well: to be named. */
uint64_t sim_history_candidate(const struct sim_history *history, unsigned server, uint64_t key,
                               size_t *cursor, uint64_t *bytes);

/* These keys will be asked about next. */
void sim_history_prefetch(const struct sim_history *history, unsigned server, const uint64_t *keys,
                          size_t count);

/* The keys of a server, in the order of their first put. */
size_t sim_history_keys(const struct sim_history *history, unsigned server);
uint64_t sim_history_key(const struct sim_history *history, unsigned server, size_t index);

#endif
