/* Devices for the target `verbs`, usual and odd ones, and which of a port's GIDs is right, by a naive rule. */
#ifndef IST_FUZZ_VERBS_DEVICE_H
#define IST_FUZZ_VERBS_DEVICE_H

#include "fuzz/fuzz.h"
#include "sim/hca/hca.h"
#include "verbs/device.h"

/* What of an input describes a device; all zeros: a usual one, RoCE with one port. */
#define VERBS_DEVICE_BYTES 32u

/* kind 1 (bit 0: InfiniBand, bit 1: two ports, bit 2: a GRH is required, bit 3: dma-buf), port states 1 for each, MTU 1
 * (as libibverbs numbers it, xor 5), odd numbers 10, GIDs: as many as are left, three bytes each: kind, network
 * interface, last byte of the address. */
void verbs_device_config(struct fuzz_input input, const char *name, uint8_t number,
                         struct ist_hca_device_config *config);

/* The index of the GID that is to be used without knowing the peer; -1: none. */
int verbs_device_gid(const struct ist_hca_port_config *port, int hint);

#endif
