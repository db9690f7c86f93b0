/* config: every way an option can be given, and every way it can be wrong; lists are in test_config_lists.c. */
#include "tests/unit/config_rig.h"

static char *text_of(void (*print)(FILE *))
{
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    print(out);
    assert_int_equal(fclose(out), 0);
    return text;
}

/* ---- values */

static void load__nothing_given__has_the_defaults(void **state)
{
    struct ctx *ctx = *state;
    assert_true(load(ctx, "", "PATH=/bin"));
    const struct config *config = &ctx->config;
    assert_int_equal(ctx->action, CONFIG_SERVE);
    assert_string_equal(config->listen, "127.0.0.1:8080");
    assert_int_equal(config->loops, 1);
    assert_int_equal(config->max_connections, 4096);
    assert_int_equal(config->max_header_bytes, 10240);
    assert_int_equal(config->max_url_bytes, 6144);
    assert_int_equal(config->max_body_bytes, 8388608);
    assert_int_equal(config->header_timeout_ms, 10000);
    assert_int_equal(config->body_timeout_ms, 30000);
    assert_int_equal(config->response_timeout_ms, 60000);
    assert_int_equal(config->idle_timeout_ms, 75000);
    assert_int_equal(config->drain_delay_ms, 0);
    assert_int_equal(config->grace_ms, 25000);
    assert_int_equal(config->workers, 0);
    assert_int_equal(config->queue_max, 0);
    assert_int_equal(config->queue_max_bytes, 64 << 20);
    assert_int_equal(config->compute_timeout_ms, 30000);
    assert_int_equal(config->compute_timeout_max_ms, 300000);
    assert_int_equal(config->max_result_bytes, 8 << 20);
    assert_int_equal(config->map_max_items, 100000);
    assert_int_equal(config->map_stream_bytes, 1 << 20);
    assert_int_equal(config->worker_nice, 3);
    assert_int_equal(config->io_threads, 2);
    assert_string_equal(config->fetch_allow, "");
    assert_string_equal(config->fetch_deny, "");
    assert_string_equal(config->fetch_hosts, "");
    assert_string_equal(config->fetch_deny_hosts, "");
    assert_string_equal(config->fetch_ports, "");
    assert_int_equal(config->fetch_timeout_ms, 15000);
    assert_int_equal(config->fetch_timeout_max_ms, 60000);
    assert_int_equal(config->fetch_dns_timeout_ms, 2000);
    assert_int_equal(config->fetch_connect_timeout_ms, 3000);
    assert_int_equal(config->fetch_tls_timeout_ms, 5000);
    assert_int_equal(config->fetch_first_byte_timeout_ms, 10000);
    assert_int_equal(config->fetch_min_rate, 100);
    assert_int_equal(config->fetch_per_host, 100);
    assert_int_equal(config->fetch_per_call, 0);
    assert_int_equal(config->fetch_max_urls, 10000);
    assert_int_equal(config->fetch_inflight_max, 10000);
    assert_int_equal(config->fetch_queue_max, 20000);
    assert_int_equal(config->fetch_max_body_bytes, 5 << 20);
    assert_int_equal(config->fetch_max_total_bytes, 64 << 20);
    assert_int_equal(config->fetch_max_ratio, 100);
    assert_int_equal(config->fetch_memory_bytes, 256 << 20);
    assert_int_equal(config->fetch_stream_bytes, 1 << 20);
    assert_int_equal(config->fetch_max_redirects, 5);
    assert_int_equal(config->fetch_retries, 2);
    assert_int_equal(config->fetch_breaker_failures, 0);
    assert_int_equal(config->fetch_breaker_open_ms, 10000);
    assert_string_equal(config->fetch_breaker_on, "dns,connect,tls,timeout,closed");
    assert_string_equal(config->fetch_dns_servers, "");
    assert_string_equal(config->fetch_ca_file, "");
    assert_int_equal(config->log_format, LOG_TEXT);
    assert_int_equal(config->log_level, LOG_INFO);
}

