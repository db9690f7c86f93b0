/* POST and GET /compute/{task}: values, refusals, deadlines, the bounded queue, cancellation, and bodies beyond a
 * mailbox slot. One worker and a queue of three, so that who waits and who runs is certain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/json_path.h"
#include "tests/support/procs.h"
#include "tests/support/steps.h"
#include "tests/support/timing.h"

enum { QUEUE_MAX = 3, BODY_MAX = 8 << 20 };

/* Seconds of work for a worker: outlasts every test that starts one. */
#define LONG_JOB "/compute/sum_squares?n=10000000000&timeout_ms=60000"
#define SUM      "/compute/sum_squares"

static struct server server;

static int start(void **state)
{
    (void)state;
    const char *const flags[] = { "--workers", "1", "--queue-max", "3", NULL };
    return server_start(&server, flags, NULL) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    return server_stop(&server) == 0 ? 0 : -1;
}

static void values__known_sums_and_primes_and_digests__exact(void **state)
{
    (void)state;
    static const struct step steps[] = {
        { "POST", SUM, HTTP_JSON, "{\"n\":10}", 200, NULL,
          "{\"task\":\"sum_squares\",\"result\":285,\"usage\":{\"queue_ms\":" },
        { "POST", SUM, HTTP_JSON, "{\"n\":0}", 200, NULL, "\"result\":0," },
        { "POST", SUM, HTTP_JSON, " {\"n\" : 1e7}\n", 200, NULL, "\"result\":333333283333335000000," },
        { "GET", SUM "?n=10000000", NULL, NULL, 200, NULL, "\"result\":333333283333335000000," },
        { "POST", SUM, HTTP_JSON, "{\"n\":3.0}", 200, NULL, "\"result\":5," },
        { "GET", "/compute/primes?n=100", NULL, NULL, 200, NULL, "\"count\":25,\"largest\":97" },
        { "GET", "/compute/digest?text=abc", NULL, NULL, 200, NULL,
          "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { "POST", "/compute/digest?algorithm=sha256", "Content-Type: application/octet-stream\r\n", "abc", 200, NULL,
          "ba7816bf8f01cfea" },
        { "GET", SUM "?n=10", NULL, NULL, 200, NULL, "\"attempts\":1}" },
    };
    steps_run(&server, steps, ARRAY_LEN(steps));
}

#define HTTP_BYTES "Content-Type: application/octet-stream\r\n"

static void values__bytes__as_asked_for(void **state)
{
    (void)state;
    static const struct step steps[] = {
        { "GET", "/compute/jq?filter=1%2C%22a%22&raw=true", "Accept: application/octet-stream\r\n", NULL, 200, NULL,
          "1\na\n" },
        { "GET", "/compute/jq?filter=1%2C%22a%22&raw=true", NULL, NULL, 200, NULL, "\"result_base64\":\"MQphCg==\"," },
        { "GET", "/compute/jq?filter=1%2C%22a%22", "Accept: application/octet-stream\r\n", NULL, 200, NULL,
          "\"result\":[1,\"a\"]," },
        { "POST", "/compute/jq/map", HTTP_JSON, "[{\"filter\":\"1\",\"raw\":true},{\"filter\":\"2\"}]", 200, NULL,
          "[{\"result_base64\":\"MQo=\"},{\"result\":[2]}]" },
        { "POST", "/compute/jq?filter=.a&raw=true", HTTP_BYTES "Accept: application/octet-stream\r\n", "{\"a\":", 500,
          "task_failed", "unexpected end" },
    };
    steps_run(&server, steps, ARRAY_LEN(steps));
}

static void values__of_library_tasks__as_documented(void **state)
{
    (void)state;
    static const struct step steps[] = {
        { "POST", "/compute/pbkdf2", HTTP_JSON,
          "{\"password\":\"password\",\"salt_hex\":\"73616c74\",\"iterations\":2,\"digest\":\"sha1\",\"length\":20}",
          200, NULL, "\"hex\":\"ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957\"" },
        { "POST", "/compute/scrypt", HTTP_JSON,
          "{\"password\":\"\",\"salt_hex\":\"\",\"n\":16,\"r\":1,\"p\":1,\"expected_hex\":\"77d65762\"}", 200, NULL,
          "\"result\":{\"matches\":" },
        { "POST", "/compute/compress", HTTP_JSON, "{\"text\":\"a\",\"level\":10}", 422, "invalid_args", "at most 9" },
        { "POST", "/compute/decompress", HTTP_BYTES, "abc", 500, "task_failed", "the gzip cannot be decoded" },
        { "POST", "/compute/regex?pattern=b%2B", HTTP_BYTES, "abbc", 200, NULL,
          "\"start\":1,\"end\":3,\"text\":\"bb\"" },
        { "POST", "/compute/stats?column=v", HTTP_BYTES, "k,v\na,1\nb,3\n", 200, NULL, "\"count\":2,\"mean\":2," },
        { "POST", "/compute/jq", HTTP_JSON, "{\"filter\":\".[]\",\"input\":[1,2]}", 200, NULL, "\"result\":[1,2]," },
        { "POST", "/compute/jq", HTTP_JSON, "{\"filter\":\"}\"}", 422, "invalid_args", "filter: syntax error" },
    };
    steps_run(&server, steps, ARRAY_LEN(steps));
}

