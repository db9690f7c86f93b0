/* program: the two ways to drive a user's program. */
#include "pool/program.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/clock.h"
#include "base/json_check.h"
#include "base/json_write.h"
#include "base/log.h"
#include "base/utf8.h"
#include "pool/program_child.h"
#include "pool/running_job.h"

enum {
    ENVELOPE_BYTES = 512, /* of an answer, without its result */
    SHOWN_BYTES = 60,     /* of what a program should not have said */
    READY_MAX_BYTES = 4096,
    RESIDENT_GOOD_MS = 10,
    ENDING_MS = 1000 /* between the end of a program's output and its own */
};

static const char ready_line[] = "{\"ready\":true}";

/* What a program may answer: as an origin's document. */
static const struct json_limits answer_limits = {
    .depth = 64, .members = 8192, .values = SIZE_MAX, .number_length = 4096
};

static struct program_child child; /* a worker has one at a time */
static uint64_t next_id = 1;
static bool must_end;

bool program_must_end(void) { return must_end; }

/* To read it takes as long as a small job. */
static uint64_t resident_kib(void)
{
    static uint64_t kib, read_ns;
    uint64_t now_ns = clock_now_ns();
    if (now_ns >= read_ns + RESIDENT_GOOD_MS * NS_PER_MS) {
        kib = program_child_rss_bytes(&child) / 1024;
        read_ns = now_ns;
    }
    return kib;
}

void program_take_usage(const struct task *task, uint64_t *ret_cpu_ns, uint64_t *ret_rss_kib)
{
    static uint64_t taken_ns;
    bool is_oneshot = task->program->mode == PROGRAM_ONESHOT;
    uint64_t cpu_ns = is_oneshot ? program_child_reaped_cpu_ns(ret_rss_kib) : program_child_cpu_ns(&child);
    if (!is_oneshot)
        *ret_rss_kib = resident_kib();
    *ret_cpu_ns = cpu_ns > taken_ns ? cpu_ns - taken_ns : 0;
    taken_ns = cpu_ns;
}

/* ---- the end of a persistent program is its worker's */

/* `is_idle`: it had begun no job. Then it does not matter how, but that it was not its worker that was killed. */
NORETURN static void end_likewise(const struct task *task, bool is_idle)
{
    char how[64];
    program_child_describe(&child, how, sizeof how);
    log_event(LOG_WARNING, "program_ended", LOG_STR("task", task->name), LOG_INT("pid", child.pid),
              LOG_STR("how", how));
    const char *said = program_last_message();
    char words[TASK_DETAIL_BYTES];
    snprintf(words, sizeof words, "the program ended with %s%s%s", how, said[0] ? ": " : "", said);
    running_job_explain_end(words);
    int wait_status = child.wait_status;
    program_child_end(&child);
    if (WIFSIGNALED(wait_status) && is_idle)
        _exit(128 + WTERMSIG(wait_status)); /* as a shell says it */
    if (WIFSIGNALED(wait_status)) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
        signal(WTERMSIG(wait_status), SIG_DFL);
        kill(getpid(), WTERMSIG(wait_status));
        raise(SIGKILL); /* that signal does not end a process */
    }
    _exit(WEXITSTATUS(wait_status));
}

/* It has said what it must not. The job fails; the program, which may say more, is of no use any more. */
static enum status break_protocol(struct task_output *output, const char *how, const char *line, size_t len)
{
    char shown[SHOWN_BYTES + 1];
    size_t size = len < SHOWN_BYTES ? len : SHOWN_BYTES;
    for (size_t i = 0; i < size; i++)
        shown[i] = line[i] >= ' ' && line[i] < 0x7f ? line[i] : '?';
    shown[size] = '\0';
    must_end = true;
    return task_fail(output, ST_WORKER_PROTOCOL, "the program %s: %s", how, shown);
}

/* A limit of its section's: memory, CPU time or processes. */
static enum status stop_at_limit(const struct task *task, enum status limit, struct task_output *output)
{
    const struct program *program = task->program;
    must_end = true;
    if (limit == ST_MEMORY_LIMIT)
        return task_fail(output, limit, "it had more than %" PRIu64 " bytes resident (memory-bytes of [task.%s])",
                         program->memory_max, task->name);
    if (limit == ST_CPU_LIMIT)
        return task_fail(output, limit, "it took more than %" PRIu64 " ms of CPU time (cpu-ms of [task.%s])",
                         program->cpu_max_ms, task->name);
    return task_fail(output, limit, "it was more than %u processes (processes of [task.%s])", program->processes_max,
                     task->name);
}

/* ---- starting */

