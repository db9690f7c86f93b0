/* POST /fetch with Accept: application/x-ndjson or text/event-stream: what comes, in which order and frame, and what
 * the connection is good for afterwards. How streams end early is test_stream_ends.c. */
#include "tests/integration/stream_rig.h"

enum { STREAMS = 200, ITEMS_EACH = 5 };

static int start(void **state)
{
    (void)state;
    const char *const flags[] = {
        "--workers",         "1",    "--fetch-allow",          "127.0.0.1/32", "--loops", "2", "--fetch-per-host", "0",
        "--fetch-queue-max", "5000", "--fetch-max-body-bytes", "1048576",      NULL
    };
    return rig_start(flags);
}

static void ndjson__items_as_they_end__one_object_a_line(void **state)
{
    (void)state;
    struct http_conn conn;
    open_stream(&conn, NDJSON, "",
                "{\"urls\":[\"@/gate\",\"@/utf8\",{\"url\":\"@/json-pretty\",\"response_body\":\"json\"},"
                "\"@/json-pretty\",\"nonsense\",\"@/control-bytes/2000\"]}");
    for (unsigned i = 1; i < 6; i++) {
        char index[32];
        snprintf(index, sizeof index, "{\"index\":%u,", i);
        await_text(&conn, index);
    }
    origin_open_gate(origin);
    struct http_reply reply = finish_stream(&conn);
    assert_string_equal(http_header(&reply, "Content-Type"), NDJSON);
    assert_string_equal(http_header(&reply, "Cache-Control"), "no-store");
    assert_non_null(http_header(&reply, "X-Request-Id"));
    struct parsed_stream parsed = parse_stream(reply.body, false);
    assert_int_equal(expect_whole(&parsed, 6), 5);
    assert_true(json_number(parsed.results[5], "index") == 0); /* the one that waited comes last */
    assert_true(cJSON_IsObject(json_at(parsed.last, "summary")));
    free_parsed(&parsed);
    http_reply_done(&reply);
    http_close(&conn);
}

static void events__items_as_they_end__one_event_each(void **state)
{
    (void)state;
    struct http_conn conn;
    open_stream(
        &conn, EVENTS, "",
        "{\"urls\":[\"@/delay/150\",\"@/utf8\",{\"url\":\"@/json-pretty\",\"response_body\":\"json\"},\"nonsense\"]}");
    struct http_reply reply = finish_stream(&conn);
    assert_string_equal(http_header(&reply, "Content-Type"), EVENTS);
    struct parsed_stream parsed = parse_stream(reply.body, true);
    assert_int_equal(expect_whole(&parsed, 4), 3);
    free_parsed(&parsed);
    http_reply_done(&reply);
    http_close(&conn);
}

static void accept__in_many_spellings__a_stream_for_who_names_it(void **state)
{
    (void)state;
    static const struct {
        const char *accept, *type;
    } cases[] = {
        { "*/*", "application/json" },
        { "application/json", "application/json" },
        { "text/html, application/*;q=0.5", "application/json" },
        { "Application/X-NDJSON", NDJSON },
        { "application/json;q=0.5, text/event-stream", EVENTS },
        { "application/x-ndjson;q=0, application/json", "application/json" },
        { "application/x-ndjson; q=0.0,text/event-stream; q=0.1", EVENTS },
        { "application/json, application/x-ndjson", NDJSON },
        { "application/x-ndjson-not", "application/json" },
        { "application/json\r\nAccept: application/x-ndjson", NDJSON },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char fields[128], *target = fill_in("/fetch?url=@/small");
        snprintf(fields, sizeof fields, "Accept: %s\r\n", cases[i].accept);
        struct http_reply reply = step_once(&server, "GET", target, fields, NULL, 200);
        if (strcmp(http_header(&reply, "Content-Type"), cases[i].type) != 0)
            fail_msg("%s: %s", cases[i].accept, http_header(&reply, "Content-Type"));
        http_reply_done(&reply);
        free(target);
    }
}

static void single_url__streamed__a_line_and_a_summary(void **state)
{
    (void)state;
    struct http_conn conn;
    char *target = fill_in("/fetch?url=@/delay/30");
    assert_true(http_connect(&conn, server.port));
    assert_true(http_send(&conn, "GET", target, "Accept: " NDJSON "\r\n", NULL, 0));
    assert_int_equal(expect_rest(&conn, 1, NULL), 1);
    http_close(&conn);
    free(target);
}

static void head__asks_for_a_stream__plain_answer(void **state)
{
    (void)state;
    char *target = fill_in("/fetch?url=@/small");
    struct http_reply reply = step_once(&server, "HEAD", target, "Accept: " NDJSON "\r\n", NULL, 200);
    assert_string_equal(http_header(&reply, "Content-Type"), "application/json");
    assert_non_null(http_header(&reply, "Content-Length"));
    assert_int_equal(reply.body_len, 0);
    http_reply_done(&reply);
    free(target);
}

