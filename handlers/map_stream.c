/* A piece that the call has ready is taken whole and sent item by item; each item's text is copied from where it lies
 * straight to where the service wants it, with its index put in front. When its last item was sent it is given back,
 * which may make room for further items.
 *
 * The answer and the call end independently: the answer when all was sent or the client left (on_release), the call
 * when the pool has given back its last chunk. The call is freed by the later of the two. */
#include "handlers/map_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/handler.h"

struct part {
    const char *at;
    size_t len;
};

enum { PARTS_MAX = 4 };

struct map_stream {
    bool has_begun, is_released, is_summed_up;
    struct map_piece piece; /* being sent; covers 0: none */
    size_t cursor;          /* in its text */
    size_t items;           /* of it that were sent */
    struct part parts[PARTS_MAX];
    unsigned next_part, part_count;
    char index[48];
    char summary[SUMMARY_TEXT_SIZE];
};

/* What stands around results and summary. */
struct frame {
    const char *type;
    const char *before_first, *before_result, *after_result;
    const char *before_summary, *after_summary;
};

static const struct frame *frame_of(const struct map_call *call)
{
    static const struct frame json = { JSON_TYPE, "{\"results\":[", ",", "", "],", "}" };
    static const struct frame ndjson = { NDJSON_TYPE, "", "", "\n", "{\"summary\":{", "}}\n" };
    static const struct frame events = {
        EVENTS_TYPE, "event: result\ndata: ", "event: result\ndata: ", "\n\n", "event: summary\ndata: {\"summary\":{",
        "}}\n\n"
    };
    if (call->options.form == ANSWER_JSON)
        return &json;
    return call->options.form == ANSWER_NDJSON ? &ndjson : &events;
}

static void set_parts(struct map_stream *stream, struct part before, struct part index, struct part text,
                      struct part after)
{
    stream->parts[0] = before;
    stream->parts[1] = index;
    stream->parts[2] = text;
    stream->parts[3] = after;
    stream->next_part = 0;
    stream->part_count = PARTS_MAX;
}

static struct part text_part(const char *text) { return (struct part){ text, strlen(text) }; }

/* The next item's object. A piece with fewer than it should have, or other things than objects, is not what a worker
 * promises. */
static struct json_slice next_object(struct map_call *call)
{
    static const char broken[] = "{\"error\":{\"code\":\"worker_protocol\",\"message\":\"The worker broke the mailbox "
                                 "protocol\"}}";
    static const char poor[] = "{\"error\":{\"code\":\"out_of_memory\",\"message\":\"The service is out of memory\"}}";
    struct map_stream *stream = call->stream;
    struct json_slice object;

    if (!stream->piece.text) {
        object = map_call_unfinished(call);
        return object.len > 0 ? object : (struct json_slice){ .at = poor, .len = sizeof poor - 1 };
    }
    if (json_next_listed(stream->piece.text, stream->piece.len, &stream->cursor, &object) && object.len > 2 &&
        object.at[0] == '{')
        return object;
    stream->cursor = stream->piece.len;
    call->ok -= call->ok > 0;
    return (struct json_slice){ .at = broken, .len = sizeof broken - 1 };
}

static void load_item(struct map_call *call)
{
    const struct frame *frame = frame_of(call);
    struct map_stream *stream = call->stream;
    size_t index = stream->piece.first + stream->items++;
    bool is_first = call->taken == stream->piece.covers && stream->items == 1;
    struct json_slice object = next_object(call);

    int len = snprintf(stream->index, sizeof stream->index, "{\"index\":%zu,", index);
    set_parts(stream, text_part(is_first ? frame->before_first : frame->before_result),
              (struct part){ stream->index, (size_t)len }, (struct part){ object.at + 1, object.len - 1 },
              text_part(frame->after_result));
}

static void load_summary(struct map_call *call)
{
    const struct frame *frame = frame_of(call);
    struct map_stream *stream = call->stream;
    bool is_all = call->item_count == 0; /* then nothing came before it */

    size_t len = map_call_sum_up(call, stream->summary);
    stream->is_summed_up = true;
    set_parts(stream, text_part(is_all && call->options.form == ANSWER_JSON ? frame->before_first : ""),
              text_part(frame->before_summary), (struct part){ stream->summary, len }, text_part(frame->after_summary));
}

/* The next thing to send. False: there is none now. */
static bool load_next(struct map_call *call)
{
    struct map_stream *stream = call->stream;

    if (stream->piece.covers > 0 && stream->items == stream->piece.covers)
        map_call_give_back(call, &stream->piece);
    if (stream->piece.covers == 0) {
        stream->cursor = stream->items = 0;
        if (!map_call_take(call, &stream->piece)) {
            if (!map_call_is_over(call) || stream->is_summed_up)
                return false;
            load_summary(call);
            return true;
        }
    }
    load_item(call);
    return true;
}

static size_t fill(struct map_call *call, char *to, size_t len)
{
    struct map_stream *stream = call->stream;
    size_t filled = 0;

    while (filled < len) {
        if (stream->next_part == stream->part_count && !load_next(call))
            break;
        struct part *part = &stream->parts[stream->next_part];
        size_t bytes = part->len < len - filled ? part->len : len - filled;
        memcpy(to + filled, part->at, bytes);
        filled += bytes;
        part->at += bytes;
        part->len -= bytes;
        if (part->len == 0)
            stream->next_part++;
    }
    return filled;
}

static size_t on_read(void *owner, char *to, size_t len, bool *ret_is_over)
{
    struct map_call *call = owner;
    struct map_stream *stream = call->stream;

    size_t filled = fill(call, to, len);
    map_call_feed(call);
    if (filled == 0) /* the pool may have refused: then the call is over */
        filled = fill(call, to, len);
    *ret_is_over = stream->is_summed_up && stream->next_part == stream->part_count;
    return filled;
}

/* ---- ends */

static void free_if_over(struct map_call *call)
{
    struct map_stream *stream = call->stream;

    if (!stream->is_released || call->lanes_busy > 0)
        return;
    free(stream->piece.text);
    map_call_free(call);
}

static void on_release(void *owner)
{
    struct map_call *call = owner;

    call->stream->is_released = true;
    map_call_cancel(call, ST_CANCELLED); /* a no-op if give_up() did */
    call->x = NULL;
    free_if_over(call);
}

static void on_news(struct map_call *call)
{
    struct map_stream *stream = call->stream;

    if (stream->is_released)
        free_if_over(call);
    else if (stream->has_begun && (map_call_is_over(call) || map_call_has_piece(call)))
        exchange_stream_more(call->x);
    else if (!stream->has_begun && map_call_is_over(call))
        map_stream_begin(call);
}

bool map_stream_prepare(struct map_call *call)
{
    call->stream = calloc(1, sizeof *call->stream);
    call->on_news = on_news;
    return call->stream != NULL;
}

void map_stream_begin(struct map_call *call)
{
    static const struct stream_source source = { .read = on_read, .release = on_release };

    if (!map_options_is_streamed(&call->options) && !map_call_is_over(call))
        return; /* on_news() will */
    call->stream->has_begun = true;
    exchange_stream(call->x, 200, frame_of(call)->type, &source, call);
}
