/* origin_keys: how often the test origin saw each `key` parameter. Any thread; no function blocks for long. */
#ifndef TWINPOOL_TESTS_ORIGIN_KEYS_H
#define TWINPOOL_TESTS_ORIGIN_KEYS_H

#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"

struct origin_keys; /* opaque */

/* NULL: no memory. */
struct origin_keys *origin_keys_create(void) MUST_CHECK;
void origin_keys_free(struct origin_keys *keys); /* NULL is a no-op */

/* One more; returns how many that makes. Aborts the test when it uses more keys than there is room for (32,768). */
uint64_t origin_keys_see(struct origin_keys *keys, const char *key, size_t len) NONNULL;
uint64_t origin_keys_seen(struct origin_keys *keys, const char *key, size_t len) NONNULL;

#endif
