/* url_rules: is this text a URL that we fetch? Checked before anything else looks at it.
 *
 * URL parsers disagree on odd spellings, and every disagreement is a way past a rule. So this is a narrow gate in front
 * of libcurl's parser: exactly "http://" or "https://", a host, an optional port, then anything printable. Refused are
 * user names, backslashes, white space and control bytes, other numbers of slashes, and hosts whose last label is a
 * number but which are no IPv4 address (libcurl would ask the DNS for them). Internationalised names become their ASCII
 * form first (UTS #46, RFC 5891), so that no dot or digit hides in them. The address behind a name is judged when it
 * was resolved and again at the socket, not here. Pure functions. */
#ifndef TWINPOOL_POOL_URL_RULES_H
#define TWINPOOL_POOL_URL_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/attrs.h"
#include "base/buf.h"
#include "base/status.h"

enum {
    URL_LENGTH_MAX = 8192, /* bytes */
    URL_HOST_MAX = 255,    /* bytes, after percent-decoding and again in ASCII */
    URL_ORIGIN_SIZE = URL_HOST_MAX + sizeof "https://:65535"
};

struct url_parts {
    bool is_https;
    uint16_t port;               /* the scheme's if none was given */
    char host[URL_HOST_MAX + 1]; /* ASCII, lower case; an address in its usual spelling, IPv6 in brackets, whose zone
                                    is as it was written */
    struct sockaddr_storage address; /* of a host that is an address in any spelling; else its family is AF_UNSPEC */
    socklen_t address_len;           /* 0: the host is a name */
    size_t rest_at;                  /* where path, query or fragment begin in the URL */
};

/* ST_OK. ST_BAD_URL | ST_SCHEME_NOT_ALLOWED: *ret_parts is unspecified, *ret_message a static text for people. */
enum status url_rules_check(const char *url, struct url_parts *ret_parts, const char **ret_message) NONNULL MUST_CHECK;

/* Writes "scheme://host:port", the key of "the same server" (RFC 6454), and returns its length. */
size_t url_rules_origin(const struct url_parts *parts, char ret_origin[static URL_ORIGIN_SIZE]) NONNULL;

/* Appends the URL in the one spelling that goes to libcurl: scheme and host as in `parts`, no default port, the rest as
 * in `url`, which `parts` is of. */
void url_rules_write(const struct url_parts *parts, const char *url, struct buf *out) NONNULL;

#endif
