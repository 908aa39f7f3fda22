/* What the clients of an order say, byte for byte. */
#include <string.h>

#include "base/assert.h"
#include "sim/order_client.h"
#include "sim/order_rig.h"
#include "wire/codec.h"
#include "workload/content.h"

static void add(struct sim_order_bytes *bytes, const void *data, size_t count) {
    IST_ASSERT(bytes->count + count <= sizeof(bytes->data));
    memcpy(bytes->data + bytes->count, data, count);
    bytes->count += (uint32_t)count;
}

static void add_header(struct sim_order_bytes *bytes, enum ist_operation operation, uint16_t flags,
                       uint64_t id, size_t body_bytes, uint64_t payload_bytes) {
    const struct ist_frame frame = {operation, flags, id, (uint32_t)body_bytes, payload_bytes};
    uint8_t header[IST_FRAME_BYTES];
    ist_frame_encode(&frame, header);
    add(bytes, header, sizeof(header));
}

struct batch {
    struct ist_span keys[SIM_ORDER_KEYS];
    uint64_t lengths[SIM_ORDER_KEYS];
    struct ist_remote remotes[SIM_ORDER_KEYS];
    size_t count;
};

static void add_batch(struct sim_order_bytes *bytes, enum ist_operation operation, uint16_t flags,
                      uint64_t id, const struct batch *batch, bool rdma, uint64_t payload_bytes) {
    bool moves = operation == IST_OP_PUT || operation == IST_OP_GET;
    uint8_t body[SIM_ORDER_REQUEST_BYTES];
    size_t written;
    enum ist_status status = ist_codec_encode_remote_keys(batch->keys, moves ? batch->lengths : NULL,
                                                          moves && rdma ? batch->remotes : NULL,
                                                          batch->count, body, sizeof(body), &written);
    IST_ASSERT(status == IST_OK);
    add_header(bytes, operation, flags, id, written, payload_bytes);
    add(bytes, body, written);
}

static void add_request(struct sim_order_bytes *bytes, const struct sim_order_case *of, unsigned client,
                        unsigned number) {
    static const enum ist_operation operations[] = {IST_OP_PUT, IST_OP_PUT, IST_OP_GET, IST_OP_REMOVE};
    const struct sim_order_operation *asked = &of->programs[client].operations[number];
    bool rdma = of->programs[client].rdma;
    bool is_put = operations[asked->verb] == IST_OP_PUT;
    struct batch batch = {.count = 0};
    uint8_t payload[SIM_ORDER_REQUEST_BYTES];
    size_t payload_bytes = 0;
    for (unsigned key = 0; key < SIM_ORDER_KEYS; key++) {
        if ((asked->keys >> key & 1) == 0) {
            continue;
        }
        uint8_t version = sim_order_version(client, number);
        uint32_t value_bytes = sim_order_value_bytes(key, version);
        batch.keys[batch.count] = sim_order_key(key);
        batch.lengths[batch.count] = is_put ? value_bytes : SIM_ORDER_VALUE_BYTES_MAX;
        batch.remotes[batch.count++] =
            (struct ist_remote){sim_order_address(client, number, key), SIM_ORDER_RKEY + client};
        IST_ASSERT(payload_bytes + value_bytes <= sizeof(payload));
        ist_content_fill(ist_content_of(sim_order_key(key), version), 0, payload + payload_bytes,
                         value_bytes);
        payload_bytes += value_bytes;
    }
    payload_bytes = is_put && !rdma ? payload_bytes : 0;
    add_batch(bytes, operations[asked->verb],
              asked->verb == SIM_ORDER_PUT_IF_ABSENT ? IST_FRAME_IF_ABSENT : 0, number, &batch, rdma,
              payload_bytes);
    bytes->head = payload_bytes > 0 ? bytes->count : IST_FRAME_BYTES / 2;
    bytes->middle = payload_bytes > 0 ? bytes->count + (uint32_t)payload_bytes / 2 : 0;
    add(bytes, payload, payload_bytes);
}

static void add_first(struct sim_order_bytes *bytes, unsigned key) {
    uint32_t value_bytes = sim_order_value_bytes(key, SIM_ORDER_FIRST);
    uint8_t value[SIM_ORDER_VALUE_BYTES_MAX];
    const struct batch batch = {.keys = {sim_order_key(key)}, .lengths = {value_bytes}, .count = 1};
    ist_content_fill(ist_content_of(sim_order_key(key), SIM_ORDER_FIRST), 0, value, value_bytes);
    add_batch(bytes, IST_OP_PUT, 0, 0, &batch, false, value_bytes);
    add(bytes, value, value_bytes);
}

void sim_order_script_init(struct sim_order_script *script, const struct sim_order_case *of,
                           const struct sim_order_budget *budget) {
    memset(script, 0, sizeof(*script));
    script->of = *of;
    script->budget = *budget;
    for (unsigned client = 0; client < SIM_ORDER_CLIENTS; client++) {
        for (unsigned i = 0; i < of->programs[client].count; i++) {
            add_request(&script->requests[client][i], of, client, i);
        }
    }
    const struct ist_hello hello = {IST_FRAME_VERSION, IST_FRAME_VERSION, ist_span_of_string("orders")};
    uint8_t body[IST_CODEC_HELLO_BYTES];
    size_t written;
    enum ist_status status = ist_codec_encode_hello(&hello, body, sizeof(body), &written);
    IST_ASSERT(status == IST_OK);
    add_header(&script->hello, IST_OP_HELLO, 0, 0, written, 0);
    add(&script->hello, body, written);
    const struct batch both = {
        .keys = {sim_order_key(0), sim_order_key(1)},
        .lengths = {SIM_ORDER_VALUE_BYTES_MAX, SIM_ORDER_VALUE_BYTES_MAX},
        .count = SIM_ORDER_KEYS,
    };
    add_batch(&script->look, IST_OP_EXISTS, 0, 0, &both, false, 0);
    add_batch(&script->look, IST_OP_MATCH_PREFIX, 0, 1, &both, false, 0);
    add_batch(&script->look, IST_OP_MATCH_LAST, 0, 2, &both, false, 0);
    add_batch(&script->look, IST_OP_GET, 0, 3, &both, false, 0);
    add_header(&script->purge, IST_OP_PURGE, 0, 0, 0, 0);
    for (unsigned key = 0; key < SIM_ORDER_KEYS; key++) {
        add_first(&script->first[key], key);
    }
}
