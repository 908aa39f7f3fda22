#include "tests/integration/harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/integration/program.h"
#include "tests/integration/rdma.h"

#define SERVERS_MAX 4
#define ARGUMENTS_MAX 96

static struct server *servers[SERVERS_MAX]; /* those that run, for the teardown */

uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static const char *wrapper(void) {
    const char *words = getenv("INFINISTORE_WRAPPER");
    return words == NULL ? "" : words;
}

bool daemon_is_slow(void) {
    return wrapper()[0] != '\0';
}

bool daemon_memory_is_true(void) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return false;
#else
    return !daemon_is_slow();
#endif
}

const char *program_path(const char *name) {
    static char path[PATH_MAX + 32];
    char beside[PATH_MAX] = "";
    const char *daemon_path = getenv("INFINISTORE_BIN");
    if (daemon_path != NULL) {
        if (strcmp(name, "infinistore") == 0) {
            snprintf(path, sizeof(path), "%s", daemon_path);
            return path;
        }
        snprintf(beside, sizeof(beside), "%s", daemon_path);
        snprintf(path, sizeof(path), "%s/%s", dirname(beside), name);
        return path;
    }
    assert_true(readlink("/proc/self/exe", beside, sizeof(beside) - 1) > 0);
    /* BUILD/tests/integration/test_x */
    snprintf(path, sizeof(path), "%s/../../%s", dirname(beside), name);
    return path;
}

static void in_directory(const struct server *server, const char *name, char *path, size_t bytes) {
    snprintf(path, bytes, "%s/%s", server->directory, name);
}

static char *read_whole(const char *path) {
    FILE *file = fopen(path, "re");
    size_t bytes = 0, room = 1 << 16;
    char *text = malloc(room);
    assert_non_null(text);
    while (file != NULL) {
        bytes += fread(text + bytes, 1, room - bytes - 1, file);
        if (bytes < room - 1) {
            break;
        }
        room *= 2;
        text = realloc(text, room);
        assert_non_null(text);
    }
    if (file != NULL) {
        fclose(file);
    }
    text[bytes] = '\0';
    return text;
}

char *server_log(const struct server *server) {
    char path[128];
    in_directory(server, "log", path, sizeof(path));
    return read_whole(path);
}

static void remove_directory(const char *path) {
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return;
    }
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        if (entry->d_name[0] != '.') {
            unlinkat(dirfd(directory), entry->d_name, 0);
        }
    }
    closedir(directory);
    rmdir(path);
}

static void server_free(struct server *server) {
    for (size_t i = 0; i < SERVERS_MAX; i++) {
        if (servers[i] == server) {
            servers[i] = NULL;
        }
    }
    remove_directory(server->directory);
    close(server->pidfd);
    free(server);
}

static void show_log(const struct server *server) {
    char *text = server_log(server);
    print_error("---- log of daemon %d ----\n", (int)server->pid);
    size_t bytes = strlen(text), from = bytes > 16384 ? bytes - 16384 : 0;
    fprintf(stderr, "%s---- end of the log ----\n", text + from);
    free(text);
}

int servers_teardown(void **state) {
    (void)state;
    for (size_t i = 0; i < SERVERS_MAX; i++) {
        struct server *server = servers[i];
        if (server == NULL) {
            continue;
        }
        show_log(server);
        kill(server->pid, SIGKILL);
        waitpid(server->pid, NULL, 0);
        server_free(server);
    }
    return 0;
}

/* ---- start ------------------------------------------------------------------------------------- */

struct command {
    char wrapper[1024], port_file[128], service_port[16];
    const char *arguments[ARGUMENTS_MAX + 1];
    size_t count;
};

static void command_add(struct command *command, const char *argument) {
    assert_true(command->count < ARGUMENTS_MAX);
    command->arguments[command->count++] = argument;
    command->arguments[command->count] = NULL;
}

static void command_make(struct command *command, const struct server_setup *setup,
                         const struct server *server) {
    *command = (struct command){0};
    snprintf(command->wrapper, sizeof(command->wrapper), "%s", wrapper());
    char *rest = NULL;
    for (char *word = strtok_r(command->wrapper, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest)) {
        command_add(command, word);
    }
    in_directory(server, "ports", command->port_file, sizeof(command->port_file));
    snprintf(command->service_port, sizeof(command->service_port), "%u", setup->service_port);
    command_add(command, program_path("infinistore"));
    if (!setup->any_host) {
        command_add(command, "--host");
        command_add(command, "127.0.0.1");
    }
    command_add(command, "--service-port");
    command_add(command, command->service_port);
    command_add(command, "--manage-port");
    command_add(command, "0");
    command_add(command, "--port-file");
    command_add(command, command->port_file);
    if (rdma_is_here()) {
        command_add(command, "--dev-name");
        command_add(command, rdma_server_device());
    }
    for (size_t i = 0; setup->options != NULL && setup->options[i] != NULL; i++) {
        command_add(command, setup->options[i]);
    }
}

static void start_child(const struct command *command, const struct server_setup *setup, int log_fd,
                        pid_t parent) {
    program_child_begin(parent);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (dup2(null, 0) < 0 || dup2(log_fd, 1) < 0 || dup2(log_fd, 2) < 0) {
        _exit(126);
    }
    if (setup->descriptors != 0) {
        const struct rlimit limit = {setup->descriptors, setup->descriptors};
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            _exit(126);
        }
    }
    for (size_t i = 0; setup->environment != NULL && setup->environment[i] != NULL; i++) {
        putenv((char *)(uintptr_t)setup->environment[i]);
    }
    for (int fd = 0; setup->streams_closed && fd <= 2; fd++) {
        close(fd);
    }
    execvp(command->arguments[0], (char *const *)(uintptr_t)command->arguments);
    _exit(127);
}

