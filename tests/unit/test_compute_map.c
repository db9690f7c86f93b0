/* Tests of handlers/compute_map.c, map_call.c, map_items.c, map_options.c and map_pace.c: how a body becomes chunks,
 * and how their ends become one answer. Streams are in test_map_stream.c. */
#include "tests/unit/map_case.h"

#include <signal.h>

/* All `count` numbers came back, in order. */
static void expect_numbers(unsigned count)
{
    const char *at = answer.body + strlen("{\"results\":[");
    for (unsigned i = 0; i < count; i++) {
        char text[64];
        int len = snprintf(text, sizeof text, "%s{\"result\":%u}", i ? "," : "", i);
        if (strncmp(at, text, (size_t)len) != 0)
            fail_msg("item %u: expected %s, got %.40s", i, text, at);
        at += len;
    }
    assert_int_equal(*at, ']');
}

/* ---- the body */

static void handle__array__items_as_they_are(void **state)
{
    (void)state;
    set_query("chunksize", "9");
    map(" [ {\"n\" : 1} ,\n\"]\", [ 2 ],null\t] ");
    assert_int_equal(pool.count, 1);
    expect_args(0, "[{\"n\" : 1},\"]\",[ 2 ],null]");
    assert_int_equal(pool.jobs[0]->items, 4);
    assert_int_equal(pool.jobs[0]->form, TASK_ARGS_JSON);
    assert_int_equal(pool.jobs[0]->loop, 3);
    end_all();
    expect_answer("{\"result\":{\"n\" : 1}},{\"result\":\"]\"},{\"result\":[ 2 ]},{\"result\":null}", 4, 0);
    assert_string_equal(answer.content_type, "application/json");
}

static void handle__ndjson__an_item_a_line(void **state)
{
    (void)state;
    set_query("chunksize", "9");
    set_post(MEDIA_NDJSON, "{\"n\":1}\r\n\n  7 \n{\"n\":3}");
    endpoint_compute_map.handle(&exchange);
    expect_args(0, "[{\"n\":1},7,{\"n\":3}]");
    end_all();
    assert_int_equal(answer.http, 200);
}

static void handle__ndjson_with_a_bad_line__400_names_it(void **state)
{
    (void)state;
    set_post(MEDIA_NDJSON, "{}\n{}\n {\"n\":01}\n");
    endpoint_compute_map.handle(&exchange);
    expect_problem(ST_INVALID_JSON, "byte 7 of line 3");
}

static void handle__ndjson_without_lines__no_results(void **state)
{
    (void)state;
    set_post(MEDIA_NDJSON, "");
    endpoint_compute_map.handle(&exchange);
    expect_answer("", 0, 0);
}

static void handle__empty_array__no_results_at_once(void **state)
{
    (void)state;
    map("[ ]");
    expect_answer("", 0, 0);
    assert_int_equal(pool.count, 0);
    assert_false(answer.is_waiting);
}

static void handle__broken_array__400_with_offset(void **state)
{
    (void)state;
    map("[1,]");
    expect_problem(ST_INVALID_JSON, "at byte 3 of the body");
}

static void handle__empty_body__400(void **state)
{
    (void)state;
    map("");
    expect_problem(ST_INVALID_JSON, "empty");
}

static void handle__no_array__400(void **state)
{
    (void)state;
    map(" {\"n\":1}");
    expect_problem(ST_INVALID_JSON, "must be an array");
}

static void handle__other_types__415(void **state)
{
    static const enum media_type types[] = { MEDIA_NONE, MEDIA_FORM, MEDIA_MULTIPART, MEDIA_TEXT, MEDIA_OTHER };
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        fake_setup(state);
        set_post(types[i], "[1]");
        endpoint_compute_map.handle(&exchange);
        expect_problem(ST_UNSUPPORTED_MEDIA_TYPE, "Content-Type: application/json");
        if (i + 1 < ARRAY_LEN(types))
            free(answer.members);
    }
}

static void handle__unknown_task__404(void **state)
{
    (void)state;
    exchange.path_arg = "sum_square";
    map("[1]");
    expect_problem(ST_UNKNOWN_TASK, "sum_square");
}

static void handle__other_parameters__422(void **state)
{
    (void)state;
    set_query("n", "1");
    map("[1]");
    expect_problem(ST_INVALID_ARGS, "n is not a parameter here");
}

