/* program: a user's own program as a task, driven over pipes by a worker of its own.
 *
 * Persistent: the program is started before it is needed, prints the line {"ready":true} when it can take work, and
 * then answers each line that it reads with one line that it prints:
 *
 *     {"id":7,"args":{…}}  or  {"id":7,"args":{…},"payload_base64":"…"}
 *     {"id":7,"result":…}  or  {"id":7,"result_base64":"…"}  or  {"id":7,"error":"why"}
 *
 * Anything else on its standard output is a protocol error, of the job under way and of no other; the program is then
 * replaced. If it dies, so does the worker, in the same way. Oneshot: it is started for each job, reads the payload (or
 * the args, if there is none) from its standard input, and what it prints is the result, if its exit status is 0. In
 * its arguments `{name}` stands for the value of that arg. What it prints on standard error goes into the log.
 *
 * All functions are for a worker process, before (open) and in its one thread. */
#ifndef TWINPOOL_POOL_PROGRAM_H
#define TWINPOOL_POOL_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attrs.h"
#include "pool/sandbox.h"
#include "tasks/task.h"

enum program_mode { PROGRAM_PERSISTENT, PROGRAM_ONESHOT };
/* What a oneshot's output is. Text that is not UTF-8 comes as bytes. */
enum program_output { PROGRAM_PRINTS_TEXT, PROGRAM_PRINTS_JSON, PROGRAM_PRINTS_BYTES };

struct program {
    enum program_mode mode;
    enum program_output output;
    char **argv;               /* NULL-terminated */
    char **environment;        /* likewise: all of it */
    const char *directory;     /* to run in; NULL: the service's */
    uint32_t start_timeout_ms; /* until it says that it is ready */
    uint64_t memory_max;       /* bytes that it may have resident; 0: any */
    uint64_t cpu_max_ms;       /* of one job; 0: any */
    uint64_t open_files_max;   /* 0: as inherited */
    unsigned processes_max;    /* it and what it has started; 0: any */
    bool may_use_network;
    struct sandbox_path *paths; /* that it may use beside the system's, read-only */
    size_t path_count;
};

/* Starts what has to be started. False: it did not come up; the log says why. */
bool program_open(const struct task *task) NONNULL MUST_CHECK;

/* Between two jobs, or items of a chunk: is the program there and silent, as it should be? If not the worker must end.
 * Does not return if it is dead. */
bool program_is_sound(const struct task *task) NONNULL MUST_CHECK;

/* task->run of every program. Does not return if the program dies: then the worker does, in the same way. */
enum status program_run(const struct task_input *input, struct task_output *output) NONNULL;

/* What a persistent program has answered to the job `id`: a line, without its end, of any bytes. ST_OK: the result was
 * appended, JSON or bytes; else output->detail says what was wrong. */
enum status program_take_answer(const char *line, size_t len, uint64_t id, struct task_output *output)
    NONNULL MUST_CHECK;

/* After a job: the program cannot be used again, and the worker must end when it has told of the result. */
bool program_must_end(void) MUST_CHECK;

/* After a job: the CPU time of its programs since this was asked last, and their memory (oneshot: the peak of any so
 * far; persistent: what it has resident, as of the last 10 ms). */
void program_take_usage(const struct task *task, uint64_t *ret_cpu_ns, uint64_t *ret_rss_kib) NONNULL;

#endif
