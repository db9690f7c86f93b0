#include "pool/plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/json_check.h"
#include "base/utf8.h"
#include "pool/running_job.h"

enum { ARGS_MAX_BYTES = 64 << 20 };

/* What a plug-in may answer: as a program. */
static const struct json_limits result_limits = {
    .depth = 64, .members = 8192, .values = SIZE_MAX, .number_length = 4096
};

/* ---- loading */

/* What has been loaded, in this process or in those that it was forked from. */
static struct {
    dev_t device;
    ino_t inode;
    struct timespec changed;
} loaded[2 * TASKS_MAX]; /* at start, and once more for the generation that a reload makes */
static size_t loaded_count;

static bool refuse(char *message, size_t size, const char *path, const char *reason)
{
    snprintf(message, size, "%s: %s", path, reason);
    return false;
}

/* False: it is the file that is loaded, and has other contents now. */
static bool note_file(const struct stat *file)
{
    for (size_t i = 0; i < loaded_count; i++)
        if (loaded[i].device == file->st_dev && loaded[i].inode == file->st_ino &&
            (loaded[i].changed.tv_sec != file->st_mtim.tv_sec || loaded[i].changed.tv_nsec != file->st_mtim.tv_nsec))
            return false;
    if (loaded_count < ARRAY_LEN(loaded)) {
        loaded[loaded_count].device = file->st_dev;
        loaded[loaded_count].inode = file->st_ino;
        loaded[loaded_count++].changed = file->st_mtim;
    }
    return true;
}

/* The loader knows objects by their names, and would hand out again what a file of the same name had in it before: so
 * each load has a spelling of its own, with one more "./" than the last. (Without a slash it would look in the system's
 * folders.) NULL: no memory. */
static char *unique_path(const char *path)
{
    char *real = realpath(path, NULL), *unique = NULL, dots[2 * ARRAY_LEN(loaded) + 1] = "";
    const char *name = real != NULL ? strrchr(real, '/') + 1 : NULL;
    for (size_t i = 0; i < loaded_count; i++)
        memcpy(dots + 2 * i, "./", sizeof "./");
    if (real != NULL && asprintf(&unique, "%.*s%s%s", (int)(name - real), real, dots, name) < 0)
        unique = NULL;
    free(real);
    return unique;
}

bool plugin_load(const char *path, const struct twinpool_task **ret_plugin, char *ret_message, size_t size)
{
    struct stat file;
    if (stat(path, &file) != 0)
        return refuse(ret_message, size, path, "there is no such file");
    if (!note_file(&file))
        return refuse(ret_message, size, path,
                      "it was overwritten while it was loaded; restart the service, and replace such a file with mv or "
                      "install");
    char *unique = unique_path(path);
    if (unique == NULL)
        return refuse(ret_message, size, path, "no memory");
    void *object = dlopen(unique, RTLD_NOW | RTLD_LOCAL);
    free(unique);
    if (object == NULL) /* NOLINTNEXTLINE(concurrency-mt-unsafe): there is no other thread */
        return refuse(ret_message, size, "cannot be loaded", dlerror());
    const struct twinpool_task *plugin = dlsym(object, "twinpool_task");
    if (plugin == NULL)
        return refuse(ret_message, size, path, "it does not export twinpool_task (twinpool/task.h)");
    char reason[96];
    snprintf(reason, sizeof reason, "it is made for version %u of twinpool/task.h; this program has %u", plugin->abi,
             TWINPOOL_TASK_ABI);
    if (plugin->abi != TWINPOOL_TASK_ABI)
        return refuse(ret_message, size, path, reason);
    /* an object that is newer has more members than are known here, and none that are needed */
    if (plugin->size < sizeof *plugin)
        return refuse(ret_message, size, path,
                      "its twinpool_task is too small: size must be sizeof(struct twinpool_task)");
    if (plugin->run == NULL)
        return refuse(ret_message, size, path, "its twinpool_task has no run()");
    *ret_plugin = plugin;
    return true;
}

bool plugin_warm_up(const struct twinpool_task *plugin) { return plugin->warm_up == NULL || plugin->warm_up() == 0; }