static void handle__as_many_items_as_allowed__taken(void **state)
{
    (void)state;
    map_numbers(limits.map_max_items);
    end_all();
    expect_numbers(1000);
}

static void handle__one_item_too_many__422_names_option(void **state)
{
    (void)state;
    map_numbers(limits.map_max_items + 1);
    expect_problem(ST_INVALID_ARGS, "1000 that --map-max-items allows");
    assert_int_equal(pool.count, 0);
}

static void handle__one_line_too_many__422(void **state)
{
    (void)state;
    limits.map_max_items = 2;
    set_post(MEDIA_NDJSON, "1\n2\n3\n");
    endpoint_compute_map.handle(&exchange);
    expect_problem(ST_INVALID_ARGS, "--map-max-items");
}

/* ---- chunks */

static void chunksize__not_a_number_in_range__422(void **state)
{
    static const char *const bad[] = { "0", "1001", "-1", "x", "" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        fake_setup(state);
        set_query("chunksize", bad[i]);
        map("[1]");
        expect_problem(ST_INVALID_ARGS, "chunksize must be an integer from 1 to 1000 (--map-max-items)");
        if (i + 1 < ARRAY_LEN(bad))
            free(answer.members);
    }
}

static void chunksize__given__obeyed(void **state)
{
    (void)state;
    set_query("chunksize", "2");
    map("[0,1,2,3,4]");
    expect_args(0, "[0,1]");
    expect_args(1, "[2,3]");
    expect_args(2, "[4]");
    end_all();
    expect_numbers(5);
}

static void chunksize__not_given__four_per_worker(void **state)
{
    (void)state;
    pool.run_ns = 50000;
    map_numbers(100);
    assert_int_equal(pool.jobs[0]->items, 13);
    end_all();
    assert_int_equal(pool.count, 8);
    expect_numbers(100);
}

static void chunksize__not_given_and_few_items__one_each(void **state)
{
    (void)state;
    map_numbers(3);
    assert_int_equal(pool.count, 3);
    end_all();
    expect_numbers(3);
}

/* A job of the fake pool that took so long. */
static void end_chunk_after(size_t index, uint64_t wall_ns)
{
    pool.jobs[index]->usage.wall_ns = wall_ns;
    end_chunk_well(index);
}

static void chunksize__cost_unknown__single_items_ahead(void **state)
{
    (void)state;
    pool.run_ns = 0;
    map_numbers(1000);
    assert_int_equal(pool.count, 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pool.jobs[i]->items, 1);
    end_chunk_after(0, 1000); /* a microsecond: as much as evenness allows */
    assert_int_equal(pool.jobs[4]->items, 125);
    end_chunk_after(1, 3000 * 1000 * 1000U); /* the mean is now 1.5 s */
    assert_int_equal(pool.jobs[5]->items, 1);
    end_all();
    expect_numbers(1000);
}

static void chunksize__cheap_items__at_least_a_tenth_of_a_millisecond(void **state)
{
    (void)state;
    pool.run_ns = 1000;
    map_numbers(100);
    assert_int_equal(pool.count, 1);
    end_all();
    expect_numbers(100);
}

static void chunksize__cheap_items_by_hearsay__moderate_at_first(void **state)
{
    (void)state;
    pool.run_ns = 10;
    map_numbers(1000);
    assert_int_equal(pool.jobs[0]->items, 128);
    end_chunk_after(0, 128 * 10);
    assert_int_equal(pool.jobs[4]->items, 1000 - 4 * 128);
    end_all();
    expect_numbers(1000);
}

static void chunksize__long_items__at_most_a_millisecond(void **state)
{
    (void)state;
    pool.run_ns = 300 * 1000;
    map_numbers(1000);
    assert_int_equal(pool.jobs[0]->items, 3);
    end_chunk_after(0, 3 * 2 * 1000 * 1000);
    assert_int_equal(pool.jobs[4]->items, 1);
    end_all();
    expect_numbers(1000);
}

static void chunksize__many_small_results__fit_a_slot(void **state)
{
    (void)state;
    pool.run_ns = 100;
    limits.workers = 1;
    limits.map_max_items = 10000;
    map_numbers(10000);
    assert_int_equal(pool.jobs[0]->items, 128);
    end_chunk_after(0, 128 * 100); /* 14 bytes each, with the comma */
    size_t bytes = pool.jobs[2]->items * 14;
    assert_true(bytes > MAILBOX_INLINE_BYTES / 2 && bytes <= MAILBOX_INLINE_BYTES / 4 * 3);
    end_all();
    expect_numbers(10000);
}

