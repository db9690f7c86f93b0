/* A declaration of args, a line, and then args for it, in either form: what is declared has a schema that is JSON; what
 * is accepted can be written again and is accepted again; what is refused is refused with a list. */
#include <cjson/cJSON.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_check.h"
#include "service/config_args.h"

static const struct json_limits loose = { .depth = 64, .members = 8192, .values = SIZE_MAX, .number_length = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void require_json(const struct buf *text)
{
    struct json_error error;
    require(!text->failed && json_check(text->data ? text->data : "", text->len, &loose, &error));
}

static void try_args(const struct task *task, enum task_args_form form, const char *args, size_t len, bool has_payload)
{
    struct task_input input = { 0 }, second = { 0 };
    struct buf errors = BUF_INIT(1 << 16), written = BUF_INIT(1 << 22);
    void *storage = NULL, *second_storage = NULL;
    enum status status = task_parse_args(task, form, args, len, has_payload, &input, &storage, &errors);
    if (status == ST_OK) {
        task_write_args(&input, &written);
        require_json(&written);
        status = task_parse_args(task, TASK_ARGS_JSON, written.data, written.len, has_payload, &second, &second_storage,
                                 &errors);
        require(status == ST_OK);
    } else if (status != ST_NO_MEMORY) {
        require(status == ST_INVALID_ARGS || (status == ST_INVALID_JSON && form == TASK_ARGS_JSON));
        require_json(&errors);
    }
    free(storage);
    free(second_storage);
    buf_done(&errors);
    buf_done(&written);
}

/* What the front end makes of a query string: an object of strings. */
static bool may_be_query(const char *args, size_t len)
{
    cJSON *json = cJSON_ParseWithLength(args, len);
    bool is_query = cJSON_IsObject(json);
    const cJSON *member;
    cJSON_ArrayForEach(member, json) is_query = is_query && cJSON_IsString(member);
    cJSON_Delete(json);
    return is_query || len == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char declaration[CONFIG_MESSAGE_MAX], message[CONFIG_MESSAGE_MAX];
    const uint8_t *end = memchr(data, '\n', size);
    size_t len = end ? (size_t)(end - data) : size;
    if (len >= sizeof declaration || memchr(data, '\0', len))
        return 0;
    memcpy(declaration, data, len);
    declaration[len] = '\0';
    struct param *params;
    if (!config_args_read(declaration, &params, message)) {
        require(message[0] != '\0');
        return 0;
    }
    const struct task task = { .name = "fuzzed", .description = "", .params = params };
    struct buf schema = BUF_INIT(1 << 20);
    task_schema(&task, &schema);
    require_json(&schema);
    buf_done(&schema);
    size_t args_len = end ? size - len - 1 : 0;
    char *args = malloc(args_len > 0 ? args_len : 1);
    require(args != NULL);
    if (args_len > 0)
        memcpy(args, end + 1, args_len);
    for (unsigned i = 0; i < 4; i++)
        if (!(i & 1) || may_be_query(args, args_len))
            try_args(&task, i & 1 ? TASK_ARGS_QUERY : TASK_ARGS_JSON, args, args_len, (i & 2) != 0);
    free(args);
    free(params);
    return 0;
}
