/* Tests of handlers/map_stream.c and of map_call.c's window: what is read of a streamed map, whatever the size of the
 * reads and the order in which chunks end; what is begun while nobody reads; who frees what when the client leaves. */
#include "tests/unit/map_case.h"

#include <signal.h>

enum { TEXT_BYTES = 256 * 1024, BLOCK_BYTES = 4096 };

static char text[TEXT_BYTES]; /* what was read so far */
static size_t text_len;
static bool is_over;

static void ask(enum answer_form form, unsigned count)
{
    text_len = 0;
    text[0] = '\0';
    is_over = false;
    exchange.accepts = form;
    map_numbers(count);
    assert_int_equal(answer.http, 200);
    assert_non_null(stream.source);
}

/* One read of at most `len` bytes. */
static size_t read_once(size_t len)
{
    assert_true(text_len + len < sizeof text);
    size_t count = stream.source->read(stream.owner, text + text_len, len, &is_over);
    assert_true(count <= len);
    text_len += count;
    text[text_len] = '\0';
    return count;
}

/* All that is there, in reads of `len` bytes. */
static void read_in_steps(size_t len)
{
    while (!is_over && read_once(len) > 0) {
    }
}

static void release(void)
{
    const struct stream_source *source = stream.source;
    stream.source = NULL; /* telling of more would be wrong from now on */
    source->release(stream.owner);
}

/* The summary's time is the only thing that varies. */
static void expect_text(const char *before_time, const char *after_time)
{
    size_t before_len = strlen(before_time), after_len = strlen(after_time);
    if (strncmp(text, before_time, before_len) != 0 || text_len < before_len + after_len ||
        strcmp(text + text_len - after_len, after_time) != 0)
        fail_msg("expected %s…%s, got %s", before_time, after_time, text);
    assert_int_equal(strspn(text + before_len, "0123456789."), text_len - before_len - after_len);
}

/* All `count` numbers came, a line each, in order, and then the summary. */
static void expect_lines(unsigned count)
{
    const char *at = text;
    char line[96];
    for (unsigned i = 0; i < count; i++) {
        int len = snprintf(line, sizeof line, "{\"index\":%u,\"result\":%u}\n", i, i);
        if (strncmp(at, line, (size_t)len) != 0)
            fail_msg("item %u: expected %s, got %.60s", i, line, at);
        at += len;
    }
    snprintf(line, sizeof line, "{\"summary\":{\"ok\":%u,\"failed\":0,\"elapsed_ms\":", count);
    assert_memory_equal(at, line, strlen(line));
}

/* ---- what is read */

static void ndjson__input_order__sent_when_all_before_are(void **state)
{
    (void)state;
    set_query("chunksize", "2");
    ask(ANSWER_NDJSON, 5);
    assert_string_equal(answer.content_type, "application/x-ndjson");
    assert_true(answer.is_waiting);
    assert_int_equal(read_once(100), 0);
    end_chunk_well(1);
    assert_int_equal(stream.told, 0); /* of no use yet */
    assert_int_equal(read_once(100), 0);
    end_chunk_well(0);
    assert_int_equal(stream.told, 1);
    read_in_steps(BLOCK_BYTES);
    assert_string_equal(text, "{\"index\":0,\"result\":0}\n{\"index\":1,\"result\":1}\n{\"index\":2,\"result\":2}\n"
                              "{\"index\":3,\"result\":3}\n");
    assert_false(is_over);
    end_chunk_well(2);
    assert_int_equal(stream.told, 2);
    read_in_steps(BLOCK_BYTES);
    assert_true(is_over);
    expect_lines(5);
    release();
}

static void ndjson__order_completed__sent_as_they_end(void **state)
{
    (void)state;
    set_query("order", "completed");
    set_query("chunksize", "2");
    ask(ANSWER_NDJSON, 5);
    end_chunk_well(2);
    assert_int_equal(stream.told, 1);
    read_in_steps(BLOCK_BYTES);
    assert_string_equal(text, "{\"index\":4,\"result\":4}\n");
    end_chunk_well(1);
    end_chunk_well(0);
    read_in_steps(BLOCK_BYTES);
    expect_text("{\"index\":4,\"result\":4}\n{\"index\":2,\"result\":2}\n{\"index\":3,\"result\":3}\n"
                "{\"index\":0,\"result\":0}\n{\"index\":1,\"result\":1}\n"
                "{\"summary\":{\"ok\":5,\"failed\":0,\"elapsed_ms\":",
                "}}\n");
    release();
}