/* The end of its output is most often the first sign of its own. */
static enum status await_last_words(const struct task *task, struct program_exchange *exchange)
{
    uint64_t until_ns = clock_now_ns() + ENDING_MS * NS_PER_MS;
    enum status status = ST_OK;
    while (status == ST_OK && !child.has_ended && clock_now_ns() < until_ns)
        status = program_child_wait(&child, task, exchange, ENDING_MS);
    return status == ST_OK ? program_child_wait(&child, task, exchange, 0) : status;
}

/* Waits for its first line. */
static bool await_ready(const struct task *task)
{
    struct buf received = BUF_INIT(READY_MAX_BYTES);
    struct program_exchange exchange = { .received = &received };
    uint64_t until_ns = clock_now_ns() + task->program->start_timeout_ms * NS_PER_MS, now_ns;
    enum status status = ST_OK;
    while (status == ST_OK && !child.has_ended && !exchange.has_output_ended && !received.failed &&
           !(received.len > 0 && memchr(received.data, '\n', received.len)) && (now_ns = clock_now_ns()) < until_ns)
        status = program_child_wait(&child, task, &exchange, (int)((until_ns - now_ns) / NS_PER_MS) + 1);
    bool is_ready = received.len == sizeof ready_line &&
                    memcmp(received.data, ready_line, sizeof ready_line - 1) == 0 &&
                    received.data[received.len - 1] == '\n';
    char how[160] = "it did not print the line {\"ready\":true} in time (start-timeout-ms)";
    if (!is_ready && exchange.has_output_ended)
        status = await_last_words(task, &exchange);
    if (child.has_ended)
        program_child_describe(&child, how, sizeof how);
    else if (exchange.has_output_ended && received.len == 0)
        snprintf(how, sizeof how, "it closed its standard output");
    else if (status != ST_OK)
        snprintf(how, sizeof how, "%s", status_title(status));
    else if (received.len > 0)
        snprintf(how, sizeof how, "its first line is not {\"ready\":true} but %.*s",
                 (int)strnlen(received.data, received.len < SHOWN_BYTES ? received.len : SHOWN_BYTES), received.data);
    if (!is_ready)
        log_event(LOG_ERROR, "program_not_ready", LOG_STR("task", task->name), LOG_STR("how", how),
                  LOG_STR("said", program_last_message()));
    buf_done(&received);
    return is_ready;
}

bool program_open(const struct task *task)
{
    program_child_prepare(task->program);
    if (task->program->mode == PROGRAM_ONESHOT)
        return true;
    if (!program_child_start(&child, task->program, NULL, NULL)) {
        log_event(LOG_ERROR, "program_not_started", LOG_STR("task", task->name),
                  LOG_STR("command", task->program->argv[0]), LOG_STR("error", strerrordesc_np(errno)));
        return false;
    }
    if (!await_ready(task)) {
        program_child_end(&child);
        return false;
    }
    uint64_t cpu_ns, rss_kib;
    program_take_usage(task, &cpu_ns, &rss_kib); /* to start is no job's */
    return true;
}

bool program_is_sound(const struct task *task)
{
    char unwanted[SHOWN_BYTES];
    struct buf received = BUF_INIT(sizeof unwanted);
    struct program_exchange exchange = { .received = &received };
    if (task->program->mode == PROGRAM_ONESHOT)
        return true;
    enum status status = program_child_wait(&child, task, &exchange, 0);
    bool is_sound = status != ST_MEMORY_LIMIT && status != ST_PROCESS_LIMIT && received.len == 0 &&
                    !exchange.has_output_ended && !child.has_ended;
    if (received.len > 0)
        log_event(LOG_ERROR, "program_spoke_unasked", LOG_STR("task", task->name));
    buf_done(&received);
    if (child.has_ended) {
        running_job_take_back();
        end_likewise(task, true);
    }
    must_end = !is_sound;
    return is_sound;
}

/* ---- persistent */

static void write_request(const struct task_input *input, uint64_t id, struct buf *out)
{
    buf_lit(out, "{\"id\":");
    json_uint(out, id);
    buf_lit(out, ",\"args\":");
    task_write_args(input, out);
    if (input->payload) {
        buf_lit(out, ",\"payload_base64\":");
        json_base64(out, input->payload, input->payload_len);
    }
    buf_lit(out, "}\n");
}

static enum status take_error(struct json_slice error, struct task_output *output)
{
    cJSON *text = cJSON_ParseWithLength(error.at, error.len);
    if (cJSON_IsString(text))
        (void)task_fail(output, ST_TASK_FAILED, "%s", text->valuestring);
    else
        (void)task_fail(output, ST_TASK_FAILED, "%.*s",
                        TASK_DETAIL_BYTES < error.len ? TASK_DETAIL_BYTES : (int)error.len, error.at);
    cJSON_Delete(text);
    return ST_TASK_FAILED;
}

