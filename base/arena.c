/* arena: a chain of blocks, each twice the size of the one before; memory is handed out from the newest.
 *
 * glibc's obstack does the same but ends the program when memory runs out. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct block {
    struct block *older;
    size_t used, size; /* of bytes[] */
    alignas(max_align_t) unsigned char bytes[];
};

struct arena {
    struct block *newest;
};

static struct block *new_block(size_t size, struct block *older)
{
    if (size > SIZE_MAX / 2)
        return NULL;
    struct block *block = malloc(sizeof *block + size);
    if (block)
        *block = (struct block){ .older = older, .size = size };
    return block;
}

static void *carve(struct block *block, size_t bytes)
{
    void *at = block->bytes + block->used;
    block->used += bytes;
    return memset(at, 0, bytes);
}

static size_t rounded(size_t bytes) { return (bytes + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1); }

struct arena *arena_new(size_t first_bytes)
{
    size_t own = rounded(sizeof(struct arena));
    struct block *block = first_bytes < SIZE_MAX / 4 ? new_block(own + rounded(first_bytes), NULL) : NULL;
    if (!block)
        return NULL;
    struct arena *arena = carve(block, own);
    arena->newest = block;
    return arena;
}

void arena_free(struct arena *arena)
{
    struct block *block = arena ? arena->newest : NULL;
    while (block) {
        struct block *older = block->older;
        free(block);
        block = older;
    }
}

void *arena_alloc(struct arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 4)
        return NULL;
    bytes = rounded(bytes);
    struct block *block = arena->newest;
    if (bytes > block->size - block->used) {
        size_t doubled = block->size < SIZE_MAX / 4 ? 2 * block->size : block->size;
        block = new_block(bytes > doubled ? bytes : doubled, block);
        if (!block)
            return NULL;
        arena->newest = block;
    }
    return carve(block, bytes);
}
