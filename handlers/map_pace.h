/* map_pace: how many items of a map go to a worker together, from what they have cost so far. */
#ifndef TWINPOOL_HANDLERS_MAP_PACE_H
#define TWINPOOL_HANDLERS_MAP_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"

struct map_pace {
    uint64_t item_ns; /* wall time of an item; 0: not known. To begin with, what the task takes by the pool's account */
    size_t item_bytes; /* of an item's result; 0: not known */
    bool is_measured;  /* item_ns is of this map's own items */
};

/* A chunk is done: `items` of it were finished in `wall_ns`. */
void map_pace_note(struct map_pace *pace, uint64_t wall_ns, size_t result_bytes, size_t items) NONNULL;

/* The next chunk of a map of `item_count` items, at least 1. */
size_t map_pace_chunk(const struct map_pace *pace, size_t item_count, unsigned workers) NONNULL;

#endif
