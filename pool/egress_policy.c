/* egress_policy: two tables of special ranges and one walk over them; a table of ports; patterns.
 *
 * Every address becomes 16 bytes, an IPv4 address the IPv4-mapped ones. Forms that carry an IPv4 address inside and
 * deliver to it (mapped, NAT64, ISATAP) are judged as that address, because that is where the packets go. Tunnels whose
 * inner address the sender cannot vouch for (6to4, Teredo) are refused whole. IPv4 is allowed unless listed; IPv6 is
 * refused unless inside 2000::/3 and not listed, so that a block which IANA hands out tomorrow is closed today. The
 * IPv6 rows outside 2000::/3 only give the refusal a better name.
 *
 * The allow list knows the two families apart: "::/0" says nothing about IPv4, however the address is written. */
#include "pool/egress_policy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

struct rule {
    uint8_t address[16];
    uint8_t prefix; /* bits */
    const char *text;
};

#define V4(a, b, c, d, bits, name)                                             \
    {                                                                          \
        { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d }, 96 + (bits), \
            name " (" #a "." #b "." #c "." #d "/" #bits ")"                    \
    }

/* IANA IPv4 special-purpose registry, with the blocks that are not globally reachable, multicast and class E. */
static const struct rule ipv4_refused[] = {
    V4(0, 0, 0, 0, 8, "this network"),
    V4(10, 0, 0, 0, 8, "private"),
    V4(100, 64, 0, 0, 10, "carrier-grade NAT"),
    V4(127, 0, 0, 0, 8, "loopback"),
    V4(169, 254, 0, 0, 16, "link-local"),
    V4(172, 16, 0, 0, 12, "private"),
    V4(192, 0, 0, 0, 24, "IETF protocol assignments"),
    V4(192, 0, 2, 0, 24, "documentation"),
    V4(192, 88, 99, 0, 24, "6to4 relay anycast"),
    V4(192, 168, 0, 0, 16, "private"),
    V4(198, 18, 0, 0, 15, "benchmarking"),
    V4(198, 51, 100, 0, 24, "documentation"),
    V4(203, 0, 113, 0, 24, "documentation"),
    V4(224, 0, 0, 0, 4, "multicast"),
    V4(240, 0, 0, 0, 4, "reserved or broadcast"),
    V4(168, 63, 129, 16, 32, "cloud metadata"), /* Azure's wire server: public space, answered inside every VM */
};

static const struct rule ipv6_refused[] = {
    /* inside 2000::/3 */
    { { 0x20, 0x01, 0x00, 0x00 }, 32, "Teredo (2001::/32)" },
    { { 0x20, 0x01, 0x00 }, 23, "IETF protocol assignments (2001::/23)" },
    { { 0x20, 0x01, 0x0d, 0xb8 }, 32, "documentation (2001:db8::/32)" },
    { { 0x20, 0x02 }, 16, "6to4 (2002::/16)" },
    { { 0x3f, 0xff }, 20, "documentation (3fff::/20)" },
    /* outside: refused anyway */
    { { 0 }, 128, "unspecified (::/128)" },
    { { [15] = 1 }, 128, "loopback (::1/128)" },
    { { 0 }, 96, "IPv4-compatible (::/96)" },
    { { [8] = 0xff, [9] = 0xff }, 96, "IPv4-translated (::ffff:0:0:0/96)" },
    { { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 }, 48, "local-use NAT64 (64:ff9b:1::/48)" },
    { { 0x01, 0x00 }, 64, "discard-only (100::/64)" },
    { { 0x5f, 0x00 }, 16, "segment routing (5f00::/16)" },
    { { 0xfc }, 7, "unique local (fc00::/7)" },
    { { 0xfe, 0x80 }, 10, "link-local (fe80::/10)" },
    { { 0xfe, 0xc0 }, 10, "site-local (fec0::/10)" },
    { { 0xff }, 8, "multicast (ff00::/8)" },
};

static const uint8_t mapped_prefix[16] = { [10] = 0xff, [11] = 0xff }; /* ::ffff:0:0/96 */
static const uint8_t nat64_prefix[16] = { 0x00, 0x64, 0xff, 0x9b };    /* 64:ff9b::/96 */
static const uint8_t global_unicast[16] = { 0x20 };                    /* 2000::/3 */
enum { EMBEDDED_BITS = 96, GLOBAL_UNICAST_BITS = 3 };

