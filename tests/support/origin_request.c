#include "tests/support/origin_request.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { NUMBER_BYTES_MAX = 64 };

/* The value of a field, without the spaces before it; NULL: no such field. */
static const char *find_field(const char *lines, size_t len, const char *name, size_t *ret_len)
{
    const size_t name_len = strlen(name);
    const char *end = lines + len, *line_end;
    for (const char *line = lines; line < end; line = line_end + 2) {
        line_end = memmem(line, (size_t)(end - line), "\r\n", 2);
        if (!line_end)
            return NULL;
        if ((size_t)(line_end - line) <= name_len || line[name_len] != ':' || strncasecmp(line, name, name_len) != 0)
            continue;
        const char *value = line + name_len + 1;
        while (value < line_end && *value == ' ')
            value++;
        *ret_len = (size_t)(line_end - value);
        return value;
    }
    return NULL;
}

bool origin_field(const struct origin_request *request, const char *name, struct buf *out)
{
    size_t len = 0;
    const char *value = find_field(request->fields, request->fields_len, name, &len);
    if (value)
        buf_append(out, value, len);
    return value != NULL;
}

static bool is_answered_early(const char *target, size_t len)
{
    static const char path[] = "/early-answer";
    const size_t path_len = sizeof path - 1;
    return len >= path_len && memcmp(target, path, path_len) == 0 && (len == path_len || target[path_len] == '?');
}

enum origin_parse origin_request_parse(char *bytes, size_t len, struct origin_request *ret_request, size_t *ret_len)
{
    char *head_end = len > 0 ? memmem(bytes, len, "\r\n\r\n", 4) : NULL;
    if (!head_end)
        return ORIGIN_PARSE_MORE;
    char *line_end = memmem(bytes, len, "\r\n", 2);
    char *target = memchr(bytes, ' ', (size_t)(line_end - bytes));
    char *target_end = target ? memchr(target + 1, ' ', (size_t)(line_end - target - 1)) : NULL;
    if (!target_end)
        return ORIGIN_PARSE_BAD;
    target++;
    const char *fields = line_end + 2;
    const size_t head_len = (size_t)(head_end - bytes) + 4;
    const size_t fields_len = head_end < fields ? 0 : (size_t)(head_end + 2 - fields);
    size_t digits_len, body_len = 0;
    const char *digits = find_field(fields, fields_len, "Content-Length", &digits_len);
    if (digits && !is_answered_early(target, (size_t)(target_end - target)))
        body_len = (size_t)strtoul(digits, NULL, 10);
    if (body_len > ORIGIN_REQUEST_BYTES_MAX)
        return ORIGIN_PARSE_BAD;
    if (len - head_len < body_len)
        return ORIGIN_PARSE_MORE;
    target[-1] = *target_end = '\0';
    *ret_request = (struct origin_request){
        .method = bytes,
        .target = target,
        .fields = fields,
        .fields_len = fields_len,
        .body = bytes + head_len,
        .body_len = body_len,
        .seen = 1,
    };
    *ret_len = head_len + body_len;
    return ORIGIN_PARSE_WHOLE;
}

static int hex_value(char digit)
{
    const char *digits = "0123456789abcdef", *at = digit ? strchr(digits, digit | 0x20) : NULL;
    return at ? (int)(at - digits) : -1;
}

bool origin_query(const char *target, const char *name, struct buf *out)
{
    const char *at = strchr(target, '?');
    const size_t name_len = strlen(name);
    for (; at; at = strchr(at + 1, '&'))
        if (strncmp(at + 1, name, name_len) == 0 && at[1 + name_len] == '=')
            break;
    if (!at)
        return false;
    for (at += name_len + 2; *at && *at != '&'; at++) {
        bool is_escape = at[0] == '%' && hex_value(at[1]) >= 0 && hex_value(at[2]) >= 0;
        buf_byte(out, is_escape ? (char)(hex_value(at[1]) * 16 + hex_value(at[2])) : *at);
        at += is_escape ? 2 : 0;
    }
    return true;
}

uint64_t origin_query_number(const char *target, const char *name, uint64_t otherwise)
{
    struct buf text = BUF_INIT(NUMBER_BYTES_MAX);
    bool is_there = origin_query(target, name, &text);
    buf_byte(&text, '\0');
    uint64_t number = is_there && !text.failed ? strtoull(text.data, NULL, 10) : otherwise;
    buf_done(&text);
    return number;
}
