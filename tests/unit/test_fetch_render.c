/* Tests of pool/fetch_render.c: the JSON of one URL's result, but for the forms of bodies (test_fetch_bodies.c). */
#include "tests/unit/render_case.h"

#include "base/utf8.h"

/* So that a sanitizer's malloc, too, says no instead of ending the program. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "allocator_may_return_null=1"; }

/* ---- answers */

static void answer__plain__exactly_the_contract(void **state)
{
    (void)state;
    assert_true(response_head_line(&head, "HTTP/1.1 200 OK\r\n", 17));
    assert_true(response_head_line(&head, "Content-Type: text/html\r\n", 25));
    render(7);
    assert_string_equal(
        text(), "{\"index\":7,\"url\":\"http://h/\",\"final_url\":\"http://h/x\",\"status\":200,"
                "\"headers\":{\"content-type\":\"text/html\"},\"body\":\"hello\",\"encoding\":\"utf-8\",\"bytes\":5,"
                "\"truncated\":false,\"http_version\":\"1.1\",\"attempts\":1,\"reused\":true,\"elapsed_ms\":41.703,"
                "\"timing_ms\":{\"queue\":1.000,\"host_queue\":0.500,\"dns\":0.000,\"connect\":0.000,"
                "\"first_byte\":38.100,\"body\":2.000}}");
    assert_int_equal(item.status, ST_OK);
    assert_int_equal(item.http_status, 200);
    assert_null(item.message);
}

static void answer__tls_and_redirects__told(void **state)
{
    (void)state;
    outcome.is_tls = true;
    outcome.last.is_reused = false;
    outcome.redirects = 3;
    outcome.last.dns_ns = 1250000;
    outcome.last.tls_ns = 14000000;
    render(0);
    expect_part("\"reused\":false,\"redirects\":3,");
    expect_part("\"dns\":1.250,\"connect\":0.000,\"tls\":14.000,");
}

static void answer__tls_over_a_kept_connection__tls_zero(void **state)
{
    (void)state;
    outcome.is_tls = true;
    render(0);
    expect_part("\"connect\":0.000,\"tls\":0.000,\"first_byte\"");
}

static void answer__error_status__an_answer_all_the_same(void **state)
{
    (void)state;
    outcome.http_status = 503;
    outcome.http_version = "2";
    render(0);
    assert_int_equal(item.status, ST_OK);
    assert_int_equal(item.http_status, 503);
    expect_part("\"status\":503,");
    expect_part("\"http_version\":\"2\"");
    expect_no("\"error\"");
}

static void answer__hedged_or_shared__marked(void **state)
{
    (void)state;
    render(0);
    expect_part("\"attempts\":1,\"reused\"");
    report.is_hedged = true;
    report.attempts = 3;
    render(0);
    expect_part("\"attempts\":3,\"hedged\":true,\"reused\"");
    report.is_shared = true;
    render(0);
    expect_part("\"attempts\":3,\"hedged\":true,\"coalesced\":true,\"reused\"");
    report.is_hedged = false;
    render(0);
    expect_part("\"attempts\":3,\"coalesced\":true,\"reused\"");
}

static void answer__header_filter__these_or_none(void **state)
{
    (void)state;
    static const char *const some[] = { "etag", "absent", NULL }, *const none[] = { NULL };
    assert_true(response_head_line(&head, "HTTP/1.1 200 OK\r\n", 17));
    assert_true(response_head_line(&head, "Server: s\r\n", 11));
    assert_true(response_head_line(&head, "ETag: \"1\"\r\n", 11));
    render(0);
    expect_part("\"headers\":{\"server\":\"s\",\"etag\":\"\\\"1\\\"\"},\"body\"");
    item.answer_headers = some;
    render(0);
    expect_part("\"status\":200,\"headers\":{\"etag\":\"\\\"1\\\"\"},\"body\"");
    item.answer_headers = none;
    render(0);
    expect_part("\"status\":200,\"body\":\"hello\"");
    expect_no("headers");
}

static void answer__urls_that_need_escapes__still_json(void **state)
{
    (void)state;
    item.url = "http://h/\"\xc3\xa4";
    outcome.final_url = "http://h/\xff";
    render(0);
    expect_part("\"url\":\"http://h/\\\"\xc3\xa4\",\"final_url\":\"http://h/\xef\xbf\xbd\"");
}

