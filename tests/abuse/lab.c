/* The lab's parts in the order in which they are built, and then the servers under test, whose flags and environment
 * name the parts' ports. */
#include "tests/abuse/lab.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/certificates.h"
#include "tests/support/http.h"
#include "tests/support/listener.h"
#include "tests/support/netns.h"

enum { PATH_BYTES = 128, FLAG_BYTES = 192, FLAGS_MAX = 16, VARIABLES_MAX = 24, REPEATS_MAX = 200000 };
enum { DEAD_PORT = 8099 /* nobody listens; below those that the kernel gives out */ };

static const char public_address[] = "8.8.8.8";
static const char own_ipv6_address[] = "2606:4700:4700::1001"; /* which a service on [::] can know for its own */

/* {C} first. The others are what the rules on ports are about, and what SSRF is after. */
static const uint16_t canary_ports[] = { 0, 22, 25, 6667, 6379, 11211, 2375, 8080 };

/* {R} first. */
static const uint16_t pair_ports[] = { 0, 80, 443 };
static const char *const pair_canary_addresses[] = { "127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "0.0.0.1" };

struct pair {
    struct origin *origin;
    struct listener *canaries[ARRAY_LEN(pair_canary_addresses)];
};

static struct lab {
    struct listener *canaries[ARRAY_LEN(canary_ports)];
    struct pair pairs[ARRAY_LEN(pair_ports)];
    struct origin *origin;
    struct listener *full, *silent, *closing, *resetting, *garbage; /* on public_address */
    struct name_server *names;
    struct nginx nginx;
    struct server servers[LAB_SERVERS];
    char dir[32]; /* the servers' HOME */
    char key_log_path[PATH_BYTES];
} lab;

static const char hosts_file[] = "127.0.0.1 localhost\n"
                                 "::1 ip6-localhost ip6-loopback\n"
                                 "127.0.1.1 own-host own-host.lab.test\n"
                                 "192.168.65.254 host.docker.internal\n"
                                 "8.8.8.8 public-in-hosts\n";
static const char resolver_file[] = "nameserver 127.0.0.1\nsearch corp.test\noptions ndots:1\n";

static const char netrc[] = "machine 8.8.8.8 login from-netrc password from-netrc\n"
                            "default login from-netrc password from-netrc\n";

/* ---- ports */

static uint16_t port_of(struct listener *listener) { return listener ? listener_port(listener) : 0; }

/* 0: no such name. */
static uint16_t port_named(const char *name, size_t len, enum lab_server which)
{
    const struct {
        const char *name;
        uint16_t port;
    } ports[] = {
        { "C", port_of(lab.canaries[0]) },
        { "O", lab.origin ? origin_port(lab.origin) : 0 },
        { "R", lab.pairs[0].origin ? origin_port(lab.pairs[0].origin) : 0 },
        { "D", DEAD_PORT },
        { "S", lab.servers[which].port },
        { "one", lab.servers[LAB_ONE].port },
        { "full", port_of(lab.full) }, /* a connect hangs */
        { "silent", port_of(lab.silent) },
        { "closing", port_of(lab.closing) },
        { "resetting", port_of(lab.resetting) },
        { "garbage", port_of(lab.garbage) },
        { "nginx", lab.nginx.port }, /* this and those below on 127.0.0.1 only */
        { "h1", lab.nginx.h1_port },
        { "h2", lab.nginx.h2_port },
    };
    for (size_t i = 0; i < ARRAY_LEN(ports); i++)
        if (strlen(ports[i].name) == len && memcmp(ports[i].name, name, len) == 0)
            return ports[i].port;
    for (unsigned kind = CERTIFICATE_GOOD + 1; kind < CERTIFICATE_KINDS; kind++)
        if (strlen(certificates_kind_name(kind)) == len && memcmp(certificates_kind_name(kind), name, len) == 0)
            return lab.nginx.bad_port[kind];
    return 0;
}

void lab_expand(const char *text, enum lab_server which, struct buf *out)
{
    while (*text) {
        const char *end = *text == '{' ? strchr(text, '}') : NULL;
        size_t len = end ? (size_t)(end - text) - 1 : 0;
        unsigned long repeats = len > 2 && text[2] == '*' ? strtoul(text + 3, NULL, 10) : 0;
        uint16_t port = len > 0 ? port_named(text + 1, len, which) : 0;
        if (repeats > 0 && repeats <= REPEATS_MAX) {
            for (; repeats > 0; repeats--)
                buf_byte(out, text[1]);
            text = end + 1;
        } else if (port > 0) {
            buf_printf(out, "%u", (unsigned)port);
            text = end + 1;
        } else {
            buf_byte(out, *text++);
        }
    }
}

static const char *expanded(const char *text, char ret_text[static FLAG_BYTES])
{
    struct buf out = BUF_INIT(FLAG_BYTES - 1);
    lab_expand(text, LAB_STRICT, &out);
    snprintf(ret_text, FLAG_BYTES, "%.*s", (int)out.len, out.data ? out.data : "");
    buf_done(&out);
    return ret_text;
}

/* ---- the world */

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    bool is_written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return is_written;
}

