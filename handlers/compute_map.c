/* compute_map: POST /compute/{task}/map: executor.map over HTTP.
 *
 * The items are handed to the process pool in chunks, each the args of neighbouring items as one JSON array. At most
 * two chunks per worker are in the pool at once, each in a lane; a lane that is done takes the next items. So one big
 * map never fills the queue: only its first chunk has to be admitted, which makes a full queue refuse the call as a
 * whole.
 *
 * A chunk's result is already the text of its items' results, separated by commas. It is kept as it came, as a piece at
 * the index of its first item; the answer is the pieces in order. What no piece covers at the end was not finished, and
 * gets one and the same error.
 *
 * When a chunk fails, its finished items keep their results. If the item it was at is to blame (it crashed its worker,
 * say) that item gets an error and the lane goes on with those behind it. Any other failure ends the call: nothing more
 * is submitted, and it is answered once the pool has given back every lane. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_write.h"
#include "handlers/compute_request.h"
#include "handlers/handler.h"
#include "handlers/limits.h"
#include "handlers/map_items.h"
#include "pool/process_pool.h"
#include "tasks/task.h"

enum {
    /* Of a chunk, unless the caller says: enough chunks to even out unequal items, and args that fit a mailbox slot. */
    CHUNKS_PER_WORKER = 4,
    CHUNK_MAX_BYTES = MAILBOX_INLINE_BYTES / 4 * 3,
    LANES_PER_WORKER = 2, /* one runs, one waits in the mailbox */
    RESULTS_MAX = 8,      /* times --max-result-bytes, for all items together */
    ITEM_ERROR_MAX_BYTES = 2048,
    TAIL_MAX_BYTES = 128
};

/* The text that answers `covers` items. */
struct piece {
    char *text; /* NULL: no piece begins with this item */
    size_t len;
    size_t covers;
};

struct lane {
    struct map_call *call;
    struct job job;
    struct buf args;
    size_t first, count; /* the items that its job computes */
    bool is_busy;        /* the pool has the job */
};

struct map_call {
    struct exchange *x;
    struct compute_request request;
    struct json_slice *items;
    struct piece *pieces; /* item_count of them */
    size_t item_count;
    size_t next_item; /* the first that no lane took yet */
    size_t chunk_items, chunk_max_bytes;
    struct lane *lanes;
    size_t lane_count, lanes_started, lanes_busy;
    enum status ended_by; /* ST_OK while items are still handed out */
    size_t ok;
    size_t piece_count, covered; /* items that a piece covers */
    size_t result_bytes;         /* from the workers */
    struct segment *segments;    /* the answer */
    struct buf unfinished;       /* `{"error":…}` of each item that no piece covers */
    struct buf tail;
};

static void lanes_free(struct map_call *call)
{
    for (size_t i = 0; i < call->lanes_started; i++) {
        job_clear(&call->lanes[i].job);
        buf_done(&call->lanes[i].args);
    }
    free(call->lanes);
    call->lanes = NULL;
    call->lanes_started = 0;
}

static void call_free(void *owner)
{
    struct map_call *call = owner;
    lanes_free(call);
    if (call->pieces)
        for (size_t i = 0; i < call->item_count; i++)
            free(call->pieces[i].text);
    free(call->pieces);
    free(call->items);
    free(call->segments);
    buf_done(&call->unfinished);
    buf_done(&call->tail);
    free(call);
}

static void end_call(struct map_call *call, enum status status)
{
    if (call->ended_by == ST_OK)
        call->ended_by = status;
}

/* Results */

static void keep_piece(struct map_call *call, size_t first, struct piece piece)
{
    call->pieces[first] = piece;
    call->piece_count++;
    call->covered += piece.covers;
}

