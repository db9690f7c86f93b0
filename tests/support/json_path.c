#include "tests/support/json_path.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const cJSON *json_at(const cJSON *root, const char *path)
{
    const cJSON *at = root;
    while (at && *path) {
        char step[128];
        size_t len = strcspn(path, ".");
        snprintf(step, sizeof step, "%.*s", (int)len, path);
        at = cJSON_IsArray(at) ? cJSON_GetArrayItem(at, atoi(step)) : cJSON_GetObjectItemCaseSensitive(at, step);
        path += len + (path[len] == '.');
    }
    return at;
}

double json_number(const cJSON *root, const char *path)
{
    const cJSON *value = json_at(root, path);
    return cJSON_IsNumber(value) ? value->valuedouble : (double)NAN;
}

const char *json_text_at(const cJSON *root, const char *path)
{
    const cJSON *value = json_at(root, path);
    return cJSON_IsString(value) ? value->valuestring : "";
}
