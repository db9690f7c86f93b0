/* Tests of pool/retry_policy.c: what may be sent again, and after how long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "pool/retry_policy.h"

/* A failed GET that may be tried again, with all the time in the world. */
static const struct retry_question good = { .attempts = 1,
                                            .retries_max = 2,
                                            .method = FETCH_GET,
                                            .was_sent = true,
                                            .status = ST_CONNECTION_CLOSED,
                                            .is_retriable = true,
                                            .retry_after_ns = CLOCK_NEVER,
                                            .left_ns = CLOCK_NEVER };

static bool is_due(const struct retry_question *question)
{
    uint64_t delay_ns;
    return retry_is_due(question, &delay_ns);
}

static uint64_t delay_of(const struct retry_question *question)
{
    uint64_t delay_ns = CLOCK_NEVER;
    assert_true(retry_is_due(question, &delay_ns));
    return delay_ns;
}

static void is_due__ordinary__yes(void **state)
{
    (void)state;
    assert_true(is_due(&good));
}

static void is_due__each_method_sent_or_not__idempotent_or_unsent_or_allowed(void **state)
{
    (void)state;
    static const struct {
        enum fetch_method method;
        bool is_idempotent;
    } methods[] = {
        { FETCH_GET, true },     { FETCH_HEAD, true },  { FETCH_PUT, true },    { FETCH_DELETE, true },
        { FETCH_OPTIONS, true }, { FETCH_POST, false }, { FETCH_PATCH, false },
    };
    for (size_t m = 0; m < ARRAY_LEN(methods); m++) {
        for (unsigned bits = 0; bits < 4; bits++) {
            struct retry_question question = good;
            question.method = methods[m].method;
            question.was_sent = (bits & 1) != 0;
            question.may_repeat_unsafe = (bits & 2) != 0;
            bool expected = methods[m].is_idempotent || !question.was_sent || question.may_repeat_unsafe;
            assert_int_equal(is_due(&question), expected);
        }
    }
}

/* Of a failure it is what the transfer says that counts, of an answer its status: for every method and history. */
static void is_due__each_outcome__only_if_it_may_be_different(void **state)
{
    (void)state;
    for (int s = 0; s < STATUS_COUNT; s++) {
        for (unsigned http = 100; http < 600; http++) {
            for (unsigned is_retriable = 0; is_retriable < 2; is_retriable++) {
                struct retry_question question = good;
                question.status = (enum status)s;
                question.http_status = http;
                question.is_retriable = is_retriable != 0;
                bool expected = question.status == ST_OK ? retry_is_for_status(http) : question.is_retriable;
                if (is_due(&question) != expected)
                    fail_msg("%s %u %u", status_code(question.status), http, is_retriable);
                question.method = FETCH_POST;
                assert_false(is_due(&question));
            }
        }
    }
}

static void is_for_status__each__those_that_ask_for_patience(void **state)
{
    (void)state;
    for (unsigned http = 0; http < 1000; http++) {
        bool expected = http == 408 || http == 429 || http == 502 || http == 503 || http == 504;
        assert_int_equal(retry_is_for_status(http), expected);
    }
}

static void is_due__retries_max__that_many_after_the_first(void **state)
{
    (void)state;
    for (unsigned max = 0; max <= RETRIES_MAX; max++) {
        struct retry_question question = good;
        unsigned made = 0;
        question.retries_max = max;
        for (question.attempts = 1; is_due(&question); question.attempts++)
            made++;
        assert_int_equal(made, max);
    }
}

/* ---- the wait */

static uint64_t longest_ns(unsigned attempts)
{
    static const uint64_t ms[] = { 200, 400, 800, 1600, 3200, 6400, 10000, 10000, 10000, 10000 };
    return ms[attempts - 1] * NS_PER_MS;
}

static void delay__any_random__from_none_to_the_whole_and_spread(void **state)
{
    (void)state;
    for (unsigned attempts = 1; attempts <= RETRIES_MAX; attempts++) {
        struct retry_question question = good;
        uint64_t least = CLOCK_NEVER, most = 0;
        unsigned lower_half = 0, count = 0;
        question.retries_max = RETRIES_MAX;
        question.attempts = attempts;
        for (uint64_t random = 0; random <= UINT32_MAX; random += 65521) { /* a prime: every remainder comes up */
            question.random = (uint32_t)random;
            uint64_t delay_ns = delay_of(&question);
            assert_true(delay_ns <= longest_ns(attempts));
            least = delay_ns < least ? delay_ns : least;
            most = delay_ns > most ? delay_ns : most;
            lower_half += delay_ns * 2 < longest_ns(attempts);
            count++;
        }
        assert_true(least < longest_ns(attempts) / 100);
        assert_true(most > longest_ns(attempts) - longest_ns(attempts) / 100);
        assert_in_range(lower_half, count * 45 / 100, count * 55 / 100);
    }
}