/* The finished items of a lane's job become a piece; the lane is left with the others. */
static void keep_finished(struct lane *lane)
{
    struct map_call *call = lane->call;
    struct job *job = &lane->job;

    assert(job->items_done <= lane->count);
    if (job->items_done == 0 || !job->result)
        return;
    if (job->result_len > RESULTS_MAX * call->x->app->limits->max_result_bytes - call->result_bytes) {
        end_call(call, ST_RESULT_TOO_LARGE);
        return;
    }
    keep_piece(call, lane->first,
               (struct piece){ .text = job->result, .len = job->result_len, .covers = job->items_done });
    call->result_bytes += job->result_len;
    job->result = NULL; /* the piece's now */
    call->ok += job->items_done - job->items_failed;
    lane->first += job->items_done;
    lane->count -= job->items_done;
}

static void write_item_error(struct buf *out, enum status status, const char *message)
{
    buf_lit(out, "{\"error\":{\"code\":\"");
    buf_str(out, status_code(status));
    buf_lit(out, "\",\"message\":");
    json_text(out, message[0] ? message : status_title(status));
}

/* The item that the lane's failed job was at gets the failure as its result. */
static void blame_item(struct lane *lane)
{
    struct map_call *call = lane->call;
    struct buf error = BUF_INIT(ITEM_ERROR_MAX_BYTES);
    struct piece piece = { .covers = 1 };
    char message[EXPLANATION_BYTES];

    compute_explain(&lane->job, call->request.timeout_ms, message);
    write_item_error(&error, lane->job.status, message);
    if (lane->job.status == ST_WORKER_CRASHED) {
        buf_lit(&error, ",\"signal\":");
        json_int(&error, lane->job.signal);
    }
    buf_lit(&error, "}}");
    if (error.failed) {
        buf_done(&error);
        end_call(call, ST_NO_MEMORY);
        return;
    }
    piece.text = buf_take(&error, &piece.len);
    keep_piece(call, lane->first, piece);
    lane->first++;
    lane->count--;
}

/* True if the job failed because of the item it was at, so that other items may fare better. */
static bool is_fault_of_one_item(enum status status)
{
    return status == ST_WORKER_CRASHED || status == ST_WORKER_PROTOCOL || status == ST_TASK_FAILED ||
           status == ST_MEMORY_LIMIT || status == ST_CPU_LIMIT || status == ST_RESULT_TOO_LARGE;
}

static void keep_results(struct lane *lane)
{
    enum status status = lane->job.status;

    keep_finished(lane);
    if (lane->call->ended_by != ST_OK || lane->count == 0)
        return;
    if (status == ST_OK) /* fewer results than items: not what a chunk promises */
        end_call(lane->call, ST_WORKER_PROTOCOL);
    else if (!is_fault_of_one_item(status))
        end_call(lane->call, status);
    else if (status != ST_RESULT_TOO_LARGE || lane->job.items_done == 0)
        blame_item(lane);
    /* else the results were too large together; the item may fit by itself */
}

/* The answer */

static void write_unfinished(struct map_call *call)
{
    char message[EXPLANATION_BYTES] = "";

    if (call->ended_by == ST_DEADLINE_EXCEEDED)
        snprintf(message, sizeof message, "the deadline of %u ms passed before this item was finished",
                 call->request.timeout_ms);
    else if (call->ended_by == ST_RESULT_TOO_LARGE)
        snprintf(message, sizeof message, "the results of one map may take %d times --max-result-bytes", RESULTS_MAX);
    write_item_error(&call->unfinished, call->ended_by, message);
    buf_lit(&call->unfinished, "}}");
}

static void write_tail(struct map_call *call)
{
    buf_lit(&call->tail, "],\"ok\":");
    json_uint(&call->tail, call->ok);
    buf_lit(&call->tail, ",\"failed\":");
    json_uint(&call->tail, call->item_count - call->ok);
    buf_lit(&call->tail, ",\"elapsed_ms\":");
    json_ms(&call->tail, clock_now_ns() - call->x->received_ns);
    buf_byte(&call->tail, '}');
}

