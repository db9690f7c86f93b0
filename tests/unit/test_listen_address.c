/* listen_address: what is an address to serve on, and what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "service/listen_address.h"

static void parse__good_addresses__family_address_and_port(void **state)
{
    static const struct {
        const char *text, *address;
        int family;
        uint16_t port;
    } cases[] = {
        { "127.0.0.1:8080", "127.0.0.1", AF_INET, 8080 },
        { "0.0.0.0:0", "0.0.0.0", AF_INET, 0 },
        { "10.1.2.3:65535", "10.1.2.3", AF_INET, 65535 },
        { "[::1]:80", "::1", AF_INET6, 80 },
        { "[::]:0", "::", AF_INET6, 0 },
        { "[fe80::1:2]:00443", "fe80::1:2", AF_INET6, 443 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct listen_address address;
        char text[INET6_ADDRSTRLEN];
        assert_true(listen_address_parse(cases[i].text, &address));
        assert_int_equal(address.storage.ss_family, cases[i].family);
        assert_int_equal(listen_address_port(&address), cases[i].port);
        const void *bytes = &((const struct sockaddr_in *)&address.storage)->sin_addr;
        if (cases[i].family == AF_INET6)
            bytes = &((const struct sockaddr_in6 *)&address.storage)->sin6_addr;
        assert_non_null(inet_ntop(cases[i].family, bytes, text, sizeof(text)));
        assert_string_equal(text, cases[i].address);
        assert_true(address.len >= sizeof(struct sockaddr_in));
    }
}

static void parse__bad_addresses__refused(void **state)
{
    static const char *const cases[] = {
        "",
        "8080",
        ":8080",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:080000",
        "127.1:80",
        "localhost:80",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[127.0.0.1]:80",
        "[::1:80",
        "[]:80",
        "1.2.3.4:8 0",
        "1.2.3.4:-1",
        "1.2.3.4:+80",
        " 1.2.3.4:80",
        "1.2.3.4:80 ",
        "[fe80::1%lo]:80",
        "256.0.0.1:80",
        "1.2.3.4.5:80",
        "[::ffff:1.2.3.4.5]:80",
        "[11111111111111111111111111111111111111111111111]:80",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct listen_address address = { .len = 7 };
        if (listen_address_parse(cases[i], &address))
            fail_msg("accepted: %s", cases[i]);
        assert_int_equal(address.len, 7);
    }
}

static void to_local__wildcard__is_loopback(void **state)
{
    struct listen_address address;
    (void)state;
    assert_true(listen_address_parse("0.0.0.0:80", &address));
    listen_address_to_local(&address);
    assert_int_equal(ntohl(((struct sockaddr_in *)&address.storage)->sin_addr.s_addr), INADDR_LOOPBACK);
    assert_int_equal(listen_address_port(&address), 80);
    assert_true(listen_address_parse("[::]:80", &address));
    listen_address_to_local(&address);
    assert_true(IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)&address.storage)->sin6_addr));
    assert_true(listen_address_parse("10.0.0.1:80", &address));
    listen_address_to_local(&address);
    assert_int_equal(ntohl(((struct sockaddr_in *)&address.storage)->sin_addr.s_addr), 0x0a000001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse__good_addresses__family_address_and_port),
        cmocka_unit_test(parse__bad_addresses__refused),
        cmocka_unit_test(to_local__wildcard__is_loopback),
    };
    return cmocka_run_group_tests_name("listen_address", tests, NULL, NULL);
}
