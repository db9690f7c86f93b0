/* log: what a line looks like in both formats, what hostile values become, and that lines stay whole
 * when several threads write. Standard error is a temporary file while a test logs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json_check.h"
#include "base/log.h"

struct ctx {
    FILE *file;
    int saved_stderr;
    char text[1 << 20];
    size_t len;
};

static int setup(void **state)
{
    struct ctx *ctx = calloc(1, sizeof *ctx);
    if (ctx == NULL || (ctx->file = tmpfile()) == NULL)
        return -1;
    fflush(stderr);
    ctx->saved_stderr = dup(STDERR_FILENO);
    if (ctx->saved_stderr < 0 || dup2(fileno(ctx->file), STDERR_FILENO) < 0)
        return -1;
    log_setup(LOG_TEXT, LOG_INFO);
    *state = ctx;
    return 0;
}

/* Ends the capture: what was logged is in ctx->text. */
static void stop_capture(struct ctx *ctx)
{
    if (ctx->saved_stderr < 0)
        return;
    dup2(ctx->saved_stderr, STDERR_FILENO);
    close(ctx->saved_stderr);
    ctx->saved_stderr = -1;
    rewind(ctx->file);
    ctx->len = fread(ctx->text, 1, sizeof ctx->text - 1, ctx->file);
}

static int teardown(void **state)
{
    struct ctx *ctx = *state;
    stop_capture(ctx);
    fclose(ctx->file);
    free(ctx);
    log_setup(LOG_TEXT, LOG_INFO);
    return 0;
}

static void assert_matches(const char *text, const char *pattern)
{
    regex_t regex;
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    int result = regexec(&regex, text, 0, NULL, 0);
    regfree(&regex);
    if (result != 0)
        fail_msg("%s does not match %s", text, pattern);
}

static void assert_is_json_line(const char *line, size_t len)
{
    struct json_error error;
    struct json_limits limits = JSON_LIMITS_DEFAULT;
    assert_true(len <= 4096);
    assert_int_equal(line[len - 1], '\n');
    if (!json_check(line, len, &limits, &error))
        fail_msg("%s at %zu: %.*s", error.message, error.offset, (int)len, line);
}

#define TIME_PATTERN "20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]\\.[0-9]{3}Z"

static void event__text__is_one_line(void **state)
{
    struct ctx *ctx = *state;
    log_event(LOG_INFO, "worker_died", LOG_INT("worker", 2), LOG_STR("why", "a \"b\""), LOG_MS("took", 1.5));
    stop_capture(ctx);
    assert_matches(ctx->text, "^" TIME_PATTERN " info  worker_died worker=2 why=\"a \\\\\"b\\\\\"\" took=1\\.500\n$");
}

static void event__json__is_one_object(void **state)
{
    struct ctx *ctx = *state;
    log_setup(LOG_JSON, LOG_INFO);
    log_event(LOG_WARNING, "worker_died", LOG_INT("pid", -1), LOG_STR("why", "x"), LOG_MS("took", 0.25));
    stop_capture(ctx);
    assert_is_json_line(ctx->text, ctx->len);
    assert_matches(ctx->text, "^\\{\"ts\":\"" TIME_PATTERN "\",\"level\":\"warn\",\"event\":\"worker_died\",\"pid\":-1,"
                              "\"why\":\"x\",\"took\":0\\.250\\}\n$");
}

static void event__no_fields__is_accepted(void **state)
{
    struct ctx *ctx = *state;
    log_event(LOG_ERROR, "stopped");
    log_setup(LOG_JSON, LOG_INFO);
    log_event(LOG_ERROR, "stopped");
    stop_capture(ctx);
    assert_matches(ctx->text, "^" TIME_PATTERN " error stopped\n\\{.*\"level\":\"error\",\"event\":\"stopped\"\\}\n$");
}

