/* jq: a filter in jq's language applied to a JSON value, by libjq.
 *
 * Compiling costs more than most runs (jq's own builtins are part of every program), so the last program is kept.
 *
 * The language reaches out of the program in some places, and every one of them is closed:
 * - modules: the filter stands behind definitions, where the grammar has no more `import`, `include` or `module`;
 *   modulemeta, which looks for files too, is one of the definitions.
 * - ~/.jq, env and $ENV: the environment is empty while libjq works.
 * - input and inputs: there are none. stderr, which jq 1.6 writes by itself, does nothing; neither does debug.
 * One builtin of jq 1.6 aborts the process if its input is wrong; a definition checks it before.
 *
 * What is left is memory and depth: libjq aborts if it gets no memory, and recurses as deep as a value is nested. Then
 * the worker dies, as it does for a filter that never ends. */
#include "tasks/builtin.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jq.h>

#include "base/json_check.h"
#include "base/json_write.h"
#include "base/utf8.h"

enum { FILTER_MAX_BYTES = 16 * 1024, INPUT_MAX_BYTES = 1024 * 1024, OUTPUT_DEPTH_MAX = 250 };

/* Of a binary body; an arg has the limits of all args. */
static const struct json_limits body_limits = {
    .depth = 64, .members = JSON_OPEN_KEYS_MAX, .values = SIZE_MAX, .number_length = 63
};

/* Definitions before the filter, on its first line so that libjq's line numbers are the caller's. What a name means is
 * settled where it stands: the later definitions of the helpers hide the first ones from the filter, and the operators
 * =, |= and % become calls of _assign, _modify and _mod. ARRAY_INDEX_END is what a body of 8 MiB can hold twice over.
 */
#define ARRAY_INDEX_END "8388608"
static const char preamble[] =
    /* out of the program */
    "def stderr: .; def debug: .; def debug(f): .; def input_filename: null; def get_search_list: []; "
    "def modulemeta: error(\"modules are not available\"); "
    /* indices that jq 1.6 would take for less memory than they need */
    "def _tp_path: if any(.[]?; type == \"number\" and . >= " ARRAY_INDEX_END ") then error(\"array index too large\") "
    "else . end; "
    "def _tp_paths(p): reduce path(p) as $p (.; ($p | _tp_path) as $q | .); "
    "def _tp_1(p; v): setpath(p; v); def setpath(p; v): _tp_1(p | _tp_path; v); "
    "def _tp_2(p; $v): _assign(p; $v); def _assign(p; $v): _tp_paths(p) | _tp_2(p; $v); "
    "def _tp_3(p; f): _modify(p; f); def _modify(p; f): _tp_paths(p) | _tp_3(p; f); "
    "def _tp_4(f): fromstream(f); def fromstream(f): _tp_4(f | if type == \"array\" then (.[0] | _tp_path) as $p | . "
    "else . "
    "end); "
    /* what makes jq 1.6 abort, or divide as the processor cannot */
    "def _tp_5: implode; "
    "def implode: if type != \"array\" then error(\"implode input must be an array\") "
    "elif all(.[]; type == \"number\" and . >= 0 and . <= 1114111 and (. < 55296 or . >= 57344)) then _tp_5 "
    "else error(\"implode input must be Unicode code points\") end; "
    "def _tp_6(f): strftime(f); def strftime(f): if type == \"number\" then gmtime else . end | _tp_6(f); "
    "def _tp_7(f): strflocaltime(f); "
    "def strflocaltime(f): if type == \"number\" then localtime else . end | _tp_7(f); "
    "def todateiso8601: strftime(\"%Y-%m-%dT%H:%M:%SZ\"); def todate: todateiso8601; def date: todate; "
    "def _tp_8(a; b): _mod(a; b); def _mod(a; b): b as $b | a as $a | if ([$a, $b] | all(type == \"number\")) and "
    "$b > -2 and $b <= -1 then 0 else _tp_8($a; $b) end; "
    /* the helpers are not for the filter */
    "def _tp_no: error(\"not a function\"); "
    "def _tp_1(p; v): _tp_no; def _tp_2(p; v): _tp_no; def _tp_3(p; v): _tp_no; def _tp_4(f): _tp_no; def _tp_5: "
    "_tp_no; "
    "def _tp_6(f): _tp_no; def _tp_7(f): _tp_no; def _tp_8(a; b): _tp_no; ";

enum { ARG_FILTER, ARG_INPUT, ARG_RAW };

