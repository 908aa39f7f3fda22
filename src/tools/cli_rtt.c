#include "tools/cli_rtt.h"

#include <math.h>

void ist_cli_rtt_add(struct ist_cli_rtt *rtt, double ms) {
    rtt->received++;
    rtt->min_ms = rtt->received == 1 || ms < rtt->min_ms ? ms : rtt->min_ms;
    rtt->max_ms = rtt->received == 1 || ms > rtt->max_ms ? ms : rtt->max_ms;
    double difference = ms - rtt->mean_ms;
    rtt->mean_ms += difference / (double)rtt->received;
    rtt->squares += difference * (ms - rtt->mean_ms);
}

double ist_cli_rtt_deviation_ms(const struct ist_cli_rtt *rtt) {
    return rtt->received < 2 ? 0 : sqrt(rtt->squares / (double)rtt->received);
}
