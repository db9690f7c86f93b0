#include "service/drain.h"

#include "base/clock.h"
#include "base/log.h"
#include "service/loop.h"

enum { STOP_MS = 2000, QUIET_TURNS = 2 /* without a request in flight: one may have been in a socket's buffer */ };

static void enter(struct server *server, enum lifecycle phase, uint64_t now_ns)
{
    server->phase_since_ns = now_ns;
    server->quiet_turns = 0;
    atomic_store_explicit(&server->lifecycle, phase, memory_order_release);
    for (unsigned i = 0; i < server->loop_count; i++)
        loop_notify(server->loops[i]);
}

void drain_begin(struct server *server, bool at_once)
{
    enum lifecycle phase = server_lifecycle(server);
    if (at_once && phase < LIFECYCLE_STOPPING)
        enter(server, LIFECYCLE_STOPPING, clock_now_ns());
    else if (phase < LIFECYCLE_LEAVING)
        enter(server, LIFECYCLE_LEAVING, clock_now_ns());
}

void drain_hand_over(struct server *server)
{
    if (server_lifecycle(server) == LIFECYCLE_RUNNING)
        enter(server, LIFECYCLE_HANDING_OVER, clock_now_ns());
}

/* Until nobody is connected any more. What is in flight has all its time, for nobody waits for this front end to end; a
 * client that keeps its connection and asks for nothing, until the end of the grace. */
static void advance_hand_over(struct server *server, uint64_t elapsed_ms, uint64_t now_ns)
{
    if (atomic_load_explicit(&server->loops_left, memory_order_acquire) < server->loop_count)
        server->quiet_turns = 0; /* one may just be taking its last connection */
    if (server->quiet_turns < QUIET_TURNS)
        return;
    if (atomic_load_explicit(&server->connections, memory_order_relaxed) == 0)
        enter(server, LIFECYCLE_STOPPED, now_ns);
    else if (elapsed_ms >= server->config->grace_ms)
        enter(server, LIFECYCLE_DRAINING, now_ns);
}

void drain_advance(struct server *server, uint64_t now_ns)
{
    enum lifecycle phase = server_lifecycle(server);
    if (phase == LIFECYCLE_RUNNING || phase == LIFECYCLE_STOPPED)
        return;
    uint64_t elapsed_ms = now_ns > server->phase_since_ns ? (now_ns - server->phase_since_ns) / NS_PER_MS : 0;
    uint64_t in_flight = atomic_load_explicit(&server->requests_in_flight, memory_order_relaxed);
    server->quiet_turns = in_flight == 0 ? server->quiet_turns + 1 : 0;
    if (phase == LIFECYCLE_HANDING_OVER) {
        advance_hand_over(server, elapsed_ms, now_ns);
    } else if (phase == LIFECYCLE_LEAVING) {
        if (elapsed_ms >= server->config->drain_delay_ms)
            enter(server, LIFECYCLE_DRAINING, now_ns);
    } else if (server->quiet_turns >= QUIET_TURNS) {
        enter(server, LIFECYCLE_STOPPED, now_ns);
    } else if (phase == LIFECYCLE_DRAINING && elapsed_ms >= server->config->grace_ms) {
        log_event(LOG_WARNING, "grace_over", LOG_INT("in_flight", in_flight));
        enter(server, LIFECYCLE_STOPPING, now_ns);
    } else if (phase == LIFECYCLE_STOPPING && elapsed_ms >= STOP_MS) {
        log_event(LOG_WARNING, "stopped_with_requests", LOG_INT("in_flight", in_flight));
        enter(server, LIFECYCLE_STOPPED, now_ns);
    }
}
