/* config_tasks: a table like that of the options, for each section again; and what makes a task of it. */
#include "service/config_tasks.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/nearest_name.h"
#include "pool/plugin.h"
#include "pool/program.h"
#include "service/config.h"
#include "service/config_args.h"
#include "service/config_tasks_internal.h"
#include "tasks/task.h"

#define FIELD(name) \
    .field = #name, .offset = offsetof(struct config_task, name), .size = sizeof(((struct config_task *)0)->name)
#define NUMBER(of, low, high, text) .kind = (of), .minimum = (low), .maximum = (high), .initial = (text)

/* clang-format off */
const struct config_option config_task_options[] = {
    { FIELD(command), .kind = CONFIG_KIND_TEXT, .initial = "",
      .help = "the program and its arguments, in quotes where they have blanks; no shell. oneshot: {name} stands for that arg" },
    { FIELD(plugin), .kind = CONFIG_KIND_TEXT, .initial = "",
      .help = "instead of a command: a shared object made with twinpool/task.h" },
    { FIELD(mode), .kind = CONFIG_KIND_CHOICE, .choices = { "persistent", "oneshot" }, .initial = "persistent",
      .help = "persistent: answers a line of JSON with a line of JSON, for ever; oneshot: is run for each job, from standard input to standard output" },
    { FIELD(description), .kind = CONFIG_KIND_TEXT, .initial = "", .help = "for GET /tasks" },
    { FIELD(args), .kind = CONFIG_KIND_TEXT, .initial = "",
      .help = "the args, with commas between: NAME int LOW..HIGH, string LOW..HIGH, enum A|B, bool or json, then required or default VALUE; none: any JSON object" },
    { FIELD(payload), .kind = CONFIG_KIND_CHOICE, .choices = { "no", "yes" }, .initial = "yes",
      .help = "whether it takes a binary body" },
    { FIELD(output), .kind = CONFIG_KIND_CHOICE, .choices = { "text", "json", "bytes" }, .initial = "text",
      .help = "of oneshot: what it prints" },
    { FIELD(idempotent), .kind = CONFIG_KIND_CHOICE, .choices = { "no", "yes" }, .initial = "no",
      .help = "whether a job whose worker died may be run again" },
    { FIELD(workers), NUMBER(CONFIG_KIND_COUNT, 1, 64, "1"), .help = "how many jobs of it run at once" },
    { FIELD(workers_max), NUMBER(CONFIG_KIND_COUNT, 0, 64, "0"),
      .help = "and how many while jobs wait; 0: never more than workers" },
    { FIELD(idle_ms), NUMBER(CONFIG_KIND_MS, 0, 86400000, "60000"),
      .help = "after which a worker beyond workers that had no job is ended" },
    { FIELD(max_jobs), NUMBER(CONFIG_KIND_COUNT, 0, 1000000000, "0"),
      .help = "jobs, about, after which a persistent program is started anew; 0: never" },
    { FIELD(max_age_ms), NUMBER(CONFIG_KIND_MS, 0, 2592000000, "0"),
      .help = "age, about, at which it is started anew; 0: never" },
    { FIELD(timeout_ms), NUMBER(CONFIG_KIND_MS, 0, 86400000, "0"),
      .help = "deadline of a job that names none; 0: as compute-timeout-ms" },
    { FIELD(priority), .kind = CONFIG_KIND_CHOICE, .choices = { "normal", "high", "low" }, .initial = "normal",
      .help = "of a job that names none" },
    { FIELD(max_concurrency), NUMBER(CONFIG_KIND_COUNT, 0, 1000000, "0"),
      .help = "jobs of it that workers have at once; 0: as many as there are workers" },
    { FIELD(max_payload_bytes), NUMBER(CONFIG_KIND_BYTES, 0, UINT64_C(1) << 32, "0"),
      .help = "binary body (body_too_large beyond); 0: as max-body-bytes" },
    { FIELD(max_result_bytes), NUMBER(CONFIG_KIND_BYTES, 0, UINT64_C(1) << 32, "0"),
      .help = "result of one job (result_too_large beyond); 0: as max-result-bytes" },
    { FIELD(start_timeout_ms), NUMBER(CONFIG_KIND_MS, 1, 600000, "30000"),
      .help = "of persistent: time to print {\"ready\":true}; of a plug-in: time for its warm_up()" },
    { FIELD(directory), .kind = CONFIG_KIND_TEXT, .initial = "", .help = "to run in; none: the service's" },
    { FIELD(environment), .kind = CONFIG_KIND_TEXT, .initial = "",
      .help = "NAME=VALUE, blanks between, in quotes where they have blanks; beside these it has PATH and LANG=C.UTF-8" },
    { FIELD(memory_bytes), NUMBER(CONFIG_KIND_BYTES, 0, UINT64_C(1) << 40, "0"),
      .help = "memory that it and all it has started may have resident, each for itself (memory_limit beyond); 0: any" },
    { FIELD(cpu_ms), NUMBER(CONFIG_KIND_MS, 0, 86400000, "0"),
      .help = "CPU time of one job, all that it has started included (cpu_limit beyond); 0: any" },
    { FIELD(network), .kind = CONFIG_KIND_CHOICE, .choices = { "no", "yes" }, .initial = "no",
      .help = "whether it may use the network (IPv4 and IPv6; no Unix sockets)" },
    { FIELD(read), .kind = CONFIG_KIND_TEXT, .initial = "",
      .help = "files and folders that it may read, and run, blanks between; beside the system's, those that the command names and the folder it runs in, unless that is /" },
    { FIELD(write), .kind = CONFIG_KIND_TEXT, .initial = "", .help = "files and folders that it may write, too; if any, it may also change modes and times of all files of its user" },
    { FIELD(open_files), NUMBER(CONFIG_KIND_COUNT, 0, 1000000, "0"), .help = "files it may have open; 0: as the service" },
    { FIELD(processes), NUMBER(CONFIG_KIND_COUNT, 0, 500, "64"),
      .help = "processes that it and all it has started may be (process_limit beyond; 1: it cannot start any); 0: any" },
};
/* clang-format on */
const size_t config_task_option_count = ARRAY_LEN(config_task_options);
_Static_assert(ARRAY_LEN(config_task_options) <= CONFIG_TASK_OPTIONS_MAX, "raise CONFIG_TASK_OPTIONS_MAX");

