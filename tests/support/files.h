/* files: what tests write, and where the build has put things. */
#ifndef TWINPOOL_TESTS_FILES_H
#define TWINPOOL_TESTS_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/attrs.h"

/* The file is made, or made anew, with that text. */
bool files_write(const char *path, const char *text) NONNULL MUST_CHECK;

/* Where a plug-in of tests/plugins is, of the build that is under test. */
void files_plugin(const char *name, char *ret_path, size_t size) NONNULL;

#endif
