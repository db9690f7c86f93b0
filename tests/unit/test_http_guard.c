/* test_http_guard: every case of http_guard_cases.inc whole, byte by byte, and in two parts at every cut; the limits at
 * their edges; each class of bytes against its definition in RFC 9110 and 9112. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/http_guard.h"

enum expectation { EXPECT_PASS, EXPECT_PART, EXPECT_FAIL };

struct guard_case {
    const char *name, *bytes;
    size_t length, good; /* good: of a refused case, what may be passed on */
    enum expectation expectation;
    enum status status;
    enum http_guard_phase phase;
    uint64_t requests;
};

#define TEN(text) text text text text text text text text text text
#define PASS(name_, bytes_, requests_)                                                                \
    {                                                                                                 \
        .name = (name_), .bytes = (bytes_), .length = sizeof(bytes_) - 1, .expectation = EXPECT_PASS, \
        .phase = HTTP_GUARD_IDLE, .requests = (requests_)                                             \
    }
#define PART(name_, bytes_, phase_)                                                                   \
    {                                                                                                 \
        .name = (name_), .bytes = (bytes_), .length = sizeof(bytes_) - 1, .expectation = EXPECT_PART, \
        .phase = (phase_)                                                                             \
    }
#define FAIL(name_, good_, bad_, status_)                                                                  \
    {                                                                                                      \
        .name = (name_), .bytes = good_ bad_, .length = sizeof(good_ bad_) - 1, .good = sizeof(good_) - 1, \
        .expectation = EXPECT_FAIL, .status = (status_), .phase = HTTP_GUARD_REFUSED                       \
    }

#include "tests/unit/http_guard_cases.inc"

static const struct http_guard_limits limits = { .header_bytes = 8192, .header_count = 64, .target_bytes = 4096 };

static bool is_same(const struct http_guard *a, const struct http_guard *b)
{
    return a->phase == b->phase && a->refusal == b->refusal && a->reason == b->reason &&
           (a->requests == b->requests || a->phase == HTTP_GUARD_REFUSED);
}

static void complain(const struct guard_case *row, const char *how, const struct http_guard *guard, size_t passed)
{
    fail_msg("%s, %s: phase %d, status %u (%s), %zu of %zu bytes passed, %llu requests", row->name, how, guard->phase,
             status_http(guard->refusal), guard->reason ? guard->reason : "-", passed, row->length,
             (unsigned long long)guard->requests);
}

static void check_whole(const struct guard_case *row, struct http_guard *guard)
{
    http_guard_init(guard);
    const size_t passed = http_guard_feed(guard, &limits, row->bytes, row->length);
    const bool is_refused = row->expectation == EXPECT_FAIL;
    if (guard->phase != row->phase || passed != (is_refused ? row->good : row->length) ||
        (is_refused && (guard->refusal != row->status || guard->reason == NULL)) ||
        (row->expectation == EXPECT_PASS && guard->requests != row->requests))
        complain(row, "whole", guard, passed);
}

static void check_bytes(const struct guard_case *row, const struct http_guard *whole)
{
    struct http_guard guard;
    http_guard_init(&guard);
    size_t passed = 0, good = 0;
    uint64_t requests = 0;
    for (size_t i = 0; i < row->length && guard.phase != HTTP_GUARD_REFUSED; i++) {
        passed += http_guard_feed(&guard, &limits, row->bytes + i, 1);
        if (guard.phase == HTTP_GUARD_IDLE && guard.requests != requests) { /* and not just an empty line */
            good = i + 1;
            requests = guard.requests;
        }
    }
    if (!is_same(&guard, whole) || (row->expectation == EXPECT_FAIL ? good != row->good : passed != row->length))
        complain(row, "byte by byte", &guard, passed);
}

static void check_cut(const struct guard_case *row, const struct http_guard *whole, size_t cut)
{
    struct http_guard guard;
    http_guard_init(&guard);
    size_t passed = http_guard_feed(&guard, &limits, row->bytes, cut);
    size_t expected = row->length;
    if (row->expectation == EXPECT_FAIL) /* what was passed on in the first part cannot be called back */
        expected = guard.phase != HTTP_GUARD_REFUSED && cut > row->good ? cut : row->good;
    passed += http_guard_feed(&guard, &limits, row->bytes + cut, row->length - cut);
    if (!is_same(&guard, whole) || passed != expected)
        complain(row, "in two parts", &guard, passed);
}

