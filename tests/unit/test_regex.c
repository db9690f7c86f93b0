/* Tests of tasks/regex.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tasks/builtin.h"
#include "tests/unit/task_case.h"
#include "tests/support/timing.h"

static void run__matches__have_places_text_and_groups(void **state UNUSED)
{
    assert_result(&regex_task, "{\"pattern\":\"(?<key>[a-z]+)=(\\\\d*)(!)?\",\"text\":\"ab=12 c=\"}",
                  "{\"matches\":[{\"start\":0,\"end\":5,\"text\":\"ab=12\",\"groups\":["
                  "{\"name\":\"key\",\"start\":0,\"end\":2,\"text\":\"ab\"},{\"start\":3,\"end\":5,\"text\":\"12\"},"
                  "{\"text\":null}]},{\"start\":6,\"end\":8,\"text\":\"c=\",\"groups\":["
                  "{\"name\":\"key\",\"start\":6,\"end\":7,\"text\":\"c\"},{\"start\":8,\"end\":8,\"text\":\"\"},"
                  "{\"text\":null}]}],\"count\":2,\"complete\":true}");
    assert_result(&regex_task, "{\"pattern\":\"x\",\"text\":\"abc\"}",
                  "{\"matches\":[],\"count\":0,\"complete\":true}");
}

static void run__max_matches__stops_and_says_whether_there_are_more(void **state UNUSED)
{
    assert_result(
        &regex_task, "{\"pattern\":\"a\",\"text\":\"aa\",\"max_matches\":1}",
        "{\"matches\":[{\"start\":0,\"end\":1,\"text\":\"a\",\"groups\":[]}],\"count\":1,\"complete\":false}");
    assert_result(&regex_task, "{\"pattern\":\"a\",\"text\":\"ab\",\"max_matches\":1}",
                  "{\"matches\":[{\"start\":0,\"end\":1,\"text\":\"a\",\"groups\":[]}],\"count\":1,\"complete\":true}");
}

/* Where matches begin and end: "0-1 1-1 …" */
static char *places(const char *args)
{
    struct task_run run = run_task(&regex_task, args, NULL, 0);
    assert_string_equal(run.detail, "");
    assert_int_equal(run.status, ST_OK);
    struct buf list = BUF_INIT(4096);
    for (const char *at = run.text; (at = strstr(at, "{\"start\":")); at++) {
        unsigned start, end;
        assert_int_equal(sscanf(at, "{\"start\":%u,\"end\":%u", &start, &end), 2);
        buf_printf(&list, "%s%u-%u", list.len > 0 ? " " : "", start, end);
    }
    free(run.text);
    return terminated(&list);
}

static void assert_places(const char *args, const char *expected)
{
    char *found = places(args);
    assert_string_equal(found, expected);
    free(found);
}

static void run__empty_matches__each_place_once(void **state UNUSED)
{
    assert_places("{\"pattern\":\"\",\"text\":\"ab\"}", "0-0 1-1 2-2");
    assert_places("{\"pattern\":\"\",\"text\":\"\"}", "0-0");
    assert_places("{\"pattern\":\"a*\",\"text\":\"baac\"}", "0-0 1-3 3-3 4-4");
    assert_places("{\"pattern\":\"\\\\b\",\"text\":\"ab cd\"}", "0-0 2-2 3-3 5-5");
    assert_places("{\"pattern\":\"(?=(a))\",\"text\":\"aa\"}", "0-0 0-1 1-1 1-2");
    assert_places("{\"pattern\":\"\",\"text\":\"\\u00e9a\",\"flags\":\"u\"}", "0-0 2-2 3-3");
    assert_places("{\"pattern\":\"\",\"text\":\"\\u00e9\"}", "0-0 1-1 2-2");
    assert_places("{\"pattern\":\"(*ANYCRLF)^\",\"text\":\"a\\r\\nb\",\"flags\":\"m\"}", "0-0 3-3");
}

