#include "fuzz/verbs_world.h"

#include <sys/mman.h>
#include <unistd.h>

#include "verbs/survey.h"

#define WHY_BYTES 160u

static void log_line(void *context, enum ist_log_level level, uint64_t session, const char *message) {
    struct verbs_world *world = context;
    (void)session;
    IST_ASSERT(strlen(message) > 0);
    world->complaints += level <= IST_LOG_WARNING;
}

/* ---- buffers ---------------------------------------------------------------------------------------------- */

void verbs_side_give_back(struct verbs_side *side, uint32_t how_many) {
    for (; how_many > 0 && side->held_count > 0; how_many--) {
        uint32_t buffer = side->held[--side->held_count];
        struct verbs_place *owed = side->held_for[side->held_count];
        enum ist_status status = ist_completion_give_back(side->completion, buffer);
        IST_ASSERT(status == IST_OK || (status == IST_DEVICE && side->world->is_troubled));
        side->is_out[buffer] = status != IST_OK; /* then it is lost */
        if (owed != NULL && owed->pair != NULL && status == IST_OK) {
            verbs_place_owe(owed);
        }
    }
}

void verbs_side_hold(struct verbs_side *side, uint32_t buffer, struct verbs_place *place) {
    const struct ist_completion_config *config = ist_completion_config(side->completion);
    uint32_t buffers = ist_completion_queue_pairs_max(side->completion) *
                       (config->messages + IST_COMPLETION_SPARE_MESSAGES);
    IST_ASSERT(buffer < buffers && buffer < VERBS_BUFFERS_MAX && !side->is_out[buffer]);
    side->is_out[buffer] = true;
    side->held[side->held_count] = buffer;
    side->held_for[side->held_count++] = place;
}

static void forget_credits(struct verbs_side *side, const struct verbs_place *place) {
    for (uint32_t i = 0; i < side->held_count; i++) {
        side->held_for[i] = side->held_for[i] == place ? NULL : side->held_for[i];
    }
}

/* ---- opening and closing ---------------------------------------------------------------------------------- */

void verbs_side_free_place(struct verbs_side *side, struct verbs_place *place) {
    if (place->pair != NULL) {
        ist_queue_pair_free(place->pair);
        place->pair = NULL;
        forget_credits(side, place);
    }
}

void verbs_side_close(struct verbs_side *side) {
    for (size_t i = 0; i < VERBS_PAIRS; i++) {
        verbs_side_free_place(side, &side->place[i]);
    }
    ist_region_drop(&side->region[0]);
    ist_region_drop(&side->region[1]);
    ist_completion_free(side->completion);
    ist_device_close(side->device);
    side->completion = NULL;
    side->device = NULL;
    side->held_count = 0;
    memset(side->is_out, 0, sizeof(side->is_out));
}

/* The device as src/verbs has read it is the one that was made. */
static void check_device(const struct verbs_world *world, const struct ist_device_config *config,
                         struct ist_device *device) {
    const struct verbs_side *own =
        &world->side[strcmp(ist_device_name(device), world->side[0].about.name) != 0];
    unsigned number = ist_device_port(device);
    IST_ASSERT(strcmp(ist_device_name(device), own->about.name) == 0);
    IST_ASSERT(number >= 1 && number <= own->about.ports);
    IST_ASSERT(config->port == 0 || config->port == number);
    const struct ist_hca_port_config *port = &own->about.port[number - 1];
    bool is_infiniband = port->link_layer == IBV_LINK_LAYER_INFINIBAND;
    IST_ASSERT(ist_device_is_infiniband(device) == is_infiniband);
    IST_ASSERT(config->link == IST_DEVICE_LINK_ANY ||
               (config->link == IST_DEVICE_LINK_INFINIBAND) == is_infiniband);
    IST_ASSERT(ist_device_requires_grh(device) == port->grh_required);
    const struct ist_device_limits *limits = ist_device_limits(device);
    IST_ASSERT(limits->cqe <= INT32_MAX && limits->srq_wr <= INT32_MAX && limits->sge <= INT32_MAX);
    struct ist_device_port now;
    if (ist_device_ask_port(device, &now) == IST_OK) {
        IST_ASSERT(now.mtu_bytes <= 4096 && (now.mtu_bytes == 0 || now.mtu_bytes >= 256));
    }
    struct ist_gid_entry gid;
    if (!world->is_troubled) {
        IST_ASSERT(port->state == IBV_PORT_ACTIVE);
        IST_ASSERT(ist_device_ask_port(device, &now) == IST_OK && now.lid == port->lid);
        IST_ASSERT(now.requires_grh == port->grh_required);
        IST_ASSERT(ist_device_gid(device, NULL, &gid) == IST_OK);
        IST_ASSERT((int)gid.index == verbs_device_gid(port, config->hint_gid_index));
        IST_ASSERT(memcmp(gid.gid, port->gid[gid.index].gid.raw, IST_GID_LENGTH) == 0);
    }
    /* What routes to this machine itself may be better. */
    static const uint8_t loopback[IST_GID_LENGTH] = {[10] = 0xff, 0xff, 127, [15] = 1};
    if (ist_device_gid(device, loopback, &gid) == IST_OK) {
        IST_ASSERT(gid.index < IST_HCA_GIDS_MAX); /* one may have come since */
    }
}

