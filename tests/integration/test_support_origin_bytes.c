/* The test origin's bytes: what it says where nothing depends on time or state, honest or not. Coded bodies are decoded
 * by other people's libraries: zlib here, brotli and zstd by way of libcurl. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/buf.h"
#include "tests/support/http.h"
#include "tests/support/origin.h"
#include "tests/support/timing.h"

enum { MIB = 1 << 20, PATTERN_BYTES_MAX = 4 * MIB, ANSWER_MS = 5000 };

static struct origin *origin;

static int start(void **state)
{
    (void)state;
    origin = origin_start("127.0.0.1", 0);
    return origin ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    origin_stop(origin);
    return 0;
}

static void ask(struct http_conn *conn, const char *method, const char *target, const char *fields)
{
    assert_true(http_connect(conn, origin_port(origin)));
    assert_true(http_send(conn, method, target, fields, NULL, 0));
}

static bool reads(struct http_conn *conn, const char *pattern, size_t len)
{
    while (conn->unread.len == 0 || !memmem(conn->unread.data, conn->unread.len, pattern, len))
        if (conn->unread.len > PATTERN_BYTES_MAX ||
            http_await_bytes(conn, conn->unread.len + 1, scaled_ms(ANSWER_MS)) != HTTP_ANSWERED)
            return false;
    return true;
}

enum end { CLOSES, STAYS, IS_SILENT, ANY_END };

/* STAYS: the next request on this connection is answered. */
static bool ends_as(struct http_conn *conn, enum end end)
{
    if (end == ANY_END)
        return true;
    if (end == CLOSES)
        return http_wait_closed(conn, scaled_ms(ANSWER_MS));
    buf_clear(&conn->unread);
    struct http_reply reply;
    if (!http_send(conn, "GET", "/status/299", NULL, NULL, 0))
        return false;
    enum http_outcome outcome = http_receive(conn, false, end == STAYS ? scaled_ms(ANSWER_MS) : 30, &reply);
    bool is_right = end == STAYS ? outcome == HTTP_ANSWERED && reply.status == 299 : outcome == HTTP_TIMED_OUT;
    http_reply_done(&reply);
    return is_right;
}

#define LINE_OK "HTTP/1.1 200 OK\r\n"
#define TEXT    "Content-Type: text/plain\r\n"
#define LENGTH  "Content-Length: "

#define SAYS(method, target, fields, pattern, end)                \
    {                                                             \
        method, target, fields, pattern, sizeof(pattern) - 1, end \
    }

/* The pattern is found in the answer, and is its end unless the connection closes. */
struct saying {
    const char *method, *target, *fields, *pattern;
    size_t len;
    enum end end;
};

static void check_sayings(const struct saying *sayings, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct http_conn conn;
        ask(&conn, sayings[i].method, sayings[i].target, sayings[i].fields);
        if (!reads(&conn, sayings[i].pattern, sayings[i].len))
            fail_msg("%s says: %.*s", sayings[i].target, (int)conn.unread.len, conn.unread.len ? conn.unread.data : "");
        if (!ends_as(&conn, sayings[i].end))
            fail_msg("%s ends in another way", sayings[i].target);
        http_close(&conn);
    }
}