static bool within(const uint8_t address[16], const uint8_t base[16], unsigned prefix)
{
    unsigned bytes = prefix / 8, bits = prefix % 8;
    if (memcmp(address, base, bytes) != 0)
        return false;
    return bits == 0 || ((address[bytes] ^ base[bytes]) >> (8 - bits)) == 0;
}

static bool is_ipv4(const uint8_t address[16]) { return within(address, mapped_prefix, EMBEDDED_BITS); }

static bool is_listed(const struct egress_cidrs *cidrs, const uint8_t address[16])
{
    for (size_t i = 0; i < cidrs->count; i++) {
        const struct egress_cidr *cidr = &cidrs->list[i];
        bool cidr_is_ipv4 = cidr->prefix >= EMBEDDED_BITS && is_ipv4(cidr->address);
        if (cidr_is_ipv4 == is_ipv4(address) && within(address, cidr->address, cidr->prefix))
            return true;
    }
    return false;
}

static const char *find_rule(const struct rule *rules, size_t count, const uint8_t address[16])
{
    for (size_t i = 0; i < count; i++)
        if (within(address, rules[i].address, rules[i].prefix))
            return rules[i].text;
    return NULL;
}

/* Without the allow list, which names addresses and not what a gateway may turn other addresses into. */
static const char *judge_embedded_ipv4(const uint8_t octets[4])
{
    uint8_t address[16];
    memcpy(address, mapped_prefix, 12);
    memcpy(address + 12, octets, 4);
    return find_rule(ipv4_refused, ARRAY_LEN(ipv4_refused), address);
}

/* RFC 5214: interface identifiers ::0:5efe:a.b.c.d and ::200:5efe:a.b.c.d (the universal bit set). */
static bool is_isatap(const uint8_t address[16])
{
    return (address[8] & 0xfd) == 0 && address[9] == 0 && address[10] == 0x5e && address[11] == 0xfe;
}

/* The IPv4 address that a gateway would deliver to. False: the address carries none, or is one. */
static bool get_carried(const uint8_t address[16], uint8_t ret_inner[16])
{
    memcpy(ret_inner, mapped_prefix, 12);
    memcpy(ret_inner + 12, address + 12, 4);
    return within(address, nat64_prefix, EMBEDDED_BITS) || is_isatap(address);
}

/* Directly, or as the IPv4 address that it carries. */
static bool is_denied(const struct egress_policy *policy, const uint8_t address[16])
{
    uint8_t inner[16];
    return is_listed(&policy->deny, address) || (get_carried(address, inner) && is_listed(&policy->deny, inner));
}

/* NULL, or the rule by which the address is special. */
static const char *find_special(const uint8_t address[16])
{
    if (is_ipv4(address) || within(address, nat64_prefix, EMBEDDED_BITS))
        return judge_embedded_ipv4(address + 12);
    const char *rule = find_rule(ipv6_refused, ARRAY_LEN(ipv6_refused), address);
    if (rule)
        return rule;
    if (!within(address, global_unicast, GLOBAL_UNICAST_BITS))
        return "not global unicast (outside 2000::/3)";
    return is_isatap(address) ? judge_embedded_ipv4(address + 12) : NULL;
}

/* Copied, because callers' buffers need not be aligned for the specific types. */
static bool get_bytes(const struct sockaddr *address, socklen_t len, uint8_t ret_bytes[16])
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    if (address->sa_family == AF_INET && len >= sizeof in) {
        memcpy(&in, address, sizeof in);
        memcpy(ret_bytes, mapped_prefix, 12);
        memcpy(ret_bytes + 12, &in.sin_addr, 4);
        return true;
    }
    if (address->sa_family != AF_INET6 || len < sizeof in6)
        return false;
    memcpy(&in6, address, sizeof in6);
    memcpy(ret_bytes, in6.sin6_addr.s6_addr, 16);
    return true;
}

static bool is_unspecified(const uint8_t address[16])
{
    static const uint8_t nothing[16];
    return memcmp(address, nothing, 16) == 0 || (is_ipv4(address) && memcmp(address + 12, nothing, 4) == 0);
}

/* Only an address of this machine can be bound to. */
static bool is_local(const struct sockaddr *address, socklen_t len)
{
    int fd = socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return true; /* fail closed */
    struct sockaddr_storage any_port;
    memset(&any_port, 0, sizeof any_port);
    memcpy(&any_port, address, len < sizeof any_port ? len : sizeof any_port);
    if (address->sa_family == AF_INET)
        ((struct sockaddr_in *)(void *)&any_port)->sin_port = 0;
    else
        ((struct sockaddr_in6 *)(void *)&any_port)->sin6_port = 0;
    bool is_ours = bind(fd, (const struct sockaddr *)&any_port, len) == 0;
    close(fd);
    return is_ours;
}

