/* utf8: valid and invalid characters at every alignment to the wide loops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/attrs.h"
#include "base/utf8.h"

/* Each at every alignment to the wide loops, between ASCII. */
static void assert_utf8(const char *bytes, size_t len, bool valid)
{
    char text[128];
    for (size_t before = 0; before < 70; before++) {
        memset(text, 'a', sizeof text);
        memcpy(text + before, bytes, len);
        assert_int_equal(utf8_valid(text, sizeof text), valid);
        assert_int_equal(utf8_valid(text, before + len), valid);
        assert_ptr_equal(utf8_first_invalid(text, before), NULL);
        if (!valid)
            assert_in_range(utf8_first_invalid(text, sizeof text) - text, before, before + len - 1);
    }
}

static void utf8__valid_texts__are_accepted(void **state)
{
    (void)state;
    assert_true(utf8_valid("", 0));
    assert_true(utf8_valid(NULL, 0));
    static const char *const texts[] = {
        "a",
        "\xc2\x80",
        "\xdf\xbf",
        "\xe0\xa0\x80",
        "\xed\x9f\xbf",
        "\xee\x80\x80",
        "\xef\xbf\xbf",
        "\xf0\x90\x80\x80",
        "\xf4\x8f\xbf\xbf",
        "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_utf8(texts[i], strlen(texts[i]), true);
    assert_utf8("\0", 1, true);
}

static void utf8__invalid_texts__are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc2",
        "\xe0\x9f\xbf",
        "\xe2\x82",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xf0\x8f\xbf\xbf",
        "\xf0\x9f\x98",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "\xfe",
        "\xc3\xa9\xa9",
        "\xc3(\xa9",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_utf8(texts[i], strlen(texts[i]), false);
}

/* Runs of high bytes much longer than the pieces they are judged in, with one byte broken. */
static void first_invalid__long_runs__found_wherever_it_is(void **state)
{
    (void)state;
    static const char *const characters[] = { "\xc3\xa4", "\xe4\xbe\x8b", "\xf0\x9f\x98\x80" };
    char text[4 * 300];
    for (size_t c = 0; c < ARRAY_LEN(characters); c++) {
        size_t size = strlen(characters[c]), len = 300 * size;
        for (size_t i = 0; i < len; i += size)
            memcpy(text + i, characters[c], size);
        assert_null(utf8_first_invalid(text, len));
        for (size_t i = 0; i < len; i++) {
            char whole = text[i];
            text[i] = (char)0xff;
            assert_ptr_equal(utf8_first_invalid(text, len), text + i / size * size);
            text[i] = whole;
            if (i % size != 0) /* cut short */
                assert_ptr_equal(utf8_first_invalid(text, i), text + i / size * size);
            else
                assert_null(utf8_first_invalid(text, i));
        }
    }
    memset(text, 0x80, sizeof text); /* where no character begins at all */
    for (size_t whole = 0; whole < 200; whole++) {
        memcpy(text + 2 * whole, "\xc3\xa4", 2);
        assert_ptr_equal(utf8_first_invalid(text, sizeof text), text + 2 * whole + 2);
    }
}

static void invalid_len__broken_character__is_its_maximal_subpart(void **state)
{
    (void)state;
    assert_int_equal(utf8_invalid_len("\xff"
                                      "a",
                                      2),
                     1);
    assert_int_equal(utf8_invalid_len("\xe2\x82"
                                      "a",
                                      3),
                     2);
    assert_int_equal(utf8_invalid_len("\xf0\x9f\x98", 3), 3);
    assert_int_equal(utf8_invalid_len("\xe2", 1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8__valid_texts__are_accepted),
        cmocka_unit_test(utf8__invalid_texts__are_refused),
        cmocka_unit_test(first_invalid__long_runs__found_wherever_it_is),
        cmocka_unit_test(invalid_len__broken_character__is_its_maximal_subpart),
    };
    return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
