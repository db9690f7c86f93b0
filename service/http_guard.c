/* A state machine that reads runs rather than bytes: each state's reader takes as much as it can (a whole name, value,
 * target or part of a body), so a byte of an ordinary header costs one look into a table of class bits. This file has
 * the table, what lies between requests, bodies and the machine's loop; http_guard_line.c has the request line and
 * http_guard_field.c the field lines.
 *
 * The limit on header bytes is enforced in one place: the loop shows the readers of the head no more bytes than the
 * limit has left, so the first byte beyond it is refused whatever it is and wherever the bytes were cut. */
#include "service/http_guard_internal.h"

#include <string.h>

enum { CHUNK_DIGITS_MAX = 15, EMPTY_LINES_MAX = 2, TLS_HANDSHAKE_RECORD = 0x16 };

#define MARK      (CLASS_TARGET | CLASS_VALUE) /* neither in tokens nor in hosts */
#define SUB_DELIM (MARK | CLASS_HOST)
#define WORD      (CLASS_TOKEN | SUB_DELIM) /* letters, and marks that may stand anywhere */
#define HEX_DIGIT (WORD | CLASS_HEX | CLASS_LITERAL)

const uint8_t http_guard_class_of[256] = {
    ['\t'] = CLASS_VALUE,
    [' '] = CLASS_VALUE,
    ['!'] = WORD,
    ['"'] = MARK,
    ['#'] = CLASS_TOKEN | CLASS_VALUE,
    ['$'] = WORD,
    ['%'] = CLASS_TOKEN | CLASS_VALUE,
    ['&'] = CLASS_TOKEN | CLASS_VALUE | CLASS_HOST,
    ['\''] = WORD,
    ['(' ... ')'] = SUB_DELIM,
    ['*' ... '+'] = WORD,
    [','] = SUB_DELIM,
    ['-'] = WORD,
    ['.'] = WORD | CLASS_LITERAL,
    ['/'] = MARK,
    ['0' ... '9'] = HEX_DIGIT,
    [':'] = MARK | CLASS_LITERAL,
    [';'] = SUB_DELIM,
    ['<'] = MARK,
    ['='] = SUB_DELIM,
    ['>' ... '@'] = MARK,
    ['A' ... 'F'] = HEX_DIGIT,
    ['G' ... 'Z'] = WORD,
    ['[' ... ']'] = MARK,
    ['^'] = CLASS_TOKEN | MARK,
    ['_'] = WORD,
    ['`'] = CLASS_TOKEN | MARK,
    ['a' ... 'f'] = HEX_DIGIT,
    ['g' ... 'z'] = WORD,
    ['{'] = MARK,
    ['|'] = CLASS_TOKEN | MARK,
    ['}'] = MARK,
    ['~'] = WORD,
    [0x80 ... 0xFF] = CLASS_VALUE,
};

const uint8_t *http_guard_refuse(struct http_guard *guard, enum status status, const char *reason)
{
    guard->phase = HTTP_GUARD_REFUSED;
    guard->refusal = status;
    guard->reason = reason;
    return NULL;
}

const uint8_t *http_guard_refuse_byte(struct http_guard *guard, uint8_t byte, const char *reason)
{
    if (byte == '\n')
        reason = "a line ends with LF instead of CR LF";
    else if (byte == 0)
        reason = "a NUL byte in the header";
    return http_guard_refuse(guard, ST_BAD_REQUEST, reason);
}

void http_guard_keep_text(struct http_guard *guard, const uint8_t *at, const uint8_t *end)
{
    size_t length = guard->text_length;
    for (; at < end && length < sizeof(guard->text); at++)
        guard->text[length++] = (char)*at;
    length += (size_t)(end - at);
    guard->text_length = length < UINT8_MAX ? (uint8_t)length : UINT8_MAX;
}

/* ---- between requests */

static void finish_request(struct http_guard *guard)
{
    guard->phase = HTTP_GUARD_IDLE;
    guard->state = STATE_START;
    guard->empty_lines = 0;
}

static const uint8_t *begin_request(struct http_guard *guard, const uint8_t *at)
{
    guard->header_bytes = guard->header_count = guard->target_bytes = 0;
    guard->query_count = 0;
    guard->seen = 0;
    guard->flags = 0;
    guard->body_left = 0;
    guard->text_length = 0;
    guard->state = STATE_METHOD;
    return at;
}

