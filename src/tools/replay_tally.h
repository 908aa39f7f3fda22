/* What the clients of a replay have done so far. */
#ifndef IST_TOOLS_REPLAY_TALLY_H
#define IST_TOOLS_REPLAY_TALLY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "tools/histogram.h"

#define IST_REPLAY_LINE_MAX 256

struct ist_replay_figures {
    uint64_t requests, finished;                   /* matched; got by a decode */
    uint64_t blocks, hit_blocks, unlimited_blocks; /* of the matched requests; leading ones found */
    uint64_t lost_blocks;                          /* found, but gone when the prefill got them */
    uint64_t wanted_blocks, missed_blocks;         /* by decodes; with a layer that was gone */
    uint64_t put_bytes, put_values;                /* stored */
    uint64_t present_values, refused_values;       /* not stored: EXISTS, NO_SPACE */
    uint64_t get_bytes, get_values;                /* by prefills and decodes */
    uint64_t wrong_values;                         /* of these: other bytes or another length */
    uint64_t filling_cpu_ns, verifying_cpu_ns;     /* of the clients: contents made, and checked */
    uint64_t late_ns;                              /* the longest delay behind the pace */
    struct ist_histogram match_ns, prefix_ns;      /* of a request: find its prefix, get that */
    struct ist_histogram layer_ns, put_ns, get_ns; /* put a layer; put all its layers, get them */
    char wrong[IST_REPLAY_LINE_MAX];               /* the first of wrong_values; "": none */
    char failure[IST_REPLAY_LINE_MAX];             /* what ended the replay early; "": nothing */
};

struct ist_replay_tally {
    pthread_mutex_t mutex;
    struct ist_replay_figures figures;
};

void ist_replay_tally_init(struct ist_replay_tally *tally);
void ist_replay_tally_fini(struct ist_replay_tally *tally);

/* The figures, for the caller alone until it closes them again. */
struct ist_replay_figures *ist_replay_tally_open(struct ist_replay_tally *tally);
void ist_replay_tally_close(struct ist_replay_tally *tally);

/* Only the first is kept. */
__attribute__((format(printf, 2, 3))) void ist_replay_tally_fail(struct ist_replay_tally *tally,
                                                                 const char *format, ...);
__attribute__((format(printf, 2, 3))) void ist_replay_tally_wrong(struct ist_replay_tally *tally,
                                                                  const char *format, ...);
bool ist_replay_tally_failed(struct ist_replay_tally *tally);

#endif
