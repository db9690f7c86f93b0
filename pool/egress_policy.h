/* egress_policy: which servers may be fetched from: ports, host names, addresses.
 *
 * Addresses are denied by default. IPv4: everything but the special ranges of RFC 6890 and its successors (IANA
 * special-purpose registry), plus 168.63.129.16. IPv6: only 2000::/3 without its special blocks; IPv4-mapped
 * (::ffff:0:0/96) and NAT64 (64:ff9b::/96) addresses are judged as the IPv4 address inside, an ISATAP interface id too.
 * A network in `deny` is refused whatever else holds; one in `allow` is allowed although it is special. The service's
 * own address and port are always refused. Ports: those that browsers refuse (the "bad ports" of the WHATWG Fetch
 * standard), or all but a list. Hosts: patterns.
 *
 * Functions of their arguments alone, but for one: whether an address is this machine's own is asked of the kernel
 * (only if the service listens on all addresses and the port is its own). */
#ifndef TWINPOOL_POOL_EGRESS_POLICY_H
#define TWINPOOL_POOL_EGRESS_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/attrs.h"
#include "base/status.h"
#include "pool/url_rules.h"

enum { EGRESS_CIDRS_MAX = 64, EGRESS_HOSTS_BYTES = 1024, EGRESS_PORT_RANGES_MAX = 64, EGRESS_MESSAGE_SIZE = 200 };

struct egress_cidr {
    uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d */
    unsigned prefix;     /* bits of the 128: an IPv4 /8 is 104 */
};
struct egress_cidrs {
    struct egress_cidr list[EGRESS_CIDRS_MAX];
    size_t count;
};
/* "example.org" (that host) and "*.example.org" (those below it) */
struct egress_hosts {
    char text[EGRESS_HOSTS_BYTES]; /* lower case, each ended by NUL */
    size_t count;
};
struct egress_ports {
    struct {
        uint16_t first, last;
    } ranges[EGRESS_PORT_RANGES_MAX];
    size_t count;
};

/* Zero-initialised: nothing but public addresses, any host, no bad port. */
struct egress_policy {
    struct egress_cidrs allow, deny;
    struct egress_hosts only_hosts; /* if any: no others */
    struct egress_hosts deny_hosts;
    struct egress_ports only_ports;      /* if any: these instead of all but the bad ones */
    struct sockaddr_storage own_address; /* where the service listens; AF_UNSPEC: nowhere */
};

/* "127.0.0.0/8,::1/128", "example.org,*.example.com", "80,443,8000-8999"; empty: none. False: *ret_message is a static
 * text, *ret untouched. */
bool egress_cidrs_parse(const char *list, struct egress_cidrs *ret_cidrs, const char **ret_message) NONNULL MUST_CHECK;
bool egress_hosts_parse(const char *list, struct egress_hosts *ret_hosts, const char **ret_message) NONNULL MUST_CHECK;
bool egress_ports_parse(const char *list, struct egress_ports *ret_ports, const char **ret_message) NONNULL MUST_CHECK;

/* What follows returns ST_OK or the refusal, with a message for people that names the rule and the option. */

/* ST_PORT_NOT_ALLOWED. */
enum status egress_policy_check_port(const struct egress_policy *policy, uint16_t port,
                                     char ret_message[static EGRESS_MESSAGE_SIZE]) NONNULL MUST_CHECK;
/* ST_HOST_NOT_ALLOWED. `host` as in url_parts. */
enum status egress_policy_check_host(const struct egress_policy *policy, const char *host,
                                     char ret_message[static EGRESS_MESSAGE_SIZE]) NONNULL MUST_CHECK;
/* ST_BLOCKED_ADDRESS; ST_LOOP_DETECTED: it is this service. Anything but AF_INET and AF_INET6 is blocked. */
enum status egress_policy_check_address(const struct egress_policy *policy, const struct sockaddr *address,
                                        socklen_t len, uint16_t port, char ret_message[static EGRESS_MESSAGE_SIZE])
    NONNULL MUST_CHECK;
/* Port, host and, if the host is an address, that. */
enum status egress_policy_check_url(const struct egress_policy *policy, const struct url_parts *parts,
                                    char ret_message[static EGRESS_MESSAGE_SIZE]) NONNULL MUST_CHECK;

#endif
