/* The test name server's message format.
 *
 * A reply grows record by record, and each put_ function counts its record in the header, so the header is always true.
 * An owner is a pointer back to where its name is already. The question has the same place in query and reply. */
#include "tests/support/name_wire.h"

#include <string.h>

enum {
    LABEL_MAX = 63,
    TYPE_SOA = 6,
    TYPE_OPT = 41,
    CLASS_IN = 1,

    AT_FLAGS = 2, /* in the header, as the next four */
    AT_QUESTIONS = 4,
    AT_ANSWERS = 6,
    AT_AUTHORITIES = 8,
    AT_ADDITIONALS = 10,
    FLAG_RESPONSE = 0x8000,
    FLAGS_OPCODE = 0x7800,
    FLAG_TRUNCATED = 0x0200,
    FLAG_RECURSION_DESIRED = 0x0100,
    FLAG_RECURSION_AVAILABLE = 0x0080,

    POINTER = 0xc000,       /* to a name, as an owner */
    RECORD_HEAD_BYTES = 10, /* what follows the owner: type, class, TTL, length of the data */
    OPT_BYTES = 1 + RECORD_HEAD_BYTES,
    UDP_BYTES_DEFAULT = 512
};

/* ---- names */

size_t name_wire_write(const char *text, uint8_t ret_wire[static NAME_WIRE_NAME_MAX])
{
    size_t len = 0;
    while (*text) {
        size_t label = strcspn(text, ".");
        if (label == 0 || label > LABEL_MAX || len + 1 + label + 1 > NAME_WIRE_NAME_MAX)
            return 0;
        ret_wire[len++] = (uint8_t)label;
        memcpy(ret_wire + len, text, label);
        len += label;
        text += label + (text[label] == '.');
    }
    ret_wire[len++] = 0;
    return len;
}

size_t name_wire_read(const uint8_t *bytes, size_t len, size_t at, char ret_text[static NAME_WIRE_TEXT_SIZE])
{
    size_t used = 0;
    while (at < len && bytes[at] != 0) {
        size_t label = bytes[at++];
        if (label > LABEL_MAX || label > len - at || used + 1 + label >= NAME_WIRE_TEXT_SIZE)
            return 0;
        if (used > 0)
            ret_text[used++] = '.';
        for (size_t end = at + label; at < end; at++) {
            uint8_t byte = bytes[at];
            if (byte <= ' ' || byte > '~' || byte == '.')
                return 0;
            ret_text[used++] = (char)(byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte);
        }
    }
    ret_text[used] = '\0';
    return at < len ? at + 1 : 0;
}

bool name_wire_normalise(const char *text, char ret_text[static NAME_WIRE_TEXT_SIZE])
{
    uint8_t wire[NAME_WIRE_NAME_MAX];
    size_t len = name_wire_write(text, wire);
    return len > 0 && name_wire_read(wire, len, 0, ret_text) > 0;
}

/* ---- queries */

static uint16_t get16(const void *bytes)
{
    const uint8_t *b = bytes;
    return (uint16_t)(b[0] << 8 | b[1]);
}

/* Looks for an OPT among the records after the question. Its owner is the root, a single zero; a record with another
 * owner has no business in a query and ends the search. */
static void read_opt(size_t len, struct name_wire_query *query)
{
    for (size_t at = query->question_end; len - at >= OPT_BYTES && query->bytes[at] == 0;) {
        const uint8_t *head = query->bytes + at + 1;
        size_t data_len = get16(head + RECORD_HEAD_BYTES - 2);
        if (get16(head) == TYPE_OPT) {
            query->has_opt = true;
            if (get16(head + 2) > UDP_BYTES_DEFAULT)
                query->udp_bytes_max = get16(head + 2);
            return;
        }
        if (data_len > len - at - OPT_BYTES)
            return;
        at += OPT_BYTES + data_len;
    }
}

