/* The supervisor's side of the front end: it is forked with the workers that were announced before, and hears of all
 * others over the control socket. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "service/frontend.h"
#include "service/supervisor_internal.h"

NORETURN static void be_frontend(struct supervisor *supervisor, int control_fd)
{
    struct frontend_worker *workers = calloc(supervisor->shared.workers, sizeof *workers);
    supervisor_leave(supervisor);
    for (unsigned i = 0; workers != NULL && i < supervisor->shared.workers; i++)
        if (supervisor->workers[i].state == CHILD_ANNOUNCED)
            workers[i] = (struct frontend_worker){ supervisor->workers[i].pid, supervisor->workers[i].generation };
    int status = workers == NULL ? 1
                                 : frontend_main(&(struct frontend_config){ .config = supervisor->config,
                                                                            .shared = &supervisor->shared,
                                                                            .workers = workers,
                                                                            .control_fd = control_fd,
                                                                            .supervisor = supervisor->pid });
    free(workers);
    _exit(status);
}

/* Null if it could not be started. */
static pid_t fork_it(struct supervisor *supervisor, int ends[2])
{
    if (!control_pair(ends))
        return 0;
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        be_frontend(supervisor, ends[1]);
    }
    int error = errno;
    close(ends[1]);
    if (pid > 0)
        return pid;
    close(ends[0]);
    errno = error;
    return 0;
}

uint64_t frontend_process_start(struct supervisor *supervisor, uint64_t now_ns)
{
    struct child *frontend = &supervisor->frontend;
    int ends[2];
    if (now_ns < frontend->start_ns)
        return frontend->start_ns;
    worker_seats_reset(supervisor);
    pid_t pid = fork_it(supervisor, ends);
    if (pid == 0) {
        log_event(LOG_ERROR, "fork_failed", LOG_STR("process", "front end"), LOG_STR("error", strerrordesc_np(errno)));
        frontend->start_ns = now_ns + child_back_off_ns(&frontend->failures);
        return frontend->start_ns;
    }
    frontend->pid = pid;
    frontend->generation++;
    frontend->start_ns = now_ns;
    frontend->state = CHILD_STARTED;
    supervisor->control_fd = ends[0];
    supervisor->is_serving = false;
    struct epoll_event event = { .events = EPOLLIN, .data.fd = ends[0] };
    epoll_ctl(supervisor->epoll_fd, EPOLL_CTL_ADD, ends[0], &event);
    return CLOCK_NEVER;
}

void frontend_process_restart(struct supervisor *supervisor, uint64_t now_ns)
{
    struct child *frontend = &supervisor->frontend;
    if (supervisor->is_serving)
        frontend->failures = 0;
    frontend->start_ns = supervisor->is_serving ? now_ns : now_ns + child_back_off_ns(&frontend->failures);
    /* what it knew is gone; its successor hears of the dead ones again and gets the living with the fork */
    for (unsigned i = 0; i < supervisor->shared.workers; i++)
        if (supervisor->workers[i].state == CHILD_STARTED)
            supervisor->workers[i].state = CHILD_ANNOUNCED;
}
