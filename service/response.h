/* response: the only builder of answers: the exchange_… functions of handlers/handler.h, and the raw answers of refused
 * connections. */
#ifndef TWINPOOL_SERVICE_RESPONSE_H
#define TWINPOOL_SERVICE_RESPONSE_H

#include <stddef.h>

#include "base/attrs.h"
#include "base/buf.h"
#include "base/status.h"
#include "service/request.h"

/* An answer without a body and with Allow: OPTIONS (204). */
void response_allow(struct request *request) NONNULL;

/* Gives the answer the headers that all have and hands it to the request. `response` NULL: there was no memory for it.
 */
void response_finish(struct exchange *x, unsigned http_status, const char *content_type, struct MHD_Response *response)
    __attribute__((nonnull(1)));

/* A whole HTTP/1.1 response with a problem body, for a connection that is refused before libmicrohttpd knows of a
 * request. */
void response_raw_problem(enum status status, const char *detail, const char *request_id, struct buf *out) NONNULL;

/* A fresh request id: 16 hexadecimal digits and the NUL. */
void response_make_id(char *ret_id) NONNULL;

#endif
