/* router: which endpoint answers which method and path. */
#ifndef TWINPOOL_SERVICE_ROUTER_H
#define TWINPOOL_SERVICE_ROUTER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attrs.h"
#include "handlers/handler.h"

struct route {
    const char *path; /* "{}" stands for one non-empty segment */
    unsigned methods; /* bits 1 << enum http_method; HEAD and OPTIONS are added where GET is and everywhere */
    bool is_work;     /* refused while draining */
    const struct endpoint *endpoint;
};

/* NULL: no such path. The variable segment, if any, is copied to ret_arg (a longer one does not match). */
const struct route *router_find(const char *path, char *ret_arg, size_t arg_size) NONNULL;

/* -1: no method of ours. */
int router_method(const char *name) NONNULL;
const char *router_method_name(enum http_method method);
/* "GET, HEAD, OPTIONS" of a set of methods; text needs 64 bytes. */
void router_allow(unsigned methods, char *text, size_t size) NONNULL;

#endif