static void chunksize__given__costs_do_not_matter(void **state)
{
    (void)state;
    pool.run_ns = 1000 * 1000 * 1000;
    set_query("chunksize", "400");
    map_numbers(1000);
    assert_int_equal(pool.jobs[0]->items, 400);
    end_chunk_after(0, 1000);
    assert_int_equal(pool.count, 3);
    end_all();
    expect_numbers(1000);
}

static void chunksize__not_given_and_long_args__fits_a_slot(void **state)
{
    static char body[100000];
    size_t len = 0;
    (void)state;
    for (unsigned i = 0; i < 90; i++)
        len += (size_t)snprintf(body + len, sizeof body - len, "%s\"%01000u\"", i ? "," : "[", i);
    snprintf(body + len, sizeof body - len, "]");
    pool.run_ns = 10000;
    limits.workers = 1; /* 23 items a chunk, were it not for their bytes */
    map(body);
    for (size_t i = 0; i < pool.count; i++) {
        assert_true(pool.jobs[i]->args_len <= MAILBOX_INLINE_BYTES);
        assert_int_equal(pool.jobs[i]->items, i < 7 ? 12 : 6);
        end_chunk_well(i);
    }
    assert_int_equal(answer.http, 200);
    expect_contains(answer.body, "\"ok\":90,\"failed\":0");
}

static void lanes__big_map__two_chunks_a_worker_at_once(void **state)
{
    (void)state;
    set_query("chunksize", "1");
    map_numbers(500);
    assert_int_equal(pool.count, 4);
    assert_false(pool.jobs[0]->is_admitted);
    end_chunk_well(1);
    assert_int_equal(pool.count, 5);
    for (size_t i = 2; i < 5; i++)
        assert_true(pool.jobs[i]->is_admitted);
    end_all();
    assert_int_equal(pool.held_peak, 4);
    assert_int_equal(pool.count, 500);
    expect_numbers(500);
}

static void lanes__ended_in_any_order__answer_in_input_order(void **state)
{
    (void)state;
    set_query("chunksize", "1");
    map_numbers(4);
    end_chunk_well(2);
    end_chunk_well(0);
    end_chunk_well(3);
    assert_int_equal(answer.count, 0);
    end_chunk_well(1);
    expect_numbers(4);
}

static void deadline__given__of_every_chunk_and_the_wait(void **state)
{
    (void)state;
    set_query("timeout_ms", "250");
    map_numbers(2);
    uint64_t deadline_ns = exchange.received_ns + 250 * NS_PER_MS;
    assert_int_equal(answer.deadline_ns, deadline_ns);
    assert_int_equal(pool.jobs[0]->deadline_ns, deadline_ns);
    assert_int_equal(pool.jobs[1]->deadline_ns, deadline_ns);
    end_all();
}

/* ---- failures */

static void submit__queue_full__503_for_the_call(void **state)
{
    (void)state;
    pool.accepts = 0;
    map_numbers(10);
    expect_problem(ST_QUEUE_FULL, "--queue-max");
    assert_false(answer.is_waiting);
}

static void submit__second_chunk_refused__its_items_fail(void **state)
{
    (void)state;
    pool.accepts = 1;
    pool.refusal = ST_NO_MEMORY;
    set_query("chunksize", "1");
    map_numbers(3);
    assert_true(answer.is_waiting);
    end_chunk_well(0);
    expect_answer(
        "{\"result\":0},{\"error\":{\"code\":\"out_of_memory\",\"message\":\"The service is out of memory\"}},"
        "{\"error\":{\"code\":\"out_of_memory\",\"message\":\"The service is out of memory\"}}",
        1, 2);
}

static void submit__later_chunk_refused__its_items_fail(void **state)
{
    (void)state;
    pool.accepts = 4;
    set_query("chunksize", "1");
    map_numbers(6);
    end_all();
    assert_int_equal(pool.count, 4);
    expect_contains(answer.body, "\"ok\":4,\"failed\":2");
    expect_contains(answer.body, "\"code\":\"queue_full\"");
}

static void done__items_with_errors__counted(void **state)
{
    (void)state;
    set_query("chunksize", "3");
    map("[1,2,3]");
    end_job(0, ST_OK, "{\"result\":1},{\"error\":{}},{\"result\":3}", 3, 1);
    expect_answer("{\"result\":1},{\"error\":{}},{\"result\":3}", 2, 1);
}