static void run__flags__do_what_they_say(void **state UNUSED)
{
    assert_places("{\"pattern\":\"B\",\"text\":\"ab\"}", "");
    assert_places("{\"pattern\":\"B\",\"text\":\"ab\",\"flags\":\"i\"}", "1-2");
    assert_places("{\"pattern\":\"^b\",\"text\":\"a\\nb\"}", "");
    assert_places("{\"pattern\":\"^b\",\"text\":\"a\\nb\",\"flags\":\"m\"}", "2-3");
    assert_places("{\"pattern\":\"a.b\",\"text\":\"a\\nb\"}", "");
    assert_places("{\"pattern\":\"a.b\",\"text\":\"a\\nb\",\"flags\":\"s\"}", "0-3");
    assert_places("{\"pattern\":\"a b # c\",\"text\":\"ab\",\"flags\":\"x\"}", "0-2");
    assert_places("{\"pattern\":\"(a)(?<n>b)\",\"text\":\"ab\"}", "0-2 0-1"); /* the second follows a name */
    assert_places("{\"pattern\":\"(a)(?<n>b)\",\"text\":\"ab\",\"flags\":\"n\"}", "0-2");
    assert_places("{\"pattern\":\"^.$\",\"text\":\"\\u00e9\"}", "");
    assert_places("{\"pattern\":\"^\\\\w$\",\"text\":\"\\u00e9\",\"flags\":\"u\"}", "0-2");
    assert_places("{\"pattern\":\"A.B\",\"text\":\"x\\na\\nb\",\"flags\":\"ims\"}", "2-5");
    assert_failure(&regex_task, "{\"pattern\":\"a\",\"text\":\"a\",\"flags\":\"g\"}", ST_INVALID_ARGS,
                   "i, m, s, x, u and n");
}

static void run__bytes_that_are_not_utf8__come_as_base64(void **state UNUSED)
{
    assert_result_of(&regex_task, "{\"pattern\":\"a.\"}",
                     "\0a\xff"
                     "b\0",
                     5,
                     "{\"matches\":[{\"start\":1,\"end\":3,\"base64\":\"Yf8=\",\"groups\":[]}],\"count\":1,"
                     "\"complete\":true}");
    assert_result_of(&regex_task, "{\"pattern\":\"(.)b\"}",
                     "a\xff"
                     "b",
                     3,
                     "{\"matches\":[{\"start\":1,\"end\":3,\"base64\":\"/2I=\",\"groups\":["
                     "{\"start\":1,\"end\":2,\"base64\":\"/w==\"}]}],\"count\":1,\"complete\":true}");
    assert_result_of(&regex_task, "{\"pattern\":\"a\",\"replace\":\"b\"}", "a\xff", 2,
                     "{\"replaced\":1,\"base64\":\"Yv8=\"}");
    assert_failure_of(&regex_task, "{\"pattern\":\"a\",\"flags\":\"u\"}", "aa\xff", 3, ST_TASK_FAILED,
                      "with flag u the text must be UTF-8; it is not, at byte 2");
    assert_failure_of(&regex_task, "{\"pattern\":\"a\",\"flags\":\"u\",\"replace\":\"\"}", "aa\xff", 3, ST_TASK_FAILED,
                      "with flag u the text must be UTF-8");
}

static void run__replace__gives_the_text(void **state UNUSED)
{
    assert_result(&regex_task, "{\"pattern\":\"(\\\\w)(?<d>\\\\d)\",\"text\":\"a1 b2\",\"replace\":\"${d}$1$$\"}",
                  "{\"replaced\":2,\"text\":\"1a$ 2b$\"}");
    assert_result(&regex_task, "{\"pattern\":\"a\",\"text\":\"aaa\",\"replace\":\"<$0>\",\"max_matches\":2}",
                  "{\"replaced\":2,\"text\":\"<a><a>a\"}");
    assert_result(&regex_task, "{\"pattern\":\"a\",\"text\":\"bbb\",\"replace\":\"x\"}",
                  "{\"replaced\":0,\"text\":\"bbb\"}");
    assert_result(&regex_task, "{\"pattern\":\"(a)|b\",\"text\":\"ab\",\"replace\":\"[$1]\"}",
                  "{\"replaced\":2,\"text\":\"[a][]\"}");
    assert_result(&regex_task, "{\"pattern\":\"\",\"text\":\"ab\",\"replace\":\"-\"}",
                  "{\"replaced\":3,\"text\":\"-a-b-\"}");
    assert_result(&regex_task, "{\"pattern\":\"a\",\"text\":\"\",\"replace\":\"x\"}", "{\"replaced\":0,\"text\":\"\"}");
}

static void run__replacement_that_makes_no_sense__is_refused(void **state UNUSED)
{
    assert_failure(&regex_task, "{\"pattern\":\"a\",\"text\":\"a\",\"replace\":\"$1\"}", ST_INVALID_ARGS, "replace: ");
    assert_failure(&regex_task, "{\"pattern\":\"a\",\"text\":\"a\",\"replace\":\"${x}\"}", ST_INVALID_ARGS,
                   "replace: ");
    assert_failure(&regex_task, "{\"pattern\":\"a\",\"text\":\"a\",\"replace\":\"$\"}", ST_INVALID_ARGS, "replace: ");
    assert_failure(&regex_task, "{\"pattern\":\"a\",\"text\":\"a\",\"replace\":\"${1\"}", ST_INVALID_ARGS, "replace: ");
}

