/* args: untrusted text -> the typed arguments of a task.
 *
 * 1. json_check refuses what is no JSON, or is read differently by different readers, duplicate keys among it.
 * 2. Each member is converted from its own text, as its row in the table wants.
 * 3. What was not given gets its default or, if required, is reported.
 * A problem is noted and the checking goes on, so that a caller learns of all of them at once. No tree is built: a map
 * comes here for each of its items. Strings are unescaped into one block. */
#include "tasks/task.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_check.h"
#include "base/json_write.h"

enum {
    PROBLEMS_MAX = 16,       /* more than that help nobody */
    NAME_SHOWN_MAX = 128,    /* bytes of an unknown member's name that an answer repeats */
    DECIMAL_DIGITS_MAX = 19, /* of an int64_t */
};

/* What a program gets may be read by cJSON there, or by a worse reader: values are few, numbers short. */
static const struct json_limits args_limits = { .depth = 32, .members = 256, .values = 4096, .number_length = 63 };

struct parse {
    const struct task *task;
    enum task_args_form form;
    const char *text;
    size_t len;
    struct arg args[TASK_PARAMS_MAX];
    char *storage; /* the strings, one after the other; NULL until there is one */
    size_t storage_used;
    bool is_out_of_memory;
    struct buf *errors;
    unsigned problem_count;
};

/* The JSON Pointer (RFC 6901) of the top-level member `name`, as a JSON string. */
static void write_pointer(struct buf *out, const char *name, size_t name_len)
{
    char pointer[1 + 2 * NAME_SHOWN_MAX];
    size_t len = 0;
    pointer[len++] = '/';
    for (size_t i = 0; i < name_len; i++) {
        const bool is_special = name[i] == '~' || name[i] == '/';
        if (is_special)
            pointer[len++] = '~';
        pointer[len++] = !is_special ? name[i] : name[i] == '~' ? '0' : '1';
    }
    json_string(out, pointer, len);
}

/* Notes what is wrong with member `name`, or with the whole if that is NULL or too long to repeat. */
static void PRINTF_LIKE(3, 4) report(struct parse *parse, const char *name, const char *format, ...)
{
    if (parse->problem_count == PROBLEMS_MAX)
        return;
    char detail[512];
    va_list values;
    va_start(values, format);
    (void)vsnprintf(detail, sizeof detail, format, values);
    va_end(values);

    struct buf *out = parse->errors;
    const size_t name_len = name ? strlen(name) : 0;
    buf_byte(out, parse->problem_count++ == 0 ? '[' : ',');
    buf_lit(out, "{\"pointer\":");
    if (name && name_len <= NAME_SHOWN_MAX)
        write_pointer(out, name, name_len);
    else
        buf_lit(out, "\"\"");
    buf_lit(out, ",\"detail\":");
    json_text(out, detail);
    buf_byte(out, '}');
}

static void report_unknown(struct parse *parse, const char *name)
{
    const size_t name_len = strlen(name);
    if (name_len <= NAME_SHOWN_MAX)
        report(parse, name, "is not a parameter of %s", parse->task->name);
    else
        report(parse, NULL, "the member with a name of %zu bytes is not a parameter of %s", name_len,
               parse->task->name);
}

/* `text` in decimal, as the query string gives it. False: something else, or out of an int64_t's range. */
static bool read_decimal(const char *text, int64_t *ret_value)
{
    const char *digits = text[0] == '-' ? text + 1 : text;
    const size_t count = strspn(digits, "0123456789");
    if (count == 0 || count > DECIMAL_DIGITS_MAX || digits[count] != '\0')
        return false;
    errno = 0;
    const long long value = strtoll(text, NULL, 10);
    if (errno != 0)
        return false;
    *ret_value = value;
    return true;
}

/* Room for `size` bytes. All strings together, unescaped and with their NULs, are shorter than the document with its
 * quotes; a value of JSON is as long as it stands there, followed by a comma or brace. NULL: no memory. */
static char *take_room(struct parse *parse, size_t size)
{
    if (!parse->storage)
        parse->storage = malloc(parse->len);
    if (!parse->storage) {
        parse->is_out_of_memory = true;
        return NULL;
    }
    char *room = parse->storage + parse->storage_used;
    parse->storage_used += size;
    return room;
}

static bool is_string(struct json_slice value) { return value.len >= 2 && value.at[0] == '"'; }

