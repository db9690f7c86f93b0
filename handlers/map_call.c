/* The items are handed to the process pool in chunks, each the args of neighbouring items as one JSON array. At most
 * two chunks per worker are in the pool at once, each in a lane; a lane that is done takes the next items. So one big
 * map never fills the queue: only its first chunk has to be admitted, which makes a full queue refuse the call as a
 * whole.
 *
 * A chunk's result is already the text of its items' results, separated by commas. It is kept as it came, as a piece.
 *
 * When a chunk fails, its finished items keep their results. If the item it was at is to blame (it crashed its worker,
 * say) that item gets an error and the lane goes on with those behind it; so it does if no item is to blame, and the
 * worker only had to end between two. Any other failure ends the call: nothing more is submitted, what is left in a
 * lane becomes a piece without text, and what was never taken is left where it is.
 *
 * The same happens when a quorum is met or out of reach. Chunks that are under way then get a moment to finish: most
 * take no longer, and to cancel one costs its worker. */
#include "handlers/map_call.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_write.h"
#include "handlers/limits.h"
#include "pool/process_pool.h"

enum {
    CHUNK_MAX_BYTES = MAILBOX_INLINE_BYTES / 4 * 3, /* of args, unless the caller says: they fit a mailbox slot */
    LANES_PER_WORKER = 2,                           /* one runs, one waits in the mailbox */
    WINDOW_PER_LANE = 2048,                         /* items, unless the caller says */
    QUORUM_GRACE_MS = 5,
    ITEM_ERROR_MAX_BYTES = 2048
};

struct map_lane {
    struct map_call *call;
    struct job job;
    struct buf args;
    size_t first, count; /* the items that its job computes */
    bool is_busy;        /* the pool has the job */
};

static void end_call(struct map_call *call, enum status status, const char *message)
{
    if (call->ended_by != ST_OK)
        return;
    call->ended_by = status;
    call->end_message = message;
}

/* ---- pieces */

static struct map_piece *piece_at(const struct map_call *call, size_t place)
{
    return &call->pieces[place % call->window];
}

static void keep_piece(struct map_call *call, struct map_piece piece)
{
    struct map_piece *kept = piece_at(call, call->options.is_by_completion ? call->place_in++ : piece.first);

    assert(kept->covers == 0);
    *kept = piece;
    call->unread_bytes += piece.len;
}

static bool is_rest_known(const struct map_call *call)
{
    return map_call_is_over(call) && call->taken == call->next_item && call->next_item < call->item_count;
}

bool map_call_has_piece(const struct map_call *call)
{
    return piece_at(call, call->place_out)->covers > 0 || is_rest_known(call);
}

bool map_call_take(struct map_call *call, struct map_piece *ret_piece)
{
    struct map_piece *piece = piece_at(call, call->place_out);

    if (piece->covers > 0) {
        *ret_piece = *piece;
        *piece = (struct map_piece){ 0 };
        call->place_out += call->options.is_by_completion ? 1 : ret_piece->covers;
    } else if (is_rest_known(call)) {
        *ret_piece = (struct map_piece){ .first = call->next_item, .covers = call->item_count - call->next_item };
        call->next_item = call->item_count;
    } else {
        return false;
    }
    call->taken += ret_piece->covers;
    return true;
}

void map_call_give_back(struct map_call *call, struct map_piece *piece)
{
    free(piece->text);
    call->unread_bytes -= piece->len;
    *piece = (struct map_piece){ 0 };
}

/* ---- what becomes of items */

/* Between tokens, where JSON allows it, a line break would end a line or an event of a stream too early; inside a
 * string there is none. */
static void remove_line_breaks(char *text, size_t len)
{
    for (char *at = text; (at = memchr(at, '\n', len - (size_t)(at - text))) != NULL;)
        *at = ' ';
    for (char *at = text; (at = memchr(at, '\r', len - (size_t)(at - text))) != NULL;)
        *at = ' ';
}

