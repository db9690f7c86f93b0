/* Tests of pool/egress_policy.c: ports, hosts, whole URLs, and how the lists are written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "pool/egress_policy.h"

static char message[EGRESS_MESSAGE_SIZE];

static struct egress_hosts hosts(const char *list)
{
    struct egress_hosts parsed;
    const char *said = "";
    if (!egress_hosts_parse(list, &parsed, &said))
        fail_msg("\"%s\": %s", list, said);
    return parsed;
}

static struct egress_ports ports(const char *list)
{
    struct egress_ports parsed;
    const char *said = "";
    if (!egress_ports_parse(list, &parsed, &said))
        fail_msg("\"%s\": %s", list, said);
    return parsed;
}

static struct egress_cidrs cidrs(const char *list)
{
    struct egress_cidrs parsed;
    const char *said = "";
    if (!egress_cidrs_parse(list, &parsed, &said))
        fail_msg("\"%s\": %s", list, said);
    return parsed;
}

/* ---- ports */

/* https://fetch.spec.whatwg.org/#port-blocking, copied by hand */
static const uint16_t bad[] = {
    1,    7,    9,    11,   13,   15,   17,   19,   20,   21,   22,   23,   25,   37,    42,   43,   53,
    69,   77,   79,   87,   95,   101,  102,  103,  104,  109,  110,  111,  113,  115,   117,  119,  123,
    135,  137,  139,  143,  161,  179,  389,  427,  465,  512,  513,  514,  515,  526,   530,  531,  532,
    540,  548,  554,  556,  563,  587,  601,  636,  989,  990,  993,  995,  1719, 1720,  1723, 2049, 3659,
    4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
};

static void port__no_list__all_but_the_bad_ones(void **state)
{
    (void)state;
    const struct egress_policy policy = { 0 };
    size_t next = 0;
    for (unsigned port = 1; port <= UINT16_MAX; port++) {
        bool is_bad = next < ARRAY_LEN(bad) && bad[next] == port;
        enum status status = egress_policy_check_port(&policy, (uint16_t)port, message);
        if (status != (is_bad ? ST_PORT_NOT_ALLOWED : ST_OK))
            fail_msg("port %u: %s", port, status_code(status));
        next += is_bad;
    }
    assert_int_equal(next, ARRAY_LEN(bad));
    assert_int_equal(egress_policy_check_port(&policy, 25, message), ST_PORT_NOT_ALLOWED);
    assert_non_null(strstr(message, "port 25 "));
    assert_non_null(strstr(message, "bad ports"));
    assert_non_null(strstr(message, "--fetch-ports"));
}

static void port__a_list__these_and_no_others(void **state)
{
    (void)state;
    const struct egress_policy policy = { .only_ports = ports(" 25, 8000-8002 ,443,65535,1-2") };
    static const uint16_t allowed[] = { 1, 2, 25, 443, 8000, 8001, 8002, 65535 };
    static const uint16_t refused[] = { 3, 24, 26, 80, 442, 444, 7999, 8003, 65534 };
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
        assert_int_equal(egress_policy_check_port(&policy, allowed[i], message), ST_OK);
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        assert_int_equal(egress_policy_check_port(&policy, refused[i], message), ST_PORT_NOT_ALLOWED);
    assert_string_equal(message, "port 65534 is not in --fetch-ports");
}

static void port__the_whole_range__every_port(void **state)
{
    (void)state;
    const struct egress_policy policy = { .only_ports = ports("1-65535") };
    for (unsigned port = 1; port <= UINT16_MAX; port++)
        assert_int_equal(egress_policy_check_port(&policy, (uint16_t)port, message), ST_OK);
}

/* ---- hosts */

struct verdict {
    const char *host;
    bool matches;
};

