/* Tests of pool/egress_policy.c: every range with its neighbours, every way to write an address, the lists of networks,
 * the service itself. Ports, hosts and the lists' syntax are in test_egress_lists.c. */
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

enum { PORT = 443 };

static const struct egress_policy deny_by_default;
static char message[EGRESS_MESSAGE_SIZE];

/* ST_OK, or the refusal, which `message` explains. */
static enum status judge_port(const struct egress_policy *policy, const char *text, uint16_t port)
{
    struct sockaddr_in in = { .sin_family = AF_INET };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
    message[0] = '\0';
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
        return egress_policy_check_address(policy, (const struct sockaddr *)&in, sizeof in, port, message);
    if (inet_pton(AF_INET6, text, &in6.sin6_addr) != 1)
        fail_msg("%s is no address", text);
    return egress_policy_check_address(policy, (const struct sockaddr *)&in6, sizeof in6, port, message);
}

static enum status judge(const struct egress_policy *policy, const char *text)
{
    return judge_port(policy, text, PORT);
}

static void expect(const struct egress_policy *policy, const char *text, enum status expected)
{
    enum status status = judge(policy, text);
    if (status != expected)
        fail_msg("%s: expected %s, got %s (%s)", text, status_code(expected), status_code(status), message);
}

static void expect_refused(const char *text, const char *rule)
{
    expect(&deny_by_default, text, ST_BLOCKED_ADDRESS);
    if (!strstr(message, rule))
        fail_msg("%s: expected \"%s\", got \"%s\"", text, rule, message);
}

static void expect_allowed(const char *text) { expect(&deny_by_default, text, ST_OK); }

static struct egress_cidrs parsed(const char *list)
{
    struct egress_cidrs cidrs;
    const char *said = "";
    if (!egress_cidrs_parse(list, &cidrs, &said))
        fail_msg("\"%s\": %s", list, said);
    return cidrs;
}

static struct egress_policy allowing(const char *list) { return (struct egress_policy){ .allow = parsed(list) }; }
static struct egress_policy denying(const char *list) { return (struct egress_policy){ .deny = parsed(list) }; }

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
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_addr = { { { 0x26, 0x06, 0x47 } } } };
    static const char any[] = "0.0.0.0/0,::/0";
    struct egress_policy policy = allowing(any); /* which does not help */
    assert_int_equal(egress_policy_check_address(&policy, (const struct sockaddr *)&un, sizeof un, PORT, message),
                     ST_BLOCKED_ADDRESS);
    assert_non_null(strstr(message, "not an internet address"));
    assert_int_equal(egress_policy_check_address(&policy, (const struct sockaddr *)&in, sizeof in - 1, PORT, message),
                     ST_BLOCKED_ADDRESS);
    assert_int_equal(egress_policy_check_address(&policy, (const struct sockaddr *)&in6, sizeof in6 - 1, PORT, message),
                     ST_BLOCKED_ADDRESS);
    assert_int_equal(egress_policy_check_address(&policy, (const struct sockaddr *)&in6, sizeof in6, PORT, message),
                     ST_OK);
}

/* What the refusal advises is what helps, and no more than one address wide. */
static void refuses__any_special_address__advice_helps(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        expect(&deny_by_default, ranges[i].last, ST_BLOCKED_ADDRESS);
        const char *advice = strstr(message, "--fetch-allow ");
        assert_non_null(advice);
        struct egress_policy policy = allowing(advice + strlen("--fetch-allow "));
        assert_int_equal(policy.allow.list[0].prefix, 128);
        expect(&policy, ranges[i].last, ST_OK);
    }
    expect_refused("64:ff9b::7f00:1", "; allow it with --fetch-allow 64:ff9b::7f00:1/128");
    expect_refused("::ffff:10.0.0.1",
                   "10.0.0.1 is refused: private (10.0.0.0/8); allow it with --fetch-allow 10.0.0.1/32");
}

/* ---- the allow list */

static void allow__cidrs__exactly_their_addresses(void **state)
{
    (void)state;
    struct egress_policy policy = allowing(" 127.0.0.0/8,10.1.2.3 , ::1/128,fd00::/8");
    assert_int_equal(policy.allow.count, 4);
    static const char *const allowed[] = { "127.0.0.1", "127.255.255.255", "::ffff:127.0.0.1", "10.1.2.3",
                                           "::1",       "fd12::1",         "8.8.8.8",          "128.0.0.0" };
    static const char *const refused[] = { "10.1.2.2", "10.1.2.4", "fc00::1", "::", "169.254.169.254" };
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
        expect(&policy, allowed[i], ST_OK);
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        expect(&policy, refused[i], ST_BLOCKED_ADDRESS);
}

static void allow__loopback__not_through_a_gateway(void **state)
{
    (void)state;
    struct egress_policy policy = allowing("127.0.0.0/8");
    expect(&policy, "64:ff9b::7f00:1", ST_BLOCKED_ADDRESS);
    expect(&policy, "2606:4700::5efe:7f00:1", ST_BLOCKED_ADDRESS);
}

