/* A TCP port of loopback that nobody uses now, for a server that cannot pick one itself; 0: there is none. Somebody may
 * take it first: be ready to try again. */
#ifndef IST_TOOLS_BENCH_PORT_H
#define IST_TOOLS_BENCH_PORT_H

#include <stdint.h>

uint16_t ist_bench_free_port(void);

#endif
