/* config: the options that are lists, and the one that is a file's name. */
#include "tests/unit/config_rig.h"

#include "pool/breaker.h"

/* ---- each list is kept as text and in its parsed form */

static void load__networks__are_kept_and_parsed(void **state)
{
    struct ctx *ctx = *state;
    assert_true(load(ctx, "--fetch-allow 127.0.0.0/8,::1/128 --fetch-deny 10.0.0.0/8", ""));
    assert_string_equal(ctx->config.fetch_allow, "127.0.0.0/8,::1/128");
    assert_string_equal(ctx->config.fetch_deny, "10.0.0.0/8");
    assert_int_equal(ctx->config.egress.allow.count, 2);
    assert_int_equal(ctx->config.egress.deny.count, 1);
    assert_int_equal(ctx->config.egress.deny.list[0].address[12], 10);
    assert_true(load(ctx, "--fetch-allow=", "TWINPOOL_FETCH_ALLOW=10.0.0.0/8 TWINPOOL_FETCH_DENY=fd00::/8,::1"));
    assert_int_equal(ctx->config.egress.allow.count, 0);
    assert_int_equal(ctx->config.egress.deny.count, 2);
}

static void load__hosts_and_ports__are_kept_and_parsed(void **state)
{
    struct ctx *ctx = *state;
    char message[EGRESS_MESSAGE_SIZE];
    assert_true(load(
        ctx, "--fetch-hosts Example.org,*.example.com --fetch-deny-hosts evil.example.com --fetch-ports 80,8000-8999",
        ""));
    const struct config *config = &ctx->config;
    assert_string_equal(config->fetch_hosts, "Example.org,*.example.com");
    assert_string_equal(config->fetch_deny_hosts, "evil.example.com");
    assert_string_equal(config->fetch_ports, "80,8000-8999");
    assert_int_equal(egress_policy_check_host(&config->egress, "example.org", message), ST_OK);
    assert_int_equal(egress_policy_check_host(&config->egress, "a.example.com", message), ST_OK);
    assert_int_equal(egress_policy_check_host(&config->egress, "evil.example.com", message), ST_HOST_NOT_ALLOWED);
    assert_int_equal(egress_policy_check_host(&config->egress, "example.net", message), ST_HOST_NOT_ALLOWED);
    assert_int_equal(egress_policy_check_port(&config->egress, 8500, message), ST_OK);
    assert_int_equal(egress_policy_check_port(&config->egress, 443, message), ST_PORT_NOT_ALLOWED);
    assert_true(load(ctx, "--fetch-ports=", "TWINPOOL_FETCH_PORTS=81"));
    assert_int_equal(config->egress.only_ports.count, 0);
    assert_int_equal(config->egress.only_hosts.count, 0);
}

static void load__breaker_on__becomes_bits(void **state)
{
    struct ctx *ctx = *state;
    static const struct {
        const char *flags;
        unsigned counted;
    } cases[] = {
        { "", BREAKER_DNS | BREAKER_CONNECT | BREAKER_TLS | BREAKER_TIMEOUT | BREAKER_CLOSED },
        { "--fetch-breaker-on=", 0 },
        { "--fetch-breaker-on dns", BREAKER_DNS },
        { "--fetch-breaker-on connect", BREAKER_CONNECT },
        { "--fetch-breaker-on tls", BREAKER_TLS },
        { "--fetch-breaker-on timeout", BREAKER_TIMEOUT },
        { "--fetch-breaker-on closed", BREAKER_CLOSED },
        { "--fetch-breaker-on 5xx", BREAKER_5XX },
        { "--fetch-breaker-on 429", BREAKER_429 },
        { "--fetch-breaker-on 429,5xx,429", BREAKER_429 | BREAKER_5XX },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_true(load(ctx, cases[i].flags, ""));
        assert_int_equal(ctx->config.breaker_counted, cases[i].counted);
    }
}

static void load__dns_servers__numeric_in_any_form(void **state)
{
    struct ctx *ctx = *state;
    static const char servers[] = "9.9.9.9,127.0.0.1:5353,2620:fe::fe,[2620:fe::9]:53";
    assert_true(load(ctx, "--fetch-dns-servers 9.9.9.9,127.0.0.1:5353,2620:fe::fe,[2620:fe::9]:53", ""));
    assert_string_equal(ctx->config.fetch_dns_servers, servers);
    assert_true(load(ctx, "--fetch-dns-servers=", ""));
    assert_string_equal(ctx->config.fetch_dns_servers, "");
}

static void load__ca_file__any_name(void **state)
{
    struct ctx *ctx = *state;
    assert_true(load(ctx, "--fetch-ca-file /nonexistent/a,b.pem", ""));
    assert_string_equal(ctx->config.fetch_ca_file, "/nonexistent/a,b.pem");
    assert_true(load(ctx, "--fetch-ca-file=", "TWINPOOL_FETCH_CA_FILE=/x"));
    assert_string_equal(ctx->config.fetch_ca_file, "");
}

/* ---- mistakes */

