/* config_args: the declaration of a task's args, as the configuration file and plug-ins have it:
 *
 *     width int 1..4096 required, mode enum fit|fill default fit, title string 0..200, fast bool, more json
 */
#ifndef TWINPOOL_SERVICE_CONFIG_ARGS_H
#define TWINPOOL_SERVICE_CONFIG_ARGS_H

#include <stdbool.h>

#include "base/attrs.h"
#include "service/config_value.h"
#include "tasks/task.h"

/* *ret_params is one block, to be freed with free(); NULL: any object will do. False: ret_message says why it cannot be
 * read. */
bool config_args_read(const char *text, struct param **ret_params, char ret_message[CONFIG_MESSAGE_MAX])
    NONNULL MUST_CHECK;

#endif
