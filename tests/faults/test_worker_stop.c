/* SIGSTOP of workers: a worker that stands still is as good as a hang. Jobs end by their deadline at the latest,
 * nothing waits behind it for ever, and the stopped process is gone afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/faults.h"
#include "tests/support/procs.h"
#include "tests/support/steps.h"
#include "tests/support/timing.h"

enum { WORKERS = 2, JOBS = 20 };

static struct server server;
static struct server_worker workers[WORKERS];
static struct faults_fds fds;

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

static int look_before(void **state)
{
    (void)state;
    return faults_look_before(&server, WORKERS, workers, &fds);
}

static void busy_worker__stopped__job_ends_at_its_deadline(void **state)
{
    (void)state;
    struct http_conn conn;
    struct http_reply reply;
    assert_true(http_connect(&conn, server.port));
    assert_true(http_send(&conn, "GET", "/compute/sum_squares?n=10000000000&timeout_ms=400", NULL, NULL, 0));
    pid_t busy = faults_wait_busy(&server);
    assert_true(busy > 0);
    kill(busy, SIGSTOP);
    http_receive(&conn, false, scaled_ms(5000), &reply);
    assert_int_equal(reply.outcome, HTTP_ANSWERED);
    assert_int_equal(reply.status, 504);
    assert_true(reply.elapsed_ms < 400 + scaled_ms(150));
    http_reply_done(&reply);
    http_close(&conn);
    faults_expect_recovery(&server, WORKERS, &busy, 1, fds);
}

static void idle_worker__stopped__others_do_its_work(void **state)
{
    (void)state;
    struct http_conn conns[JOBS];
    unsigned late = 0;
    kill(workers[0].pid, SIGSTOP);
    for (size_t i = 0; i < JOBS; i++) {
        assert_true(http_connect(&conns[i], server.port));
        assert_true(http_send(&conns[i], "GET", "/compute/sum_squares?n=10&timeout_ms=3000", NULL, NULL, 0));
    }
    for (size_t i = 0; i < JOBS; i++) {
        struct http_reply reply;
        http_receive(&conns[i], false, scaled_ms(10000), &reply);
        assert_int_equal(reply.outcome, HTTP_ANSWERED);
        assert_true(reply.status == 200 || reply.status == 504);
        late += reply.status == 504;
        http_reply_done(&reply);
        http_close(&conns[i]);
    }
    assert_true(late <= 1);        /* at most the one job that the worker had claimed in the instant it was stopped */
    kill(workers[0].pid, SIGCONT); /* if it was only set aside it may come back; if it was killed this does nothing */
    faults_expect_recovery(&server, WORKERS, NULL, 0, fds);
}

static void all_workers__stopped__deadlines_hold_and_pool_heals(void **state)
{
    (void)state;
    struct http_conn conns[JOBS];
    for (size_t i = 0; i < WORKERS; i++)
        kill(workers[i].pid, SIGSTOP);
    for (size_t i = 0; i < JOBS; i++) {
        assert_true(http_connect(&conns[i], server.port));
        assert_true(http_send(&conns[i], "GET", "/compute/sum_squares?n=10&timeout_ms=300", NULL, NULL, 0));
    }
    for (size_t i = 0; i < JOBS; i++) {
        struct http_reply reply;
        http_receive(&conns[i], false, scaled_ms(5000), &reply);
        assert_int_equal(reply.outcome, HTTP_ANSWERED);
        assert_true(reply.status == 504 || reply.status == 200); /* 200: on a replacement */
        http_reply_done(&reply);
        http_close(&conns[i]);
    }
    struct http_reply reply = step_once(&server, "GET", "/healthz", NULL, NULL, 200);
    assert_true(reply.elapsed_ms < scaled_ms(200));
    http_reply_done(&reply);
    for (size_t i = 0; i < WORKERS; i++)
        if (!procs_is_gone(workers[i].pid))
            kill(workers[i].pid, SIGCONT);
    faults_expect_recovery(&server, WORKERS, NULL, 0, fds);
}

static void stopped_worker__at_shutdown__does_not_keep_the_service(void **state)
{
    (void)state;
    kill(workers[1].pid, SIGSTOP);
    kill(server.pid, SIGTERM);
    assert_int_equal(server_wait_exit(&server, scaled_ms(5000)), 0);
    assert_true(procs_is_gone(workers[1].pid));
    const char *const flags[] = { "--workers", "2", NULL };
    assert_true(server_start(&server, flags, NULL)); /* for the group's teardown */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(busy_worker__stopped__job_ends_at_its_deadline, look_before),
        cmocka_unit_test_setup(idle_worker__stopped__others_do_its_work, look_before),
        cmocka_unit_test_setup(all_workers__stopped__deadlines_hold_and_pool_heals, look_before),
        cmocka_unit_test_setup(stopped_worker__at_shutdown__does_not_keep_the_service, look_before),
    };
    return cmocka_run_group_tests_name("worker_stop", tests, start, stop);
}
