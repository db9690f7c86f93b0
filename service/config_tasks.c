/* config_tasks: a table like that of the options, for each section again; and what makes a task of it.
 *
 * The args of a task are declared in words, with commas between the args:
 *
 *     args = width int 1..4096 required, mode enum fit|fill default fit, title string 0..200, fast bool, more json
 */
#include "service/config_tasks.h"

#include <inttypes.h>
#include <popt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest_name.h"
#include "pool/program.h"
#include "service/config.h"
#include "tasks/task.h"

#define FIELD(name) \
    .field = #name, .offset = offsetof(struct config_task, name), .size = sizeof(((struct config_task *)0)->name)
#define NUMBER(of, low, high, text) .kind = (of), .minimum = (low), .maximum = (high), .initial = (text)

/* clang-format off */
static const struct config_option task_options[] = {
    { FIELD(command), .kind = CONFIG_KIND_TEXT, .initial = "",
      .help = "the program and its arguments, in quotes where they have blanks; no shell. oneshot: {name} stands for that arg" },
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
    { FIELD(max_jobs), NUMBER(CONFIG_KIND_COUNT, 0, 1000000000, "0"),
      .help = "jobs, about, after which a persistent program is started anew; 0: never" },
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
      .help = "of persistent: time to print {\"ready\":true}" },
    { FIELD(directory), .kind = CONFIG_KIND_TEXT, .initial = "", .help = "to run in; none: the service's" },
    { FIELD(environment), .kind = CONFIG_KIND_TEXT, .initial = "",
      .help = "NAME=VALUE, blanks between, in quotes where they have blanks; beside these it has PATH and LANG=C.UTF-8" },
    { FIELD(memory_bytes), NUMBER(CONFIG_KIND_BYTES, 0, UINT64_C(1) << 40, "0"),
      .help = "memory that it may have resident (memory_limit beyond); 0: any" },
    { FIELD(cpu_ms), NUMBER(CONFIG_KIND_MS, 0, 86400000, "0"),
      .help = "CPU time of one job (cpu_limit beyond); 0: any" },
    { FIELD(network), .kind = CONFIG_KIND_CHOICE, .choices = { "no", "yes" }, .initial = "no",
      .help = "whether it may use the network" },
    { FIELD(read), .kind = CONFIG_KIND_TEXT, .initial = "",
      .help = "files and folders that it may read, and run, blanks between; beside the system's, those that the command names and the folder it runs in" },
    { FIELD(write), .kind = CONFIG_KIND_TEXT, .initial = "", .help = "files and folders that it may write, too" },
    { FIELD(open_files), NUMBER(CONFIG_KIND_COUNT, 0, 1000000, "0"), .help = "files it may have open; 0: as the service" },
};
/* clang-format on */
_Static_assert(ARRAY_LEN(task_options) <= CONFIG_TASK_OPTIONS_MAX, "raise CONFIG_TASK_OPTIONS_MAX");

static bool fail(char ret_message[CONFIG_MESSAGE_MAX], const char *format, ...) PRINTF_LIKE(2, 3);

static bool fail(char ret_message[CONFIG_MESSAGE_MAX], const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(ret_message, CONFIG_MESSAGE_MAX, format, values);
    va_end(values);
    return false;
}

/* ---- args */

/* The next word of an arg's declaration; NULL: there is none. */
static char *next_word(char **rest) { return strtok_r(NULL, " \t", rest); }

static bool read_range(const char *word, struct param *param)
{
    char *end;
    long long low = strtoll(word, &end, 10);
    if (end == word || strncmp(end, "..", 2) != 0)
        return false;
    const char *second = end + 2;
    long long high = strtoll(second, &end, 10);
    param->minimum = low;
    param->maximum = high;
    return end != second && *end == '\0' && low <= high;
}

/* One block: the params and what they point to. */
struct param_block {
    struct param params[TASK_PARAMS_MAX + 1]; /* first */
    const char *choices[CONFIG_TASK_TEXT_MAX];
    size_t choice_count;
    char text[CONFIG_TASK_TEXT_MAX];
};

