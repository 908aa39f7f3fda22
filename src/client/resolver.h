/* Looks up one host name without making anybody wait: a thread of its own asks the C library, which knows no
 * other way than to block, and a descriptor tells when it has an answer. Dropped early, the thread ends when
 * the C library lets it. */
#ifndef IST_CLIENT_RESOLVER_H
#define IST_CLIENT_RESOLVER_H

#include <stddef.h>
#include <stdint.h>

#include "client/endpoint.h"

#define IST_ADDRESSES_MAX 16u /* of one name; further ones are not tried */

struct ist_resolver;

/* host: copied. resolver: written on OK; owned: ist_resolver_free(). Returns OK, NO_MEMORY (also for a thread or
 * a descriptor). */
enum ist_status ist_resolver_start(const char *host, uint16_t port, struct ist_resolver **resolver);
/* Readable when there is an answer. */
int ist_resolver_fd(const struct ist_resolver *resolver);
/* addresses: room for IST_ADDRESSES_MAX. Returns OK, AGAIN (no answer yet), PEER (there is no such host; `error`
 * is a static text of why). */
enum ist_status ist_resolver_result(struct ist_resolver *resolver, struct ist_address *addresses,
                                    size_t *count, const char **error);
/* NULL is legal. */
void ist_resolver_free(struct ist_resolver *resolver);

#endif