enum name_wire_verdict name_wire_read_query(const uint8_t *bytes, size_t len, struct name_wire_query *ret_query)
{
    *ret_query = (struct name_wire_query){ .bytes = bytes,
                                           .question_end = NAME_WIRE_HEADER_BYTES,
                                           .udp_bytes_max = UDP_BYTES_DEFAULT };
    if (len < NAME_WIRE_HEADER_BYTES || get16(bytes + AT_FLAGS) & FLAG_RESPONSE)
        return NAME_WIRE_NOT_FOR_SERVER;
    if (get16(bytes + AT_FLAGS) & FLAGS_OPCODE)
        return NAME_WIRE_OTHER_OPCODE;
    size_t at = name_wire_read(bytes, len, NAME_WIRE_HEADER_BYTES, ret_query->name);
    if (get16(bytes + AT_QUESTIONS) != 1 || at == 0 || len - at < 4 || get16(bytes + at + 2) != CLASS_IN)
        return NAME_WIRE_BAD_QUERY;
    ret_query->type = get16(bytes + at);
    ret_query->question_end = at + 4;
    read_opt(len, ret_query);
    return NAME_WIRE_QUERY;
}

/* ---- replies */

static void put16(struct buf *message, unsigned value)
{
    const uint8_t bytes[] = { (uint8_t)(value >> 8), (uint8_t)value };
    buf_append(message, bytes, sizeof bytes);
}

static void put32(struct buf *message, uint32_t value)
{
    put16(message, value >> 16);
    put16(message, value & 0xffff);
}

/* Sets bits of the header, or counts. */
static void add16(struct buf *message, size_t at, unsigned value)
{
    if (message->failed)
        return;
    unsigned sum = get16(message->data + at) + value;
    message->data[at] = (char)(sum >> 8);
    message->data[at + 1] = (char)sum;
}

static void put_head(struct buf *message, unsigned type, unsigned class, uint32_t ttl_s, size_t data_len)
{
    put16(message, type);
    put16(message, class);
    put32(message, ttl_s);
    put16(message, (unsigned)data_len);
}

void name_wire_begin(struct buf *message, const struct name_wire_query *query)
{
    static const uint8_t no_counts[NAME_WIRE_HEADER_BYTES - AT_ANSWERS];
    const unsigned kept = get16(query->bytes + AT_FLAGS) & (FLAGS_OPCODE | FLAG_RECURSION_DESIRED);
    buf_append(message, query->bytes, AT_FLAGS); /* the id */
    put16(message, FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | kept);
    put16(message, query->question_end > NAME_WIRE_HEADER_BYTES);
    buf_append(message, no_counts, sizeof no_counts);
    buf_append(message, query->bytes + NAME_WIRE_HEADER_BYTES, query->question_end - NAME_WIRE_HEADER_BYTES);
}

void name_wire_set_rcode(struct buf *message, enum name_wire_rcode rcode) { add16(message, AT_FLAGS, rcode); }

void name_wire_put_answer(struct buf *message, size_t owner, const struct name_wire_record *record)
{
    put16(message, POINTER | (unsigned)owner);
    put_head(message, record->type, CLASS_IN, record->ttl_s, record->len);
    buf_append(message, record->data, record->len);
    add16(message, AT_ANSWERS, 1);
}

void name_wire_put_soa(struct buf *message)
{
    enum { HOUR_S = 3600 };
    buf_byte(message, 0);
    put_head(message, TYPE_SOA, CLASS_IN, NAME_SERVER_NEGATIVE_TTL_S, 2 + 5 * 4);
    put16(message, 0); /* the names of its server and of its keeper: the root, a zero each */
    put32(message, 1); /* serial; then refresh, retry, expire and minimum */
    put32(message, HOUR_S);
    put32(message, HOUR_S);
    put32(message, HOUR_S);
    put32(message, NAME_SERVER_NEGATIVE_TTL_S);
    add16(message, AT_AUTHORITIES, 1);
}

void name_wire_finish(struct buf *message, const struct name_wire_query *query, bool is_udp, bool is_cut)
{
    size_t opt_bytes = query->has_opt ? OPT_BYTES : 0;
    if (message->failed)
        return;
    if (is_udp && (is_cut || message->len + opt_bytes > query->udp_bytes_max)) {
        message->len = query->question_end;
        memset(message->data + AT_ANSWERS, 0, NAME_WIRE_HEADER_BYTES - AT_ANSWERS);
        add16(message, AT_FLAGS, FLAG_TRUNCATED);
    }
    if (query->has_opt) {
        buf_byte(message, 0);
        put_head(message, TYPE_OPT, NAME_WIRE_MESSAGE_MAX, 0, 0); /* its class is the size that we take */
        add16(message, AT_ADDITIONALS, 1);
    }
}

void name_wire_change_id(struct buf *message) { add16(message, 0, 1); }
