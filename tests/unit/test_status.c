/* status: the table is complete and consistent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/attrs.h"
#include "base/status.h"

static void row__every_status__is_filled(void **state)
{
    (void)state;
    for (int s = 0; s < STATUS_COUNT; s++) {
        enum status status = (enum status)s;
        assert_in_range(status_http(status), 200, 599);
        assert_int_not_equal(strlen(status_code(status)), 0);
        assert_int_equal(strspn(status_code(status), "abcdefghijklmnopqrstuvwxyz_"), strlen(status_code(status)));
        assert_int_not_equal(strlen(status_title(status)), 0);
    }
}

static void code__every_status__is_unique(void **state)
{
    (void)state;
    for (int a = 0; a < STATUS_COUNT; a++) {
        for (int b = a + 1; b < STATUS_COUNT; b++)
            assert_string_not_equal(status_code((enum status)a), status_code((enum status)b));
    }
}

static void row__known_status__has_its_contract(void **state)
{
    (void)state;
    assert_int_equal(status_http(ST_QUEUE_FULL), 503);
    assert_string_equal(status_code(ST_QUEUE_FULL), "queue_full");
    assert_string_equal(status_title(ST_QUEUE_FULL), "The queue is full");
    assert_true(status_retriable(ST_QUEUE_FULL));
    assert_int_equal(status_http(ST_OK), 200);
    assert_false(status_retriable(ST_INVALID_ARGS));
    assert_int_equal(status_http(ST_TOTAL_TOO_LARGE), 502);
}

/* What the fetch engine tells apart, as callers see it. */
static void row__each_end_of_a_fetch__has_its_contract(void **state)
{
    static const struct {
        enum status status;
        unsigned http;
        const char *code;
        bool retriable;
    } rows[] = {
        { ST_DEADLINE_EXCEEDED, 504, "deadline_exceeded", true },
        { ST_HOST_BUSY, 503, "host_busy", true },
        { ST_BREAKER_OPEN, 503, "breaker_open", true },
        { ST_DNS_TIMEOUT, 504, "dns_timeout", true },
        { ST_CONNECT_TIMEOUT, 504, "connect_timeout", true },
        { ST_TLS_TIMEOUT, 504, "tls_timeout", true },
        { ST_FIRST_BYTE_TIMEOUT, 504, "first_byte_timeout", true },
        { ST_TOO_SLOW, 504, "too_slow", true },
        { ST_CONNECTION_CLOSED, 502, "connection_closed", true },
        { ST_PROTOCOL_ERROR, 502, "protocol_error", true },
        { ST_TLS_VERIFY_FAILED, 502, "tls_verify_failed", false },
        { ST_PORT_NOT_ALLOWED, 403, "port_not_allowed", false },
        { ST_HOST_NOT_ALLOWED, 403, "host_not_allowed", false },
        { ST_BLOCKED_ADDRESS, 403, "blocked_address", false },
        { ST_LOOP_DETECTED, 508, "loop_detected", false },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(status_http(rows[i].status), rows[i].http);
        assert_string_equal(status_code(rows[i].status), rows[i].code);
        assert_int_equal(status_retriable(rows[i].status), rows[i].retriable);
    }
}

static void row__value_outside_the_enum__is_internal(void **state)
{
    (void)state;
    const int outside[] = { STATUS_COUNT, STATUS_COUNT + 1, 4711, -1 };
    for (size_t i = 0; i < ARRAY_LEN(outside); i++) {
        enum status status = (enum status)outside[i];
        assert_int_equal(status_http(status), 500);
        assert_string_equal(status_code(status), "internal");
        assert_string_equal(status_title(status), status_title(ST_INTERNAL));
        assert_true(status_retriable(status));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row__every_status__is_filled),
        cmocka_unit_test(code__every_status__is_unique),
        cmocka_unit_test(row__known_status__has_its_contract),
        cmocka_unit_test(row__each_end_of_a_fetch__has_its_contract),
        cmocka_unit_test(row__value_outside_the_enum__is_internal),
    };
    return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