static uint16_t port_of(const struct sockaddr_storage *address)
{
    return ntohs(address->ss_family == AF_INET ? ((const struct sockaddr_in *)(const void *)address)->sin_port
                                               : ((const struct sockaddr_in6 *)(const void *)address)->sin6_port);
}

/* The kernel takes a connection to the unspecified address for one to this machine. */
static bool is_own(const struct egress_policy *policy, const uint8_t bytes[16], const struct sockaddr *address,
                   socklen_t len, uint16_t port)
{
    uint8_t own[16], inner[16];
    if (policy->own_address.ss_family == AF_UNSPEC || port_of(&policy->own_address) != port ||
        !get_bytes((const struct sockaddr *)&policy->own_address, sizeof policy->own_address, own))
        return false;
    if (is_unspecified(bytes) || memcmp(own, bytes, sizeof own) == 0)
        return true;
    struct sockaddr_in in = { .sin_family = AF_INET };
    if (get_carried(bytes, inner)) {
        if (memcmp(own, inner, sizeof own) == 0)
            return true;
        memcpy(&in.sin_addr, inner + 12, sizeof in.sin_addr);
        address = (const struct sockaddr *)&in;
        len = sizeof in;
    }
    return is_unspecified(own) && is_local(address, len);
}

static void format_address(const uint8_t bytes[16], char ret_text[static INET6_ADDRSTRLEN])
{
    if (is_ipv4(bytes))
        inet_ntop(AF_INET, bytes + 12, ret_text, INET6_ADDRSTRLEN);
    else
        inet_ntop(AF_INET6, bytes, ret_text, INET6_ADDRSTRLEN);
}

enum status egress_policy_check_address(const struct egress_policy *policy, const struct sockaddr *address,
                                        socklen_t len, uint16_t port, char ret_message[static EGRESS_MESSAGE_SIZE])
{
    uint8_t bytes[16];
    char text[INET6_ADDRSTRLEN];
    if (!get_bytes(address, len, bytes)) {
        snprintf(ret_message, EGRESS_MESSAGE_SIZE, "not an internet address");
        return ST_BLOCKED_ADDRESS;
    }
    bool denied = is_denied(policy, bytes);
    const char *rule = denied || is_listed(&policy->allow, bytes) ? NULL : find_special(bytes);
    if (!denied && !rule && !is_own(policy, bytes, address, len, port))
        return ST_OK;
    format_address(bytes, text);
    if (denied) {
        snprintf(ret_message, EGRESS_MESSAGE_SIZE, "%s is refused: it is in --fetch-deny", text);
    } else if (rule) {
        snprintf(ret_message, EGRESS_MESSAGE_SIZE, "%s is refused: %s; allow it with --fetch-allow %s/%d", text, rule,
                 text, is_ipv4(bytes) ? 32 : 128);
    } else {
        snprintf(ret_message, EGRESS_MESSAGE_SIZE, "%s port %u is this service itself", text, port);
        return ST_LOOP_DETECTED;
    }
    return ST_BLOCKED_ADDRESS;
}

/* ---- ports and hosts */

/* https://fetch.spec.whatwg.org/#port-blocking: services that take what HTTP sends for commands of their own. */
static const uint16_t bad_ports[] = {
    1,    7,    9,    11,   13,   15,   17,   19,   20,   21,   22,   23,   25,   37,    42,   43,   53,
    69,   77,   79,   87,   95,   101,  102,  103,  104,  109,  110,  111,  113,  115,   117,  119,  123,
    135,  137,  139,  143,  161,  179,  389,  427,  465,  512,  513,  514,  515,  526,   530,  531,  532,
    540,  548,  554,  556,  563,  587,  601,  636,  989,  990,  993,  995,  1719, 1720,  1723, 2049, 3659,
    4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
};

static bool is_bad_port(uint16_t port)
{
    for (size_t i = 0; i < ARRAY_LEN(bad_ports); i++)
        if (bad_ports[i] == port)
            return true;
    return false;
}