/* The finished items of a lane's job become a piece; the lane is left with the others. */
static void keep_finished(struct map_lane *lane)
{
    struct map_call *call = lane->call;
    struct job *job = &lane->job;

    assert(job->items_done <= lane->count);
    if (job->items_done == 0 || !job->result)
        return;
    if (!map_options_is_streamed(&call->options) &&
        job->result_len > MAP_RESULTS_MAX * call->app->limits->max_result_bytes - call->result_bytes) {
        end_call(call, ST_RESULT_TOO_LARGE, "");
        return;
    }
    if (call->stream)
        remove_line_breaks(job->result, job->result_len);
    map_pace_note(&call->pace, job->usage.wall_ns, job->result_len, job->items_done);
    keep_piece(call,
               (struct map_piece){
                   .text = job->result, .len = job->result_len, .first = lane->first, .covers = job->items_done });
    call->result_bytes += job->result_len;
    job->result = NULL; /* the piece's now */
    call->ok += job->items_done - job->items_failed;
    call->failed += job->items_failed;
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
static void blame_item(struct map_lane *lane)
{
    struct map_call *call = lane->call;
    struct buf error = BUF_INIT(ITEM_ERROR_MAX_BYTES);
    struct map_piece piece = { .first = lane->first, .covers = 1 };
    char message[EXPLANATION_BYTES];

    compute_explain(&lane->job, call->options.request.timeout_ms, message);
    write_item_error(&error, lane->job.status, message);
    if (lane->job.status == ST_WORKER_CRASHED) {
        buf_lit(&error, ",\"signal\":");
        json_int(&error, lane->job.signal);
    }
    buf_lit(&error, "}}");
    if (error.failed) {
        buf_done(&error);
        end_call(call, ST_NO_MEMORY, "");
        return;
    }
    piece.text = buf_take(&error, &piece.len);
    keep_piece(call, piece);
    call->failed++;
    lane->first++;
    lane->count--;
}

/* True if the job failed because of the item it was at, so that other items may fare better. */
static bool is_fault_of_one_item(enum status status)
{
    return status == ST_WORKER_CRASHED || status == ST_WORKER_PROTOCOL || status == ST_TASK_FAILED ||
           status == ST_MEMORY_LIMIT || status == ST_CPU_LIMIT || status == ST_PROCESS_LIMIT ||
           status == ST_RESULT_TOO_LARGE;
}

static void keep_results(struct map_lane *lane)
{
    enum status status = lane->job.status;

    keep_finished(lane);
    if (lane->call->ended_by != ST_OK || lane->count == 0)
        return;
    if (status == ST_OK) /* its worker had to end after some of the items: the lane goes on with the others */
        return;
    if (!is_fault_of_one_item(status))
        end_call(lane->call, status, "");
    else if (status != ST_RESULT_TOO_LARGE || lane->job.items_done == 0)
        blame_item(lane);
    /* else the results were too large together; the item may fit by itself */
}

static void look_at_quorum(struct map_call *call)
{
    size_t required = call->options.required;

    if (!call->options.has_quorum || call->ended_by != ST_OK)
        return;
    if (call->ok >= required)
        end_call(call, ST_CANCELLED, "not needed any more: enough others have succeeded (require)");
    else if (call->item_count - call->failed < required)
        end_call(call, ST_CANCELLED, "of no use any more: too many others have failed (require)");
    else
        return;
    if (call->lanes_busy > 0) { /* give_up() then cancels what is under way */
        uint64_t grace_ns = clock_now_ns() + QUORUM_GRACE_MS * NS_PER_MS;
        uint64_t deadline_ns = call->options.request.deadline_ns;
        exchange_wait(call->x, grace_ns < deadline_ns ? grace_ns : deadline_ns);
    }
}

/* ---- lanes */

/* A user's task has workers of its own. */
static unsigned workers_of(const struct app *app, const struct map_options *options)
{
    const struct task *task = task_table[options->request.task];
    return task->group > 0 ? task->workers.workers_max : app->limits->workers;
}

static size_t chunk_items(const struct map_call *call)
{
    if (call->options.chunksize > 0)
        return call->options.chunksize;
    size_t items = map_pace_chunk(&call->pace, call->item_count, workers_of(call->app, &call->options));
    if (!map_options_is_streamed(&call->options))
        return items;
    /* A stream's chunks leave room for each other: as many that wait to be read as there are under way. */
    size_t share = call->window / (2 * call->lane_count);
    if (call->pace.item_bytes > 0 &&
        share > call->app->limits->map_stream_bytes / call->pace.item_bytes / call->lane_count)
        share = call->app->limits->map_stream_bytes / call->pace.item_bytes / call->lane_count;
    return items < share ? items : share + (share == 0);
}

/* How many items may be taken now: a whole chunk or nothing. Nothing waits for ever: when all is read, there is room.
 */
static size_t items_with_room(const struct map_call *call)
{
    size_t items = chunk_items(call), left = call->item_count - call->next_item;

    if (items > left)
        items = left;
    if (items > call->window)
        items = call->window;
    if (map_options_is_streamed(&call->options) && (call->window - (call->next_item - call->taken) < items ||
                                                    call->unread_bytes >= call->app->limits->map_stream_bytes))
        return 0;
    return items;
}

/* The next items for the lane: at least one, and no more than a chunk may have. False: none are left, or there is no
 * room. */
static bool take_items(struct map_lane *lane)
{
    struct map_call *call = lane->call;
    size_t most = items_with_room(call), bytes = sizeof "[]" - 1;
    size_t most_bytes = call->options.chunksize > 0 ? SIZE_MAX : CHUNK_MAX_BYTES;

    lane->first = call->next_item;
    while (lane->count < most) {
        bytes += call->items[call->next_item].len + 1;
        if (bytes > most_bytes && lane->count > 0)
            break;
        lane->count++;
        call->next_item++;
    }
    return lane->count > 0;
}

static void write_args(struct map_lane *lane)
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

static enum status submit(struct map_lane *lane)
{
    struct map_call *call = lane->call;

    write_args(lane);
    if (lane->args.failed)
        return ST_NO_MEMORY;
    lane->job = (struct job){
        .loop = call->x->loop,
        .task = call->options.request.task,
        .form = TASK_ARGS_JSON,
        .args = lane->args.data,
        .args_len = lane->args.len,
        .items = (unsigned)lane->count,
        .priority = call->options.request.priority,
        .flow = &call->flow,
        .is_admitted = call->is_accepted,
        .deadline_ns = call->options.request.deadline_ns,
        .on_done = on_done,
        .user = lane,
    };
    enum status status = process_pool_submit(call->app->process_pool, &lane->job);
    if (status == ST_OK) {
        lane->is_busy = call->is_accepted = true;
        call->lanes_busy++;
    }
    return status;
}

/* Submits what the lane has left, or the next items. False: there is nothing for it to do now. */
static bool feed_lane(struct map_lane *lane)
{
    struct map_call *call = lane->call;

    if (call->ended_by == ST_OK && (lane->count > 0 || take_items(lane))) {
        enum status status = submit(lane);
        if (status != ST_OK)
            end_call(call, status, "");
    }
    if (!lane->is_busy && lane->count > 0) {
        keep_piece(call, (struct map_piece){ .first = lane->first, .covers = lane->count });
        lane->count = 0;
    }
    return lane->is_busy;
}

static void on_done(struct job *job)
{
    struct map_lane *lane = job->user;
    struct map_call *call = lane->call;

    lane->is_busy = false;
    call->lanes_busy--;
    keep_results(lane);
    job_clear(job);
    look_at_quorum(call);
    (void)feed_lane(lane);
    call->on_news(call);
}

void map_call_feed(struct map_call *call)
{
    for (size_t i = 0; i < call->lane_count && call->lanes_busy < call->lane_count; i++)
        if (!call->lanes[i].is_busy && !feed_lane(&call->lanes[i]))
            return;
}

enum status map_call_start(struct map_call *call)
{
    look_at_quorum(call); /* of an empty map */
    map_call_feed(call);
    return call->is_accepted || call->item_count == 0 ? ST_OK : call->ended_by;
}

const struct job *map_call_first_job(const struct map_call *call) { return &call->lanes[0].job; }

void map_call_cancel(struct map_call *call, enum status why)
{
    end_call(call, why, "");
    if (call->ended_by == ST_CANCELLED)
        why = ST_CANCELLED; /* the quorum's grace is over, not the deadline */
    for (size_t i = 0; i < call->lane_count; i++)
        if (call->lanes[i].is_busy)
            process_pool_cancel(call->app->process_pool, &call->lanes[i].job, why);
}

bool map_call_is_over(const struct map_call *call)
{
    return call->lanes_busy == 0 && (call->ended_by != ST_OK || call->next_item == call->item_count);
}

/* ---- what is said in the end */

struct json_slice map_call_unfinished(struct map_call *call)
{
    struct buf *out = &call->unfinished;

    assert(call->ended_by != ST_OK);
    if (out->len == 0) {
        char message[EXPLANATION_BYTES] = "";
        if (call->ended_by == ST_DEADLINE_EXCEEDED)
            snprintf(message, sizeof message, "the deadline of %u ms passed before this item was finished",
                     call->options.request.timeout_ms);
        else if (call->ended_by == ST_RESULT_TOO_LARGE)
            snprintf(message, sizeof message, "the results of one map may take %d times --max-result-bytes",
                     MAP_RESULTS_MAX);
        else
            snprintf(message, sizeof message, "%s", call->end_message);
        write_item_error(out, call->ended_by, message);
        buf_lit(out, "}}");
    }
    return (struct json_slice){ .at = out->data, .len = out->failed ? 0 : out->len };
}

size_t map_call_sum_up(const struct map_call *call, char ret_text[static SUMMARY_TEXT_SIZE])
{
    return summary_write(&(struct summary){ .count = call->item_count,
                                            .ok = call->ok,
                                            .has_quorum = call->options.has_quorum,
                                            .required = call->options.required,
                                            .succeeded = call->ok,
                                            .started_ns = call->received_ns },
                         ret_text);
}

/* ---- life */

struct map_call *map_call_new(struct exchange *x, const struct map_options *options, struct json_slice *items,
                              size_t item_count)
{
    struct map_call *call = malloc(sizeof *call);
    if (!call) {
        free(items);
        return NULL;
    }
    size_t lane_count = (size_t)workers_of(x->app, options) * LANES_PER_WORKER;
    size_t window = options->buffersize ? options->buffersize : lane_count * WINDOW_PER_LANE;
    if (!map_options_is_streamed(options) || window > item_count)
        window = item_count;
    *call = (struct map_call){
        .x = x,
        .app = x->app,
        .options = *options,
        .received_ns = x->received_ns,
        .items = items,
        .item_count = item_count,
        .pace = { .item_ns = process_pool_get_run_ns(x->app->process_pool, options->request.task) },
        .lane_count = lane_count < item_count ? lane_count : item_count,
        .end_message = "",
        .window = window + (window == 0),
        .unfinished = BUF_INIT(ITEM_ERROR_MAX_BYTES),
    };
    call->pieces = calloc(call->window, sizeof *call->pieces);
    call->lanes = calloc(call->lane_count + 1, sizeof *call->lanes);
    if (!call->pieces || !call->lanes) {
        map_call_free(call);
        return NULL;
    }
    /* Joined by commas, no items are longer than the body that they came from, but for the brackets around lines. */
    for (size_t i = 0; i < call->lane_count; i++)
        call->lanes[i] = (struct map_lane){ .call = call, .args = BUF_INIT(x->body_len + sizeof "[]") };
    return call;
}

void map_call_free(void *owner)
{
    struct map_call *call = owner;

    for (size_t i = 0; call->lanes && i < call->lane_count; i++)
        buf_done(&call->lanes[i].args);
    free(call->lanes);
    for (size_t i = 0; call->pieces && i < call->window && i < call->next_item; i++)
        free(call->pieces[i].text);
    free(call->pieces);
    free(call->items);
    free(call->stream);
    buf_done(&call->unfinished);
    free(call);
}
