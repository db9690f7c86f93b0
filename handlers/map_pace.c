/* Enough chunks to even out unequal items. */
#include "handlers/map_pace.h"

enum { CHUNKS_PER_WORKER = 4 };

void map_pace_note(struct map_pace *pace, uint64_t wall_ns, size_t result_bytes, size_t items)
{
    if (items == 0)
        return;
    pace->item_ns = wall_ns / items;
    pace->item_bytes = result_bytes / items;
    pace->is_measured = true;
}

size_t map_pace_chunk(const struct map_pace *pace, size_t item_count, unsigned workers)
{
    size_t chunks = (size_t)workers * CHUNKS_PER_WORKER;
    (void)pace;
    return item_count / chunks + (item_count % chunks != 0);
}
