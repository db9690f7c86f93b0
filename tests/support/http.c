/* Sockets are read with recvfrom() everywhere in the tests: the library they link with defines a recv() of its own for
 * libmicrohttpd, and a call of that name would draw the whole service into the test program. */
#include "tests/support/http.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/http_head.h"
#include "tests/support/timing.h"

enum { ANSWER_BYTES_MAX = 128 << 20, SEND_TIMEOUT_MS = 30000, RECEIVE_STEP = 65536 };

const char *http_outcome_name(enum http_outcome outcome)
{
    static const char *const names[] = { "answered", "timed out", "closed", "reset", "malformed" };
    return names[outcome];
}

bool http_connect(struct http_conn *conn, uint16_t port)
{
    *conn = (struct http_conn){ .unread = BUF_INIT(ANSWER_BYTES_MAX) };
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (conn->fd < 0)
        return false;
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const int one = 1;
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(conn->fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return true;
    http_close(conn);
    return false;
}

void http_close(struct http_conn *conn)
{
    if (conn->fd >= 0)
        close(conn->fd);
    conn->fd = -1;
    buf_done(&conn->unread);
}

/* True when the events (or an error) came before end_ns. */
static bool wait_for(int fd, short events, uint64_t end_ns)
{
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        if (now_ns >= end_ns)
            return false;
        struct pollfd entry = { .fd = fd, .events = events };
        int ready = poll(&entry, 1, (int)((end_ns - now_ns) / NS_PER_MS) + 1);
        if (ready > 0)
            return true;
        if (ready < 0 && errno != EINTR)
            return true; /* let the next call report it */
    }
}