static void check_cases(const struct guard_case *rows, size_t count)
{
    for (const struct guard_case *row = rows; row < rows + count; row++) {
        struct http_guard whole;
        check_whole(row, &whole);
        check_bytes(row, &whole);
        for (size_t cut = 0; cut <= row->length; cut++)
            check_cut(row, &whole, cut);
    }
}

static void feed__request_lines__judged_as_listed(void **state)
{
    (void)state;
    check_cases(request_line_cases, ARRAY_LEN(request_line_cases));
}

static void feed__targets__judged_as_listed(void **state)
{
    (void)state;
    check_cases(target_cases, ARRAY_LEN(target_cases));
}

static void feed__fields__judged_as_listed(void **state)
{
    (void)state;
    check_cases(field_cases, ARRAY_LEN(field_cases));
}

static void feed__hosts__judged_as_listed(void **state)
{
    (void)state;
    check_cases(host_cases, ARRAY_LEN(host_cases));
}

static void feed__content_lengths__judged_as_listed(void **state)
{
    (void)state;
    check_cases(length_cases, ARRAY_LEN(length_cases));
}

static void feed__chunked_bodies__judged_as_listed(void **state)
{
    (void)state;
    check_cases(chunked_cases, ARRAY_LEN(chunked_cases));
}

static void feed__pipelines__good_prefix_passes(void **state)
{
    (void)state;
    check_cases(pipeline_cases, ARRAY_LEN(pipeline_cases));
}

/* ---- limits */

static enum status verdict(const struct http_guard_limits *with, const char *bytes, size_t length)
{
    struct http_guard guard;
    http_guard_init(&guard);
    const size_t passed = http_guard_feed(&guard, with, bytes, length);
    assert_int_equal(passed, guard.phase == HTTP_GUARD_REFUSED ? 0 : length);
    return guard.refusal;
}

/* `before`, `count` times `repeated`, `after`. */
static enum status verdict_of_many(const char *before, size_t count, const char *repeated, const char *after)
{
    char *const text = malloc(strlen(before) + count * strlen(repeated) + strlen(after) + 1);
    assert_non_null(text);
    char *end = stpcpy(text, before);
    for (size_t i = 0; i < count; i++)
        end = stpcpy(end, repeated);
    end = stpcpy(end, after);
    const enum status status = verdict(&limits, text, (size_t)(end - text));
    free(text);
    return status;
}

static void feed__header_bytes_at_limit__pass(void **state)
{
    (void)state;
    static const char request[] = GET;
    struct http_guard_limits with = limits;
    with.header_bytes = sizeof(request) - 1;
    assert_int_equal(verdict(&with, request, sizeof(request) - 1), ST_OK);
    with.header_bytes--;
    assert_int_equal(verdict(&with, request, sizeof(request) - 1), ST_HEADERS_TOO_LARGE);
}

static void feed__header_bytes__counted_anew_per_request(void **state)
{
    (void)state;
    static const char requests[] = GET "\r\n\r\n" POST("Content-Length: 5\r\n") "hello" GET;
    struct http_guard_limits with = limits;
    with.header_bytes = sizeof(POST("Content-Length: 5\r\n")) - 1;
    assert_int_equal(verdict(&with, requests, sizeof(requests) - 1), ST_OK);
}

static void feed__header_without_line_end__refused_at_limit(void **state)
{
    (void)state;
    static const char start[] = "GET / HTTP/1.1\r\nA: ";
    const size_t room = limits.header_bytes - (sizeof(start) - 1);
    assert_int_equal(verdict_of_many(start, room, "x", ""), ST_OK);
    assert_int_equal(verdict_of_many(start, room + 1, "x", ""), ST_HEADERS_TOO_LARGE);
    assert_int_equal(verdict_of_many("GET / HTTP/1.1\r\n", limits.header_bytes, "x", ""), ST_HEADERS_TOO_LARGE);
}

static void feed__trailers__count_as_header_bytes(void **state)
{
    (void)state;
    static const char start[] = CHUNKED "0\r\n";
    const size_t room = limits.header_bytes - (sizeof(CHUNKED) - 1) - sizeof("A: \r\n\r\n") + 1;
    char value[8192];
    memset(value, 'x', sizeof(value));
    value[room] = 0;
    char text[2 * sizeof(value)];
    int length = snprintf(text, sizeof(text), "%sA: %s\r\n\r\n", start, value);
    assert_int_equal(verdict(&limits, text, (size_t)length), ST_OK);
    length = snprintf(text, sizeof(text), "%sA: %sx\r\n\r\n", start, value);
    assert_int_equal(verdict(&limits, text, (size_t)length), ST_HEADERS_TOO_LARGE);
}

