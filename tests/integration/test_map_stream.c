/* POST /compute/{task}/map with Accept: application/x-ndjson or text/event-stream: order, readers who leave or stop,
 * quorum, deadline, workers that are killed, the end of the service. */
#include "tests/integration/stream_rig.h"

#include <signal.h>

#include "tests/support/procs.h"

#define SUMS    "/compute/sum_squares/map"
#define DIGESTS "/compute/digest/map"
#define ENDLESS "{\"n\":10000000000}" /* seconds */
#define LONG    "{\"n\":300000000}"
#define FOUR    LONG "," LONG "," LONG "," LONG
/* One endless item: the other worker is there for the rest, whatever else this machine does. */
#define TAIL ENDLESS "," FOUR "," FOUR "," FOUR "," FOUR
enum { TAIL_ITEMS = 17 };
#define FOUR_SHORT "{\"n\":3},{\"n\":3},{\"n\":3},{\"n\":3}"

enum {
    WORKERS = 2,
    MANY = 100000,
    DIGEST_BYTES = 128, /* at least, of a line */
    KILL_ITEMS = 900,
    KILLS = 12,
    LEAVERS = 80,
    GROWTH_MAX_KIB =
        32 * 1024 /* of the front end, for a map of MANY that nobody reads: the body, its items, the window */
};

static void start(const char *option, const char *value)
{
    const char *const flags[] = { "--workers", "2", "--loops", "2", "--map-stream-bytes", "64k", option, value, NULL };
    assert_int_equal(rig_start(flags), 0);
}

static int start_plain(void **state)
{
    (void)state;
    start(NULL, NULL);
    return 0;
}

static void ask_map(struct http_conn *conn, const char *target, const char *accept, const char *body)
{
    char fields[128];
    snprintf(fields, sizeof fields, HTTP_JSON "Accept: %s\r\n", accept);
    assert_true(http_send(conn, "POST", target, fields, body, strlen(body)));
}

static void open_map(struct http_conn *conn, const char *target, const char *accept, const char *body)
{
    assert_true(http_connect(conn, server.port));
    ask_map(conn, target, accept, body);
}

/* `[ITEM, … count times]`; '%u' in the item is its index. */
static char *array_of(const char *item, unsigned count)
{
    struct buf text = BUF_INIT(64 << 20);
    const char *number = strstr(item, "%u");
    size_t len;
    for (unsigned i = 0; i < count; i++) {
        buf_byte(&text, i ? ',' : '[');
        if (number)
            buf_printf(&text, "%.*s%u%s", (int)(number - item), item, i, number + 2);
        else
            buf_str(&text, item);
    }
    buf_append(&text, "]", 2);
    assert_false(text.failed);
    return buf_take(&text, &len);
}

static bool only_we_ask(void *context)
{
    (void)context;
    return server_stat(&server, "requests.in_flight") == 1 && server_stat(&server, "compute.running") == 0 &&
           server_stat(&server, "compute.queued") == 0;
}

static void expect_nothing_left(void)
{
    assert_true(wait_until(only_we_ask, NULL, scaled_ms(5000)));
    assert_true(server_wait_workers(&server, WORKERS, scaled_ms(5000)));
    struct http_reply reply = step_once(&server, "GET", "/compute/sum_squares?n=10&timeout_ms=5000", NULL, NULL, 200);
    http_reply_done(&reply);
}

/* ---- order and form */

static void input_order__100000_items__each_in_its_place(void **state)
{
    (void)state;
    struct http_conn conn;
    char *body = array_of("{\"n\":%u}", MANY);
    open_map(&conn, SUMS, NDJSON, body);
    free(body);
    struct http_reply reply = finish_stream(&conn);
    assert_string_equal(http_header(&reply, "Content-Type"), NDJSON);
    const char *at = reply.body;
    unsigned long long sum = 0;
    for (unsigned long long i = 0; i < MANY; i++) {
        char line[96];
        int len = snprintf(line, sizeof line, "{\"index\":%llu,\"result\":%llu}\n", i, sum);
        if (strncmp(at, line, (size_t)len) != 0)
            fail_msg("expected %s, got %.80s", line, at);
        at += len;
        sum += i * i;
    }
    assert_memory_equal(at, "{\"summary\":{\"ok\":100000,\"failed\":0,\"elapsed_ms\":", 48);
    http_reply_done(&reply);
    http_close(&conn);
}

