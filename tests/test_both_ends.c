/* The client's exchange and the server's engine, joined without sockets: random requests, several in flight, in random
 * pieces both ways, with deadlines and cut connections, against a model of what the store holds. The engine
 * executes requests in the order in which they arrive, so the model can tell each answer at the submit. */
#include "tests/replay.h"
#include "tests/talk.h"

#define NAMES 12u
#define DEPTH 10u
#define ITEMS_MAX 6u
#define BYTES_MAX 9000u

struct model {
    uint64_t version[NAMES]; /* 0: not there */
    uint64_t bytes[NAMES];
};

/* One request with everything that it borrows, and what its answer must be. */
struct operation {
    bool running, may_time_out;
    enum ist_operation kind;
    struct answer answer;
    size_t count;
    size_t names[ITEMS_MAX];
    struct ist_key keys[ITEMS_MAX];
    struct ist_put_item puts[ITEMS_MAX];
    struct ist_get_item gets[ITEMS_MAX];
    uint8_t *memory[ITEMS_MAX]; /* guarded */
    uint64_t room[ITEMS_MAX];
    bool present[ITEMS_MAX];
    size_t number;
    int64_t index;
    uint64_t purged;
    struct ist_metrics *metrics;
    enum ist_status expected_status[ITEMS_MAX];
    uint64_t expected_bytes[ITEMS_MAX], expected_version[ITEMS_MAX];
    int64_t expected_number;
};

struct pair {
    struct world world;
    struct talk talk;
    struct ist_session *session;
    struct model model;
    struct operation operations[DEPTH];
    struct bytes to_server, to_client;
    uint64_t random, versions;
    size_t answered, timed_out, cut;
};

static const char *name_of(size_t i) {
    static const char *const names[NAMES] = {"a", "b", "c", "dd", "eee", "f",
                                             "g", "h", "i", "j",  "k",   "l"};
    return names[i];
}

static uint64_t below(struct pair *pair, uint64_t limit) {
    return random_below(&pair->random, limit);
}

static uint8_t byte_of(size_t name, uint64_t version, uint64_t at) {
    return (uint8_t)(name * 31 + version * 7 + at * (version | 1));
}

/* ---- submitting ------------------------------------------------------------------------------------------- */

static void fill_put(struct pair *pair, struct operation *op, size_t i, bool if_absent) {
    struct model *model = &pair->model;
    size_t name = op->names[i];
    uint64_t version = ++pair->versions;
    for (uint64_t at = 0; at < op->room[i]; at++) {
        op->memory[i][at] = byte_of(name, version, at);
    }
    op->puts[i] = (struct ist_put_item){
        .key = op->keys[i], .value = op->memory[i], .value_bytes = op->room[i], .status = IST_DEVICE};
    op->expected_status[i] = if_absent && model->version[name] != 0 ? IST_EXISTS : IST_OK;
    if (op->expected_status[i] == IST_OK) {
        model->version[name] = version;
        model->bytes[name] = op->room[i];
    }
}

static void fill_get(struct pair *pair, struct operation *op, size_t i) {
    const struct model *model = &pair->model;
    size_t name = op->names[i];
    memset(op->memory[i], 0x77, op->room[i]);
    op->gets[i] = (struct ist_get_item){
        .key = op->keys[i], .buffer = op->memory[i], .buffer_bytes = op->room[i], .status = IST_DEVICE};
    op->expected_version[i] = model->version[name];
    op->expected_bytes[i] = model->version[name] == 0 ? 0 : model->bytes[name];
    op->expected_status[i] = model->version[name] == 0          ? IST_NOT_FOUND
                             : model->bytes[name] > op->room[i] ? IST_TOO_SMALL
                                                                : IST_OK;
}

static void expect_counts(struct pair *pair, struct operation *op) {
    struct model *model = &pair->model;
    op->expected_number = op->kind == IST_OP_MATCH_LAST ? -1 : 0;
    bool hole = false;
    for (size_t i = 0; i < op->count; i++) {
        bool there = model->version[op->names[i]] != 0;
        hole = hole || !there;
        op->expected_status[i] = there ? IST_OK : IST_NOT_FOUND;
        if (op->kind == IST_OP_MATCH_PREFIX) {
            op->expected_number += !hole;
        } else if (op->kind == IST_OP_MATCH_LAST && there) {
            op->expected_number = (int64_t)i;
        } else if (op->kind == IST_OP_REMOVE) {
            op->expected_number += there;
            model->version[op->names[i]] = 0;
        }
    }
    for (size_t i = 0; op->kind == IST_OP_PURGE && i < NAMES; i++) {
        op->expected_number += model->version[i] != 0;
        model->version[i] = 0;
    }
}

