#include "tests/support/faults.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tests/support/procs.h"
#include "tests/support/steps.h"
#include "tests/support/timing.h"

enum { RECOVERY_MS = 1000, CHILDREN_MAX = SERVER_WORKERS_MAX + 8 };

struct recovery {
    const struct server *server;
    size_t workers;
    const pid_t *killed;
    size_t killed_count;
    pid_t front_end;
    struct faults_fds fds_before;
};

static struct faults_fds count_fds(const struct server *server, pid_t front_end)
{
    return (struct faults_fds){ procs_count_fds(server->pid), procs_count_fds(front_end) };
}

struct faults_fds faults_count_fds(const struct server *server)
{
    return count_fds(server, server_front_end_pid(server));
}

int faults_look_before(const struct server *server, size_t count, struct server_worker *ret_workers,
                       struct faults_fds *ret_fds)
{
    if (!server_wait_workers(server, count, scaled_ms(3000)))
        return -1;
    *ret_fds = faults_count_fds(server);
    return server_workers(server, ret_workers, count) == count ? 0 : -1;
}

static bool was_killed(const struct recovery *recovery, pid_t pid)
{
    for (size_t i = 0; i < recovery->killed_count; i++)
        if (recovery->killed[i] == pid)
            return true;
    return false;
}

static bool pool_is_whole(void *context)
{
    const struct recovery *recovery = context;
    struct server_worker workers[SERVER_WORKERS_MAX];
    size_t count = server_workers(recovery->server, workers, SERVER_WORKERS_MAX);
    for (size_t i = 0; i < count; i++) {
        bool is_ready = strcmp(workers[i].state, "idle") == 0 || strcmp(workers[i].state, "busy") == 0;
        if (!is_ready || was_killed(recovery, workers[i].pid) || procs_is_gone(workers[i].pid))
            return false;
    }
    return count == recovery->workers;
}

static bool killed_are_reaped(void *context)
{
    const struct recovery *recovery = context;
    pid_t children[CHILDREN_MAX];
    size_t count = procs_children(recovery->server->pid, children, CHILDREN_MAX);
    for (size_t i = 0; i < count && i < CHILDREN_MAX; i++)
        if (procs_state(children[i]) == 'Z' || was_killed(recovery, children[i]))
            return false;
    return count == recovery->workers + 1;
}

static bool fds_are_back(void *context)
{
    const struct recovery *recovery = context;
    struct faults_fds now = count_fds(recovery->server, recovery->front_end);
    return now.supervisor <= recovery->fds_before.supervisor && now.front_end <= recovery->fds_before.front_end;
}

void faults_expect_recovery(const struct server *server, size_t workers, const pid_t *killed, size_t killed_count,
                            struct faults_fds before)
{
    struct recovery recovery = {
        .server = server, .workers = workers, .killed = killed, .killed_count = killed_count, .fds_before = before
    };
    uint64_t start_ns = clock_now_ns();
    if (!wait_until(pool_is_whole, &recovery, scaled_ms(RECOVERY_MS)))
        fail_msg("the pool is not whole again after %u ms: %zu of %zu workers ready", scaled_ms(RECOVERY_MS),
                 server_workers_ready(server), workers);
    print_message("    pool whole after %.0f ms\n", elapsed_ms(start_ns));
    if (!wait_until(killed_are_reaped, &recovery, scaled_ms(RECOVERY_MS)))
        fail_msg("zombies or strangers among the supervisor's children");
    recovery.front_end = server_front_end_pid(server);
    if (!wait_until(fds_are_back, &recovery, scaled_ms(RECOVERY_MS))) {
        struct faults_fds now = count_fds(server, recovery.front_end);
        fail_msg("descriptors leaked: supervisor %zu -> %zu, front end %zu -> %zu", before.supervisor, now.supervisor,
                 before.front_end, now.front_end);
    }
    struct http_reply reply = step_once(server, "GET", "/compute/sum_squares?n=10000000", NULL, NULL, 200);
    assert_non_null(strstr(reply.body, "\"result\":333333283333335000000,"));
    http_reply_done(&reply);
}

struct busy_wait {
    const struct server *server;
    pid_t pid;
};

static bool has_busy_worker(void *context)
{
    struct busy_wait *wait = context;
    struct server_worker workers[SERVER_WORKERS_MAX];
    size_t count = server_workers(wait->server, workers, SERVER_WORKERS_MAX);
    for (size_t i = 0; i < count; i++)
        if (strcmp(workers[i].state, "busy") == 0)
            wait->pid = workers[i].pid;
    return wait->pid != 0;
}

pid_t faults_wait_busy(const struct server *server)
{
    struct busy_wait wait = { .server = server };
    return wait_until(has_busy_worker, &wait, scaled_ms(3000)) ? wait.pid : 0;
}

bool faults_kill_random_worker(const struct server *server, pid_t front_end)
{
    pid_t children[CHILDREN_MAX];
    size_t found = procs_children(server->pid, children, CHILDREN_MAX);
    size_t count = found < CHILDREN_MAX ? found : CHILDREN_MAX, chosen = count > 0 ? (size_t)random() % count : 0;
    for (size_t i = 0; i < count; i++) {
        pid_t pid = children[(chosen + i) % count];
        if (pid != front_end && !procs_is_gone(pid))
            return kill(pid, SIGKILL) == 0;
    }
    return false;
}
