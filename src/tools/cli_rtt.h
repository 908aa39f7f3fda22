/* Round trip times, summed up without keeping them, as ping(8) does. */
#ifndef IST_TOOLS_CLI_RTT_H
#define IST_TOOLS_CLI_RTT_H

#include <stdint.h>

/* Zero-initialise. */
struct ist_cli_rtt {
    uint64_t sent, received;
    double min_ms, max_ms, mean_ms, squares; /* squares: of the differences from the mean (Welford) */
};

void ist_cli_rtt_add(struct ist_cli_rtt *rtt, double ms);
/* The standard deviation, which ping(8) calls mdev; 0 for fewer than two. */
double ist_cli_rtt_deviation_ms(const struct ist_cli_rtt *rtt);

#endif
