/* fetch_errors: every fault of a request for /fetch, with its place, so that a caller sees all of them at once. */
#ifndef TWINPOOL_HANDLERS_FETCH_ERRORS_H
#define TWINPOOL_HANDLERS_FETCH_ERRORS_H

#include <stdbool.h>

#include "base/attrs.h"
#include "base/buf.h"

struct fetch_errors {
    struct buf list;    /* JSON objects, separated by commas; bounded */
    unsigned count;     /* found in all; the first few are listed */
    char first[256];    /* the first one, for people */
    bool out_of_memory; /* says nothing about the request */
};

/* What is wrong with `member` (NULL: with the value itself) of the value at the JSON Pointer `at`. */
void fetch_errors_add(struct fetch_errors *errors, const char *at, const char *member, const char *detail, ...)
    __attribute__((format(printf, 4, 5), nonnull(1, 2, 4)));
/* The same for a parameter of the query string. */
void fetch_errors_add_parameter(struct fetch_errors *errors, const char *name, const char *detail, ...)
    PRINTF_LIKE(3, 4) NONNULL;

#endif
