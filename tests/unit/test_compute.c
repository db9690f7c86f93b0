/* Tests of handlers/compute.c and compute_request.c: what becomes of a request, and of a job's end. */
#include "tests/unit/fake_app.h"

#include <signal.h>

static void handle(void) { endpoint_compute.handle(&exchange); }

/* The one job that was submitted. */
static struct job *submitted(void)
{
    assert_int_equal(answer.count, 0);
    assert_int_equal(pool.count, 1);
    assert_true(answer.is_waiting);
    assert_non_null(pool.jobs[0]);
    return pool.jobs[0];
}

static void expect_args(const char *args)
{
    assert_int_equal(submitted()->args_len, strlen(args));
    assert_memory_equal(submitted()->args, args, strlen(args));
}

static void end_well(void) { end_job(0, ST_OK, "1", 0, 0); }

/* ---- the request */

static void handle__unknown_task__404(void **state)
{
    (void)state;
    exchange.path_arg = "nope";
    handle();
    expect_problem(ST_UNKNOWN_TASK, "GET /tasks");
    assert_int_equal(pool.count, 0);
}

static void handle__get__query_is_args(void **state)
{
    (void)state;
    set_query("n", "10");
    set_query("timeout_ms", "500");
    set_query("q\"", "a\nb");
    handle();
    expect_args("{\"n\":\"10\",\"q\\\"\":\"a\\nb\"}");
    assert_int_equal(submitted()->form, TASK_ARGS_QUERY);
    assert_false(submitted()->has_payload);
    assert_int_equal(submitted()->items, 0);
    assert_int_equal(submitted()->loop, 3);
    assert_false(submitted()->is_admitted);
    assert_int_equal(submitted()->priority, PRIORITY_NORMAL);
    end_well();
}

static void handle__get_or_post_without_anything__no_args(void **state)
{
    (void)state;
    exchange.method = HTTP_POST;
    handle();
    expect_args("");
    assert_int_equal(submitted()->form, TASK_ARGS_QUERY);
    end_well();
}

static void handle__head__like_get(void **state)
{
    (void)state;
    exchange.method = HTTP_HEAD;
    set_query("n", "10");
    handle();
    expect_args("{\"n\":\"10\"}");
    end_well();
}

static void handle__json_body__passed_on_as_it_came(void **state)
{
    (void)state;
    set_post(MEDIA_JSON, "not even json");
    set_query("timeout_ms", "1");
    handle();
    assert_ptr_equal(submitted()->args, exchange.body);
    assert_int_equal(submitted()->args_len, exchange.body_len);
    assert_int_equal(submitted()->form, TASK_ARGS_JSON);
    end_well();
}

static void handle__empty_json_body__400(void **state)
{
    (void)state;
    set_post(MEDIA_JSON, "");
    handle();
    expect_problem(ST_INVALID_JSON, "empty");
}

static void handle__json_body_and_query_args__422_names_them(void **state)
{
    (void)state;
    set_post(MEDIA_JSON, "{\"n\":1}");
    set_query("timeout_ms", "1");
    set_query("n", "1");
    handle();
    expect_problem(ST_INVALID_ARGS, "n is not a parameter here");
    expect_contains(answer.members, "\"errors\":[{\"pointer\":\"\",\"parameter\":\"n\",\"detail\":");
}

static void handle__form__415_even_for_payload_tasks(void **state)
{
    (void)state;
    exchange.path_arg = "digest";
    set_post(MEDIA_FORM, "{\"n\":1}");
    handle();
    expect_problem(ST_UNSUPPORTED_MEDIA_TYPE, "-H 'Content-Type: application/json'");
}

static void handle__multipart__415(void **state)
{
    (void)state;
    exchange.path_arg = "digest";
    set_post(MEDIA_MULTIPART, "--x");
    handle();
    expect_problem(ST_UNSUPPORTED_MEDIA_TYPE, "application/json");
}

