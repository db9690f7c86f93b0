/* Tests of handlers/fetch_stream.c: what is read of a stream, whatever the size of the reads and the order in which
 * items are done, and who frees what when the call and the answer end in any order. */
#include "tests/unit/fake_io_pool.h"

enum { ITEMS = 5, EVENTS_MAX = 2 * ITEMS + 2, TEXT_BYTES = 8192 };

static char text[TEXT_BYTES]; /* what was read so far */
static bool is_over;

static void ask(enum answer_form form, const char *body)
{
    text[0] = '\0';
    is_over = false;
    exchange.accepts = form;
    post(body);
    assert_true(answer.is_waiting);
    assert_int_equal(answer.http, 200);
    assert_non_null(stream.source);
}

/* One read of at most `len` bytes. */
static size_t read_once(size_t len)
{
    size_t used = strlen(text);
    assert_true(used + len < sizeof text);
    size_t count = stream.source->read(stream.owner, text + used, len, &is_over);
    assert_true(count <= len);
    text[used + count] = '\0';
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

static void end_item(size_t index)
{
    char json[32];
    snprintf(json, sizeof json, "{\"index\":%zu}", index);
    set_ok(index, json);
    tell_item(index);
}

/* The summary's time is the only thing that varies. */
static void expect_text(const char *before_time, const char *after_time)
{
    size_t before_len = strlen(before_time), after_len = strlen(after_time), len = strlen(text);
    if (strncmp(text, before_time, before_len) != 0 || len < before_len + after_len ||
        strcmp(text + len - after_len, after_time) != 0)
        fail_msg("expected %s…%s, got %s", before_time, after_time, text);
    assert_int_equal(strspn(text + before_len, "0123456789."), len - before_len - after_len);
}

/* ---- what is read */

static void ndjson__items_as_they_end__a_line_each_then_a_summary(void **state)
{
    (void)state;
    ask(ANSWER_NDJSON, "{\"urls\":[\"a\",\"b\",\"c\"]}");
    assert_string_equal(answer.content_type, "application/x-ndjson");
    assert_int_equal(read_once(100), 0);
    assert_false(is_over);
    end_item(2);
    end_item(0);
    assert_int_equal(stream.told, 2);
    read_in_steps(100);
    assert_string_equal(text, "{\"index\":2}\n{\"index\":0}\n");
    set_failed(1, ST_CONNECT_TIMEOUT, true);
    tell_item(1);
    tell_done();
    assert_int_equal(stream.told, 4);
    text[0] = '\0';
    read_in_steps(1000);
    assert_true(is_over);
    expect_contains(text, "{\"index\":1,\"url\":\"b\",\"error\":{\"code\":\"connect_timeout\"");
    memmove(text, strchr(text, '\n') + 1, strlen(strchr(text, '\n')));
    expect_text("{\"summary\":{\"ok\":2,\"failed\":1,\"elapsed_ms\":", "}}\n");
    release();
}

static void events__items_as_they_end__an_event_each_then_a_summary(void **state)
{
    (void)state;
    ask(ANSWER_EVENTS, "{\"urls\":[\"a\",\"b\"]}");
    assert_string_equal(answer.content_type, "text/event-stream");
    end_item(1);
    end_item(0);
    tell_done();
    read_in_steps(1000);
    expect_text("event: result\ndata: {\"index\":1}\n\nevent: result\ndata: {\"index\":0}\n\n"
                "event: summary\ndata: {\"summary\":{\"ok\":2,\"failed\":0,\"elapsed_ms\":",
                "}}\n\n");
    release();
}

static void single_url__streamed__one_line_and_a_summary(void **state)
{
    (void)state;
    ask(ANSWER_NDJSON, "{\"url\":\"a\"}");
    end_item(0);
    tell_done();
    read_in_steps(1000);
    expect_text("{\"index\":0}\n{\"summary\":{\"ok\":1,\"failed\":0,\"elapsed_ms\":", "}}\n");
    release();
}

static void require__streamed__quorum_in_the_summary(void **state)
{
    (void)state;
    ask(ANSWER_NDJSON, "{\"urls\":[\"a\",\"b\"],\"require\":\"all\"}");
    end_item(0);
    set_ok(1, "{}");
    submitted->items[1].http_status = 404;
    tell_item(1);
    tell_done();
    read_in_steps(1000);
    expect_text("{\"index\":0}\n{}\n{\"summary\":{\"ok\":2,\"failed\":0,"
                "\"quorum\":{\"required\":2,\"succeeded\":1,\"met\":false},\"elapsed_ms\":",
                "}}\n");
    release();
}

static void item__without_memory_for_its_result__still_a_line_of_json(void **state)
{
    (void)state;
    ask(ANSWER_NDJSON, "{\"urls\":[\"a\",\"b\"]}");
    submitted->items[1].status = ST_NO_MEMORY;
    tell_item(1);
    end_item(0);
    tell_done();
    read_in_steps(7);
    *strchr(text, '\n') = '\0';
    expect_json(text);
    expect_contains(text, "{\"index\":1,\"error\":{\"code\":\"out_of_memory\"");
    assert_int_equal(results_freed, 2);
    release();
}

static void reads__of_any_size__the_same_bytes(void **state)
{
    for (size_t len = 1; len < 100; len++) {
        if (len > 1)
            start_over(state);
        ask(ANSWER_EVENTS, "{\"urls\":[\"a\",\"b\"]}");
        end_item(0);
        end_item(1);
        tell_done();
        read_in_steps(len);
        assert_true(is_over);
        expect_text("event: result\ndata: {\"index\":0}\n\nevent: result\ndata: {\"index\":1}\n\n"
                    "event: summary\ndata: {\"summary\":{\"ok\":2,\"failed\":0,\"elapsed_ms\":",
                    "}}\n\n");
        release();
    }
}

/* What is being sent may not be freed, what was sent is. */
static void result__read_in_parts__freed_when_it_was_read(void **state)
{
    (void)state;
    ask(ANSWER_NDJSON, "{\"urls\":[\"a\",\"b\"]}");
    end_item(1);
    read_once(strlen("{\"index\":1}"));
    assert_int_equal(results_freed, 0);
    read_in_steps(1);
    read_once(1);
    assert_int_equal(results_freed, 1);
    assert_null(submitted->items[1].json);
    end_item(0);
    tell_done();
    read_in_steps(1000);
    assert_int_equal(results_freed, 2);
    release();
}

static void end__reached__stays_reached(void **state)
{
    (void)state;
    ask(ANSWER_NDJSON, "{\"urls\":[\"a\"]}");
    end_item(0);
    tell_done();
    read_in_steps(1000);
    assert_true(is_over);
    assert_int_equal(read_once(100), 0);
    assert_true(is_over);
    release();
}

/* ---- what is not streamed */

static void head__asks_for_a_stream__answered_at_once(void **state)
{
    (void)state;
    exchange.accepts = ANSWER_NDJSON;
    exchange.method = HTTP_HEAD;
    set_query("url", "http://h/");
    endpoint_fetch.handle(&exchange);
    assert_null(stream.source);
    end_all();
    assert_string_equal(answer.content_type, JSON_TYPE);
}

static void refusals__of_a_stream__are_problems(void **state)
{
    exchange.accepts = ANSWER_NDJSON;
    submit_status = ST_QUEUE_FULL;
    post("{\"urls\":[\"a\"]}");
    expect_problem(ST_QUEUE_FULL, "--fetch-queue-max");
    start_over(state);
    exchange.accepts = ANSWER_EVENTS;
    post("{\"urls\":[]}");
    expect_refused("at least one URL");
}

/* ---- ends in any order */

static void release__before_the_call_is_done__cancelled_and_freed_later(void **state)
{
    (void)state;
    ask(ANSWER_NDJSON, "{\"urls\":[\"a\",\"b\",\"c\"]}");
    end_item(1);
    read_once(3);
    release();
    assert_int_equal(cancelled_by, ST_CANCELLED);
    assert_int_equal(calls_released, 0);
    unsigned freed = results_freed;
    end_item(0); /* nobody reads it any more */
    assert_int_equal(results_freed, freed + 1);
    end_item(2);
    assert_int_equal(results_freed, freed + 2);
    tell_done();
    assert_int_equal(calls_released, 1);
}

static void release__after_the_call_was_done__freed_then(void **state)
{
    (void)state;
    ask(ANSWER_NDJSON, "{\"urls\":[\"a\",\"b\"]}");
    end_item(1);
    end_item(0);
    tell_done();
    assert_int_equal(calls_released, 0);
    read_once(20);
    release(); /* in mid-result */
    assert_int_equal(cancelled_by, ST_OK);
    assert_int_equal(calls_released, 1);
}

static void give_up__then_whatever_comes__the_first_reason_stands(void **state)
{
    (void)state;
    ask(ANSWER_NDJSON, "{\"urls\":[\"a\",\"b\"]}");
    endpoint_fetch.give_up(&exchange, ST_DEADLINE_EXCEEDED);
    set_failed(0, ST_DEADLINE_EXCEEDED, true);
    tell_item(0);
    read_in_steps(10);
    release();
    assert_int_equal(cancelled_by, ST_DEADLINE_EXCEEDED);
    set_failed(1, ST_DEADLINE_EXCEEDED, true);
    tell_item(1);
    tell_done();
    assert_int_equal(calls_released, 1);
}

/* The query string belongs to the exchange, which ends with the stream; the pool's threads may still need the URL. */
static void get__released_early__the_url_outlives_the_query(void **state)
{
    (void)state;
    char url[] = "http://h/";
    exchange.accepts = ANSWER_NDJSON;
    set_query("url", url);
    endpoint_fetch.handle(&exchange);
    release();
    memset(url, 'x', sizeof url - 1);
    assert_string_equal(submitted->items[0].url, "http://h/");
    end_item(0);
    tell_done();
}

/* ---- all of it, shuffled */

static uint32_t next_random(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 1103515245 + 12345;
    return (*seed >> 16) % below;
}

/* Reads, ends of items, the call's end and perhaps an early release, in an order that the seed says. */
static void run_shuffled(uint32_t seed)
{
    size_t order[ITEMS], ended = 0;
    bool is_done = false;
    unsigned leaves_after = next_random(&seed, 4 * EVENTS_MAX);
    char expected[TEXT_BYTES] = "";
    for (size_t i = 0; i < ITEMS; i++) { /* Durstenfeld's shuffle */
        size_t k = next_random(&seed, (uint32_t)i + 1);
        order[i] = order[k];
        order[k] = i;
    }
    for (size_t i = 0; i < ITEMS; i++)
        sprintf(expected + strlen(expected), "{\"index\":%zu}\n", order[i]);
    ask(ANSWER_NDJSON, "{\"urls\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}");
    for (unsigned turn = 0; !is_done || stream.source; turn++) {
        if (stream.source && (turn == leaves_after || is_over))
            release();
        else if (stream.source && next_random(&seed, 3) == 0)
            read_once(1 + next_random(&seed, 30));
        else if (ended < ITEMS)
            end_item(order[ended++]);
        else if (!is_done) {
            is_done = true;
            tell_done();
        } else if (stream.source)
            read_once(1 + next_random(&seed, 30));
    }
    size_t len = strlen(text) < strlen(expected) ? strlen(text) : strlen(expected);
    assert_memory_equal(text, expected, len);
    if (is_over)
        expect_contains(text, "\n{\"summary\":{\"ok\":5,\"failed\":0,");
    assert_int_equal(calls_released, 1);
}

static void everything__in_a_thousand_orders__all_bytes_and_nothing_left(void **state)
{
    for (uint32_t seed = 0; seed < 1000; seed++) {
        if (seed > 0)
            start_over(state);
        run_shuffled(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fetch_test(ndjson__items_as_they_end__a_line_each_then_a_summary),
        fetch_test(events__items_as_they_end__an_event_each_then_a_summary),
        fetch_test(single_url__streamed__one_line_and_a_summary),
        fetch_test(require__streamed__quorum_in_the_summary),
        fetch_test(item__without_memory_for_its_result__still_a_line_of_json),
        fetch_test(reads__of_any_size__the_same_bytes),
        fetch_test(result__read_in_parts__freed_when_it_was_read),
        fetch_test(end__reached__stays_reached),
        fetch_test(head__asks_for_a_stream__answered_at_once),
        fetch_test(refusals__of_a_stream__are_problems),
        fetch_test(release__before_the_call_is_done__cancelled_and_freed_later),
        fetch_test(release__after_the_call_was_done__freed_then),
        fetch_test(give_up__then_whatever_comes__the_first_reason_stands),
        fetch_test(get__released_early__the_url_outlives_the_query),
        fetch_test(everything__in_a_thousand_orders__all_bytes_and_nothing_left),
    };
    return cmocka_run_group_tests_name("fetch_stream", tests, NULL, NULL);
}
