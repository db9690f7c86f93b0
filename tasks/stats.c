/* stats: count, mean, variance, extremes and quantiles of numbers from an array, a column of CSV or a JSON document.
 *
 * Numbers are doubles. All of them are kept, since quantiles need them sorted. Mean and variance take two passes, in
 * long double: first the mean m, then the sum of (x - m)^2, corrected by the square of the sum of (x - m), which would
 * be 0 if m were exact (Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American
 * Statistician 37 (1983)). Where long double has more range than double, as on x86-64 and aarch64, no intermediate
 * value can overflow.
 *
 * CSV is split by libcsv, which is given one line at a time, so that a complaint can name the line. */
#include "tasks/builtin.h"

#include <csv.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_check.h"
#include "base/json_scan.h"
#include "base/json_write.h"
#include "base/utf8.h"
#include "tasks/subject.h"

enum { VALUES_MAX_BYTES = 1024 * 1024, COLUMN_NAME_MAX_BYTES = 256, QUANTILES_MAX = 100, QUANTILES_MAX_BYTES = 4096 };
enum {
    COLUMNS_MAX = 100 * 1000,
    SHOWN_MAX_BYTES = 32,     /* of a bad cell, in an answer */
    FIELD_BLOCK_BYTES = 4096, /* by which libcsv lets a field grow */
    FIRST_CAPACITY = 1024,
    DOUBLE_TEXT_BYTES = 32,
};

/* One value each is all an array of numbers has; depth and keys are of no use here. */
static const struct json_limits document_limits = { .depth = 2, .members = 1, .values = SIZE_MAX, .number_length = 63 };

enum format { CSV, JSON };
static const char *const format_names[] = { [CSV] = "csv", [JSON] = "json", NULL };

enum { ARG_VALUES, ARG_FORMAT, ARG_COLUMN, ARG_HEADER, ARG_DELIMITER, ARG_QUANTILES };

static const struct param params[] = {
    [ARG_VALUES] = { .name = "values",
                     .description = "The numbers, an array; give this or a binary body, not both.",
                     .kind = PARAM_JSON,
                     .maximum = VALUES_MAX_BYTES },
    [ARG_FORMAT] = { .name = "format",
                     .description = "What a binary body is: csv (one number a line is csv, too) or json, an array.",
                     .kind = PARAM_ENUM,
                     .choices = format_names,
                     .default_text = "csv" },
    [ARG_COLUMN] = { .name = "column",
                     .description = "The column of the csv: its number, from 1, or its name in the header.",
                     .kind = PARAM_STRING,
                     .minimum = 1,
                     .maximum = COLUMN_NAME_MAX_BYTES,
                     .default_text = "1" },
    [ARG_HEADER] = { .name = "header",
                     .description = "The first row of the csv has names; taken for granted if column is a name.",
                     .kind = PARAM_BOOL,
                     .default_text = "false" },
    [ARG_DELIMITER] = { .name = "delimiter",
                        .description = "What stands between the cells of the csv, one ASCII character.",
                        .kind = PARAM_STRING,
                        .minimum = 1,
                        .maximum = 1,
                        .default_text = "," },
    [ARG_QUANTILES] = { .name = "quantiles",
                        .description = "Which quantiles: an array of up to 100 numbers from 0 to 1.",
                        .kind = PARAM_JSON,
                        .maximum = QUANTILES_MAX_BYTES,
                        .default_text = "[0.25,0.5,0.75]" },
    { .name = NULL },
};

#define PLAIN_INTEGERS_END 1e17 /* from here on, an exponent reads better */

/* ---- numbers */

struct numbers {
    double *at;
    size_t count, capacity;
};

static bool add_number(struct numbers *numbers, double number)
{
    if (numbers->count == numbers->capacity) {
        const size_t capacity = numbers->capacity ? 2 * numbers->capacity : FIRST_CAPACITY;
        double *at = reallocarray(numbers->at, capacity, sizeof *at);
        if (!at)
            return false;
        numbers->at = at;
        numbers->capacity = capacity;
    }
    numbers->at[numbers->count++] = number;
    return true;
}

