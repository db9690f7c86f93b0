/* The request line: METHOD SP target SP HTTP/1.x CRLF.
 *
 * An unknown method is refused only at the end of its line, so that a line that is no request line at all is a 400 and
 * the preface of HTTP/2 ("PRI * HTTP/2.0") a 505. Targets are checked for their form, their bytes and their escapes;
 * %00 is refused because libmicrohttpd decodes paths into NUL-terminated strings. */
#include "service/http_guard_internal.h"

#include <string.h>

enum { METHOD_MAX = 16, PORT_MAX = 65535 };

enum host_state { HOST_FIRST, HOST_NAME, HOST_LITERAL_FIRST, HOST_LITERAL, HOST_LITERAL_END, HOST_PORT, HOST_AFTER };

static void note_method(struct http_guard *guard)
{
    static const struct {
        const char *name;
        uint8_t length;
    } known[] = {
        { "GET", 3 }, { "POST", 4 }, { "HEAD", 4 }, { "PUT", 3 }, { "DELETE", 6 }, { "PATCH", 5 }, { "OPTIONS", 7 },
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (known[i].length == guard->text_length && memcmp(known[i].name, guard->text, known[i].length) == 0) {
            guard->flags |= known[i].name[0] == 'O' ? FLAG_OPTIONS : 0;
            return;
        }
    guard->flags |= FLAG_UNKNOWN_METHOD;
}

static const uint8_t *read_method(struct http_guard *guard, const uint8_t *at, const uint8_t *end)
{
    const uint8_t *const run = at;
    while (at < end && is(*at, CLASS_TOKEN))
        at++;
    if ((size_t)(at - run) > (size_t)(METHOD_MAX - guard->text_length))
        return http_guard_refuse(guard, ST_NOT_IMPLEMENTED, "the method is longer than any known one");
    http_guard_keep_text(guard, run, at);
    if (at == end)
        return at;
    if (*at != ' ' || guard->text_length == 0)
        return http_guard_refuse_byte(guard, *at, "the request line does not begin with a method and a space");
    note_method(guard);
    guard->state = STATE_TARGET_FIRST;
    return at + 1;
}

/* Adds to the length of the target. False: refused. */
static bool count_target(struct http_guard *guard, const struct http_guard_limits *limits, size_t bytes)
{
    if (bytes > limits->target_bytes - guard->target_bytes) {
        http_guard_refuse(guard, ST_URI_TOO_LONG, "the request target is longer than the limit");
        return false;
    }
    guard->target_bytes += (uint32_t)bytes;
    return true;
}

/* `at` is the space after the target. */
static const uint8_t *end_target(struct http_guard *guard, const uint8_t *at)
{
    guard->text_length = 0;
    guard->state = STATE_VERSION;
    return at + 1;
}

static const uint8_t *read_target_first(struct http_guard *guard, const uint8_t *at)
{
    if (*at == ' ')
        return http_guard_refuse(guard, ST_BAD_REQUEST, "the request target is empty");
    if (*at == '/' || (guard->flags & FLAG_UNKNOWN_METHOD)) {
        guard->state = STATE_TARGET;
        return at;
    }
    if (*at == '*' && (guard->flags & FLAG_OPTIONS)) {
        guard->state = STATE_TARGET_STAR;
        return at + 1;
    }
    if ((*at | 0x20) != 'h')
        return http_guard_refuse_byte(guard, *at, "the request target begins neither with '/' nor with http://");
    guard->flags |= FLAG_ABSOLUTE_FORM;
    guard->text_length = 0;
    guard->state = STATE_SCHEME;
    return at;
}

static const uint8_t *read_target_star(struct http_guard *guard, const uint8_t *at)
{
    if (*at != ' ')
        return http_guard_refuse_byte(guard, *at, "the request target '*' has more after it");
    return end_target(guard, at);
}

static const uint8_t *read_scheme(struct http_guard *guard, const struct http_guard_limits *limits, const uint8_t *at)
{
    static const char plain[] = "http://", secure[] = "https://";
    if (!is(*at, CLASS_TARGET))
        return http_guard_refuse_byte(guard, *at, "the request target is not a URL");
    if (!count_target(guard, limits, 1))
        return NULL;
    http_guard_keep_text(guard, at, at + 1);
    const size_t length = guard->text_length;
    if (!http_guard_text_is(guard, plain, length) && !http_guard_text_is(guard, secure, length))
        return http_guard_refuse(guard, ST_BAD_REQUEST, "the request target is neither a path nor an http URL");
    if (TEXT_IS(guard, "http://") || TEXT_IS(guard, "https://")) {
        http_guard_host_begin(guard);
        guard->state = STATE_AUTHORITY;
    }
    return at + 1;
}

void http_guard_host_begin(struct http_guard *guard)
{
    guard->host_state = HOST_FIRST;
    guard->number = 0;
}

bool http_guard_host_accepts(struct http_guard *guard, uint8_t byte)
{
    const bool is_space = byte == ' ' || byte == '\t';
    enum host_state next = guard->host_state;
    bool ok = false;
    switch (next) {
    case HOST_FIRST:
        next = is_space ? HOST_FIRST : byte == '[' ? HOST_LITERAL_FIRST : HOST_NAME;
        ok = next != HOST_NAME || is(byte, CLASS_HOST);
        break;
    case HOST_NAME:
        next = byte == ':' ? HOST_PORT : is_space ? HOST_AFTER : HOST_NAME;
        ok = next != HOST_NAME || is(byte, CLASS_HOST);
        break;
    case HOST_LITERAL_FIRST:
        next = HOST_LITERAL;
        ok = is(byte, CLASS_LITERAL);
        break;
    case HOST_LITERAL:
        next = byte == ']' ? HOST_LITERAL_END : HOST_LITERAL;
        ok = next != HOST_LITERAL || is(byte, CLASS_LITERAL);
        break;
    case HOST_LITERAL_END:
        next = byte == ':' ? HOST_PORT : HOST_AFTER;
        ok = next != HOST_AFTER || is_space;
        break;
    case HOST_PORT:
        next = is_space ? HOST_AFTER : HOST_PORT;
        ok = is_space || (byte >= '0' && byte <= '9');
        if (ok && next == HOST_PORT) {
            guard->number = guard->number * 10 + byte - '0';
            ok = guard->number <= PORT_MAX;
        }
        break;
    case HOST_AFTER:
        ok = is_space;
        break;
    }
    guard->host_state = (uint8_t)next;
    return ok;
}

bool http_guard_host_is_complete(const struct http_guard *guard)
{
    return guard->host_state == HOST_NAME || guard->host_state >= HOST_LITERAL_END;
}

bool http_guard_host_is_empty(const struct http_guard *guard) { return guard->host_state == HOST_FIRST; }

static const uint8_t *read_authority(struct http_guard *guard, const struct http_guard_limits *limits,
                                     const uint8_t *at)
{
    const bool is_end = *at == '/' || *at == '?' || *at == ' ';
    if (is_end ? !http_guard_host_is_complete(guard) : *at == '\t' || !http_guard_host_accepts(guard, *at))
        return http_guard_refuse_byte(guard, *at, "the host of the request target is not valid");
    if (*at == ' ')
        return end_target(guard, at);
    if (is_end) {
        guard->state = STATE_TARGET;
        return at;
    }
    return count_target(guard, limits, 1) ? at + 1 : NULL;
}

static const uint8_t *read_target(struct http_guard *guard, const struct http_guard_limits *limits, const uint8_t *at,
                                  const uint8_t *end)
{
    const uint8_t *const run = at;
    while (at < end && is(*at, CLASS_TARGET))
        at++;
    if (!count_target(guard, limits, (size_t)(at - run)))
        return NULL;
    if (at == end)
        return at;
    if (*at == ' ')
        return end_target(guard, at);
    if (*at != '%' && *at != '&')
        return http_guard_refuse_byte(guard, *at,
                                      *at == '\r' || *at == '\n'
                                          ? "no HTTP version behind the request target"
                                          : "a byte in the request target that must be percent-encoded");
    if (!count_target(guard, limits, 1))
        return NULL;
    if (*at == '%')
        guard->state = STATE_ESCAPE_HIGH;
    else if (++guard->query_count > HTTP_GUARD_QUERY_MAX)
        return http_guard_refuse(guard, ST_URI_TOO_LONG, "too many query parameters");
    return at + 1;
}

static const uint8_t *read_escape(struct http_guard *guard, const struct http_guard_limits *limits, const uint8_t *at)
{
    if (!is(*at, CLASS_HEX))
        return http_guard_refuse_byte(guard, *at, "a '%' in the request target without two hexadecimal digits");
    if (!count_target(guard, limits, 1))
        return NULL;
    if (guard->state == STATE_ESCAPE_HIGH) {
        guard->number = *at;
        guard->state = STATE_ESCAPE_LOW;
    } else if (guard->number == '0' && *at == '0') {
        return http_guard_refuse(guard, ST_BAD_REQUEST, "%00 in the request target");
    } else {
        guard->state = STATE_TARGET;
    }
    return at + 1;
}

static const uint8_t *end_line(struct http_guard *guard, const uint8_t *at)
{
    const char major = guard->text[5], minor = guard->text[7];
    if (major != '1' || minor > '1')
        return http_guard_refuse(guard, ST_HTTP_VERSION, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    if (guard->flags & FLAG_UNKNOWN_METHOD)
        return http_guard_refuse(guard, ST_NOT_IMPLEMENTED, "the method is not known");
    guard->flags |= minor == '0' ? FLAG_HTTP_1_0 : 0;
    guard->state = STATE_FIELD;
    return at;
}

static const uint8_t *read_version(struct http_guard *guard, const uint8_t *at, const uint8_t *end)
{
    static const char form[] = "HTTP/0.0\r\n"; /* 0 stands for any digit */
    enum { FORM_LENGTH = sizeof(form) - 1 };
    const uint8_t *const run = at;
    for (size_t i = guard->text_length; at < end && i < FORM_LENGTH; i++, at++) {
        const uint8_t wanted = (uint8_t)form[i];
        if (wanted == '0' ? *at < '0' || *at > '9' : *at != wanted)
            return http_guard_refuse_byte(guard, *at, "the request line does not end with an HTTP version and CR LF");
    }
    http_guard_keep_text(guard, run, at);
    return guard->text_length == FORM_LENGTH ? end_line(guard, at) : at;
}

const uint8_t *http_guard_read_line(struct http_guard *guard, const struct http_guard_limits *limits, const uint8_t *at,
                                    const uint8_t *end)
{
    while (at != NULL && at < end && guard->state <= STATE_VERSION) {
        if (guard->state == STATE_METHOD)
            at = read_method(guard, at, end);
        else if (guard->state == STATE_TARGET)
            at = read_target(guard, limits, at, end);
        else if (guard->state == STATE_VERSION)
            at = read_version(guard, at, end);
        else if (guard->state == STATE_TARGET_FIRST)
            at = read_target_first(guard, at);
        else if (guard->state == STATE_TARGET_STAR)
            at = read_target_star(guard, at);
        else if (guard->state == STATE_SCHEME)
            at = read_scheme(guard, limits, at);
        else if (guard->state == STATE_AUTHORITY)
            at = read_authority(guard, limits, at);
        else
            at = read_escape(guard, limits, at);
    }
    return at;
}
