/* The keys of KV blocks, as this repository's traffic writes them:
 *
 *   <model>/<tokens a block>x<bytes a layer>/<hash id, 16 hex digits>/L<layer, at least 2 digits>
 *   llama-3-8b/512x8192/000000000000002a/L07
 *
 * The block's bytes are part of the key, so that runs with different scales never meet. */
#ifndef IST_WORKLOAD_BLOCK_KEY_H
#define IST_WORKLOAD_BLOCK_KEY_H

#include <stddef.h>
#include <stdint.h>

#define IST_BLOCK_KEY_MAX 96 /* bytes, with the NUL */

/* model   at most 32 bytes; longer names are cut.
 * out     IST_BLOCK_KEY_MAX bytes; NUL-terminated.
 * Returns the key's length without the NUL. */
size_t ist_block_key_write(char *out, const char *model, uint64_t block_bytes, uint64_t hash_id,
                           unsigned layer);

#endif
