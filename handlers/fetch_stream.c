/* fetch_stream: finished items wait in a ring, in the order in which they were done, until the client has taken them;
 * then each is freed. The pool counts what is unread and stops the call's transfers while it is too much.
 *
 * The answer and the call end independently: the answer when all was sent or the client left (on_release), the call
 * when its last item is done (on_done). The request goes with the later of the two. */
#include "handlers/fetch_stream.h"

#include <stdio.h>
#include <string.h>

#include "handlers/handler.h"
#include "pool/io_pool.h"

struct piece {
    const char *at;
    size_t len;
};

enum { PIECES_MAX = 3 };

struct fetch_stream {
    bool is_events;
    bool is_released, is_done, is_summed_up;
    size_t *ring; /* indexes of items that are done, in that order; room for all */
    size_t first, count;
    struct fetch_item *item; /* being sent; NULL: none */
    struct piece pieces[PIECES_MAX];
    unsigned next_piece, piece_count;
    char text[SUMMARY_TEXT_SIZE + 32]; /* the summary, or what stands for a result without memory */
};

static void free_if_over(struct fetch_request *request)
{
    if (request->stream->is_released && request->stream->is_done)
        fetch_request_free(request);
}

/* ---- what is sent */

/* The item's place in the list is all that tells which it is. */
#define NO_MEMORY                                                              \
    "{\"index\":%zu,\"error\":{\"code\":\"out_of_memory\",\"phase\":\"body\"," \
    "\"message\":\"the service had no memory for the result\",\"retriable\":true}}"

static void set_pieces(struct fetch_stream *stream, const char *event, const char *text, size_t len)
{
    const char *before = stream->is_events ? event : "", *after = stream->is_events ? "\n\n" : "\n";
    stream->pieces[0] = (struct piece){ before, strlen(before) };
    stream->pieces[1] = (struct piece){ text, len };
    stream->pieces[2] = (struct piece){ after, strlen(after) };
    stream->next_piece = 0;
    stream->piece_count = PIECES_MAX;
}

static void set_summary(struct fetch_request *request)
{
    struct fetch_stream *stream = request->stream;
    char sums[SUMMARY_TEXT_SIZE];
    int len = (int)fetch_request_sum_up(request, sums);
    snprintf(stream->text, sizeof stream->text, "{\"summary\":{%.*s}}", len, sums);
    stream->is_summed_up = true;
    set_pieces(stream, "event: summary\ndata: ", stream->text, strlen(stream->text));
}

/* The next thing to send. False: there is none now. */
static bool load_next(struct fetch_request *request)
{
    struct fetch_stream *stream = request->stream;
    if (stream->item)
        io_pool_free_result(request->io_pool, &request->call, stream->item);
    stream->item = NULL;
    if (stream->first < stream->count) {
        size_t index = stream->ring[stream->first++];
        stream->item = &request->call.items[index];
        if (!stream->item->json)
            snprintf(stream->text, sizeof stream->text, NO_MEMORY, index);
        const char *text = stream->item->json ? stream->item->json : stream->text;
        set_pieces(stream, "event: result\ndata: ", text, stream->item->json ? stream->item->json_len : strlen(text));
        return true;
    }
    if (!stream->is_done || stream->is_summed_up)
        return false;
    set_summary(request);
    return true;
}

static size_t on_read(void *owner, char *to, size_t len, bool *ret_is_over)
{
    struct fetch_request *request = owner;
    struct fetch_stream *stream = request->stream;
    size_t filled = 0;
    while (filled < len) {
        if (stream->next_piece == stream->piece_count && !load_next(request))
            break;
        struct piece *piece = &stream->pieces[stream->next_piece];
        size_t part = piece->len < len - filled ? piece->len : len - filled;
        memcpy(to + filled, piece->at, part);
        filled += part;
        piece->at += part;
        piece->len -= part;
        if (piece->len == 0)
            stream->next_piece++;
    }
    *ret_is_over = stream->is_summed_up && stream->next_piece == stream->piece_count;
    return filled;
}

/* ---- ends */

static void on_release(void *owner)
{
    struct fetch_request *request = owner;
    request->stream->is_released = true;
    request->x = NULL;
    if (!request->stream->is_done)
        io_pool_cancel(request->io_pool, &request->call, ST_CANCELLED); /* a no-op if give_up() did */
    free_if_over(request);
}

static void on_item(struct fetch_call *call, struct fetch_item *item)
{
    struct fetch_request *request = call->user;
    struct fetch_stream *stream = request->stream;
    if (stream->is_released) {
        io_pool_free_result(request->io_pool, call, item);
        return;
    }
    stream->ring[stream->count++] = (size_t)(item - call->items);
    exchange_stream_more(request->x);
}

static void on_done(struct fetch_call *call)
{
    struct fetch_request *request = call->user;
    request->stream->is_done = true;
    if (!request->stream->is_released)
        exchange_stream_more(request->x);
    free_if_over(request);
}

bool fetch_stream_prepare(struct fetch_request *request)
{
    struct fetch_stream *stream = arena_alloc(request->arena, 1, sizeof *stream);
    size_t *ring = stream ? arena_alloc(request->arena, request->call.count, sizeof *ring) : NULL;
    if (!ring)
        return false;
    stream->ring = ring;
    stream->is_events = request->x->accepts == ANSWER_EVENTS;
    request->stream = stream;
    request->call.on_item = on_item;
    request->call.on_done = on_done;
    return true;
}

void fetch_stream_begin(struct fetch_request *request)
{
    static const struct stream_source source = { .read = on_read, .release = on_release };
    exchange_stream(request->x, 200, request->stream->is_events ? EVENTS_TYPE : NDJSON_TYPE, &source, request);
}
