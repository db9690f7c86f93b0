/* map_items: the body of a map, cut into the args of its items. */
#ifndef TWINPOOL_HANDLERS_MAP_ITEMS_H
#define TWINPOOL_HANDLERS_MAP_ITEMS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attrs.h"
#include "base/json_check.h"
#include "handlers/handler.h"

/* The body must be a JSON array, or NDJSON: one item a line, blank lines aside; it is checked in whole, its items are
 * not parsed. True: *ret_items points into the body and is the caller's to free(). False: refused, and already
 * answered. */
bool map_items_read(struct exchange *x, struct json_slice **ret_items, size_t *ret_count) NONNULL MUST_CHECK;

#endif
