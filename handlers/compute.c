/* compute: GET and POST /compute/{task}: one job on the process pool.
 *
 * Where the args come from: a JSON body is the args, passed on unparsed, since the worker has to check it anyway and a
 * front end that parsed would hold up every other client. Any other body is a binary payload, for tasks that take one,
 * and then, as without a body, the args are the query's parameters, as a JSON object of strings. `timeout_ms` and
 * `priority` are the service's and no task may have them.
 *
 * An exchange waits with one struct compute_call, which embeds the job. Its end always comes through on_done: a result,
 * a failure, or the status that give_up() asked for. */
#include <stdlib.h>
#include <string.h>

#include "base/json_write.h"
#include "handlers/compute_request.h"
#include "handlers/handler.h"
#include "handlers/limits.h"
#include "pool/process_pool.h"
#include "tasks/task.h"

enum {
    QUERY_ARGS_MAX_BYTES = 128 * 1024, /* a whole URL, every byte of it escaped */
    ENVELOPE_BYTES = 256,              /* at most, of an answer without its task's name and result */
    MEMBERS_EXTRA_BYTES = 512
};

struct compute_call {
    struct job job;
    struct exchange *x;
    uint32_t timeout_ms;
    char *query_args; /* what job.args points to if it is not the body */
};

static void call_free(struct compute_call *call)
{
    job_clear(&call->job);
    free(call->query_args);
    free(call);
}

static const struct task *call_task(const struct compute_call *call) { return task_table[call->job.task]; }

/* In: the request */

static const char *const service_params[] = { "timeout_ms", "priority", NULL };

static bool is_service_param(const char *name)
{
    return strcmp(name, service_params[0]) == 0 || strcmp(name, service_params[1]) == 0;
}

static bool take_query_args(struct compute_call *call)
{
    const struct exchange *x = call->x;
    struct buf text = BUF_INIT(QUERY_ARGS_MAX_BYTES);

    for (size_t i = 0; i < x->query_count; i++) {
        const struct query_param *param = &x->query[i];
        if (is_service_param(param->name))
            continue;
        buf_byte(&text, text.len ? ',' : '{');
        json_text(&text, param->name);
        buf_byte(&text, ':');
        json_text(&text, param->value);
    }
    if (text.len)
        buf_byte(&text, '}');
    if (text.failed) {
        buf_done(&text);
        exchange_problem(call->x, ST_NO_MEMORY, NULL);
        return false;
    }
    call->job.form = TASK_ARGS_QUERY;
    call->query_args = buf_take(&text, &call->job.args_len);
    call->job.args = call->query_args ? call->query_args : "";
    return true;
}

static bool take_json_args(struct compute_call *call)
{
    struct exchange *x = call->x;
    if (x->body_len == 0) {
        exchange_problem(x, ST_INVALID_JSON,
                         "the body is empty; the task's args are expected, for example {} if it needs none");
        return false;
    }
    if (compute_refuse_unknown(x, service_params, "with a JSON body, all args are in the body"))
        return false;
    call->job.form = TASK_ARGS_JSON;
    call->job.args = x->body;
    call->job.args_len = x->body_len;
    return true;
}

static bool take_payload(struct compute_call *call)
{
    const struct task *task = call_task(call);
    if (task->payload_max > 0 && call->x->body_len > task->payload_max) {
        exchange_problem(call->x, ST_BODY_TOO_LARGE, "the limit is %zu bytes (max-payload-bytes of [task.%s])",
                         task->payload_max, task->name);
        return false;
    }
    call->job.has_payload = true;
    call->job.payload = call->x->body;
    call->job.payload_len = call->x->body_len;
    return take_query_args(call);
}

/* A task that takes a payload refuses forms only, which is what curl calls any body unless told otherwise. */
static bool refuse_media_type(struct compute_call *call)
{
    const struct task *task = call_task(call);

    if (task->takes_payload)
        exchange_problem(
            call->x, ST_UNSUPPORTED_MEDIA_TYPE,
            "forms are not read; with curl, add -H 'Content-Type: application/octet-stream' if the body is "
            "what %s shall work on, -H 'Content-Type: application/json' if it is its args",
            task->name);
    else if (call->x->media_type == MEDIA_FORM || call->x->media_type == MEDIA_MULTIPART)
        exchange_problem(
            call->x, ST_UNSUPPORTED_MEDIA_TYPE,
            "forms are not read; send the args as JSON (with curl -d, add -H 'Content-Type: application/json')");
    else
        exchange_problem(call->x, ST_UNSUPPORTED_MEDIA_TYPE,
                         "task %s takes no binary payload; send its args as JSON, with Content-Type: application/json",
                         task->name);
    return false;
}