static void input_order__long_item_first__others_wait_for_it(void **state)
{
    (void)state;
    struct http_conn conn;
    open_map(&conn, SUMS "?chunksize=1", EVENTS, "[{\"n\":300000000},{\"n\":1},{\"m\":1},{\"n\":2}]");
    struct http_reply reply = finish_stream(&conn);
    assert_string_equal(http_header(&reply, "Content-Type"), EVENTS);
    struct parsed_stream parsed = parse_stream(reply.body, true);
    assert_int_equal(expect_whole(&parsed, 4), 3);
    for (unsigned i = 0; i < 4; i++)
        assert_true(json_number(parsed.results[i], "index") == i);
    assert_string_equal(json_text_at(parsed.results[2], "error.code"), "invalid_args");
    free_parsed(&parsed);
    http_reply_done(&reply);
    http_close(&conn);
}

static void by_completion__long_item_first__it_comes_last(void **state)
{
    (void)state;
    struct http_conn conn;
    open_map(&conn, SUMS "?chunksize=1&order=completed", NDJSON, "[{\"n\":300000000},{\"n\":1},{\"n\":3},{\"n\":2}]");
    await_text(&conn, "{\"index\":3,\"result\":1}\n");
    struct http_reply reply = finish_stream(&conn);
    struct parsed_stream parsed = parse_stream(reply.body, false);
    assert_int_equal(expect_whole(&parsed, 4), 4);
    assert_true(json_number(parsed.results[3], "index") == 0);
    assert_true(json_number(parsed.results[3], "result") == 8999999955000000050000000.0);
    free_parsed(&parsed);
    http_reply_done(&reply);
    http_close(&conn);
}

static void by_completion__without_a_stream__document_with_indexes(void **state)
{
    (void)state;
    struct http_reply reply = step_once(&server, "POST", SUMS "?chunksize=1&order=completed", HTTP_JSON,
                                        "[{\"n\":300000000},{\"n\":3}]", 200);
    cJSON *document = cJSON_Parse(reply.body);
    assert_string_equal(http_header(&reply, "Content-Type"), "application/json");
    assert_true(json_number(document, "results.0.index") == 1);
    assert_true(json_number(document, "results.0.result") == 5);
    assert_true(json_number(document, "results.1.index") == 0);
    assert_true(json_number(document, "ok") == 2);
    cJSON_Delete(document);
    http_reply_done(&reply);
}

/* The items before an endless one are not held back by it. */
static void first_items__done__sent_while_others_run(void **state)
{
    (void)state;
    struct http_conn conn;
    open_map(&conn, SUMS "?chunksize=1", NDJSON, "[" FOUR_SHORT "," TAIL "]");
    await_text(&conn, "{\"index\":3,\"result\":5}\n");
    http_close(&conn);
    expect_nothing_left();
}

static void wrong_parameters__as_stream_or_not__422(void **state)
{
    (void)state;
    static const struct step steps[] = {
        { "POST", SUMS "?order=done", HTTP_JSON, "[]", 422, "invalid_args", "completed" },
        { "POST", SUMS "?require=2", HTTP_JSON, "[{\"n\":3}]", 422, "invalid_args", "require" },
        { "POST", SUMS "?buffersize=2", HTTP_JSON, "[{\"n\":3}]", 422, "invalid_args", "goes with a stream" },
        { "POST", SUMS "?buffersize=0", HTTP_JSON "Accept: " NDJSON "\r\n", "[]", 422, "invalid_args",
          "map-max-items" },
        { "POST", SUMS, HTTP_JSON "Accept: " NDJSON "\r\n", "{}", 400, "invalid_json", NULL },
        { "POST", SUMS, "Content-Type: application/x-ndjson\r\nAccept: " NDJSON "\r\n", "{\"n\":3}\n\n{\"n\":4}", 200,
          NULL, "{\"index\":0,\"result\":5}\n{\"index\":1,\"result\":14}\n{\"summary\":" },
        { "POST", SUMS "?require=all", HTTP_JSON, "[{\"n\":3},{\"n\":4}]", 200, NULL,
          "\"ok\":2,\"failed\":0,\"quorum\":{\"required\":2,\"succeeded\":2,\"met\":true}" },
    };
    steps_run(&server, steps, ARRAY_LEN(steps));
}

