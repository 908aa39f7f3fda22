#include "tools/bench_rival.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tools/bench_clock.h"
#include "tools/bench_crew.h"
#include "tools/bench_load.h"
#include "tools/bench_port.h"

#define START_NS (10 * 1000000000ull) /* until it must accept connections */
#define LOOK_NS 2000000               /* how often that is tried */
#define ATTEMPTS 3u                   /* somebody may take the port that was free */
#define NOT_FOUND 127 /* exit code of a child that found no such program, as of a shell */
#define ARGUMENTS 24u
#define CONNECTIONS_MAX 4096ull

struct ist_bench_rival_server {
    enum ist_bench_rival kind;
    pid_t pid; /* 0: none */
    char directory[32];
    char socket[64], log[64];
    char endpoint[80];
    uint16_t port; /* 0: a Unix socket */
};

const char *ist_bench_rival_name(enum ist_bench_rival kind) {
    switch (kind) {
    case IST_BENCH_NO_RIVAL: return "none";
    case IST_BENCH_REDIS: return "redis";
    case IST_BENCH_MEMCACHED: return "memcached";
    }
    return "?";
}

static const char *program_of(enum ist_bench_rival kind) {
    return kind == IST_BENCH_REDIS ? "redis-server" : "memcached";
}

const char *ist_bench_rival_endpoint(const struct ist_bench_rival_server *server) {
    return server->endpoint;
}

/* ---- the command line --------------------------------------------------------------------------- */

struct command {
    const char *words[ARGUMENTS + 1];
    size_t count;
    char port[16], memory[24], item[24], connections[24];
};

static void add(struct command *command, const char *option, const char *value) {
    command->words[command->count++] = option;
    if (value != NULL) {
        command->words[command->count++] = value;
    }
}

static void redis_command(struct command *command, const struct ist_bench_rival_server *server) {
    add(command, "redis-server", NULL);
    add(command, "--port", command->port);
    add(command, "--bind", "127.0.0.1");
    add(command, "--save", "");
    add(command, "--appendonly", "no");
    add(command, "--daemonize", "no");
    add(command, "--dir", server->directory);
    if (server->port == 0) {
        add(command, "--unixsocket", server->socket);
    }
}

static void memcached_command(struct command *command, const struct ist_bench_rival_server *server,
                              uint64_t memory_bytes) {
    /* Half as much again for its slabs' sake; items of any size that fits a quarter of it, at most 1 GiB. */
    uint64_t mib = ((memory_bytes + memory_bytes / 2) >> 20) + 64, item = mib / 4;
    snprintf(command->memory, sizeof command->memory, "%llu", (unsigned long long)mib);
    snprintf(command->item, sizeof command->item, "%llum",
             (unsigned long long)(item < 1023 ? item : 1023));
    /* It ends where it cannot have as many descriptors. */
    struct rlimit limit;
    bool few = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max < CONNECTIONS_MAX;
    snprintf(command->connections, sizeof command->connections, "%llu",
             few ? (unsigned long long)limit.rlim_max : CONNECTIONS_MAX);
    add(command, "memcached", NULL);
    add(command, "-m", command->memory);
    add(command, "-I", command->item);
    add(command, "-c", command->connections);
    if (server->port == 0) {
        add(command, "-s", server->socket);
    } else {
        add(command, "-l", "127.0.0.1");
        add(command, "-p", command->port);
    }
    if (geteuid() == 0) {
        add(command, "-u", "root");
    }
}

/* ---- start -------------------------------------------------------------------------------------- */

static void run(const struct ist_bench_rival_server *server, const struct command *command,
                const struct ist_bench_list *pin, pid_t parent) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    int log = open(server->log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (getppid() != parent || log < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0) {
        _exit(1);
    }
    (void)ist_bench_pin(pin);
    execvp(command->words[0], (char *const *)(uintptr_t)command->words);
    _exit(errno == ENOENT ? NOT_FOUND : 1);
}

