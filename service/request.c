/* libmicrohttpd calls request_handle() once when the header is complete, again for each piece of the body, a last time
 * when all is there, and once more after each resume. The first call only looks and decides; answering in it would make
 * libmicrohttpd 0.9.75 close the connection, which is wanted in one case alone: a request refused by its header whose
 * body is too long to be read and thrown away, or has not been sent yet (Expect: 100-continue).
 *
 * A request that waits for a pool is suspended: libmicrohttpd neither polls nor times it. Its deadline is a timer of
 * the loop, its client's hang-up comes from connection.c's watch, and whichever ends the wait, the pool's on_done leads
 * to the one answer, which resumes it. */
#include "service/request.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/json_check.h"
#include "base/log.h"
#include "service/response.h"
#include "tasks/task.h"

enum {
    SWALLOW_MAX = 64 * 1024,     /* bytes of a refused request's body that are read, to keep the connection */
    KEEP_BODY_BYTES = 16 * 1024, /* of a spare request's body buffer */
    SPARE_MAX = 256,
    TIMEOUT_DIGITS = 9
};

/* ---- refusing by the header */

static void refuse(struct request *request, enum status status, const char *detail)
{
    if (request->refusal != ST_OK)
        return; /* the first reason stands */
    request->refusal = status;
    snprintf(request->refusal_detail, sizeof request->refusal_detail, "%s", detail);
}

static bool is_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
              c == '.'))
            return false;
    }
    return len > 0;
}

/* The type without its parameters decides; a JSON body must be UTF-8. */
static void set_media_type(struct request *request, const char *value)
{
    static const struct {
        const char *name;
        enum media_type type;
    } known[] = {
        { "application/json", MEDIA_JSON },
        { "application/x-www-form-urlencoded", MEDIA_FORM },
        { "multipart/form-data", MEDIA_MULTIPART },
        { "application/x-ndjson", MEDIA_NDJSON },
        { "text/plain", MEDIA_TEXT },
    };
    struct exchange *x = &request->x;
    size_t len = strcspn(value, "; \t");
    x->content_type = value;
    x->media_type = MEDIA_OTHER;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strlen(known[i].name) == len && strncasecmp(known[i].name, value, len) == 0)
            x->media_type = known[i].type;
    if (x->media_type == MEDIA_OTHER && len > 5 && strncasecmp(value + len - 5, "+json", 5) == 0)
        x->media_type = MEDIA_JSON;
    if (x->media_type != MEDIA_JSON && x->media_type != MEDIA_NDJSON)
        return;
    const char *charset = strcasestr(value + len, "charset=");
    if (charset == NULL)
        return;
    charset += sizeof "charset=" - 1;
    charset += *charset == '"' ? 1 : 0;
    size_t charset_len = strcspn(charset, "\"; \t");
    if (!(charset_len == 5 && strncasecmp(charset, "utf-8", 5) == 0) &&
        !(charset_len == 8 && strncasecmp(charset, "us-ascii", 8) == 0))
        refuse(request, ST_UNSUPPORTED_MEDIA_TYPE, "JSON is UTF-8 (RFC 8259): send no other charset");
}

static void set_timeout(struct request *request, const char *value)
{
    size_t len = strlen(value);
    unsigned long timeout_ms =
        len > 0 && len <= TIMEOUT_DIGITS && strspn(value, "0123456789") == len ? strtoul(value, NULL, 10) : 0;
    if (timeout_ms == 0)
        refuse(request, ST_INVALID_ARGS,
               "Request-Timeout-Ms must be a whole number of milliseconds from 1 to 999999999");
    request->x.timeout_ms = (uint32_t)timeout_ms;
}

/* A page of another site may send requests with the browser of somebody who can reach this service; browsers say so in
 * this field. */
static void check_fetch_site(struct request *request, const char *value)
{
    if (strcasecmp(value, "same-origin") != 0 && strcasecmp(value, "none") != 0)
        refuse(request, ST_CROSS_SITE, "Sec-Fetch-Site says that a page of another site sent this request");
}

