#include "service/router.h"

#include <stdio.h>
#include <string.h>

#define BIT(method) (1u << (method))
#define GET_HEAD    (BIT(HTTP_GET) | BIT(HTTP_HEAD) | BIT(HTTP_OPTIONS))
#define POST        (BIT(HTTP_POST) | BIT(HTTP_OPTIONS))

/* One route a line. */
/* clang-format off */
static const struct route routes[] = {
    { "/healthz", GET_HEAD, false, &endpoint_healthz },
    { "/compute/{}", GET_HEAD | POST, true, &endpoint_compute },
    { "/fetch", GET_HEAD | POST, true, &endpoint_fetch },
    { "/compute/{}/map", POST, true, &endpoint_compute_map },
    { "/tasks", GET_HEAD, false, &endpoint_tasks },
    { "/readyz", GET_HEAD, false, &endpoint_readyz },
    { "/metrics", GET_HEAD, false, &endpoint_metrics },
    { "/stats", GET_HEAD, false, &endpoint_stats },
};
/* clang-format on */

static const char *const method_names[] = {
    [HTTP_GET] = "GET",     [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",       [HTTP_PUT] = "PUT",
    [HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS",
};

static bool matches(const char *pattern, const char *path, char *ret_arg, size_t arg_size)
{
    const char *hole = strstr(pattern, "{}");
    if (hole == NULL)
        return strcmp(pattern, path) == 0;
    size_t before = (size_t)(hole - pattern);
    if (strncmp(pattern, path, before) != 0)
        return false;
    size_t len = strcspn(path + before, "/");
    if (len == 0 || len >= arg_size || strcmp(path + before + len, hole + 2) != 0)
        return false;
    memcpy(ret_arg, path + before, len);
    ret_arg[len] = '\0';
    return true;
}

const struct route *router_find(const char *path, char *ret_arg, size_t arg_size)
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (matches(routes[i].path, path, ret_arg, arg_size))
            return &routes[i];
    return NULL;
}

int router_method(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(method_names); i++)
        if (strcmp(name, method_names[i]) == 0)
            return (int)i;
    return -1;
}

const char *router_method_name(enum http_method method) { return method_names[method]; }

void router_allow(unsigned methods, char *text, size_t size)
{
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(method_names) && len < size; i++)
        if (methods & BIT(i))
            len += (size_t)snprintf(text + len, size - len, "%s%s", len > 0 ? ", " : "", method_names[i]);
}
