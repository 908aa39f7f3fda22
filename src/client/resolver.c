#include "client/resolver.h"

#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Shared by the owner and the thread; the last one frees it. The C library's allocator, since no other is known
 * to work in every thread. */
struct ist_resolver {
    pthread_mutex_t lock;
    bool dropped;  /* by the owner: fd is closed */
    bool answered; /* by the thread */
    int fd;
    int result; /* of getaddrinfo() */
    size_t count;
    struct ist_address addresses[IST_ADDRESSES_MAX];
    char host[IST_HOST_BYTES_MAX + 1];
    char service[8];
};

static void destroy(struct ist_resolver *resolver) {
    pthread_mutex_destroy(&resolver->lock);
    ist_release(ist_alloc_system(), resolver);
}

static void keep(struct ist_resolver *resolver, const struct addrinfo *found) {
    for (; found != NULL && resolver->count < IST_ADDRESSES_MAX; found = found->ai_next) {
        struct ist_address *address = &resolver->addresses[resolver->count];
        if (found->ai_addrlen <= sizeof(address->storage)) {
            memcpy(&address->storage, found->ai_addr, found->ai_addrlen);
            address->bytes = found->ai_addrlen;
            resolver->count++;
        }
    }
}

static void *resolve(void *arg) {
    struct ist_resolver *resolver = arg;
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICSERV,
    };
    struct addrinfo *found = NULL;
    int result = getaddrinfo(resolver->host, resolver->service, &hints, &found);
    pthread_mutex_lock(&resolver->lock);
    resolver->result = result;
    if (result == 0) {
        keep(resolver, found);
        freeaddrinfo(found);
    }
    resolver->answered = true;
    bool last = resolver->dropped;
    if (!last) {
        ssize_t written = write(resolver->fd, &(uint64_t){1}, sizeof(uint64_t));
        (void)written; /* cannot fail: the counter is far from its end */
    }
    pthread_mutex_unlock(&resolver->lock);
    if (last) {
        destroy(resolver);
    }
    return NULL;
}

/* Detached, and no handler of the program's signals. */
static bool start_thread(struct ist_resolver *resolver) {
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&thread, NULL, resolve, resolver) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started) {
        pthread_detach(thread);
    }
    return started;
}

enum ist_status ist_resolver_start(const char *host, uint16_t port, struct ist_resolver **resolver) {
    struct ist_resolver *new = ist_allocate_zeroed(ist_alloc_system(), 1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    snprintf(new->host, sizeof(new->host), "%s", host);
    snprintf(new->service, sizeof(new->service), "%u", port);
    if (pthread_mutex_init(&new->lock, NULL) != 0) {
        goto free_resolver;
    }
    new->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (new->fd < 0) {
        goto destroy_lock;
    }
    if (!start_thread(new)) {
        goto close_fd;
    }
    *resolver = new;
    return IST_OK;

close_fd:
    close(new->fd);
destroy_lock:
    pthread_mutex_destroy(&new->lock);
free_resolver:
    ist_release(ist_alloc_system(), new);
    return IST_NO_MEMORY;
}

int ist_resolver_fd(const struct ist_resolver *resolver) {
    return resolver->fd;
}

enum ist_status ist_resolver_result(struct ist_resolver *resolver, struct ist_address *addresses,
                                    size_t *count, const char **error) {
    enum ist_status status = IST_AGAIN;
    pthread_mutex_lock(&resolver->lock);
    if (resolver->answered && resolver->count > 0) {
        memcpy(addresses, resolver->addresses, resolver->count * sizeof(*addresses));
        *count = resolver->count;
        status = IST_OK;
    } else if (resolver->answered) {
        *error = resolver->result == 0 ? "no address" : gai_strerror(resolver->result);
        status = IST_PEER;
    }
    pthread_mutex_unlock(&resolver->lock);
    return status;
}

void ist_resolver_free(struct ist_resolver *resolver) {
    if (resolver == NULL) {
        return;
    }
    pthread_mutex_lock(&resolver->lock);
    close(resolver->fd);
    resolver->dropped = true;
    bool last = resolver->answered;
    pthread_mutex_unlock(&resolver->lock);
    if (last) {
        destroy(resolver);
    }
}