static const uint8_t *read_start(struct http_guard *guard, const uint8_t *at)
{
    guard->phase = HTTP_GUARD_HEAD;
    if (*at == TLS_HANDSHAKE_RECORD) /* nothing that could be read will follow, so answer now */
        return http_guard_refuse(guard, ST_BAD_REQUEST, "TLS on a plain HTTP port");
    if (*at != '\r')
        return begin_request(guard, at);
    if (guard->empty_lines == EMPTY_LINES_MAX)
        return http_guard_refuse(guard, ST_BAD_REQUEST, "too many empty lines before the request line");
    guard->empty_lines++;
    guard->state = STATE_EMPTY_LF;
    return at + 1;
}

static const uint8_t *read_empty_lf(struct http_guard *guard, const uint8_t *at)
{
    if (*at != '\n')
        return http_guard_refuse_byte(guard, *at, "CR without LF");
    guard->phase = HTTP_GUARD_IDLE;
    guard->state = STATE_START;
    return at + 1;
}

/* ---- the end of a header or of the trailers */

static void begin_chunk(struct http_guard *guard)
{
    guard->number = 0;
    guard->text_length = 0;
    guard->state = STATE_CHUNK_SIZE;
}

static const uint8_t *read_head_lf(struct http_guard *guard, const uint8_t *at)
{
    if (*at != '\n')
        return http_guard_refuse_byte(guard, *at, "CR without LF");
    if (guard->flags & FLAG_TRAILER) {
        finish_request(guard);
        return at + 1;
    }
    if (!(guard->seen & (1u << FIELD_HOST)) && !(guard->flags & FLAG_HTTP_1_0))
        return http_guard_refuse(guard, ST_BAD_REQUEST, "the Host header is missing");
    guard->requests++;
    guard->phase = HTTP_GUARD_BODY;
    if (guard->flags & FLAG_CHUNKED)
        begin_chunk(guard);
    else if (guard->body_left > 0)
        guard->state = STATE_BODY;
    else
        finish_request(guard);
    return at + 1;
}

/* ---- bodies */

static const uint8_t *read_data(struct http_guard *guard, const uint8_t *at, const uint8_t *end)
{
    const uint64_t available = (uint64_t)(end - at);
    if (available < guard->body_left) {
        guard->body_left -= available;
        return end;
    }
    at += guard->body_left;
    guard->body_left = 0;
    if (guard->state == STATE_BODY)
        finish_request(guard);
    else
        guard->state = STATE_CHUNK_DATA_CR;
    return at;
}

static const uint8_t *read_chunk_size(struct http_guard *guard, const uint8_t *at, const uint8_t *end)
{
    for (; at < end && is(*at, CLASS_HEX); at++) {
        if (++guard->text_length > CHUNK_DIGITS_MAX)
            return http_guard_refuse(guard, ST_BAD_REQUEST, "a chunk size of more than 15 digits");
        const uint8_t letter = *at | 0x20;
        guard->number = guard->number << 4 | (uint64_t)(*at <= '9' ? *at - '0' : letter - 'a' + 10);
    }
    if (at == end)
        return at;
    if (*at == ';' && guard->text_length > 0)
        return http_guard_refuse(guard, ST_BAD_REQUEST, "chunk extensions are not accepted");
    if (*at != '\r' || guard->text_length == 0)
        return http_guard_refuse_byte(guard, *at, "a chunk does not begin with a hexadecimal size and CR LF");
    guard->state = STATE_CHUNK_SIZE_LF;
    return at + 1;
}

static const uint8_t *read_chunk_size_lf(struct http_guard *guard, const uint8_t *at)
{
    if (*at != '\n')
        return http_guard_refuse_byte(guard, *at, "CR without LF");
    if (guard->number > HTTP_GUARD_BODY_MAX)
        return http_guard_refuse(guard, ST_BODY_TOO_LARGE, "a chunk size beyond any limit");
    guard->body_left = guard->number;
    guard->state = STATE_CHUNK_DATA;
    if (guard->number == 0) {
        guard->flags |= FLAG_TRAILER;
        guard->state = STATE_FIELD;
    }
    return at + 1;
}

