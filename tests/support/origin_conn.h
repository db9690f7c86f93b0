/* origin_conn: the test origin's side of its connections. Between origin.c, which owns the loop, and the scripts.
 * All of it runs on the origin's thread. */
#ifndef TWINPOOL_TESTS_ORIGIN_CONN_H
#define TWINPOOL_TESTS_ORIGIN_CONN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/timers.h"
#include "tests/support/origin_keys.h"

struct origin_conn; /* opaque */

/* What the connections of one origin share. Other threads see the atomics and the keys only. */
struct origin_loop {
    int epoll_fd; /* the data of a connection's events is the connection */
    struct timers timers;
    struct origin_keys *keys;
    struct origin_conn *conns;
    struct origin_conn *dead; /* closed, but events of the same batch may still point to them */
    _Atomic bool is_gate_open;
    _Atomic uint64_t connections, requests;
    _Atomic uint32_t open, in_flight, in_flight_peak;
};

/* Takes the socket, whatever happens. */
void origin_conn_add(struct origin_loop *loop, int fd) NONNULL;
void origin_conn_on_event(struct origin_conn *conn, uint32_t events) NONNULL;

/* Plays on for those that wait at the gate, if it is open. The only thing here that takes longer with more connections.
 */
void origin_conns_pass_gate(struct origin_loop *loop) NONNULL;
/* Frees those that were closed: after each batch of events. */
void origin_conns_bury(struct origin_loop *loop) NONNULL;
void origin_conns_close(struct origin_loop *loop) NONNULL;

#endif
