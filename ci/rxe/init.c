/* PID 1 of the kernel that ci/rxe/boot starts, user-mode Linux or QEMU; static, so that it needs nothing from
 * any file system.
 *
 * It lays a layer of memory over the host's files, runs one command there, hands on its output, ends it when its
 * time is up, writes how it ended, and switches the machine off.
 *
 * The kernel's command line says
 *   rxe.dir=DIRECTORY  the run's directory on the host (see below)
 *   rxe.out=DIRECTORY  may be written through to the host (optional)
 *   rxe.limit=SECONDS  for the command
 *   rxe.merged=1       one channel carries both outputs
 * and the run's directory holds
 *   argv, environment  the command's, each string ended by a zero byte
 *   cwd                where it runs
 *   cpuinfo            takes the place of /proc/cpuinfo (optional)
 *   stop               once it appears, the command gets SIGTERM
 *   code               written here: the exit code, 128+N after signal N, 124 after the time limit
 * No `code` means that the run failed before the command could end. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
    LIMIT_CODE = 124,
    STRINGS_MAX = 4096,    // arguments, and variables of the environment
    STOP_POLL_MS = 50,     // how often `stop` is looked for
    STOP_GRACE_S = 5,      // from SIGTERM to SIGKILL
    DRAIN_S = 10,          // for output that waits when the command's time is over
    PORT_WAIT_MS = 5000,   // for the host's channels to appear
    QEMU_EXIT_PORT = 0xf4, // -device isa-debug-exit
};

#define RUN_DIR "/run/rxe" // the run's directory, seen from the command

struct relay {
    int from, to;
    bool terminal; // `to` is a serial line, which buffers
    pthread_t thread;
};

static char command_line[4096];

static _Noreturn void power_off(void) {
    sync();
    // A guest of QEMU leaves faster by its exit device than by ACPI; elsewhere the port is out of reach.
    if (ioperm(QEMU_EXIT_PORT, 4, 1) == 0)
        outl(0, QEMU_EXIT_PORT);
    reboot(RB_POWER_OFF);
    _exit(1);
}

/* Standard error is the console, which ci/rxe/boot shows when there is no `code`. */
static _Noreturn void give_up(const char *what) {
    fprintf(stderr, "rxe init: %s: %s\n", what, strerror(errno));
    power_off();
}

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The value of KEY=VALUE on the kernel's command line, or NULL. Owned by the caller, who never frees it. */
static char *parameter(const char *key) {
    size_t length = strlen(key);
    char *copy = strdup(command_line), *rest = NULL;
    if (!copy)
        give_up("parameters");
    for (char *word = strtok_r(copy, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest))
        if (strncmp(word, key, length) == 0 && word[length] == '=')
            return word + length + 1;
    return NULL;
}

/* The whole file, with a zero byte behind it. */
static char *contents(const char *path, size_t *bytes) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t room = 1 << 20, used = 0;
    char *buffer = malloc(room + 1);
    if (fd < 0 || !buffer)
        give_up(path);
    for (ssize_t n = 1; n > 0;) {
        if (used == room) {
            errno = EFBIG;
            give_up(path);
        }
        n = read(fd, buffer + used, room - used);
        if (n < 0)
            give_up(path);
        used += (size_t)n;
    }
    close(fd);
    buffer[used] = 0;
    if (bytes)
        *bytes = used;
    return buffer;
}

/* A file of strings that each end in a zero byte, as an array that ends in NULL. */
static char **strings(const char *path) {
    size_t bytes = 0, count = 0;
    char *text = contents(path, &bytes);
    char **list = calloc(STRINGS_MAX + 1, sizeof *list);
    if (!list)
        give_up(path);
    for (char *s = text; s < text + bytes; s += strlen(s) + 1) {
        if (count == STRINGS_MAX) {
            errno = E2BIG;
            give_up(path);
        }
        list[count++] = s;
    }
    return list;
}

// ---- the machine ---------------------------------------------------------------------------------

static void directory(const char *path) {
    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        give_up(path);
}

/* The directory and those above it. */
static void directories(const char *path) {
    char *copy = strdup(path);
    if (!copy)
        give_up(path);
    for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        directory(copy);
        *slash = '/';
    }
    directory(copy);
    free(copy);
}

static void attach(const char *source, const char *path, const char *type, unsigned long flags,
                   const char *options) {
    directory(path);
    if (mount(source, path, type, flags, options) != 0)
        give_up(path);
}

/* Modules that the image brought along, in the order of /modules/order. UML has all it needs inside. */
static void load_modules(void) {
    FILE *order = fopen("/modules/order", "r");
    char name[128], path[160];
    if (!order)
        return;
    while (fgets(name, sizeof name, order)) {
        name[strcspn(name, "\n")] = 0;
        snprintf(path, sizeof path, "/modules/%s", name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST))
            give_up(path);
        close(fd);
    }
    fclose(order);
}

