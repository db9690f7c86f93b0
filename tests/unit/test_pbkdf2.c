/* Tests of tasks/pbkdf2.c and of tasks/derived_key.c, which it shares. */
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

/* RFC 7914 section 11, RFC 6070, and Python's hashlib. */
static void run__published_vectors__agree(void **state UNUSED)
{
    assert_result(&pbkdf2_task, "{\"password\":\"passwd\",\"salt_hex\":\"73616c74\",\"iterations\":1,\"length\":64}",
                  "{\"hex\":\"55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
                  "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783\",\"base64\":"
                  "\"VawEblbjCJ/sFpHCJUS2BflBhSFt3gRl5oudV8INrLxJypzM8Xm2RZkWZLOdd+8xfHG4RbHjC9UJESBB06GXgw==\"}");
    assert_result(
        &pbkdf2_task,
        "{\"password\":\"password\",\"salt_hex\":\"73616C74\",\"iterations\":2,\"digest\":\"sha1\",\"length\":20}",
        "{\"hex\":\"ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957\",\"base64\":\"6mwBTcctb4zNHtkqzh1B8NjeiVc=\"}");
    assert_result(&pbkdf2_task,
                  "{\"password\":\"password\",\"salt_hex\":\"73616c74\",\"iterations\":1000,\"digest\":\"sha512\","
                  "\"expected_hex\":\"afe6c5530785b6cc6b1c6453384731bd5ee432ee549fd42fb6695779ad8a1c5b"
                  "f59de69c48f774efc4007d5298f9033c0241d5ab69305e7b64eceeb8d834cfec\"}",
                  "{\"matches\":true}");
}

static void run__empty_password_and_salt__are_keys_too(void **state UNUSED)
{
    assert_result(&pbkdf2_task, "{\"password\":\"\",\"salt_hex\":\"\",\"iterations\":1}",
                  "{\"hex\":\"f7ce0b653d2d72a4108cf5abe912ffdd777616dbbb27a70e8204f3ae2d0f6fad\","
                  "\"base64\":\"984LZT0tcqQQjPWr6RL/3Xd2Ftu7J6cOggTzri0Pb60=\"}");
}

static void run__verifying__says_only_whether_it_matches(void **state UNUSED)
{
    assert_result(&pbkdf2_task,
                  "{\"password\":\"password\",\"salt_hex\":\"73616c74\",\"iterations\":2,\"digest\":\"sha1\","
                  "\"expected_hex\":\"EA6C014dc72d6f8ccd1ed92ace1d41f0d8de8957\"}",
                  "{\"matches\":true}");
    assert_result(&pbkdf2_task,
                  "{\"password\":\"password\",\"salt_hex\":\"73616c74\",\"iterations\":2,\"digest\":\"sha1\","
                  "\"length\":20,\"expected_hex\":\"ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8958\"}",
                  "{\"matches\":false}");
}

static void run__values_that_are_not_hexadecimal__are_refused(void **state UNUSED)
{
    static const char *const bad[] = { "7", "7g", "73:61", " 73", "0x73", "\xc3\xa9" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char args[256];
        (void)snprintf(args, sizeof args, "{\"password\":\"x\",\"salt_hex\":\"%s\",\"iterations\":1}", bad[i]);
        assert_failure(&pbkdf2_task, args, ST_INVALID_ARGS, "salt_hex must be pairs of hexadecimal digits");
    }
    assert_failure(&pbkdf2_task, "{\"password\":\"x\",\"salt_hex\":\"\",\"iterations\":1,\"expected_hex\":\"abc\"}",
                   ST_INVALID_ARGS, "expected_hex must be pairs of hexadecimal digits");
    assert_failure(&pbkdf2_task,
                   "{\"password\":\"x\",\"salt_hex\":\"\",\"iterations\":1,\"length\":16,\"expected_hex\":\"abcd\"}",
                   ST_INVALID_ARGS, "length is not that of expected_hex");
}

static void task__beyond_its_ranges__is_refused(void **state UNUSED)
{
    assert_failure(&pbkdf2_task, "{\"password\":\"x\",\"salt_hex\":\"\",\"iterations\":10000001}", ST_INVALID_ARGS,
                   "must be at most 10000000");
    assert_failure(&pbkdf2_task, "{\"password\":\"x\",\"salt_hex\":\"\",\"iterations\":0}", ST_INVALID_ARGS,
                   "must be at least 1");
    assert_failure(&pbkdf2_task, "{\"password\":\"x\",\"salt_hex\":\"\",\"length\":513}", ST_INVALID_ARGS,
                   "must be at most 512");
    assert_failure(&pbkdf2_task, "{\"salt_hex\":\"\"}", ST_INVALID_ARGS, "is required");
    assert_failure(&pbkdf2_task, "{\"password\":\"x\"}", ST_INVALID_ARGS, "is required");
}

/* The longest of everything: the buffers are as long as the table says. */
static void run__longest_values__fit(void **state UNUSED)
{
    char password[1025], salt[513], expected[1025], args[4096];
    memset(password, 'p', 1024);
    memset(salt, 'a', 512);
    memset(expected, 'b', 1024);
    password[1024] = salt[512] = expected[1024] = '\0';
    (void)snprintf(args, sizeof args,
                   "{\"password\":\"%s\",\"salt_hex\":\"%s\",\"iterations\":1,\"expected_hex\":\"%s\"}", password, salt,
                   expected);
    assert_result(&pbkdf2_task, args, "{\"matches\":false}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run__published_vectors__agree),
        cmocka_unit_test(run__empty_password_and_salt__are_keys_too),
        cmocka_unit_test(run__verifying__says_only_whether_it_matches),
        cmocka_unit_test(run__values_that_are_not_hexadecimal__are_refused),
        cmocka_unit_test(task__beyond_its_ranges__is_refused),
        cmocka_unit_test(run__longest_values__fit),
    };
    return cmocka_run_group_tests_name("pbkdf2", tests, NULL, NULL);
}
