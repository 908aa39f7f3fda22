/* Which bytes of a server's pool somebody holds, known from the store's calls alone: by ld's --wrap each passes
 * through here (canary_wrap.c), at its very moment. Two things are required of the store then:
 *
 *   a new block touches no byte that a reader, a writer or a posted work request holds (invariant 3);
 *   NO_SPACE is answered only when no stretch of the block's length is free of such bytes: everything else can go.
 *
 * And of the engine, while requests come one after the other: what is held to be read is held by work requests whose
 * completions have not been polled. */
#ifndef IST_SIM_HOLDS_H
#define IST_SIM_HOLDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "infinistore/status.h"
#include "store/store.h"

struct sim_server;

struct sim_holds {
    struct sim_holds *next; /* all that are watched */
    struct sim_server *server;
    uint8_t *held;    /* of each granule: is it? */
    uint32_t *pins;   /* at each block's first granule */
    size_t granules;  /* that the pool may have */
    uint64_t reads;   /* pins of readers */
    uint64_t refused; /* how often a reserve answered NO_SPACE, and rightly */
    uint64_t told;    /* how often clients were told so */
};

/* The server's store is watched from now on, which is empty, to fini. */
void sim_holds_init(struct sim_holds *holds, struct sim_server *server);
void sim_holds_fini(struct sim_holds *holds);

/* What the store was asked and how it answered; of a store that is not watched: nothing. Before the entry may be gone. */
void sim_holds_reserved(const struct ist_store *store, const struct ist_entry *entry);
void sim_holds_refused(const struct ist_store *store, uint64_t value_bytes);
void sim_holds_acquired(const struct ist_store *store, const struct ist_entry *entry);
void sim_holds_aborted(const struct ist_store *store, const struct ist_entry *entry);
void sim_holds_released(const struct ist_store *store, const struct ist_entry *entry);

#endif