/* Points the job at its args and payload. False: refused, and already answered. */
static bool take_input(struct compute_call *call)
{
    const struct exchange *x = call->x;
    enum media_type type = x->media_type;

    if (x->method != HTTP_POST || (type == MEDIA_NONE && x->body_len == 0))
        return take_query_args(call);
    if (type == MEDIA_JSON)
        return take_json_args(call);
    if (call_task(call)->takes_payload && type != MEDIA_FORM && type != MEDIA_MULTIPART)
        return take_payload(call);
    return refuse_media_type(call);
}

/* Out: the answer */

static void answer_bytes(struct compute_call *call)
{
    struct job *job = &call->job;
    char *bytes = job->result;
    job->result = NULL; /* the service's now */
    exchange_answer(call->x, 200, BYTES_TYPE, bytes, job->result_len);
}

static void answer_result(struct compute_call *call)
{
    const struct job *job = &call->job;
    const char *name = call_task(call)->name;
    size_t result_bytes = job->is_binary ? (job->result_len + 2) / 3 * 4 : job->result_len;
    size_t bound = ENVELOPE_BYTES + strlen(name) + result_bytes;
    struct buf body = BUF_INIT(bound);

    if (!buf_reserve(&body, bound)) { /* so that the answer is one allocation */
        exchange_problem(call->x, ST_NO_MEMORY, NULL);
        return;
    }
    buf_lit(&body, "{\"task\":\"");
    buf_str(&body, name);
    buf_str(&body, job->is_binary ? "\",\"result_base64\":" : "\",\"result\":");
    if (job->is_binary)
        json_base64(&body, job->result, job->result_len);
    else
        buf_append(&body, job->result, job->result_len);
    buf_lit(&body, ",\"usage\":");
    compute_write_usage(&body, &job->usage);
    buf_lit(&body, ",\"attempts\":");
    json_uint(&body, job->attempts);
    buf_byte(&body, '}');
    exchange_answer_buf(call->x, 200, JSON_TYPE, &body);
}

/* The args' problems as the worker found them, or how far the job came. */
static void write_failure_members(struct buf *members, const struct job *job)
{
    if (job->status == ST_INVALID_ARGS || job->status == ST_INVALID_JSON) {
        json_key(members, "errors");
        if (job->result_len)
            buf_append(members, job->result, job->result_len);
        else
            buf_lit(members, "[]");
        return;
    }
    if (job->status == ST_WORKER_CRASHED) {
        json_key(members, "signal");
        json_int(members, job->signal);
        buf_byte(members, ',');
    }
    json_key(members, "attempts");
    json_uint(members, job->attempts);
    buf_byte(members, ',');
    json_key(members, "usage");
    compute_write_usage(members, &job->usage);
}

static void answer_failure(struct compute_call *call)
{
    const struct job *job = &call->job;
    struct buf members = BUF_INIT(job->result_len + MEMBERS_EXTRA_BYTES);
    char text[EXPLANATION_BYTES];

    write_failure_members(&members, job);
    buf_byte(&members, '\0');
    compute_explain(job, call->timeout_ms, text);
    exchange_problem_with(call->x, job->status, members.failed ? NULL : members.data, text[0] ? "%s" : NULL, text);
    buf_done(&members);
}

static void on_done(struct job *job)
{
    struct compute_call *call = job->user;
    if (job->status == ST_OK && job->is_binary && call->x->accepts == ANSWER_BYTES)
        answer_bytes(call);
    else if (job->status == ST_OK)
        answer_result(call);
    else
        answer_failure(call);
    call_free(call);
}

/* The endpoint */

static void handle(struct exchange *x)
{
    struct compute_request request;
    if (!compute_request_read(x, &request))
        return;
    struct compute_call *call = malloc(sizeof *call);
    if (!call) {
        exchange_problem(x, ST_NO_MEMORY, NULL);
        return;
    }
    *call = (struct compute_call){
        .job = { .loop = x->loop,
                 .task = request.task,
                 .deadline_ns = request.deadline_ns,
                 .priority = request.priority,
                 .on_done = on_done,
                 .user = call },
        .x = x,
        .timeout_ms = request.timeout_ms,
    };
    if (!take_input(call)) {
        call_free(call);
        return;
    }
    enum status status = process_pool_submit(x->app->process_pool, &call->job);
    if (status != ST_OK) {
        compute_refuse_submit(x, status, &call->job);
        call_free(call);
        return;
    }
    x->state = call;
    exchange_wait(x, request.deadline_ns);
}

static void give_up(struct exchange *x, enum status why)
{
    struct compute_call *call = x->state;
    process_pool_cancel(x->app->process_pool, &call->job, why);
}

const struct endpoint endpoint_compute = { .handle = handle, .give_up = give_up };
