/* args: untrusted text -> the typed arguments of a task.
 *
 * 1. json_check refuses whatever cJSON would read differently from what the RFC says, duplicate keys among it.
 * 2. cJSON then yields the members: their names and strings, unescaped.
 * 3. Each member is converted as its row in the table wants; an integer from its own text, as cJSON's double is
 * inexact.
 * 4. What was not given gets its default or, if required, is reported.
 * A problem is noted and the checking goes on, so that a caller learns of all of them at once. Strings are copied to
 * one block, because cJSON's tree does not outlive the call. */
#include "tasks/task.h"

#include <cjson/cJSON.h>
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

/* Values are few because each costs cJSON an allocation; number_length is what cJSON 1.7.15 can read. */
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

/* `name` as cJSON unescaped it; its raw text is looked up in the document. */
static bool read_number(const struct parse *parse, const char *name, int64_t *ret_value)
{
    struct json_slice number;
    return json_member(parse->text, parse->len, name, &number) && json_exact_int64(number, ret_value);
}

static void convert_int(struct parse *parse, const struct param *param, const cJSON *member, struct arg *arg)
{
    const bool is_query = parse->form == TASK_ARGS_QUERY;
    if (is_query ? !cJSON_IsString(member) : !cJSON_IsNumber(member)) {
        report(parse, param->name, "must be an integer");
        return;
    }
    int64_t value;
    if (is_query ? !read_decimal(member->valuestring, &value) : !read_number(parse, param->name, &value)) {
        report(parse, param->name, "must be an integer from %" PRId64 " to %" PRId64, param->minimum, param->maximum);
        return;
    }
    if (value < param->minimum)
        report(parse, param->name, "must be at least %" PRId64, param->minimum);
    else if (value > param->maximum)
        report(parse, param->name, "must be at most %" PRId64, param->maximum);
    else
        arg->number = value;
}

static void store_string(struct parse *parse, const char *text, size_t text_len, struct arg *arg)
{
    /* All strings together, unescaped and with their NULs, are shorter than the document with its quotes; a value of
     * JSON is as long as it stands there, followed by a comma or brace. */
    if (!parse->storage)
        parse->storage = malloc(parse->len);
    if (!parse->storage) {
        parse->is_out_of_memory = true;
        return;
    }
    char *copy = parse->storage + parse->storage_used;
    memcpy(copy, text, text_len);
    copy[text_len] = '\0';
    parse->storage_used += text_len + 1;
    arg->text = copy;
    arg->text_len = text_len;
}

static void convert_string(struct parse *parse, const struct param *param, const cJSON *member, struct arg *arg)
{
    if (!cJSON_IsString(member)) {
        report(parse, param->name, "must be a string");
        return;
    }
    const size_t text_len = strlen(member->valuestring); /* json_check let no NUL through */
    if (text_len < (uint64_t)param->minimum)
        report(parse, param->name, "must be at least %" PRId64 " bytes long", param->minimum);
    else if (text_len > (uint64_t)param->maximum)
        report(parse, param->name, "must be at most %" PRId64 " bytes long", param->maximum);
    else
        store_string(parse, member->valuestring, text_len, arg);
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

static void convert_enum(struct parse *parse, const struct param *param, const cJSON *member, struct arg *arg)
{
    const int choice = cJSON_IsString(member) ? find_choice(param, member->valuestring) : -1;
    if (choice < 0)
        report_choices(parse, param);
    else
        arg->number = choice;
}

static void convert_bool(struct parse *parse, const struct param *param, const cJSON *member, struct arg *arg)
{
    bool is_query = parse->form == TASK_ARGS_QUERY && cJSON_IsString(member);
    if (is_query && (strcmp(member->valuestring, "true") == 0 || strcmp(member->valuestring, "false") == 0))
        arg->number = member->valuestring[0] == 't';
    else if (parse->form == TASK_ARGS_JSON && cJSON_IsBool(member))
        arg->number = cJSON_IsTrue(member) != 0;
    else
        report(parse, param->name, "must be true or false");
}

/* The value as it stands in the document; of a query string, which has only strings, the text that the string is. */
static void convert_json(struct parse *parse, const struct param *param, const cJSON *member, struct arg *arg)
{
    struct json_slice value;
    struct json_error error;
    if (parse->form == TASK_ARGS_QUERY)
        value = (struct json_slice){ .at = member->valuestring, .len = strlen(member->valuestring) };
    else if (!json_member(parse->text, parse->len, param->name, &value)) {
        parse->is_out_of_memory = true; /* the document was checked */
        return;
    }
    if (parse->form == TASK_ARGS_QUERY && !json_check(value.at, value.len, &args_limits, &error))
        report(parse, param->name, "must be JSON: %s at byte %zu", error.message, error.offset);
    else if (value.len > (uint64_t)param->maximum)
        report(parse, param->name, "must be at most %" PRId64 " bytes long", param->maximum);
    else
        store_string(parse, value.at, value.len, arg);
}

static void convert_member(struct parse *parse, const cJSON *member)
{
    const struct param *param = parse->task->params;
    if (!param)
        return; /* whatever it is */
    while (param->name && strcmp(param->name, member->string) != 0)
        param++;
    if (!param->name) {
        report_unknown(parse, member->string);
        return;
    }
    struct arg *arg = &parse->args[param - parse->task->params];
    arg->is_set = true; /* even if it turns out wrong: it is not missing */
    switch (param->kind) {
    case PARAM_INT:
        convert_int(parse, param, member, arg);
        break;
    case PARAM_STRING:
        convert_string(parse, param, member, arg);
        break;
    case PARAM_ENUM:
        convert_enum(parse, param, member, arg);
        break;
    case PARAM_BOOL:
        convert_bool(parse, param, member, arg);
        break;
    case PARAM_JSON:
        convert_json(parse, param, member, arg);
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
    cJSON *root = cJSON_ParseWithLengthOpts(parse->text, parse->len, NULL, false);
    if (!root)
        return ST_NO_MEMORY; /* the text is known to be good */
    const bool is_object = cJSON_IsObject(root);
    if (!is_object)
        report(parse, NULL, "must be an object");
    for (const cJSON *member = is_object ? root->child : NULL; member; member = member->next)
        convert_member(parse, member);
    cJSON_Delete(root);
    if (parse->is_out_of_memory)
        return ST_NO_MEMORY;
    return is_object ? ST_OK : ST_INVALID_JSON;
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