static void answer__accepted_after_the_shared_transfer_ended__no_time(void **state)
{
    (void)state;
    report.is_shared = true;
    report.accepted_ns = report.ended_ns + 1;
    render(0);
    expect_part("\"elapsed_ms\":0.000,");
}

/* Waits for a host count from when the lane was parked, so the sum may be the smaller one by a rounding. */
static void answer__host_wait_above_the_whole__queue_zero(void **state)
{
    (void)state;
    report.queue_ns = 400000;
    render(0);
    expect_part("\"queue\":0.000,\"host_queue\":0.500,");
}

static void answer__every_line_at_its_worst__has_room(void **state)
{
    (void)state;
    enum { LEN = 60000 };
    char *line = malloc(LEN);
    memset(line, 1, LEN);
    memcpy(line, "A: ", 3);
    assert_true(response_head_line(&head, "HTTP/1.1 200 OK\r\n", 17));
    assert_true(response_head_line(&head, line, LEN));
    for (int i = 0; i < 190; i++)
        assert_true(response_head_line(&head, "Set-Cookie: \x01\x01\r\n", 16));
    char url[8192];
    memset(url, '"', sizeof url - 1);
    url[sizeof url - 1] = '\0';
    item.url = outcome.final_url = url;
    for (int i = 0; i < LEDGER_ENTRIES_MAX; i++) {
        struct ledger_entry entry = { .attempt = 1, .status = ST_UPSTREAM_HEADERS_TOO_LARGE, .url = malloc(257) };
        memset(entry.url, 0xff, 256);
        entry.url[256] = '\0';
        entry.dns_ns = entry.connect_ns = entry.tls_ns = entry.first_byte_ns = entry.body_ns = entry.elapsed_ns =
            UINT64_MAX / 4;
        entry.began_ns = UINT64_MAX;
        ledger_add(&ledger, &entry);
    }
    render(0);
    assert_int_equal(item.status, ST_OK);
    assert_true(item.json_len > 6 * (LEN - 3) + 4 * sizeof url + 64 * 3 * 256);
    text();
    free(line);
}

/* ---- the ledger */

static void add_request(unsigned attempt, enum status status, unsigned http_status, const char *url)
{
    struct ledger_entry entry = { .attempt = attempt,
                                  .status = status,
                                  .http_status = http_status,
                                  .url = url ? strdup(url) : NULL,
                                  .began_ns = 1010 * NS_PER_MS,
                                  .elapsed_ns = 5 * NS_PER_MS };
    ledger_add(&ledger, &entry);
}

static void requests__one__not_listed(void **state)
{
    (void)state;
    ledger = (struct ledger){ 0 };
    add_request(1, ST_OK, 200, NULL);
    render(0);
    expect_no("\"requests\"");
    outcome.status = ST_CONNECT_FAILED;
    outcome.phase = "connect";
    render(0);
    expect_no("\"requests\"");
}

static void requests__several__listed_last(void **state)
{
    (void)state;
    static const char listed[] =
        ",\"requests\":[{\"attempt\":1,\"url\":\"http://h/"
        "\",\"error\":\"connection_closed\",\"reused\":false,\"at_ms\":10.000,"
        "\"elapsed_ms\":5.000,\"timing_ms\":{\"dns\":0.000,\"connect\":0.000,\"first_byte\":0.000,\"body\":0.000}},"
        "{\"attempt\":2,\"url\":\"http://h/x\",\"status\":200,\"reused\":false,\"at_ms\":10.000,\"elapsed_ms\":5.000,"
        "\"timing_ms\":{\"dns\":0.000,\"connect\":0.000,\"first_byte\":0.000,\"body\":0.000}}]}";
    ledger = (struct ledger){ 0 };
    add_request(1, ST_CONNECTION_CLOSED, 0, NULL);
    add_request(2, ST_OK, 200, "http://h/x");
    render(0);
    assert_string_equal(strstr(text(), ",\"requests\""), listed);
    outcome.status = ST_TRUNCATED;
    outcome.phase = "body";
    render(0);
    assert_string_equal(strstr(text(), ",\"requests\""), listed);
}

/* ---- failures */

static void fail_with(enum status status, const char *phase, const char *budget, const char *message)
{
    outcome = (struct transfer_outcome){ .status = status,
                                         .phase = phase,
                                         .budget = budget,
                                         .is_retriable = status_retriable(status),
                                         .last = outcome.last };
    snprintf(outcome.message, sizeof outcome.message, "%s", message);
    render(1);
}

