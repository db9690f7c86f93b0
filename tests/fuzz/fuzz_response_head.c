/* Any bytes as an origin's header, a line at a time: within the limits, and always a JSON object in UTF-8. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_check.h"
#include "pool/response_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct json_limits limits = { .depth = 4, .members = 8192, .values = SIZE_MAX, .number_length = 63 };
    static const char *const some[] = { "content-type", "set-cookie", "", NULL };
    struct response_head head;
    struct json_error error;
    response_head_init(&head);
    const char *at = (const char *)data, *end = at + size;
    bool goes_on = true;
    while (goes_on && at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((newline ? newline + 1 : end) - at);
        char *line = malloc(len); /* exactly as long as it is */
        require(line != NULL);
        for (size_t i = 0; i < len; i++)
            line[i] = at[i] ? at[i] : '0'; /* libcurl refuses a NUL, and json_check() its escape */
        goes_on = response_head_line(&head, line, len);
        free(line);
        at += len;
    }
    require(head.count <= RESPONSE_HEAD_LINES_MAX && head.text.len <= RESPONSE_HEAD_BYTES_MAX);
    for (int i = 0; goes_on && i < 2; i++) {
        struct buf out = BUF_INIT(16 * RESPONSE_HEAD_BYTES_MAX);
        response_head_json(&head, i ? some : NULL, &out);
        require(!out.failed && json_check(out.data, out.len, &limits, &error));
        buf_done(&out);
    }
    size_t value_len = 0;
    (void)response_head_value(&head, "content-encoding", &value_len);
    response_head_done(&head);
    return 0;
}
