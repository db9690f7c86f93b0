/* config_tasks_internal: what config_tasks.c and config_task_checks.c share. */
#ifndef TWINPOOL_SERVICE_CONFIG_TASKS_INTERNAL_H
#define TWINPOOL_SERVICE_CONFIG_TASKS_INTERNAL_H

#include "service/config_tasks.h"

/* The keys of a section; their fields are in struct config_task. */
extern const struct config_option config_task_options[];
extern const size_t config_task_option_count;

/* NULL: a task has no such key. */
const struct config_option *config_task_option_find(const char *key) NONNULL MUST_CHECK;

/* What can be said of a task that comes with the program; all else is what it is. */
bool config_task_is_key_of_builtins(const char *key) NONNULL MUST_CHECK;

/* Words, as a shell would see them, in one allocation, which is the caller's. False: no words, an open quote. */
bool config_words(const char *text, int *ret_count, const char ***ret_words) NONNULL MUST_CHECK;

/* Is what the section names there: its folder, and the files that it grants? For one with a command. */
bool config_task_check_files(const struct config_task *task, char ret_message[CONFIG_MESSAGE_MAX]) NONNULL MUST_CHECK;

#endif