/* The host's directory at `path` of the new root, written through. */
static void attach_host(bool uml, const char *tag, const char *host_directory, const char *path) {
    if (uml)
        attach("host", path, "hostfs", 0, host_directory);
    else
        attach(tag, path, "9p", 0, "trans=virtio,version=9p2000.L,msize=512000,cache=none");
}

/* The host's files with a layer of memory over them; on return the working directory is the new root. */
static void build_root(bool uml) {
    const char *base = "/";
    if (!uml) {
        base = "/host";
        attach("host", base, "9p", MS_RDONLY, "trans=virtio,version=9p2000.L,msize=512000,cache=loose");
    }
    // On UML the root itself is the host's, read-only: /mnt is the one directory that exists anywhere.
    char options[256];
    attach("layer", "/mnt", "tmpfs", 0, "mode=755");
    directory("/mnt/upper");
    directory("/mnt/work");
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=/mnt/upper,workdir=/mnt/work", base);
    attach("root", "/mnt/root", "overlay", 0, options);
    if (chdir("/mnt/root") != 0)
        give_up("/mnt/root");
}

static void fill_root(bool uml, const char *run_dir, const char *out_dir) {
    attach("proc", "proc", "proc", 0, NULL);
    attach("sys", "sys", "sysfs", 0, NULL);
    attach("dev", "dev", "devtmpfs", 0, NULL);
    attach("pts", "dev/pts", "devpts", 0, "ptmxmode=0666");
    attach("shm", "dev/shm", "tmpfs", 0, NULL);
    static const char *const links[][2] = {{"/proc/self/fd", "dev/fd"},
                                           {"/proc/self/fd/0", "dev/stdin"},
                                           {"/proc/self/fd/1", "dev/stdout"},
                                           {"/proc/self/fd/2", "dev/stderr"}};
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        if (symlink(links[i][0], links[i][1]) != 0 && errno != EEXIST)
            give_up(links[i][1]);
    directories(&RUN_DIR[1]);
    attach_host(uml, "run", run_dir, &RUN_DIR[1]);
    if (!out_dir)
        return;
    directories(&out_dir[1]); // below /dev, what the host has there is covered
    attach_host(uml, "out", out_dir, &out_dir[1]);
}

static void loopback_up(void) {
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) != 0)
        give_up("lo");
    close(fd);
}

// ---- the output ----------------------------------------------------------------------------------

/* The virtio port that the host called `name`, or -1. */
static int find_port(const char *name) {
    DIR *ports = opendir("/sys/class/virtio-ports");
    int found = -1;
    if (!ports)
        return -1;
    for (struct dirent *entry; found < 0 && (entry = readdir(ports));) {
        char path[320], label[64] = {0};
        snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        ssize_t n = read(fd, label, sizeof label - 1);
        close(fd);
        label[strcspn(label, "\n")] = 0;
        if (n <= 0 || strcmp(label, name) != 0)
            continue;
        snprintf(path, sizeof path, "/dev/%s", entry->d_name);
        found = open(path, O_WRONLY | O_CLOEXEC);
    }
    closedir(ports);
    return found;
}

/* UML: serial line 0 or 1, made transparent. QEMU: a virtio port, which may appear a little late. */
static int open_channel(bool uml, bool error) {
    if (uml) {
        struct termios line;
        int fd = open(error ? "/dev/ttyS1" : "/dev/ttyS0", O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (fd < 0 || tcgetattr(fd, &line) != 0)
            give_up("serial line");
        cfmakeraw(&line);
        if (tcsetattr(fd, TCSANOW, &line) != 0)
            give_up("serial line");
        return fd;
    }
    const char *name = error ? "err" : "out";
    for (int waited = 0; waited < PORT_WAIT_MS; waited += 5) {
        int fd = find_port(name);
        if (fd >= 0)
            return fd;
        usleep(5000);
    }
    errno = ENODEV;
    give_up(name);
}

static void *relay_run(void *argument) {
    struct relay *relay = argument;
    char buffer[65536];
    for (ssize_t n; (n = read(relay->from, buffer, sizeof buffer)) != 0;) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        for (ssize_t done = 0; done < n;) {
            ssize_t m = write(relay->to, buffer + done, (size_t)(n - done));
            if (m < 0 && errno != EINTR)
                return NULL;
            if (m > 0)
                done += m;
        }
    }
    if (relay->terminal)
        tcdrain(relay->to);
    return NULL;
}

/* The command writes into a pipe, as it would under `make`, and not to a terminal. Returns its writing end. */
static int relay_start(struct relay *relay, bool uml, bool error) {
    int ends[2];
    relay->to = open_channel(uml, error);
    relay->terminal = uml;
    if (pipe2(ends, O_CLOEXEC) != 0)
        give_up("pipe");
    relay->from = ends[0];
    if (pthread_create(&relay->thread, NULL, relay_run, relay) != 0)
        give_up("relay");
    return ends[1];
}

