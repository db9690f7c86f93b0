/* bell: wakes an event loop, but only if it sleeps.
 *
 * The loop keeps an epoch in shared memory: even while it works, odd while it sleeps (or is about to).
 * Whoever has news publishes the news first (any store), then rings. A ringer that finds the loop awake does
 * nothing: the loop looks for news after it has made the epoch odd and before it really sleeps (Dekker's
 * store-load pattern; both sides use sequentially consistent operations). A ringer rings once per sleep.
 * Workers only ever read the epoch, so a worker that dies or lies cannot disturb another's wake-ups. */
#ifndef TWINPOOL_POOL_BELL_H
#define TWINPOOL_POOL_BELL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

struct bell {
    _Alignas(64) _Atomic uint32_t epoch;
};

/* One per (ringing thread or process, bell). */
struct bell_ringer {
    const struct bell *bell;
    int event_fd;  /* eventfd, non-blocking; not owned */
    uint32_t rung; /* the epoch last rung; starts at 0, which is never odd */
};

static inline void bell_ring(struct bell_ringer *ringer)
{
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t epoch = atomic_load_explicit(&ringer->bell->epoch, memory_order_seq_cst);
    if ((epoch & 1) == 0 || epoch == ringer->rung)
        return;
    ringer->rung = epoch;
    uint64_t one = 1;
    ssize_t ignored = write(ringer->event_fd, &one, sizeof one); /* full counter: already readable */
    (void)ignored;
}

/* The loop's side. Between the two, check for news; if there is some, do not sleep. */
static inline void bell_lie_down(struct bell *bell)
{
    atomic_fetch_add_explicit(&bell->epoch, 1, memory_order_seq_cst);
    atomic_thread_fence(memory_order_seq_cst);
}

static inline void bell_get_up(struct bell *bell) { atomic_fetch_add_explicit(&bell->epoch, 1, memory_order_seq_cst); }

#endif