/* Reads the NUL-terminated `text`, all of it: decimal digits with an optional sign, point and exponent. The locale is
 * "C": the program never sets another one. False: something else, or beyond the range of a double. */
static bool read_number(const char *text, size_t len, double *ret_number)
{
    char *end;
    if (len == 0 || strspn(text, "0123456789+-.eE") != len)
        return false; /* strtod() knows hexadecimal, "inf" and "nan", too */
    errno = 0;
    *ret_number = strtod(text, &end);
    return end == text + len && isfinite(*ret_number); /* tiny ones become 0 or subnormal */
}

static enum status no_memory(struct task_output *output)
{
    return task_fail(output, ST_NO_MEMORY, "no memory for the numbers");
}

/* The elements of a checked JSON text, called `name`; `blame` is the status if they are not numbers. */
static enum status read_array(const struct subject *json, const char *name, enum status blame,
                              struct task_output *output, struct numbers *numbers)
{
    size_t cursor = 0, index = 0;
    struct json_slice element;
    const char *first = json_skip_space(json->bytes, json->bytes + json->len);
    if (*first != '[') /* a checked text is not empty */
        return task_fail(output, blame, "%s must be an array of numbers", name);
    for (; json_next_element(json->bytes, json->len, &cursor, &element); index++) {
        char text[64];
        double number;
        const bool is_short = element.len < sizeof text;
        if (is_short)
            memcpy(text, element.at, element.len);
        text[is_short ? element.len : 0] = '\0';
        if (!read_number(text, strlen(text), &number))
            return task_fail(output, blame, "%s: element %zu is not a number that a double can hold", name, index);
        if (!add_number(numbers, number))
            return no_memory(output);
    }
    return ST_OK;
}

static enum status read_document(const struct subject *body, struct task_output *output, struct numbers *numbers)
{
    struct json_error error;
    if (!json_check(body->bytes, body->len, &document_limits, &error))
        return task_fail(output, ST_TASK_FAILED, "the body: %s at byte %zu", error.message, error.offset);
    return read_array(body, "the body", ST_TASK_FAILED, output, numbers);
}

/* ---- csv */

static enum status no_such_name(struct task_output *output)
{
    return task_fail(output, ST_TASK_FAILED, "the header has no column of that name");
}

struct table {
    struct numbers *numbers;
    struct task_output *output;
    enum status status; /* the first complaint, which stays */
    const char *name;   /* of the column; NULL: it is known by its number */
    size_t column;      /* from 1; 0 while its name was not found */
    bool is_in_header;
    size_t line;  /* that is being read, from 1 */
    size_t cells; /* of this row so far */
};

/* What a complaint shows of a cell: all of it, or nothing if that is long or no text. */
static const char *shown(const char *text, size_t len)
{
    return len <= SHOWN_MAX_BYTES && strlen(text) == len && utf8_valid(text, len) ? text : "…";
}

static void take_cell(void *bytes, size_t len, void *context)
{
    struct table *table = context;
    const char *text = bytes; /* NUL-terminated, as asked for; but it may hold another NUL */
    double number;
    table->cells++;
    if (table->status != ST_OK)
        return;
    if (table->is_in_header) {
        if (table->name && table->column == 0 && strlen(table->name) == len && memcmp(table->name, text, len) == 0)
            table->column = table->cells;
        return;
    }
    if (table->cells != table->column)
        return;
    if (!read_number(text, len, &number))
        table->status = task_fail(table->output, ST_TASK_FAILED,
                                  "line %zu, column %zu: \"%s\" is not a number that a double can hold", table->line,
                                  table->column, shown(text, len));
    else if (!add_number(table->numbers, number))
        table->status = no_memory(table->output);
}

static void take_row_end(int end UNUSED, void *context)
{
    struct table *table = context;
    const size_t cells = table->cells;
    table->cells = 0;
    if (table->status != ST_OK)
        return;
    if (table->column == 0)
        table->status = no_such_name(table->output);
    else if (cells < table->column)
        table->status = task_fail(table->output, ST_TASK_FAILED, "line %zu has no column %zu: it has %zu", table->line,
                                  table->column, cells);
    table->is_in_header = false;
}

