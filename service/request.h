/* request: one HTTP request from libmicrohttpd's first call to its last: receives, routes, waits, answers exactly once.
 */
#ifndef TWINPOOL_SERVICE_REQUEST_H
#define TWINPOOL_SERVICE_REQUEST_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/buf.h"
#include "base/timers.h"
#include "handlers/handler.h"
#include "service/connection.h"
#include "service/router.h"
#include "service/stream.h"

enum { TRACEPARENT_SIZE = 56, REQUEST_ID_MAX = 64, REQUEST_QUERY_MAX = HTTP_GUARD_QUERY_MAX + 1 };

enum request_phase {
    REQUEST_RECEIVING, /* header is there, body is not complete */
    REQUEST_HANDLING,  /* inside the endpoint's handle() */
    REQUEST_WAITING,   /* suspended: a pool works for it */
    REQUEST_ANSWERED,  /* response is set */
    REQUEST_SENDING    /* libmicrohttpd has it */
};

struct request {
    struct exchange x; /* first: handlers hold a pointer to it */
    struct connection *connection;
    struct request *next, *previous; /* in loop->waiting, or next in loop->spare */
    bool is_listed;                  /* in loop->waiting: its endpoint can be told to give up */
    enum request_phase phase;
    const struct endpoint *endpoint;
    const char *path;   /* the route's pattern, for the log: no argument of the caller's; "" if there is none */
    struct timer timer; /* of the wait */
    bool has_given_up;
    bool is_abandoned; /* because its caller has left */
    /* what the header said */
    enum status refusal; /* ST_OK, or what will be answered instead of handling it */
    char refusal_detail[160];
    unsigned allowed_methods; /* bits of enum http_method: for Allow */
    bool has_content_length, is_chunked, expects_continue;
    uint64_t content_length;
    const char *origin_form; /* path of an absolute-form target */
    char path_arg[64];
    char id[REQUEST_ID_MAX + 1];
    struct buf body;
    size_t charged_bytes; /* to server->body_bytes */
    char traceparent[TRACEPARENT_SIZE];
    /* the answer */
    struct MHD_Response *response;
    struct stream *stream; /* while it is one and not over */
    unsigned http_status;
    enum status problem; /* that it says; ST_OK: none */
    uint64_t sending_since_ns;
    struct query_param query[REQUEST_QUERY_MAX]; /* last: bounded by x.query_count, never cleared */
};

/* libmicrohttpd's access handler; cls is the loop. */
enum MHD_Result request_handle(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                               const char *version, const char *upload, size_t *upload_size, void **context);
/* MHD_OPTION_NOTIFY_COMPLETED. */
void request_completed(void *cls, struct MHD_Connection *mhd, void **context, enum MHD_RequestTerminationCode code);

/* Ends a wait or a stream early; a no-op for a request that has neither or was told already. */
void request_give_up(struct request *request, enum status why) NONNULL;

/* Sets the one answer (response.c calls it): takes the reference to `response`; NULL: there was no memory for one, the
 * connection is closed. */
void request_set_response(struct request *request, unsigned http_status, struct MHD_Response *response)
    __attribute__((nonnull(1)));

/* Frees the loop's spare requests. */
void requests_free_spare(struct loop *loop) NONNULL;

static inline struct request *request_of(struct exchange *x) { return (struct request *)(void *)x; }

#endif
