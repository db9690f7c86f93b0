/* plugin: tasks in shared objects, by include/twinpool/task.h. */
#ifndef TWINPOOL_POOL_PLUGIN_H
#define TWINPOOL_POOL_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attrs.h"
#include "base/status.h"
#include "include/twinpool/task.h"
#include "tasks/task.h"

/* Loads the object for good, in a process with one thread. False: ret_message says why not. */
bool plugin_load(const char *path, const struct twinpool_task **ret_plugin, char *ret_message, size_t size)
    NONNULL MUST_CHECK;

/* task->run and task->warm_up of every plug-in. */
enum status plugin_run(const struct task_input *input, struct task_output *output) NONNULL;
/* False: it says that it cannot work. */
bool plugin_warm_up(const struct twinpool_task *plugin) NONNULL MUST_CHECK;

#endif
