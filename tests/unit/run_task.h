/* run_task: parse arguments and run a task, as a worker would, for the tests of tasks. */
#ifndef TWINPOOL_TESTS_UNIT_RUN_TASK_H
#define TWINPOOL_TESTS_UNIT_RUN_TASK_H

#include <stdlib.h>
#include <string.h>

#include "tasks/task.h"

struct task_run {
    enum status status;
    const char *detail; /* as the task gave it; NULL if it gave none */
    char *text;         /* the result or, if the arguments were refused, the errors; free() it */
};

static inline char *terminated(struct buf *text)
{
    size_t len;
    buf_byte(text, '\0');
    return text->failed ? NULL : buf_take(text, &len);
}

/* `json` are the arguments ("" for none); payload NULL for none. */
static inline struct task_run run_task(const struct task *task, const char *json, const void *payload,
                                       size_t payload_len)
{
    struct task_run run = { .status = ST_OK };
    struct task_input input = { .payload = payload, .payload_len = payload_len };
    struct buf errors = BUF_INIT(65536), result = BUF_INIT(65536);
    void *storage = NULL;
    run.status = task_parse_args(task, TASK_ARGS_JSON, json, strlen(json), payload != NULL, &input, &storage, &errors);
    if (run.status == ST_OK) {
        run.status = task->run(&input, &result, &run.detail);
        run.text = terminated(&result);
    } else {
        run.text = terminated(&errors);
    }
    free(storage);
    buf_done(&errors);
    buf_done(&result);
    return run;
}

/* A task of one integer, without the parsing. */
static inline char *run_with_number(const struct task *task, int64_t number)
{
    const struct task_input input = { .args = { { .is_set = true, .number = number } } };
    struct buf result = BUF_INIT(65536);
    const char *detail = NULL;
    const enum status status = task->run(&input, &result, &detail);
    char *text = status == ST_OK ? terminated(&result) : NULL;
    buf_done(&result);
    return text;
}

#endif
