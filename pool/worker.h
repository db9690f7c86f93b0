/* worker: the main loop of a worker process. */
#ifndef TWINPOOL_POOL_WORKER_H
#define TWINPOOL_POOL_WORKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "pool/bell.h"
#include "pool/mailbox.h"

struct worker_config {
    unsigned index;
    uint32_t generation;
    pid_t supervisor; /* the worker ends when it is gone */
    struct mailbox *mailbox;
    struct spill spill;
    unsigned loops;
    struct bell *const *bells; /* one per loop */
    const int *event_fds;      /* one per loop */
    int niceness;              /* 0..19, added to the inherited one */
    const struct task *task;   /* a user's, which it runs or whose program it drives; NULL: the built-in ones */
    uint64_t memory_max;       /* bytes of address space of one that runs the built-in tasks; 0: any */
};

/* To be called in a freshly forked, single-threaded child: drops what the worker must not have (signals' dispositions,
 * descriptors, privileges), then runs jobs until it is killed. Never returns. */
NORETURN void worker_main(const struct worker_config *config) NONNULL;

/* Did one that ended by itself do so by rule: after the job that went against a limit or the protocol of its program
 * was answered, or to end a job at its limit of CPU time? Else it crashed. */
bool worker_has_ended_by_rule(int wait_status) MUST_CHECK;

/* Runs one claimed slot and leaves its result in the mailbox, without finishing it (for tests and worker_main). */
void worker_run_slot(struct mailbox *mailbox, const struct spill *spill, unsigned index) NONNULL;

#endif
