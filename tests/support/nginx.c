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

#include "tests/support/http.h"
#include "tests/support/procs.h"
#include "tests/support/spawn.h"
#include "tests/support/timing.h"

enum { START_TIMEOUT_MS = 5000, PATH_BYTES = 128, ATTEMPTS = 5 };

/* Relative paths are relative to the directory given with -p. */
static const char configuration[] =
    "daemon off; master_process off; pid pid; error_log error.log warn; worker_rlimit_nofile 8192;\n"
    "events { worker_connections 4096; }\n"
    "http {\n"
    "  access_log off; keepalive_requests 1000000; default_type text/plain; types { text/html html; }\n"
    "  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n"
    "  uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n"
    "  gzip on; gzip_min_length 4096; gzip_types text/html;\n"
    "  server { listen 127.0.0.1:%u; root www; }\n"
    "}\n";

static bool write_file(const char *dir, const char *name, const void *bytes, size_t len)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "we");
    if (!file)
        return false;
    bool is_written = fwrite(bytes, 1, len, file) == len;
    return fclose(file) == 0 && is_written;
}

static bool write_files(const struct nginx *nginx)
{
    char path[PATH_BYTES], text[2048], bytes[65536];
    snprintf(path, sizeof path, "%s/www", nginx->dir);
    if (mkdir(path, 0755) != 0)
        return false;
    int len = snprintf(text, sizeof text, configuration, (unsigned)nginx->port);
    if (!write_file(nginx->dir, "nginx.conf", text, (size_t)len))
        return false;
    memset(bytes, 's', sizeof bytes);
    if (!write_file(nginx->dir, "www/small", bytes, 1024) ||
        !write_file(nginx->dir, "www/page.html", bytes, sizeof bytes))
        return false;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7 >> (i % 5));
    return write_file(nginx->dir, "www/64k", bytes, sizeof bytes);
}

/* A port that was free a moment ago; 0 if there is none. */
static uint16_t free_port(void)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
    } name = { .v4 = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof name.v4;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    bool is_bound = bind(fd, &name.any, len) == 0 && getsockname(fd, &name.any, &len) == 0;
    close(fd);
    return is_bound ? ntohs(name.v4.sin_port) : 0;
}

static bool answers_or_ended(void *context)
{
    const struct nginx *nginx = context;
    struct http_reply reply;
    http_once(nginx->port, "GET", "/small", NULL, NULL, &reply);
    bool is_answered = reply.outcome == HTTP_ANSWERED;
    http_reply_done(&reply);
    return is_answered || procs_is_gone(nginx->pid);
}

static bool start_once(struct nginx *nginx)
{
    *nginx = (struct nginx){ .dir = "/tmp/twinpool-nginx-XXXXXX", .port = free_port() };
    if (!mkdtemp(nginx->dir))
        return false;
    char config_path[PATH_BYTES], log_path[PATH_BYTES];
    snprintf(config_path, sizeof config_path, "%s/nginx.conf", nginx->dir);
    snprintf(log_path, sizeof log_path, "%s/error.log", nginx->dir);
    int log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (log_fd >= 0 && write_files(nginx)) {
        const char *const arguments[] = { "-p", nginx->dir, "-c", config_path, NULL };
        nginx->pid = spawn_program("/usr/sbin/nginx", arguments, NULL, log_fd, log_fd);
    }
    if (log_fd >= 0)
        close(log_fd);
    if (nginx->pid > 0 && wait_until(answers_or_ended, nginx, scaled_ms(START_TIMEOUT_MS)) &&
        !procs_is_gone(nginx->pid))
        return true;
    nginx_stop(nginx);
    return false;
}

bool nginx_start(struct nginx *ret_nginx)
{
    for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++) /* somebody may take the free port first */
        if (start_once(ret_nginx))
            return true;
    fprintf(stderr, "cannot start /usr/sbin/nginx (Debian package nginx-light)\n");
    return false;
}

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
