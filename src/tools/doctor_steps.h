/* The way to a server, step by step: each is done, or says why not and what to do about it; those behind a failed one
 * are not tried. */
#ifndef IST_TOOLS_DOCTOR_STEPS_H
#define IST_TOOLS_DOCTOR_STEPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/doctor_findings.h"

enum ist_doctor_outcome { IST_DOCTOR_DONE, IST_DOCTOR_FAILED, IST_DOCTOR_NOT_TRIED };

struct ist_doctor_step {
    const char *name; /* static text */
    enum ist_doctor_outcome outcome;
    uint64_t took_ns;
    char text[IST_DOCTOR_TEXT_MAX], advice[IST_DOCTOR_TEXT_MAX]; /* "" for none */
};

#define IST_DOCTOR_STEPS_MAX 16u
struct ist_doctor_steps {
    char peer[300];
    struct ist_doctor_step all[IST_DOCTOR_STEPS_MAX];
    size_t count;
    bool has_failed;
};

#endif