static void done__crash__blames_one_item_and_runs_the_rest(void **state)
{
    (void)state;
    set_query("chunksize", "5");
    map_numbers(5);
    pool.jobs[0]->signal = SIGSEGV;
    end_chunk(0, ST_WORKER_CRASHED, 2);
    assert_int_equal(answer.count, 0);
    expect_args(1, "[3,4]");
    assert_true(pool.jobs[1]->is_admitted);
    assert_int_equal(pool.jobs[1]->items, 2);
    end_chunk_well(1);
    expect_answer("{\"result\":0},{\"result\":1},{\"error\":{\"code\":\"worker_crashed\",\"message\":\"the worker "
                  "process was ended "
                  "by signal 11 (SIGSEGV)\",\"signal\":11}},{\"result\":3},{\"result\":4}",
                  4, 1);
}

static void done__crash_at_first_and_last_item__both_blamed(void **state)
{
    (void)state;
    set_query("chunksize", "3");
    map_numbers(3);
    end_chunk(0, ST_WORKER_CRASHED, 0);
    end_chunk(1, ST_WORKER_CRASHED, 1);
    assert_int_equal(pool.count, 2);
    assert_int_equal(answer.http, 200);
    expect_contains(answer.body, "{\"result\":1},{\"error\"");
    expect_contains(answer.body, "\"ok\":1,\"failed\":2");
}

static void done__every_item_crashes__ends(void **state)
{
    (void)state;
    map_numbers(50);
    for (size_t i = 0; i < pool.count; i++)
        end_chunk(i, ST_WORKER_CRASHED, 0);
    assert_int_equal(pool.count, 50);
    expect_contains(answer.body, "\"ok\":0,\"failed\":50");
}

static void done__memory_limit__item_error_with_the_detail(void **state)
{
    (void)state;
    set_query("chunksize", "2");
    map_numbers(2);
    snprintf(pool.jobs[0]->detail, sizeof pool.jobs[0]->detail, "more than 64 MiB");
    end_chunk(0, ST_MEMORY_LIMIT, 0);
    end_chunk_well(1);
    expect_answer("{\"error\":{\"code\":\"memory_limit\",\"message\":\"more than 64 MiB\"}},{\"result\":1}", 1, 1);
}

static void done__results_too_large_together__the_rest_again(void **state)
{
    (void)state;
    set_query("chunksize", "4");
    map_numbers(4);
    end_chunk(0, ST_RESULT_TOO_LARGE, 3);
    expect_args(1, "[3]");
    end_chunk_well(1);
    expect_numbers(4);
}

static void done__one_result_too_large__its_item_fails(void **state)
{
    (void)state;
    set_query("chunksize", "2");
    map_numbers(2);
    end_chunk(0, ST_RESULT_TOO_LARGE, 0);
    end_chunk_well(1);
    expect_answer("{\"error\":{\"code\":\"result_too_large\",\"message\":\"the limit is 0 bytes "
                  "(--max-result-bytes)\"}},{\"result\":1}",
                  1, 1);
}

/* Its worker had to end. */
static void done__chunk_ends_early__the_rest_again(void **state)
{
    (void)state;
    set_query("chunksize", "4");
    map_numbers(4);
    end_chunk(0, ST_OK, 1);
    expect_args(1, "[1,2,3]");
    end_chunk_well(1);
    expect_numbers(4);
}

static void done__all_results_too_many_bytes__remaining_items_fail(void **state)
{
    (void)state;
    limits.max_result_bytes = 8; /* 64 for all: two chunks of 25 bytes fit */
    set_query("chunksize", "2");
    map_numbers(20);
    end_all();
    expect_contains(
        answer.body,
        "{\"result\":0},{\"result\":1},{\"result\":2},{\"result\":3},{\"error\":{\"code\":\"result_too_large\"");
    expect_contains(answer.body, "\"ok\":4,\"failed\":16");
    assert_int_equal(pool.count, 6); /* nothing was submitted any more */
}

