/* Tests of tasks/schema.c and of what every row of tasks/registry.c promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>
#include <cmocka.h>
#include <string.h>

#include "tasks/builtin.h"

static const char *const colours[] = { "red", "blue", NULL };

static const struct param sample_params[] = {
    { .name = "count",
      .description = "How \"many\".",
      .kind = PARAM_INT,
      .required = true,
      .minimum = -1,
      .maximum = 9007199254740993,
      .default_text = "3" },
    { .name = "word", .description = "A word.", .kind = PARAM_STRING, .required = true, .minimum = 5, .maximum = 9 },
    { .name = "colour", .description = "A colour.", .kind = PARAM_ENUM, .choices = colours, .default_text = "blue" },
    { .name = NULL },
};
static const struct task sample = { .name = "sample", .description = "", .params = sample_params };

static const struct param no_params[] = { { .name = NULL } };
static const struct task bare = { .name = "bare", .description = "", .params = no_params };

static void assert_schema(const struct task *task, const char *expected)
{
    struct buf schema = BUF_INIT(65536);
    task_schema(task, &schema);
    buf_byte(&schema, '\0');
    assert_false(schema.failed);
    assert_string_equal(schema.data, expected);
    buf_done(&schema);
}

#define START "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"type\":\"object\",\"properties\":{"

static void schema__each_kind__states_its_limits(void **state UNUSED)
{
    assert_schema(&sample, START "\"count\":{\"type\":\"integer\",\"description\":\"How "
                                 "\\\"many\\\".\",\"minimum\":-1,\"maximum\":9007199254740993,"
                                 "\"default\":3},"
                                 "\"word\":{\"type\":\"string\",\"description\":\"A word. 5 to 9 bytes of "
                                 "UTF-8.\",\"minLength\":2,\"maxLength\":9},"
                                 "\"colour\":{\"type\":\"string\",\"description\":\"A "
                                 "colour.\",\"enum\":[\"red\",\"blue\"],\"default\":\"blue\"}"
                                 "},\"required\":[\"count\",\"word\"],\"additionalProperties\":false}");
}

static void schema__no_params__allows_only_the_empty_object(void **state UNUSED)
{
    assert_schema(&bare, START "},\"required\":[],\"additionalProperties\":false}");
}

static void schema__of_sum_squares__is_the_published_one(void **state UNUSED)
{
    assert_schema(
        &sum_squares_task, START
        "\"n\":{\"type\":\"integer\",\"description\":\"How many squares to add: 0*0 to (n-1)*(n-1).\",\"minimum\":0,"
        "\"maximum\":10000000000}},\"required\":[\"n\"],\"additionalProperties\":false}");
}

static void schema__of_every_task__is_json(void **state UNUSED)
{
    for (size_t i = 0; i < task_count; i++) {
        struct buf schema = BUF_INIT(65536);
        task_schema(task_table[i], &schema);
        buf_byte(&schema, '\0');
        assert_false(schema.failed);
        cJSON *root = cJSON_ParseWithLengthOpts(schema.data, schema.len, NULL, true);
        assert_true(cJSON_IsObject(root));
        cJSON_Delete(root);
        buf_done(&schema);
    }
}

static void find__every_task__has_its_index(void **state UNUSED)
{
    assert_true(task_count >= 3);
    for (size_t i = 0; i < task_count; i++)
        assert_int_equal(task_find(task_table[i]->name), i);
    assert_ptr_equal(task_table[task_find("sum_squares")], &sum_squares_task);
    assert_ptr_equal(task_table[task_find("primes")], &primes_task);
    assert_ptr_equal(task_table[task_find("digest")], &digest_task);
}

static void find__unknown_name__is_minus_one(void **state UNUSED)
{
    static const char *const names[] = { "", "sum", "sum_squares ", "SUM_SQUARES", "sum_squaress", "../primes" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_int_equal(task_find(names[i]), -1);
}

static void assert_param_is_sound(const struct param *param)
{
    assert_non_null(param->description);
    switch (param->kind) {
    case PARAM_INT:
        assert_true(param->minimum <= param->maximum);
        break;
    case PARAM_STRING:
    case PARAM_JSON:
        assert_true(param->minimum >= 0 && param->minimum <= param->maximum);
        break;
    case PARAM_BOOL:
        break;
    case PARAM_ENUM:
        assert_non_null(param->choices);
        assert_non_null(param->choices[0]);
        break;
    }
}

static void table__every_task__keeps_the_header_s_rules(void **state UNUSED)
{
    for (size_t i = 0; i < task_count; i++) {
        const struct task *task = task_table[i];
        const size_t name_len = strlen(task->name);
        assert_in_range(name_len, 1, 32);
        assert_int_equal(strspn(task->name, "abcdefghijklmnopqrstuvwxyz0123456789_"), name_len);
        assert_non_null(task->description);
        assert_non_null(task->run);
        size_t count = 0;
        for (; task->params[count].name; count++)
            assert_param_is_sound(&task->params[count]);
        assert_in_range(count, 0, TASK_PARAMS_MAX);
    }
}

/* Defaults are text that nobody checks when the program starts; a task whose defaults its own table refused would be
 * found here. */
static void table__defaults__are_what_their_params_accept(void **state UNUSED)
{
    for (size_t i = 0; i < task_count; i++) {
        for (const struct param *param = task_table[i]->params; param->name; param++) {
            if (!param->default_text || param->kind != PARAM_ENUM)
                continue;
            bool is_choice = false;
            for (size_t c = 0; param->choices[c]; c++)
                is_choice = is_choice || strcmp(param->choices[c], param->default_text) == 0;
            assert_true(is_choice);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schema__each_kind__states_its_limits),
        cmocka_unit_test(schema__no_params__allows_only_the_empty_object),
        cmocka_unit_test(schema__of_sum_squares__is_the_published_one),
        cmocka_unit_test(schema__of_every_task__is_json),
        cmocka_unit_test(find__every_task__has_its_index),
        cmocka_unit_test(find__unknown_name__is_minus_one),
        cmocka_unit_test(table__every_task__keeps_the_header_s_rules),
        cmocka_unit_test(table__defaults__are_what_their_params_accept),
    };
    return cmocka_run_group_tests_name("task_schema", tests, NULL, NULL);
}
