/* curl_loop: many curl multi handles ("shards"), timers and a few other descriptors, driven by one epoll.
 *
 * Shards exist because libcurl walks through all connections of a multi handle when it looks for one to reuse and again
 * when it drops a handle: with thousands of them that costs more than the transfer. Belongs to one thread, the one that
 * called curl_loop_bind(); only curl_loop_wake() may be called by others. */
#ifndef TWINPOOL_POOL_CURL_LOOP_H
#define TWINPOOL_POOL_CURL_LOOP_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "base/timers.h"

struct epoll_event;
struct watched_socket; /* curl_loop.c */

enum { CURL_LOOP_SHARDS = 128 };

struct curl_shard {
    CURLM *multi; /* NULL until it is first used */
    struct curl_loop *loop;
    struct timer timer;      /* libcurl's one timer */
    unsigned active;         /* handles in it */
    bool is_due, is_touched; /* on the loop's list of such */
    bool is_limited;         /* it keeps no idle connections */
    bool is_stale;           /* it was not used since the last tidying */
    bool is_stalled;         /* a connect failed: all of its handles are to be run */
    STAILQ_ENTRY(curl_shard) due_link, touched_link;
};

STAILQ_HEAD(curl_shards, curl_shard);

/* One call of libcurl's, which reads from any number of sockets. */
struct curl_call {
    uint64_t number;
    int held_fd;      /* a socket that was not read on, because it had had its time; -1: none */
    bool has_brought; /* bytes for a transfer */
};

struct curl_loop {
    int epoll_fd;
    int wake_fd;
    struct timer tidying;
    struct timers timers;            /* anybody's of this thread */
    struct curl_shards due, touched; /* to be run at once; in which a transfer may have completed */
    struct watched_socket *sockets;  /* by descriptor */
    size_t socket_count;
    unsigned connections, connections_max; /* sockets that are open; more are refused */
    struct curl_call call;                 /* the one under way, or the last one */
    struct epoll_event *events;            /* that epoll reported last */
    int event_count, event_next;           /* which is the next to be run */
    struct curl_shard shards[CURL_LOOP_SHARDS];
};

/* connections_max: at most this many open connections, idle ones included. False: no memory or descriptors; nothing to
 * undo. */
bool curl_loop_init(struct curl_loop *loop, unsigned connections_max) NONNULL MUST_CHECK;
void curl_loop_done(struct curl_loop *loop) NONNULL; /* every easy handle must have been removed */

/* The calling thread is the loop's from now on (poll() and recv() need to know); NULL: no loop's. */
void curl_loop_bind(struct curl_loop *loop);

/* Makes the handle use the loop's way to close sockets. Its open-socket callback must call curl_loop_open_socket(). */
void curl_loop_adopt(struct curl_loop *loop, CURL *easy) NONNULL;
curl_socket_t curl_loop_open_socket(struct curl_loop *loop, unsigned shard, const struct curl_sockaddr *address)
    NONNULL;

/* Starts a transfer in the shard. False: no memory. */
bool curl_loop_add(struct curl_loop *loop, unsigned shard, CURL *easy) NONNULL MUST_CHECK;
void curl_loop_remove(struct curl_loop *loop, unsigned shard, CURL *easy) NONNULL;
/* A transfer that has completed and not been told of; NULL: none. */
CURL *curl_loop_next_done(struct curl_loop *loop, CURLcode *ret_code) NONNULL MUST_CHECK;

/* Calls on_ready(user, fd, epoll events) while the descriptor is ready (level-triggered). events 0: no longer. False:
 * no memory. */
bool curl_loop_watch(struct curl_loop *loop, int fd, uint32_t events,
                     void (*on_ready)(void *user, int fd, uint32_t events), void *user) __attribute__((nonnull(1, 4)))
MUST_CHECK;

/* Runs the timers that are due and what was added since. Transfers can complete in it. */
void curl_loop_run_due(struct curl_loop *loop) NONNULL;

/* Sleeps until a descriptor, a timer or a wake-up (not at all unless may_sleep), and runs what the descriptors brought;
 * the rest of it in the next turn, if one of them took its time. `on_awake(user)` is called as soon as the sleep is
 * over. */
void curl_loop_wait(struct curl_loop *loop, bool may_sleep, void (*on_awake)(void *user), void *user)
    __attribute__((nonnull(1, 3)));

/* recv(), for libcurl on a loop's thread with a limit to how long one socket is read on: see curl_loop.c. errno EPROTO:
 * the peer sends without end, and nothing of it is for a transfer. */
ssize_t curl_loop_receive(int fd, void *buffer, size_t len, int flags) NONNULL;

/* To be called when a transfer was given bytes. */
static inline void curl_loop_brought(struct curl_loop *loop) { loop->call.has_brought = true; }

void curl_loop_wake(const struct curl_loop *loop) NONNULL; /* from any thread */

#endif
