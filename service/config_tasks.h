/* config_tasks: the sections [task.NAME] of the configuration file: users' programs and plug-ins, and settings of
 * built-in tasks. */
#ifndef TWINPOOL_SERVICE_CONFIG_TASKS_H
#define TWINPOOL_SERVICE_CONFIG_TASKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/attrs.h"
#include "service/config_table.h"
#include "service/config_value.h"

enum { CONFIG_TASK_NAME_MAX = 33, CONFIG_TASK_TEXT_MAX = 1024, CONFIG_TASK_OPTIONS_MAX = 32 };

/* As it was given; config_tasks_register() makes a task of it. */
struct config_task {
    char name[CONFIG_TASK_NAME_MAX];
    unsigned line; /* where its section begins */
    bool given[CONFIG_TASK_OPTIONS_MAX];
    char command[CONFIG_TASK_TEXT_MAX];
    char plugin[CONFIG_TASK_TEXT_MAX];
    char description[CONFIG_TASK_TEXT_MAX];
    unsigned mode; /* enum program_mode */
    char args[CONFIG_TASK_TEXT_MAX];
    unsigned payload, idempotent; /* no, yes */
    unsigned output;              /* enum program_output */
    unsigned workers, workers_max, max_jobs;
    uint32_t idle_ms, max_age_ms;
    uint32_t timeout_ms; /* 0: as --compute-timeout-ms */
    unsigned priority;   /* enum task_priority */
    unsigned max_concurrency;
    size_t max_payload_bytes, max_result_bytes;
    uint32_t start_timeout_ms;
    char directory[CONFIG_TASK_TEXT_MAX];
    char environment[CONFIG_TASK_TEXT_MAX];
    size_t memory_bytes;
    uint32_t cpu_ms;
    unsigned open_files, processes;
    unsigned network; /* no, yes */
    char read[CONFIG_TASK_TEXT_MAX], write[CONFIG_TASK_TEXT_MAX];
};

struct config;

/* One pair of the section that begins in that line. False: ret_message says what is wrong. */
bool config_tasks_set(struct config *config, const char *name, const char *key, const char *value, unsigned line,
                      char ret_message[CONFIG_MESSAGE_MAX]) NONNULL MUST_CHECK;
/* After the last: is each complete, and does it hold together? False: ret_message says what is wrong, *ret_line where.
 */
bool config_tasks_check(const struct config *config, unsigned *ret_line, char ret_message[CONFIG_MESSAGE_MAX])
    NONNULL MUST_CHECK;
/* With all options known: is each within the service's limits? False: ret_message says which is not. */
bool config_tasks_check_bounds(const struct config *config, char ret_message[CONFIG_MESSAGE_MAX]) NONNULL MUST_CHECK;
/* Adds them to the tasks, which loads plug-ins. False: ret_message says why not. */
bool config_tasks_register(const struct config *config, char ret_message[CONFIG_MESSAGE_MAX]) NONNULL MUST_CHECK;

void config_tasks_print(const struct config *config, FILE *out) NONNULL; /* as sections of the file */
void config_tasks_print_docs(FILE *out) NONNULL;                         /* the table of keys */

#endif
