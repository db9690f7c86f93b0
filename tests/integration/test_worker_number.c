/* How many workers there are: more while jobs wait, fewer again once they are idle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/attrs.h"
#include "base/clock.h"
#include "tests/support/files.h"
#include "tests/support/http.h"
#include "tests/support/json_path.h"
#include "tests/support/server.h"
#include "tests/support/timing.h"

enum { CALLERS = 6, JOB_MS = 400 };

static const char program[] = "import sys, os, time, json\n"
                              "print('{\"ready\":true}', flush=True)\n"
                              "for line in sys.stdin:\n"
                              "    job = json.loads(line)\n"
                              "    time.sleep(job['args'].get('ms', 0) / 1000)\n"
                              "    print(json.dumps({'id': job['id'], 'result': os.getpid()}), flush=True)\n";

static struct server server;
static char folder[] = "/tmp/twinpool-number-XXXXXX", script[64], config[64];

static int start(void **state)
{
    char text[256];
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(script, sizeof script, "%s/sleeper.py", folder);
    snprintf(config, sizeof config, "%s/config.ini", folder);
    snprintf(text, sizeof text, "[task.sleeper]\ncommand = python3 %s\nworkers = 1\nworkers-max = 3\nidle-ms = 500\n",
             script);
    const char *const flags[] = { "--workers", "1",        "--workers-max", "2", "--worker-idle-ms",
                                  "500",       "--config", config,          NULL };
    return files_write(script, program) && files_write(config, text) && server_start(&server, flags, NULL) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    int code = server_stop(&server);
    unlink(script);
    unlink(config);
    rmdir(folder);
    return code == 0 ? 0 : -1;
}

static void *call(void *target)
{
    struct http_reply reply;
    http_once(server.port, "POST", target, "Content-Type: application/json\r\n", "{\"ms\":400}", &reply);
    unsigned status = reply.outcome == HTTP_ANSWERED ? reply.status : 0;
    http_reply_done(&reply);
    return (void *)(uintptr_t)status;
}

static void *get(void *unused)
{
    struct http_reply reply;
    (void)unused;
    http_once(server.port, "GET", "/compute/sum_squares?n=1000000000", NULL, NULL, &reply);
    http_reply_done(&reply);
    return NULL;
}

/* Living workers of a pool. */
static unsigned count_workers(const char *pool)
{
    struct http_reply reply;
    unsigned count = 0;
    assert_int_equal(http_once(server.port, "GET", "/stats", NULL, NULL, &reply), HTTP_ANSWERED);
    cJSON *json = cJSON_Parse(reply.body);
    const cJSON *worker;
    cJSON_ArrayForEach(worker, cJSON_GetObjectItem(json, "workers")) count +=
        strcmp(json_text_at(worker, "pool"), pool) == 0 && json_number(worker, "pid") > 0 ? 1 : 0;
    cJSON_Delete(json);
    http_reply_done(&reply);
    return count;
}

static bool is_alone(void *pool) { return count_workers(pool) == 1; }

static void call_at_once(char *target, unsigned callers)
{
    pthread_t threads[CALLERS];
    for (unsigned i = 0; i < callers; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call, target), 0);
    for (unsigned i = 0; i < callers; i++) {
        void *status;
        pthread_join(threads[i], &status);
        assert_int_equal((uintptr_t)status, 200);
    }
}

static void program__jobs_wait__as_many_as_allowed_and_one_again(void **state)
{
    (void)state;
    double crashes = server_stat(&server, "compute.crashes");
    assert_true(wait_until(is_alone, (char[]){ "sleeper" }, scaled_ms(5000)));
    uint64_t start_ns = clock_now_ns();
    call_at_once((char[]){ "/compute/sleeper" }, CALLERS);
    double took_ms = elapsed_ms(start_ns);
    print_message("    %d jobs of %d ms by up to 3 workers: %.0f ms\n", CALLERS, JOB_MS, took_ms);
    assert_int_equal(count_workers("sleeper"), 3);
    assert_true(took_ms < scaled_ms(CALLERS * JOB_MS - JOB_MS)); /* by one alone: 2,400 */
    assert_true(wait_until(is_alone, (char[]){ "sleeper" }, scaled_ms(5000)));
    assert_true(server_stat(&server, "compute.crashes") == crashes);
    assert_true(server_stat(&server, "compute.kills") == 0);
}

static void program__a_short_wait__nobody_is_started(void **state)
{
    (void)state;
    double longest_ms = 0;
    for (unsigned i = 0; i < 50; i++) {
        struct http_reply reply;
        http_once(server.port, "POST", "/compute/sleeper/map?chunksize=1", "Content-Type: application/json\r\n",
                  "[{},{},{},{}]", &reply);
        assert_int_equal(reply.status, 200);
        longest_ms = reply.elapsed_ms > longest_ms ? reply.elapsed_ms : longest_ms;
        http_reply_done(&reply);
    }
    if (longest_ms < 15) /* the wait was short on this machine: its limit is 20 */
        assert_int_equal(count_workers("sleeper"), 1);
}

static bool are_two(void *pool) { return count_workers(pool) == 2; }

static void built_in__jobs_wait__a_second_and_one_again(void **state)
{
    (void)state;
    pthread_t threads[2];
    assert_true(wait_until(is_alone, (char[]){ "built-in" }, scaled_ms(5000)));
    for (unsigned i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, get, NULL), 0);
    bool were_two = wait_until(are_two, (char[]){ "built-in" }, scaled_ms(5000));
    for (unsigned i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_true(were_two);
    assert_true(wait_until(is_alone, (char[]){ "built-in" }, scaled_ms(5000)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(program__a_short_wait__nobody_is_started),
        cmocka_unit_test(program__jobs_wait__as_many_as_allowed_and_one_again),
        cmocka_unit_test(built_in__jobs_wait__a_second_and_one_again),
    };
    return cmocka_run_group_tests_name("worker_number", tests, start, stop);
}
