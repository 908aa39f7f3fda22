#include <inttypes.h>
#include <string.h>

#include "base/size.h"
#include "infinistore/infinistore.h"
#include "tools/doctor_names.h"
#include "tools/doctor_report.h"

/* ---- devices ---------------------------------------------------------------------------------------- */

static void write_gid(const struct ist_doctor_facts *facts, const struct ist_gid_entry *gid,
                      bool is_chosen, FILE *out) {
    char address[IST_DOCTOR_GID_TEXT_MAX];
    const char *why;
    enum ist_gid_rank rank = ist_gid_rank(gid, facts->has_source ? facts->source : NULL, &why);
    const struct ist_doctor_interface *interface =
        ist_doctor_machine_interface(facts->machine, gid->interface);
    const char *name = interface != NULL ? interface->name : gid->interface == 0 ? "-" : "?";
    fprintf(out, "    %c %5u  %-10s  %-39s  %-15s  ", is_chosen ? '*' : ' ', (unsigned)gid->index,
            ist_doctor_gid_type(gid->type), ist_doctor_gid_text(gid->gid, address), name);
    if (rank == IST_GID_UNUSABLE) {
        fprintf(out, "no: %s\n", why);
    } else {
        fprintf(out, "%u: %s\n", (unsigned)rank, why);
    }
}

static void write_port(const struct ist_doctor_facts *facts, const struct ist_survey_device *device,
                       const struct ist_survey_port *port, FILE *out) {
    const struct ist_doctor_choice *choice = &facts->choice;
    bool is_chosen =
        choice->has_device && choice->port == port->number && strcmp(choice->device, device->name) == 0;
    fprintf(out, "  port %u: ", port->number);
    if (port->error != 0) {
        fprintf(out, "cannot be asked: %s\n", strerror(port->error));
        return;
    }
    fprintf(out, "%s, %s, MTU %" PRIu32 " of %" PRIu32, ist_doctor_state_name(port->state),
            ist_doctor_link_name(port->link), port->mtu_bytes, port->mtu_bytes_max);
    if (port->link == IST_DEVICE_LINK_INFINIBAND) {
        fprintf(out, ", LID %u%s", (unsigned)port->lid, port->requires_grh ? ", wants a GRH" : "");
    }
    fputs(is_chosen ? ": infinistore would use it\n" : "\n", out);
    if (port->gids_count > 0) {
        fprintf(out, "      index  %-10s  %-39s  %-15s  rank, higher is better\n", "type", "GID",
                "netdev");
    }
    for (size_t i = 0; i < port->gids_count; i++) {
        write_gid(facts, &port->gids[i], is_chosen && choice->gid_index == port->gids[i].index, out);
    }
}

static void write_device(const struct ist_doctor_facts *facts, const struct ist_survey_device *device,
                         FILE *out) {
    const struct ist_device_limits *limits = &device->limits;
    char region[IST_SIZE_TEXT_MAX];
    fprintf(out, "\n%s", device->name);
    if (device->error != 0) {
        fprintf(out, ": cannot be used: %s\n", strerror(device->error));
        return;
    }
    fprintf(out, "%s%s%s\n", device->is_soft_roce ? " (soft-RoCE)" : "",
            device->firmware[0] == '\0' ? "" : ", firmware ", device->firmware);
    fprintf(out,
            "  at most: %" PRIu32 " queue pairs of %" PRIu32 " requests of %" PRIu32
            " pieces, completion queues of %" PRIu32 ",\n"
            "           shared receive queues of %" PRIu32 ", %" PRIu32 " READs out and %" PRIu32
            " in, %" PRIu32 " regions of %s\n",
            device->queue_pairs, limits->queue_pair_wr, limits->sge, limits->cqe, limits->srq_wr,
            limits->reads_out, limits->reads_in, device->regions,
            limits->registration_bytes == IST_DOCTOR_NO_LIMIT
                ? "any size"
                : ist_size_text(limits->registration_bytes, region));
    for (size_t i = 0; i < device->ports_count; i++) {
        write_port(facts, device, &device->ports[i], out);
    }
}

/* ---- findings --------------------------------------------------------------------------------------- */

/* Lines of advice, each behind an arrow or below it. */
static void write_advice(const char *advice, const char *indent, FILE *out) {
    bool is_first = true;
    while (*advice != '\0') {
        size_t length = strcspn(advice, "\n");
        fprintf(out, "%s%s%.*s\n", indent, is_first ? "-> " : "   ", (int)length, advice);
        is_first = false;
        advice += length + (advice[length] == '\n');
    }
}

static void write_findings(const struct ist_doctor_findings *findings, FILE *out) {
    fputs("\nFindings\n", out);
    for (size_t i = 0; i < findings->count; i++) {
        const struct ist_doctor_finding *finding = &findings->all[i];
        fprintf(out, "  %-8s %s: %s\n", ist_doctor_level_name(finding->level), finding->subject,
                finding->text);
        write_advice(finding->advice, "           ", out);
    }
}

static void write_hints(const struct ist_survey *survey, FILE *out) {
    const char *const *hints = ist_doctor_hints(survey);
    if (hints[0] != NULL) {
        fputs("\nNot to be seen from here\n", out);
    }
    for (; *hints != NULL; hints++) {
        for (const char *line = *hints; *line != '\0';) {
            size_t length = strcspn(line, "\n");
            fprintf(out, "  %.*s\n", (int)length, line);
            line += length + (line[length] == '\n');
        }
    }
}

/* ---- steps ------------------------------------------------------------------------------------------ */

static void write_steps(const struct ist_doctor_steps *steps, FILE *out) {
    fprintf(out, "\nThe way to %s\n", steps->peer);
    for (size_t i = 0; i < steps->count; i++) {
        const struct ist_doctor_step *step = &steps->all[i];
        fprintf(out, "  %2zu %-12s %-9s", i + 1, step->name, ist_doctor_outcome_name(step->outcome));
        if (step->outcome == IST_DOCTOR_NOT_TRIED) {
            fputc('\n', out);
            continue;
        }
        fprintf(out, " %9.3f ms  %s\n", (double)step->took_ns / 1e6, step->text);
        write_advice(step->advice, "                                        ", out);
    }
}

static void write_count(size_t count, const char *one, const char *many, FILE *out) {
    fprintf(out, "%zu %s", count, count == 1 ? one : many);
}

void ist_doctor_write_text(const struct ist_doctor_report *report, FILE *out) {
    const struct ist_survey *survey = report->facts->survey;
    fprintf(out, "infinistore-doctor %s, Linux %s\n", IST_VERSION, report->facts->machine->kernel);
    for (size_t i = 0; i < survey->devices_count; i++) {
        write_device(report->facts, &survey->devices[i], out);
    }
    write_findings(report->findings, out);
    write_hints(survey, out);
    if (report->steps != NULL) {
        write_steps(report->steps, out);
    }
    fputc('\n', out);
    write_count(report->findings->problems, "problem", "problems", out);
    fputs(", ", out);
    write_count(report->findings->warnings, "warning", "warnings", out);
    fputs(report->steps == NULL       ? "\n"
          : report->steps->has_failed ? "; the way to the server is blocked\n"
                                      : "; the way to the server is free\n",
          out);
}
