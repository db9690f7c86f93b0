/* fetch_options: the members that say how a URL is to be fetched, the same for one URL and as defaults for a list.
 *
 * A fault does not end the reading: the caller sees all of them at once (fetch_errors.h). */
#ifndef TWINPOOL_HANDLERS_FETCH_OPTIONS_H
#define TWINPOOL_HANDLERS_FETCH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/attrs.h"
#include "base/nearest_name.h"
#include "handlers/fetch_errors.h"
#include "handlers/limits.h"
#include "pool/fetch_call.h"

struct cJSON;

struct fetch_reader {
    const struct handler_limits *limits;
    struct arena *arena;
    struct fetch_errors errors;
    char at[32]; /* JSON Pointer of the object being read */
};

/* What holds where a caller says nothing. */
void fetch_options_default(const struct handler_limits *limits, struct fetch_item *ret_item) NONNULL;

/* True: the member is one of the options, and the item has it (or an error was added). False: no option has this name.
 */
bool fetch_options_read(struct fetch_reader *reader, const struct cJSON *member, struct fetch_item *item)
    NONNULL MUST_CHECK;
bool fetch_options_read_parameter(struct fetch_reader *reader, const char *name, const char *value,
                                  struct fetch_item *item) NONNULL MUST_CHECK;

/* All options, for "did you mean". */
void fetch_options_offer(struct nearest_name *nearest) NONNULL;

/* After all members of the object were read: do they go together? */
void fetch_options_check(struct fetch_reader *reader, const struct cJSON *object, const struct fetch_item *item)
    NONNULL;

/* An exact integer within the range; else an error is added and *ret_value is untouched. `option`: what sets the
 * maximum, or NULL. */
void fetch_options_read_integer(struct fetch_reader *reader, const struct cJSON *member, uint64_t minimum,
                                uint64_t maximum, const char *option, uint64_t *ret_value)
    __attribute__((nonnull(1, 2, 6)));

/* true or false; else an error is added. */
bool fetch_options_read_switch(struct fetch_reader *reader, const struct cJSON *member) NONNULL;

#endif
