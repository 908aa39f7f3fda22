#include "sim/order_judge.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/codec.h"
#include "workload/content.h"

struct ist_span sim_order_key(unsigned key) {
    return ist_span_of_string(key == 0 ? "A" : "B");
}

void sim_order_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("FAILED: ", stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    fflush(NULL);
    _Exit(EXIT_FAILURE);
}

bool sim_order_value_is(unsigned key, unsigned version, const uint8_t *value) {
    size_t bytes = sim_order_value_bytes(key, version);
    return ist_content_verify(ist_content_of(sim_order_key(key), version), 0, value, bytes) == bytes;
}

static const struct sim_order_operation *operation_of(const struct sim_order_case *of, unsigned client,
                                                      unsigned operation) {
    return &of->programs[client].operations[operation];
}

static bool is_put(const struct sim_order_operation *operation) {
    return operation->verb == SIM_ORDER_PUT || operation->verb == SIM_ORDER_PUT_IF_ABSENT;
}

static bool has(unsigned keys, unsigned key) {
    return (keys >> key & 1) != 0;
}

/* ---- what can be seen -------------------------------------------------------------------------------------- */

/* Which versions are there: the sum of their lengths tells. */
static void tell_versions(uint64_t value_bytes, const bool *present, uint8_t *version) {
    for (unsigned a = present[0]; a < (present[0] ? SIM_ORDER_VERSIONS : 1); a++) {
        for (unsigned b = present[1]; b < (present[1] ? SIM_ORDER_VERSIONS : 1); b++) {
            uint64_t sum = (present[0] ? sim_order_value_bytes(0, a) : 0) +
                           (present[1] ? sim_order_value_bytes(1, b) : 0);
            if (sum == value_bytes) {
                version[0] = (uint8_t)a;
                version[1] = (uint8_t)b;
                return;
            }
        }
    }
    sim_order_fail("%llu bytes of values are no sum of any that were put",
                   (unsigned long long)value_bytes);
}

static struct sim_order_sight look(const struct sim_order_case *of, const struct ist_store *store) {
    struct ist_store_usage usage;
    bool present[SIM_ORDER_KEYS];
    struct ist_span keys[SIM_ORDER_KEYS] = {sim_order_key(0), sim_order_key(1)};
    struct sim_order_sight sight = {0};
    ist_store_usage(store, &usage);
    size_t count = ist_store_exists(store, keys, SIM_ORDER_KEYS, present);
    if (usage.pool_bytes != of->blocks * SIM_ORDER_BLOCK_BYTES ||
        usage.free_bytes + usage.reserved_bytes + usage.committed_bytes + usage.doomed_bytes !=
            usage.pool_bytes) {
        sim_order_fail("pool bytes are not free + reserved + committed + doomed");
    }
    if (count != usage.keys || usage.committed_bytes != count * SIM_ORDER_BLOCK_BYTES) {
        sim_order_fail("%zu keys are there, %llu are counted, with %llu bytes", count,
                       (unsigned long long)usage.keys, (unsigned long long)usage.committed_bytes);
    }
    tell_versions(usage.value_bytes, present, sight.version);
    sight.pinned = (uint8_t)usage.pinned_entries;
    sight.reserved = (uint8_t)(usage.reserved_bytes / SIM_ORDER_BLOCK_BYTES);
    sight.doomed = (uint8_t)(usage.doomed_bytes / SIM_ORDER_BLOCK_BYTES);
    sight.free = (uint8_t)(usage.free_bytes / SIM_ORDER_BLOCK_BYTES);
    sight.evicted = (uint8_t)usage.evicted_entries;
    return sight;
}

void sim_order_judge_begin(struct sim_order_judge *judge, const struct sim_order_case *of,
                           const struct ist_store *store) {
    memset(judge, 0, sizeof(*judge));
    judge->sight = look(of, store);
    judge->latest = has(of->present, 1) ? 1 : 0; /* they were put in their order */
    for (unsigned key = 0; key < SIM_ORDER_KEYS; key++) {
        if (judge->sight.version[key] != (has(of->present, key) ? SIM_ORDER_FIRST : 0)) {
            sim_order_fail("%s is not as it was put at the beginning", sim_order_keys_words(1u << key));
        }
    }
}