/* What stands between the quotes, unescaped, with a NUL (json_check let none through). NULL: no memory. */
static const char *read_string(struct parse *parse, struct json_slice contents, size_t *ret_len)
{
    char *text = take_room(parse, contents.len + 1);
    if (!text)
        return NULL;
    *ret_len = json_string_copy(contents, text);
    text[*ret_len] = '\0';
    return text;
}

static struct json_slice contents_of(struct json_slice string)
{
    return (struct json_slice){ .at = string.at + 1, .len = string.len - 2 };
}

static bool read_integer(struct parse *parse, struct json_slice value, int64_t *ret_value)
{
    size_t len;
    if (parse->form == TASK_ARGS_JSON)
        return json_exact_int64(value, ret_value);
    const char *text = read_string(parse, contents_of(value), &len);
    return text != NULL && read_decimal(text, ret_value);
}

static void convert_int(struct parse *parse, const struct param *param, struct json_slice value, struct arg *arg)
{
    bool is_number = value.at[0] == '-' || (value.at[0] >= '0' && value.at[0] <= '9');
    int64_t number;
    if (parse->form == TASK_ARGS_QUERY ? !is_string(value) : !is_number)
        report(parse, param->name, "must be an integer");
    else if (!read_integer(parse, value, &number))
        report(parse, param->name, "must be an integer from %" PRId64 " to %" PRId64, param->minimum, param->maximum);
    else if (number < param->minimum)
        report(parse, param->name, "must be at least %" PRId64, param->minimum);
    else if (number > param->maximum)
        report(parse, param->name, "must be at most %" PRId64, param->maximum);
    else
        arg->number = number;
}

static void convert_string(struct parse *parse, const struct param *param, struct json_slice value, struct arg *arg)
{
    size_t len = 0;
    if (!is_string(value)) {
        report(parse, param->name, "must be a string");
        return;
    }
    const char *text = read_string(parse, contents_of(value), &len);
    if (!text)
        return;
    if (len < (uint64_t)param->minimum)
        report(parse, param->name, "must be at least %" PRId64 " bytes long", param->minimum);
    else if (len > (uint64_t)param->maximum)
        report(parse, param->name, "must be at most %" PRId64 " bytes long", param->maximum);
    arg->text = text;
    arg->text_len = len;
}

/* Index of `text` in the choices, or -1. */
static int find_choice(const struct param *param, const char *text)
{
    for (int i = 0; param->choices[i]; i++)
        if (strcmp(param->choices[i], text) == 0)
            return i;
    return -1;
}

static void report_choices(struct parse *parse, const struct param *param)
{
    char list[256] = "";
    size_t len = 0;
    for (size_t i = 0; param->choices[i] && len < sizeof list; i++)
        len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", i == 0 ? "" : ", ", param->choices[i]);
    report(parse, param->name, "must be one of %s", list);
}

static void convert_enum(struct parse *parse, const struct param *param, struct json_slice value, struct arg *arg)
{
    for (int i = 0; is_string(value) && param->choices[i]; i++)
        if (json_string_is(contents_of(value), param->choices[i])) {
            arg->number = i;
            return;
        }
    report_choices(parse, param);
}

static bool reads_as(struct json_slice value, enum task_args_form form, const char *text)
{
    if (form == TASK_ARGS_QUERY)
        return is_string(value) && json_string_is(contents_of(value), text);
    return value.len == strlen(text) && memcmp(value.at, text, value.len) == 0;
}

static void convert_bool(struct parse *parse, const struct param *param, struct json_slice value, struct arg *arg)
{
    bool is_true = reads_as(value, parse->form, "true");
    if (is_true || reads_as(value, parse->form, "false"))
        arg->number = is_true;
    else
        report(parse, param->name, "must be true or false");
}

/* The value as it stands in the document; of a query string, which has only strings, the text that the string is. */
static void convert_json(struct parse *parse, const struct param *param, struct json_slice value, struct arg *arg)
{
    struct json_error error;
    size_t len = value.len;
    const char *text;
    if (parse->form == TASK_ARGS_QUERY) {
        text = read_string(parse, contents_of(value), &len);
    } else {
        char *room = take_room(parse, value.len + 1);
        if (room) {
            memcpy(room, value.at, value.len);
            room[value.len] = '\0';
        }
        text = room;
    }
    if (!text)
        return;
    if (parse->form == TASK_ARGS_QUERY && !json_check(text, len, &args_limits, &error))
        report(parse, param->name, "must be JSON: %s at byte %zu", error.message, error.offset);
    else if (len > (uint64_t)param->maximum)
        report(parse, param->name, "must be at most %" PRId64 " bytes long", param->maximum);
    arg->text = text;
    arg->text_len = len;
}