static enum ist_status make(struct pair *pair, struct operation *op, struct ist_request **request) {
    const struct ist_alloc *alloc = &pair->talk.failing.alloc;
    bool if_absent = below(pair, 3) == 0;
    for (size_t i = 0; i < op->count && op->kind == IST_OP_PUT; i++) {
        fill_put(pair, op, i, if_absent);
    }
    for (size_t i = 0; i < op->count && op->kind == IST_OP_GET; i++) {
        fill_get(pair, op, i);
    }
    switch (op->kind) {
    case IST_OP_PUT:
        return ist_request_new_put(alloc, op->puts, op->count, if_absent ? IST_IF_ABSENT : 0, request);
    case IST_OP_GET: return ist_request_new_get(alloc, op->gets, op->count, request);
    case IST_OP_EXISTS:
        expect_counts(pair, op);
        return ist_request_new_exists(alloc, op->keys, op->count, op->present, request);
    case IST_OP_MATCH_PREFIX:
    case IST_OP_REMOVE:
        expect_counts(pair, op);
        return ist_request_new_number(alloc, op->kind, op->keys, op->count, &op->number, request);
    case IST_OP_MATCH_LAST:
        expect_counts(pair, op);
        return ist_request_new_match_last(alloc, op->keys, op->count, &op->index, request);
    case IST_OP_PURGE:
        expect_counts(pair, op);
        return ist_request_new_purge(alloc, &op->purged, request);
    case IST_OP_STAT: return ist_request_new_stat(alloc, &op->metrics, request);
    case IST_OP_HELLO:
    case IST_OP_CONNECT:
    case IST_OP_PING: break;
    }
    return ist_request_new_ping(alloc, request);
}

static void submit(struct pair *pair, struct operation *op) {
    static const enum ist_operation kinds[] = {
        IST_OP_PUT,          IST_OP_PUT,        IST_OP_PUT,    IST_OP_GET,
        IST_OP_GET,          IST_OP_GET,        IST_OP_EXISTS, IST_OP_GET,
        IST_OP_REMOVE,       IST_OP_STAT,       IST_OP_PING,   IST_OP_MATCH_PREFIX,
        IST_OP_MATCH_PREFIX, IST_OP_MATCH_LAST, IST_OP_EXISTS, IST_OP_PURGE,
    };
    struct ist_request *request = NULL;
    *op = (struct operation){
        .running = true,
        .kind = kinds[below(pair, sizeof(kinds) / sizeof(kinds[0]))],
        .count = 1 + (size_t)below(pair, ITEMS_MAX),
    };
    for (size_t i = 0; i < op->count; i++) {
        op->names[i] = (size_t)below(pair, NAMES);
        op->keys[i] = (struct ist_key){name_of(op->names[i]), strlen(name_of(op->names[i]))};
        op->room[i] = 1 + below(pair, below(pair, 4) == 0 ? BYTES_MAX : 50);
        op->memory[i] = guarded_new(op->room[i]);
    }
    /* Only what changes nothing may be cut short, so that the model stays exact. */
    bool changes = op->kind == IST_OP_PUT || op->kind == IST_OP_REMOVE || op->kind == IST_OP_PURGE;
    op->may_time_out = !changes && below(pair, 4) == 0;
    uint64_t deadline_ns = op->may_time_out ? pair->talk.now_ns + below(pair, 40) : TALK_NEVER;
    enum ist_status made = make(pair, op, &request);
    assert_int_equal(talk_submit(&pair->talk, made, request, &op->answer, deadline_ns), IST_OK);
}

/* ---- answers ------------------------------------------------------------------------------------------------ */

static void check_get(const struct operation *op, size_t i) {
    const struct ist_get_item *item = &op->gets[i];
    assert_int_equal(item->status, op->expected_status[i]);
    assert_int_equal(item->value_bytes, op->expected_bytes[i]);
    uint64_t written = item->status == IST_OK ? item->value_bytes : 0;
    for (uint64_t at = 0; at < op->room[i]; at++) {
        assert_int_equal(op->memory[i][at],
                         at < written ? byte_of(op->names[i], op->expected_version[i], at) : 0x77);
    }
}

static void check_answer(const struct operation *op) {
    enum ist_status first = IST_OK;
    for (size_t i = 0; i < op->count; i++) {
        if (op->kind == IST_OP_PUT) {
            assert_int_equal(op->puts[i].status, op->expected_status[i]);
        } else if (op->kind == IST_OP_GET) {
            check_get(op, i);
        } else if (op->kind == IST_OP_EXISTS) {
            assert_int_equal(op->present[i], op->expected_status[i] == IST_OK);
        }
        if (first == IST_OK && (op->kind == IST_OP_PUT || op->kind == IST_OP_GET)) {
            first = op->expected_status[i];
        }
    }
    assert_int_equal(op->answer.status, first);
    switch (op->kind) {
    case IST_OP_MATCH_PREFIX:
    case IST_OP_REMOVE: assert_int_equal(op->number, op->expected_number); break;
    case IST_OP_MATCH_LAST: assert_int_equal(op->index, op->expected_number); break;
    case IST_OP_PURGE: assert_int_equal(op->purged, op->expected_number); break;
    case IST_OP_STAT: assert_true(op->metrics->count > 20); break;
    case IST_OP_PUT:
    case IST_OP_GET:
    case IST_OP_EXISTS:
    case IST_OP_HELLO:
    case IST_OP_CONNECT:
    case IST_OP_PING: break;
    }
}