static bool accepts(const struct ist_bench_rival_server *server) {
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in loopback = {.sin_family = AF_INET,
                                   .sin_port = htons(server->port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    snprintf(local.sun_path, sizeof local.sun_path, "%s", server->socket);
    int fd = socket(server->port == 0 ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int connected = server->port == 0 ? connect(fd, (struct sockaddr *)&local, sizeof local)
                                      : connect(fd, (struct sockaddr *)&loopback, sizeof loopback);
    if (fd >= 0) {
        close(fd);
    }
    return connected == 0;
}

/* The last line that it wrote, without its end. */
static void last_words(const struct ist_bench_rival_server *server, char *words, size_t bytes) {
    FILE *log = fopen(server->log, "re");
    char line[256];
    words[0] = '\0';
    while (log != NULL && fgets(line, sizeof line, log) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0] != '\0') {
            snprintf(words, bytes, "%s", line);
        }
    }
    if (log != NULL) {
        fclose(log);
    }
}

/* Waits until it serves. Returns OK; AGAIN (it ended, perhaps for want of the port); CONFIG (there is no such
 * program); TIMEOUT. */
static enum ist_status wait_until_it_accepts(struct ist_bench_rival_server *server) {
    uint64_t until_ns = ist_bench_now_ns() + START_NS;
    while (ist_bench_now_ns() < until_ns) {
        int state;
        if (waitpid(server->pid, &state, WNOHANG) == server->pid) {
            server->pid = 0;
            return WIFEXITED(state) && WEXITSTATUS(state) == NOT_FOUND ? IST_CONFIG : IST_AGAIN;
        }
        if (accepts(server)) {
            return IST_OK;
        }
        nanosleep(&(const struct timespec){.tv_nsec = LOOK_NS}, NULL);
    }
    return IST_TIMEOUT;
}

static enum ist_status start(struct ist_bench_rival_server *server, bool unix_socket,
                             uint64_t memory_bytes, const struct ist_bench_list *pin) {
    struct command command = {0};
    server->port = unix_socket ? 0 : ist_bench_free_port();
    snprintf(command.port, sizeof command.port, "%u", server->port);
    if (server->kind == IST_BENCH_REDIS) {
        redis_command(&command, server);
    } else {
        memcached_command(&command, server, memory_bytes);
    }
    if (unix_socket) {
        snprintf(server->endpoint, sizeof server->endpoint, "unix:%s", server->socket);
    } else {
        snprintf(server->endpoint, sizeof server->endpoint, "127.0.0.1:%u", server->port);
    }
    pid_t parent = getpid();
    server->pid = fork();
    if (server->pid == 0) {
        run(server, &command, pin, parent);
    }
    return server->pid < 0 ? IST_NO_MEMORY : wait_until_it_accepts(server);
}

static void remove_files(const struct ist_bench_rival_server *server) {
    (void)unlink(server->socket);
    (void)unlink(server->log);
    (void)rmdir(server->directory);
}

enum ist_status ist_bench_rival_new(enum ist_bench_rival kind, bool unix_socket, uint64_t memory_bytes,
                                    const struct ist_bench_list *pin,
                                    struct ist_bench_rival_server **server, char *error) {
    struct ist_bench_rival_server *new = calloc(1, sizeof *new);
    const char *program = program_of(kind);
    if (new == NULL) {
        snprintf(error, IST_BENCH_ERROR_MAX, "%s", ist_status_text(IST_NO_MEMORY));
        return IST_NO_MEMORY;
    }
    new->kind = kind;
    strcpy(new->directory, "/tmp/ist-bench-XXXXXX");
    if (mkdtemp(new->directory) == NULL) {
        snprintf(error, IST_BENCH_ERROR_MAX, "%s: %s", new->directory, strerror(errno));
        free(new);
        return IST_PEER;
    }
    snprintf(new->socket, sizeof new->socket, "%s/socket", new->directory);
    snprintf(new->log, sizeof new->log, "%s/log", new->directory);
    enum ist_status status = IST_AGAIN;
    for (unsigned i = 0; i < ATTEMPTS && status == IST_AGAIN; i++) {
        status = start(new, unix_socket, memory_bytes, pin);
    }
    if (status == IST_OK) {
        if (!unix_socket) {
            remove_files(new); /* nothing is left lying about, however we end */
        }
        *server = new;
        return IST_OK;
    }
    if (status == IST_CONFIG) {
        snprintf(error, IST_BENCH_ERROR_MAX,
                 "--baseline %s: there is no %s in PATH (on Debian: apt-get install %s)",
                 ist_bench_rival_name(kind), program, program);
    } else {
        char words[256];
        last_words(new, words, sizeof words);
        snprintf(error, IST_BENCH_ERROR_MAX, "--baseline %s: %s does not start%s%s",
                 ist_bench_rival_name(kind), program, words[0] == '\0' ? "" : ": ", words);
        status = IST_PEER;
    }
    ist_bench_rival_free(new);
    return status;
}

void ist_bench_rival_free(struct ist_bench_rival_server *server) {
    if (server == NULL) {
        return;
    }
    if (server->pid > 0) {
        kill(server->pid, SIGKILL); /* it keeps nothing that it could lose */
        waitpid(server->pid, NULL, 0);
    }
    remove_files(server);
    free(server);
}
