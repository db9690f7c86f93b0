/* Tests of pool/url_rules.c: internationalised names, and the one spelling that a URL is brought into. */
#include "tests/unit/url_case.h"

/* ---- internationalised names */

static void check__internationalised_name__its_ascii_form(void **state)
{
    (void)state;
    expect_host("http://\xc3\xa4.example/", "xn--4ca.example");
    expect_host("http://\xc3\x84.EXAMPLE/", "xn--4ca.example");  /* upper case */
    expect_host("http://a\xcc\x88.example/", "xn--4ca.example"); /* a and a combining diaeresis */
    expect_host("http://%C3%A4.example/", "xn--4ca.example");    /* escaped */
    expect_host("http://XN--4CA.example/", "xn--4ca.example");   /* already in ASCII */
    expect_host("http://fa\xc3\x9f.de/", "xn--fa-hia.de");       /* sharp s stays itself: UTS #46 nontransitional */
    expect_host("http://foo_bar.\xc3\xa4.example/", "foo_bar.xn--4ca.example");
    expect_host("http://\xc3\xa4.example./", "xn--4ca.example.");
    expect_host("http://\xe4\xbe\x8b.\xe6\xb5\x8b\xe8\xaf\x95/", "xn--fsq.xn--0zwm56d");
    expect_address("http://\xc3\xa4.example/", "name");
    expect_origin("http://\xc3\x84.example:8080/", "http://xn--4ca.example:8080");
}

static void check__unicode_dots_and_invisible_characters__as_they_are_mapped(void **state)
{
    (void)state;
    expect_host("http://a\xe3\x80\x82\xc3\xa4/", "a.xn--4ca"); /* U+3002 */
    expect_host("http://a\xef\xbc\x8e"
                "b/",
                "a.b"); /* U+FF0E */
    expect_host("http://a\xef\xbd\xa1"
                "b/",
                "a.b"); /* U+FF61 */
    expect_host("http://ex\xe2\x80\x8b"
                "ample.org/",
                "example.org"); /* zero width space */
    expect_host("http://ex\xc2\xad"
                "ample.org/",
                "example.org"); /* soft hyphen */
    expect_host("http://\xef\xbd\x8c\xef\xbd\x8f"
                "calhost/",
                "localhost"); /* full width */
}

static void check__digits_of_other_scripts__the_ipv4_address_they_spell(void **state)
{
    (void)state;
    static const char *const loopback[] = {
        "http://\xe2\x91\xa0\xe2\x91\xa1\xe2\x91\xa6.0.0.1/", /* circled 127 */
        "http://\xef\xbc\x91\xef\xbc\x92\xef\xbc\x97.0.0.1/", /* full-width 127 */
        "http://127\xe3\x80\x82"
        "0\xef\xbc\x8e"
        "0\xef\xbd\xa1"
        "1/",                        /* other dots */
        "http://127.1\xe2\x80\x8b/", /* zero width space */
        "http://\xef\xbc\x90\xef\xbd\x98"
        "7f.1/",                                                          /* full-width 0x */
        "http://%E2%91%A0%E2%91%A1%E2%91%A6.0.0.%E2%91%A0/",              /* escaped */
        "http://\xf0\x9d\x9f\x8f\xf0\x9d\x9f\x90\xf0\x9d\x9f\x95.0.0.1/", /* mathematical bold 127 */
    };
    for (size_t i = 0; i < ARRAY_LEN(loopback); i++) {
        expect_address(loopback[i], "127.0.0.1");
        expect_host(loopback[i], "127.0.0.1");
    }
}

static void check__names_that_cannot_be_ascii__bad_url(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "http://\xff.example/",         /* no UTF-8 */
        "http://%ff.example/",          /* the same, escaped */
        "http://\xc3.example/",         /* half a character */
        "http://\xed\xa0\x80.example/", /* a surrogate */
        "http://\xc0\xae\xc0\xae/",     /* an overlong dot */
        "http://\xc2\xad/",             /* nothing is left of it */
        "http://\xe3\x80\x82/",         /* a dot */
        "http://a\xe3\x80\x82\xe3\x80\x82"
        "b/",
        "http://xn--\xc3\xa4/",
        "http://-\xc3\xa4.example/",
        "http://\xef\xbc\x8f/", /* a full-width slash */
        "http://a\xef\xbc\xa0"
        "b/", /* at */
        "http://a\xef\xbc\x9a"
        "80/", /* colon */
        "http://\xef\xbc\x85"
        "41/", /* percent: not decoded again */
        "http://a\xe2\x84\x80"
        "b/", /* U+2100: a/c */
        "http://a\xe2\x80\xa8"
        "b/", /* a line separator */
        "http://a\xc2\xa0"
        "b/", /* a no-break space */
        "http://a%20\xc3\xa4/",
        "http://a%0a\xc3\xa4/",
        "http://h%00\xc3\xa4/", /* NUL: must not hide what follows it */
        "http://\xc3\xa4%00.example/",
        "http://1.2.3.4\xe3\x80\x82/", /* numbers that are no address */
        "http://\xe2\x91\xa0.2.3.256/",
        "http://foo.\xe2\x91\xa0/",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        expect_status(bad[i], ST_BAD_URL);
}

/* "http://" and `count` times U+00E4, a dot after each `label` of them. */
static const char *umlauts(unsigned count, unsigned label)
{
    static char url[1024];
    char *at = stpcpy(url, "http://");
    for (unsigned i = 0; i < count; i++)
        at = stpcpy(at, i > 0 && i % label == 0 ? ".\xc3\xa4" : "\xc3\xa4");
    return url;
}