static void delay__extreme_randoms__within_bounds(void **state)
{
    (void)state;
    static const uint32_t extremes[] = { 0, 1, 1023, 1024, 1025, 1026, UINT32_MAX - 1, UINT32_MAX };
    for (unsigned attempts = 1; attempts <= RETRIES_MAX; attempts++) {
        for (size_t i = 0; i < ARRAY_LEN(extremes); i++) {
            struct retry_question question = good;
            question.retries_max = RETRIES_MAX;
            question.attempts = attempts;
            question.random = extremes[i];
            assert_true(delay_of(&question) <= longest_ns(attempts));
        }
    }
}

static void delay__as_long_as_is_left__not_tried(void **state)
{
    (void)state;
    struct retry_question question = good;
    question.random = 777;
    uint64_t delay_ns = delay_of(&question);
    question.left_ns = delay_ns + 1;
    assert_true(is_due(&question));
    question.left_ns = delay_ns;
    assert_false(is_due(&question));
    question.random = 0; /* no wait at all */
    question.left_ns = 1;
    assert_true(is_due(&question));
    question.left_ns = 0;
    assert_false(is_due(&question));
}

static void delay__retry_after__not_earlier_and_not_all_at_once(void **state)
{
    (void)state;
    static const uint64_t waits[] = { 0, 1, NS_PER_MS, 3 * NS_PER_SEC, 3600 * NS_PER_SEC };
    for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
        uint64_t least = CLOCK_NEVER, most = 0;
        for (uint64_t random = 0; random <= UINT32_MAX; random += 10000019) {
            struct retry_question question = good;
            question.status = ST_OK;
            question.http_status = 503;
            question.retry_after_ns = waits[i];
            question.random = (uint32_t)random;
            uint64_t delay_ns = delay_of(&question);
            assert_true(delay_ns >= waits[i] && delay_ns <= waits[i] + longest_ns(1));
            least = delay_ns < least ? delay_ns : least;
            most = delay_ns > most ? delay_ns : most;
        }
        assert_true(most - least > longest_ns(1) / 2);
    }
}

static void delay__retry_after_beyond_what_is_left__not_tried(void **state)
{
    (void)state;
    struct retry_question question = good;
    question.status = ST_OK;
    question.http_status = 429;
    question.left_ns = 2 * NS_PER_SEC;
    question.retry_after_ns = NS_PER_SEC;
    for (uint64_t random = 0; random <= UINT32_MAX; random += 10000019) {
        question.random = (uint32_t)random;
        assert_true(is_due(&question));
    }
    question.retry_after_ns = 2 * NS_PER_SEC;
    for (uint64_t random = 0; random <= UINT32_MAX; random += 10000019) {
        question.random = (uint32_t)random;
        assert_false(is_due(&question));
    }
}

static void delay__absurd_retry_after__does_not_wrap(void **state)
{
    (void)state;
    struct retry_question question = good;
    question.status = ST_OK;
    question.http_status = 429;
    question.random = 1024;
    question.retry_after_ns = CLOCK_NEVER - 1; /* and 200 ms more */
    question.left_ns = CLOCK_NEVER;
    assert_false(is_due(&question));
    question.left_ns = 60 * NS_PER_SEC;
    assert_false(is_due(&question));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_due__ordinary__yes),
        cmocka_unit_test(is_due__each_method_sent_or_not__idempotent_or_unsent_or_allowed),
        cmocka_unit_test(is_due__each_outcome__only_if_it_may_be_different),
        cmocka_unit_test(is_for_status__each__those_that_ask_for_patience),
        cmocka_unit_test(is_due__retries_max__that_many_after_the_first),
        cmocka_unit_test(delay__any_random__from_none_to_the_whole_and_spread),
        cmocka_unit_test(delay__extreme_randoms__within_bounds),
        cmocka_unit_test(delay__as_long_as_is_left__not_tried),
        cmocka_unit_test(delay__retry_after__not_earlier_and_not_all_at_once),
        cmocka_unit_test(delay__retry_after_beyond_what_is_left__not_tried),
        cmocka_unit_test(delay__absurd_retry_after__does_not_wrap),
    };
    return cmocka_run_group_tests_name("retry_policy", tests, NULL, NULL);
}
