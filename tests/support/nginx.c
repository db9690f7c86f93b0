/* The directory holds nginx.conf, site.conf (what every port serves), www/ and the certificates, one file a kind. Ports
 * are picked before nginx binds them, so somebody may take one in between: then nginx ends and all is tried again. */
#include "tests/support/nginx.h"

#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "tests/support/http.h"
#include "tests/support/procs.h"
#include "tests/support/spawn.h"
#include "tests/support/timing.h"

enum { START_TIMEOUT_MS = 5000, PATH_BYTES = 128, CONFIGURATION_MAX = 8192, ATTEMPTS = 5 };
enum { FILE_BYTES = 65536, LINE_BYTES = 8, MODIFIED_AT = 1577836800 /* NGINX_LAST_MODIFIED */ };

/* Relative paths are relative to the directory given with -p, where nginx.conf is too. */
static const char configuration_head[] =
    "daemon off; master_process off; pid pid; error_log error.log warn; worker_rlimit_nofile 8192;\n"
    "events { worker_connections 4096; }\n"
    "http {\n"
    "  access_log off; keepalive_requests 1000000; default_type text/plain; types { text/html html; }\n"
    "  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n"
    "  uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n"
    "  gzip on; gzip_min_length 4096;\n"; /* text/html is always among the types */
static const char site[] = "root www;\n"
                           "location = /no-ranges { max_ranges 0; }\n"
                           "location = /no-content { return 204; }\n"
                           "location = /protocol { return 200 \"$server_protocol\"; }\n"
                           "location = /redirect { return 302 $arg_to; }\n"
                           "location = /connection { return 200 \"$connection $connection_requests\"; }\n";
static const char certificate_names[] = "DNS:localhost,DNS:origin.test,DNS:*.origin.test,IP:127.0.0.1";

static void add_server(struct buf *text, uint16_t port) /* port 0: no server */
{
    if (port)
        buf_printf(text, "  server { listen 127.0.0.1:%u; include site.conf; }\n", (unsigned)port);
}

/* nginx 1.25 and later would have `http2 on` rather than `listen … http2`, but still take it. */
static void add_tls_server(struct buf *text, uint16_t port, const char *protocol, enum certificate_kind kind)
{
    const char *name = certificates_kind_name(kind);
    if (port)
        buf_printf(text,
                   "  server { listen 127.0.0.1:%u ssl%s; ssl_certificate %s.pem; ssl_certificate_key %s.pem;"
                   " include site.conf; }\n",
                   (unsigned)port, protocol, name, name);
}

static bool write_file(const char *dir, const char *name, const void *bytes, size_t len)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "we");
    if (!file)
        return false;
    const struct timespec modified[2] = { { .tv_sec = MODIFIED_AT }, { .tv_sec = MODIFIED_AT } };
    bool is_written = fwrite(bytes, 1, len, file) == len && fflush(file) == 0 && futimens(fileno(file), modified) == 0;
    return fclose(file) == 0 && is_written;
}

static bool write_configuration(const struct nginx *nginx)
{
    struct buf text = BUF_INIT(CONFIGURATION_MAX);
    if (geteuid() == 0) /* also the root of a user namespace, where the user that it would change to does not exist */
        buf_lit(&text, "user root;\n");
    buf_str(&text, configuration_head);
    add_server(&text, nginx->port);
    add_tls_server(&text, nginx->h2_port, " http2", CERTIFICATE_GOOD);
    add_tls_server(&text, nginx->h1_port, "", CERTIFICATE_GOOD);
    for (unsigned kind = 0; kind < CERTIFICATE_KINDS; kind++)
        add_tls_server(&text, nginx->bad_port[kind], "", kind);
    buf_str(&text, "}\n");
    bool is_written = !text.failed && write_file(nginx->dir, "nginx.conf", text.data, text.len) &&
                      write_file(nginx->dir, "site.conf", site, sizeof site - 1);
    buf_done(&text);
    return is_written;
}

static bool write_lines(const struct nginx *nginx)
{
    char bytes[FILE_BYTES + 1];
    for (unsigned line = 0; line < FILE_BYTES / LINE_BYTES; line++)
        snprintf(bytes + (size_t)line * LINE_BYTES, LINE_BYTES + 1, "%07u\n", line);
    return write_file(nginx->dir, "www/lines", bytes, FILE_BYTES) &&
           write_file(nginx->dir, "www/no-ranges", bytes, FILE_BYTES);
}

static bool write_site(const struct nginx *nginx)
{
    char path[PATH_BYTES], bytes[FILE_BYTES];
    snprintf(path, sizeof path, "%s/www", nginx->dir);
    if (mkdir(path, 0755) != 0)
        return false;
    memset(bytes, 's', sizeof bytes);
    if (!write_file(nginx->dir, "www/empty", bytes, 0) || !write_file(nginx->dir, "www/small", bytes, 1024) ||
        !write_file(nginx->dir, "www/page.html", bytes, sizeof bytes))
        return false;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7 >> (i % 5));
    return write_file(nginx->dir, "www/64k", bytes, sizeof bytes) && write_lines(nginx);
}

