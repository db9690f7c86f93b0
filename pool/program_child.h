/* program_child: one process that runs a user's program, its pipes, and how it ended. For program.c and its modes
 * only. */
#ifndef TWINPOOL_POOL_PROGRAM_CHILD_H
#define TWINPOOL_POOL_PROGRAM_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/attrs.h"
#include "base/buf.h"
#include "base/status.h"
#include "pool/program.h"

struct program_child {
    pid_t pid;                   /* 0: none */
    int pidfd;                   /* readable when it has ended */
    int input, output, messages; /* ours of its standard streams, non-blocking; -1: closed */
    clockid_t cpu_clock;
    /* CPU times when the job began: its own; of all that it and its like had started and that have been reaped here;
     * and of all that live (UINT64_MAX: to be measured) */
    uint64_t cpu_before_ns, reaped_before_ns, tree_before_ns;
    uint64_t measured_ns; /* when all of them were looked at last */
    /* of a job: the most CPU time that all of them had; and what went with some whom nobody waited for */
    uint64_t cpu_peak_ns, cpu_lost_ns;
    unsigned dips; /* looks in a row that saw less than the most */
    bool has_ended;
    int wait_status; /* then */
};

/* Once, before the first: this process runs that program only, becomes the parent of all orphans below it, and signals
 * interrupt its waits. */
void program_child_prepare(const struct program *program) NONNULL;
/* argv NULL: the program's own. False: errno says why. */
bool program_child_start(struct program_child *child, const struct program *program, char *const *argv,
                         char *const *more_environment) __attribute__((nonnull(1, 2))) MUST_CHECK;
/* Kills it and all its descendants that can be found; what they wrote is in the pipes. Safe to repeat. */
void program_child_kill(struct program_child *child) NONNULL;
/* The same, and closes the pipes. */
void program_child_end(struct program_child *child) NONNULL;
/* Has it ended? Reaps it. */
bool program_child_has_ended(struct program_child *child) NONNULL;

/* What may happen while a job runs. `to_send` is what is left to be written; lines and bytes that come are appended to
 * `received` (at most its max: then it fails), what it says on standard error is logged. Returns when something came or
 * was sent, it has ended, or a limit was passed: ST_MEMORY_LIMIT, ST_CPU_LIMIT, ST_PROCESS_LIMIT;
 * else ST_OK. */
struct program_exchange {
    const char *to_send;
    size_t to_send_len;
    struct buf *received;
    bool has_output_ended;
    bool is_idle;    /* the last wait saw nothing */
    bool is_refused; /* it reads no more: what is left is not sent */
};
/* Its CPU time counts from now, and what it says is about this job. */
void program_child_begin_job(struct program_child *child, const struct program *program) NONNULL;
/* Writes at once what the program can take at once. */
void program_child_send(struct program_child *child, struct program_exchange *exchange) NONNULL;
enum status program_child_wait(struct program_child *child, const struct task *task, struct program_exchange *exchange,
                               int timeout_ms) NONNULL MUST_CHECK;

/* CPU time of what has ended and was reaped here; optionally the peak of their memory. */
uint64_t program_child_reaped_cpu_ns(uint64_t *ret_rss_kib);
/* Bytes of what was sent that it has not read yet; also after its end. */
size_t program_child_unread(const struct program_child *child) NONNULL MUST_CHECK;
uint64_t program_child_cpu_ns(const struct program_child *child) NONNULL;
uint64_t program_child_rss_bytes(const struct program_child *child) NONNULL; /* now */
/* "exit status 3", "signal 9 (Killed)". */
void program_child_describe(const struct program_child *child, char *ret_text, size_t size) NONNULL;
/* The last line of its standard error, "" if there was none. */
const char *program_last_message(void) MUST_CHECK;

#endif
