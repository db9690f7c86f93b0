/* The service around the pools: routes, methods, media types, sizes, request ids, probes, keep-alive after refusals,
 * deadlines of slow clients and the limit on connections. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "tests/support/json_path.h"
#include "tests/support/steps.h"
#include "tests/support/timing.h"

enum { BODY_MAX = 65536, CONNECTIONS_MAX = 40 };

static struct server server;

static int start(void **state)
{
    (void)state;
    const char *const flags[] = { "--workers",
                                  "1",
                                  "--max-body-bytes",
                                  "65536",
                                  "--header-timeout-ms",
                                  "700",
                                  "--body-timeout-ms",
                                  "700",
                                  "--max-connections",
                                  "40",
                                  NULL };
    return server_start(&server, flags, NULL) && server_wait_workers(&server, 1, scaled_ms(3000)) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    return server_stop(&server) == 0 ? 0 : -1;
}

static void routes__right_and_wrong_requests__typed_answers(void **state)
{
    (void)state;
    static const struct step steps[] = {
        { "GET", "/healthz", NULL, NULL, 200, NULL, "{\"status\":\"ok\"}" },
        { "HEAD", "/healthz", NULL, NULL, 200, NULL, NULL },
        { "GET", "/healthz?x=1", NULL, NULL, 200, NULL, "ok" },
        { "GET", "/readyz", NULL, NULL, 200, NULL, "ready" },
        { "GET", "/metrics", NULL, NULL, 200, NULL, "# TYPE twinpool_" },
        { "GET", "/stats", NULL, NULL, 200, NULL, "\"workers\":[{" },
        { "GET", "/tasks", NULL, NULL, 200, NULL, "\"sum_squares\"" },
        { "HEAD", "/tasks", NULL, NULL, 200, NULL, NULL },
        /* no such thing */
        { "GET", "/nothing", NULL, NULL, 404, "not_found", NULL },
        { "GET", "/healthz/", NULL, NULL, 404, "not_found", NULL },
        { "GET", "/HEALTHZ", NULL, NULL, 404, "not_found", NULL },
        { "POST", "/compute", HTTP_JSON, "{}", 404, "not_found", NULL },
        { "POST", "/compute/nothing", HTTP_JSON, "{}", 404, "unknown_task", NULL },
        { "POST", "/compute/nothing/map", HTTP_JSON, "[]", 404, "unknown_task", NULL },
        { "HEAD", "/nothing", NULL, NULL, 404, NULL, NULL },
        /* wrong method */
        { "POST", "/healthz", NULL, "", 405, "method_not_allowed", NULL },
        { "DELETE", "/tasks", NULL, NULL, 405, "method_not_allowed", NULL },
        { "PUT", "/fetch", HTTP_JSON, "{}", 405, "method_not_allowed", NULL },
        { "PATCH", "/compute/sum_squares", HTTP_JSON, "{}", 405, "method_not_allowed", NULL },
        { "GET", "/compute/sum_squares/map", NULL, NULL, 405, "method_not_allowed", NULL },
        { "PROPFIND", "/tasks", NULL, NULL, 501, "not_implemented", NULL },
        /* bodies */
        { "POST", "/compute/sum_squares", HTTP_JSON, "{\"n\":10", 400, "invalid_json", NULL },
        { "POST", "/compute/sum_squares", HTTP_JSON, "", 400, "invalid_json", NULL },
        { "POST", "/compute/sum_squares", HTTP_JSON, "[10]", 400, "invalid_json", NULL },
        { "POST", "/compute/sum_squares", HTTP_JSON, "{\"n\":10,\"m\":1}", 422, "invalid_args", "/m" },
        { "POST", "/compute/sum_squares", "Content-Type: application/x-www-form-urlencoded\r\n", "n=10", 415,
          "unsupported_media_type", "application/json" },
        { "POST", "/compute/sum_squares", "Content-Type: text/plain\r\n", "{\"n\":10}", 415, "unsupported_media_type",
          NULL },
        { "POST", "/compute/sum_squares", "Content-Type: application/json; charset=utf-16\r\n", "{\"n\":10}", 415,
          "unsupported_media_type", NULL },
        { "POST", "/fetch", NULL, "{}", 415, "unsupported_media_type", NULL },
        { "POST", "/fetch", HTTP_JSON, "{\"url\":7}", 422, "invalid_args", "/url" },
        /* and after all of that */
        { "POST", "/compute/sum_squares", "Content-Type: application/json; charset=utf-8\r\n", "{\"n\":10}", 200, NULL,
          "\"result\":285" },
    };
    steps_run(&server, steps, ARRAY_LEN(steps));
}

