/* buf: growth, the limit, the sticky failure, and who owns the bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

static void assert_holds(const struct buf *buf, const char *text)
{
    assert_false(buf->failed);
    assert_int_equal(buf->len, strlen(text));
    assert_memory_equal(buf->data, text, buf->len);
}

static void write__every_kind__appends_in_order(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(100);
    assert_null(buf.data);
    buf_append(&buf, "ab\0", 2);
    buf_str(&buf, "cd");
    buf_byte(&buf, 'e');
    buf_lit(&buf, "fg");
    buf_printf(&buf, "%d-%s", 42, "x");
    assert_holds(&buf, "abcdefg42-x");
    buf_done(&buf);
}

static void append__many_bytes__grows_and_keeps_them(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(1000000);
    for (unsigned i = 0; i < 100000; i++)
        buf_byte(&buf, (char)(i % 251));
    assert_false(buf.failed);
    assert_int_equal(buf.len, 100000);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal((unsigned char)buf.data[i], i % 251);
    buf_done(&buf);
}

static void append__exactly_the_limit__fits(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(5);
    buf_str(&buf, "abc");
    buf_printf(&buf, "%s", "de");
    assert_holds(&buf, "abcde");
    assert_true(buf.cap <= 5);
    buf_done(&buf);
}

static void append__past_the_limit__fails_and_keeps_the_contents(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(5);
    buf_str(&buf, "abc");
    buf_str(&buf, "def");
    assert_true(buf.failed);
    assert_int_equal(buf.len, 3);
    assert_memory_equal(buf.data, "abc", 3);
    buf_done(&buf);
}

static void append__after_a_failure__is_ignored(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(5);
    buf_str(&buf, "abcdefgh");
    buf_byte(&buf, 'x');
    buf_printf(&buf, "y");
    assert_null(buf_reserve(&buf, 1));
    assert_true(buf.failed);
    assert_int_equal(buf.len, 0);
    buf_done(&buf);
}

static void printf__past_the_limit__fails_and_keeps_the_contents(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(300);
    for (int i = 0; i < 290; i++)
        buf_byte(&buf, 'a');
    buf_printf(&buf, "%020d", 7);
    assert_true(buf.failed);
    assert_int_equal(buf.len, 290);
    assert_int_equal(buf.data[289], 'a');
    buf_done(&buf);
}

static void printf__longer_than_the_spare_room__is_whole(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(10000);
    buf_str(&buf, ">");
    buf_printf(&buf, "%01000d", 7);
    assert_int_equal(buf.len, 1001);
    assert_int_equal(buf.data[0], '>');
    assert_int_equal(buf.data[1000], '7');
    assert_int_equal(buf.data[999], '0');
    buf_done(&buf);
}

static void append__length_that_would_wrap__fails(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(SIZE_MAX);
    buf_byte(&buf, 'a');
    assert_null(buf_reserve(&buf, SIZE_MAX));
    assert_true(buf.failed);
    assert_holds(&(struct buf){ .data = buf.data, .len = buf.len }, "a");
    buf_done(&buf);
}

static void append__limit_zero__takes_nothing(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(0);
    buf_append(&buf, "", 0);
    assert_false(buf.failed);
    buf_byte(&buf, 'a');
    assert_true(buf.failed);
    buf_done(&buf);
}

static void reserve__then_fill__becomes_contents(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(4096);
    buf_str(&buf, "abc");
    char *room = buf_reserve(&buf, 1000);
    assert_non_null(room);
    assert_ptr_equal(room, buf.data + 3);
    assert_int_equal(buf.len, 3);
    memset(room, 'd', 1000);
    buf.len += 2;
    assert_holds(&buf, "abcdd");
    buf_done(&buf);
}

static void take__contents__leaves_an_empty_usable_buffer(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(10);
    size_t len = 99;
    assert_null(buf_take(&buf, &len));
    assert_int_equal(len, 0);
    buf_str(&buf, "abc");
    char *bytes = buf_take(&buf, &len);
    assert_int_equal(len, 3);
    assert_memory_equal(bytes, "abc", 3);
    free(bytes);
    assert_null(buf.data);
    buf_str(&buf, "0123456789");
    assert_holds(&buf, "0123456789");
    buf_done(&buf);
}

static void clear_and_done__after_a_failure__make_it_usable_again(void **state)
{
    (void)state;
    struct buf buf = BUF_INIT(4);
    buf_str(&buf, "abc");
    buf_str(&buf, "def");
    const char *memory = buf.data;
    buf_clear(&buf);
    assert_ptr_equal(buf.data, memory);
    buf_str(&buf, "ghij");
    assert_holds(&buf, "ghij");
    buf_byte(&buf, 'x');
    buf_done(&buf);
    assert_null(buf.data);
    buf_str(&buf, "klmn");
    assert_holds(&buf, "klmn");
    buf_byte(&buf, 'x');
    assert_true(buf.failed);
    buf_done(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write__every_kind__appends_in_order),
        cmocka_unit_test(append__many_bytes__grows_and_keeps_them),
        cmocka_unit_test(append__exactly_the_limit__fits),
        cmocka_unit_test(append__past_the_limit__fails_and_keeps_the_contents),
        cmocka_unit_test(append__after_a_failure__is_ignored),
        cmocka_unit_test(printf__past_the_limit__fails_and_keeps_the_contents),
        cmocka_unit_test(printf__longer_than_the_spare_room__is_whole),
        cmocka_unit_test(append__length_that_would_wrap__fails),
        cmocka_unit_test(append__limit_zero__takes_nothing),
        cmocka_unit_test(reserve__then_fill__becomes_contents),
        cmocka_unit_test(take__contents__leaves_an_empty_usable_buffer),
        cmocka_unit_test(clear_and_done__after_a_failure__make_it_usable_again),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
