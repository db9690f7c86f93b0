/* Tests of handlers/map_options.c, map_call.c and map_stream.c: order=completed without a stream, and require. */
#include "tests/unit/map_case.h"

#include <signal.h>

/* ---- order */

static void order__neither_input_nor_completed__422(void **state)
{
    static const char *const bad[] = { "Input", "", "done", "completed " };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        fake_setup(state);
        set_query("order", bad[i]);
        map("[1]");
        expect_problem(ST_INVALID_ARGS, "order must be \"input\" or \"completed\"");
        if (i + 1 < ARRAY_LEN(bad))
            free(answer.members);
    }
}

static void order__input__as_if_not_given(void **state)
{
    (void)state;
    set_query("order", "input");
    map("[1]");
    end_all();
    expect_answer("{\"result\":1}", 1, 0);
    assert_true(answer.is_in_segments);
}

/* Reads the document as the service would. */
static void read_document(void)
{
    struct buf body = BUF_INIT(1 << 20);
    bool is_over = false;
    while (!is_over) {
        char bytes[7];
        size_t len = stream.source->read(stream.owner, bytes, sizeof bytes, &is_over);
        assert_true(len > 0 || is_over);
        buf_append(&body, bytes, len);
    }
    buf_byte(&body, '\0');
    answer.body = body.data;
    expect_json(answer.body);
    const struct stream_source *source = stream.source;
    stream.source = NULL;
    source->release(stream.owner);
}

static void order__completed__results_with_index_as_they_were_done(void **state)
{
    (void)state;
    set_query("order", "completed");
    set_query("chunksize", "2");
    map_numbers(5);
    end_chunk_well(2);
    end_chunk_well(0);
    assert_int_equal(answer.count, 0);
    end_chunk_well(1);
    assert_string_equal(answer.content_type, "application/json");
    read_document();
    expect_answer("{\"index\":4,\"result\":4},{\"index\":0,\"result\":0},{\"index\":1,\"result\":1},"
                  "{\"index\":2,\"result\":2},{\"index\":3,\"result\":3}",
                  5, 0);
}

static void order__completed_and_deadline__unfinished_items_last(void **state)
{
    (void)state;
    set_query("order", "completed");
    set_query("chunksize", "1");
    set_query("timeout_ms", "100");
    map_numbers(6);
    end_chunk_well(1);
    endpoint_compute_map.give_up(&exchange, ST_DEADLINE_EXCEEDED);
    for (size_t i = 0; i < 5; i++)
        if (i != 1)
            end_chunk(i, ST_DEADLINE_EXCEEDED, 0);
    read_document();
    expect_contains(answer.body, "{\"results\":[{\"index\":1,\"result\":1},{\"index\":0,\"error\":{\"code\":\"deadline_"
                                 "exceeded\"");
    expect_contains(answer.body,
                    "{\"index\":5,\"error\":{\"code\":\"deadline_exceeded\",\"message\":\"the deadline of 100 "
                    "ms passed before this item was finished\"}}],\"ok\":1,\"failed\":5");
}

static void order__completed_without_items__empty(void **state)
{
    (void)state;
    set_query("order", "completed");
    map("[]");
    read_document();
    expect_answer("", 0, 0);
}

/* ---- require */

static void require__neither_word_nor_number_in_range__422(void **state)
{
    static const char *const bad[] = { "0", "4", "-1", "ALL", "", "1.0" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        fake_setup(state);
        set_query("require", bad[i]);
        map("[1,2,3]");
        expect_problem(ST_INVALID_ARGS,
                       "require must be \"all\", \"any\" or a number from 1 to that of the items, which is 3");
        if (i + 1 < ARRAY_LEN(bad))
            free(answer.members);
    }
}

static void require__all_and_all_succeed__met(void **state)
{
    (void)state;
    set_query("require", "all");
    map("[1,2]");
    end_all();
    expect_contains(answer.body,
                    "{\"results\":[{\"result\":1},{\"result\":2}],\"ok\":2,\"failed\":0,\"quorum\":{\"required\":2,"
                    "\"succeeded\":2,\"met\":true},\"elapsed_ms\":");
}

