#include "service/generation.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "service/config_tasks.h"
#include "tasks/task.h"

enum { LOAD_MAX_S = 10 };

/* All but these two, which are above the standard ones. */
static void close_others(int one, int other)
{
    unsigned low = (unsigned)(one < other ? one : other), high = (unsigned)(one < other ? other : one);
    if (low > STDERR_FILENO + 1)
        syscall(SYS_close_range, STDERR_FILENO + 1u, low - 1, 0);
    if (high > low + 1)
        syscall(SYS_close_range, low + 1, high - 1, 0);
    syscall(SYS_close_range, high + 1, ~0u, 0);
}

static int refuse(const char *reason)
{
    log_event(LOG_ERROR, "reload_failed", LOG_STR("error", reason));
    return 2;
}

/* The new configuration, or NULL: logged. It stays for good, like what is loaded with it. */
static const struct config *read_config(const struct supervisor_start *old)
{
    struct config *config = calloc(1, sizeof *config);
    char *text = NULL, message[CONFIG_MESSAGE_MAX];
    size_t size = 0;
    enum config_action action;
    FILE *errors = open_memstream(&text, &size);
    task_reset(); /* names of the old ones are free again */
    bool is_good = config != NULL && errors != NULL &&
                   config_load(old->argc, old->argv, old->environment, config, &action, errors);
    if (errors != NULL)
        fclose(errors);
    if (text != NULL)
        text[strcspn(text, "\n")] = '\0';
    if (!is_good)
        (void)refuse(text != NULL && text[0] != '\0' ? text : "no memory");
    free(text);
    if (!is_good)
        return NULL;
    if (strcmp(config->listen, old->config->listen) != 0) {
        (void)refuse("listen cannot be changed while the service runs");
        return NULL;
    }
    if (!config_tasks_register(config, message)) {
        (void)refuse(message);
        return NULL;
    }
    return config;
}

NORETURN static void be_generation(const struct supervisor_start *old, pid_t parent, struct shared *shared,
                                   int ready_fd)
{
    int listen_fd = shared->listen_fd;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it died before that took effect */
        _exit(1);
    setpgid(0, 0);       /* what is sent to the whole group comes from the parent, once */
    shared_done(shared); /* what it unmaps is this process's view only */
    close_others(listen_fd, ready_fd);
    alarm(LOAD_MAX_S); /* a plug-in's constructor may hang: it must not keep reloading from ever being tried again */
    const struct config *config = read_config(old);
    alarm(0);
    if (config == NULL)
        _exit(2);
    log_setup(config->log_format, config->log_level);
    struct supervisor_start start = *old;
    start.config = config;
    start.listen_fd = listen_fd;
    start.ready_fd = ready_fd;
    _exit(supervisor_run(&start));
}

bool generation_begin(const struct supervisor_start *start, struct shared *shared, struct generation *ret_generation)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return false;
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        be_generation(start, parent, shared, ends[1]);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return false;
    }
    *ret_generation = (struct generation){ .pid = pid, .ready_fd = ends[0] };
    return true;
}

const char *generation_describe_end(int wait_status)
{
    if (!WIFSIGNALED(wait_status))
        return "";
    return WTERMSIG(wait_status) == SIGALRM ? "its plug-ins were not loaded within 10 s"
                                            : sigdescr_np(WTERMSIG(wait_status));
}

bool generation_is_serving(struct generation *generation)
{
    char byte;
    ssize_t count = read(generation->ready_fd, &byte, 1);
    close(generation->ready_fd);
    generation->ready_fd = -1;
    return count == 1;
}

void generation_forget(struct generation *generation)
{
    if (generation->ready_fd >= 0)
        close(generation->ready_fd);
    *generation = (struct generation){ .ready_fd = -1 };
}
