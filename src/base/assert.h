/* Assertions speak of our own bugs only, and stay on in release. What a peer, the kernel or an
 * allocator does is handled, never asserted. */
#ifndef IST_BASE_ASSERT_H
#define IST_BASE_ASSERT_H

#undef NDEBUG
#include <assert.h>

#define IST_ASSERT(condition) assert(condition)

#endif