static void failures__only_or_in_the_request__lines_and_problems(void **state)
{
    (void)state;
    struct http_conn conn;
    struct http_reply reply;
    open_stream(&conn, NDJSON, "", "{\"urls\":[\"nonsense\",\"http://127.0.0.2/\"]}");
    assert_int_equal(expect_rest(&conn, 2, NULL), 0);
    ask_stream(&conn, NDJSON, "", "{\"urls\":[]}"); /* no stream of nothing: a problem, on the same connection */
    http_receive(&conn, false, scaled_ms(5000), &reply);
    assert_int_equal(reply.status, 422);
    assert_string_equal(http_header(&reply, "Content-Type"), "application/problem+json");
    http_reply_done(&reply);
    ask_stream(&conn, EVENTS, "", "{\"url\":7}");
    http_receive(&conn, false, scaled_ms(5000), &reply);
    assert_int_equal(reply.status, 422);
    http_reply_done(&reply);
    ask_stream(&conn, EVENTS, "CDN-Loop: twinpool\r\n", "{\"url\":\"@/small\"}");
    http_receive(&conn, false, scaled_ms(5000), &reply);
    assert_int_equal(reply.status, 508);
    http_reply_done(&reply);
    http_close(&conn);
}

static void require__streamed__quorum_in_the_summary(void **state)
{
    (void)state;
    struct http_conn conn;
    open_stream(&conn, NDJSON, "", "{\"urls\":[\"@/stall\",\"@/small\",\"@/status/404\",\"@/small\"],\"require\":2}");
    struct http_reply reply = finish_stream(&conn);
    struct parsed_stream parsed = parse_stream(reply.body, false);
    expect_whole(&parsed, 4);
    assert_true(json_number(parsed.summary, "quorum.required") == 2);
    assert_true(json_number(parsed.summary, "quorum.succeeded") == 2);
    assert_true(cJSON_IsTrue(json_at(parsed.summary, "quorum.met")));
    assert_string_equal(json_text_at(parsed.results[3], "error.code"), "cancelled");
    free_parsed(&parsed);
    http_reply_done(&reply);
    http_close(&conn);
}

/* It knows no chunks: the stream ends with the connection. */
static void http_1_0__streamed__ends_with_the_connection(void **state)
{
    (void)state;
    struct http_conn conn;
    struct buf request = BUF_INIT(4096);
    char *body = fill_in("{\"urls\":[\"@/delay/50\",\"@/small\",\"@/bytes/200000\"]}");
    buf_printf(&request, "POST /fetch HTTP/1.0\r\n" HTTP_JSON "Accept: " NDJSON "\r\nContent-Length: %zu\r\n\r\n%s",
               strlen(body), body);
    assert_true(http_connect(&conn, server.port));
    assert_true(http_send_raw(&conn, request.data, request.len));
    enum http_outcome outcome;
    do
        outcome = http_await_bytes(&conn, conn.unread.len + 1, scaled_ms(STREAM_WAIT_MS));
    while (outcome == HTTP_ANSWERED);
    assert_int_equal(outcome, HTTP_CLOSED);
    buf_byte(&conn.unread, '\0');
    assert_memory_equal(conn.unread.data, "HTTP/1.1 200 OK\r\n", 17);
    char *head_end = strstr(conn.unread.data, "\r\n\r\n");
    assert_non_null(head_end);
    *head_end = '\0';
    assert_null(strcasestr(conn.unread.data, "\r\nTransfer-Encoding:"));
    assert_non_null(strcasestr(conn.unread.data, "\r\nConnection: close"));
    struct parsed_stream parsed = parse_stream(head_end + 4, false);
    assert_int_equal(expect_whole(&parsed, 3), 3);
    free_parsed(&parsed);
    buf_done(&request);
    free(body);
    http_close(&conn);
}

/* ---- the connection */

static void keep_alive__streams_and_others_in_turn__one_connection(void **state)
{
    (void)state;
    struct http_conn conn;
    struct http_reply reply;
    uint64_t accepted = (uint64_t)server_stat(&server, "connections.accepted");
    assert_true(http_connect(&conn, server.port));
    for (unsigned i = 0; i < 5; i++) {
        ask_stream(&conn, NDJSON, "",
                   i % 2 ? "{\"urls\":[\"@/delay/20\",\"@/small\"]}" : "{\"urls\":[\"@/small\",\"nonsense\"]}");
        expect_rest(&conn, 2, NULL);
        http_exchange(&conn, "GET", "/healthz", NULL, NULL, 0, &reply);
        assert_int_equal(reply.status, 200);
        http_reply_done(&reply);
    }
    http_close(&conn);
    /* ours and one for the figure itself */
    assert_true(server_stat(&server, "connections.accepted") - (double)accepted == 2);
}

