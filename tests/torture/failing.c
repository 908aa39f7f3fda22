/* Preloaded into a program, fails one of the calls that it makes to the C library: the TORTURE_NTH of all those below (from
 * 1; 0: none), or with TORTURE_MANY every one from there on. Calls of libraries do not count; with TORTURE_MODULE it is the
 * library of that name whose calls do, and no others. What was failed, at the exit how many calls there were, and what has
 * not been given back by then, is appended to TORTURE_LOG. See ci/torture. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
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
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "tests/torture/held.h"

static struct {
    uintptr_t begin, end; /* of the code whose calls count */
    const char *module;   /* NULL: the program */
    unsigned long nth;
    bool many;
    int log_fd;
    atomic_ulong calls;
    atomic_bool has_failed;
} torture = {.log_fd = -1};

#define VISIBLE __attribute__((visibility("default")))

/* For who drives what is tortured. */
VISIBLE bool torture_has_failed(void);
VISIBLE bool torture_has_failed(void) {
    return atomic_load(&torture.has_failed);
}

static void say(const char *word, const char *what) {
    char line[200];
    int length = snprintf(line, sizeof(line), "%s %s\n", word, what);
    syscall(SYS_write, torture.log_fd, line, (size_t)length);
}

static int note_module(struct dl_phdr_info *info, size_t bytes, void *context) {
    (void)bytes;
    (void)context;
    if (torture.module != NULL && strstr(info->dlpi_name, torture.module) == NULL) {
        return 0;
    }
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && (part->p_flags & PF_X) != 0) {
            torture.begin = info->dlpi_addr + part->p_vaddr;
            torture.end = torture.begin + part->p_memsz;
        }
    }
    return 1; /* of all, the program is the first */
}

__attribute__((constructor)) static void begin(void) {
    const char *nth = getenv("TORTURE_NTH"), *log = getenv("TORTURE_LOG");
    if (nth == NULL || log == NULL) {
        return;
    }
    torture.log_fd =
        (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    torture.many = getenv("TORTURE_MANY") != NULL;
    torture.module = getenv("TORTURE_MODULE");
    torture.nth = strtoul(nth, NULL, 10);
    dl_iterate_phdr(note_module, NULL);
    held_begin();
}

static bool is_ours(const void *caller) {
    return (uintptr_t)caller >= torture.begin && (uintptr_t)caller < torture.end;
}

/* Memory that a library asked for on behalf of the program. The C library and others keep some of it for ever. */
static bool of_ours(const void *caller) {
    static const char *const libraries[] = {"/libev.", "/libmicrohttpd.", "/libtorture_hca."};
    Dl_info info;
    bool ours = is_ours(caller);
    for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]) && !ours; i++) {
        ours = dladdr(caller, &info) != 0 && strstr(info.dli_fname, libraries[i]) != NULL;
    }
    return ours;
}

static void say_held(const char *line) {
    say("held", line);
}

/* A thread that nobody joins gives back what it has when it ends. */
static void await_threads(void) {
    struct stat tasks;
    const struct timespec moment = {.tv_nsec = 1000000};
    for (unsigned i = 0; i < 5000 && stat("/proc/self/task", &tasks) == 0 && tasks.st_nlink > 3; i++) {
        nanosleep(&moment, NULL);
    }
}

__attribute__((destructor)) static void end(void) {
    char number[32];
    snprintf(number, sizeof(number), "%lu", atomic_load(&torture.calls));
    say("calls", number);
    await_threads();
    held_tell(of_ours, say_held);
}

static bool fails(const void *caller, const char *name) {
    if (!is_ours(caller)) {
        return false;
    }
    unsigned long call = atomic_fetch_add(&torture.calls, 1) + 1;
    if (torture.nth == 0 || (torture.many ? call < torture.nth : call != torture.nth)) {
        return false;
    }
    say("failed", name);
    atomic_store(&torture.has_failed, true);
    return true;
}