/* RFC 9110 section 12.5.1, as far as it matters here: a stream is for those who name it, and not with weight 0. */
static bool names_type(const char *value, const char *type)
{
    size_t type_len = strlen(type), len;
    for (const char *at = value; *at != '\0'; at += len) {
        at += strspn(at, ", \t");
        len = strcspn(at, ",");
        if (len < type_len || strncasecmp(at, type, type_len) != 0 || strchr("; \t,", at[type_len]) == NULL)
            continue;
        const char *weight = strcasestr(at + type_len, "q=");
        if (weight == NULL || weight >= at + len || strtod(weight + 2, NULL) > 0)
            return true;
    }
    return false;
}

static void set_accepts(struct request *request, const char *value)
{
    if (names_type(value, NDJSON_TYPE))
        request->x.accepts = ANSWER_NDJSON;
    else if (names_type(value, EVENTS_TYPE))
        request->x.accepts = ANSWER_EVENTS;
    else if (names_type(value, BYTES_TYPE))
        request->x.accepts = ANSWER_BYTES;
}

/* W3C Trace Context: version 00, two ids that are not all zero, flags; in lower case. */
static bool is_traceparent(const char *value)
{
    static const char form[] = "00-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx";
    if (strlen(value) != sizeof form - 1)
        return false;
    for (size_t i = 0; i < sizeof form - 1; i++)
        if (form[i] == 'x' ? strchr("0123456789abcdef", value[i]) == NULL : form[i] != value[i])
            return false;
    return strspn(value + 3, "0") < 32 && strspn(value + 36, "0") < 16;
}

/* RFC 8586: a list of those who have passed the request on. */
static bool names_twinpool(const char *value)
{
    static const char name[] = "twinpool";
    for (const char *at = value; (at = strcasestr(at, name)) != NULL; at += sizeof name - 1) {
        char before = at == value ? ',' : at[-1], after = at[sizeof name - 1];
        if (strchr(", \t", before) != NULL && strchr(",; \t", after) != NULL)
            return true;
    }
    return false;
}

static enum MHD_Result read_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct request *request = cls;
    (void)kind;
    if (value == NULL)
        value = "";
    switch (strlen(name)) {
    case 6:
        if (strcasecmp(name, "Expect") == 0)
            request->expects_continue = true;
        else if (strcasecmp(name, "Accept") == 0)
            set_accepts(request, value);
        break;
    case 8:
        if (strcasecmp(name, "CDN-Loop") == 0 && names_twinpool(value))
            request->x.is_fetch = true;
        break;
    case 11:
        if (strcasecmp(name, "traceparent") == 0 && is_traceparent(value)) {
            memcpy(request->traceparent, value, strlen(value) + 1);
            request->x.traceparent = request->traceparent;
        }
        break;
    case 12:
        if (strcasecmp(name, "Content-Type") == 0)
            set_media_type(request, value);
        else if (strcasecmp(name, "X-Request-Id") == 0) {
            size_t len = strlen(value);
            if (len <= REQUEST_ID_MAX && is_token(value, len))
                memcpy(request->id, value, len + 1);
        }
        break;
    case 14:
        if (strcasecmp(name, "Content-Length") == 0) {
            request->has_content_length = true;
            request->content_length = strtoull(value, NULL, 10); /* the guard has checked it */
        } else if (strcasecmp(name, "Sec-Fetch-Site") == 0)
            check_fetch_site(request, value);
        break;
    case 17:
        if (strcasecmp(name, "Transfer-Encoding") == 0)
            request->is_chunked = true;
        break;
    case 18:
        if (strcasecmp(name, "Request-Timeout-Ms") == 0)
            set_timeout(request, value);
        break;
    default:
        break;
    }
    return MHD_YES;
}

static enum MHD_Result read_query(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct request *request = cls;
    struct exchange *x = &request->x;
    (void)kind;
    if (value == NULL)
        value = "";
    if (!utf8_valid(name, strlen(name)) || !utf8_valid(value, strlen(value)))
        refuse(request, ST_BAD_REQUEST, "the query string is not UTF-8");
    else if (x->query_count < REQUEST_QUERY_MAX)
        request->query[x->query_count++] = (struct query_param){ name, value };
    else
        refuse(request, ST_URI_TOO_LONG, "too many query parameters");
    return MHD_YES;
}

/* http://host/path -> /path */
static const char *path_of(const char *url)
{
    const char *authority = strstr(url, "://");
    if (url[0] == '/' || authority == NULL)
        return url;
    const char *path = strchr(authority + 3, '/');
    return path != NULL ? path : "/";
}

