/* url_rules: one pass from left to right: bytes, scheme, authority (host, port).
 *
 * The path, query and fragment are left to libcurl, which sends them as they are; only bytes that could break the
 * request line are refused. Hosts are percent-decoded before they are judged, since libcurl decodes them too. IPv4 is
 * read as the WHATWG URL standard (and inet_aton) reads it: one to four numbers, each decimal, octal or hexadecimal,
 * the last one filling the remaining bytes. */
#include "pool/url_rules.h"

#include <arpa/inet.h>
#include <idn2.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

#include "base/decimal.h"
#include "base/json_write.h"
#include "base/utf8.h"

enum { LABEL_MAX = 63, HTTP_PORT = 80, HTTPS_PORT = 443 };

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_alpha(char c) { return ((c | 0x20) >= 'a') && ((c | 0x20) <= 'z'); }
static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c; }

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    char low = (char)(c | 0x20);
    return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

/* NULL, or the reason why the bytes as a whole cannot be sent in a request line. */
static const char *check_bytes(const char *url, size_t *ret_len)
{
    size_t len = 0;
    for (; url[len]; len++) {
        unsigned char c = (unsigned char)url[len];
        if (len == URL_LENGTH_MAX)
            return "the URL is longer than 8192 bytes";
        if (c <= ' ' || c == 0x7f)
            return "the URL has white space or a control character in it; percent-encode it";
        if (c == '\\')
            return "the URL has a backslash in it";
    }
    *ret_len = len;
    return len ? NULL : "the URL is empty";
}

/* Length of "scheme" before the first ':', 0 if the text does not begin with one (RFC 3986 section 3.1). */
static size_t scheme_length(const char *url)
{
    if (!is_alpha(url[0]))
        return 0;
    size_t len = 1;
    while (is_alpha(url[len]) || is_digit(url[len]) || strchr("+-.", url[len]) != NULL) {
        if (url[len] == '\0')
            return 0;
        len++;
    }
    return url[len] == ':' ? len : 0;
}

static enum status check_scheme(const char *url, bool *ret_is_https, size_t *ret_authority, const char **ret_message)
{
    size_t len = scheme_length(url);
    bool is_http = len == 4 && strncasecmp(url, "http", 4) == 0;
    bool is_https = len == 5 && strncasecmp(url, "https", 5) == 0;
    if (len == 0) {
        *ret_message = "the URL does not begin with http:// or https://";
        return ST_BAD_URL;
    }
    if (!is_http && !is_https) {
        *ret_message = strncmp(url + len, "://", 3) == 0 ? "only http:// and https:// URLs are fetched"
                                                         : "the URL does not begin with http:// or https://";
        return ST_SCHEME_NOT_ALLOWED;
    }
    if (strncmp(url + len, "://", 3) != 0 || url[len + 3] == '/') {
        *ret_message = "the scheme must be followed by exactly two slashes and a host";
        return ST_BAD_URL;
    }
    *ret_is_https = is_https;
    *ret_authority = len + 3;
    return ST_OK;
}

/* 1..65535 in at most five digits; nothing after the colon means the scheme's port (RFC 3986 section 3.2.3). */
static bool parse_port(const char *text, size_t len, uint16_t *ret_port)
{
    if (len == 0)
        return true;
    unsigned value = 0;
    if (len > 5)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!is_digit(text[i]))
            return false;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    *ret_port = (uint16_t)value;
    return value >= 1 && value <= UINT16_MAX;
}

