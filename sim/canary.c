#include "sim/canary.h"

#include <string.h>

/* The wrappers below have no argument that could tell. */
static enum sim_canary set;
static unsigned calls, one_in = 40;

static const char *const names[SIM_CANARIES] = {
    [SIM_CANARY_NONE] = "none",
    [SIM_CANARY_COMMIT_BEFORE_DATA] = "commit-before-data",
    [SIM_CANARY_LOST_PIN] = "lost-pin",
    [SIM_CANARY_EARLY_RELEASE] = "early-release",
    [SIM_CANARY_EVICT_PINNED] = "evict-pinned",
    [SIM_CANARY_STALE_EVICTS_NEW] = "stale-evicts-new",
    [SIM_CANARY_FAILED_PUT_SHOWS] = "failed-put-shows",
    [SIM_CANARY_LEAKED_RESERVATION] = "leaked-reservation",
    [SIM_CANARY_LOST_OVERWRITE] = "lost-overwrite",
    [SIM_CANARY_REMOVE_FORGETS] = "remove-forgets",
    [SIM_CANARY_PURGE_FORGETS] = "purge-forgets",
    [SIM_CANARY_MATCH_IGNORES_HOLES] = "match-ignores-holes",
    [SIM_CANARY_EXISTS_ALWAYS] = "exists-always",
    [SIM_CANARY_DOUBLE_REPLY] = "double-reply",
    [SIM_CANARY_LOST_REPLY] = "lost-reply",
    [SIM_CANARY_FRAME_BORDER] = "frame-border",
    [SIM_CANARY_IF_ABSENT_IGNORED] = "if-absent-ignored",
    [SIM_CANARY_MISSED_REARM] = "missed-rearm",
    [SIM_CANARY_SPLIT_PAYLOAD] = "split-payload",
    [SIM_CANARY_WORK_DONE_AT_POST] = "work-done-at-post",
    [SIM_CANARY_LOST_CREDIT] = "lost-credit",
    [SIM_CANARY_CLIENT_TIMER] = "client-timer",
    [SIM_CANARY_NEVER_EVICTS] = "never-evicts",
    [SIM_CANARY_HALF_BATCH] = "half-batch",
};

const char *sim_canary_name(size_t canary) {
    return canary < SIM_CANARIES ? names[canary] : NULL;
}

enum sim_canary sim_canary_find(const char *name) {
    for (size_t i = 1; i < SIM_CANARIES; i++) {
        if (strcmp(names[i], name) == 0) {
            return (enum sim_canary)i;
        }
    }
    return SIM_CANARY_NONE;
}

void sim_canary_set(enum sim_canary canary) {
    set = canary;
}

bool sim_canary_is(enum sim_canary canary) {
    return set == canary;
}

void sim_canary_count_anew(unsigned period) {
    calls = 0;
    one_in = period;
}

bool sim_canary_strikes(void) {
    return ++calls % one_in == 0;
}
