/* io_internal: what the files of the I/O pool share: io_pool.c (calls come and go), io_trade.c (what happens under the
 * lock), io_share.c (coalescing), io_thread.c (a thread). For these files only.
 *
 * One lock, pool->lock, guards what is marked [lock]. It is taken once by a submit and once by each turn of a thread,
 * for a few hundred nanoseconds, and never held while libcurl runs, JSON is written, a callback is called or anybody is
 * woken. A single queue is what makes the limits exact and lets any thread take any work; sharding it per thread would
 * make a host's limit a share of a limit. */
#ifndef TWINPOOL_POOL_IO_INTERNAL_H
#define TWINPOOL_POOL_IO_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/timers.h"
#include "pool/admission.h"
#include "pool/curl_loop.h"
#include "pool/fetch.h"
#include "pool/host.h"
#include "pool/io_pool.h"
#include "pool/trust_store.h"

struct io_call;
struct io_share;
struct io_job;
TAILQ_HEAD(io_jobs, io_job);

enum io_place {
    IO_QUEUED,      /* in admission */
    IO_WITH_THREAD, /* has slots; in the thread's inbox or under way */
    IO_RESTING,     /* with its thread, without slots, between two attempts */
    IO_WITHDRAWN,   /* the same, and it is to be cancelled */
    IO_FOLLOWING,   /* shares the transfer of another item */
    IO_SERVED,      /* the same, and is about to get its result */
    IO_FINISHED
};

struct io_job {
    struct admission_ticket ticket; /* first. [lock] */
    struct fetch_item *item;
    struct io_call *call;
    enum io_place place;      /* [lock] */
    bool is_told;             /* to end: it is, or was, on its thread's list of such. [lock] */
    bool is_to_cancel;        /* it is. [lock] */
    bool is_in_inbox;         /* of its thread. [lock] */
    enum status refusal;      /* it may not be started; set before the thread gets it */
    unsigned thread;          /* that it was given to */
    TAILQ_ENTRY(io_job) link; /* the thread's lists, later its call's list of finished ones */
    TAILQ_ENTRY(io_job) cancel_link;
    struct io_share *share;         /* NULL: it does not coalesce. [lock] */
    TAILQ_ENTRY(io_job) share_link; /* while it follows. [lock] */
    /* the thread's own while the job is with it */
    struct fetch *fetch; /* NULL until it was started */
    bool is_cancelled;
    struct timer rest;
    unsigned shard;           /* that its requests go to */
    int counted_shard;        /* in host->shard_loads; -1: none */
    struct io_jobs followers; /* that wait for its result */
    bool is_serving;          /* it has ended, and is kept for them */
    struct fetch_summary summary;
};
/* The pool's state of a call. */
struct io_call {
    struct io_pool *pool;
    struct fetch_call *call;
    struct io_call *next_news;    /* on its loop's stack, or a list of such */
    bool has_news;                /* it is, or will be at once. [lock] */
    size_t unfinished, succeeded; /* [lock] */
    enum status why;         /* the rest was cancelled for; ST_OK: it was not. [lock], but for jobs on a cancel list */
    const char *why_text;    /* likewise */
    struct io_jobs finished; /* that the loop was not told of, of a call with on_item. [lock] */
    struct timer expiry;     /* the earliest deadline of a waiting item; in pool->expiries. [lock] */
    struct call_share share;
    struct admission_group group; /* [lock] */
    struct io_job *jobs;          /* call->count of them */
};

struct io_thread {
    pthread_t id;
    struct io_pool *pool;
    unsigned index;
    struct curl_loop loop;
    struct resolver *resolver;
    struct fetch_env env;
    atomic_bool is_asleep;       /* or about to be: whoever adds work wakes it */
    struct bell_ringer *ringers; /* one per event loop; this thread's own */

    struct io_jobs inbox, to_cancel; /* [lock] */
    unsigned load;                   /* jobs given to it and not back. [lock] */

    /* the thread's own */
    struct io_jobs finished;         /* to be given back */
    struct io_jobs serving;          /* that have ended and are kept for their followers */
    struct io_jobs rested;           /* that need no slots for a while */
    struct io_jobs returning;        /* whose rest is over */
    bool has_freed;                  /* a slot of a hedge, which nobody was given so far */
    struct timer expiry;             /* of the first thread: when waiting items expire */
    unsigned gifts_seen, gifts_told; /* of the memory budget */
};

struct io_news {
    _Alignas(64) _Atomic(struct io_call *) top;
};

enum { IO_SHARE_BUCKETS = 1024, IO_FIRST_THREAD = 1 /* as a bit: the one that sees to items which wait too long */ };

