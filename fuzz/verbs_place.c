#include "fuzz/verbs_place.h"

static uint32_t smaller(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

void verbs_place_begin(struct verbs_place *place, struct ist_queue_pair *pair, uint32_t depth) {
    IST_ASSERT(depth >= 1 && depth <= VERBS_DEPTH_MAX);
    *place = (struct verbs_place){.pair = pair, .depth = depth};
    ist_queue_pair_end(pair, &place->end);
    place->messages = place->end.messages;
    place->message_bytes = place->end.message_bytes;
}

void verbs_place_connected(struct verbs_place *place, const struct ist_queue_pair_end *peer) {
    place->is_ready = true;
    place->peer = peer->number;
    place->credits = peer->messages;
    place->peer_message_bytes = smaller(peer->message_bytes, place->message_bytes);
}

/* ---- room ------------------------------------------------------------------------------------------------- */

static uint32_t room(const struct verbs_place *place) {
    return place->is_ready ? place->depth - (uint32_t)(place->added - place->retired) : 0;
}

static uint32_t message_room(const struct verbs_place *place) {
    uint32_t slots = smaller(VERBS_SLOTS, place->depth);
    bool possible = room(place) > 0 && place->credits > 0 && place->slots_used < slots;
    return possible ? place->peer_message_bytes : 0;
}

uint32_t verbs_place_room(const struct verbs_place *place) {
    return room(place) > place->raw ? room(place) - (uint32_t)place->raw : 0;
}

uint32_t verbs_place_message_room(const struct verbs_place *place) {
    return verbs_place_room(place) > 0 ? message_room(place) : 0;
}

/* ---- requests --------------------------------------------------------------------------------------------- */

void verbs_place_added(struct verbs_place *place, enum verbs_request request, struct verbs_move move) {
    size_t at = place->added++ % place->depth;
    place->request[at] = request;
    place->move[at] = move;
    if (request != VERBS_WORKED) {
        place->owed = 0; /* it carries them */
    }
    if (request == VERBS_MESSAGE) {
        place->credits--;
        place->slots_used++;
    }
}

enum ist_status verbs_place_flush(struct verbs_place *place) {
    if (place->is_ready && place->owed > 0 && place->owed >= place->messages / 2 && room(place) > 0) {
        verbs_place_added(place, VERBS_CREDITS, (struct verbs_move){0});
    }
    enum ist_status status = ist_queue_pair_flush(place->pair);
    IST_ASSERT(status == IST_OK || status == IST_DEVICE);
    IST_ASSERT(place->is_ready || status == IST_DEVICE);
    if (status == IST_OK) {
        place->posted = place->added;
    } else if (place->is_ready) {
        /* How many of the chain the device took is its matter. */
        place->is_ready = false;
        place->is_broken = true;
        uint64_t posted = place->retired + ist_queue_pair_outstanding(place->pair);
        IST_ASSERT(posted >= place->posted && posted < place->added);
        place->posted = posted;
    }
    return status;
}

static void check_moved(const struct verbs_move *move) {
    IST_ASSERT(move->from == NULL || memcmp(move->from, move->to, move->bytes) == 0);
}

void verbs_place_retire(struct verbs_place *place, uint64_t count, bool is_success) {
    uint64_t works = 0;
    IST_ASSERT(count > place->retired && count <= place->posted);
    for (; place->retired < count; place->retired++) {
        size_t at = place->retired % place->depth;
        works += place->request[at] == VERBS_WORKED;
        place->slots_used -= place->request[at] == VERBS_MESSAGE;
        if (is_success) {
            check_moved(&place->move[at]);
        }
    }
    IST_ASSERT(ist_queue_pair_retire(place->pair, count) == works);
}

bool verbs_place_received(struct verbs_place *place, const struct ist_completion_event *event) {
    bool has_bytes = ist_queue_pair_received(place->pair, event);
    IST_ASSERT(has_bytes == (event->bytes > 0));
    place->credits += event->immediate;
    place->credits = place->credits < UINT32_MAX ? place->credits : UINT32_MAX;
    return has_bytes;
}

void verbs_place_owe(struct verbs_place *place) {
    ist_queue_pair_owe_credit(place->pair);
    place->owed++;
}

void verbs_place_break(struct verbs_place *place) {
    ist_queue_pair_break(place->pair);
    place->is_ready = false;
    place->is_broken = true;
}

void verbs_place_check(const struct verbs_place *place) {
    IST_ASSERT(ist_queue_pair_user(place->pair) == place);
    IST_ASSERT(ist_queue_pair_is_ready(place->pair) == place->is_ready);
    IST_ASSERT(ist_queue_pair_outstanding(place->pair) == place->posted - place->retired);
    IST_ASSERT(ist_queue_pair_room(place->pair) == room(place));
    IST_ASSERT(ist_queue_pair_room(place->pair) <= place->depth);
    IST_ASSERT(ist_queue_pair_message_room(place->pair) == message_room(place));
}