static void cross_site__as_browsers_say_it__refused(void **state)
{
    (void)state;
    static const struct step steps[] = {
        { "POST", "/compute/sum_squares", HTTP_JSON "Sec-Fetch-Site: cross-site\r\n", "{\"n\":1}", 403,
          "cross_site_refused", NULL },
        { "GET", "/compute/sum_squares?n=1", "Sec-Fetch-Site: cross-site\r\n", NULL, 403, "cross_site_refused", NULL },
        { "GET", "/fetch?url=http://127.0.0.1/", "Sec-Fetch-Site: cross-site\r\n", NULL, 403, "cross_site_refused",
          NULL },
        { "POST", "/compute/sum_squares", HTTP_JSON "Sec-Fetch-Site: same-site\r\n", "{\"n\":1}", 403,
          "cross_site_refused", NULL },
        { "POST", "/compute/sum_squares", HTTP_JSON "Sec-Fetch-Site: same-origin\r\n", "{\"n\":1}", 200, NULL, NULL },
        { "GET", "/compute/sum_squares?n=1", "Sec-Fetch-Site: none\r\n", NULL, 200, NULL, NULL },
    };
    steps_run(&server, steps, ARRAY_LEN(steps));
}

static void request_id__valid_or_not__kept_or_replaced(void **state)
{
    (void)state;
    struct http_reply reply = step_once(&server, "GET", "/healthz", "X-Request-Id: my.own-Id_7\r\n", NULL, 200);
    assert_string_equal(http_header(&reply, "X-Request-Id"), "my.own-Id_7");
    http_reply_done(&reply);
    reply = step_once(&server, "GET", "/healthz", "X-Request-Id: not allowed!\r\n", NULL, 200);
    assert_string_not_equal(http_header(&reply, "X-Request-Id"), "not allowed!");
    char *first = strdup(http_header(&reply, "X-Request-Id"));
    http_reply_done(&reply);
    reply = step_once(&server, "GET", "/healthz", NULL, NULL, 200);
    assert_string_not_equal(http_header(&reply, "X-Request-Id"), first);
    free(first);
    http_reply_done(&reply);
}

static void head__same_as_get__without_body(void **state)
{
    (void)state;
    struct http_reply get = step_once(&server, "GET", "/tasks", NULL, NULL, 200);
    struct http_reply head = step_once(&server, "HEAD", "/tasks", NULL, NULL, 200);
    assert_string_equal(http_header(&get, "Content-Length"), http_header(&head, "Content-Length"));
    assert_string_equal(http_header(&get, "Content-Type"), http_header(&head, "Content-Type"));
    assert_int_equal(head.body_len, 0);
    http_reply_done(&get);
    http_reply_done(&head);
}

static void tasks__listed__with_schemas(void **state)
{
    (void)state;
    struct http_reply reply = step_once(&server, "GET", "/tasks", NULL, NULL, 200);
    cJSON *list = cJSON_Parse(reply.body);
    assert_non_null(list);
    assert_string_equal(json_text_at(list, "tasks.0.name"), "sum_squares");
    assert_true(json_number(list, "tasks.0.args.properties.n.maximum") == 10000000000.0);
    cJSON_Delete(list);
    http_reply_done(&reply);
}

