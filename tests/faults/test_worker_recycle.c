/* Workers that have done enough are replaced under load, and nobody notices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tests/support/load.h"
#include "tests/support/procs.h"
#include "tests/support/server.h"
#include "tests/support/timing.h"

enum { JOBS = 5000, MAX_JOBS = 50, CONNECTIONS = 16 };

static const char job[] = "POST /compute/sum_squares HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                          "Content-Length: 10\r\n\r\n{\"n\":1000}";

static void jobs__hundred_lives_of_a_worker__all_answered_and_nothing_left(void **state)
{
    (void)state;
    struct server server;
    struct load_result result;
    const char *const flags[] = { "--workers", "2", "--worker-max-jobs", "50", NULL }, *const requests[] = { job };
    assert_true(server_start(&server, flags, NULL));
    assert_true(server_wait_workers(&server, 2, scaled_ms(5000)));
    size_t fds = procs_count_fds(server.pid);
    assert_true(load_run(&(struct load_config){ .port = server.port,
                                                .connections = CONNECTIONS,
                                                .requests = requests,
                                                .request_count = 1,
                                                .duration_ms = scaled_ms(20000),
                                                .sent_max = JOBS,
                                                .answer_timeout_ms = scaled_ms(5000) },
                         &result));
    load_print("recycling", &result);
    assert_int_equal(result.by_status[200], JOBS);
    double recycled = server_stat(&server, "compute.recycled");
    assert_true(recycled >= JOBS / MAX_JOBS * 0.8 - 2 && recycled <= JOBS / MAX_JOBS * 1.2);
    assert_true(server_stat(&server, "compute.crashes") == 0);
    assert_true(server_wait_workers(&server, 2, scaled_ms(5000)));
    assert_int_equal(procs_count_fds(server.pid), fds);
    assert_false(server_log_contains(&server, "worker_died"));
    assert_int_equal(server_stop(&server), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs__hundred_lives_of_a_worker__all_answered_and_nothing_left),
    };
    return cmocka_run_group_tests_name("worker_recycle", tests, NULL, NULL);
}
