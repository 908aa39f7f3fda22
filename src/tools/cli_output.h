/* A whole value to a file or to a stream: all of it, or an error; never part of a file under its name. */
#ifndef IST_TOOLS_CLI_OUTPUT_H
#define IST_TOOLS_CLI_OUTPUT_H

#include <stddef.h>

#include "tools/cli_exit.h"

/* Writes all bytes to an open descriptor.
 * name   what errors call it.
 * error  IST_CLI_ERROR_MAX bytes; one line on LOCAL.
 * Returns DONE, LOCAL. SIGPIPE and SIGXFSZ must be ignored. */
enum ist_cli_exit ist_cli_output_fd(int fd, const char *name, const void *data, size_t bytes,
                                    char *error);

/* Writes a file beside `path` and renames it, so that whoever opens `path` sees all the bytes or what was there
 * before; a symbolic link's target is what is replaced, and it keeps its mode. What is no regular file (a device,
 * a pipe) is written to in place. A signal that would end the program does so between two pieces, with nothing
 * left behind.
 * Returns DONE, LOCAL (error as above; `path` is unchanged, unless it is no regular file). */
enum ist_cli_exit ist_cli_output_file(const char *path, const void *data, size_t bytes, char *error);

#endif
