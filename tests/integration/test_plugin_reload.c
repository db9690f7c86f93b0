/* A plug-in whose file changes: after SIGHUP it is the new one, or the old one goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "tests/support/files.h"
#include "tests/support/steps.h"
#include "tests/support/timing.h"

static struct server server;
static char folder[] = "/tmp/twinpool-reloaded-XXXXXX";

/* Builds it with these flags; `how` puts the result in its place. */
static bool build(const char *flags, const char *how)
{
    char command[600];
    snprintf(command, sizeof command,
             "cc -shared -fPIC -I. %s -o %s/new.so tests/plugins/answer.c && %s %s/new.so %s/answer.so", flags, folder,
             how, folder, folder);
    return system(command) == 0;
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    char command[100];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command) == 0 ? 0 : -1;
}

static int start(void **state)
{
    char text[100], path[100];
    (void)state;
    snprintf(text, sizeof text, "[task.answer]\nplugin = %s/answer.so\n", folder);
    snprintf(path, sizeof path, "%s/tasks.ini", folder);
    const char *const flags[] = { "--workers", "1", "--config", path, NULL };
    return build("", "mv") && files_write(path, text) && server_start(&server, flags, NULL) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    return server_stop(&server) == 0 ? 0 : -1;
}

static void reload(void)
{
    assert_true(server_reload(&server, " reloaded ", scaled_ms(15000)));
    assert_true(server_wait_settled(&server, scaled_ms(15000)));
}

static void expect_answer(const char *text)
{
    const struct step step = { "GET", "/compute/answer", NULL, NULL, 200, NULL, text };
    steps_run(&server, &step, 1);
}

static void plugin__overwritten_in_place__refused(void **state)
{
    (void)state;
    expect_answer("\"result\":1,");
    assert_true(build("-DANSWER='\"2\"'", "cp"));
    assert_true(server_reload(&server, " reload_ended ", scaled_ms(15000)));
    assert_true(server_log_contains(&server, "it was overwritten while it was loaded; restart"));
    server_kill(&server); /* what it has loaded is not what it was: even its end may fail */
}

static void plugin__replaced__is_the_new_one(void **state)
{
    (void)state;
    expect_answer("\"result\":1,");
    assert_true(build("-DANSWER='\"3\"'", "mv"));
    reload();
    expect_answer("\"result\":3,");
    assert_true(build("-DANSWER='\"4\"'", "mv"));
    reload();
    expect_answer("\"result\":4,");
    reload();
    expect_answer("\"result\":4,");
}

static void plugin__hangs_as_it_is_loaded__the_old_one_goes_on(void **state)
{
    (void)state;
    assert_true(build("-DHANGS", "mv"));
    assert_true(server_reload(&server, " reload_ended ", scaled_ms(15000)));
    assert_true(server_log_contains(&server, "its plug-ins were not loaded within 10 s"));
    expect_answer("\"result\":1,");
    assert_true(build("-DANSWER='\"5\"'", "mv"));
    reload();
    expect_answer("\"result\":5,");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(plugin__overwritten_in_place__refused, start),
        cmocka_unit_test_setup_teardown(plugin__replaced__is_the_new_one, start, stop),
        cmocka_unit_test_setup_teardown(plugin__hangs_as_it_is_loaded__the_old_one_goes_on, start, stop),
    };
    return cmocka_run_group_tests_name("plugin_reload", tests, make_folder, remove_folder);
}