static void pipelined__three_requests__answered_in_order(void **state)
{
    (void)state;
    static const char bytes[] = "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: one\r\n\r\n"
                                "GET /compute/sum_squares?n=10 HTTP/1.1\r\nHost: x\r\nX-Request-Id: two\r\n\r\n"
                                "GET /nothing HTTP/1.1\r\nHost: x\r\nX-Request-Id: three\r\n\r\n";
    static const struct {
        const char *id;
        unsigned status;
    } expected[] = { { "one", 200 }, { "two", 200 }, { "three", 404 } };
    struct http_conn conn;
    assert_true(http_connect(&conn, server.port));
    assert_true(http_send_raw(&conn, bytes, sizeof bytes - 1));
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        struct http_reply reply;
        assert_int_equal(http_receive(&conn, false, scaled_ms(5000), &reply), HTTP_ANSWERED);
        assert_int_equal(reply.status, expected[i].status);
        assert_string_equal(http_header(&reply, "X-Request-Id"), expected[i].id);
        http_reply_done(&reply);
    }
    http_close(&conn);
}

static void body__at_the_limit_and_beyond__taken_and_413(void **state)
{
    (void)state;
    char *body = malloc(1 << 20);
    assert_non_null(body);
    memset(body, ' ', 1 << 20);
    memcpy(body, "{\"n\":10}", 8);
    struct http_conn conn;
    struct http_reply reply;

    assert_true(http_connect(&conn, server.port));
    http_exchange(&conn, "POST", "/compute/sum_squares", HTTP_JSON, body, BODY_MAX, &reply);
    assert_int_equal(reply.status, 200);
    http_reply_done(&reply);
    http_close(&conn);

    static const size_t too_long[] = { BODY_MAX + 1, 1 << 20 };
    for (size_t i = 0; i < ARRAY_LEN(too_long); i++) {
        assert_true(http_connect(&conn, server.port));
        http_exchange(&conn, "POST", "/compute/sum_squares", HTTP_JSON, body, too_long[i], &reply);
        assert_int_equal(reply.outcome, HTTP_ANSWERED);
        assert_int_equal(reply.status, 413);
        assert_non_null(strstr(reply.body, "max-body-bytes"));
        http_reply_done(&reply);
        http_close(&conn);
    }
    free(body);
}

static void chunked__in_small_pieces__same_as_one(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        "POST /compute/sum_squares HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n",
        "3\r\n{\"n",
        "\r\n",
        "5\r\n\":10}\r\n",
        "0\r\n",
        "\r\n"
    };
    struct http_conn conn;
    struct http_reply reply;
    assert_true(http_connect(&conn, server.port));
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
        assert_true(http_send_raw(&conn, pieces[i], strlen(pieces[i])));
    assert_int_equal(http_receive(&conn, false, scaled_ms(5000), &reply), HTTP_ANSWERED);
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.body, "\"result\":285"));
    http_reply_done(&reply);
    http_exchange(&conn, "GET", "/healthz", NULL, NULL, 0, &reply);
    assert_int_equal(reply.status, 200);
    http_reply_done(&reply);
    http_close(&conn);
}

