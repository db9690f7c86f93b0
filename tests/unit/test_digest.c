/* Tests of tasks/digest.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/builtin.h"
#include "tests/unit/run_task.h"

static void assert_digest(const char *args, const void *payload, size_t payload_len, const char *expected)
{
    struct task_run run = run_task(&digest_task, args, payload, payload_len);
    assert_int_equal(run.status, ST_OK);
    assert_string_equal(run.text, expected);
    free(run.text);
}

static void assert_refused(const char *args, const void *payload, size_t payload_len, const char *expected_detail)
{
    struct task_run run = run_task(&digest_task, args, payload, payload_len);
    assert_int_equal(run.status, ST_INVALID_ARGS);
    assert_non_null(run.detail);
    assert_string_equal(run.detail, expected_detail);
    free(run.text);
}

/* FIPS 180-4 examples (NIST) and RFC 7693 appendix A and B. */
static const struct {
    const char *algorithm, *of_empty, *of_abc;
} known[] = {
    { "sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
    { "sha512",
      "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81"
      "a538327af927da3e",
      "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e"
      "2a9ac94fa54ca49f" },
    { "blake2b512",
      "786a02f742015903c6c6fd852552d272912f4740e15847618a86e217f71f5419d25e1031afee585313896444934eb04b903a685b1448b755"
      "d56f701afe9be2ce",
      "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925a"
      "b92386edd4009923" },
    { "blake2s256", "69217a3079908094e11121d042354a7c1f55b6482ca1a51e1b250dfd1ed0eef9",
      "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982" },
};

static void run__of_text__matches_the_published_digest(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        char args[128], expected[256];
        (void)snprintf(args, sizeof args, "{\"algorithm\":\"%s\",\"text\":\"\"}", known[i].algorithm);
        (void)snprintf(expected, sizeof expected, "{\"algorithm\":\"%s\",\"hex\":\"%s\",\"bytes\":0}",
                       known[i].algorithm, known[i].of_empty);
        assert_digest(args, NULL, 0, expected);
        (void)snprintf(args, sizeof args, "{\"algorithm\":\"%s\",\"text\":\"abc\"}", known[i].algorithm);
        (void)snprintf(expected, sizeof expected, "{\"algorithm\":\"%s\",\"hex\":\"%s\",\"bytes\":3}",
                       known[i].algorithm, known[i].of_abc);
        assert_digest(args, NULL, 0, expected);
    }
}

static void run__of_a_payload__matches_the_published_digest(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        char args[128], expected[256];
        (void)snprintf(args, sizeof args, "{\"algorithm\":\"%s\"}", known[i].algorithm);
        (void)snprintf(expected, sizeof expected, "{\"algorithm\":\"%s\",\"hex\":\"%s\",\"bytes\":3}",
                       known[i].algorithm, known[i].of_abc);
        assert_digest(args, "abc", 3, expected);
        (void)snprintf(expected, sizeof expected, "{\"algorithm\":\"%s\",\"hex\":\"%s\",\"bytes\":0}",
                       known[i].algorithm, known[i].of_empty);
        assert_digest(args, "", 0, expected);
    }
}

static void run__payload_with_nul_bytes__hashes_them_all(void **state UNUSED)
{
    assert_digest("", "\0a\0", 3,
                  "{\"algorithm\":\"sha256\",\"hex\":"
                  "\"98fb63f7212bb7a738d1cd6d6d51d3e96169b23710ae5113c65123f029074860\",\"bytes\":3}");
}

static void run__no_algorithm__uses_sha256(void **state UNUSED)
{
    assert_digest("{\"text\":\"abc\"}", NULL, 0,
                  "{\"algorithm\":\"sha256\",\"hex\":"
                  "\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\",\"bytes\":3}");
}

static void run__text_beyond_ascii__counts_bytes(void **state UNUSED)
{
    assert_digest("{\"text\":\"\\u00e9\"}", NULL, 0,
                  "{\"algorithm\":\"sha256\",\"hex\":"
                  "\"4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c\",\"bytes\":2}");
}

static void run__text_and_payload__is_refused(void **state UNUSED)
{
    assert_refused("{\"text\":\"abc\"}", "abc", 3, "give either text or a binary body, not both");
    assert_refused("{\"text\":\"\"}", "", 0, "give either text or a binary body, not both");
}

static void run__neither_text_nor_payload__is_refused(void **state UNUSED)
{
    assert_refused("{}", NULL, 0, "give either text or a binary body");
    assert_refused("{\"algorithm\":\"sha512\"}", NULL, 0, "give either text or a binary body");
}

static void task__unknown_algorithm__is_refused_with_the_choices(void **state UNUSED)
{
    struct task_run run = run_task(&digest_task, "{\"algorithm\":\"md5\",\"text\":\"\"}", NULL, 0);
    assert_int_equal(run.status, ST_INVALID_ARGS);
    assert_string_equal(
        run.text,
        "[{\"pointer\":\"/algorithm\",\"detail\":\"must be one of sha256, sha512, blake2b512, blake2s256\"}]");
    free(run.text);
}

/* {"text":"aaa…"} with `count` letters. */
static struct task_run run_long_text(size_t count)
{
    char *args = malloc(count + 16);
    assert_non_null(args);
    memcpy(args, "{\"text\":\"", 9);
    memset(args + 9, 'a', count);
    memcpy(args + 9 + count, "\"}", 3);
    struct task_run run = run_task(&digest_task, args, NULL, 0);
    free(args);
    return run;
}

static void task__text_of_a_mebibyte__is_the_longest_accepted(void **state UNUSED)
{
    const size_t mebibyte = 1024 * 1024;
    struct task_run run = run_long_text(mebibyte);
    assert_int_equal(run.status, ST_OK);
    assert_non_null(strstr(run.text, "\"bytes\":1048576}"));
    free(run.text);

    run = run_long_text(mebibyte + 1);
    assert_int_equal(run.status, ST_INVALID_ARGS);
    assert_string_equal(run.text, "[{\"pointer\":\"/text\",\"detail\":\"must be at most 1048576 bytes long\"}]");
    free(run.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run__of_text__matches_the_published_digest),
        cmocka_unit_test(run__of_a_payload__matches_the_published_digest),
        cmocka_unit_test(run__payload_with_nul_bytes__hashes_them_all),
        cmocka_unit_test(run__no_algorithm__uses_sha256),
        cmocka_unit_test(run__text_beyond_ascii__counts_bytes),
        cmocka_unit_test(run__text_and_payload__is_refused),
        cmocka_unit_test(run__neither_text_nor_payload__is_refused),
        cmocka_unit_test(task__unknown_algorithm__is_refused_with_the_choices),
        cmocka_unit_test(task__text_of_a_mebibyte__is_the_longest_accepted),
    };
    return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
