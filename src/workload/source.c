#include "workload/source.h"

#include <errno.h>

static enum ist_status file_read(void *context, void *buffer, size_t bytes, size_t *got,
                                 const char **problem) {
    FILE *file = context;
    size_t count = fread(buffer, 1, bytes, file);
    if (count == 0 && ferror(file)) {
        *problem = errno == EISDIR ? "is a directory" : "cannot be read";
        return IST_INVALID;
    }
    *got = count;
    return IST_OK;
}

struct ist_source ist_source_of_file(FILE *file) {
    return (struct ist_source){.read = file_read, .context = file};
}

static enum ist_status memory_read(void *context, void *buffer, size_t bytes, size_t *got,
                                   const char **problem) {
    struct ist_source_memory *memory = context;
    (void)problem;
    size_t count = bytes < memory->rest.bytes ? bytes : memory->rest.bytes;
    if (count > 0) {
        memcpy(buffer, memory->rest.data, count);
        memory->rest = ist_span_of(memory->rest.data + count, memory->rest.bytes - count);
    }
    *got = count;
    return IST_OK;
}

struct ist_source ist_source_of_memory(struct ist_source_memory *memory) {
    return (struct ist_source){.read = memory_read, .context = memory};
}