/* The pieces in order, and the error in the place of every item that none covers. */
static size_t fill_segments(struct map_call *call)
{
    static const char head[] = "{\"results\":[";
    struct segment *to = call->segments;

    *to++ = (struct segment){ .at = head, .len = sizeof head - 1 };
    for (size_t i = 0; i < call->item_count;) {
        const struct piece *piece = &call->pieces[i];
        if (i > 0)
            *to++ = (struct segment){ .at = ",", .len = 1 };
        if (piece->text)
            *to++ = (struct segment){ .at = piece->text, .len = piece->len };
        else
            *to++ = (struct segment){ .at = call->unfinished.data, .len = call->unfinished.len };
        i += piece->text ? piece->covers : 1;
    }
    *to++ = (struct segment){ .at = call->tail.data, .len = call->tail.len };
    return (size_t)(to - call->segments);
}

/* No lane is busy any more: answers. The call lives on until its last byte was sent. */
static void finish(struct map_call *call)
{
    size_t unfinished = call->item_count - call->covered;

    assert(unfinished == 0 || call->ended_by != ST_OK);
    lanes_free(call);
    if (unfinished > 0)
        write_unfinished(call);
    write_tail(call);
    call->segments = malloc((2 + 2 * (call->piece_count + unfinished)) * sizeof *call->segments);
    if (!call->segments || call->unfinished.failed || call->tail.failed) {
        exchange_problem(call->x, ST_NO_MEMORY, NULL);
        call_free(call);
        return;
    }
    size_t count = fill_segments(call);
    exchange_answer_segments(call->x, 200, JSON_TYPE, call->segments, count, call_free, call);
}

/* Lanes */

/* The next items for the lane: at least one, and no more than a chunk may have. False: none are left. */
static bool take_items(struct lane *lane)
{
    struct map_call *call = lane->call;
    size_t bytes = sizeof "[]" - 1;

    lane->first = call->next_item;
    lane->count = 0;
    while (call->next_item < call->item_count && lane->count < call->chunk_items) {
        bytes += call->items[call->next_item].len + 1;
        if (bytes > call->chunk_max_bytes && lane->count > 0)
            break;
        lane->count++;
        call->next_item++;
    }
    return lane->count > 0;
}

static void write_args(struct lane *lane)
{
    const struct json_slice *item = &lane->call->items[lane->first];

    buf_clear(&lane->args);
    for (size_t i = 0; i < lane->count; i++) {
        buf_byte(&lane->args, i == 0 ? '[' : ',');
        buf_append(&lane->args, item[i].at, item[i].len);
    }
    buf_byte(&lane->args, ']');
}

static void on_done(struct job *job);

static enum status lane_submit(struct lane *lane, bool is_admitted)
{
    struct map_call *call = lane->call;

    write_args(lane);
    if (lane->args.failed)
        return ST_NO_MEMORY;
    lane->job = (struct job){
        .loop = call->x->loop,
        .task = call->request.task,
        .form = TASK_ARGS_JSON,
        .args = lane->args.data,
        .args_len = lane->args.len,
        .items = (unsigned)lane->count,
        .is_admitted = is_admitted,
        .deadline_ns = call->request.deadline_ns,
        .on_done = on_done,
        .user = lane,
    };
    enum status status = process_pool_submit(call->x->app->process_pool, &lane->job);
    if (status == ST_OK) {
        lane->is_busy = true;
        call->lanes_busy++;
    }
    return status;
}

static void on_done(struct job *job)
{
    struct lane *lane = job->user;
    struct map_call *call = lane->call;

    lane->is_busy = false;
    call->lanes_busy--;
    keep_results(lane);
    job_clear(job);
    if (call->ended_by == ST_OK && (lane->count > 0 || take_items(lane))) {
        enum status status = lane_submit(lane, true);
        if (status != ST_OK)
            end_call(call, status);
    }
    if (call->lanes_busy == 0)
        finish(call);
}

/* Fills the lanes. Not ST_OK: the pool did not even take the first chunk. */
static enum status start(struct map_call *call)
{
    enum status status = ST_OK;

