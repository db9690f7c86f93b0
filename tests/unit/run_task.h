/* run_task: parse arguments and run a task, as a worker would, for the tests of tasks. */
#ifndef TWINPOOL_TESTS_UNIT_RUN_TASK_H
#define TWINPOOL_TESTS_UNIT_RUN_TASK_H

#include <stdlib.h>
#include <string.h>

#include "tasks/task.h"

struct task_run {
    enum status status;
    char detail[TASK_DETAIL_BYTES]; /* as the task gave it */
    bool is_binary;
    size_t len;
    char *text; /* the result or, if the arguments were refused, the errors; free() it */
};

static inline char *terminated(struct buf *text)
{
    size_t len;
    buf_byte(text, '\0');
    return text->failed ? NULL : buf_take(text, &len);
}

/* With room for a result of result_max bytes. */
static inline struct task_run run_task_within(const struct task *task, const char *json, const void *payload,
                                              size_t payload_len, size_t result_max)
{
    struct task_run run = { .status = ST_OK };
    struct task_input input = { .payload = payload, .payload_len = payload_len };
    struct buf errors = BUF_INIT(65536), result = BUF_INIT(result_max);
    struct task_output output = { .result = &result };
    void *storage = NULL;
    run.status = task_parse_args(task, TASK_ARGS_JSON, json, strlen(json), payload != NULL, &input, &storage, &errors);
    bool is_parsed = run.status == ST_OK;
    if (is_parsed)
        run.status = task->run(&input, &output);
    if (is_parsed && run.status == ST_OK && result.failed)
        run.status = ST_RESULT_TOO_LARGE;
    memcpy(run.detail, output.detail, sizeof run.detail);
    run.is_binary = output.is_binary;
    run.len = is_parsed ? result.len : errors.len;
    result.max++; /* for the NUL */
    run.text = terminated(is_parsed ? &result : &errors);
    free(storage);
    buf_done(&errors);
    buf_done(&result);
    return run;
}

/* `json` are the arguments ("" for none); payload NULL for none. */
static inline struct task_run run_task(const struct task *task, const char *json, const void *payload,
                                       size_t payload_len)
{
    return run_task_within(task, json, payload, payload_len, 65536);
}

/* A task of one integer, without the parsing. */
static inline char *run_with_number(const struct task *task, int64_t number)
{
    const struct task_input input = { .args = { { .is_set = true, .number = number } } };
    struct buf result = BUF_INIT(65536);
    struct task_output output = { .result = &result };
    const enum status status = task->run(&input, &output);
    char *text = status == ST_OK ? terminated(&result) : NULL;
    buf_done(&result);
    return text;
}

#endif
