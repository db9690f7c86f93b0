/* config_file: the INI file that --config names: `key = value` lines, with the flags' names as keys. */
#ifndef TWINPOOL_SERVICE_CONFIG_FILE_H
#define TWINPOOL_SERVICE_CONFIG_FILE_H

#include <stdbool.h>
#include <stdio.h>

#include "base/attrs.h"
#include "service/config.h"
#include "service/config_table.h"

/* Sets what the file sets, and given[i] for each config_options[i] among it. False: a message that names file and line
 * was written to `errors`. */
bool config_file_read(const char *path, struct config *config, bool given[CONFIG_OPTIONS_MAX], FILE *errors)
    NONNULL MUST_CHECK;

#endif
