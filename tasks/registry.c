/* registry: the list of tasks. A new task is a file of its own, a line in tasks/builtin.h and a line here. */
#include "tasks/task.h"

#include <string.h>

#include "tasks/builtin.h"

const struct task *task_table[TASKS_MAX] = { &sum_squares_task, &primes_task,   &digest_task,     &pbkdf2_task,
                                             &scrypt_task,      &compress_task, &decompress_task, &regex_task,
                                             &stats_task,       &jq_task };
size_t task_count = 10;

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