static void give_up__deadline__finished_items_kept(void **state)
{
    (void)state;
    set_query("chunksize", "2");
    set_query("timeout_ms", "100");
    map_numbers(20);
    end_chunk_well(0);
    endpoint_compute_map.give_up(&exchange, ST_DEADLINE_EXCEEDED);
    assert_int_equal(pool.cancelled_by, ST_DEADLINE_EXCEEDED);
    end_chunk(1, ST_DEADLINE_EXCEEDED, 1);
    end_chunk(2, ST_DEADLINE_EXCEEDED, 0);
    end_chunk_well(3); /* was done already */
    end_chunk(4, ST_DEADLINE_EXCEEDED, 0);
    assert_int_equal(pool.count, 5);
    expect_contains(
        answer.body,
        "{\"results\":[{\"result\":0},{\"result\":1},{\"result\":2},{\"error\":{\"code\":\"deadline_exceeded\","
        "\"message\":\"the deadline of 100 ms passed before this item was finished\"}},{\"error\"");
    expect_contains(answer.body, "{\"result\":6},{\"result\":7},{\"error\"");
    expect_contains(answer.body, "\"ok\":5,\"failed\":15");
}

static void give_up__draining__unfinished_items_say_so(void **state)
{
    (void)state;
    map_numbers(2);
    endpoint_compute_map.give_up(&exchange, ST_DRAINING);
    end_chunk(0, ST_DRAINING, 0);
    end_chunk(1, ST_DRAINING, 0);
    expect_contains(answer.body, "{\"error\":{\"code\":\"draining\",\"message\":\"The service is shutting down\"}}");
}

static void done__deadline_of_a_queued_chunk__ends_the_call(void **state)
{
    (void)state;
    set_query("chunksize", "1");
    map_numbers(8);
    end_chunk(3, ST_DEADLINE_EXCEEDED, 0);
    end_chunk_well(0);
    end_chunk_well(1);
    end_chunk_well(2);
    assert_int_equal(pool.count, 4);
    expect_contains(answer.body, "\"ok\":3,\"failed\":5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fake_test(handle__array__items_as_they_are),
        fake_test(handle__ndjson__an_item_a_line),
        fake_test(handle__ndjson_with_a_bad_line__400_names_it),
        fake_test(handle__ndjson_without_lines__no_results),
        fake_test(handle__empty_array__no_results_at_once),
        fake_test(handle__broken_array__400_with_offset),
        fake_test(handle__empty_body__400),
        fake_test(handle__no_array__400),
        fake_test(handle__other_types__415),
        fake_test(handle__unknown_task__404),
        fake_test(handle__other_parameters__422),
        fake_test(handle__as_many_items_as_allowed__taken),
        fake_test(handle__one_item_too_many__422_names_option),
        fake_test(handle__one_line_too_many__422),
        fake_test(chunksize__not_a_number_in_range__422),
        fake_test(chunksize__given__obeyed),
        fake_test(chunksize__not_given__four_per_worker),
        fake_test(chunksize__not_given_and_few_items__one_each),
        fake_test(chunksize__cost_unknown__single_items_ahead),
        fake_test(chunksize__cheap_items__at_least_a_tenth_of_a_millisecond),
        fake_test(chunksize__cheap_items_by_hearsay__moderate_at_first),
        fake_test(chunksize__long_items__at_most_a_millisecond),
        fake_test(chunksize__many_small_results__fit_a_slot),
        fake_test(chunksize__given__costs_do_not_matter),
        fake_test(chunksize__not_given_and_long_args__fits_a_slot),
        fake_test(lanes__big_map__two_chunks_a_worker_at_once),
        fake_test(lanes__ended_in_any_order__answer_in_input_order),
        fake_test(deadline__given__of_every_chunk_and_the_wait),
        fake_test(submit__queue_full__503_for_the_call),
        fake_test(submit__second_chunk_refused__its_items_fail),
        fake_test(submit__later_chunk_refused__its_items_fail),
        fake_test(done__items_with_errors__counted),
        fake_test(done__crash__blames_one_item_and_runs_the_rest),
        fake_test(done__crash_at_first_and_last_item__both_blamed),
        fake_test(done__every_item_crashes__ends),
        fake_test(done__memory_limit__item_error_with_the_detail),
        fake_test(done__results_too_large_together__the_rest_again),
        fake_test(done__one_result_too_large__its_item_fails),
        fake_test(done__chunk_ends_early__the_rest_again),
        fake_test(done__all_results_too_many_bytes__remaining_items_fail),
        fake_test(give_up__deadline__finished_items_kept),
        fake_test(give_up__draining__unfinished_items_say_so),
        fake_test(done__deadline_of_a_queued_chunk__ends_the_call),
    };
    return cmocka_run_group_tests_name("compute_map", tests, NULL, NULL);
}