/* ---- readers */

static void leaves__in_mid_stream__all_is_cancelled(void **state)
{
    (void)state;
    static void (*const leave[])(struct http_conn * conn) = { http_close, reset_connection };
    static const char body[] = "[" FOUR_SHORT "," TAIL "]";
    for (size_t i = 0; i < ARRAY_LEN(leave); i++) {
        struct http_conn conn;
        open_map(&conn, SUMS "?chunksize=1", i ? NDJSON : EVENTS, body);
        await_text(&conn, "{\"index\":3,\"result\":5}");
        leave[i](&conn);
        expect_nothing_left();
    }
}

static void half_close__the_rest_is_cancelled_and_told(void **state)
{
    (void)state;
    struct http_conn conn;
    open_map(&conn, SUMS "?chunksize=1", NDJSON, "[" FOUR_SHORT "," TAIL "]");
    await_text(&conn, "{\"index\":3,\"result\":5}");
    shutdown(conn.fd, SHUT_WR);
    unsigned ok = expect_rest(&conn, 4 + TAIL_ITEMS, "cancelled");
    assert_true(ok >= 4 && ok < 4 + TAIL_ITEMS);
    http_close(&conn);
    expect_nothing_left();
}

static bool jobs_have_changed(void *count)
{
    double *before = count, now = server_stat(&server, "compute.submitted");
    bool has_changed = now != *before;
    *before = now;
    return has_changed;
}

static void reader__stops__nothing_more_is_begun_and_memory_is_bounded(void **state)
{
    (void)state;
    struct http_conn conn;
    char *body = array_of("{\"text\":\"%u\",\"algorithm\":\"sha512\"}", MANY);
    pid_t front_end = server_front_end_pid(&server);
    size_t before_kib = procs_rss_kib(front_end);
    double jobs = server_stat(&server, "compute.submitted");
    connect_reluctant(&conn);
    ask_map(&conn, DIGESTS "?chunksize=20", NDJSON, body);
    free(body);
    double before = jobs;
    assert_true(wait_until(jobs_have_changed, &jobs, scaled_ms(5000)));
    while (wait_until(jobs_have_changed, &jobs, scaled_ms(400))) {
    }
    size_t grown_kib = procs_peak_rss_kib(front_end) - before_kib;
    print_message("    stood still after %.0f of %u items; the front end has grown by %zu KiB\n", (jobs - before) * 20,
                  MANY, grown_kib);
    assert_true((jobs - before) * 20 < MANY);
    assert_true(server_stat(&server, "compute.running") == 0 && server_stat(&server, "compute.queued") == 0);
    assert_true(server_stat(&server, "requests.in_flight") == 2);
    if (scaled_ms(1) == 1) /* sanitizers have memory of their own for ours */
        assert_true(grown_kib < GROWTH_MAX_KIB);
    struct http_reply reply = finish_stream(&conn);
    assert_true(reply.body_len > (size_t)MANY * DIGEST_BYTES);
    const char *at = reply.body;
    for (unsigned i = 0; i < MANY; i++) {
        char start_text[64];
        int len = snprintf(start_text, sizeof start_text, "{\"index\":%u,\"result\":{\"algorithm\":\"sha512\"", i);
        if (strncmp(at, start_text, (size_t)len) != 0)
            fail_msg("expected %s, got %.80s", start_text, at);
        at = strchr(at, '\n') + 1;
    }
    assert_memory_equal(at, "{\"summary\":{\"ok\":100000,\"failed\":0,", 35);
    http_reply_done(&reply);
    http_close(&conn);
}

/* What is done behind an item that takes its time counts, too. */
static void buffersize__endless_item__others_run_ahead_by_no_more(void **state)
{
    (void)state;
    struct http_conn conn;
    char *body = array_of("{\"n\":1}", 100);
    double before = server_stat(&server, "compute.submitted"), jobs = before;
    struct buf items = BUF_INIT(1 << 16);
    buf_printf(&items, "[" FOUR_SHORT "," ENDLESS ",%s", body + 1);
    buf_byte(&items, '\0');
    open_map(&conn, SUMS "?chunksize=1&buffersize=4", NDJSON, items.data);
    await_text(&conn, "{\"index\":3,\"result\":5}\n");
    while (wait_until(jobs_have_changed, &jobs, scaled_ms(200))) {
    }
    assert_true(jobs - before == 8); /* four were read, the endless one and three behind it fill the buffer */
    http_close(&conn);
    expect_nothing_left();
    buf_done(&items);
    free(body);
}

