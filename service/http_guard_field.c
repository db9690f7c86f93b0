/* Field lines, of headers and of trailers: name ':' value CRLF.
 *
 * Most are only classified through the table. The few that decide framing, or that libmicrohttpd gives a meaning, are
 * recognised by name; of their values the start is kept and judged at the end of the line.
 *
 * Values are compared without trimming at their end: libmicrohttpd 0.9.75 keeps that white space, and then takes
 * "chunked " for no coding that it knows and "5 " for no number. What cannot be handed over safely is refused. */
#include "service/http_guard_internal.h"

enum { LENGTH_DIGITS_MAX = 19 };

static const struct known_field {
    const char *name;
    uint8_t length;
    uint8_t field;
    bool once;
} known_fields[] = {
#define KNOWN(name, field, once)                  \
    {                                             \
        (name), sizeof(name) - 1, (field), (once) \
    }
    KNOWN("host", FIELD_HOST, true),
    KNOWN("content-length", FIELD_CONTENT_LENGTH, true),
    KNOWN("content-type", FIELD_CONTENT_TYPE, true),
    KNOWN("transfer-encoding", FIELD_TRANSFER_ENCODING, true),
    KNOWN("authorization", FIELD_AUTHORIZATION, true),
    KNOWN("cookie", FIELD_COOKIE, false),
    KNOWN("expect", FIELD_EXPECT, true),
    KNOWN("content-encoding", FIELD_CONTENT_ENCODING, false),
#undef KNOWN
};

static COLD bool refuse(struct http_guard *guard, enum status status, const char *reason)
{
    http_guard_refuse(guard, status, reason);
    return false;
}

/* ---- the name */

static bool note_known(struct http_guard *guard, const struct known_field *known)
{
    const uint16_t bit = (uint16_t)(1u << known->field);
    if (guard->flags & FLAG_TRAILER)
        return refuse(guard, ST_BAD_REQUEST, "a trailer that only a header may be");
    if (known->once && (guard->seen & bit))
        return refuse(guard, ST_BAD_REQUEST, "a header that may come only once is repeated");
    guard->seen |= bit;
    guard->field = known->field;
    if (known->field == FIELD_HOST)
        http_guard_host_begin(guard);
    return true;
}

/* Sets guard->field. False: refused. */
static bool note_name(struct http_guard *guard, const char *name, size_t length)
{
    guard->field = FIELD_OTHER;
    for (size_t i = 0; i < ARRAY_LEN(known_fields); i++)
        if (http_guard_equals(name, length, known_fields[i].name, known_fields[i].length))
            return note_known(guard, &known_fields[i]);
    return true;
}

/* ---- the value */

static bool note_host(struct http_guard *guard, const uint8_t *at, const uint8_t *end)
{
    for (; at < end; at++)
        if (!http_guard_host_accepts(guard, *at))
            return refuse(guard, ST_BAD_REQUEST, "the Host header is not a host with an optional port");
    return true;
}

/* libmicrohttpd copies them and lists each like a field. Too many are refused with the next line, be it the empty one.
 */
static void count_cookies(struct http_guard *guard, const uint8_t *at, const uint8_t *end)
{
    guard->header_bytes += (uint32_t)(end - at);
    for (; at < end; at++)
        guard->header_count += *at == ';' || *at == ',' ? 1 : 0;
}

static void keep_value(struct http_guard *guard, const uint8_t *at, const uint8_t *end)
{
    while (guard->text_length == 0 && at < end && (*at == ' ' || *at == '\t'))
        at++;
    http_guard_keep_text(guard, at, end);
}

/* Looks at the next part of the value. False: refused. */
static bool note_value(struct http_guard *guard, const uint8_t *at, const uint8_t *end)
{
    switch ((enum http_guard_field)guard->field) {
    case FIELD_HOST:
        return note_host(guard, at, end);
    case FIELD_COOKIE:
        count_cookies(guard, at, end);
        return true;
    case FIELD_CONTENT_LENGTH:
    case FIELD_TRANSFER_ENCODING:
    case FIELD_CONTENT_ENCODING:
    case FIELD_EXPECT:
        keep_value(guard, at, end);
        return true;
    case FIELD_CONTENT_TYPE:
    case FIELD_AUTHORIZATION:
    case FIELD_OTHER:
        return true;
    }
    return true;
}

/* ---- the end of the line */

static bool end_host(struct http_guard *guard)
{
    const bool may_be_empty = guard->flags & FLAG_ABSOLUTE_FORM; /* the target has the host */
    if (http_guard_host_is_complete(guard) || (may_be_empty && http_guard_host_is_empty(guard)))
        return true;
    return refuse(guard, ST_BAD_REQUEST, "the Host header is empty or incomplete");
}

static bool end_content_length(struct http_guard *guard)
{
    if (guard->text_length == 0 || guard->text_length > LENGTH_DIGITS_MAX)
        return refuse(guard, ST_BAD_REQUEST, "Content-Length is not a number of 1 to 19 digits");
    for (size_t i = 0; i < guard->text_length; i++) {
        const char digit = guard->text[i];
        if (digit < '0' || digit > '9')
            return refuse(guard, ST_BAD_REQUEST, "Content-Length is not a plain number");
        guard->body_left = guard->body_left * 10 + (uint64_t)(digit - '0');
    }
    if (guard->body_left > HTTP_GUARD_BODY_MAX)
        return refuse(guard, ST_BODY_TOO_LARGE, "Content-Length is beyond any limit");
    return true;
}