static void handle__binary_body__payload_with_query_args(void **state)
{
    (void)state;
    exchange.path_arg = "digest";
    set_post(MEDIA_OTHER, "abc");
    set_query("algorithm", "sha512");
    handle();
    expect_args("{\"algorithm\":\"sha512\"}");
    assert_true(submitted()->has_payload);
    assert_ptr_equal(submitted()->payload, exchange.body);
    assert_int_equal(submitted()->payload_len, 3);
    end_well();
}

static void handle__empty_binary_body__is_a_payload_too(void **state)
{
    (void)state;
    exchange.path_arg = "digest";
    set_post(MEDIA_OTHER, "");
    handle();
    assert_true(submitted()->has_payload);
    assert_int_equal(submitted()->payload_len, 0);
    end_well();
}

static void handle__binary_body_for_other_tasks__415(void **state)
{
    (void)state;
    set_post(MEDIA_TEXT, "{\"n\":1}");
    handle();
    expect_problem(ST_UNSUPPORTED_MEDIA_TYPE, "sum_squares takes no binary payload");
}

static void handle__body_without_type__415(void **state)
{
    (void)state;
    set_post(MEDIA_NONE, "{\"n\":1}");
    handle();
    expect_problem(ST_UNSUPPORTED_MEDIA_TYPE, "Content-Type: application/json");
}

static void handle__repeated_parameter__422(void **state)
{
    (void)state;
    set_query("n", "1");
    set_query("m", "1");
    set_query("n", "2");
    handle();
    expect_problem(ST_INVALID_ARGS, "n is given more than once");
}

static void handle__many_parameters__422(void **state)
{
    static char names[40][4];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(names[i], sizeof names[i], "p%zu", i);
        set_query(names[i], "1");
    }
    handle();
    expect_problem(ST_INVALID_ARGS, "one too many");
}

static void handle__long_and_hostile_parameter_name__still_valid_json(void **state)
{
    static char name[4000];
    (void)state;
    memset(name, '"', sizeof name - 1);
    set_query(name, "1");
    set_post(MEDIA_JSON, "{}");
    handle();
    expect_problem(ST_INVALID_ARGS, "not a parameter");
    assert_true(strlen(answer.members) > 2 * (sizeof name - 1));
}

/* ---- the deadline */

static void expect_deadline(uint64_t timeout_ms)
{
    assert_int_equal(submitted()->deadline_ns, exchange.received_ns + timeout_ms * NS_PER_MS);
    assert_int_equal(answer.deadline_ns, submitted()->deadline_ns);
    end_well();
}

static void deadline__not_given__default_from_arrival(void **state)
{
    (void)state;
    handle();
    expect_deadline(10000);
}

static void deadline__header__taken(void **state)
{
    (void)state;
    exchange.timeout_ms = 60000;
    handle();
    expect_deadline(60000);
}

static void deadline__query_and_header_agree__taken(void **state)
{
    (void)state;
    exchange.timeout_ms = 250;
    set_query("timeout_ms", "250");
    handle();
    expect_deadline(250);
}

static void deadline__query_and_header_differ__422(void **state)
{
    (void)state;
    exchange.timeout_ms = 251;
    set_query("timeout_ms", "250");
    handle();
    expect_problem(ST_INVALID_ARGS, "Request-Timeout-Ms");
}

static void deadline__header_over_maximum__422_names_option(void **state)
{
    (void)state;
    exchange.timeout_ms = 60001;
    handle();
    expect_problem(ST_INVALID_ARGS, "--compute-timeout-max-ms");
    expect_contains(answer.detail, "60000");
}

static void deadline__query_not_a_number_in_range__422(void **state)
{
    static const char *const bad[] = { "0",   "60001", "",   "-1", "+1",  "1e3",
                                       "1.0", "007",   " 1", "1 ", "ten", "99999999999999999999999" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        fake_setup(state);
        set_query("timeout_ms", bad[i]);
        handle();
        expect_problem(ST_INVALID_ARGS, "timeout_ms must be an integer from 1 to 60000 (--compute-timeout-max-ms)");
        expect_contains(answer.members, "\"parameter\":\"timeout_ms\"");
        if (i + 1 < ARRAY_LEN(bad))
            free(answer.members);
    }
}