static void expect_matches(const char *list, const struct verdict *verdicts, size_t count)
{
    const struct egress_policy only = { .only_hosts = hosts(list) }, deny = { .deny_hosts = hosts(list) };
    for (size_t i = 0; i < count; i++) {
        enum status listed = egress_policy_check_host(&only, verdicts[i].host, message);
        if (listed != (verdicts[i].matches ? ST_OK : ST_HOST_NOT_ALLOWED))
            fail_msg("only %s: %s: %s", list, verdicts[i].host, status_code(listed));
        enum status denied = egress_policy_check_host(&deny, verdicts[i].host, message);
        if (denied != (verdicts[i].matches ? ST_HOST_NOT_ALLOWED : ST_OK))
            fail_msg("deny %s: %s: %s", list, verdicts[i].host, status_code(denied));
    }
}
#define EXPECT_MATCHES(list, ...) \
    expect_matches(list, (const struct verdict[]){ __VA_ARGS__ }, ARRAY_LEN(((const struct verdict[]){ __VA_ARGS__ })))

static void host__name__that_host_alone(void **state)
{
    (void)state;
    EXPECT_MATCHES("example.org", { "example.org", true }, { "example.org.", true }, { "a.example.org", false },
                   { "xexample.org", false }, { "example.orgx", false }, { "example.or", false }, { "org", false },
                   { "", false }, { ".", false });
    EXPECT_MATCHES("Example.ORG.", { "example.org", true }, { "example.org.", true });
    EXPECT_MATCHES("localhost", { "localhost", true }, { "a.localhost", false });
    EXPECT_MATCHES("xn--4ca.example,foo_bar.example", { "xn--4ca.example", true }, { "foo_bar.example", true });
}

static void host__star__those_below_and_not_itself(void **state)
{
    (void)state;
    EXPECT_MATCHES("*.example.com", { "a.example.com", true }, { "b.a.example.com", true }, { "a.example.com.", true },
                   { "example.com", false }, { "example.com.", false }, { "xexample.com", false },
                   { "a.example.com.evil", false }, { "com", false }, { "*.example.com", true });
    EXPECT_MATCHES("*.Example.COM.", { "a.example.com", true }, { "example.com", false });
    EXPECT_MATCHES("example.com, *.example.com", { "example.com", true }, { "a.example.com", true },
                   { "b.com", false });
    EXPECT_MATCHES("*.com", { "a.com", true }, { "a.b.com", true }, { "com", false }, { "acom", false });
}

static void host__literals__as_the_canonical_host_is_written(void **state)
{
    (void)state;
    EXPECT_MATCHES("127.0.0.1,[::1]", { "127.0.0.1", true }, { "[::1]", true }, { "127.0.0.2", false },
                   { "[::ffff:127.0.0.1]", false });
}

static void host__no_lists__any(void **state)
{
    (void)state;
    const struct egress_policy policy = { 0 };
    assert_int_equal(egress_policy_check_host(&policy, "example.org", message), ST_OK);
}

static void host__in_both_lists__refused(void **state)
{
    (void)state;
    const struct egress_policy policy = { .only_hosts = hosts("*.example.org"), .deny_hosts = hosts("b.example.org") };
    assert_int_equal(egress_policy_check_host(&policy, "a.example.org", message), ST_OK);
    assert_int_equal(egress_policy_check_host(&policy, "b.example.org", message), ST_HOST_NOT_ALLOWED);
    assert_string_equal(message, "b.example.org is refused: it is in --fetch-deny-hosts");
    assert_int_equal(egress_policy_check_host(&policy, "example.org", message), ST_HOST_NOT_ALLOWED);
    assert_string_equal(message, "example.org is refused: it is not in --fetch-hosts");
}

static void host__long__message_cut_and_still_names_the_option(void **state)
{
    (void)state;
    char host[URL_HOST_MAX + 1];
    memset(host, 'a', URL_HOST_MAX);
    host[URL_HOST_MAX] = '\0';
    const struct egress_policy policy = { .only_hosts = hosts("b") };
    assert_int_equal(egress_policy_check_host(&policy, host, message), ST_HOST_NOT_ALLOWED);
    assert_non_null(memchr(message, '\0', sizeof message));
    assert_non_null(strstr(message, "--fetch-hosts"));
}

/* ---- whole URLs */

static enum status check_url(const struct egress_policy *policy, const char *url)
{
    struct url_parts parts;
    const char *said = NULL;
    assert_int_equal(url_rules_check(url, &parts, &said), ST_OK);
    message[0] = '\0';
    return egress_policy_check_url(policy, &parts, message);
}