static void protocol_paths__bytes_and_end__as_promised(void **state)
{
    (void)state;
    static const struct saying sayings[] = {
        SAYS("GET", "/http09", NULL, "<html>a body and nothing else</html>\n", CLOSES),
        SAYS("GET", "/status-raw/99", NULL, "HTTP/1.1 99 Test\r\n" TEXT LENGTH "4\r\n\r\nraw\n", STAYS),
        SAYS("GET", "/status-raw/abc?x", NULL, "HTTP/1.1 abc Test\r\n" TEXT LENGTH "4\r\n\r\nraw\n", STAYS),
        SAYS("GET", "/two-lengths", NULL, LENGTH "5\r\n" LENGTH "6\r\n\r\n123456", CLOSES),
        SAYS("GET", "/length-and-chunked", NULL, LENGTH "5\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n", CLOSES),
        SAYS("GET", "/coded-transfer", NULL, "\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n", CLOSES),
        SAYS("GET", "/negative-length", NULL, LENGTH "-1\r\n\r\n", CLOSES),
        SAYS("GET", "/overlong-length", NULL, LENGTH "18446744073709551621\r\n\r\n12345", CLOSES),
        SAYS("GET", "/odd-length", NULL, LENGTH "5x\r\n\r\n12345", CLOSES),
        SAYS("GET", "/bad-chunk-size", NULL, "\r\nxyz\r\n", CLOSES),
        SAYS("GET", "/huge-chunk-size", NULL, "\r\n10000000000000005\r\n", CLOSES),
        SAYS("GET", "/cut-chunk", NULL, "\r\n400\r\nonly this much", CLOSES),
        SAYS("GET", "/status-like-field", NULL, "gzip, chunked\r\nHTTP/x: 2\r\n\r\n3\r\nabc\r\n", CLOSES),
        SAYS("GET", "/cut-header", NULL, "HTTP/1.1 200 OK\r\nContent-Ty", CLOSES),
        SAYS("GET", "/cut-redirect", NULL, "\r\nLocation: /small\r\n", CLOSES),
        SAYS("GET", "/nul-in-header", NULL, "X-Nul: a\0b\r\n" LENGTH "4\r\n\r\nnul\n", STAYS),
        SAYS("GET", "/no-colon", NULL, "\r\nthis line has no colon\r\n" LENGTH "4\r\n\r\nhmm\n", STAYS),
        SAYS("GET", "/bare-lf", NULL, "HTTP/1.1 200 OK\nContent-Type: text/plain\n" LENGTH "3\n\nlf\n", STAYS),
        SAYS("GET", "/obs-fold", NULL, "X-Folded: one\r\n two\r\n\tthree\r\n" LENGTH "5\r\n\r\nfold\n", STAYS),
        SAYS("GET", "/switching-protocols", NULL, "Upgrade: other\r\n\r\nnot HTTP any more\n", IS_SILENT),
        SAYS("GET", "/extra-bytes", NULL, "\r\n\r\n12345" LINE_OK TEXT LENGTH "6\r\n\r\nforged", STAYS),
        SAYS("GET", "/204-with-body", NULL, "HTTP/1.1 204 No Content\r\n" LENGTH "5\r\n\r\n12345", STAYS),
        SAYS("GET", "/head-with-body", NULL, LENGTH "5\r\n\r\n12345", STAYS),
        SAYS("HEAD", "/head-with-body", NULL, LENGTH "5\r\n\r\n12345", STAYS),
        SAYS("HEAD", "/small", NULL, LENGTH "1024\r\n\r\n", STAYS),
    };
    check_sayings(sayings, ARRAY_LEN(sayings));
}

static void redirect_paths__location__as_asked(void **state)
{
    (void)state;
    static const struct saying sayings[] = {
        SAYS("GET", "/redirect-to?url=/small&status=300", NULL,
             "HTTP/1.1 300 Test\r\nLocation: /small\r\n" LENGTH "0\r\n\r\n", STAYS),
        SAYS("GET", "/redirect-to?url=/small&status=304", NULL,
             "HTTP/1.1 304 Test\r\nLocation: /small\r\n" LENGTH "0\r\n\r\n", STAYS),
        SAYS("GET", "/redirect-loop?status=308", NULL,
             "HTTP/1.1 308 Test\r\nLocation: /redirect-loop?status=308\r\n" LENGTH "0\r\n\r\n", STAYS),
        SAYS("GET", "/redirect-raw?location=http://%00%0d%0aX-Forged:%20%ff%7F%&status=301", NULL,
             "HTTP/1.1 301 Test\r\nLocation: http://\0\r\nX-Forged: \xff\x7f%\r\n" LENGTH "0\r\n\r\n", STAYS),
        SAYS("GET", "/redirect-cookie?url=/echo", NULL,
             "302 Test\r\nLocation: /echo\r\nSet-Cookie: session=from-the-origin; Path=/\r\n", STAYS),
        SAYS("GET", "/redirect-nowhere", NULL, "HTTP/1.1 302 Test\r\n" LENGTH "0\r\n\r\n", STAYS),
        SAYS("GET", "/redirect-twice", NULL,
             "HTTP/1.1 302 Test\r\nLocation: /small\r\nLocation: /utf8\r\n" LENGTH "0\r\n\r\n", STAYS),
        SAYS("GET", "/refresh?url=/utf8", NULL, "Refresh: 0; url=/utf8\r\n" LENGTH "5\r\n\r\nstay\n", STAYS),
        SAYS("GET", "/meta-refresh", NULL, "content=\"0; url=/small\"><title>stay</title>\n", STAYS),
    };
    check_sayings(sayings, ARRAY_LEN(sayings));
}