static void args__wrong__named_by_pointer(void **state)
{
    (void)state;
    static const struct step steps[] = {
        { "POST", SUM, HTTP_JSON, "{}", 422, "invalid_args", "\"pointer\":\"/n\"" },
        { "POST", SUM, HTTP_JSON, "{\"n\":-1}", 422, "invalid_args", "\"pointer\":\"/n\"" },
        { "POST", SUM, HTTP_JSON, "{\"n\":10000000001}", 422, "invalid_args", "10000000000" },
        { "POST", SUM, HTTP_JSON, "{\"n\":9007199254740993}", 422, "invalid_args", NULL },
        { "POST", SUM, HTTP_JSON, "{\"n\":1e999}", 422, "invalid_args", NULL },
        { "POST", SUM, HTTP_JSON, "{\"n\":1.5}", 422, "invalid_args", NULL },
        { "POST", SUM, HTTP_JSON, "{\"n\":\"10\"}", 422, "invalid_args", NULL },
        { "POST", SUM, HTTP_JSON, "{\"n\":null}", 422, "invalid_args", NULL },
        { "POST", SUM, HTTP_JSON, "{\"N\":1,\"n\":1}", 422, "invalid_args", "\"pointer\":\"/N\"" },
        { "POST", SUM, HTTP_JSON, "{\"n\":1,\"n\":2}", 400, "invalid_json", "duplicate" },
        { "POST", SUM, HTTP_JSON, "{\"n\":01}", 400, "invalid_json", NULL },
        { "POST", SUM, HTTP_JSON, "{\"n\":1} x", 400, "invalid_json", NULL },
        { "POST", SUM, HTTP_JSON, "{\"\\u0000\":1}", 400, "invalid_json", NULL },
        { "POST", SUM, HTTP_JSON, "\xef\xbb\xbf{\"n\":1}", 400, "invalid_json", NULL },
        { "GET", SUM, NULL, NULL, 422, "invalid_args", "\"pointer\":\"/n\"" },
        { "GET", SUM "?n=ten", NULL, NULL, 422, "invalid_args", "\"pointer\":\"/n\"" },
        { "GET", SUM "?n=1&n=2", NULL, NULL, 422, "invalid_args", NULL },
        { "GET", SUM "?n=1&timeout_ms=0", NULL, NULL, 422, "invalid_args", "timeout_ms" },
        { "GET", SUM "?n=1&timeout_ms=1e3", NULL, NULL, 422, "invalid_args", "timeout_ms" },
        { "GET", SUM "?n=1&timeout_ms=999999999", NULL, NULL, 422, "invalid_args", "compute-timeout-max-ms" },
        { "GET", SUM "?n=1", "Request-Timeout-Ms: soon\r\n", NULL, 422, "invalid_args", NULL },
        { "GET", "/compute/digest", NULL, NULL, 422, "invalid_args", NULL },
        { "GET", "/compute/digest?text=a&algorithm=md5", NULL, NULL, 422, "invalid_args", "/algorithm" },
    };
    steps_run(&server, steps, ARRAY_LEN(steps));
}

/* A job of several seconds ends at its deadline, and the worker that it was taken from is replaced. */
static void expect_deadline(const char *target, const char *fields, double deadline_ms)
{
    struct server_worker before, after;
    assert_true(server_wait_workers(&server, 1, scaled_ms(2000)));
    assert_int_equal(server_workers(&server, &before, 1), 1);
    struct http_reply reply = step_once(&server, "GET", target, fields, NULL, 504);
    assert_non_null(strstr(reply.body, "\"deadline_exceeded\""));
    assert_true(reply.elapsed_ms >= deadline_ms);
    assert_true(reply.elapsed_ms < deadline_ms + scaled_ms(100));
    http_reply_done(&reply);
    assert_true(server_wait_workers(&server, 1, scaled_ms(1000)));
    assert_int_equal(server_workers(&server, &after, 1), 1);
    assert_int_not_equal(before.pid, after.pid);
    assert_true(procs_is_gone(before.pid));
    reply = step_once(&server, "GET", SUM "?n=10", NULL, NULL, 200);
    http_reply_done(&reply);
}

static void deadline__in_query_or_header__504_on_time(void **state)
{
    (void)state;
    expect_deadline(SUM "?n=10000000000&timeout_ms=150", NULL, 150);
    expect_deadline(SUM "?n=10000000000", "Request-Timeout-Ms: 150\r\n", 150);
}

struct load_wanted {
    double running, queued;
};

static bool has_load(void *context)
{
    const struct load_wanted *wanted = context;
    return server_stat(&server, "compute.running") == wanted->running &&
           server_stat(&server, "compute.queued") == wanted->queued;
}

