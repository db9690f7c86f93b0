/* response_head: fields are kept as offsets into one growing text, so an answer costs no allocation once the text
 * has its usual size, and a line that is folded over several can simply be extended.
 *
 * A line that begins with "HTTP/" starts a header, anything after the final header's empty line is a trailer. Repeated
 * names are found by comparing hashes: at most 200 lines, so the quadratic walk is 20,000 integer comparisons at worst.
 */
#include "pool/response_head.h"

#include <stdlib.h>
#include <string.h>

#include "base/json_write.h"
#include "base/utf8.h"

enum { FIELDS_AT_FIRST = 16 };

void response_head_init(struct response_head *head)
{
    memset(head, 0, sizeof *head);
    head->text = BUF_INIT(RESPONSE_HEAD_BYTES_MAX);
}

void response_head_clear(struct response_head *head)
{
    buf_clear(&head->text);
    head->count = head->lines = 0;
    head->bytes = 0;
    head->has_status = head->is_interim = head->is_complete = false;
}

void response_head_done(struct response_head *head)
{
    buf_done(&head->text);
    free(head->fields);
    head->fields = NULL;
    head->count = head->capacity = 0;
}

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

static size_t trimmed(const char *text, size_t len)
{
    while (len > 0 && (is_blank(text[len - 1]) || text[len - 1] == '\r' || text[len - 1] == '\n'))
        len--;
    return len;
}

static void start_header(struct response_head *head, const char *line, size_t len)
{
    const char *space = memchr(line, ' ', len);
    head->is_interim = space && space + 1 < line + len && space[1] == '1';
    head->count = 0;
    buf_clear(&head->text);
}

/* RFC 9112 section 5.2: a line that begins with white space continues the value before it. */
static bool extend_value(struct response_head *head, const char *line, size_t len)
{
    if (head->count == 0)
        return true;
    struct response_field *field = &head->fields[head->count - 1];
    size_t start = 0;
    while (start < len && is_blank(line[start]))
        start++;
    buf_byte(&head->text, ' ');
    buf_append(&head->text, line + start, len - start);
    field->value_len = (uint32_t)(head->text.len - field->value_at);
    return !head->text.failed;
}

/* FNV-1a over the lower-cased name, which is appended to the text on the way. */
static bool append_name(struct response_head *head, const char *name, size_t len, struct response_field *field)
{
    char *at = buf_reserve(&head->text, len);
    if (!at)
        return false;
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        at[i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
        hash = (hash ^ (unsigned char)at[i]) * 16777619u;
    }
    field->name_at = (uint32_t)head->text.len;
    field->name_len = (uint32_t)len;
    field->name_hash = hash;
    head->text.len += len;
    return true;
}

static bool is_visible_ascii(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] <= ' ' || bytes[i] > '~')
            return false;
    return len > 0;
}

static bool grow(struct response_head *head)
{
    unsigned capacity = head->capacity ? 2 * head->capacity : FIELDS_AT_FIRST;
    struct response_field *grown = reallocarray(head->fields, capacity, sizeof *grown);
    if (!grown) {
        head->text.failed = true; /* whoever asks sees that it was memory */
        return false;
    }
    head->fields = grown;
    head->capacity = capacity;
    return true;
}

static bool add_field(struct response_head *head, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    size_t name_len = colon ? trimmed(line, (size_t)(colon - line)) : 0,
           value_at = colon ? (size_t)(colon - line) + 1 : 0;
    if (!is_visible_ascii(line, name_len))
        return true; /* no field that anybody could ask for by name; libcurl has let it pass, so it does no harm */
    while (value_at < len && is_blank(line[value_at]))
        value_at++;
    if (head->count == head->capacity && !grow(head))
        return false;
    struct response_field *field = &head->fields[head->count];
    if (!append_name(head, line, name_len, field))
        return false;
    field->value_at = (uint32_t)head->text.len;
    field->value_len = (uint32_t)(len - value_at);
    buf_append(&head->text, line + value_at, len - value_at);
    head->count++;
    return !head->text.failed;
}

bool response_head_line(struct response_head *head, const char *line, size_t len)
{
    head->bytes += len;
    if (++head->lines > RESPONSE_HEAD_LINES_MAX || head->bytes > RESPONSE_HEAD_BYTES_MAX)
        return false;
    if (head->is_complete)
        return true;
    bool is_folded = len > 0 && is_blank(line[0]);
    size_t text_len = trimmed(line, len);
    if (!head->has_status) { /* nowhere else: a field that looks like one must not undo those before it */
        start_header(head, line, text_len);
        head->has_status = true;
        return true;
    }
    if (head->is_interim) {
        head->has_status = text_len > 0; /* the header ends, and another begins */
        return true;
    }
    if (is_folded)
        return extend_value(head, line, text_len);
    head->is_complete = text_len == 0;
    return head->is_complete || add_field(head, line, text_len);
}