static void load__mistakes__each_says_what_is_wanted_and_why(void **state)
{
    static const struct {
        const char *flags, *message;
    } cases[] = {
        { "--fetch-deny 10.0.0.0/33",
          "--fetch-deny: \"10.0.0.0/33\" is not a list of networks such as 10.0.0.0/8,fd00::/8: the prefix" },
        { "--fetch-allow 10.0.0.1/8", "the address has bits set beyond the prefix length" },
        { "--fetch-allow example.org", "not an IPv4 or IPv6 address" },
        { "--fetch-hosts *",
          "--fetch-hosts: \"*\" is not a list of hosts such as example.org,*.example.com: not a host name" },
        { "--fetch-deny-hosts a,,b",
          "--fetch-deny-hosts: \"a,,b\" is not a list of hosts such as example.org,*.example.com: an empty" },
        { "--fetch-ports 0",
          "--fetch-ports: \"0\" is not a list of ports such as 80,443,8000-8999: not a port or FIRST-LAST" },
        { "--fetch-ports 80-", "not a port or FIRST-LAST, from 1 to 65535" },
        { "--fetch-breaker-on 500",
          "--fetch-breaker-on: \"500\" is not a list of dns, connect, tls, timeout, closed, 5xx and 429: " },
        { "--fetch-breaker-on dns,", "is not a list of dns" },
        { "--fetch-breaker-on ,dns", "is not a list of dns" },
        { "--fetch-breaker-on DNS", "is not a list of dns" },
        { "--fetch-dns-servers dns.example",
          "--fetch-dns-servers: \"dns.example\" is not a list of name servers such as 9.9.9.9" },
        { "--fetch-dns-servers 9.9.9.9:0", "not numeric addresses" },
        { "--fetch-dns-servers 9.9.9.9:65536", "not numeric addresses" },
        { "--fetch-dns-servers [::1]", "not numeric addresses" },
        { "--fetch-dns-servers 9.9.9.9,,8.8.8.8", "not numeric addresses" },
    };
    struct ctx *ctx = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool is_loaded = load(ctx, cases[i].flags, "");
        if (is_loaded || !strstr(ctx->errors, cases[i].message))
            fail_msg("%s: expected \"%s\", got \"%s\"", cases[i].flags, cases[i].message, ctx->errors);
    }
}

static bool load_flag(struct ctx *ctx, const char *flag, const char *value)
{
    char name[] = "twinpool", words[2][2 * CONFIG_TEXT_MAX];
    char *argv[] = { name, words[0], words[1], NULL }, *environment[] = { NULL };
    snprintf(words[0], sizeof words[0], "%s", flag);
    snprintf(words[1], sizeof words[1], "%s", value);
    return load_words(ctx, 3, argv, environment);
}

static void load__too_long__refused(void **state)
{
    struct ctx *ctx = *state;
    char text[CONFIG_TEXT_MAX + 1];
    for (size_t i = 0; i < CONFIG_TEXT_MAX; i++)
        text[i] = i % 64 == 63 ? ',' : 'a';
    text[CONFIG_TEXT_MAX] = '\0';
    text[CONFIG_TEXT_MAX - 1] = 'a';
    assert_false(load_flag(ctx, "--fetch-hosts", text)); /* 1024 bytes */
    assert_non_null(strstr(ctx->errors, "the list is too long"));
    assert_false(load_flag(ctx, "--fetch-ca-file", text));
    assert_non_null(strstr(ctx->errors, "is not the name of a file, of at most 1023 bytes"));
    text[CONFIG_TEXT_MAX - 1] = '\0';
    text[CONFIG_TEXT_MAX - 2] = 'a';
    assert_true(load_flag(ctx, "--fetch-ca-file", text));
    assert_true(load_flag(ctx, "--fetch-hosts", text));
    assert_int_equal(ctx->config.egress.only_hosts.count, 16);
}

static void load__refused_list__leaves_the_outputs_alone(void **state)
{
    struct ctx *ctx = *state;
    assert_true(load(ctx, "--fetch-ports 80 --fetch-breaker-on dns", ""));
    assert_false(load(ctx, "--fetch-ports 81 --fetch-breaker-on dns,never", ""));
    assert_string_equal(ctx->config.fetch_ports, "80");
    assert_int_equal(ctx->config.egress.only_ports.ranges[0].first, 80);
    assert_int_equal(ctx->config.breaker_counted, BREAKER_DNS);
}

/* ---- the file */

static void file__lists_over_several_lines__are_joined(void **state)
{
    struct ctx *ctx = *state;
    assert_true(load_file(ctx, "fetch-deny = 10.0.0.0/8\n  fd00::/8,\n  192.168.0.0/16\n"
                               "fetch-hosts = example.org,\n\t*.example.com\n"
                               "fetch-ports = 80\n    443\n    8000-8999\n"
                               "fetch-breaker-on = 5xx,\n    429\n"
                               "fetch-dns-servers = 9.9.9.9\n    [2620:fe::fe]:53\n"));
    assert_int_equal(ctx->config.egress.deny.count, 3);
    assert_string_equal(ctx->config.fetch_hosts, "example.org,*.example.com");
    assert_int_equal(ctx->config.egress.only_ports.count, 3);
    assert_int_equal(ctx->config.breaker_counted, BREAKER_5XX | BREAKER_429); /* not the default's and these */
    assert_string_equal(ctx->config.fetch_dns_servers, "9.9.9.9,[2620:fe::fe]:53");
}

