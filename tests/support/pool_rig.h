/* pool_rig: a process pool on real worker processes, for single-threaded tests.
 *
 * The test's process is all that the service is around the pool: its one event loop (turn), and the supervisor that
 * kills, reaps and replaces workers and tells the pool. Nothing happens between two calls but what the workers do, so a
 * test can put itself between any two steps of a job's life. */
#ifndef TWINPOOL_TESTS_POOL_RIG_H
#define TWINPOOL_TESTS_POOL_RIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "pool/process_pool.h"
#include "pool/worker.h"

enum { RIG_WORKERS_MAX = 4, RIG_REGION_BYTES = 9 << 20 };

struct rig_worker {
    pid_t pid; /* 0: none, or reaped */
    int pid_fd;
    uint32_t generation; /* of the living or the last one */
};

struct pool_rig {
    unsigned workers; /* seats */
    unsigned wanted;  /* of them, as the pool has it */
    struct rig_worker members[RIG_WORKERS_MAX];
    struct mailbox *mailboxes[RIG_WORKERS_MAX];
    struct spill spills[RIG_WORKERS_MAX];
    struct bell *bells[1];
    int event_fds[1];
    struct process_pool *pool; /* NULL while there is no front end */

    /* To be changed by the test, after pool_rig_open(). */
    struct process_pool_config config;                /* of the pool */
    void (*run_worker)(const struct worker_config *); /* worker_main() */
    bool is_replacing;                                /* dead workers; true */
    bool is_deaf;                                     /* to how many the pool wants; false */
};

/* Mailboxes, spill files, bell; no worker and no pool yet. False: the machine has not got that much. */
bool pool_rig_open(struct pool_rig *rig, unsigned workers) NONNULL MUST_CHECK;
/* Kills what lives and frees everything. The jobs must have ended. */
void pool_rig_close(struct pool_rig *rig) NONNULL;

/* A pool on the mailboxes as they are; it hears of the workers that live. */
bool pool_rig_create_pool(struct pool_rig *rig) NONNULL MUST_CHECK;
void pool_rig_free_pool(struct pool_rig *rig) NONNULL;

/* The next generation of that worker, which must be dead. False: no fork. */
bool pool_rig_start_worker(struct pool_rig *rig, unsigned index) NONNULL MUST_CHECK;
/* As many as there are to be at first, and waits until each is ready. */
bool pool_rig_start(struct pool_rig *rig) NONNULL MUST_CHECK;
/* Makes `pid`, a child that the test forked itself, that worker; the pool is told. */
bool pool_rig_adopt_worker(struct pool_rig *rig, unsigned index, pid_t pid, uint32_t generation) NONNULL MUST_CHECK;
/* SIGKILL and reaped, but the pool is not told and there is no successor. */
void pool_rig_end_worker(struct pool_rig *rig, unsigned index) NONNULL;

/* One turn of the event loop: sleeps up to patience_ms or until something happens, reaps, collects, ticks if due. */
void pool_rig_turn(struct pool_rig *rig, unsigned patience_ms) NONNULL;
/* Turns until holds(context), for up to timeout_ms; returns what it last said. */
bool pool_rig_wait(struct pool_rig *rig, bool (*holds)(void *context), void *context, uint32_t timeout_ms)
    __attribute__((nonnull(1, 2))) MUST_CHECK;
bool pool_rig_wait_ready(struct pool_rig *rig, uint32_t timeout_ms) NONNULL MUST_CHECK;

/* A job that counts its ends, with the args {"n":N}. */
struct pool_probe {
    struct job job;
    char args[40];
    unsigned ends;
};
void pool_probe_init(struct pool_probe *probe, unsigned task, uint64_t n) NONNULL;
/* Turns until each of them has ended. */
bool pool_rig_wait_ended(struct pool_rig *rig, const struct pool_probe *probes, size_t count, uint32_t timeout_ms)
    NONNULL MUST_CHECK;

/* Every slot of every mailbox is FREE. */
bool pool_rig_is_empty(const struct pool_rig *rig) NONNULL;
/* Blocks of 512 bytes that the spill files hold. */
uint64_t pool_rig_spilled_blocks(const struct pool_rig *rig) NONNULL;

#endif
