#include "handlers/map_options.h"

#include <string.h>

#include "handlers/limits.h"

/* 0 if the caller does not say. */
static bool read_items(struct exchange *x, const char *name, size_t *ret_items)
{
    unsigned maximum = x->app->limits->map_max_items;
    const char *text = exchange_query(x, name);
    uint64_t number = 0;

    if (text && !compute_parse_number(text, 1, maximum, &number)) {
        compute_refuse(x, name, "must be an integer from 1 to %u (--map-max-items)", maximum);
        return false;
    }
    *ret_items = (size_t)number;
    return true;
}

static bool read_order(struct exchange *x, struct map_options *options)
{
    const char *text = exchange_query(x, "order");

    options->is_by_completion = text && strcmp(text, "completed") == 0;
    if (!text || options->is_by_completion || strcmp(text, "input") == 0)
        return true;
    compute_refuse(x, "order", "must be \"input\" or \"completed\"");
    return false;
}

bool map_options_read(struct exchange *x, struct map_options *ret_options)
{
    static const char *const params[] = {
        "timeout_ms", "priority", "chunksize", "order", "require", "buffersize", NULL
    };

    *ret_options = (struct map_options){
        .form = x->accepts == ANSWER_NDJSON || x->accepts == ANSWER_EVENTS ? x->accepts : ANSWER_JSON,
    };
    if (!compute_request_read(x, &ret_options->request) ||
        compute_refuse_unknown(
            x, params,
            "timeout_ms, priority, chunksize, order, require and buffersize are; the items' args are in the body") ||
        !read_items(x, "chunksize", &ret_options->chunksize) ||
        !read_items(x, "buffersize", &ret_options->buffersize) || !read_order(x, ret_options))
        return false;
    if (ret_options->buffersize > 0 && !map_options_is_streamed(ret_options)) {
        compute_refuse(x, "buffersize", "goes with a stream: Accept: " NDJSON_TYPE " or " EVENTS_TYPE);
        return false;
    }
    return true;
}

bool map_options_read_require(struct exchange *x, size_t item_count, struct map_options *options)
{
    const char *text = exchange_query(x, "require");
    uint64_t number = 1;

    if (text && strcmp(text, "all") == 0)
        number = item_count;
    else if (text && strcmp(text, "any") != 0 && !compute_parse_number(text, 1, item_count, &number)) {
        compute_refuse(x, "require", "must be \"all\", \"any\" or a number from 1 to that of the items, which is %zu",
                       item_count);
        return false;
    }
    options->has_quorum = text != NULL;
    options->required = (size_t)number;
    return true;
}