static void event__below_the_minimum__is_not_written(void **state)
{
    struct ctx *ctx = *state;
    log_event(LOG_DEBUG, "no");
    log_write(LOG_DEBUG, "no", (const struct log_field[]){ { .key = NULL } });
    assert_false(log_enabled(LOG_DEBUG));
    assert_true(log_enabled(LOG_INFO));
    log_setup(LOG_TEXT, LOG_ERROR);
    log_event(LOG_WARNING, "no");
    log_setup(LOG_TEXT, LOG_DEBUG);
    log_event(LOG_DEBUG, "yes");
    stop_capture(ctx);
    assert_matches(ctx->text, "^" TIME_PATTERN " debug yes\n$");
}

static void value__hostile_text__cannot_forge_lines_or_drive_a_terminal(void **state)
{
    struct ctx *ctx = *state;
    log_event(LOG_INFO, "e",
              LOG_STR("v", "a\nb\r\x1b[2J\x7f\xc2\x9b"
                           "c\xff\xc3\xa9\\"));
    stop_capture(ctx);
    assert_non_null(strstr(ctx->text, " v=\"a\\nb\\u000d\\u001b[2J\\u007f\\u009bc\xef\xbf\xbd\xc3\xa9\\\\\"\n"));
}

static void value__null_text_and_odd_doubles__are_written(void **state)
{
    struct ctx *ctx = *state;
    log_setup(LOG_JSON, LOG_INFO);
    log_event(LOG_INFO, "e", LOG_STR("s", NULL), LOG_MS("nan", (double)NAN), LOG_MS("inf", (double)INFINITY),
              LOG_INT("min", INT64_MIN));
    stop_capture(ctx);
    assert_is_json_line(ctx->text, ctx->len);
    assert_non_null(strstr(ctx->text, "\"s\":\"\",\"nan\":null,\"inf\":null,\"min\":-9223372036854775808}"));
}

static void value__long_text__is_cut_between_characters(void **state)
{
    struct ctx *ctx = *state;
    char text[600 * 3 + 1] = "";
    for (size_t i = 0; i < 600; i++)
        memcpy(text + 3 * i, "\xe2\x82\xac", 4); /* 512 is no multiple of 3 */
    log_setup(LOG_JSON, LOG_INFO);
    log_event(LOG_INFO, "e", LOG_STR("v", text));
    stop_capture(ctx);
    assert_is_json_line(ctx->text, ctx->len);
    assert_null(strstr(ctx->text, "\xef\xbf\xbd"));
    assert_int_equal(strlen(strstr(ctx->text, "\"v\":")), 4 + 1 + 510 + 1 + 2);
}

static void line__too_long__ends_after_a_whole_field_with_a_mark(void **state)
{
    struct ctx *ctx = *state;
    char text[600];
    memset(text, 0x01, sizeof text - 1); /* each becomes six bytes */
    text[sizeof text - 1] = '\0';
    log_setup(LOG_JSON, LOG_INFO);
    log_event(LOG_INFO, "e", LOG_STR("a", text), LOG_STR("b", text), LOG_INT("c", 1));
    size_t json_len = (size_t)lseek(STDERR_FILENO, 0, SEEK_CUR);
    log_setup(LOG_TEXT, LOG_INFO);
    log_event(LOG_INFO, "e", LOG_STR("a", text), LOG_STR("b", text), LOG_INT("c", 1));
    stop_capture(ctx);
    assert_is_json_line(ctx->text, json_len);
    assert_memory_equal(ctx->text + json_len - 13, ",\"cut\":true}\n", 13);
    assert_true(ctx->len - json_len <= 4096);
    assert_memory_equal(ctx->text + ctx->len - 6, "\" ...\n", 6);
    assert_null(strstr(ctx->text, "\"b\""));
    assert_null(strstr(ctx->text, " b="));
}

static void write__any__keeps_errno(void **state)
{
    struct ctx *ctx = *state;
    close(STDERR_FILENO);
    errno = EAGAIN;
    log_event(LOG_INFO, "lost");
    int after = errno;
    stop_capture(ctx);
    assert_int_equal(after, EAGAIN);
}

enum { THREADS = 4, LINES_PER_THREAD = 400 };