static void refuse_method(struct request *request)
{
    char allowed[64], detail[96];
    router_allow(request->allowed_methods, allowed, sizeof allowed);
    snprintf(detail, sizeof detail, "this path takes %s", allowed);
    refuse(request, ST_METHOD_NOT_ALLOWED, detail);
}

static void route(struct request *request, const char *url, const char *method)
{
    struct server *server = request->connection->loop->server;
    int known = router_method(method);
    const char *path = path_of(url);
    request->x.method = known >= 0 ? (enum http_method)known : HTTP_GET;
    if (known == HTTP_OPTIONS && strcmp(path, "*") == 0) {
        request->allowed_methods = 1u << HTTP_GET | 1u << HTTP_HEAD | 1u << HTTP_POST | 1u << HTTP_OPTIONS;
        return;
    }
    const struct route *found = router_find(path, request->path_arg, sizeof request->path_arg);
    if (found == NULL) {
        refuse(
            request, ST_NOT_FOUND,
            "there are /fetch, /compute/{task}, /compute/{task}/map, /tasks, /healthz, /readyz, /stats and /metrics");
        return;
    }
    request->allowed_methods = found->methods;
    request->x.path_arg = request->path_arg;
    request->endpoint = found->endpoint;
    request->path = found->path;
    if (known < 0 || (found->methods & 1u << known) == 0)
        refuse_method(request);
    else if (found->is_work && server_lifecycle(server) >= LIFECYCLE_DRAINING)
        refuse(request, ST_DRAINING, "no new work is accepted");
}

static void check_body_size(struct request *request)
{
    size_t max_body_bytes = request->connection->loop->server->config->max_body_bytes;
    bool has_body = request->is_chunked || request->content_length > 0;
    if (request->content_length > max_body_bytes) {
        char detail[120];
        snprintf(detail, sizeof detail, "the limit is %zu bytes (--max-body-bytes)", max_body_bytes);
        refuse(request, ST_BODY_TOO_LARGE, detail);
    } else if (has_body && request->x.method != HTTP_POST && request->refusal == ST_OK) {
        refuse(request, ST_BAD_REQUEST, "this method takes no body here; use POST");
    }
}

/* ---- life */

static struct request *allocate(struct loop *loop)
{
    struct request *request = loop->spare;
    if (request == NULL)
        return calloc(1, sizeof *request);
    loop->spare = request->next;
    loop->spare_count--;
    return request;
}

static void release(struct loop *loop, struct request *request)
{
    if (request->body.cap > KEEP_BODY_BYTES)
        buf_done(&request->body);
    if (loop->spare_count >= SPARE_MAX) {
        buf_done(&request->body);
        free(request);
        return;
    }
    request->next = loop->spare;
    loop->spare = request;
    loop->spare_count++;
}

void requests_free_spare(struct loop *loop)
{
    while (loop->spare != NULL) {
        struct request *request = loop->spare;
        loop->spare = request->next;
        buf_done(&request->body);
        free(request);
    }
    loop->spare_count = 0;
}

static void wait_due(struct timer *timer)
{
    struct request *request = (struct request *)(void *)((char *)timer - offsetof(struct request, timer));
    request_give_up(request, ST_DEADLINE_EXCEEDED);
}

static struct request *begin(struct connection *connection, const char *url, const char *method)
{
    struct loop *loop = connection->loop;
    struct request *request = allocate(loop);
    if (request == NULL)
        return NULL;
    struct buf body = request->body;
    body.max = loop->server->config->max_body_bytes;
    body.failed = false;
    buf_clear(&body);
    memset(request, 0, offsetof(struct request, query));
    request->body = body;
    request->connection = connection;
    request->timer.on_due = wait_due;
    request->x = (struct exchange){ .app = &loop->server->app,
                                    .loop = loop->index,
                                    .path_arg = "",
                                    .query = request->query,
                                    .received_ns = loop->now_ns,
                                    .request_id = request->id };
    connection->request = request;
    server_count(&loop->server->requests);
    server_count(&loop->server->requests_in_flight);
    MHD_get_connection_values(connection->mhd, MHD_HEADER_KIND, read_header, request);
    if (request->id[0] == '\0')
        response_make_id(request->id);
    route(request, url, method);
    MHD_get_connection_values(connection->mhd, MHD_GET_ARGUMENT_KIND, read_query, request);
    check_body_size(request);
    if (connection->guard.requests <= connection->requests_completed)
        refuse(request, ST_INTERNAL, "the request did not pass the framing check");
    return request;
}

