/* The end of the service: SIGTERM with and without work in flight, with a drain delay, past the grace period, and
 * twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "tests/support/origin.h"
#include "tests/support/procs.h"
#include "tests/support/steps.h"
#include "tests/support/timing.h"

enum { WAITING = 6, URL_BYTES = 256 };

#define LONG_JOB "/compute/sum_squares?n=10000000000&timeout_ms=60000"

static struct server server;

static int stop(void **state)
{
    (void)state;
    server_kill(&server);
    return 0;
}

static void start(const char *const flags[]) { assert_true(server_start(&server, flags, NULL)); }

struct number_wanted {
    const char *path;
    double at_least;
};

static bool has_number(void *context)
{
    const struct number_wanted *wanted = context;
    return server_stat(&server, wanted->path) >= wanted->at_least;
}

static void await_number(const char *path, double at_least)
{
    struct number_wanted wanted = { path, at_least };
    if (!wait_until(has_number, &wanted, scaled_ms(3000)))
        fail_msg("%s is %g, expected at least %g", path, server_stat(&server, path), at_least);
}

static void sigterm__idle__exit_0_soon_and_port_closed(void **state)
{
    (void)state;
    const char *const flags[] = { "--workers", "2", NULL };
    start(flags);
    uint16_t port = server.port;
    struct http_conn idle, later;
    struct http_reply reply;
    assert_true(http_connect(&idle, port));
    http_exchange(&idle, "GET", "/healthz", NULL, NULL, 0, &reply);
    http_reply_done(&reply);
    uint64_t start_ns = clock_now_ns();
    kill(server.pid, SIGTERM);
    assert_int_equal(server_wait_exit(&server, scaled_ms(3000)), 0);
    print_message("    idle exit after %.0f ms\n", elapsed_ms(start_ns));
    assert_true(http_wait_closed(&idle, scaled_ms(1000)));
    http_close(&idle);
    assert_false(http_connect(&later, port));
}

static void sigterm__work_in_flight__answered_then_exit_0(void **state)
{
    (void)state;
    char target[URL_BYTES];
    struct origin *origin = origin_start("127.0.0.1", 0);
    assert_non_null(origin);
    const char *const flags[] = { "--workers", "1", "--fetch-allow", "127.0.0.0/8", NULL };
    start(flags);
    struct http_conn running, queued, fetching, probe;
    struct http_reply reply;
    assert_true(http_connect(&running, server.port) && http_connect(&queued, server.port) &&
                http_connect(&fetching, server.port) && http_connect(&probe, server.port));
    http_exchange(&probe, "GET", "/readyz", NULL, NULL, 0, &reply);
    assert_int_equal(reply.status, 200);
    http_reply_done(&reply);
    snprintf(target, sizeof target, "/fetch?url=http://127.0.0.1:%u/delay/600", (unsigned)origin_port(origin));
    assert_true(http_send(&fetching, "GET", target, NULL, NULL, 0));
    assert_true(http_send(&running, "GET", "/compute/sum_squares?n=800000000", NULL, NULL, 0));
    await_number("compute.running", 1);
    assert_true(http_send(&queued, "GET", "/compute/sum_squares?n=10", NULL, NULL, 0));
    await_number("compute.queued", 1);
    await_number("fetch.in_flight", 1);

    kill(server.pid, SIGTERM);
    assert_int_equal(http_receive(&queued, false, scaled_ms(10000), &reply), HTTP_ANSWERED);
    assert_int_equal(reply.status, 200);
    http_reply_done(&reply);
    assert_int_equal(http_receive(&running, false, scaled_ms(10000), &reply), HTTP_ANSWERED);
    assert_int_equal(reply.status, 200);
    http_reply_done(&reply);
    assert_int_equal(http_receive(&fetching, false, scaled_ms(10000), &reply), HTTP_ANSWERED);
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.body, "late"));
    http_reply_done(&reply);
    http_close(&running);
    http_close(&queued);
    http_close(&fetching);
    http_close(&probe);
    assert_int_equal(server_wait_exit(&server, scaled_ms(5000)), 0);
    origin_stop(origin);
}

static bool is_unready(void *context)
{
    struct http_conn *probe = context;
    struct http_reply reply;
    http_exchange(probe, "GET", "/readyz", NULL, NULL, 0, &reply);
    bool is_503 = reply.status == 503 && strstr(reply.body, "\"draining\"") && http_header(&reply, "Retry-After");
    http_reply_done(&reply);
    return is_503;
}

static void sigterm__with_a_drain_delay__unready_but_working(void **state)
{
    (void)state;
    const char *const flags[] = { "--workers", "1", "--drain-delay-ms", "1000", NULL };
    start(flags);
    struct http_conn probe;
    struct http_reply reply;
    uint64_t start_ns = clock_now_ns();
    assert_true(http_connect(&probe, server.port));
    kill(server.pid, SIGTERM);
    assert_true(wait_until(is_unready, &probe, scaled_ms(500)));
    http_close(&probe);
    reply = step_once(&server, "GET", "/compute/sum_squares?n=10", NULL, NULL, 200); /* a new connection, new work */
    http_reply_done(&reply);
    assert_int_equal(server_wait_exit(&server, scaled_ms(5000)), 0);
    assert_true(elapsed_ms(start_ns) >= 1000);
}