static bool make_home(void)
{
    char path[PATH_BYTES];
    strcpy(lab.dir, "/tmp/twinpool-abuse-XXXXXX");
    if (!mkdtemp(lab.dir)) {
        lab.dir[0] = '\0';
        return false;
    }
    snprintf(lab.key_log_path, sizeof lab.key_log_path, "%s/keys", lab.dir);
    snprintf(path, sizeof path, "%s/.netrc", lab.dir);
    /* What the servers inherit comes first in their environment, so ours must be theirs. */
    return write_file(path, netrc) && setenv("HOME", lab.dir, 1) == 0;
}

static bool start_canaries(void)
{
    for (size_t i = 0; i < ARRAY_LEN(canary_ports); i++) {
        lab.canaries[i] = listener_start(LISTENER_CLOSE, "::", canary_ports[i]);
        if (!lab.canaries[i]) {
            fprintf(stderr, "no canary can listen on [::]:%u\n", (unsigned)canary_ports[i]);
            return false;
        }
    }
    return true;
}

static bool start_pair(struct pair *pair, uint16_t port)
{
    pair->origin = origin_start(public_address, port);
    bool is_complete = pair->origin != NULL;
    for (size_t i = 0; is_complete && i < ARRAY_LEN(pair->canaries); i++) {
        pair->canaries[i] = listener_start(LISTENER_CLOSE, pair_canary_addresses[i], origin_port(pair->origin));
        is_complete = pair->canaries[i] != NULL;
    }
    return is_complete;
}

static bool start_pairs(void)
{
    for (size_t i = 0; i < ARRAY_LEN(lab.pairs); i++)
        if (!start_pair(&lab.pairs[i], pair_ports[i]))
            return false;
    return true;
}

static bool start_origins(void)
{
    lab.origin = origin_start("::", 0);
    lab.full = listener_start(LISTENER_NO_ACCEPT, public_address, 0);
    lab.silent = listener_start(LISTENER_SILENT, public_address, 0);
    lab.closing = listener_start(LISTENER_CLOSE, public_address, 0);
    lab.resetting = listener_start(LISTENER_RESET, public_address, 0);
    lab.garbage = listener_start(LISTENER_GARBAGE, public_address, 0);
    return lab.origin && lab.full && lab.silent && lab.closing && lab.resetting && lab.garbage && start_pairs() &&
           nginx_start_tls(&lab.nginx);
}

static bool start_names(void)
{
    lab.names = name_server_start("127.0.0.1", 0);
    if (!lab.names)
        return false;
    for (const struct lab_record *record = lab_records; record->name; record++) {
        if (!name_server_add(lab.names, record->name, record->type, record->value, record->ttl_s)) {
            fprintf(stderr, "the name server refuses %s %s\n", record->name, record->value);
            return false;
        }
    }
    for (const struct lab_habit *habit = lab_habits; habit->name; habit++)
        if (!name_server_behave(lab.names, habit->name, habit->behaviour, habit->parameter))
            return false;
    return true;
}

/* ---- the servers */

static const char *const flags_of[LAB_SERVERS][FLAGS_MAX] = {
    [LAB_STRICT] = { NULL },
    [LAB_ONE] = { "--fetch-allow", "127.0.0.1/32" },
    [LAB_TLS] = { "--fetch-allow", "127.0.0.1/32", "--fetch-ca-file", "(ca)" },
    [LAB_HOSTS] = { "--fetch-hosts", "good.test,*.good.test,8.8.8.8" },
    [LAB_DENY] = { "--fetch-deny-hosts", "evil.test,*.evil.test", "--fetch-deny", "9.9.9.0/24,10.1.0.0/16,2620:fe::/48",
                   "--fetch-allow", "10.0.0.0/8", "--fetch-ports", "{O},8000-8010" },
    [LAB_SELF] = { "--fetch-allow", "127.0.0.0/8,0.0.0.0/32,::1/128,::/128" },
    [LAB_SELF_ANY] = { "--listen", "[::]:0", "--fetch-allow", "127.0.0.0/8,0.0.0.0/32,::1/128,::/128" },
};