static bool write_certificates(struct nginx *nginx)
{
    struct certificates *certificates;
    if (!certificates_create(nginx->dir, &certificates))
        return false;
    bool is_written = true;
    for (unsigned kind = 0; kind < CERTIFICATE_KINDS && is_written; kind++) {
        char file[PATH_BYTES];
        snprintf(file, sizeof file, "%s.pem", certificates_kind_name(kind));
        is_written = certificates_write(certificates, kind, certificate_names, file);
    }
    certificates_free(certificates);
    snprintf(nginx->ca_path, sizeof nginx->ca_path, "%s/ca.pem", nginx->dir);
    return is_written;
}

/* Binds *ret_port to a port that is free, until the socket is closed. -1: there is none. */
static int hold_free_port(uint16_t *ret_port)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
    } name = { .v4 = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof name.v4;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, &name.any, len) == 0 && getsockname(fd, &name.any, &len) == 0) {
        *ret_port = ntohs(name.v4.sin_port);
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

/* All are held until the last is found, so they differ. */
static bool pick_ports(struct nginx *nginx, bool has_tls)
{
    uint16_t *ports[3 + CERTIFICATE_KINDS] = { &nginx->port };
    int fds[ARRAY_LEN(ports)];
    size_t wanted = 1, held = 0;
    if (has_tls) {
        ports[wanted++] = &nginx->h2_port;
        ports[wanted++] = &nginx->h1_port;
        for (unsigned kind = CERTIFICATE_GOOD + 1; kind < CERTIFICATE_KINDS; kind++)
            ports[wanted++] = &nginx->bad_port[kind];
    }
    while (held < wanted && (fds[held] = hold_free_port(ports[held])) >= 0)
        held++;
    bool is_complete = held == wanted;
    while (held > 0)
        close(fds[--held]);
    return is_complete;
}

/* The pid file is written once every port is bound, so it is not another's server that answers. */
static bool answers_or_ended(void *context)
{
    const struct nginx *nginx = context;
    char pid_path[PATH_BYTES];
    snprintf(pid_path, sizeof pid_path, "%s/pid", nginx->dir);
    if (access(pid_path, F_OK) != 0)
        return procs_is_gone(nginx->pid);
    struct http_reply reply;
    http_once(nginx->port, "GET", "/small", NULL, NULL, &reply);
    bool is_answered = reply.outcome == HTTP_ANSWERED;
    http_reply_done(&reply);
    return is_answered || procs_is_gone(nginx->pid);
}

static void tell_log(int log_fd)
{
    char *log = spawn_read_all(log_fd);
    fputs(log, stderr);
    free(log);
}

static bool start_once(struct nginx *nginx, bool has_tls)
{
    *nginx = (struct nginx){ .dir = "/tmp/twinpool-nginx-XXXXXX" };
    if (!mkdtemp(nginx->dir)) {
        nginx->dir[0] = '\0';
        return false;
    }
    char config_path[PATH_BYTES], log_path[PATH_BYTES];
    snprintf(config_path, sizeof config_path, "%s/nginx.conf", nginx->dir);
    snprintf(log_path, sizeof log_path, "%s/error.log", nginx->dir);
    int log_fd = open(log_path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log_fd >= 0 && write_site(nginx) && (!has_tls || write_certificates(nginx)) && pick_ports(nginx, has_tls) &&
        write_configuration(nginx)) {
        const char *const arguments[] = { "-p", nginx->dir, "-c", config_path, NULL };
        nginx->pid = spawn_program("/usr/sbin/nginx", arguments, NULL, log_fd, log_fd);
    }
    bool is_started = nginx->pid > 0 && wait_until(answers_or_ended, nginx, scaled_ms(START_TIMEOUT_MS)) &&
                      !procs_is_gone(nginx->pid);
    if (!is_started && log_fd >= 0)
        tell_log(log_fd);
    if (log_fd >= 0)
        close(log_fd);
    if (!is_started)
        nginx_stop(nginx);
    return is_started;
}

static bool start(struct nginx *ret_nginx, bool has_tls)
{
    for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++)
        if (start_once(ret_nginx, has_tls))
            return true;
    fprintf(stderr, "cannot start /usr/sbin/nginx (Debian package nginx-light)\n");
    return false;
}

bool nginx_start(struct nginx *ret_nginx) { return start(ret_nginx, false); }

bool nginx_start_tls(struct nginx *ret_nginx) { return start(ret_nginx, true); }

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

void nginx_stop(struct nginx *nginx)
{
    if (nginx->pid > 0) {
        kill(nginx->pid, SIGKILL);
        waitpid(nginx->pid, NULL, 0);
    }
    if (nginx->dir[0])
        nftw(nginx->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    *nginx = (struct nginx){ 0 };
}
