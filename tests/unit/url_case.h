/* url_case: what the tests of pool/url_rules.c expect of one URL. */
#ifndef TWINPOOL_TESTS_UNIT_URL_CASE_H
#define TWINPOOL_TESTS_UNIT_URL_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/attrs.h"
#include "pool/url_rules.h"

static inline enum status check(const char *url, struct url_parts *parts)
{
    const char *message = NULL;
    enum status status = url_rules_check(url, parts, &message);
    if (status != ST_OK)
        assert_non_null(message);
    return status;
}

static inline void expect_status(const char *url, enum status expected)
{
    struct url_parts parts;
    enum status status = check(url, &parts);
    if (status != expected)
        fail_msg("%s: expected %s, got %s", url, status_code(expected), status_code(status));
}

static inline void expect_origin(const char *url, const char *expected)
{
    struct url_parts parts;
    char origin[URL_ORIGIN_SIZE];
    if (check(url, &parts) != ST_OK)
        fail_msg("%s is refused", url);
    assert_int_equal(url_rules_origin(&parts, origin), strlen(expected));
    assert_string_equal(origin, expected);
}

/* The address of a literal, or "name". */
static inline void expect_address(const char *url, const char *expected)
{
    struct url_parts parts;
    char text[INET6_ADDRSTRLEN] = "name";
    if (check(url, &parts) != ST_OK)
        fail_msg("%s is refused", url);
    if (parts.address.ss_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)&parts.address)->sin_addr, text, sizeof text);
    else if (parts.address.ss_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&parts.address)->sin6_addr, text, sizeof text);
    assert_string_equal(text, expected);
    assert_true((parts.address_len > 0) == (strcmp(text, "name") != 0));
}

static inline void expect_host(const char *url, const char *expected)
{
    struct url_parts parts;
    if (check(url, &parts) != ST_OK)
        fail_msg("%s is refused", url);
    if (strcmp(parts.host, expected) != 0)
        fail_msg("%s: expected the host %s, got %s", url, expected, parts.host);
}

static inline void expect_written(const char *url, const char *expected)
{
    struct url_parts parts;
    struct buf out = BUF_INIT(2 * URL_LENGTH_MAX);
    if (check(url, &parts) != ST_OK)
        fail_msg("%s is refused", url);
    buf_lit(&out, "<"); /* it appends */
    url_rules_write(&parts, url, &out);
    buf_byte(&out, '\0');
    assert_false(out.failed);
    assert_int_equal(out.data[0], '<');
    if (strcmp(out.data + 1, expected) != 0)
        fail_msg("%s: expected %s, got %s", url, expected, out.data + 1);
    buf_done(&out);
}

#endif