static bool start_server(enum lab_server which)
{
    static const char *const proxies[] = { "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY",
                                           "all_proxy",  "ALL_PROXY",  "ftp_proxy",   "socks_proxy" };
    static const char *const paths[] = { "SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE" };
    char texts[VARIABLES_MAX][FLAG_BYTES], names[FLAG_BYTES], ports[FLAG_BYTES];
    const char *variables[VARIABLES_MAX + 1] = { NULL }, *flags[2 * FLAGS_MAX] = { "--workers", "1" };
    size_t count = 0, used = 2;
    for (size_t i = 0; i < ARRAY_LEN(proxies); i++, count++)
        snprintf(texts[count], FLAG_BYTES, "%s=http://127.0.0.1:%u", proxies[i], (unsigned)port_of(lab.canaries[0]));
    for (size_t i = 0; i < ARRAY_LEN(paths); i++, count++)
        snprintf(texts[count], FLAG_BYTES, "%s=%s", paths[i], lab.nginx.ca_path);
    snprintf(texts[count++], FLAG_BYTES, "SSL_CERT_DIR=%s", lab.nginx.dir);
    snprintf(texts[count++], FLAG_BYTES, "SSLKEYLOGFILE=%s", lab.key_log_path);
    snprintf(texts[count++], FLAG_BYTES, "NO_PROXY=nowhere.test");
    snprintf(texts[count++], FLAG_BYTES, "no_proxy=nowhere.test");
    for (size_t i = 0; i < count; i++)
        variables[i] = texts[i];
    snprintf(names, sizeof names, "127.0.0.1:%u", (unsigned)name_server_port(lab.names));
    flags[used++] = "--fetch-dns-servers";
    flags[used++] = names;
    for (const char *const *flag = flags_of[which]; *flag; flag++)
        flags[used++] = strcmp(*flag, "(ca)") == 0      ? lab.nginx.ca_path
                        : strncmp(*flag, "{O}", 3) == 0 ? expanded(*flag, ports)
                                                        : *flag;
    return server_start(&lab.servers[which], flags, variables);
}

static bool start_servers(void)
{
    for (unsigned which = 0; which < LAB_SERVERS; which++)
        if (!start_server(which))
            return false;
    return true;
}

/* ---- life */

/* Everything that is listened on is reached, whatever the address: else canaries that see nothing would prove nothing.
 */
static bool is_sane(void)
{
    struct http_conn conn;
    uint64_t before = lab_canary_hits();
    if (!http_connect(&conn, port_of(lab.canaries[0])))
        return false;
    http_close(&conn);
    return lab_canary_hits() == before + 1;
}

bool lab_open(void)
{
    if (!netns_enter()) {
        fprintf(stderr,
                "the abuse lab needs a network namespace of its own (root, or user namespaces), and this system "
                "allows none\n");
        return false;
    }
    const char *failed = !netns_own_every_address() || !netns_add_ipv6(own_ipv6_address) ? "addresses"
                         : !netns_replace_file("/etc/hosts", hosts_file)                 ? "/etc/hosts"
                         : !netns_replace_file("/etc/resolv.conf", resolver_file)        ? "/etc/resolv.conf"
                         : !make_home()                                                  ? "a home directory"
                         : !start_canaries()                                             ? "canaries"
                         : !start_origins()                                              ? "origins"
                         : !start_names()                                                ? "the name server"
                         : !is_sane()                                                    ? "canaries that see"
                         : !start_servers()                                              ? "the servers under test"
                                                                                         : NULL;
    if (failed)
        fprintf(stderr, "the abuse lab has no %s\n", failed);
    return failed == NULL;
}

static bool stop_servers(void)
{
    bool is_clean = true;
    for (unsigned which = 0; which < LAB_SERVERS; which++)
        if (lab.servers[which].pid > 0 && server_stop(&lab.servers[which]) != 0)
            is_clean = false;
    return is_clean;
}

static void stop_pair(struct pair *pair)
{
    origin_stop(pair->origin);
    for (size_t i = 0; i < ARRAY_LEN(pair->canaries); i++)
        listener_stop(pair->canaries[i]);
}

static void remove_home(void)
{
    char path[PATH_BYTES];
    if (!lab.dir[0])
        return;
    snprintf(path, sizeof path, "%s/.netrc", lab.dir);
    unlink(path);
    unlink(lab.key_log_path);
    rmdir(lab.dir);
}

bool lab_close(void)
{
    uint64_t hits = lab_canary_hits();
    bool is_clean = stop_servers();
    if (lab_canary_hits() != hits) {
        fprintf(stderr, "a server under test connected to a canary while it stopped\n");
        is_clean = false;
    }
    if (lab.nginx.dir[0])
        nginx_stop(&lab.nginx);
    name_server_stop(lab.names);
    origin_stop(lab.origin);
    struct listener *const others[] = { lab.full, lab.silent, lab.closing, lab.resetting, lab.garbage };
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        listener_stop(others[i]);
    for (size_t i = 0; i < ARRAY_LEN(lab.canaries); i++)
        listener_stop(lab.canaries[i]);
    for (size_t i = 0; i < ARRAY_LEN(lab.pairs); i++)
        stop_pair(&lab.pairs[i]);
    remove_home();
    lab = (struct lab){ 0 };
    return is_clean;
}

const struct server *lab_server(enum lab_server which) { return &lab.servers[which]; }

uint64_t lab_canary_hits(void)
{
    uint64_t hits = 0;
    for (size_t i = 0; i < ARRAY_LEN(lab.canaries); i++)
        hits += lab.canaries[i] ? listener_accepted(lab.canaries[i]) : 0;
    for (size_t i = 0; i < ARRAY_LEN(lab.pairs); i++)
        for (size_t k = 0; k < ARRAY_LEN(pair_canary_addresses); k++)
            hits += lab.pairs[i].canaries[k] ? listener_accepted(lab.pairs[i].canaries[k]) : 0;
    return hits;
}

struct name_server *lab_names(void) { return lab.names; }
struct origin *lab_origin(void) { return lab.origin; }
const char *lab_key_log_path(void) { return lab.key_log_path; }