static void list_waiting(struct request *request)
{
    struct loop *loop = request->connection->loop;
    if (request->is_listed)
        return;
    request->is_listed = true;
    request->previous = NULL;
    request->next = loop->waiting;
    if (request->next != NULL)
        request->next->previous = request;
    loop->waiting = request;
}

static void stop_waiting(struct request *request)
{
    struct loop *loop = request->connection->loop;
    timers_cancel(&loop->timers, &request->timer);
    if (!request->is_listed)
        return;
    request->is_listed = false;
    if (request->previous != NULL)
        request->previous->next = request->next;
    else
        loop->waiting = request->next;
    if (request->next != NULL)
        request->next->previous = request->previous;
}

static void log_end(const struct request *request)
{
    static struct log_limit limit;
    uint32_t suppressed = 0;
    unsigned http_status = request->phase == REQUEST_SENDING ? request->http_status : 0;
    bool is_our_fault = http_status == 500;
    if (!log_enabled(is_our_fault ? LOG_WARNING : LOG_DEBUG) ||
        (is_our_fault && !log_limit_pass(&limit, 10, &suppressed)))
        return;
    int task = task_find(request->x.path_arg); /* else it is the caller's text */
    log_event(is_our_fault ? LOG_WARNING : LOG_DEBUG, "request", LOG_STR("request_id", request->id),
              LOG_STR("method", router_method_name(request->x.method)),
              LOG_STR("path", request->path != NULL ? request->path : ""),
              LOG_STR("task", task >= 0 ? task_table[task]->name : ""), LOG_INT("status", http_status),
              LOG_STR("code", request->problem != ST_OK ? status_code(request->problem) : ""),
              LOG_MS("ms", clock_ms(clock_now_ns() - request->x.received_ns)), LOG_INT("suppressed", suppressed));
}

/* What is sent to somebody who has left may still look as if it had arrived. */
static bool is_answered(const struct request *request, enum MHD_RequestTerminationCode code)
{
    return request->phase == REQUEST_SENDING && !request->is_abandoned && code == MHD_REQUEST_TERMINATED_COMPLETED_OK;
}

void request_completed(void *cls, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode code)
{
    struct loop *loop = cls;
    struct request *request = *context;
    (void)mhd;
    if (request == NULL)
        return;
    *context = NULL;
    if (request->response != NULL)
        MHD_destroy_response(request->response);
    if (request->stream != NULL) {
        request_give_up(request, ST_CANCELLED);
        stream_end(request->stream);
    }
    stop_waiting(request);
    log_end(request);
    struct server *server = loop->server;
    server_uncount(&server->requests_in_flight);
    atomic_fetch_sub_explicit(&server->body_bytes, request->charged_bytes, memory_order_relaxed);
    if (!request->connection->is_refused) /* that answer was counted when it was written */
        server_count(&server->responses[is_answered(request, code) ? request->http_status / 100 : 0]);
    connection_request_completed(request->connection);
    release(loop, request);
}

/* ---- handling */

static void answer_refusal(struct request *request)
{
    request->phase = REQUEST_HANDLING;
    if (request->refusal == ST_INVALID_ARGS)
        exchange_problem_with(&request->x, request->refusal, "\"errors\":[]", "%s", request->refusal_detail);
    else
        exchange_problem(&request->x, request->refusal, "%s", request->refusal_detail);
}

static void handle(struct request *request)
{
    request->phase = REQUEST_HANDLING;
    request->x.body = request->body.len > 0 ? request->body.data : NULL;
    request->x.body_len = request->body.len;
    if (request->refusal != ST_OK)
        answer_refusal(request);
    else if (request->x.method == HTTP_OPTIONS)
        response_allow(request);
    else
        request->endpoint->handle(&request->x);
}

static enum MHD_Result queue_response(struct request *request)
{
    struct MHD_Response *response = request->response;
    if (response == NULL)
        return MHD_NO;
    request->sending_since_ns = request->connection->loop->now_ns;
    request->phase = REQUEST_SENDING;
    request->response = NULL;
    enum MHD_Result result = MHD_queue_response(request->connection->mhd, request->http_status, response);
    MHD_destroy_response(response);
    return result;
}