static void feed__header_count__refused_beyond_limit(void **state)
{
    (void)state;
    static const char start[] = "GET / HTTP/1.1\r\n" H;
    assert_int_equal(verdict_of_many(start, limits.header_count - 1, "A: b\r\n", "\r\n"), ST_OK);
    assert_int_equal(verdict_of_many(start, limits.header_count, "A: b\r\n", "\r\n"), ST_HEADERS_TOO_LARGE);
}

static void feed__target__refused_beyond_limit(void **state)
{
    (void)state;
    static const char end[] = " HTTP/1.1\r\n" H "\r\n";
    assert_int_equal(verdict_of_many("GET /", limits.target_bytes - 1, "x", end), ST_OK);
    assert_int_equal(verdict_of_many("GET /", limits.target_bytes, "x", end), ST_URI_TOO_LONG);
    assert_int_equal(verdict_of_many("GET /", limits.target_bytes, "x", ""), ST_URI_TOO_LONG);
    assert_int_equal(verdict_of_many("GET /", limits.target_bytes / 3, "%41", end), ST_OK);
    assert_int_equal(verdict_of_many("GET /", limits.target_bytes / 3 + 1, "%41", end), ST_URI_TOO_LONG);
    assert_int_equal(verdict_of_many("GET http://h/", limits.target_bytes - 9, "x", end), ST_OK);
    assert_int_equal(verdict_of_many("GET http://h/", limits.target_bytes - 8, "x", end), ST_URI_TOO_LONG);
    assert_int_equal(verdict_of_many("GET http://", limits.target_bytes - 6, "h", end), ST_URI_TOO_LONG);
}

static void feed__query_parameters__refused_beyond_limit(void **state)
{
    (void)state;
    static const char end[] = " HTTP/1.1\r\n" H "\r\n";
    assert_int_equal(verdict_of_many("GET /?a", HTTP_GUARD_QUERY_MAX, "&a", end), ST_OK);
    assert_int_equal(verdict_of_many("GET /?a", HTTP_GUARD_QUERY_MAX + 1, "&a", end), ST_URI_TOO_LONG);
}

static void feed__cookies__refused_beyond_limit(void **state)
{
    (void)state;
    static const char start[] = "GET / HTTP/1.1\r\n" H "Cookie: a=b";
    const unsigned more = limits.header_count - 2; /* it has two fields */
    assert_int_equal(verdict_of_many(start, more, "; a=b", "\r\n\r\n"), ST_OK);
    assert_int_equal(verdict_of_many(start, more + 1, ";a=b", "\r\n\r\n"), ST_HEADERS_TOO_LARGE);
    assert_int_equal(verdict_of_many(start, more + 1, ",", "\r\n\r\n"), ST_HEADERS_TOO_LARGE);
}

/* They are copied. */
static void feed__cookies__count_twice_as_header_bytes(void **state)
{
    (void)state;
    static const char start[] = "GET / HTTP/1.1\r\n" H "Cookie:";
    const size_t room = (limits.header_bytes - (sizeof start - 1) - sizeof "\r\n\r\n" + 1) / 2;
    assert_int_equal(verdict_of_many(start, room, "x", "\r\n\r\n"), ST_OK);
    assert_int_equal(verdict_of_many(start, room + 1, "x", "\r\n\r\n"), ST_HEADERS_TOO_LARGE);
    assert_int_equal(verdict_of_many(start, limits.header_bytes, "x", ""), ST_HEADERS_TOO_LARGE);
}

/* What libmicrohttpd lists takes memory beside its text. */
static void feed__entries__count_as_header_bytes(void **state)
{
    (void)state;
    static const char request[] = "GET /?a&b HTTP/1.1\r\n" H "Cookie: a=b; c=d\r\n\r\n";
    struct http_guard_limits with = limits;
    with.entry_bytes = 64;
    with.header_bytes = (unsigned)(sizeof request - 1 + sizeof " a=b; c=d" - 1 + (size_t)4 * 64);
    assert_int_equal(verdict(&with, request, sizeof request - 1), ST_OK);
    with.header_bytes--;
    assert_int_equal(verdict(&with, request, sizeof request - 1), ST_HEADERS_TOO_LARGE);
}

