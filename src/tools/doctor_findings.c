#include "tools/doctor_findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void ist_doctor_add(struct ist_doctor_findings *findings, enum ist_doctor_level level,
                    const char *subject, const char *advice, const char *format, ...) {
    findings->warnings += level == IST_DOCTOR_WARNING;
    findings->problems += level == IST_DOCTOR_PROBLEM;
    if (findings->count == IST_DOCTOR_FINDINGS_MAX) {
        return;
    }
    struct ist_doctor_finding *finding = &findings->all[findings->count++];
    finding->level = level;
    snprintf(finding->subject, sizeof(finding->subject), "%s", subject);
    snprintf(finding->advice, sizeof(finding->advice), "%s", advice == NULL ? "" : advice);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(finding->text, sizeof(finding->text), format, arguments);
    va_end(arguments);
}

void ist_doctor_judge(const struct ist_doctor_facts *facts, struct ist_doctor_findings *findings) {
    *findings = (struct ist_doctor_findings){0};
    ist_doctor_judge_devices(facts, findings);
    ist_doctor_judge_machine(facts->machine, facts->survey->devices_count > 0, findings);
    const struct ist_doctor_choice *choice = &facts->choice;
    if (choice->has_device) {
        ist_doctor_add(findings, IST_DOCTOR_OK, "infinistore", NULL,
                       "it would use %s port %u, GID index %u", choice->device, choice->port,
                       (unsigned)choice->gid_index);
    } else {
        ist_doctor_add(findings, IST_DOCTOR_PROBLEM, "infinistore", NULL, "it would serve TCP only: %s",
                       choice->why_not);
    }
}

const char *const *ist_doctor_hints(const struct ist_survey *survey) {
    static const char *const none[] = {NULL};
    static const char *const roce[] = {
        "Firewalls must let UDP port 4791 through in both directions: it carries RoCE v2.",
        "Switches between the machines must be lossless for RoCE (PFC or ECN on its traffic class), or "
        "it will be\n"
        "slow whenever a queue overflows: mlnx_qos -i NETDEV, ethtool -S NETDEV | grep -e pause -e "
        "discard.",
        NULL};
    for (size_t i = 0; i < survey->devices_count; i++) {
        for (size_t k = 0; k < survey->devices[i].ports_count; k++) {
            if (survey->devices[i].ports[k].link == IST_DEVICE_LINK_ETHERNET) {
                return roce;
            }
        }
    }
    return none;
}