static enum status parse_lines(struct csv_parser *parser, const struct subject *body, struct table *table)
{
    static const char mark[] = "\xef\xbb\xbf"; /* the byte order mark that spreadsheets write */
    const char *at = body->bytes, *const end = body->bytes + body->len;
    if (body->len >= sizeof mark - 1 && memcmp(at, mark, sizeof mark - 1) == 0)
        at += sizeof mark - 1;
    while (at < end && table->status == ST_OK) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const size_t len = (size_t)((newline ? newline + 1 : end) - at);
        table->line++;
        if (csv_parse(parser, at, len, take_cell, take_row_end, table) != len && table->status == ST_OK)
            table->status = csv_error(parser) != CSV_EPARSE ? no_memory(table->output)
                                                            : task_fail(table->output, ST_TASK_FAILED,
                                                                        "line %zu: a quote out of place", table->line);
        at += len;
    }
    if (table->status == ST_OK && csv_fini(parser, take_cell, take_row_end, table) != 0 && table->status == ST_OK)
        table->status = task_fail(table->output, ST_TASK_FAILED, "line %zu: the csv ends within quotes", table->line);
    return table->status;
}

/* False: it is neither a number from 1 nor a name. */
static bool read_column(const char *text, struct table *table)
{
    const size_t digits = strspn(text, "0123456789");
    if (text[digits] != '\0') {
        table->name = text;
        return true;
    }
    const long column = digits <= 6 ? strtol(text, NULL, 10) : 0;
    table->column = (size_t)column;
    return column >= 1 && column <= COLUMNS_MAX;
}

static enum status read_csv(const struct task_input *input, const struct subject *body, struct task_output *output,
                            struct numbers *numbers)
{
    struct table table = { .numbers = numbers, .output = output };
    struct csv_parser parser;
    const char delimiter = input->args[ARG_DELIMITER].text[0];
    if (!read_column(input->args[ARG_COLUMN].text, &table))
        return task_fail(output, ST_INVALID_ARGS, "column must be a number from 1 to %d, or a name", COLUMNS_MAX);
    if (delimiter == '"' || delimiter == '\r' || delimiter == '\n')
        return task_fail(output, ST_INVALID_ARGS, "delimiter may not be a quote or a newline");
    table.is_in_header = table.name || input->args[ARG_HEADER].number != 0;
    if (csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI | CSV_APPEND_NULL) != 0)
        return task_fail(output, ST_NO_MEMORY, "no memory for the csv");
    csv_set_delim(&parser, (unsigned char)delimiter);
    csv_set_blk_size(&parser, FIELD_BLOCK_BYTES);
    enum status status = parse_lines(&parser, body, &table);
    csv_free(&parser);
    if (status == ST_OK && table.name && table.is_in_header) /* no row at all */
        status = no_such_name(output);
    return status;
}

/* ---- figures */

