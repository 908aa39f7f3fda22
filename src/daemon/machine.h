/* What the machine, or the container around us, can give: read from the kernel's own files. */
#ifndef IST_DAEMON_MACHINE_H
#define IST_DAEMON_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"

/* Memory that can be had now without swapping and without the kernel killing somebody: MemAvailable, or
 * less where a memory cgroup (v1 or v2, with its parents) leaves less. root: put before /proc and /sys, ""
 * outside of tests. UINT64_MAX when the kernel does not tell. */
uint64_t ist_machine_available_bytes(const char *root);

/* Of the huge pages of 2 MiB that are set aside (man 5 proc: they are not in MemAvailable), those that nobody has or
 * was promised. */
uint64_t ist_machine_reserved_bytes(const char *root);

/* What a process needs before it serves thousands of sockets: SIGPIPE ignored, as many descriptors as
 * allowed, standard descriptors that nothing else takes, and to be the last that the kernel kills, where
 * permitted. Logs what it could not get. Returns how many descriptors there can be. */
uint64_t ist_machine_prepare(const struct ist_log *log);

#endif
