/* io_thread: one thread of the I/O pool: takes jobs, runs their transfers, gives them back. For io_pool.c only.
 *
 * A job is one URL of one call. Between io_pool_trade() handing it out and taking it back it belongs to the thread. */
#ifndef TWINPOOL_POOL_IO_THREAD_H
#define TWINPOOL_POOL_IO_THREAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/attrs.h"
#include "pool/admission.h"
#include "pool/curl_loop.h"
#include "pool/io_pool.h"
#include "pool/transfer.h"

struct io_call;

struct io_job {
    struct admission_ticket ticket; /* guarded by the pool's lock */
    struct fetch_item *item;
    struct io_call *call;
    unsigned thread;          /* that it was given to */
    bool is_with_thread;      /* guarded by the pool's lock */
    bool is_to_cancel;        /* on the thread's list of such; guarded by the pool's lock */
    TAILQ_ENTRY(io_job) link; /* the thread's inbox, later its finished list */
    TAILQ_ENTRY(io_job) cancel_link;
    /* the thread's own while the job is with it */
    struct transfer *transfer; /* NULL unless under way */
    bool is_cancelled;         /* before it was started */
    struct transfer_usage usage;
};
TAILQ_HEAD(io_jobs, io_job);

/* The pool's state of a call. */
struct io_call {
    struct fetch_call *call;
    struct io_call *next_done; /* on its loop's done stack */
    size_t unfinished;         /* guarded by the pool's lock */
    enum status
        why; /* it was cancelled for; ST_OK: it was not. Guarded by the pool's lock until a job is on a cancel list */
    struct call_budget budget;
    struct admission_group group;
    struct io_job *jobs; /* call->count of them */
};

struct io_thread {
    pthread_t id;
    struct io_pool *pool;
    unsigned index;
    struct curl_loop loop;
    struct transfer_env env;
    atomic_bool is_asleep;       /* or about to be: whoever adds work wakes it */
    struct bell_ringer *ringers; /* one per event loop; this thread's own */

    /* guarded by the pool's lock */
    struct io_jobs inbox, to_cancel;
    unsigned load; /* jobs given to it and not back */

    /* the thread's own */
    struct io_jobs finished;
    struct transfer **idle;
    size_t idle_count, idle_capacity;
};

/* Opens the loop; the caller has set pool, index, env and ringers. False: no memory or descriptors, nothing to undo. */
bool io_thread_init(struct io_thread *thread, long connections_max) NONNULL MUST_CHECK;
bool io_thread_start(struct io_thread *thread) NONNULL MUST_CHECK; /* false: no more threads; io_thread_done() it */
void io_thread_done(struct io_thread *thread) NONNULL;             /* after the thread was joined, or never started */

/* io_pool.c: gives back what the thread finished (emptying the list), takes what is new. False: stop. The thread may
 * sleep afterwards iff both lists came back empty; work that comes later wakes it. */
bool io_pool_trade(struct io_thread *thread, struct io_jobs *ret_new, struct io_jobs *ret_to_cancel) NONNULL MUST_CHECK;

#endif
