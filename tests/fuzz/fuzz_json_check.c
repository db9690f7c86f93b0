/* Any bytes: what json_check accepts, cJSON must read, and print as text that is accepted again; the
 * slice functions must stay inside the text whether it was accepted or not (ASan watches the exact-size copy). */
#include <cjson/cJSON.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_check.h"

/* A number may print longer than it was, and a \u escape as raw bytes: only the grammar is the same again. */
static const struct json_limits loose = { .depth = 64, .members = 8192, .values = SIZE_MAX, .number_length = 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static bool lies_inside(struct json_slice slice, const char *text, size_t len)
{
    return slice.at >= text && slice.at <= text + len && slice.len <= (size_t)(text + len - slice.at);
}

static size_t walk_slices(const char *text, size_t len)
{
    struct json_slice slice;
    int64_t integer;
    static const char *const names[] = { "", "a", "url", "\xc3\xa9" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        require(!json_member(text, len, names[i], &slice) || lies_inside(slice, text, len));
    size_t elements = 0;
    for (size_t cursor = 0; json_next_element(text, len, &cursor, &slice); elements++) {
        require(lies_inside(slice, text, len) && slice.len > 0 && cursor <= len);
        (void)!json_exact_int64(slice, &integer);
    }
    return elements;
}

static void require_members(const cJSON *object, const char *text, size_t len)
{
    for (const cJSON *member = object->child; member != NULL; member = member->next) {
        struct json_slice value;
        struct json_error error;
        require(json_member(text, len, member->string, &value));
        require(json_check(value.at, value.len, &loose, &error));
    }
}

static void require_cjson_agrees(const char *text, size_t len, size_t elements)
{
    struct json_error error;
    cJSON *tree = cJSON_ParseWithLength(text, len);
    require(tree != NULL);
    require(!cJSON_IsArray(tree) || elements == (size_t)cJSON_GetArraySize(tree));
    if (cJSON_IsObject(tree))
        require_members(tree, text, len);
    char *printed = cJSON_PrintUnformatted(tree);
    require(printed != NULL && json_check(printed, strlen(printed), &loose, &error));
    cJSON_free(printed);
    cJSON_Delete(tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size > 0 ? size : 1);
    require(text != NULL);
    memcpy(text, data, size);
    struct json_error error = { .offset = SIZE_MAX };
    struct json_limits limits = JSON_LIMITS_DEFAULT;
    bool accepted = json_check(text, size, &limits, &error);
    require(accepted || (error.offset <= size && error.message != NULL));
    size_t elements = walk_slices(text, size);
    if (accepted)
        require_cjson_agrees(text, size, elements);
    require(!accepted || utf8_valid(text, size));
    free(text);
    return 0;
}
