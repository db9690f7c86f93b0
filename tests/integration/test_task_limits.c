/* What a section [task.NAME] sets of a task that comes with the program, and what a priority does. */
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
#include "tests/support/json_path.h"
#include "tests/support/load.h"
#include "tests/support/steps.h"
#include "tests/support/timing.h"

#define BYTES "Content-Type: application/octet-stream\r\n"

static struct server server;
static char file[] = "/tmp/twinpool-limits-XXXXXX";

static const char text[] = "[task.sum_squares]\ncpu-ms = 100\n"
                           "[task.primes]\nmax-concurrency = 1\ntimeout-ms = 5000\n"
                           "[task.compress]\nmax-payload-bytes = 10\n"
                           "[task.jq]\nmax-result-bytes = 20\npriority = low\n";

static int start(void **state)
{
    (void)state;
    int fd = mkstemp(file);
    const char *const flags[] = { "--workers", "2", "--config", file, "--compute-timeout-ms", "60000", NULL };
    bool is_written = fd >= 0 && write(fd, text, sizeof text - 1) == (ssize_t)sizeof text - 1;
    close(fd);
    return is_written && server_start(&server, flags, NULL) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    unlink(file);
    return server_stop(&server) == 0 ? 0 : -1;
}

static void limits__passed__typed_and_named(void **state)
{
    (void)state;
    static const struct step steps[] = {
        { "GET", "/compute/sum_squares?n=10000000000", NULL, NULL, 422, "cpu_limit",
          "the limit is 100 ms of CPU time (cpu-ms of [task.sum_squares])" },
        { "GET", "/compute/sum_squares?n=10", NULL, NULL, 200, NULL, "\"result\":285" },
        { "POST", "/compute/sum_squares/map?chunksize=3", HTTP_JSON, "[{\"n\":1},{\"n\":10000000000},{\"n\":10}]", 200,
          NULL, "[{\"result\":0},{\"error\":{\"code\":\"cpu_limit\"" },
        { "POST", "/compute/compress", BYTES, "ten bytes.", 200, NULL, "result_base64" },
        { "POST", "/compute/compress", BYTES, "ten bytes..", 413, "body_too_large",
          "the limit is 10 bytes (max-payload-bytes of [task.compress])" },
        { "POST", "/compute/jq", HTTP_JSON, "{\"filter\":\"[range(5)]\",\"input\":0}", 200, NULL, "[[0,1,2,3,4]]" },
        { "POST", "/compute/jq", HTTP_JSON, "{\"filter\":\"[range(50)]\",\"input\":0}", 422, "result_too_large",
          "the limit is 20 bytes (max-result-bytes of [task.jq])" },
    };
    steps_run(&server, steps, ARRAY_LEN(steps));
}

/* A job that was ended for its CPU time is no crash of the task's: it is refused like that for ever, not quarantined.
 */
static void cpu_limit__again_and_again__never_quarantined(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        struct http_reply reply = step_once(&server, "GET", "/compute/sum_squares?n=9999999999", NULL, NULL, 422);
        assert_non_null(strstr(reply.body, "\"code\":\"cpu_limit\""));
        assert_non_null(strstr(reply.body, "\"attempts\":1"));
        http_reply_done(&reply);
    }
    assert_true(server_wait_workers(&server, 2, scaled_ms(3000)));
}

struct seen {
    unsigned ticks, most;
};

/* How many workers compute primes now? */
static void look(void *context)
{
    struct seen *seen = context;
    unsigned busy = 0;
    for (unsigned i = 0; i < 2; i++) {
        char path[32];
        snprintf(path, sizeof path, "workers[%u].state", i);
        struct http_reply reply = step_once(&server, "GET", "/stats", NULL, NULL, 200);
        cJSON *json = cJSON_Parse(reply.body);
        const cJSON *worker = cJSON_GetArrayItem(cJSON_GetObjectItem(json, "workers"), (int)i);
        const char *task = cJSON_GetStringValue(cJSON_GetObjectItem(worker, "task"));
        busy += task && strcmp(task, "primes") == 0;
        cJSON_Delete(json);
        http_reply_done(&reply);
    }
    seen->ticks++;
    seen->most = busy > seen->most ? busy : seen->most;
}

static void max_concurrency__one__one_worker_at_most(void **state)
{
    (void)state;
    static const char request[] = "GET /compute/primes?n=100000000 HTTP/1.1\r\nHost: x\r\n\r\n";
    const char *const requests[] = { request };
    struct seen seen = { 0 };
    struct load_result result;
    const struct load_config load = { .port = server.port,
                                      .connections = 4,
                                      .requests = requests,
                                      .request_count = 1,
                                      .duration_ms = 600,
                                      .answer_timeout_ms = scaled_ms(20000),
                                      .on_tick = look,
                                      .tick_ms = 20,
                                      .context = &seen };
    assert_true(load_run(&load, &result));
    load_print("one at a time", &result);
    assert_true(seen.ticks > 3);
    assert_int_equal(seen.most, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits__passed__typed_and_named),
        cmocka_unit_test(cpu_limit__again_and_again__never_quarantined),
        cmocka_unit_test(max_concurrency__one__one_worker_at_most),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