struct io_pool {
    struct egress_policy policy;
    struct breaker_rule breaker;
    size_t queue_max, total_body_max, stream_window;
    unsigned per_call_max;
    unsigned thread_count, loop_count;
    char *user_agent_line;
    struct trust_store *trust;
    struct memory_budget memory;
    struct io_thread *threads;
    struct bell_ringer *ringers; /* thread_count x loop_count */
    struct io_news *news;        /* per loop */

    pthread_mutex_t lock;
    struct hosts hosts;                        /* [lock] */
    struct admission admission;                /* [lock] */
    struct timers expiries;                    /* [lock] */
    uint64_t watched_ns;                       /* the earliest of them that the first thread knows of. [lock] */
    struct io_share *shares[IO_SHARE_BUCKETS]; /* [lock] */
    size_t unfinished;                         /* items of all calls. [lock] */
    bool is_stopping;                          /* [lock] */
    struct io_pool_stats stats;                /* the counters. [lock] */
};

static inline struct io_job *io_job_of(struct admission_ticket *ticket) { return (struct io_job *)(void *)ticket; }
_Static_assert(offsetof(struct io_job, ticket) == 0, "io_job_of() relies on it");

static inline size_t io_job_index(const struct io_job *job) { return (size_t)(job - job->call->jobs); }

/* ---- io_trade.c: with the lock held, unless said otherwise */

/* Starts what may start. Returns a bit for each thread that was given work. */
uint64_t io_hand_out(struct io_pool *pool, uint64_t now_ns) NONNULL MUST_CHECK;

/* What has to be done after the lock was released. */
struct io_aftermath {
    struct io_jobs failed; /* never started: to be rendered, then accounted for */
    struct io_call *news;  /* to be announced */
    uint64_t woken;        /* threads */
};
void io_aftermath_init(struct io_aftermath *aftermath) NONNULL;
/* Without the lock. `ringers`: the thread's; NULL: the caller is the calls' own loop. */
void io_settle(struct io_pool *pool, struct io_aftermath *aftermath, struct bell_ringer *ringers)
    __attribute__((nonnull(1, 2)));

/* Ends all that is unfinished of the call. `text` NULL: the status says it all. */
void io_cancel_rest(struct io_call *state, enum status why, const char *text, uint64_t now_ns,
                    struct io_aftermath *aftermath) __attribute__((nonnull(1, 5)));

/* Of a job that is ended early. Without the lock, too. */
struct fetch_why io_why(const struct io_job *job) NONNULL MUST_CHECK;

/* The call's waiting items, or this one, may expire from now on. */
void io_watch_expiry(struct io_call *state) NONNULL;
void io_watch_job(struct io_job *job) NONNULL;
/* The bit of the first thread, if it has to wake up earlier than it knows. */
uint64_t io_expiry_watcher(struct io_pool *pool) NONNULL MUST_CHECK;

/* Puts the job into admission. False: no memory. */
bool io_enqueue(struct io_job *job, const char *origin, size_t origin_len, uint64_t now_ns) NONNULL MUST_CHECK;

/* Without the lock: gives back what the thread finished (emptying its lists), takes what is new. False: stop. The
 * thread may sleep afterwards iff both lists came back empty; work that comes later wakes it. */
bool io_trade(struct io_thread *thread, struct io_jobs *ret_new, struct io_jobs *ret_to_cancel) NONNULL MUST_CHECK;

/* Without the lock. */
void io_wake(struct io_pool *pool, uint64_t threads) NONNULL;
void io_wake_for_memory(struct io_pool *pool) NONNULL;

/* ---- io_share.c: with the lock held */

/* Has the job lead a share or follow the leader of an identical item. True: it follows. False: it leads; or it is not
 * to be shared, or there was no memory, and it stays alone. */
bool io_share_join(struct io_pool *pool, struct io_job *job, const char *origin, size_t origin_len) NONNULL MUST_CHECK;
/* A follower that shall wait no longer. */
void io_share_leave(struct io_job *job) NONNULL;
/* The leader ends: `ret_followers` gets those who share its result. If it ends for reasons of its own (`is_own`), they
 * share nothing; the first of them leads the others through a transfer of its own. */
void io_share_close(struct io_job *leader, bool is_own, uint64_t now_ns, struct io_jobs *ret_followers) NONNULL;

/* ---- io_thread.c */

void io_job_rested(struct timer *timer) NONNULL; /* job->rest is due */

/* Opens the loop; the caller has set pool, index and ringers. False: no memory or descriptors, nothing to undo. */
bool io_thread_init(struct io_thread *thread, const struct io_pool_config *config) NONNULL MUST_CHECK;
bool io_thread_start(struct io_thread *thread) NONNULL MUST_CHECK; /* false: no more threads; io_thread_done() it */
void io_thread_done(struct io_thread *thread) NONNULL;             /* after the thread was joined, or never started */

#endif
