/* compute_request: what POST /compute/{task} and POST /compute/{task}/map have in common: the task, the deadline, how a
 * bad parameter is refused and how a job's end is told to people. */
#ifndef TWINPOOL_HANDLERS_COMPUTE_REQUEST_H
#define TWINPOOL_HANDLERS_COMPUTE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/buf.h"
#include "handlers/handler.h"
#include "pool/job.h"

enum { EXPLANATION_BYTES = 400 };

struct compute_request {
    unsigned task; /* index into task_table */
    uint32_t timeout_ms;
    uint64_t deadline_ns; /* timeout_ms after the request's header was complete */
    enum task_priority priority;
};

/* Reads the task from the path, the deadline from the query's timeout_ms or Request-Timeout-Ms, and the priority.
 * Refuses a query with more parameters than any task takes, and one that names a parameter twice. False: refused, and
 * already answered.
 */
bool compute_request_read(struct exchange *x, struct compute_request *ret_request) NONNULL MUST_CHECK;

/* A decimal number without sign or leading zeros, from `minimum` to `maximum`. */
bool compute_parse_number(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *ret_number)
    NONNULL MUST_CHECK;

/* Answers 422 with one entry in errors[]: what is wrong with the query parameter (NULL: with the body as a whole). */
void compute_refuse(struct exchange *x, const char *parameter, const char *detail, ...) PRINTF_LIKE(3, 4)
    __attribute__((nonnull(1, 3)));
/* Answers the first query parameter that is not in `known` (NULL-terminated) with 422, appending `advice`. True: there
 * was one. */
bool compute_refuse_unknown(struct exchange *x, const char *const *known, const char *advice) NONNULL MUST_CHECK;
/* Answers for a job that the pool did not take. */
void compute_refuse_submit(struct exchange *x, enum status status, const struct job *job) NONNULL;

/* One sentence for people on why the job failed, of several wrong args about the first; "" if the title says it all. */
void compute_explain(const struct job *job, uint32_t timeout_ms, char ret_text[static EXPLANATION_BYTES]) NONNULL;
/* {"queue_ms":…,"wall_ms":…,"cpu_ms":…,"max_rss_kib":…}; without the last two if its worker was killed or never had it.
 */
void compute_write_usage(struct buf *out, const struct job_usage *usage) NONNULL;

#endif
