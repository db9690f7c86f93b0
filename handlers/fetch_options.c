/* fetch_options: two tables, one of the options that are numbers (JSON and query string share it) and one of the
 * others.
 *
 * Header lines are checked here, because libcurl sends what it is given: a line end in a value would be a second
 * header, and the headers that frame a message or belong to one connection are libcurl's to write. Names and values are
 * joined to "Name: value" once and used by every URL that inherits them. */
#include "handlers/fetch_options.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/base64.h"
#include "pool/retry_policy.h"

enum { HEADERS_MAX = 64, HEADER_BYTES_MAX = 8192, TIMEOUT_MIN_MS = 1 };

/* ---- numbers */

struct number_option {
    const char *name;
    const char *flag; /* that sets the maximum; NULL: it is fixed */
    uint64_t minimum;
    uint64_t (*maximum)(const struct handler_limits *limits);
    void (*set)(struct fetch_item *item, uint64_t value);
};

static uint64_t timeout_max(const struct handler_limits *limits) { return limits->fetch_timeout_max_ms; }
static uint64_t body_max(const struct handler_limits *limits) { return limits->fetch_max_body_bytes; }
static uint64_t redirects_max(const struct handler_limits *limits) { return limits->fetch_max_redirects; }
static uint64_t retries_max(const struct handler_limits *limits)
{
    (void)limits;
    return RETRIES_MAX;
}

static void set_timeout(struct fetch_item *item, uint64_t value) { item->timeout_ms = (uint32_t)value; }
static void set_dns_timeout(struct fetch_item *item, uint64_t value) { item->dns_timeout_ms = (uint32_t)value; }
static void set_connect_timeout(struct fetch_item *item, uint64_t value) { item->connect_timeout_ms = (uint32_t)value; }
static void set_tls_timeout(struct fetch_item *item, uint64_t value) { item->tls_timeout_ms = (uint32_t)value; }
static void set_first_byte_timeout(struct fetch_item *item, uint64_t value)
{
    item->first_byte_timeout_ms = (uint32_t)value;
}
static void set_hedge(struct fetch_item *item, uint64_t value) { item->hedge_ms = (uint32_t)value; }
static void set_body_max(struct fetch_item *item, uint64_t value) { item->max_body_bytes = (size_t)value; }
static void set_redirects(struct fetch_item *item, uint64_t value) { item->max_redirects = (unsigned)value; }
static void set_retries(struct fetch_item *item, uint64_t value) { item->retries = (unsigned)value; }

static const char timeout_flag[] = "--fetch-timeout-max-ms";

static const struct number_option number_options[] = {
    { "timeout_ms", timeout_flag, TIMEOUT_MIN_MS, timeout_max, set_timeout },
    { "dns_timeout_ms", timeout_flag, TIMEOUT_MIN_MS, timeout_max, set_dns_timeout },
    { "connect_timeout_ms", timeout_flag, TIMEOUT_MIN_MS, timeout_max, set_connect_timeout },
    { "tls_timeout_ms", timeout_flag, TIMEOUT_MIN_MS, timeout_max, set_tls_timeout },
    { "first_byte_timeout_ms", timeout_flag, TIMEOUT_MIN_MS, timeout_max, set_first_byte_timeout },
    { "hedge_ms", timeout_flag, 0, timeout_max, set_hedge },
    { "max_body_bytes", "--fetch-max-body-bytes", 0, body_max, set_body_max },
    { "max_redirects", "--fetch-max-redirects", 0, redirects_max, set_redirects },
    { "retries", NULL, 0, retries_max, set_retries },
};

static const struct number_option *find_number_option(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(number_options); i++)
        if (strcmp(number_options[i].name, name) == 0)
            return &number_options[i];
    return NULL;
}

void fetch_options_read_integer(struct fetch_reader *reader, const cJSON *member, uint64_t minimum, uint64_t maximum,
                                const char *option, uint64_t *ret_value)
{
    double value = member->valuedouble;
    /* The limits are far below 2^53, so the comparison and the conversion are exact. */
    if (cJSON_IsNumber(member) && value >= (double)minimum && value <= (double)maximum &&
        value == (double)(uint64_t)value) {
        *ret_value = (uint64_t)value;
        return;
    }
    fetch_errors_add(&reader->errors, reader->at, member->string, "must be an integer from %llu to %llu%s%s%s",
                     (unsigned long long)minimum, (unsigned long long)maximum, option ? " (" : "", option ? option : "",
                     option ? ")" : "");
}