/* ---- the job's end */

static void submit__queue_full__503_at_once(void **state)
{
    (void)state;
    pool.accepts = 0;
    set_query("n", "1");
    handle();
    expect_problem(ST_QUEUE_FULL, "--queue-max");
    assert_false(answer.is_waiting);
}

static void done__ok__result_and_usage(void **state)
{
    (void)state;
    handle();
    submitted()->usage =
        (struct job_usage){ .queue_ns = 12000, .wall_ns = 41703000, .cpu_ns = 41000000, .max_rss_kib = 5120 };
    submitted()->attempts = 2;
    end_job(0, ST_OK, "{\"a\":[333283333335000000]}", 0, 0);
    assert_int_equal(answer.http, 200);
    assert_string_equal(answer.content_type, "application/json");
    assert_string_equal(
        answer.body, "{\"task\":\"sum_squares\",\"result\":{\"a\":[333283333335000000]},\"usage\":{\"queue_ms\":0.012,"
                     "\"wall_ms\":41.703,\"cpu_ms\":41.000,\"max_rss_kib\":5120},\"attempts\":2}");
}

static void done__ok_with_the_largest_numbers__fits(void **state)
{
    (void)state;
    exchange.path_arg = "digest";
    handle();
    submitted()->usage = (struct job_usage){
        .queue_ns = UINT64_MAX, .wall_ns = UINT64_MAX, .cpu_ns = UINT64_MAX, .max_rss_kib = UINT64_MAX
    };
    submitted()->attempts = UINT32_MAX;
    end_well();
    assert_int_equal(answer.http, 200);
}

static void end_with_bytes(const char *bytes, enum answer_form accepts)
{
    exchange.accepts = accepts;
    handle();
    submitted()->is_binary = true;
    submitted()->attempts = 1;
    end_job(0, ST_OK, bytes, 0, 0);
    assert_int_equal(answer.http, 200);
}

static void done__bytes_that_are_asked_for__are_the_answer(void **state)
{
    (void)state;
    end_with_bytes("\xff\"\n", ANSWER_BYTES);
    assert_string_equal(answer.content_type, "application/octet-stream");
    assert_string_equal(answer.body, "\xff\"\n");
}

static void done__no_bytes_that_are_asked_for__empty_answer(void **state)
{
    (void)state;
    end_with_bytes("", ANSWER_BYTES);
    assert_string_equal(answer.content_type, "application/octet-stream");
    assert_string_equal(answer.body, "");
}

static void done__bytes_nobody_asked_for__base64_within_json(void **state)
{
    static const struct {
        const char *bytes, *base64;
    } cases[] = { { "", "\"\"" }, { "\xff", "\"/w==\"" }, { "\xff\xfe", "\"//4=\"" }, { "\xff\xfe\xfd", "\"//79\"" } };
    static const enum answer_form forms[] = { ANSWER_JSON, ANSWER_NDJSON, ANSWER_EVENTS };
    for (size_t i = 0; i < ARRAY_LEN(cases) * ARRAY_LEN(forms); i++) {
        char expected[128];
        if (i > 0) {
            free(answer.body);
            fake_setup(state);
        }
        end_with_bytes(cases[i / ARRAY_LEN(forms)].bytes, forms[i % ARRAY_LEN(forms)]);
        snprintf(expected, sizeof expected, "{\"task\":\"sum_squares\",\"result_base64\":%s,\"usage\":{",
                 cases[i / ARRAY_LEN(forms)].base64);
        assert_string_equal(answer.content_type, "application/json");
        expect_contains(answer.body, expected);
        expect_contains(answer.body, "},\"attempts\":1}");
    }
}

/* A task that has JSON gives JSON, whatever was asked for. */
static void done__json_though_bytes_are_asked_for__json(void **state)
{
    (void)state;
    exchange.accepts = ANSWER_BYTES;
    handle();
    end_well();
    assert_string_equal(answer.content_type, "application/json");
    expect_contains(answer.body, "\"result\":1,");
}

