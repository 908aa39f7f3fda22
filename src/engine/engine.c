#include "engine/engine.h"

#include <string.h>

#include "base/assert.h"
#include "engine/state.h"
#include "store/store.h"

#define SERVER_NAME_BYTES_MAX 64u /* see IST_CODEC_HELLO_BYTES */

static enum ist_status scratch_init(struct ist_scratch *scratch, const struct ist_alloc *alloc) {
    const size_t count = IST_KEYS_PER_REQUEST_MAX;
    *scratch = (struct ist_scratch){
        .keys = ist_allocate_array(alloc, count, sizeof(struct ist_span)),
        .lengths = ist_allocate_array(alloc, count, sizeof(uint64_t)),
        .remotes = ist_allocate_array(alloc, count, sizeof(struct ist_remote)),
        .entries = ist_allocate_array(alloc, count, sizeof(struct ist_entry *)),
        .status = ist_allocate(alloc, count),
        .present = ist_allocate_array(alloc, count, sizeof(bool)),
    };
    return scratch->keys == NULL || scratch->lengths == NULL || scratch->remotes == NULL ||
                   scratch->entries == NULL || scratch->status == NULL || scratch->present == NULL
               ? IST_NO_MEMORY
               : IST_OK;
}

static void scratch_fini(struct ist_scratch *scratch, const struct ist_alloc *alloc) {
    ist_release(alloc, scratch->keys);
    ist_release(alloc, scratch->lengths);
    ist_release(alloc, scratch->remotes);
    ist_release(alloc, scratch->entries);
    ist_release(alloc, scratch->status);
    ist_release(alloc, scratch->present);
}

static struct ist_engine_config with_defaults(struct ist_engine_config config) {
    if (config.requests_in_flight_max == 0) {
        config.requests_in_flight_max = IST_REQUESTS_IN_FLIGHT_MAX;
    }
    if (config.queued_bytes_max == 0) {
        config.queued_bytes_max = IST_QUEUED_BYTES_MAX;
    }
    if (config.handshake_timeout_ns == 0) {
        config.handshake_timeout_ns = IST_HANDSHAKE_TIMEOUT_NS;
    }
    if (config.progress_timeout_ns == 0) {
        config.progress_timeout_ns = IST_PROGRESS_TIMEOUT_NS;
    }
    return config;
}

enum ist_status ist_engine_new(const struct ist_engine_config *config, struct ist_store *store,
                               struct ist_engine **engine) {
    if (config->incarnation == 0 || config->sessions_max == 0 ||
        strlen(config->server_name) > SERVER_NAME_BYTES_MAX) {
        return IST_INVALID;
    }
    const struct ist_alloc *alloc = config->alloc;
    struct ist_engine *new = ist_allocate(alloc, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    *new = (struct ist_engine){.config = with_defaults(*config), .store = store};
    if (scratch_init(&new->scratch, alloc) != IST_OK ||
        ist_timers_init(&new->timers, config->sessions_max, alloc) != IST_OK) {
        scratch_fini(&new->scratch, alloc);
        ist_release(alloc, new);
        return IST_NO_MEMORY;
    }
    *engine = new;
    return IST_OK;
}

void ist_engine_free(struct ist_engine *engine) {
    if (engine == NULL) {
        return;
    }
    IST_ASSERT(engine->sessions == NULL);
    ist_timers_fini(&engine->timers);
    scratch_fini(&engine->scratch, engine->config.alloc);
    ist_release(engine->config.alloc, engine);
}

/* ---- time ------------------------------------------------------------------------------------------- */

_Static_assert(offsetof(struct ist_session, timer) == 0, "a session begins with its timer");

uint64_t ist_engine_deadline_ns(const struct ist_engine *engine) {
    const struct ist_timer *first = ist_timers_first(&engine->timers);
    return first == NULL ? IST_NEVER_NS : first->at_ns;
}

/* Each turn disarms a timer or moves it behind now_ns. */
void ist_engine_tick(struct ist_engine *engine, uint64_t now_ns) {
    struct ist_timer *first;
    while ((first = ist_timers_first(&engine->timers)) != NULL && first->at_ns <= now_ns) {
        ist_session_tick((struct ist_session *)first, now_ns);
    }
}

struct ist_session *ist_engine_next_changed(struct ist_engine *engine) {
    struct ist_session *session = engine->changed;
    if (session != NULL) {
        engine->changed = session->changed_next;
        if (engine->changed != NULL) {
            engine->changed->changed_prev = NULL;
        }
        session->is_changed = false;
    }
    return session;
}

void ist_engine_drain(struct ist_engine *engine, uint64_t now_ns) {
    engine->draining = true;
    for (struct ist_session *session = engine->sessions; session != NULL; session = session->next) {
        ist_session_drain(session, now_ns);
    }
}

bool ist_engine_is_draining(const struct ist_engine *engine) {
    return engine->draining;
}

/* ---- figures and check ------------------------------------------------------------------------------ */

void ist_engine_set_pool_target(struct ist_engine *engine, uint64_t bytes) {
    engine->pool_target_bytes = bytes;
}

void ist_engine_stats(const struct ist_engine *engine, struct ist_stats *stats) {
    struct ist_store_usage usage;
    ist_store_usage(engine->store, &usage);
    *stats = engine->stats;
    stats->pool_bytes = usage.pool_bytes;
    stats->pool_bytes_max = usage.pool_bytes_max;
    stats->pool_target_bytes =
        engine->pool_target_bytes > usage.pool_bytes ? engine->pool_target_bytes : usage.pool_bytes;
    stats->free_bytes = usage.free_bytes;
    stats->reserved_bytes = usage.reserved_bytes;
    stats->committed_bytes = usage.committed_bytes;
    stats->doomed_bytes = usage.doomed_bytes;
    stats->largest_free_bytes = usage.largest_free_bytes;
    stats->value_bytes = usage.value_bytes;
    stats->keys_stored = usage.keys;
    stats->pinned_entries = usage.pinned_entries;
    stats->metadata_bytes = usage.metadata_bytes;
    stats->evicted_entries = usage.evicted_entries;
    stats->evicted_bytes = usage.evicted_bytes;
}

void ist_engine_check(const struct ist_engine *engine) {
    uint64_t sessions = 0, in_flight = 0;
    for (const struct ist_session *session = engine->sessions; session != NULL;
         session = session->next) {
        IST_ASSERT(session->next == NULL || session->next->prev == session);
        IST_ASSERT(session->engine == engine);
        ist_session_check(session);
        sessions++;
        in_flight += session->in_flight;
    }
    IST_ASSERT(sessions == engine->stats.sessions && in_flight == engine->stats.requests_in_flight);
    for (const struct ist_session *session = engine->changed; session != NULL;
         session = session->changed_next) {
        IST_ASSERT(session->is_changed);
    }
    ist_timers_check(&engine->timers);
    ist_store_check(engine->store);
}