static void url__each_rule__in_any_spelling(void **state)
{
    (void)state;
    const struct egress_policy policy = { .allow = cidrs("10.0.0.0/8"),
                                          .deny_hosts = hosts("*.evil.example,10.0.0.66") };
    static const struct {
        const char *url;
        enum status status;
    } cases[] = {
        { "http://example.org/", ST_OK },
        { "http://example.org:25/", ST_PORT_NOT_ALLOWED },
        { "http://127.0.0.1:25/", ST_PORT_NOT_ALLOWED },
        { "http://a.evil.example/", ST_HOST_NOT_ALLOWED },
        { "http://A.EVIL.example./", ST_HOST_NOT_ALLOWED },
        { "http://a%2eevil.example/", ST_HOST_NOT_ALLOWED },
        { "http://a\xe3\x80\x82\x65vil.example/", ST_HOST_NOT_ALLOWED },
        { "http://evil.example/", ST_OK },
        { "http://10.0.0.1/", ST_OK },
        { "http://10.66/", ST_HOST_NOT_ALLOWED },
        { "http://0xa.0.0.66/", ST_HOST_NOT_ALLOWED },
        { "http://127.0.0.1/", ST_BLOCKED_ADDRESS },
        { "http://2130706433/", ST_BLOCKED_ADDRESS },
        { "http://\xe2\x91\xa0\xe2\x91\xa1\xe2\x91\xa6.1/", ST_BLOCKED_ADDRESS },
        { "http://[::ffff:127.0.0.1]/", ST_BLOCKED_ADDRESS },
        { "http://[::ffff:10.0.0.1]/", ST_OK },
        { "http://[::1]/", ST_BLOCKED_ADDRESS },
        { "http://localhost/", ST_OK }, /* judged when it is resolved */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum status status = check_url(&policy, cases[i].url);
        if (status != cases[i].status)
            fail_msg("%s: expected %s, got %s", cases[i].url, status_code(cases[i].status), status_code(status));
        assert_true(status == ST_OK || message[0] != '\0');
    }
}

static void url__own_address__a_loop(void **state)
{
    (void)state;
    struct egress_policy policy = { .allow = cidrs("127.0.0.0/8") };
    struct sockaddr_in own = { .sin_family = AF_INET, .sin_port = htons(8080), .sin_addr.s_addr = htonl(0x7f000001) };
    memcpy(&policy.own_address, &own, sizeof own);
    assert_int_equal(check_url(&policy, "http://127.1:8080/"), ST_LOOP_DETECTED);
    assert_int_equal(check_url(&policy, "http://127.1/"), ST_OK);
}

/* ---- how the lists are written */

static void parse__nothing__no_entries(void **state)
{
    (void)state;
    static const char *const nothing[] = { "", " ", "\t " };
    for (size_t i = 0; i < ARRAY_LEN(nothing); i++) {
        assert_int_equal(cidrs(nothing[i]).count, 0);
        assert_int_equal(hosts(nothing[i]).count, 0);
        assert_int_equal(ports(nothing[i]).count, 0);
    }
}