static void plain_paths__documents_and_conditions__as_asked(void **state)
{
    (void)state;
    static const struct saying sayings[] = {
        SAYS("GET", "/json?doc=%5B1,%20%22%26%22%5D&status=404", NULL,
             "HTTP/1.1 404 Test\r\nContent-Type: application/json\r\n" LENGTH "8\r\n\r\n[1, \"&\"]", STAYS),
        SAYS("GET", "/json?doc=", NULL, LENGTH "0\r\n\r\n", STAYS),
        SAYS("GET", "/json", NULL, LENGTH "2\r\n\r\n{}", STAYS),
        SAYS("GET", "/json-pretty", NULL, "\"truth\" : [ true, false, null ] }\n}\n\n", STAYS),
        SAYS("GET", "/json-bad", NULL, "{\"name\": \"bad\", \"list\": [1, 2,", STAYS),
        SAYS("GET", "/text", NULL, "charset=iso-8859-1\r\n" LENGTH "6\r\n\r\nh\xe4llo\n", STAYS),
        SAYS("GET", "/text?charset=%22utf-16%22&body=%ff%fe", NULL, "charset=\"utf-16\"\r\n" LENGTH "2\r\n\r\n\xff\xfe",
             STAYS),
        SAYS("GET", "/control-bytes/3", NULL, LENGTH "3\r\n\r\n\x01\x01\x01", STAYS),
        SAYS("GET", "/auth-echo", "Authorization: Basic eDp5\r\n", "Authorization: Basic eDp5\\r\\n", STAYS),
        SAYS("GET", "/etag", NULL, "200 Test\r\n" TEXT "ETag: \"v1\"\r\n" LENGTH "12\r\n\r\nversion one\n", STAYS),
        SAYS("GET", "/etag", "If-None-Match: \"v0\"\r\n", "version one\n", STAYS),
        SAYS("GET", "/etag", "If-None-Match: \"v0\", W/\"v1\"\r\n", "304 Not Modified\r\nETag: \"v1\"\r\n\r\n", STAYS),
        SAYS("GET", "/range", "Range: bytes=10-12\r\n",
             "206 Test\r\n" TEXT "Content-Range: bytes 10-12/1024\r\n" LENGTH "3\r\n\r\nabc", STAYS),
        SAYS("GET", "/range", "Range: bytes=1022-\r\n", "bytes 1022-1023/1024\r\n" LENGTH "2\r\n\r\n-\n", STAYS),
        SAYS("GET", "/range", "Range: bytes=-1\r\n", "bytes 1023-1023/1024\r\n" LENGTH "1\r\n\r\n\n", STAYS),
        SAYS("GET", "/range", "range: bytes=0-9999\r\n", "206 Test\r\n" TEXT "Content-Range: bytes 0-1023/1024\r\n",
             ANY_END),
        SAYS("GET", "/range", "Range: bytes=1024-\r\n", "416 Test\r\n" TEXT "Content-Range: bytes */1024\r\n", ANY_END),
        SAYS("GET", "/range", "Range: bytes=0-1,3-4\r\n", "200 Test\r\n" TEXT "Accept-Ranges: bytes\r\n", ANY_END),
        SAYS("GET", "/range", "Range: bytes=5-4\r\n", "200 Test\r\n", ANY_END),
        SAYS("GET", "/coded/rot13", NULL, "404 Test\r\n", ANY_END),
        SAYS("GET", "/long-header/5000000", NULL, "500 Test\r\n", ANY_END),
    };
    check_sayings(sayings, ARRAY_LEN(sayings));
}

