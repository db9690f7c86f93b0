/* compute_request: see the header.
 *
 * Everything here runs before the process pool is asked or after it answered; nothing looks at the body, which only the
 * worker parses. What is wrong with the query is told in the same shape as what is wrong with the args: an entry in
 * errors[], with "parameter" to say which one, since a JSON Pointer cannot point into a query string. */
#include "handlers/compute_request.h"

#include <cjson/cJSON.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_write.h"
#include "handlers/limits.h"
#include "tasks/task.h"

enum {
    QUERY_PARAMS_MAX = TASK_PARAMS_MAX + 8, /* bounds the quadratic search for repeated names */
    DETAIL_BYTES = 512,
    MEMBERS_MAX_BYTES = 16 * 1024, /* a parameter's name may be as long as a URL, and six times that when escaped */
    NAME_SHOWN_BYTES = 64
};

bool compute_parse_number(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *ret_number)
{
    uint64_t number = 0;
    const char *digit = text;

    for (; *digit >= '0' && *digit <= '9'; digit++) {
        number = number * 10 + (uint64_t)(*digit - '0');
        if (number > maximum) /* also what keeps it from overflowing: limits are far below 2^60 */
            return false;
    }
    if (digit == text || *digit != '\0' || (text[0] == '0' && text[1] != '\0') || number < minimum)
        return false;
    *ret_number = number;
    return true;
}

void compute_refuse(struct exchange *x, const char *parameter, const char *detail, ...)
{
    char text[DETAIL_BYTES];
    va_list args;
    va_start(args, detail);
    vsnprintf(text, sizeof text, detail, args);
    va_end(args);

    struct buf members = BUF_INIT(MEMBERS_MAX_BYTES);
    buf_lit(&members, "\"errors\":[{\"pointer\":\"\",");
    if (parameter) {
        json_key(&members, "parameter");
        json_text(&members, parameter);
        buf_byte(&members, ',');
    }
    json_key(&members, "detail");
    json_text(&members, text);
    buf_append(&members, "}]", sizeof "}]"); /* with its NUL */
    exchange_problem_with(x, ST_INVALID_ARGS, members.failed ? NULL : members.data, "%.*s %s", NAME_SHOWN_BYTES,
                          parameter ? parameter : "the body", text);
    buf_done(&members);
}

bool compute_refuse_unknown(struct exchange *x, const char *const *known, const char *advice)
{
    for (size_t i = 0; i < x->query_count; i++) {
        const char *const *name = known;
        while (*name && strcmp(*name, x->query[i].name) != 0)
            name++;
        if (!*name) {
            compute_refuse(x, x->query[i].name, "is not a parameter here: %s", advice);
            return true;
        }
    }
    return false;
}

void compute_refuse_submit(struct exchange *x, enum status status, const struct job *job)
{
    if (status == ST_QUARANTINED)
        exchange_problem(x, status,
                         "two workers have died of this very job; it is refused for a while (--quarantine-ms)");
    else if (status == ST_OVERLOADED)
        exchange_problem(x, status, "it would wait for its turn for %.1f s or more, beyond its deadline (timeout_ms)",
                         (double)job->usage.queue_ns / NS_PER_SEC);
    else if (status == ST_QUEUE_FULL)
        exchange_problem(x, status, "as many jobs are waiting as --queue-max and --queue-max-bytes allow");
    else
        exchange_problem(x, status, NULL);
}

static bool check_query(struct exchange *x)
{
    if (x->query_count > QUERY_PARAMS_MAX) {
        compute_refuse(x, x->query[QUERY_PARAMS_MAX].name, "is one too many: at most %d query parameters are read",
                       QUERY_PARAMS_MAX);
        return false;
    }
    for (size_t i = 1; i < x->query_count; i++)
        for (size_t earlier = 0; earlier < i; earlier++)
            if (strcmp(x->query[i].name, x->query[earlier].name) == 0) {
                compute_refuse(x, x->query[i].name, "is given more than once");
                return false;
            }
    return true;
}

static bool read_timeout(struct exchange *x, const struct task *task, uint32_t *ret_timeout_ms)
{
    uint32_t maximum = x->app->limits->compute_timeout_max_ms;
    const char *text = exchange_query(x, "timeout_ms");
    uint32_t usual = task->timeout_ms ? task->timeout_ms : x->app->limits->compute_timeout_ms;
    uint64_t number = x->timeout_ms ? x->timeout_ms : usual < maximum ? usual : maximum;

    if (text && !compute_parse_number(text, 1, maximum, &number)) {
        compute_refuse(x, "timeout_ms", "must be an integer from 1 to %u (--compute-timeout-max-ms)", maximum);
        return false;
    }
    if (text && x->timeout_ms && x->timeout_ms != number) {
        compute_refuse(x, "timeout_ms", "differs from the Request-Timeout-Ms header: send one of the two");
        return false;
    }
    if (number > maximum) {
        compute_refuse(x, "Request-Timeout-Ms", "must be at most %u (--compute-timeout-max-ms)", maximum);
        return false;
    }
    *ret_timeout_ms = (uint32_t)number;
    return true;
}

