/* subject: the bytes that a task works on, which come as one of its args or as the binary body. */
#ifndef TWINPOOL_TASKS_SUBJECT_H
#define TWINPOOL_TASKS_SUBJECT_H

#include <stddef.h>

#include "tasks/task.h"

struct subject {
    const char *bytes; /* never NULL; not NUL-terminated */
    size_t len;
};

/* ST_OK: exactly one of `arg` (a string or JSON, called `name`) and the payload was given, *ret_subject is it and lives
 * as long as the input. ST_INVALID_ARGS: both or none, and the output says so. */
enum status subject_take(const struct task_input *input, const struct arg *arg, const char *name,
                         struct task_output *output, struct subject *ret_subject) NONNULL MUST_CHECK;

#endif