static void *log_many(void *number)
{
    char text[101];
    memset(text, 'a' + *(const int *)number, sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (int i = 0; i < LINES_PER_THREAD; i++)
        log_event(LOG_INFO, "e", LOG_INT("i", i), LOG_STR("v", text));
    return NULL;
}

static void write__several_threads_into_a_pipe__keeps_lines_whole(void **state)
{
    struct ctx *ctx = *state;
    int pipe_fds[2];
    pthread_t threads[THREADS];
    int numbers[THREADS];
    static char text[THREADS * LINES_PER_THREAD * 200];
    log_setup(LOG_JSON, LOG_INFO);
    assert_int_equal(pipe(pipe_fds), 0);
    dup2(pipe_fds[1], STDERR_FILENO);
    close(pipe_fds[1]);
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, &numbers[i]), 0);
    }
    size_t len = 0, lines = 0;
    while (lines < THREADS * LINES_PER_THREAD) {
        ssize_t got = read(pipe_fds[0], text + len, sizeof text - len);
        if (got <= 0)
            break;
        for (ssize_t i = 0; i < got; i++)
            lines += text[len + (size_t)i] == '\n';
        len += (size_t)got;
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    close(pipe_fds[0]);
    stop_capture(ctx);
    assert_int_equal(lines, THREADS * LINES_PER_THREAD);
    for (char *line = text, *next; line < text + len; line = next) {
        next = (char *)memchr(line, '\n', (size_t)(text + len - line)) + 1;
        assert_is_json_line(line, (size_t)(next - line));
    }
}

/* The window is a second of the real clock; a test that straddles two is taken again. */
static void limit__within_a_second__passes_so_many_and_counts_the_rest(void **state)
{
    (void)state;
    uint64_t before, after;
    int passed;
    struct log_limit limit;
    do {
        memset(&limit, 0, sizeof limit);
        passed = 0;
        before = clock_now_ns() / NS_PER_SEC;
        for (int i = 0; i < 100; i++) {
            uint32_t suppressed = 99;
            if (log_limit_pass(&limit, 3, &suppressed)) {
                passed++;
                assert_int_equal(suppressed, 0);
            }
        }
        after = clock_now_ns() / NS_PER_SEC;
    } while (before != after);
    assert_int_equal(passed, 3);
    limit.window--; /* as if that second had passed */
    uint32_t suppressed = 99;
    assert_true(log_limit_pass(&limit, 3, &suppressed));
    assert_int_equal(suppressed, 97);
    assert_true(log_limit_pass(&limit, 3, &suppressed));
    assert_int_equal(suppressed, 0);
}

static void limit__zero__passes_none(void **state)
{
    (void)state;
    struct log_limit limit = { 0 };
    uint32_t suppressed = 99;
    assert_false(log_limit_pass(&limit, 0, &suppressed));
    assert_int_equal(suppressed, 99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(event__text__is_one_line, setup, teardown),
        cmocka_unit_test_setup_teardown(event__json__is_one_object, setup, teardown),
        cmocka_unit_test_setup_teardown(event__no_fields__is_accepted, setup, teardown),
        cmocka_unit_test_setup_teardown(event__below_the_minimum__is_not_written, setup, teardown),
        cmocka_unit_test_setup_teardown(value__hostile_text__cannot_forge_lines_or_drive_a_terminal, setup, teardown),
        cmocka_unit_test_setup_teardown(value__null_text_and_odd_doubles__are_written, setup, teardown),
        cmocka_unit_test_setup_teardown(value__long_text__is_cut_between_characters, setup, teardown),
        cmocka_unit_test_setup_teardown(line__too_long__ends_after_a_whole_field_with_a_mark, setup, teardown),
        cmocka_unit_test_setup_teardown(write__any__keeps_errno, setup, teardown),
        cmocka_unit_test_setup_teardown(write__several_threads_into_a_pipe__keeps_lines_whole, setup, teardown),
        cmocka_unit_test(limit__within_a_second__passes_so_many_and_counts_the_rest),
        cmocka_unit_test(limit__zero__passes_none),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
