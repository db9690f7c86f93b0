/* regex: all matches of a regular expression, or their replacement, by PCRE2.
 *
 * The last pattern stays compiled, with its machine code if this process may make any: a sandbox that forbids
 * executable memory makes pcre2_jit_compile() fail, and PCRE2 interprets. The same happens for one match whose machine
 * code runs out of stack.
 *
 * Backtracking is bounded by a count of steps, not by time, so the same call always ends the same way. The bound grows
 * with the text, because each place where a match could begin takes a step, too. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "tasks/builtin.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_write.h"
#include "base/utf8.h"
#include "tasks/subject.h"

enum { TEXT_MAX_BYTES = 1024 * 1024, PATTERN_MAX_BYTES = 16 * 1024, REPLACEMENT_MAX_BYTES = 64 * 1024 };
enum { MATCHES_MAX = 100 * 1000 };
enum {
    STEPS_BASE = 1000 * 1000, /* some tens of milliseconds of backtracking */
    STEPS_PER_BYTE = 8,
    HEAP_MAX_KIB = 64 * 1024,          /* of the interpreter */
    JIT_STACK_FIRST_BYTES = 32 * 1024, /* PCRE2's own default */
    JIT_STACK_MAX_BYTES = 1024 * 1024,
};

enum { ARG_PATTERN, ARG_TEXT, ARG_FLAGS, ARG_MAX_MATCHES, ARG_REPLACE };

static const struct param params[] = {
    [ARG_PATTERN] = { .name = "pattern",
                      .description = "The regular expression, as PCRE2 (Perl) has them.",
                      .kind = PARAM_STRING,
                      .required = true,
                      .maximum = PATTERN_MAX_BYTES },
    [ARG_TEXT] = { .name = "text",
                   .description = "What to search; give this or a binary body, not both.",
                   .kind = PARAM_STRING,
                   .maximum = TEXT_MAX_BYTES },
    [ARG_FLAGS] = { .name = "flags",
                    .description = "Any of i (ignore case), m (^ and $ at every line), s (. matches newlines), x "
                                   "(white space and # comments in the pattern), u (characters instead of bytes, "
                                   "Unicode classes), n (only named groups capture).",
                    .kind = PARAM_STRING,
                    .maximum = 6,
                    .default_text = "" },
    [ARG_MAX_MATCHES] = { .name = "max_matches",
                          .description = "Stop after so many.",
                          .kind = PARAM_INT,
                          .minimum = 1,
                          .maximum = MATCHES_MAX,
                          .default_text = "1000" },
    [ARG_REPLACE] = { .name = "replace",
                      .description =
                          "Replace each match by this, in which $1 or ${name} is a group, $0 the match, $$ a "
                          "dollar sign; the result is then the text.",
                      .kind = PARAM_STRING,
                      .maximum = REPLACEMENT_MAX_BYTES },
    { .name = NULL },
};

/* ---- patterns */

struct program {
    char *pattern;
    size_t pattern_len;
    uint32_t options; /* as asked for */
    pcre2_code *code; /* NULL: none */
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *jit_stack;
    bool is_utf;
    bool is_crlf_newline;     /* CR LF may be one newline */
    const char **group_names; /* by number; NULL: it has none */
    uint32_t group_count;
};

/* A worker runs one job at a time, so this needs no lock. */
static struct program last;

static void forget(struct program *program)
{
    free(program->pattern);
    free(program->group_names);
    pcre2_code_free(program->code);
    pcre2_match_data_free(program->match);
    pcre2_match_context_free(program->context);
    pcre2_jit_stack_free(program->jit_stack);
    *program = (struct program){ .code = NULL };
}

static enum status read_flags(const struct arg *flags, struct task_output *output, uint32_t *ret_options)
{
    static const struct {
        char letter;
        uint32_t options;
    } known[] = {
        { 'i', PCRE2_CASELESS }, { 'm', PCRE2_MULTILINE },       { 's', PCRE2_DOTALL },
        { 'x', PCRE2_EXTENDED }, { 'u', PCRE2_UTF | PCRE2_UCP }, { 'n', PCRE2_NO_AUTO_CAPTURE },
    };
    uint32_t options = PCRE2_NEVER_BACKSLASH_C; /* \C splits characters */
    for (size_t i = 0; i < flags->text_len; i++) {
        size_t k = 0;
        while (k < ARRAY_LEN(known) && known[k].letter != flags->text[i])
            k++;
        if (k == ARRAY_LEN(known))
            return task_fail(output, ST_INVALID_ARGS, "flags may hold the letters i, m, s, x, u and n only");
        options |= known[k].options;
    }
    *ret_options = options;
    return ST_OK;
}

