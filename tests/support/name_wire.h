/* name_wire: as much of the DNS message format (RFC 1035, and the size in RFC 6891's OPT) as the test name server
 * needs. Pure functions. A name is text, lower-case and without its last dot, or wire: labels, with the case they came
 * with. */
#ifndef TWINPOOL_TESTS_NAME_WIRE_H
#define TWINPOOL_TESTS_NAME_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/buf.h"
#include "tests/support/name_server.h"

enum {
    NAME_WIRE_MESSAGE_MAX = 65535, /* bytes; what a 16-bit length can say */
    NAME_WIRE_NAME_MAX = 255,      /* bytes of a name */
    NAME_WIRE_TEXT_SIZE = 255,     /* of the same as text, with its NUL */
    NAME_WIRE_HEADER_BYTES = 12
};

/* ---- names */

/* Returns the length of the name's wire form, 0: there is no such name. */
size_t name_wire_write(const char *text, uint8_t ret_wire[static NAME_WIRE_NAME_MAX]) NONNULL MUST_CHECK;
/* Reads a name without compression at `at`; returns the position after it, 0: there is none, or not of printable ASCII.
 */
size_t name_wire_read(const uint8_t *bytes, size_t len, size_t at, char ret_text[static NAME_WIRE_TEXT_SIZE])
    NONNULL MUST_CHECK;
/* Any spelling of a name as the text that it is compared by. False: no such name. */
bool name_wire_normalise(const char *text, char ret_text[static NAME_WIRE_TEXT_SIZE]) NONNULL MUST_CHECK;

/* ---- queries */

enum name_wire_verdict {
    NAME_WIRE_QUERY,
    NAME_WIRE_BAD_QUERY,     /* FORMERR; another class than IN is one too */
    NAME_WIRE_OTHER_OPCODE,  /* NOTIMP */
    NAME_WIRE_NOT_FOR_SERVER /* no message, or itself an answer: not to be answered */
};

struct name_wire_query {
    const uint8_t *bytes;
    size_t question_end; /* NAME_WIRE_HEADER_BYTES: no question was read */
    char name[NAME_WIRE_TEXT_SIZE];
    uint16_t type;
    bool has_opt;
    size_t udp_bytes_max;
};

/* `bytes` must stay as long as *ret_query is used. Only NAME_WIRE_QUERY means that there are a name and a type. */
enum name_wire_verdict name_wire_read_query(const uint8_t *bytes, size_t len, struct name_wire_query *ret_query)
    NONNULL MUST_CHECK;

/* ---- replies: begin, then what there is to say in the order of these functions, then finish */

enum name_wire_rcode {
    NAME_WIRE_FORMERR = 1,
    NAME_WIRE_SERVFAIL = 2,
    NAME_WIRE_NXDOMAIN = 3,
    NAME_WIRE_NOTIMP = 4,
    NAME_WIRE_REFUSED = 5
};

struct name_wire_record {
    enum name_type type;
    uint32_t ttl_s;
    size_t len;
    uint8_t data[NAME_WIRE_NAME_MAX];
};

/* Header and question. */
void name_wire_begin(struct buf *message, const struct name_wire_query *query) NONNULL;
/* Once, instead of NOERROR. */
void name_wire_set_rcode(struct buf *message, enum name_wire_rcode rcode) NONNULL;
/* One record of the answer. `owner`: where in the message its name is; the question's is at NAME_WIRE_HEADER_BYTES. */
void name_wire_put_answer(struct buf *message, size_t owner, const struct name_wire_record *record) NONNULL;
/* The root's SOA, which is above every name: how long what there is not may be remembered. */
void name_wire_put_soa(struct buf *message) NONNULL;
/* An OPT if the query had one. Over UDP, what is too long or to be cut keeps only its question, and TC. */
void name_wire_finish(struct buf *message, const struct name_wire_query *query, bool is_udp, bool is_cut) NONNULL;
/* Makes a finished reply one to another query. */
void name_wire_change_id(struct buf *message) NONNULL;

#endif
