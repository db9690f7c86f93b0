/* timers: an array heap in which each timer knows its own place.
 *
 * `position` is index + 1, so a zeroed timer is "not set" and a set one can be moved or cancelled
 * without a search. place() is the only writer of both halves of that link.
 *
 * expire() takes the earliest timer off the heap before it calls it, and looks at the heap afresh
 * after each call, so a callback may set, move or cancel any timer, itself included. It makes at most
 * as many calls as there were timers when it began: a callback that sets its timer into the past
 * is called again by the next expire(), and cannot keep this one from returning. */
#include "base/timers.h"

#include <stdlib.h>

#include "base/clock.h"

#define FIRST_CAPACITY 64

static void place(struct timers *timers, struct timer *timer, size_t index)
{
    timers->heap[index] = timer;
    timer->position = index + 1;
}

static void sift_up(struct timers *timers, struct timer *timer, size_t index)
{
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (timers->heap[parent]->due_ns <= timer->due_ns)
            break;
        place(timers, timers->heap[parent], index);
        index = parent;
    }
    place(timers, timer, index);
}

static void sift_down(struct timers *timers, struct timer *timer, size_t index)
{
    for (size_t child; (child = 2 * index + 1) < timers->count; index = child) {
        if (child + 1 < timers->count && timers->heap[child + 1]->due_ns < timers->heap[child]->due_ns)
            child++;
        if (timer->due_ns <= timers->heap[child]->due_ns)
            break;
        place(timers, timers->heap[child], index);
    }
    place(timers, timer, index);
}

/* Puts the timer where its due time belongs, starting from a slot that is free for it. */
static void settle(struct timers *timers, struct timer *timer, size_t index)
{
    if (index > 0 && timer->due_ns < timers->heap[(index - 1) / 2]->due_ns)
        sift_up(timers, timer, index);
    else
        sift_down(timers, timer, index);
}

static bool grow(struct timers *timers)
{
    size_t capacity = timers->capacity == 0 ? FIRST_CAPACITY : timers->capacity * 2;
    struct timer **heap = reallocarray(timers->heap, capacity, sizeof(struct timer *));
    if (heap == NULL)
        return false;
    timers->heap = heap;
    timers->capacity = capacity;
    return true;
}

bool timers_set(struct timers *timers, struct timer *timer, uint64_t due_ns)
{
    if (timer->position == 0) {
        if (timers->count == timers->capacity && !grow(timers))
            return false;
        timer->position = ++timers->count;
    }
    timer->due_ns = due_ns;
    settle(timers, timer, timer->position - 1);
    return true;
}

void timers_cancel(struct timers *timers, struct timer *timer)
{
    if (timer->position == 0)
        return;
    size_t hole = timer->position - 1;
    struct timer *last = timers->heap[--timers->count];
    timer->position = 0;
    if (last != timer)
        settle(timers, last, hole);
}

uint64_t timers_next(const struct timers *timers) { return timers->count == 0 ? CLOCK_NEVER : timers->heap[0]->due_ns; }

void timers_expire(struct timers *timers, uint64_t now_ns)
{
    for (size_t calls_left = timers->count; calls_left > 0 && timers->count > 0; calls_left--) {
        struct timer *earliest = timers->heap[0];
        if (earliest->due_ns > now_ns)
            return;
        timers_cancel(timers, earliest);
        earliest->on_due(earliest);
    }
}

void timers_done(struct timers *timers)
{
    for (size_t i = 0; i < timers->count; i++)
        timers->heap[i]->position = 0;
    free(timers->heap);
    *timers = (struct timers){ 0 };
}
