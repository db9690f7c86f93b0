/* Tests of pool/url_rules.c: what is a URL that we fetch, and which server it names. Names that are not ASCII, and the
 * one spelling of a URL, are in test_url_spelling.c. */
#include "tests/unit/url_case.h"

static void check__ordinary__accepted(void **state)
{
    (void)state;
    static const char *const good[] = {
        "http://example.org",
        "https://example.org/",
        "HTTP://EXAMPLE.org/a?b#c",
        "http://example.org?q",
        "http://example.org#f",
        "http://h:80/",
        "http://h:/",
        "http://h:65535/",
        "https://h:1/",
        "http://h/#@evil",
        "http://h/?@evil",
        "http://h/a@b",
        "http://h/%0d%0aX",
        "http://h/../../etc",
        "http://h//x",
        "http://h/\xc3\xa4",
        "http://\xc3\xa4.example/",
        "http://foo_bar.example/",
        "http://example.org./",
        "http://[2606:4700::1]/",
        "http://[::1]:8080/",
        "http://[fe80::1%25eth0]/",
        "http://a.b-c.d/x:y",
        "http://1e100.example/",
        "http://0x.example/",
        "http://127.0.0.1.example/",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        expect_status(good[i], ST_OK);
}

static void check__other_schemes__not_allowed(void **state)
{
    (void)state;
    static const char *const other[] = {
        "file:///etc/passwd",
        "file:/etc/passwd",
        "gopher://h/",
        "dict://h:11211/",
        "ftp://h/",
        "sftp://h/",
        "scp://h/",
        "ldap://h/",
        "smb://h/",
        "tftp://h/",
        "telnet://h/",
        "imap://h/",
        "mqtt://h/",
        "ws://h/",
        "wss://h/",
        "data:text/html,x",
        "javascript:alert(1)",
        "jar:http://h!/",
        "view-source:http://h/",
        "unix:/run/x",
        "http+unix://%2Frun%2Fx/",
        "httpx://h/",
        "localhost:80/",
    };
    for (size_t i = 0; i < ARRAY_LEN(other); i++)
        expect_status(other[i], ST_SCHEME_NOT_ALLOWED);
}

static void check__odd_grammar__bad_url(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "h",
        "//h/",
        "/path",
        "://h",
        "1http://h",
        "http:h",
        "http:/h",
        "http:///h",
        "http:////h",
        "http://",
        "http:///",
        "http://?q",
        "http://#f",
        "http://:80/",
        "http://user@h/",
        "http://user:pw@h/",
        "http://@h/",
        "http://a@b@h/",
        "http://good\\@evil/",
        "http://good@\\evil/",
        "http://h\\x/",
        "http:\\\\h/",
        "http://h/a\\b",
        " http://h/",
        "http://h/ ",
        "http://h/a b",
        "http://h /",
        "http://h/\tx",
        "http://h/\r\nX: y",
        "http://h/\x7f",
        "http://h/\x01",
        "http://h%00/",
        "http://h%0d%0a/",
        "http://h%20/",
        "http://h%2/",
        "http://h%/",
        "http://h%zz/",
        "http://h%2fx/",
        "http://h%40x/",
        "http://a..b/",
        "http://.a/",
        "http://./",
        "http://a<b/",
        "http://a|b/",
        "http://a]b/",
        "http://[::1/",
        "http://[::1]x/",
        "http://[]/",
        "http://[::g]/",
        "http://[1.2.3.4]/",
        "http://[::1%]x/",
        "http://[fe80::1%25e th]/",
        "http://[::1]:/x y",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        expect_status(bad[i], ST_BAD_URL);
}

static void check__ports__one_to_65535(void **state)
{
    (void)state;
    static const char *const bad[] = { "http://h:0/",     "http://h:65536/", "http://h:99999/",  "http://h:-1/",
                                       "http://h:80a/",   "http://h:80:80/", "http://h:000080/", "http://h:+80/",
                                       "http://[::1]:0/", "http://[::1]:x/" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        expect_status(bad[i], ST_BAD_URL);
    expect_origin("http://h:00080/", "http://h:80");
}

static void check__numbers_that_are_no_ipv4__bad_url(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "http://256.1.1.1/", "http://1.256.1.1/",   "http://4294967296/",  "http://1.2.3.4.5/",
        "http://0x/",        "http://0x100000000/", "http://1.2.3.4./",    "http://127.0.0.1./",
        "http://08.0.0.1/",  "http://1.2.65536/",   "http://1.16777216/",  "http://foo.1/",
        "http://foo.0x7f/",  "http://1.2.3.0xg.1/", "http://256%2e1.1.1/", "http://99999999999999999999/"
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        expect_status(bad[i], ST_BAD_URL);
}

static void check__ipv4_spellings__one_address(void **state)
{
    (void)state;
    static const char *const loopback[] = {
        "http://127.0.0.1/",      "http://2130706433/", "http://0x7f000001/",      "http://0X7F.0.0.1/",
        "http://017700000001/",   "http://0177.0.0.1/", "http://0x7f.0.0.1/",      "http://127.1/",
        "http://127.0.1/",        "http://0x7f.1/",     "http://127%2e0%2e0%2e1/", "http://%31%32%37.0.0.1/",
        "http://127.0.0.1:8080?x"
    };
    for (size_t i = 0; i < ARRAY_LEN(loopback); i++)
        expect_address(loopback[i], "127.0.0.1");
    expect_address("http://0/", "0.0.0.0");
    expect_address("http://255.255.255.255/", "255.255.255.255");
    expect_address("http://1.2.65535/", "1.2.255.255");
    expect_address("http://1.16777215/", "1.255.255.255");
    expect_address("http://4294967295/", "255.255.255.255");
}

static void check__ipv6_literals__their_address(void **state)
{
    (void)state;
    expect_address("http://[::1]/", "::1");
    expect_address("http://[::ffff:127.0.0.1]:80/", "::ffff:127.0.0.1");
    expect_address("http://[0:0:0:0:0:0:0:1]/", "::1");
    expect_address("http://[fe80::1%25lo]/", "fe80::1");
    expect_address("http://[fe80::1%eth0]/", "fe80::1");
}

static void check__names__no_address(void **state)
{
    (void)state;
    expect_address("http://localhost/", "name");
    expect_address("http://1e100.example/", "name");
    expect_address("http://127.0.0.1.example/", "name");
}

static void check__lengths__bounded(void **state)
{
    (void)state;
    char *url = malloc(URL_LENGTH_MAX + 2);
    assert_non_null(url);
    memset(url, 'a', URL_LENGTH_MAX + 1);
    memcpy(url, "http://h/", 9);
    url[URL_LENGTH_MAX + 1] = '\0';
    expect_status(url, ST_BAD_URL);
    url[URL_LENGTH_MAX] = '\0';
    expect_status(url, ST_OK);
    url[8] = 'a'; /* now a host of 8 KiB */
    expect_status(url, ST_BAD_URL);
    strcpy(url, "http://");
    memset(url + 7, 'a', 64);
    url[7 + 64] = '\0';
    expect_status(url, ST_BAD_URL); /* a label has at most 63 bytes */
    url[7 + 63] = '\0';
    expect_status(url, ST_OK);
    free(url);
}

static void origin__equal_servers__equal_text(void **state)
{
    (void)state;
    expect_origin("http://Example.ORG/a", "http://example.org:80");
    expect_origin("http://example.org:80?x", "http://example.org:80");
    expect_origin("https://example.org", "https://example.org:443");
    expect_origin("https://example.org:8443/", "https://example.org:8443");
    expect_origin("http://ex%61mple.org/", "http://example.org:80");
    expect_origin("http://[2606:4700::AB]/", "http://[2606:4700::ab]:80");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check__ordinary__accepted),
        cmocka_unit_test(check__other_schemes__not_allowed),
        cmocka_unit_test(check__odd_grammar__bad_url),
        cmocka_unit_test(check__ports__one_to_65535),
        cmocka_unit_test(check__numbers_that_are_no_ipv4__bad_url),
        cmocka_unit_test(check__ipv4_spellings__one_address),
        cmocka_unit_test(check__ipv6_literals__their_address),
        cmocka_unit_test(check__names__no_address),
        cmocka_unit_test(check__lengths__bounded),
        cmocka_unit_test(origin__equal_servers__equal_text),
    };
    return cmocka_run_group_tests_name("url_rules", tests, NULL, NULL);
}
