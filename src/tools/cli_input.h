/* A whole value from a file or from standard input. */
#ifndef IST_TOOLS_CLI_INPUT_H
#define IST_TOOLS_CLI_INPUT_H

#include <stddef.h>

#include "tools/cli_exit.h"

struct ist_cli_input {
    void *data; /* owned */
    size_t bytes;
};

/* Reads to the end.
 * path   NULL and "-" mean standard input.
 * limit  bytes, below SIZE_MAX: more than that is refused as soon as it is known.
 * input  owned by the caller on DONE: free(data), which is never NULL.
 * error  IST_CLI_ERROR_MAX bytes; one line that names the file on LOCAL.
 * Returns DONE, LOCAL (cannot be opened or read, larger than limit, no memory). */
enum ist_cli_exit ist_cli_input_read(const char *path, size_t limit, struct ist_cli_input *input,
                                     char *error);

/* What this process may still take without driving the machine, or its control group, out of memory. */
size_t ist_cli_memory_bytes(void);

#endif