/* What was there before is left alone and a reason is given. */
#define EXPECT_REFUSED(kind, text)                           \
    do {                                                     \
        struct egress_##kind before, after;                  \
        const char *said = NULL;                             \
        memset(&before, 0x5a, sizeof before);                \
        memset(&after, 0x5a, sizeof after);                  \
        if (egress_##kind##_parse(text, &after, &said))      \
            fail_msg(#kind ": \"%s\" was accepted", text);   \
        assert_non_null(said);                               \
        assert_true(said[0] != '\0');                        \
        assert_memory_equal(&before, &after, sizeof before); \
    } while (0)

static void parse__malformed_cidrs__refused_and_untouched(void **state)
{
    (void)state;
    static const char *const malformed[] = {
        "127.0.0.1/33", "127.0.0.1/8", "::1/129",     "::1/",        "127.0.0.0/-8", "127.0.0.0/08x", "127.0.0/8",
        "localhost",    ",",           "127.0.0.1,,", "127.0.0.1,",  "/8",           "0x7f.0.0.1/32", "fe80::1%lo",
        "1.2.3.4 /32x", "10.0.0.0/8;", "[::1]/128",   "10.0.0.0 /8", "::1/0128",     "10.0.0.0/8 ::1"
    };
    for (size_t i = 0; i < ARRAY_LEN(malformed); i++)
        EXPECT_REFUSED(cidrs, malformed[i]);
}

static void parse__malformed_hosts__refused_and_untouched(void **state)
{
    (void)state;
    static const char *const malformed[] = { "*",           "*.",           ".",     "*..a", "*a.example",
                                             "a.*.example", "a*",           "**.a",  "a b",  "http://a",
                                             "a/",          "a,",           ",a",    "a,,b", "\xc3\xa4.example",
                                             "a@b",         ".example.org", "*.*.a", "a;b",  "a,*" };
    for (size_t i = 0; i < ARRAY_LEN(malformed); i++)
        EXPECT_REFUSED(hosts, malformed[i]);
    char text[URL_HOST_MAX + 8];
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    EXPECT_REFUSED(hosts, text);
}

static void parse__malformed_ports__refused_and_untouched(void **state)
{
    (void)state;
    static const char *const malformed[] = { "0",      "65536",     "99999999999999999999",
                                             "80-",    "-80",       "90-80",
                                             "0-80",   "a",         "80;81",
                                             "80,,81", "80,",       ",80",
                                             "+80",    "0x50",      "80 90",
                                             "80 -90", "80-90-100", "80-65536",
                                             "http",   "80-a",      "80.0" };
    for (size_t i = 0; i < ARRAY_LEN(malformed); i++)
        EXPECT_REFUSED(ports, malformed[i]);
}

/* Appends "," and the entry. */
static void add_entry(char *list, size_t size, const char *entry)
{
    size_t len = strlen(list);
    snprintf(list + len, size - len, "%s%s", len ? "," : "", entry);
}

static void parse__more_than_fit__refused(void **state)
{
    (void)state;
    char list[4096] = "", entry[80];
    for (unsigned i = 0; i < EGRESS_CIDRS_MAX; i++) {
        snprintf(entry, sizeof entry, "10.0.0.%u", i);
        add_entry(list, sizeof list, entry);
    }
    assert_int_equal(cidrs(list).count, EGRESS_CIDRS_MAX);
    add_entry(list, sizeof list, "10.0.1.1");
    EXPECT_REFUSED(cidrs, list);

    list[0] = '\0';
    for (unsigned i = 0; i < EGRESS_PORT_RANGES_MAX; i++) {
        snprintf(entry, sizeof entry, "%u-%u", 100 + 2 * i, 101 + 2 * i);
        add_entry(list, sizeof list, entry);
    }
    assert_int_equal(ports(list).count, EGRESS_PORT_RANGES_MAX);
    add_entry(list, sizeof list, "80");
    EXPECT_REFUSED(ports, list);

    list[0] = '\0';
    memset(entry, 'a', 63); /* 64 bytes with its NUL: 16 fit into 1024 */
    entry[63] = '\0';
    for (unsigned i = 0; i < EGRESS_HOSTS_BYTES / 64; i++)
        add_entry(list, sizeof list, entry);
    assert_int_equal(hosts(list).count, EGRESS_HOSTS_BYTES / 64);
    add_entry(list, sizeof list, "b");
    EXPECT_REFUSED(hosts, list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(port__no_list__all_but_the_bad_ones),
        cmocka_unit_test(port__a_list__these_and_no_others),
        cmocka_unit_test(port__the_whole_range__every_port),
        cmocka_unit_test(host__name__that_host_alone),
        cmocka_unit_test(host__star__those_below_and_not_itself),
        cmocka_unit_test(host__literals__as_the_canonical_host_is_written),
        cmocka_unit_test(host__no_lists__any),
        cmocka_unit_test(host__in_both_lists__refused),
        cmocka_unit_test(host__long__message_cut_and_still_names_the_option),
        cmocka_unit_test(url__each_rule__in_any_spelling),
        cmocka_unit_test(url__own_address__a_loop),
        cmocka_unit_test(parse__nothing__no_entries),
        cmocka_unit_test(parse__malformed_cidrs__refused_and_untouched),
        cmocka_unit_test(parse__malformed_hosts__refused_and_untouched),
        cmocka_unit_test(parse__malformed_ports__refused_and_untouched),
        cmocka_unit_test(parse__more_than_fit__refused),
    };
    return cmocka_run_group_tests_name("egress_lists", tests, NULL, NULL);
}
