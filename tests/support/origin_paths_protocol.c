/* Answers that break HTTP/1.1, or stretch it: most are a row of bytes in the table below. */
#include "tests/support/origin_script.h"

#include <string.h>

/* The argument in place of the status code. */
static void status_raw(struct script *script)
{
    struct buf *first = &script->reply->first;
    buf_lit(first, "HTTP/1.1 ");
    buf_append(first, script->arg, strcspn(script->arg, "?"));
    buf_lit(first, " Test\r\n" TEXT SIZED(4) "\r\nraw\n");
}

/* The body was not read, so a close at once is a reset if some of it is there: the polite way is to read on. */
static void early_answer(struct script *script)
{
    script_answer_text(script, script_status(script, 413), TEXT "Connection: close\r\n", "no need to go on\n");
    script->reply->ending = script_ending(script) == ORIGIN_RESET ? ORIGIN_RESET : ORIGIN_HANG_UP;
}

/* {path, bytes, how it ends} */
#define SAYS(path, literal, end)                                                          \
    {                                                                                     \
        .prefix = (path), .bytes = (literal), .len = sizeof(literal) - 1, .ending = (end) \
    }

const struct behaviour origin_protocol_paths[] = {
    { .prefix = "/status-raw/", .write = status_raw },
    { .prefix = "/early-answer", .write = early_answer },

    SAYS("/rst", "", ORIGIN_RESET),
    SAYS("/bad-http", "220 this is not HTTP\r\n\r\n", ORIGIN_CLOSE),
    SAYS("/http09", "<html>a body and nothing else</html>\n", ORIGIN_CLOSE),

    SAYS("/cut", OK SIZED(1000) "\r\nonly this much", ORIGIN_CLOSE),
    SAYS("/cut-chunk", OK TEXT CHUNKED "\r\n400\r\nonly this much", ORIGIN_CLOSE),
    SAYS("/cut-header", "HTTP/1.1 200 OK\r\nContent-Ty", ORIGIN_CLOSE),
    SAYS("/cut-redirect", "HTTP/1.1 302 Found\r\nLocation: /small\r\n", ORIGIN_CLOSE),
    SAYS("/lie-long", OK SIZED(1000000) "\r\n" BLOCK_1024, ORIGIN_CLOSE),
    SAYS("/lie-short", OK SIZED(5) "\r\n12345" OK SIZED(6) "\r\nforged", ORIGIN_CLOSE),
    SAYS("/extra-bytes", OK TEXT SIZED(5) "\r\n12345" OK TEXT SIZED(6) "\r\nforged", ORIGIN_KEEP),

    SAYS("/two-lengths", OK TEXT SIZED(5) SIZED(6) "\r\n123456", ORIGIN_CLOSE),
    SAYS("/length-and-chunked", OK TEXT SIZED(5) CHUNKED "\r\n3\r\nabc\r\n0\r\n\r\n", ORIGIN_CLOSE),
    SAYS("/status-like-field", OK TEXT "Transfer-Encoding: gzip, chunked\r\nHTTP/x: 2\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
         ORIGIN_CLOSE),
    SAYS("/coded-transfer", OK TEXT "Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", ORIGIN_CLOSE),
    SAYS("/negative-length", OK TEXT "Content-Length: -1\r\n\r\nwhat", ORIGIN_CLOSE),
    SAYS("/overlong-length", OK TEXT "Content-Length: 18446744073709551621\r\n\r\n12345", ORIGIN_CLOSE),
    SAYS("/odd-length", OK TEXT "Content-Length: 5x\r\n\r\n12345", ORIGIN_CLOSE),
    SAYS("/bad-chunk-size", OK TEXT CHUNKED "\r\n5\r\n12345\r\nxyz\r\n12345\r\n0\r\n\r\n", ORIGIN_CLOSE),
    SAYS("/huge-chunk-size", OK TEXT CHUNKED "\r\n10000000000000005\r\n12345\r\n0\r\n\r\n", ORIGIN_CLOSE),

    SAYS("/nul-in-header", OK TEXT "X-Nul: a\0b\r\n" SIZED(4) "\r\nnul\n", ORIGIN_KEEP),
    SAYS("/no-colon", OK TEXT "this line has no colon\r\n" SIZED(4) "\r\nhmm\n", ORIGIN_KEEP),
    SAYS("/bare-lf", "HTTP/1.1 200 OK\nContent-Type: text/plain\nContent-Length: 3\n\nlf\n", ORIGIN_KEEP),
    SAYS("/obs-fold", OK TEXT "X-Folded: one\r\n two\r\n\tthree\r\n" SIZED(5) "\r\nfold\n", ORIGIN_KEEP),

    SAYS("/switching-protocols",
         "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\nnot HTTP any more\n",
         ORIGIN_SILENCE),
    SAYS("/204-with-body", "HTTP/1.1 204 No Content\r\n" SIZED(5) "\r\n12345", ORIGIN_KEEP),
    { .prefix = "/head-with-body",
      .bytes = OK TEXT SIZED(5) "\r\n12345",
      .len = sizeof(OK TEXT SIZED(5) "\r\n12345") - 1,
      .is_same_for_head = true },
    { .prefix = NULL },
};
