/* task: what a worker can compute. One file per task, each a pure function of args and payload.
 *
 * A task declares its parameters in a table; the JSON Schema that GET /tasks shows, the validation
 * (422 with JSON Pointers) and the conversion of query strings all come from it. Nothing here does
 * I/O, starts threads or knows HTTP. */
#ifndef TWINPOOL_TASKS_TASK_H
#define TWINPOOL_TASKS_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/buf.h"
#include "base/status.h"

enum { TASK_PARAMS_MAX = 8, TASK_DETAIL_BYTES = 160, TASKS_MAX = 128 };

enum param_kind { PARAM_INT, PARAM_STRING, PARAM_ENUM, PARAM_BOOL, PARAM_JSON };

struct param {
    const char *name; /* NULL ends the table */
    const char *description;
    enum param_kind kind;
    bool required;
    int64_t minimum, maximum;   /* PARAM_INT: value; PARAM_STRING, PARAM_JSON: length in bytes */
    const char *const *choices; /* PARAM_ENUM: NULL-terminated */
    const char *default_text;   /* NULL: none. PARAM_INT: decimal digits; PARAM_BOOL: "true" or "false" */
};

/* One converted argument, in the order of the task's table. */
struct arg {
    bool is_set;      /* given by the caller or by its default */
    int64_t number;   /* PARAM_INT: the value; PARAM_ENUM: index into choices; PARAM_BOOL: 0 or 1 */
    const char *text; /* PARAM_STRING: NUL-terminated UTF-8, no NUL inside. PARAM_JSON: the value's text, of any type,
                         strict JSON, NUL-terminated */
    size_t text_len;
};

enum task_args_form {
    TASK_ARGS_JSON, /* `text` is a JSON document: must be an object, else ST_INVALID_JSON */
    TASK_ARGS_QUERY /* `text` is a JSON object whose values are all strings, from a query string: "10" is
                       converted to what the parameter wants */
};

struct task_input {
    const struct task *task;
    struct arg args[TASK_PARAMS_MAX];
    enum task_args_form form; /* and the args as they came, checked: */
    const char *args_text;    /* not NUL-terminated */
    size_t args_len;          /* 0: there were none */
    const void *payload;      /* NULL if the body was JSON or there was none; not NULL for an empty binary body */
    size_t payload_len;
};

struct task_output {
    struct buf *result;             /* one JSON value is appended to it; or bytes, see is_binary */
    bool is_binary;                 /* the result is bytes, of no particular form */
    char detail[TASK_DETAIL_BYTES]; /* of a failure, for people: UTF-8; "" if there is nothing to add */
};

/* Sets the detail, cut to fit, and returns `status`. */
enum status task_fail(struct task_output *output, enum status status, const char *format, ...) PRINTF_LIKE(3, 4)
    NONNULL;

enum task_priority { PRIORITY_NORMAL, PRIORITY_HIGH, PRIORITY_LOW, PRIORITY_COUNT };

/* Of a group of workers. */
struct worker_limits {
    unsigned workers;        /* that there are always */
    unsigned workers_max;    /* that there are while jobs wait; not below workers */
    uint64_t idle_max_ns;    /* of a worker beyond `workers` */
    unsigned jobs_max;       /* of one worker, about; 0: any */
    uint64_t growth_max_kib; /* by which its peak may exceed that after its first job; 0: any */
    uint64_t age_max_ns;     /* about; 0: any */
    uint64_t start_max_ns;   /* until a worker is ready for jobs */
};

struct program;       /* pool/program.h */
struct twinpool_task; /* include/twinpool/task.h */

struct task {
    const char *name; /* [a-z0-9_]{1,32} */
    const char *description;
    const struct param *params;         /* NULL: any JSON object will do */
    bool takes_payload;                 /* false: a binary body is refused with 415 */
    bool is_idempotent;                 /* may run again if its worker died */
    uint32_t timeout_ms;                /* of a job that names none; 0: as the service has it */
    size_t payload_max;                 /* bytes; 0: as the service has it */
    size_t result_max;                  /* likewise */
    uint32_t cpu_max_ms;                /* CPU time of one job, of a task that is no program; 0: any */
    enum task_priority priority;        /* of a job that names none */
    unsigned concurrency_max;           /* jobs of it that the workers have at once; 0: any number */
    unsigned group;                     /* of the workers that run it: 0 those for all built-in ones */
    struct worker_limits workers;       /* of a group of its own */
    const struct program *program;      /* a user's, in a group of its own; NULL: it is none */
    const struct twinpool_task *plugin; /* likewise */
    bool polls_cancel;                  /* a running job ends by itself soon after it was cancelled */
    /* Appends the result; the caller looks at result->failed. Runs in a worker process, one job at a time. Anything but
     * ST_OK fails the job with that status (ST_INVALID_ARGS, ST_TASK_FAILED, …): see task_fail(). */
    enum status (*run)(const struct task_input *input, struct task_output *output);
    /* Called once in each worker process before its first job, or NULL: the last moment for whatever opens a file or
     * makes a thread (algorithms that are fetched, locales, time zones). After it neither is possible. */
    void (*warm_up)(void);
};

/* All tasks, in the order of GET /tasks; the index is a task's id. Changes only before the first fork. */
extern const struct task *task_table[TASKS_MAX];
extern size_t task_count;

/* Adds a task, which stays put; in the supervisor, before anything is forked. False: there are TASKS_MAX. */
bool task_register(const struct task *task) NONNULL MUST_CHECK;

/* The built-in tasks only, as they are. */
void task_reset(void);
/* Puts one with the same name in the place of a task; likewise. */
void task_replace(const struct task *task) NONNULL;

/* Index into task_table, or -1. */
int task_find(const char *name) NONNULL;

/* Appends the JSON Schema (draft 2020-12) of the task's args, an object. */
void task_schema(const struct task *task, struct buf *out) NONNULL;

/* Checks `text` (json_check, then against the table) and converts it. `text` may be anything; len 0 means no args were
 * given. has_payload: a binary payload came, which stands in for required strings and JSON (whether it does is the
 * task's own business). ST_OK: *ret_input's args are set and may point into *ret_storage, which the caller frees with
 * free() (it may be NULL); payload fields are left alone. ST_INVALID_JSON (form JSON only) | ST_INVALID_ARGS: one JSON
 * array was appended to `errors`, with every problem up to the 16th: [{"pointer":"/n","detail":"must be at most
 * 10000000000"}]. ST_NO_MEMORY: `errors` says nothing of use. */
enum status task_parse_args(const struct task *task, enum task_args_form form, const char *text, size_t len,
                            bool has_payload, struct task_input *ret_input, void **ret_storage, struct buf *errors)
    __attribute__((nonnull(1, 6, 7, 8))) MUST_CHECK;

/* Appends the parsed args as one JSON object on one line, with the types of the task's table and its defaults. */
void task_write_args(const struct task_input *input, struct buf *out) NONNULL;
/* One of them by its index, a string without quotes; nothing if it is not set. */
void task_write_arg_plainly(const struct task_input *input, size_t index, struct buf *out) NONNULL;

#endif