static bool take_bytes(struct json_slice text, struct buf *result)
{
    if (text.len < 2 || text.at[0] != '"') /* base64 has nothing that JSON would escape */
        return false;
    unsigned char *bytes = malloc(BASE64_DECODED_MAX(text.len));
    size_t len = 0;
    bool is_sound = bytes && base64_decode(text.at + 1, text.len - 2, bytes, &len);
    if (is_sound)
        buf_append(result, bytes, len);
    free(bytes);
    return is_sound;
}

enum status program_take_answer(const char *line, size_t len, uint64_t id, struct task_output *output)
{
    struct json_error error;
    struct json_slice value, result, bytes;
    int64_t answered = -1;
    if (!json_check(line, len, &answer_limits, &error)) {
        char how[96];
        snprintf(how, sizeof how, "printed a line that is not JSON (%s at byte %zu)", error.message, error.offset);
        return break_protocol(output, how, line, len);
    }
    if (!json_member(line, len, "id", &value) || !json_exact_int64(value, &answered) || answered != (int64_t)id)
        return break_protocol(output, "answered another request than this one", line, len);
    bool has_error = json_member(line, len, "error", &value), has_result = json_member(line, len, "result", &result),
         has_bytes = json_member(line, len, "result_base64", &bytes);
    if (has_error + has_result + has_bytes != 1)
        return break_protocol(output, "printed not just one of result, result_base64 and error", line, len);
    if (has_error)
        return take_error(value, output);
    if (has_result) {
        buf_append(output->result, result.at, result.len);
        return ST_OK;
    }
    output->is_binary = true;
    return take_bytes(bytes, output->result)
               ? ST_OK
               : break_protocol(output, "printed a result_base64 that is none", line, len);
}

/* The program must end, and not because of the job that it was given: that runs elsewhere. */
NORETURN static void give_up(const struct task *task, const char *why)
{
    log_event(LOG_ERROR, "program_unfit", LOG_STR("task", task->name), LOG_STR("why", why));
    program_child_end(&child);
    _exit(EXIT_FAILURE);
}

/* It is of no use any more, after what it did (`detail`) or because it is dead. Returns if the job is to have that for
 * its answer. `is_unread`: it has read nothing of the job, so it was about something before. */
static void look_whose_fault(const struct task *task, bool is_dead, bool is_unread, const char *detail)
{
    if (is_unread)
        running_job_take_back();
    if (is_dead)
        end_likewise(task, is_unread);
    if (is_unread)
        give_up(task, detail);
}

static enum status run_persistent(const struct task_input *input, struct task_output *output)
{
    const struct task *task = input->task;
    size_t result_max = output->result->max;
    struct buf request = BUF_INIT(SIZE_MAX / 2), received = BUF_INIT(result_max / 3 * 4 + ENVELOPE_BYTES);
    uint64_t id = next_id++;
    write_request(input, id, &request);
    if (request.failed) {
        buf_done(&request);
        return ST_NO_MEMORY;
    }
    struct program_exchange exchange = { .to_send = request.data, .to_send_len = request.len, .received = &received };
    enum status status = ST_OK;
    const char *end = NULL;
    program_child_begin_job(&child, task->program);
    program_child_send(&child, &exchange);
    while (status == ST_OK && !end && !received.failed && !exchange.has_output_ended && !child.has_ended) {
        status = program_child_wait(&child, task, &exchange, -1);
        if (child.has_ended && status == ST_OK) /* what it said last; a child of its may hold the pipe for long */
            status = program_child_wait(&child, task, &exchange, 0);
        end = received.len > 0 ? memchr(received.data, '\n', received.len) : NULL;
    }
    if (status == ST_OK && !end && !received.failed && !child.has_ended)
        status = await_last_words(task, &exchange); /* its output has ended */
    if (status != ST_OK) {
        (void)stop_at_limit(task, status, output);
    } else if (end && (size_t)(end - received.data) + 1 < received.len) {
        status = break_protocol(output, "printed more than one line", received.data, received.len);
    } else if (end) {
        status = program_take_answer(received.data, (size_t)(end - received.data), id, output);
    } else if (received.failed) {
        must_end = true;
        status = ST_RESULT_TOO_LARGE;
    } else if (!child.has_ended) {
        must_end = true;
        status = task_fail(output, ST_WORKER_PROTOCOL, "the program closed its standard output");
    }
    bool is_dead = status == ST_OK && !end;
    if (must_end || is_dead) {
        /* CPU time counts from when it was sent */
        bool is_unread = status != ST_CPU_LIMIT && program_child_unread(&child) >= request.len - exchange.to_send_len;
        look_whose_fault(task, is_dead, is_unread, output->detail);
    }
    buf_done(&request);
    buf_done(&received);
    return status;
}

/* ---- oneshot */

