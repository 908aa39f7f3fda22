/* SipHash-1-3, a keyed hash: peers that do not know the secret cannot aim for collisions.
 * Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012. */
#ifndef IST_BASE_HASH_H
#define IST_BASE_HASH_H

#include <stdint.h>

#include "base/span.h"

struct ist_hash_key {
    uint64_t k0, k1;
};

uint64_t ist_hash(struct ist_hash_key key, struct ist_span bytes);

#endif