static void sized_paths__whole_answers__have_their_length(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        size_t len;
        char byte; /* all of them, or 0 */
    } cases[] = {
        { "/chunked/0", 0, '0' },
        { "/chunked/1", 1, '0' },
        { "/chunked/1024", 1024, '0' },
        { "/chunked/1025", 1025, '0' },
        { "/chunked/10000?chunk=7", 10000, '0' },
        { "/chunked/1000?chunk=0", 1000, '0' },
        { "/chunked/3000000?chunk=65536", 3000000, '0' },
        { "/control-bytes/100001", 100001, 1 },
        { "/redirect-big", 2 * MIB, 0 },
        { "/bytes/1234567", 1234567, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_reply reply;
        http_once(origin_port(origin), "GET", cases[i].target, NULL, NULL, &reply);
        if (reply.outcome != HTTP_ANSWERED || reply.body_len != cases[i].len)
            fail_msg("%s: %s, %zu bytes", cases[i].target, http_outcome_name(reply.outcome), reply.body_len);
        for (size_t at = 0; cases[i].byte && at < reply.body_len; at++)
            assert_int_equal(reply.body[at], cases[i].byte);
        http_reply_done(&reply);
    }
}

static void big_heads__fields_and_length__as_asked(void **state)
{
    (void)state;
    struct http_reply reply;
    http_once(origin_port(origin), "GET", "/many-headers/1000", NULL, NULL, &reply);
    assert_int_equal(reply.outcome, HTTP_ANSWERED);
    assert_string_equal(reply.body, "many\n");
    unsigned lines = 0;
    for (const char *line = reply.head; *line; line += strlen(line) + 1)
        lines += strncmp(line, "X-Field-", 8) == 0;
    assert_int_equal(lines, 1000);
    http_reply_done(&reply);

    static const char before[] = LINE_OK "X-Long: ", after[] = "\r\n" TEXT LENGTH "5\r\n\r\nlong\n";
    struct http_conn conn;
    ask(&conn, "GET", "/long-header/102400", NULL);
    assert_true(reads(&conn, after, sizeof after - 1));
    assert_int_equal(conn.unread.len, sizeof before - 1 + 102400 + sizeof after - 1);
    assert_true(ends_as(&conn, STAYS));
    http_close(&conn);
}