static bool read_priority(struct exchange *x, const struct task *task, enum task_priority *ret_priority)
{
    static const char *const names[PRIORITY_COUNT] = {
        [PRIORITY_NORMAL] = "normal", [PRIORITY_HIGH] = "high", [PRIORITY_LOW] = "low"
    };
    const char *text = exchange_query(x, "priority");
    *ret_priority = task->priority;
    if (!text)
        return true;
    for (unsigned i = 0; i < PRIORITY_COUNT; i++)
        if (strcmp(text, names[i]) == 0) {
            *ret_priority = (enum task_priority)i;
            return true;
        }
    compute_refuse(x, "priority", "must be \"high\", \"normal\" or \"low\"");
    return false;
}

bool compute_request_read(struct exchange *x, struct compute_request *ret_request)
{
    int task = task_find(x->path_arg);
    if (task < 0) {
        exchange_problem(x, ST_UNKNOWN_TASK, "there is no task \"%.*s\"; GET /tasks lists them all", NAME_SHOWN_BYTES,
                         x->path_arg);
        return false;
    }
    uint32_t timeout_ms;
    enum task_priority priority;
    if (!check_query(x) || !read_timeout(x, task_table[task], &timeout_ms) ||
        !read_priority(x, task_table[task], &priority))
        return false;
    *ret_request = (struct compute_request){
        .task = (unsigned)task,
        .timeout_ms = timeout_ms,
        .deadline_ns = x->received_ns + timeout_ms * NS_PER_MS,
        .priority = priority,
    };
    return true;
}

static void explain_crash(const struct job *job, char *text)
{
    const char *name = job->signal ? sigabbrev_np(job->signal) : NULL;
    int length;

    if (job->detail[0])
        length = snprintf(text, EXPLANATION_BYTES, "%s", job->detail);
    else if (job->signal)
        length = snprintf(text, EXPLANATION_BYTES, "the worker process was ended by signal %d (%s%s)", job->signal,
                          name ? "SIG" : "unknown", name ? name : "");
    else
        length = snprintf(text, EXPLANATION_BYTES, "the worker process exited with status %d", job->exit_status);
    if (job->attempts > 1)
        snprintf(text + length, EXPLANATION_BYTES - (size_t)length, " in the last of %u attempts", job->attempts);
}

static const char *text_member(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text ? text : "";
}

/* The first of the args' problems, from the list that the worker wrote: for callers who show people `detail` only. */
static void explain_args(const struct job *job, char *text)
{
    cJSON *errors = cJSON_ParseWithLength(job->result, job->result_len);
    const cJSON *first = cJSON_GetArrayItem(errors, 0);
    const char *pointer = text_member(first, "pointer"), *detail = text_member(first, "detail");

    if (detail[0])
        snprintf(text, EXPLANATION_BYTES, "%s: %s", pointer[0] ? pointer : "the args", detail);
    else
        text[0] = '\0';
    cJSON_Delete(errors);
}

static void explain_result_limit(const struct job *job, char *text)
{
    const struct task *task = task_table[job->task];
    if (task->result_max > 0)
        snprintf(text, EXPLANATION_BYTES, "the limit is %zu bytes (max-result-bytes of [task.%s])", job->result_max,
                 task->name);
    else
        snprintf(text, EXPLANATION_BYTES, "the limit is %zu bytes (--max-result-bytes)", job->result_max);
}

static void explain_deadline(const struct job *job, uint32_t timeout_ms, char *text)
{
    bool is_known = job->attempts && job->evidence[0];
    snprintf(text, EXPLANATION_BYTES, "the deadline of %u ms passed while the job %s%s%s%s", timeout_ms,
             job->attempts ? "was running; it was stopped" : "waited in the queue; it was never started",
             is_known ? " (" : "", is_known ? job->evidence : "", is_known ? ")" : "");
}

void compute_explain(const struct job *job, uint32_t timeout_ms, char ret_text[static EXPLANATION_BYTES])
{
    if (job->status == ST_WORKER_CRASHED)
        explain_crash(job, ret_text);
    else if (job->detail[0])
        snprintf(ret_text, EXPLANATION_BYTES, "%s", job->detail);
    else if (job->status == ST_DEADLINE_EXCEEDED)
        explain_deadline(job, timeout_ms, ret_text);
    else if (job->status == ST_RESULT_TOO_LARGE)
        explain_result_limit(job, ret_text);
    else if (job->status == ST_MEMORY_LIMIT)
        snprintf(ret_text, EXPLANATION_BYTES, "the limit is --worker-memory-bytes");
    else if (job->status == ST_CPU_LIMIT)
        snprintf(ret_text, EXPLANATION_BYTES, "the limit is %u ms of CPU time (cpu-ms of [task.%s])",
                 task_table[job->task]->cpu_max_ms, task_table[job->task]->name);
    else if ((job->status == ST_INVALID_ARGS || job->status == ST_INVALID_JSON) && job->result_len)
        explain_args(job, ret_text);
    else
        ret_text[0] = '\0';
}

void compute_write_usage(struct buf *out, const struct job_usage *usage)
{
    buf_lit(out, "{\"queue_ms\":");
    json_ms(out, usage->queue_ns);
    buf_lit(out, ",\"wall_ms\":");
    json_ms(out, usage->wall_ns);
    if (usage->max_rss_kib > 0) { /* else the worker did not live to say */
        buf_lit(out, ",\"cpu_ms\":");
        json_ms(out, usage->cpu_ns);
        buf_lit(out, ",\"max_rss_kib\":");
        json_uint(out, usage->max_rss_kib);
    }
    buf_byte(out, '}');
}
