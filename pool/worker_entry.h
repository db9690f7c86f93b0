/* worker_entry: one worker as the process pool sees it: its mailbox, what the pool put there, and how it behaves.
 *
 * Plain bookkeeping, guarded by the pool's lock: nothing here decides what to do with a job. */
#ifndef TWINPOOL_POOL_WORKER_ENTRY_H
#define TWINPOOL_POOL_WORKER_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "base/status.h"
#include "pool/job.h"
#include "pool/mailbox.h"
#include "pool/worker_wear.h"

struct worker_entry {
    unsigned group;
    struct mailbox *mailbox;
    struct spill spill;
    struct job *jobs[MAILBOX_SLOTS]; /* of slots in use; NULL for one whose job has ended already */
    bool in_use[MAILBOX_SLOTS];
    bool is_spilled[MAILBOX_SLOTS];      /* the request is; the slot says so too, but a worker can write there */
    uint64_t expected_ns[MAILBOX_SLOTS]; /* what its job was expected to take; 0: unknown */
    uint64_t busy_ns;                    /* the sum of those */
    unsigned used;                       /* slots in use */
    uint32_t generation;
    pid_t pid;
    bool is_alive, is_doomed, is_suspect;
    bool is_dismissed; /* doomed, but only because it is no longer needed: it is idle */
    bool is_retiring;  /* its successor is there: it gets no more jobs, and is recycled when it has none */
    struct worker_wear wear;
    unsigned unnoticed;      /* jobs that it got since it was notified */
    bool is_long;            /* its running job takes long: nothing is posted behind it */
    const char *doom_reason; /* static text */
    uint64_t kill_ns;        /* when its cancelled job must have ended by itself; 0: it has none */
    uint64_t suspect_ns;     /* since when */
    uint64_t idle_ns;        /* since when it has no jobs, if it has none; 0: nobody has looked yet */
    uint64_t posted_ns;      /* since when it has jobs of which it should claim one */
    uint32_t seen_done;
    uint64_t jobs_done;
};

/* Takes over a mailbox as a predecessor left it: READY jobs are recalled and results dropped, since their clients are
 * gone; a slot that is RUNNING stays in use without a job. */
void worker_entry_attach(struct worker_entry *worker) NONNULL;

/* True: alive, started, and neither doomed, suspect nor busy with a cancelled job. */
bool worker_entry_is_ready(const struct worker_entry *worker) NONNULL;
/* True: ready, and not too worn for one more job. */
bool worker_entry_takes_jobs(const struct worker_entry *worker) NONNULL;
/* True: one of its jobs is RUNNING or DONE. */
bool worker_entry_has_claimed(const struct worker_entry *worker) NONNULL;
/* The slot whose job was posted last, -1: none. */
int worker_entry_newest_slot(const struct worker_entry *worker) NONNULL;
/* News travels slower than workers: true if a successor of `generation` has claimed what was posted for that one. */
bool worker_entry_is_of_successor(struct slot_word word, uint32_t generation);
/* Of one that was ready: it says that it is another than the one that was started, so something writes where it must
 * not, and the worker would never get a job again. */
bool worker_entry_has_lost_itself(const struct worker_entry *worker) NONNULL MUST_CHECK;

/* Writes the job into a FREE slot. False: no memory in the spill file. */
bool worker_entry_fill_request(struct worker_entry *worker, unsigned slot, const struct job *job) NONNULL MUST_CHECK;
/* Forgets the slot's job and gives spilled bytes back; the word is the caller's business. */
void worker_entry_free_slot(struct worker_entry *worker, unsigned slot) NONNULL;

/* Of a DONE slot: copies result and detail into the job and returns how it ended, within what a worker may say. */
enum status worker_entry_take_result(const struct worker_entry *worker, unsigned slot, struct job *job) NONNULL;
/* Copies what its worker said about the end of the job, if that is text. */
void worker_entry_take_detail(const struct worker_entry *worker, unsigned slot, struct job *job) NONNULL;
/* Copies the finished items of a chunk. False: there are none. */
bool worker_entry_keep_progress(const struct worker_entry *worker, unsigned slot, struct job *job) NONNULL;
/* For a job that was RUNNING and will not get DONE: true, and counted in attempts, if the task's code had begun. */
bool worker_entry_note_attempt(const struct worker_entry *worker, unsigned slot, struct job *job) NONNULL;

#endif