bool fetch_options_read_parameter(struct fetch_reader *reader, const char *name, const char *value,
                                  struct fetch_item *item)
{
    const struct number_option *option = find_number_option(name);
    if (!option)
        return false;
    uint64_t number = 0, maximum = option->maximum(reader->limits);
    size_t digits = strspn(value, "0123456789");
    bool is_number = digits > 0 && digits <= 18 && value[digits] == '\0';
    for (size_t i = 0; is_number && i < digits; i++)
        number = number * 10 + (uint64_t)(value[i] - '0');
    if (is_number && number >= option->minimum && number <= maximum)
        option->set(item, number);
    else
        fetch_errors_add_parameter(&reader->errors, name, "must be an integer from %llu to %llu%s%s%s",
                                   (unsigned long long)option->minimum, (unsigned long long)maximum,
                                   option->flag ? " (" : "", option->flag ? option->flag : "", option->flag ? ")" : "");
    return true;
}

/* ---- method and body */

static const struct {
    const char *name;
    enum fetch_method method;
    bool may_have_body;
} methods[] = {
    { "GET", FETCH_GET, false },         { "HEAD", FETCH_HEAD, false },  { "POST", FETCH_POST, true },
    { "PUT", FETCH_PUT, true },          { "PATCH", FETCH_PATCH, true }, { "DELETE", FETCH_DELETE, true },
    { "OPTIONS", FETCH_OPTIONS, false },
};

static void read_method(struct fetch_reader *reader, const cJSON *member, struct fetch_item *item)
{
    for (size_t i = 0; cJSON_IsString(member) && i < ARRAY_LEN(methods); i++) {
        if (strcmp(member->valuestring, methods[i].name) == 0) {
            item->method = methods[i].method;
            return;
        }
    }
    fetch_errors_add(&reader->errors, reader->at, member->string,
                     "must be GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS");
}

static void read_body(struct fetch_reader *reader, const cJSON *member, struct fetch_item *item)
{
    if (!cJSON_IsString(member)) {
        fetch_errors_add(&reader->errors, reader->at, member->string,
                         "must be a string; use body_base64 for other bytes");
        return;
    }
    item->body = member->valuestring;
    item->body_len = strlen(member->valuestring);
}

static void read_body_base64(struct fetch_reader *reader, const cJSON *member, struct fetch_item *item)
{
    const char *text = cJSON_IsString(member) ? member->valuestring : "!";
    size_t len = strlen(text);
    unsigned char *bytes = arena_alloc(reader->arena, BASE64_DECODED_MAX(len), 1);
    if (!bytes)
        reader->errors.out_of_memory = true;
    else if (!base64_decode(text, len, bytes, &item->body_len))
        fetch_errors_add(&reader->errors, reader->at, member->string,
                         "must be a string of padded base64 (RFC 4648 section 4)");
    item->body = (const char *)bytes;
}

/* ---- headers */