/* ---- during an event ----------------------------------------------------------------------------------------- */

/* Could a put have been refused for want of room? With two keys the first one may have taken the last block. */
static void note_room(struct sim_order_request *request, const struct sim_order_operation *operation,
                      const struct sim_order_case *of, const struct sim_order_sight *sight) {
    unsigned before = (unsigned)__builtin_popcount(operation->keys) - 1;
    request->full |= sight->pinned + before >= of->blocks;
    for (unsigned key = 0; key < SIM_ORDER_KEYS; key++) {
        request->there |= (uint8_t)((sight->version[key] != 0) << key);
    }
}

void sim_order_judge_arrived(struct sim_order_judge *judge, const struct sim_order_case *of,
                             unsigned client, unsigned operation, bool whole) {
    struct sim_order_request *request = &judge->requests[client][operation];
    const struct sim_order_operation *asked = operation_of(of, client, operation);
    request->progress = whole ? SIM_ORDER_WHOLE : SIM_ORDER_BEGUN;
    if (is_put(asked)) {
        note_room(request, asked, of, &judge->sight);
        request->moved = whole && !of->programs[client].rdma ? asked->keys : 0;
        judge->arrived = asked->keys;
        return;
    }
    for (unsigned key = 0; whole && key < SIM_ORDER_KEYS; key++) {
        request->got[key] = has(asked->keys, key) ? judge->sight.version[key] : 0;
        if (request->got[key] != 0 && asked->verb == SIM_ORDER_GET) {
            request->holds |= (uint8_t)(1u << key);
        }
    }
    judge->executed = whole && asked->verb == SIM_ORDER_REMOVE ? asked->keys : 0;
    if (request->holds != 0) {
        judge->latest = has(request->holds, 0) ? 0 : 1; /* of both the first one */
    }
}

void sim_order_judge_moved(struct sim_order_judge *judge, const struct sim_order_case *of,
                           unsigned client, unsigned operation, unsigned key) {
    struct sim_order_request *request = &judge->requests[client][operation];
    const struct sim_order_operation *asked = operation_of(of, client, operation);
    if (!has(asked->keys, key)) {
        sim_order_fail("bytes of a key were moved that nobody asked for");
    }
    if (is_put(asked)) {
        request->moved |= (uint8_t)(1u << key);
    } else {
        request->holds &= (uint8_t) ~(1u << key);
    }
}

static struct sim_order_request *request_of(struct sim_order_judge *judge,
                                            const struct sim_order_case *of, unsigned client,
                                            uint64_t request_id) {
    if (request_id >= of->programs[client].count ||
        judge->requests[client][request_id].progress < SIM_ORDER_WHOLE) {
        sim_order_fail("a reply to client %u for what it has not asked", client + 1);
    }
    if (judge->requests[client][request_id].progress == SIM_ORDER_ANSWERED) {
        sim_order_fail("a second reply to client %u's request %llu", client + 1,
                       (unsigned long long)request_id + 1);
    }
    return &judge->requests[client][request_id];
}

void sim_order_judge_left(struct sim_order_judge *judge, const struct sim_order_case *of,
                          unsigned client, uint64_t request_id, uint64_t bytes) {
    struct sim_order_request *request = request_of(judge, of, client, request_id);
    uint64_t end = 0;
    for (unsigned key = 0; key < SIM_ORDER_KEYS; key++) {
        end += request->got[key] == 0 ? 0 : sim_order_value_bytes(key, request->got[key]);
        if (bytes >= end) {
            request->holds &= (uint8_t) ~(1u << key);
        }
    }
}

void sim_order_judge_closed(struct sim_order_judge *judge, unsigned client) {
    judge->closed[client] = 1;
}

/* ---- replies ------------------------------------------------------------------------------------------------- */

