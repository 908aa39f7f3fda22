#include <lzma.h>
#include <zlib.h>

#include "base/assert.h"
#include "workload/source.h"

#define INPUT_BYTES (64u << 10)
#define MAGIC_BYTES_MAX 6u
/* `xz -9` needs 65 MiB to unpack; a file that wants more than this is no trace. */
#define XZ_MEMORY_MAX (256ull << 20)
#define GZIP_WINDOW (16 + MAX_WBITS) /* zlib.h, inflateInit2: add 16 to decode only the gzip format */

enum packing { UNKNOWN, PLAIN, XZ, GZIP };

struct ist_unpack {
    const struct ist_alloc *alloc;
    struct ist_source packed;
    enum packing packing;
    bool packed_ended, ended;
    bool gzip_between;  /* after a member's end: what follows is another member, or nothing */
    size_t first, used; /* input[first .. used) is not yet consumed */
    lzma_allocator lzma_alloc;
    lzma_stream xz;
    z_stream gzip;
    uint8_t input[INPUT_BYTES];
};

static void *lzma_allocate(void *opaque, size_t count, size_t bytes) {
    return ist_allocate_array(opaque, count, bytes == 0 ? 1 : bytes);
}

static void lzma_release(void *opaque, void *memory) {
    ist_release(opaque, memory);
}

static voidpf zlib_allocate(voidpf opaque, uInt count, uInt bytes) {
    return ist_allocate_array(opaque, count, bytes);
}

static void zlib_release(voidpf opaque, voidpf memory) {
    ist_release(opaque, memory);
}

enum ist_status ist_unpack_new(const struct ist_alloc *alloc, struct ist_source packed,
                               struct ist_unpack **unpack) {
    struct ist_unpack *new = ist_allocate_zeroed(alloc, 1, sizeof(*new));
    if (new == NULL) {
        return IST_NO_MEMORY;
    }
    new->alloc = alloc;
    new->packed = packed;
    /* Both libraries hand the pointer back to the functions above, which take it as const. */
    new->lzma_alloc = (lzma_allocator){
        .alloc = lzma_allocate, .free = lzma_release, .opaque = (void *)(uintptr_t)alloc};
    new->xz = (lzma_stream)LZMA_STREAM_INIT;
    new->xz.allocator = &new->lzma_alloc;
    new->gzip =
        (z_stream){.zalloc = zlib_allocate, .zfree = zlib_release, .opaque = (void *)(uintptr_t)alloc};
    *unpack = new;
    return IST_OK;
}

void ist_unpack_free(struct ist_unpack *unpack) {
    if (unpack == NULL) {
        return;
    }
    if (unpack->packing == XZ) {
        lzma_end(&unpack->xz);
    }
    if (unpack->packing == GZIP) {
        (void)inflateEnd(&unpack->gzip);
    }
    ist_release(unpack->alloc, unpack);
}

/* Appends to the input what one read gives. */
static enum ist_status refill(struct ist_unpack *unpack, const char **problem) {
    IST_ASSERT(!unpack->packed_ended && unpack->used < INPUT_BYTES);
    size_t got = 0;
    enum ist_status status = unpack->packed.read(unpack->packed.context, unpack->input + unpack->used,
                                                 INPUT_BYTES - unpack->used, &got, problem);
    if (status == IST_OK) {
        unpack->used += got;
        unpack->packed_ended = got == 0;
    }
    return status;
}

static bool starts_with(const struct ist_unpack *unpack, const char *magic, size_t bytes) {
    return unpack->used >= bytes && memcmp(unpack->input, magic, bytes) == 0;
}

/* Sets the packing, and makes its decoder ready. */
static enum ist_status recognise(struct ist_unpack *unpack, const char **problem) {
    while (unpack->used < MAGIC_BYTES_MAX && !unpack->packed_ended) {
        enum ist_status status = refill(unpack, problem);
        if (status != IST_OK) {
            return status;
        }
    }
    if (starts_with(unpack, "\xfd\x37zXZ\0", 6)) {
        if (lzma_stream_decoder(&unpack->xz, XZ_MEMORY_MAX, LZMA_CONCATENATED) != LZMA_OK) {
            return IST_NO_MEMORY;
        }
        unpack->packing = XZ;
    } else if (starts_with(unpack, "\x1f\x8b", 2)) {
        if (inflateInit2(&unpack->gzip, GZIP_WINDOW) != Z_OK) {
            return IST_NO_MEMORY;
        }
        unpack->packing = GZIP;
    } else {
        unpack->packing = PLAIN;
    }
    return IST_OK;
}

