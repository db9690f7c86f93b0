/* steps: end-to-end cases as a list of requests with the expected answer beside each.
 *
 * All steps go over one keep-alive connection, so a step that leaves the connection out of step makes the next one
 * fail. It is only opened anew where the server announced that it closes. */
#ifndef TWINPOOL_TESTS_STEPS_H
#define TWINPOOL_TESTS_STEPS_H

#include <stddef.h>

#include "base/attrs.h"
#include "tests/support/server.h"

struct step {
    const char *method, *target;
    const char *fields; /* "Name: value\r\n"…, or NULL */
    const char *body;   /* NULL: none */
    unsigned status;
    const char *code;     /* a problem's "code"; NULL: not looked at */
    const char *contains; /* in the body; NULL: not looked at */
};

/* Fails the running test with the step's number and what came instead. Also checks of every answer: X-Request-Id is
 * there, a problem is application/problem+json whose status agrees, a 405 has Allow, a 503 Retry-After. */
void steps_run(const struct server *server, const struct step *steps, size_t count) NONNULL;

/* One request that must be answered with `status`; the caller frees the reply. Fails the test otherwise. */
struct http_reply step_once(const struct server *server, const char *method, const char *target, const char *fields,
                            const char *body, unsigned status) __attribute__((nonnull(1, 2, 3)));

#endif
