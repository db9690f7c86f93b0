/* listen_address: "127.0.0.1:8080" and "[::1]:8080" as socket addresses. Numeric only: nothing is resolved. */
#ifndef TWINPOOL_SERVICE_LISTEN_ADDRESS_H
#define TWINPOOL_SERVICE_LISTEN_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/attrs.h"

struct listen_address {
    struct sockaddr_storage storage; /* AF_INET or AF_INET6 */
    socklen_t len;
};

/* False: not ADDR:PORT or [ADDR6]:PORT with a numeric address and a port of 0..65535; *ret_address is untouched. */
bool listen_address_parse(const char *text, struct listen_address *ret_address) NONNULL MUST_CHECK;

uint16_t listen_address_port(const struct listen_address *address) NONNULL;

/* Where a client on this machine reaches a server bound here: 0.0.0.0 becomes 127.0.0.1, [::] becomes [::1]. */
void listen_address_to_local(struct listen_address *address) NONNULL;

#endif
