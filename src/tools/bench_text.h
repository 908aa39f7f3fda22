/* Redis and memcached as peers: both speak lines of text with values in between, and answer in order, so that one
 * client with two grammars does. Requests that were submitted are sent together by the next wait(). */
#ifndef IST_TOOLS_BENCH_TEXT_H
#define IST_TOOLS_BENCH_TEXT_H

#include "tools/bench_peer.h"

/* endpoint: "host:port", digits both, or "unix:/path". */
const struct ist_bench_peer *ist_bench_redis(void);
const struct ist_bench_peer *ist_bench_memcached(void);

#endif
