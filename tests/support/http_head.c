#include "tests/support/http_head.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HEAD_BYTES_MAX = 65536 };

static bool parse_status_line(const char *line, size_t len, struct http_head *head)
{
    const size_t prefix = sizeof "HTTP/1.1 " - 1;
    if (len < prefix + 4 || memcmp(line, "HTTP/1.", 7) != 0 || (line[7] != '0' && line[7] != '1') || line[8] != ' ')
        return false;
    for (size_t i = prefix; i < prefix + 3; i++)
        if (!isdigit((unsigned char)line[i]))
            return false;
    head->status = (unsigned)strtoul(line + prefix, NULL, 10);
    head->will_close = line[7] == '0';
    return head->status >= 100 && line[prefix + 3] == ' ';
}

static bool value_is(const char *value, size_t len, const char *text)
{
    return len == strlen(text) && strncasecmp(value, text, len) == 0;
}

static bool parse_length(const char *value, size_t len, size_t *ret_length)
{
    if (len == 0 || len > 15)
        return false;
    size_t length = 0;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)value[i]))
            return false;
        length = length * 10 + (size_t)(value[i] - '0');
    }
    *ret_length = length;
    return true;
}

static bool parse_field(const char *line, size_t len, struct http_head *head)
{
    const char *colon = memchr(line, ':', len);
    if (!colon || colon == line)
        return false;
    size_t name_len = (size_t)(colon - line);
    const char *value = colon + 1;
    size_t value_len = len - name_len - 1;
    for (; value_len > 0 && *value == ' '; value_len--)
        value++;
    if (value_is(line, name_len, "Content-Length")) {
        bool is_first = !head->has_length;
        head->has_length = true;
        return is_first && parse_length(value, value_len, &head->body_len);
    }
    if (value_is(line, name_len, "Transfer-Encoding"))
        return head->is_chunked = value_is(value, value_len, "chunked");
    if (value_is(line, name_len, "Connection"))
        head->will_close |= value_is(value, value_len, "close");
    return true;
}

enum http_head_verdict http_head_parse(const char *bytes, size_t len, struct http_head *ret_head)
{
    static const char beginning[] = "HTTP/1.";
    size_t known = len < sizeof beginning - 1 ? len : sizeof beginning - 1;
    if (memcmp(bytes, beginning, known) != 0)
        return HTTP_HEAD_MALFORMED;
    const char *end = memmem(bytes, len, "\r\n\r\n", 4);
    if (!end)
        return len > HEAD_BYTES_MAX ? HTTP_HEAD_MALFORMED : HTTP_HEAD_INCOMPLETE;

    struct http_head head = { .head_len = (size_t)(end - bytes) + 4 };
    const char *line = bytes;
    bool is_status_line = true;
    while (line < end + 2) {
        const char *line_end = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
        size_t line_len = (size_t)(line_end - line);
        if (!(is_status_line ? parse_status_line : parse_field)(line, line_len, &head))
            return HTTP_HEAD_MALFORMED;
        is_status_line = false;
        line = line_end + 2;
    }
    *ret_head = head;
    return head.is_chunked && head.has_length ? HTTP_HEAD_MALFORMED : HTTP_HEAD_COMPLETE;
}
