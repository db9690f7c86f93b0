/* map_call: one map under way: its items go to the process pool chunk by chunk, what becomes of them is kept in pieces
 * until whoever writes the answer takes them.
 *
 * A call belongs to its exchange's loop; nothing here locks. Of a stream, no more than `window` items are under way or
 * finished and not yet taken, and nothing is begun while more than --map-stream-bytes of results wait to be taken. */
#ifndef TWINPOOL_HANDLERS_MAP_CALL_H
#define TWINPOOL_HANDLERS_MAP_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/buf.h"
#include "base/json_check.h"
#include "handlers/handler.h"
#include "handlers/map_options.h"
#include "handlers/map_pace.h"
#include "handlers/summary.h"

struct map_lane;   /* handlers/map_call.c: a chunk at a time */
struct map_stream; /* handlers/map_stream.c */

enum { MAP_RESULTS_MAX = 8 /* times --max-result-bytes, for all results of an answer that is not streamed */ };

/* What became of `covers` items from `first` on: `{"result":…}` or `{"error":{…}}` of each, separated by commas. */
struct map_piece {
    char *text; /* malloc()ed; NULL: the items were not finished, map_call_unfinished() says why */
    size_t len;
    size_t first, covers;
};

struct map_call {
    struct exchange *x; /* NULL: its client is gone, or has all */
    struct app *app;
    struct map_options options;
    uint64_t received_ns;
    struct json_slice *items; /* in the body, which stays put as long as x */
    size_t item_count;
    size_t next_item; /* the first that no lane took yet */
    /* What was finished since the last time: a piece, or the whole. May free the call. */
    void (*on_news)(struct map_call *call);
    struct map_stream *stream; /* NULL: the answer has no indexes and is not streamed */

    struct map_pace pace;
    struct job_flow flow; /* of the lanes' jobs */
    struct map_lane *lanes;
    size_t lane_count, lanes_busy;
    bool is_accepted;        /* the pool took a chunk: the others need not be admitted */
    enum status ended_by;    /* ST_OK while items are still handed out */
    const char *end_message; /* why; "": the status says it all */

    struct map_piece *pieces; /* `window` of them; covers 0: free. A piece's place is the index of its first item; with
                                 order=completed the number of pieces before it. Both modulo window. */
    size_t window;            /* items */
    size_t place_in;          /* order=completed: of the next piece to come */
    size_t place_out;         /* of the next piece to be taken */
    size_t taken;             /* items of the pieces that were taken */
    size_t unread_bytes;      /* of pieces that were not given back yet */
    size_t result_bytes;      /* from the workers, all in all */
    size_t ok, failed;
    struct buf unfinished;
};

/* Takes over `items`, also if there is no memory: then NULL. */
struct map_call *map_call_new(struct exchange *x, const struct map_options *options, struct json_slice *items,
                              size_t item_count) NONNULL MUST_CHECK;
/* The call; no lane may be busy. */
void map_call_free(void *owner) NONNULL;

/* Submits what there is room for. Not ST_OK: the pool did not even take the first chunk. */
enum status map_call_start(struct map_call *call) NONNULL MUST_CHECK;
/* The job that was not taken then. */
const struct job *map_call_first_job(const struct map_call *call) NONNULL MUST_CHECK;
/* Items were taken, so there may be room for others. */
void map_call_feed(struct map_call *call) NONNULL;
/* No item is begun any more, and those under way are cancelled; on_news tells when they are given back. */
void map_call_cancel(struct map_call *call, enum status why) NONNULL;

/* Everything that will be known is known: no chunk is under way, none will be. */
bool map_call_is_over(const struct map_call *call) NONNULL;
/* True: map_call_take() would find something. */
bool map_call_has_piece(const struct map_call *call) NONNULL;
/* The next piece, in the order that was asked for; of a call that is over also those items that were never begun. The
 * text is the caller's until map_call_give_back(). False: there is none now. */
bool map_call_take(struct map_call *call, struct map_piece *ret_piece) NONNULL MUST_CHECK;
/* Frees the piece's text. */
void map_call_give_back(struct map_call *call, struct map_piece *piece) NONNULL;

/* `{"error":…}` of each item that was not finished; ask for it only if there is one. Empty: no memory. */
struct json_slice map_call_unfinished(struct map_call *call) NONNULL;
/* summary_write() of the call, which is over. */
size_t map_call_sum_up(const struct map_call *call, char ret_text[static SUMMARY_TEXT_SIZE]) NONNULL;

#endif