static void allow__all_of_one_family__says_nothing_about_the_other(void **state)
{
    (void)state;
    struct egress_policy all_v6 = allowing("::/0"), all_v4 = allowing("0.0.0.0/0");
    expect(&all_v6, "::1", ST_OK);
    expect(&all_v6, "127.0.0.1", ST_BLOCKED_ADDRESS);
    expect(&all_v6, "::ffff:127.0.0.1", ST_BLOCKED_ADDRESS);
    expect(&all_v4, "127.0.0.1", ST_OK);
    expect(&all_v4, "::ffff:127.0.0.1", ST_OK);
    expect(&all_v4, "::1", ST_BLOCKED_ADDRESS);
}

/* ---- the deny list */

static void deny__ipv4__in_every_form_that_carries_it(void **state)
{
    (void)state;
    struct egress_policy policy = denying("8.8.8.0/24,1.1.1.1");
    static const char *const refused[] = { "8.8.8.0",
                                           "8.8.8.255",
                                           "1.1.1.1",
                                           "::ffff:8.8.8.8",
                                           "64:ff9b::808:808",
                                           "2606:4700::5efe:808:808",
                                           "2606:4700::200:5efe:808:808",
                                           "2606:4700::5efe:101:101" };
    static const char *const allowed[] = { "8.8.7.255",        "8.8.9.0",
                                           "1.1.1.2",          "::ffff:8.8.9.8",
                                           "64:ff9b::808:908", "2606:4700::5efe:808:908",
                                           "2606:4700::1",     "2606:4700::100:5efe:808:808" };
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        expect(&policy, refused[i], ST_BLOCKED_ADDRESS);
        assert_non_null(strstr(message, "is refused: it is in --fetch-deny"));
    }
    for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
        expect(&policy, allowed[i], ST_OK);
}

static void deny__ipv6__exactly_its_addresses(void **state)
{
    (void)state;
    struct egress_policy policy = denying("2606:4700::/32,64:ff9b::/96");
    expect(&policy, "2606:4700::1", ST_BLOCKED_ADDRESS);
    expect(&policy, "2606:4701::1", ST_OK);
    expect(&policy, "64:ff9b::808:808", ST_BLOCKED_ADDRESS);
    expect(&policy, "8.8.8.8", ST_OK);
}

static void deny__allowed_too__refused(void **state)
{
    (void)state;
    struct egress_policy policy = allowing("10.0.0.0/8,fd00::/8");
    policy.deny = parsed("10.1.0.0/16,fd01::/16,0.0.0.0/1");
    expect(&policy, "10.1.2.3", ST_BLOCKED_ADDRESS);
    expect(&policy, "fd01::1", ST_BLOCKED_ADDRESS);
    expect(&policy, "fd02::1", ST_OK);
    policy.deny = policy.allow;
    expect(&policy, "10.1.2.3", ST_BLOCKED_ADDRESS);
}

static void deny__all_of_one_family__says_nothing_about_the_other(void **state)
{
    (void)state;
    struct egress_policy no_v6 = denying("::/0"), no_v4 = denying("0.0.0.0/0");
    expect(&no_v6, "8.8.8.8", ST_OK);
    expect(&no_v6, "::ffff:8.8.8.8", ST_OK);
    expect(&no_v6, "2606:4700::1", ST_BLOCKED_ADDRESS);
    expect(&no_v4, "2606:4700::1", ST_OK);
    expect(&no_v4, "8.8.8.8", ST_BLOCKED_ADDRESS);
    expect(&no_v4, "64:ff9b::808:808", ST_BLOCKED_ADDRESS);
}

/* ---- the service itself */

static void serve_at(struct egress_policy *policy, const char *text, uint16_t port)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    memset(&policy->own_address, 0, sizeof policy->own_address);
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
        memcpy(&policy->own_address, &in, sizeof in);
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
        memcpy(&policy->own_address, &in6, sizeof in6);
    }
}

static void expect_at(const struct egress_policy *policy, const char *text, uint16_t port, enum status expected)
{
    enum status status = judge_port(policy, text, port);
    if (status != expected)
        fail_msg("%s port %u: expected %s, got %s", text, port, status_code(expected), status_code(status));
}

