/* Tests of what the service tells about itself: handlers/{metrics,stats,health,tasks}.c. */
#include "tests/unit/fake_app.h"

#include <ctype.h>
#include <unistd.h>

#include <cJSON.h>

#include "handlers/facts.h"
#include "tasks/task.h"

static struct server_stats server_now;
static struct process_pool_stats compute_now;
static struct io_pool_stats fetch_now;
static struct worker_info workers_now[2];

static void get_server_stats(const struct app *of, struct server_stats *ret_stats)
{
    (void)of;
    *ret_stats = server_now;
}

void process_pool_get_group(struct process_pool *from, unsigned group, struct process_pool_group *ret_group)
{
    (void)from;
    (void)group;
    *ret_group = (struct process_pool_group){ 0 };
}

void process_pool_get_stats(struct process_pool *of, struct process_pool_stats *ret_stats)
{
    (void)of;
    *ret_stats = compute_now;
}

unsigned process_pool_get_workers(struct process_pool *of, struct worker_info *ret_workers, unsigned count)
{
    (void)of;
    assert_true(count >= ARRAY_LEN(workers_now));
    memcpy(ret_workers, workers_now, sizeof workers_now);
    return ARRAY_LEN(workers_now);
}

const char *worker_state_name(enum worker_state state) { return state == WORKER_BUSY ? "busy" : "idle"; }

size_t io_pool_get_hosts(struct io_pool *of, struct io_host_info *ret_hosts, size_t capacity)
{
    (void)of;
    assert_true(capacity >= 2);
    ret_hosts[0] = (struct io_host_info){
        .origin = "http://a:80", .breaker = BREAKER_IS_OPEN, .failures = 5, .running = 1, .opens_in_ns = 1500000
    };
    ret_hosts[1] = (struct io_host_info){ .origin = "http://b:80", .failures = 1 };
    return 2;
}

void io_pool_get_stats(struct io_pool *of, struct io_pool_stats *ret_stats)
{
    (void)of;
    *ret_stats = fetch_now;
}

static int setup(void **state)
{
    fake_setup(state);
    app.get_server_stats = get_server_stats;
    app.io_pool = (struct io_pool *)&fetch_now;
    server_now = (struct server_stats){ .lifecycle = "running",
                                        .loops = 2,
                                        .uptime_ns = 1500 * NS_PER_MS,
                                        .connections = 64,
                                        .requests = 1000,
                                        .responses = { 1, 0, 900, 0, 90, 9 } };
    compute_now = (struct process_pool_stats){ .workers = 2, .workers_ready = 1, .queued = 7, .mean_wall_ns = 250000 };
    compute_now.ended_by_status[ST_OK] = 40;
    compute_now.ended_by_status[ST_WORKER_CRASHED] = 3;
    fetch_now = (struct io_pool_stats){ .threads = 4, .urls_ok = 11, .bytes_received = UINT64_MAX };
    fetch_now.failed_by_status[ST_BLOCKED_ADDRESS] = 5;
    workers_now[0] =
        (struct worker_info){ .pid = 4711, .state = WORKER_BUSY, .generation = 2, .running_ns = 12 * NS_PER_MS };
    workers_now[1] =
        (struct worker_info){ .pid = 4712, .state = WORKER_IDLE, .generation = 1, .task = -1, .jobs_done = 8 };
    return 0;
}

/* ---- metrics */

static const char *skip_name(const char *at)
{
    assert_true(isalpha((unsigned char)*at));
    while (isalnum((unsigned char)*at) || *at == '_')
        at++;
    return at;
}

/* `name{label="value"} number` of the family that was announced last. */
static void expect_sample(const char *line, const char *family)
{
    const char *at = skip_name(line);
    char *end;
    assert_int_equal(at - line, strlen(family));
    assert_memory_equal(line, family, strlen(family));
    if (*at == '{') {
        at = skip_name(at + 1);
        assert_memory_equal(at, "=\"", 2);
        at = strpbrk(at + 2, "\"\\");
        assert_non_null(at);
        assert_memory_equal(at, "\"}", 2);
        at += 2;
    }
    assert_int_equal(*at, ' ');
    strtod(at + 1, &end);
    assert_true(end > at + 1);
    assert_int_equal(*end, '\0');
}