/* One step of the decoder; *got may be 0 though there is more. */
static enum ist_status step_xz(struct ist_unpack *unpack, void *buffer, size_t bytes, size_t *got,
                               const char **problem) {
    unpack->xz.next_in = unpack->input + unpack->first;
    unpack->xz.avail_in = unpack->used - unpack->first;
    unpack->xz.next_out = buffer;
    unpack->xz.avail_out = bytes;
    lzma_ret result = lzma_code(&unpack->xz, unpack->packed_ended ? LZMA_FINISH : LZMA_RUN);
    unpack->first = unpack->used - unpack->xz.avail_in;
    *got = bytes - unpack->xz.avail_out;
    if (result == LZMA_MEM_ERROR) {
        return IST_NO_MEMORY;
    }
    if (result == LZMA_MEMLIMIT_ERROR) {
        *problem = "the xz data wants more memory than a trace may";
        return IST_INVALID;
    }
    if (result != LZMA_OK && result != LZMA_STREAM_END) {
        *problem = result == LZMA_BUF_ERROR ? "the xz data ends early" : "the xz data is damaged";
        return IST_INVALID;
    }
    unpack->ended = result == LZMA_STREAM_END;
    return IST_OK;
}

static enum ist_status step_gzip(struct ist_unpack *unpack, void *buffer, size_t bytes, size_t *got,
                                 const char **problem) {
    *got = 0;
    if (unpack->first == unpack->used) {
        unpack->ended = unpack->packed_ended && unpack->gzip_between;
        if (unpack->packed_ended && !unpack->ended) {
            *problem = "the gzip data ends early";
            return IST_INVALID;
        }
        return IST_OK;
    }
    if (unpack->gzip_between) {
        (void)inflateReset(&unpack->gzip);
        unpack->gzip_between = false;
    }
    uInt room = bytes < INPUT_BYTES ? (uInt)bytes : INPUT_BYTES;
    unpack->gzip.next_in = unpack->input + unpack->first;
    unpack->gzip.avail_in = (uInt)(unpack->used - unpack->first);
    unpack->gzip.next_out = buffer;
    unpack->gzip.avail_out = room;
    int result = inflate(&unpack->gzip, Z_NO_FLUSH);
    unpack->first = unpack->used - unpack->gzip.avail_in;
    *got = room - unpack->gzip.avail_out;
    if (result == Z_MEM_ERROR) {
        return IST_NO_MEMORY;
    }
    if (result != Z_OK && result != Z_STREAM_END) {
        *problem = "the gzip data is damaged";
        return IST_INVALID;
    }
    unpack->gzip_between = result == Z_STREAM_END;
    return IST_OK;
}

static enum ist_status step_plain(struct ist_unpack *unpack, void *buffer, size_t bytes, size_t *got) {
    size_t here = unpack->used - unpack->first;
    *got = here < bytes ? here : bytes;
    memcpy(buffer, unpack->input + unpack->first, *got);
    unpack->first += *got;
    unpack->ended = *got == 0 && unpack->packed_ended;
    return IST_OK;
}

static enum ist_status step(struct ist_unpack *unpack, void *buffer, size_t bytes, size_t *got,
                            const char **problem) {
    switch (unpack->packing) {
    case UNKNOWN: *got = 0; return recognise(unpack, problem);
    case PLAIN: return step_plain(unpack, buffer, bytes, got);
    case XZ: return step_xz(unpack, buffer, bytes, got, problem);
    case GZIP: return step_gzip(unpack, buffer, bytes, got, problem);
    }
    return IST_INVALID;
}

static enum ist_status unpack_read(void *context, void *buffer, size_t bytes, size_t *got,
                                   const char **problem) {
    struct ist_unpack *unpack = context;
    *got = 0;
    while (*got == 0 && !unpack->ended) {
        if (unpack->first == unpack->used && !unpack->packed_ended) {
            unpack->first = unpack->used = 0;
            enum ist_status status = refill(unpack, problem);
            if (status != IST_OK) {
                return status;
            }
        }
        enum ist_status status = step(unpack, buffer, bytes, got, problem);
        if (status != IST_OK) {
            return status;
        }
    }
    return IST_OK;
}

struct ist_source ist_source_of_unpack(struct ist_unpack *unpack) {
    return (struct ist_source){.read = unpack_read, .context = unpack};
}
