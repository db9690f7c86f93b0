/* egress_policy: which addresses and URLs may be fetched. Pure functions of their arguments.
 *
 * Deny by default. IPv4: everything but the special ranges of RFC 6890 and its successors (IANA special-purpose
 * registry), plus 168.63.129.16. IPv6: only 2000::/3 without its special blocks; IPv4-mapped (::ffff:0:0/96) and NAT64
 * (64:ff9b::/96) addresses are judged as the IPv4 address inside, an ISATAP interface id too. CIDRs given with
 * --fetch-allow are allowed before anything is denied. */
#ifndef TWINPOOL_POOL_EGRESS_POLICY_H
#define TWINPOOL_POOL_EGRESS_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/attrs.h"

enum { EGRESS_CIDRS_MAX = 64 };

struct egress_cidr {
    uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d */
    unsigned prefix;     /* bits of the 128: an IPv4 /8 is 104 */
};

struct egress_policy {
    struct egress_cidr allow[EGRESS_CIDRS_MAX];
    size_t allow_count;
};

/* Parses "127.0.0.0/8,::1/128" (empty: nothing allowed). False: *ret_message is a static text. */
bool egress_policy_parse(const char *list, struct egress_policy *ret_policy, const char **ret_message)
    NONNULL MUST_CHECK;

/* NULL if the address may be connected to, else the rule that forbids it, a static text such as
 * "loopback (127.0.0.0/8)". Anything but AF_INET and AF_INET6 is forbidden. */
const char *egress_policy_refuses(const struct egress_policy *policy, const struct sockaddr *address, socklen_t len)
    NONNULL MUST_CHECK;

#endif
