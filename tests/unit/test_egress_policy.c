/* Tests of pool/egress_policy.c: every range with its neighbours, every way to write an address, the allow list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "pool/egress_policy.h"

static const struct egress_policy deny_by_default;

static const char *judge(const struct egress_policy *policy, const char *text)
{
    struct sockaddr_in in = { .sin_family = AF_INET };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
        return egress_policy_refuses(policy, (const struct sockaddr *)&in, sizeof in);
    if (inet_pton(AF_INET6, text, &in6.sin6_addr) != 1)
        fail_msg("%s is no address", text);
    return egress_policy_refuses(policy, (const struct sockaddr *)&in6, sizeof in6);
}

static void expect_refused(const char *text, const char *rule)
{
    const char *said = judge(&deny_by_default, text);
    if (!said || !strstr(said, rule))
        fail_msg("%s: expected \"%s\", got \"%s\"", text, rule, said ? said : "allowed");
}

static void expect_allowed(const char *text)
{
    const char *said = judge(&deny_by_default, text);
    if (said)
        fail_msg("%s: expected it to be allowed, got \"%s\"", text, said);
}

static struct egress_policy parsed(const char *list)
{
    struct egress_policy policy;
    const char *message = "";
    if (!egress_policy_parse(list, &policy, &message))
        fail_msg("\"%s\": %s", list, message);
    return policy;
}

/* First and last of each range, and the addresses just outside where these are not in another range. */
static const struct {
    const char *before, *first, *last, *after, *rule;
} ranges[] = {
    { NULL, "0.0.0.0", "0.255.255.255", "1.0.0.0", "0.0.0.0/8" },
    { "9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0", "10.0.0.0/8" },
    { "100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0", "100.64.0.0/10" },
    { "126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0", "127.0.0.0/8" },
    { "169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0", "169.254.0.0/16" },
    { "172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0", "172.16.0.0/12" },
    { "191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0", "192.0.0.0/24" },
    { "192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0", "192.0.2.0/24" },
    { "192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0", "192.88.99.0/24" },
    { "192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0", "192.168.0.0/16" },
    { "198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0", "198.18.0.0/15" },
    { "198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0", "198.51.100.0/24" },
    { "203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0", "203.0.113.0/24" },
    { "223.255.255.255", "224.0.0.0", "239.255.255.255", NULL, "224.0.0.0/4" },
    { NULL, "240.0.0.0", "255.255.255.255", NULL, "240.0.0.0/4" },
    { "168.63.129.15", "168.63.129.16", "168.63.129.16", "168.63.129.17", "168.63.129.16/32" },
    { "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", NULL, "2001::/32" },
    { NULL, "2001:1::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::", "2001::/23" },
    { "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
      "2001:db9::", "2001:db8::/32" },
    { "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
      "2003::", "2002::/16" },
    { "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
      "3fff:1000::", "3fff::/20" },
    { NULL, "::", "::", NULL, "unspecified" },
    { NULL, "::1", "::1", NULL, "::1/128" },
    { NULL, "::2", "::fffe:ffff", NULL, "IPv4-compatible" },
    { NULL, "::ffff:0:0:0", "::ffff:0:ffff:ffff", NULL, "IPv4-translated" },
    { NULL, "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", NULL, "64:ff9b:1::/48" },
    { NULL, "100::", "100::ffff:ffff:ffff:ffff", NULL, "100::/64" },
    { NULL, "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL, "5f00::/16" },
    { NULL, "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL, "fc00::/7" },
    { NULL, "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL, "fe80::/10" },
    { NULL, "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL, "fec0::/10" },
    { NULL, "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL, "ff00::/8" },
    { NULL, "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "4000::", "2000::", "outside 2000::/3" },
};

static void refuses__each_range__exactly_within_its_ends(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        if (ranges[i].before)
            expect_allowed(ranges[i].before);
        expect_refused(ranges[i].first, ranges[i].rule);
        expect_refused(ranges[i].last, ranges[i].rule);
        if (ranges[i].after)
            expect_allowed(ranges[i].after);
    }
}

static void refuses__public_addresses__never(void **state)
{
    (void)state;
    static const char *const public[] = {
        "8.8.8.8",          "1.1.1.1",        "93.184.216.34",          "2606:4700:4700::1111", "2001:4860:4860::8888",
        "64:ff9b::808:808", "::ffff:8.8.8.8", "2606:4700::5efe:808:808"
    };
    for (size_t i = 0; i < ARRAY_LEN(public); i++)
        expect_allowed(public[i]);
}

static void refuses__metadata_services__always(void **state)
{
    (void)state;
    static const char *const metadata[] = { "169.254.169.254", "169.254.170.2", "100.100.100.200",
                                            "192.0.0.192",     "168.63.129.16", "fd00:ec2::254" };
    for (size_t i = 0; i < ARRAY_LEN(metadata); i++)
        expect_refused(metadata[i], "");
}

static void refuses__ipv4_inside_ipv6__judged_as_ipv4(void **state)
{
    (void)state;
    expect_refused("::ffff:127.0.0.1", "loopback");
    expect_refused("::ffff:10.0.0.1", "private");
    expect_refused("64:ff9b::7f00:1", "loopback");
    expect_refused("64:ff9b::a9fe:a9fe", "link-local");
    expect_refused("64:ff9b::a00:1", "private");
    expect_refused("2606:4700::5efe:7f00:1", "loopback");   /* ISATAP */
    expect_refused("2606:4700::200:5efe:a00:1", "private"); /* with the universal bit */
    expect_allowed("2606:4700::100:5efe:a00:1");            /* no ISATAP identifier */
}

static void refuses__other_families_and_short_addresses__always(void **state)
{
    (void)state;
    struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "/run/x" };
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x08080808) };
    assert_non_null(egress_policy_refuses(&deny_by_default, (const struct sockaddr *)&un, sizeof un));
    assert_non_null(egress_policy_refuses(&deny_by_default, (const struct sockaddr *)&in, sizeof in - 1));
}

static void parse__cidrs__allow_exactly_their_addresses(void **state)
{
    (void)state;
    struct egress_policy policy = parsed(" 127.0.0.0/8,10.1.2.3 , ::1/128,fd00::/8");
    assert_int_equal(policy.allow_count, 4);
    static const char *const allowed[] = { "127.0.0.1", "127.255.255.255", "::ffff:127.0.0.1", "10.1.2.3",
                                           "::1",       "fd12::1",         "8.8.8.8",          "128.0.0.0" };
    static const char *const refused[] = { "10.1.2.2", "10.1.2.4", "fc00::1", "::", "169.254.169.254" };
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
        if (judge(&policy, allowed[i]))
            fail_msg("%s is refused: %s", allowed[i], judge(&policy, allowed[i]));
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (!judge(&policy, refused[i]))
            fail_msg("%s is allowed", refused[i]);
}

static void parse__loopback_allowed__not_through_a_gateway(void **state)
{
    (void)state;
    struct egress_policy policy = parsed("127.0.0.0/8");
    assert_non_null(judge(&policy, "64:ff9b::7f00:1"));
    assert_non_null(judge(&policy, "2606:4700::5efe:7f00:1"));
}

static void parse__all_of_one_family__says_nothing_about_the_other(void **state)
{
    (void)state;
    struct egress_policy all_v6 = parsed("::/0"), all_v4 = parsed("0.0.0.0/0");
    assert_null(judge(&all_v6, "::1"));
    assert_non_null(judge(&all_v6, "127.0.0.1"));
    assert_non_null(judge(&all_v6, "::ffff:127.0.0.1"));
    assert_null(judge(&all_v4, "127.0.0.1"));
    assert_null(judge(&all_v4, "::ffff:127.0.0.1"));
    assert_non_null(judge(&all_v4, "::1"));
}

static void parse__nothing__allows_nothing(void **state)
{
    (void)state;
    assert_int_equal(parsed("").allow_count, 0);
    assert_int_equal(parsed("  ").allow_count, 0);
}

static void parse__malformed__refused_and_untouched(void **state)
{
    (void)state;
    static const char *const bad[] = { "127.0.0.1/33",  "127.0.0.1/8", "::1/129",       "::1/",       "127.0.0.0/-8",
                                       "127.0.0.0/08x", "127.0.0/8",   "localhost",     ",",          "127.0.0.1,,",
                                       "127.0.0.1,",    "/8",          "0x7f.0.0.1/32", "fe80::1%lo", "1.2.3.4 /32x",
                                       "10.0.0.0/8;" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct egress_policy policy = { .allow_count = 99 };
        const char *message = NULL;
        if (egress_policy_parse(bad[i], &policy, &message))
            fail_msg("\"%s\" was accepted", bad[i]);
        assert_non_null(message);
        assert_int_equal(policy.allow_count, 99);
    }
}

static void parse__more_than_fit__refused(void **state)
{
    (void)state;
    char list[(EGRESS_CIDRS_MAX + 1) * 16] = "";
    for (unsigned i = 0; i < EGRESS_CIDRS_MAX; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s10.0.0.%u", i ? "," : "", i);
    assert_int_equal(parsed(list).allow_count, EGRESS_CIDRS_MAX);
    strcat(list, ",10.0.1.1");
    struct egress_policy policy;
    const char *message;
    assert_false(egress_policy_parse(list, &policy, &message));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses__each_range__exactly_within_its_ends),
        cmocka_unit_test(refuses__public_addresses__never),
        cmocka_unit_test(refuses__metadata_services__always),
        cmocka_unit_test(refuses__ipv4_inside_ipv6__judged_as_ipv4),
        cmocka_unit_test(refuses__other_families_and_short_addresses__always),
        cmocka_unit_test(parse__cidrs__allow_exactly_their_addresses),
        cmocka_unit_test(parse__loopback_allowed__not_through_a_gateway),
        cmocka_unit_test(parse__all_of_one_family__says_nothing_about_the_other),
        cmocka_unit_test(parse__nothing__allows_nothing),
        cmocka_unit_test(parse__malformed__refused_and_untouched),
        cmocka_unit_test(parse__more_than_fit__refused),
    };
    return cmocka_run_group_tests_name("egress_policy", tests, NULL, NULL);
}
