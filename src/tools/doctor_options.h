/* The command line of infinistore-doctor as data. Pure. */
#ifndef IST_TOOLS_DOCTOR_OPTIONS_H
#define IST_TOOLS_DOCTOR_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "infinistore/status.h"
#include "verbs/device.h"

#define IST_DOCTOR_NAME "infinistore-doctor"
#define IST_DOCTOR_ERROR_MAX 256

struct ist_doctor_options {
    bool json, help, version;
    const char *connect; /* HOST[:PORT]; NULL: not asked for */
    char host[256], port[8];
    /* As the daemon's, whose start is to be judged. */
    const char *dev_name;
    unsigned ib_port; /* 0: not given */
    enum ist_device_link link;
    int hint_gid_index;
    uint64_t timeout_ns; /* of each step */
};

/* options: written on OK. error: IST_DOCTOR_ERROR_MAX bytes, one line on INVALID. Returns OK, INVALID. */
enum ist_status ist_doctor_options_parse(int argc, char *const *argv,
                                         struct ist_doctor_options *options, char *error);
const char *ist_doctor_help(void);

#endif
