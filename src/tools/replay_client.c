#include "tools/replay_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "tools/replay_clock.h"
#include "workload/block_key.h"
#include "workload/content.h"

/* What one call moves at most, unless a single block is larger. A request of this many bytes keeps a connection
 * busy; more would only take memory. */
#define CALL_BYTES (32u << 20)

struct ist_replay_client {
    struct ist_client *connection;
    const struct ist_replay_plan *plan;
    struct ist_replay_tally *tally;
    uint64_t timeout_ns;
    bool verify;
    size_t match_blocks; /* of a match: their keys fit a request */
    size_t call_blocks;  /* of a get, with all layers; a put has as many values */
    char *text;          /* of each key, IST_BLOCK_KEY_MAX apart */
    struct ist_key *keys;
    struct ist_put_item *puts;
    struct ist_get_item *gets;
    uint8_t *data; /* the values of a call, one behind the other */
};

static size_t data_bytes(const struct ist_replay_client *client) {
    return client->call_blocks * client->plan->layers * client->plan->layer_bytes;
}

static bool allocate(struct ist_replay_client *client) {
    size_t layers = client->plan->layers, layer_bytes = client->plan->layer_bytes;
    client->match_blocks = IST_KEYS_PER_REQUEST_MAX / layers;
    client->call_blocks = CALL_BYTES / client->plan->block_bytes;
    if (client->call_blocks > client->match_blocks) {
        client->call_blocks = client->match_blocks;
    }
    if (client->call_blocks == 0) {
        client->call_blocks = 1;
    }
    size_t keys = client->match_blocks * layers, values = client->call_blocks * layers;
    client->text = reallocarray(NULL, keys, IST_BLOCK_KEY_MAX);
    client->keys = reallocarray(NULL, keys, sizeof(*client->keys));
    client->puts = reallocarray(NULL, values, sizeof(*client->puts));
    client->gets = reallocarray(NULL, values, sizeof(*client->gets));
    client->data = reallocarray(NULL, values, layer_bytes);
    return client->text != NULL && client->keys != NULL && client->puts != NULL &&
           client->gets != NULL && client->data != NULL;
}

enum ist_status ist_replay_client_new(const struct ist_replay_options *options,
                                      const struct ist_replay_plan *plan,
                                      struct ist_replay_tally *tally, struct ist_replay_client **client,
                                      char *error, size_t error_bytes) {
    struct ist_replay_client *new = calloc(1, sizeof(*new));
    if (new == NULL) {
        snprintf(error, error_bytes, "out of memory");
        return IST_NO_MEMORY;
    }
    *new = (struct ist_replay_client){
        .plan = plan, .tally = tally, .timeout_ns = options->timeout_ns, .verify = options->verify};
    if (!allocate(new)) {
        snprintf(error, error_bytes, "out of memory for blocks of %llu bytes",
                 (unsigned long long)plan->block_bytes);
        ist_replay_client_free(new);
        return IST_NO_MEMORY;
    }
    struct ist_client_options connect = {.endpoints = options->endpoint};
    ist_transport_apply(&options->transport, &connect);
    enum ist_status status = ist_client_new(&connect, &new->connection, error, error_bytes);
    if (status == IST_OK) {
        status = ist_memory_register(new->connection, new->data, data_bytes(new));
        if (status != IST_OK) {
            snprintf(error, error_bytes, "the memory for values cannot be registered: %s",
                     ist_status_text(status));
        }
    }
    if (status != IST_OK) {
        ist_replay_client_free(new);
        return status;
    }
    *client = new;
    return IST_OK;
}

void ist_replay_client_free(struct ist_replay_client *client) {
    if (client == NULL) {
        return;
    }
    ist_client_free(client->connection);
    free(client->text);
    free(client->keys);
    free(client->puts);
    free(client->gets);
    free(client->data);
    free(client);
}

static bool fail(struct ist_replay_client *client, const struct ist_replay_job *job, const char *what,
                 enum ist_status status) {
    ist_replay_tally_fail(client->tally, "%s of request %llu: %s", what,
                          (unsigned long long)job->number, ist_status_text(status));
    return false;
}

/* Key number `at` of the call. */
static struct ist_key write_key(struct ist_replay_client *client, size_t at, uint64_t block,
                                size_t layer) {
    char *text = client->text + at * IST_BLOCK_KEY_MAX;
    size_t bytes = ist_block_key_write(text, client->plan->model->name, client->plan->layer_bytes,
                                       block, (unsigned)layer);
    return (struct ist_key){.data = text, .bytes = bytes};
}

static struct ist_content content_of(struct ist_key key) {
    return ist_content_of(ist_span_of(key.data, key.bytes), 0);
}

/* ---- match ---- */

