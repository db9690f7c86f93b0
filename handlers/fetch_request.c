/* fetch_request: body or query string to fetch_call.
 *
 * The items point into the cJSON tree, which lives as long as the call; what must be built (header lines, decoded
 * bodies, the list of items) comes from one arena. So a call of a thousand URLs costs two small allocations each,
 * cJSON's.
 *
 * A URL that no request can be made of is that item's failure, found by the pool; only what is wrong with the request's
 * shape refuses the call. */
#include "handlers/fetch_request.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_check.h"
#include "base/nearest_name.h"
#include "handlers/fetch_options.h"
#include "pool/io_pool.h"

enum { ARENA_FIRST_BYTES = 1024, ERRORS_LIST_MAX_BYTES = 32 * 1024 };

static const char hint[] = "send {\"url\": \"…\"} or {\"urls\": [\"…\", …]}";

static struct fetch_request *request_new(struct exchange *x, cJSON *tree)
{
    struct arena *arena = arena_new(ARENA_FIRST_BYTES);
    struct fetch_request *request = arena ? arena_alloc(arena, 1, sizeof *request) : NULL;
    if (!request) {
        arena_free(arena);
        return NULL;
    }
    request->x = x;
    request->arena = arena;
    request->tree = tree;
    request->call.loop = x->loop;
    request->call.user = request;
    request->io_pool = x->app->io_pool;
    return request;
}

void fetch_request_free(void *request)
{
    struct fetch_request *self = request;
    if (!self)
        return;
    io_pool_release(self->io_pool, &self->call);
    cJSON_Delete(self->tree);
    arena_free(self->arena); /* with itself */
}

/* Answers the faults that were found, if any. Frees the list. */
static bool refuse_if_any(struct exchange *x, struct fetch_errors *errors)
{
    bool is_refused = errors->count > 0 || errors->out_of_memory;
    if (is_refused) {
        struct buf members = BUF_INIT(ERRORS_LIST_MAX_BYTES + sizeof "\"errors\":[]");
        buf_lit(&members, "\"errors\":[");
        buf_append(&members, errors->list.data ? errors->list.data : "", errors->list.len);
        buf_append(&members, "]", sizeof "]"); /* with its NUL */
        if (errors->out_of_memory || members.failed)
            exchange_problem(x, ST_NO_MEMORY, NULL);
        else
            exchange_problem_with(x, ST_INVALID_ARGS, members.data, "%s", errors->first);
        buf_done(&members);
    }
    buf_done(&errors->list);
    return is_refused;
}

static bool allocate_items(struct fetch_reader *reader, struct fetch_call *call, size_t count)
{
    call->items = arena_alloc(reader->arena, count, sizeof *call->items);
    call->count = call->items ? count : 0;
    reader->errors.out_of_memory = reader->errors.out_of_memory || !call->items;
    return call->items != NULL;
}

static const char *const call_members[] = { "url", "urls", "concurrency", "require", "forward_traceparent", NULL };

static bool is_call_member(const char *name)
{
    size_t i = 0;
    while (call_members[i] && strcmp(call_members[i], name) != 0)
        i++;
    return call_members[i] != NULL;
}

static void add_unknown(struct fetch_reader *reader, const char *name, bool is_in_list)
{
    struct nearest_name nearest;
    if (is_in_list && is_call_member(name)) {
        fetch_errors_add(&reader->errors, reader->at, name, "belongs beside urls, not into one of them");
        return;
    }
    nearest_name_start(&nearest, name);
    for (size_t i = 0; !is_in_list && call_members[i]; i++)
        nearest_name_offer(&nearest, call_members[i]);
    if (is_in_list)
        nearest_name_offer(&nearest, "url");
    fetch_options_offer(&nearest);
    const char *where = is_in_list ? "a URL's object" : "a fetch";
    if (nearest.name[0])
        fetch_errors_add(&reader->errors, reader->at, name, "is not a member of %s; did you mean %s?", where,
                         nearest.name);
    else
        fetch_errors_add(&reader->errors, reader->at, name, "is not a member of %s", where);
}

/* An object of "urls": its own URL and options over the defaults, which the item has already. */
static void read_item_object(struct fetch_reader *reader, const cJSON *object, size_t index, struct fetch_item *item)
{
    const cJSON *member;
    snprintf(reader->at, sizeof reader->at, "/urls/%zu", index);
    if (!cJSON_IsObject(object)) {
        fetch_errors_add(&reader->errors, reader->at, NULL, "must be a string or an object with a url");
        return;
    }
    cJSON_ArrayForEach(member, object)
    {
        if (strcmp(member->string, "url") == 0)
            item->url = member->valuestring; /* NULL unless a string */
        else if (!fetch_options_read(reader, member, item))
            add_unknown(reader, member->string, true);
    }
    if (!item->url)
        fetch_errors_add(&reader->errors, reader->at, "url",
                         cJSON_GetObjectItemCaseSensitive(object, "url") ? "must be a string" : "is missing");
    fetch_options_check(reader, object, item);
}