static void judge_put(const struct sim_order_request *request, const struct sim_order_operation *asked,
                      unsigned key, enum ist_status status) {
    bool shown = has(request->shown, key);
    bool may_exist =
        asked->verb == SIM_ORDER_PUT_IF_ABSENT && has(request->there & (unsigned)~request->shown, key);
    bool good = status == IST_OK         ? shown
                : status == IST_NO_SPACE ? !shown && request->full != 0
                : status == IST_EXISTS   ? !shown && may_exist
                                         : false;
    if (!good) {
        sim_order_fail("a put of %s that %s says %s", sim_order_keys_words(1u << key),
                       shown ? "was seen" : "was not seen", ist_status_name(status));
    }
}

static bool is_untouched(const uint8_t *memory, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        if (memory[i] != SIM_ORDER_UNTOUCHED) {
            return false;
        }
    }
    return true;
}

/* values: where this key's value is. Returns its bytes. */
static size_t judge_get(uint8_t version, bool rdma, unsigned key, enum ist_status status,
                        uint64_t length, const uint8_t *values) {
    size_t bytes = version == 0 ? 0 : sim_order_value_bytes(key, version);
    const char *name = sim_order_keys_words(1u << key);
    if (status != (version == 0 ? IST_NOT_FOUND : IST_OK) || length != bytes) {
        sim_order_fail("a get of %s says %s and %llu bytes, where version %u was there", name,
                       ist_status_name(status), (unsigned long long)length, version);
    }
    if (version != 0 && !sim_order_value_is(key, version, values)) {
        sim_order_fail("a get of %s brings other bytes than those of version %u", name, version);
    }
    if (rdma && !is_untouched(values + bytes, SIM_ORDER_VALUE_BYTES_MAX - bytes)) {
        sim_order_fail("a get of %s wrote more than its value", name);
    }
    return bytes;
}

static void judge_keys(const struct sim_order_request *request, const struct sim_order_operation *asked,
                       bool rdma, const struct ist_keys_reply *reply, const uint8_t *values) {
    size_t i = 0;
    for (unsigned key = 0; key < SIM_ORDER_KEYS; key++) {
        if (!has(asked->keys, key)) {
            continue;
        }
        enum ist_status status = (enum ist_status)reply->key_status.data[i];
        if (is_put(asked)) {
            judge_put(request, asked, key, status);
        } else {
            const uint8_t *value = rdma ? values + key * SIM_ORDER_VALUE_BYTES_MAX : values;
            size_t bytes = judge_get(request->got[key], rdma, key, status, reply->lengths[i], value);
            values += rdma ? 0 : bytes;
        }
        i++;
    }
}

void sim_order_judge_reply(struct sim_order_judge *judge, const struct sim_order_case *of,
                           unsigned client, const struct ist_frame *frame, struct ist_span body,
                           const uint8_t *values) {
    static const enum ist_operation operations[] = {IST_OP_PUT, IST_OP_PUT, IST_OP_GET, IST_OP_REMOVE};
    struct sim_order_request *request = request_of(judge, of, client, frame->request_id);
    const struct sim_order_operation *asked = operation_of(of, client, (unsigned)frame->request_id);
    size_t count = (size_t)__builtin_popcount(asked->keys);
    uint64_t lengths[SIM_ORDER_KEYS];
    struct ist_keys_reply reply;
    if (frame->operation != operations[asked->verb] ||
        ist_codec_decode_keys_reply(body, lengths, SIM_ORDER_KEYS, &reply) != IST_OK ||
        reply.status != IST_OK) {
        sim_order_fail("a reply to client %u that is none to its request", client + 1);
    }
    request->progress = SIM_ORDER_ANSWERED;
    if (asked->verb == SIM_ORDER_REMOVE) {
        unsigned went = (unsigned)(request->got[0] != 0) + (request->got[1] != 0);
        if (reply.count != went) {
            sim_order_fail("a remove of %s says %llu, where %u were there",
                           sim_order_keys_words(asked->keys), (unsigned long long)reply.count, went);
        }
        return;
    }
    if (reply.key_status.bytes != count ||
        reply.length_count != (asked->verb == SIM_ORDER_GET ? count : 0)) {
        sim_order_fail("a reply to client %u for another number of keys", client + 1);
    }
    judge_keys(request, asked, of->programs[client].rdma, &reply, values);
}