static void collect(struct pair *pair, bool cut) {
    for (size_t i = 0; i < DEPTH; i++) {
        struct operation *op = &pair->operations[i];
        if (!op->running || op->answer.calls == 0) {
            continue;
        }
        assert_int_equal(op->answer.calls, 1);
        if (op->answer.status == IST_TIMEOUT) {
            assert_true(op->may_time_out);
            pair->timed_out++;
        } else if (op->answer.status == IST_PEER) {
            assert_true(cut);
        } else {
            check_answer(op);
            pair->answered++;
        }
        for (size_t j = 0; j < op->count; j++) {
            guarded_free(op->memory[j], op->room[j]);
        }
        ist_metrics_free(op->metrics);
        op->running = false;
    }
}

/* ---- the wire ----------------------------------------------------------------------------------------------- */

static void shift(struct bytes *bytes, size_t count) {
    memmove(bytes->data, bytes->data + count, bytes->count - count);
    bytes->count -= count;
}

static void move_to_server(struct pair *pair) {
    struct talk *talk = &pair->talk;
    talk->said.count = talk->heard = 0;
    (void)talk_take(talk, 1 + (size_t)below(pair, 3000));
    bytes_add(&pair->to_server, talk->said.data, talk->said.count);
    if (pair->to_server.count > 0) {
        size_t piece = 1 + (size_t)below(pair, pair->to_server.count);
        shift(&pair->to_server, edge_feed(&pair->world, pair->session, pair->to_server.data, piece));
    }
}

static void move_to_client(struct pair *pair) {
    (void)edge_take(&pair->world, pair->session, &pair->to_client, 1 + (size_t)below(pair, 6000));
    if (pair->to_client.count > 0) {
        size_t piece = 1 + (size_t)below(pair, pair->to_client.count);
        size_t fed = talk_feed(&pair->talk, pair->to_client.data, piece);
        assert_int_equal(fed, piece);
        shift(&pair->to_client, fed);
    }
}

static void step(struct pair *pair) {
    struct talk *talk = &pair->talk;
    talk->buffers_max = pair->world.buffers_max = 1 + (size_t)below(pair, 8);
    talk->take_max = pair->world.recv_max = 1 + (size_t)below(pair, 9000);
    talk->feed_max = pair->world.send_max = 1 + (size_t)below(pair, 9000);
    if (below(pair, 2) == 0) {
        move_to_server(pair);
    } else {
        move_to_client(pair);
    }
    talk_tick(talk, talk->now_ns + below(pair, 3));
    assert_int_equal(ist_exchange_fault(talk->exchange), IST_OK);
    assert_int_equal(ist_session_wants(pair->session) & IST_WANT_CLOSE, 0);
}

static void connect_again(struct pair *pair) {
    pair->session = world_open(&pair->world);
    pair->to_server.count = pair->to_client.count = 0;
    ist_exchange_begin(pair->talk.exchange, false);
    talk_check(&pair->talk);
}

/* The connection goes; what changed or not is unknown, so the store is emptied. */
static void cut(struct pair *pair) {
    ist_session_close(pair->session);
    talk_end(&pair->talk, IST_PEER);
    collect(pair, true);
    for (size_t i = 0; i < DEPTH; i++) {
        assert_false(pair->operations[i].running);
    }
    ist_store_purge(pair->world.store);
    memset(&pair->model, 0, sizeof(pair->model));
    pair->cut++;
    connect_again(pair);
}

static void converse(uint64_t seed) {
    struct pair pair = {.random = seed};
    world_init(&pair.world, (struct world_options){0});
    talk_init(&pair.talk);
    pair.world.unchecked = pair.talk.unchecked = seed % 4 != 0;
    connect_again(&pair);
    size_t cuts = (size_t)below(&pair, 3);
    unsigned rounds = getenv("IST_TEST_SHORT") == NULL ? 3000 : 400;
    for (unsigned round = 0; round < rounds; round++) {
        struct operation *op = &pair.operations[below(&pair, DEPTH)];
        if (!op->running && below(&pair, 3) == 0) {
            submit(&pair, op);
        }
        step(&pair);
        collect(&pair, false);
        if (pair.cut < cuts && below(&pair, rounds) == 0) {
            cut(&pair);
        }
    }
    for (unsigned round = 0; ist_exchange_in_flight(pair.talk.exchange) > 0; round++) {
        assert_true(round < 1000000);
        step(&pair);
        collect(&pair, false);
    }
    assert_true(pair.answered > 10);
    ist_session_close(pair.session);
    talk_fini(&pair.talk);
    world_fini(&pair.world);
    bytes_free(&pair.to_server);
    bytes_free(&pair.to_client);
}

static void test_both_ends__random_requests_in_random_pieces__as_the_model(void **state) {
    (void)state;
    replay_seeds(getenv("IST_TEST_SHORT") == NULL ? 80 : 8, converse);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_both_ends__random_requests_in_random_pieces__as_the_model,
                                  replay_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
