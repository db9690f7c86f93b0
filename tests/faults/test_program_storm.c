/* Maps for programs of which one item in ten goes wrong: each item is given to a program once, and its result or error
 * is its own. FAULT_SECONDS (3) sets how long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json_write.h"
#include "tests/support/files.h"
#include "tests/support/json_path.h"
#include "tests/support/steps.h"

enum { ITEMS = 200, ITEMS_MAX = 100000 };

static struct server server;
static char folder[] = "/tmp/twinpool-storm-XXXXXX";
static char ran_file[64];
static unsigned char times_run[ITEMS_MAX];

static int start(void **state)
{
    char config_file[64], text[300];
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(ran_file, sizeof ran_file, "%s/ran", folder);
    snprintf(config_file, sizeof config_file, "%s/tasks.ini", folder);
    snprintf(text, sizeof text,
             "[task.wild]\ncommand = python3 tests/support/wild_program.py %s\nwrite = %s\nworkers = 3\n", ran_file,
             folder);
    const char *const flags[] = { "--workers", "1", "--config", config_file, NULL };
    return files_write(config_file, text) && server_start(&server, flags, NULL) ? 0 : -1;
}

static int stop(void **state)
{
    char command[100];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", folder);
    return server_stop(&server) == 0 && system(command) == 0 ? 0 : -1;
}

struct tally {
    unsigned ok, failed;
};

/* An item's own result, its own words, or what became of its worker. */
static void check_item(const cJSON *item, unsigned k, struct tally *tally)
{
    const cJSON *result = cJSON_GetObjectItem(item, "result");
    char own[16];
    snprintf(own, sizeof own, "%u", k);
    if (result) {
        assert_int_equal(result->valueint, k);
        tally->ok++;
        return;
    }
    const char *code = json_text_at(item, "error.code");
    if (strcmp(code, "task_failed") == 0)
        assert_string_equal(json_text_at(item, "error.message"), own);
    else if (strcmp(code, "worker_crashed") != 0 && strcmp(code, "worker_protocol") != 0)
        fail_msg("%u: %s", k, code);
    tally->failed++;
}

static void map_items(unsigned first, struct tally *tally)
{
    struct buf body = BUF_INIT(1 << 20);
    for (unsigned i = 0; i < ITEMS; i++) {
        buf_str(&body, i == 0 ? "[{\"k\":" : ",{\"k\":");
        json_uint(&body, first + i);
        buf_byte(&body, '}');
    }
    buf_str(&body, "]");
    buf_byte(&body, '\0');
    struct http_reply reply =
        step_once(&server, "POST", "/compute/wild/map?timeout_ms=60000", HTTP_JSON, body.data, 200);
    cJSON *json = cJSON_Parse(reply.body);
    const cJSON *results = cJSON_GetObjectItem(json, "results"), *item;
    assert_int_equal(cJSON_GetArraySize(results), ITEMS);
    unsigned k = first;
    cJSON_ArrayForEach(item, results) check_item(item, k++, tally);
    cJSON_Delete(json);
    http_reply_done(&reply);
    buf_done(&body);
}

static void count_runs(void)
{
    FILE *file = fopen(ran_file, "re");
    char line[32];
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        unsigned long k = strtoul(line, NULL, 10);
        assert_true(k < ITEMS_MAX);
        times_run[k]++;
    }
    fclose(file);
}

static void maps__of_a_wild_program__each_item_once(void **state)
{
    const char *seconds = getenv("FAULT_SECONDS");
    uint64_t end_ns = clock_now_ns() + (seconds ? strtoull(seconds, NULL, 10) : 3) * NS_PER_SEC;
    struct tally tally = { 0 };
    unsigned count = 0;
    (void)state;
    while (clock_now_ns() < end_ns && count + ITEMS <= ITEMS_MAX) {
        map_items(count, &tally);
        count += ITEMS;
    }
    count_runs();
    print_message("    %u items, %u with a result, %u without\n", count, tally.ok, tally.failed);
    for (unsigned k = 0; k < count; k++)
        if (times_run[k] != 1)
            fail_msg("%u was run %u times", k, times_run[k]);
    assert_true(tally.ok > tally.failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(maps__of_a_wild_program__each_item_once) };
    return cmocka_run_group_tests_name("program_storm", tests, start, stop);
}