static void done__failure_though_bytes_are_asked_for__problem(void **state)
{
    (void)state;
    exchange.accepts = ANSWER_BYTES;
    handle();
    submitted()->is_binary = true;
    end_job(0, ST_TASK_FAILED, NULL, 0, 0);
    expect_problem(ST_TASK_FAILED, "");
}

static void done__crashed__signal_and_attempts(void **state)
{
    (void)state;
    handle();
    submitted()->signal = SIGKILL;
    submitted()->attempts = 2;
    end_job(0, ST_WORKER_CRASHED, NULL, 0, 0);
    expect_problem(ST_WORKER_CRASHED, "signal 9 (SIGKILL) in the last of 2 attempts");
    expect_contains(answer.members, "\"signal\":9,\"attempts\":2,\"usage\":{");
}

static void done__worker_exited__says_so(void **state)
{
    (void)state;
    handle();
    submitted()->attempts = 1;
    end_job(0, ST_WORKER_CRASHED, NULL, 0, 0);
    expect_problem(ST_WORKER_CRASHED, "exited");
    expect_contains(answer.members, "\"signal\":0");
}

static void done__deadline_in_queue__says_never_started(void **state)
{
    (void)state;
    set_query("timeout_ms", "100");
    handle();
    submitted()->usage.queue_ns = 100 * NS_PER_MS;
    end_job(0, ST_DEADLINE_EXCEEDED, NULL, 0, 0);
    expect_problem(ST_DEADLINE_EXCEEDED, "100 ms passed while the job waited in the queue; it was never started");
    expect_contains(answer.members, "\"attempts\":0,\"usage\":{\"queue_ms\":100.000,\"wall_ms\":0.000}}");
}

static void done__deadline_while_running__says_stopped(void **state)
{
    (void)state;
    set_query("timeout_ms", "100");
    handle();
    submitted()->attempts = 1;
    end_job(0, ST_DEADLINE_EXCEEDED, NULL, 0, 0);
    expect_problem(ST_DEADLINE_EXCEEDED, "100 ms passed while the job was running");
}

static void done__invalid_args__errors_of_the_worker(void **state)
{
    (void)state;
    handle();
    end_job(0, ST_INVALID_ARGS, "[{\"pointer\":\"/n\",\"detail\":\"is required\"}]", 0, 0);
    expect_problem(ST_INVALID_ARGS, "/n: is required");
    assert_string_equal(answer.members, "{\"errors\":[{\"pointer\":\"/n\",\"detail\":\"is required\"}]}");
}

static void done__invalid_json__detail_of_the_whole(void **state)
{
    (void)state;
    handle();
    end_job(0, ST_INVALID_JSON, "[{\"pointer\":\"\",\"detail\":\"duplicate key at byte 7\"}]", 0, 0);
    expect_problem(ST_INVALID_JSON, "the args: duplicate key at byte 7");
}

static void done__errors_that_are_no_list__no_detail(void **state)
{
    (void)state;
    handle();
    end_job(0, ST_INVALID_ARGS, "7", 0, 0);
    expect_problem(ST_INVALID_ARGS, "");
}

static void done__invalid_json_without_errors__empty_list(void **state)
{
    (void)state;
    handle();
    end_job(0, ST_INVALID_JSON, NULL, 0, 0);
    expect_problem(ST_INVALID_JSON, "");
    assert_string_equal(answer.members, "{\"errors\":[]}");
}

static void done__detail_of_the_task__passed_on_literally(void **state)
{
    (void)state;
    handle();
    snprintf(submitted()->detail, sizeof submitted()->detail, "%s", "100%s of the memory");
    end_job(0, ST_MEMORY_LIMIT, NULL, 0, 0);
    expect_problem(ST_MEMORY_LIMIT, "100%s of the memory");
}

static void done__result_too_large__option_named(void **state)
{
    (void)state;
    handle();
    submitted()->result_max = 64;
    end_job(0, ST_RESULT_TOO_LARGE, NULL, 0, 0);
    expect_problem(ST_RESULT_TOO_LARGE, "the limit is 64 bytes (--max-result-bytes)");
}