static bool open_device(struct verbs_side *side, struct fuzz_input *input) {
    uint8_t name = fuzz_u8(input), port = fuzz_u8(input), link = fuzz_u8(input), hint = fuzz_u8(input);
    char why[WHY_BYTES] = "";
    const char *names[] = {side->about.name, NULL, side->world->side[0].about.name,
                           side->world->side[1].about.name, "none"};
    const struct ist_device_config config = {.name = names[name % 5],
                                             .port = port % 4,
                                             .link = (enum ist_device_link)(link % 3),
                                             .hint_gid_index = hint == 0 ? -1 : hint % 20 - 1,
                                             .alloc = &side->world->failing.alloc,
                                             .log = &side->world->log};
    size_t why_bytes = port < 128 ? sizeof(why) : 1;
    enum ist_status status = ist_device_open(&config, &side->device, why, why_bytes);
    IST_ASSERT(status == IST_OK || status == IST_DEVICE || status == IST_NO_MEMORY);
    if (status != IST_OK) {
        IST_ASSERT(side->device == NULL && (strlen(why) > 0 || why_bytes == 1));
        return false;
    }
    check_device(side->world, &config, side->device);
    return true;
}

void verbs_side_open(struct verbs_side *side, struct fuzz_input *input) {
    static const uint32_t bytes[] = {512, 256, 4096, 300, 1, 65536};
    verbs_side_close(side);
    if (!open_device(side, input)) {
        return;
    }
    const struct ist_completion_config config = {.device = side->device,
                                                 .queue_pairs_max = 1 + fuzz_below(input, 4),
                                                 .send_wr = 1 + fuzz_below(input, VERBS_DEPTH_MAX),
                                                 .messages = fuzz_below(input, 40),
                                                 .message_bytes = bytes[fuzz_below(input, 6)],
                                                 .alloc = &side->world->failing.alloc,
                                                 .log = &side->world->log};
    uint64_t complaints = side->world->complaints;
    enum ist_status status = ist_completion_new(&config, &side->completion);
    IST_ASSERT(status == IST_OK || status == IST_NO_MEMORY || status == IST_DEVICE);
    IST_ASSERT(status != IST_DEVICE || side->world->complaints > complaints);
    if (status != IST_OK) {
        verbs_side_close(side);
        return;
    }
    IST_ASSERT(ist_completion_queue_pairs_max(side->completion) <= config.queue_pairs_max);
    side->is_lame = false;
}

void verbs_world_survey(const struct verbs_world *world) {
    struct ist_survey found;
    enum ist_status status = ist_survey_init(&found, &world->failing.alloc);
    IST_ASSERT(status == IST_OK || (status == IST_NO_MEMORY && world->is_troubled));
    for (size_t i = 0; i < found.devices_count && !world->is_troubled; i++) {
        const struct ist_survey_device *device = &found.devices[i];
        const struct ist_hca_device_config *about = &world->side[i].about;
        IST_ASSERT(device->error == 0 && device->ports_count == about->ports);
        IST_ASSERT((device->dmabuf == IST_DMABUF_YES) == about->dmabuf);
        for (size_t k = 0; k < device->ports_count; k++) {
            size_t gids = 0;
            for (uint32_t g = 0; g < about->port[k].gids; g++) {
                int index = verbs_device_gid(&about->port[k], (int)g);
                IST_ASSERT(index < 0 || device->ports[k].gids[gids].index == (uint32_t)index);
                gids += index >= 0;
            }
            IST_ASSERT(device->ports[k].gids_count == gids);
        }
    }
    ist_survey_fini(&found);
}

/* ---- memory ----------------------------------------------------------------------------------------------- */

static void check_region(enum ist_status status, const struct ist_region *region, uint64_t bytes) {
    IST_ASSERT(status == IST_OK || status == IST_NO_MEMORY || status == IST_TOO_BIG ||
               status == IST_INVALID || status == IST_DEVICE);
    IST_ASSERT((status == IST_OK) == (region->mr != NULL));
    IST_ASSERT(status != IST_OK || region->bytes == bytes);
}