/* A call that returns `failed`, with this errno. */
#define WRAP(type, name, parameters, arguments, failed, error)                                         \
    VISIBLE type name parameters {                                                                     \
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
WRAP(int, madvise, (void *at, size_t bytes, int advice), (at, bytes, advice), -1, EINVAL)
WRAP(ssize_t, getrandom, (void *to, size_t bytes, unsigned flags), (to, bytes, flags), -1, ENOSYS)
WRAP(FILE *, fopen, (const char *path, const char *mode), (path, mode), NULL, EACCES)
WRAP(int, rename, (const char *from, const char *to), (from, to), -1, EACCES)
WRAP(int, unlink, (const char *path), (path), -1, EACCES)
WRAP(int, stat, (const char *path, struct stat *is), (path, is), -1, EACCES)
WRAP(int, lstat, (const char *path, struct stat *is), (path, is), -1, EACCES)
WRAP(int, fstat, (int fd, struct stat *is), (fd, is), -1, EIO)
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode), -1, EPERM)
WRAP(int, fflush, (FILE * file), (file), EOF, ENOSPC)
WRAP(FILE *, open_memstream, (char **text, size_t *bytes), (text, bytes), NULL, ENOMEM)
WRAP(char *, realpath, (const char *path, char *real_path), (path, real_path), NULL, EACCES)
WRAP(int, epoll_wait, (int fd, struct epoll_event *events, int count, int ms), (fd, events, count, ms),
     -1, EINTR)
WRAP(int, signalfd, (int fd, const sigset_t *signals, int flags), (fd, signals, flags), -1, EMFILE)
WRAP(int, getrlimit, (__rlimit_resource_t what, struct rlimit *limit), (what, limit), -1, EPERM)
WRAP(int, setrlimit, (__rlimit_resource_t what, const struct rlimit *limit), (what, limit), -1, EPERM)
WRAP(int, pthread_mutex_init, (pthread_mutex_t * lock, const pthread_mutexattr_t *attributes),
     (lock, attributes), EAGAIN, EAGAIN)
WRAP(int, pthread_cond_init, (pthread_cond_t * condition, const pthread_condattr_t *attributes),
     (condition, attributes), EAGAIN, EAGAIN)
WRAP(int, getnameinfo,
     (const struct sockaddr *of, socklen_t bytes, char *host, socklen_t host_bytes, char *service,
      socklen_t service_bytes, int flags),
     (of, bytes, host, host_bytes, service, service_bytes, flags), EAI_MEMORY, 0)

/* Whose write() fails only when its counter overflows (man eventfd): who writes 1 need not look. */
static bool is_eventfd(int fd) {
    char path[40], target[40] = "";
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return readlink(path, target, sizeof(target) - 1) > 0 && strstr(target, "[eventfd]") != NULL;
}

/* What goes to standard error is how a failure is told. */
VISIBLE ssize_t write(int fd, const void *from, size_t bytes) {
    static ssize_t (*real)(int, const void *, size_t);
    if (real == NULL) {
        real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    }
    if (fd != STDERR_FILENO && !is_eventfd(fd) && fails(__builtin_return_address(0), "write")) {
        errno = EIO;
        return -1;
    }
    return real(fd, from, bytes);
}

VISIBLE int open(const char *path, int flags, ...) {
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

VISIBLE int fcntl(int fd, int what, ...) {
    static int (*real)(int, int, ...);
    va_list list;
    va_start(list, what);
    void *argument = va_arg(list, void *); /* junk where there is none, which nobody looks at */
    va_end(list);
    if (real == NULL) {
        real = (int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl");
    }
    if (fails(__builtin_return_address(0), "fcntl")) {
        errno = EACCES;
        return -1;
    }
    return real(fd, what, argument);
}

/* It is closed all the same. */
VISIBLE int fclose(FILE *file) {
    bool failed = fails(__builtin_return_address(0), "fclose");
    int result = ((int (*)(FILE *))dlsym(RTLD_NEXT, "fclose"))(file);
    if (failed) {
        errno = ENOSPC;
        return EOF;
    }
    return result;
}

/* ---- what is to be given back ------------------------------------------------------------------------------- */

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

VISIBLE int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                        struct addrinfo **found) {
    if (fails(__builtin_return_address(0), "getaddrinfo")) {
        return EAI_MEMORY;
    }
    int result = REAL(getaddrinfo)(name, service, hints, found);
    if (result == 0) {
        held_add(HELD_NAMES, *found, 0, __builtin_return_address(0));
    }
    return result;
}

VISIBLE void freeaddrinfo(struct addrinfo *found) {
    held_remove(HELD_NAMES, found);
    REAL(freeaddrinfo)(found);
}

VISIBLE int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                           void *argument) {
    if (fails(__builtin_return_address(0), "pthread_create")) {
        return EAGAIN;
    }
    int result = REAL(pthread_create)(thread, attributes, run, argument);
    if (result == 0) {
        held_add(HELD_THREAD, (const void *)*thread, 0, __builtin_return_address(0));
    }
    return result;
}