static void file__flag_given_too__replaces_the_list(void **state)
{
    struct ctx *ctx = *state;
    char flags[150];
    write_file(ctx, "fetch-ports = 80,443\nfetch-deny = 10.0.0.0/8\n");
    snprintf(flags, sizeof flags, "--config %s --fetch-ports 81", ctx->file);
    assert_true(load(ctx, flags, "TWINPOOL_FETCH_DENY=fd00::/8,fe80::/10,::1"));
    assert_string_equal(ctx->config.fetch_ports, "81");
    assert_int_equal(ctx->config.egress.only_ports.count, 1);
    assert_int_equal(ctx->config.egress.deny.count, 3);
}

static void file__mistakes__each_is_named_with_its_line(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "fetch-ports = 80\n  443\n  x\n", ":3: fetch-ports: \"80,443,x\" is not a list of ports" },
        { "fetch-hosts = a\n  *\n", ":2: fetch-hosts: " },
        { "fetch-breaker-on = dns, tls,never\n", ":1: fetch-breaker-on: " },
        { "fetch-ca-file = /a\n  /b\n", ":2: this option was set before" },
    };
    struct ctx *ctx = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool is_loaded = load_file(ctx, cases[i].text);
        if (is_loaded || !strstr(ctx->errors, cases[i].message))
            fail_msg("%s: expected \"%s\", got \"%s\"", cases[i].text, cases[i].message, ctx->errors);
    }
}

static void file__list_too_long__is_refused(void **state)
{
    struct ctx *ctx = *state;
    char text[3000] = "fetch-hosts = a0.example\n";
    for (unsigned i = 1; i < 100; i++)
        sprintf(text + strlen(text), "  a%u.example\n", i);
    assert_false(load_file(ctx, text));
    assert_non_null(strstr(ctx->errors, "fetch-hosts: the list is longer than 1023 bytes"));
}

/* ---- what is printed */

static void print__lists_and_names_with_commas__loaded_again_the_same(void **state)
{
    struct ctx *ctx = *state;
    char *argv[] = { (char[]){ "twinpool" },
                     (char[]){ "--fetch-allow" },
                     (char[]){ "127.0.0.0/8,10.0.0.0/8,::1/128" },
                     (char[]){ "--fetch-hosts" },
                     (char[]){ "example.org,*.example.com" },
                     (char[]){ "--fetch-deny-hosts=evil.example.com" },
                     (char[]){ "--fetch-ports" },
                     (char[]){ "80,443,8000-8999" },
                     (char[]){ "--fetch-breaker-on=" },
                     (char[]){ "--fetch-dns-servers" },
                     (char[]){ "9.9.9.9,[::1]:53" },
                     (char[]){ "--fetch-ca-file" },
                     (char[]){ "/etc/ssl/a,b.pem" },
                     (char[]){ "--fetch-per-call=7" },
                     NULL },
         *environment[] = { NULL };
    assert_true(load_words(ctx, (int)ARRAY_LEN(argv) - 1, argv, environment));
    char *first = printed(&ctx->config);
    if (!load_file(ctx, first))
        fail_msg("%s", ctx->errors);
    char *second = printed(&ctx->config);
    assert_string_equal(first, second);
    assert_int_equal(ctx->config.egress.allow.count, 3);
    assert_int_equal(ctx->config.egress.only_hosts.count, 2);
    assert_int_equal(ctx->config.egress.only_ports.count, 3);
    assert_int_equal(ctx->config.breaker_counted, 0);
    assert_string_equal(ctx->config.fetch_ca_file, "/etc/ssl/a,b.pem");
    assert_int_equal(ctx->config.fetch_per_call, 7);
    free(first);
    free(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(load__networks__are_kept_and_parsed),
        TEST(load__hosts_and_ports__are_kept_and_parsed),
        TEST(load__breaker_on__becomes_bits),
        TEST(load__dns_servers__numeric_in_any_form),
        TEST(load__ca_file__any_name),
        TEST(load__mistakes__each_says_what_is_wanted_and_why),
        TEST(load__too_long__refused),
        TEST(load__refused_list__leaves_the_outputs_alone),
        TEST(file__lists_over_several_lines__are_joined),
        TEST(file__flag_given_too__replaces_the_list),
        TEST(file__mistakes__each_is_named_with_its_line),
        TEST(file__list_too_long__is_refused),
        TEST(print__lists_and_names_with_commas__loaded_again_the_same),
    };
    return cmocka_run_group_tests_name("config_lists", tests, NULL, NULL);
}