static void events__results__an_event_each_then_a_summary(void **state)
{
    (void)state;
    ask(ANSWER_EVENTS, 2);
    assert_string_equal(answer.content_type, "text/event-stream");
    end_all();
    read_in_steps(BLOCK_BYTES);
    expect_text("event: result\ndata: {\"index\":0,\"result\":0}\n\nevent: result\ndata: {\"index\":1,\"result\":1}\n\n"
                "event: summary\ndata: {\"summary\":{\"ok\":2,\"failed\":0,\"elapsed_ms\":",
                "}}\n\n");
    release();
}

static void read__any_size__the_same_bytes(void **state)
{
    for (size_t len = 1; len <= 60; len++) {
        fake_setup(state);
        set_query("chunksize", "3");
        ask(ANSWER_NDJSON, 8);
        end_all();
        read_in_steps(len);
        expect_lines(8);
        release();
    }
}

static void stream__no_items__a_summary(void **state)
{
    (void)state;
    ask(ANSWER_NDJSON, 0);
    read_in_steps(BLOCK_BYTES);
    expect_text("{\"summary\":{\"ok\":0,\"failed\":0,\"elapsed_ms\":", "}}\n");
    assert_true(is_over);
    release();
}

static void stream__lines_in_lines_out__both_ndjson(void **state)
{
    (void)state;
    text_len = 0;
    is_over = false;
    exchange.accepts = ANSWER_NDJSON;
    set_post(MEDIA_NDJSON, "0\n\n 1\r\n2");
    endpoint_compute_map.handle(&exchange);
    end_all();
    read_in_steps(BLOCK_BYTES);
    expect_lines(3);
    release();
}

static void stream__bytes_accepted__a_document_as_ever(void **state)
{
    (void)state;
    exchange.accepts = ANSWER_BYTES;
    map("[1]");
    end_all();
    expect_answer("{\"result\":1}", 1, 0);
}

static void result__line_breaks_between_tokens__on_one_line(void **state)
{
    (void)state;
    set_query("chunksize", "2");
    ask(ANSWER_NDJSON, 2);
    end_job(0, ST_OK, "{\"result\":[1,\n2]},\r\n{\"result\":\"a\\nb\"}", 2, 0);
    read_in_steps(BLOCK_BYTES);
    expect_text("{\"index\":0,\"result\":[1, 2]}\n{\"index\":1,\"result\":\"a\\nb\"}\n"
                "{\"summary\":{\"ok\":2,\"failed\":0,\"elapsed_ms\":",
                "}}\n");
    release();
}

static void result__nested_and_quoted__cut_at_the_right_commas(void **state)
{
    (void)state;
    set_query("chunksize", "3");
    ask(ANSWER_NDJSON, 3);
    end_job(0, ST_OK,
            "{\"result\":{\"a\":[1,{\"b\":\"},{\"}]}},{\"error\":{\"code\":\"x\"}},{\"result_base64\":\"AA==\"}", 3, 1);
    read_in_steps(BLOCK_BYTES);
    expect_text("{\"index\":0,\"result\":{\"a\":[1,{\"b\":\"},{\"}]}}\n{\"index\":1,\"error\":{\"code\":\"x\"}}\n"
                "{\"index\":2,\"result_base64\":\"AA==\"}\n{\"summary\":{\"ok\":2,\"failed\":1,\"elapsed_ms\":",
                "}}\n");
    release();
}

static void result__fewer_objects_than_promised__a_line_for_each_item(void **state)
{
    static const char *const broken[] = { "{\"result\":0},7,x", "{\"result\":0}", "{\"result\":0},{}",
                                          "{\"result\":0},[" };
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        fake_setup(state);
        set_query("chunksize", "3");
        ask(ANSWER_NDJSON, 3);
        end_job(0, ST_OK, broken[i], 3, 0);
        read_in_steps(BLOCK_BYTES);
        expect_contains(text, "{\"index\":0,\"result\":0}\n{\"index\":1,\"error\":{\"code\":\"worker_protocol\"");
        expect_contains(text, "{\"index\":2,\"error\":{\"code\":\"worker_protocol\"");
        expect_contains(text, "{\"summary\":{\"ok\":1,\"failed\":2,");
        release();
    }
}

/* ---- failures */