/* Nothing, far too much, what is not there, a descriptor. */
static void register_odd(const struct verbs_side *side, uint8_t what, uint64_t bytes) {
    struct ist_region region = {0};
    const enum ist_memory_use use = what >= 128 ? IST_MEMORY_REMOTE : IST_MEMORY_LOCAL;
    uint8_t *nowhere = (uint8_t *)(uintptr_t)4096;
    enum ist_status status;
    int fd = -1;
    switch (what % 4) {
    case 0: status = ist_region_register(side->device, nowhere, bytes, use, &region); break;
    case 1: bytes = UINT64_MAX - bytes; /* fallthrough */
    case 2: status = ist_region_register(side->device, side->memory, bytes, use, &region); break;
    default:
        fd = memfd_create("verbs", 0);
        IST_ASSERT(fd >= 0 && ftruncate(fd, 8192) == 0);
        bytes %= 8192;
        status = ist_region_register_dmabuf(side->device, what < 192 ? fd : -1, 8192 - bytes, bytes,
                                            what, use, &region);
    }
    check_region(status, &region, bytes);
    ist_region_drop(&region);
    if (fd >= 0) {
        close(fd);
    }
}

void verbs_side_register(struct verbs_side *side, uint8_t how, struct fuzz_input *input) {
    if (how >= 4) {
        uint8_t what = (uint8_t)fuzz_u16(input);
        register_odd(side, what, fuzz_number(input, 4));
        return;
    }
    uint32_t meet = how % 2 == 1 ? fuzz_u16(input) : 0;
    uint8_t *memory = (uint8_t *)side->memory;
    const uint64_t bytes[] = {meet, sizeof(*side->memory) - meet};
    for (size_t i = 0; i < 2; i++) {
        uint64_t complaints = side->world->complaints;
        ist_region_drop(&side->region[i]);
        check_region(ist_region_register(side->device, memory + (i == 0 ? 0 : meet), bytes[i],
                                         IST_MEMORY_REMOTE, &side->region[i]),
                     &side->region[i], bytes[i]);
        IST_ASSERT(side->world->complaints == complaints);
    }
}

const struct ist_region *verbs_side_region(const struct verbs_side *side, const uint8_t *at) {
    const struct ist_region *second = &side->region[1];
    return second->mr != NULL && (uintptr_t)at >= second->address ? second : &side->region[0];
}

/* ---- the world -------------------------------------------------------------------------------------------- */

static void begin_device(struct verbs_world *world, size_t which, struct ist_span bytes) {
    struct verbs_side *side = &world->side[which];
    static struct verbs_memory memory[2];
    verbs_device_config(fuzz_input_of(bytes.data, bytes.bytes), which == 0 ? "a" : "b", (uint8_t)which,
                        &side->about);
    side->hca_device = ist_hca_add_device(world->hca, &side->about);
    IST_ASSERT(side->hca_device != NULL);
    side->world = world;
    side->memory = &memory[which];
    if (side->memory->raw_out[0] != VERBS_RAW_MARK) { /* the same for all inputs */
        uint64_t random = which;
        for (size_t i = 0; i < VERBS_SOURCE_BYTES; i++) {
            side->memory->source[i] = (uint8_t)random_next(&random);
        }
        memset(side->memory->raw_out, VERBS_RAW_MARK, VERBS_RAW_BYTES);
    }
}

void verbs_world_begin(struct verbs_world *world, struct fuzz_input *input) {
    struct ist_hca_config config;
    memset(world, 0, sizeof(*world));
    failing_alloc_init(&world->failing, 0);
    world->log = (struct ist_log){.level = IST_LOG_DEBUG, .write = log_line, .context = world};
    world->random = fuzz_u8(input);
    ist_hca_config_init(&config, world->random);
    config.loss_ppm = fuzz_u8(input) * 500u;
    world->is_troubled = config.loss_ppm > 0;
    world->hca = ist_hca_new(&config);
    IST_ASSERT(world->hca != NULL);
    ist_hca_set_patience(world->hca, 0);
    begin_device(world, 0, fuzz_take(input, VERBS_DEVICE_BYTES));
    begin_device(world, 1, fuzz_take(input, VERBS_DEVICE_BYTES));
}

void verbs_world_end(struct verbs_world *world) {
    verbs_side_close(&world->side[0]);
    verbs_side_close(&world->side[1]);
    ist_hca_free(world->hca);
    IST_ASSERT(world->failing.live == 0);
}
