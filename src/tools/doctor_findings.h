/* What is right and wrong with a machine's RDMA set-up, and what to do about it: from facts alone, without I/O. */
#ifndef IST_TOOLS_DOCTOR_FINDINGS_H
#define IST_TOOLS_DOCTOR_FINDINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/doctor_machine.h"
#include "verbs/survey.h"

enum ist_doctor_level { IST_DOCTOR_OK, IST_DOCTOR_WARNING, IST_DOCTOR_PROBLEM };

#define IST_DOCTOR_TEXT_MAX 512

struct ist_doctor_finding {
    enum ist_doctor_level level;
    char subject[96];
    char text[IST_DOCTOR_TEXT_MAX];   /* a sentence without its full stop */
    char advice[IST_DOCTOR_TEXT_MAX]; /* lines, "" for none */
};

#define IST_DOCTOR_FINDINGS_MAX 256u
/* Those beyond the room are counted, not kept. */
struct ist_doctor_findings {
    struct ist_doctor_finding all[IST_DOCTOR_FINDINGS_MAX];
    size_t count;
    size_t warnings, problems;
};

/* What the daemon would use, with the options that it is meant to be started with. */
struct ist_doctor_choice {
    bool has_device;
    char device[64];
    unsigned port;
    uint32_t gid_index;
    char why_not[256]; /* without a device */
};

struct ist_doctor_facts {
    const struct ist_doctor_machine *machine; /* borrowed, as is the survey */
    const struct ist_survey *survey;
    struct ist_doctor_choice choice;
    bool has_source; /* the local address towards the peer of --connect, as a GID */
    uint8_t source[IST_GID_LENGTH];
};

/* Adds; the texts are printf's. advice: NULL for none. */
__attribute__((format(printf, 5, 6))) void ist_doctor_add(struct ist_doctor_findings *findings,
                                                          enum ist_doctor_level level,
                                                          const char *subject, const char *advice,
                                                          const char *format, ...);

/* findings is written whole. */
void ist_doctor_judge(const struct ist_doctor_facts *facts, struct ist_doctor_findings *findings);

/* The two halves of that. */
void ist_doctor_judge_devices(const struct ist_doctor_facts *facts,
                              struct ist_doctor_findings *findings);
void ist_doctor_judge_machine(const struct ist_doctor_machine *machine, bool has_devices,
                              struct ist_doctor_findings *findings);

/* What cannot be seen from one machine, and stops RoCE all the same: a line each, NULL behind the last. */
const char *const *ist_doctor_hints(const struct ist_survey *survey);

#endif