static uint32_t next_random(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 1103515245 + 12345;
    return (*seed >> 16) % below;
}

static void leavers__at_any_moment__nothing_left(void **state)
{
    (void)state;
    uint32_t seed = 1;
    char *body = array_of("{\"n\":100000}", 2000);
    for (unsigned i = 0; i < LEAVERS; i++) {
        struct http_conn conn;
        char target[128];
        snprintf(target, sizeof target, SUMS "?order=%s&buffersize=%u%s", next_random(&seed, 2) ? "input" : "completed",
                 1 + next_random(&seed, 2000), next_random(&seed, 3) ? "" : "&require=50");
        if (next_random(&seed, 2))
            assert_true(http_connect(&conn, server.port));
        else
            connect_reluctant(&conn);
        ask_map(&conn, target, i % 2 ? NDJSON : EVENTS, body);
        enum http_outcome ignored = http_await_bytes(&conn, next_random(&seed, 30000), next_random(&seed, 25));
        (void)ignored;
        (next_random(&seed, 2) ? http_close : reset_connection)(&conn);
    }
    free(body);
    expect_nothing_left();
}

/* ---- ends */

static void require__all_and_one_is_bad__the_rest_is_cancelled(void **state)
{
    (void)state;
    struct http_conn conn;
    uint64_t start_ns = clock_now_ns();
    open_map(&conn, SUMS "?require=all&chunksize=1", NDJSON,
             "[" ENDLESS ",{\"n\":-1},{\"n\":-1},{\"n\":-1}," ENDLESS "]");
    struct http_reply reply = finish_stream(&conn);
    struct parsed_stream parsed = parse_stream(reply.body, false);
    assert_int_equal(expect_whole(&parsed, 5), 0);
    assert_string_equal(json_text_at(parsed.results[0], "error.code"), "cancelled");
    assert_string_equal(json_text_at(parsed.results[1], "error.code"), "invalid_args");
    assert_string_equal(json_text_at(parsed.results[4], "error.code"), "cancelled");
    assert_true(json_number(parsed.summary, "quorum.required") == 5);
    assert_true(cJSON_IsFalse(json_at(parsed.summary, "quorum.met")));
    assert_true(elapsed_ms(start_ns) < scaled_ms(1000));
    free_parsed(&parsed);
    http_reply_done(&reply);
    http_close(&conn);
    expect_nothing_left();
}

static void require__any__the_first_result_ends_it(void **state)
{
    (void)state;
    struct http_conn conn;
    open_map(&conn, SUMS "?require=any&chunksize=1&order=completed", NDJSON,
             "[" ENDLESS ",{\"n\":3},{\"n\":3},{\"n\":3}," ENDLESS "," ENDLESS "]");
    unsigned ok = expect_rest(&conn, 6, "cancelled");
    assert_true(ok >= 1 && ok <= 3);
    http_close(&conn);
    expect_nothing_left();
}

static void timeout__in_mid_stream__the_rest_is_told(void **state)
{
    (void)state;
    struct http_conn conn;
    uint64_t start_ns = clock_now_ns();
    open_map(&conn, SUMS "?chunksize=1&timeout_ms=300", NDJSON, "[" FOUR_SHORT "," TAIL "]");
    unsigned ok = expect_rest(&conn, 4 + TAIL_ITEMS, "deadline_exceeded");
    assert_true(ok < 4 + TAIL_ITEMS);
    assert_true(elapsed_ms(start_ns) >= 295);
    assert_true(elapsed_ms(start_ns) < 300 + scaled_ms(1000));
    ask_map(&conn, SUMS, NDJSON, "[{\"n\":3}]"); /* and the connection is as good as before */
    assert_int_equal(expect_rest(&conn, 1, NULL), 1);
    http_close(&conn);
    expect_nothing_left();
}

static void kill_a_worker(unsigned which)
{
    struct server_worker workers[WORKERS];
    if (server_workers(&server, workers, WORKERS) > which && workers[which].pid > 0)
        kill(workers[which].pid, SIGKILL);
}