/* A|B|C */
static bool read_choices(char *word, struct param_block *block, struct param *param)
{
    char *rest = NULL;
    param->choices = &block->choices[block->choice_count];
    for (char *choice = strtok_r(word, "|", &rest); choice; choice = strtok_r(NULL, "|", &rest))
        block->choices[block->choice_count++] = choice;
    block->choice_count++; /* the NULL */
    return param->choices[0] != NULL;
}

static bool read_kind(char *word, char **rest, struct param_block *block, struct param *param,
                      char ret_message[CONFIG_MESSAGE_MAX])
{
    static const char *const kinds[] = { [PARAM_INT] = "int",
                                         [PARAM_STRING] = "string",
                                         [PARAM_ENUM] = "enum",
                                         [PARAM_BOOL] = "bool",
                                         [PARAM_JSON] = "json" };
    size_t kind = 0;
    while (kind < ARRAY_LEN(kinds) && strcmp(kinds[kind], word) != 0)
        kind++;
    if (kind == ARRAY_LEN(kinds))
        return fail(ret_message, "args: %s: \"%s\" is not int, string, enum, bool or json", param->name, word);
    param->kind = (enum param_kind)kind;
    param->maximum = 1 << 20;
    if (kind == PARAM_BOOL || kind == PARAM_JSON)
        return true;
    char *limits = next_word(rest);
    if (!limits)
        return fail(ret_message, "args: %s: %s wants %s behind it", param->name, word,
                    kind == PARAM_ENUM ? "its choices, as in fit|fill," : "a range, as in 1..100,");
    if (kind == PARAM_ENUM ? read_choices(limits, block, param) : read_range(limits, param))
        return true;
    return fail(ret_message, "args: %s: \"%s\" is not a range such as 1..100", param->name, limits);
}

static bool is_acceptable_default(const struct param *param)
{
    const char *text = param->default_text;
    if (param->kind == PARAM_BOOL)
        return strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
    if (param->kind == PARAM_ENUM) {
        size_t i = 0;
        while (param->choices[i] && strcmp(param->choices[i], text) != 0)
            i++;
        return param->choices[i] != NULL;
    }
    if (param->kind != PARAM_INT)
        return true;
    char *end;
    long long number = strtoll(text, &end, 10);
    return end != text && *end == '\0' && number >= param->minimum && number <= param->maximum;
}

/* `text` is the block's. */
static bool read_param(char *text, struct param_block *block, struct param *param, char ret_message[CONFIG_MESSAGE_MAX])
{
    char *rest = NULL, *name = strtok_r(text, " \t", &rest), *kind = name ? next_word(&rest) : NULL;
    if (!kind)
        return fail(ret_message, "args: each is a name and int, string, enum, bool or json");
    *param = (struct param){ .name = name, .description = "" };
    if (!read_kind(kind, &rest, block, param, ret_message))
        return false;
    for (char *word; (word = next_word(&rest)) != NULL;) {
        if (strcmp(word, "required") == 0)
            param->required = true;
        else if (strcmp(word, "default") == 0 && (param->default_text = next_word(&rest)) != NULL) {
            if (!is_acceptable_default(param))
                return fail(ret_message, "args: %s: its default is not one of its values", param->name);
        } else
            return fail(ret_message, "args: %s: \"%s\" is neither required nor default VALUE", param->name, word);
    }
    return true;
}

