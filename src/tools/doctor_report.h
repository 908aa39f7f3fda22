/* The doctor's report as text for people, and as JSON. */
#ifndef IST_TOOLS_DOCTOR_REPORT_H
#define IST_TOOLS_DOCTOR_REPORT_H

#include <stdio.h>

#include "tools/doctor_findings.h"
#include "tools/doctor_steps.h"

struct ist_doctor_report {
    const struct ist_doctor_facts *facts; /* all borrowed */
    const struct ist_doctor_findings *findings;
    const struct ist_doctor_steps *steps; /* of --connect; NULL: not asked for */
};

void ist_doctor_write_text(const struct ist_doctor_report *report, FILE *out);
/* One object. Returns OK, NO_MEMORY. */
enum ist_status ist_doctor_write_json(const struct ist_doctor_report *report,
                                      const struct ist_alloc *alloc, FILE *out);

#endif
