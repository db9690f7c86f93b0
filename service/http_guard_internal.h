/* http_guard_internal: what the three parts of http_guard share; nobody else includes it.
 *
 * A reader takes the bytes [at, end), at least one, in its state; it consumes as many as it can, sets the next state
 * and returns where it stopped, or NULL after refuse(). It decides byte by byte in order, so that the earliest
 * offending byte gives the verdict however the bytes were cut. Readers hand over to the next one directly while bytes
 * last (see READ_ON), which spares the machine's loop. */
#ifndef TWINPOOL_SERVICE_HTTP_GUARD_INTERNAL_H
#define TWINPOOL_SERVICE_HTTP_GUARD_INTERNAL_H

#include "service/http_guard.h"

enum http_guard_state {
    STATE_START, /* before a request line */
    STATE_EMPTY_LF,
    STATE_METHOD, /* from here to STATE_HEAD_LF: the bytes count as header */
    STATE_TARGET_FIRST,
    STATE_TARGET_STAR,
    STATE_SCHEME,
    STATE_AUTHORITY,
    STATE_TARGET,
    STATE_ESCAPE_HIGH,
    STATE_ESCAPE_LOW,
    STATE_VERSION,
    STATE_FIELD, /* at the start of a field line, a trailer or the empty line after them */
    STATE_NAME,
    STATE_VALUE,
    STATE_VALUE_LF,
    STATE_HEAD_LF,
    STATE_BODY, /* from here on: body */
    STATE_CHUNK_SIZE,
    STATE_CHUNK_SIZE_LF,
    STATE_CHUNK_DATA,
    STATE_CHUNK_DATA_CR,
    STATE_CHUNK_DATA_LF,
};

enum http_guard_flag {
    FLAG_HTTP_1_0 = 1,
    FLAG_OPTIONS = 2,
    FLAG_UNKNOWN_METHOD = 4, /* refused at the end of the request line, if nothing in it is worse */
    FLAG_ABSOLUTE_FORM = 8,
    FLAG_CHUNKED = 16,
    FLAG_TRAILER = 32, /* the field lines being read are trailers */
};

enum http_guard_field {
    FIELD_OTHER,
    FIELD_HOST,
    FIELD_CONTENT_LENGTH,
    FIELD_TRANSFER_ENCODING,
    FIELD_CONTENT_TYPE,
    FIELD_CONTENT_ENCODING,
    FIELD_AUTHORIZATION,
    FIELD_EXPECT,
    FIELD_COOKIE,
};

enum http_guard_class {
    CLASS_TOKEN = 1,  /* tchar: methods and field names */
    CLASS_TARGET = 2, /* request target, without '%', '#' and '&', which need a closer look */
    CLASS_VALUE = 4,  /* field value: HTAB, SP, visible, obs-text */
    CLASS_HEX = 8,
    CLASS_HOST = 16,    /* reg-name without escapes */
    CLASS_LITERAL = 32, /* IP address between brackets */
};

extern const uint8_t http_guard_class_of[256];

static inline bool is(uint8_t byte, enum http_guard_class class) { return (http_guard_class_of[byte] & class) != 0; }

/* Both set the phase; they differ in what suits the caller's return type. */
const uint8_t *http_guard_refuse(struct http_guard *guard, enum status status, const char *reason) COLD;
/* For a byte where only others may stand: a bare LF or a NUL is named, for the rest `reason` is. */
const uint8_t *http_guard_refuse_byte(struct http_guard *guard, uint8_t byte, const char *reason) COLD;

#define READ_ON(reader, guard, at, end) ((at) < (end) ? reader((guard), (at), (end)) : (at))

void http_guard_keep_text(struct http_guard *guard, const uint8_t *at, const uint8_t *end);
/* `word` is in lower case. Setting bit 0x20 folds letters, and makes no other byte of a token, target or value a
 * letter, a digit, '-', ':' or '/'. */
static inline bool http_guard_equals(const char *text, size_t length, const char *word, size_t word_length)
{
    if (length != word_length)
        return false;
    for (size_t i = 0; i < length; i++)
        if ((text[i] | 0x20) != word[i])
            return false;
    return true;
}

static inline bool http_guard_text_is(const struct http_guard *guard, const char *word, size_t word_length)
{
    return http_guard_equals(guard->text, guard->text_length, word, word_length);
}
#define TEXT_IS(guard, word) http_guard_text_is((guard), "" word, sizeof(word) - 1)

/* uri-host [ ":" port ], with the white space around it that a field may have: start, each byte (false: it may not
 * stand there), and whether it may end here. */
void http_guard_host_begin(struct http_guard *guard);
bool http_guard_host_accepts(struct http_guard *guard, uint8_t byte);
bool http_guard_host_is_complete(const struct http_guard *guard);
bool http_guard_host_is_empty(const struct http_guard *guard);

/* STATE_METHOD to STATE_VERSION */
const uint8_t *http_guard_read_line(struct http_guard *guard, const struct http_guard_limits *limits, const uint8_t *at,
                                    const uint8_t *end);
/* STATE_FIELD to STATE_VALUE_LF */
const uint8_t *http_guard_read_field(struct http_guard *guard, const struct http_guard_limits *limits,
                                     const uint8_t *at, const uint8_t *end);

#endif