/* Waits until the port file is there, or the daemon has ended. */
static void wait_until_ready(const struct server *server, int watch) {
    char path[128];
    in_directory(server, "ports", path, sizeof(path));
    uint64_t until_ns = now_ns() + PATIENCE_NS;
    while (access(path, R_OK) != 0) {
        struct pollfd polled[2] = {{.fd = watch, .events = POLLIN},
                                   {.fd = server->pidfd, .events = POLLIN}};
        uint64_t now = now_ns();
        int left_ms = now < until_ns ? (int)((until_ns - now) / 1000000) + 1 : 0;
        if (left_ms == 0 || poll(polled, 2, left_ms) == 0) {
            fail_msg("the daemon is not ready in time");
        }
        if (polled[1].revents != 0) {
            fail_msg("the daemon ended before it was ready");
        }
        char events[4096];
        ssize_t got = polled[0].revents != 0 ? read(watch, events, sizeof(events)) : 0;
        (void)got;
    }
}

static void read_ports(struct server *server) {
    char path[128];
    in_directory(server, "ports", path, sizeof(path));
    char *text = read_whole(path), *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char *address = strchr(line, ' ');
        assert_non_null(address);
        *address++ = '\0';
        assert_true(strlen(address) < SERVER_ADDRESS_BYTES);
        if (strcmp(line, "service") == 0) {
            assert_true(server->services < SERVER_ADDRESSES_MAX);
            strcpy(server->service[server->services++], address);
        } else if (strcmp(line, "manage") == 0) {
            assert_true(server->manages < SERVER_ADDRESSES_MAX);
            strcpy(server->manage[server->manages++], address);
        } else if (strcmp(line, "unix") == 0) {
            strcpy(server->unix_socket, address);
        } else {
            fail_msg("what is a %s in the port file?", line);
        }
    }
    free(text);
}

struct server *server_start_with(const struct server_setup *setup) {
    struct server *server = calloc(1, sizeof(*server));
    assert_non_null(server);
    strcpy(server->directory, "/tmp/ist-test-XXXXXX");
    assert_non_null(mkdtemp(server->directory));
    char path[128];
    in_directory(server, "log", path, sizeof(path));
    int log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    assert_true(log_fd >= 0 && watch >= 0);
    assert_true(inotify_add_watch(watch, server->directory, IN_MOVED_TO | IN_CREATE) >= 0);
    struct command command;
    command_make(&command, setup, server);
    pid_t parent = getpid();
    server->pid = fork();
    assert_true(server->pid >= 0);
    if (server->pid == 0) {
        start_child(&command, setup, log_fd, parent);
    }
    close(log_fd);
    server->pidfd = (int)syscall(SYS_pidfd_open, server->pid, 0);
    assert_true(server->pidfd >= 0);
    fcntl(server->pidfd, F_SETFD, FD_CLOEXEC);
    size_t slot = 0;
    while (slot < SERVERS_MAX && servers[slot] != NULL) {
        slot++;
    }
    assert_true(slot < SERVERS_MAX);
    servers[slot] = server;
    wait_until_ready(server, watch);
    close(watch);
    read_ports(server);
    assert_true(server->services > 0 && server->manages > 0);
    return server;
}

/* ---- end --------------------------------------------------------------------------------------- */

void server_signal(const struct server *server, int signal) {
    assert_int_equal(kill(server->pid, signal), 0);
}

bool server_is_alive(const struct server *server) {
    struct pollfd polled = {.fd = server->pidfd, .events = POLLIN};
    return poll(&polled, 1, 0) == 0;
}

static int wait_for_exit(struct server *server) {
    struct pollfd polled = {.fd = server->pidfd, .events = POLLIN};
    if (poll(&polled, 1, (int)(PATIENCE_NS / 1000000)) != 1) {
        fail_msg("the daemon does not end");
    }
    int status;
    assert_int_equal(waitpid(server->pid, &status, 0), server->pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int server_wait(struct server *server) {
    int code = wait_for_exit(server);
    if (code != 0) {
        show_log(server);
    }
    server_free(server);
    return code;
}

void server_stop(struct server *server) {
    server_signal(server, SIGTERM);
    assert_int_equal(server_wait(server), 0);
}

void server_kill(struct server *server) {
    server_signal(server, SIGKILL);
    assert_int_equal(wait_for_exit(server), 128 + SIGKILL);
    server_free(server);
}

/* ---- /proc ------------------------------------------------------------------------------------- */

uint64_t server_memory_bytes(const struct server *server, const char *field) {
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)server->pid);
    char *text = read_whole(path), *found = strstr(text, field);
    assert_non_null(found);
    uint64_t kib = strtoull(found + strlen(field) + 1, NULL, 10);
    free(text);
    return kib * KIB;
}

size_t server_descriptors(const struct server *server) {
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)server->pid);
    DIR *directory = opendir(path);
    assert_non_null(directory);
    size_t count = 0;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        count += entry->d_name[0] != '.';
    }
    closedir(directory);
    return count;
}

double server_cpu_seconds(const struct server *server) {
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)server->pid);
    char *text = read_whole(path), *after = strrchr(text, ')'); /* the name may hold anything */
    assert_non_null(after);
    unsigned long user = 0, kernel = 0;
    /* man proc_pid_stat: state is field 3, utime 14, stime 15 */
    int got = sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel);
    assert_int_equal(got, 2);
    free(text);
    return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}
