/* loop: one event loop: its own libmicrohttpd daemon, driven through its epoll descriptor, and everything that belongs
 * to the connections it accepted.
 *
 * All functions but loop_notify() are for the loop's own thread. */
#ifndef TWINPOOL_SERVICE_LOOP_H
#define TWINPOOL_SERVICE_LOOP_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/timers.h"
#include "pool/bell.h"
#include "service/server.h"

enum { LOOP_SWEEP_MS = 100 /* between two looks at the connections' deadlines, while there are connections */ };

/* Something with a descriptor in the loop's epoll set. */
struct watch {
    void (*on_event)(struct watch *watch, uint32_t events);
};

struct connection;
struct request;
struct linger_socket;

struct loop {
    struct server *server;
    unsigned index;
    int epoll_fd;
    struct bell *bell;
    int event_fd;
    struct MHD_Daemon *daemon;
    int daemon_fd; /* its epoll set */
    struct timers timers;
    uint64_t now_ns;        /* when the current turn began */
    uint64_t next_sweep_ns; /* of the connections' deadlines */
    struct connection *connections;
    unsigned connection_count;
    struct connection *refusals; /* to be refused after MHD_run() */
    struct linger_socket *lingering;
    unsigned lingering_count;
    struct request *waiting; /* list of requests whose work runs */
    struct request *spare;   /* freed requests, for reuse */
    unsigned spare_count;
    uint64_t heap_due_ns;   /* loop 0: not before this is the heap looked at again */
    uint64_t heap_requests; /* loop 0: the server's count of requests when it was */
    bool must_run_daemon;   /* a connection was resumed, or its descriptor has events */
    bool must_accept;
    bool has_stopped_accepting, has_left;
    uint64_t accept_due_ns; /* CLOCK_NEVER unless accepting is paused: when it goes on */
    struct watch listen_watch, event_watch, daemon_watch;
    pthread_t thread;
};

/* Creates the daemon and registers the listening socket. False: logged. */
bool loop_open(struct loop *loop, struct server *server, unsigned index, struct bell *bell, int event_fd)
    NONNULL MUST_CHECK;
/* Turns until the lifecycle is LIFECYCLE_STOPPED. */
void loop_run(struct loop *loop) NONNULL;
/* After loop_run(): closes all connections. */
void loop_close(struct loop *loop) NONNULL;

/* Makes the loop take a turn, whether it sleeps or not. From any thread. */
void loop_notify(struct loop *loop) NONNULL;

/* For a while no new connections are taken: there are no descriptors for them. */
void loop_pause_accepting(struct loop *loop) NONNULL;

bool loop_watch(struct loop *loop, int fd, uint32_t events, struct watch *watch) NONNULL MUST_CHECK;

#endif
