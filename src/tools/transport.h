/* The options by which every tool chooses how values move. Pure: no I/O. */
#ifndef IST_TOOLS_TRANSPORT_H
#define IST_TOOLS_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "infinistore/infinistore.h"

/* Zero-initialised: TCP. */
struct ist_transport_options {
    enum ist_transport transport;
    const char *device; /* borrowed from argv; NULL: the first that will do */
    unsigned port;
    enum ist_client_link link;
    bool use_gid_index;
    unsigned gid_index;
    uint64_t poll_ns;
};

struct ist_transport_option {
    const char *name;  /* without hyphens; each takes a value */
    const char *value; /* as a help calls it */
    const char *help;  /* a short line */
};

/* NULL behind the last. */
const struct ist_transport_option *ist_transport_option_at(size_t i);
/* NULL: there is none of this name. */
const struct ist_transport_option *ist_transport_option_find(const char *name, size_t bytes);
/* False: the value is wrong; `options` is unchanged. */
bool ist_transport_option_take(const struct ist_transport_option *option, const char *value,
                               struct ist_transport_options *options);

/* Into what a client is made from. */
void ist_transport_apply(const struct ist_transport_options *options,
                         struct ist_client_options *client);
/* "tcp", "rdma", "auto". Static storage. */
const char *ist_transport_name(enum ist_transport transport);

#endif
