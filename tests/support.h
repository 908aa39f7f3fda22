/* What several test programs need. */
#ifndef IST_TESTS_SUPPORT_H
#define IST_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"

/* An allocator that counts what is live and fails the Nth call (1-based; 0: never). */
struct failing_alloc {
    struct ist_alloc alloc; /* hand this one to the code under test */
    uint64_t calls, fail_at;
    int64_t live; /* allocations not yet released */
};
void failing_alloc_init(struct failing_alloc *failing, uint64_t fail_at);

/* Memory of `bytes` that ends at a PROT_NONE page: one byte past it faults. */
void *guarded_new(size_t bytes);
void guarded_free(void *memory, size_t bytes);

/* splitmix64: a deterministic generator for tests. */
uint64_t random_next(uint64_t *state);
uint64_t random_below(uint64_t *state, uint64_t limit); /* limit >= 1 */

#endif