static const struct param params[] = {
    [ARG_FILTER] = { .name = "filter",
                     .description = "What to do, in the language of jq.",
                     .kind = PARAM_STRING,
                     .required = true,
                     .minimum = 1,
                     .maximum = FILTER_MAX_BYTES },
    [ARG_INPUT] = { .name = "input",
                    .description = "The value to do it to; or a binary body that is JSON, not both. null if there is "
                                   "neither.",
                    .kind = PARAM_JSON,
                    .maximum = INPUT_MAX_BYTES },
    [ARG_RAW] = { .name = "raw",
                  .description = "The result is bytes: each output a line, strings without quotes.",
                  .kind = PARAM_BOOL,
                  .default_text = "false" },
    { .name = NULL },
};

/* ---- libjq's environment */

/* A worker has one thread, so for the time of a call the environment can be another one. */
static char **hide_environment(void)
{
    static char *nothing[] = { NULL };
    char **hidden = environ;
    environ = nothing;
    return hidden;
}

static jv no_input(jq_state *jq UNUSED, void *context UNUSED) { return jv_invalid(); }

static void ignore_message(void *context UNUSED, jv message) { jv_free(message); }

/* ---- messages */

/* Consumes `message`, any value. */
static enum status fail_with(enum status status, const char *what, jv message, struct task_output *output)
{
    if (jv_get_kind(message) != JV_KIND_STRING)
        message = jv_dump_string(message, 0);
    (void)task_fail(output, status, "%s%s", what, jv_string_value(message));
    jv_free(message);
    return status;
}

/* libjq reports every error of a filter; keeps the first, in its own words but for their frame:
 * "jq: error: syntax error, unexpected … at <top-level>, line 1:" and the lines of the filter. */
static void keep_first_error(void *context, jv message)
{
    static const char frame[] = "jq: error: ", quoting[] = " (Unix shell quoting issues?)";
    struct task_output *output = context;
    if (output->detail[0] != '\0' || jv_get_kind(message) != JV_KIND_STRING) {
        jv_free(message);
        return;
    }
    const char *text = jv_string_value(message);
    if (strncmp(text, frame, sizeof frame - 1) == 0)
        text += sizeof frame - 1;
    size_t len = strcspn(text, "\n");
    const char *noise = memmem(text, len, quoting, sizeof quoting - 1);
    const char *rest = noise ? noise + sizeof quoting - 1 : "";
    const int rest_len = noise ? (int)(len - (size_t)(rest - text)) : 0;
    len = noise ? (size_t)(noise - text) : len;
    (void)task_fail(output, ST_INVALID_ARGS, "filter: %.*s%.*s", (int)len, text, rest_len, rest);
    len = strlen(output->detail);
    if (output->detail[len - 1] == ':')
        output->detail[len - 1] = '\0';
    jv_free(message);
}

/* ---- programs */

/* A worker runs one job at a time, so this needs no lock. */
static struct program {
    jq_state *jq; /* NULL: none */
    char *filter;
} last;

static void forget_program(void)
{
    if (last.jq)
        jq_teardown(&last.jq);
    free(last.filter);
    last = (struct program){ .jq = NULL };
}

static enum status compile(const char *filter, struct task_output *output)
{
    struct buf text = BUF_INIT(sizeof preamble + FILTER_MAX_BYTES);
    forget_program();
    buf_str(&text, preamble);
    buf_str(&text, filter);
    buf_byte(&text, '\0');
    last.jq = jq_init();
    last.filter = strdup(filter);
    enum status status = ST_OK;
    if (text.failed || !last.jq || !last.filter) {
        status = task_fail(output, ST_NO_MEMORY, "no memory for the filter");
    } else {
        jq_set_attr(last.jq, jv_string("JQ_LIBRARY_PATH"), jv_array());
        jq_set_input_cb(last.jq, no_input, NULL);
        jq_set_error_cb(last.jq, keep_first_error, output);
        if (!jq_compile(last.jq, text.data))
            status = ST_INVALID_ARGS;
        jq_set_error_cb(last.jq, ignore_message, NULL);
    }
    buf_done(&text);
    if (status == ST_INVALID_ARGS && output->detail[0] == '\0')
        (void)task_fail(output, status, "filter: it does not compile");
    if (status != ST_OK)
        forget_program();
    return status;
}

/* ---- a run */

static enum status read_input(const struct task_input *input, struct task_output *output, jv *ret_value)
{
    const struct arg *arg = &input->args[ARG_INPUT];
    struct json_error error;
    jv value = jv_null();
    if (arg->is_set && input->payload)
        return task_fail(output, ST_INVALID_ARGS, "give either input or a binary body, not both");
    if (input->payload && input->payload_len > INT_MAX)
        return task_fail(output, ST_TASK_FAILED, "the body is too long");
    if (input->payload && !json_check(input->payload, input->payload_len, &body_limits, &error))
        return task_fail(output, ST_TASK_FAILED, "the body is not acceptable JSON: %s at byte %zu", error.message,
                         error.offset);
    if (input->payload)
        value = jv_parse_sized(input->payload, (int)input->payload_len);
    else if (arg->is_set)
        value = jv_parse_sized(arg->text, (int)arg->text_len);
    if (!jv_is_valid(value))
        return fail_with(ST_TASK_FAILED, "libjq cannot read the input: ", jv_invalid_get_msg(value), output);
    *ret_value = value;
    return ST_OK;
}

