/* Tests of base/arena.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdalign.h>
#include <string.h>

#include "base/arena.h"

static void alloc__many_sizes__zeroed_aligned_and_apart(void **state)
{
    (void)state;
    struct arena *arena = arena_new(64);
    unsigned char *pieces[500];
    assert_non_null(arena);
    for (size_t i = 0; i < 500; i++) {
        pieces[i] = arena_alloc(arena, i + 1, 1);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % alignof(max_align_t), 0);
        for (size_t at = 0; at <= i; at++)
            assert_int_equal(pieces[i][at], 0);
        memset(pieces[i], (int)(i & 0xff), i + 1);
    }
    for (size_t i = 0; i < 500; i++)
        for (size_t at = 0; at <= i; at++)
            assert_int_equal(pieces[i][at], i & 0xff);
    arena_free(arena);
}

static void alloc__larger_than_a_block__served(void **state)
{
    (void)state;
    struct arena *arena = arena_new(16);
    assert_non_null(arena);
    char *large = arena_alloc(arena, 1000, 1000);
    assert_non_null(large);
    large[999999] = 'x';
    arena_free(arena);
}

static void alloc__too_much__null(void **state)
{
    (void)state;
    struct arena *arena = arena_new(16);
    assert_non_null(arena);
    assert_null(arena_alloc(arena, SIZE_MAX / 2, 3));
    assert_null(arena_alloc(arena, SIZE_MAX, 1));
    assert_non_null(arena_alloc(arena, 1, 1));
    arena_free(arena);
    assert_null(arena_new(SIZE_MAX));
    arena_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alloc__many_sizes__zeroed_aligned_and_apart),
        cmocka_unit_test(alloc__larger_than_a_block__served),
        cmocka_unit_test(alloc__too_much__null),
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
