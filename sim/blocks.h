/* A trace as a study wants it: all in memory, blocks numbered from 0 as they appear. */
#ifndef IST_SIM_BLOCKS_H
#define IST_SIM_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_BLOCK_NEVER UINT32_MAX

struct sim_blocks_request {
    size_t first, count; /* of `numbers` */
    uint64_t arrival_ms;
    uint32_t input_tokens, output_tokens;
};

struct sim_blocks {
    struct sim_blocks_request *requests;
    size_t request_count, request_room;
    uint32_t *numbers; /* of all requests, one behind the other */
    size_t number_count, number_room;
    size_t distinct;
    uint64_t *slots; /* hash ids, +1 */
    uint32_t *slot_numbers;
    size_t slot_count;
};

void sim_blocks_init(struct sim_blocks *blocks);
void sim_blocks_fini(struct sim_blocks *blocks);
/* ids: borrowed for the call. */
void sim_blocks_add(struct sim_blocks *blocks, const uint64_t *ids, size_t count, uint64_t arrival_ms,
                    uint32_t input_tokens, uint32_t output_tokens);
/* A whole trace in Mooncake's format, plain or compressed. False: a line on stderr tells why. */
bool sim_blocks_read(struct sim_blocks *blocks, const char *path);
/* So many requests of src/workload's generator. */
void sim_blocks_generate(struct sim_blocks *blocks, uint64_t seed, size_t requests);

#endif
