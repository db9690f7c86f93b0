/* json_path: pick a value out of a JSON answer by a path such as "results.0.status". */
#ifndef TWINPOOL_TESTS_JSON_PATH_H
#define TWINPOOL_TESTS_JSON_PATH_H

#include <cjson/cJSON.h>

#include "base/attrs.h"

/* NULL if there is nothing there (or root is NULL). A step of digits is an index into an array, anything else a
 * member's exact name. */
const cJSON *json_at(const cJSON *root, const char *path) __attribute__((nonnull(2)));

/* The number there, or NAN. */
double json_number(const cJSON *root, const char *path) __attribute__((nonnull(2)));
/* The string there, or "". */
const char *json_text_at(const cJSON *root, const char *path) __attribute__((nonnull(2)));

#endif
