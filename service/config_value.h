/* config_value: one option's value, from text to its field in struct config and back. */
#ifndef TWINPOOL_SERVICE_CONFIG_VALUE_H
#define TWINPOOL_SERVICE_CONFIG_VALUE_H

#include <stdbool.h>

#include "base/attrs.h"
#include "service/config.h"
#include "service/config_table.h"

enum { CONFIG_MESSAGE_MAX = 512, CONFIG_DESCRIPTION_MAX = 160 };

/* `fields`: the struct that the option's offset is of. False: ret_message says what is wrong and what is allowed
 * (`"many" is not a whole number from 0 to 256`), and the field keeps its value. */
bool config_value_set(const struct config_option *option, const char *text, void *fields,
                      char ret_message[CONFIG_MESSAGE_MAX]) NONNULL MUST_CHECK;

/* As config_value_set() accepts it; sizes in plain bytes. */
void config_value_text(const struct config_option *option, const void *fields, char ret_text[CONFIG_TEXT_MAX]) NONNULL;

/* Of the kinds with a range (COUNT, BYTES, MS) only. */
uint64_t config_value_number(const struct config_option *option, const void *fields) NONNULL;

/* Writes the message and returns false. */
bool config_fail(char ret_message[CONFIG_MESSAGE_MAX], const char *format, ...) PRINTF_LIKE(2, 3) NONNULL;

/* "a whole number from 0 to 256": what the option takes, for messages and documents. */
void config_value_describe(const struct config_option *option, char ret_text[CONFIG_DESCRIPTION_MAX]) NONNULL;

#endif
