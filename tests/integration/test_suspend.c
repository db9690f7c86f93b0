/* Thousands of connections that wait for a pool must not stall the others.
 *
 * Waiting connections are suspended in libmicrohttpd, and before 1.0.3 it could skip ready connections while another
 * was being suspended. So 200 live clients keep asking while 2,000 others arrive and wait: half of them for workers
 * that are busy with long jobs, half for an origin that holds its answers back. Then everything is let go and each of
 * the 2,000 gets its answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/support/load.h"
#include "tests/support/origin.h"
#include "tests/support/server.h"
#include "tests/support/timing.h"

enum { WAITING = 2000, LIVE = 200, PER_TICK = 20, LONG_JOBS = 12, URL_BYTES = 256 };

static struct server server;
static struct origin *origin;
static struct http_conn waiting[WAITING], long_jobs[LONG_JOBS];
static size_t waiting_count;

static int stop(void **state)
{
    (void)state;
    for (size_t i = 0; i < waiting_count; i++)
        http_close(&waiting[i]);
    server_kill(&server);
    origin_stop(origin);
    return 0;
}

static int start(void **state)
{
    (void)state;
    struct rlimit limit = { 0 };
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    const char *const flags[] = { "--workers",
                                  "2",
                                  "--queue-max",
                                  "4000",
                                  "--fetch-allow",
                                  "127.0.0.0/8",
                                  "--fetch-per-host",
                                  "0",
                                  "--fetch-timeout-ms",
                                  "60000",
                                  "--compute-timeout-ms",
                                  "60000",
                                  NULL };
    origin = origin_start("127.0.0.1", 0);
    return origin && server_start(&server, flags, NULL) ? 0 : -1;
}

/* Seconds of work for each worker, several times over. */
static void occupy_workers(void)
{
    for (size_t i = 0; i < LONG_JOBS; i++) {
        assert_true(http_connect(&long_jobs[i], server.port));
        assert_true(http_send(&long_jobs[i], "GET", "/compute/sum_squares?n=10000000000", NULL, NULL, 0));
    }
}

/* Some more clients that will wait: every second one for a job, the others for a fetch. */
static void add_waiting(void *context)
{
    const char *fetch_target = context;
    for (unsigned i = 0; i < PER_TICK && waiting_count < WAITING; i++) {
        struct http_conn *conn = &waiting[waiting_count];
        const char *target = waiting_count % 2 ? fetch_target : "/compute/sum_squares?n=10";
        if (http_connect(conn, server.port) && http_send(conn, "GET", target, NULL, NULL, 0))
            waiting_count++;
        else
            http_close(conn);
    }
}

static bool all_have_arrived(void *context)
{
    (void)context;
    return server_stat(&server, "requests.in_flight") >= WAITING;
}

static void run_live_clients(const char *fetch_target, uint32_t duration_ms, void (*on_tick)(void *),
                             struct load_result *result)
{
    static char requests_text[2][URL_BYTES * 2], target[URL_BYTES];
    snprintf(target, sizeof target, "%s", fetch_target);
    snprintf(requests_text[0], sizeof requests_text[0], "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    snprintf(requests_text[1], sizeof requests_text[1],
             "GET /fetch?url=http://127.0.0.1:%u/small HTTP/1.1\r\nHost: x\r\n\r\n", (unsigned)origin_port(origin));
    const char *const requests[] = { requests_text[0], requests_text[0], requests_text[0], requests_text[1] };
    const struct load_config load = { .port = server.port,
                                      .connections = LIVE,
                                      .requests = requests,
                                      .request_count = 4,
                                      .duration_ms = duration_ms,
                                      .answer_timeout_ms = scaled_ms(5000),
                                      .on_tick = on_tick,
                                      .tick_ms = 10,
                                      .context = target };
    assert_true(load_run(&load, result));
    load_print(on_tick ? "live, while others are suspended" : "live, beside suspended ones", result);
    assert_int_equal(result->answered, result->sent);
    assert_int_equal(result->by_status[200], result->answered);
    assert_int_equal(result->connect_failures, 0);
}

static void waiting_connections__2000_beside_200_live__nobody_stalls(void **state)
{
    (void)state;
    struct load_result live;
    char fetch_target[URL_BYTES];
    snprintf(fetch_target, sizeof fetch_target, "/fetch?url=http://127.0.0.1:%u/gate", (unsigned)origin_port(origin));
    occupy_workers();
    run_live_clients(fetch_target, 1500, add_waiting, &live);
    assert_true(live.max_ms < scaled_ms(1000));
    while (waiting_count < WAITING) {
        size_t before = waiting_count;
        add_waiting(fetch_target);
        assert_true(waiting_count > before);
    }
    assert_true(wait_until(all_have_arrived, NULL, scaled_ms(5000)));
    run_live_clients(fetch_target, 1000, NULL, &live);
    assert_true(live.max_ms < scaled_ms(1000));

    for (size_t i = 0; i < LONG_JOBS; i++)
        http_close(&long_jobs[i]);
    origin_open_gate(origin);
    for (size_t i = 0; i < WAITING; i++) {
        struct http_reply reply;
        http_receive(&waiting[i], false, scaled_ms(20000), &reply);
        if (reply.outcome != HTTP_ANSWERED || reply.status != 200)
            fail_msg("client %zu: %s, status %u: %.300s", i, http_outcome_name(reply.outcome), reply.status,
                     reply.body ? reply.body : "");
        http_reply_done(&reply);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waiting_connections__2000_beside_200_live__nobody_stalls),
    };
    return cmocka_run_group_tests_name("suspend", tests, start, stop);
}
