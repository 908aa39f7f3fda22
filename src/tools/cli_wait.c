#include "tools/cli_wait.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "tools/cli_signals.h"

enum ist_status ist_cli_wait_init(struct ist_cli_wait *wait, const int *signals, size_t count) {
    sigset_t heeded;
    ist_cli_signals_heeded(signals, count, &heeded);
    int fd = signalfd(-1, &heeded, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        return IST_NO_MEMORY;
    }
    wait->signal_fd = fd;
    sigprocmask(SIG_BLOCK, &heeded, &wait->before);
    return IST_OK;
}

void ist_cli_wait_fini(struct ist_cli_wait *wait) {
    close(wait->signal_fd);
    wait->signal_fd = -1;
    sigprocmask(SIG_SETMASK, &wait->before, NULL);
}

uint64_t ist_cli_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * IST_NS_PER_SEC + (uint64_t)now.tv_nsec;
}

static bool take_signal(int fd, int *number) {
    struct signalfd_siginfo info;
    if (read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info)) {
        return false;
    }
    *number = (int)info.ssi_signo;
    return true;
}

static bool take_key(int *fd, int *key) {
    unsigned char byte;
    if (read(*fd, &byte, 1) != 1) {
        *fd = -1;
        return false;
    }
    *key = byte;
    return true;
}

enum ist_cli_event ist_cli_wait_for(const struct ist_cli_wait *wait, struct ist_client *client,
                                    const bool *done, int *key_fd, uint64_t until_ns, int *what) {
    struct pollfd polled[3] = {{.fd = wait->signal_fd, .events = POLLIN},
                               {.fd = ist_client_fd(client), .events = POLLIN}};
    for (;;) {
        (void)ist_client_process(client);
        if (done != NULL && *done) {
            return IST_CLI_REPLY;
        }
        uint64_t now_ns = ist_cli_now_ns();
        if (now_ns >= until_ns) {
            return IST_CLI_TIME;
        }
        uint64_t left_ns = until_ns - now_ns;
        const struct timespec left = {.tv_sec = (time_t)(left_ns / IST_NS_PER_SEC),
                                      .tv_nsec = (long)(left_ns % IST_NS_PER_SEC)};
        polled[2] = (struct pollfd){.fd = *key_fd, .events = POLLIN};
        if (ppoll(polled, 3, &left, NULL) < 0) {
            continue; /* EINTR: a signal that is none of ours */
        }
        if (polled[0].revents != 0 && take_signal(wait->signal_fd, what)) {
            return IST_CLI_SIGNAL;
        }
        if (polled[2].revents != 0 && take_key(key_fd, what)) {
            return IST_CLI_KEYSTROKE;
        }
    }
}
