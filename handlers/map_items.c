/* map_items: see the header.
 *
 * One pass of json_check (over the array, or over each line) so that the walk may trust the text, and one walk that
 * notes where each item begins and ends. What an item's args mean is the worker's business. The slices' array is sized
 * before the walk: an item takes at least two bytes with its separator, and no more are allowed than --map-max-items.
 */
#include "handlers/map_items.h"

#include <stdlib.h>
#include <string.h>

#include "handlers/compute_request.h"
#include "handlers/limits.h"
#include "tasks/task.h"

struct item_list {
    struct json_slice *items;
    size_t count, capacity;
};

static bool add_item(struct item_list *list, struct json_slice item)
{
    if (list->count == list->capacity)
        return false;
    list->items[list->count++] = item;
    return true;
}

/* The worker judges each item by the default limits; the array around them must not make that stricter. */
static struct json_limits array_limits(const struct exchange *x)
{
    struct json_limits limits = JSON_LIMITS_DEFAULT;
    limits.depth++;
    limits.values += (size_t)x->app->limits->map_max_items * (1 + TASK_PARAMS_MAX);
    return limits;
}

static void refuse_count(struct exchange *x)
{
    compute_refuse(x, NULL, "has more items than the %u that --map-max-items allows", x->app->limits->map_max_items);
}

static bool read_array(struct exchange *x, struct item_list *list)
{
    struct json_limits limits = array_limits(x);
    struct json_error error;
    if (!json_check(x->body, x->body_len, &limits, &error)) {
        exchange_problem(x, ST_INVALID_JSON, "%s at byte %zu of the body", error.message, error.offset);
        return false;
    }
    size_t start = 0;
    while (strchr(" \t\r\n", x->body[start])) /* the check found a value, so this stops inside the body */
        start++;
    if (x->body[start] != '[') {
        exchange_problem(x, ST_INVALID_JSON, "the body must be an array of args, one for each item");
        return false;
    }
    struct json_slice item;
    size_t cursor = 0;
    while (json_next_element(x->body, x->body_len, &cursor, &item))
        if (!add_item(list, item)) {
            refuse_count(x);
            return false;
        }
    return true;
}

static struct json_slice trimmed(const char *line, size_t len)
{
    static const char space[] = " \t\r";
    while (len > 0 && memchr(space, line[0], sizeof space - 1)) {
        line++;
        len--;
    }
    while (len > 0 && memchr(space, line[len - 1], sizeof space - 1))
        len--;
    return (struct json_slice){ .at = line, .len = len };
}

static bool read_lines(struct exchange *x, struct item_list *list)
{
    const char *end = x->body + x->body_len;
    size_t number = 1;

    for (const char *line = x->body; line < end; number++) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *line_end = newline ? newline : end;
        struct json_slice item = trimmed(line, (size_t)(line_end - line));
        struct json_error error;
        if (item.len > 0 && !json_check(item.at, item.len, &JSON_LIMITS_DEFAULT, &error)) {
            exchange_problem(x, ST_INVALID_JSON, "%s at byte %zu of line %zu", error.message,
                             (size_t)(item.at - line) + error.offset, number);
            return false;
        }
        if (item.len > 0 && !add_item(list, item)) {
            refuse_count(x);
            return false;
        }
        line = newline ? newline + 1 : end;
    }
    return true;
}

static bool check_media_type(struct exchange *x)
{
    if (x->media_type != MEDIA_JSON && x->media_type != MEDIA_NDJSON) {
        exchange_problem(x, ST_UNSUPPORTED_MEDIA_TYPE,
                         "a map is a JSON array of args, one for each item; send it with "
                         "Content-Type: application/json (or as lines, application/x-ndjson)");
        return false;
    }
    if (x->body_len == 0 && x->media_type == MEDIA_JSON) {
        exchange_problem(x, ST_INVALID_JSON, "the body is empty; an array of args is expected, one for each item");
        return false;
    }
    return true;
}

bool map_items_read(struct exchange *x, struct json_slice **ret_items, size_t *ret_count)
{
    if (!check_media_type(x))
        return false;
    size_t possible = x->body_len / 2 + 1;
    size_t allowed = x->app->limits->map_max_items;
    struct item_list list = { .capacity = possible < allowed ? possible : allowed };
    list.items = malloc(list.capacity * sizeof *list.items);
    if (!list.items) {
        exchange_problem(x, ST_NO_MEMORY, NULL);
        return false;
    }
    if (!(x->media_type == MEDIA_JSON ? read_array(x, &list) : read_lines(x, &list))) {
        free(list.items);
        return false;
    }
    *ret_items = list.items;
    *ret_count = list.count;
    return true;
}