static char *repeat(const char *piece, size_t count)
{
    struct buf text = BUF_INIT(16 * 1024 * 1024);
    for (size_t i = 0; i < count; i++)
        buf_str(&text, piece);
    return terminated(&text);
}

static void run__replaced_text_much_longer__fits_or_is_too_large(void **state UNUSED)
{
    char *text = repeat("a", 1000);
    struct task_run run =
        run_task_within(&regex_task, "{\"pattern\":\"a\",\"replace\":\"0123456789\"}", text, 1000, 11000);
    assert_int_equal(run.status, ST_OK);
    assert_int_equal(run.len, sizeof "{\"replaced\":1000,\"text\":\"\"}" - 1 + 10000);
    free(run.text);
    run = run_task_within(&regex_task, "{\"pattern\":\"a\",\"replace\":\"0123456789\"}", text, 1000, 9999);
    assert_int_equal(run.status, ST_RESULT_TOO_LARGE);
    free(run.text);
    free(text);
}

static void run__result_beyond_its_limit__ends_the_search(void **state UNUSED)
{
    char *text = repeat("a", 100000);
    struct task_run run =
        run_task_within(&regex_task, "{\"pattern\":\"a\",\"max_matches\":100000}", text, 100000, 5000);
    assert_int_equal(run.status, ST_RESULT_TOO_LARGE);
    free(run.text);
    free(text);
}

/* Each of them would take longer than the universe has. */
static void run__catastrophic_patterns__fail_soon(void **state UNUSED)
{
    static const char *const patterns[] = {
        "(a+)+$", "(a|aa)+$", "(a|a?)+$", "(.*a){20}$", "^(([a-z])+.)+[A-Z]([a-z])+$", "(?:a?){30}a{30}x"
    };
    char *text = repeat("a", 60);
    text[59] = '!';
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        for (unsigned replaces = 0; replaces <= 1; replaces++) {
            char args[256];
            (void)snprintf(args, sizeof args, "{\"pattern\":\"%s\",\"text\":\"%s\"%s}", patterns[i], text,
                           replaces ? ",\"replace\":\"x\"" : "");
            const uint64_t began_ns = clock_now_ns();
            struct task_run run = run_task(&regex_task, args, NULL, 0);
            assert_true(elapsed_ms(began_ns) < scaled_ms(1000));
            if (run.status == ST_TASK_FAILED)
                assert_non_null(strstr(run.detail, "backtracks too much on this text: match limit exceeded"));
            else
                assert_int_equal(run.status, ST_OK); /* PCRE2 sees that there can be no match */
            if (i == 0)
                assert_int_equal(run.status, ST_TASK_FAILED);
            free(run.text);
        }
    }
    free(text);
}

/* A frame for every repetition: more than the machine code's stack has. */
static void run__deep_but_honest_pattern__matches_all_the_same(void **state UNUSED)
{
    char *text = repeat("ab", 100000);
    struct task_run run =
        run_task(&regex_task, "{\"pattern\":\"^(?:(a)|b)*$\",\"max_matches\":1,\"replace\":\"-\"}", text, 200000);
    assert_string_equal(run.detail, "");
    assert_string_equal(run.text, "{\"replaced\":1,\"text\":\"-\"}");
    free(run.text);
    free(text);
}

static void run__long_text_without_a_match__is_searched_to_its_end(void **state UNUSED)
{
    const size_t len = 8 * 1024 * 1024;
    char *text = repeat("abcdefg ", len / 8);
    struct task_run run = run_task(&regex_task, "{\"pattern\":\"[a-g]+x|[a-g]z\"}", text, len);
    assert_string_equal(run.detail, "");
    assert_string_equal(run.text, "{\"matches\":[],\"count\":0,\"complete\":true}");
    free(run.text);
    free(text);
}

static void run__patterns_that_do_not_compile__are_refused_with_the_place(void **state UNUSED)
{
    assert_failure(&regex_task, "{\"pattern\":\"a(\",\"text\":\"\"}", ST_INVALID_ARGS,
                   "pattern: missing closing parenthesis, at byte 2");
    assert_failure(&regex_task, "{\"pattern\":\"\\\\C\",\"text\":\"\"}", ST_INVALID_ARGS, "pattern: ");
    assert_failure(&regex_task, "{\"pattern\":\"((a{1,1000}){1,1000}){1,1000}\",\"text\":\"\"}", ST_INVALID_ARGS,
                   "too large");
    char *nest = repeat("(", 1000), args[1200];
    (void)snprintf(args, sizeof args, "{\"pattern\":\"%s\",\"text\":\"\"}", nest);
    assert_failure(&regex_task, args, ST_INVALID_ARGS, "parentheses");
    free(nest);
    /* and the next one works */
    assert_places("{\"pattern\":\"a\",\"text\":\"a\"}", "0-1");
}