static int compare(const void *a, const void *b)
{
    const double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

struct moments {
    long double mean;
    long double variance; /* of the sample: divided by n - 1 */
};

/* Of at least one number. */
static struct moments moments_of(const struct numbers *numbers)
{
    const long double n = (long double)numbers->count;
    long double sum = 0, squares = 0, rest = 0;
    for (size_t i = 0; i < numbers->count; i++)
        sum += numbers->at[i];
    const long double mean = sum / n;
    for (size_t i = 0; i < numbers->count; i++) {
        const long double deviation = numbers->at[i] - mean;
        squares += deviation * deviation;
        rest += deviation;
    }
    return (struct moments){ .mean = mean, .variance = n > 1 ? fmaxl(0, squares - rest * rest / n) / (n - 1) : 0 };
}

/* Hyndman and Fan's type 7, as in R, NumPy and spreadsheets: between the neighbours of (n - 1) p, linearly. */
static long double quantile(const struct numbers *sorted, double p)
{
    const long double place = (long double)(sorted->count - 1) * p;
    const size_t below = (size_t)place;
    const long double low = sorted->at[below];
    if (below + 1 >= sorted->count)
        return low;
    return low + (place - (long double)below) * (sorted->at[below + 1] - low);
}

/* 15 digits, or as many more as it takes to read back the same double; null if `exact` does not fit one. */
static void write_number(struct buf *out, long double exact)
{
    const double number = (double)exact;
    char text[DOUBLE_TEXT_BYTES];
    if (!isfinite(number)) {
        buf_lit(out, "null");
        return;
    }
    if (fabs(number) < PLAIN_INTEGERS_END && number == trunc(number)) {
        json_int(out, (int64_t)number);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            break;
    }
    buf_str(out, text);
}

static void write_figure(struct buf *out, const char *key, bool is_known, long double value)
{
    buf_byte(out, ',');
    json_key(out, key);
    if (is_known)
        write_number(out, value);
    else
        buf_lit(out, "null");
}

static void write_figures(struct buf *out, struct numbers *numbers, const struct numbers *quantiles)
{
    const size_t count = numbers->count;
    const struct moments moments = count > 0 ? moments_of(numbers) : (struct moments){ .mean = 0 };
    if (count > 0)
        qsort(numbers->at, count, sizeof *numbers->at, compare);
    buf_lit(out, "{\"count\":");
    json_uint(out, count);
    write_figure(out, "mean", count > 0, moments.mean);
    write_figure(out, "variance", count > 1, moments.variance);
    write_figure(out, "stddev", count > 1, sqrtl(moments.variance));
    write_figure(out, "min", count > 0, count > 0 ? numbers->at[0] : 0);
    write_figure(out, "max", count > 0, count > 0 ? numbers->at[count - 1] : 0);
    buf_lit(out, ",\"quantiles\":[");
    for (size_t i = 0; i < quantiles->count; i++) {
        buf_str(out, i == 0 ? "{\"p\":" : ",{\"p\":");
        write_number(out, quantiles->at[i]);
        write_figure(out, "value", count > 0, count > 0 ? quantile(numbers, quantiles->at[i]) : 0);
        buf_byte(out, '}');
    }
    buf_lit(out, "]}");
}

/* ---- the task */

static enum status read_quantiles(const struct arg *arg, struct task_output *output, struct numbers *quantiles)
{
    const struct subject json = { .bytes = arg->text, .len = arg->text_len };
    const enum status status = read_array(&json, "quantiles", ST_INVALID_ARGS, output, quantiles);
    if (status != ST_OK)
        return status;
    for (size_t i = 0; i < quantiles->count; i++)
        if (quantiles->at[i] < 0 || quantiles->at[i] > 1)
            return task_fail(output, ST_INVALID_ARGS, "quantiles must be from 0 to 1");
    if (quantiles->count > QUANTILES_MAX)
        return task_fail(output, ST_INVALID_ARGS, "quantiles may be %d at most", QUANTILES_MAX);
    return ST_OK;
}

static enum status read_numbers(const struct task_input *input, struct task_output *output, struct numbers *numbers)
{
    struct subject subject;
    const enum status status = subject_take(input, &input->args[ARG_VALUES], "values", output, &subject);
    if (status != ST_OK)
        return status;
    if (input->args[ARG_VALUES].is_set)
        return read_array(&subject, "values", ST_INVALID_ARGS, output, numbers);
    if (input->args[ARG_FORMAT].number == JSON)
        return read_document(&subject, output, numbers);
    return read_csv(input, &subject, output, numbers);
}

static enum status run(const struct task_input *input, struct task_output *output)
{
    struct numbers numbers = { .count = 0 }, quantiles = { .count = 0 };
    enum status status = read_quantiles(&input->args[ARG_QUANTILES], output, &quantiles);
    if (status == ST_OK)
        status = read_numbers(input, output, &numbers);
    if (status == ST_OK)
        write_figures(output->result, &numbers, &quantiles);
    free(numbers.at);
    free(quantiles.at);
    return status;
}

const struct task stats_task = {
    .name = "stats",
    .description = "Count, mean, variance, extremes and quantiles of numbers in an array, a csv column or a JSON body.",
    .params = params,
    .takes_payload = true,
    .is_idempotent = true,
    .run = run,
};
