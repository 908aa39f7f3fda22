#include "sim/hca/number.h"

#include "base/assert.h"

static uint64_t mixed(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static uint32_t half_mask(const struct hca_numbers *numbers) {
    return (1u << numbers->half_bits) - 1;
}

static uint32_t round_of(const struct hca_numbers *numbers, unsigned round, uint32_t half) {
    return (uint32_t)mixed((uint64_t)numbers->key[round] << 32 | half) & half_mask(numbers);
}

/* A Feistel network: a permutation whatever the rounds do. */
static uint32_t number_of(const struct hca_numbers *numbers, uint32_t serial) {
    uint32_t left = serial >> numbers->half_bits, right = serial & half_mask(numbers);
    for (unsigned i = 0; i < HCA_NUMBER_ROUNDS; i++) {
        uint32_t next = left ^ round_of(numbers, i, right);
        left = right;
        right = next;
    }
    return left << numbers->half_bits | right;
}

static uint32_t serial_of(const struct hca_numbers *numbers, uint32_t number) {
    uint32_t left = number >> numbers->half_bits, right = number & half_mask(numbers);
    for (unsigned i = HCA_NUMBER_ROUNDS; i > 0; i--) {
        uint32_t previous = right ^ round_of(numbers, i - 1, left);
        right = left;
        left = previous;
    }
    return left << numbers->half_bits | right;
}

void hca_numbers_init(struct hca_numbers *numbers, const struct ist_alloc *alloc, unsigned bits,
                      uint64_t seed) {
    *numbers = (struct hca_numbers){.alloc = alloc, .half_bits = bits / 2};
    for (unsigned i = 0; i < HCA_NUMBER_ROUNDS; i++) {
        numbers->key[i] = (uint32_t)mixed(seed + i + 1);
    }
}

void hca_numbers_fini(struct hca_numbers *numbers) {
    ist_release(numbers->alloc, numbers->object);
}

static bool is_reserved(const struct hca_numbers *numbers, uint32_t number) {
    uint64_t highest = (1ull << (2 * numbers->half_bits)) - 1;
    return number <= 1 || number == highest;
}

bool hca_numbers_add(struct hca_numbers *numbers, void *object, uint32_t *number) {
    const uint64_t last = (1ull << (2 * numbers->half_bits)) - 1;
    size_t serial = numbers->used;
    while (serial <= last && is_reserved(numbers, number_of(numbers, (uint32_t)serial))) {
        serial++;
    }
    if (serial > last) {
        return false;
    }
    if (serial >= numbers->room) {
        size_t room = 2 * (serial + 8);
        void **grown = ist_resize_array(numbers->alloc, numbers->object, room, sizeof(void *));
        if (grown == NULL) {
            return false;
        }
        numbers->object = grown;
        numbers->room = room;
    }
    for (size_t i = numbers->used; i < serial; i++) {
        numbers->object[i] = NULL;
    }
    numbers->object[serial] = object;
    numbers->used = serial + 1;
    *number = number_of(numbers, (uint32_t)serial);
    return true;
}

static bool is_known(const struct hca_numbers *numbers, uint32_t number) {
    return (uint64_t)number >> (2 * numbers->half_bits) == 0 &&
           serial_of(numbers, number) < numbers->used;
}

void *hca_numbers_find(const struct hca_numbers *numbers, uint32_t number) {
    return is_known(numbers, number) ? numbers->object[serial_of(numbers, number)] : NULL;
}

void hca_numbers_remove(struct hca_numbers *numbers, uint32_t number) {
    IST_ASSERT(is_known(numbers, number));
    numbers->object[serial_of(numbers, number)] = NULL;
}

void *hca_numbers_next(const struct hca_numbers *numbers, size_t *serial) {
    while (*serial < numbers->used) {
        void *object = numbers->object[(*serial)++];
        if (object != NULL) {
            return object;
        }
    }
    return NULL;
}