/* ---- reading */

static struct config_task *find(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->task_count; i++)
        if (strcmp(config->tasks[i].name, name) == 0)
            return &config->tasks[i];
    return NULL;
}

static struct config_task *add(struct config *config, const char *name, unsigned line)
{
    struct config_task *grown = realloc(config->tasks, (config->task_count + 1) * sizeof *grown);
    if (!grown)
        return NULL;
    config->tasks = grown;
    struct config_task *task = &grown[config->task_count++];
    char message[CONFIG_MESSAGE_MAX];
    memset(task, 0, sizeof *task);
    snprintf(task->name, sizeof task->name, "%s", name);
    task->line = line;
    for (size_t i = 0; i < config_task_option_count; i++)
        if (!config_value_set(&config_task_options[i], config_task_options[i].initial, task, message))
            return NULL;
    return task;
}

static bool refuse_key(const char *key, char ret_message[CONFIG_MESSAGE_MAX])
{
    struct nearest_name nearest;
    char candidate[CONFIG_NAME_MAX];
    nearest_name_start(&nearest, key);
    for (size_t i = 0; i < config_task_option_count; i++) {
        config_option_key(&config_task_options[i], candidate);
        nearest_name_offer(&nearest, candidate);
    }
    return config_fail(ret_message, "a task has no %s%s%s%s", key, nearest.name[0] ? "; did you mean " : "",
                       nearest.name, nearest.name[0] ? "?" : "");
}

static bool is_task_name(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return len > 0 && len < CONFIG_TASK_NAME_MAX && name[len] == '\0';
}

const struct config_option *config_task_option_find(const char *key)
{
    char candidate[CONFIG_NAME_MAX];
    for (size_t i = 0; i < config_task_option_count; i++) {
        config_option_key(&config_task_options[i], candidate);
        if (strcmp(candidate, key) == 0)
            return &config_task_options[i];
    }
    return NULL;
}

bool config_tasks_set(struct config *config, const char *name, const char *key, const char *value, unsigned line,
                      char ret_message[CONFIG_MESSAGE_MAX])
{
    if (!is_task_name(name))
        return config_fail(ret_message, "a task's name is 1 to 32 of a-z, 0-9 and _: [task.resize]");
    if (task_find(name) >= 0 && !config_task_is_key_of_builtins(key))
        return config_fail(ret_message,
                           "%s is a built-in task: timeout-ms, priority, max-concurrency, max-payload-bytes, "
                           "max-result-bytes and cpu-ms can be set, %s cannot",
                           name, key);
    struct config_task *task = find(config, name);
    if (task && task->line != line)
        return config_fail(ret_message, "[task.%s] stands in line %u already: a task has one section", name,
                           task->line);
    if (!task)
        task = add(config, name, line);
    if (!task)
        return config_fail(ret_message, "no memory");
    const struct config_option *option = config_task_option_find(key);
    if (!option)
        return refuse_key(key, ret_message);
    char reason[CONFIG_MESSAGE_MAX], joined[CONFIG_TASK_TEXT_MAX];
    bool *is_given = &task->given[option - config_task_options];
    if (*is_given && option->kind == CONFIG_KIND_TEXT) { /* an indented line continues the one above it */
        snprintf(joined, sizeof joined, "%.500s %.500s", (const char *)task + option->offset, value);
        value = joined;
    } else if (*is_given)
        return config_fail(ret_message, "%s was set before", key);
    *is_given = true;
    return config_value_set(option, value, task, reason) || config_fail(ret_message, "%s: %s", key, reason);
}