static void load__flag_variable_and_file__flag_then_variable_then_file_wins(void **state)
{
    struct ctx *ctx = *state;
    char variables[200], flags[200];
    write_file(ctx, "workers = 2\nio-threads = 2\nloops = 2\n");
    snprintf(variables, sizeof(variables), "TWINPOOL_WORKERS=3 TWINPOOL_IO_THREADS=3 TWINPOOL_CONFIG=%s", ctx->file);
    assert_true(load(ctx, "--workers 4 --workers=5", variables));
    assert_int_equal(ctx->config.workers, 5);
    assert_int_equal(ctx->config.io_threads, 3);
    assert_int_equal(ctx->config.loops, 2);

    snprintf(flags, sizeof(flags), "--config %s", ctx->file);
    assert_true(load(ctx, flags, "TWINPOOL_CONFIG=/nonexistent TWINPOOL_LOOPS=7"));
    assert_int_equal(ctx->config.workers, 2);
    assert_int_equal(ctx->config.loops, 7);
}

static void load__sizes_with_suffix__are_multiplied(void **state)
{
    struct ctx *ctx = *state;
    assert_true(
        load(ctx, "--max-body-bytes 3k --max-result-bytes 2M --queue-max-bytes 1g --fetch-max-body-bytes 77", ""));
    assert_int_equal(ctx->config.max_body_bytes, 3072);
    assert_int_equal(ctx->config.max_result_bytes, 2 << 20);
    assert_int_equal(ctx->config.queue_max_bytes, 1 << 30);
    assert_int_equal(ctx->config.fetch_max_body_bytes, 77);
}

/* Each option with a range: both ends are taken and what lies beyond is refused, by flag, variable and key. */
static void load__each_number_at_its_ends__in_range_only(void **state)
{
    struct ctx *ctx = *state;
    char key[CONFIG_NAME_MAX], variable[CONFIG_NAME_MAX], flags[200], variables[200], line[200];
    for (size_t i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];
        if (option->kind != CONFIG_KIND_COUNT && option->kind != CONFIG_KIND_BYTES && option->kind != CONFIG_KIND_MS)
            continue;
        config_option_key(option, key);
        config_option_variable(option, variable);
        const struct {
            uint64_t value;
            bool is_allowed;
        } cases[] = {
            { option->minimum, true },
            { option->maximum + 1, false },
            { option->minimum - 1, option->minimum == 0 /* wraps to UINT64_MAX: skipped below */ },
        };
        for (size_t j = 0; j < ARRAY_LEN(cases); j++) {
            if (cases[j].value == UINT64_MAX)
                continue;
            snprintf(flags, sizeof(flags), "--%s %" PRIu64, key, cases[j].value);
            snprintf(variables, sizeof(variables), "%s=%" PRIu64, variable, cases[j].value);
            snprintf(line, sizeof(line), "%s = %" PRIu64 "\n", key, cases[j].value);
            assert_int_equal(load(ctx, flags, ""), cases[j].is_allowed);
            assert_true(cases[j].is_allowed || strstr(ctx->errors, key));
            assert_int_equal(load(ctx, "", variables), cases[j].is_allowed);
            assert_true(cases[j].is_allowed || strstr(ctx->errors, variable));
            assert_int_equal(load_file(ctx, line), cases[j].is_allowed);
            assert_true(cases[j].is_allowed || strstr(ctx->errors, key));
        }
    }
}

static void load__refused__leaves_the_outputs_alone(void **state)
{
    struct ctx *ctx = *state;
    assert_true(load(ctx, "--workers 3", ""));
    assert_false(load(ctx, "--workers 4 --loops none", ""));
    assert_int_equal(ctx->config.workers, 3);
}

/* ---- mistakes */