bool ist_replay_client_match(struct ist_replay_client *client, const struct ist_replay_job *job,
                             size_t *matched) {
    unsigned layers = client->plan->layers;
    size_t found = 0, asked = 0;
    uint64_t begin_ns = ist_replay_now_ns();
    /* all layers of a block, then the next block: a block that lost a layer ends the prefix */
    while (asked < job->block_count && found == asked) {
        size_t left = job->block_count - asked;
        size_t blocks = left < client->match_blocks ? left : client->match_blocks;
        for (size_t i = 0; i < blocks * layers; i++) {
            client->keys[i] = write_key(client, i, job->blocks[asked + i / layers], i % layers);
        }
        size_t keys = 0;
        enum ist_status status = ist_match_prefix(client->connection, client->keys, blocks * layers,
                                                  &keys, client->timeout_ns);
        if (status != IST_OK) {
            return fail(client, job, "match", status);
        }
        asked += blocks;
        found += keys / layers;
    }
    uint64_t elapsed_ns = ist_replay_now_ns() - begin_ns;
    ist_histogram_record(&ist_replay_tally_open(client->tally)->match_ns, elapsed_ns);
    ist_replay_tally_close(client->tally);
    *matched = found;
    return true;
}

/* ---- get ---- */

static void verify(struct ist_replay_client *client, const struct ist_get_item *item) {
    int key_bytes = (int)item->key.bytes;
    const char *key = item->key.data;
    if (item->status == IST_TOO_SMALL || item->value_bytes != item->buffer_bytes) {
        ist_replay_tally_wrong(client->tally, "%.*s has %llu bytes instead of %llu", key_bytes, key,
                               (unsigned long long)item->value_bytes,
                               (unsigned long long)item->buffer_bytes);
        return;
    }
    struct ist_content content = content_of(item->key);
    const uint8_t *value = item->buffer;
    size_t at =
        client->verify ? ist_content_verify(content, 0, value, item->buffer_bytes) : item->buffer_bytes;
    if (at < item->buffer_bytes) {
        ist_replay_tally_wrong(client->tally, "%.*s: byte %zu is 0x%02x instead of 0x%02x", key_bytes,
                               key, at, value[at], ist_content_byte(content, at));
    }
}

/* Looks at the values of one call, of whole blocks. Returns how many of these miss a layer; *first = the first
 * that does, unchanged when none does. */
static size_t look_at(struct ist_replay_client *client, size_t blocks, size_t *first) {
    unsigned layers = client->plan->layers;
    uint64_t bytes = 0, values = 0, cpu_ns = ist_replay_thread_cpu_ns();
    size_t missing = 0;
    for (size_t block = blocks; block > 0; block--) {
        size_t here = 0;
        for (size_t i = (block - 1) * layers; i < block * layers; i++) {
            const struct ist_get_item *item = &client->gets[i];
            here += item->status != IST_NOT_FOUND;
            if (item->status != IST_NOT_FOUND) {
                verify(client, item);
                bytes += item->status == IST_OK ? item->value_bytes : 0;
            }
        }
        values += here;
        if (here < layers) {
            missing++;
            *first = block - 1;
        }
    }
    cpu_ns = ist_replay_thread_cpu_ns() - cpu_ns;
    struct ist_replay_figures *figures = ist_replay_tally_open(client->tally);
    figures->get_bytes += bytes;
    figures->get_values += values;
    figures->verifying_cpu_ns += client->verify ? cpu_ns : 0;
    ist_replay_tally_close(client->tally);
    return missing;
}

/* Gets `blocks` of them from `first` on, in one call. */
static bool get_some(struct ist_replay_client *client, const struct ist_replay_job *job, size_t first,
                     size_t blocks, uint64_t *elapsed_ns) {
    unsigned layers = client->plan->layers;
    size_t values = blocks * layers;
    for (size_t i = 0; i < values; i++) {
        client->gets[i] = (struct ist_get_item){
            .key = write_key(client, i, job->blocks[first + i / layers], i % layers),
            .buffer = client->data + i * client->plan->layer_bytes,
            .buffer_bytes = client->plan->layer_bytes,
            .status = IST_AGAIN, /* no answer */
        };
    }
    uint64_t begin_ns = ist_replay_now_ns();
    enum ist_status status = ist_get(client->connection, client->gets, values, client->timeout_ns);
    *elapsed_ns += ist_replay_now_ns() - begin_ns;
    for (size_t i = 0; i < values && status != IST_OK; i++) {
        enum ist_status here = client->gets[i].status;
        if (here != IST_OK && here != IST_NOT_FOUND && here != IST_TOO_SMALL) {
            return fail(client, job, "get", here == IST_AGAIN ? status : here);
        }
    }
    return true;
}