/* *ret_block NULL: any object; else to be freed. */
static bool read_params(const char *text, struct param_block **ret_block, char ret_message[CONFIG_MESSAGE_MAX])
{
    struct param_block *block = calloc(1, sizeof *block);
    char *rest = NULL;
    size_t count = 0;
    bool is_good = block != NULL;
    *ret_block = NULL;
    if (!block)
        return fail(ret_message, "no memory");
    snprintf(block->text, sizeof block->text, "%s", text);
    for (char *part = strtok_r(block->text, ",", &rest); part && is_good; part = strtok_r(NULL, ",", &rest)) {
        if (count == TASK_PARAMS_MAX)
            is_good = fail(ret_message, "args: there are more than %d", TASK_PARAMS_MAX);
        else
            is_good = read_param(part, block, &block->params[count++], ret_message);
    }
    if (is_good && count > 0)
        *ret_block = block;
    else
        free(block);
    return is_good;
}

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
    for (size_t i = 0; i < ARRAY_LEN(task_options); i++)
        if (!config_value_set(&task_options[i], task_options[i].initial, task, message))
            return NULL;
    return task;
}

/* What can be said of a task that comes with the program; all else is what it is. */
static bool is_of_builtins(const char *key)
{
    static const char *const keys[] = { "timeout-ms",        "priority",         "max-concurrency",
                                        "max-payload-bytes", "max-result-bytes", "cpu-ms" };
    size_t i = 0;
    while (i < ARRAY_LEN(keys) && strcmp(keys[i], key) != 0)
        i++;
    return i < ARRAY_LEN(keys);
}

static bool refuse_key(const char *key, char ret_message[CONFIG_MESSAGE_MAX])
{
    struct nearest_name nearest;
    char candidate[CONFIG_NAME_MAX];
    nearest_name_start(&nearest, key);
    for (size_t i = 0; i < ARRAY_LEN(task_options); i++) {
        config_option_key(&task_options[i], candidate);
        nearest_name_offer(&nearest, candidate);
    }
    return fail(ret_message, "a task has no %s%s%s%s", key, nearest.name[0] ? "; did you mean " : "", nearest.name,
                nearest.name[0] ? "?" : "");
}

static bool is_task_name(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return len > 0 && len < CONFIG_TASK_NAME_MAX && name[len] == '\0';
}

bool config_tasks_set(struct config *config, const char *name, const char *key, const char *value, unsigned line,
                      char ret_message[CONFIG_MESSAGE_MAX])
{
    if (!is_task_name(name))
        return fail(ret_message, "a task's name is 1 to 32 of a-z, 0-9 and _: [task.resize]");
    if (task_find(name) >= 0 && !is_of_builtins(key))
        return fail(ret_message,
                    "%s is a built-in task: timeout-ms, priority, max-concurrency, max-payload-bytes, "
                    "max-result-bytes and cpu-ms can be set, %s cannot",
                    name, key);
    struct config_task *task = find(config, name);
    if (!task)
        task = add(config, name, line);
    if (!task)
        return fail(ret_message, "no memory");
    for (size_t i = 0; i < ARRAY_LEN(task_options); i++) {
        char candidate[CONFIG_NAME_MAX], reason[CONFIG_MESSAGE_MAX], joined[CONFIG_TASK_TEXT_MAX];
        const struct config_option *option = &task_options[i];
        config_option_key(option, candidate);
        if (strcmp(candidate, key) != 0)
            continue;
        if (task->given[i] && option->kind == CONFIG_KIND_TEXT) { /* an indented line continues the one above it */
            snprintf(joined, sizeof joined, "%.500s %.500s", (const char *)task + option->offset, value);
            value = joined;
        } else if (task->given[i])
            return fail(ret_message, "%s was set before", key);
        task->given[i] = true;
        return config_value_set(option, value, task, reason) || fail(ret_message, "%s: %s", key, reason);
    }
    return refuse_key(key, ret_message);
}

