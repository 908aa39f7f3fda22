#include "daemon/announce.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void ist_announce_log(const struct ist_log *log, const struct ist_announcement *announcements,
                      size_t count) {
    char line[IST_ANNOUNCE_LINE_MAX] = "";
    size_t used = 0;
    for (size_t i = 0; i < count && used < sizeof(line); i++) {
        int more = snprintf(line + used, sizeof(line) - used, "%s%s %s", i == 0 ? "" : ", ",
                            announcements[i].kind, announcements[i].address);
        used += more > 0 ? (size_t)more : 0;
    }
    ist_log_info(log, 0, "ready: %s", line);
}

static bool write_lines(FILE *file, const struct ist_announcement *announcements, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (fprintf(file, "%s %s\n", announcements[i].kind, announcements[i].address) < 0) {
            return false;
        }
    }
    return true;
}

enum ist_status ist_announce_file(const struct ist_log *log, const char *path,
                                  const struct ist_announcement *announcements, size_t count,
                                  struct ist_announced *announced) {
    struct stat made;
    char beside[PATH_MAX];
    int length = snprintf(beside, sizeof(beside), "%s.%ld", path, (long)getpid());
    if (length < 0 || (size_t)length >= sizeof(beside)) {
        errno = ENAMETOOLONG;
        goto no_file;
    }
    FILE *file = fopen(beside, "we");
    if (file == NULL) {
        goto no_file;
    }
    bool written = fstat(fileno(file), &made) == 0 && write_lines(file, announcements, count);
    written = fclose(file) == 0 && written;
    if (!written || rename(beside, path) != 0) {
        int saved = errno;
        (void)unlink(beside);
        errno = saved;
        goto no_file;
    }
    *announced = (struct ist_announced){.device = made.st_dev, .inode = made.st_ino};
    return IST_OK;

no_file:
    ist_log_error(log, 0, "cannot write the port file %s: %s", path, strerror(errno));
    return IST_CONFIG;
}

void ist_announce_remove(const char *path, const struct ist_announced *announced) {
    struct stat found;
    if (lstat(path, &found) == 0 && found.st_dev == announced->device &&
        found.st_ino == announced->inode) {
        (void)unlink(path);
    }
}