static void load__mistakes__each_is_named_with_its_place(void **state)
{
    static const struct {
        const char *flags, *variables, *message;
    } cases[] = {
        { "--workers many", "", "twinpool: --workers: \"many\" is not a whole number from 0 to 256\n" },
        { "--workers=257", "", "--workers: \"257\" is not a whole number from 0 to 256" },
        { "--workers -1", "", "--workers: \"-1\" is not a whole number" },
        { "--workers +1", "", "\"+1\" is not" },
        { "--workers 0x1", "", "\"0x1\" is not" },
        { "--workers 1.0", "", "\"1.0\" is not" },
        { "--workers 1k", "", "\"1k\" is not" },
        { "--workers=", "", "--workers: \"\" is not a whole number" },
        { "--workers", "", "--workers: a value is missing" },
        { "--worker-nice 20", "", "--worker-nice: \"20\" is not a whole number from 0 to 19" },
        { "--grace-ms 99999999999999999999999", "", "--grace-ms: " },
        { "--grace-ms 1m", "", "\"1m\" is not a number of milliseconds from 0 to 3600000" },
        { "--max-body-bytes 1kb", "",
          "\"1kb\" is not a number of bytes from 1 to 1073741824 (k, m or g may follow: 8m)" },
        { "--max-body-bytes 17179869184g", "", "\"17179869184g\" is not a number of bytes" }, /* 2^64 */
        { "--log-level loud", "", "--log-level: \"loud\" is not one of debug|info|warning|error" },
        { "--log-format JSON", "", "--log-format: \"JSON\" is not one of text|json" },
        { "--listen localhost:80", "", "--listen: \"localhost:80\" is not ADDR:PORT" },
        { "--fetch-allow 10.0.0.0/33", "", "--fetch-allow: \"10.0.0.0/33\" is not a list of networks" },
        { "--worker 4", "", "unknown option --worker; did you mean --workers?" },
        { "--workrs=4", "", "unknown option --workrs; did you mean --workers?" },
        { "--fetch-time 4", "", "unknown option --fetch-time" },
        { "-workers 4", "", "unknown option -workers; did you mean --workers?" },
        { "--nothing-like-it", "", "unknown option --nothing-like-it; --help lists" },
        { "healtcheck", "", "unknown command healtcheck; did you mean healthcheck?" },
        { "8080", "", "unknown command 8080; --help lists" },
        { "-w 4", "", "unknown option -w; --help lists" },
        { "--config /nonexistent/twinpool.ini", "", "/nonexistent/twinpool.ini: No such file" },
        { "--config /", "", "/: Is a directory" },
        { "", "TWINPOOL_WORKERS=many", "twinpool: TWINPOOL_WORKERS: \"many\" is not a whole number from 0 to 256\n" },
        { "", "TWINPOOL_WORKERS=", "TWINPOOL_WORKERS: \"\" is not" },
        { "", "TWINPOOL_WORKER=2", "TWINPOOL_WORKER: unknown variable; did you mean TWINPOOL_WORKERS?" },
        { "", "TWINPOOL_XYZZY=2", "TWINPOOL_XYZZY: unknown variable; --help lists" },
        { "", "TWINPOOL_PORT=9000", "TWINPOOL_PORT: unknown variable; --help lists" },
        { "", "TWINPOOL_CONFIG=/nonexistent", "/nonexistent: No such file" },
    };
    struct ctx *ctx = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool is_loaded = load(ctx, cases[i].flags, cases[i].variables);
        if (is_loaded || !strstr(ctx->errors, cases[i].message))
            fail_msg("%s %s: expected \"%s\", got \"%s\"", cases[i].flags, cases[i].variables, cases[i].message,
                     ctx->errors);
    }
}

static void load__text_with_control_bytes__is_quoted_and_cut(void **state)
{
    struct ctx *ctx = *state;
    char name[] = "twinpool", flag[300] = "--workers=\x1b[31m\n";
    char *argv[] = { name, flag, NULL }, *environment[] = { NULL };
    memset(flag + strlen(flag), 'x', 200);
    assert_false(load_words(ctx, 2, argv, environment));
    assert_null(strchr(ctx->errors, '\x1b'));
    assert_ptr_equal(strchr(ctx->errors, '\n'), ctx->errors + strlen(ctx->errors) - 1);
    assert_true(strlen(ctx->errors) < 200);
}

static void load__variables_of_others__are_left_alone(void **state)
{
    struct ctx *ctx = *state;
    assert_true(load(ctx, "",
                     "TWINPOOL_BIN=/x TWINPOOLS=1 MY_TWINPOOL_X=1 TWINPOOL_SERVICE_HOST=10.0.0.1 "
                     "TWINPOOL_SERVICE_PORT_HTTP=80 TWINPOOL_PORT=tcp://10.0.0.1:80 TWINPOOL_PORT_80_TCP_PROTO=tcp"));
}