/* Does this text, JSON as libjq writes it, nest deeper than it would write in full? Beyond some levels it writes words
 * that are no JSON. */
static bool is_too_deep(const char *text, size_t len)
{
    unsigned depth = 0;
    bool is_in_string = false;
    for (size_t i = 0; i < len && depth <= OUTPUT_DEPTH_MAX; i++) {
        if (text[i] == '"')
            is_in_string = !is_in_string;
        else if (is_in_string)
            i += text[i] == '\\'; /* and what it escapes */
        else if (text[i] == '[' || text[i] == '{')
            depth++;
        else if (text[i] == ']' || text[i] == '}')
            depth--;
    }
    return depth > OUTPUT_DEPTH_MAX;
}

/* Consumes `value`. */
static enum status write_output(struct task_output *output, jv value, bool is_raw, bool is_first)
{
    struct buf *out = output->result;
    const bool is_json = !is_raw || jv_get_kind(value) != JV_KIND_STRING;
    if (is_json)
        value = jv_dump_string(value, 0);
    const char *text = jv_string_value(value);
    const size_t len = (size_t)jv_string_length_bytes(jv_copy(value));
    const bool is_refused = is_json && is_too_deep(text, len);
    if (!is_raw && !is_first)
        buf_byte(out, ',');
    buf_append(out, text, len);
    if (is_raw)
        buf_byte(out, '\n');
    jv_free(value);
    if (is_refused)
        return task_fail(output, ST_TASK_FAILED, "an output is nested deeper than %d levels", OUTPUT_DEPTH_MAX);
    return ST_OK;
}

/* How it ended, `end` being what jq_next() returned last; consumes it. */
static enum status read_end(jv end, struct task_output *output)
{
    if (!jq_halted(last.jq)) {
        if (jv_invalid_has_msg(jv_copy(end)))
            return fail_with(ST_TASK_FAILED, "", jv_invalid_get_msg(end), output);
        jv_free(end);
        return ST_OK;
    }
    jv_free(end);
    jv code = jq_get_exit_code(last.jq), message = jq_get_error_message(last.jq);
    const bool is_error = jv_is_valid(code); /* halt_error; plain halt only ends the run */
    if (is_error && jv_is_valid(message))
        return fail_with(ST_TASK_FAILED, "halt_error: ", message, output);
    jv_free(message);
    return is_error ? task_fail(output, ST_TASK_FAILED, "halt_error") : ST_OK;
}

/* Consumes `value`. */
static enum status execute(jv value, bool is_raw, struct task_output *output)
{
    struct buf *out = output->result;
    if (!is_raw)
        buf_byte(out, '[');
    jq_start(last.jq, value, 0);
    enum status status = ST_OK;
    for (bool is_first = true, is_over = false; !is_over && status == ST_OK && !out->failed; is_first = false) {
        jv next = jq_next(last.jq);
        is_over = !jv_is_valid(next);
        status = is_over ? read_end(next, output) : write_output(output, next, is_raw, is_first);
    }
    if (jq_halted(last.jq))
        forget_program(); /* jq 1.6 frees the message of halt_error again at every later start */
    else
        jq_start(last.jq, jv_null(), 0); /* frees what the program still holds */
    if (!is_raw)
        buf_byte(out, ']');
    output->is_binary = is_raw && status == ST_OK;
    return status;
}

static enum status run_hidden(const struct task_input *input, struct task_output *output)
{
    const struct arg *filter = &input->args[ARG_FILTER];
    jv value = jv_null();
    if (!filter->is_set) /* a binary body may stand in for one string, not for this one */
        return task_fail(output, ST_INVALID_ARGS, "filter is required");
    enum status status = ST_OK;
    if (!last.filter || strcmp(last.filter, filter->text) != 0)
        status = compile(filter->text, output);
    if (status == ST_OK)
        status = read_input(input, output, &value);
    return status == ST_OK ? execute(value, input->args[ARG_RAW].number != 0, output) : status;
}

static enum status run(const struct task_input *input, struct task_output *output)
{
    char **hidden = hide_environment();
    const enum status status = run_hidden(input, output);
    environ = hidden;
    return status;
}

const struct task jq_task = {
    .name = "jq",
    .description = "A jq filter applied to a JSON value; the result is an array of its outputs.",
    .params = params,
    .takes_payload = true,
    .is_idempotent = true,
    .run = run,
};
