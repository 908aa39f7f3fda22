/* Values whose every byte tells whether it belongs to (key, version), and the calls of the client library in the
 * form that tests need: one key, a status. */
#ifndef IST_TESTS_INTEGRATION_VALUES_H
#define IST_TESTS_INTEGRATION_VALUES_H

#include <stddef.h>
#include <stdint.h>

#include "infinistore/infinistore.h"
#include "tests/integration/harness.h"

#define VALUE_BYTES_MIN 16

/* bytes: at least VALUE_BYTES_MIN. */
void value_fill(const char *key, uint64_t version, void *value, size_t bytes);
/* False: some byte is not that of the version that the value itself names. Safe in any thread. */
bool value_check(const char *key, const void *value, size_t bytes, uint64_t *version);

/* Connected, over RDMA where tests have a device (see rdma.h); the test fails when that fails. */
struct ist_client *client_open(const char *address);

/* ist_put() and ist_get() with any memory: where values move over RDMA, by way of copies that a device may reach. */
enum ist_status put_items(struct ist_client *client, struct ist_put_item *items, size_t count,
                          unsigned flags);
enum ist_status get_items(struct ist_client *client, struct ist_get_item *items, size_t count);

/* One key each. put: bytes of (key, version). */
enum ist_status put_value(struct ist_client *client, const char *key, uint64_t version, size_t bytes,
                          unsigned flags);
/* Gets up to `bytes`; on OK the value must be whole and `bytes` long, and *version is whose it is. */
enum ist_status get_value(struct ist_client *client, const char *key, size_t bytes, uint64_t *version);
bool has_key(struct ist_client *client, const char *key);
bool remove_key(struct ist_client *client, const char *key);

struct ist_key key_of(const char *text);

/* `count` keys "PREFIX0", "PREFIX1", ... Owned: keys_free(). */
struct keys {
    struct ist_key *keys;
    char *text;
    size_t count;
};
struct keys keys_new(const char *prefix, size_t count);
void keys_free(struct keys *keys);

#endif
