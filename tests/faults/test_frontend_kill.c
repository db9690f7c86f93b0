/* SIGKILL of the front end: its clients' connections are lost with it, nothing else is. The supervisor starts another
 * one on the same port, and the workers live on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "tests/support/faults.h"
#include "tests/support/procs.h"
#include "tests/support/steps.h"
#include "tests/support/timing.h"

enum { WORKERS = 2, ROUNDS = 5 };

static struct server server;

static int start(void **state)
{
    (void)state;
    const char *const flags[] = { "--workers", "2", NULL };
    return server_start(&server, flags, NULL) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    return server_stop(&server) == 0 ? 0 : -1;
}

static bool another_answers(void *context)
{
    const pid_t *old = context;
    pid_t now = server_front_end_pid(&server);
    return now > 0 && now != *old;
}

static void kill_front_end(void)
{
    pid_t old = server_front_end_pid(&server);
    assert_true(old > 0);
    uint64_t start_ns = clock_now_ns();
    kill(old, SIGKILL);
    assert_true(wait_until(another_answers, &old, scaled_ms(1000)));
    print_message("    answers again after %.0f ms\n", elapsed_ms(start_ns));
}

static void front_end__killed_while_idle__workers_kept(void **state)
{
    (void)state;
    struct server_worker before[WORKERS], after[WORKERS];
    assert_true(server_wait_workers(&server, WORKERS, scaled_ms(2000)));
    assert_int_equal(server_workers(&server, before, WORKERS), WORKERS);
    struct faults_fds fds = faults_count_fds(&server);
    kill_front_end();
    assert_true(server_wait_workers(&server, WORKERS, scaled_ms(2000)));
    assert_int_equal(server_workers(&server, after, WORKERS), WORKERS);
    for (size_t i = 0; i < WORKERS; i++)
        assert_int_equal(before[i].pid, after[i].pid);
    faults_expect_recovery(&server, WORKERS, NULL, 0, fds);
}

/* The successor finds mailboxes with jobs that nobody waits for any more. */
static void front_end__killed_while_workers_compute__new_jobs_right(void **state)
{
    (void)state;
    struct faults_fds fds = faults_count_fds(&server);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct http_conn conns[6];
        for (size_t i = 0; i < ARRAY_LEN(conns); i++) {
            assert_true(http_connect(&conns[i], server.port));
            assert_true(http_send(&conns[i], "GET",
                                  i % 2 ? "/compute/sum_squares?n=10000000000" : "/compute/primes?n=1000", NULL, NULL,
                                  0));
        }
        assert_true(faults_wait_busy(&server) > 0);
        kill_front_end();
        for (size_t i = 0; i < ARRAY_LEN(conns); i++) {
            assert_true(http_wait_closed(&conns[i], scaled_ms(1000)));
            http_close(&conns[i]);
        }
        faults_expect_recovery(&server, WORKERS, NULL, 0, fds);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(front_end__killed_while_idle__workers_kept),
        cmocka_unit_test(front_end__killed_while_workers_compute__new_jobs_right),
    };
    return cmocka_run_group_tests_name("frontend_kill", tests, start, stop);
}
