#include "service/child.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "pool/worker.h"

enum { BACKOFF_FIRST_MS = 10, BACKOFF_MAX_MS = 5000 };

bool child_is_alive(const struct child *child)
{
    return child->state == CHILD_STARTED || child->state == CHILD_ANNOUNCED;
}

void child_kill(const struct child *child)
{
    kill(-child->pid, SIGKILL);
    kill(child->pid, SIGKILL); /* it may not have its own group yet */
}

uint64_t child_back_off_ns(unsigned *failures)
{
    uint64_t delay_ms = BACKOFF_FIRST_MS;
    for (unsigned i = 0; i < *failures && delay_ms < BACKOFF_MAX_MS; i++)
        delay_ms *= 2;
    if (delay_ms > BACKOFF_MAX_MS)
        delay_ms = BACKOFF_MAX_MS;
    (*failures)++;
    return delay_ms * NS_PER_MS * (75 + (uint64_t)random() % 51) / 100;
}

struct death {
    const char *how, *what; /* "exited", "status"; "Killed", "signal" */
    int number;
};

static struct death death_of(const struct child *child)
{
    if (WIFSIGNALED(child->wait_status))
        return (struct death){ sigdescr_np(WTERMSIG(child->wait_status)), "signal", WTERMSIG(child->wait_status) };
    return (struct death){ "exited", "status", WEXITSTATUS(child->wait_status) };
}

void child_log_front_end_death(const struct child *child)
{
    struct death death = death_of(child);
    log_event(LOG_ERROR, "front_end_died", LOG_INT("pid", child->pid), LOG_STR("how", death.how),
              LOG_INT(death.what, death.number));
}

void child_log_worker_death(const struct child *child, unsigned worker, const char *task)
{
    struct death death = death_of(child);
    if (child->kill_reason[0] == '\0' && worker_has_ended_by_rule(child->wait_status))
        log_event(LOG_INFO, "worker_replaced", LOG_INT("worker", worker), LOG_STR("task", task),
                  LOG_INT("pid", child->pid), LOG_STR("reason", "its job was answered and it could not go on"));
    else if (child->kill_reason[0] == '\0')
        log_event(LOG_WARNING, "worker_died", LOG_INT("worker", worker), LOG_STR("task", task),
                  LOG_INT("pid", child->pid), LOG_STR("how", death.how), LOG_INT(death.what, death.number));
    else if (child->evidence[0] == '\0')
        log_event(LOG_DEBUG, "worker_dismissed", LOG_INT("worker", worker), LOG_STR("task", task),
                  LOG_INT("pid", child->pid), LOG_STR("reason", child->kill_reason));
    else /* its job had to end */
        log_event(LOG_INFO, "worker_replaced", LOG_INT("worker", worker), LOG_STR("task", task),
                  LOG_INT("pid", child->pid), LOG_STR("reason", child->kill_reason), LOG_STR("was", child->evidence));
}
