/* Policies other than the default, the environment, TLS, and the service itself as the target. */
#include "tests/abuse/cases.h"

#define REFUSED    "blocked_address"
#define UNVERIFIED "tls_verify_failed"
#define ECHO       "http://8.8.8.8:{O}/echo"

/* ---- TLS */

static const struct trial tls[] = {
    CASE("N01", "our authority is not the system's, whatever the environment says", "https://127.0.0.1:{h1}/small",
         UNVERIFIED),
    CASE("N02", "with HTTP/2", "https://127.0.0.1:{h2}/small", UNVERIFIED),
    CASE("N03", "by name", "https://origin.test:{h1}/small", UNVERIFIED),
    CASE("N04", "self-signed", "https://127.0.0.1:{self-signed}/small", UNVERIFIED),
    CASE("N05", "expired", "https://127.0.0.1:{expired}/small", UNVERIFIED),
};
const struct trial_group cases_tls = TRIAL_GROUP(LAB_ONE, "TLS, SSL_CERT_FILE and the like (S278, S286)", tls);

static const struct trial tls_trusted[] = {
    CASE("K01", "good", "https://127.0.0.1:{h1}/small", "ok"),
    CASE("K02", "good, HTTP/2", "https://127.0.0.1:{h2}/small", "ok", .has = "\"http_version\":\"2\""),
    CASE("K03", "good, by name", "https://origin.test:{h1}/small", "ok"),
    CASE("K04", "a name that is not in the certificate", "https://other.test:{h1}/small", UNVERIFIED),
    CASE("K05", "another one, HTTP/2", "https://other.test:{h2}/small", UNVERIFIED),
    CASE("K06", "expired", "https://127.0.0.1:{expired}/small", UNVERIFIED),
    CASE("K07", "not yet valid", "https://127.0.0.1:{not-yet-valid}/small", UNVERIFIED),
    CASE("K08", "for another host", "https://127.0.0.1:{other-host}/small", UNVERIFIED),
    CASE("K09", "self-signed", "https://127.0.0.1:{self-signed}/small", UNVERIFIED),
    CASE("K10", "by an authority that nobody knows", "https://127.0.0.1:{unknown-ca}/small", UNVERIFIED),
    CASE("K11", "no TLS there", "https://127.0.0.1:{nginx}/small", "tls_failed"),
    CASE("K12", "TLS there, but not asked for", "http://127.0.0.1:{h1}/small", "400"),
    CASE("K13", "the number of the address, which the certificate has dotted", "https://2130706433:{h1}/small", "ok"),
    CASE("K14", "mapped, which it has not", "https://[::ffff:127.0.0.1]:{h1}/small", UNVERIFIED),
    CASE("K15", "a refused address", "https://127.0.0.2:{h1}/small", REFUSED),
    CASE("K16", "a redirect to plain HTTP", "https://127.0.0.1:{h1}/redirect?to=http://127.0.0.1:{nginx}/small", "ok"),
    CASE("K17", "a redirect to plain HTTP, refused address", "https://127.0.0.1:{h1}/redirect?to=http://127.0.0.2:{C}/",
         REFUSED),
    CASE("K18", "credentials on the way to plain HTTP", "https://127.0.0.1:{h1}/redirect?to=http://127.0.0.1:{O}/echo",
         "ok", .with = "\"headers\":{\"Authorization\":\"Bearer secret\"}", .has = "target", .lacks = "secret"),
    CASE("K19", "a redirect to a bad certificate",
         "https://127.0.0.1:{h1}/redirect?to=https://127.0.0.1:{expired}/small", UNVERIFIED),
    CASE("K20", "a redirect from plain HTTP to a bad certificate",
         "http://127.0.0.1:{O}/redirect-to?url=https://127.0.0.1:{self-signed}/small", UNVERIFIED),
};
const struct trial_group cases_tls_trusted = TRIAL_GROUP(LAB_TLS, "TLS, certificates (S278-S283)", tls_trusted);

/* ---- the environment: every server has it; here is what it would show by */