static void expect_continue__body_held_back__invited_and_answered(void **state)
{
    (void)state;
    static const char head[] = "POST /compute/sum_squares HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                               "Expect: 100-continue\r\nContent-Length: 8\r\n\r\n";
    char invitation[64] = { 0 };
    struct http_conn conn;
    struct http_reply reply;
    assert_true(http_connect(&conn, server.port));
    assert_true(http_send_raw(&conn, head, sizeof head - 1));
    const struct timeval limit = { .tv_sec = scaled_ms(5000) / 1000 };
    setsockopt(conn.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_true(recvfrom(conn.fd, invitation, sizeof invitation - 1, MSG_PEEK, NULL, NULL) > 12);
    assert_memory_equal(invitation, "HTTP/1.1 100", 12);
    assert_true(http_send_raw(&conn, "{\"n\":10}", 8));
    assert_int_equal(http_receive(&conn, false, scaled_ms(5000), &reply), HTTP_ANSWERED);
    assert_int_equal(reply.status, 200);
    http_reply_done(&reply);
    http_close(&conn);
}

/* Sends one byte every 20 ms until the server answers or closes. */
static void drip(struct http_conn *conn, const char *beginning, uint32_t limit_ms)
{
    struct http_reply reply;
    uint64_t start_ns = clock_now_ns();
    assert_true(http_connect(conn, server.port));
    assert_true(http_send_raw(conn, beginning, strlen(beginning)));
    do {
        if (!http_send_raw(conn, "a", 1)) {
            http_close(conn);
            return;
        }
        http_receive(conn, false, 20, &reply);
        bool is_over = reply.outcome != HTTP_TIMED_OUT;
        if (reply.outcome == HTTP_ANSWERED)
            assert_int_equal(reply.status, 408);
        http_reply_done(&reply);
        if (is_over) {
            http_close(conn);
            return;
        }
    } while (elapsed_ms(start_ns) < limit_ms);
    http_close(conn);
    fail_msg("still open after %u ms", limit_ms);
}

static void slow_client__byte_by_byte__ended_at_the_absolute_deadline(void **state)
{
    (void)state;
    struct http_conn conn;
    drip(&conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ", scaled_ms(2500));
    drip(&conn,
         "POST /compute/sum_squares HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
         "60000\r\n\r\n",
         scaled_ms(2500));
}

static void half_close__in_mid_body__connection_ended(void **state)
{
    (void)state;
    static const char bytes[] = "POST /compute/sum_squares HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                                "Content-Length: 100\r\n\r\n{";
    struct http_conn conn;
    assert_true(http_connect(&conn, server.port));
    assert_true(http_send_raw(&conn, bytes, sizeof bytes - 1));
    shutdown(conn.fd, SHUT_WR);
    assert_true(http_wait_closed(&conn, scaled_ms(2500)));
    http_close(&conn);
}

static bool is_healthy(void *context)
{
    (void)context;
    struct http_reply reply;
    http_once(server.port, "GET", "/healthz", NULL, NULL, &reply);
    bool is_ok = reply.outcome == HTTP_ANSWERED && reply.status == 200;
    http_reply_done(&reply);
    return is_ok;
}

static void connections__beyond_the_limit__answered_503(void **state)
{
    (void)state;
    struct http_conn conns[CONNECTIONS_MAX + 10];
    struct http_reply reply;
    size_t served = 0, refused = 0;
    for (size_t i = 0; i < ARRAY_LEN(conns); i++)
        assert_true(http_connect(&conns[i], server.port));
    for (size_t i = 0; i < ARRAY_LEN(conns); i++) {
        http_exchange(&conns[i], "GET", "/healthz", NULL, NULL, 0, &reply);
        assert_int_equal(reply.outcome, HTTP_ANSWERED);
        served += reply.status == 200;
        refused +=
            reply.status == 503 && strstr(reply.body, "too_many_connections") && http_header(&reply, "Retry-After");
        http_reply_done(&reply);
    }
    for (size_t i = 0; i < ARRAY_LEN(conns); i++)
        http_close(&conns[i]);
    assert_int_equal(served + refused, ARRAY_LEN(conns));
    assert_in_range(served, CONNECTIONS_MAX - 1, CONNECTIONS_MAX);
    assert_true(wait_until(is_healthy, NULL, scaled_ms(2000)));
}

static void metrics__after_requests__counted(void **state)
{
    (void)state;
    struct http_reply reply = step_once(&server, "GET", "/metrics", NULL, NULL, 200);
    assert_non_null(strstr(http_header(&reply, "Content-Type"), "text/plain"));
    assert_non_null(strstr(reply.body, "# HELP "));
    assert_true(reply.body[reply.body_len - 1] == '\n');
    http_reply_done(&reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routes__right_and_wrong_requests__typed_answers),
        cmocka_unit_test(cross_site__as_browsers_say_it__refused),
        cmocka_unit_test(request_id__valid_or_not__kept_or_replaced),
        cmocka_unit_test(head__same_as_get__without_body),
        cmocka_unit_test(tasks__listed__with_schemas),
        cmocka_unit_test(pipelined__three_requests__answered_in_order),
        cmocka_unit_test(body__at_the_limit_and_beyond__taken_and_413),
        cmocka_unit_test(chunked__in_small_pieces__same_as_one),
        cmocka_unit_test(expect_continue__body_held_back__invited_and_answered),
        cmocka_unit_test(slow_client__byte_by_byte__ended_at_the_absolute_deadline),
        cmocka_unit_test(half_close__in_mid_body__connection_ended),
        cmocka_unit_test(connections__beyond_the_limit__answered_503),
        cmocka_unit_test(metrics__after_requests__counted),
    };
    return cmocka_run_group_tests_name("service", tests, start, stop);
}
