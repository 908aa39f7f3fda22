#include "tools/cli_input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/size.h"
#include "tools/cli_options.h"

#define ROOM_MIN ((size_t)64 << 10)

/* 1 to `bytes`, 0 at the end, -1 and errno. Waits also on a descriptor that somebody made non-blocking. */
static ssize_t read_some(int fd, void *to, size_t bytes) {
    for (;;) {
        ssize_t got = read(fd, to, bytes);
        if (got < 0 && errno == EAGAIN) {
            (void)poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, -1);
        } else if (got >= 0 || errno != EINTR) {
            return got;
        }
    }
}

static enum ist_cli_exit too_large(const char *name, size_t limit, char *error) {
    char size[IST_SIZE_TEXT_MAX];
    snprintf(error, IST_CLI_ERROR_MAX, "%s is larger than the memory at hand, %s", name,
             ist_size_text(limit, size));
    return IST_CLI_LOCAL;
}

/* Room to begin with: the whole of a regular file and one byte, so that its end is seen without growing. */
static size_t first_room(int fd, size_t limit) {
    struct stat info;
    size_t room = ROOM_MIN;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
        room = (size_t)info.st_size + 1;
    }
    return room <= limit ? room : limit + 1;
}

static enum ist_cli_exit read_all(int fd, const char *name, size_t limit, struct ist_cli_input *input,
                                  char *error) {
    size_t room = first_room(fd, limit), bytes = 0;
    uint8_t *data = malloc(room);
    bool ended = false;
    while (data != NULL && !ended && bytes <= limit) {
        if (bytes == room) {
            /* limit + 1: the one byte more is what tells that it is too large */
            room = room <= limit / 2 ? 2 * room : limit + 1;
            uint8_t *more = realloc(data, room);
            if (more == NULL) {
                free(data);
            }
            data = more;
            continue;
        }
        ssize_t got = read_some(fd, data + bytes, room - bytes);
        if (got < 0) {
            snprintf(error, IST_CLI_ERROR_MAX, "cannot read %s: %s", name, strerror(errno));
            free(data);
            return IST_CLI_LOCAL;
        }
        ended = got == 0;
        bytes += (size_t)got;
    }
    if (data == NULL) {
        snprintf(error, IST_CLI_ERROR_MAX, "no memory for %s", name);
        return IST_CLI_LOCAL;
    }
    if (bytes > limit) {
        free(data);
        return too_large(name, limit, error);
    }
    *input = (struct ist_cli_input){.data = data, .bytes = bytes};
    return IST_CLI_DONE;
}

enum ist_cli_exit ist_cli_input_read(const char *path, size_t limit, struct ist_cli_input *input,
                                     char *error) {
    if (path == NULL || strcmp(path, "-") == 0) {
        return read_all(STDIN_FILENO, "standard input", limit, input, error);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        snprintf(error, IST_CLI_ERROR_MAX, "cannot open %s: %s", path, strerror(errno));
        return IST_CLI_LOCAL;
    }
    enum ist_cli_exit code = read_all(fd, path, limit, input, error);
    close(fd);
    return code;
}

/* ---- memory ------------------------------------------------------------------------------------------- */

/* A number at the start of the file, behind `label` when that is not "". False: there is none. */
static bool number_in(const char *path, const char *label, uint64_t *number) {
    FILE *file = fopen(path, "re");
    char line[256];
    bool found = false;
    while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL) {
        size_t skip = strlen(label);
        unsigned long long value;
        if (strncmp(line, label, skip) == 0 && sscanf(line + skip, "%llu", &value) == 1) {
            *number = value;
            found = true;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return found;
}

size_t ist_cli_memory_bytes(void) {
    uint64_t available, max, current;
    if (number_in("/proc/meminfo", "MemAvailable:", &available)) {
        available *= 1024; /* man proc_meminfo: in kibibytes */
    } else {
        available = SIZE_MAX / 2;
    }
    /* In a container this is the container's own group (cgroup v2); "max" is no number. */
    if (number_in("/sys/fs/cgroup/memory.max", "", &max) &&
        number_in("/sys/fs/cgroup/memory.current", "", &current)) {
        uint64_t left = max > current ? max - current : 0;
        available = left < available ? left : available;
    }
    return (size_t)available;
}
