/* Redirects: the honest origin sends us on. Its query parameter is the Location, so that has to be escaped only where a
 * query would end or be read as something else. */
#include "tests/abuse/cases.h"

#define ORIGIN  "http://8.8.8.8:{O}"
#define TO      ORIGIN "/redirect-to?url="
#define RAW     ORIGIN "/redirect-raw?location="
#define REFUSED "blocked_address"

static const struct trial redirects[] = {
    CASE("R01", "a redirect that is harmless", TO "/small", "ok"),
    CASE("R02", "to another public host", TO "http://1.1.1.1:{O}/small", "ok"),
    CASE("R03", "as many as are allowed", ORIGIN "/redirect/5", "ok"),
    CASE("R04", "one more", ORIGIN "/redirect/6", "too_many_redirects"),
    CASE("R05", "one more than the request allows", ORIGIN "/redirect/3", "too_many_redirects",
         .with = "\"max_redirects\":2"),
    CASE("R06", "for ever", ORIGIN "/redirect-loop", "too_many_redirects"),
    CASE("R07", "none is wanted", TO "http://127.0.0.1:{C}/", "302", .with = "\"max_redirects\":0"),
    CASE("R08", "more than the service allows", TO "/small", "invalid_args", .with = "\"max_redirects\":6"),
    CASE("R09", "300 is not followed", TO "http://127.0.0.1:{C}/&status=300", "300"),
    CASE("R10", "304 is not followed", TO "http://127.0.0.1:{C}/&status=304", "304"),
    CASE("R11", "305 is not followed", TO "http://127.0.0.1:{C}/&status=305", "305"),
    CASE("R12", "306 is not followed", TO "http://127.0.0.1:{C}/&status=306", "306"),
    CASE("R13", "201 with a Location", TO "http://127.0.0.1:{C}/&status=201", "201"),
    CASE("R14", "200 with a Location", TO "http://127.0.0.1:{C}/&status=200", "ok"),
    CASE("R15", "503 with a Location", TO "http://127.0.0.1:{C}/&status=503", "503"),
    CASE("R16", "without a Location", ORIGIN "/redirect-nowhere", "302"),
    CASE("R17", "Refresh", ORIGIN "/refresh?url=http://127.0.0.1:{C}/", "ok", .has = "stay"),
    CASE("R18", "a page with a refresh", ORIGIN "/meta-refresh?url=http://127.0.0.1:{C}/", "ok", .has = "stay"),
    CASE("R19", "two Locations", ORIGIN "/redirect-twice", "protocol_error"),
    CASE("R20", "two Locations, the second refused", ORIGIN "/redirect-twice?second=http://127.0.0.1:{C}/",
         "protocol_error"),
    CASE("R21", "two Locations, the first refused", ORIGIN "/redirect-twice?url=http://127.0.0.1:{C}/",
         "protocol_error"),
    CASE("R22", "with a body of 2 MiB", ORIGIN "/redirect-big", "protocol_error"),
    CASE("R23", "a service beside, announced by Alt-Svc",
         RAW "x%0d%0aAlt-Svc:%20http/1.1=%22127.0.0.1:{C}%22;%20ma=3600,%20h2=%22127.0.0.1:{C}%22&status=200", "ok"),
    CASE("R24", "and not used by the next request", ORIGIN "/small", "ok"),
    /* Locations that parsers disagree on */
    CASE("R30", "backslash, at sign", TO "http://8.8.8.8:{O}%5c@127.0.0.1:{C}/", "bad_url"),
    CASE("R31", "backslashes for slashes", TO "http:%5c%5c127.0.0.1:{C}/", "bad_url"),
    CASE("R32", "slash, backslash", TO "/%5c127.0.0.1:{C}/", "bad_url"),
    CASE("R33", "two backslashes", TO "%5c%5c127.0.0.1:{C}/", "bad_url"),
    CASE("R34", "a user name", TO "http://user@1.1.1.1:{O}/small", "bad_url"),
    CASE("R35", "a user name and a refused host", TO "http://1.1.1.1:{O}@127.0.0.1:{C}/", "bad_url"),
    CASE("R36", "a user name without a scheme", TO "//user@127.0.0.1:{C}/", "bad_url"),
    CASE("R37", "64 KiB", TO "http://127.0.0.1:{C}/{a*65536}", "bad_url"),
    CASE("R38", "8193 bytes", RAW "/{a*8100}{b*80}", "bad_url"),
    CASE("R39", "three slashes", TO "http:///127.0.0.1:{C}/", REFUSED),
    CASE("R40", "one slash", TO "http:/127.0.0.1:{C}/", REFUSED),
    CASE("R41", "no slash", TO "http:127.0.0.1:{C}/", "bad_url"),
    CASE("R42", "three slashes without a scheme", TO "///127.0.0.1:{C}/", REFUSED),
    CASE("R43", "capitals", TO "HTTP://127.0.0.1:{C}/", REFUSED),
    CASE("R44", "a space before", TO "%20%20http://127.0.0.1:{C}/", REFUSED),
    CASE("R45", "a space inside", TO "http://127.0.0.1:{C}/a%20b", "bad_url"),
    CASE("R46", "a tab in the host", TO "http://127.0.%090.1:{C}/", "bad_url"),
    CASE("R47", "a line end: another field", RAW "http://1.1.1.1:{O}/small%0d%0aX-Forged:%201", "ok"),
    CASE("R48", "a line end: another Location", RAW "http://1.1.1.1:{O}/small%0d%0aLocation:%20http://127.0.0.1:{C}/",
         "protocol_error"),
    CASE("R49", "a line feed: another Location", RAW "http://1.1.1.1:{O}/small%0aLocation:%20http://127.0.0.1:{C}/",
         "protocol_error"),
    CASE("R50", "a NUL", RAW "http://1.1.1.1:{O}/small%00http://127.0.0.1:{C}/", "protocol_error"),
    CASE("R51", "a NUL in the host", RAW "http://127.0.0.1%00.good.test:{C}/", "protocol_error"),
    CASE("R52", "an empty Location", TO "", "302"),
    CASE("R53", "only a fragment", TO "%23x", "404"),
    CASE("R54", "a name that does not end in the DNS", TO "http://nxdomain.test:{C}/", "dns_failed"),
    CASE("R55", "a bad port", TO "http://1.1.1.1:22/", "port_not_allowed"),
    CASE("R56", "a port that is none", TO "http://1.1.1.1:65536/", "bad_url"),
    CASE("R57", "not UTF-8", RAW "http://127.0.0.1%ff:{C}/", "bad_url"),
    CASE("R58", "a scheme that nobody knows", TO "nowhere://127.0.0.1:{C}/", "scheme_not_allowed"),
    CASE("R59", "javascript", TO "javascript:alert(1)", "scheme_not_allowed"),
    CASE("R60", "data", TO "data:text/html,x", "scheme_not_allowed"),
    CASE("R61", "jar", TO "jar:http://127.0.0.1:{C}/!/", "scheme_not_allowed"),
    CASE("R62", "a host from the query", ORIGIN "/redirect-to?url=http://127.0.0.1:{C}/%3f@8.8.8.8", REFUSED),
    CASE("R63", "over a harmless hop", TO ORIGIN "/redirect-to?url=http%253A//127.0.0.1:{C}/", REFUSED),
    CASE("R64", "slow hops together",
         "http://a.slow-hop.test:{O}/redirect-to?url=http://b.slow-hop.test:{O}/redirect-to%3Furl=http://"
         "c.slow-hop.test:{O}/small",
         "deadline_exceeded", .with = "\"timeout_ms\":1000"),
    /* what goes along */
    CASE("R70", "a body to another origin, 307", TO "http://1.1.1.1:{O}/echo&status=307", "redirect_refused",
         .with = "\"method\":\"POST\",\"body\":\"secret\""),
    CASE("R71", "a body to another origin, 308", TO "http://1.1.1.1:{O}/echo&status=308", "redirect_refused",
         .with = "\"method\":\"POST\",\"body\":\"secret\""),
    CASE("R72", "a body to another port", TO "http://8.8.8.8:{C}/&status=307", "redirect_refused",
         .with = "\"method\":\"PUT\",\"body\":\"secret\""),
    CASE("R73", "a body of a PUT, 302", TO "http://1.1.1.1:{O}/echo&status=302", "redirect_refused",
         .with = "\"method\":\"PUT\",\"body\":\"secret\""),
    CASE("R74", "a body within the origin, 307", TO "/echo&status=307", "ok",
         .with = "\"method\":\"POST\",\"body\":\"secret\"", .has = "secret"),
    CASE("R75", "a POST becomes a GET, 302", TO "http://1.1.1.1:{O}/echo&status=302", "ok",
         .with = "\"method\":\"POST\",\"body\":\"secret\"", .has = "GET", .lacks = "secret"),
    CASE("R76", "a PUT becomes a GET, 303", TO "http://1.1.1.1:{O}/echo&status=303", "ok",
         .with = "\"method\":\"PUT\",\"body\":\"secret\"", .has = "GET", .lacks = "secret"),
    CASE("R77", "credentials to another origin", TO "http://1.1.1.1:{O}/echo", "ok",
         .with = "\"headers\":{\"Authorization\":\"Bearer secret\",\"Cookie\":\"a=secret\",\"X-Else\":\"stays\"}",
         .has = "stays", .lacks = "secret"),
    CASE("R78", "credentials there and back", TO "http://1.1.1.1:{O}/redirect-to%3Furl=http%253A//8.8.8.8:{O}/echo",
         "ok", .with = "\"headers\":{\"AUTHORIZATION\":\"Bearer secret\",\"cookie\":\"a=secret\"}", .lacks = "secret"),
    CASE("R79", "credentials within the origin", TO "/echo", "ok",
         .with = "\"headers\":{\"Authorization\":\"Bearer secret\"}", .has = "secret"),
    CASE("R80", "credentials to a name of the same host", TO "http://public.test:{O}/echo", "ok",
         .with = "\"headers\":{\"Authorization\":\"Bearer secret\"}", .lacks = "secret"),
    CASE("R81", "a cookie of the redirect", ORIGIN "/redirect-cookie", "ok", .has = "target",
         .lacks = "from-the-origin"),
    CASE("R82", "nor is it there later", ORIGIN "/echo", "ok", .has = "target", .lacks = "from-the-origin"),
    CASE("R83", "no Referer", TO "http://1.1.1.1:{O}/echo", "ok", .has = "target", .lacks = "referer"),
};
const struct trial_group cases_redirects = TRIAL_GROUP(LAB_STRICT, "redirects (S187-S214)", redirects);