static void failure__any__exactly_the_contract(void **state)
{
    (void)state;
    report.attempts = 2;
    fail_with(ST_CONNECT_TIMEOUT, "connect", "connect_timeout_ms", "after 150 \"ms\"");
    assert_string_equal(
        text(), "{\"index\":1,\"url\":\"http://h/\",\"error\":{\"code\":\"connect_timeout\",\"phase\":\"connect\","
                "\"message\":\"after 150 \\\"ms\\\"\",\"retriable\":true,\"budget\":\"connect_timeout_ms\"},"
                "\"attempts\":2,\"elapsed_ms\":41.703,\"timing_ms\":{\"queue\":1.000,\"host_queue\":0.500,"
                "\"dns\":0.000,\"connect\":0.000,\"first_byte\":38.100,\"body\":2.000}}");
    assert_int_equal(item.status, ST_CONNECT_TIMEOUT);
    assert_string_equal(item.phase, "connect");
    assert_string_equal(item.message, "after 150 \"ms\"");
    assert_true(item.is_retriable);
}

static void failure__no_budget_and_tls__told(void **state)
{
    (void)state;
    outcome.last.tls_ns = 3 * NS_PER_MS;
    report.is_hedged = report.is_shared = true;
    fail_with(ST_TLS_VERIFY_FAILED, "tls", NULL, "self-signed");
    expect_part("\"message\":\"self-signed\",\"retriable\":false},\"attempts\":1,\"hedged\":true,\"coalesced\":true,");
    expect_part("\"connect\":0.000,\"tls\":3.000,");
    assert_false(item.is_retriable);
}

static void failure__any__tail_begins_with_the_attempts(void **state)
{
    (void)state;
    item.url = "http://h/\",\"attempts\":";
    fail_with(ST_DNS_FAILED, "dns", NULL, "},\"attempts\":1");
    assert_true(item.json_tail < item.json_len);
    static const char tail[] = ",\"attempts\":1,\"elapsed_ms\":41.703,\"timing_ms\":{";
    assert_int_equal(strncmp(text() + item.json_tail, tail, sizeof tail - 1), 0);
    assert_int_equal(item.json[item.json_tail - 1], '}'); /* the error's */
}

static void failure__message_not_utf8__made_valid(void **state)
{
    (void)state;
    fail_with(ST_PROTOCOL_ERROR, "body", NULL, "bad \xff byte");
    assert_string_equal(item.message, "bad ? byte");
    expect_part("\"message\":\"bad ? byte\"");
    fail_with(ST_PROTOCOL_ERROR, "body", NULL, "\xc3\xa4");
    assert_string_equal(item.message, "\xc3\xa4");
    fail_with(ST_PROTOCOL_ERROR, "body", NULL, "");
    assert_string_equal(item.message, "");
}

static void failure__many_requests__has_room(void **state)
{
    (void)state;
    char message[TRANSFER_MESSAGE_SIZE];
    memset(message, 1, sizeof message - 1);
    message[sizeof message - 1] = '\0';
    for (int i = 0; i < 2 * LEDGER_ENTRIES_MAX; i++)
        add_request(1, ST_UPSTREAM_HEADERS_TOO_LARGE, 0, "http://h/\"\"\"\"");
    fail_with(ST_DEADLINE_EXCEEDED, "first_byte", "timeout_ms", message);
    expect_part("\"requests\":[");
}

/* A body that nobody looks at, of a length that no memory has room for. */
static void answer__no_memory__fails_with_that(void **state)
{
    (void)state;
    item.body_form = FETCH_BODY_NONE;
    outcome.body_len = (size_t)1 << 46;
    render(3);
    assert_int_equal(item.status, ST_NO_MEMORY);
    expect_part(
        "{\"index\":3,\"url\":\"http://h/\",\"error\":{\"code\":\"out_of_memory\",\"phase\":\"body\",\"message\":");
    assert_int_equal(strncmp(text() + item.json_tail, ",\"attempts\":1,", 14), 0);
}

/* ---- never tried */