static void pipelined__behind_a_stream__answered_after_it(void **state)
{
    (void)state;
    struct http_conn conn;
    struct http_reply reply;
    open_stream(&conn, NDJSON, "", "{\"urls\":[\"@/delay/100\",\"@/bytes/300000\",\"@/small\"]}");
    assert_true(http_send(&conn, "GET", "/healthz", NULL, NULL, 0)); /* both are there before the first is answered */
    ask_stream(&conn, EVENTS, "", "{\"urls\":[\"@/small\"]}");
    assert_true(http_send(&conn, "GET", "/nothing", NULL, NULL, 0));
    assert_int_equal(expect_rest(&conn, 3, NULL), 3);
    http_receive(&conn, false, scaled_ms(5000), &reply);
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body, "{\"status\":\"ok\"}");
    http_reply_done(&reply);
    reply = finish_stream(&conn);
    struct parsed_stream parsed = parse_stream(reply.body, true);
    assert_int_equal(expect_whole(&parsed, 1), 1);
    free_parsed(&parsed);
    http_reply_done(&reply);
    http_receive(&conn, false, scaled_ms(5000), &reply);
    assert_int_equal(reply.status, 404);
    http_reply_done(&reply);
    http_close(&conn);
}

/* The next request arrives while the stream is at rest, when libmicrohttpd does not look at the connection. */
static void next_request__sent_while_the_stream_rests__answered(void **state)
{
    (void)state;
    struct http_conn conn;
    struct http_reply reply;
    open_stream(&conn, NDJSON, "", "{\"urls\":[\"@/delay/300\",\"@/small\"]}");
    await_text(&conn, "{\"index\":1,");
    assert_true(http_send(&conn, "GET", "/healthz", NULL, NULL, 0));
    assert_int_equal(expect_rest(&conn, 2, NULL), 2);
    http_receive(&conn, false, scaled_ms(5000), &reply);
    assert_int_equal(reply.status, 200);
    http_reply_done(&reply);
    http_close(&conn);
}

/* What is no request is refused when its turn comes; the stream before it is whole. */
static void garbage__behind_a_stream__refused_after_it(void **state)
{
    (void)state;
    struct http_conn conn;
    struct http_reply reply;
    open_stream(&conn, NDJSON, "", "{\"urls\":[\"@/delay/200\",\"@/small\"]}");
    await_text(&conn, "{\"index\":1,");
    assert_true(http_send_raw(&conn, "garbage\r\n\r\n", 11));
    assert_int_equal(expect_rest(&conn, 2, NULL), 2);
    http_receive(&conn, false, scaled_ms(5000), &reply);
    assert_int_equal(reply.status, 400);
    http_reply_done(&reply);
    assert_true(http_wait_closed(&conn, scaled_ms(5000)));
    http_close(&conn);
}

static void many__200_at_once__each_whole(void **state)
{
    (void)state;
    static struct http_conn conns[STREAMS];
    for (size_t i = 0; i < STREAMS; i++)
        open_stream(&conns[i], NDJSON, "",
                    "{\"urls\":[\"@/delay/200\",\"@/small\",\"@/bytes/20000\",\"@/delay/50\",\"nonsense\"]}");
    for (size_t i = 0; i < STREAMS; i++) {
        assert_int_equal(expect_rest(&conns[i], ITEMS_EACH, "bad_url"), ITEMS_EACH - 1);
        http_close(&conns[i]);
    }
    await_idle();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ndjson__items_as_they_end__one_object_a_line),
        cmocka_unit_test(events__items_as_they_end__one_event_each),
        cmocka_unit_test(accept__in_many_spellings__a_stream_for_who_names_it),
        cmocka_unit_test(single_url__streamed__a_line_and_a_summary),
        cmocka_unit_test(head__asks_for_a_stream__plain_answer),
        cmocka_unit_test(failures__only_or_in_the_request__lines_and_problems),
        cmocka_unit_test(require__streamed__quorum_in_the_summary),
        cmocka_unit_test(http_1_0__streamed__ends_with_the_connection),
        cmocka_unit_test(keep_alive__streams_and_others_in_turn__one_connection),
        cmocka_unit_test(pipelined__behind_a_stream__answered_after_it),
        cmocka_unit_test(next_request__sent_while_the_stream_rests__answered),
        cmocka_unit_test(garbage__behind_a_stream__refused_after_it),
        cmocka_unit_test(many__200_at_once__each_whole),
    };
    return cmocka_run_group_tests_name("stream", tests, start, rig_stop);
}