/* Percent-decodes and lower-cases. False: a broken escape, or more than URL_HOST_MAX bytes. */
static bool decode_host(const char *text, size_t len, char *ret_host, size_t *ret_len)
{
    size_t out = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '%') {
            bool is_whole = i + 2 < len;
            int high = is_whole ? hex_value(text[i + 1]) : -1, low = is_whole ? hex_value(text[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (out == URL_HOST_MAX)
            return false;
        ret_host[out++] = lower(c);
    }
    ret_host[out] = '\0';
    *ret_len = out;
    return true;
}

/* RFC 3986 reg-name after decoding. */
static bool is_host_byte(char c)
{
    return is_alpha(c) || is_digit(c) || (c != '\0' && strchr("-._~!$&'()*+,;=", c) != NULL);
}

/* Dots between labels of 1..63 bytes; one dot may end the name. */
static bool is_host_name(const char *host, size_t len)
{
    size_t label = 0;
    for (size_t i = 0; i < len; i++) {
        if (!is_host_byte(host[i]))
            return false;
        if (host[i] != '.') {
            if (++label > LABEL_MAX)
                return false;
        } else if (label == 0) {
            return false;
        } else {
            label = 0;
        }
    }
    return len > 0;
}

/* One number of an IPv4 address: 0x… hexadecimal, 0… octal, else decimal. */
static bool parse_ipv4_number(const char *text, size_t len, uint64_t *ret_value)
{
    unsigned base = 10;
    if (len >= 2 && text[0] == '0' && text[1] == 'x') {
        base = 16, text += 2, len -= 2;
    } else if (len >= 2 && text[0] == '0') {
        base = 8, text++, len--;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < len; i++) {
        int digit = hex_value(text[i]);
        if (digit < 0 || (unsigned)digit >= base || value > UINT32_MAX)
            return false;
        value = value * base + (unsigned)digit;
    }
    *ret_value = value;
    return len > 0;
}

static bool parse_ipv4(const char *host, size_t len, uint32_t *ret_address)
{
    uint64_t address = 0;
    for (unsigned part = 0; part < 4; part++) {
        const char *dot = memchr(host, '.', len);
        size_t part_len = dot ? (size_t)(dot - host) : len;
        uint64_t value;
        if (!parse_ipv4_number(host, part_len, &value))
            return false;
        if (!dot) { /* the last one fills what is left */
            unsigned bits = 32 - 8 * part;
            *ret_address = (uint32_t)(address << bits | value);
            return value < UINT64_C(1) << bits;
        }
        if (value > 255)
            return false;
        address = address << 8 | value;
        host += part_len + 1;
        len -= part_len + 1;
    }
    return false; /* a fifth part */
}

/* WHATWG "ends in a number": such a host is an IPv4 address or nothing. A dot at the end does not hide the number. */
static bool ends_in_number(const char *host, size_t len)
{
    if (host[len - 1] == '.')
        len--;
    const char *dot = memrchr(host, '.', len);
    const char *label = dot ? dot + 1 : host;
    size_t label_len = (size_t)(host + len - label), digits = 0;
    if (label_len >= 2 && label[0] == '0' && label[1] == 'x') {
        for (digits = 2; digits < label_len && hex_value(label[digits]) >= 0; digits++) {
        }
        return digits == label_len;
    }
    while (digits < label_len && is_digit(label[digits]))
        digits++;
    return label_len > 0 && digits == label_len;
}

static void set_ipv4(struct url_parts *parts, uint32_t address)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(address) };
    memcpy(&parts->address, &in, sizeof in);
    parts->address_len = sizeof in;
    char *to = parts->host;
    for (int shift = 24; shift >= 0; shift -= 8) {
        to = decimal_put(to, address >> shift & 255);
        *to++ = shift > 0 ? '.' : '\0';
    }
}

static bool is_ascii(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] >= 0x80)
            return false;
    return true;
}