static void load__two_options_that_contradict__are_both_named(void **state)
{
    struct ctx *ctx = *state;
    assert_false(load(ctx, "--compute-timeout-ms 400000", ""));
    assert_non_null(
        strstr(ctx->errors, "--compute-timeout-ms 400000 is above --compute-timeout-max-ms 300000 (its default)"));
    assert_false(load(ctx, "--fetch-timeout-ms 3000 --fetch-timeout-max-ms 2000", ""));
    assert_non_null(strstr(ctx->errors, "--fetch-timeout-ms 3000 is above --fetch-timeout-max-ms 2000: lower"));
    static const char *const others[] = { "dns", "connect", "tls", "first-byte" };
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        char flags[100], expected[100];
        snprintf(flags, sizeof flags, "--fetch-%s-timeout-ms 2001 --fetch-timeout-max-ms 2000", others[i]);
        snprintf(expected, sizeof expected, "--fetch-%s-timeout-ms 2001 is above --fetch-timeout-max-ms 2000: lower",
                 others[i]);
        assert_false(load(ctx, flags, ""));
        assert_non_null(strstr(ctx->errors, expected));
    }
    assert_false(load(ctx, "--fetch-max-body-bytes 65m", ""));
    assert_false(load(ctx, "--fetch-max-body-bytes 3m --fetch-memory-bytes 2m", ""));
    assert_false(load(ctx, "--fetch-per-call 11 --fetch-inflight-max 10", ""));
    assert_non_null(strstr(ctx->errors, "--fetch-per-call 11 is above --fetch-inflight-max 10: lower"));
    assert_false(load(ctx, "--fetch-max-urls 20001", ""));
    assert_false(load(ctx, "--max-url-bytes 20000", ""));
}

static void load__limit_below_a_default__the_default_comes_down(void **state)
{
    struct ctx *ctx = *state;
    assert_true(load(ctx, "--fetch-timeout-max-ms 1000 --compute-timeout-max-ms 500 --fetch-memory-bytes 2m", ""));
    assert_int_equal(ctx->config.fetch_timeout_ms, 1000);
    assert_int_equal(ctx->config.fetch_dns_timeout_ms, 1000);
    assert_int_equal(ctx->config.fetch_connect_timeout_ms, 1000);
    assert_int_equal(ctx->config.fetch_tls_timeout_ms, 1000);
    assert_int_equal(ctx->config.fetch_first_byte_timeout_ms, 1000);
    assert_int_equal(ctx->config.fetch_max_body_bytes, 2 << 20);
    assert_int_equal(ctx->config.compute_timeout_ms, 500);
    assert_true(load(ctx, "--fetch-memory-bytes 1m --fetch-queue-max 7", ""));
    assert_int_equal(ctx->config.fetch_max_body_bytes, 1 << 20);
    assert_int_equal(ctx->config.fetch_max_urls, 7);
}

/* ---- the file */

static void file__comments_section_and_lists__are_read(void **state)
{
    struct ctx *ctx = *state;
    assert_true(load_file(
        ctx, "\xef\xbb\xbf# comment\r\n; comment\n[twinpool]\nworkers=3 ; why\r\n"
             "fetch-allow = 10.0.0.0/8, ; one\n    fd00::/8 ; two\n  192.168.0.0/16\t; three\nlog-level: debug"));
    assert_int_equal(ctx->config.workers, 3);
    assert_string_equal(ctx->config.fetch_allow, "10.0.0.0/8,fd00::/8,192.168.0.0/16");
    assert_int_equal(ctx->config.egress.allow.count, 3);
    assert_int_equal(ctx->config.log_level, LOG_DEBUG);
}

static void file__mistakes__each_is_named_with_its_line(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "loops = 2\n\nworkers = many\n", ":3: workers: \"many\" is not a whole number from 0 to 256\n" },
        { "worker = 2\n", ":1: unknown option worker; did you mean workers?" },
        { "quite_different = 2\n", ":1: unknown option quite_different\n" },
        { "io_threads = 2\n", ":1: unknown option io_threads; did you mean io-threads?" },
        { "loops = 2\nworkers\n", ":2: not a line of the form `key = value`" },
        { "[server]\nworkers = 2\n", ":2: there is no section [server]" },
        { "workers = 2\nworkers = 3\n", ":2: this option was set before" },
        { "workers = 2\n  loops = 3\n", ":2: this option was set before; an indented line continues" },
        { "loops = 2\n# 1\nfetch-allow = 10.0.0.0/8\n   10.0.0.0/99\n", ":4: fetch-allow: " },
        { "config = x\n", ":1: unknown option config" },
    };
    struct ctx *ctx = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool is_loaded = load_file(ctx, cases[i].text);
        if (is_loaded || !strstr(ctx->errors, cases[i].message) || !strstr(ctx->errors, ctx->file))
            fail_msg("%s: expected \"%s\", got \"%s\"", cases[i].text, cases[i].message, ctx->errors);
    }
}

