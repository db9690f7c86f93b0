/* task_case: one call of a task and what it must say, for the tests of tasks. */
#ifndef TWINPOOL_TESTS_UNIT_TASK_CASE_H
#define TWINPOOL_TESTS_UNIT_TASK_CASE_H

#include "tests/unit/run_task.h"

/* payload NULL for none. Shows what came if it is not what was expected. */
static inline void assert_result_of(const struct task *task, const char *args, const void *payload, size_t payload_len,
                                    const char *expected)
{
    struct task_run run = run_task(task, args, payload, payload_len);
    if (run.status != ST_OK)
        fail_msg("%s %s: %s: %s %s", task->name, args, status_code(run.status), run.detail, run.text);
    assert_false(run.is_binary);
    assert_string_equal(run.text, expected);
    free(run.text);
}

static inline void assert_result(const struct task *task, const char *args, const char *expected)
{
    assert_result_of(task, args, NULL, 0, expected);
}

/* `part` is of the detail or, if the args themselves were refused, of the list of errors. */
static inline void assert_failure_of(const struct task *task, const char *args, const void *payload, size_t payload_len,
                                     enum status expected, const char *part)
{
    struct task_run run = run_task(task, args, payload, payload_len);
    if (run.status != expected || !strstr(run.detail[0] ? run.detail : run.text, part))
        fail_msg("%s %s: %s: %s %s", task->name, args, status_code(run.status), run.detail, run.text ? run.text : "");
    free(run.text);
}

static inline void assert_failure(const struct task *task, const char *args, enum status expected, const char *part)
{
    assert_failure_of(task, args, NULL, 0, expected, part);
}

#endif