/* Which numbers have a name. A pattern may give one name to several numbers. */
static bool read_group_names(struct program *program)
{
    uint32_t name_count = 0, entry_size = 0;
    PCRE2_SPTR table = NULL;
    (void)pcre2_pattern_info(program->code, PCRE2_INFO_CAPTURECOUNT, &program->group_count);
    (void)pcre2_pattern_info(program->code, PCRE2_INFO_NAMECOUNT, &name_count);
    (void)pcre2_pattern_info(program->code, PCRE2_INFO_NAMEENTRYSIZE, &entry_size);
    (void)pcre2_pattern_info(program->code, PCRE2_INFO_NAMETABLE, &table);
    program->group_names = calloc((size_t)program->group_count + 1, sizeof *program->group_names);
    if (!program->group_names)
        return false;
    for (uint32_t i = 0; i < name_count; i++) {
        const unsigned char *entry =
            table + (size_t)i * entry_size; /* number, most significant byte first; name; NUL */
        program->group_names[entry[0] << 8 | entry[1]] = (const char *)entry + 2;
    }
    return true;
}

static void read_conventions(struct program *program)
{
    uint32_t options = 0, newline = 0;
    (void)pcre2_pattern_info(program->code, PCRE2_INFO_ALLOPTIONS, &options); /* the pattern may begin with (*UTF) */
    (void)pcre2_pattern_info(program->code, PCRE2_INFO_NEWLINE, &newline);
    program->is_utf = (options & PCRE2_UTF) != 0;
    program->is_crlf_newline =
        newline == PCRE2_NEWLINE_ANY || newline == PCRE2_NEWLINE_CRLF || newline == PCRE2_NEWLINE_ANYCRLF;
}

static bool prepare_match(struct program *program)
{
    program->match = pcre2_match_data_create_from_pattern(program->code, NULL);
    program->context = pcre2_match_context_create(NULL);
    if (!program->match || !program->context || !read_group_names(program))
        return false;
    read_conventions(program);
    if (pcre2_jit_compile(program->code, PCRE2_JIT_COMPLETE) == 0)
        program->jit_stack = pcre2_jit_stack_create(JIT_STACK_FIRST_BYTES, JIT_STACK_MAX_BYTES, NULL);
    if (program->jit_stack)
        pcre2_jit_stack_assign(program->context, NULL, program->jit_stack);
    (void)pcre2_set_heap_limit(program->context, HEAP_MAX_KIB);
    return true;
}

static enum status compile(const struct arg *pattern, uint32_t options, struct task_output *output)
{
    struct program *program = &last;
    int error;
    PCRE2_SIZE offset;
    forget(program);
    program->code = pcre2_compile((PCRE2_SPTR)pattern->text, pattern->text_len, options, &error, &offset, NULL);
    if (!program->code) {
        unsigned char message[128] = "";
        (void)pcre2_get_error_message(error, message, sizeof message);
        return task_fail(output, ST_INVALID_ARGS, "pattern: %s, at byte %zu", (const char *)message, (size_t)offset);
    }
    program->pattern = strdup(pattern->text);
    program->pattern_len = pattern->text_len;
    program->options = options;
    if (program->pattern && prepare_match(program))
        return ST_OK;
    forget(program);
    return task_fail(output, ST_NO_MEMORY, "no memory for the pattern");
}

static enum status find_program(const struct task_input *input, struct task_output *output)
{
    const struct arg *pattern = &input->args[ARG_PATTERN];
    uint32_t options = 0;
    if (!pattern->is_set) /* a binary body may stand in for one string, not for this one */
        return task_fail(output, ST_INVALID_ARGS, "pattern is required");
    const enum status status = read_flags(&input->args[ARG_FLAGS], output, &options);
    if (status != ST_OK)
        return status;
    const bool is_known = last.code && last.options == options && last.pattern_len == pattern->text_len &&
                          memcmp(last.pattern, pattern->text, pattern->text_len) == 0;
    return is_known ? ST_OK : compile(pattern, options, output);
}

/* ---- matches */

static enum status fail_match(int error, struct task_output *output)
{
    unsigned char message[128] = "";
    (void)pcre2_get_error_message(error, message, sizeof message);
    switch (error) {
    case PCRE2_ERROR_MATCHLIMIT:
    case PCRE2_ERROR_DEPTHLIMIT:
    case PCRE2_ERROR_HEAPLIMIT:
    case PCRE2_ERROR_JIT_STACKLIMIT:
        return task_fail(output, ST_TASK_FAILED, "the pattern backtracks too much on this text: %s",
                         (const char *)message);
    case PCRE2_ERROR_NOMEMORY:
        return task_fail(output, ST_NO_MEMORY, "no memory for the match");
    default:
        break;
    }
    if (error <= PCRE2_ERROR_UTF8_ERR1 && error >= PCRE2_ERROR_UTF8_ERR21)
        return task_fail(output, ST_TASK_FAILED, "with flag u the text must be UTF-8; it is not, at byte %zu",
                         (size_t)pcre2_get_startchar(last.match));
    return task_fail(output, ST_TASK_FAILED, "%s", (const char *)message);
}

