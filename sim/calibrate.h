/* How near the simulator's costs are to a real daemon's: parameters from some of infinistore-bench's measurements, then
 * the same closed loop in virtual time for the others, beside what was measured. */
#ifndef IST_SIM_CALIBRATE_H
#define IST_SIM_CALIBRATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define SIM_CALIBRATE_ROWS_MAX 512u

/* A measurement: one kind of request, so many at a time on one connection. */
struct sim_calibrate_row {
    char op[16];
    double value_bytes, keys, depth;
    double requests_per_sec, p50_ns;            /* measured */
    double predicted_per_sec, predicted_p50_ns; /* simulated */
    bool fitted;                                /* the parameters come from it */
};

/* What a request costs: base + each key + each byte, in nanoseconds. */
struct sim_calibrate_cost {
    double base, key, byte;
};

struct sim_calibrate {
    struct sim_calibrate_row rows[SIM_CALIBRATE_ROWS_MAX];
    size_t count;
};

/* A closed loop of `depth` requests over two processors, each of which takes its time for a request, and a way between
 * them. Returns requests a second; *p50_ns: of a request. */
double sim_calibrate_loop(double client_ns, double server_ns, double way_ns, unsigned depth,
                          double *p50_ns);

/* The JSON that infinistore-bench writes. False: a line on stderr tells why. */
bool sim_calibrate_read(struct sim_calibrate *calibrate, const char *path);
/* Fits with the rows of every other size, at the least and the greatest depth; predicts all. False: too few of them. */
bool sim_calibrate_predict(struct sim_calibrate *calibrate);
/* The median of the errors of the rows that were not fitted, as shares. */
double sim_calibrate_rate_error(const struct sim_calibrate *calibrate);
double sim_calibrate_latency_error(const struct sim_calibrate *calibrate);
void sim_calibrate_write(FILE *out, const struct sim_calibrate *calibrate);

/* `infinistore-sim calibrate FILE`. Returns what to exit with. */
int sim_calibrate_command(int argc, char **argv);

#endif
