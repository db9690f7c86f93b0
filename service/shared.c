#include "service/shared.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu_count.h"
#include "base/log.h"
#include "pool/program.h"
#include "service/listen_address.h"

enum {
    LISTEN_BACKLOG = 4096,
    SPILL_ALIGN = 4096,
    START_MAX_MS = 10000, /* of a worker for the built-in tasks: it takes 10 ms, unless the machine is in great need */
    SPARE_SEATS = 1       /* of each group: for the successor of a worker that is being replaced */
};

static bool fail(const char *what)
{
    log_event(LOG_ERROR, "start_failed", LOG_STR("what", what), LOG_STR("error", strerrordesc_np(errno)));
    return false;
}

/* listen_fd -1: there is none yet. */
static bool open_listener(const char *listen_text, int listen_fd, struct shared *shared)
{
    struct listen_address address;
    char what[160];
    snprintf(what, sizeof what, "listen on %.128s", listen_text);
    if (!listen_address_parse(listen_text, &address)) {
        errno = EINVAL;
        return fail(what);
    }
    int on = 1;
    bool is_open = listen_fd >= 0;
    int fd = is_open ? listen_fd : socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr *at = (struct sockaddr *)&address.storage;
    char host[80], port[8];
    if (fd < 0 ||
        (!is_open && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 || bind(fd, at, address.len) != 0 ||
                      listen(fd, LISTEN_BACKLOG) != 0)) ||
        getsockname(fd, at, &address.len) != 0 ||
        getnameinfo(at, address.len, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return fail(what); /* the program ends: nothing to close */
    snprintf(shared->address, sizeof shared->address, address.storage.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host,
             port);
    shared->listen_fd = fd;
    return true;
}

static bool set_limits(const struct config *config, struct shared *shared)
{
    unsigned workers = config->workers > 0 ? config->workers : cpu_count();
    shared->group_count = 1;
    for (size_t i = 0; i < task_count; i++)
        if (task_table[i]->group >= shared->group_count)
            shared->group_count = task_table[i]->group + 1;
    shared->limits = calloc(shared->group_count, sizeof *shared->limits);
    if (shared->limits == NULL)
        return fail("limits");
    shared->limits[0] =
        (struct worker_limits){ .workers = workers,
                                .workers_max = config->workers_max > workers ? config->workers_max : workers,
                                .idle_max_ns = config->worker_idle_ms * NS_PER_MS,
                                .jobs_max = config->worker_max_jobs,
                                .growth_max_kib = config->worker_max_growth_bytes / 1024,
                                .age_max_ns = config->worker_max_age_ms * NS_PER_MS,
                                .start_max_ns = START_MAX_MS * NS_PER_MS };
    for (size_t i = 0; i < task_count; i++)
        if (task_table[i]->group > 0)
            shared->limits[task_table[i]->group] = task_table[i]->workers;
    return true;
}

static unsigned seats_of(const struct worker_limits *limits)
{
    return limits->workers_max > 0 ? limits->workers_max + SPARE_SEATS : 0;
}

/* Those for the built-in tasks first, then each of the others'. */
static bool assign_seats(const struct config *config, struct shared *shared)
{
    if (!set_limits(config, shared))
        return false;
    for (unsigned group = 0; group < shared->group_count; group++)
        shared->workers += seats_of(&shared->limits[group]);
    shared->groups = calloc(shared->workers, sizeof *shared->groups);
    if (shared->groups == NULL)
        return fail("groups");
    unsigned at = 0;
    for (unsigned group = 0; group < shared->group_count; group++)
        for (unsigned n = 0; n < seats_of(&shared->limits[group]); n++)
            shared->groups[at++] = group;
    return true;
}

static bool create_mailboxes(const struct config *config, struct shared *shared)
{
    shared->mailboxes = calloc(shared->workers, sizeof *shared->mailboxes);
    shared->spills = calloc(shared->workers, sizeof *shared->spills);
    if (shared->mailboxes == NULL || shared->spills == NULL)
        return fail("mailboxes");
    /* a request's args and payload are both parts of one body; query strings are turned into args, hence the slack */
    uint64_t largest =
        config->max_body_bytes > config->max_result_bytes ? config->max_body_bytes : config->max_result_bytes;
    uint64_t region = (largest + config->max_url_bytes * 8 + 65536 + SPILL_ALIGN - 1) / SPILL_ALIGN * SPILL_ALIGN;
    for (unsigned i = 0; i < shared->workers; i++) {
        shared->mailboxes[i] = mailbox_map();
        if (shared->mailboxes[i] == NULL)
            return fail("mailbox");
        if (spill_create(region, &shared->spills[i]) != ST_OK)
            return fail("spill file");
    }
    return true;
}

static bool create_bells(struct shared *shared)
{
    shared->bells = calloc(shared->loops, sizeof *shared->bells);
    shared->event_fds = calloc(shared->loops, sizeof *shared->event_fds);
    struct bell *bells =
        mmap(NULL, shared->loops * sizeof *bells, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared->bells == NULL || shared->event_fds == NULL || bells == MAP_FAILED)
        return fail("bells");
    for (unsigned i = 0; i < shared->loops; i++) {
        shared->bells[i] = &bells[i];
        shared->event_fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (shared->event_fds[i] < 0)
            return fail("eventfd");
    }
    return true;
}

bool shared_create(const struct config *config, int listen_fd, struct shared *ret_shared)
{
    *ret_shared = (struct shared){ .loops = config->loops };
    return assign_seats(config, ret_shared) && open_listener(config->listen, listen_fd, ret_shared) &&
           create_mailboxes(config, ret_shared) && create_bells(ret_shared);
}

void shared_done(struct shared *shared)
{
    for (unsigned i = 0; shared->mailboxes && i < shared->workers; i++)
        if (shared->mailboxes[i])
            mailbox_unmap(shared->mailboxes[i]);
    for (unsigned i = 0; shared->spills && i < shared->workers; i++)
        if (shared->spills[i].fd > 0)
            close(shared->spills[i].fd);
    for (unsigned i = 0; shared->event_fds && i < shared->loops; i++)
        if (shared->event_fds[i] > 0)
            close(shared->event_fds[i]);
    if (shared->bells && shared->bells[0])
        munmap(shared->bells[0], shared->loops * sizeof *shared->bells[0]);
    free(shared->groups);
    free(shared->limits);
    free(shared->mailboxes);
    free(shared->spills);
    free(shared->bells);
    free(shared->event_fds);
    *shared = (struct shared){ .listen_fd = -1 };
}