/* ---- making tasks of them */

static char *variable(const char *name, const char *value)
{
    char *text = NULL;
    return asprintf(&text, "%s=%s", name, value) < 0 ? NULL : text;
}

/* PATH, LANG, then those that were given, which count. */
static char **make_environment(const struct config_task *task)
{
    const char **given = NULL;
    int count = 0;
    if (task->environment[0] && !config_words(task->environment, &count, &given))
        return NULL;
    char **list = calloc((size_t)count + 3, sizeof *list);
    if (!list)
        return NULL;
    size_t used = 0;
    list[used++] = variable("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    list[used++] = variable("LANG", "C.UTF-8");
    for (int i = 0; i < count; i++)
        list[used++] = (char *)(uintptr_t)given[i];
    return list;
}

static size_t add_path(struct sandbox_path *paths, size_t count, const char *path, bool is_writable, bool is_optional)
{
    paths[count] = (struct sandbox_path){
        .path = path, .is_writable = is_writable, .is_executable = !is_writable, .is_optional = is_optional
    };
    return count + 1;
}

/* The lists, what the command names, and where it runs. Relative names are taken there, too. */
static bool make_paths(const struct config_task *task, struct program *program)
{
    const char **read = NULL, **write = NULL;
    int reads = 0, writes = 0;
    size_t argc = 0, count = 0;
    if ((task->read[0] && !config_words(task->read, &reads, &read)) ||
        (task->write[0] && !config_words(task->write, &writes, &write)))
        return false;
    while (program->argv[argc])
        argc++;
    struct sandbox_path *paths = calloc((size_t)reads + (size_t)writes + argc + 1, sizeof *paths);
    if (!paths)
        return false;
    for (int i = 0; i < reads; i++)
        count = add_path(paths, count, read[i], false, false);
    for (int i = 0; i < writes; i++)
        count = add_path(paths, count, write[i], true, false);
    for (size_t i = 0; i < argc; i++)
        if (strchr(program->argv[i], '/'))
            count = add_path(paths, count, program->argv[i], false, true);
    count = add_path(paths, count, ".", false, true);
    program->paths = paths;
    program->path_count = count;
    return true;
}

/* What is made here lives as long as the process. */
static bool make_program(const struct config_task *task, struct program *ret_program)
{
    const char **argv = NULL;
    int argc = 0;
    if (!config_words(task->command, &argc, &argv))
        return false;
    *ret_program = (struct program){
        .mode = (enum program_mode)task->mode,
        .output = (enum program_output)task->output,
        .argv = (char **)(uintptr_t)argv,
        .environment = make_environment(task),
        .directory = task->directory[0] ? task->directory : NULL,
        .start_timeout_ms = task->start_timeout_ms,
        .memory_max = task->memory_bytes,
        .cpu_max_ms = task->cpu_ms,
        .open_files_max = task->open_files,
        .processes_max = task->processes,
        .may_use_network = task->network != 0,
    };
    return ret_program->environment != NULL && make_paths(task, ret_program);
}

/* A program has its own limit of memory. */
static struct worker_limits worker_limits_of(const struct config_task *from, const struct config *config)
{
    return (struct worker_limits){ .workers = from->workers,
                                   .workers_max = from->workers_max > 0 ? from->workers_max : from->workers,
                                   .idle_max_ns = from->idle_ms * NS_PER_MS,
                                   .jobs_max = from->max_jobs,
                                   .growth_max_kib = from->plugin[0] ? config->worker_max_growth_bytes / 1024 : 0,
                                   .age_max_ns = from->max_age_ms * NS_PER_MS,
                                   .start_max_ns = from->start_timeout_ms * NS_PER_MS };
}

static void set_limits(struct task *task, const struct config_task *from)
{
    task->timeout_ms = from->timeout_ms;
    task->priority = (enum task_priority)from->priority;
    task->concurrency_max = from->max_concurrency;
    task->payload_max = from->max_payload_bytes;
    task->result_max = from->max_result_bytes;
    task->cpu_max_ms = from->cpu_ms;
}

/* Of a plug-in, which is loaded. */
static bool make_plugin_task(const struct config_task *from, struct task *task, char ret_message[CONFIG_MESSAGE_MAX])
{
    const struct twinpool_task *plugin;
    char reason[CONFIG_MESSAGE_MAX];
    struct param *params;
    if (!plugin_load(from->plugin, &plugin, reason, sizeof reason))
        return config_fail(ret_message, "[task.%s] plugin %.400s", from->name, reason);
    if (!config_args_read(plugin->args ? plugin->args : "", &params, reason))
        return config_fail(ret_message, "[task.%s] plugin %.150s: %.250s", from->name, from->plugin, reason);
    task->params = params;
    task->plugin = plugin;
    task->run = plugin_run;
    task->takes_payload = (plugin->flags & TWINPOOL_TAKES_PAYLOAD) != 0;
    task->is_idempotent = (plugin->flags & TWINPOOL_IDEMPOTENT) != 0;
    task->polls_cancel = (plugin->flags & TWINPOOL_POLLS_CANCEL) != 0;
    if (!from->description[0] && plugin->description)
        task->description = plugin->description;
    return true;
}

static bool make_program_task(const struct config_task *from, struct program *program, struct task *task,
                              char ret_message[CONFIG_MESSAGE_MAX])
{
    struct param *params;
    if (!config_task_check_files(from, ret_message) || !config_args_read(from->args, &params, ret_message))
        return false;
    if (!make_program(from, program))
        return config_fail(ret_message, "no memory");
    task->params = params;
    task->program = program;
    task->run = program_run;
    task->takes_payload = from->payload != 0;
    task->is_idempotent = from->idempotent != 0;
    return true;
}

bool config_tasks_register(const struct config *config, char ret_message[CONFIG_MESSAGE_MAX])
{
    static struct task tasks[TASKS_MAX];
    static struct program programs[TASKS_MAX];
    for (size_t i = 0; i < config->task_count; i++) {
        const struct config_task *from = &config->tasks[i];
        if (i == TASKS_MAX)
            return config_fail(ret_message, "there are more tasks than %d", TASKS_MAX);
        struct task *task = &tasks[i];
        int builtin = task_find(from->name);
        if (builtin >= 0) {
            *task = *task_table[builtin];
            set_limits(task, from);
            task_replace(task);
            continue;
        }
        *task = (struct task){ .name = from->name,
                               .description = from->description,
                               .group = (unsigned)i + 1,
                               .workers = worker_limits_of(from, config) };
        set_limits(task, from);
        if (!(from->plugin[0] ? make_plugin_task(from, task, ret_message)
                              : make_program_task(from, &programs[i], task, ret_message)))
            return false;
        if (!task_register(task))
            return config_fail(ret_message, "there are more tasks than %d", TASKS_MAX);
    }
    return true;
}

/* ---- telling */

void config_tasks_print(const struct config *config, FILE *out)
{
    char key[CONFIG_NAME_MAX], value[CONFIG_TEXT_MAX];
    for (size_t i = 0; i < config->task_count; i++) {
        fprintf(out, "\n[task.%s]\n", config->tasks[i].name);
        for (size_t n = 0; n < config_task_option_count; n++) {
            if (!config->tasks[i].given[n])
                continue;
            config_option_key(&config_task_options[n], key);
            config_value_text(&config_task_options[n], &config->tasks[i], value);
            fprintf(out, "%s = %s\n", key, value);
        }
    }
}

void config_tasks_print_docs(FILE *out)
{
    char key[CONFIG_NAME_MAX];
    fputs(
        "\n## Tasks of your own\n\n"
        "Each section `[task.NAME]` of the file makes a program a task: `POST /compute/NAME`\n"
        "([programs.md](programs.md)). With the name of a built-in task it sets that task's `timeout-ms`, `priority`,\n"
        "`max-concurrency`, `max-payload-bytes`, `max-result-bytes` and `cpu-ms`. Its keys:\n\n| key | default | "
        "meaning |\n|---|---|---|\n",
        out);
    for (size_t i = 0; i < config_task_option_count; i++) {
        config_option_key(&config_task_options[i], key);
        fprintf(out, "| `%s` | %s%s%s | ", key, config_task_options[i].initial[0] ? "`" : "none",
                config_task_options[i].initial, config_task_options[i].initial[0] ? "`" : "");
        for (const char *c = config_task_options[i].help; *c; c++)
            fprintf(out, *c == '|' ? "\\%c" : "%c", *c);
        fputs(" |\n", out);
    }
}