static bool is_token(const char *text)
{
    size_t len = strspn(text, "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    return len > 0 && text[len] == '\0';
}

static bool is_plain_value(const char *text)
{
    for (; *text; text++)
        if ((*text < ' ' && *text != '\t') || *text > '~') /* bytes of UTF-8 are negative */
            return false;
    return true;
}

static bool is_reserved(const char *name)
{
    static const char *const reserved[] = {
        "Host",    "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer",
        "Upgrade", "Expect",         "Accept-Encoding",   "CDN-Loop"
    };
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        if (strcasecmp(name, reserved[i]) == 0)
            return true;
    return strncasecmp(name, "Proxy-", 6) == 0;
}

/* NULL, or what is wrong with the header. */
static const char *check_header(const cJSON *header)
{
    if (!is_token(header->string))
        return "the name is not a token (RFC 9110 section 5.1)";
    if (is_reserved(header->string))
        return "this header is set by the service itself";
    if (!cJSON_IsString(header))
        return "must be a string";
    if (!is_plain_value(header->valuestring))
        return "must be printable ASCII, without line ends";
    if (strlen(header->string) + strlen(header->valuestring) > HEADER_BYTES_MAX)
        return "is longer than 8192 bytes";
    return NULL;
}

/* Names are compared without case, unlike JSON's keys. */
static bool is_repeated(const cJSON *headers, const cJSON *header)
{
    const cJSON *before = headers->child;
    while (before != header && strcasecmp(before->string, header->string) != 0)
        before = before->next;
    return before != header;
}

/* libcurl's spelling of a header without a value is "Name;". */
static const char *join_header(struct fetch_reader *reader, const cJSON *header)
{
    const char *value = header->valuestring + strspn(header->valuestring, " \t");
    size_t size = strlen(header->string) + strlen(value) + sizeof ": ";
    char *line = arena_alloc(reader->arena, size, 1);
    if (line)
        snprintf(line, size, "%s%s%s", header->string, *value ? ": " : ";", value);
    else
        reader->errors.out_of_memory = true;
    return line;
}

static void read_header_lines(struct fetch_reader *reader, const cJSON *headers, const char **lines)
{
    char at[sizeof reader->at + sizeof "/headers"];
    snprintf(at, sizeof at, "%s/headers", reader->at);
    size_t used = 0;
    const cJSON *header;
    cJSON_ArrayForEach(header, headers)
    {
        const char *wrong = check_header(header);
        if (!wrong && is_repeated(headers, header))
            wrong = "this header is there already, in other letters";
        if (wrong)
            fetch_errors_add(&reader->errors, at, header->string, "%s", wrong);
        else
            lines[used++] = join_header(reader, header);
    }
}

static void read_headers(struct fetch_reader *reader, const cJSON *member, struct fetch_item *item)
{
    int count = cJSON_IsObject(member) ? cJSON_GetArraySize(member) : -1;
    if (count < 0 || count > HEADERS_MAX) {
        fetch_errors_add(&reader->errors, reader->at, member->string,
                         "must be an object of at most %d headers with their values; which headers of the answer come "
                         "back is response_headers",
                         HEADERS_MAX);
        return;
    }
    item->headers = NULL;
    if (count == 0)
        return;
    const char **lines = arena_alloc(reader->arena, (size_t)count + 1, sizeof *lines);
    item->headers = lines;
    if (lines)
        read_header_lines(reader, member, lines);
    else
        reader->errors.out_of_memory = true;
}

/* ---- the answer */

static void read_response_body(struct fetch_reader *reader, const cJSON *member, struct fetch_item *item)
{
    static const struct {
        const char *name;
        enum fetch_body_form form;
    } forms[] = {
        { "auto", FETCH_BODY_AUTO }, { "text", FETCH_BODY_TEXT }, { "base64", FETCH_BODY_BASE64 },
        { "json", FETCH_BODY_JSON }, { "none", FETCH_BODY_NONE },
    };
    for (size_t i = 0; cJSON_IsString(member) && i < ARRAY_LEN(forms); i++) {
        if (strcmp(member->valuestring, forms[i].name) == 0) {
            item->body_form = forms[i].form;
            return;
        }
    }
    fetch_errors_add(&reader->errors, reader->at, member->string, "must be auto, text, base64, json or none");
}

/* A name in lower case, as response_head.c has them; NULL: an error was added. */
static const char *lower_case_name(struct fetch_reader *reader, const cJSON *list, const cJSON *name)
{
    if (!cJSON_IsString(name) || !is_token(name->valuestring)) {
        fetch_errors_add(&reader->errors, reader->at, list->string, "must be true, false or a list of header names");
        return NULL;
    }
    size_t size = strlen(name->valuestring) + 1;
    char *lower = arena_alloc(reader->arena, size, 1);
    for (size_t i = 0; lower && i < size; i++)
        lower[i] = name->valuestring[i] >= 'A' && name->valuestring[i] <= 'Z' ? (char)(name->valuestring[i] | 0x20)
                                                                              : name->valuestring[i];
    reader->errors.out_of_memory = reader->errors.out_of_memory || !lower;
    return lower;
}

static void read_response_headers(struct fetch_reader *reader, const cJSON *member, struct fetch_item *item)
{
    static const char *const none[] = { NULL };
    int count = cJSON_IsArray(member) ? cJSON_GetArraySize(member) : 0;
    if (cJSON_IsBool(member)) {
        item->answer_headers = cJSON_IsTrue(member) ? NULL : none;
        return;
    }
    if (!cJSON_IsArray(member) || count > HEADERS_MAX) {
        fetch_errors_add(&reader->errors, reader->at, member->string,
                         "must be true, false or a list of at most %d header names", HEADERS_MAX);
        return;
    }
    const char **names = arena_alloc(reader->arena, (size_t)count + 1, sizeof *names);
    reader->errors.out_of_memory = reader->errors.out_of_memory || !names;
    size_t used = 0;
    const cJSON *name;
    if (names)
        cJSON_ArrayForEach(name, member) names[used++] = lower_case_name(reader, member, name);
    item->answer_headers = names;
}

/* ---- switches */

bool fetch_options_read_switch(struct fetch_reader *reader, const cJSON *member)
{
    if (!cJSON_IsBool(member))
        fetch_errors_add(&reader->errors, reader->at, member->string, "must be true or false");
    return cJSON_IsTrue(member);
}

static void read_retry_unsafe(struct fetch_reader *reader, const cJSON *member, struct fetch_item *item)
{
    item->may_repeat_unsafe = fetch_options_read_switch(reader, member);
}

static void read_coalesce(struct fetch_reader *reader, const cJSON *member, struct fetch_item *item)
{
    item->coalesces = fetch_options_read_switch(reader, member);
}

/* ---- all of them */

static const struct {
    const char *name;
    void (*read)(struct fetch_reader *reader, const cJSON *member, struct fetch_item *item);
} other_options[] = {
    { "method", read_method },
    { "headers", read_headers },
    { "body", read_body },
    { "body_base64", read_body_base64 },
    { "response_body", read_response_body },
    { "response_headers", read_response_headers },
    { "retry_unsafe", read_retry_unsafe },
    { "coalesce", read_coalesce },
};

void fetch_options_default(const struct handler_limits *limits, struct fetch_item *ret_item)
{
    *ret_item = (struct fetch_item){
        .method = FETCH_GET,
        .timeout_ms = limits->fetch_timeout_ms,
        .dns_timeout_ms = limits->fetch_dns_timeout_ms,
        .connect_timeout_ms = limits->fetch_connect_timeout_ms,
        .tls_timeout_ms = limits->fetch_tls_timeout_ms,
        .first_byte_timeout_ms = limits->fetch_first_byte_timeout_ms,
        .retries = limits->fetch_retries,
        .max_body_bytes = limits->fetch_max_body_bytes,
        .max_redirects = limits->fetch_max_redirects,
    };
}

bool fetch_options_read(struct fetch_reader *reader, const cJSON *member, struct fetch_item *item)
{
    const struct number_option *number = find_number_option(member->string);
    if (number) {
        uint64_t value = 0;
        unsigned errors = reader->errors.count;
        fetch_options_read_integer(reader, member, number->minimum, number->maximum(reader->limits), number->flag,
                                   &value);
        if (reader->errors.count == errors)
            number->set(item, value);
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(other_options); i++) {
        if (strcmp(member->string, other_options[i].name) == 0) {
            other_options[i].read(reader, member, item);
            return true;
        }
    }
    return false;
}

void fetch_options_offer(struct nearest_name *nearest)
{
    for (size_t i = 0; i < ARRAY_LEN(number_options); i++)
        nearest_name_offer(nearest, number_options[i].name);
    for (size_t i = 0; i < ARRAY_LEN(other_options); i++)
        nearest_name_offer(nearest, other_options[i].name);
}

/* cJSON_HasObjectItem() ignores case. */
static bool has_member(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name) != NULL;
}

void fetch_options_check(struct fetch_reader *reader, const cJSON *object, const struct fetch_item *item)
{
    if (has_member(object, "body") && has_member(object, "body_base64"))
        fetch_errors_add(&reader->errors, reader->at, "body_base64", "body and body_base64 exclude each other");
    if (item->body_len == 0)
        return;
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (methods[i].method == item->method && !methods[i].may_have_body)
            fetch_errors_add(
                &reader->errors, reader->at, has_member(object, "body_base64") ? "body_base64" : "body",
                "%s requests have no body; name a method that has one (the form of the answer's is response_body)",
                methods[i].name);
}
