/* Tests of pool/ledger.c: an entry for each request, up to a limit, and their JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_check.h"
#include "pool/ledger.h"

static struct ledger ledger;

static int setup(void **state)
{
    (void)state;
    ledger = (struct ledger){ 0 };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ledger_done(&ledger);
    return 0;
}

static const uint64_t accepted_ns = 100 * NS_PER_SEC;

/* Its URL is a copy. */
static void add(struct ledger_entry entry, const char *url)
{
    entry.url = url ? strdup(url) : NULL;
    ledger_add(&ledger, &entry);
}

static void expect_json(const char *first_url, const char *expected)
{
    struct buf out = BUF_INIT(1 << 20);
    struct json_error error;
    buf_byte(&out, ' '); /* it appends */
    ledger_json(&ledger, first_url, accepted_ns, &out);
    assert_false(out.failed);
    if (!json_check(out.data, out.len, &JSON_LIMITS_DEFAULT, &error))
        fail_msg("%s at byte %zu of %.*s", error.message, error.offset, (int)out.len, out.data);
    buf_byte(&out, '\0');
    assert_string_equal(out.data + 1, expected);
    buf_done(&out);
}

static void json__nothing__empty_array(void **state)
{
    (void)state;
    expect_json("http://h/", "[]");
}

static void json__each_kind_of_entry__exactly_the_contract(void **state)
{
    (void)state;
    add((struct ledger_entry){ .attempt = 1,
                               .status = ST_CONNECT_TIMEOUT,
                               .began_ns = accepted_ns + 1250000,
                               .dns_ns = 1000000,
                               .connect_ns = 2000500,
                               .elapsed_ns = 3000500 },
        NULL);
    add((struct ledger_entry){ .attempt = 2,
                               .is_hedge = true,
                               .status = ST_OK,
                               .http_status = 302,
                               .began_ns = accepted_ns + 2 * NS_PER_SEC,
                               .dns_ns = 1000,
                               .connect_ns = 2000,
                               .tls_ns = 3000,
                               .first_byte_ns = 4000,
                               .body_ns = 5000,
                               .elapsed_ns = 15000 },
        "https://h/\"\xff");
    add(
        (struct ledger_entry){
            .attempt = 2, .is_reused = true, .status = ST_OK, .http_status = 200, .began_ns = accepted_ns },
        "http://h/2");
    expect_json(
        "http://h/1",
        "[{\"attempt\":1,\"url\":\"http://h/1\",\"error\":\"connect_timeout\",\"reused\":false,\"at_ms\":1.250,"
        "\"elapsed_ms\":3.001,\"timing_ms\":{\"dns\":1.000,\"connect\":2.001,\"first_byte\":0.000,\"body\":0.000}},"
        "{\"attempt\":2,\"url\":\"https://h/\\\"\xef\xbf\xbd\",\"status\":302,\"hedge\":true,\"reused\":false,"
        "\"at_ms\":2000.000,\"elapsed_ms\":0.015,\"timing_ms\":{\"dns\":0.001,\"connect\":0.002,\"tls\":0.003,"
        "\"first_byte\":0.004,\"body\":0.005}},"
        "{\"attempt\":2,\"url\":\"http://h/2\",\"status\":200,\"reused\":true,\"at_ms\":0.000,\"elapsed_ms\":0.000,"
        "\"timing_ms\":{\"dns\":0.000,\"connect\":0.000,\"first_byte\":0.000,\"body\":0.000}}]");
    assert_int_equal(ledger.count, 3);
    assert_int_equal(ledger.requests, 3);
}

/* One who joined a transfer that was under way before. */
static void json__began_before_the_acceptance__at_zero(void **state)
{
    (void)state;
    add((struct ledger_entry){ .attempt = 1, .status = ST_TOO_SLOW, .began_ns = accepted_ns - 1 }, NULL);
    expect_json("http://h/",
                "[{\"attempt\":1,\"url\":\"http://h/\",\"error\":\"too_slow\",\"reused\":false,\"at_ms\":0.000,"
                "\"elapsed_ms\":0.000,\"timing_ms\":{\"dns\":0.000,\"connect\":0.000,\"first_byte\":0.000,"
                "\"body\":0.000}}]");
}

static void phases__tls_or_not__members(void **state)
{
    (void)state;
    const struct ledger_entry entry = {
        .dns_ns = 1000, .connect_ns = 2000, .tls_ns = 3000, .first_byte_ns = 4000, .body_ns = 5000
    };
    struct buf out = BUF_INIT(1000);
    ledger_phases_json(&entry, true, &out);
    buf_byte(&out, '\0');
    assert_string_equal(out.data, "\"dns\":0.001,\"connect\":0.002,\"tls\":0.003,\"first_byte\":0.004,\"body\":0.005");
    buf_clear(&out);
    ledger_phases_json(&entry, false, &out);
    buf_byte(&out, '\0');
    assert_string_equal(out.data, "\"dns\":0.001,\"connect\":0.002,\"first_byte\":0.004,\"body\":0.005");
    buf_done(&out);
}

static void add__more_than_are_described__counted_only(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 3 * LEDGER_ENTRIES_MAX; i++)
        add((struct ledger_entry){ .attempt = i, .status = ST_OK }, "http://h/x"); /* URLs not kept are freed: ASan */
    assert_int_equal(ledger.count, LEDGER_ENTRIES_MAX);
    assert_int_equal(ledger.requests, 3 * LEDGER_ENTRIES_MAX);
    for (unsigned i = 0; i < LEDGER_ENTRIES_MAX; i++)
        assert_int_equal(ledger.entries[i].attempt, i + 1); /* the first ones, in order */
}

static void clear__used_again__starts_anew_in_the_same_memory(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10; i++)
        add((struct ledger_entry){ .attempt = 1 }, "http://h/x");
    const struct ledger_entry *entries = ledger.entries;
    unsigned capacity = ledger.capacity;
    ledger_clear(&ledger);
    assert_int_equal(ledger.count, 0);
    assert_int_equal(ledger.requests, 0);
    expect_json("http://h/", "[]");
    for (unsigned i = 0; i < capacity; i++)
        add((struct ledger_entry){ .attempt = 1 }, i % 2 ? "http://h/y" : NULL);
    assert_ptr_equal(ledger.entries, entries);
    assert_int_equal(ledger.capacity, capacity);
}

static void done__twice_or_unused__a_no_op(void **state)
{
    (void)state;
    ledger_done(&ledger);
    add((struct ledger_entry){ .attempt = 1 }, "http://h/x");
    ledger_done(&ledger);
    assert_null(ledger.entries);
    assert_int_equal(ledger.count, 0);
    assert_int_equal(ledger.requests, 0);
    ledger_clear(&ledger);
}

static void json__no_room__fails_as_a_buf_does(void **state)
{
    (void)state;
    struct buf out = BUF_INIT(50);
    add((struct ledger_entry){ .attempt = 1 }, NULL);
    ledger_json(&ledger, "http://h/", accepted_ns, &out);
    assert_true(out.failed);
    buf_done(&out);
}

#define ledger_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ledger_test(json__nothing__empty_array),
        ledger_test(json__each_kind_of_entry__exactly_the_contract),
        ledger_test(json__began_before_the_acceptance__at_zero),
        ledger_test(phases__tls_or_not__members),
        ledger_test(add__more_than_are_described__counted_only),
        ledger_test(clear__used_again__starts_anew_in_the_same_memory),
        ledger_test(done__twice_or_unused__a_no_op),
        ledger_test(json__no_room__fails_as_a_buf_does),
    };
    return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