static const struct trial environment[] = {
    CASE("E01", "proxies are not asked", ECHO, "ok", .has = "target"),
    CASE("E02", "nor for TLS", "https://8.8.8.8:{garbage}/", "tls_failed"),
    CASE("E03", ".netrc is not read", ECHO, "ok", .has = "target", .lacks = "authorization"),
    CASE("E04", "nor for a host that it names", "http://public.test:{O}/echo", "ok", .has = "target",
         .lacks = "authorization"),
    CASE("E05", "Basic is not made of anything", "http://8.8.8.8:{O}/auth-echo", "ok", .lacks = "basic"),
    CASE("E06", "a challenge is not answered", "http://8.8.8.8:{O}/status/401", "401"),
    CASE("E07", "a challenge of a proxy is not answered", "http://8.8.8.8:{O}/status/407", "407"),
};
const struct trial_group cases_environment = TRIAL_GROUP(LAB_STRICT, "environment (S284-S287)", environment);

/* ---- one address is allowed */

static const struct trial one_allowed[] = {
    CASE("O01", "the address", "http://127.0.0.1:{O}/small", "ok"),
    CASE("O02", "in another spelling", "http://0x7f.1:{O}/small", "ok"),
    CASE("O03", "mapped", "http://[::ffff:127.0.0.1]:{O}/small", "ok"),
    CASE("O04", "by a name", "http://loopback.test:{O}/small", "ok"),
    CASE("O05", "localhost, of which IPv4 is allowed", "http://localhost:{O}/small", "ok"),
    CASE("O06", "the next address", "http://127.0.0.2:{C}/", REFUSED),
    CASE("O07", "the one before", "http://127.0.0.0:{C}/", REFUSED),
    CASE("O08", "IPv6 loopback", "http://[::1]:{C}/", REFUSED),
    CASE("O09", "a name of IPv6 loopback", "http://ip6-localhost:{C}/", REFUSED),
    CASE("O10", "a name of both", "http://mixed.test:{O}/small", "ok"),
    CASE("O11", "a name of it and a private address", "http://allowed-and-not.test:{C}/", REFUSED),
    CASE("O12", "unspecified, which gets there", "http://0.0.0.0:{C}/", REFUSED),
    CASE("O13", "IPv6 unspecified, which gets to ::1", "http://[::]:{C}/", REFUSED),
    CASE("O14", "compatible", "http://[::127.0.0.1]:{C}/", REFUSED),
    CASE("O15", "through NAT64", "http://[64:ff9b::7f00:1]:{C}/", REFUSED),
    CASE("O16", "through 6to4", "http://[2002:7f00:1::]:{C}/", REFUSED),
    CASE("O17", "ISATAP", "http://[2606:4700::5efe:7f00:1]:{C}/", REFUSED),
    CASE("O18", "the machine's own name", "http://own-host:{C}/", REFUSED),
    CASE("O19", "from there to a neighbour", "http://127.0.0.1:{O}/redirect-to?url=http://127.0.0.2:{C}/", REFUSED),
    CASE("O20", "from there to IPv6 loopback", "http://127.0.0.1:{O}/redirect-to?url=http://[::1]:{C}/", REFUSED),
    CASE("O21", "from there to metadata", "http://127.0.0.1:{O}/redirect-to?url=http://169.254.169.254/", REFUSED),
    CASE("O22", "a bad port of it", "http://127.0.0.1:22/", "port_not_allowed"),
    CASE("O23", "the service itself", "http://127.0.0.1:{S}/healthz", "loop_detected"),
    CASE("O24", "the service itself, by localhost", "http://localhost:{S}/healthz", "loop_detected"),
};
const struct trial_group cases_one_allowed = TRIAL_GROUP(LAB_ONE, "--fetch-allow (one address)", one_allowed);

/* ---- only some hosts */

#define NO_HOST "host_not_allowed"