static void submit__queue_full__503_and_no_stream(void **state)
{
    (void)state;
    pool.accepts = 0;
    exchange.accepts = ANSWER_NDJSON;
    map_numbers(10);
    expect_problem(ST_QUEUE_FULL, "--queue-max");
    assert_null(stream.source);
}

static void crash__in_mid_stream__each_item_once(void **state)
{
    (void)state;
    set_query("chunksize", "4");
    ask(ANSWER_NDJSON, 4);
    pool.jobs[0]->signal = SIGKILL;
    end_chunk(0, ST_WORKER_CRASHED, 1);
    read_in_steps(BLOCK_BYTES);
    expect_contains(
        text,
        "{\"index\":0,\"result\":0}\n{\"index\":1,\"error\":{\"code\":\"worker_crashed\",\"message\":\"the worker "
        "process was ended by signal 9 (SIGKILL)\",\"signal\":9}}\n");
    text_len = 0;
    expect_args(1, "[2,3]");
    end_chunk_well(1);
    read_in_steps(BLOCK_BYTES);
    expect_text(
        "{\"index\":2,\"result\":2}\n{\"index\":3,\"result\":3}\n{\"summary\":{\"ok\":3,\"failed\":1,\"elapsed_ms\":",
        "}}\n");
    release();
}

static void deadline__in_mid_stream__a_line_for_each_item(void **state)
{
    (void)state;
    set_query("chunksize", "2");
    set_query("timeout_ms", "100");
    limits.workers = 1;
    ask(ANSWER_NDJSON, 6);
    assert_int_equal(answer.deadline_ns, exchange.received_ns + 100 * NS_PER_MS);
    end_chunk_well(1);
    endpoint_compute_map.give_up(&exchange, ST_DEADLINE_EXCEEDED);
    end_chunk(0, ST_DEADLINE_EXCEEDED, 1);
    end_chunk(2, ST_DEADLINE_EXCEEDED, 0);
    read_in_steps(7);
    expect_contains(
        text, "{\"index\":0,\"result\":0}\n{\"index\":1,\"error\":{\"code\":\"deadline_exceeded\",\"message\":\"the "
              "deadline of 100 ms passed before this item was finished\"}}\n{\"index\":2,\"result\":2}\n"
              "{\"index\":3,\"result\":3}\n{\"index\":4,\"error\"");
    expect_contains(text, "{\"index\":5,\"error\":{\"code\":\"deadline_exceeded\"");
    expect_contains(text, "\n{\"summary\":{\"ok\":3,\"failed\":3,");
    release();
}

static void deadline__by_completion__a_line_for_each_item(void **state)
{
    (void)state;
    set_query("order", "completed");
    set_query("chunksize", "1");
    limits.workers = 1;
    ask(ANSWER_NDJSON, 4);
    end_chunk_well(1);
    endpoint_compute_map.give_up(&exchange, ST_DRAINING);
    end_chunk(2, ST_DRAINING, 0);
    end_chunk(0, ST_DRAINING, 0);
    read_in_steps(BLOCK_BYTES);
    expect_contains(text, "{\"index\":1,\"result\":1}\n{\"index\":2,\"error\":{\"code\":\"draining\"");
    expect_contains(text, "\n{\"index\":0,\"error\":{\"code\":\"draining\"");
    expect_contains(text, "\n{\"index\":3,\"error\":{\"code\":\"draining\"");
    expect_contains(text, "\n{\"summary\":{\"ok\":1,\"failed\":3,");
    release();
}

static void require__streamed__cancelled_lines_and_the_quorum(void **state)
{
    (void)state;
    set_query("require", "all");
    set_query("chunksize", "1");
    limits.workers = 1;
    ask(ANSWER_NDJSON, 4);
    end_job(0, ST_OK, "{\"error\":{}}", 1, 1);
    end_chunk(1, ST_CANCELLED, 0);
    read_in_steps(BLOCK_BYTES);
    expect_contains(
        text, "{\"index\":0,\"error\":{}}\n{\"index\":1,\"error\":{\"code\":\"cancelled\",\"message\":\"of no use any "
              "more: too many others have failed (require)\"}}\n{\"index\":2,\"error\":{\"code\":\"cancelled\"");
    expect_contains(text,
                    "{\"summary\":{\"ok\":0,\"failed\":4,\"quorum\":{\"required\":4,\"succeeded\":0,\"met\":false},"
                    "\"elapsed_ms\":");
    assert_int_equal(pool.count, 2);
    release();
}

/* ---- the reader's pace */

