#include "daemon/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define TEXT_BYTES 8192
#define HUGE_PAGE_BYTES (2ull << 20)
/* A cache that dies takes its contents along; everything else on such a machine starts again cheaply. Not
 * -1000: a daemon that leaks must still be killable. */
#define OOM_SCORE_ADJ "-900"

/* The file's first TEXT_BYTES - 1 bytes as a string; false when it cannot be read. */
static bool read_text(const char *path, char text[TEXT_BYTES]) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t bytes = read(fd, text, TEXT_BYTES - 1);
    close(fd);
    if (bytes < 0) {
        return false;
    }
    text[bytes] = '\0';
    return true;
}

/* The number in a file of one number; UINT64_MAX for "max" and for no such file. */
static uint64_t read_number(const char *directory, const char *name) {
    char path[PATH_BYTES + 64];
    char text[TEXT_BYTES];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    if (!read_text(path, text) || text[0] < '0' || text[0] > '9') {
        return UINT64_MAX;
    }
    return strtoull(text, NULL, 10);
}

/* "name:  value kB" or "name value" in a text of lines; false when there is none. */
static bool find_number(const char *text, const char *name, uint64_t *value) {
    size_t length = strlen(name);
    for (const char *line = text; line != NULL && *line != '\0';) {
        if (strncmp(line, name, length) == 0) {
            *value = strtoull(line + length, NULL, 10);
            return true;
        }
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    return false;
}

/* What one cgroup's limit leaves. The page cache counts as used but gives way, so it is added back. */
static uint64_t cgroup_left(const char *directory, const char *limit_name, const char *usage_name) {
    uint64_t limit = read_number(directory, limit_name);
    uint64_t usage = read_number(directory, usage_name);
    if (limit == UINT64_MAX || usage == UINT64_MAX) {
        return UINT64_MAX;
    }
    char path[PATH_BYTES + 64];
    char text[TEXT_BYTES];
    uint64_t cache = 0;
    snprintf(path, sizeof(path), "%s/memory.stat", directory);
    if (read_text(path, text)) {
        (void)(find_number(text, "inactive_file ", &cache) ||
               find_number(text, "total_inactive_file ", &cache));
    }
    usage -= cache < usage ? cache : usage;
    return limit > usage ? limit - usage : 0;
}

/* The least that the group at mount + group, or a parent of it, leaves. */
static uint64_t cgroup_chain_left(const char *mount, const char *group, const char *limit_name,
                                  const char *usage_name) {
    char directory[PATH_BYTES];
    int length = snprintf(directory, sizeof(directory), "%s%s", mount, group);
    if (length < 0 || (size_t)length >= sizeof(directory)) {
        return UINT64_MAX;
    }
    size_t mount_length = strlen(mount);
    uint64_t least = UINT64_MAX;
    for (;;) {
        uint64_t left = cgroup_left(directory, limit_name, usage_name);
        least = left < least ? left : least;
        char *slash = strrchr(directory + mount_length, '/');
        if (slash == NULL) {
            return least;
        }
        *slash = '\0';
    }
}

static uint64_t cgroups_left(const char *root) {
    char path[PATH_BYTES];
    char text[TEXT_BYTES];
    snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    if (!read_text(path, text)) {
        return UINT64_MAX;
    }
    uint64_t least = UINT64_MAX;
    char *rest = NULL;
    /* man 7 cgroups: hierarchy-ID:controller-list:cgroup-path */
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char *controllers = strchr(line, ':');
        char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
        if (group == NULL) {
            continue;
        }
        *group++ = '\0';
        controllers++;
        uint64_t left = UINT64_MAX;
        char mount[PATH_BYTES];
        if (controllers[0] == '\0') {
            snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup", root);
            left = cgroup_chain_left(mount, group, "memory.max", "memory.current");
        } else if (strcmp(controllers, "memory") == 0) {
            snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup/memory", root);
            left = cgroup_chain_left(mount, group, "memory.limit_in_bytes", "memory.usage_in_bytes");
        }
        least = left < least ? left : least;
    }
    return least;
}

uint64_t ist_machine_available_bytes(const char *root) {
    char path[PATH_BYTES];
    char text[TEXT_BYTES];
    uint64_t available = UINT64_MAX;
    uint64_t kib;
    snprintf(path, sizeof(path), "%s/proc/meminfo", root);
    if (read_text(path, text) && find_number(text, "MemAvailable:", &kib)) {
        available = kib * 1024;
    }
    uint64_t left = cgroups_left(root);
    return left < available ? left : available;
}

uint64_t ist_machine_reserved_bytes(const char *root) {
    char directory[PATH_BYTES];
    snprintf(directory, sizeof(directory), "%s/sys/kernel/mm/hugepages/hugepages-2048kB", root);
    uint64_t unused = read_number(directory, "free_hugepages");
    uint64_t promised = read_number(directory, "resv_hugepages");
    return unused == UINT64_MAX || promised >= unused ? 0 : (unused - promised) * HUGE_PAGE_BYTES;
}

static uint64_t raise_descriptors(const struct ist_log *log) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        ist_log_warning(log, 0, "cannot read the limit of descriptors: %s", strerror(errno));
        return 1024;
    }
    if (limit.rlim_cur < limit.rlim_max) {
        rlim_t soft = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            ist_log_warning(log, 0, "cannot raise the limit of descriptors: %s", strerror(errno));
            return soft;
        }
    }
    return limit.rlim_cur;
}

static void lower_oom_score(const struct ist_log *log) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    ssize_t written = fd < 0 ? -1 : write(fd, OOM_SCORE_ADJ, strlen(OOM_SCORE_ADJ));
    if (written < 0) {
        ist_log_debug(log, 0, "cannot lower oom_score_adj: %s", strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
}

/* The next socket would take the place of a closed one, and the log be written to a client. */
static void occupy_standard_descriptors(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
            (void)!open("/dev/null", O_RDWR); /* the lowest free number is this one */
        }
    }
}

uint64_t ist_machine_prepare(const struct ist_log *log) {
    occupy_standard_descriptors();
    signal(SIGPIPE, SIG_IGN);
    lower_oom_score(log);
    return raise_descriptors(log);
}
