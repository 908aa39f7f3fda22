#include "base/hash.h"

static inline uint64_t rotate_left(uint64_t x, unsigned n) {
    return (x << n) | (x >> (64 - n));
}

static inline uint64_t load_le64(const uint8_t *p) {
    uint64_t x;
    memcpy(&x, p, sizeof(x));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    return x;
}

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline void sip_round(struct sip *s) {
    s->v0 += s->v1;
    s->v1 = rotate_left(s->v1, 13) ^ s->v0;
    s->v0 = rotate_left(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate_left(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate_left(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate_left(s->v1, 17) ^ s->v2;
    s->v2 = rotate_left(s->v2, 32);
}

uint64_t ist_hash(struct ist_hash_key key, struct ist_span bytes) {
    struct sip s = {
        .v0 = key.k0 ^ 0x736f6d6570736575ull,
        .v1 = key.k1 ^ 0x646f72616e646f6dull,
        .v2 = key.k0 ^ 0x6c7967656e657261ull,
        .v3 = key.k1 ^ 0x7465646279746573ull,
    };
    const uint8_t *p = bytes.data;
    size_t whole = bytes.bytes / 8;
    for (size_t i = 0; i < whole; i++, p += 8) {
        uint64_t word = load_le64(p);
        s.v3 ^= word;
        sip_round(&s);
        s.v0 ^= word;
    }
    uint64_t last = (uint64_t)(bytes.bytes & 0xff) << 56;
    for (size_t i = 0; i < bytes.bytes % 8; i++) {
        last |= (uint64_t)p[i] << (8 * i);
    }
    s.v3 ^= last;
    sip_round(&s);
    s.v0 ^= last;
    s.v2 ^= 0xff;
    sip_round(&s);
    sip_round(&s);
    sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
