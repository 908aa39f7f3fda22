#include "tools/transport.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NUMBER_DIGITS_MAX 9u

static const struct ist_transport_option options_known[] = {
    {"transport", "tcp|rdma|auto", "how values move; auto: RDMA where it can be had; default tcp"},
    {"dev-name", "NAME", "RDMA device; default: the first with an active port"},
    {"ib-port", "N", "its port, 1 to 255; default: the first active one"},
    {"link-type", "IB|Ethernet", "take only a port of this kind; default: any"},
    {"hint-gid-index", "N", "the port's GID to use, 0 to 255; -1, the default: the best"},
    {"poll-us", "N", "look for an answer so many microseconds before sleeping; default 0"},
};
#define OPTIONS (sizeof(options_known) / sizeof(options_known[0]))
enum option { TRANSPORT, DEV_NAME, IB_PORT, LINK_TYPE, HINT_GID_INDEX, POLL_US };

const struct ist_transport_option *ist_transport_option_at(size_t i) {
    return i < OPTIONS ? &options_known[i] : NULL;
}

const struct ist_transport_option *ist_transport_option_find(const char *name, size_t bytes) {
    for (size_t i = 0; i < OPTIONS; i++) {
        if (strlen(options_known[i].name) == bytes && memcmp(options_known[i].name, name, bytes) == 0) {
            return &options_known[i];
        }
    }
    return NULL;
}

const char *ist_transport_name(enum ist_transport transport) {
    switch (transport) {
    case IST_TRANSPORT_TCP: return "tcp";
    case IST_TRANSPORT_RDMA: return "rdma";
    case IST_TRANSPORT_AUTO: return "auto";
    }
    return "?";
}

/* Decimal digits and nothing else, min to max. */
static bool number(const char *text, unsigned long min, unsigned long max, unsigned long *value) {
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > NUMBER_DIGITS_MAX || text[digits] != '\0') {
        return false;
    }
    *value = strtoul(text, NULL, 10);
    return *value >= min && *value <= max;
}

static bool take_transport(const char *value, struct ist_transport_options *options) {
    for (unsigned i = IST_TRANSPORT_TCP; i <= IST_TRANSPORT_AUTO; i++) {
        if (strcmp(value, ist_transport_name((enum ist_transport)i)) == 0) {
            options->transport = (enum ist_transport)i;
            return true;
        }
    }
    return false;
}

static bool take_link(const char *value, struct ist_transport_options *options) {
    if (strcasecmp(value, "IB") == 0) {
        options->link = IST_CLIENT_LINK_INFINIBAND;
    } else if (strcasecmp(value, "Ethernet") == 0) {
        options->link = IST_CLIENT_LINK_ETHERNET;
    } else {
        return false;
    }
    return true;
}

static bool take_gid_index(const char *value, struct ist_transport_options *options) {
    unsigned long index = 0;
    bool is_default = strcmp(value, "-1") == 0;
    if (!is_default && !number(value, 0, 255, &index)) {
        return false;
    }
    options->use_gid_index = !is_default;
    options->gid_index = (unsigned)index;
    return true;
}

static bool take_number(const char *value, enum option which, struct ist_transport_options *options) {
    unsigned long taken;
    if (which == IB_PORT) {
        if (!number(value, 1, 255, &taken)) {
            return false;
        }
        options->port = (unsigned)taken;
        return true;
    }
    if (!number(value, 0, 100000, &taken)) {
        return false;
    }
    options->poll_ns = taken * 1000;
    return true;
}

bool ist_transport_option_take(const struct ist_transport_option *option, const char *value,
                               struct ist_transport_options *options) {
    enum option which = (enum option)(option - options_known);
    switch (which) {
    case TRANSPORT: return take_transport(value, options);
    case DEV_NAME:
        if (value[0] == '\0') {
            return false;
        }
        options->device = value;
        return true;
    case LINK_TYPE: return take_link(value, options);
    case HINT_GID_INDEX: return take_gid_index(value, options);
    case IB_PORT:
    case POLL_US: return take_number(value, which, options);
    }
    return false;
}

void ist_transport_apply(const struct ist_transport_options *options,
                         struct ist_client_options *client) {
    client->transport = options->transport;
    client->device = options->device;
    client->port = options->port;
    client->link = options->link;
    client->use_gid_index = options->use_gid_index;
    client->gid_index = options->gid_index;
    client->poll_ns = options->poll_ns;
}
