#include <string.h>

#include "base/json.h"
#include "infinistore/infinistore.h"
#include "tools/doctor_names.h"
#include "tools/doctor_report.h"

static void add_text(struct ist_json *json, const char *key, const char *text) {
    ist_json_key(json, key);
    ist_json_bytes(json, text, strlen(text));
}

static void add_uint(struct ist_json *json, const char *key, uint64_t value) {
    ist_json_key(json, key);
    ist_json_uint(json, value);
}

static void add_bool(struct ist_json *json, const char *key, bool value) {
    ist_json_key(json, key);
    ist_json_bool(json, value);
}

/* null where there is no limit. */
static void add_limit(struct ist_json *json, const char *key, uint64_t value) {
    ist_json_key(json, key);
    if (value == IST_DOCTOR_NO_LIMIT) {
        ist_json_null(json);
    } else {
        ist_json_uint(json, value);
    }
}

static void add_error(struct ist_json *json, int error) {
    ist_json_key(json, "error");
    if (error == 0) {
        ist_json_null(json);
    } else {
        ist_json_string(json, strerror(error));
    }
}

/* ---- devices ---------------------------------------------------------------------------------------- */

static void add_gid(struct ist_json *json, const struct ist_doctor_facts *facts,
                    const struct ist_gid_entry *gid, bool is_chosen) {
    char address[IST_DOCTOR_GID_TEXT_MAX];
    const char *why;
    enum ist_gid_rank rank = ist_gid_rank(gid, facts->has_source ? facts->source : NULL, &why);
    const struct ist_doctor_interface *interface =
        ist_doctor_machine_interface(facts->machine, gid->interface);
    ist_json_object(json);
    add_uint(json, "index", gid->index);
    add_text(json, "type", ist_doctor_gid_type(gid->type));
    add_text(json, "gid", ist_doctor_gid_text(gid->gid, address));
    ist_json_key(json, "netdev");
    if (interface != NULL) {
        ist_json_string(json, interface->name);
    } else {
        ist_json_null(json);
    }
    add_bool(json, "in_this_namespace", gid->is_here);
    add_uint(json, "rank", rank);
    add_text(json, "why", why);
    add_bool(json, "chosen", is_chosen);
    ist_json_end(json);
}

static void add_port(struct ist_json *json, const struct ist_doctor_facts *facts,
                     const struct ist_survey_device *device, const struct ist_survey_port *port) {
    const struct ist_doctor_choice *choice = &facts->choice;
    bool is_chosen =
        choice->has_device && choice->port == port->number && strcmp(choice->device, device->name) == 0;
    ist_json_object(json);
    add_uint(json, "number", port->number);
    add_error(json, port->error);
    if (port->error == 0) {
        add_text(json, "state", ist_doctor_state_name(port->state));
        add_text(json, "link", ist_doctor_link_name(port->link));
        add_uint(json, "mtu_bytes", port->mtu_bytes);
        add_uint(json, "mtu_bytes_max", port->mtu_bytes_max);
        add_uint(json, "lid", port->lid);
        add_bool(json, "requires_grh", port->requires_grh);
        add_bool(json, "chosen", is_chosen);
        ist_json_key(json, "gids");
        ist_json_array(json);
        for (size_t i = 0; i < port->gids_count; i++) {
            add_gid(json, facts, &port->gids[i], is_chosen && choice->gid_index == port->gids[i].index);
        }
        ist_json_end(json);
    }
    ist_json_end(json);
}

static void add_dmabuf(struct ist_json *json, enum ist_survey_dmabuf dmabuf) {
    ist_json_key(json, "dmabuf");
    switch (dmabuf) {
    case IST_DMABUF_UNKNOWN: ist_json_null(json); break;
    case IST_DMABUF_NO: ist_json_bool(json, false); break;
    case IST_DMABUF_YES: ist_json_bool(json, true); break;
    }
}

static void add_device(struct ist_json *json, const struct ist_doctor_facts *facts,
                       const struct ist_survey_device *device) {
    const struct ist_device_limits *limits = &device->limits;
    ist_json_object(json);
    add_text(json, "name", device->name);
    add_error(json, device->error);
    if (device->error == 0) {
        add_text(json, "firmware", device->firmware);
        add_bool(json, "soft_roce", device->is_soft_roce);
        add_dmabuf(json, device->dmabuf);
        ist_json_key(json, "limits");
        ist_json_object(json);
        add_uint(json, "queue_pairs", device->queue_pairs);
        add_uint(json, "queue_pair_requests", limits->queue_pair_wr);
        add_uint(json, "request_pieces", limits->sge);
        add_uint(json, "completion_queue_entries", limits->cqe);
        add_uint(json, "shared_receive_queue_entries", limits->srq_wr);
        add_uint(json, "reads_out", limits->reads_out);
        add_uint(json, "reads_in", limits->reads_in);
        add_uint(json, "regions", device->regions);
        add_limit(json, "region_bytes", limits->registration_bytes);
        ist_json_end(json);
        ist_json_key(json, "ports");
        ist_json_array(json);
        for (size_t i = 0; i < device->ports_count; i++) {
            add_port(json, facts, device, &device->ports[i]);
        }
        ist_json_end(json);
    }
    ist_json_end(json);
}