/* ---- after an event -------------------------------------------------------------------------------------------- */

/* The versions of a key that are being read: a bit for each. */
static unsigned held_versions(const struct sim_order_judge *judge, unsigned key) {
    unsigned held = 0;
    for (unsigned client = 0; client < SIM_ORDER_CLIENTS; client++) {
        for (unsigned i = 0; i < SIM_ORDER_OPERATIONS_MAX && judge->closed[client] == 0; i++) {
            const struct sim_order_request *request = &judge->requests[client][i];
            held |= has(request->holds, key) ? 1u << request->got[key] : 0;
        }
    }
    return held;
}

static bool is_held(const struct sim_order_judge *judge, unsigned key, uint8_t version) {
    return (held_versions(judge, key) >> version & 1) != 0;
}

/* A version became visible. */
static void judge_new(struct sim_order_judge *judge, const struct sim_order_case *of, unsigned key,
                      uint8_t version, struct sim_order_event event) {
    unsigned number = version - SIM_ORDER_FIRST - 1u;
    unsigned client = number / SIM_ORDER_OPERATIONS_MAX, operation = number % SIM_ORDER_OPERATIONS_MAX;
    const char *name = sim_order_keys_words(1u << key);
    if (version <= SIM_ORDER_FIRST || client >= SIM_ORDER_CLIENTS ||
        operation >= of->programs[client].count || event.client != client ||
        event.step >= SIM_ORDER_CUT) {
        sim_order_fail("version %u of %s is there, and nothing has brought it", version, name);
    }
    struct sim_order_request *request = &judge->requests[client][operation];
    const struct sim_order_operation *asked = operation_of(of, client, operation);
    if (!is_put(asked) || !has(asked->keys, key) || !has(request->moved, key) ||
        request->progress != SIM_ORDER_WHOLE || has(request->shown, key)) {
        sim_order_fail("version %u of %s is there before all its bytes, or once more", version, name);
    }
    if (asked->verb == SIM_ORDER_PUT_IF_ABSENT && judge->sight.version[key] != 0) {
        sim_order_fail("a put of %s, if absent, replaced version %u", name, judge->sight.version[key]);
    }
    request->shown |= (uint8_t)(1u << key);
}

/* A key went by itself. */
static void judge_victim(const struct sim_order_judge *judge, const struct sim_order_sight *now,
                         unsigned key) {
    const uint8_t *before = judge->sight.version;
    unsigned other = 1 - key;
    if (is_held(judge, key, before[key])) {
        sim_order_fail("%s went while it was read", sim_order_keys_words(1u << key));
    }
    if (judge->latest == key && before[other] != 0 && now->version[other] == before[other] &&
        !is_held(judge, other, before[other])) {
        sim_order_fail("%s went, which was used later than %s", sim_order_keys_words(1u << key),
                       sim_order_keys_words(1u << other));
    }
}

/* What was there and is not any more was removed, replaced, or evicted. */
static void judge_changes(struct sim_order_judge *judge, const struct sim_order_case *of,
                          const struct sim_order_sight *now, struct sim_order_event event) {
    const struct sim_order_sight *before = &judge->sight;
    unsigned lost = 0, replaced = 0, evicted = (uint8_t)(now->evicted - before->evicted);
    for (unsigned key = 0; key < SIM_ORDER_KEYS; key++) {
        uint8_t old = before->version[key], new = now->version[key];
        bool removed = has(judge->executed, key);
        if (removed && new != 0) {
            sim_order_fail("%s was removed and is there", sim_order_keys_words(1u << key));
        }
        if (old == new || removed) {
            continue;
        }
        if (new != 0) {
            judge_new(judge, of, key, new, event);
        }
        lost += new == 0;
        replaced += old != 0 && new != 0 && !is_held(judge, key, old);
        if (new == 0) {
            judge_victim(judge, now, key);
        }
    }
    if (evicted < lost || evicted > lost + replaced) {
        sim_order_fail("%u keys went by themselves, %u replaced ones could have, %u were evicted", lost,
                       replaced, evicted);
    }
    unsigned asked = (unsigned)__builtin_popcount(judge->arrived);
    int more = now->reserved - before->reserved;
    asked = more > (int)asked ? (unsigned)more : asked;
    if (event.step != SIM_ORDER_EVICT && evicted > (asked > before->free ? asked - before->free : 0)) {
        sim_order_fail("%u entries were evicted for %u values, with %u blocks free", evicted, asked,
                       before->free);
    }
}

