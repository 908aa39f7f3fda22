#include "sim/blocks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "sim/memory.h"
#include "sim/random.h"
#include "workload/generator.h"
#include "workload/source.h"
#include "workload/trace.h"

void sim_blocks_init(struct sim_blocks *blocks) {
    *blocks = (struct sim_blocks){.slot_count = 1024};
    blocks->slots = sim_memory_new(blocks->slot_count, sizeof(uint64_t));
    blocks->slot_numbers = sim_memory_new(blocks->slot_count, sizeof(uint32_t));
}

void sim_blocks_fini(struct sim_blocks *blocks) {
    free(blocks->requests);
    free(blocks->numbers);
    free(blocks->slots);
    free(blocks->slot_numbers);
}

static size_t slot_of(const struct sim_blocks *blocks, uint64_t mark) {
    size_t at = (size_t)sim_random_mix(mark) & (blocks->slot_count - 1);
    while (blocks->slots[at] != 0 && blocks->slots[at] != mark) {
        at = (at + 1) & (blocks->slot_count - 1);
    }
    return at;
}

static void rehash(struct sim_blocks *blocks) {
    struct sim_blocks old = *blocks;
    blocks->slot_count *= 2;
    blocks->slots = sim_memory_new(blocks->slot_count, sizeof(uint64_t));
    blocks->slot_numbers = sim_memory_new(blocks->slot_count, sizeof(uint32_t));
    for (size_t i = 0; i < old.slot_count; i++) {
        if (old.slots[i] != 0) {
            size_t at = slot_of(blocks, old.slots[i]);
            blocks->slots[at] = old.slots[i];
            blocks->slot_numbers[at] = old.slot_numbers[i];
        }
    }
    free(old.slots);
    free(old.slot_numbers);
}

static uint32_t number_of(struct sim_blocks *blocks, uint64_t id) {
    size_t at = slot_of(blocks, id + 1);
    if (blocks->slots[at] == 0) {
        IST_ASSERT(id != UINT64_MAX && blocks->distinct < SIM_BLOCK_NEVER);
        blocks->slots[at] = id + 1;
        blocks->slot_numbers[at] = (uint32_t)blocks->distinct++;
        if (blocks->distinct * 2 > blocks->slot_count) {
            rehash(blocks);
            at = slot_of(blocks, id + 1);
        }
    }
    return blocks->slot_numbers[at];
}

void sim_blocks_add(struct sim_blocks *blocks, const uint64_t *ids, size_t count, uint64_t arrival_ms,
                    uint32_t input_tokens, uint32_t output_tokens) {
    if (blocks->request_count == blocks->request_room) {
        blocks->request_room = 2 * blocks->request_room + 64;
        blocks->requests =
            sim_memory_resize(blocks->requests, blocks->request_room, sizeof(*blocks->requests));
    }
    if (blocks->number_count + count > blocks->number_room) {
        blocks->number_room = 2 * (blocks->number_count + count);
        blocks->numbers =
            sim_memory_resize(blocks->numbers, blocks->number_room, sizeof(*blocks->numbers));
    }
    blocks->requests[blocks->request_count++] = (struct sim_blocks_request){
        blocks->number_count, count, arrival_ms, input_tokens, output_tokens};
    for (size_t i = 0; i < count; i++) {
        blocks->numbers[blocks->number_count++] = number_of(blocks, ids[i]);
    }
}

bool sim_blocks_read(struct sim_blocks *blocks, const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return false;
    }
    struct ist_unpack *unpack;
    struct ist_trace_reader *reader;
    struct ist_trace_request request;
    enum ist_status status = ist_unpack_new(ist_alloc_system(), ist_source_of_file(file), &unpack);
    IST_ASSERT(status == IST_OK);
    status = ist_trace_reader_new(ist_alloc_system(), path, ist_source_of_unpack(unpack), &reader);
    IST_ASSERT(status == IST_OK);
    while ((status = ist_trace_reader_next(reader, &request)) == IST_OK) {
        sim_blocks_add(blocks, request.blocks, request.block_count, request.arrival_ms,
                       request.input_tokens, request.output_tokens);
    }
    if (status != IST_NOT_FOUND) {
        fprintf(stderr, "infinistore-sim: %s\n",
                status == IST_INVALID ? ist_trace_reader_error(reader) : "out of memory");
    }
    ist_trace_reader_free(reader);
    ist_unpack_free(unpack);
    fclose(file);
    return status == IST_NOT_FOUND;
}

void sim_blocks_generate(struct sim_blocks *blocks, uint64_t seed, size_t requests) {
    struct ist_generator *generator;
    struct ist_trace_request request;
    enum ist_status status = ist_generator_new(ist_alloc_system(), seed, &generator);
    for (size_t i = 0; i < requests && status == IST_OK; i++) {
        status = ist_generator_next(generator, &request);
        IST_ASSERT(status == IST_OK);
        sim_blocks_add(blocks, request.blocks, request.block_count, request.arrival_ms,
                       request.input_tokens, request.output_tokens);
    }
    IST_ASSERT(status == IST_OK);
    ist_generator_free(generator);
}
