/* stream_rig: POST /fetch answered as a stream: begun, looked at while it comes, finished and taken apart; the latter
 * goes for streamed maps, too. */
#ifndef TWINPOOL_TESTS_INTEGRATION_STREAM_RIG_H
#define TWINPOOL_TESTS_INTEGRATION_STREAM_RIG_H

#include "tests/integration/fetch_rig.h"

#define NDJSON "application/x-ndjson"
#define EVENTS "text/event-stream"

enum { STREAM_ITEMS_MAX = 1000, STREAM_WAIT_MS = 10000 };

/* Sends `body` ('@' and '#' are filled in) over an open connection. */
static inline void ask_stream(struct http_conn *conn, const char *accept, const char *fields, const char *body)
{
    char *text = fill_in(body), all_fields[512];
    snprintf(all_fields, sizeof all_fields, HTTP_JSON "Accept: %s\r\n%s", accept, fields);
    assert_true(http_send(conn, "POST", "/fetch", all_fields, text, strlen(text)));
    free(text);
}

static inline void open_stream(struct http_conn *conn, const char *accept, const char *fields, const char *body)
{
    assert_true(http_connect(conn, server.port));
    ask_stream(conn, accept, fields, body);
}

/* A client that takes no more than a few KiB before it reads. */
static inline void connect_reluctant(struct http_conn *conn)
{
    const int small = 4096;
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(server.port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    *conn = (struct http_conn){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .unread = BUF_INIT(128 << 20) };
    assert_true(conn->fd >= 0);
    setsockopt(conn->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small); /* before the handshake says how much it is */
    assert_int_equal(connect(conn->fd, (const struct sockaddr *)&address, sizeof address), 0);
}

static inline void open_reluctant(struct http_conn *conn, const char *accept, const char *body)
{
    connect_reluctant(conn);
    ask_stream(conn, accept, "", body);
}

/* Ends the connection with a reset instead of a FIN. */
static inline void reset_connection(struct http_conn *conn)
{
    const struct linger now = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    http_close(conn);
}

/* Waits until the text stands in what has come so far, which stays unread. */
static inline void await_text(struct http_conn *conn, const char *text)
{
    while (!conn->unread.len || !memmem(conn->unread.data, conn->unread.len, text, strlen(text))) {
        enum http_outcome outcome = http_await_bytes(conn, conn->unread.len + 1, scaled_ms(STREAM_WAIT_MS));
        if (outcome != HTTP_ANSWERED)
            fail_msg("\"%s\" does not come: %s after %zu bytes", text, http_outcome_name(outcome), conn->unread.len);
    }
}

/* The whole stream, from its first byte; the caller frees the reply. */
static inline struct http_reply finish_stream(struct http_conn *conn)
{
    struct http_reply reply;
    http_receive(conn, false, scaled_ms(2 * STREAM_WAIT_MS), &reply);
    if (reply.outcome != HTTP_ANSWERED || reply.status != 200)
        fail_msg("%s, status %u: %.500s", http_outcome_name(reply.outcome), reply.status, reply.body ? reply.body : "");
    assert_null(http_header(&reply, "Content-Length"));
    return reply;
}

/* ---- what it consists of */

struct parsed_stream {
    size_t count;                     /* of results */
    cJSON *results[STREAM_ITEMS_MAX]; /* as they came */
    cJSON *summary;                   /* what is in {"summary": …} */
    cJSON *last;                      /* that object */
};

/* The line's object, and nothing behind it. */
static inline cJSON *parse_line(const char *line, size_t len)
{
    const char *end;
    cJSON *object = cJSON_ParseWithLengthOpts(line, len, &end, false);
    if (!cJSON_IsObject(object) || end != line + len)
        fail_msg("not a JSON object: %.*s", (int)len, line);
    return object;
}

/* Takes the stream apart, strictly; `before` stands before each line, `between` after it. The caller frees it. */
static inline struct parsed_stream parse_stream(const char *text, bool is_events)
{
    struct parsed_stream parsed = { 0 };
    const char *after = is_events ? "\n\n" : "\n";
    while (*text) {
        const char *end = strstr(text, after);
        assert_non_null(end);
        assert_null(parsed.last); /* nothing comes behind the summary */
        bool is_summary = strncmp(text, "event: summary\n", 15) == 0;
        if (is_events) {
            const char *before = is_summary ? "event: summary\ndata: " : "event: result\ndata: ";
            assert_memory_equal(text, before, strlen(before));
            text += strlen(before);
            assert_null(memchr(text, '\n', (size_t)(end - text)));
        }
        cJSON *object = parse_line(text, (size_t)(end - text));
        if (json_at(object, "summary")) {
            assert_true(!is_events || is_summary);
            parsed.last = object;
            parsed.summary = cJSON_GetObjectItem(object, "summary");
        } else {
            assert_true(!is_summary && parsed.count < STREAM_ITEMS_MAX);
            parsed.results[parsed.count++] = object;
        }
        text = end + strlen(after);
    }
    assert_non_null(parsed.summary);
    return parsed;
}

static inline void free_parsed(struct parsed_stream *parsed)
{
    for (size_t i = 0; i < parsed->count; i++)
        cJSON_Delete(parsed->results[i]);
    cJSON_Delete(parsed->last);
}

/* Each of `count` items has one result, and the summary counts them right. Returns how many are ok. */
static inline unsigned expect_whole(const struct parsed_stream *parsed, size_t count)
{
    bool was_seen[STREAM_ITEMS_MAX] = { 0 };
    unsigned ok = 0;
    assert_int_equal(parsed->count, count);
    for (size_t i = 0; i < count; i++) {
        double index = json_number(parsed->results[i], "index");
        assert_true(index >= 0 && index < (double)count && !was_seen[(size_t)index]);
        was_seen[(size_t)index] = true;
        ok += json_at(parsed->results[i], "error") == NULL;
    }
    assert_true(json_number(parsed->summary, "ok") == ok);
    assert_true(json_number(parsed->summary, "failed") == (double)(count - ok));
    assert_true(json_number(parsed->summary, "elapsed_ms") >= 0);
    return ok;
}

/* Receives the rest of an NDJSON stream of `count` items. Returns how many are ok; `code` NULL or what the others
 * failed with. */
static inline unsigned expect_rest(struct http_conn *conn, size_t count, const char *code)
{
    struct http_reply reply = finish_stream(conn);
    struct parsed_stream parsed = parse_stream(reply.body, false);
    unsigned ok = expect_whole(&parsed, count);
    for (size_t i = 0; code && i < count; i++)
        if (json_at(parsed.results[i], "error"))
            assert_string_equal(json_text_at(parsed.results[i], "error.code"), code);
    free_parsed(&parsed);
    http_reply_done(&reply);
    return ok;
}

#endif
