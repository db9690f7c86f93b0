/* How streams end that do not simply come to their end: clients that leave, stop reading or are too slow, deadlines,
 * the end of the service. */
#include "tests/integration/stream_rig.h"

#include <signal.h>

enum {
    LARGE_ITEMS = 1000, /* of 20 KB: far more than the sockets and the window hold (4 MiB and 64 KiB) */
    STALLED = 20,
    LEAVERS = 120,
    RESPONSE_TIMEOUT_MS = 700,
    TARGET_BYTES = 256
};

static void start(const char *option, const char *value)
{
    const char *const flags[] = { "--workers",
                                  "1",
                                  "--fetch-allow",
                                  "127.0.0.1/32",
                                  "--fetch-per-host",
                                  "0",
                                  "--loops",
                                  "2",
                                  "--fetch-stream-bytes",
                                  "64k",
                                  option,
                                  value,
                                  NULL };
    assert_int_equal(rig_start(flags), 0);
}

static int start_plain(void **state)
{
    (void)state;
    start(NULL, NULL);
    return 0;
}

static char *stalling_list(void) { return list_of("@/stall?%u", STALLED, ",\"timeout_ms\":60000"); }
static char *large_list(void)
{
    return list_of("@/bytes/20000?%u", LARGE_ITEMS, ",\"concurrency\":10,\"timeout_ms\":60000");
}

static bool requests_have_changed(void *count)
{
    uint64_t *before = count, now = origin_get_counts(origin).requests;
    bool has_changed = now != *before;
    *before = now;
    return has_changed;
}

/* Waits until the origin is asked for nothing more. Returns how often it was. */
static uint64_t await_standstill(void)
{
    uint64_t requests = origin_get_counts(origin).requests;
    while (wait_until(requests_have_changed, &requests, scaled_ms(400))) {
    }
    return requests;
}

static bool only_we_ask(void *context)
{
    (void)context;
    return server_stat(&server, "requests.in_flight") == 1;
}

static void expect_nothing_left(void)
{
    await_idle();
    assert_true(wait_until(only_we_ask, NULL, scaled_ms(5000)));
}

/* ---- the client leaves */

static void leaves__while_items_stall__transfers_are_ended(void **state)
{
    (void)state;
    static void (*const leave[])(struct http_conn * conn) = { http_close, reset_connection };
    char *body = stalling_list();
    for (size_t i = 0; i < ARRAY_LEN(leave); i++) {
        struct http_conn conn;
        open_stream(&conn, i ? NDJSON : EVENTS, "", body);
        await_in_flight(STALLED);
        leave[i](&conn);
        assert_true(wait_until(origin_is_idle, NULL, scaled_ms(2000)));
        expect_nothing_left();
    }
    free(body);
}

static void leaves__in_mid_line__transfers_are_ended(void **state)
{
    (void)state;
    struct http_conn conn;
    char *body = large_list();
    open_reluctant(&conn, NDJSON, body);
    await_text(&conn, "{\"index\":");
    reset_connection(&conn);
    expect_nothing_left();
    free(body);
}

/* It has said all it will say, but it still reads: what has come so far and how the rest ended. */
static void half_close__while_items_stall__the_rest_is_cancelled_and_told(void **state)
{
    (void)state;
    struct http_conn conn;
    open_stream(&conn, NDJSON, "", "{\"urls\":[\"@/small\",\"@/stall\",\"@/stall\"]}");
    await_text(&conn, "{\"index\":0,");
    shutdown(conn.fd, SHUT_WR);
    assert_int_equal(expect_rest(&conn, 3, "cancelled"), 1);
    http_close(&conn);
    expect_nothing_left();
}

static uint32_t next_random(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 1103515245 + 12345;
    return (*seed >> 16) % below;
}

/* At any moment of a stream: before its head, between and within lines, while it rests, near its end. */
static void leavers__at_any_moment__nothing_left(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (unsigned i = 0; i < LEAVERS; i++) {
        struct http_conn conn;
        char body[512];
        snprintf(
            body, sizeof body,
            "{\"urls\":[\"@/small\",\"@/delay/%u\",\"@/bytes/%u\",\"@/chunked/50000\",\"@/delay/%u\",\"nonsense\"]%s}",
            next_random(&seed, 20), next_random(&seed, 100000), next_random(&seed, 10),
            next_random(&seed, 2) ? ",\"require\":\"any\"" : "");
        if (next_random(&seed, 3))
            open_stream(&conn, i % 2 ? NDJSON : EVENTS, "", body);
        else
            open_reluctant(&conn, NDJSON, body);
        enum http_outcome ignored = http_await_bytes(&conn, next_random(&seed, 4000), next_random(&seed, 25));
        (void)ignored;
        (next_random(&seed, 2) ? http_close : reset_connection)(&conn);
    }
    expect_nothing_left();
}