static const struct trial only_hosts[] = {
    CASE("G01", "a listed host", "http://good.test:{O}/small", "ok"),
    CASE("G02", "below a listed host", "http://sub.good.test:{O}/small", "ok"),
    CASE("G03", "capitals", "http://GOOD.Test:{O}/small", "ok"),
    CASE("G04", "escaped", "http://g%6fod.test:{O}/small", "ok"),
    CASE("G05", "full-width", "http://\uff47\uff4f\uff4f\uff44.test:{O}/small", "ok"),
    CASE("G06", "a dot at the end", "http://good.test.:{O}/small", "ok"),
    CASE("G07", "a listed address", "http://8.8.8.8:{O}/small", "ok"),
    CASE("G08", "the same in another spelling", "http://0x08080808:{O}/small", "ok"),
    CASE("G09", "another address", "http://1.1.1.1:{C}/", NO_HOST),
    CASE("G10", "another name", "http://public.test:{C}/", NO_HOST),
    CASE("G11", "a name that ends like it", "http://evilgood.test:{C}/", NO_HOST),
    CASE("G12", "a name that begins like it", "http://good.test.evil.test:{C}/", NO_HOST),
    CASE("G13", "a name with another letter", "http://g\u043eod.test:{C}/", NO_HOST),
    CASE("G14", "a redirect to another name", "http://good.test:{O}/redirect-to?url=http://evil.test:{C}/", NO_HOST),
    CASE("G15", "a redirect to another address", "http://good.test:{O}/redirect-to?url=http://1.1.1.1:{C}/", NO_HOST),
    CASE("G16", "a redirect without a scheme", "http://good.test:{O}/redirect-to?url=//evil.test:{C}/&status=308",
         NO_HOST),
    CASE("G17", "a redirect to a listed host", "http://good.test:{O}/redirect-to?url=http://sub.good.test:{O}/small",
         "ok"),
    CASE("G18", "a listed host with a refused address", "http://bad.good.test:{C}/", REFUSED),
    CASE("G19", "localhost", "http://localhost:{C}/", NO_HOST),
    CASE("G20", "a user name", "http://good.test:{O}@evil.test:{C}/", "bad_url"),
    CASE("G21", "the listed address in IPv6", "http://[::ffff:8.8.8.8]:{C}/", NO_HOST),
};
const struct trial_group cases_only_hosts = TRIAL_GROUP(LAB_HOSTS, "--fetch-hosts (S206-S208)", only_hosts);

/* ---- some hosts, addresses and ports not */

static const struct trial denied[] = {
    CASE("F01", "a host that is not denied", "http://public.test:{O}/small", "ok"),
    CASE("F02", "a denied host", "http://evil.test:{O}/", NO_HOST),
    CASE("F03", "capitals", "http://EVIL.test:{O}/", NO_HOST),
    CASE("F04", "a dot at the end", "http://evil.test.:{O}/", NO_HOST),
    CASE("F05", "below it", "http://sub.evil.test:{O}/", NO_HOST),
    CASE("F06", "below it, a dot at the end", "http://a.b.evil.test.:{O}/", NO_HOST),
    CASE("F07", "escaped", "http://e%76il.test:{O}/", NO_HOST),
    CASE("F08", "circled letters", "http://\u24d4vil.test:{O}/", NO_HOST),
    CASE("F09", "an ideographic dot", "http://evil\u3002test:{O}/", NO_HOST),
    CASE("F10", "a soft hyphen", "http://ev\u00adil.test:{O}/", NO_HOST),
    CASE("F11", "a redirect to it", "http://public.test:{O}/redirect-to?url=http://evil.test:{O}/", NO_HOST),
    CASE("F12", "a redirect to it, 307", "http://public.test:{O}/redirect-to?url=//evil.test:{O}/&status=307", NO_HOST),
    CASE("F13", "a name that ends like it", "http://notevil.test:{O}/small", "ok"),
    CASE("F14", "a denied address", "http://9.9.9.9:{O}/", REFUSED),
    CASE("F15", "as a number", "http://151587081:{O}/", REFUSED),
    CASE("F16", "mapped", "http://[::ffff:9.9.9.9]:{O}/", REFUSED),
    CASE("F17", "through NAT64", "http://[64:ff9b::909:909]:{O}/", REFUSED),
    CASE("F18", "ISATAP", "http://[2606:4700::5efe:909:909]:{O}/", REFUSED),
    CASE("F19", "by a name", "http://denied-address.test:{O}/", REFUSED),
    CASE("F20", "by a redirect", "http://public.test:{O}/redirect-to?url=http://9.9.9.9:{O}/", REFUSED),
    CASE("F21", "the address after", "http://9.9.10.0:{O}/small", "ok"),
    CASE("F22", "a denied IPv6 address", "http://[2620:fe::fe]:{O}/", REFUSED),
    CASE("F23", "the block after", "http://[2620:ff::fe]:{O}/small", "ok"),
    CASE("F24", "allowed, and not denied", "http://10.0.0.5:{O}/small", "ok"),
    CASE("F25", "allowed, and not denied, by a name", "http://allowed-private.test:{O}/small", "ok"),
    CASE("F26", "allowed and denied", "http://10.1.0.5:{O}/", REFUSED),
    CASE("F27", "allowed and denied, by a name", "http://denied-private.test:{O}/", REFUSED),
    CASE("F28", "special, and not allowed", "http://127.0.0.1:{O}/", REFUSED),
    CASE("F29", "a port that is not listed", "http://8.8.8.8:{C}/", "port_not_allowed"),
    CASE("F30", "80 is not listed", "http://8.8.8.8/", "port_not_allowed"),
    CASE("F31", "443 is not listed", "https://8.8.8.8/", "port_not_allowed"),
    CASE("F32", "before a range", "http://8.8.8.8:7999/", "port_not_allowed"),
    CASE("F33", "after a range", "http://8.8.8.8:8011/", "port_not_allowed"),
    CASE("F34", "in a range, where nobody listens", "http://8.8.8.8:8005/", "connect_failed"),
    CASE("F35", "a redirect to a port", "http://8.8.8.8:{O}/redirect-to?url=http://8.8.8.8:{C}/", "port_not_allowed"),
    CASE("F36", "a redirect to 6379", "http://8.8.8.8:{O}/redirect-to?url=http://1.1.1.1:6379/", "port_not_allowed"),
    CASE("F37", "an alias of a denied name is not denied", "http://alias-evil.test:{O}/small", "ok"),
};
const struct trial_group cases_denied = TRIAL_GROUP(LAB_DENY, "--fetch-deny… and --fetch-ports (S209-S210)", denied);

