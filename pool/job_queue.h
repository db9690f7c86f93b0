/* job_queue: the jobs of one group of workers that wait, and whose turn it is.
 *
 * Three levels share the workers by the time that their jobs are expected to take:
 *   - the priorities, 16 : 4 : 1. A job of a higher one that comes into a backlog of lower ones is the next, and yet
 *     none of them starves;
 *   - within a priority the tasks, equally;
 *   - within a task the calls, a job each in turn: a map of 100,000 items has one job in the line like a single call.
 *
 * The first two are start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996): a line's tag is the time it has had,
 * the smallest is next, and one that was empty starts from where the others are. That is where the job began that ended
 * last, not the one that was taken last: a job that a worker has not begun may be put back, and then nobody must have
 * been overtaken by it. A line is charged what a job is expected to take when it is taken, and what it took when it has
 * ended: nothing is known of a task's first jobs. Plain data, guarded by the pool's lock.
 */
#ifndef TWINPOOL_POOL_JOB_QUEUE_H
#define TWINPOOL_POOL_JOB_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "pool/job.h"

/* The waiting jobs of one task and priority, in the order of their turns. */
struct job_line {
    struct job_list jobs;
    uint64_t tag_ns;
    uint64_t expected_ns;  /* what they will take */
    struct job_line *next; /* of those of the level that are not empty */
};

/* What is known of a task. It belongs to one group, and so to one queue. */
struct job_task {
    struct job_line lines[PRIORITY_COUNT];
    uint64_t run_ns;      /* what one run takes, 0: none was finished yet */
    unsigned started;     /* jobs that the workers have */
    unsigned started_max; /* 0: any number */
};

struct job_queue {
    struct job_task *tasks; /* all tasks of the service; the pool's */
    struct job_level {
        struct job_line *lines; /* that are not empty */
        uint64_t tag_ns;
        uint64_t now_ns; /* of its lines' tags: where one that opens begins */
    } levels[PRIORITY_COUNT];
    uint64_t now_ns; /* of the levels' */
    uint64_t next_turn;
    size_t count; /* of all jobs, also those behind the first of their call */
};

/* The job gets a turn; if its flow has a job in the line, once that has left it. */
void job_queue_add(struct job_queue *queue, struct job *job) NONNULL;
/* The next job, which is started from now on; NULL: there is none, or none whose task may have one more started. */
struct job *job_queue_take(struct job_queue *queue) NONNULL MUST_CHECK;
/* One that was taken and not started after all gets its turn back. */
void job_queue_put_back(struct job_queue *queue, struct job *job) NONNULL;
/* One that waits. */
void job_queue_remove(struct job_queue *queue, struct job *job) NONNULL;
/* One that was taken has ended; it took usage.wall_ns. */
void job_queue_note_end(struct job_queue *queue, struct job *job) NONNULL;

/* What the job takes, by what the task's jobs took so far; 0: nobody knows. */
uint64_t job_queue_expected_ns(const struct job_queue *queue, const struct job *job) NONNULL MUST_CHECK;
/* For how long `workers` workers are at least busy with what would be started before this job, if it came now. */
uint64_t job_queue_wait_ns(const struct job_queue *queue, const struct job *job, unsigned workers) NONNULL MUST_CHECK;

#endif
