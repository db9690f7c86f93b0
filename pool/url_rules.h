/* url_rules: is this text a URL that we fetch? Checked before anything else looks at it.
 *
 * URL parsers disagree on odd spellings, and every disagreement is a way past a rule. So this is a narrow gate in front
 * of libcurl's parser: exactly "http://" or "https://", a host, an optional port, then anything printable. Refused are
 * user names, backslashes, white space and control bytes, other numbers of slashes, and hosts whose last label is a
 * number but which are no IPv4 address (libcurl would ask the DNS for them). The address behind a name is judged at the
 * socket, not here. Pure functions. */
#ifndef TWINPOOL_POOL_URL_RULES_H
#define TWINPOOL_POOL_URL_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/attrs.h"
#include "base/status.h"

enum {
    URL_LENGTH_MAX = 8192, /* bytes */
    URL_HOST_MAX = 255,    /* bytes, as written and after percent-decoding */
    URL_ORIGIN_SIZE = URL_HOST_MAX + sizeof "https://:65535"
};

struct url_parts {
    bool is_https;
    uint16_t port;                   /* the scheme's if none was given */
    char host[URL_HOST_MAX + 1];     /* percent-decoded, ASCII lower case; an IPv6 literal keeps its brackets */
    struct sockaddr_storage address; /* of a host that is an address in any spelling; else its family is AF_UNSPEC */
    socklen_t address_len;
};

/* ST_OK. ST_BAD_URL | ST_SCHEME_NOT_ALLOWED: *ret_parts is unspecified, *ret_message a static text for people. */
enum status url_rules_check(const char *url, struct url_parts *ret_parts, const char **ret_message) NONNULL MUST_CHECK;

/* Writes "scheme://host:port", the key of "the same server" (RFC 6454), and returns its length. */
size_t url_rules_origin(const struct url_parts *parts, char ret_origin[static URL_ORIGIN_SIZE]) NONNULL;

#endif
