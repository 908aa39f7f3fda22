#include "workload/block_key.h"

#include <string.h>

#include "base/assert.h"
#include "workload/model.h"

/* A replay writes millions of keys: printf would be the busiest function of the whole client. */
static char *write_decimal(char *out, uint64_t value, unsigned digits_min) {
    char reversed[20];
    unsigned digits = 0;
    do {
        reversed[digits++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0 || digits < digits_min);
    while (digits > 0) {
        *out++ = reversed[--digits];
    }
    return out;
}

static char *write_hex(char *out, uint64_t value) {
    for (int shift = 60; shift >= 0; shift -= 4) {
        *out++ = "0123456789abcdef"[(value >> shift) & 15];
    }
    return out;
}

size_t ist_block_key_write(char *out, const char *model, uint64_t block_bytes, uint64_t hash_id,
                           unsigned layer) {
    size_t name = strnlen(model, 32);
    memcpy(out, model, name);
    char *end = out + name;
    *end++ = '/';
    end = write_decimal(end, IST_BLOCK_TOKENS, 1);
    *end++ = 'x';
    end = write_decimal(end, block_bytes, 1);
    *end++ = '/';
    end = write_hex(end, hash_id);
    *end++ = '/';
    *end++ = 'L';
    end = write_decimal(end, layer, 2);
    *end = '\0';
    IST_ASSERT(end - out < IST_BLOCK_KEY_MAX);
    return (size_t)(end - out);
}