static void check__long_internationalised_names__bounded_in_every_form(void **state)
{
    (void)state;
    expect_status(umlauts(57, 57), ST_OK); /* a label of 63 bytes in ASCII */
    expect_status(umlauts(58, 58), ST_BAD_URL);
    expect_status(umlauts(120, 40), ST_OK);      /* 242 bytes as written */
    expect_status(umlauts(128, 40), ST_BAD_URL); /* 259 bytes as written */
    expect_status(umlauts(126, 1), ST_BAD_URL);  /* 377 bytes as written, 1007 in ASCII */
    expect_status(umlauts(80, 1), ST_BAD_URL);   /* 239 bytes as written, 639 in ASCII */
}

static void check__long_ascii_names__255_bytes(void **state)
{
    (void)state;
    char url[7 + 4 * URL_HOST_MAX] = "http://", *at = url + 7;
    for (unsigned i = 0; i < URL_HOST_MAX; i++)
        *at++ = i % 50 == 49 ? '.' : 'a';
    *at = '\0';
    expect_status(url, ST_OK);
    strcpy(at, "a");
    expect_status(url, ST_BAD_URL);
    strcpy(at - 1, "%61"); /* 255 again, decoded */
    expect_status(url, ST_OK);
}

/* ---- one spelling */

static void host__addresses_in_odd_spellings__canonical(void **state)
{
    (void)state;
    static const struct {
        const char *url, *host;
    } cases[] = {
        { "http://0x7f.1/", "127.0.0.1" },
        { "http://017700000001/", "127.0.0.1" },
        { "http://2130706433:80/", "127.0.0.1" },
        { "http://127%2e1/", "127.0.0.1" },
        { "http://0/", "0.0.0.0" },
        { "http://1.2.65535/", "1.2.255.255" },
        { "http://[0:0:0:0:0:0:0:1]/", "[::1]" },
        { "http://[2001:DB8:0:0:1:0:0:1]:1/", "[2001:db8::1:0:0:1]" },
        { "http://[2001:0db8::0001]/", "[2001:db8::1]" },
        { "http://[::FFFF:7F00:1]/", "[::ffff:127.0.0.1]" },
        { "http://[FE80::1%25lo]/", "[fe80::1%25lo]" },
        { "http://Example.ORG./", "example.org." },
        { "http://ex%61mple.org/", "example.org" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect_host(cases[i].url, cases[i].host);
    expect_origin("http://0x7f.1:8080/", "http://127.0.0.1:8080");
    expect_origin("https://[0::1]/", "https://[::1]:443");
}

static void rest_at__any_url__where_path_query_or_fragment_begin(void **state)
{
    (void)state;
    static const struct {
        const char *url, *rest;
    } cases[] = {
        { "http://h", "" },
        { "http://h/", "/" },
        { "HTTPS://H:1/a?b#c", "/a?b#c" },
        { "http://h?q/r", "?q/r" },
        { "http://h#f?g", "#f?g" },
        { "http://h:?q", "?q" },
        { "http://[::1]:8080/x:y", "/x:y" },
        { "http://\xc3\xa4.example:80/\xc3\xa4", "/\xc3\xa4" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct url_parts parts;
        assert_int_equal(check(cases[i].url, &parts), ST_OK);
        assert_string_equal(cases[i].url + parts.rest_at, cases[i].rest);
    }
}

static void write__any_url__scheme_host_port_in_one_spelling_the_rest_as_it_is(void **state)
{
    (void)state;
    expect_written("HTTP://EXAMPLE.org:80/A?B#C", "http://example.org/A?B#C");
    expect_written("HtTpS://example.org:443", "https://example.org");
    expect_written("http://example.org:", "http://example.org");
    expect_written("http://h:443/", "http://h:443/"); /* the other scheme's port */
    expect_written("https://h:80/", "https://h:80/");
    expect_written("http://h:00080/", "http://h/");
    expect_written("http://h?q=%41", "http://h?q=%41");
    expect_written("http://h#f", "http://h#f");
    expect_written("http://h/../%2e%2e//\xc3\xa4", "http://h/../%2e%2e//\xc3\xa4");
    expect_written("http://2130706433:8080/x", "http://127.0.0.1:8080/x");
    expect_written("http://[0:0::1]:80/", "http://[::1]/");
    expect_written("http://[fe80::1%25lo]/", "http://[fe80::1%25lo]/");
    expect_written("http://%C3%A4.example?q", "http://xn--4ca.example?q");
    expect_written("http://\xe2\x91\xa0.1", "http://1.0.0.1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check__internationalised_name__its_ascii_form),
        cmocka_unit_test(check__unicode_dots_and_invisible_characters__as_they_are_mapped),
        cmocka_unit_test(check__digits_of_other_scripts__the_ipv4_address_they_spell),
        cmocka_unit_test(check__names_that_cannot_be_ascii__bad_url),
        cmocka_unit_test(check__long_internationalised_names__bounded_in_every_form),
        cmocka_unit_test(check__long_ascii_names__255_bytes),
        cmocka_unit_test(host__addresses_in_odd_spellings__canonical),
        cmocka_unit_test(rest_at__any_url__where_path_query_or_fragment_begin),
        cmocka_unit_test(write__any_url__scheme_host_port_in_one_spelling_the_rest_as_it_is),
    };
    return cmocka_run_group_tests_name("url_spelling", tests, NULL, NULL);
}
