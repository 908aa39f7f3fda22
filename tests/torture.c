/* Preloaded into a program of ours, fails one of the calls that it makes to the C library: the TORTURE_NTH of all those
 * below (from 1; 0: none), or with TORTURE_MANY every one from there on. Calls of libraries do not count. What was failed,
 * and at the exit how many calls there were, is appended to TORTURE_LOG. See ci/torture. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

static struct {
    uintptr_t begin, end; /* of the program's own code */
    unsigned long nth;
    bool many;
    int log_fd;
    atomic_ulong calls;
} torture = {.log_fd = -1};

static void say(const char *word, const char *what) {
    char line[128];
    int length = snprintf(line, sizeof(line), "%s %s\n", word, what);
    syscall(SYS_write, torture.log_fd, line, (size_t)length);
}

static int note_program(struct dl_phdr_info *info, size_t bytes, void *context) {
    (void)bytes;
    (void)context;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && (part->p_flags & PF_X) != 0) {
            torture.begin = info->dlpi_addr + part->p_vaddr;
            torture.end = torture.begin + part->p_memsz;
        }
    }
    return 1; /* the first one is the program */
}

__attribute__((constructor)) static void begin(void) {
    const char *nth = getenv("TORTURE_NTH"), *log = getenv("TORTURE_LOG");
    if (nth == NULL || log == NULL) {
        return;
    }
    torture.log_fd =
        (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    torture.many = getenv("TORTURE_MANY") != NULL;
    torture.nth = strtoul(nth, NULL, 10);
    dl_iterate_phdr(note_program, NULL);
}

__attribute__((destructor)) static void end(void) {
    char number[32];
    snprintf(number, sizeof(number), "%lu", atomic_load(&torture.calls));
    say("calls", number);
}

static bool fails(const void *caller, const char *name) {
    if ((uintptr_t)caller < torture.begin || (uintptr_t)caller >= torture.end) {
        return false;
    }
    unsigned long call = atomic_fetch_add(&torture.calls, 1) + 1;
    if (torture.nth == 0 || (torture.many ? call < torture.nth : call != torture.nth)) {
        return false;
    }
    say("failed", name);
    return true;
}

/* A call that returns `failed`, with this errno. */
#define WRAP(type, name, parameters, arguments, failed, error)                                         \
    __attribute__((visibility("default"))) type name parameters {                                      \
        static type(*real) parameters;                                                                 \
        if (real == NULL) {                                                                            \
            real = (type(*) parameters)dlsym(RTLD_NEXT, #name);                                        \
        }                                                                                              \
        if (fails(__builtin_return_address(0), #name)) {                                               \
            errno = error;                                                                             \
            return failed;                                                                             \
        }                                                                                              \
        return real arguments;                                                                         \
    }

#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wshadow"

WRAP(int, socket, (int domain, int type, int protocol), (domain, type, protocol), -1, EMFILE)
WRAP(int, bind, (int fd, const struct sockaddr *to, socklen_t bytes), (fd, to, bytes), -1, EADDRINUSE)
WRAP(int, listen, (int fd, int backlog), (fd, backlog), -1, EADDRINUSE)
WRAP(int, connect, (int fd, const struct sockaddr *to, socklen_t bytes), (fd, to, bytes), -1,
     ENETUNREACH)
WRAP(int, accept4, (int fd, struct sockaddr *from, socklen_t *bytes, int flags),
     (fd, from, bytes, flags), -1, EMFILE)
WRAP(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t bytes),
     (fd, level, name, value, bytes), -1, ENOBUFS)
WRAP(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *bytes),
     (fd, level, name, value, bytes), -1, ENOBUFS)
WRAP(int, getsockname, (int fd, struct sockaddr *to, socklen_t *bytes), (fd, to, bytes), -1, ENOBUFS)
WRAP(int, shutdown, (int fd, int how), (fd, how), -1, ENOTCONN)
WRAP(ssize_t, read, (int fd, void *to, size_t bytes), (fd, to, bytes), -1, EIO)
WRAP(ssize_t, readv, (int fd, const struct iovec *to, int count), (fd, to, count), -1, ECONNRESET)
WRAP(ssize_t, recv, (int fd, void *to, size_t bytes, int flags), (fd, to, bytes, flags), -1, ECONNRESET)
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *to, int flags), (fd, to, flags), -1, ECONNRESET)
WRAP(ssize_t, writev, (int fd, const struct iovec *from, int count), (fd, from, count), -1, EPIPE)
WRAP(ssize_t, send, (int fd, const void *from, size_t bytes, int flags), (fd, from, bytes, flags), -1,
     EPIPE)
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *from, int flags), (fd, from, flags), -1, EPIPE)
WRAP(int, eventfd, (unsigned count, int flags), (count, flags), -1, EMFILE)
WRAP(int, timerfd_create, (clockid_t clock, int flags), (clock, flags), -1, EMFILE)
WRAP(int, timerfd_settime, (int fd, int flags, const struct itimerspec *at, struct itimerspec *before),
     (fd, flags, at, before), -1, ECANCELED)
WRAP(int, epoll_create1, (int flags), (flags), -1, EMFILE)
WRAP(int, epoll_ctl, (int fd, int what, int other, struct epoll_event *event), (fd, what, other, event),
     -1, ENOMEM)
WRAP(int, poll, (struct pollfd * polled, nfds_t count, int ms), (polled, count, ms), -1, EINTR)
WRAP(int, ppoll,
     (struct pollfd * polled, nfds_t count, const struct timespec *time, const sigset_t *signals),
     (polled, count, time, signals), -1, EINTR)
WRAP(void *, mmap, (void *at, size_t bytes, int access, int flags, int fd, off_t offset),
     (at, bytes, access, flags, fd, offset), MAP_FAILED, ENOMEM)
WRAP(int, madvise, (void *at, size_t bytes, int advice), (at, bytes, advice), -1, EINVAL)
WRAP(ssize_t, getrandom, (void *to, size_t bytes, unsigned flags), (to, bytes, flags), -1, ENOSYS)
WRAP(FILE *, fopen, (const char *path, const char *mode), (path, mode), NULL, EACCES)
WRAP(int, rename, (const char *from, const char *to), (from, to), -1, EACCES)
WRAP(int, getaddrinfo,
     (const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found),
     (name, service, hints, found), EAI_MEMORY, 0)
WRAP(int, pthread_create,
     (pthread_t * thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument),
     (thread, attributes, run, argument), EAGAIN, EAGAIN)

/* What goes to standard error is how a failure is told. */
__attribute__((visibility("default"))) ssize_t write(int fd, const void *from, size_t bytes) {
    static ssize_t (*real)(int, const void *, size_t);
    if (real == NULL) {
        real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    }
    if (fd != STDERR_FILENO && fails(__builtin_return_address(0), "write")) {
        errno = EIO;
        return -1;
    }
    return real(fd, from, bytes);
}

__attribute__((visibility("default"))) int open(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    va_list list;
    va_start(list, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0;
    va_end(list);
    if (real == NULL) {
        real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    }
    if (fails(__builtin_return_address(0), "open")) {
        errno = EACCES;
        return -1;
    }
    return real(path, flags, mode);
}

/* glibc's own names: dlsym() itself may want memory. */
void *__libc_malloc(size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);

__attribute__((visibility("default"))) void *malloc(size_t bytes) {
    if (fails(__builtin_return_address(0), "malloc")) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_malloc(bytes);
}

__attribute__((visibility("default"))) void *realloc(void *memory, size_t bytes) {
    if (fails(__builtin_return_address(0), "realloc")) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_realloc(memory, bytes);
}
