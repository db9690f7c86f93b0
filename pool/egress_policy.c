/* egress_policy: two tables of special ranges and one walk over them.
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
#include <string.h>

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

static bool is_allowed(const struct egress_policy *policy, const uint8_t address[16])
{
    for (size_t i = 0; i < policy->allow_count; i++) {
        const struct egress_cidr *cidr = &policy->allow[i];
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

static const char *judge(const struct egress_policy *policy, const uint8_t address[16])
{
    if (is_allowed(policy, address))
        return NULL;
    if (is_ipv4(address) || within(address, nat64_prefix, EMBEDDED_BITS))
        return judge_embedded_ipv4(address + 12);
    const char *rule = find_rule(ipv6_refused, ARRAY_LEN(ipv6_refused), address);
    if (rule)
        return rule;
    if (!within(address, global_unicast, GLOBAL_UNICAST_BITS))
        return "not global unicast (outside 2000::/3)";
    return is_isatap(address) ? judge_embedded_ipv4(address + 12) : NULL;
}

const char *egress_policy_refuses(const struct egress_policy *policy, const struct sockaddr *address, socklen_t len)
{
    /* Copied, because callers' buffers need not be aligned for the specific types. */
    uint8_t bytes[16];
    if (address->sa_family == AF_INET && len >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        memcpy(bytes, mapped_prefix, 12);
        memcpy(bytes + 12, &in.sin_addr, 4);
        return judge(policy, bytes);
    }
    if (address->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        memcpy(bytes, in6.sin6_addr.s6_addr, sizeof bytes);
        return judge(policy, bytes);
    }
    return "not an internet address";
}

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

bool egress_policy_parse(const char *list, struct egress_policy *ret_policy, const char **ret_message)
{
    struct egress_policy policy = { .allow_count = 0 };
    const char *blank = " \t";
    list += strspn(list, blank);
    for (bool more = *list != '\0'; more;) {
        char text[64];
        size_t len = strcspn(list, ",");
        more = list[len] == ',';
        size_t start = strspn(list, blank), end = len;
        while (end > start && strchr(blank, list[end - 1]))
            end--;
        if (start >= end || end - start >= sizeof text) {
            *ret_message = start >= end ? "an empty entry" : "not an IPv4 or IPv6 address";
            return false;
        }
        if (policy.allow_count == EGRESS_CIDRS_MAX) {
            *ret_message = "more than 64 entries";
            return false;
        }
        memcpy(text, list + start, end - start);
        text[end - start] = '\0';
        const char *wrong = parse_cidr(text, &policy.allow[policy.allow_count++]);
        if (wrong) {
            *ret_message = wrong;
            return false;
        }
        list += len + (more ? 1 : 0);
    }
    *ret_policy = policy;
    return true;
}
