#include "sim/order_search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/assert.h"
#include "sim/memory.h"

#define SEEN_FIRST 4096u
#define ORDER_SECONDS_MAX 20 /* of processor time: an order takes some microseconds */

/* A loop without end in the code under test ends the process (SIGVTALRM). 0: no more. */
static void limit_time(long limit_s) {
    const struct itimerval limit = {.it_value = {.tv_sec = limit_s}};
    int outcome = setitimer(ITIMER_VIRTUAL, &limit, NULL);
    IST_ASSERT(outcome == 0);
}

/* ---- states that were seen --------------------------------------------------------------------------------- */

struct seen {
    uint64_t state; /* 0: nothing */
    uint64_t orders;
};

struct table {
    struct seen *places;
    size_t room, count; /* room: a power of two */
};

static struct seen *find(const struct table *table, uint64_t state) {
    size_t at = state & (table->room - 1);
    while (table->places[at].state != 0 && table->places[at].state != state) {
        at = (at + 1) & (table->room - 1);
    }
    return &table->places[at];
}

static void grow(struct table *table) {
    struct table old = *table;
    table->room = old.room == 0 ? SEEN_FIRST : old.room * 2;
    table->places = sim_memory_new(table->room, sizeof(*table->places));
    for (size_t i = 0; i < old.room; i++) {
        if (old.places[i].state != 0) {
            *find(table, old.places[i].state) = old.places[i];
        }
    }
    free(old.places);
}

static void note(struct table *table, uint64_t state, uint64_t orders) {
    if ((table->count + 1) * 2 > table->room) {
        grow(table);
    }
    struct seen *seen = find(table, state);
    table->count += seen->state == 0;
    *seen = (struct seen){state, orders};
}

/* ---- depth first ------------------------------------------------------------------------------------------- */

/* A state on the way, and what can follow it. */
struct node {
    struct sim_order_event choices[SIM_ORDER_CHOICES_MAX];
    size_t count, next;
    uint64_t state, orders;
};

struct search {
    struct sim_order_rig *rig;
    const struct sim_order_script *script;
    struct sim_order *order;
    struct sim_order_tally *tally;
    struct table table;
    size_t depth; /* nodes, each but the first behind an event of the order */
    struct node nodes[SIM_ORDER_EVENTS_MAX + 1];
};

/* A node for where the rig is now. */
static void enter(struct search *search, uint64_t state) {
    IST_ASSERT(search->depth <= SIM_ORDER_EVENTS_MAX);
    struct node *node = &search->nodes[search->depth++];
    node->count = sim_order_rig_choices(search->rig, node->choices);
    node->next = 0;
    node->state = state;
    node->orders = 0;
}

/* The rig is where the last node is, again. */
static void come_back(struct search *search) {
    limit_time(ORDER_SECONDS_MAX);
    sim_order_rig_begin(search->rig, search->script);
    search->order->count = search->depth - 1;
    for (size_t i = 0; i < search->order->count; i++) {
        sim_order_rig_apply(search->rig, search->order->events[i], false);
    }
}

/* The last node's next choice. Returns whether it led to a new node. */
static bool step(struct search *search) {
    struct node *node = &search->nodes[search->depth - 1];
    struct sim_order_event event = node->choices[node->next++];
    search->order->events[search->order->count++] = event;
    sim_order_rig_apply(search->rig, event, true);
    search->tally->events++;
    uint64_t state = 0;
    if (!search->rig->arena->is_plain) {
        state = sim_order_rig_state(search->rig);
        state += state == 0;
        const struct seen *seen = find(&search->table, state);
        if (seen->state != 0) {
            node->orders += seen->orders;
            return false;
        }
    }
    enter(search, state);
    return true;
}

/* The last node has nothing left to choose. */
static void leave(struct search *search) {
    const struct node *node = &search->nodes[--search->depth];
    if (!search->rig->arena->is_plain) {
        note(&search->table, node->state, node->orders);
        search->tally->states++;
    }
    if (search->depth > 0) {
        search->nodes[search->depth - 1].orders += node->orders;
    } else {
        search->tally->orders += node->orders;
    }
}

void sim_order_search(struct sim_order_rig *rig, const struct sim_order_script *script,
                      struct sim_order *order, struct sim_order_tally *tally) {
    struct search *search = sim_memory_new(1, sizeof(*search));
    *search = (struct search){.rig = rig, .script = script, .order = order, .tally = tally};
    grow(&search->table);
    memset(order, 0, sizeof(*order));
    order->of = script->of;
    tally->cases++;
    limit_time(ORDER_SECONDS_MAX);
    sim_order_rig_begin(rig, script);
    enter(search, 1);
    bool here = true; /* the rig is where the last node is */
    while (search->depth > 0) {
        struct node *node = &search->nodes[search->depth - 1];
        if (node->count == 0) {
            sim_order_rig_end(rig);
            node->orders = 1;
            tally->ends++;
            here = false;
        }
        if (node->next == node->count) {
            leave(search);
            continue;
        }
        if (!here) {
            come_back(search);
        }
        here = step(search);
    }
    limit_time(0);
    free(search->table.places);
    free(search);
}

/* ---- one of them ------------------------------------------------------------------------------------------- */

static bool is_possible(const struct sim_order_rig *rig, struct sim_order_event event) {
    struct sim_order_event choices[SIM_ORDER_CHOICES_MAX];
    size_t count = sim_order_rig_choices(rig, choices);
    for (size_t i = 0; i < count; i++) {
        if (choices[i].client == event.client && choices[i].step == event.step) {
            return true;
        }
    }
    return false;
}

bool sim_order_replay(const struct sim_order *order, const struct sim_order_budget *budget, bool told) {
    struct sim_order_script *script = sim_memory_new(1, sizeof(*script));
    struct sim_order_rig *rig = sim_memory_new(1, sizeof(*rig));
    struct sim_arena *arena = sim_memory_new(1, sizeof(*arena));
    struct sim_order_event choices[SIM_ORDER_CHOICES_MAX];
    bool possible = true;
    sim_order_script_init(script, &order->of, budget);
    sim_arena_init(arena, true);
    sim_order_rig_init(rig, arena);
    rig->told = told;
    limit_time(ORDER_SECONDS_MAX);
    sim_order_rig_begin(rig, script);
    for (size_t i = 0; i < order->count && possible; i++) {
        possible = is_possible(rig, order->events[i]);
        if (possible) {
            sim_order_rig_apply(rig, order->events[i], true);
        }
    }
    if (possible && sim_order_rig_choices(rig, choices) == 0) {
        sim_order_rig_end(rig);
    } else {
        sim_order_rig_stop(rig);
    }
    limit_time(0);
    sim_order_rig_fini(rig);
    sim_arena_fini(arena);
    free(arena);
    free(rig);
    free(script);
    return possible;
}