/* ---- the client does not read */

static void reader__stops__transfers_stand_still_and_go_on(void **state)
{
    (void)state;
    struct http_conn conn;
    struct http_reply reply;
    char *body = large_list();
    open_reluctant(&conn, NDJSON, body);
    uint64_t asked = await_standstill();
    assert_true(asked > 0);
    assert_true(asked < LARGE_ITEMS);
    print_message("    stood still after %u of %u requests\n", (unsigned)asked, LARGE_ITEMS);
    assert_true(server_stat(&server, "requests.in_flight") == 2);    /* it was not dropped */
    assert_true(http_send(&conn, "GET", "/healthz", NULL, NULL, 0)); /* to be answered when its turn comes */
    assert_int_equal(expect_rest(&conn, LARGE_ITEMS, NULL), LARGE_ITEMS);
    assert_int_equal(origin_get_counts(origin).requests, LARGE_ITEMS);
    http_receive(&conn, false, scaled_ms(5000), &reply);
    assert_int_equal(reply.status, 200);
    http_reply_done(&reply);
    http_close(&conn);
    expect_nothing_left();
    free(body);
}

/* Not even those who would share a transfer with one of its items. */
static void reader__stops__others_do_not_wait_for_it(void **state)
{
    (void)state;
    struct http_conn conn;
    struct buf body = BUF_INIT(1 << 20);
    buf_lit(&body, "{\"concurrency\":1,\"timeout_ms\":60000,\"coalesce\":true,\"urls\":[");
    for (unsigned i = 0; i < LARGE_ITEMS - 1; i++)
        buf_printf(&body, "\"@/bytes/20000?%u\",", i);
    buf_append(&body, "\"@/small\"]}", sizeof "\"@/small\"]}");
    open_reluctant(&conn, NDJSON, body.data);
    await_standstill();
    cJSON *answer = post_fetch("{\"url\":\"@/small\",\"timeout_ms\":60000,\"coalesce\":true}", 200);
    assert_true(json_number(answer, "status") == 200);
    assert_true(json_number(answer, "elapsed_ms") < scaled_ms(5000));
    cJSON_Delete(answer);
    reset_connection(&conn);
    expect_nothing_left();
    buf_done(&body);
}

/* However small the window: what is complete is sent, not lost. */
static void window__of_a_few_results__no_item_lost(void **state)
{
    (void)state;
    start("--fetch-stream-bytes", "1k");
    struct http_conn conn;
    char *body = list_of("@/status/204?%u", LARGE_ITEMS, "");
    for (unsigned i = 0; i < 3; i++) {
        open_stream(&conn, NDJSON, "", body);
        assert_int_equal(expect_rest(&conn, LARGE_ITEMS, NULL), LARGE_ITEMS);
        http_close(&conn);
    }
    free(body);
}

static void reader__stops_for_good__dropped_after_the_response_timeout(void **state)
{
    (void)state;
    start("--response-timeout-ms", "700");
    struct http_conn conn;
    struct http_reply reply;
    char *body = large_list();
    uint64_t start_ns = clock_now_ns();
    open_reluctant(&conn, NDJSON, body);
    expect_nothing_left();
    assert_true(elapsed_ms(start_ns) >= RESPONSE_TIMEOUT_MS);
    http_receive(&conn, false, scaled_ms(5000), &reply);
    assert_true(reply.outcome == HTTP_CLOSED || reply.outcome == HTTP_RESET);
    http_reply_done(&reply);
    http_close(&conn);
    free(body);
}

/* The response timeout is for clients that do not read, not for origins that take their time. */
static void stream__rests_longer_than_the_response_timeout__kept(void **state)
{
    (void)state;
    start("--response-timeout-ms", "100");
    struct http_conn conn;
    open_stream(&conn, NDJSON, "", "{\"urls\":[\"@/small\",\"@/delay/700\",\"@/small\"]}");
    assert_int_equal(expect_rest(&conn, 3, NULL), 3);
    http_close(&conn);
}

