/* trust_store: the certificate authorities that origins are verified against, read once and shared by all connections.
 */
#ifndef TWINPOOL_POOL_TRUST_STORE_H
#define TWINPOOL_POOL_TRUST_STORE_H

#include <stdbool.h>

#include "base/attrs.h"

struct trust_store; /* opaque */

/* `path`: a file of PEM certificates; "": the system's, without which nobody is trusted. NULL: the file cannot be read
 * or holds none, or no memory. */
struct trust_store *trust_store_new(const char *path) NONNULL MUST_CHECK;
void trust_store_free(struct trust_store *store); /* NULL is a no-op */

/* Has an SSL_CTX use it. From any thread. */
void trust_store_use(const struct trust_store *store, void *ssl_ctx) NONNULL;

#endif
