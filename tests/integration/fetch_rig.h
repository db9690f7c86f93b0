/* fetch_rig: the program with an origin beside it, and POST /fetch in a few words. Included by one file of a driver.
 *
 * In texts that are sent, '@' stands for the origin ("http://127.0.0.1:PORT") and '#' for a server that refuses every
 * connection. */
#ifndef TWINPOOL_TESTS_INTEGRATION_FETCH_RIG_H
#define TWINPOOL_TESTS_INTEGRATION_FETCH_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "tests/support/json_path.h"
#include "tests/support/origin.h"
#include "tests/support/steps.h"
#include "tests/support/timing.h"

enum { REQUEST_BYTES_MAX = 4 << 20 };

static struct server server;
static struct origin *origin;
static int closed_fd = -1; /* bound and never listening: the port is nobody else's, and closed */
static uint16_t closed_port;

static bool hold_closed_port(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    closed_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (closed_fd < 0 || bind(closed_fd, (const struct sockaddr *)&address, len) != 0 ||
        getsockname(closed_fd, (struct sockaddr *)&address, &len) != 0)
        return false;
    closed_port = ntohs(address.sin_port);
    return true;
}

static int rig_start(const char *const flags[])
{
    if (!hold_closed_port() || !server_start(&server, flags, NULL))
        return -1;
    origin = origin_start("127.0.0.1", 0);
    return origin ? 0 : -1;
}

/* For a teardown; the program may have ended before. */
static int rig_stop(void **state)
{
    (void)state;
    int code = server.pid > 0 ? server_stop(&server) : 0;
    origin_stop(origin);
    origin = NULL;
    close(closed_fd);
    return code == 0 ? 0 : -1;
}

/* The text with its '@' and '#' filled in, to be freed. */
static char *fill_in(const char *text)
{
    struct buf filled = BUF_INIT(REQUEST_BYTES_MAX);
    size_t len;
    for (; *text; text++) {
        if (*text == '@' || *text == '#')
            buf_printf(&filled, "http://127.0.0.1:%u", (unsigned)(*text == '@' ? origin_port(origin) : closed_port));
        else
            buf_byte(&filled, *text);
    }
    buf_byte(&filled, '\0');
    assert_false(filled.failed);
    return buf_take(&filled, &len);
}

/* `{"urls":["URL", … count times]<members>}`, filled in, to be freed; '%u' in the URL is its index. */
static inline char *list_of(const char *url, unsigned count, const char *members)
{
    struct buf text = BUF_INIT(REQUEST_BYTES_MAX);
    size_t len;
    char *one = fill_in(url), *number = strstr(one, "%u");
    buf_lit(&text, "{\"urls\":[");
    for (unsigned i = 0; i < count; i++) {
        buf_str(&text, i ? ",\"" : "\"");
        if (number)
            buf_printf(&text, "%.*s%u%s", (int)(number - one), one, i, number + 2);
        else
            buf_str(&text, one);
        buf_byte(&text, '"');
    }
    buf_printf(&text, "]%s}", members);
    buf_byte(&text, '\0');
    free(one);
    assert_false(text.failed);
    return buf_take(&text, &len);
}

/* The answer to POST /fetch?query with these further header fields; the caller frees it. */
static inline cJSON *post_with(const char *query, const char *fields, const char *body, unsigned status)
{
    char *text = fill_in(body), target[256], all_fields[1024];
    snprintf(target, sizeof target, "/fetch%s", query);
    snprintf(all_fields, sizeof all_fields, HTTP_JSON "%s", fields);
    struct http_reply reply = step_once(&server, "POST", target, all_fields, text, status);
    cJSON *answer = cJSON_Parse(reply.body);
    assert_non_null(answer);
    http_reply_done(&reply);
    free(text);
    return answer;
}

static inline cJSON *post_fetch(const char *body, unsigned status) { return post_with("", "", body, status); }

/* ---- what can be waited for */

static inline bool origin_is_idle(void *context)
{
    (void)context;
    return origin_get_counts(origin).in_flight == 0;
}

static inline bool origin_has_in_flight(void *count)
{
    return origin_get_counts(origin).in_flight == *(unsigned *)count;
}

static inline void await_in_flight(unsigned count)
{
    if (!wait_until(origin_has_in_flight, &count, scaled_ms(10000)))
        fail_msg("%u in flight at the origin, not %u", (unsigned)origin_get_counts(origin).in_flight, count);
}

static inline bool pool_is_idle(void *context)
{
    (void)context;
    return server_stat(&server, "fetch.in_flight") == 0 && server_stat(&server, "fetch.queued") == 0;
}

/* Neither program nor origin has anything left to do. */
static inline void await_idle(void)
{
    assert_true(wait_until(origin_is_idle, NULL, scaled_ms(5000)));
    assert_true(wait_until(pool_is_idle, NULL, scaled_ms(5000)));
}

#endif