    while (status == ST_OK && call->lanes_started < call->lane_count) {
        struct lane *lane = &call->lanes[call->lanes_started++];
        /* Joined by commas, no items are longer than the body that they came from, but for the brackets around lines.
         */
        *lane = (struct lane){ .call = call, .args = BUF_INIT(call->x->body_len + sizeof "[]") };
        if (!take_items(lane))
            break;
        status = lane_submit(lane, call->lanes_busy > 0);
    }
    if (status != ST_OK && call->lanes_busy > 0) {
        end_call(call, status);
        return ST_OK;
    }
    return status;
}

/* The endpoint */

/* `chunksize` 0: the caller left it to us. Takes over `items`, also if there is no memory: then NULL. */
static struct map_call *call_new(struct exchange *x, const struct compute_request *request, size_t chunksize,
                                 struct json_slice *items, size_t item_count)
{
    struct map_call *call = malloc(sizeof *call);
    if (!call) {
        free(items);
        return NULL;
    }
    size_t lane_count = (size_t)x->app->limits->workers * LANES_PER_WORKER;
    size_t chunks = (size_t)x->app->limits->workers * CHUNKS_PER_WORKER;
    *call = (struct map_call){
        .x = x,
        .request = *request,
        .items = items,
        .pieces = calloc(item_count + 1, sizeof *call->pieces),
        .item_count = item_count,
        .chunk_items = chunksize ? chunksize : item_count / chunks + (item_count % chunks != 0),
        .chunk_max_bytes = chunksize ? SIZE_MAX : CHUNK_MAX_BYTES,
        .lane_count = lane_count < item_count ? lane_count : item_count,
        .unfinished = BUF_INIT(ITEM_ERROR_MAX_BYTES),
        .tail = BUF_INIT(TAIL_MAX_BYTES),
    };
    call->lanes = malloc((call->lane_count + 1) * sizeof *call->lanes);
    if (!call->pieces || !call->lanes) {
        call_free(call);
        return NULL;
    }
    return call;
}

/* 0 if the caller does not say. */
static bool read_chunksize(struct exchange *x, uint64_t *ret_chunksize)
{
    unsigned maximum = x->app->limits->map_max_items;
    const char *text = exchange_query(x, "chunksize");

    *ret_chunksize = 0;
    if (text && !compute_parse_number(text, 1, maximum, ret_chunksize)) {
        compute_refuse(x, "chunksize", "must be an integer from 1 to %u (--map-max-items)", maximum);
        return false;
    }
    return true;
}

static void handle(struct exchange *x)
{
    static const char *const params[] = { "timeout_ms", "chunksize", NULL };
    struct compute_request request;
    uint64_t chunksize;
    struct json_slice *items;
    size_t item_count;

    if (!compute_request_read(x, &request) ||
        compute_refuse_unknown(x, params, "timeout_ms and chunksize are; the items' args are in the body") ||
        !read_chunksize(x, &chunksize) || !map_items_read(x, &items, &item_count))
        return;
    struct map_call *call = call_new(x, &request, (size_t)chunksize, items, item_count);
    if (!call) {
        exchange_problem(x, ST_NO_MEMORY, NULL);
        return;
    }
    enum status status = start(call);
    if (status != ST_OK) {
        compute_refuse_submit(x, status);
        call_free(call);
    } else if (call->lanes_busy == 0) {
        finish(call);
    } else {
        x->state = call;
        exchange_wait(x, request.deadline_ns);
    }
}

static void give_up(struct exchange *x, enum status why)
{
    struct map_call *call = x->state;

    end_call(call, why);
    for (size_t i = 0; i < call->lanes_started; i++)
        if (call->lanes[i].is_busy)
            process_pool_cancel(x->app->process_pool, &call->lanes[i].job, why);
}

const struct endpoint endpoint_compute_map = { .handle = handle, .give_up = give_up };