static const uint8_t *read_chunk_end(struct http_guard *guard, const uint8_t *at)
{
    const bool is_cr = guard->state == STATE_CHUNK_DATA_CR;
    if (*at != (is_cr ? '\r' : '\n'))
        return http_guard_refuse(guard, ST_BAD_REQUEST, "a chunk's data is not followed by CR LF");
    if (is_cr)
        guard->state = STATE_CHUNK_DATA_LF;
    else
        begin_chunk(guard);
    return at + 1;
}

/* ---- the machine */

/* Each byte costs one, in a cookie two, and at some a field, cookie or parameter begins. As many are read at once as
 * certainly have room, at the end one by one: where the limit is met then does not depend on how the bytes were cut. */
static size_t head_bytes_at_once(const struct http_guard *guard, const struct http_guard_limits *limits)
{
    const size_t entries = guard->header_count + guard->query_count;
    const size_t used = guard->header_bytes + entries * limits->entry_bytes;
    if (used >= limits->header_bytes)
        return 0;
    const size_t certain = (limits->header_bytes - used) / (2 + limits->entry_bytes);
    return certain > 0 ? certain : 1;
}

static const uint8_t *read_head(struct http_guard *guard, const struct http_guard_limits *limits, const uint8_t *at,
                                const uint8_t *end)
{
    const size_t count = head_bytes_at_once(guard, limits);
    if (count == 0)
        return http_guard_refuse(guard, ST_HEADERS_TOO_LARGE, "the request header is larger than the limit");
    if ((size_t)(end - at) > count)
        end = at + count;
    const uint8_t *const next = guard->state <= STATE_VERSION  ? http_guard_read_line(guard, limits, at, end)
                                : guard->state < STATE_HEAD_LF ? http_guard_read_field(guard, limits, at, end)
                                                               : read_head_lf(guard, at);
    if (next != NULL)
        guard->header_bytes += (uint32_t)(next - at);
    return next;
}

static const uint8_t *read_some(struct http_guard *guard, const struct http_guard_limits *limits, const uint8_t *at,
                                const uint8_t *end)
{
    switch ((enum http_guard_state)guard->state) {
    case STATE_START:
        return read_start(guard, at);
    case STATE_EMPTY_LF:
        return read_empty_lf(guard, at);
    case STATE_METHOD:
    case STATE_TARGET_FIRST:
    case STATE_TARGET_STAR:
    case STATE_SCHEME:
    case STATE_AUTHORITY:
    case STATE_TARGET:
    case STATE_ESCAPE_HIGH:
    case STATE_ESCAPE_LOW:
    case STATE_VERSION:
    case STATE_FIELD:
    case STATE_NAME:
    case STATE_VALUE:
    case STATE_VALUE_LF:
    case STATE_HEAD_LF:
        return read_head(guard, limits, at, end);
    case STATE_BODY:
    case STATE_CHUNK_DATA:
        return read_data(guard, at, end);
    case STATE_CHUNK_SIZE:
        return read_chunk_size(guard, at, end);
    case STATE_CHUNK_SIZE_LF:
        return read_chunk_size_lf(guard, at);
    case STATE_CHUNK_DATA_CR:
    case STATE_CHUNK_DATA_LF:
        return read_chunk_end(guard, at);
    }
    __builtin_unreachable();
}

void http_guard_init(struct http_guard *guard)
{
    *guard = (struct http_guard){ .phase = HTTP_GUARD_IDLE, .state = STATE_START };
}

size_t http_guard_feed(struct http_guard *guard, const struct http_guard_limits *limits, const char *bytes, size_t len)
{
    const uint8_t *const start = (const uint8_t *)bytes, *const end = start + len;
    const uint8_t *at = start, *good_end = start;
    uint64_t good_requests = guard->requests;
    if (guard->phase == HTTP_GUARD_REFUSED)
        return 0;
    while (at < end) {
        at = read_some(guard, limits, at, end);
        if (at == NULL) {
            guard->requests = good_requests;
            return (size_t)(good_end - start);
        }
        if (guard->phase == HTTP_GUARD_IDLE && guard->empty_lines == 0) {
            good_end = at;
            good_requests = guard->requests;
        }
    }
    return len;
}
