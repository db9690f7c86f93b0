/* registry: the list of tasks. A new task is a file of its own, a line in tasks/builtin.h and a line here. */
#include "tasks/task.h"

#include <string.h>

#include "tasks/builtin.h"

enum { BUILTIN_COUNT = 10 };
#define BUILTIN_TASKS                                                                                            \
    &sum_squares_task, &primes_task, &digest_task, &pbkdf2_task, &scrypt_task, &compress_task, &decompress_task, \
        &regex_task, &stats_task, &jq_task

const struct task *task_table[TASKS_MAX] = { BUILTIN_TASKS };
size_t task_count = BUILTIN_COUNT;

void task_reset(void)
{
    static const struct task *const builtin[BUILTIN_COUNT] = { BUILTIN_TASKS };
    for (size_t i = 0; i < BUILTIN_COUNT; i++)
        task_table[i] = builtin[i];
    task_count = BUILTIN_COUNT;
}

bool task_register(const struct task *task)
{
    if (task_count == TASKS_MAX)
        return false;
    task_table[task_count++] = task;
    return true;
}

void task_replace(const struct task *task)
{
    int index = task_find(task->name);
    if (index >= 0)
        task_table[index] = task;
}

int task_find(const char *name)
{
    for (size_t i = 0; i < task_count; i++)
        if (strcmp(task_table[i]->name, name) == 0)
            return (int)i;
    return -1;
}