bool config_tasks_check(const struct config *config, unsigned *ret_line, char ret_message[CONFIG_MESSAGE_MAX])
{
    for (size_t i = 0; i < config->task_count; i++) {
        const struct config_task *task = &config->tasks[i];
        struct param_block *params;
        const char **argv = NULL;
        int argc = 0;
        *ret_line = task->line;
        if (task_find(task->name) >= 0)
            continue;
        if (poptParseArgvString(task->command, &argc, &argv) != 0 || argc == 0)
            return fail(ret_message, "[task.%s] needs a command", task->name);
        free(argv);
        if (task->environment[0] && poptParseArgvString(task->environment, &argc, &argv) != 0)
            return fail(ret_message, "[task.%s] environment cannot be read", task->name);
        free(task->environment[0] ? argv : NULL);
        if (poptParseArgvString(task->read[0] ? task->read : "x", &argc, &argv) != 0)
            return fail(ret_message, "[task.%s] read cannot be read", task->name);
        free(argv);
        if (poptParseArgvString(task->write[0] ? task->write : "x", &argc, &argv) != 0)
            return fail(ret_message, "[task.%s] write cannot be read", task->name);
        free(argv);
        if (!read_params(task->args, &params, ret_message))
            return false;
        free(params);
    }
    return true;
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
    if (task->environment[0] && poptParseArgvString(task->environment, &count, &given) != 0)
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
    if ((task->read[0] && poptParseArgvString(task->read, &reads, &read) != 0) ||
        (task->write[0] && poptParseArgvString(task->write, &writes, &write) != 0))
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
    if (poptParseArgvString(task->command, &argc, &argv) != 0)
        return false;
    *ret_program = (struct program){
        .mode = (enum program_mode)task->mode,
        .output = (enum program_output)task->output,
        .argv = (char **)(uintptr_t)argv,
        .environment = make_environment(task),
        .directory = task->directory[0] ? task->directory : NULL,
        .workers = task->workers,
        .jobs_max = task->max_jobs,
        .start_timeout_ms = task->start_timeout_ms,
        .memory_max = task->memory_bytes,
        .cpu_max_ms = task->cpu_ms,
        .open_files_max = task->open_files,
        .may_use_network = task->network != 0,
    };
    return ret_program->environment != NULL && make_paths(task, ret_program);
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

bool config_tasks_register(const struct config *config)
{
    static struct task tasks[TASKS_MAX];
    static struct program programs[TASKS_MAX];
    for (size_t i = 0; i < config->task_count; i++) {
        const struct config_task *from = &config->tasks[i];
        char message[CONFIG_MESSAGE_MAX];
        struct param_block *params;
        int builtin = task_find(from->name);
        if (builtin >= 0) {
            tasks[i] = *task_table[builtin];
            set_limits(&tasks[i], from);
            task_replace(&tasks[i]);
            continue;
        }
        if (i == TASKS_MAX || !make_program(from, &programs[i]) || !read_params(from->args, &params, message))
            return false;
        tasks[i] = (struct task){ .name = from->name,
                                  .description = from->description,
                                  .params = params ? params->params : NULL,
                                  .takes_payload = from->payload != 0,
                                  .is_idempotent = from->idempotent != 0,
                                  .group = (unsigned)i + 1,
                                  .program = &programs[i],
                                  .run = program_run };
        set_limits(&tasks[i], from);
        if (!task_register(&tasks[i]))
            return false;
    }
    return true;
}

/* ---- telling */

void config_tasks_print(const struct config *config, FILE *out)
{
    char key[CONFIG_NAME_MAX], value[CONFIG_TEXT_MAX];
    for (size_t i = 0; i < config->task_count; i++) {
        fprintf(out, "\n[task.%s]\n", config->tasks[i].name);
        for (size_t n = 0; n < ARRAY_LEN(task_options); n++) {
            if (!config->tasks[i].given[n])
                continue;
            config_option_key(&task_options[n], key);
            config_value_text(&task_options[n], &config->tasks[i], value);
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
    for (size_t i = 0; i < ARRAY_LEN(task_options); i++) {
        config_option_key(&task_options[i], key);
        fprintf(out, "| `%s` | %s%s%s | ", key, task_options[i].initial[0] ? "`" : "none", task_options[i].initial,
                task_options[i].initial[0] ? "`" : "");
        for (const char *c = task_options[i].help; *c; c++)
            fprintf(out, *c == '|' ? "\\%c" : "%c", *c);
        fputs(" |\n", out);
    }
}
