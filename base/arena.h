/* arena: memory for many small things that all go at once. Not thread-safe. */
#ifndef TWINPOOL_BASE_ARENA_H
#define TWINPOOL_BASE_ARENA_H

#include <stddef.h>

#include "base/attrs.h"

struct arena; /* opaque; is itself within its first block */

/* Room for about `first_bytes` before more memory is asked for. NULL: no memory. */
struct arena *arena_new(size_t first_bytes) MUST_CHECK;
void arena_free(struct arena *arena); /* everything at once; NULL is a no-op */

/* `count` zeroed things of `size` bytes, aligned for any type. NULL: no memory (or the product overflows). */
void *arena_alloc(struct arena *arena, size_t count, size_t size) NONNULL MUST_CHECK;

#endif