enum status egress_policy_check_port(const struct egress_policy *policy, uint16_t port,
                                     char ret_message[static EGRESS_MESSAGE_SIZE])
{
    const struct egress_ports *only = &policy->only_ports;
    for (size_t i = 0; i < only->count; i++)
        if (port >= only->ranges[i].first && port <= only->ranges[i].last)
            return ST_OK;
    if (only->count > 0) {
        snprintf(ret_message, EGRESS_MESSAGE_SIZE, "port %u is not in --fetch-ports", port);
        return ST_PORT_NOT_ALLOWED;
    }
    if (!is_bad_port(port))
        return ST_OK;
    snprintf(ret_message, EGRESS_MESSAGE_SIZE,
             "port %u belongs to another protocol (the WHATWG's bad ports); name all wanted ones in --fetch-ports",
             port);
    return ST_PORT_NOT_ALLOWED;
}

/* Lengths without the dot that may end a fully qualified name. */
static size_t name_length(const char *host)
{
    size_t len = strlen(host);
    return len > 1 && host[len - 1] == '.' ? len - 1 : len;
}

static bool matches(const char *pattern, const char *host, size_t host_len)
{
    size_t len = strlen(pattern);
    if (pattern[0] != '*')
        return len == host_len && memcmp(pattern, host, len) == 0;
    return host_len >= len && memcmp(pattern + 1, host + host_len - (len - 1), len - 1) == 0;
}

static bool is_host_listed(const struct egress_hosts *hosts, const char *host)
{
    const char *pattern = hosts->text;
    size_t host_len = name_length(host);
    for (size_t i = 0; i < hosts->count; i++, pattern += strlen(pattern) + 1)
        if (matches(pattern, host, host_len))
            return true;
    return false;
}

enum status egress_policy_check_host(const struct egress_policy *policy, const char *host,
                                     char ret_message[static EGRESS_MESSAGE_SIZE])
{
    bool denied = is_host_listed(&policy->deny_hosts, host);
    if (!denied && (policy->only_hosts.count == 0 || is_host_listed(&policy->only_hosts, host)))
        return ST_OK;
    snprintf(ret_message, EGRESS_MESSAGE_SIZE, "%.100s is refused: it is %s", host,
             denied ? "in --fetch-deny-hosts" : "not in --fetch-hosts");
    return ST_HOST_NOT_ALLOWED;
}

enum status egress_policy_check_url(const struct egress_policy *policy, const struct url_parts *parts,
                                    char ret_message[static EGRESS_MESSAGE_SIZE])
{
    enum status status = egress_policy_check_port(policy, parts->port, ret_message);
    if (status == ST_OK)
        status = egress_policy_check_host(policy, parts->host, ret_message);
    if (status == ST_OK && parts->address_len > 0)
        status = egress_policy_check_address(policy, (const struct sockaddr *)&parts->address, parts->address_len,
                                             parts->port, ret_message);
    return status;
}

/* ---- parsing */

/* Decimal digits only, at most `max`. */
static bool parse_prefix(const char *text, unsigned max, unsigned *ret_prefix)
{
    unsigned value = 0;
    size_t len = strlen(text);
    if (len == 0 || len > 3)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        value = value * 10 + (unsigned)(*text - '0');
    }
    *ret_prefix = value;
    return value <= max;
}

static bool has_bits_beyond(const struct egress_cidr *cidr)
{
    for (unsigned bit = cidr->prefix; bit < 128; bit++)
        if (cidr->address[bit / 8] & (0x80u >> (bit % 8)))
            return true;
    return false;
}

/* NULL, or what is wrong with `text`. */
static const char *parse_cidr(char *text, struct egress_cidr *ret_cidr)
{
    char *slash = strchr(text, '/');
    if (slash)
        *slash++ = '\0';
    unsigned family_bits, prefix;
    memset(ret_cidr, 0, sizeof *ret_cidr);
    if (inet_pton(AF_INET, text, ret_cidr->address + 12) == 1) {
        memcpy(ret_cidr->address, mapped_prefix, 12);
        family_bits = 32;
    } else if (inet_pton(AF_INET6, text, ret_cidr->address) == 1) {
        family_bits = 128;
    } else {
        return "not an IPv4 or IPv6 address";
    }
    prefix = family_bits;
    if (slash && !parse_prefix(slash, family_bits, &prefix))
        return "the prefix length must be 0..32 (IPv4) or 0..128 (IPv6)";
    ret_cidr->prefix = prefix + (128 - family_bits);
    return has_bits_beyond(ret_cidr) ? "the address has bits set beyond the prefix length" : NULL;
}

