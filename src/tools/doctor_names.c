#include "tools/doctor_names.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>

const char *ist_doctor_gid_text(const uint8_t gid[IST_GID_LENGTH], char *out) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    bool is_mapped = memcmp(gid, mapped, sizeof(mapped)) == 0;
    if (inet_ntop(is_mapped ? AF_INET : AF_INET6, is_mapped ? gid + 12 : gid, out,
                  IST_DOCTOR_GID_TEXT_MAX) == NULL) {
        out[0] = '\0';
    }
    return out;
}

const char *ist_doctor_gid_type(enum ist_gid_type type) {
    switch (type) {
    case IST_GID_INFINIBAND: return "InfiniBand";
    case IST_GID_ROCE_V1: return "RoCE v1";
    case IST_GID_ROCE_V2: return "RoCE v2";
    }
    return "";
}

const char *ist_doctor_level_name(enum ist_doctor_level level) {
    switch (level) {
    case IST_DOCTOR_OK: return "ok";
    case IST_DOCTOR_WARNING: return "warning";
    case IST_DOCTOR_PROBLEM: return "problem";
    }
    return "";
}

const char *ist_doctor_state_name(enum ist_port_state state) {
    switch (state) {
    case IST_PORT_DOWN: return "down";
    case IST_PORT_INITIALISING: return "initialising";
    case IST_PORT_ARMED: return "armed";
    case IST_PORT_ACTIVE: return "active";
    case IST_PORT_OTHER: break;
    }
    return "unknown";
}

const char *ist_doctor_link_name(enum ist_device_link link) {
    switch (link) {
    case IST_DEVICE_LINK_ANY: return "unknown";
    case IST_DEVICE_LINK_ETHERNET: return "Ethernet";
    case IST_DEVICE_LINK_INFINIBAND: return "InfiniBand";
    }
    return "";
}

const char *ist_doctor_outcome_name(enum ist_doctor_outcome outcome) {
    switch (outcome) {
    case IST_DOCTOR_DONE: return "ok";
    case IST_DOCTOR_FAILED: return "failed";
    case IST_DOCTOR_NOT_TRIED: return "not tried";
    }
    return "";
}
