#include "sim/journal.h"

#include <endian.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "infinistore/status.h"
#include "sim/fault.h"
#include "wire/frame.h"

/* Of the run that is under way: a signal handler gets no argument. */
static const struct sim_journal *running;

static const char *phase_name(uint64_t phase) {
    static const char *const names[] = {"safety", "healing", "coda", "end"};
    return phase < sizeof(names) / sizeof(names[0]) ? names[phase] : "?";
}

static void write_entry(FILE *out, const struct sim_journal_entry *entry) {
    const uint64_t *v = entry->values;
    fprintf(out, "%12.6f ms  ", (double)entry->at_ns / 1e6);
    switch (entry->note) {
    case SIM_NOTE_PHASE: fprintf(out, "---- %s", phase_name(v[0])); break;
    case SIM_NOTE_SUBMIT:
        fprintf(out, "node %" PRIu64 " server %" PRIu64 "  op %" PRIu64 " begins: %s of %" PRIu64, v[0],
                v[1], v[2], ist_operation_name((enum ist_operation)v[3]), v[4]);
        break;
    case SIM_NOTE_DONE:
        fprintf(out, "node %" PRIu64 " server %" PRIu64 "  op %" PRIu64 " ends: %s, %" PRIu64, v[0],
                v[1], v[2], ist_status_name((enum ist_status)v[3]), v[4]);
        break;
    case SIM_NOTE_ITEM:
        fprintf(out, "    op %" PRIu64 " key %" PRIx64 " version %" PRIu64 " of %" PRIu64 " bytes: %s",
                v[0], v[1], v[2], v[3], ist_status_name((enum ist_status)v[4]));
        break;
    case SIM_NOTE_CONNECT:
        fprintf(out, "node %" PRIu64 " server %" PRIu64 "  connects as #%" PRIu64, v[0], v[1], v[2]);
        break;
    case SIM_NOTE_LOST:
        fprintf(out, "node %" PRIu64 " server %" PRIu64 "  loses #%" PRIu64, v[0], v[1], v[2]);
        break;
    case SIM_NOTE_ACCEPT: fprintf(out, "server %" PRIu64 "  accepts #%" PRIu64, v[0], v[1]); break;
    case SIM_NOTE_REFUSE: fprintf(out, "server %" PRIu64 "  refuses #%" PRIu64, v[0], v[1]); break;
    case SIM_NOTE_CLOSE: fprintf(out, "server %" PRIu64 "  closes #%" PRIu64, v[0], v[1]); break;
    case SIM_NOTE_START: fprintf(out, "server %" PRIu64 "  starts life %" PRIu64, v[0], v[1]); break;
    case SIM_NOTE_STOP: fprintf(out, "server %" PRIu64 "  ends life %" PRIu64, v[0], v[1]); break;
    case SIM_NOTE_FAULT:
        fprintf(out, "FAULT %" PRIu64 "  %s (%" PRIu64 ", %" PRIu64 ")", v[0],
                sim_fault_name((enum sim_fault_kind)v[1]), v[2], v[3]);
        break;
    case SIM_NOTE_BALANCE:
        fprintf(out,
                "server %" PRIu64 "  keys %" PRIu64 ", free %" PRIu64 " of %" PRIu64
                ", evicted %" PRIu64,
                v[0], v[1], v[2], v[3], v[4]);
        break;
    }
    fputc('\n', out);
}

static void write_last(const struct sim_journal *journal) {
    uint64_t first = journal->count < SIM_JOURNAL_LINES ? 0 : journal->count - SIM_JOURNAL_LINES;
    for (uint64_t i = first; !journal->told && i < journal->count; i++) {
        write_entry(stderr, &journal->last[i % SIM_JOURNAL_LINES]);
    }
}

/* stdio in a handler is legal enough here: the process has one thread, and it failed in our own code. */
static void on_abort(int signal_number) {
    (void)signal_number;
    if (running != NULL) {
        const struct sim_journal *journal = running;
        running = NULL;
        write_last(journal);
        fprintf(stderr, "FAILED: an assertion of the code under test\n%s\n", journal->replay);
    }
    _Exit(EXIT_FAILURE);
}

void sim_journal_init(struct sim_journal *journal, const struct sim_fabric *fabric, bool told,
                      const char *replay) {
    *journal = (struct sim_journal){.fabric = fabric, .told = told, .replay = replay};
    running = journal;
    signal(SIGABRT, on_abort);
}

void sim_journal_fini(struct sim_journal *journal) {
    (void)journal;
    running = NULL;
    signal(SIGABRT, SIG_DFL);
}

void sim_journal_note(struct sim_journal *journal, enum sim_note note, uint64_t a, uint64_t b,
                      uint64_t c, uint64_t d, uint64_t e) {
    struct sim_journal_entry *entry = &journal->last[journal->count++ % SIM_JOURNAL_LINES];
    *entry = (struct sim_journal_entry){sim_fabric_now_ns(journal->fabric), note, {a, b, c, d, e}};
    const uint64_t words[] = {/* the same bytes on every machine */
                              htole64(entry->at_ns),
                              htole64(note),
                              htole64(a),
                              htole64(b),
                              htole64(c),
                              htole64(d),
                              htole64(e)};
    journal->digest = ist_hash((struct ist_hash_key){journal->digest, journal->count},
                               ist_span_of(words, sizeof(words)));
    if (journal->told) {
        write_entry(stdout, entry);
    }
}

void sim_fail(const struct sim_journal *journal, const char *format, ...) {
    running = NULL;
    write_last(journal);
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "FAILED at %.6f ms: ", (double)sim_fabric_now_ns(journal->fabric) / 1e6);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "\n%s\n", journal->replay);
    fflush(NULL);
    _Exit(EXIT_FAILURE);
}
