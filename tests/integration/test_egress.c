/* The egress policy, end to end: a canary listens where fetching is not allowed and must never see a connection,
 * whatever the spelling of its address and however the client is sent there. Only 127.0.0.1 is allowed. The whole
 * program runs in a network of its own with nothing but the loopback interface, so no mistake can reach another
 * machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "tests/support/json_path.h"
#include "tests/support/netns.h"
#include "tests/support/origin.h"
#include "tests/support/steps.h"
#include "tests/support/timing.h"

enum { URL_BYTES = 512 };

static bool is_isolated;
static struct server server;
static struct origin *origin, *canary, *canary_v6;

static int stop(void **state)
{
    (void)state;
    int code = server_stop(&server);
    origin_stop(origin);
    origin_stop(canary);
    origin_stop(canary_v6);
    return code == 0 ? 0 : -1;
}

static int start(void **state)
{
    (void)state;
    is_isolated = netns_enter();
    canary = origin_start("127.0.0.2", 0);
    if (!canary)
        return -1;
    char proxies[4][64];
    static const char *const names[] = { "http_proxy", "https_proxy", "all_proxy", "ALL_PROXY" };
    const char *variables[5] = { 0 };
    for (size_t i = 0; i < 4; i++) {
        snprintf(proxies[i], sizeof proxies[i], "%s=http://127.0.0.2:%u", names[i], (unsigned)origin_port(canary));
        variables[i] = proxies[i];
    }
    const char *const flags[] = {
        "--workers", "1", "--fetch-allow", "127.0.0.1/32", "--fetch-timeout-ms", "3000", "--fetch-connect-timeout-ms",
        "1000",      NULL
    };
    if (!server_start(&server, flags, variables))
        return -1;
    origin = origin_start("127.0.0.1", 0);
    canary_v6 = origin_start("::1", 0); /* NULL where there is no IPv6 */
    return origin ? 0 : -1;
}

static cJSON *fetch(const char *url)
{
    struct buf body = BUF_INIT(1 << 16);
    cJSON *urls = cJSON_CreateArray();
    cJSON_AddItemToArray(urls, cJSON_CreateString(url));
    char *text = cJSON_PrintUnformatted(urls);
    buf_printf(&body, "{\"urls\":%s}", text);
    buf_byte(&body, '\0');
    struct http_reply reply = step_once(&server, "POST", "/fetch", HTTP_JSON, body.data, 200);
    cJSON *answer = cJSON_Parse(reply.body);
    http_reply_done(&reply);
    buf_done(&body);
    free(text);
    cJSON_Delete(urls);
    return answer;
}

/* The URL must fail and no canary may have been connected to; `code` NULL: any failure. */
static void expect_refused(const char *url, const char *code)
{
    cJSON *answer = fetch(url);
    const char *actual = json_text_at(answer, "results.0.error.code");
    bool is_right = *actual && (!code || strcmp(actual, code) == 0);
    if (!is_right)
        print_error("%s: expected %s, got %s, status %g: %s\n", url, code ? code : "an error", actual,
                    json_number(answer, "results.0.status"), json_text_at(answer, "results.0.error.message"));
    cJSON_Delete(answer);
    if (!is_right)
        fail();
    if (origin_get_counts(canary).connections > 0 || (canary_v6 && origin_get_counts(canary_v6).connections > 0))
        fail_msg("%s: a canary was connected to", url);
}

static void loopback__every_spelling__no_connection(void **state)
{
    (void)state;
    static const char *const hosts[] = {
        "127.0.0.2",
        "2130706434",
        "0x7f000002",
        "017700000002",
        "0177.0.0.2",
        "0x7f.0.0.2",
        "127.2",
        "127.0.2",
        "0x7f.2",
        "127%2e0%2e0%2e2",
        "%31%32%37.0.0.2",
        "127\u30020\u30020\u30022",
        "\u2460\u2461\u2466.\u24ea.\u24ea.\u2461",
        "\uff11\uff12\uff17.\uff10.\uff10.\uff12",
        "127.0.0.2.",
        "[::ffff:127.0.0.2]",
        "[::ffff:7f00:2]",
        "[::127.0.0.2]",
        "[::ffff:0:127.0.0.2]",
        "[64:ff9b::7f00:2]",
        "[64:ff9b::127.0.0.2]",
        "[2002:7f00:2::]",
        "user@127.0.0.2",
        "127.0.0.1@127.0.0.2",
        "127.0.0.1%40127.0.0.2",
        "127.0.0.2\\@127.0.0.1",
        "127.0.0.1\\@127.0.0.2",
    };
    char url[URL_BYTES];
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        snprintf(url, sizeof url, "http://%s:%u/small", hosts[i], (unsigned)origin_port(canary));
        expect_refused(url, NULL);
    }
    snprintf(url, sizeof url, "http://127.0.0.2:%u/small", (unsigned)origin_port(canary));
    expect_refused(url, "blocked_address");
    snprintf(url, sizeof url, "http:/127.0.0.2:%u/small", (unsigned)origin_port(canary));
    expect_refused(url, NULL);
    snprintf(url, sizeof url, "http:///127.0.0.2:%u/small", (unsigned)origin_port(canary));
    expect_refused(url, NULL);
}