static void buffersize__not_in_range__422(void **state)
{
    static const char *const bad[] = { "0", "1001", "x" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        fake_setup(state);
        exchange.accepts = ANSWER_NDJSON;
        set_query("buffersize", bad[i]);
        map("[1]");
        expect_problem(ST_INVALID_ARGS, "buffersize must be an integer from 1 to 1000 (--map-max-items)");
        if (i + 1 < ARRAY_LEN(bad))
            free(answer.members);
    }
}

static void buffersize__nobody_reads__nothing_more_is_begun(void **state)
{
    (void)state;
    set_query("buffersize", "10");
    set_query("chunksize", "2");
    ask(ANSWER_NDJSON, 100);
    assert_int_equal(pool.count, 4); /* two for each worker */
    end_all();
    assert_int_equal(pool.count, 5); /* the fifth chunk is the tenth item */
    assert_int_equal(pool.held, 0);
    assert_int_equal(read_once(30), 30); /* the first item, and a part of the second */
    assert_int_equal(pool.count, 6);     /* its piece was taken out of the buffer */
    end_all();
    while (!is_over) {
        assert_true(pool.held == 0);
        assert_true(read_once(BLOCK_BYTES) > 0 || is_over);
        assert_true(pool.held <= 4);
        end_all();
    }
    expect_lines(100);
    assert_int_equal(pool.count, 50);
    release();
}

/* In input order what is done behind a slow item counts, too. */
static void buffersize__first_item_slow__others_run_ahead_by_no_more(void **state)
{
    (void)state;
    set_query("buffersize", "8");
    set_query("chunksize", "1");
    ask(ANSWER_NDJSON, 100);
    for (size_t i = 1; i < pool.count; i++)
        end_chunk_well(i);
    assert_int_equal(pool.count, 8);
    assert_int_equal(read_once(BLOCK_BYTES), 0);
    end_chunk_well(0);
    read_in_steps(BLOCK_BYTES);
    assert_int_equal(pool.count, 12);
    while (!is_over) {
        end_all();
        read_in_steps(BLOCK_BYTES);
    }
    expect_lines(100);
    release();
}

static void buffersize__of_one__one_item_after_the_other(void **state)
{
    (void)state;
    set_query("buffersize", "1");
    set_query("chunksize", "50"); /* no chunk is larger than the buffer */
    ask(ANSWER_EVENTS, 10);
    while (!is_over) {
        assert_true(pool.held <= 1);
        end_all();
        read_in_steps(BLOCK_BYTES);
    }
    assert_int_equal(pool.count, 10);
    assert_int_equal(pool.held_peak, 1);
    release();
}

static void buffersize__not_given__chunks_leave_room_for_each_other(void **state)
{
    (void)state;
    pool.run_ns = 20000; /* 125 items would be a chunk */
    set_query("buffersize", "80");
    ask(ANSWER_NDJSON, 1000);
    assert_int_equal(pool.jobs[0]->items, 10); /* 4 under way, 4 to be read */
    end_chunk_well(0);
    assert_int_equal(pool.count, 5);
    while (!is_over) {
        end_all();
        read_in_steps(BLOCK_BYTES);
    }
    expect_lines(1000);
    release();
}

static void bytes__more_unread_than_allowed__nothing_more_is_begun(void **state)
{
    (void)state;
    limits.map_stream_bytes = 40; /* two results of 12 bytes and a part of the fourth */
    set_query("chunksize", "1");
    ask(ANSWER_NDJSON, 100);
    end_all();
    assert_int_equal(pool.count, 7); /* the fourth result is one too many, and three were under way */
    read_in_steps(BLOCK_BYTES);
    assert_int_equal(pool.count, 11);
    while (!is_over) {
        end_all();
        read_in_steps(BLOCK_BYTES);
    }
    expect_lines(100);
    release();
}

/* All of them together may take more than a document's results may. */
static void bytes__many_in_all__of_no_concern(void **state)
{
    (void)state;
    limits.max_result_bytes = 8;
    set_query("chunksize", "2");
    ask(ANSWER_NDJSON, 100);
    while (!is_over) {
        end_all();
        read_in_steps(BLOCK_BYTES);
    }
    expect_lines(100);
    release();
}

