/* compute_map: POST /compute/{task}/map: executor.map over HTTP.
 *
 * map_options.c and map_items.c read what is asked for, map_call.c has it done, and the answer is one of two: results
 * with their index, which map_stream.c sends item by item, or what is here: the pieces in the order of the items, sent
 * as they lie, once no lane is busy any more. What was not finished then gets one and the same error. */
#include <stdlib.h>

#include "base/clock.h"
#include "handlers/handler.h"
#include "handlers/map_call.h"
#include "handlers/map_items.h"
#include "handlers/map_options.h"
#include "handlers/map_stream.h"

/* The answer in the making; it owns the call. */
struct document {
    struct map_call *call;
    size_t count;
    char tail[SUMMARY_TEXT_SIZE];
    struct segment segments[];
};

static void document_free(void *owner)
{
    struct document *document = owner;
    map_call_free(document->call);
    free(document);
}

/* The items from `first` on that one piece covers, or none at all. */
static struct map_piece piece_at(const struct map_call *call, size_t first)
{
    if (first < call->next_item)
        return call->pieces[first];
    return (struct map_piece){ .first = first, .covers = call->item_count - first };
}

/* The unfinished items each have a segment of their own, all with the same text. */
static size_t count_texts(const struct map_call *call)
{
    size_t count = 0;
    for (size_t i = 0; i < call->item_count;) {
        struct map_piece piece = piece_at(call, i);
        count += piece.text ? 1 : piece.covers;
        i += piece.covers;
    }
    return count;
}

static void add_segment(struct document *document, const char *at, size_t len)
{
    document->segments[document->count++] = (struct segment){ .at = at, .len = len };
}

static void fill_document(struct document *document, struct json_slice unfinished)
{
    static const char head[] = "{\"results\":[", comma[] = ",", bracket[] = "],", end[] = "}";
    struct map_call *call = document->call;

    add_segment(document, head, sizeof head - 1);
    for (size_t i = 0; i < call->item_count;) {
        struct map_piece piece = piece_at(call, i);
        for (size_t copies = piece.text ? 1 : piece.covers; copies > 0; copies--) {
            if (document->count > 1)
                add_segment(document, comma, sizeof comma - 1);
            add_segment(document, piece.text ? piece.text : unfinished.at, piece.text ? piece.len : unfinished.len);
        }
        i += piece.covers;
    }
    add_segment(document, bracket, sizeof bracket - 1);
    add_segment(document, document->tail, map_call_sum_up(call, document->tail));
    add_segment(document, end, sizeof end - 1);
}

/* Answers. The call lives on until its last byte was sent. */
static void answer(struct map_call *call)
{
    bool has_unfinished = call->ok + call->failed < call->item_count;
    struct json_slice unfinished = { 0 };
    if (has_unfinished)
        unfinished = map_call_unfinished(call);
    struct document *document = malloc(sizeof *document + (4 + 2 * count_texts(call)) * sizeof *document->segments);
    if (!document || (has_unfinished && unfinished.len == 0)) {
        free(document);
        exchange_problem(call->x, ST_NO_MEMORY, NULL);
        map_call_free(call);
        return;
    }
    document->call = call;
    document->count = 0;
    fill_document(document, unfinished);
    exchange_answer_segments(call->x, 200, JSON_TYPE, document->segments, document->count, document_free, document);
}

static void on_news(struct map_call *call)
{
    if (map_call_is_over(call))
        answer(call);
}

/* The endpoint */

static void refuse(struct map_call *call, enum status status)
{
    compute_refuse_submit(call->x, status, map_call_first_job(call));
    map_call_free(call);
}

static void run(struct map_call *call)
{
    struct exchange *x = call->x;
    bool has_indexes = map_options_is_streamed(&call->options) || call->options.is_by_completion;

    call->on_news = on_news;
    enum status status = !has_indexes || map_stream_prepare(call) ? map_call_start(call) : ST_NO_MEMORY;
    if (status != ST_OK) {
        refuse(call, status);
        return;
    }
    x->state = call;
    if (!map_call_is_over(call))
        exchange_wait(x, call->options.request.deadline_ns);
    if (has_indexes)
        map_stream_begin(call);
    else
        on_news(call);
}

static void handle(struct exchange *x)
{
    struct map_options options;
    struct json_slice *items;
    size_t item_count;

    if (!map_options_read(x, &options) || !map_items_read(x, &items, &item_count))
        return;
    if (!map_options_read_require(x, item_count, &options)) {
        free(items);
        return;
    }
    struct map_call *call = map_call_new(x, &options, items, item_count);
    if (call)
        run(call);
    else
        exchange_problem(x, ST_NO_MEMORY, NULL);
}

static void give_up(struct exchange *x, enum status why)
{
    struct map_call *call = x->state;

    map_call_cancel(call, why);
    if (call->lanes_busy == 0) /* a stream that waits for its reader */
        call->on_news(call);
}

const struct endpoint endpoint_compute_map = { .handle = handle, .give_up = give_up };
