/* Tests of tasks/scrypt.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/builtin.h"
#include "tests/unit/task_case.h"

/* RFC 7914 section 12. */
static void run__published_vectors__agree(void **state UNUSED)
{
    assert_result(&scrypt_task,
                  "{\"password\":\"\",\"salt_hex\":\"\",\"n\":16,\"r\":1,\"p\":1,\"expected_hex\":"
                  "\"77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"
                  "fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906\"}",
                  "{\"matches\":true}");
    assert_result(&scrypt_task,
                  "{\"password\":\"password\",\"salt_hex\":\"4e61436c\",\"n\":1024,\"r\":8,\"p\":16,\"length\":64}",
                  "{\"hex\":\"fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
                  "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640\",\"base64\":"
                  "\"/bq+HJ00cgB4VucZDQHp/nxq18vII3gw53N2Y0s3MWIurzDZLiKjiG/xCSedmDDaxyevuUqD7m2DYMvfoswGQA==\"}");
}

static void run__other_password__does_not_match(void **state UNUSED)
{
    assert_result(&scrypt_task,
                  "{\"password\":\"x\",\"salt_hex\":\"\",\"n\":16,\"r\":1,\"p\":1,\"expected_hex\":\"77d65762\"}",
                  "{\"matches\":false}");
}

static void run__defaults__are_affordable(void **state UNUSED)
{
    struct task_run run = run_task(&scrypt_task, "{\"password\":\"x\",\"salt_hex\":\"00\"}", NULL, 0);
    assert_int_equal(run.status, ST_OK);
    free(run.text);
}

static void run__costs_out_of_bounds__are_refused(void **state UNUSED)
{
    static const struct {
        const char *args, *detail;
    } cases[] = {
        { "\"n\":1000", "n must be a power of two" },
        { "\"n\":65536,\"r\":1", "with r = 1, n must be less than 65536" },
        { "\"n\":1048576,\"r\":8,\"p\":1", "128*r*(n+p) are 1073742848 bytes of memory; at most 268435456" },
        { "\"n\":262144,\"r\":8,\"p\":1", "128*r*(n+p) are 268436480 bytes of memory" },
        { "\"n\":1", "must be at least 2" },
        { "\"n\":2097152", "must be at most 1048576" },
        { "\"r\":65", "must be at most 64" },
        { "\"p\":17", "must be at most 16" },
        { "\"p\":0", "must be at least 1" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char args[256];
        (void)snprintf(args, sizeof args, "{\"password\":\"x\",\"salt_hex\":\"\",%s}", cases[i].args);
        assert_failure(&scrypt_task, args, ST_INVALID_ARGS, cases[i].detail);
    }
    assert_failure(&scrypt_task, "{\"password\":\"x\",\"salt_hex\":\"0\"}", ST_INVALID_ARGS, "salt_hex must be pairs");
}

/* The most that our limit lets through must be within OpenSSL's, too. */
static void run__as_much_memory_as_allowed__works(void **state UNUSED)
{
    struct task_run run =
        run_task(&scrypt_task, "{\"password\":\"x\",\"salt_hex\":\"00\",\"n\":32768,\"r\":63,\"p\":16}", NULL, 0);
    assert_string_equal(run.detail, "");
    assert_int_equal(run.status, ST_OK);
    free(run.text);
    run = run_task(&scrypt_task, "{\"password\":\"x\",\"salt_hex\":\"00\",\"n\":131072,\"r\":15,\"p\":1}", NULL, 0);
    assert_int_equal(run.status, ST_OK);
    free(run.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run__published_vectors__agree),
        cmocka_unit_test(run__other_password__does_not_match),
        cmocka_unit_test(run__defaults__are_affordable),
        cmocka_unit_test(run__costs_out_of_bounds__are_refused),
        cmocka_unit_test(run__as_much_memory_as_allowed__works),
    };
    return cmocka_run_group_tests_name("scrypt", tests, NULL, NULL);
}