/* Appends the value as UTF-8. */
static void append_value(const char *value, size_t len, struct buf *joined)
{
    if (utf8_valid(value, len)) {
        buf_append(joined, value, len);
        return;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)value[i];
        if (byte >= 0x80)
            buf_byte(joined, (char)(0xc0 | byte >> 6));
        buf_byte(joined, (char)(byte < 0x80 ? byte : 0x80 | (byte & 0x3f)));
    }
}

/* The next field with the name of fields[index], starting at `from`; head->count if there is none. */
static unsigned find_same_name(const struct response_head *head, unsigned index, unsigned from)
{
    const struct response_field *a = &head->fields[index];
    for (unsigned i = from; i < head->count; i++) {
        const struct response_field *b = &head->fields[i];
        if (a->name_hash == b->name_hash && a->name_len == b->name_len &&
            memcmp(head->text.data + a->name_at, head->text.data + b->name_at, a->name_len) == 0)
            return i;
    }
    return head->count;
}

static void write_string(const struct buf *text, struct buf *out)
{
    json_string(out, text->data ? text->data : "", text->len);
}

static void write_array(const struct response_head *head, unsigned index, struct buf *scratch, struct buf *out)
{
    for (unsigned i = index; i < head->count; i = find_same_name(head, index, i + 1)) {
        buf_byte(out, i == index ? '[' : ',');
        buf_clear(scratch);
        append_value(head->text.data + head->fields[i].value_at, head->fields[i].value_len, scratch);
        write_string(scratch, out);
    }
    buf_byte(out, ']');
}

static void write_joined(const struct response_head *head, unsigned index, struct buf *scratch, struct buf *out)
{
    buf_clear(scratch);
    for (unsigned i = index; i < head->count; i = find_same_name(head, index, i + 1)) {
        if (i > index)
            buf_lit(scratch, ", ");
        append_value(head->text.data + head->fields[i].value_at, head->fields[i].value_len, scratch);
    }
    write_string(scratch, out);
}

static bool is_named(const struct response_head *head, unsigned index, const char *name)
{
    const struct response_field *field = &head->fields[index];
    return field->name_len == strlen(name) && memcmp(head->text.data + field->name_at, name, field->name_len) == 0;
}

unsigned response_head_count(const struct response_head *head, const char *lower_case_name)
{
    unsigned count = 0;
    for (unsigned i = 0; i < head->count; i++)
        count += is_named(head, i, lower_case_name);
    return count;
}

bool response_head_differs(const struct response_head *head, const char *lower_case_name)
{
    const struct response_field *first = NULL;
    for (unsigned i = 0; i < head->count; i++) {
        const struct response_field *field = &head->fields[i];
        if (!is_named(head, i, lower_case_name))
            continue;
        if (!first)
            first = field;
        else if (first->value_len != field->value_len ||
                 memcmp(head->text.data + first->value_at, head->text.data + field->value_at, field->value_len) != 0)
            return true;
    }
    return false;
}

const char *response_head_value(const struct response_head *head, const char *lower_case_name, size_t *ret_len)
{
    for (unsigned i = 0; i < head->count; i++) {
        if (!is_named(head, i, lower_case_name))
            continue;
        *ret_len = head->fields[i].value_len;
        return head->text.data + head->fields[i].value_at;
    }
    return NULL;
}

static bool is_wanted(const struct response_head *head, unsigned index, const char *const *names)
{
    if (!names)
        return true;
    for (; *names; names++)
        if (is_named(head, index, *names))
            return true;
    return false;
}

/* Every value of the name at `index`. */
static void write_values(const struct response_head *head, unsigned index, struct buf *scratch, struct buf *out)
{
    const struct response_field *field = &head->fields[index];
    const char *value = head->text.data + field->value_at;
    if (is_named(head, index, "set-cookie"))
        write_array(head, index, scratch, out);
    else if (find_same_name(head, index, index + 1) == head->count && utf8_valid(value, field->value_len))
        json_string(out, value, field->value_len); /* nearly always */
    else
        write_joined(head, index, scratch, out);
}

void response_head_json(const struct response_head *head, const char *const *names, struct buf *out)
{
    struct buf scratch = BUF_INIT(4 * RESPONSE_HEAD_BYTES_MAX); /* ISO-8859-1 doubles, separators add */
    char separator = '{';
    for (unsigned i = 0; i < head->count; i++) {
        if (find_same_name(head, i, 0) < i || !is_wanted(head, i, names))
            continue;
        buf_byte(out, separator);
        separator = ',';
        json_string(out, head->text.data + head->fields[i].name_at, head->fields[i].name_len);
        buf_byte(out, ':');
        write_values(head, i, &scratch, out);
    }
    buf_str(out, separator == ',' ? "}" : "{}");
    out->failed = out->failed || scratch.failed;
    buf_done(&scratch);
}