static void feed__trailers__refused_beyond_limit(void **state)
{
    (void)state;
    const unsigned more = limits.header_count - 2;
    assert_int_equal(verdict_of_many(CHUNKED "0\r\n", more, "A: b\r\n", "\r\n"), ST_OK);
    assert_int_equal(verdict_of_many(CHUNKED "0\r\n", more + 1, "A: b\r\n", "\r\n"), ST_HEADERS_TOO_LARGE);
}

/* ---- classes of bytes */

static enum status verdict_with_byte(const char *before, int byte, const char *after)
{
    char text[256];
    const size_t before_length = strlen(before), after_length = strlen(after);
    memcpy(text, before, before_length);
    text[before_length] = (char)byte;
    memcpy(text + before_length + 1, after, after_length);
    return verdict(&limits, text, before_length + 1 + after_length);
}

static bool is_alphanumeric(int byte)
{
    return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
}

static bool is_one_of(int byte, const char *set) { return byte != 0 && strchr(set, byte) != NULL; }

static void check_byte(const char *where, int byte, enum status status, bool is_allowed)
{
    if ((status == ST_OK) != is_allowed)
        fail_msg("byte 0x%02x in a %s: %u", byte, where, status_http(status));
}

static void feed__every_byte__judged_by_its_place(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        const bool is_token = is_alphanumeric(byte) || is_one_of(byte, "!#$%&'*+-.^_`|~");
        const bool is_visible = byte > 0x20 && byte < 0x7F;
        const bool is_value = is_visible || byte == ' ' || byte == '\t' || byte >= 0x80;
        const bool is_host = is_alphanumeric(byte) || is_one_of(byte, "-._~!$&'()*+,;=");
        /* ':' ends a name, a port may be empty, and white space may follow a host */
        check_byte("name", byte, verdict_with_byte("GET / HTTP/1.1\r\n" H "A", byte, "B: c\r\n\r\n"),
                   is_token || byte == ':');
        check_byte("value", byte, verdict_with_byte("GET / HTTP/1.1\r\n" H "A: b", byte, "c\r\n\r\n"), is_value);
        check_byte("target", byte, verdict_with_byte("GET /a", byte, "b HTTP/1.1\r\n" H "\r\n"),
                   is_visible && byte != '#' && byte != '%');
        check_byte("host", byte, verdict_with_byte("GET / HTTP/1.1\r\nHost: a", byte, "\r\n\r\n"),
                   is_host || byte == ':' || byte == ' ' || byte == '\t');
        check_byte("escape", byte, verdict_with_byte("GET /%1", byte, " HTTP/1.1\r\n" H "\r\n"),
                   (byte >= '0' && byte <= '9') || is_one_of(byte, "abcdefABCDEF"));
        check_byte("chunk size", byte, verdict_with_byte(CHUNKED, byte, ""),
                   (byte >= '0' && byte <= '9') || is_one_of(byte, "abcdefABCDEF"));
        check_byte("body", byte, verdict_with_byte(POST("Content-Length: 1\r\n"), byte, ""), true);
    }
}

/* ---- the machine */

static void init__any_memory__idle(void **state)
{
    (void)state;
    struct http_guard guard;
    memset(&guard, 0xFF, sizeof(guard));
    http_guard_init(&guard);
    assert_int_equal(guard.phase, HTTP_GUARD_IDLE);
    assert_int_equal(guard.requests, 0);
    assert_null(guard.reason);
}

static void feed__nothing__changes_nothing(void **state)
{
    (void)state;
    struct http_guard guard;
    http_guard_init(&guard);
    assert_int_equal(http_guard_feed(&guard, &limits, "", 0), 0);
    assert_int_equal(guard.phase, HTTP_GUARD_IDLE);
}

static void feed__after_refusal__passes_nothing(void **state)
{
    (void)state;
    struct http_guard guard;
    http_guard_init(&guard);
    assert_int_equal(http_guard_feed(&guard, &limits, "\n", 1), 0);
    const struct http_guard refused = guard;
    assert_int_equal(http_guard_feed(&guard, &limits, GET, sizeof(GET) - 1), 0);
    assert_true(is_same(&guard, &refused));
}