static void expect_load(double running, double queued)
{
    struct load_wanted wanted = { running, queued };
    if (!wait_until(has_load, &wanted, scaled_ms(3000)))
        fail_msg("running %g, queued %g; expected %g and %g", server_stat(&server, "compute.running"),
                 server_stat(&server, "compute.queued"), running, queued);
}

/* One long job runs, `waiting` more are queued; each on a connection of its own. */
static void occupy(struct http_conn *conns, size_t waiting)
{
    for (size_t i = 0; i <= waiting; i++) {
        assert_true(http_connect(&conns[i], server.port));
        assert_true(http_send(&conns[i], "GET", LONG_JOB, NULL, NULL, 0));
        expect_load(1, (double)i);
    }
}

static void queue__full__503_at_once(void **state)
{
    (void)state;
    struct http_conn conns[1 + QUEUE_MAX];
    occupy(conns, QUEUE_MAX);
    static const struct step steps[] = {
        { "GET", SUM "?n=1", NULL, NULL, 503, "queue_full", "queue-max" },
        { "POST", SUM "/map", HTTP_JSON, "[{\"n\":1}]", 503, "queue_full", NULL },
        { "GET", "/healthz", NULL, NULL, 200, NULL, NULL },
    };
    steps_run(&server, steps, ARRAY_LEN(steps));
    for (size_t i = 0; i < ARRAY_LEN(conns); i++)
        http_close(&conns[i]);
    expect_load(0, 0);
    struct http_reply reply = step_once(&server, "GET", SUM "?n=10", NULL, NULL, 200);
    http_reply_done(&reply);
}

static void disconnect__queued_or_running__cancelled(void **state)
{
    (void)state;
    struct http_conn conns[3];
    struct server_worker before, after;
    occupy(conns, 2);
    assert_int_equal(server_workers(&server, &before, 1), 1);
    http_close(&conns[1]); /* queued */
    expect_load(1, 1);
    assert_int_equal(server_workers(&server, &after, 1), 1);
    assert_int_equal(before.pid, after.pid); /* nothing was killed for it */
    http_close(&conns[0]);                   /* running: the next one takes its place, on a new worker */
    expect_load(1, 0);
    assert_int_equal(server_workers(&server, &after, 1), 1);
    assert_int_not_equal(before.pid, after.pid);
    http_close(&conns[2]);
    expect_load(0, 0);
}

static void deadline__passed_in_the_queue__never_started(void **state)
{
    (void)state;
    struct http_conn conns[1];
    occupy(conns, 0);
    struct http_reply reply = step_once(&server, "GET", SUM "?n=10&timeout_ms=150", NULL, NULL, 504);
    assert_true(reply.elapsed_ms >= 150);
    assert_true(reply.elapsed_ms < 150 + scaled_ms(100));
    assert_non_null(strstr(reply.body, "\"attempts\":0"));
    http_reply_done(&reply);
    expect_load(1, 0);
    http_close(&conns[0]);
    expect_load(0, 0);
}

static void digest__payload_as_large_as_a_body_can_be__right(void **state)
{
    (void)state;
    static const size_t lengths[] = { BODY_MAX, BODY_MAX - 1, 16384, 16385, 16383, 0 };
    char *payload = malloc(BODY_MAX);
    assert_non_null(payload);
    for (size_t i = 0; i < BODY_MAX; i++)
        payload[i] = (char)(i * 31 >> 3);
    struct http_conn conn;
    assert_true(http_connect(&conn, server.port));
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned digest_len;
        char expected[2 * EVP_MAX_MD_SIZE + 1];
        assert_int_equal(EVP_Digest(payload, lengths[i], digest, &digest_len, EVP_sha256(), NULL), 1);
        for (unsigned k = 0; k < digest_len; k++)
            snprintf(expected + 2 * (size_t)k, 3, "%02x", digest[k]);
        struct http_reply reply;
        http_exchange(&conn, "POST", "/compute/digest", "Content-Type: application/octet-stream\r\n", payload,
                      lengths[i], &reply);
        assert_int_equal(reply.outcome, HTTP_ANSWERED);
        assert_int_equal(reply.status, 200);
        assert_non_null(strstr(reply.body, expected));
        http_reply_done(&reply);
    }
    http_close(&conn);
    free(payload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values__known_sums_and_primes_and_digests__exact),
        cmocka_unit_test(values__bytes__as_asked_for),
        cmocka_unit_test(values__of_library_tasks__as_documented),
        cmocka_unit_test(args__wrong__named_by_pointer),
        cmocka_unit_test(deadline__in_query_or_header__504_on_time),
        cmocka_unit_test(queue__full__503_at_once),
        cmocka_unit_test(disconnect__queued_or_running__cancelled),
        cmocka_unit_test(deadline__passed_in_the_queue__never_started),
        cmocka_unit_test(digest__payload_as_large_as_a_body_can_be__right),
    };
    return cmocka_run_group_tests_name("compute", tests, start, stop);
}
