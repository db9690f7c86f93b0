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
        cmocka_unit_test(row__value_outside_the_enum__is_internal),
    };
    return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
