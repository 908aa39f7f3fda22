#include "sim/holds.h"

#include <stdlib.h>
#include <string.h>

#include "sim/memory.h"
#include "sim/world.h"

/* Those who call know a store, and have no argument for more. */
static struct sim_holds *watched;

static struct sim_holds *holds_of(const struct ist_store *store) {
    struct sim_holds *holds = watched;
    while (holds != NULL && holds->server->store != store) {
        holds = holds->next;
    }
    return holds;
}

static const struct sim_plan *plan_of(const struct sim_holds *holds) {
    return &holds->server->world->plan;
}

void sim_holds_init(struct sim_holds *holds, struct sim_server *server) {
    size_t granules = (size_t)(server->world->plan.pool_bytes / server->world->plan.granule_bytes);
    *holds = (struct sim_holds){
        .next = watched,
        .server = server,
        .held = sim_memory_new(granules, sizeof(uint8_t)),
        .pins = sim_memory_new(granules, sizeof(uint32_t)),
        .granules = granules,
    };
    watched = holds;
}

void sim_holds_fini(struct sim_holds *holds) {
    struct sim_holds **at = &watched;
    while (*at != holds) {
        at = &(*at)->next;
    }
    *at = holds->next;
    free(holds->held);
    free(holds->pins);
}

/* ---- granules ------------------------------------------------------------------------------------------ */

/* The length of a block for a value. */
static size_t granules_for(const struct sim_plan *plan, uint64_t value_bytes) {
    uint64_t bytes = value_bytes < plan->min_block_bytes ? plan->min_block_bytes : value_bytes;
    return (size_t)((bytes + plan->granule_bytes - 1) / plan->granule_bytes);
}

static size_t first_granule(const struct sim_holds *holds, const struct ist_entry *entry) {
    return (size_t)(ist_entry_offset(entry) / plan_of(holds)->granule_bytes);
}

static void mark(struct sim_holds *holds, const struct ist_entry *entry, bool held) {
    memset(holds->held + first_granule(holds, entry), held,
           granules_for(plan_of(holds), ist_entry_value_bytes(entry)));
}

static void pin(struct sim_holds *holds, const struct ist_entry *entry) {
    if (holds->pins[first_granule(holds, entry)]++ == 0) {
        mark(holds, entry, true);
    }
}

static void unpin(struct sim_holds *holds, const struct ist_entry *entry) {
    uint32_t *pins = &holds->pins[first_granule(holds, entry)];
    if (*pins == 0) {
        sim_fail(&holds->server->world->journal, "a pin was given back that nobody had");
    }
    if (--*pins == 0) {
        mark(holds, entry, false);
    }
}

/* Who is refused often has a pool in which most is held: eight granules at a time. */
static bool all_held(const uint8_t *held) {
    static const uint8_t all[8] = {true, true, true, true, true, true, true, true};
    return memcmp(held, all, sizeof(all)) == 0;
}

static size_t longest_unheld(const struct sim_holds *holds, size_t granules) {
    size_t longest = 0;
    for (size_t i = 0, run = 0; i < granules; i++) {
        while (run == 0 && i + 8 < granules && all_held(holds->held + i)) {
            i += 8;
        }
        run = holds->held[i] ? 0 : run + 1;
        longest = run > longest ? run : longest;
    }
    return longest;
}

/* ---- what the store was asked -------------------------------------------------------------------------- */

void sim_holds_reserved(const struct ist_store *store, const struct ist_entry *entry) {
    struct sim_holds *holds = holds_of(store);
    if (holds == NULL) {
        return;
    }
    size_t first = first_granule(holds, entry);
    size_t end = first + granules_for(plan_of(holds), ist_entry_value_bytes(entry));
    if (ist_entry_offset(entry) % plan_of(holds)->granule_bytes != 0 || end > holds->granules ||
        memchr(holds->held + first, true, end - first) != NULL) {
        sim_fail(&holds->server->world->journal, "a block was given away that somebody holds");
    }
    pin(holds, entry);
}

void sim_holds_refused(const struct ist_store *store, uint64_t value_bytes) {
    struct sim_holds *holds = holds_of(store);
    if (holds == NULL) {
        return;
    }
    struct sim_server *server = holds->server;
    const struct sim_plan *plan = plan_of(holds);
    struct ist_store_usage usage;
    ist_store_usage(store, &usage);
    size_t needed = granules_for(plan, value_bytes);
    size_t longest = longest_unheld(holds, (size_t)(usage.pool_bytes / plan->granule_bytes));
    if (needed <= longest) {
        sim_fail(&server->world->journal,
                 "NO_SPACE for %zu granules, but nobody holds a stretch of %zu: what is there can go",
                 needed, longest);
    }
    if (server->world->phase == SIM_PHASE_CODA && holds->reads > sim_rdma_outstanding(&server->rdma)) {
        sim_fail(&server->world->journal,
                 "NO_SPACE: %llu blocks are held to be read, for %llu requests that a NIC has not done",
                 (unsigned long long)holds->reads,
                 (unsigned long long)sim_rdma_outstanding(&server->rdma));
    }
    holds->refused++;
}

void sim_holds_acquired(const struct ist_store *store, const struct ist_entry *entry) {
    struct sim_holds *holds = holds_of(store);
    if (holds != NULL) {
        pin(holds, entry);
        holds->reads++;
    }
}

void sim_holds_aborted(const struct ist_store *store, const struct ist_entry *entry) {
    struct sim_holds *holds = holds_of(store);
    if (holds != NULL) {
        unpin(holds, entry);
    }
}

void sim_holds_released(const struct ist_store *store, const struct ist_entry *entry) {
    struct sim_holds *holds = holds_of(store);
    if (holds != NULL) {
        unpin(holds, entry);
        holds->reads--;
    }
}