static void set_limits(size_t text_len)
{
    const uint64_t wanted = STEPS_BASE + STEPS_PER_BYTE * (uint64_t)text_len;
    const uint32_t steps = wanted < UINT32_MAX ? (uint32_t)wanted : UINT32_MAX;
    (void)pcre2_set_match_limit(last.context, steps);
    (void)pcre2_set_depth_limit(last.context, steps);
}

static int match_at(const struct subject *subject, size_t offset, uint32_t options)
{
    const PCRE2_SPTR text = (PCRE2_SPTR)subject->bytes;
    const int outcome = pcre2_match(last.code, text, subject->len, offset, options, last.match, last.context);
    if (outcome != PCRE2_ERROR_JIT_STACKLIMIT)
        return outcome;
    return pcre2_match(last.code, text, subject->len, offset, options | PCRE2_NO_JIT, last.match, last.context);
}

/* The start of the next character, or of what comes after CR LF. */
static size_t next_offset(const struct subject *subject, size_t offset)
{
    const char *at = subject->bytes;
    if (last.is_crlf_newline && offset + 1 < subject->len && at[offset] == '\r' && at[offset + 1] == '\n')
        return offset + 2;
    offset++;
    while (last.is_utf && offset < subject->len && ((unsigned char)at[offset] & 0xc0) == 0x80)
        offset++;
    return offset;
}

/* Where to look for the match after the one that was found, and how: an empty one must not be found again. */
struct cursor {
    size_t offset;
    uint32_t options;
};

/* The next match, as pcre2_match() tells it: the count of groups, PCRE2_ERROR_NOMATCH or another error. */
static int find_next(const struct subject *subject, struct cursor *cursor)
{
    while (cursor->offset <= subject->len) {
        const int outcome = match_at(subject, cursor->offset, cursor->options);
        const uint32_t no_check = PCRE2_NO_UTF_CHECK; /* the first match has seen to it */
        if (outcome > 0) {
            const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(last.match);
            if (ends[0] > ends[1] || ends[0] < cursor->offset) /* what \K may do within an assertion */
                return PCRE2_ERROR_BADOFFSET;
            cursor->options = no_check | (ends[0] == ends[1] ? PCRE2_NOTEMPTY_ATSTART | PCRE2_ANCHORED : 0);
            cursor->offset = ends[1];
            return outcome;
        }
        if (outcome != PCRE2_ERROR_NOMATCH || (cursor->options & PCRE2_ANCHORED) == 0)
            return outcome;
        cursor->offset = next_offset(subject, cursor->offset);
        cursor->options = no_check;
    }
    return PCRE2_ERROR_NOMATCH;
}

/* "text":"…" or, if the bytes are not UTF-8, "base64":"…" */
static void write_bytes(struct buf *out, const char *bytes, size_t len)
{
    const bool is_text = utf8_valid(bytes, len);
    json_key(out, is_text ? "text" : "base64");
    if (is_text)
        json_string(out, bytes, len);
    else
        json_base64(out, bytes, len);
}

/* Bytes from ends[0] to ends[1], which is what group `number` has; without braces. */
static void write_part(struct buf *out, const struct subject *subject, const PCRE2_SIZE *ends)
{
    if (ends[0] == PCRE2_UNSET || ends[0] > ends[1]) {
        buf_lit(out, "\"text\":null");
        return;
    }
    json_key(out, "start");
    json_uint(out, ends[0]);
    buf_byte(out, ',');
    json_key(out, "end");
    json_uint(out, ends[1]);
    buf_byte(out, ',');
    write_bytes(out, subject->bytes + ends[0], ends[1] - ends[0]);
}

static void write_match(struct buf *out, const struct subject *subject)
{
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(last.match);
    buf_byte(out, '{');
    write_part(out, subject, ends);
    buf_lit(out, ",\"groups\":[");
    for (uint32_t number = 1; number <= last.group_count; number++) {
        buf_str(out, number == 1 ? "{" : ",{");
        if (last.group_names[number]) {
            json_key(out, "name");
            json_text(out, last.group_names[number]);
            buf_byte(out, ',');
        }
        write_part(out, subject, ends + 2 * (size_t)number);
        buf_byte(out, '}');
    }
    buf_lit(out, "]}");
}