bool ist_replay_client_get(struct ist_replay_client *client, const struct ist_replay_job *job,
                           size_t count, bool is_prefix, size_t *present) {
    uint64_t elapsed_ns = 0;
    size_t leading = count, missing = 0;
    /* The last blocks first: the head of a prefix shall be the most recent in the end, and die last. The
     * server does the same within a call. */
    for (size_t end = count; end > 0;) {
        size_t blocks = end < client->call_blocks ? end : client->call_blocks;
        size_t first = SIZE_MAX;
        end -= blocks;
        if (!get_some(client, job, end, blocks, &elapsed_ns)) {
            return false;
        }
        missing += look_at(client, blocks, &first);
        leading = first == SIZE_MAX ? leading : end + first;
    }
    struct ist_replay_figures *figures = ist_replay_tally_open(client->tally);
    ist_histogram_record(is_prefix ? &figures->prefix_ns : &figures->get_ns, elapsed_ns);
    if (is_prefix) {
        figures->lost_blocks += count - leading;
    } else {
        figures->finished++;
        figures->wanted_blocks += count;
        figures->missed_blocks += missing;
    }
    ist_replay_tally_close(client->tally);
    *present = leading;
    return true;
}

/* ---- put ---- */

/* Counts the answers of one call; the status of the first that ends the replay, or OK. */
static enum ist_status count_puts(struct ist_replay_client *client, size_t values,
                                  enum ist_status status, uint64_t filling_cpu_ns) {
    uint64_t stored = 0, present = 0, refused = 0;
    enum ist_status bad = IST_OK;
    for (size_t i = 0; i < values && bad == IST_OK; i++) {
        enum ist_status here = client->puts[i].status;
        stored += here == IST_OK;
        present += here == IST_EXISTS;
        refused += here == IST_NO_SPACE;
        if (here != IST_OK && here != IST_EXISTS && here != IST_NO_SPACE) {
            bad = here == IST_AGAIN ? status : here;
        }
    }
    struct ist_replay_figures *figures = ist_replay_tally_open(client->tally);
    figures->put_values += stored;
    figures->put_bytes += stored * client->plan->layer_bytes;
    figures->present_values += present;
    figures->refused_values += refused;
    figures->filling_cpu_ns += filling_cpu_ns;
    ist_replay_tally_close(client->tally);
    return bad;
}

/* Puts one layer of `values` blocks from `first` on, in one call. */
static bool put_some(struct ist_replay_client *client, const struct ist_replay_job *job, size_t first,
                     size_t values, unsigned layer, uint64_t *elapsed_ns) {
    uint64_t layer_bytes = client->plan->layer_bytes, cpu_ns = ist_replay_thread_cpu_ns();
    for (size_t i = 0; i < values; i++) {
        struct ist_key key = write_key(client, i, job->blocks[first + i], layer);
        uint8_t *value = client->data + i * layer_bytes;
        ist_content_fill(content_of(key), 0, value, layer_bytes);
        client->puts[i] = (struct ist_put_item){
            .key = key, .value = value, .value_bytes = layer_bytes, .status = IST_AGAIN};
    }
    cpu_ns = ist_replay_thread_cpu_ns() - cpu_ns;
    uint64_t begin_ns = ist_replay_now_ns();
    enum ist_status status =
        ist_put(client->connection, client->puts, values, IST_IF_ABSENT, client->timeout_ns);
    *elapsed_ns += ist_replay_now_ns() - begin_ns;
    enum ist_status bad = count_puts(client, values, status, cpu_ns);
    return bad == IST_OK || fail(client, job, "put", bad);
}

static bool put_layer(struct ist_replay_client *client, const struct ist_replay_job *job, size_t first,
                      unsigned layer, uint64_t *elapsed_ns) {
    size_t call_values = client->call_blocks * client->plan->layers;
    for (size_t end = job->block_count; end > first;) { /* the last blocks first, as with get */
        size_t values = end - first < call_values ? end - first : call_values;
        end -= values;
        if (!put_some(client, job, end, values, layer, elapsed_ns)) {
            return false;
        }
    }
    return true;
}

bool ist_replay_client_put(struct ist_replay_client *client, const struct ist_replay_job *job,
                           size_t first) {
    uint64_t elapsed_ns = 0;
    for (unsigned layer = 0; layer < client->plan->layers; layer++) {
        uint64_t layer_ns = 0;
        if (!put_layer(client, job, first, layer, &layer_ns)) {
            return false;
        }
        elapsed_ns += layer_ns;
        ist_histogram_record(&ist_replay_tally_open(client->tally)->layer_ns, layer_ns);
        ist_replay_tally_close(client->tally);
    }
    ist_histogram_record(&ist_replay_tally_open(client->tally)->put_ns, elapsed_ns);
    ist_replay_tally_close(client->tally);
    return true;
}