#define BY(status, id, what, target, code) CASE(id "-" status, what, TO target "&status=" status, code)
#define BY_EACH_STATUS(id, what, target, code)                                                               \
    BY("301", id, what, target, code), BY("302", id, what, target, code), BY("303", id, what, target, code), \
        BY("307", id, what, target, code), BY("308", id, what, target, code)

static const struct trial targets[] = {
    BY_EACH_STATUS("T01", "loopback", "http://127.0.0.1:{C}/", REFUSED),
    BY_EACH_STATUS("T02", "metadata", "http://169.254.169.254/latest/meta-data/", REFUSED),
    BY_EACH_STATUS("T03", "mapped loopback", "http://[::ffff:127.0.0.1]:{C}/", REFUSED),
    BY_EACH_STATUS("T04", "loopback as a number", "http://2130706433:{C}/", REFUSED),
    BY_EACH_STATUS("T05", "IPv6 loopback", "http://[::1]:{C}/", REFUSED),
    BY_EACH_STATUS("T06", "no scheme", "//127.0.0.1:{C}/", REFUSED),
    BY_EACH_STATUS("T07", "localhost", "http://localhost:{C}/", REFUSED),
    BY_EACH_STATUS("T08", "a name for loopback", "http://redirected-rebind.test:{C}/", REFUSED),
    BY_EACH_STATUS("T09", "a file", "file:///etc/passwd", "scheme_not_allowed"),
    BY_EACH_STATUS("T10", "gopher", "gopher://127.0.0.1:{C}/_x", "scheme_not_allowed"),
    BY_EACH_STATUS("T11", "ftp", "ftp://127.0.0.1:{C}/", "scheme_not_allowed"),
};
const struct trial_group cases_targets = TRIAL_GROUP(LAB_STRICT, "redirects by each status (S187-S200)", targets);

static const struct trial targets_denied[] = {
    BY_EACH_STATUS("T21", "a denied host", "http://evil.test:{O}/", "host_not_allowed"),
    BY_EACH_STATUS("T22", "below a denied host", "//sub.evil.test:{O}/", "host_not_allowed"),
    BY_EACH_STATUS("T23", "a denied address", "http://9.9.9.9:{O}/", REFUSED),
    BY_EACH_STATUS("T24", "a name for a denied address", "http://denied-address.test:{O}/", REFUSED),
    BY_EACH_STATUS("T25", "a port that is not listed", "http://8.8.8.8:{C}/", "port_not_allowed"),
};
const struct trial_group cases_targets_denied =
    TRIAL_GROUP(LAB_DENY, "redirects by each status, denied (S201-S205)", targets_denied);
