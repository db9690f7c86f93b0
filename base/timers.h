/* timers: a binary min-heap of deadlines, for one thread.
 *
 * A timer is embedded in the object that it belongs to; the heap holds pointers only. set, cancel
 * and expire are O(log n), the next deadline O(1). Not thread-safe. */
#ifndef TWINPOOL_BASE_TIMERS_H
#define TWINPOOL_BASE_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"

struct timer {
    uint64_t due_ns;
    size_t position; /* 0: not set; else index + 1. Zero-initialise. */
    void (*on_due)(struct timer *timer);
};

struct timers {
    struct timer **heap; /* zero-initialise */
    size_t count, capacity;
};

/* Sets or moves the timer. False: no memory, the timer is not set. */
bool timers_set(struct timers *timers, struct timer *timer, uint64_t due_ns) NONNULL MUST_CHECK;
void timers_cancel(struct timers *timers, struct timer *timer) NONNULL; /* no-op if not set */
/* CLOCK_NEVER when empty. */
uint64_t timers_next(const struct timers *timers) NONNULL;
/* Calls on_due of every timer due at now_ns, earliest first, each unset before its call; on_due may
 * set and cancel any timer. Always returns: it makes at most as many calls as timers were set when it began, so one
 * that on_due sets into the past is called by the next expire. */
void timers_expire(struct timers *timers, uint64_t now_ns) NONNULL;
void timers_done(struct timers *timers) NONNULL; /* unsets what is still set; each such timer must still exist */

#endif
