/* fetch: GET /fetch?url=… and POST /fetch: URLs in, what their origins answered out.
 *
 * One URL is answered with its result itself, or with a problem if no origin answered; a list is always a 200 with one
 * result or error per URL, in the caller's order. The results are JSON texts that the I/O threads wrote; they go out as
 * they are, the list's brackets and commas between them as further pieces.
 *
 * A call that ends early (its deadline, the client's leaving, the service's end) is cancelled in the pool and then
 * answered like any other, with what was finished. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_write.h"
#include "handlers/fetch_request.h"
#include "handlers/handler.h"
#include "handlers/limits.h"
#include "pool/io_pool.h"

enum {
    SLACK_MS = 5000, /* beyond the longest time for one URL, for those that have to queue */
    MEMBERS_EXTRA_BYTES = 128
};

static const char result_without_memory[] =
    "{\"error\":{\"code\":\"out_of_memory\",\"phase\":\"body\","
    "\"message\":\"the service had no memory for the result\",\"retriable\":true}}";

static void answer_failure(struct exchange *x, const struct fetch_item *item)
{
    struct buf members = BUF_INIT(MEMBERS_EXTRA_BYTES + 6 * strlen(item->url));
    buf_lit(&members, "\"phase\":");
    json_text(&members, item->phase);
    buf_lit(&members, ",\"url\":");
    json_text(&members, item->url);
    buf_byte(&members, '\0');
    exchange_problem_with(x, item->status, members.failed ? NULL : members.data, "%s", item->message);
    buf_done(&members);
}

static void answer_single(struct fetch_request *request)
{
    struct fetch_item *item = &request->call.items[0];
    if (item->status != ST_OK) {
        answer_failure(request->x, item);
    } else {
        char *json = item->json;
        item->json = NULL; /* the service's now */
        exchange_answer(request->x, 200, JSON_TYPE, json, item->json_len);
    }
    fetch_request_free(request);
}

static size_t count_ok(const struct fetch_call *call)
{
    size_t ok = 0;
    for (size_t i = 0; i < call->count; i++)
        ok += call->items[i].status == ST_OK;
    return ok;
}

static struct segment text_segment(const char *text) { return (struct segment){ .at = text, .len = strlen(text) }; }

static void write_tail(struct fetch_request *request)
{
    const struct fetch_call *call = &request->call;
    size_t ok = count_ok(call);
    snprintf(request->tail, sizeof request->tail, "],\"ok\":%zu,\"failed\":%zu,\"elapsed_ms\":%.3f}", ok,
             call->count - ok, clock_ms(clock_now_ns() - call->started_ns));
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

static void handle(struct exchange *x)
{
    struct fetch_request *request;
    bool is_read =
        x->method == HTTP_POST ? fetch_request_from_body(x, &request) : fetch_request_from_query(x, &request);
    if (!is_read)
        return;
    request->call.on_done = on_done;
    x->state = request;
    enum status status = io_pool_submit(x->app->io_pool, &request->call);
    if (status == ST_OK) {
        exchange_wait(x, deadline_ns(x));
        return;
    }
    fetch_request_free(request);
    if (status == ST_QUEUE_FULL)
        exchange_problem(x, status, "more URLs would wait than --fetch-queue-max allows");
    else
        exchange_problem(x, status, NULL);
}

static void give_up(struct exchange *x, enum status why)
{
    struct fetch_request *request = x->state;
    io_pool_cancel(x->app->io_pool, &request->call, why);
}

const struct endpoint endpoint_fetch = { .handle = handle, .give_up = give_up };