bool http_send_raw(struct http_conn *conn, const void *bytes, size_t len)
{
    const uint64_t end_ns = clock_now_ns() + scaled_ms(SEND_TIMEOUT_MS) * NS_PER_MS;
    const char *at = bytes;
    while (len > 0) {
        ssize_t sent = send(conn->fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            at += sent;
            len -= (size_t)sent;
        } else if (errno == EAGAIN) {
            if (!wait_for(conn->fd, POLLOUT, end_ns))
                return false;
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

bool http_send(struct http_conn *conn, const char *method, const char *target, const char *fields, const void *body,
               size_t body_len)
{
    struct buf request = BUF_INIT(ANSWER_BYTES_MAX);
    buf_printf(&request, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s", method, target, fields ? fields : "");
    if (body)
        buf_printf(&request, "Content-Length: %zu\r\n", body_len);
    buf_lit(&request, "\r\n");
    if (body && body_len > 0)
        buf_append(&request, body, body_len);
    bool was_sent = !request.failed && http_send_raw(conn, request.data, request.len);
    buf_done(&request);
    return was_sent;
}

/* Adds what the socket has to conn->unread. HTTP_ANSWERED: some bytes came. */
static enum http_outcome receive_some(struct http_conn *conn, uint64_t end_ns)
{
    for (;;) {
        char *room = buf_reserve(&conn->unread, RECEIVE_STEP);
        if (!room)
            return HTTP_MALFORMED;
        ssize_t got = recvfrom(conn->fd, room, RECEIVE_STEP, MSG_DONTWAIT, NULL, NULL);
        if (got > 0) {
            conn->unread.len += (size_t)got;
            return HTTP_ANSWERED;
        }
        if (got == 0)
            return HTTP_CLOSED;
        if (errno == EAGAIN) {
            if (!wait_for(conn->fd, POLLIN, end_ns))
                return HTTP_TIMED_OUT;
        } else if (errno != EINTR) {
            return HTTP_RESET;
        }
    }
}

static void consume(struct buf *unread, size_t len)
{
    memmove(unread->data, unread->data + len, unread->len - len);
    unread->len -= len;
}

/* Waits until at least `len` bytes are unread. */
static enum http_outcome need(struct http_conn *conn, size_t len, uint64_t end_ns)
{
    while (conn->unread.len < len) {
        enum http_outcome outcome = receive_some(conn, end_ns);
        if (outcome != HTTP_ANSWERED)
            return outcome;
    }
    return HTTP_ANSWERED;
}

static enum http_outcome receive_head(struct http_conn *conn, uint64_t end_ns, struct http_head *ret_head)
{
    for (;;) {
        if (conn->unread.len > 0) {
            enum http_head_verdict verdict = http_head_parse(conn->unread.data, conn->unread.len, ret_head);
            if (verdict == HTTP_HEAD_MALFORMED)
                return HTTP_MALFORMED;
            if (verdict == HTTP_HEAD_COMPLETE && ret_head->status != 100)
                return HTTP_ANSWERED;
            if (verdict == HTTP_HEAD_COMPLETE) {
                consume(&conn->unread, ret_head->head_len);
                continue;
            }
        }
        enum http_outcome outcome = receive_some(conn, end_ns);
        if (outcome != HTTP_ANSWERED)
            return outcome;
    }
}

/* Moves one chunk from the start of the unread bytes to `body`; *ret_last when it was the last. */
static enum http_outcome receive_chunk(struct http_conn *conn, uint64_t end_ns, struct buf *body, bool *ret_last)
{
    const char *line_end;
    while (!(line_end = conn->unread.len ? memmem(conn->unread.data, conn->unread.len, "\r\n", 2) : NULL)) {
        enum http_outcome outcome = conn->unread.len > 32 ? HTTP_MALFORMED : receive_some(conn, end_ns);
        if (outcome != HTTP_ANSWERED)
            return outcome;
    }
    char *digits_end;
    size_t size = strtoul(conn->unread.data, &digits_end, 16);
    if (digits_end != line_end || digits_end == conn->unread.data || size > ANSWER_BYTES_MAX)
        return HTTP_MALFORMED;
    size_t line_len = (size_t)(line_end - conn->unread.data) + 2;
    enum http_outcome outcome = need(conn, line_len + size + 2, end_ns);
    if (outcome != HTTP_ANSWERED)
        return outcome;
    if (memcmp(conn->unread.data + line_len + size, "\r\n", 2) != 0)
        return HTTP_MALFORMED;
    buf_append(body, conn->unread.data + line_len, size);
    consume(&conn->unread, line_len + size + 2);
    *ret_last = size == 0;
    return HTTP_ANSWERED;
}

static enum http_outcome receive_body(struct http_conn *conn, const struct http_head *head, uint64_t end_ns,
                                      struct buf *body)
{
    enum http_outcome outcome = HTTP_ANSWERED;
    if (head->is_chunked) {
        for (bool is_last = false; !is_last && outcome == HTTP_ANSWERED;)
            outcome = receive_chunk(conn, end_ns, body, &is_last);
        return outcome;
    }
    if (!head->has_length)
        return head->status == 204 || head->status == 304 ? HTTP_ANSWERED : HTTP_MALFORMED;
    outcome = need(conn, head->body_len, end_ns);
    if (outcome == HTTP_ANSWERED && head->body_len > 0) {
        buf_append(body, conn->unread.data, head->body_len);
        consume(&conn->unread, head->body_len);
    }
    return outcome;
}

/* Each line becomes a string of its own. */
static char *copy_lines(const char *head, size_t len)
{
    char *copy = malloc(len + 1);
    if (!copy)
        abort();
    char *to = copy;
    for (size_t i = 0; i + 2 < len; i++) {
        if (head[i] == '\r')
            continue;
        *to++ = head[i] == '\n' ? '\0' : head[i];
    }
    *to++ = '\0';
    *to = '\0';
    return copy;
}

static enum http_outcome receive(struct http_conn *conn, bool is_head, uint64_t end_ns, struct http_reply *reply)
{
    struct http_head head;
    enum http_outcome outcome = receive_head(conn, end_ns, &head);
    if (outcome != HTTP_ANSWERED)
        return outcome;
    reply->status = head.status;
    reply->will_close = head.will_close;
    reply->head = copy_lines(conn->unread.data, head.head_len);
    consume(&conn->unread, head.head_len);

    struct buf body = BUF_INIT(ANSWER_BYTES_MAX);
    if (!is_head)
        outcome = receive_body(conn, &head, end_ns, &body);
    reply->body_len = body.len;
    buf_byte(&body, '\0');
    size_t ignored;
    reply->body = buf_take(&body, &ignored);
    return reply->body ? outcome : HTTP_MALFORMED;
}

enum http_outcome http_receive(struct http_conn *conn, bool is_head, uint32_t timeout_ms, struct http_reply *ret_reply)
{
    uint64_t start_ns = clock_now_ns();
    *ret_reply = (struct http_reply){ 0 };
    ret_reply->outcome = receive(conn, is_head, start_ns + timeout_ms * NS_PER_MS, ret_reply);
    ret_reply->elapsed_ms = elapsed_ms(start_ns);
    return ret_reply->outcome;
}

enum http_outcome http_await_bytes(struct http_conn *conn, size_t len, uint32_t timeout_ms)
{
    return need(conn, len, clock_now_ns() + timeout_ms * NS_PER_MS);
}

bool http_wait_closed(struct http_conn *conn, uint32_t timeout_ms)
{
    const uint64_t end_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    for (;;) {
        buf_clear(&conn->unread);
        enum http_outcome outcome = receive_some(conn, end_ns);
        if (outcome != HTTP_ANSWERED)
            return outcome == HTTP_CLOSED || outcome == HTTP_RESET;
    }
}

enum http_outcome http_exchange(struct http_conn *conn, const char *method, const char *target, const char *fields,
                                const void *body, size_t body_len, struct http_reply *ret_reply)
{
    uint64_t start_ns = clock_now_ns();
    /* A server may refuse and close before it has read everything: its answer counts even if sending failed. */
    bool was_sent = http_send(conn, method, target, fields, body, body_len);
    http_receive(conn, strcmp(method, "HEAD") == 0, was_sent ? scaled_ms(HTTP_ANSWER_TIMEOUT_MS) : scaled_ms(1000),
                 ret_reply);
    ret_reply->elapsed_ms = elapsed_ms(start_ns);
    return ret_reply->outcome;
}

enum http_outcome http_once(uint16_t port, const char *method, const char *target, const char *fields, const char *body,
                            struct http_reply *ret_reply)
{
    struct http_conn conn;
    if (!http_connect(&conn, port)) {
        *ret_reply = (struct http_reply){ .outcome = HTTP_RESET };
        return HTTP_RESET;
    }
    http_exchange(&conn, method, target, fields, body, body ? strlen(body) : 0, ret_reply);
    /* A reset, so that nothing of it lingers on either side when a test counts descriptors. */
    const struct linger now = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(conn.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    http_close(&conn);
    return ret_reply->outcome;
}

const char *http_header(const struct http_reply *reply, const char *name)
{
    size_t name_len = strlen(name);
    if (!reply->head)
        return NULL;
    for (const char *line = reply->head; *line; line += strlen(line) + 1) {
        if (strncasecmp(line, name, name_len) != 0 || line[name_len] != ':')
            continue;
        const char *value = line + name_len + 1;
        return value + strspn(value, " ");
    }
    return NULL;
}

void http_reply_done(struct http_reply *reply)
{
    free(reply->head);
    free(reply->body);
    *reply = (struct http_reply){ 0 };
}
