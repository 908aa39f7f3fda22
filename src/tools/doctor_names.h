/* How the doctor calls things: for text and JSON alike. */
#ifndef IST_TOOLS_DOCTOR_NAMES_H
#define IST_TOOLS_DOCTOR_NAMES_H

#include "tools/doctor_findings.h"
#include "tools/doctor_steps.h"

/* "10.0.0.1", "fe80::1": how people write it. out: IST_DOCTOR_GID_TEXT_MAX bytes. Returns out. */
#define IST_DOCTOR_GID_TEXT_MAX 48
const char *ist_doctor_gid_text(const uint8_t gid[IST_GID_LENGTH], char *out);
const char *ist_doctor_gid_type(enum ist_gid_type type);
const char *ist_doctor_level_name(enum ist_doctor_level level);
const char *ist_doctor_state_name(enum ist_port_state state);
const char *ist_doctor_link_name(enum ist_device_link link);
const char *ist_doctor_outcome_name(enum ist_doctor_outcome outcome);

#endif
