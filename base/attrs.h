/* attrs: compiler attributes under names that say what they promise. */
#ifndef TWINPOOL_BASE_ATTRS_H
#define TWINPOOL_BASE_ATTRS_H

#define MUST_CHECK             __attribute__((warn_unused_result))
#define NONNULL                __attribute__((nonnull))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define CLEANUP(fn)            __attribute__((cleanup(fn)))
#define NORETURN               __attribute__((noreturn))
#define COLD                   __attribute__((cold))
/* For a big array on the stack that is written before it is read: the hardening flags would clear it on every call. */
#define UNINITIALIZED __attribute__((uninitialized))
#define UNUSED        __attribute__((unused))
#define LIKELY(x)     __builtin_expect(!!(x), 1)
#define UNLIKELY(x)   __builtin_expect(!!(x), 0)
#define ARRAY_LEN(a)  (sizeof(a) / sizeof((a)[0]))

#endif