/* ---- what a job can ask for */

struct call {
    struct twinpool_job job; /* first */
    const struct task_input *input;
    struct task_output *output;
    bool has_failed;
};

static struct call *call_of(struct twinpool_job *job) { return (struct call *)job; }
static const struct call *const_call_of(const struct twinpool_job *job) { return (const struct call *)job; }

/* NULL: it is not declared, or not set. */
static const struct arg *find_arg(const struct twinpool_job *job, const char *name, const struct param **ret_param)
{
    const struct task_input *input = const_call_of(job)->input;
    const struct param *params = input->task->params;
    for (size_t i = 0; params != NULL && params[i].name != NULL; i++)
        if (strcmp(params[i].name, name) == 0 && input->args[i].is_set) {
            *ret_param = &params[i];
            return &input->args[i];
        }
    return NULL;
}

static int get_integer(const struct twinpool_job *job, const char *name, int64_t *ret_value)
{
    const struct param *param;
    const struct arg *arg = find_arg(job, name, &param);
    if (arg == NULL || (param->kind != PARAM_INT && param->kind != PARAM_BOOL))
        return 0;
    *ret_value = arg->number;
    return 1;
}

static const char *get_text(const struct twinpool_job *job, const char *name, size_t *ret_len)
{
    const struct param *param;
    const struct arg *arg = find_arg(job, name, &param);
    if (arg == NULL || param->kind == PARAM_INT || param->kind == PARAM_BOOL)
        return NULL;
    const char *text = param->kind == PARAM_ENUM ? param->choices[arg->number] : arg->text;
    if (ret_len != NULL)
        *ret_len = param->kind == PARAM_ENUM ? strlen(text) : arg->text_len;
    return text;
}

static int append(struct twinpool_job *job, const void *bytes, size_t len)
{
    struct buf *result = call_of(job)->output->result;
    if (len > 0)
        buf_append(result, bytes, len);
    return result->failed ? -1 : 0;
}

static void set_binary(struct twinpool_job *job) { call_of(job)->output->is_binary = true; }

static int fail(struct twinpool_job *job, const char *message)
{
    struct call *call = call_of(job);
    size_t len = strnlen(message, TASK_DETAIL_BYTES - 1);
    call->has_failed = true;
    if (utf8_valid(message, len))
        (void)task_fail(call->output, ST_TASK_FAILED, "%.*s", (int)len, message);
    return -1;
}

static int is_cancelled(const struct twinpool_job *job UNUSED) { return running_job_is_cancelled(); }

static const struct twinpool_calls calls = { .size = sizeof calls,
                                             .get_integer = get_integer,
                                             .get_text = get_text,
                                             .append = append,
                                             .set_binary = set_binary,
                                             .fail = fail,
                                             .is_cancelled = is_cancelled };

/* ---- running */

enum status plugin_run(const struct task_input *input, struct task_output *output)
{
    struct buf args = BUF_INIT(ARGS_MAX_BYTES);
    struct call call = { .input = input, .output = output };
    task_write_args(input, &args);
    buf_byte(&args, '\0');
    if (args.failed) {
        buf_done(&args);
        return ST_NO_MEMORY;
    }
    call.job = (struct twinpool_job){ .size = sizeof call.job,
                                      .args = args.data,
                                      .args_len = args.len - 1,
                                      .payload = input->payload,
                                      .payload_len = input->payload_len,
                                      .calls = &calls };
    int code = input->task->plugin->run(&call.job);
    buf_done(&args);
    if (output->result->failed)
        return ST_RESULT_TOO_LARGE;
    if (code != 0 || call.has_failed)
        return call.has_failed ? ST_TASK_FAILED : task_fail(output, ST_TASK_FAILED, "the plug-in returned %d", code);
    struct json_error error;
    if (!output->is_binary &&
        !json_check(output->result->data ? output->result->data : "", output->result->len, &result_limits, &error))
        return task_fail(output, ST_WORKER_PROTOCOL, "the plug-in's result is not JSON");
    return ST_OK;
}
