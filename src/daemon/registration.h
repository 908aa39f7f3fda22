/* The pool's memory as a NIC sees it: segments are registered as they become ready, LOCAL_WRITE only, by the thread
 * that makes them; the loop asks where a block lies. */
#ifndef IST_DAEMON_REGISTRATION_H
#define IST_DAEMON_REGISTRATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/log.h"
#include "infinistore/status.h"
#include "verbs/device.h"
#include "verbs/queue_pair.h"

struct ist_registration;

/* segments_max: pieces in which the pool may come, bytes_max: how large it may get. All borrowed. Returns OK, NO_MEMORY. */
enum ist_status ist_registration_new(const struct ist_device *device, size_t segments_max,
                                     uint64_t bytes_max, const struct ist_alloc *alloc,
                                     const struct ist_log *log, struct ist_registration **registration);
/* Nothing may be posted any more. NULL is legal. */
void ist_registration_free(struct ist_registration *registration);

/* Pinning memory takes the kernel about a second for several GiB: larger pieces are registered in parts, so many at a time,
 * by as many threads. The device may want them smaller (max_mr_size); with less than DEVICE_BYTES_MIN it is of no use, as a
 * work would lie in more parts than a request can name. */
#define IST_REGISTRATION_PARTS 4u
#define IST_REGISTRATION_PART_BYTES_MIN (16ull << 20)
#define IST_REGISTRATION_DEVICE_BYTES_MIN (4ull << 20)

/* The pool's next `bytes`, which lie at `memory`, behind those of the calls before. One thread at a time calls this, and
 * before the store hands out blocks in them. Between two others none may have less than a work's bytes. A failure is logged,
 * and RDMA is over: see is_whole(). */
void ist_registration_add(struct ist_registration *registration, uint8_t *memory, uint64_t bytes);

/* All that was added is registered. Any thread. */
bool ist_registration_is_whole(const struct ist_registration *registration);

/* Where [offset, offset + bytes) of the pool lies; bytes at least 1, at most a segment. Returns how many pieces; 0 when a
 * part is not registered. Any thread. */
uint32_t ist_registration_find(const struct ist_registration *registration, uint64_t offset,
                               uint32_t bytes, struct ist_piece pieces[IST_ONE_SIDED_PIECES_MAX]);

#endif
