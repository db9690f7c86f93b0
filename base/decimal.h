/* decimal: an unsigned number in decimal, where snprintf() would take longer than all around it. */
#ifndef TWINPOOL_BASE_DECIMAL_H
#define TWINPOOL_BASE_DECIMAL_H

#include <stdint.h>
#include <string.h>

enum { DECIMAL_DIGITS_MAX = 20, DECIMAL_MS_MAX = DECIMAL_DIGITS_MAX + 1 };

/* Writes the digits so that the last one stands right before `end`, without a NUL; returns the first. */
static inline char *decimal_before(char *end, uint64_t value)
{
    do
        *--end = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    return end;
}

/* Nanoseconds as milliseconds with three places after the point; like decimal_before(). */
static inline char *decimal_ms_before(char *end, uint64_t ns)
{
    uint64_t us = ns / 1000 + (ns % 1000 >= 500);
    for (int i = 0; i < 3; i++, us /= 10)
        *--end = (char)('0' + us % 10);
    *--end = '.';
    return decimal_before(end, us);
}

/* The digits at `to`, without a NUL. Returns their end. */
static inline char *decimal_put(char *to, uint64_t value)
{
    char digits[DECIMAL_DIGITS_MAX], *end = digits + sizeof digits;
    const char *first = decimal_before(end, value);
    return (char *)memcpy(to, first, (size_t)(end - first)) + (end - first);
}

static inline char *decimal_put_ms(char *to, uint64_t ns)
{
    char digits[DECIMAL_MS_MAX], *end = digits + sizeof digits;
    const char *first = decimal_ms_before(end, ns);
    return (char *)memcpy(to, first, (size_t)(end - first)) + (end - first);
}

#endif
