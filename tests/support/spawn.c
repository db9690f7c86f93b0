#include "tests/support/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/timing.h"

enum { ARGUMENTS_MAX = 64, VARIABLES_MAX = 512 };

const char *spawn_twinpool(void)
{
    const char *program = getenv("TWINPOOL_BIN");
    return program ? program : "build/twinpool";
}

static bool is_inherited(const char *variable)
{
    const char *equals = strchr(variable, '=');
    size_t name_len = equals ? (size_t)(equals - variable) : strlen(variable);
    bool is_proxy = name_len >= 6 && strncasecmp(variable + name_len - 6, "_proxy", 6) == 0;
    return strncmp(variable, "TWINPOOL_", 9) != 0 && !is_proxy;
}

/* execve() takes pointers to non-const but does not write through them. */
static char *unconst(const char *text)
{
    union {
        const char *in;
        char *out;
    } same = { .in = text };
    return same.out;
}

static void build_arguments(const char *program, const char *const arguments[], char *ret_list[ARGUMENTS_MAX])
{
    size_t count = 0;
    ret_list[count++] = unconst(program);
    for (; arguments && *arguments && count < ARGUMENTS_MAX - 1; arguments++)
        ret_list[count++] = unconst(*arguments);
    ret_list[count] = NULL;
}

static void build_environment(const char *const variables[], char *ret_list[VARIABLES_MAX])
{
    size_t count = 0;
    for (char **inherited = environ; *inherited && count < VARIABLES_MAX - 1; inherited++)
        if (is_inherited(*inherited))
            ret_list[count++] = *inherited;
    for (; variables && *variables && count < VARIABLES_MAX - 1; variables++)
        ret_list[count++] = unconst(*variables);
    ret_list[count] = NULL;
}

pid_t spawn_program(const char *program, const char *const arguments[], const char *const variables[], int stdout_fd,
                    int stderr_fd)
{
    char *argument_list[ARGUMENTS_MAX], *environment[VARIABLES_MAX];
    build_arguments(program, arguments, argument_list);
    build_environment(variables, environment);

    const pid_t parent = getpid();
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    /* Only async-signal-safe calls from here on: the test may have threads. */
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (getppid() != parent || dup2(nothing, 0) < 0 || dup2(stdout_fd, 1) < 0 || dup2(stderr_fd, 2) < 0)
        _exit(126);
    execve(program, argument_list, environment);
    _exit(127);
}

struct exit_wait {
    pid_t pid;
    int status;
};

static bool has_exited(void *context)
{
    struct exit_wait *wait = context;
    return waitpid(wait->pid, &wait->status, WNOHANG) == wait->pid;
}

int spawn_wait(pid_t pid, uint32_t timeout_ms)
{
    struct exit_wait wait = { .pid = pid };
    if (!wait_until(has_exited, &wait, timeout_ms))
        return -1;
    return WIFSIGNALED(wait.status) ? 256 + WTERMSIG(wait.status) : WEXITSTATUS(wait.status);
}

char *spawn_read_all(int fd)
{
    off_t end = lseek(fd, 0, SEEK_END);
    size_t len = end > 0 ? (size_t)end : 0;
    char *text = malloc(len + 1);
    if (!text)
        abort();
    ssize_t got = len ? pread(fd, text, len, 0) : 0;
    text[got > 0 ? got : 0] = '\0';
    return text;
}