static void own__one_address__that_and_nothing_else(void **state)
{
    (void)state;
    struct egress_policy policy = allowing("0.0.0.0/0,::/0");
    serve_at(&policy, "127.0.0.1", 8080);
    expect_at(&policy, "127.0.0.1", 8080, ST_LOOP_DETECTED);
    assert_string_equal(message, "127.0.0.1 port 8080 is this service itself");
    expect_at(&policy, "::ffff:127.0.0.1", 8080, ST_LOOP_DETECTED);
    expect_at(&policy, "127.0.0.1", 8081, ST_OK);
    expect_at(&policy, "127.0.0.2", 8080, ST_OK);
    expect_at(&policy, "::1", 8080, ST_OK);
    expect_at(&policy, "0.0.0.0", 8080, ST_LOOP_DETECTED); /* as good as 127.0.0.1 */
    expect_at(&policy, "::", 8080, ST_LOOP_DETECTED);
    expect_at(&policy, "0.0.0.0", 8081, ST_OK);

    serve_at(&policy, "::1", 8080);
    expect_at(&policy, "::1", 8080, ST_LOOP_DETECTED);
    expect_at(&policy, "127.0.0.1", 8080, ST_OK);
    serve_at(&policy, "::ffff:127.0.0.1", 8080);
    expect_at(&policy, "127.0.0.1", 8080, ST_LOOP_DETECTED);
}

static void own__public_address__refused_without_any_list(void **state)
{
    (void)state;
    struct egress_policy policy = deny_by_default;
    serve_at(&policy, "8.8.8.8", 80);
    expect_at(&policy, "8.8.8.8", 80, ST_LOOP_DETECTED);
    expect_at(&policy, "8.8.8.8", 443, ST_OK);
    expect_at(&policy, "8.8.4.4", 80, ST_OK);
}

static void own__through_a_gateway__a_loop_all_the_same(void **state)
{
    (void)state;
    struct egress_policy policy = allowing("64:ff9b::/96,::/0");
    serve_at(&policy, "8.8.8.8", 80);
    expect_at(&policy, "64:ff9b::808:808", 80, ST_LOOP_DETECTED);
    expect_at(&policy, "2606:4700::5efe:808:808", 80, ST_LOOP_DETECTED);
    expect_at(&policy, "64:ff9b::808:808", 443, ST_OK);
    expect_at(&policy, "64:ff9b::808:809", 80, ST_OK);
    serve_at(&policy, "0.0.0.0", 80);
    expect_at(&policy, "64:ff9b::7f00:1", 80, ST_LOOP_DETECTED);
    expect_at(&policy, "64:ff9b::808:808", 80, ST_OK);
}

static void own__all_addresses__every_one_of_this_machine(void **state)
{
    (void)state;
    static const char *const everywhere[] = { "0.0.0.0", "::" };
    struct egress_policy policy = allowing("0.0.0.0/0,::/0");
    for (size_t i = 0; i < ARRAY_LEN(everywhere); i++) {
        serve_at(&policy, everywhere[i], 8080);
        expect_at(&policy, "127.0.0.1", 8080, ST_LOOP_DETECTED);
        expect_at(&policy, "127.1.2.3", 8080, ST_LOOP_DETECTED);
        expect_at(&policy, "::ffff:127.0.0.1", 8080, ST_LOOP_DETECTED);
        expect_at(&policy, "0.0.0.0", 8080, ST_LOOP_DETECTED);
        expect_at(&policy, "127.0.0.1", 8081, ST_OK);
        expect_at(&policy, "8.8.8.8", 8080, ST_OK); /* nobody's here */
    }
}

static void own__special_address__refused_for_that_first(void **state)
{
    (void)state;
    struct egress_policy policy = deny_by_default;
    serve_at(&policy, "127.0.0.1", 8080);
    expect_at(&policy, "127.0.0.1", 8080, ST_BLOCKED_ADDRESS);
    policy = denying("8.8.8.8");
    serve_at(&policy, "8.8.8.8", 80);
    expect_at(&policy, "8.8.8.8", 80, ST_BLOCKED_ADDRESS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses__each_range__exactly_within_its_ends),
        cmocka_unit_test(refuses__public_addresses__never),
        cmocka_unit_test(refuses__metadata_services__always),
        cmocka_unit_test(refuses__ipv4_inside_ipv6__judged_as_ipv4),
        cmocka_unit_test(refuses__other_families_and_short_addresses__always),
        cmocka_unit_test(refuses__any_special_address__advice_helps),
        cmocka_unit_test(allow__cidrs__exactly_their_addresses),
        cmocka_unit_test(allow__loopback__not_through_a_gateway),
        cmocka_unit_test(allow__all_of_one_family__says_nothing_about_the_other),
        cmocka_unit_test(deny__ipv4__in_every_form_that_carries_it),
        cmocka_unit_test(deny__ipv6__exactly_its_addresses),
        cmocka_unit_test(deny__allowed_too__refused),
        cmocka_unit_test(deny__all_of_one_family__says_nothing_about_the_other),
        cmocka_unit_test(own__one_address__that_and_nothing_else),
        cmocka_unit_test(own__public_address__refused_without_any_list),
        cmocka_unit_test(own__through_a_gateway__a_loop_all_the_same),
        cmocka_unit_test(own__all_addresses__every_one_of_this_machine),
        cmocka_unit_test(own__special_address__refused_for_that_first),
    };
    return cmocka_run_group_tests_name("egress_policy", tests, NULL, NULL);
}