static void unstarted__any__waited_all_the_time(void **state)
{
    (void)state;
    double elapsed, queue;
    char url[32], code[32];
    uint64_t accepted_ns = clock_now_ns() - 250 * NS_PER_MS;
    fetch_render_unstarted(&item, 4, &(struct fetch_why){ ST_DEADLINE_EXCEEDED, "queue", "it waited", NULL },
                           accepted_ns, 0);
    assert_int_equal(
        sscanf(
            text(),
            "{\"index\":4,\"url\":\"%31[^\"]\",\"error\":{\"code\":\"%31[^\"]\",\"phase\":\"queue\",\"message\":\"it "
            "waited\",\"retriable\":true},\"attempts\":0,\"elapsed_ms\":%lf,\"timing_ms\":{\"queue\":%lf,"
            "\"host_queue\":0.000,\"dns\":0.000,\"connect\":0.000,\"first_byte\":0.000,\"body\":0.000}}",
            url, code, &elapsed, &queue),
        4);
    assert_string_equal(url, "http://h/");
    assert_string_equal(code, "deadline_exceeded");
    assert_true(elapsed >= 250 && queue == elapsed);
    assert_int_equal(item.status, ST_DEADLINE_EXCEEDED);
    assert_string_equal(item.phase, "queue");
    assert_true(item.is_retriable);
    assert_int_equal(strncmp(text() + item.json_tail, ",\"attempts\":0,", 14), 0);
}

static void unstarted__waited_for_its_host__told(void **state)
{
    (void)state;
    fetch_render_unstarted(&item, 0, &(struct fetch_why){ ST_HOST_BUSY, "host_queue", "busy", NULL },
                           clock_now_ns() - NS_PER_SEC, 900 * NS_PER_MS);
    expect_part("\"code\":\"host_busy\",\"phase\":\"host_queue\"");
    expect_part("\"host_queue\":900.000,");
    expect_no("\"queue\":0.000");
}

static void unstarted__not_retriable__says_so(void **state)
{
    (void)state;
    fetch_render_unstarted(&item, 0, &(struct fetch_why){ ST_BAD_URL, "url", "no", NULL }, clock_now_ns(), 0);
    assert_false(item.is_retriable);
    expect_part("\"code\":\"bad_url\",\"phase\":\"url\",\"message\":\"no\",\"retriable\":false}");
}

static void unstarted__long_or_not_utf8__cut_and_valid(void **state)
{
    (void)state;
    char many[600] = "a";
    for (size_t i = 1; i + 2 < sizeof many; i += 2)
        memcpy(many + i, "\xc3\xa4", 3);
    fetch_render_unstarted(&item, 0, &(struct fetch_why){ ST_PROTOCOL_ERROR, "body", many, NULL }, clock_now_ns(), 0);
    assert_true(strlen(item.message) >= TRANSFER_MESSAGE_SIZE - 3 && strlen(item.message) <= TRANSFER_MESSAGE_SIZE);
    assert_true(utf8_valid(item.message, strlen(item.message)));
    assert_null(strchr(item.message, '?'));
    text();
    forget_result();
    fetch_render_unstarted(&item, 0, &(struct fetch_why){ ST_PROTOCOL_ERROR, "body", "bad \xff byte", NULL },
                           clock_now_ns(), 0);
    assert_string_equal(item.message, "bad ? byte");
    text();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        render_test(answer__plain__exactly_the_contract),
        render_test(answer__tls_and_redirects__told),
        render_test(answer__tls_over_a_kept_connection__tls_zero),
        render_test(answer__error_status__an_answer_all_the_same),
        render_test(answer__hedged_or_shared__marked),
        render_test(answer__header_filter__these_or_none),
        render_test(answer__urls_that_need_escapes__still_json),
        render_test(answer__accepted_after_the_shared_transfer_ended__no_time),
        render_test(answer__host_wait_above_the_whole__queue_zero),
        render_test(answer__every_line_at_its_worst__has_room),
        render_test(requests__one__not_listed),
        render_test(requests__several__listed_last),
        render_test(failure__any__exactly_the_contract),
        render_test(failure__no_budget_and_tls__told),
        render_test(failure__any__tail_begins_with_the_attempts),
        render_test(failure__message_not_utf8__made_valid),
        render_test(failure__many_requests__has_room),
        render_test(answer__no_memory__fails_with_that),
        render_test(unstarted__any__waited_all_the_time),
        render_test(unstarted__waited_for_its_host__told),
        render_test(unstarted__not_retriable__says_so),
        render_test(unstarted__long_or_not_utf8__cut_and_valid),
    };
    return cmocka_run_group_tests_name("fetch_render", tests, NULL, NULL);
}
