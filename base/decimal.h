/* decimal: an unsigned number in decimal, where snprintf() would take longer than all around it. */
#ifndef TWINPOOL_BASE_DECIMAL_H
#define TWINPOOL_BASE_DECIMAL_H

#include <stdint.h>

enum { DECIMAL_DIGITS_MAX = 20 };

/* Writes the digits so that the last one stands right before `end`, without a NUL; returns the first. */
static inline char *decimal_before(char *end, uint64_t value)
{
    do
        *--end = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    return end;
}

#endif
