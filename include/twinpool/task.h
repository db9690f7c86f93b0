/* twinpool/task.h: a task for Twinpool in C. One shared object is one task:
 *
 *     static int run(struct twinpool_job *job) { return twinpool_append_text(job, "42"); }
 *     const struct twinpool_task twinpool_task = { TWINPOOL_TASK_ABI, sizeof(struct twinpool_task),
 *                                                  .description = "the answer", .run = run };
 *
 *     cc -shared -fPIC -o answer.so answer.c $(pkg-config --cflags twinpool-task)
 *     twinpool check-task ./answer.so
 *
 * and in the configuration file: [task.answer], plugin = ./answer.so. See docs/plugins.md.
 *
 * The object is loaded once, before any process is forked: constructors run in the supervisor and must not start
 * threads. run() is called in worker processes, for one job at a time, confined as those of the built-in tasks are: no
 * files, no network, no other processes. It may crash, hang or leak: its job gets a typed error, the service goes on.
 *
 * Compatibility: members are only ever added, at the end; `size` says how many there are. TWINPOOL_TASK_ABI changes if
 * anything else has to. */
#ifndef TWINPOOL_TASK_H
#define TWINPOOL_TASK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TWINPOOL_TASK_ABI 1u

#define TWINPOOL_TAKES_PAYLOAD 1u /* a binary body is accepted */
#define TWINPOOL_IDEMPOTENT    2u /* may be run again if its worker died */
#define TWINPOOL_POLLS_CANCEL  4u /* run() asks twinpool_is_cancelled() at least every few milliseconds */

struct twinpool_job;

/* What the service does for a job; use the functions below. */
struct twinpool_calls {
    uint32_t size; /* of this struct, in bytes, as the service knows it */
    int (*get_integer)(const struct twinpool_job *job, const char *name, int64_t *ret_value);
    const char *(*get_text)(const struct twinpool_job *job, const char *name, size_t *ret_len);
    int (*append)(struct twinpool_job *job, const void *bytes, size_t len);
    void (*set_binary)(struct twinpool_job *job);
    int (*fail)(struct twinpool_job *job, const char *message);
    int (*is_cancelled)(const struct twinpool_job *job);
};

/* Valid until run() returns. */
struct twinpool_job {
    uint32_t size;
    const char *args; /* a JSON object on one line, checked, with the defaults filled in; ends with NUL */
    size_t args_len;
    const void *payload; /* NULL: there was no binary body */
    size_t payload_len;
    const struct twinpool_calls *calls;
};

struct twinpool_task {
    uint32_t abi;  /* TWINPOOL_TASK_ABI */
    uint32_t size; /* sizeof(struct twinpool_task) */
    const char *description;
    const char *args; /* as in the configuration file: "width int 1..4096 required, mode enum fit|fill default fit";
                         NULL: any JSON object */
    uint32_t flags;
    int (*run)(struct twinpool_job *job); /* 0: the result is complete; else the job has failed, see twinpool_fail() */
    int (*warm_up)(void);   /* once in each worker, before files and threads are out of reach; 0: well. Or NULL */
    int (*self_test)(void); /* of `twinpool check-task`, in a worker's conditions; 0: well. Or NULL */
};

#ifdef __GNUC__
__attribute__((visibility("default")))
#endif
extern const struct twinpool_task twinpool_task;

/* An arg declared as int, or bool (1, 0). Returns 0 and leaves *ret_value alone if there is none. */
static inline int twinpool_get_integer(const struct twinpool_job *job, const char *name, int64_t *ret_value)
{
    return job->calls->get_integer(job, name, ret_value);
}

/* An arg declared as string or enum, or the JSON of one declared as json; UTF-8, ends with NUL. NULL: there is none.
 * ret_len may be NULL. */
static inline const char *twinpool_get_text(const struct twinpool_job *job, const char *name, size_t *ret_len)
{
    return job->calls->get_text(job, name, ret_len);
}

/* Appends to the result: JSON, which must be one complete value in the end, or bytes after twinpool_set_binary().
 * Returns 0, or -1 if the result is too large: then run() should return. */
static inline int twinpool_append(struct twinpool_job *job, const void *bytes, size_t len)
{
    return job->calls->append(job, bytes, len);
}
static inline int twinpool_append_text(struct twinpool_job *job, const char *text)
{
    return job->calls->append(job, text, strlen(text));
}

static inline void twinpool_set_binary(struct twinpool_job *job) { job->calls->set_binary(job); }

/* The job fails (task_failed) with these words, of which the first 159 bytes are told. Returns -1, for run() to return.
 */
static inline int twinpool_fail(struct twinpool_job *job, const char *message)
{
    return job->calls->fail(job, message);
}

/* Not 0: nobody waits for the result any more. With TWINPOOL_POLLS_CANCEL, run() has --cancel-grace-ms to return
 * (with anything) before its process is killed. */
static inline int twinpool_is_cancelled(const struct twinpool_job *job) { return job->calls->is_cancelled(job); }

#ifdef __cplusplus
}
#endif

#endif