static void require__all_and_one_fails__the_rest_is_cancelled(void **state)
{
    (void)state;
    exchange.received_ns = clock_now_ns();
    set_query("require", "all");
    set_query("chunksize", "1");
    map_numbers(9);
    end_chunk_well(0);
    uint64_t before_ns = clock_now_ns();
    end_job(1, ST_OK, "{\"error\":{\"code\":\"invalid_args\"}}", 1, 1);
    assert_int_equal(pool.count, 5); /* no item is begun any more */
    /* those under way have a moment to finish */
    assert_true(answer.deadline_ns >= before_ns && answer.deadline_ns <= clock_now_ns() + 5 * NS_PER_MS);
    end_chunk_well(2);
    endpoint_compute_map.give_up(&exchange, ST_DEADLINE_EXCEEDED);
    assert_int_equal(pool.cancelled_by, ST_CANCELLED);
    end_chunk(3, ST_CANCELLED, 0);
    end_chunk(4, ST_CANCELLED, 0);
    expect_contains(
        answer.body,
        "{\"results\":[{\"result\":0},{\"error\":{\"code\":\"invalid_args\"}},{\"result\":2},{\"error\":{\"code\":"
        "\"cancelled\",\"message\":\"of no use any more: too many others have failed (require)\"}},");
    expect_contains(answer.body,
                    "\"ok\":2,\"failed\":7,\"quorum\":{\"required\":9,\"succeeded\":2,\"met\":false},\"elapsed_ms\":");
}

static void require__all_and_a_worker_crashes__the_rest_is_cancelled(void **state)
{
    (void)state;
    set_query("require", "all");
    set_query("chunksize", "3");
    map_numbers(3);
    pool.jobs[0]->signal = SIGKILL;
    end_chunk(0, ST_WORKER_CRASHED, 1);
    assert_int_equal(pool.count, 1);
    expect_contains(answer.body, "{\"result\":0},{\"error\":{\"code\":\"worker_crashed\"");
    expect_contains(answer.body, "{\"error\":{\"code\":\"cancelled\"");
    expect_contains(answer.body, "\"quorum\":{\"required\":3,\"succeeded\":1,\"met\":false}");
}

static void require__any__first_success_ends_it(void **state)
{
    (void)state;
    set_query("require", "any");
    set_query("chunksize", "1");
    limits.workers = 1;
    map_numbers(4);
    end_job(0, ST_OK, "{\"error\":{}}", 1, 1);
    assert_int_equal(pool.count, 3);
    end_chunk_well(1);
    end_chunk(2, ST_CANCELLED, 0);
    expect_contains(answer.body,
                    "[{\"error\":{}},{\"result\":1},{\"error\":{\"code\":\"cancelled\",\"message\":\"not needed any "
                    "more: enough others have succeeded (require)\"}},{\"error\"");
    expect_contains(answer.body, "\"quorum\":{\"required\":1,\"succeeded\":1,\"met\":true}");
}

static void require__number__out_of_reach_when_too_many_failed(void **state)
{
    (void)state;
    set_query("require", "3");
    set_query("chunksize", "1");
    limits.workers = 1;
    map_numbers(4);
    end_job(0, ST_OK, "{\"error\":{}}", 1, 1);
    end_job(1, ST_OK, "{\"error\":{}}", 1, 1);
    end_chunk(2, ST_CANCELLED, 0);
    expect_contains(answer.body, "\"ok\":0,\"failed\":4,\"quorum\":{\"required\":3,\"succeeded\":0,\"met\":false}");
}

static void require__of_no_items__all_of_them_have_succeeded(void **state)
{
    (void)state;
    set_query("require", "all");
    map("[]");
    expect_contains(answer.body,
                    "{\"results\":[],\"ok\":0,\"failed\":0,\"quorum\":{\"required\":0,\"succeeded\":0,\"met\":true}");
}

static void require__any_of_no_items__none_has(void **state)
{
    (void)state;
    set_query("require", "any");
    map("[]");
    expect_contains(answer.body, "\"quorum\":{\"required\":1,\"succeeded\":0,\"met\":false}");
}

static void buffersize__without_a_stream__422(void **state)
{
    (void)state;
    set_query("buffersize", "5");
    map("[1]");
    expect_problem(ST_INVALID_ARGS, "buffersize goes with a stream");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fake_test(order__neither_input_nor_completed__422),
        fake_test(order__input__as_if_not_given),
        fake_test(order__completed__results_with_index_as_they_were_done),
        fake_test(order__completed_and_deadline__unfinished_items_last),
        fake_test(order__completed_without_items__empty),
        fake_test(require__neither_word_nor_number_in_range__422),
        fake_test(require__all_and_all_succeed__met),
        fake_test(require__all_and_one_fails__the_rest_is_cancelled),
        fake_test(require__all_and_a_worker_crashes__the_rest_is_cancelled),
        fake_test(require__any__first_success_ends_it),
        fake_test(require__number__out_of_reach_when_too_many_failed),
        fake_test(require__of_no_items__all_of_them_have_succeeded),
        fake_test(require__any_of_no_items__none_has),
        fake_test(buffersize__without_a_stream__422),
    };
    return cmocka_run_group_tests_name("map_order", tests, NULL, NULL);
}
