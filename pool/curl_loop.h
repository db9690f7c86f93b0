/* curl_loop: one curl multi handle driven by epoll. Belongs to one thread; only curl_loop_wake() may be called by
 * others. */
#ifndef TWINPOOL_POOL_CURL_LOOP_H
#define TWINPOOL_POOL_CURL_LOOP_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"

struct watched_socket; /* curl_loop.c */

struct curl_loop {
    CURLM *multi;
    int epoll_fd;
    int wake_fd;
    uint64_t timer_due_ns;          /* libcurl's one timer; CLOCK_NEVER if not set */
    struct watched_socket *sockets; /* by descriptor */
    size_t socket_count;
};

/* connections_max: idle connections kept, the oldest are closed beyond. False: no memory or descriptors; nothing to
 * undo. */
bool curl_loop_init(struct curl_loop *loop, long connections_max) NONNULL MUST_CHECK;
void curl_loop_done(struct curl_loop *loop) NONNULL; /* every easy handle must have been removed */

/* Makes the handle use the loop's way to close sockets. Its open-socket callback must call curl_loop_open_socket(). */
void curl_loop_adopt(struct curl_loop *loop, CURL *easy) NONNULL;
curl_socket_t curl_loop_open_socket(struct curl_loop *loop, const struct curl_sockaddr *address) NONNULL;

/* Runs what libcurl's timer is due for: also what was added to the multi handle since. Transfers can complete in it, so
 * ask curl_multi_info_read() before sleeping. */
void curl_loop_run_due(struct curl_loop *loop) NONNULL;

/* Sleeps until a socket, the timer or a wake-up (not at all unless may_sleep), and runs what the sockets brought.
 * `on_awake(user)` is called as soon as the sleep is over. */
void curl_loop_wait(struct curl_loop *loop, bool may_sleep, void (*on_awake)(void *user), void *user)
    __attribute__((nonnull(1, 3)));

void curl_loop_wake(const struct curl_loop *loop) NONNULL; /* from any thread */

#endif