static void give_up__waiting__job_cancelled_with_the_reason(void **state)
{
    (void)state;
    handle();
    endpoint_compute.give_up(&exchange, ST_CANCELLED);
    assert_int_equal(pool.cancelled_by, ST_CANCELLED);
    assert_int_equal(answer.count, 0);
    end_job(0, ST_CANCELLED, NULL, 0, 0);
    expect_problem(ST_CANCELLED, "");
}

static void priority__each__of_the_job(void **state)
{
    (void)state;
    set_query("n", "3");
    set_query("priority", "high");
    endpoint_compute.handle(&exchange);
    assert_int_equal(submitted()->priority, PRIORITY_HIGH);
    assert_int_equal(submitted()->args_len, strlen("{\"n\":\"3\"}")); /* it is not one of the task's */
    end_job(0, ST_OK, "5", 0, 0);
}

static void priority__wrong__names_them(void **state)
{
    (void)state;
    set_query("priority", "urgent");
    endpoint_compute.handle(&exchange);
    expect_problem(ST_INVALID_ARGS, "priority must be \"high\", \"normal\" or \"low\"");
}

static void refused__overloaded__says_how_long(void **state)
{
    (void)state;
    pool.accepts = 0;
    pool.refusal = ST_OVERLOADED;
    set_query("n", "3");
    endpoint_compute.handle(&exchange);
    expect_problem(ST_OVERLOADED, "it would wait for its turn for 0.0 s or more, beyond its deadline (timeout_ms)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fake_test(priority__each__of_the_job),
        fake_test(priority__wrong__names_them),
        fake_test(refused__overloaded__says_how_long),
        fake_test(handle__unknown_task__404),
        fake_test(handle__get__query_is_args),
        fake_test(handle__get_or_post_without_anything__no_args),
        fake_test(handle__head__like_get),
        fake_test(handle__json_body__passed_on_as_it_came),
        fake_test(handle__empty_json_body__400),
        fake_test(handle__json_body_and_query_args__422_names_them),
        fake_test(handle__form__415_even_for_payload_tasks),
        fake_test(handle__multipart__415),
        fake_test(handle__binary_body__payload_with_query_args),
        fake_test(handle__empty_binary_body__is_a_payload_too),
        fake_test(handle__binary_body_for_other_tasks__415),
        fake_test(handle__body_without_type__415),
        fake_test(handle__repeated_parameter__422),
        fake_test(handle__many_parameters__422),
        fake_test(handle__long_and_hostile_parameter_name__still_valid_json),
        fake_test(deadline__not_given__default_from_arrival),
        fake_test(deadline__header__taken),
        fake_test(deadline__query_and_header_agree__taken),
        fake_test(deadline__query_and_header_differ__422),
        fake_test(deadline__header_over_maximum__422_names_option),
        fake_test(deadline__query_not_a_number_in_range__422),
        fake_test(submit__queue_full__503_at_once),
        fake_test(done__ok__result_and_usage),
        fake_test(done__ok_with_the_largest_numbers__fits),
        fake_test(done__bytes_that_are_asked_for__are_the_answer),
        fake_test(done__no_bytes_that_are_asked_for__empty_answer),
        fake_test(done__bytes_nobody_asked_for__base64_within_json),
        fake_test(done__json_though_bytes_are_asked_for__json),
        fake_test(done__failure_though_bytes_are_asked_for__problem),
        fake_test(done__crashed__signal_and_attempts),
        fake_test(done__worker_exited__says_so),
        fake_test(done__deadline_in_queue__says_never_started),
        fake_test(done__deadline_while_running__says_stopped),
        fake_test(done__invalid_args__errors_of_the_worker),
        fake_test(done__invalid_json__detail_of_the_whole),
        fake_test(done__errors_that_are_no_list__no_detail),
        fake_test(done__invalid_json_without_errors__empty_list),
        fake_test(done__detail_of_the_task__passed_on_literally),
        fake_test(done__result_too_large__option_named),
        fake_test(give_up__waiting__job_cancelled_with_the_reason),
    };
    return cmocka_run_group_tests_name("compute", tests, NULL, NULL);
}