static void metrics__text__every_line_is_well_formed(void **state)
{
    (void)state;
    char family[128] = "", type[16] = "", seen[8192] = "";
    endpoint_metrics.handle(&exchange);
    assert_int_equal(answer.http, 200);
    assert_string_equal(answer.content_type, "text/plain; version=0.0.4; charset=utf-8");
    assert_int_equal(answer.body[strlen(answer.body) - 1], '\n');

    char *save = NULL;
    for (char *line = strtok_r(answer.body, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char announced[128];
        if (sscanf(line, "# HELP %127s", announced) == 1) {
            char key[140];
            snprintf(family, sizeof family, "%s", announced);
            snprintf(key, sizeof key, " %s ", family);
            assert_null(strstr(seen, key)); /* a family is one block */
            strcat(seen, key);
            assert_true(strncmp(family, "twinpool_", 9) == 0);
        } else if (sscanf(line, "# TYPE %127s %15s", announced, type) == 2) {
            assert_string_equal(announced, family);
            bool ends_in_total = strlen(family) > 6 && strcmp(family + strlen(family) - 6, "_total") == 0;
            assert_string_equal(type, ends_in_total ? "counter" : "gauge");
        } else {
            expect_sample(line, family);
        }
    }
}

static void metrics__values__as_gathered(void **state)
{
    static const char *const lines[] = {
        "\ntwinpool_build_info{version=\"1.2.3\"} 1\n",
        "\ntwinpool_state{state=\"running\"} 1\n",
        "\ntwinpool_uptime_seconds 1.5\n",
        "\ntwinpool_connections 64\n",
        "\ntwinpool_requests_total{class=\"none\"} 1\n",
        "\ntwinpool_requests_total{class=\"2xx\"} 900\n",
        "\ntwinpool_requests_total{class=\"5xx\"} 9\n",
        "\ntwinpool_workers_ready 1\n",
        "\ntwinpool_queue_jobs 7\n",
        "\ntwinpool_job_duration_mean_seconds 0.00025\n",
        "\ntwinpool_jobs_total{outcome=\"ok\"} 40\n",
        "\ntwinpool_jobs_total{outcome=\"worker_crashed\"} 3\n",
        "\ntwinpool_fetch_urls_total{outcome=\"ok\"} 11\n",
        "\ntwinpool_fetch_urls_total{outcome=\"blocked_address\"} 5\n",
        "\ntwinpool_fetch_received_bytes_total 18446744073709551615\n",
    };
    (void)state;
    endpoint_metrics.handle(&exchange);
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        expect_contains(answer.body, lines[i]);
    assert_null(strstr(answer.body, "outcome=\"connect_timeout\"")); /* has not happened */
}

/* ---- stats */

static const cJSON *at(const cJSON *tree, const char *outer, const char *inner)
{
    const cJSON *object = cJSON_GetObjectItemCaseSensitive(tree, outer);
    const cJSON *value = inner ? cJSON_GetObjectItemCaseSensitive(object, inner) : object;
    if (!value)
        fail_msg("no %s.%s in %s", outer, inner ? inner : "", answer.body);
    return value;
}

static void stats__json__as_gathered(void **state)
{
    (void)state;
    endpoint_stats.handle(&exchange);
    assert_int_equal(answer.http, 200);
    cJSON *stats = cJSON_Parse(answer.body);
    assert_non_null(stats);
    assert_string_equal(at(stats, "version", NULL)->valuestring, "1.2.3");
    assert_string_equal(at(stats, "state", NULL)->valuestring, "running");
    assert_int_equal(at(stats, "pid", NULL)->valueint, getpid());
    assert_true(at(stats, "uptime_seconds", NULL)->valuedouble == 1.5);
    assert_int_equal(at(stats, "connections", "open")->valueint, 64);
    assert_int_equal(at(at(stats, "requests", NULL), "answered", "4xx")->valueint, 90);
    assert_int_equal(at(stats, "compute", "queued")->valueint, 7);
    assert_int_equal(at(at(stats, "compute", NULL), "jobs", "worker_crashed")->valueint, 3);
    assert_int_equal(at(at(stats, "fetch", NULL), "urls", "blocked_address")->valueint, 5);
    const cJSON *hosts = at(stats, "fetch", "hosts");
    assert_int_equal(cJSON_GetArraySize(hosts), 2);
    assert_string_equal(at(hosts->child, "host", NULL)->valuestring, "http://a:80");
    assert_string_equal(at(hosts->child, "breaker", NULL)->valuestring, "open");
    assert_true(at(hosts->child, "probe_in_ms", NULL)->valuedouble == 1.5);
    assert_string_equal(at(hosts->child->next, "breaker", NULL)->valuestring, "closed");
    cJSON_Delete(stats);
}

static void stats__workers__one_by_one(void **state)
{
    (void)state;
    endpoint_stats.handle(&exchange);
    expect_contains(
        answer.body,
        "\"workers\":[{\"pid\":4711,\"pool\":\"built-in\",\"state\":\"busy\",\"generation\":2,\"jobs_done\":0,\"jobs_"
        "posted\":0,"
        "\"task\":\"sum_squares\",\"running_ms\":12.000},"
        "{\"pid\":4712,\"pool\":\"built-in\",\"state\":\"idle\",\"generation\":1,\"jobs_done\":8,\"jobs_posted\":0,"
        "\"task\":null,\"running_ms\":0.000}]");
}

/* ---- health */

static void healthz__always__ok(void **state)
{
    (void)state;
    server_now.is_draining = true;
    compute_now.workers_ready = 0;
    endpoint_healthz.handle(&exchange);
    assert_int_equal(answer.http, 200);
    assert_string_equal(answer.body, "{\"status\":\"ok\"}");
}

static void readyz__one_worker__ready(void **state)
{
    (void)state;
    endpoint_readyz.handle(&exchange);
    assert_int_equal(answer.http, 200);
    assert_string_equal(answer.body, "{\"status\":\"ready\",\"workers_ready\":1,\"workers\":2}");
}

static void readyz__no_worker__503(void **state)
{
    (void)state;
    compute_now.workers_ready = 0;
    endpoint_readyz.handle(&exchange);
    expect_problem(ST_NOT_READY, "none of the 2 workers");
}

static void readyz__draining__503(void **state)
{
    (void)state;
    server_now.is_draining = true;
    endpoint_readyz.handle(&exchange);
    expect_problem(ST_DRAINING, "");
}

/* ---- tasks */

static void tasks__asked_twice__every_task_with_its_schema(void **state)
{
    (void)state;
    endpoint_tasks.handle(&exchange);
    char *first = answer.body;
    answer = (struct fake_answer){ 0 };
    endpoint_tasks.handle(&exchange);
    assert_string_equal(answer.body, first);
    free(first);

    cJSON *document = cJSON_Parse(answer.body);
    const cJSON *tasks = cJSON_GetObjectItemCaseSensitive(document, "tasks");
    assert_int_equal(cJSON_GetArraySize(tasks), task_count);
    for (size_t i = 0; i < task_count; i++) {
        const cJSON *task = cJSON_GetArrayItem(tasks, (int)i);
        assert_string_equal(at(task, "name", NULL)->valuestring, task_table[i]->name);
        assert_string_equal(at(task, "description", NULL)->valuestring, task_table[i]->description);
        assert_int_equal(cJSON_IsTrue(at(task, "takes_payload", NULL)), task_table[i]->takes_payload);
        assert_int_equal(cJSON_IsTrue(at(task, "idempotent", NULL)), task_table[i]->is_idempotent);
        assert_string_equal(at(task, "args", "type")->valuestring, "object");
    }
    cJSON_Delete(document);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, fake_teardown)
    const struct CMUnitTest tests[] = {
        TEST(metrics__text__every_line_is_well_formed),
        TEST(metrics__values__as_gathered),
        TEST(stats__json__as_gathered),
        TEST(stats__workers__one_by_one),
        TEST(healthz__always__ok),
        TEST(readyz__one_worker__ready),
        TEST(readyz__no_worker__503),
        TEST(readyz__draining__503),
        TEST(tasks__asked_twice__every_task_with_its_schema),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