static void run__start_set_within_an_assertion__never_loops(void **state UNUSED)
{
    struct task_run run = run_task(&regex_task, "{\"pattern\":\"(?=a\\\\K)\",\"text\":\"aa\"}", NULL, 0);
    assert_true(run.status == ST_OK || run.status == ST_INVALID_ARGS || run.status == ST_TASK_FAILED);
    free(run.text);
    assert_places("{\"pattern\":\"a\\\\Kb\",\"text\":\"abab\"}", "1-2 3-4");
}

static void run__calls_that_lack_something__are_refused(void **state UNUSED)
{
    assert_failure(&regex_task, "{\"pattern\":\"a\"}", ST_INVALID_ARGS, "give either text or a binary body");
    assert_failure_of(&regex_task, "{\"pattern\":\"a\",\"text\":\"\"}", "", 0, ST_INVALID_ARGS, "not both");
    assert_failure_of(&regex_task, "", "a", 1, ST_INVALID_ARGS, "pattern is required");
    assert_failure(&regex_task, "{\"text\":\"a\"}", ST_INVALID_ARGS, "is required");
}

static void run__same_pattern_other_flags__is_compiled_anew(void **state UNUSED)
{
    for (unsigned i = 0; i < 2; i++) {
        assert_places("{\"pattern\":\"A\",\"text\":\"a\",\"flags\":\"i\"}", "0-1");
        assert_places("{\"pattern\":\"A\",\"text\":\"a\"}", "");
        assert_places("{\"pattern\":\"A\",\"text\":\"A\"}", "0-1");
    }
}

static void run__duplicate_names__are_told_by_number(void **state UNUSED)
{
    assert_result(&regex_task, "{\"pattern\":\"(?J)(?<n>a)|(?<n>b)\",\"text\":\"b\"}",
                  "{\"matches\":[{\"start\":0,\"end\":1,\"text\":\"b\",\"groups\":[{\"name\":\"n\",\"text\":null},"
                  "{\"name\":\"n\",\"start\":0,\"end\":1,\"text\":\"b\"}]}],\"count\":1,\"complete\":true}");
}

/* From here on, this process can have no executable memory. */
static bool forbid_executable_memory(void)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1),
    };
    const struct sock_fprog program = { .len = ARRAY_LEN(steps), .filter = steps };
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0 &&
           mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
}

static void run__no_executable_memory__is_interpreted(void **state UNUSED)
{
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (!forbid_executable_memory())
            _exit(2);
        struct task_run good = run_task(&regex_task, "{\"pattern\":\"b+\",\"text\":\"abbc\"}", NULL, 0);
        struct task_run bad =
            run_task(&regex_task, "{\"pattern\":\"(a+)+$\",\"text\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!\"}", NULL, 0);
        const bool is_right = good.status == ST_OK && strstr(good.text, "\"start\":1,\"end\":3") &&
                              bad.status == ST_TASK_FAILED && strstr(bad.detail, "match limit exceeded");
        _exit(is_right ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 2)
        skip(); /* no seccomp here */
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run__matches__have_places_text_and_groups),
        cmocka_unit_test(run__max_matches__stops_and_says_whether_there_are_more),
        cmocka_unit_test(run__empty_matches__each_place_once),
        cmocka_unit_test(run__flags__do_what_they_say),
        cmocka_unit_test(run__bytes_that_are_not_utf8__come_as_base64),
        cmocka_unit_test(run__replace__gives_the_text),
        cmocka_unit_test(run__replacement_that_makes_no_sense__is_refused),
        cmocka_unit_test(run__replaced_text_much_longer__fits_or_is_too_large),
        cmocka_unit_test(run__result_beyond_its_limit__ends_the_search),
        cmocka_unit_test(run__catastrophic_patterns__fail_soon),
        cmocka_unit_test(run__deep_but_honest_pattern__matches_all_the_same),
        cmocka_unit_test(run__long_text_without_a_match__is_searched_to_its_end),
        cmocka_unit_test(run__patterns_that_do_not_compile__are_refused_with_the_place),
        cmocka_unit_test(run__start_set_within_an_assertion__never_loops),
        cmocka_unit_test(run__calls_that_lack_something__are_refused),
        cmocka_unit_test(run__same_pattern_other_flags__is_compiled_anew),
        cmocka_unit_test(run__duplicate_names__are_told_by_number),
        cmocka_unit_test(run__no_executable_memory__is_interpreted),
    };
    return cmocka_run_group_tests_name("regex", tests, NULL, NULL);
}
