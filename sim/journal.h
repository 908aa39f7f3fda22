/* What happened in a run: a digest of all of it, the last of it as text, and how a run ends that fails. */
#ifndef IST_SIM_JOURNAL_H
#define IST_SIM_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/fabric.h"

#define SIM_JOURNAL_LINES 80u /* that are kept for a failure */

enum sim_note {
    SIM_NOTE_PHASE,
    SIM_NOTE_SUBMIT,
    SIM_NOTE_DONE,
    SIM_NOTE_ITEM,
    SIM_NOTE_CONNECT,
    SIM_NOTE_LOST,
    SIM_NOTE_ACCEPT,
    SIM_NOTE_REFUSE,
    SIM_NOTE_CLOSE,
    SIM_NOTE_START,
    SIM_NOTE_STOP,
    SIM_NOTE_FAULT,
    SIM_NOTE_BALANCE,
};

struct sim_journal_entry {
    uint64_t at_ns;
    enum sim_note note;
    uint64_t values[5];
};

struct sim_journal {
    const struct sim_fabric *fabric;
    bool told;          /* every entry goes to stdout as well */
    const char *replay; /* the line that runs this again; borrowed */
    uint64_t digest, count;
    struct sim_journal_entry last[SIM_JOURNAL_LINES];
};

/* A failing assertion of the code under test ends as sim_fail() does, from here on. One at a time in a process. */
void sim_journal_init(struct sim_journal *journal, const struct sim_fabric *fabric, bool told,
                      const char *replay);
void sim_journal_fini(struct sim_journal *journal);

void sim_journal_note(struct sim_journal *journal, enum sim_note note, uint64_t a, uint64_t b,
                      uint64_t c, uint64_t d, uint64_t e);

/* Prints the last lines of the journal, why, and the line that replays it; ends the process with status 1. */
_Noreturn void sim_fail(const struct sim_journal *journal, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
