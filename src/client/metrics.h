/* The reply to STAT, as the user gets it. */
#ifndef IST_CLIENT_METRICS_H
#define IST_CLIENT_METRICS_H

#include "base/alloc.h"
#include "base/span.h"
#include "infinistore/infinistore.h"

#define IST_METRICS_MAX 8192u                 /* of one reply */
#define IST_METRICS_BODY_BYTES_MAX (1u << 20) /* and its length */

/* body     the reply's; copied.
 * note     the name of one more figure, the first, with the value 1; NULL: none.
 * metrics  owned by the caller on OK: ist_metrics_free().
 * Returns OK, what the reply says instead, PROTOCOL, NO_MEMORY. */
enum ist_status ist_metrics_decode(struct ist_span body, const char *note,
                                   const struct ist_alloc *alloc, struct ist_metrics **metrics);

#endif