static void read_urls(struct fetch_reader *reader, const cJSON *urls, const struct fetch_item *defaults,
                      struct fetch_call *call)
{
    size_t count = cJSON_IsArray(urls) ? (size_t)cJSON_GetArraySize(urls) : 0;
    if (!cJSON_IsArray(urls) || count == 0)
        fetch_errors_add(&reader->errors, "", "urls", "must be an array of at least one URL");
    else if (count > reader->limits->fetch_max_urls)
        fetch_errors_add(&reader->errors, "", "urls", "has %zu URLs, at most %u are accepted (--fetch-max-urls)", count,
                         reader->limits->fetch_max_urls);
    else if (allocate_items(reader, call, count)) {
        struct fetch_item *item = call->items;
        const cJSON *entry;
        cJSON_ArrayForEach(entry, urls)
        {
            *item = *defaults;
            if (cJSON_IsString(entry))
                item->url = entry->valuestring;
            else
                read_item_object(reader, entry, (size_t)(item - call->items), item);
            item++;
        }
    }
}

static void read_single(struct fetch_reader *reader, const cJSON *url, const struct fetch_item *defaults,
                        struct fetch_call *call)
{
    if (!cJSON_IsString(url)) {
        fetch_errors_add(&reader->errors, "", "url", "must be a string");
    } else if (allocate_items(reader, call, 1)) {
        call->items[0] = *defaults;
        call->items[0].url = url->valuestring;
    }
}

/* How many must succeed: "all", "any" or a number. */
static void read_require(struct fetch_reader *reader, const cJSON *member, struct fetch_call *call)
{
    uint64_t required = 0;
    if (call->count == 0)
        return; /* something is wrong with the URLs */
    if (cJSON_IsString(member) && strcmp(member->valuestring, "all") == 0)
        required = call->count;
    else if (cJSON_IsString(member) && strcmp(member->valuestring, "any") == 0)
        required = 1;
    else if (cJSON_IsNumber(member))
        fetch_options_read_integer(reader, member, 1, call->count, "as many as there are urls", &required);
    else
        fetch_errors_add(&reader->errors, "", member->string, "must be \"all\", \"any\" or a number of URLs");
    call->required = (size_t)required;
}

/* A caller's trace goes to third parties only if the caller says so. */
static void read_forward_traceparent(struct fetch_reader *reader, const cJSON *member, struct fetch_request *request)
{
    if (!fetch_options_read_switch(reader, member) || !request->x->traceparent)
        return;
    snprintf(request->traceparent, sizeof request->traceparent, "traceparent: %s", request->x->traceparent);
    request->call.traceparent = request->traceparent;
}

/* Everything but the URLs; these come after, since they inherit the options wherever those stand. */
static void read_members(struct fetch_reader *reader, const cJSON *root, struct fetch_item *defaults,
                         struct fetch_request *request)
{
    const cJSON *member;
    uint64_t concurrency = 0;
    cJSON_ArrayForEach(member, root)
    {
        if (strcmp(member->string, "url") == 0 || strcmp(member->string, "urls") == 0 ||
            strcmp(member->string, "require") == 0)
            continue;
        if (strcmp(member->string, "forward_traceparent") == 0)
            read_forward_traceparent(reader, member, request);
        else if (strcmp(member->string, "concurrency") == 0)
            fetch_options_read_integer(reader, member, 1, reader->limits->fetch_inflight_max, "--fetch-inflight-max",
                                       &concurrency);
        else if (!fetch_options_read(reader, member, defaults))
            add_unknown(reader, member->string, false);
    }
    request->call.concurrency = (unsigned)concurrency;
    fetch_options_check(reader, root, defaults);
}

static void read_root(struct fetch_reader *reader, const cJSON *root, struct fetch_request *request)
{
    const cJSON *url = cJSON_GetObjectItemCaseSensitive(root, "url"),
                *urls = cJSON_GetObjectItemCaseSensitive(root, "urls");
    struct fetch_item defaults;
    fetch_options_default(reader->limits, &defaults);
    read_members(reader, root, &defaults, request);
    if ((url != NULL) == (urls != NULL))
        fetch_errors_add(&reader->errors, "", NULL, "must have either url or urls: %s", hint);
    else if (url)
        read_single(reader, url, &defaults, &request->call);
    else
        read_urls(reader, urls, &defaults, &request->call);
    const cJSON *require = cJSON_GetObjectItemCaseSensitive(root, "require");
    reader->at[0] = '\0';
    if (require && url)
        fetch_errors_add(&reader->errors, "", "require", "goes with urls");
    else if (require)
        read_require(reader, require, &request->call);
    request->is_single = url != NULL;
}

static bool is_json_body(struct exchange *x)
{
    if (x->query_count > 0 && !(x->query_count == 1 && strcmp(x->query[0].name, "explain") == 0)) {
        exchange_problem(x, ST_INVALID_ARGS,
                         "POST /fetch has no query parameter but explain; its options are members of the JSON body");
    } else if (x->body_len == 0) {
        exchange_problem(x, ST_INVALID_JSON, "the body is empty; %s", hint);
    } else if (x->media_type == MEDIA_FORM) {
        exchange_problem(x, ST_UNSUPPORTED_MEDIA_TYPE,
                         "the body came as a form, which is what `curl -d` says unless told otherwise; "
                         "add -H 'Content-Type: application/json'");
    } else if (x->media_type != MEDIA_JSON) {
        exchange_problem(x, ST_UNSUPPORTED_MEDIA_TYPE, "the body must be JSON, with Content-Type: application/json");
    } else {
        return true;
    }
    return false;
}

