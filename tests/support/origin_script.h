/* origin_script: the behaviours of the test origin. Each origin_paths*.c has a table of path prefixes, each with a
 * function that writes the reply's script; here is what those functions share. */
#ifndef TWINPOOL_TESTS_ORIGIN_SCRIPT_H
#define TWINPOOL_TESTS_ORIGIN_SCRIPT_H

#include "tests/support/origin_reply.h"

enum { REPLY_BYTES_MAX = 4 << 20 /* of what is written at once; repeated bytes come on top */, BLOCK_BYTES = 1024 };

#define TEXT        "Content-Type: text/plain\r\n"
#define JSON        "Content-Type: application/json\r\n"
#define OCTETS      "Content-Type: application/octet-stream\r\n"
#define OK          "HTTP/1.1 200 OK\r\n"
#define CHUNKED     "Transfer-Encoding: chunked\r\n"
#define SIZED(size) "Content-Length: " #size "\r\n"

#define BLOCK_64 "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n"
#define BLOCK_1024                                                                                              \
    BLOCK_64 BLOCK_64 BLOCK_64 BLOCK_64 BLOCK_64 BLOCK_64 BLOCK_64 BLOCK_64 BLOCK_64 BLOCK_64 BLOCK_64 BLOCK_64 \
        BLOCK_64 BLOCK_64 BLOCK_64 BLOCK_64

struct script {
    const struct origin_request *request;
    const char *arg; /* what follows the prefix: up to '?' or the end */
    struct origin_reply *reply;
};

struct behaviour {
    const char *prefix;                   /* one that ends with '/' takes an argument */
    void (*write)(struct script *script); /* NULL: it sends these bytes and ends so */
    const char *bytes;
    size_t len;
    enum origin_ending ending;
    bool is_same_for_head; /* sends its body in an answer to HEAD too */
};

/* Each ends with an entry that has no prefix. */
extern const struct behaviour origin_plain_paths[], origin_time_paths[], origin_redirect_paths[], origin_size_paths[],
    origin_protocol_paths[], origin_coded_paths[];

/* A whole answer with a Content-Length; `fields` are lines. */
void script_answer(struct script *script, unsigned status, const char *fields, const char *body, size_t len) NONNULL;
void script_answer_text(struct script *script, unsigned status, const char *fields, const char *body) NONNULL;

/* `head` and then `block`, `count` times. Both are static. */
void script_repeat(struct script *script, const char *head, const char *block, size_t len, uint64_t count) NONNULL;

/* Query parameters: `status`, a number, and `how=rst` (anything else: fin). */
unsigned script_status(const struct script *script, unsigned otherwise) NONNULL;
unsigned script_number(const struct script *script, const char *name, unsigned otherwise) NONNULL;
enum origin_ending script_ending(const struct script *script) NONNULL;
/* Appends the parameter, or `otherwise`, to the answer. */
void script_add_param(struct script *script, const char *name, const char *otherwise) NONNULL;

/* The number that the argument is. */
uint64_t script_arg_number(const struct script *script) NONNULL;
bool script_arg_is(const struct script *script, const char *text) NONNULL;
void script_not_found(struct script *script) NONNULL;

#endif
