/* name_server: a DNS server for tests, honest and dishonest, on a thread of its own.
 *
 * It answers over UDP and TCP on one port as a recursive server would: what the test said about a name, NXDOMAIN about
 * any other. A name is absolute with or without its last dot, and its case does not matter. One that begins with "*."
 * stands for every name that ends in the rest ("*.test": a.test, a.b.test, not test); the most specific name that was
 * given to add() or behave() decides alone, so what "*.test" does says nothing about a.test once that was given.
 *
 * Everything but start and stop may be called from any thread, at any time between the two, and holds from the next
 * query that the server reads. Names and records have limits (name_zone.c), far above what a test needs. */
#ifndef TWINPOOL_TESTS_NAME_SERVER_H
#define TWINPOOL_TESTS_NAME_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attrs.h"

struct name_server; /* opaque */

/* Seconds: how long a client may remember that there is no such name or record (the SOA's TTL and minimum). */
#define NAME_SERVER_NEGATIVE_TTL_S 30

/* Serves on a numeric IPv4 address; port 0 picks one that is free for both UDP and TCP. NULL: could not. */
struct name_server *name_server_start(const char *address, uint16_t port) NONNULL MUST_CHECK;
/* Closes every socket and joins the thread; what was still to be answered is not. NULL is a no-op. */
void name_server_stop(struct name_server *server);

uint16_t name_server_port(const struct name_server *server) NONNULL;

/* ---- what it knows */

enum name_type { NAME_A = 1, NAME_CNAME = 5, NAME_AAAA = 28 }; /* as in messages */

/* One more record of a name, told after the earlier ones of its type. `value`: a numeric address, for NAME_CNAME a
 * name. A question for a type that the name lacks gets the CNAME (of several the first), and then what the name that it
 * leads to has, if that is known here. False: no such name or value, or a limit is reached; nothing has changed. */
bool name_server_add(struct name_server *server, const char *name, enum name_type type, const char *value,
                     uint32_t ttl_s) NONNULL MUST_CHECK;

/* Forgets the name's records and behaviour, not how often it was asked for. */
void name_server_clear(struct name_server *server, const char *name) NONNULL;

/* ---- what it does */

enum name_behaviour {
    NAME_NORMAL,      /* its records; if it has none at all, NXDOMAIN; none of the type, NOERROR and an SOA */
    NAME_SILENT,      /* never answers */
    NAME_ONCE_SILENT, /* drops the first query of each type */
    NAME_DELAY,       /* answers after `parameter` milliseconds; other queries do not wait */
    NAME_ALTERNATE,   /* one record an answer: each type's first query gets the first, its second one the second… */
    NAME_NXDOMAIN,
    NAME_EMPTY, /* NOERROR without an answer */
    NAME_SERVFAIL,
    NAME_REFUSED,
    NAME_TRUNCATED, /* over UDP only the question and TC, so that the client comes back over TCP */
    NAME_WRONG_ID,  /* a good answer to another query */
    NAME_MALFORMED, /* the right id and question, then a compressed name that points at itself */
    NAME_GARBAGE    /* bytes that are no DNS message */
};

/* Replaces the name's behaviour and starts its count of first and later queries anew. Names under a wildcard are
 * counted each on its own. A name that is only the target of a CNAME lends its records, not its behaviour. `parameter`:
 * for NAME_DELAY; 0 for the others. False as above. */
bool name_server_behave(struct name_server *server, const char *name, enum name_behaviour behaviour, uint32_t parameter)
    NONNULL MUST_CHECK;

/* While silent it answers nothing at all, whatever was said above; it still reads, counts and accepts. */
void name_server_set_silent(struct name_server *server, bool is_silent) NONNULL;

/* ---- what it was asked */

/* Queries read whose question was exactly this name, of all types, over UDP and TCP. A wildcard has none. */
uint64_t name_server_queries(struct name_server *server, const char *name) NONNULL;
/* All questions that could be read. */
uint64_t name_server_total_queries(struct name_server *server) NONNULL;

#endif