static void ipv6_loopback__while_ipv4_is_allowed__no_connection(void **state)
{
    (void)state;
    static const char *const hosts[] = { "[::1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "ip6-localhost", "[::1%25lo]" };
    if (!canary_v6) {
        print_message("    no IPv6 here\n");
        skip();
    }
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        char url[URL_BYTES];
        snprintf(url, sizeof url, "http://%s:%u/small", hosts[i], (unsigned)origin_port(canary_v6));
        expect_refused(url, NULL);
    }
}

static void redirect__to_the_canary__no_connection(void **state)
{
    (void)state;
    static const unsigned statuses[] = { 301, 302, 303, 307, 308 };
    static const char *const places[] = { "http%3A//127.0.0.2", "//127.0.0.2", "http%3A//2130706434",
                                          "http%3A//[%3A%3Affff%3A127.0.0.2]" };
    char url[URL_BYTES];
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
        for (size_t k = 0; k < ARRAY_LEN(places); k++) {
            snprintf(url, sizeof url, "http://127.0.0.1:%u/redirect-to?status=%u&url=%s:%u/small",
                     (unsigned)origin_port(origin), statuses[i], places[k], (unsigned)origin_port(canary));
            expect_refused(url, "blocked_address");
        }
}

static void special_ranges__literal__blocked(void **state)
{
    (void)state;
    static const char *const hosts[] = {
        "0.0.0.0",
        "0",
        "0.1.2.3",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "169.254.169.254",
        "0xa9fea9fe",
        "169.254.170.2",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.0.192",
        "192.0.2.1",
        "192.168.0.1",
        "192.168.255.255",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "100.100.100.200",
        "168.63.129.16",
        "[::]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "[2001:db8::1]",
        "[2002:a00:1::]",
        "[64:ff9b::a9fe:a9fe]",
        "[100::1]",
        "[fec0::1]",
        "[2001::1]",
        "[4000::1]",
        "[5f00::1]",
        "[2606:4700::5efe:a00:1]",
    };
    if (!is_isolated) {
        print_message("    no network of our own here: nothing off this machine is tried\n");
        skip();
    }
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        char url[URL_BYTES];
        snprintf(url, sizeof url, "http://%s/", hosts[i]);
        expect_refused(url, "blocked_address");
    }
}

static void public_addresses__without_a_network__let_through(void **state)
{
    (void)state;
    static const char *const hosts[] = {
        "8.8.8.8",         "172.15.255.255",         "172.32.0.0",        "100.128.0.0", "192.169.0.1",
        "169.253.255.255", "[2606:4700:4700::1111]", "[64:ff9b::808:808]"
    };
    if (!is_isolated) {
        print_message("    no network of our own here: nothing off this machine is tried\n");
        skip();
    }
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        char url[URL_BYTES];
        snprintf(url, sizeof url, "http://%s/", hosts[i]);
        expect_refused(url, "connect_failed"); /* the policy agreed; there is only no way there */
    }
}

static void schemes__other_than_http__refused(void **state)
{
    (void)state;
    static const char *const urls[] = { "file:///etc/passwd",    "FILE:///etc/passwd", "gopher://127.0.0.1/",
                                        "dict://127.0.0.1/",     "ftp://127.0.0.1/",   "scp://127.0.0.1/",
                                        "ldap://127.0.0.1/",     "smb://127.0.0.1/",   "telnet://127.0.0.1/",
                                        "ws://127.0.0.1/",       "data:text/plain,x",  "javascript:alert(1)",
                                        "http+unix://127.0.0.1/" };
    for (size_t i = 0; i < ARRAY_LEN(urls); i++)
        expect_refused(urls[i], "scheme_not_allowed");
}

