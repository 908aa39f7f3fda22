/* infinistore-doctor: what this machine has for RDMA, what is wrong with it, and what to do about it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "infinistore/infinistore.h"
#include "tools/doctor_connect.h"
#include "tools/doctor_options.h"
#include "tools/doctor_report.h"
#include "tools/streams.h"

#define EXIT_PROBLEMS 1
#define EXIT_USAGE 2

/* The daemon's own way to a device, and a client's, so that it cannot be judged otherwise than it is. */
static void choose(const struct ist_doctor_options *options, const uint8_t *peer,
                   struct ist_doctor_choice *choice) {
    const struct ist_device_config config = {.name = options->dev_name,
                                             .port = options->ib_port == 0 ? 1 : options->ib_port,
                                             .link = options->link,
                                             .hint_gid_index = options->hint_gid_index,
                                             .alloc = ist_alloc_system(),
                                             .log = ist_log_null()};
    struct ist_device *device;
    struct ist_gid_entry gid = {0};
    *choice = (struct ist_doctor_choice){0};
    enum ist_status status =
        ist_device_open(&config, &device, choice->why_not, sizeof(choice->why_not));
    if (status != IST_OK) {
        if (status == IST_NO_MEMORY) {
            snprintf(choice->why_not, sizeof(choice->why_not), "no memory");
        }
        return;
    }
    if (ist_device_gid(device, peer, &gid) == IST_OK) {
        choice->has_device = true;
        choice->port = ist_device_port(device);
        choice->gid_index = gid.index;
        snprintf(choice->device, sizeof(choice->device), "%s", ist_device_name(device));
    }
    ist_device_close(device);
}

static int run(const struct ist_doctor_options *options) {
    struct ist_doctor_machine machine;
    struct ist_survey survey;
    struct ist_doctor_facts facts = {.machine = &machine, .survey = &survey};
    struct ist_doctor_findings *findings = malloc(sizeof(*findings));
    struct ist_doctor_steps *steps = options->connect == NULL ? NULL : malloc(sizeof(*steps));
    enum ist_status status = ist_survey_init(&survey, ist_alloc_system());
    bool is_good = status == IST_OK && findings != NULL && (options->connect == NULL || steps != NULL);
    uint8_t peer[IST_GID_LENGTH];
    bool has_problems = true, has_peer = false;
    if (is_good) {
        if (steps != NULL) {
            ist_doctor_connect(options, steps, &has_peer, peer);
            facts.has_source = has_peer && ist_gid_source(peer, facts.source);
        }
        ist_doctor_machine_read("", &machine);
        choose(options, has_peer ? peer : NULL, &facts.choice);
        ist_doctor_judge(&facts, findings);
        const struct ist_doctor_report report = {&facts, findings, steps};
        if (options->json) {
            status = ist_doctor_write_json(&report, ist_alloc_system(), stdout);
        } else {
            ist_doctor_write_text(&report, stdout);
        }
        has_problems = findings->problems > 0 || (steps != NULL && steps->has_failed);
    }
    if (!is_good || status != IST_OK) {
        fprintf(stderr, IST_DOCTOR_NAME ": no memory\n");
    }
    ist_survey_fini(&survey);
    free(findings);
    free(steps);
    return has_problems || status != IST_OK ? EXIT_PROBLEMS : EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    struct ist_doctor_options options;
    char error[IST_DOCTOR_ERROR_MAX];
    int code = EXIT_SUCCESS;
    ist_streams_occupy();
    if (ist_doctor_options_parse(argc, argv, &options, error) != IST_OK) {
        fprintf(stderr, IST_DOCTOR_NAME ": %s; see " IST_DOCTOR_NAME " --help\n", error);
        return EXIT_USAGE;
    }
    if (options.help) {
        fputs(ist_doctor_help(), stdout);
    } else if (options.version) {
        puts(IST_DOCTOR_NAME " " IST_VERSION);
    } else {
        code = run(&options);
    }
    return fflush(stdout) == 0 && ferror(stdout) == 0 ? code : EXIT_PROBLEMS;
}
