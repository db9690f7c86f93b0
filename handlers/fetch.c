/* fetch: GET /fetch?url=… and POST /fetch: URLs in, what their origins answered out.
 *
 * One URL is answered with its result itself, or with a problem if no origin answered; a list is always a 200 with one
 * result or error per URL, in the caller's order. The results are JSON texts that the I/O threads wrote; they go out as
 * they are, the list's brackets and commas between them as further pieces.
 *
 * A call that ends early (its deadline, the client's leaving, the service's end) is cancelled in the pool and then
 * answered like any other, with what was finished. */
#include <string.h>

#include "base/clock.h"
#include "base/json_write.h"
#include "handlers/fetch_explain.h"
#include "handlers/fetch_request.h"
#include "handlers/fetch_stream.h"
#include "handlers/handler.h"
#include "handlers/limits.h"
#include "pool/io_pool.h"

enum {
    SLACK_MS = 5000, /* beyond the longest time for one URL, for those that have to queue */
    MEMBERS_EXTRA_BYTES = 128,
    HANDED_OVER_MAX_BYTES = 64 * 1024
};

static const char result_without_memory[] =
    "{\"error\":{\"code\":\"out_of_memory\",\"phase\":\"body\","
    "\"message\":\"the service had no memory for the result\",\"retriable\":true}}";

/* The result object's members from the attempts on are the problem's, too. */
static void answer_failure(struct exchange *x, const struct fetch_item *item)
{
    size_t tail_len = item->json ? item->json_len - item->json_tail - 1 : 0; /* without its brace */
    struct buf members = BUF_INIT(MEMBERS_EXTRA_BYTES + 6 * strlen(item->url) + tail_len);
    buf_lit(&members, "\"phase\":");
    json_text(&members, item->phase);
    buf_lit(&members, ",\"url\":");
    json_text(&members, item->url);
    if (item->budget) {
        buf_byte(&members, ',');
        json_key(&members, "budget");
        json_text(&members, item->budget);
    }
    if (item->json)
        buf_append(&members, item->json + item->json_tail, tail_len);
    buf_byte(&members, '\0');
    x->is_final = !item->is_retriable;
    exchange_problem_with(x, item->status, members.failed ? NULL : members.data, "%s",
                          item->message ? item->message : status_title(item->status));
    buf_done(&members);
}

static void answer_single(struct fetch_request *request)
{
    struct fetch_item *item = &request->call.items[0];
    if (item->status != ST_OK) {
        answer_failure(request->x, item);
    } else if (item->json_len > HANDED_OVER_MAX_BYTES) { /* it is counted until it was sent */
        exchange_answer_segments(request->x, 200, JSON_TYPE,
                                 &(struct segment){ .at = item->json, .len = item->json_len }, 1, fetch_request_free,
                                 request);
        return;
    } else {
        char *json = item->json;
        item->json = NULL; /* the service's now */
        exchange_answer(request->x, 200, JSON_TYPE, json, item->json_len);
    }
    fetch_request_free(request);
}

static struct segment text_segment(const char *text) { return (struct segment){ .at = text, .len = strlen(text) }; }

static void write_tail(struct fetch_request *request)
{
    static const char start[] = "],", end[] = "}";
    size_t at = sizeof start - 1;
    memcpy(request->tail, start, at);
    at += fetch_request_sum_up(request, request->tail + at);
    memcpy(request->tail + at, end, sizeof end);
}

static void answer_list(struct fetch_request *request)
{
    const struct fetch_call *call = &request->call;
    struct segment *segments = arena_alloc(request->arena, 2 * call->count + 1, sizeof *segments);
    if (!segments) {
        exchange_problem(request->x, ST_NO_MEMORY, NULL);
        fetch_request_free(request);
        return;
    }
    size_t count = 0;
    for (size_t i = 0; i < call->count; i++) {
        const struct fetch_item *item = &call->items[i];
        segments[count++] = text_segment(i == 0 ? "{\"results\":[" : ",");
        segments[count++] = item->json ? (struct segment){ .at = item->json, .len = item->json_len }
                                       : text_segment(result_without_memory);
    }
    write_tail(request);
    segments[count++] = text_segment(request->tail);
    exchange_answer_segments(request->x, 200, JSON_TYPE, segments, count, fetch_request_free, request);
}

static void on_done(struct fetch_call *call)
{
    struct fetch_request *request = call->user;
    if (request->is_single)
        answer_single(request);
    else
        answer_list(request);
}

static uint64_t deadline_ns(const struct exchange *x)
{
    uint64_t limit_ms = x->timeout_ms ? x->timeout_ms : (uint64_t)x->app->limits->fetch_timeout_max_ms + SLACK_MS;
    return x->received_ns + limit_ms * NS_PER_MS;
}

static void refuse(struct fetch_request *request, enum status status)
{
    struct exchange *x = request->x;
    fetch_request_free(request);
    if (status == ST_QUEUE_FULL)
        exchange_problem(x, status, "more URLs would wait than --fetch-queue-max allows");
    else
        exchange_problem(x, status, NULL);
}

static void run(struct fetch_request *request)
{
    struct exchange *x = request->x;
    bool is_streamed = (x->accepts == ANSWER_NDJSON || x->accepts == ANSWER_EVENTS) && x->method != HTTP_HEAD;
    request->call.on_done = on_done;
    x->state = request;
    enum status status =
        !is_streamed || fetch_stream_prepare(request) ? io_pool_submit(x->app->io_pool, &request->call) : ST_NO_MEMORY;
    if (status != ST_OK) {
        refuse(request, status);
        return;
    }
    exchange_wait(x, deadline_ns(x));
    if (is_streamed)
        fetch_stream_begin(request);
}

/* False: it has neither; answered. */
static bool wants_explanation(struct exchange *x, bool *ret_wants)
{
    const char *value = exchange_query(x, "explain");
    *ret_wants = value && strcmp(value, "1") == 0;
    if (!value || *ret_wants || strcmp(value, "0") == 0)
        return true;
    exchange_problem(x, ST_INVALID_ARGS, "explain must be 1 or 0");
    return false;
}

static void handle(struct exchange *x)
{
    struct fetch_request *request;
    bool explains;
    if (x->is_fetch) {
        exchange_problem(x, ST_LOOP_DETECTED, "this request was sent by a Twinpool as a fetch (CDN-Loop)");
        return;
    }
    if (!wants_explanation(x, &explains) ||
        !(x->method == HTTP_POST ? fetch_request_from_body(x, &request) : fetch_request_from_query(x, &request)))
        return;
    if (explains) {
        fetch_explain(request);
        fetch_request_free(request);
    } else {
        run(request);
    }
}

static void give_up(struct exchange *x, enum status why)
{
    struct fetch_request *request = x->state;
    io_pool_cancel(x->app->io_pool, &request->call, why);
}

const struct endpoint endpoint_fetch = { .handle = handle, .give_up = give_up };
