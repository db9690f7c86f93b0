/* status: the table of status.h laid out as an array.
 *
 * A value outside the enum can only come from our own mistake or from a byte that crossed a process
 * boundary; it is answered as ST_INTERNAL rather than with a read outside the table. */
#include "base/status.h"

#include "base/attrs.h"

struct row {
    const char *code;
    const char *title;
    unsigned http;
    bool retriable;
};

static const struct row rows[] = {
#define STATUS_ROW(name, http_status, json_code, text, may_retry) \
    [name] = { .code = (json_code), .title = (text), .http = (http_status), .retriable = (may_retry) },
    STATUS_TABLE(STATUS_ROW)
#undef STATUS_ROW
};

_Static_assert(ARRAY_LEN(rows) == STATUS_COUNT, "one row for each status");

static const struct row *row_of(enum status status)
{
    return &rows[(unsigned)status < STATUS_COUNT ? status : ST_INTERNAL];
}

unsigned status_http(enum status status) { return row_of(status)->http; }

const char *status_code(enum status status) { return row_of(status)->code; }

const char *status_title(enum status status) { return row_of(status)->title; }

bool status_retriable(enum status status) { return row_of(status)->retriable; }
