/* What the daemon was asked for: the command line, over the environment, over the defaults.
 *
 * Options are InfiniStore's own, and ours. Each also reads INFINISTORE_<OPTION>, e.g. INFINISTORE_LOG_LEVEL; an
 * empty variable counts as not set. Where an option is repeated, its last value holds; --host adds up. */
#ifndef IST_DAEMON_CONFIG_H
#define IST_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "infinistore/status.h"
#include "verbs/device.h"

#define IST_CONFIG_HOSTS_MAX 16
#define IST_CONFIG_HOST_BYTES 254 /* the longest name that DNS knows, and a NUL */
#define IST_CONFIG_ERROR_BYTES 256

struct ist_config {
    char hosts[IST_CONFIG_HOSTS_MAX][IST_CONFIG_HOST_BYTES];
    size_t host_count;
    uint16_t service_port, manage_port; /* 0: the kernel picks one */
    const char *unix_socket;            /* these four: NULL when not asked for; borrowed from argv or */
    const char *port_file;              /* the environment */
    const char *manage_token_file;
    const char *dev_name;
    enum ist_log_level log_level;
    uint64_t prealloc_bytes;
    uint64_t max_pool_bytes; /* 0: as the machine allows */
    uint64_t min_block_bytes;
    bool auto_increase, hugepages, periodic_evict;
    double evict_interval_sec;
    double evict_min_threshold, evict_max_threshold; /* shares of the pool */
    uint32_t sessions_max;
    uint64_t drain_timeout_ns;
    uint32_t ib_port;
    enum ist_device_link link_type;
    int32_t hint_gid_index; /* -1: none */
    uint32_t poll_us;       /* 0: sleep at once */
};

enum ist_wish { IST_WISH_SERVE, IST_WISH_HELP, IST_WISH_VERSION };

/* arguments: of main, the program's name first. environment: "NAME=value" strings, ends with NULL.
 * config, wish  written on OK. Help or version asked for: the rest of the command line does not matter.
 * error         on any but OK: one line without a newline that names the option or the variable.
 * Returns OK, CONFIG. */
enum ist_status ist_config_read(int count, char *const *arguments, char *const *environment,
                                struct ist_config *config, enum ist_wish *wish,
                                char error[IST_CONFIG_ERROR_BYTES]);

#endif
