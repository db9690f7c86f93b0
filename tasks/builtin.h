/* builtin: the tasks that come with the program, one .c file each. tasks/registry.c puts them into task_table. */
#ifndef TWINPOOL_TASKS_BUILTIN_H
#define TWINPOOL_TASKS_BUILTIN_H

#include "tasks/task.h"

extern const struct task sum_squares_task;
extern const struct task primes_task;
extern const struct task digest_task;
extern const struct task pbkdf2_task;
extern const struct task scrypt_task;
extern const struct task compress_task;
extern const struct task decompress_task;
extern const struct task regex_task;
extern const struct task stats_task;
extern const struct task jq_task;

#endif
