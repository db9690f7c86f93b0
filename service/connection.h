/* connection: one client's socket, from accept() to close.
 *
 * The loop accepts; libmicrohttpd parses and answers. Between the two stands http_guard: libmicrohttpd calls recv(),
 * and this program defines recv() (connection.c), so that every byte passes the guard first. What the guard refuses
 * libmicrohttpd never sees: the connection is answered and closed here. */
#ifndef TWINPOOL_SERVICE_CONNECTION_H
#define TWINPOOL_SERVICE_CONNECTION_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/attrs.h"
#include "base/timers.h"
#include "service/http_guard.h"
#include "service/loop.h"

struct connection {
    struct watch watch; /* for the client's hang-up */
    struct loop *loop;
    struct MHD_Connection *mhd;
    struct connection *next, *previous, *next_refusal;
    struct request *request; /* being received, worked on or answered; NULL between requests */
    struct http_guard guard;
    int fd;
    struct timer hang_up_timer; /* from the client's FIN to giving up its request */
    bool is_hung_up;            /* the client sent FIN or RST */
    bool is_refused;            /* it was answered here; libmicrohttpd gets ECONNRESET */
    bool is_refusal_pending;    /* it will be, once the good requests before the bad one are answered */
    bool is_drained;            /* nothing was left in the socket when it was read last */
    bool is_in_set;             /* libmicrohttpd's epoll set has it, whatever libmicrohttpd believes (epoll_ctl()) */
    bool is_parked;             /* it is suspended: what happens to it is kept back */
    bool has_news;              /* since its request came: there may be something to be read, or to be known */
    bool is_unheard;            /* and reading that was put off */
    struct epoll_event entry;   /* in the set */
    uint64_t requests_completed;
    uint64_t idle_since_ns; /* accepted, or the last answer was sent */
    uint64_t head_since_ns; /* first byte of the header being received */
    uint64_t body_since_ns; /* its end */
};

/* Once per process, before the first loop. False: no memory. */
bool connections_setup(void) MUST_CHECK;
void connections_teardown(void);

/* The calling thread is this loop's from now on (recv() needs to know). */
void connections_bind_thread(struct loop *loop) NONNULL;

/* Accepts what waits at the listening socket. */
void connections_accept(struct loop *loop) NONNULL;

/* libmicrohttpd's notification of a connection's start and end (MHD_OPTION_NOTIFY_CONNECTION); cls is the loop. */
void connection_notify(void *cls, struct MHD_Connection *mhd, void **context, enum MHD_ConnectionNotificationCode code);

/* MHD_suspend_connection() and MHD_resume_connection(). */
void connection_suspend(struct connection *connection) NONNULL;
void connection_resume(struct connection *connection) NONNULL;

/* Answers a problem straight to the socket and has libmicrohttpd drop the connection. */
void connection_refuse(struct connection *connection, enum status status, const char *detail) NONNULL;

/* Its request waits for a pool, and the client has hung up before or does so now. */
void connection_give_up_request(struct connection *connection, bool at_once) NONNULL;

/* The connection's request is over: the next one may begin. */
void connection_request_completed(struct connection *connection) NONNULL;

/* Enforces header, body, response and idle deadlines of all connections of the loop. */
void connections_sweep(struct loop *loop) NONNULL;

/* Carries out refusals that had to wait for MHD_run() to return. */
void connections_refuse_pending(struct loop *loop) NONNULL;

#endif
