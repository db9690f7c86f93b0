/* fetch_request: what a caller asks of /fetch, from JSON or the query string to a call for the I/O pool. */
#ifndef TWINPOOL_HANDLERS_FETCH_REQUEST_H
#define TWINPOOL_HANDLERS_FETCH_REQUEST_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/attrs.h"
#include "handlers/handler.h"
#include "handlers/summary.h"
#include "pool/fetch_call.h"

struct cJSON;
struct fetch_stream; /* handlers/fetch_stream.c */

struct fetch_request {
    struct exchange *x;
    struct fetch_call call; /* its user is this request */
    bool is_single;         /* {"url": …}: answered with the result itself */
    struct arena *arena;    /* holds this struct, too */
    struct io_pool *io_pool;
    struct cJSON *tree; /* the parsed body, whose strings the items use; NULL for GET */
    char traceparent[sizeof "traceparent: " + 56];
    /* of the answer: fetch.c's and fetch_stream.c's */
    char tail[SUMMARY_TEXT_SIZE + sizeof "],}"];
    struct fetch_stream *stream; /* NULL: it is not streamed */
};

/* summary_write() of the call, which is over. */
size_t fetch_request_sum_up(const struct fetch_request *request, char ret_text[static SUMMARY_TEXT_SIZE]) NONNULL;

/* True: *ret_request is the caller's, fetch_request_free() it. False: refused, and already answered. */
bool fetch_request_from_body(struct exchange *x, struct fetch_request **ret_request) NONNULL MUST_CHECK;
bool fetch_request_from_query(struct exchange *x, struct fetch_request **ret_request) NONNULL MUST_CHECK;

void fetch_request_free(void *request); /* with the results of its call, which is over; NULL is a no-op */

#endif