static cJSON *parse_body(struct exchange *x)
{
    struct json_error error;
    if (!json_check(x->body, x->body_len, &JSON_LIMITS_DEFAULT, &error)) {
        exchange_problem(x, ST_INVALID_JSON, "%s at byte %zu", error.message, error.offset);
        return NULL;
    }
    cJSON *tree = cJSON_ParseWithLength(x->body, x->body_len);
    if (!tree)
        exchange_problem(x, ST_NO_MEMORY, NULL); /* the text was checked: nothing else is left */
    if (!tree || cJSON_IsObject(tree))
        return tree;
    cJSON_Delete(tree);
    exchange_problem(x, ST_INVALID_JSON, "the body must be a JSON object: %s", hint);
    return NULL;
}

static struct fetch_reader reader_for(struct fetch_request *request)
{
    return (struct fetch_reader){ .limits = request->x->app->limits,
                                  .arena = request->arena,
                                  .errors.list = BUF_INIT(ERRORS_LIST_MAX_BYTES) };
}

/* The request if nothing was wrong with it; else it is freed and the exchange answered. */
static bool finish_reading(struct fetch_reader *reader, struct fetch_request *request,
                           struct fetch_request **ret_request)
{
    if (refuse_if_any(request->x, &reader->errors)) {
        fetch_request_free(request);
        return false;
    }
    *ret_request = request;
    return true;
}

bool fetch_request_from_body(struct exchange *x, struct fetch_request **ret_request)
{
    cJSON *tree = is_json_body(x) ? parse_body(x) : NULL;
    if (!tree)
        return false;
    struct fetch_request *request = request_new(x, tree);
    if (!request) {
        cJSON_Delete(tree);
        exchange_problem(x, ST_NO_MEMORY, NULL);
        return false;
    }
    struct fetch_reader reader = reader_for(request);
    read_root(&reader, tree, request);
    return finish_reading(&reader, request, ret_request);
}

/* The query string belongs to the exchange, and a stream's call may outlive that. */
static const char *copy_text(struct fetch_reader *reader, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = arena_alloc(reader->arena, size, 1);
    reader->errors.out_of_memory = reader->errors.out_of_memory || !copy;
    return copy ? memcpy(copy, text, size) : NULL;
}

static void read_parameter(struct fetch_reader *reader, const struct query_param *param, struct fetch_item *item)
{
    static const char advice[] =
        "is not a parameter of GET /fetch, which takes url and the options that are numbers; for others use POST. If "
        "it is part of the url, percent-encode that (curl -G --data-urlencode 'url=…')";
    if (strcmp(param->name, "explain") == 0)
        return; /* fetch.c has read it */
    if (strcmp(param->name, "url") != 0) {
        if (!fetch_options_read_parameter(reader, param->name, param->value, item))
            fetch_errors_add_parameter(&reader->errors, param->name, "%s", advice);
    } else if (item->url) {
        fetch_errors_add_parameter(&reader->errors, "url", "is given more than once");
    } else {
        item->url = copy_text(reader, param->value);
    }
}

bool fetch_request_from_query(struct exchange *x, struct fetch_request **ret_request)
{
    struct fetch_request *request = request_new(x, NULL);
    if (!request) {
        exchange_problem(x, ST_NO_MEMORY, NULL);
        return false;
    }
    struct fetch_reader reader = reader_for(request);
    request->is_single = true;
    if (allocate_items(&reader, &request->call, 1)) {
        struct fetch_item *item = &request->call.items[0];
        fetch_options_default(reader.limits, item);
        for (size_t i = 0; i < x->query_count; i++)
            read_parameter(&reader, &x->query[i], item);
        if (!item->url)
            fetch_errors_add_parameter(&reader.errors, "url", "is missing: GET /fetch?url=…");
    }
    return finish_reading(&reader, request, ret_request);
}

static size_t count_ok(const struct fetch_call *call)
{
    size_t ok = 0;
    for (size_t i = 0; i < call->count; i++)
        ok += call->items[i].status == ST_OK;
    return ok;
}

static size_t count_succeeded(const struct fetch_call *call)
{
    size_t succeeded = 0;
    for (size_t i = 0; i < call->count; i++)
        succeeded += call->items[i].status == ST_OK && call->items[i].http_status < 400;
    return succeeded;
}

size_t fetch_request_sum_up(const struct fetch_request *request, char ret_text[static SUMMARY_TEXT_SIZE])
{
    const struct fetch_call *call = &request->call;
    return summary_write(&(struct summary){ .count = call->count,
                                            .ok = count_ok(call),
                                            .has_quorum = call->required > 0,
                                            .required = call->required,
                                            .succeeded = count_succeeded(call),
                                            .started_ns = call->started_ns },
                         ret_text);
}
