/* fetch_errors: a list of JSON objects in a bounded buffer; what does not fit is counted and left out. */
#include "handlers/fetch_errors.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/json_write.h"

enum { ERRORS_LISTED_MAX = 20, ENTRY_MAX_BYTES = 64 * 1024, DETAIL_BYTES = 256 };

/* RFC 6901: "~" and "/" inside a name are "~0" and "~1". */
static void write_pointer(struct buf *out, const char *at, const char *member)
{
    struct buf pointer = BUF_INIT(ENTRY_MAX_BYTES);
    buf_str(&pointer, at);
    if (member)
        buf_byte(&pointer, '/');
    for (; member && *member; member++) {
        if (*member == '~' || *member == '/')
            buf_str(&pointer, *member == '~' ? "~0" : "~1");
        else
            buf_byte(&pointer, *member);
    }
    buf_byte(&pointer, '\0');
    json_text(out, pointer.failed ? at : pointer.data);
    buf_done(&pointer);
}

static void add(struct fetch_errors *errors, const char *at, const char *member, const char *parameter,
                const char *detail)
{
    if (errors->count++ >= ERRORS_LISTED_MAX)
        return;
    if (errors->count == 1)
        snprintf(errors->first, sizeof errors->first, "%s%s%.100s: %s", at, member ? "/" : "",
                 member      ? member
                 : parameter ? parameter
                 : at[0]     ? ""
                             : "the body",
                 detail);
    struct buf entry = BUF_INIT(ENTRY_MAX_BYTES);
    buf_str(&entry, errors->count > 1 ? ",{\"pointer\":" : "{\"pointer\":");
    write_pointer(&entry, at, member);
    if (parameter) {
        buf_lit(&entry, ",\"parameter\":");
        json_text(&entry, parameter);
    }
    buf_lit(&entry, ",\"detail\":");
    json_text(&entry, detail);
    buf_byte(&entry, '}');
    if (!entry.failed && entry.len <= errors->list.max - errors->list.len) /* names can be as long as a body */
        buf_append(&errors->list, entry.data, entry.len);
    buf_done(&entry);
}

#define FORMAT_DETAIL(text, detail)                           \
    do {                                                      \
        va_list arguments;                                    \
        va_start(arguments, detail);                          \
        vsnprintf((text), sizeof(text), (detail), arguments); \
        va_end(arguments);                                    \
    } while (0)

void fetch_errors_add(struct fetch_errors *errors, const char *at, const char *member, const char *detail, ...)
{
    char text[DETAIL_BYTES];
    FORMAT_DETAIL(text, detail);
    add(errors, at, member, NULL, text);
}

void fetch_errors_add_parameter(struct fetch_errors *errors, const char *name, const char *detail, ...)
{
    char text[DETAIL_BYTES];
    FORMAT_DETAIL(text, detail);
    add(errors, "", NULL, name, text);
}