static void feed__offender_began_earlier__passes_nothing_more(void **state)
{
    (void)state;
    struct http_guard guard;
    http_guard_init(&guard);
    assert_int_equal(http_guard_feed(&guard, &limits, "GET / HT", 8), 8);
    assert_int_equal(http_guard_feed(&guard, &limits, "XX", 2), 0);
    assert_int_equal(guard.refusal, ST_BAD_REQUEST);
}

static void feed__offender_held_back__not_counted(void **state)
{
    (void)state;
    static const char bytes[] = GET CHUNKED "5\r\nhello!";
    struct http_guard guard;
    http_guard_init(&guard);
    assert_int_equal(http_guard_feed(&guard, &limits, bytes, sizeof(bytes) - 1), sizeof(GET) - 1);
    assert_int_equal(guard.requests, 1);
    http_guard_init(&guard);
    const size_t head_length = sizeof(GET CHUNKED) - 1;
    assert_int_equal(http_guard_feed(&guard, &limits, bytes, head_length), head_length);
    assert_int_equal(http_guard_feed(&guard, &limits, bytes + head_length, sizeof(bytes) - 1 - head_length), 0);
    assert_int_equal(guard.requests, 2);
}

static void feed__body_in_many_parts__ends_exactly(void **state)
{
    (void)state;
    static const char head[] = POST("Content-Length: 1000000\r\n");
    char part[4096] = { 0 };
    struct http_guard guard;
    http_guard_init(&guard);
    assert_int_equal(http_guard_feed(&guard, &limits, head, sizeof(head) - 1), sizeof(head) - 1);
    for (size_t left = 1000000; left > 0;) {
        const size_t now = left < sizeof(part) ? left : sizeof(part);
        assert_int_equal(guard.phase, HTTP_GUARD_BODY);
        assert_int_equal(http_guard_feed(&guard, &limits, part, now), now);
        left -= now;
    }
    assert_int_equal(guard.phase, HTTP_GUARD_IDLE);
}

static void feed__head_complete__request_counted_before_its_body(void **state)
{
    (void)state;
    static const char head[] = POST("Content-Length: 3\r\n");
    struct http_guard guard;
    http_guard_init(&guard);
    assert_int_equal(http_guard_feed(&guard, &limits, head, sizeof(head) - 2), sizeof(head) - 2);
    assert_int_equal(guard.requests, 0);
    assert_int_equal(guard.phase, HTTP_GUARD_HEAD);
    assert_int_equal(http_guard_feed(&guard, &limits, "\n", 1), 1);
    assert_int_equal(guard.requests, 1);
    assert_int_equal(guard.phase, HTTP_GUARD_BODY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(feed__request_lines__judged_as_listed),
        cmocka_unit_test(feed__targets__judged_as_listed),
        cmocka_unit_test(feed__fields__judged_as_listed),
        cmocka_unit_test(feed__hosts__judged_as_listed),
        cmocka_unit_test(feed__content_lengths__judged_as_listed),
        cmocka_unit_test(feed__chunked_bodies__judged_as_listed),
        cmocka_unit_test(feed__pipelines__good_prefix_passes),
        cmocka_unit_test(feed__header_bytes_at_limit__pass),
        cmocka_unit_test(feed__header_bytes__counted_anew_per_request),
        cmocka_unit_test(feed__header_without_line_end__refused_at_limit),
        cmocka_unit_test(feed__trailers__count_as_header_bytes),
        cmocka_unit_test(feed__header_count__refused_beyond_limit),
        cmocka_unit_test(feed__target__refused_beyond_limit),
        cmocka_unit_test(feed__query_parameters__refused_beyond_limit),
        cmocka_unit_test(feed__cookies__refused_beyond_limit),
        cmocka_unit_test(feed__cookies__count_twice_as_header_bytes),
        cmocka_unit_test(feed__entries__count_as_header_bytes),
        cmocka_unit_test(feed__trailers__refused_beyond_limit),
        cmocka_unit_test(feed__every_byte__judged_by_its_place),
        cmocka_unit_test(init__any_memory__idle),
        cmocka_unit_test(feed__nothing__changes_nothing),
        cmocka_unit_test(feed__after_refusal__passes_nothing),
        cmocka_unit_test(feed__offender_began_earlier__passes_nothing_more),
        cmocka_unit_test(feed__offender_held_back__not_counted),
        cmocka_unit_test(feed__body_in_many_parts__ends_exactly),
        cmocka_unit_test(feed__head_complete__request_counted_before_its_body),
    };
    return cmocka_run_group_tests_name("http_guard", tests, NULL, NULL);
}