static void endless_paths__first_mebibyte__one_block_again_and_again(void **state)
{
    (void)state;
#define X_FILLER "X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"
    static const struct {
        const char *target, *head, *block; /* block: where it begins; its length is found */
    } cases[] = {
        { "/endless", LINE_OK "Transfer-Encoding: chunked\r\n\r\n", "400\r\n0123" },
        { "/endless-close", LINE_OK TEXT "Connection: close\r\n\r\n", "0123" },
        { "/huge-length", LINE_OK TEXT LENGTH "10995116277760\r\n\r\n", "0123" },
        { "/endless-headers", LINE_OK, X_FILLER },
        { "/endless-trailers",
          LINE_OK TEXT "Transfer-Encoding: chunked\r\nTrailer: X-Filler\r\n\r\n5\r\nhello\r\n0\r\n", X_FILLER },
        { "/endless-1xx", "", "HTTP/1.1 103 Test\r\nLink: </x>; rel=preload\r\n\r\n" },
        { "/endless-1xx?status=100", "", "HTTP/1.1 100 Test\r\n\r\n" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const size_t head_len = strlen(cases[i].head), begin_len = strlen(cases[i].block);
        struct http_conn conn;
        ask(&conn, "GET", cases[i].target, NULL);
        assert_int_equal(http_await_bytes(&conn, head_len + MIB, scaled_ms(ANSWER_MS)), HTTP_ANSWERED);
        const char *blocks = conn.unread.data + head_len;
        const char *second = memmem(blocks + 1, MIB - 1, cases[i].block, begin_len);
        if (memcmp(conn.unread.data, cases[i].head, head_len) != 0 || memcmp(blocks, cases[i].block, begin_len) != 0 ||
            !second)
            fail_msg("%s: %.100s", cases[i].target, conn.unread.data);
        const size_t period = (size_t)(second - blocks);
        assert_memory_equal(blocks, blocks + period, MIB - period);
        http_close(&conn);
    }
}

enum { GZIP = 15 + 16, ZLIB = 15, RAW = -15 };

/* One coding of zlib's; stops at `max` decoded bytes. Returns what inflate() said last. */
static int decode(const char *bytes, size_t len, int window_bits, size_t max, struct buf *ret_out, size_t *ret_unused)
{
    z_stream stream = { .next_in = (Bytef *)(uintptr_t)bytes, .avail_in = (uInt)len };
    assert_int_equal(inflateInit2(&stream, window_bits), Z_OK);
    *ret_out = BUF_INIT(max);
    char *room = buf_reserve(ret_out, max);
    assert_non_null(room);
    stream.next_out = (Bytef *)room;
    stream.avail_out = (uInt)max;
    int verdict = inflate(&stream, Z_SYNC_FLUSH);
    ret_out->len = max - stream.avail_out;
    *ret_unused = stream.avail_in;
    inflateEnd(&stream);
    return verdict;
}

static void coded__by_zlib__gives_the_text_or_the_damage(void **state)
{
    (void)state;
    static const struct {
        const char *target, *coding;
        int window_bits;
        unsigned layers;
        int verdict; /* of the last layer; Z_STREAM_END: it is the text */
        size_t unused;
    } cases[] = {
        { "/coded/gzip", "gzip", GZIP, 1, Z_STREAM_END, 0 },
        { "/coded/deflate", "deflate", ZLIB, 1, Z_STREAM_END, 0 },
        { "/coded/deflate-raw", "deflate", RAW, 1, Z_STREAM_END, 0 },
        { "/coded/gzip?layers=2", "gzip, gzip", GZIP, 2, Z_STREAM_END, 0 },
        { "/coded/gzip?layers=6", "gzip, gzip, gzip, gzip, gzip, gzip", GZIP, 6, Z_STREAM_END, 0 },
        { "/coded/identity?layers=2", "identity, gzip", GZIP, 1, Z_STREAM_END, 0 },
        { "/coded/identity?as=gzip", "gzip", GZIP, 1, Z_DATA_ERROR, 0 },
        { "/coded/gzip?as=rot13", "rot13", GZIP, 1, Z_STREAM_END, 0 },
        { "/coded/gzip?cut=80", "gzip", GZIP, 1, Z_OK, 0 },
        { "/coded/gzip?cut=100000", "gzip", GZIP, 1, Z_BUF_ERROR, 0 },
        { "/coded/gzip?tail=garbage", "gzip", GZIP, 1, Z_STREAM_END, 7 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_reply reply;
        http_once(origin_port(origin), "GET", cases[i].target, NULL, NULL, &reply);
        assert_int_equal(reply.outcome, HTTP_ANSWERED);
        assert_string_equal(http_header(&reply, "Content-Encoding"), cases[i].coding);
        struct buf text = BUF_INIT(MIB);
        buf_append(&text, reply.body, reply.body_len);
        http_reply_done(&reply);
        int verdict = Z_STREAM_END;
        size_t unused = 0;
        for (unsigned layer = 0; layer < cases[i].layers && verdict == Z_STREAM_END; layer++) {
            struct buf coded = text;
            verdict = decode(coded.data, coded.len, cases[i].window_bits, MIB, &text, &unused);
            buf_done(&coded);
        }
        if (verdict != cases[i].verdict || (verdict == Z_STREAM_END && unused != cases[i].unused))
            fail_msg("%s: zlib says %d, %zu bytes left", cases[i].target, verdict, unused);
        if (verdict == Z_STREAM_END) {
            assert_int_equal(text.len, strlen(ORIGIN_TEXT));
            assert_memory_equal(text.data, ORIGIN_TEXT, text.len);
        }
        buf_done(&text);
    }
}

static void assert_zeros(const struct buf *bytes)
{
    assert_int_equal(bytes->len, MIB);
    for (size_t i = 0; i < bytes->len; i++)
        if (bytes->data[i] != 0)
            fail_msg("byte %zu is 0x%02x", i, (unsigned)(unsigned char)bytes->data[i]);
}

static void bombs__by_zlib__a_mebibyte_of_zeros_from_little(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        int window_bits;
        unsigned layers;
        size_t len_max;
    } cases[] = {
        { "/bomb/gzip", GZIP, 1, MIB + 64 },
        { "/bomb/deflate", ZLIB, 1, MIB + 64 },
        { "/bomb/gzip-gzip", GZIP, 2, 1200 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_reply reply;
        http_once(origin_port(origin), "GET", cases[i].target, NULL, NULL, &reply);
        assert_int_equal(reply.outcome, HTTP_ANSWERED);
        assert_in_range(reply.body_len, 1000, cases[i].len_max);
        struct buf out;
        size_t unused;
        assert_int_equal(decode(reply.body, reply.body_len, cases[i].window_bits, MIB, &out, &unused), Z_OK);
        if (cases[i].layers == 2) {
            struct buf inner = out;
            assert_int_equal(decode(inner.data, inner.len, cases[i].window_bits, MIB, &out, &unused), Z_OK);
            buf_done(&inner);
        }
        assert_zeros(&out);
        buf_done(&out);
        http_reply_done(&reply);
    }
}

static void gzip_bomb__by_zlib__goes_on(void **state)
{
    (void)state;
    struct http_conn conn;
    ask(&conn, "GET", "/gzip-bomb", NULL);
    assert_int_equal(http_await_bytes(&conn, 32768, scaled_ms(ANSWER_MS)), HTTP_ANSWERED);
    const char *head_end = memmem(conn.unread.data, conn.unread.len, "\r\n\r\n", 4);
    assert_non_null(head_end);
    struct buf out;
    size_t unused, head_len = (size_t)(head_end - conn.unread.data) + 4;
    assert_int_equal(decode(head_end + 4, conn.unread.len - head_len, GZIP, MIB, &out, &unused), Z_OK);
    assert_zeros(&out);
    buf_done(&out);
    http_close(&conn);
}

static size_t keep_decoded(char *bytes, size_t size, size_t count, void *context)
{
    struct buf *out = context;
    size_t len = size * count, room = out->max - out->len;
    buf_append(out, bytes, len < room ? len : room);
    return len <= room ? len : 0; /* 0: enough */
}

/* Up to 1 MiB of the decoded body. */
static CURLcode curl_get(const char *target, struct buf *ret_body)
{
    char url[128];
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", (unsigned)origin_port(origin), target);
    *ret_body = BUF_INIT(MIB);
    CURL *curl = curl_easy_init();
    assert_non_null(curl);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep_decoded);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, ret_body);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)scaled_ms(ANSWER_MS));
    CURLcode code = curl_easy_perform(curl);
    curl_easy_cleanup(curl);
    return code;
}

