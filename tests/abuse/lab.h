/* lab: a world for abusing the fetcher in.
 *
 * It is a network namespace where every address is this machine's (tests/support/netns.h), so nothing that goes wrong
 * leaves it and everything that goes wrong is seen:
 *   canaries  listen on all addresses, at the port {C} and at ports that have a meaning of their own (22, 6379…).
 *             Whatever connects to one of them went where it must not go.
 *   origin    listens on all addresses at {O} and answers (tests/support/origin.h). Reached at a public address it is
 *             what may be fetched; the policy, and not the network, is what keeps it from being fetched at 127.0.0.1.
 *   pairs     ports ({R}, 80, 443) with the origin's like on 8.8.8.8 and canaries on a few refused addresses: for names
 *             that point here first and there later, and for URLs without a port.
 * Every server under test runs in an environment that misleads it: proxies that are canaries, a .netrc, authorities
 * that sign for anybody, a file for TLS keys.
 *
 * One lab a process; its functions are called by one thread. */
#ifndef TWINPOOL_TESTS_ABUSE_LAB_H
#define TWINPOOL_TESTS_ABUSE_LAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/buf.h"
#include "tests/support/name_server.h"
#include "tests/support/nginx.h"
#include "tests/support/origin.h"
#include "tests/support/server.h"

/* Twinpools with a policy each; all ask our name server. */
enum lab_server {
    LAB_STRICT,   /* the default policy */
    LAB_ONE,      /* --fetch-allow 127.0.0.1/32 */
    LAB_TLS,      /* that, and nginx's authority */
    LAB_HOSTS,    /* --fetch-hosts */
    LAB_DENY,     /* --fetch-deny-hosts, --fetch-deny, --fetch-ports */
    LAB_SELF,     /* loopback and 0.0.0.0 are allowed */
    LAB_SELF_ANY, /* that, and it listens on all addresses */
    LAB_SERVERS
};

/* False: says why on stderr; lab_close() cleans up in any case. Call lab_open() before there is any thread. */
bool lab_open(void) MUST_CHECK;
/* Stops everything. False, and stderr says why: a server had to be killed, its sanitizer complained, or it connected to
 * a canary even now. */
bool lab_close(void) MUST_CHECK;

const struct server *lab_server(enum lab_server which);

/* Connections that canaries have seen so far; whoever was connected before the call is counted. */
uint64_t lab_canary_hits(void);

struct name_server *lab_names(void);
struct origin *lab_origin(void);
/* Where the environment has TLS keys written to. */
const char *lab_key_log_path(void);

/* Appends the text with what its placeholders stand for; other braces stay. The table of ports in lab.c lists them:
 * {C}, {O}, {R}, {full}, {h1}…; {S} is the port of the server `which`, {x*300} three hundred times the character x. */
void lab_expand(const char *text, enum lab_server which, struct buf *out) NONNULL;

/* What the name server knows, beside what tests tell it: cases_dns.c. */
struct lab_record {
    const char *name;
    enum name_type type;
    const char *value;
    uint32_t ttl_s;
};
struct lab_habit {
    const char *name;
    enum name_behaviour behaviour;
    uint32_t parameter;
};
extern const struct lab_record lab_records[]; /* ends with one that has no name, as does the next */
extern const struct lab_habit lab_habits[];

#endif
