/* Where the stories of the target `verbs` play: two devices, and for each what src/verbs made on it. */
#ifndef IST_FUZZ_VERBS_WORLD_H
#define IST_FUZZ_VERBS_WORLD_H

#include "fuzz/verbs_device.h"
#include "fuzz/verbs_place.h"
#include "tests/support.h"
#include "verbs/memory.h"

#define VERBS_PAIRS 3u                               /* of a side */
#define VERBS_SLICE 1024u                            /* bytes of a work, at most */
#define VERBS_SLICES (VERBS_PAIRS * VERBS_DEPTH_MAX) /* one for each work at a time */
#define VERBS_SOURCE_BYTES (16u << 10)
#define VERBS_RAW_BYTES 8192u
#define VERBS_RAW_MARK                                                                                 \
    0xff /* the first byte of messages that src/verbs did not send; of its own it is smaller */
#define VERBS_BUFFERS_MAX 512u

/* What works and messages of the one side find and change at the other. */
struct verbs_memory {
    uint8_t source[VERBS_SOURCE_BYTES]; /* of works */
    uint8_t raw_out[VERBS_RAW_BYTES];
    uint8_t read[VERBS_SLICES][VERBS_SLICE];    /* by works of this side */
    uint8_t written[VERBS_SLICES][VERBS_SLICE]; /* by works of the other */
    uint8_t raw_in[VERBS_RAW_BYTES];
};

struct verbs_world;

struct verbs_side {
    struct verbs_world *world;
    struct ist_hca_device *hca_device;
    struct ist_hca_device_config about;
    struct ist_device *device; /* NULL: not open; the rest needs it */
    struct ist_completion *completion;
    struct verbs_place place[VERBS_PAIRS];
    struct ist_region region[2];
    struct verbs_memory *memory;
    uint32_t held[VERBS_BUFFERS_MAX], held_count;    /* buffers */
    struct verbs_place *held_for[VERBS_BUFFERS_MAX]; /* NULL: nobody is owed a credit */
    bool is_out[VERBS_BUFFERS_MAX];                  /* by buffer: not posted */
    bool is_lame; /* the device, or the completion queue, is gone: nothing may come any more */
};

struct verbs_world {
    struct ist_hca *hca;
    struct failing_alloc failing;
    struct ist_log log;
    uint64_t complaints; /* lines of warnings and errors */
    struct verbs_side side[2];
    bool is_troubled; /* something was made to fail */
    uint64_t random;
};

/* Reads the options. */
void verbs_world_begin(struct verbs_world *world, struct fuzz_input *input);
/* Nothing may be left. */
void verbs_world_end(struct verbs_world *world);
/* What a survey says is so. */
void verbs_world_survey(const struct verbs_world *world);

/* As VERBS_OPEN and VERBS_REGISTER say, see verbs.h. */
void verbs_side_open(struct verbs_side *side, struct fuzz_input *input);
void verbs_side_register(struct verbs_side *side, uint8_t how, struct fuzz_input *input);
void verbs_side_close(struct verbs_side *side);
void verbs_side_free_place(struct verbs_side *side, struct verbs_place *place);
/* The part of the memory in which this lies. */
const struct ist_region *verbs_side_region(const struct verbs_side *side, const uint8_t *at);

/* A buffer that came out, with a message for a queue pair, or NULL; each comes once until it is given back. */
void verbs_side_hold(struct verbs_side *side, uint32_t buffer, struct verbs_place *place);
void verbs_side_give_back(struct verbs_side *side, uint32_t how_many);

#endif
