/* config_task_checks: what must hold within a section [task.NAME], and between it and the options. */
#include <errno.h>
#include <fcntl.h>
#include <popt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pool/program.h"
#include "service/config.h"
#include "service/config_args.h"
#include "service/config_tasks_internal.h"
#include "tasks/task.h"

/* ---- keys: which go with what */

static bool is_among(const char *key, const char *const *keys)
{
    while (*keys && strcmp(*keys, key) != 0)
        keys++;
    return *keys != NULL;
}

bool config_task_is_key_of_builtins(const char *key)
{
    static const char *const keys[] = {
        "timeout-ms", "priority", "max-concurrency", "max-payload-bytes", "max-result-bytes", "cpu-ms", NULL
    };
    return is_among(key, keys);
}

/* A plug-in says the rest itself. */
static bool is_of_plugins(const char *key)
{
    static const char *const keys[] = { "plugin",   "description", "workers",          "workers-max", "idle-ms",
                                        "max-jobs", "max-age-ms",  "start-timeout-ms", NULL };
    return is_among(key, keys) || config_task_is_key_of_builtins(key);
}

static bool is_of_oneshots(const char *key)
{
    static const char *const others[] = { "max-jobs", "max-age-ms", "start-timeout-ms", NULL };
    return !is_among(key, others);
}

static bool is_of_persistents(const char *key) { return strcmp(key, "output") != 0; }

static bool check_keys(const struct config_task *task, char ret_message[CONFIG_MESSAGE_MAX])
{
    const char *what = task->mode == PROGRAM_ONESHOT ? "oneshot" : "persistent";
    bool (*is_its_own)(const char *key) = task->mode == PROGRAM_ONESHOT ? is_of_oneshots : is_of_persistents;
    char key[CONFIG_NAME_MAX];
    if (task->plugin[0]) {
        what = "a plug-in";
        is_its_own = is_of_plugins;
    }
    for (size_t i = 0; i < config_task_option_count; i++) {
        config_option_key(&config_task_options[i], key);
        if (task->given[i] && !is_its_own(key))
            return config_fail(ret_message, "[task.%s] is %s, which goes without %s", task->name, what, key);
    }
    return true;
}

/* ---- texts */

/* popt takes the end of the text for the end of a quoted part, too. */
static bool has_open_quote(const char *text)
{
    char quote = '\0';
    for (; *text; text++) {
        if (*text == '\\' && text[1])
            text++;
        else if (quote ? *text == quote : *text == '"' || *text == '\'')
            quote = quote ? '\0' : *text;
    }
    return quote != '\0';
}

bool config_words(const char *text, int *ret_count, const char ***ret_words)
{
    return !has_open_quote(text) && poptParseArgvString(text, ret_count, ret_words) == 0;
}

static bool can_be_split(const char *text)
{
    const char **words;
    int count;
    if (!text[0])
        return true;
    if (!config_words(text, &count, &words))
        return false;
    free(words);
    return true;
}

static bool check_texts(const struct config_task *task, char ret_message[CONFIG_MESSAGE_MAX])
{
    const char *const texts[][2] = { { "command", task->command },
                                     { "environment", task->environment },
                                     { "read", task->read },
                                     { "write", task->write } };
    struct param *params;
    for (size_t n = 0; n < ARRAY_LEN(texts); n++)
        if (!can_be_split(texts[n][1]))
            return config_fail(ret_message, "[task.%s] %s: a quote is not closed, or it ends with a backslash",
                               task->name, texts[n][0]);
    if (!config_args_read(task->args, &params, ret_message))
        return false;
    free(params);
    return true;
}

bool config_tasks_check(const struct config *config, unsigned *ret_line, char ret_message[CONFIG_MESSAGE_MAX])
{
    for (size_t i = 0; i < config->task_count; i++) {
        const struct config_task *task = &config->tasks[i];
        *ret_line = task->line;
        if (task_find(task->name) >= 0)
            continue;
        if (task->workers_max > 0 && task->workers_max < task->workers)
            return config_fail(ret_message, "[task.%s] workers-max must be at least workers", task->name);
        if (!task->plugin[0] && !task->command[0])
            return config_fail(ret_message, "[task.%s] needs a command or a plugin", task->name);
        if (!check_keys(task, ret_message) || (!task->plugin[0] && !check_texts(task, ret_message)))
            return false;
    }
    return true;
}

/* ---- the options */

static const struct {
    const char *part, *whole; /* a task's key, and the option that it may not be above */
} bounds[] = {
    { "timeout-ms", "compute-timeout-max-ms" },
    { "max-payload-bytes", "max-body-bytes" },
    { "max-result-bytes", "max-result-bytes" },
};

bool config_tasks_check_bounds(const struct config *config, char ret_message[CONFIG_MESSAGE_MAX])
{
    char part_text[CONFIG_TEXT_MAX], text[CONFIG_TEXT_MAX];
    for (size_t i = 0; i < config->task_count * ARRAY_LEN(bounds); i++) {
        const struct config_task *task = &config->tasks[i / ARRAY_LEN(bounds)];
        size_t n = i % ARRAY_LEN(bounds);
        const struct config_option *part = config_task_option_find(bounds[n].part),
                                   *whole = config_option_find(bounds[n].whole);
        if (config_value_number(part, task) <= config_value_number(whole, config))
            continue;
        config_value_text(part, task, part_text);
        config_value_text(whole, config, text);
        return config_fail(ret_message, "[task.%s] %s %.20s is above --%s %.20s: lower the one or raise the other",
                           task->name, bounds[n].part, part_text, bounds[n].whole, text);
    }
    return true;
}

/* ---- files */

/* Relative names are looked up where the program runs. */
static bool check_list(const struct config_task *task, int folder, const char *key, const char *text,
                       char ret_message[CONFIG_MESSAGE_MAX])
{
    const char **words;
    int count;
    bool is_good = true;
    if (!text[0] || !config_words(text, &count, &words))
        return true;
    for (int i = 0; i < count && is_good; i++)
        is_good =
            faccessat(folder, words[i], F_OK, 0) == 0 ||
            config_fail(ret_message, "[task.%s] %s: %.200s: %s", task->name, key, words[i], strerrordesc_np(errno));
    free(words);
    return is_good;
}

bool config_task_check_files(const struct config_task *task, char ret_message[CONFIG_MESSAGE_MAX])
{
    int folder = open(task->directory[0] ? task->directory : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return config_fail(ret_message, "[task.%s] directory: %.200s: %s", task->name, task->directory,
                           strerrordesc_np(errno));
    bool is_good = check_list(task, folder, "read", task->read, ret_message) &&
                   check_list(task, folder, "write", task->write, ret_message);
    close(folder);
    return is_good;
}
