/* The self-test runs as a job would: in a child that has warmed up and is confined as workers are, with a time-out. */
#include "service/check_task.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool/plugin.h"
#include "pool/sandbox.h"
#include "service/config_args.h"

enum { SELF_TEST_SECONDS = 10, SCHEMA_MAX_BYTES = 1 << 20 };

/* The child's end: 0 well, 1 the test failed, 2 warm_up() did. */
NORETURN static void test_in_child(const struct twinpool_task *plugin)
{
    const struct sandbox_rules rules = sandbox_rules_for_tasks();
    struct sandbox_report report;
    alarm(SELF_TEST_SECONDS);
    if (!plugin_warm_up(plugin))
        _exit(2);
    (void)sandbox_apply(&rules, &report);
    _exit(plugin->self_test == NULL || plugin->self_test() == 0 ? 0 : 1);
}

/* NULL: it is well. */
static const char *test_self(const struct twinpool_task *plugin, char text[64])
{
    int status = 0;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        test_in_child(plugin);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return "cannot be run";
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        snprintf(text, 64, "took longer than %d s", SELF_TEST_SECONDS);
    else if (WIFSIGNALED(status))
        snprintf(text, 64, "was ended by signal %d (%s)", WTERMSIG(status), sigdescr_np(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == 2)
        return "did not begin: warm_up() failed";
    else if (WEXITSTATUS(status) != 0)
        return "failed";
    else
        return NULL;
    return text;
}

static void print_schema(const struct twinpool_task *plugin, struct param *params)
{
    struct buf schema = BUF_INIT(SCHEMA_MAX_BYTES);
    const struct task task = { .name = "", .description = "", .params = params };
    task_schema(&task, &schema);
    printf("version:     %u\ndescription: %s\npayload:     %s\nidempotent:  %s\npolls:       %s\nargs:        %.*s\n",
           plugin->abi, plugin->description ? plugin->description : "",
           plugin->flags & TWINPOOL_TAKES_PAYLOAD ? "yes" : "no", plugin->flags & TWINPOOL_IDEMPOTENT ? "yes" : "no",
           plugin->flags & TWINPOOL_POLLS_CANCEL ? "yes" : "no", (int)schema.len, schema.data ? schema.data : "");
    buf_done(&schema);
}

int check_task_run(const char *path)
{
    const struct twinpool_task *plugin;
    struct param *params;
    char message[CONFIG_MESSAGE_MAX], text[64];
    if (!plugin_load(path, &plugin, message, sizeof message)) {
        fprintf(stderr, "twinpool: %s\n", message);
        return 1;
    }
    if (!config_args_read(plugin->args ? plugin->args : "", &params, message)) {
        fprintf(stderr, "twinpool: %s: %s\n", path, message);
        return 1;
    }
    print_schema(plugin, params);
    free(params);
    const char *trouble = test_self(plugin, text);
    if (trouble != NULL) {
        fprintf(stderr, "twinpool: %s: its self-test %s\n", path, trouble);
        return 1;
    }
    puts(plugin->self_test ? "self-test:   passed" : "self-test:   none");
    return 0;
}