/* One job runs, the others wait. */
static void send_long_jobs(struct http_conn *conns)
{
    for (size_t i = 0; i < WAITING; i++) {
        assert_true(http_connect(&conns[i], server.port));
        assert_true(http_send(&conns[i], "GET", LONG_JOB, NULL, NULL, 0));
    }
    await_number("compute.queued", WAITING - 1);
}

static void expect_all_answered(struct http_conn *conns)
{
    for (size_t i = 0; i < WAITING; i++) {
        struct http_reply reply;
        http_receive(&conns[i], false, scaled_ms(5000), &reply);
        if (reply.outcome != HTTP_ANSWERED || reply.status != 503 || !strstr(reply.body, "\"draining\""))
            fail_msg("client %zu: %s, status %u", i, http_outcome_name(reply.outcome), reply.status);
        http_reply_done(&reply);
        http_close(&conns[i]);
    }
}

static void grace__over__every_client_answered_and_exit_0(void **state)
{
    (void)state;
    struct http_conn conns[WAITING];
    const char *const flags[] = { "--workers", "1", "--grace-ms", "300", NULL };
    start(flags);
    send_long_jobs(conns);
    uint64_t start_ns = clock_now_ns();
    kill(server.pid, SIGTERM);
    expect_all_answered(conns);
    assert_true(elapsed_ms(start_ns) >= 290);
    assert_int_equal(server_wait_exit(&server, scaled_ms(3000)), 0);
}

static bool is_draining(void *context)
{
    (void)context;
    return server_log_contains(&server, "draining");
}

static void second_sigterm__work_in_flight__every_client_answered_at_once(void **state)
{
    (void)state;
    struct http_conn conns[WAITING];
    struct server_worker worker;
    const char *const flags[] = { "--workers", "1", NULL };
    start(flags);
    send_long_jobs(conns);
    assert_int_equal(server_workers(&server, &worker, 1), 1);
    kill(server.pid, SIGTERM);
    /* Two signals that are pending together would be one. */
    assert_true(wait_until(is_draining, NULL, scaled_ms(2000)));
    uint64_t start_ns = clock_now_ns();
    kill(server.pid, SIGTERM);
    expect_all_answered(conns);
    print_message("    answered %.0f ms after the second signal\n", elapsed_ms(start_ns));
    assert_true(elapsed_ms(start_ns) < scaled_ms(1000));
    assert_int_not_equal(server_wait_exit(&server, scaled_ms(3000)), -1);
    assert_true(procs_is_gone(worker.pid));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(sigterm__idle__exit_0_soon_and_port_closed, stop),
        cmocka_unit_test_teardown(sigterm__work_in_flight__answered_then_exit_0, stop),
        cmocka_unit_test_teardown(sigterm__with_a_drain_delay__unready_but_working, stop),
        cmocka_unit_test_teardown(grace__over__every_client_answered_and_exit_0, stop),
        cmocka_unit_test_teardown(second_sigterm__work_in_flight__every_client_answered_at_once, stop),
    };
    return cmocka_run_group_tests_name("drain", tests, NULL, NULL);
}
