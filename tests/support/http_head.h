/* http_head: the head of an HTTP/1.1 answer, judged strictly. Pure. */
#ifndef TWINPOOL_TESTS_HTTP_HEAD_H
#define TWINPOOL_TESTS_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attrs.h"

enum http_head_verdict { HTTP_HEAD_INCOMPLETE, HTTP_HEAD_COMPLETE, HTTP_HEAD_MALFORMED };

struct http_head {
    unsigned status;
    size_t head_len; /* the final empty line included */
    size_t body_len; /* of Content-Length */
    bool is_chunked;
    bool has_length;
    bool will_close;
};

enum http_head_verdict http_head_parse(const char *bytes, size_t len, struct http_head *ret_head) NONNULL MUST_CHECK;

#endif