/* The next entry of a list, without blanks around it. NULL at the end; else *list moves behind it. *ret_message is set
 * if the entry is empty or too long for `size`. */
static bool next_entry(const char **list, char *ret_entry, size_t size, const char **ret_message)
{
    static const char blank[] = " \t";
    if (!*list)
        return false;
    size_t len = strcspn(*list, ","), start = strspn(*list, blank), end = len;
    while (end > start && strchr(blank, (*list)[end - 1]))
        end--;
    *ret_message = start >= end ? "an empty entry" : end - start >= size ? "an entry is too long" : NULL;
    if (!*ret_message) {
        memcpy(ret_entry, *list + start, end - start);
        ret_entry[end - start] = '\0';
    }
    *list = (*list)[len] == ',' ? *list + len + 1 : NULL;
    return true;
}

/* NULL for an empty list: no entries. */
static const char *first_entry(const char *list) { return list[strspn(list, " \t")] ? list : NULL; }

bool egress_cidrs_parse(const char *list, struct egress_cidrs *ret_cidrs, const char **ret_message)
{
    struct egress_cidrs cidrs = { .count = 0 };
    char entry[64];
    for (const char *at = first_entry(list); next_entry(&at, entry, sizeof entry, ret_message);) {
        if (!*ret_message && cidrs.count == EGRESS_CIDRS_MAX)
            *ret_message = "more than 64 entries";
        if (!*ret_message)
            *ret_message = parse_cidr(entry, &cidrs.list[cidrs.count++]);
        if (*ret_message)
            return false;
    }
    *ret_cidrs = cidrs;
    return true;
}

/* Lower-cases the pattern and takes the dot off its end. NULL, or what is wrong with it. */
static const char *tidy_pattern(char *pattern)
{
    char *name = strncmp(pattern, "*.", 2) == 0 ? pattern + 2 : pattern;
    for (char *c = pattern; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c | 0x20);
    pattern[name_length(pattern)] = '\0';
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-._:[]");
    return *name && *name != '.' && !strstr(name, "..") && name[len] == '\0' ? NULL
                                                                             : "not a host name or *.DOMAIN (in ASCII)";
}

bool egress_hosts_parse(const char *list, struct egress_hosts *ret_hosts, const char **ret_message)
{
    struct egress_hosts hosts = { .count = 0 };
    char entry[URL_HOST_MAX + 3];
    size_t used = 0;
    for (const char *at = first_entry(list); next_entry(&at, entry, sizeof entry, ret_message); hosts.count++) {
        if (!*ret_message)
            *ret_message = tidy_pattern(entry);
        size_t size = *ret_message ? 0 : strlen(entry) + 1;
        if (!*ret_message && size > sizeof hosts.text - used)
            *ret_message = "more than 1024 bytes";
        if (*ret_message)
            return false;
        memcpy(hosts.text + used, entry, size);
        used += size;
    }
    *ret_hosts = hosts;
    return true;
}

/* Digits at *text, which moves behind them. */
static bool take_port(const char **text, uint16_t *ret_port)
{
    unsigned value = 0, digits = 0;
    for (; **text >= '0' && **text <= '9' && digits < 6; (*text)++, digits++)
        value = value * 10 + (unsigned)(**text - '0');
    *ret_port = (uint16_t)value;
    return digits > 0 && value >= 1 && value <= UINT16_MAX;
}

bool egress_ports_parse(const char *list, struct egress_ports *ret_ports, const char **ret_message)
{
    struct egress_ports ports = { .count = 0 };
    char entry[16];
    for (const char *at = first_entry(list); next_entry(&at, entry, sizeof entry, ret_message); ports.count++) {
        const char *text = entry;
        uint16_t first = 0, last = 0;
        bool is_port = !*ret_message && take_port(&text, &first);
        last = first;
        if (is_port && *text == '-')
            is_port = text++, take_port(&text, &last);
        if (!*ret_message && (!is_port || *text || last < first))
            *ret_message = "not a port or FIRST-LAST, from 1 to 65535";
        if (!*ret_message && ports.count == EGRESS_PORT_RANGES_MAX)
            *ret_message = "more than 64 entries";
        if (*ret_message)
            return false;
        ports.ranges[ports.count].first = first;
        ports.ranges[ports.count].last = last;
    }
    *ret_ports = ports;
    return true;
}
