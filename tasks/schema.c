/* schema: a task's parameter table as JSON Schema (draft 2020-12), the same table that task_parse_args checks against.
 *
 * JSON Schema counts the characters of a string, the table its bytes. A string of b bytes has between b/4 and b
 * characters, so the lengths given here never refuse what the task would take; the description says the exact limit. */
#include "tasks/task.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/json_write.h"

enum { UTF8_BYTES_MAX = 4 }; /* of one character */

static void write_description(const struct param *param, struct buf *out)
{
    char text[512];
    int len = snprintf(text, sizeof text, "%s", param->description);
    if (param->kind == PARAM_STRING && len >= 0 && (size_t)len < sizeof text)
        (void)snprintf(text + len, sizeof text - (size_t)len, "%s%" PRId64 " to %" PRId64 " bytes of UTF-8.",
                       len > 0 ? " " : "", param->minimum, param->maximum);
    json_key(out, "description");
    json_text(out, text);
}

static void write_default(const struct param *param, struct buf *out)
{
    if (!param->default_text)
        return;
    buf_byte(out, ',');
    json_key(out, "default");
    if (param->kind != PARAM_STRING && param->kind != PARAM_ENUM)
        buf_str(out, param->default_text);
    else
        json_text(out, param->default_text);
}

static void write_int_limits(const struct param *param, struct buf *out)
{
    buf_byte(out, ',');
    json_key(out, "minimum");
    json_int(out, param->minimum);
    buf_byte(out, ',');
    json_key(out, "maximum");
    json_int(out, param->maximum);
}

static void write_string_limits(const struct param *param, struct buf *out)
{
    buf_byte(out, ',');
    json_key(out, "minLength");
    json_int(out, (param->minimum + UTF8_BYTES_MAX - 1) / UTF8_BYTES_MAX);
    buf_byte(out, ',');
    json_key(out, "maxLength");
    json_int(out, param->maximum);
}

static void write_choices(const struct param *param, struct buf *out)
{
    buf_byte(out, ',');
    json_key(out, "enum");
    for (size_t i = 0; param->choices[i]; i++) {
        buf_byte(out, i == 0 ? '[' : ',');
        json_text(out, param->choices[i]);
    }
    buf_byte(out, ']');
}

static void write_param(const struct param *param, struct buf *out)
{
    static const char *const types[] = { [PARAM_INT] = "\"type\":\"integer\",",
                                         [PARAM_STRING] = "\"type\":\"string\",",
                                         [PARAM_ENUM] = "\"type\":\"string\",",
                                         [PARAM_BOOL] = "\"type\":\"boolean\",",
                                         [PARAM_JSON] = "" };
    json_key(out, param->name);
    buf_byte(out, '{');
    buf_str(out, types[param->kind]);
    write_description(param, out);
    switch (param->kind) {
    case PARAM_INT:
        write_int_limits(param, out);
        break;
    case PARAM_STRING:
        write_string_limits(param, out);
        break;
    case PARAM_ENUM:
        write_choices(param, out);
        break;
    case PARAM_BOOL:
    case PARAM_JSON:
        break;
    }
    write_default(param, out);
    buf_byte(out, '}');
}

void task_schema(const struct task *task, struct buf *out)
{
    buf_lit(out, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"type\":\"object\"");
    if (!task->params) {
        buf_byte(out, '}');
        return;
    }
    buf_lit(out, ",\"properties\":{");
    for (const struct param *param = task->params; param->name; param++) {
        if (param != task->params)
            buf_byte(out, ',');
        write_param(param, out);
    }
    buf_lit(out, "},\"required\":[");
    bool is_first = true;
    for (const struct param *param = task->params; param->name; param++) {
        if (!param->required)
            continue;
        if (!is_first)
            buf_byte(out, ',');
        json_text(out, param->name);
        is_first = false;
    }
    buf_lit(out, "],\"additionalProperties\":false}");
}