static void proxies__in_the_environment__ignored(void **state)
{
    (void)state;
    char url[URL_BYTES];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/small", (unsigned)origin_port(origin));
    cJSON *answer = fetch(url);
    assert_true(json_number(answer, "results.0.status") == 200);
    cJSON_Delete(answer);
    assert_int_equal(origin_get_counts(canary).connections, 0);
}

static void ports__of_other_protocols__refused(void **state)
{
    (void)state;
    static const unsigned ports[] = { 1, 7, 22, 25, 110, 143, 465, 587, 993, 2049, 6000, 6667, 10080 };
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        char url[URL_BYTES];
        snprintf(url, sizeof url, "http://127.0.0.1:%u/", ports[i]);
        expect_refused(url, "port_not_allowed");
    }
    expect_refused("http://127.0.0.1:0/", NULL);
}

static void service_itself__every_spelling__loop_detected(void **state)
{
    (void)state;
    static const char *const hosts[] = { "127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]" };
    char url[URL_BYTES];
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        snprintf(url, sizeof url, "http://%s:%u/healthz", hosts[i], (unsigned)server.port);
        expect_refused(url, "loop_detected");
    }
    snprintf(url, sizeof url, "http://localhost:%u/healthz", (unsigned)server.port);
    expect_refused(url, NULL); /* of its two addresses, one is the service and the other is not allowed */
    snprintf(url, sizeof url, "http://127.0.0.1:%u/redirect-to?url=http://127.0.0.1:%u/healthz",
             (unsigned)origin_port(origin), (unsigned)server.port);
    expect_refused(url, "loop_detected");
}

/* Each with a program of its own; '%u' is the origin's port. */
static void options__that_narrow__each_refuses_by_its_name(void **state)
{
    (void)state;
    static const struct {
        const char *option, *value, *url, *code; /* code NULL: it answers */
    } cases[] = {
        { "--fetch-deny", "127.0.0.1/32", "http://127.0.0.1:%u/small", "blocked_address" },
        { "--fetch-deny", "127.0.0.2/32", "http://127.0.0.1:%u/small", NULL },
        { "--fetch-hosts", "*.example.org", "http://127.0.0.1:%u/small", "host_not_allowed" },
        { "--fetch-hosts", "127.0.0.1,example.org", "http://0x7f000001:%u/small", NULL },
        { "--fetch-deny-hosts", "localhost", "http://LOCALHOST:%u/small", "host_not_allowed" },
        { "--fetch-deny-hosts", "*.localhost", "http://localhost:%u/small", NULL },
        { "--fetch-ports", "1-1023", "http://127.0.0.1:%u/small", "port_not_allowed" },
        { "--fetch-ports", "80,1024-65535", "http://127.0.0.1:%u/small", NULL },
    };
    struct server given = server;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char url[URL_BYTES];
        const char *const flags[] = { "--workers",    "1", "--fetch-allow", "127.0.0.1/32", cases[i].option,
                                      cases[i].value, NULL };
        assert_true(server_start(&server, flags, NULL));
        struct server own = server;
        snprintf(url, sizeof url, "%.*s%u%s", (int)(strstr(cases[i].url, "%u") - cases[i].url), cases[i].url,
                 (unsigned)origin_port(origin), strstr(cases[i].url, "%u") + 2);
        cJSON *answer = fetch(url);
        server = given;
        const char *code = json_text_at(answer, "results.0.error.code");
        int exit_code = server_stop(&own);
        if (strcmp(code, cases[i].code ? cases[i].code : "") != 0 || exit_code != 0)
            fail_msg("%s %s: %s: \"%s\", %s", cases[i].option, cases[i].value, url, code,
                     json_text_at(answer, "results.0.error.message"));
        if (cases[i].code)
            assert_non_null(strstr(json_text_at(answer, "results.0.error.message"), cases[i].option));
        cJSON_Delete(answer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loopback__every_spelling__no_connection),
        cmocka_unit_test(ipv6_loopback__while_ipv4_is_allowed__no_connection),
        cmocka_unit_test(redirect__to_the_canary__no_connection),
        cmocka_unit_test(special_ranges__literal__blocked),
        cmocka_unit_test(public_addresses__without_a_network__let_through),
        cmocka_unit_test(schemes__other_than_http__refused),
        cmocka_unit_test(proxies__in_the_environment__ignored),
        cmocka_unit_test(ports__of_other_protocols__refused),
        cmocka_unit_test(service_itself__every_spelling__loop_detected),
        cmocka_unit_test(options__that_narrow__each_refuses_by_its_name),
    };
    return cmocka_run_group_tests_name("egress", tests, start, stop);
}
