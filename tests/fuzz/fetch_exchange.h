/* fetch_exchange: what stands around handlers/fetch_request.c in a fuzzer: an exchange that counts its answers.
 * Included by one file of a fuzzer. */
#ifndef TWINPOOL_TESTS_FUZZ_FETCH_EXCHANGE_H
#define TWINPOOL_TESTS_FUZZ_FETCH_EXCHANGE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_check.h"
#include "handlers/fetch_request.h"
#include "handlers/limits.h"
#include "pool/io_pool.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned answers;

static void require(bool condition)
{
    if (!condition)
        abort();
}

void exchange_problem(struct exchange *x, enum status status, const char *detail, ...)
{
    (void)x;
    (void)detail;
    require(status != ST_OK);
    answers++;
}

void exchange_problem_with(struct exchange *x, enum status status, const char *members, const char *detail, ...)
{
    struct json_error error;
    (void)x;
    (void)detail;
    require(status != ST_OK && members != NULL);
    size_t len = strlen(members);
    char *object = malloc(len + 2);
    require(object != NULL);
    object[0] = '{';
    memcpy(object + 1, members, len);
    object[len + 1] = '}';
    require(json_check(object, len + 2, &JSON_LIMITS_DEFAULT, &error));
    free(object);
    answers++;
}

void io_pool_release(struct io_pool *pool, struct fetch_call *call)
{
    (void)pool;
    require(call->pool_state == NULL); /* it was never submitted */
}

static bool is_safe_line(const char *line)
{
    static const char *const reserved[] = { "host",     "content-length", "transfer-encoding", "connection",
                                            "te",       "trailer",        "upgrade",           "expect",
                                            "cdn-loop", "keep-alive",     "accept-encoding",   "proxy-authorization" };
    size_t name = strcspn(line, ":;");
    for (const char *c = line; *c; c++)
        if ((*c < ' ' && *c != '\t') || *c > '~')
            return false;
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        if (strlen(reserved[i]) == name && strncasecmp(line, reserved[i], name) == 0)
            return false;
    /* "Name: value" or, without a value, "Name;": anything else would mean something else to libcurl */
    return name > 0 && line[name] && (line[name] == ';' ? line[name + 1] == '\0' : line[name + 1] == ' ');
}

static void require_sound(const struct fetch_request *request)
{
    const struct fetch_call *call = &request->call;
    require(call->count > 0 && call->items && call->required <= call->count);
    for (size_t i = 0; i < call->count; i++) {
        const struct fetch_item *item = &call->items[i];
        require(item->url && item->timeout_ms > 0 && item->dns_timeout_ms > 0 && item->retries <= 10);
        require(item->body_len == 0 || (item->body && item->method != FETCH_GET && item->method != FETCH_HEAD));
        for (const char *const *line = item->headers; line && *line; line++)
            require(is_safe_line(*line));
    }
}

static void try_body(const char *body, size_t len)
{
    static const struct handler_limits limits = { .fetch_timeout_ms = 15000,
                                                  .fetch_dns_timeout_ms = 2000,
                                                  .fetch_connect_timeout_ms = 3000,
                                                  .fetch_tls_timeout_ms = 5000,
                                                  .fetch_first_byte_timeout_ms = 10000,
                                                  .fetch_timeout_max_ms = 60000,
                                                  .fetch_max_urls = 100,
                                                  .fetch_inflight_max = 1000,
                                                  .fetch_max_body_bytes = 1 << 20,
                                                  .fetch_max_redirects = 5,
                                                  .fetch_retries = 2 };
    static char nobody[1]; /* the stand-in above does not look at the pool */
    struct app app = { .limits = &limits, .io_pool = (struct io_pool *)(void *)nobody };
    struct exchange x = { .app = &app,
                          .method = HTTP_POST,
                          .body = len > 0 ? body : NULL,
                          .body_len = len,
                          .media_type = MEDIA_JSON,
                          .traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" };
    struct fetch_request *request = NULL;
    answers = 0;
    bool is_read = fetch_request_from_body(&x, &request);
    require(answers == (is_read ? 0 : 1)); /* one answer, or a request */
    if (!is_read)
        return;
    require_sound(request);
    fetch_request_free(request);
}

#endif
