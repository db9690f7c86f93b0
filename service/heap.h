/* heap: how much of what was freed the front end's allocator (glibc's) keeps. */
#ifndef TWINPOOL_SERVICE_HEAP_H
#define TWINPOOL_SERVICE_HEAP_H

/* Once, before there are threads. */
void heap_setup(void);

/* Returns to the kernel what is free, if that is much. For a moment without requests: it takes the lock of each of the
 * allocator's arenas, for milliseconds. Any thread. */
void heap_give_back(void);

#endif
