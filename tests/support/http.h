/* http: a small blocking HTTP/1.1 client over a raw socket, for tests.
 *
 * It sends what it is told, right or wrong, and takes apart what comes back, strictly. Connections go to loopback.
 * Every wait is bounded. Nothing here fails a test: callers look at the outcome. */
#ifndef TWINPOOL_TESTS_HTTP_H
#define TWINPOOL_TESTS_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/buf.h"

enum http_outcome {
    HTTP_ANSWERED,
    HTTP_TIMED_OUT, /* nothing (more) came in time */
    HTTP_CLOSED,    /* end of file before a whole answer */
    HTTP_RESET,     /* a socket error */
    HTTP_MALFORMED  /* what came is not an HTTP/1.1 answer */
};
const char *http_outcome_name(enum http_outcome outcome);

struct http_conn {
    int fd;            /* -1: not connected */
    struct buf unread; /* bytes received beyond the last answer */
};

struct http_reply {
    enum http_outcome outcome;
    unsigned status;
    bool will_close; /* the server said so, or the protocol does */
    char *head;      /* status line and fields, each ended by a NUL; an empty string ends the list */
    char *body;      /* NUL-terminated for convenience; never NULL once answered */
    size_t body_len;
    double elapsed_ms; /* from the call of http_receive() (or http_exchange()) */
};

/* False: not connected, conn->fd is -1. */
bool http_connect(struct http_conn *conn, uint16_t port) NONNULL MUST_CHECK;
void http_close(struct http_conn *conn) NONNULL; /* safe to repeat */

/* False if the peer does not take the bytes within 30 s, or is gone. */
bool http_send_raw(struct http_conn *conn, const void *bytes, size_t len) NONNULL MUST_CHECK;

/* `fields` are whole lines ("Name: value\r\n"…) or NULL; Host is always added, Content-Length when there is a body. */
bool http_send(struct http_conn *conn, const char *method, const char *target, const char *fields, const void *body,
               size_t body_len) __attribute__((nonnull(1, 2, 3))) MUST_CHECK;

/* The next answer; 100 Continue is passed over. An answer to HEAD has no body whatever its Content-Length says. The
 * caller frees the reply with http_reply_done(), whatever the outcome. */
enum http_outcome http_receive(struct http_conn *conn, bool is_head, uint32_t timeout_ms, struct http_reply *ret_reply)
    NONNULL;

/* Waits until conn->unread has `len` bytes, whatever they mean. HTTP_ANSWERED: it has, perhaps more. */
enum http_outcome http_await_bytes(struct http_conn *conn, size_t len, uint32_t timeout_ms) NONNULL MUST_CHECK;

/* True if the server closes (end of file, or a reset after it) within the time; unread bytes are skipped. */
bool http_wait_closed(struct http_conn *conn, uint32_t timeout_ms) NONNULL MUST_CHECK;

/* send and receive on a connection. */
enum http_outcome http_exchange(struct http_conn *conn, const char *method, const char *target, const char *fields,
                                const void *body, size_t body_len, struct http_reply *ret_reply)
    __attribute__((nonnull(1, 2, 3, 7)));
/* The same on a connection of its own, with a text for a body (NULL: none). */
enum http_outcome http_once(uint16_t port, const char *method, const char *target, const char *fields, const char *body,
                            struct http_reply *ret_reply) __attribute__((nonnull(2, 3, 6)));

/* The value of the first field of that name (any case), or NULL. */
const char *http_header(const struct http_reply *reply, const char *name) NONNULL;
void http_reply_done(struct http_reply *reply) NONNULL; /* safe to repeat */

enum { HTTP_ANSWER_TIMEOUT_MS = 20000 }; /* of http_exchange() and http_once(), before scaling */

#define HTTP_JSON "Content-Type: application/json\r\n"

#endif
