/* What tests need beside the public header. */
#ifndef IST_CLIENT_CLIENT_H
#define IST_CLIENT_CLIENT_H

#include "base/alloc.h"
#include "infinistore/infinistore.h"

/* ist_client_new() with an allocator, borrowed for the client's life and that of its metrics. It is called by every
 * thread that uses the client. */
enum ist_status ist_client_new_with(const struct ist_client_options *options,
                                    const struct ist_alloc *alloc, struct ist_client **client,
                                    char *error, size_t error_bytes);

#endif
