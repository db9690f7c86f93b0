/* response_head: the header of one origin's answer, as libcurl hands it over line by line.
 *
 * Interim (1xx) answers and trailers count towards the limits but are not kept. Not thread-safe. */
#ifndef TWINPOOL_POOL_RESPONSE_HEAD_H
#define TWINPOOL_POOL_RESPONSE_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/buf.h"

enum { RESPONSE_HEAD_BYTES_MAX = 64 * 1024, RESPONSE_HEAD_LINES_MAX = 200 };

struct response_field {
    uint32_t name_at, name_len; /* into text; ASCII lower case */
    uint32_t value_at, value_len;
    uint32_t name_hash;
};

struct response_head {
    struct buf text;               /* names and values of the kept fields, one after the other */
    struct response_field *fields; /* grows */
    unsigned count, capacity;
    unsigned lines;  /* seen in all, with those not kept */
    size_t bytes;    /* likewise */
    bool has_status; /* the status line of the header being read was seen */
    bool is_interim; /* it is a 1xx's */
    bool is_complete;
};

void response_head_init(struct response_head *head) NONNULL;
void response_head_clear(struct response_head *head) NONNULL; /* for the next answer; keeps the memory */
void response_head_done(struct response_head *head) NONNULL;

/* One line with its line end: status line, field, or the empty one. False: over a limit, or no memory. */
bool response_head_line(struct response_head *head, const char *line, size_t len) NONNULL MUST_CHECK;

/* How many fields have the name. */
unsigned response_head_count(const struct response_head *head, const char *lower_case_name) NONNULL MUST_CHECK;
/* Have two of them different values? */
bool response_head_differs(const struct response_head *head, const char *lower_case_name) NONNULL MUST_CHECK;
/* The value of the first one, not NUL-terminated; valid until the next line. NULL: there is none. */
const char *response_head_value(const struct response_head *head, const char *lower_case_name, size_t *ret_len)
    NONNULL MUST_CHECK;

/* Appends a JSON object: lower-case names; values of a repeated name joined with ", " (RFC 9110 section 5.3), except
 * set-cookie, which cannot be joined and is always an array. Bytes that are not UTF-8 are read as ISO-8859-1. `names`:
 * only these (lower case, NULL-terminated); NULL: all. */
void response_head_json(const struct response_head *head, const char *const *names, struct buf *out)
    __attribute__((nonnull(1, 3)));

#endif