static enum status run_search(const struct subject *subject, int64_t max_matches, struct task_output *output)
{
    struct buf *out = output->result;
    struct cursor cursor = { .offset = 0 };
    int outcome;
    int64_t count = 0;
    buf_lit(out, "{\"matches\":[");
    while ((outcome = find_next(subject, &cursor)) > 0 && count < max_matches && !out->failed) {
        if (count++ > 0)
            buf_byte(out, ',');
        write_match(out, subject);
    }
    if (outcome < 0 && outcome != PCRE2_ERROR_NOMATCH)
        return fail_match(outcome, output);
    buf_lit(out, "],\"count\":");
    json_int(out, count);
    buf_lit(out, ",\"complete\":");
    json_bool(out, outcome == PCRE2_ERROR_NOMATCH);
    buf_byte(out, '}');
    return ST_OK;
}

/* ---- replacement */

struct replacement {
    int64_t count, max;
};

/* PCRE2 asks before each replacement; a negative answer leaves the rest as it is. */
static int may_replace(pcre2_substitute_callout_block *block UNUSED, void *context)
{
    struct replacement *replacement = context;
    if (replacement->count == replacement->max)
        return -1;
    replacement->count++;
    return 0;
}

static int substitute(const struct subject *subject, const struct arg *by, struct replacement *replacement, char *to,
                      size_t *len)
{
    const uint32_t all = PCRE2_SUBSTITUTE_GLOBAL | PCRE2_SUBSTITUTE_OVERFLOW_LENGTH | PCRE2_SUBSTITUTE_UNSET_EMPTY;
    const size_t room = *len;
    (void)pcre2_set_substitute_callout(last.context, may_replace, replacement);
    for (uint32_t jit = 0;; jit = PCRE2_NO_JIT) {
        replacement->count = 0;
        *len = room;
        const int outcome =
            pcre2_substitute(last.code, (PCRE2_SPTR)subject->bytes, subject->len, 0, all | jit, last.match,
                             last.context, (PCRE2_SPTR)by->text, by->text_len, (PCRE2_UCHAR *)to, len);
        if (outcome != PCRE2_ERROR_JIT_STACKLIMIT || jit != 0)
            return outcome;
    }
}

static bool is_in_replacement(int error)
{
    return error == PCRE2_ERROR_BADREPLACEMENT || error == PCRE2_ERROR_BADREPESCAPE ||
           error == PCRE2_ERROR_REPMISSINGBRACE || error == PCRE2_ERROR_BADSUBSTITUTION ||
           error == PCRE2_ERROR_NOSUBSTRING || error == PCRE2_ERROR_NOUNIQUESUBSTRING;
}

static enum status fail_replacement(int error, struct task_output *output)
{
    unsigned char message[128] = "";
    if (!is_in_replacement(error))
        return fail_match(error, output);
    (void)pcre2_get_error_message(error, message, sizeof message);
    return task_fail(output, ST_INVALID_ARGS, "replace: %s", (const char *)message);
}

static void write_replaced(struct buf *out, const char *bytes, size_t len, int64_t count)
{
    buf_lit(out, "{\"replaced\":");
    json_int(out, count);
    buf_byte(out, ',');
    write_bytes(out, bytes, len);
    buf_byte(out, '}');
}

/* The first attempt has room for a text that grows little; if that is not enough, PCRE2 says what is. */
static enum status run_replacement(const struct subject *subject, const struct arg *by, int64_t max_matches,
                                   struct task_output *output)
{
    struct replacement replacement = { .max = max_matches };
    size_t room = subject->len + subject->len / 2 + 1024;
    for (;;) {
        char *to = malloc(room);
        if (!to)
            return task_fail(output, ST_NO_MEMORY, "no memory for the replaced text");
        size_t len = room;
        const int outcome = substitute(subject, by, &replacement, to, &len);
        if (outcome >= 0)
            write_replaced(output->result, to, len, replacement.count);
        free(to);
        if (outcome >= 0)
            return ST_OK;
        if (outcome != PCRE2_ERROR_NOMEMORY || len <= room)
            return fail_replacement(outcome, output);
        if (len > output->result->max)
            return task_fail(output, ST_RESULT_TOO_LARGE, "the replaced text has %zu bytes", len);
        room = len + 1;
    }
}

static enum status run(const struct task_input *input, struct task_output *output)
{
    struct subject subject;
    enum status status = subject_take(input, &input->args[ARG_TEXT], "text", output, &subject);
    if (status == ST_OK)
        status = find_program(input, output);
    if (status != ST_OK)
        return status;
    set_limits(subject.len);
    const int64_t max_matches = input->args[ARG_MAX_MATCHES].number;
    if (input->args[ARG_REPLACE].is_set)
        return run_replacement(&subject, &input->args[ARG_REPLACE], max_matches, output);
    return run_search(&subject, max_matches, output);
}

const struct task regex_task = {
    .name = "regex",
    .description = "The matches of a regular expression (PCRE2) in a text or a binary body, or their replacement.",
    .params = params,
    .takes_payload = true,
    .is_idempotent = true,
    .run = run,
};