/* Replaces an internationalised name by its ASCII form. NULL, or what is wrong with it. */
static const char *to_ascii(char host[static URL_HOST_MAX + 1], size_t *len)
{
    char *ascii = NULL;
    if (memchr(host, '\0', *len)) /* from "%00"; libidn2 would see the name end there */
        return "the host is not a valid name";
    if (!utf8_valid(host, *len))
        return "the host is not UTF-8";
    int code = idn2_lookup_u8((const uint8_t *)host, (uint8_t **)&ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (code != IDN2_OK)
        return "the host is not a valid internationalised name";
    *len = strlen(ascii);
    bool fits = *len <= URL_HOST_MAX;
    for (size_t i = 0; fits && i <= *len; i++)
        host[i] = lower(ascii[i]);
    idn2_free(ascii);
    return fits ? NULL : "the host is too long";
}

/* "[…]" with an optional zone ("%25eth0" or "%eth0"), which libcurl resolves and the policy does not need. */
static bool parse_ipv6(const char *text, size_t len, struct url_parts *parts)
{
    char address[INET6_ADDRSTRLEN];
    const char *zone = memchr(text, '%', len);
    size_t address_len = (zone ? (size_t)(zone - text) : len - 1) - 1;
    if (len < 4 || len > URL_HOST_MAX || text[len - 1] != ']' || address_len >= sizeof address)
        return false;
    memcpy(address, text + 1, address_len);
    address[address_len] = '\0';
    for (const char *c = zone ? zone + 1 : text + len - 1; c < text + len - 1; c++)
        if (!is_alpha(*c) && !is_digit(*c) && *c != '-' && *c != '.' && *c != '_' && *c != '~')
            return false;
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
    if (inet_pton(AF_INET6, address, &in6.sin6_addr) != 1)
        return false;
    memcpy(&parts->address, &in6, sizeof in6);
    parts->address_len = sizeof in6;
    parts->host[0] = '[';
    if (!inet_ntop(AF_INET6, &in6.sin6_addr, parts->host + 1, INET6_ADDRSTRLEN))
        return false;
    size_t at = strlen(parts->host), zone_len = zone ? (size_t)(text + len - zone) : 1; /* with the bracket */
    if (at + zone_len > URL_HOST_MAX)
        return false;
    memcpy(parts->host + at, text + len - zone_len, zone_len);
    parts->host[at + zone_len] = '\0';
    return true;
}

static const char *parse_host(const char *text, size_t len, struct url_parts *parts)
{
    parts->address_len = 0;
    parts->address.ss_family = AF_UNSPEC;
    if (len == 0)
        return "the URL has no host";
    if (text[0] == '[')
        return parse_ipv6(text, len, parts) ? NULL : "the host is not a valid IPv6 address";
    size_t host_len;
    if (!decode_host(text, len, parts->host, &host_len))
        return "the host is too long or has a broken percent escape in it";
    const char *wrong = is_ascii(parts->host, host_len) ? NULL : to_ascii(parts->host, &host_len);
    if (wrong)
        return wrong;
    if (!is_host_name(parts->host, host_len))
        return "the host is not a valid name";
    if (!ends_in_number(parts->host, host_len))
        return NULL;
    uint32_t address;
    if (!parse_ipv4(parts->host, host_len, &address))
        return "the host ends in a number but is not a valid IPv4 address";
    set_ipv4(parts, address);
    return NULL;
}

static const char *parse_authority(const char *text, size_t len, struct url_parts *parts)
{
    if (memchr(text, '@', len))
        return "the URL has a user name or password in it; send an Authorization header instead";
    const char *bracket = memchr(text, ']', len);
    if (text[0] == '[' && !bracket)
        return "the IPv6 address has no closing bracket";
    size_t host_len = bracket ? (size_t)(bracket + 1 - text) : len;
    const char *colon = bracket ? bracket + 1 : memchr(text, ':', len);
    if (colon && colon < text + len) {
        size_t port_at = (size_t)(colon - text) + 1;
        if (*colon != ':' || !parse_port(text + port_at, len - port_at, &parts->port))
            return "the port must be a number from 1 to 65535";
        host_len = port_at - 1;
    }
    return parse_host(text, host_len, parts);
}

enum status url_rules_check(const char *url, struct url_parts *ret_parts, const char **ret_message)
{
    size_t len, authority;
    *ret_message = check_bytes(url, &len);
    if (*ret_message)
        return ST_BAD_URL;
    enum status status = check_scheme(url, &ret_parts->is_https, &authority, ret_message);
    if (status != ST_OK)
        return status;
    ret_parts->port = ret_parts->is_https ? HTTPS_PORT : HTTP_PORT;
    size_t authority_len = strcspn(url + authority, "/?#");
    ret_parts->rest_at = authority + authority_len;
    *ret_message = parse_authority(url + authority, authority_len, ret_parts);
    return *ret_message ? ST_BAD_URL : ST_OK;
}

void url_rules_write(const struct url_parts *parts, const char *url, struct buf *out)
{
    buf_str(out, parts->is_https ? "https://" : "http://");
    buf_str(out, parts->host);
    if (parts->port != (parts->is_https ? HTTPS_PORT : HTTP_PORT)) {
        buf_byte(out, ':');
        json_uint(out, parts->port);
    }
    buf_str(out, url + parts->rest_at);
}

size_t url_rules_origin(const struct url_parts *parts, char ret_origin[static URL_ORIGIN_SIZE])
{
    char *to = stpcpy(stpcpy(ret_origin, parts->is_https ? "https://" : "http://"), parts->host);
    *to++ = ':';
    to = decimal_put(to, parts->port);
    *to = '\0';
    return (size_t)(to - ret_origin);
}