static void workers__killed_in_mid_stream__each_item_once(void **state)
{
    (void)state;
    static const char *const targets[] = { SUMS "?chunksize=10", SUMS "?order=completed&chunksize=10" };
    char *body = array_of("{\"n\":2000000}", KILL_ITEMS);
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        struct http_conn conn;
        open_map(&conn, targets[i], NDJSON, body);
        await_text(&conn, "{\"index\":");
        for (unsigned kills = 0; kills < KILLS; kills++) {
            kill_a_worker(kills % WORKERS);
            usleep(10000);
        }
        struct http_reply reply = finish_stream(&conn);
        struct parsed_stream parsed = parse_stream(reply.body, false);
        unsigned ok = expect_whole(&parsed, KILL_ITEMS);
        for (size_t item = 0; item < KILL_ITEMS; item++) {
            if (json_at(parsed.results[item], "error"))
                assert_string_equal(json_text_at(parsed.results[item], "error.code"), "worker_crashed");
            else
                assert_true(json_number(parsed.results[item], "result") == 2666664666667000000.0);
            assert_true(i > 0 || json_number(parsed.results[item], "index") == (double)item);
        }
        assert_true(ok >= KILL_ITEMS - KILLS);
        print_message("    %u of %u items were lost with their workers\n", KILL_ITEMS - ok, KILL_ITEMS);
        free_parsed(&parsed);
        http_reply_done(&reply);
        http_close(&conn);
        expect_nothing_left();
    }
    free(body);
}

static void grace__over_in_mid_stream__every_item_and_the_summary_are_told(void **state)
{
    (void)state;
    start("--grace-ms", "200");
    struct http_conn conn;
    open_map(&conn, SUMS "?chunksize=1", NDJSON, "[" FOUR_SHORT "," TAIL "]");
    await_text(&conn, "{\"index\":3,");
    kill(server.pid, SIGTERM);
    unsigned ok = expect_rest(&conn, 4 + TAIL_ITEMS, "draining");
    assert_true(ok >= 4 && ok < 4 + TAIL_ITEMS);
    http_close(&conn);
    assert_int_equal(server_wait_exit(&server, scaled_ms(5000)), 0);
}

static void reader__stops_for_good__dropped_after_the_response_timeout(void **state)
{
    (void)state;
    start("--response-timeout-ms", "700");
    struct http_conn conn;
    char *body = array_of("{\"text\":\"%u\",\"algorithm\":\"sha512\"}", MANY);
    connect_reluctant(&conn);
    ask_map(&conn, DIGESTS, EVENTS, body);
    free(body);
    expect_nothing_left();
    struct http_reply reply;
    http_receive(&conn, false, scaled_ms(5000), &reply);
    assert_true(reply.outcome == HTTP_CLOSED || reply.outcome == HTTP_RESET);
    http_reply_done(&reply);
    http_close(&conn);
}

#define plain_test(f) cmocka_unit_test_setup_teardown(f, start_plain, rig_stop)
#define own_test(f)   cmocka_unit_test_teardown(f, rig_stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        plain_test(input_order__100000_items__each_in_its_place),
        plain_test(input_order__long_item_first__others_wait_for_it),
        plain_test(by_completion__long_item_first__it_comes_last),
        plain_test(by_completion__without_a_stream__document_with_indexes),
        plain_test(first_items__done__sent_while_others_run),
        plain_test(wrong_parameters__as_stream_or_not__422),
        plain_test(leaves__in_mid_stream__all_is_cancelled),
        plain_test(half_close__the_rest_is_cancelled_and_told),
        plain_test(reader__stops__nothing_more_is_begun_and_memory_is_bounded),
        plain_test(buffersize__endless_item__others_run_ahead_by_no_more),
        plain_test(leavers__at_any_moment__nothing_left),
        plain_test(require__all_and_one_is_bad__the_rest_is_cancelled),
        plain_test(require__any__the_first_result_ends_it),
        plain_test(timeout__in_mid_stream__the_rest_is_told),
        plain_test(workers__killed_in_mid_stream__each_item_once),
        own_test(grace__over_in_mid_stream__every_item_and_the_summary_are_told),
        own_test(reader__stops_for_good__dropped_after_the_response_timeout),
    };
    return cmocka_run_group_tests_name("map_stream", tests, NULL, NULL);
}
