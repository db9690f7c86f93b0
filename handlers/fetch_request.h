/* fetch_request: what a caller asks of /fetch, from JSON or the query string to a call for the I/O pool. */
#ifndef TWINPOOL_HANDLERS_FETCH_REQUEST_H
#define TWINPOOL_HANDLERS_FETCH_REQUEST_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/attrs.h"
#include "handlers/handler.h"
#include "pool/io_pool.h"

struct cJSON;

struct fetch_request {
    struct exchange *x;
    struct fetch_call call; /* its user is this request */
    bool is_single;         /* {"url": …}: answered with the result itself */
    struct arena *arena;    /* holds this struct, too */
    struct cJSON *tree;     /* the parsed body, whose strings the items use; NULL for GET */
    char tail[128];         /* of the answer */
};

/* True: *ret_request is the caller's, fetch_request_free() it. False: refused, and already answered. */
bool fetch_request_from_body(struct exchange *x, struct fetch_request **ret_request) NONNULL MUST_CHECK;
bool fetch_request_from_query(struct exchange *x, struct fetch_request **ret_request) NONNULL MUST_CHECK;

void fetch_request_free(void *request); /* with the results of its call; NULL is a no-op */

#endif