/* ---- the service itself */

#define LOOP "loop_detected"

static const struct trial self[] = {
    CASE("Y01", "its address", "http://127.0.0.1:{S}/healthz", LOOP),
    CASE("Y02", "as a number", "http://2130706433:{S}/healthz", LOOP),
    CASE("Y03", "mapped", "http://[::ffff:127.0.0.1]:{S}/healthz", LOOP),
    CASE("Y04", "0.0.0.0", "http://0.0.0.0:{S}/healthz", LOOP),
    CASE("Y05", "0", "http://0:{S}/fetch?url=http://127.0.0.1:{S}/", LOOP),
    CASE("Y06", "localhost", "http://localhost:{S}/healthz", LOOP),
    CASE("Y07", "a name", "http://self.test:{S}/healthz", LOOP),
    CASE("Y08", "a redirect", "http://8.8.8.8:{O}/redirect-to?url=http://127.0.0.1:{S}/healthz", LOOP),
    CASE("Y09", "a redirect by name, 307", "http://8.8.8.8:{O}/redirect-to?url=//self.test:{S}/&status=307", LOOP),
    CASE("Y10", "another address, where it does not listen", "http://127.0.0.2:{S}/healthz", "connect_failed"),
    CASE("Y11", "its address, another port", "http://127.0.0.1:{O}/small", "ok"),
    CASE("Y12", "another Twinpool's /healthz", "http://127.0.0.1:{one}/healthz", "ok"),
    CASE("Y13", "another Twinpool's /fetch", "http://127.0.0.1:{one}/fetch?url=http://127.0.0.1:{O}/small", "508",
         .has = LOOP),
};
const struct trial_group cases_self = TRIAL_GROUP(LAB_SELF, "itself (S290)", self);

static const struct trial self_any[] = {
    CASE("Q01", "loopback", "http://127.0.0.1:{S}/healthz", LOOP),
    CASE("Q02", "loopback, another address", "http://127.1.2.3:{S}/healthz", LOOP),
    CASE("Q03", "IPv6 loopback", "http://[::1]:{S}/healthz", LOOP),
    CASE("Q04", "0.0.0.0", "http://0.0.0.0:{S}/healthz", LOOP),
    CASE("Q05", "IPv6 unspecified", "http://[::]:{S}/healthz", LOOP),
    CASE("Q06", "mapped", "http://[::ffff:127.0.0.1]:{S}/healthz", LOOP),
    CASE("Q07", "mapped unspecified", "http://[::ffff:0.0.0.0]:{S}/healthz", LOOP),
    CASE("Q08", "localhost", "http://localhost:{S}/healthz", LOOP),
    CASE("Q09", "a public address of this machine", "http://8.8.8.8:{S}/healthz", LOOP),
    CASE("Q10", "a public IPv6 address of this machine", "http://[2606:4700:4700::1001]:{S}/healthz", LOOP),
    CASE("Q11", "a name", "http://public.test:{S}/healthz", LOOP),
    CASE("Q12", "a redirect", "http://8.8.8.8:{O}/redirect-to?url=http://8.8.8.8:{S}/healthz", LOOP),
    CASE("Q13", "another port", "http://8.8.8.8:{O}/small", "ok"),
};
const struct trial_group cases_self_any = TRIAL_GROUP(LAB_SELF_ANY, "itself, on all addresses (S288-S290)", self_any);
