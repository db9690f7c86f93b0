/* twinpool: argv, environment and file make a configuration; the supervisor does the rest. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "service/check_task.h"
#include "service/config.h"
#include "service/config_tasks.h"
#include "service/healthcheck.h"
#include "service/supervisor.h"
#include "service/version.h"

extern char **environ;

/* Thousands of connections and transfers need descriptors: the hard limit is the administrator's, the soft one only a
 * default. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* A standard descriptor that the caller closed would go to a socket or to shared memory, and the log be written into
 * that. */
static void occupy_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

/* The exit status of a command that prints: 1 if what it printed was lost, on a full disk for example. */
static int printed_status(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    perror("twinpool: standard output");
    return 1;
}

int main(int argc, char **argv)
{
    occupy_standard_descriptors();
    if (argc > 1 && strcmp(argv[1], "check-task") == 0) {
        if (argc == 3)
            return check_task_run(argv[2]);
        fputs("twinpool: check-task FILE\n", stderr);
        return 2;
    }
    static struct config config; /* tasks point into it for good */
    enum config_action action;
    if (!config_load(argc, argv, environ, &config, &action, stderr))
        return 2;
    switch (action) {
    case CONFIG_HELP:
        config_print_help(stdout);
        return printed_status();
    case CONFIG_VERSION:
        printf("twinpool %s\n", TWINPOOL_VERSION);
        return printed_status();
    case CONFIG_PRINT:
        config_print(&config, stdout);
        return printed_status();
    case CONFIG_DOCS:
        config_print_docs(stdout);
        return printed_status();
    case CONFIG_HEALTHCHECK:
        return healthcheck_run(&config);
    case CONFIG_SERVE:
        break;
    }
    log_setup(config.log_format, config.log_level);
    raise_descriptor_limit();
    char message[CONFIG_MESSAGE_MAX];
    if (!config_tasks_register(&config, message)) {
        fprintf(stderr, "twinpool: %s\n", message);
        return 2;
    }
    return supervisor_run(&(struct supervisor_start){
        .config = &config, .argc = argc, .argv = argv, .environment = environ, .listen_fd = -1, .ready_fd = -1 });
}