/* Of the puts under way: blocks that may be reserved. */
static unsigned reserved_most(const struct sim_order_judge *judge, const struct sim_order_case *of) {
    unsigned most = 0;
    for (unsigned client = 0; client < SIM_ORDER_CLIENTS; client++) {
        for (unsigned i = 0; i < of->programs[client].count && judge->closed[client] == 0; i++) {
            const struct sim_order_operation *asked = operation_of(of, client, i);
            uint8_t progress = judge->requests[client][i].progress;
            uint8_t under_way = of->programs[client].rdma ? SIM_ORDER_WHOLE : SIM_ORDER_BEGUN;
            most +=
                is_put(asked) && progress == under_way ? (unsigned)__builtin_popcount(asked->keys) : 0;
        }
    }
    return most;
}

static void judge_pins(const struct sim_order_judge *judge, const struct sim_order_case *of,
                       const struct sim_order_sight *now) {
    unsigned held = 0, doomed = 0;
    for (unsigned key = 0; key < SIM_ORDER_KEYS; key++) {
        unsigned versions = held_versions(judge, key);
        held += (unsigned)__builtin_popcount(versions);
        doomed += (unsigned)__builtin_popcount(versions & ~(1u << now->version[key]));
    }
    if (now->reserved > reserved_most(judge, of)) {
        sim_order_fail("%u blocks are reserved for %u values under way", now->reserved,
                       reserved_most(judge, of));
    }
    if (now->pinned != held + now->reserved || now->doomed != doomed) {
        sim_order_fail("%u entries are held, of them %u not visible any more: it should be %u, %u",
                       now->pinned - now->reserved, now->doomed, held, doomed);
    }
}

void sim_order_judge_event(struct sim_order_judge *judge, const struct sim_order_case *of,
                           const struct ist_store *store, struct sim_order_event event) {
    struct sim_order_sight now = look(of, store);
    bool can_go = false;
    for (unsigned key = 0; key < SIM_ORDER_KEYS; key++) {
        uint8_t version = judge->sight.version[key];
        can_go |= version != 0 && !is_held(judge, key, version);
    }
    if (event.step == SIM_ORDER_EVICT && (uint8_t)(now.evicted - judge->sight.evicted) != can_go) {
        sim_order_fail("an entry should have been evicted, or none");
    }
    judge_changes(judge, of, &now, event);
    judge_pins(judge, of, &now);
    for (unsigned client = 0; client < SIM_ORDER_CLIENTS; client++) {
        for (unsigned i = 0; i < of->programs[client].count; i++) {
            struct sim_order_request *request = &judge->requests[client][i];
            const struct sim_order_operation *asked = operation_of(of, client, i);
            if (is_put(asked) &&
                (request->progress == SIM_ORDER_BEGUN || request->progress == SIM_ORDER_WHOLE)) {
                note_room(request, asked, of, &now);
            }
        }
    }
    for (unsigned key = SIM_ORDER_KEYS; key-- > 0;) {
        if (now.version[key] != 0 && now.version[key] != judge->sight.version[key]) {
            judge->latest = (uint8_t)key;
        }
    }
    judge->sight = now;
    judge->executed = judge->arrived = 0;
}

void sim_order_judge_end(const struct sim_order_judge *judge, const struct sim_order_case *of) {
    for (unsigned client = 0; client < SIM_ORDER_CLIENTS; client++) {
        for (unsigned i = 0; i < of->programs[client].count && judge->closed[client] == 0; i++) {
            if (judge->requests[client][i].progress != SIM_ORDER_ANSWERED) {
                sim_order_fail("client %u's request %u was never answered", client + 1, i + 1);
            }
        }
    }
}