static void deadline__while_nobody_reads__the_rest_is_told(void **state)
{
    (void)state;
    set_query("buffersize", "4");
    set_query("chunksize", "2");
    ask(ANSWER_NDJSON, 9);
    end_all();
    assert_int_equal(pool.count, 2);
    unsigned told = stream.told;
    endpoint_compute_map.give_up(&exchange, ST_DEADLINE_EXCEEDED);
    assert_int_equal(stream.told, told + 1);
    read_in_steps(BLOCK_BYTES);
    assert_true(is_over);
    assert_int_equal(pool.count, 2);
    expect_contains(text, "{\"index\":3,\"result\":3}\n{\"index\":4,\"error\":{\"code\":\"deadline_exceeded\"");
    expect_contains(text, "{\"summary\":{\"ok\":4,\"failed\":5,");
    release();
}

static void submit__refused_when_the_reader_goes_on__the_rest_fails(void **state)
{
    (void)state;
    pool.accepts = 1;
    pool.refusal = ST_NO_MEMORY;
    set_query("buffersize", "1");
    ask(ANSWER_NDJSON, 3);
    end_chunk_well(0);
    read_in_steps(BLOCK_BYTES);
    assert_true(is_over);
    expect_contains(text, "{\"index\":0,\"result\":0}\n{\"index\":1,\"error\":{\"code\":\"out_of_memory\"");
    expect_contains(text, "{\"summary\":{\"ok\":1,\"failed\":2,");
    release();
}

/* ---- the client leaves */

static void leaves__chunks_under_way__cancelled_and_freed_with_the_last(void **state)
{
    (void)state;
    set_query("chunksize", "2");
    ask(ANSWER_NDJSON, 100);
    end_chunk_well(0);
    read_once(10); /* in mid-line */
    endpoint_compute_map.give_up(&exchange, ST_CANCELLED);
    assert_int_equal(pool.cancelled_by, ST_CANCELLED);
    release();
    size_t count = pool.count;
    for (size_t i = 1; i < count; i++)
        end_chunk(i, ST_CANCELLED, i % 2);
    assert_int_equal(pool.count, count);
}

static void leaves__nothing_under_way__freed_at_once(void **state)
{
    (void)state;
    set_query("buffersize", "2");
    set_query("order", "completed");
    ask(ANSWER_NDJSON, 100);
    end_all();
    assert_int_equal(pool.held, 0);
    endpoint_compute_map.give_up(&exchange, ST_CANCELLED);
    release();
}

static void leaves__without_being_given_up__cancelled_all_the_same(void **state)
{
    (void)state;
    ask(ANSWER_EVENTS, 1);
    release();
    assert_int_equal(pool.cancelled_by, ST_CANCELLED);
    end_chunk_well(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fake_test(ndjson__input_order__sent_when_all_before_are),
        fake_test(ndjson__order_completed__sent_as_they_end),
        fake_test(events__results__an_event_each_then_a_summary),
        fake_test(read__any_size__the_same_bytes),
        fake_test(stream__no_items__a_summary),
        fake_test(stream__lines_in_lines_out__both_ndjson),
        fake_test(stream__bytes_accepted__a_document_as_ever),
        fake_test(result__line_breaks_between_tokens__on_one_line),
        fake_test(result__nested_and_quoted__cut_at_the_right_commas),
        fake_test(result__fewer_objects_than_promised__a_line_for_each_item),
        fake_test(submit__queue_full__503_and_no_stream),
        fake_test(crash__in_mid_stream__each_item_once),
        fake_test(deadline__in_mid_stream__a_line_for_each_item),
        fake_test(deadline__by_completion__a_line_for_each_item),
        fake_test(require__streamed__cancelled_lines_and_the_quorum),
        fake_test(buffersize__not_in_range__422),
        fake_test(buffersize__nobody_reads__nothing_more_is_begun),
        fake_test(buffersize__first_item_slow__others_run_ahead_by_no_more),
        fake_test(buffersize__of_one__one_item_after_the_other),
        fake_test(buffersize__not_given__chunks_leave_room_for_each_other),
        fake_test(bytes__more_unread_than_allowed__nothing_more_is_begun),
        fake_test(bytes__many_in_all__of_no_concern),
        fake_test(deadline__while_nobody_reads__the_rest_is_told),
        fake_test(submit__refused_when_the_reader_goes_on__the_rest_fails),
        fake_test(leaves__chunks_under_way__cancelled_and_freed_with_the_last),
        fake_test(leaves__nothing_under_way__freed_at_once),
        fake_test(leaves__without_being_given_up__cancelled_all_the_same),
    };
    return cmocka_run_group_tests_name("map_stream", tests, NULL, NULL);
}