static bool end_transfer_encoding(struct http_guard *guard)
{
    if (!TEXT_IS(guard, "chunked"))
        return refuse(guard, ST_NOT_IMPLEMENTED, "the only transfer coding is chunked");
    if (guard->flags & FLAG_HTTP_1_0)
        return refuse(guard, ST_BAD_REQUEST, "Transfer-Encoding in HTTP/1.0");
    guard->flags |= FLAG_CHUNKED;
    return true;
}

static bool is_framed_once(struct http_guard *guard)
{
    const unsigned both = 1u << FIELD_CONTENT_LENGTH | 1u << FIELD_TRANSFER_ENCODING;
    if ((guard->seen & both) != both)
        return true;
    return refuse(guard, ST_BAD_REQUEST, "Content-Length beside Transfer-Encoding");
}

/* Judges the complete field. False: refused. */
static bool end_field(struct http_guard *guard)
{
    switch ((enum http_guard_field)guard->field) {
    case FIELD_HOST:
        return end_host(guard);
    case FIELD_CONTENT_LENGTH:
        return end_content_length(guard) && is_framed_once(guard);
    case FIELD_TRANSFER_ENCODING:
        return end_transfer_encoding(guard) && is_framed_once(guard);
    case FIELD_CONTENT_ENCODING:
        return TEXT_IS(guard, "identity") ||
               refuse(guard, ST_UNSUPPORTED_MEDIA_TYPE, "request bodies with a content coding are not accepted");
    case FIELD_EXPECT:
        return TEXT_IS(guard, "100-continue") ||
               refuse(guard, ST_EXPECTATION_FAILED, "the only expectation is 100-continue");
    case FIELD_CONTENT_TYPE:
    case FIELD_AUTHORIZATION:
    case FIELD_COOKIE:
    case FIELD_OTHER:
        return true;
    }
    return true;
}

/* ---- the readers */

static const uint8_t *read_value_lf(struct http_guard *guard, const uint8_t *at, const uint8_t *end UNUSED)
{
    if (*at != '\n')
        return http_guard_refuse_byte(guard, *at, "CR without LF");
    if (guard->field != FIELD_OTHER && !end_field(guard))
        return NULL;
    guard->state = STATE_FIELD;
    return at + 1;
}

static const uint8_t *read_value(struct http_guard *guard, const uint8_t *at, const uint8_t *end)
{
    const uint8_t *const run = at;
    while (at < end && is(*at, CLASS_VALUE))
        at++;
    if (guard->field != FIELD_OTHER && !note_value(guard, run, at))
        return NULL;
    if (at == end)
        return at;
    if (*at != '\r')
        return http_guard_refuse_byte(guard, *at, "a control character in a header value");
    guard->state = STATE_VALUE_LF;
    at++;
    return READ_ON(read_value_lf, guard, at, end);
}

static const uint8_t *read_name(struct http_guard *guard, const uint8_t *at, const uint8_t *end)
{
    const uint8_t *const run = at;
    while (at < end && is(*at, CLASS_TOKEN))
        at++;
    const bool is_whole = guard->text_length == 0 && at < end; /* then it is judged in place, uncopied */
    if (!is_whole)
        http_guard_keep_text(guard, run, at);
    if (at == end)
        return at;
    const size_t length = is_whole ? (size_t)(at - run) : guard->text_length;
    if (*at != ':' || length == 0)
        return http_guard_refuse_byte(guard, *at, "a header line without a name directly followed by ':'");
    if (!note_name(guard, is_whole ? (const char *)run : guard->text, length))
        return NULL;
    guard->text_length = 0;
    guard->state = STATE_VALUE;
    at++;
    return READ_ON(read_value, guard, at, end);
}

static const uint8_t *read_field_start(struct http_guard *guard, const struct http_guard_limits *limits,
                                       const uint8_t *at, const uint8_t *end)
{
    if (guard->header_count + (*at == '\r' ? 0 : 1) > limits->header_count)
        return http_guard_refuse(guard, ST_HEADERS_TOO_LARGE, "too many header lines, cookies or trailers");
    if (*at == '\r') {
        guard->state = STATE_HEAD_LF;
        return at + 1;
    }
    if (*at == ' ' || *at == '\t')
        return http_guard_refuse(guard, ST_BAD_REQUEST, "a header line begins with white space");
    guard->header_count++;
    guard->text_length = 0;
    guard->state = STATE_NAME;
    return read_name(guard, at, end);
}

const uint8_t *http_guard_read_field(struct http_guard *guard, const struct http_guard_limits *limits,
                                     const uint8_t *at, const uint8_t *end)
{
    if (guard->state == STATE_FIELD)
        return read_field_start(guard, limits, at, end);
    if (guard->state == STATE_NAME)
        return read_name(guard, at, end);
    if (guard->state == STATE_VALUE)
        return read_value(guard, at, end);
    return read_value_lf(guard, at, end);
}