/* ---- the rest --------------------------------------------------------------------------------------- */

static void add_machine(struct ist_json *json, const struct ist_doctor_machine *machine) {
    ist_json_key(json, "machine");
    ist_json_object(json);
    add_text(json, "kernel", machine->kernel);
    add_bool(json, "container", machine->is_container);
    add_bool(json, "ib_uverbs", machine->has_class_verbs);
    add_uint(json, "kernel_devices", machine->devices);
    add_limit(json, "memlock_bytes", machine->memlock_bytes);
    add_limit(json, "memlock_bytes_max", machine->memlock_bytes_max);
    add_bool(json, "may_lock_all", machine->may_lock);
    add_uint(json, "memory_bytes", machine->memory_bytes);
    add_uint(json, "huge_page_bytes", machine->huge_page_bytes);
    add_uint(json, "huge_pages", machine->huge_pages);
    add_uint(json, "huge_pages_free", machine->huge_pages_free);
    add_text(json, "transparent_huge_pages", machine->transparent);
    add_bool(json, "gpu", machine->has_nvidia || machine->has_amd);
    add_bool(json, "peer_memory", machine->has_peer_memory);
    ist_json_end(json);
}

static void add_choice(struct ist_json *json, const struct ist_doctor_choice *choice) {
    ist_json_key(json, "infinistore");
    ist_json_object(json);
    add_bool(json, "rdma", choice->has_device);
    if (choice->has_device) {
        add_text(json, "device", choice->device);
        add_uint(json, "port", choice->port);
        add_uint(json, "gid_index", choice->gid_index);
    } else {
        add_text(json, "why_not", choice->why_not);
    }
    ist_json_end(json);
}

static void add_findings(struct ist_json *json, const struct ist_doctor_findings *findings) {
    ist_json_key(json, "findings");
    ist_json_array(json);
    for (size_t i = 0; i < findings->count; i++) {
        const struct ist_doctor_finding *finding = &findings->all[i];
        ist_json_object(json);
        add_text(json, "level", ist_doctor_level_name(finding->level));
        add_text(json, "subject", finding->subject);
        add_text(json, "text", finding->text);
        add_text(json, "advice", finding->advice);
        ist_json_end(json);
    }
    ist_json_end(json);
    add_uint(json, "problems", findings->problems);
    add_uint(json, "warnings", findings->warnings);
}

static void add_steps(struct ist_json *json, const struct ist_doctor_steps *steps) {
    ist_json_key(json, "connect");
    ist_json_object(json);
    add_text(json, "peer", steps->peer);
    add_bool(json, "works", !steps->has_failed);
    ist_json_key(json, "steps");
    ist_json_array(json);
    for (size_t i = 0; i < steps->count; i++) {
        const struct ist_doctor_step *step = &steps->all[i];
        ist_json_object(json);
        add_text(json, "name", step->name);
        add_text(json, "outcome", ist_doctor_outcome_name(step->outcome));
        add_text(json, "text", step->text);
        add_text(json, "advice", step->advice);
        ist_json_key(json, "milliseconds");
        ist_json_double(json, (double)step->took_ns / 1e6);
        ist_json_end(json);
    }
    ist_json_end(json);
    ist_json_end(json);
}

enum ist_status ist_doctor_write_json(const struct ist_doctor_report *report,
                                      const struct ist_alloc *alloc, FILE *out) {
    const struct ist_survey *survey = report->facts->survey;
    struct ist_json json;
    ist_json_init(&json, alloc);
    ist_json_object(&json);
    add_text(&json, "version", IST_VERSION);
    add_machine(&json, report->facts->machine);
    ist_json_key(&json, "devices");
    ist_json_array(&json);
    for (size_t i = 0; i < survey->devices_count; i++) {
        add_device(&json, report->facts, &survey->devices[i]);
    }
    ist_json_end(&json);
    add_choice(&json, &report->facts->choice);
    add_findings(&json, report->findings);
    if (report->steps != NULL) {
        add_steps(&json, report->steps);
    }
    ist_json_end(&json);
    const char *text = ist_json_text(&json);
    if (text != NULL) {
        fprintf(out, "%s\n", text);
    }
    enum ist_status status = text != NULL ? IST_OK : IST_NO_MEMORY;
    ist_json_fini(&json);
    return status;
}
