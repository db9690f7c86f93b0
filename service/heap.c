/* heap: by default glibc returns the top of an arena as soon as 128 KiB of it are free, and has the pages back, zeroed,
 * by a fault each when the next answer is made. That was a fifth of the CPU per fetched URL. So a top of some megabytes
 * is kept, and an arena grows in larger steps.
 *
 * What is free below the top stays ours in either case: without heap_give_back() the memory of a few hundred large
 * answers would do so for good. */
#include "service/heap.h"

#include <malloc.h>

enum {
    TOP_KEPT_BYTES = 16 * 1024 * 1024, /* per arena, of which each thread has one */
    TOP_STEP_BYTES = 1024 * 1024,
    MMAPPED_FROM_BYTES = 4 * 1024 * 1024, /* larger blocks are returned when they are freed */
    SPARE_BYTES = 32 * 1024 * 1024
};

void heap_setup(void)
{
    mallopt(M_TRIM_THRESHOLD, TOP_KEPT_BYTES);
    mallopt(M_TOP_PAD, TOP_STEP_BYTES);
    mallopt(M_MMAP_THRESHOLD, MMAPPED_FROM_BYTES);
}

void heap_give_back(void)
{
    if (mallinfo2().fordblks > SPARE_BYTES)
        malloc_trim(0);
}