static void codings__by_libcurl__text_and_bombs(void **state)
{
    (void)state;
    static const struct {
        int feature; /* that this libcurl may lack */
        const char *text, *bomb;
    } cases[] = {
        { CURL_VERSION_LIBZ, "/coded/gzip", "/bomb/gzip" },
        { CURL_VERSION_LIBZ, "/coded/gzip?layers=2", "/bomb/gzip-gzip" },
        { CURL_VERSION_LIBZ, "/coded/deflate", "/bomb/deflate" },
        { CURL_VERSION_BROTLI, "/coded/br", "/bomb/br" },
        { CURL_VERSION_ZSTD, "/coded/zstd", "/bomb/zstd" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf body;
        if (!(curl_version_info(CURLVERSION_NOW)->features & cases[i].feature)) {
            print_message("%s: this libcurl does not know it\n", cases[i].text);
            continue;
        }
        CURLcode code = curl_get(cases[i].text, &body);
        if (code != CURLE_OK || body.len != strlen(ORIGIN_TEXT) || memcmp(body.data, ORIGIN_TEXT, body.len) != 0)
            fail_msg("%s: %s, %zu bytes", cases[i].text, curl_easy_strerror(code), body.len);
        buf_done(&body);
        code = curl_get(cases[i].bomb, &body);
        if (code != CURLE_WRITE_ERROR)
            fail_msg("%s: %s", cases[i].bomb, curl_easy_strerror(code));
        assert_zeros(&body);
        buf_done(&body);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(protocol_paths__bytes_and_end__as_promised),
        TEST(redirect_paths__location__as_asked),
        TEST(plain_paths__documents_and_conditions__as_asked),
        TEST(sized_paths__whole_answers__have_their_length),
        TEST(big_heads__fields_and_length__as_asked),
        TEST(endless_paths__first_mebibyte__one_block_again_and_again),
        TEST(coded__by_zlib__gives_the_text_or_the_damage),
        TEST(bombs__by_zlib__a_mebibyte_of_zeros_from_little),
        TEST(gzip_bomb__by_zlib__goes_on),
        TEST(codings__by_libcurl__text_and_bombs),
    };
    return cmocka_run_group_tests_name("support_origin_bytes", tests, NULL, NULL);
}