static void start_waiting(struct request *request)
{
    request->phase = REQUEST_WAITING;
    list_waiting(request);
    connection_suspend(request->connection);
    if (request->connection->is_hung_up)
        connection_give_up_request(request->connection, false);
}

static void receive_body(struct request *request, const char *bytes, size_t len)
{
    if (request->refusal != ST_OK) { /* swallowed; counted in max, which is of no other use now */
        request->body.max -= len < request->body.max ? len : request->body.max;
        if (request->body.max == 0)
            connection_refuse(request->connection, request->refusal, request->refusal_detail);
        return;
    }
    if (request->has_content_length && request->body.len == 0 &&
        buf_reserve(&request->body, (size_t)request->content_length) == NULL) {
        refuse(request, ST_NO_MEMORY, "no memory for the request body");
        connection_refuse(request->connection, ST_NO_MEMORY, request->refusal_detail);
        return;
    }
    struct server *server = request->connection->loop->server;
    request->charged_bytes += len;
    if (atomic_fetch_add_explicit(&server->body_bytes, len, memory_order_relaxed) + len >
        server->config->max_bodies_bytes) {
        refuse(request, ST_NO_MEMORY, "the bodies of all requests together exceed --max-bodies-bytes");
        connection_refuse(request->connection, ST_NO_MEMORY, request->refusal_detail);
        return;
    }
    buf_append(&request->body, bytes, len);
    if (request->body.failed) {
        refuse(request, ST_BODY_TOO_LARGE, "the limit is --max-body-bytes");
        connection_refuse(request->connection, ST_BODY_TOO_LARGE, request->refusal_detail);
    }
}

enum MHD_Result request_handle(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                               const char *version, const char *upload, size_t *upload_size, void **context)
{
    struct loop *loop = cls;
    struct request *request = *context;
    (void)version;
    if (request == NULL) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        request = begin(info->socket_context, url, method);
        if (request == NULL)
            return MHD_NO;
        *context = request;
        if (request->refusal == ST_OK)
            return MHD_YES;
        if (request->content_length > SWALLOW_MAX || request->expects_continue) {
            answer_refusal(request);
            return queue_response(request);
        }
        request->body.max = SWALLOW_MAX;
        return MHD_YES;
    }
    if (*upload_size > 0) {
        receive_body(request, upload, *upload_size);
        *upload_size = 0;
        return request->connection->is_refused ? MHD_NO : MHD_YES;
    }
    if (request->phase == REQUEST_RECEIVING) {
        request->x.received_ns = loop->now_ns;
        handle(request);
        if (request->phase == REQUEST_HANDLING)
            start_waiting(request);
    }
    return request->phase == REQUEST_ANSWERED ? queue_response(request) : MHD_YES;
}

void request_set_response(struct request *request, unsigned http_status, struct MHD_Response *response)
{
    bool was_waiting = request->phase == REQUEST_WAITING;
    request->http_status = http_status;
    request->response = response;
    request->phase = REQUEST_ANSWERED;
    if (request->stream == NULL) {
        stop_waiting(request);
    } else { /* it has begun, its end is still to come */
        list_waiting(request);
        if (request->connection->is_hung_up)
            connection_give_up_request(request->connection, false);
    }
    if (!was_waiting)
        return;
    connection_resume(request->connection);
}

void request_give_up(struct request *request, enum status why)
{
    bool is_streaming = request->stream != NULL && stream_is_open(request->stream);
    if ((request->phase != REQUEST_WAITING && !is_streaming) || request->has_given_up)
        return;
    request->has_given_up = true;
    request->is_abandoned = why == ST_CANCELLED;
    request->endpoint->give_up(&request->x, why);
}

/* ---- what handlers call */

void exchange_wait(struct exchange *x, uint64_t deadline_ns)
{
    struct request *request = request_of(x);
    if (deadline_ns != CLOCK_NEVER && !timers_set(&request->connection->loop->timers, &request->timer, deadline_ns))
        log_event(LOG_ERROR, "timer_lost",
                  LOG_STR("request_id", request->id)); /* no memory: the pool's own limits remain */
}
