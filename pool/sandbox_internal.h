/* sandbox_internal: what the files of the sandbox share. */
#ifndef TWINPOOL_POOL_SANDBOX_INTERNAL_H
#define TWINPOOL_POOL_SANDBOX_INTERNAL_H

#include "pool/sandbox.h"

#if defined(__has_feature)
#define SANDBOX_BUILT_WITH(feature) __has_feature(feature)
#else
#define SANDBOX_BUILT_WITH(feature) 0
#endif

/* Their run-time libraries map terabytes, make threads, read /proc and more. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || SANDBOX_BUILT_WITH(address_sanitizer) || \
    SANDBOX_BUILT_WITH(thread_sanitizer) || SANDBOX_BUILT_WITH(memory_sanitizer)
enum { SANDBOX_IS_SANITIZED = true };
#else
enum { SANDBOX_IS_SANITIZED = false };
#endif

void sandbox_note(struct sandbox_report *report, enum sandbox_mechanism mechanism, enum sandbox_state state,
                  const char *format, ...) PRINTF_LIKE(4, 5) NONNULL;

/* Landlock: FILES, TCP and SCOPE. Needs no_new_privs. */
void sandbox_restrict_objects(const struct sandbox_rules *rules, struct sandbox_report *report) NONNULL;

/* seccomp in two steps, because making the filter takes memory and descriptors, and the limits come between. Needs
 * no_new_privs. */
void sandbox_filter_install(const struct sandbox_filter *filter, struct sandbox_report *report) NONNULL;

#endif
