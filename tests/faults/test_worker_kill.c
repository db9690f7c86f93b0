/* SIGKILL of workers: idle, busy, in the middle of large bodies, and all at once. Each client gets exactly one answer:
 * its result (the reference tasks are idempotent, so a job may run again) or a typed 500. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/faults.h"
#include "tests/support/json_path.h"
#include "tests/support/procs.h"
#include "tests/support/steps.h"
#include "tests/support/timing.h"

enum { WORKERS = 4, JOBS = 32, PAYLOAD_BYTES = 8 << 20, ROUNDS = 10 };

/* Long enough to be killed, short enough to be run again. */
#define JOB "/compute/sum_squares?n=300000000"

static struct server server;
static struct server_worker workers[WORKERS];
static struct faults_fds fds;

static int start(void **state)
{
    (void)state;
    const char *const flags[] = { "--workers", "4", NULL };
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

static void idle_worker__killed__replaced(void **state)
{
    (void)state;
    kill(workers[1].pid, SIGKILL);
    faults_expect_recovery(&server, WORKERS, &workers[1].pid, 1, fds);
}

static void all_idle_workers__killed__replaced(void **state)
{
    (void)state;
    pid_t killed[WORKERS];
    for (size_t i = 0; i < WORKERS; i++)
        killed[i] = workers[i].pid;
    for (size_t i = 0; i < WORKERS; i++)
        kill(killed[i], SIGKILL);
    faults_expect_recovery(&server, WORKERS, killed, WORKERS, fds);
}

static void expect_result_or_typed_crash(struct http_conn *conn, const char *result)
{
    struct http_reply reply;
    http_receive(conn, false, scaled_ms(20000), &reply);
    if (reply.outcome != HTTP_ANSWERED)
        fail_msg("no answer: %s", http_outcome_name(reply.outcome));
    if (reply.status == 200) {
        assert_non_null(strstr(reply.body, result));
    } else {
        cJSON *problem = cJSON_Parse(reply.body);
        assert_int_equal(reply.status, 500);
        assert_string_equal(json_text_at(problem, "code"), "worker_crashed");
        assert_true(json_number(problem, "signal") == SIGKILL);
        cJSON_Delete(problem);
    }
    http_reply_done(&reply);
    http_exchange(conn, "GET", "/healthz", NULL, NULL, 0, &reply); /* nothing more came, and the connection lives */
    assert_int_equal(reply.status, 200);
    http_reply_done(&reply);
    http_close(conn);
}

static void busy_worker__killed__one_answer(void **state)
{
    (void)state;
    struct http_conn conn;
    assert_true(http_connect(&conn, server.port));
    assert_true(http_send(&conn, "GET", JOB, NULL, NULL, 0));
    pid_t busy = faults_wait_busy(&server);
    assert_true(busy > 0);
    kill(busy, SIGKILL);
    expect_result_or_typed_crash(&conn, "\"result\":8999999955000000050000000,");
    faults_expect_recovery(&server, WORKERS, &busy, 1, fds);
}

static void all_workers__killed_under_a_queue__every_job_answered(void **state)
{
    (void)state;
    struct http_conn conns[JOBS];
    pid_t killed[WORKERS];
    for (size_t i = 0; i < JOBS; i++) {
        assert_true(http_connect(&conns[i], server.port));
        assert_true(http_send(&conns[i], "GET", "/compute/sum_squares?n=30000000", NULL, NULL, 0));
    }
    assert_true(faults_wait_busy(&server) > 0);
    for (size_t i = 0; i < WORKERS; i++)
        kill(killed[i] = workers[i].pid, SIGKILL);
    for (size_t i = 0; i < JOBS; i++)
        expect_result_or_typed_crash(&conns[i], "\"result\":8999999550000005000000,");
    faults_expect_recovery(&server, WORKERS, killed, WORKERS, fds);
}

/* Kills at a different moment of a large job each time: while the payload is read, hashed, or after. */
static void worker__killed_around_a_large_payload__one_answer(void **state)
{
    (void)state;
    char *payload = calloc(1, PAYLOAD_BYTES);
    assert_non_null(payload);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct http_conn conn;
        assert_true(server_wait_workers(&server, WORKERS, scaled_ms(3000)));
        assert_int_equal(server_workers(&server, workers, WORKERS), WORKERS);
        assert_true(http_connect(&conn, server.port));
        assert_true(http_send(&conn, "POST", "/compute/digest", "Content-Type: application/octet-stream\r\n", payload,
                              PAYLOAD_BYTES));
        for (unsigned spin = 0; spin < round; spin++) {
            struct http_reply reply;
            http_receive(&conn, false, 1, &reply); /* lets about a millisecond pass */
            bool is_early = reply.outcome == HTTP_ANSWERED;
            http_reply_done(&reply);
            if (is_early) { /* then there is nothing left to kill in this round: once more */
                assert_true(http_send(&conn, "POST", "/compute/digest", "Content-Type: application/octet-stream\r\n",
                                      payload, PAYLOAD_BYTES));
                break;
            }
        }
        for (size_t i = 0; i < WORKERS; i++)
            kill(workers[i].pid, SIGKILL);
        expect_result_or_typed_crash(&conn, "2daeb1f36095b44b318410b3f4e8b5d989dcc7bb023d1426c492dab0a3053e74");
    }
    free(payload);
    faults_expect_recovery(&server, WORKERS, NULL, 0, fds);
}

static void map__worker_killed_in_the_middle__every_item_answered(void **state)
{
    (void)state;
    static const char body[] =
        "[{\"n\":200000000},{\"n\":200000000},{\"n\":200000000},{\"n\":200000000},{\"n\":200000000},{\"n\":10}]";
    struct http_conn conn;
    struct http_reply reply;
    assert_true(http_connect(&conn, server.port));
    assert_true(http_send(&conn, "POST", "/compute/sum_squares/map?chunksize=1", HTTP_JSON, body, sizeof body - 1));
    pid_t busy = faults_wait_busy(&server);
    assert_true(busy > 0);
    kill(busy, SIGKILL);
    assert_int_equal(http_receive(&conn, false, scaled_ms(20000), &reply), HTTP_ANSWERED);
    assert_int_equal(reply.status, 200);
    cJSON *answer = cJSON_Parse(reply.body);
    assert_int_equal(cJSON_GetArraySize(json_at(answer, "results")), 6);
    assert_true(json_number(answer, "ok") >= 5);
    assert_true(json_number(answer, "results.5.result") == 285);
    cJSON_Delete(answer);
    http_reply_done(&reply);
    http_close(&conn);
    faults_expect_recovery(&server, WORKERS, &busy, 1, fds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(idle_worker__killed__replaced, look_before),
        cmocka_unit_test_setup(all_idle_workers__killed__replaced, look_before),
        cmocka_unit_test_setup(busy_worker__killed__one_answer, look_before),
        cmocka_unit_test_setup(all_workers__killed_under_a_queue__every_job_answered, look_before),
        cmocka_unit_test_setup(worker__killed_around_a_large_payload__one_answer, look_before),
        cmocka_unit_test_setup(map__worker_killed_in_the_middle__every_item_answered, look_before),
    };
    return cmocka_run_group_tests_name("worker_kill", tests, start, stop);
}
