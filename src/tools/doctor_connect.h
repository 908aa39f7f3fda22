/* infinistore-doctor --connect: goes the whole way to a server. */
#ifndef IST_TOOLS_DOCTOR_CONNECT_H
#define IST_TOOLS_DOCTOR_CONNECT_H

#include "tools/doctor_options.h"
#include "tools/doctor_steps.h"

/* options->connect must be given. steps: written whole. peer: the server's address as a GID, where it was found. */
void ist_doctor_connect(const struct ist_doctor_options *options, struct ist_doctor_steps *steps,
                        bool *has_peer, uint8_t peer[IST_GID_LENGTH]);

#endif