/* Also takes it off the table: the next one may have the same number. */
VISIBLE int pthread_join(pthread_t thread, void **result) {
    held_remove(HELD_THREAD, (const void *)thread);
    return REAL(pthread_join)(thread, result);
}

VISIBLE int pthread_detach(pthread_t thread) {
    held_remove(HELD_THREAD, (const void *)thread);
    return REAL(pthread_detach)(thread);
}

VISIBLE void *mmap(void *at, size_t bytes, int access, int flags, int fd, off_t offset) {
    if (fails(__builtin_return_address(0), "mmap")) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    void *mapped = REAL(mmap)(at, bytes, access, flags, fd, offset);
    if (mapped != MAP_FAILED && is_ours(__builtin_return_address(0)) && (flags & MAP_FIXED) == 0) {
        held_map((long)bytes);
    }
    return mapped;
}

VISIBLE void *mremap(void *mapped, size_t bytes, size_t new_bytes, int flags, ...) {
    va_list list;
    va_start(list, flags);
    void *at = (flags & MREMAP_FIXED) != 0 ? va_arg(list, void *) : NULL;
    va_end(list);
    if (fails(__builtin_return_address(0), "mremap")) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    void *moved = REAL(mremap)(mapped, bytes, new_bytes, flags, at);
    if (moved != MAP_FAILED && is_ours(__builtin_return_address(0))) {
        held_map((long)new_bytes - (long)bytes - ((flags & MREMAP_FIXED) != 0 ? (long)new_bytes : 0));
    }
    return moved;
}

VISIBLE int munmap(void *mapped, size_t bytes) {
    int result = REAL(munmap)(mapped, bytes);
    if (result == 0 && is_ours(__builtin_return_address(0))) {
        held_map(-(long)bytes);
    }
    return result;
}

/* glibc's own names: dlsym() itself may want memory. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void __libc_free(void *memory);

VISIBLE void *malloc(size_t bytes) {
    if (fails(__builtin_return_address(0), "malloc")) {
        errno = ENOMEM;
        return NULL;
    }
    void *memory = __libc_malloc(bytes);
    held_add(HELD_MEMORY, memory, bytes, __builtin_return_address(0));
    return memory;
}

VISIBLE void *calloc(size_t count, size_t bytes) {
    if (fails(__builtin_return_address(0), "calloc")) {
        errno = ENOMEM;
        return NULL;
    }
    void *memory = __libc_calloc(count, bytes);
    held_add(HELD_MEMORY, memory, count * bytes, __builtin_return_address(0));
    return memory;
}

VISIBLE void *realloc(void *memory, size_t bytes) {
    if (fails(__builtin_return_address(0), "realloc")) {
        errno = ENOMEM;
        return NULL;
    }
    size_t old_bytes = 0;
    const void *old_caller = NULL;
    bool held = held_find(HELD_MEMORY, memory, &old_bytes, &old_caller);
    held_remove(HELD_MEMORY, memory);
    void *resized = __libc_realloc(memory, bytes);
    if (resized != NULL) {
        held_add(HELD_MEMORY, resized, bytes, __builtin_return_address(0));
    } else if (held && bytes > 0) {
        held_add(HELD_MEMORY, memory, old_bytes, old_caller);
    }
    return resized;
}

VISIBLE void free(void *memory) {
    held_remove(HELD_MEMORY, memory);
    __libc_free(memory);
}
