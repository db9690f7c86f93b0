/* Workers that have done enough are replaced under load, and nobody notices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/files.h"
#include "tests/support/http.h"
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
    assert_true(recycled >= JOBS / (MAX_JOBS * 1.2) - 2 && recycled <= JOBS / (MAX_JOBS * 0.8));
    assert_true(server_stat(&server, "compute.crashes") == 0);
    assert_true(server_wait_workers(&server, 2, scaled_ms(5000)));
    assert_int_equal(procs_count_fds(server.pid), fds);
    assert_false(server_log_contains(&server, "worker_died"));
    assert_int_equal(server_stop(&server), 0);
}

/* ---- a successor that takes long to come up */

static const char program[] =
    "import sys, os, time, json\n"
    "time.sleep(1)\n"
    "print('{\"ready\":true}', flush=True)\n"
    "for line in sys.stdin:\n"
    "    print(json.dumps({'id': json.loads(line)['id'], 'result': os.getpid()}), flush=True)\n";

static void age__start_takes_a_second__nobody_waits_for_it(void **state)
{
    (void)state;
    struct server server;
    char folder[] = "/tmp/twinpool-recycle-XXXXXX", script[64], config[64], text[256], last[512] = "";
    assert_non_null(mkdtemp(folder));
    snprintf(script, sizeof script, "%s/slow.py", folder);
    snprintf(config, sizeof config, "%s/config.ini", folder);
    snprintf(text, sizeof text, "[task.slow]\ncommand = python3 %s\nmax-age-ms = 300\n", script);
    assert_true(files_write(script, program));
    assert_true(files_write(config, text));
    const char *const flags[] = { "--workers", "1", "--config", config, NULL };
    assert_true(server_start(&server, flags, NULL));
    assert_true(server_wait_workers(&server, 2, scaled_ms(5000)));
    unsigned changes = 0;
    double longest_ms = 0;
    uint64_t start_ns = clock_now_ns();
    while (elapsed_ms(start_ns) < 4500) {
        struct http_reply reply;
        assert_int_equal(http_once(server.port, "GET", "/compute/slow", NULL, NULL, &reply), HTTP_ANSWERED);
        assert_int_equal(reply.status, 200);
        longest_ms = reply.elapsed_ms > longest_ms ? reply.elapsed_ms : longest_ms;
        const char *usage = strstr(reply.body, "\"usage\"");
        size_t len = usage != NULL ? (size_t)(usage - reply.body) : 0;
        assert_in_range(len, 1, sizeof last - 1);
        changes += strncmp(last, reply.body, len) != 0 ? 1 : 0;
        memcpy(last, reply.body, len);
        last[len] = '\0';
        http_reply_done(&reply);
        usleep(20000);
    }
    print_message("    %u lives, longest wait %.1f ms\n", changes, longest_ms);
    assert_in_range(changes, 3, 6);
    assert_true(longest_ms < scaled_ms(800));
    assert_true(server_stat(&server, "compute.recycled") >= 2);
    assert_true(server_stat(&server, "compute.crashes") == 0);
    assert_true(server_stat(&server, "compute.workers") == 1);
    assert_int_equal(server_stop(&server), 0);
    unlink(script);
    unlink(config);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs__hundred_lives_of_a_worker__all_answered_and_nothing_left),
        cmocka_unit_test(age__start_takes_a_second__nobody_waits_for_it),
    };
    return cmocka_run_group_tests_name("worker_recycle", tests, NULL, NULL);
}
