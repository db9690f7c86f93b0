/* resolver: host names to addresses, never blocking: c-ares on the thread's loop, and a cache.
 *
 * All who ask for a name at once share one query (A and AAAA). Answers are kept for their TTL, at most five minutes;
 * "no such name" for five seconds, a name server's failure for one. "localhost" and names below it are loopback without
 * being asked for (RFC 6761). Nothing here judges an address. One resolver belongs to one thread. */
#ifndef TWINPOOL_POOL_RESOLVER_H
#define TWINPOOL_POOL_RESOLVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "base/attrs.h"
#include "base/status.h"
#include "pool/curl_loop.h"

struct resolver;  /* opaque */
struct host_name; /* resolver.c */

enum { RESOLVER_ADDRESSES_MAX = 32, RESOLVER_NAMES_MAX = 10000 };

struct resolver_answer {
    enum status status;                       /* ST_OK, ST_DNS_FAILED, ST_NO_MEMORY */
    bool is_retriable;                        /* asking again soon may help */
    const char *message;                      /* of a failure: a static text for people */
    bool is_own;                              /* of "localhost": not from any name server */
    size_t count;                             /* of addresses; further ones are left out */
    const struct sockaddr_storage *addresses; /* without ports */
};

/* Whoever waits for an answer; embedded in the caller's object. */
struct resolver_wait {
    /* Once, not from within resolver_ask(). The answer is valid during the call. */
    void (*on_answer)(struct resolver_wait *wait, const struct resolver_answer *answer);
    struct host_name *name; /* NULL: does not wait */
    TAILQ_ENTRY(resolver_wait) link;
};

/* `servers`: "ADDR[:PORT],…", or "" for those of /etc/resolv.conf, which is read again when it changes. NULL: no
 * memory, or no such servers. */
struct resolver *resolver_new(struct curl_loop *loop, const char *servers) NONNULL MUST_CHECK;
void resolver_free(struct resolver *resolver); /* nobody may wait; NULL is a no-op */

/* The answer, valid until the next call, or NULL: wait->on_answer will be called. */
const struct resolver_answer *resolver_ask(struct resolver *resolver, const char *name, struct resolver_wait *wait)
    NONNULL MUST_CHECK;
/* on_answer will not be called. A no-op for one that does not wait. */
void resolver_leave(struct resolver_wait *wait) NONNULL;

struct resolver_stats {
    uint64_t queries, hits, shared,
        failures; /* asked of a server; answered from the cache; joined a query; of queries */
};
/* From any thread. */
struct resolver_stats resolver_get_stats(const struct resolver *resolver) NONNULL MUST_CHECK;

#endif