static void convert_member(struct parse *parse, struct json_slice key, struct json_slice value)
{
    const struct param *param = parse->task->params;
    if (!param)
        return; /* whatever it is */
    while (param->name && !json_string_is(key, param->name))
        param++;
    if (!param->name) {
        size_t len;
        const char *name = read_string(parse, key, &len);
        if (name)
            report_unknown(parse, name);
        return;
    }
    struct arg *arg = &parse->args[param - parse->task->params];
    arg->is_set = true; /* even if it turns out wrong: it is not missing */
    switch (param->kind) {
    case PARAM_INT:
        convert_int(parse, param, value, arg);
        break;
    case PARAM_STRING:
        convert_string(parse, param, value, arg);
        break;
    case PARAM_ENUM:
        convert_enum(parse, param, value, arg);
        break;
    case PARAM_BOOL:
        convert_bool(parse, param, value, arg);
        break;
    case PARAM_JSON:
        convert_json(parse, param, value, arg);
        break;
    }
}

static void set_default(const struct param *param, struct arg *arg)
{
    arg->is_set = true;
    switch (param->kind) {
    case PARAM_INT:
        arg->number = strtoll(param->default_text, NULL, 10);
        break;
    case PARAM_STRING:
    case PARAM_JSON:
        arg->text = param->default_text;
        arg->text_len = strlen(param->default_text);
        break;
    case PARAM_ENUM:
        arg->number = find_choice(param, param->default_text);
        break;
    case PARAM_BOOL:
        arg->number = strcmp(param->default_text, "true") == 0;
        break;
    }
}

static void complete_args(struct parse *parse, bool has_payload)
{
    for (size_t i = 0; parse->task->params && parse->task->params[i].name; i++) {
        const struct param *param = &parse->task->params[i];
        const bool payload_stands_in = has_payload && (param->kind == PARAM_STRING || param->kind == PARAM_JSON);
        if (parse->args[i].is_set)
            continue;
        if (param->default_text)
            set_default(param, &parse->args[i]);
        else if (param->required && !payload_stands_in)
            report(parse, param->name, "is required");
    }
}

static enum status parse_text(struct parse *parse)
{
    struct json_error error;
    if (!json_check(parse->text, parse->len, &args_limits, &error)) {
        if (parse->form == TASK_ARGS_QUERY) { /* the caller wrote no JSON: neither blame it nor give an offset */
            report(parse, NULL, "the query string is not acceptable: %s", error.message);
            return ST_INVALID_ARGS;
        }
        report(parse, NULL, "%s at byte %zu", error.message, error.offset);
        return ST_INVALID_JSON;
    }
    if (parse->text[strspn(parse->text, " \t\r\n")] != '{') {
        report(parse, NULL, "must be an object");
        return ST_INVALID_JSON;
    }
    struct json_slice key, value;
    for (size_t cursor = 0; json_next_member(parse->text, parse->len, &cursor, &key, &value);)
        convert_member(parse, key, value);
    return parse->is_out_of_memory ? ST_NO_MEMORY : ST_OK;
}

enum status task_parse_args(const struct task *task, enum task_args_form form, const char *text, size_t len,
                            bool has_payload, struct task_input *ret_input, void **ret_storage, struct buf *errors)
{
    struct parse parse = { .task = task, .form = form, .text = text, .len = len, .errors = errors };
    enum status status = len > 0 ? parse_text(&parse) : ST_OK;
    if (status == ST_OK)
        complete_args(&parse, has_payload);
    if (parse.problem_count > 0) {
        buf_byte(errors, ']');
        if (status == ST_OK)
            status = ST_INVALID_ARGS;
    }
    if (status != ST_OK) {
        free(parse.storage);
        return status;
    }
    memcpy(ret_input->args, parse.args, sizeof parse.args);
    ret_input->task = task;
    ret_input->form = form;
    ret_input->args_text = text;
    ret_input->args_len = len;
    *ret_storage = parse.storage;
    return ST_OK;
}
