/* child: a process that the supervisor has started, or is to start: a worker in its seat, or the front end. */
#ifndef TWINPOOL_SERVICE_CHILD_H
#define TWINPOOL_SERVICE_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "pool/evidence.h"

/* EMPTY: nobody is to be there. */
enum child_state { CHILD_EMPTY, CHILD_WAITING, CHILD_STARTED, CHILD_ANNOUNCED, CHILD_DEAD };

struct child {
    enum child_state state;
    pid_t pid;
    uint32_t generation;
    int wait_status;
    bool has_failed;             /* DEAD worker: it did not come up, or was of no use */
    unsigned failures;           /* starts in a row that failed */
    char kill_reason[24];        /* of a worker that the front end had killed, else "" */
    char evidence[EVIDENCE_MAX]; /* what it was at then */
    uint64_t start_ns;           /* WAITING: when to start; else: when it was started */
};

bool child_is_alive(const struct child *child) NONNULL MUST_CHECK;

/* Kills the process and what it has started. */
void child_kill(const struct child *child) NONNULL;

/* How long to wait before the next start, after one more that failed: 10 ms, doubled each time up to 5 s, 25 % more or
 * less, so that those that fail together do not come back together. */
uint64_t child_back_off_ns(unsigned *failures) NONNULL;

/* Logs the end of a front end, or of a worker for that task, that was reaped. */
void child_log_front_end_death(const struct child *child) NONNULL;
void child_log_worker_death(const struct child *child, unsigned worker, const char *task) NONNULL;

#endif
