/* A port's GIDs, read from its device. */
#ifndef IST_VERBS_GID_TABLE_H
#define IST_VERBS_GID_TABLE_H

#include <stddef.h>

#include "verbs/gid.h"

struct ibv_context;

#define IST_GID_TABLE_MAX 256u

/* Those that are not empty, by index; returns how many, at most IST_GID_TABLE_MAX. */
size_t ist_gid_table_read(struct ibv_context *context, unsigned port,
                          struct ist_gid_entry entries[IST_GID_TABLE_MAX]);

#endif