static void file__line_too_long_for_the_library__is_refused(void **state)
{
    struct ctx *ctx = *state;
    char text[400] = "loops = 2\nfetch-allow = ";
    while (strlen(text) < 300)
        strcat(text, "10.0.0.0/8,");
    strcat(text, "10.0.0.0/8\n");
    assert_false(load_file(ctx, text));
    assert_non_null(strstr(ctx->errors, ":2: the line is longer than"));
}

/* ---- what is printed */

static void print__loaded_again__gives_the_same(void **state)
{
    struct ctx *ctx = *state;
    assert_true(load(ctx,
                     "--listen [::1]:9 --workers 7 --fetch-allow 127.0.0.0/8,10.0.0.0/8,::1/128 --max-body-bytes 3m "
                     "--log-format json --log-level error --worker-nice 0",
                     ""));
    char *first = printed(&ctx->config);
    assert_true(load_file(ctx, first));
    char *second = printed(&ctx->config);
    assert_string_equal(first, second);
    assert_string_equal(ctx->config.listen, "[::1]:9");
    assert_int_equal(ctx->config.workers, 7);
    assert_int_equal(ctx->config.max_body_bytes, 3 << 20);
    assert_int_equal(ctx->config.egress.allow.count, 3);
    assert_int_equal(ctx->config.log_format, LOG_JSON);
    assert_int_equal(ctx->config.log_level, LOG_ERROR);
    assert_int_equal(ctx->config.worker_nice, 0);
    free(first);
    free(second);
}

static void load__actions__are_told_apart(void **state)
{
    static const struct {
        const char *flags;
        enum config_action action;
    } cases[] = {
        { "--help", CONFIG_HELP },
        { "-h", CONFIG_HELP },
        { "--version", CONFIG_VERSION },
        { "--print-config", CONFIG_PRINT },
        { "docs", CONFIG_DOCS },
        { "healthcheck", CONFIG_HEALTHCHECK },
        { "--workers 2", CONFIG_SERVE },
        { "--help --workers many", CONFIG_HELP }, /* help even beside a mistake */
        { "healthcheck --listen 127.0.0.1:1", CONFIG_HEALTHCHECK },
    };
    struct ctx *ctx = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_true(load(ctx, cases[i].flags, ""));
        assert_int_equal(ctx->action, cases[i].action);
    }
}

static void help_and_docs__name_every_option(void **state)
{
    (void)state;
    char key[CONFIG_NAME_MAX], flag[CONFIG_NAME_MAX + 5], variable[CONFIG_NAME_MAX];
    char *help = text_of(config_print_help), *docs = text_of(config_print_docs);
    for (size_t i = 0; i < config_option_count; i++) {
        config_option_key(&config_options[i], key);
        config_option_variable(&config_options[i], variable);
        snprintf(flag, sizeof(flag), "  --%s ", key);
        assert_non_null(strstr(help, flag));
        snprintf(flag, sizeof(flag), "`--%s`", key);
        assert_non_null(strstr(docs, flag));
        assert_non_null(strstr(docs, variable));
    }
    for (const char *line = help; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        assert_true(len <= 100);
        line += len + (line[len] == '\n');
    }
    assert_non_null(strstr(help, "\nExample:\n"));
    free(help);
    free(docs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(load__nothing_given__has_the_defaults),
        TEST(load__flag_variable_and_file__flag_then_variable_then_file_wins),
        TEST(load__sizes_with_suffix__are_multiplied),
        TEST(load__each_number_at_its_ends__in_range_only),
        TEST(load__refused__leaves_the_outputs_alone),
        TEST(load__mistakes__each_is_named_with_its_place),
        TEST(load__text_with_control_bytes__is_quoted_and_cut),
        TEST(load__variables_of_others__are_left_alone),
        TEST(load__two_options_that_contradict__are_both_named),
        TEST(load__limit_below_a_default__the_default_comes_down),
        TEST(file__comments_section_and_lists__are_read),
        TEST(file__mistakes__each_is_named_with_its_line),
        TEST(file__line_too_long_for_the_library__is_refused),
        TEST(print__loaded_again__gives_the_same),
        TEST(load__actions__are_told_apart),
        TEST(help_and_docs__name_every_option),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
