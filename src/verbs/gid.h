/* Which of a port's GIDs to use. RoCE set-up fails here more often than anywhere: entries of the wrong RoCE version,
 * of another network namespace, or of a subnet from which the peer cannot be reached look the same to the
 * hardware. */
#ifndef IST_VERBS_GID_H
#define IST_VERBS_GID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/queue_pair_end.h"

#define IST_GID_LENGTH IST_GID_BYTES

enum ist_gid_type { IST_GID_INFINIBAND, IST_GID_ROCE_V1, IST_GID_ROCE_V2 };

struct ist_gid_entry {
    uint8_t gid[IST_GID_LENGTH];
    uint32_t index; /* in the port's table */
    enum ist_gid_type type;
    uint32_t interface; /* its network interface's index, in whichever namespace; 0: none */
    bool is_here;       /* its network interface is in this namespace, or it has none (InfiniBand) */
};

/* Higher is better. */
enum ist_gid_rank {
    IST_GID_UNUSABLE,
    IST_GID_LINK_LOCAL, /* fe80::/10 */
    IST_GID_IPV6,
    IST_GID_IPV4,
    IST_GID_ROUTED, /* the address from which the kernel would send to the peer */
};

/* source: the local address towards the peer as a GID (IPv4 mapped), NULL when it is not known. why: one of a few
 * static texts, for people; may be NULL. */
enum ist_gid_rank ist_gid_rank(const struct ist_gid_entry *entry, const uint8_t *source,
                               const char **why);

/* The best entry, the first of several equal ones; NULL when none is usable. hint: an index that overrides the
 * ranks, -1 for none; NULL when the table does not have it, or a queue pair cannot name it. */
const struct ist_gid_entry *ist_gid_choose(const struct ist_gid_entry *entries, size_t count,
                                           const uint8_t *source, int hint);

/* The local address from which this machine would send to `peer` (a GID, that is an IPv6 or mapped IPv4 address),
 * as the routing table has it. False: there is no route. Sends nothing. */
bool ist_gid_source(const uint8_t peer[IST_GID_LENGTH], uint8_t source[IST_GID_LENGTH]);

#endif
