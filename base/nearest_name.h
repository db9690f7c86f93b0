/* nearest_name: "did you mean …?": of the names offered, the one that takes the fewest edits to reach from what was
 * typed. */
#ifndef TWINPOOL_BASE_NEAREST_NAME_H
#define TWINPOOL_BASE_NEAREST_NAME_H

#include "base/attrs.h"

enum { NEAREST_NAME_MAX = 64 }; /* bytes with the NUL; longer names are never near */

struct nearest_name {
    const char *typed;
    unsigned distance;           /* edits; starts at the most that still counts as a typing error */
    char name[NEAREST_NAME_MAX]; /* "" while nothing is near */
};

void nearest_name_start(struct nearest_name *nearest, const char *typed) NONNULL;
void nearest_name_offer(struct nearest_name *nearest, const char *name) NONNULL;

#endif
