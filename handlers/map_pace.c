/* A chunk costs the front end and the worker some ten microseconds, whatever is in it; and what is in it is done by one
 * worker, and told of when all of it is done. So a chunk should take a millisecond, but no more than a fraction of
 * a worker's share, so that unequal items even out; which in turn does not matter in chunks that are over at once.
 *
 * Nobody can say what an item costs before one was run: the same task takes a microsecond or a minute, by its args. The
 * pool's average of the task is a guess, good enough for a chunk of moderate size; then the map's own items count, the
 * latest most. Where there is not even a guess, single items are sent ahead. */
#include "handlers/map_pace.h"

#include "pool/mailbox.h"

enum {
    CHUNKS_PER_WORKER = 4,
    LONG_NS = 1000000,     /* a chunk takes no longer, unless a single item does: others wait for it */
    SHORT_NS = 100000,     /* and is not split further for the sake of evenness */
    FIRST_MAX_ITEMS = 128, /* by the pool's guess alone */
    /* Many small results of a chunk are to fit a mailbox slot together: beyond it each is written to the spill file by
     * itself. Of larger ones so few would fit that the chunks would cost more. */
    RESULTS_BYTES = MAILBOX_INLINE_BYTES / 4 * 3,
    RESULTS_MANY = 32
};

void map_pace_note(struct map_pace *pace, uint64_t wall_ns, size_t result_bytes, size_t items)
{
    if (items == 0)
        return;
    size_t item_bytes = result_bytes / items;
    pace->item_bytes = pace->item_bytes ? (pace->item_bytes + item_bytes + 1) / 2 : item_bytes;
    uint64_t item_ns = wall_ns / items;
    if (item_ns == 0)
        return;
    pace->item_ns = pace->is_measured ? (pace->item_ns + item_ns + 1) / 2 : item_ns;
    pace->is_measured = true;
}

size_t map_pace_chunk(const struct map_pace *pace, size_t item_count, unsigned workers)
{
    size_t chunks = (size_t)workers * CHUNKS_PER_WORKER;
    size_t items = item_count / chunks + (item_count % chunks != 0);

    if (pace->item_ns == 0)
        return 1;
    if (items < SHORT_NS / pace->item_ns)
        items = SHORT_NS / pace->item_ns;
    if (items > LONG_NS / pace->item_ns)
        items = LONG_NS / pace->item_ns;
    if (!pace->is_measured && items > FIRST_MAX_ITEMS)
        items = FIRST_MAX_ITEMS;
    size_t fitting = pace->item_bytes > 0 ? RESULTS_BYTES / pace->item_bytes : SIZE_MAX;
    if (fitting >= RESULTS_MANY && items > fitting)
        items = fitting;
    return items > 0 ? items : 1;
}