/* `{name}` becomes the arg's value; NULL: no memory. */
static char *fill_in(const char *text, const struct task_input *input)
{
    struct buf out = BUF_INIT(SIZE_MAX / 2);
    size_t len;
    while (*text) {
        const char *close = *text == '{' ? strchr(text, '}') : NULL;
        const struct param *param = input->task->params;
        size_t index = 0;
        for (; close && param && param->name; param++, index++)
            if (strlen(param->name) == (size_t)(close - text - 1) &&
                strncmp(param->name, text + 1, (size_t)(close - text - 1)) == 0)
                break;
        if (!close || !param || !param->name) {
            buf_byte(&out, *text++);
            continue;
        }
        task_write_arg_plainly(input, index, &out);
        text = close + 1;
    }
    buf_byte(&out, '\0');
    return out.failed ? NULL : buf_take(&out, &len);
}

static void free_list(char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

static char **fill_in_all(const struct task_input *input)
{
    char *const *argv = input->task->program->argv;
    size_t count = 0;
    while (argv[count])
        count++;
    char **filled = calloc(count + 1, sizeof *filled);
    for (size_t i = 0; filled && i < count; i++) {
        filled[i] = fill_in(argv[i], input);
        if (!filled[i]) {
            free_list(filled);
            return NULL;
        }
    }
    return filled;
}

static enum status judge(const struct task *task, struct task_output *output, const struct buf *received)
{
    char how[64];
    program_child_describe(&child, how, sizeof how);
    const char *said = program_last_message();
    if (received->failed)
        return ST_RESULT_TOO_LARGE;
    if (!WIFEXITED(child.wait_status) || WEXITSTATUS(child.wait_status) != 0)
        return task_fail(output, ST_TASK_FAILED, "%s%s%s", how, said[0] ? ": " : "", said);
    const char *bytes = received->data ? received->data : "";
    size_t len = received->len;
    struct json_error error;
    switch (task->program->output) {
    case PROGRAM_PRINTS_JSON:
        if (!json_check(bytes, received->len, &answer_limits, &error))
            return task_fail(output, ST_WORKER_PROTOCOL, "the program's output is not JSON: %s at byte %zu",
                             error.message, error.offset);
        while (len > 0 && strchr(" \t\r\n", bytes[len - 1]))
            len--;
        json_document(output->result, bytes, len);
        return ST_OK;
    case PROGRAM_PRINTS_TEXT:
        if (utf8_valid(bytes, received->len)) {
            json_string(output->result, bytes, received->len);
            return ST_OK;
        }
        break;
    case PROGRAM_PRINTS_BYTES:
        break;
    }
    output->is_binary = true;
    buf_append(output->result, bytes, received->len);
    return ST_OK;
}

static enum status run_child(const struct task_input *input, char **argv, const struct buf *args,
                             struct task_output *output)
{
    struct buf received = BUF_INIT(output->result->max), text = BUF_INIT(SIZE_MAX / 2);
    buf_lit(&text, "TWINPOOL_ARGS=");
    buf_append(&text, args->data, args->len);
    buf_byte(&text, '\0');
    /* a variable of the environment may not be longer than 128 KiB */
    char *more[] = { args->len < 100 * 1024 ? text.data : NULL, NULL };
    enum status status = ST_OK;
    if (!program_child_start(&child, input->task->program, argv, more)) {
        status = task_fail(output, ST_TASK_FAILED, "%.80s could not be run: %s", argv[0], strerrordesc_np(errno));
    } else {
        struct program_exchange exchange = { .to_send = input->payload ? input->payload : args->data,
                                             .to_send_len = input->payload ? input->payload_len : args->len,
                                             .received = &received };
        while (status == ST_OK && !child.has_ended && !received.failed) {
            if ((exchange.to_send_len == 0 || exchange.is_refused) && child.input >= 0) {
                close(child.input);
                child.input = -1;
            }
            status = program_child_wait(&child, input->task, &exchange, -1);
        }
        program_child_kill(&child);
        exchange.is_idle = false;
        while (status == ST_OK && !received.failed && !exchange.is_idle) /* what is left in the pipes */
            status = program_child_wait(&child, input->task, &exchange, 0);
        program_child_end(&child);
        status = status == ST_OK ? judge(input->task, output, &received) : stop_at_limit(input->task, status, output);
    }
    buf_done(&text);
    buf_done(&received);
    return status;
}

static enum status run_oneshot(const struct task_input *input, struct task_output *output)
{
    struct buf args = BUF_INIT(SIZE_MAX / 2);
    char **argv = fill_in_all(input);
    task_write_args(input, &args);
    enum status status = !argv || args.failed ? ST_NO_MEMORY : run_child(input, argv, &args, output);
    free_list(argv);
    buf_done(&args);
    return status;
}

enum status program_run(const struct task_input *input, struct task_output *output)
{
    return input->task->program->mode == PROGRAM_ONESHOT ? run_oneshot(input, output) : run_persistent(input, output);
}