static void relay_finish(struct relay *relay) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DRAIN_S;
    if (pthread_timedjoin_np(relay->thread, NULL, &until) != 0)
        fprintf(stderr, "rxe init: nobody reads the output\n");
}

// ---- the command ---------------------------------------------------------------------------------

static _Noreturn void execute(char **argv, char **environment, const char *cwd, int out, int err) {
    struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY}, files = {1024, 1 << 20};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    int in = open("/dev/null", O_RDONLY);
    if (in < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
        _exit(125);
    if (in > 0)
        close(in);
    if (setrlimit(RLIMIT_MEMLOCK, &unlimited) != 0 || setrlimit(RLIMIT_NOFILE, &files) != 0 ||
        chdir(cwd) != 0) {
        fprintf(stderr, "rxe: %s: %s\n", cwd, strerror(errno));
        _exit(125);
    }
    execve(argv[0], argv, environment);
    fprintf(stderr, "rxe: %s: %s\n", argv[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

/* Until the command has ended, by itself or by `stop`, or until its time is over: `late`. Returns its exit code. */
static int watch(pid_t command, int64_t limit_ms, bool *late) {
    int64_t end = now_ms() + limit_ms;
    bool limited = true, stopping = false;
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    for (;;) {
        int status;
        for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
            if (pid == command)
                return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        if (now_ms() >= end) {
            *late = limited;
            return limited ? LIMIT_CODE : 128 + SIGKILL;
        }
        if (!stopping && access(RUN_DIR "/stop", F_OK) == 0) {
            stopping = true;
            kill(-command, SIGTERM);
            if (end > now_ms() + STOP_GRACE_S * 1000) {
                end = now_ms() + STOP_GRACE_S * 1000;
                limited = false;
            }
        }
        struct timespec nap = {.tv_nsec = STOP_POLL_MS * 1000000};
        sigtimedwait(&child, NULL, &nap);
    }
}

static void write_code(int code) {
    char text[16];
    int length = snprintf(text, sizeof text, "%d\n", code);
    int fd = open(RUN_DIR "/code", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text, (size_t)length) != length || fsync(fd) != 0)
        give_up(RUN_DIR "/code");
    close(fd);
}

static int run(bool uml, bool merged, int64_t limit_ms) {
    char **argv = strings(RUN_DIR "/argv");
    char **environment = strings(RUN_DIR "/environment");
    char *cwd = contents(RUN_DIR "/cwd", NULL);
    struct relay relays[2];
    int out = relay_start(&relays[0], uml, false);
    int err = merged ? out : relay_start(&relays[1], uml, true);
    if (!argv[0])
        give_up("no command");

    pid_t command = fork();
    if (command < 0)
        give_up("fork");
    if (command == 0)
        execute(argv, environment, cwd, out, err);
    bool late = false;
    int code = watch(command, limit_ms, &late);

    // Whatever the command left running ends with it; then the pipes have no writer, and the relays end.
    kill(-1, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0)
        continue;
    if (late) // behind all that the command said
        dprintf(err, "rxe: the time limit of %lld s is over\n", (long long)limit_ms / 1000);
    close(out);
    if (!merged)
        close(err);
    relay_finish(&relays[0]);
    if (!merged)
        relay_finish(&relays[1]);
    return code;
}

int main(void) {
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL); // for watch(); inherited by the relays

    attach("proc", "/proc", "proc", 0, NULL);
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, command_line, sizeof command_line - 1) < 0)
        give_up("/proc/cmdline");
    close(fd);
    bool uml = parameter("rootfstype") != NULL; // QEMU starts from an image instead
    const char *run_dir = parameter("rxe.dir"), *limit = parameter("rxe.limit");
    if (!run_dir || !limit) {
        errno = EINVAL;
        give_up("rxe.dir, rxe.limit");
    }

    attach("sys", "/sys", "sysfs", 0, NULL);
    if (!uml)
        load_modules();
    build_root(uml);
    fill_root(uml, run_dir, parameter("rxe.out"));
    if (chroot(".") != 0 || chdir("/") != 0)
        give_up("chroot");
    if (access(RUN_DIR "/cpuinfo", F_OK) == 0 &&
        mount(RUN_DIR "/cpuinfo", "/proc/cpuinfo", NULL, MS_BIND, NULL) != 0)
        give_up("cpuinfo");
    if (sethostname("rxe", 3) != 0)
        give_up("host name");
    loopback_up();
    write_code(run(uml, parameter("rxe.merged") != NULL, atoll(limit) * 1000));
    power_off();
}
