#include "tools/cli_output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/cli_options.h"
#include "tools/cli_signals.h"

#define PIECE_BYTES ((size_t)4 << 20) /* written between two looks for a signal */

static enum ist_cli_exit failed(const char *name, char *error) {
    snprintf(error, IST_CLI_ERROR_MAX, "cannot write %s: %s", name, strerror(errno));
    return IST_CLI_LOCAL;
}

/* False and errno. Waits also on a descriptor that somebody made non-blocking. */
static bool write_piece(int fd, const uint8_t *data, size_t bytes) {
    while (bytes > 0) {
        ssize_t put = write(fd, data, bytes);
        if (put >= 0) {
            data += put;
            bytes -= (size_t)put;
        } else if (errno == EAGAIN) {
            (void)poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1);
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

enum ist_cli_exit ist_cli_output_fd(int fd, const char *name, const void *data, size_t bytes,
                                    char *error) {
    return write_piece(fd, data, bytes) ? IST_CLI_DONE : failed(name, error);
}

/* ---- a file, whole or not at all ---------------------------------------------------------------------- */

struct output {
    const uint8_t *data;
    size_t bytes;
    mode_t mode;     /* of the file that is replaced; 0: none is there, the umask decides */
    sigset_t ending; /* the signals that would end this program; blocked while a file is unfinished */
};

static bool is_to_end(const struct output *output) {
    sigset_t pending, both;
    return sigpending(&pending) == 0 && sigandset(&both, &pending, &output->ending) == 0 &&
           !sigisemptyset(&both);
}

/* False and errno: EINTR when a signal waits. */
static bool write_pieces(int fd, const struct output *output) {
    for (size_t at = 0; at < output->bytes; at += PIECE_BYTES) {
        size_t left = output->bytes - at;
        if (is_to_end(output)) {
            errno = EINTR;
            return false;
        }
        if (!write_piece(fd, output->data + at, left < PIECE_BYTES ? left : PIECE_BYTES)) {
            return false;
        }
    }
    return true;
}

/* A new file beside path. -1 and errno. */
static int open_beside(const char *path, char *beside, size_t room) {
    const char *slash = strrchr(path, '/');
    int directory_bytes = slash == NULL ? 0 : (int)(slash - path + 1);
    /* Its name is for people who find it after a power cut; cut so that it fits any file system. */
    int length = snprintf(beside, room, "%.*s.%.100s.%ld.part", directory_bytes, path,
                          path + directory_bytes, (long)getpid());
    if (length < 0 || (size_t)length >= room) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
}

/* False and errno. */
static bool replace(const char *path, const struct output *output) {
    char beside[PATH_MAX];
    int fd = open_beside(path, beside, sizeof(beside));
    if (fd < 0) {
        return false;
    }
    bool written = (output->mode == 0 || fchmod(fd, output->mode) == 0) && write_pieces(fd, output);
    int cause = errno;
    if (close(fd) != 0 && written) {
        written = false; /* NFS and quotas report late */
        cause = errno;
    }
    if (written && rename(beside, path) != 0) {
        written = false;
        cause = errno;
    }
    if (!written) {
        (void)unlink(beside);
    }
    errno = cause;
    return written;
}

/* What is no regular file has no name that could be replaced. False and errno. */
static bool write_in_place(const char *path, const struct output *output) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool written = write_piece(fd, output->data, output->bytes);
    int cause = errno;
    if (close(fd) != 0 && written) {
        written = false;
        cause = errno;
    }
    errno = cause;
    return written;
}

static bool replace_guarded(const char *path, struct output *output) {
    sigset_t before;
    static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    ist_cli_signals_heeded(ending, sizeof(ending) / sizeof(ending[0]), &output->ending);
    sigprocmask(SIG_BLOCK, &output->ending, &before);
    bool written = replace(path, output);
    int cause = errno;
    sigprocmask(SIG_SETMASK, &before, NULL); /* a signal that waits ends the program here */
    errno = cause;
    return written;
}

enum ist_cli_exit ist_cli_output_file(const char *path, const void *data, size_t bytes, char *error) {
    struct output output = {.data = data, .bytes = bytes};
    struct stat info;
    bool there = stat(path, &info) == 0;
    bool written;
    if (there && !S_ISREG(info.st_mode)) {
        written = write_in_place(path, &output);
    } else {
        char resolved[PATH_MAX];
        const char *target = there && realpath(path, resolved) != NULL ? resolved : path;
        output.mode = there ? info.st_mode & 0777 : 0;
        written = replace_guarded(target, &output);
    }
    return written ? IST_CLI_DONE : failed(path, error);
}
