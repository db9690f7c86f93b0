/* The kill storm: SIGKILL to a random worker every 50 ms while 64 keep-alive clients compute. Every accepted request
 * gets exactly one answer, no connection is lost, and there are no more errors than kills. FAULT_SECONDS (5) sets how
 * long it lasts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/faults.h"
#include "tests/support/load.h"
#include "tests/support/procs.h"
#include "tests/support/timing.h"

enum { WORKERS = 4, CLIENTS = 64, KILL_EVERY_MS = 50 };

static struct server server;

static int start(void **state)
{
    (void)state;
    const char *const flags[] = { "--workers", "4", "--queue-max", "256", NULL };
    return server_start(&server, flags, NULL) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    return server_stop(&server) == 0 ? 0 : -1;
}

struct storm {
    pid_t front_end;
    unsigned kills;
};

static void kill_one(void *context)
{
    struct storm *storm = context;
    storm->kills += faults_kill_random_worker(&server, storm->front_end) ? 1 : 0;
}

static void run(struct storm *storm, uint32_t duration_ms, bool is_storm, struct load_result *result)
{
    static const char request[] = "POST /compute/sum_squares HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                                  "Content-Length: 13\r\n\r\n{\"n\":2000000}";
    const char *const requests[] = { request };
    const struct load_config load = { .port = server.port,
                                      .connections = CLIENTS,
                                      .requests = requests,
                                      .request_count = 1,
                                      .duration_ms = duration_ms,
                                      .answer_timeout_ms = scaled_ms(20000),
                                      .on_tick = is_storm ? kill_one : NULL,
                                      .tick_ms = KILL_EVERY_MS,
                                      .context = storm };
    assert_true(load_run(&load, result));
    load_print(is_storm ? "storm" : "calm", result);
}

static void storm__of_kills__one_answer_each(void **state)
{
    (void)state;
    const char *seconds = getenv("FAULT_SECONDS");
    uint32_t duration_ms = (seconds ? (uint32_t)strtoul(seconds, NULL, 10) : 5) * 1000;
    struct load_result calm, result;
    struct storm storm = { .front_end = server_front_end_pid(&server) };
    assert_true(server_wait_workers(&server, WORKERS, scaled_ms(3000)));
    run(&storm, 500, false, &calm);
    struct faults_fds fds = faults_count_fds(&server);
    size_t rss_kib = procs_rss_kib(storm.front_end);
    run(&storm, duration_ms, true, &result);

    uint64_t errors = result.answered - result.by_status[200];
    print_message("    %u kills, %llu errors, goodput %.0f %% of calm, front end %+ld KiB\n", storm.kills,
                  (unsigned long long)errors,
                  100 * ((double)result.by_status[200] / result.elapsed_ms) /
                      ((double)calm.by_status[200] / calm.elapsed_ms),
                  (long)procs_rss_kib(storm.front_end) - (long)rss_kib);
    assert_true(storm.kills >= duration_ms / KILL_EVERY_MS / 2);
    assert_int_equal(result.answered, result.sent);
    assert_int_equal(result.lost + result.timed_out + result.malformed + result.connect_failures, 0);
    assert_int_equal(result.announced_closes, 0);
    assert_int_equal(result.by_status[200] + result.by_status[500], result.answered);
    assert_true(errors <= storm.kills);
    faults_expect_recovery(&server, WORKERS, NULL, 0, fds);
    assert_int_equal(server_front_end_pid(&server), storm.front_end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(storm__of_kills__one_answer_each),
    };
    return cmocka_run_group_tests_name("kill_storm", tests, start, stop);
}