/* ---- time is up */

static void request_timeout__in_mid_stream__the_rest_is_told(void **state)
{
    (void)state;
    struct http_conn conn;
    uint64_t start_ns = clock_now_ns();
    open_stream(&conn, NDJSON, "Request-Timeout-Ms: 300\r\n",
                "{\"concurrency\":2,\"urls\":[\"@/small\",\"@/stall\",\"@/stall\",\"@/stall\"]}");
    unsigned ok = expect_rest(&conn, 4, "deadline_exceeded");
    assert_int_equal(ok, 1);
    assert_true(elapsed_ms(start_ns) >= 295);
    assert_true(elapsed_ms(start_ns) < 300 + scaled_ms(1000));
    ask_stream(&conn, NDJSON, "", "{\"urls\":[\"@/small\"]}"); /* and the connection is as good as before */
    assert_int_equal(expect_rest(&conn, 1, NULL), 1);
    http_close(&conn);
    expect_nothing_left();
}

/* ---- the service ends */

static bool is_draining(void *context)
{
    (void)context;
    return server_log_contains(&server, "draining");
}

static void sigterm__in_mid_stream__goes_on_to_its_end(void **state)
{
    (void)state;
    start("--grace-ms", "20000");
    struct http_conn conn;
    open_stream(&conn, NDJSON, "", "{\"urls\":[\"@/small\",\"@/gate\",\"@/gate?2\"]}");
    await_text(&conn, "{\"index\":0,");
    await_in_flight(2);
    kill(server.pid, SIGTERM);
    assert_true(wait_until(is_draining, NULL, scaled_ms(2000)));
    origin_open_gate(origin);
    assert_int_equal(expect_rest(&conn, 3, NULL), 3);
    assert_int_equal(server_wait_exit(&server, scaled_ms(5000)), 0);
    http_close(&conn);
}

static void grace__over_in_mid_stream__every_item_and_the_summary_are_told(void **state)
{
    (void)state;
    start("--grace-ms", "200");
    struct http_conn conns[4];
    for (size_t i = 0; i < ARRAY_LEN(conns); i++) {
        open_stream(&conns[i], NDJSON, "",
                    "{\"concurrency\":2,\"urls\":[\"@/small\",\"@/stall\",\"@/stall?2\",\"@/stall?3\"]}");
        await_text(&conns[i], "{\"index\":0,");
    }
    kill(server.pid, SIGTERM);
    for (size_t i = 0; i < ARRAY_LEN(conns); i++) {
        assert_int_equal(expect_rest(&conns[i], 4, "draining"), 1);
        http_close(&conns[i]);
    }
    assert_int_equal(server_wait_exit(&server, scaled_ms(5000)), 0);
}

/* Nobody can be told who does not read; the service ends all the same. */
static void grace__over_and_nobody_reads__the_service_ends(void **state)
{
    (void)state;
    start("--grace-ms", "100");
    struct http_conn conn;
    char *body = large_list();
    open_reluctant(&conn, NDJSON, body);
    await_standstill();
    kill(server.pid, SIGTERM);
    assert_int_equal(server_wait_exit(&server, scaled_ms(6000)), 0);
    http_close(&conn);
    free(body);
}

#define plain_test(f) cmocka_unit_test_setup_teardown(f, start_plain, rig_stop)
#define own_test(f)   cmocka_unit_test_teardown(f, rig_stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        plain_test(leaves__while_items_stall__transfers_are_ended),
        plain_test(leaves__in_mid_line__transfers_are_ended),
        plain_test(half_close__while_items_stall__the_rest_is_cancelled_and_told),
        plain_test(leavers__at_any_moment__nothing_left),
        plain_test(reader__stops__transfers_stand_still_and_go_on),
        plain_test(reader__stops__others_do_not_wait_for_it),
        own_test(window__of_a_few_results__no_item_lost),
        own_test(reader__stops_for_good__dropped_after_the_response_timeout),
        own_test(stream__rests_longer_than_the_response_timeout__kept),
        plain_test(request_timeout__in_mid_stream__the_rest_is_told),
        own_test(sigterm__in_mid_stream__goes_on_to_its_end),
        own_test(grace__over_in_mid_stream__every_item_and_the_summary_are_told),
        own_test(grace__over_and_nobody_reads__the_service_ends),
    };
    return cmocka_run_group_tests_name("stream_ends", tests, NULL, NULL);
}
