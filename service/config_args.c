#include "service/config_args.h"

#include <stdlib.h>
#include <string.h>

#include "base/json_check.h"
#include "base/utf8.h"
#include "service/config_tasks.h"

enum { NAME_MAX_BYTES = 64 };

/* The next word of an arg's declaration; NULL: there is none. */
static char *next_word(char **rest) { return strtok_r(NULL, " \t", rest); }

static bool read_range(const char *word, struct param *param)
{
    char *end;
    long long low = strtoll(word, &end, 10);
    if (end == word || strncmp(end, "..", 2) != 0)
        return false;
    const char *second = end + 2;
    long long high = strtoll(second, &end, 10);
    param->minimum = low;
    param->maximum = high;
    return end != second && *end == '\0' && low <= high && (param->kind == PARAM_INT || low >= 0);
}

/* One block: the params and what they point to. */
struct param_block {
    struct param params[TASK_PARAMS_MAX + 1]; /* first */
    const char *choices[CONFIG_TASK_TEXT_MAX];
    size_t choice_count;
    char text[CONFIG_TASK_TEXT_MAX];
};

/* A|B|C */
static bool read_choices(char *word, struct param_block *block, struct param *param)
{
    char *rest = NULL;
    param->choices = &block->choices[block->choice_count];
    for (char *choice = strtok_r(word, "|", &rest); choice; choice = strtok_r(NULL, "|", &rest))
        block->choices[block->choice_count++] = choice;
    block->choice_count++; /* the NULL */
    return param->choices[0] != NULL;
}

static bool read_kind(char *word, char **rest, struct param_block *block, struct param *param,
                      char ret_message[CONFIG_MESSAGE_MAX])
{
    static const char *const kinds[] = { [PARAM_INT] = "int",
                                         [PARAM_STRING] = "string",
                                         [PARAM_ENUM] = "enum",
                                         [PARAM_BOOL] = "bool",
                                         [PARAM_JSON] = "json" };
    size_t kind = 0;
    while (kind < ARRAY_LEN(kinds) && strcmp(kinds[kind], word) != 0)
        kind++;
    if (kind == ARRAY_LEN(kinds))
        return config_fail(ret_message, "args: %s: \"%s\" is not int, string, enum, bool or json", param->name, word);
    param->kind = (enum param_kind)kind;
    param->maximum = 1 << 20;
    if (kind == PARAM_BOOL || kind == PARAM_JSON)
        return true;
    char *limits = next_word(rest);
    if (!limits)
        return config_fail(ret_message, "args: %s: %s wants %s behind it", param->name, word,
                           kind == PARAM_ENUM ? "its choices, as in fit|fill," : "a range, as in 1..100,");
    if (kind == PARAM_ENUM ? read_choices(limits, block, param) : read_range(limits, param))
        return true;
    return config_fail(ret_message, "args: %s: \"%s\" is not a range such as 1..100", param->name, limits);
}

/* It is written into the schema as it stands. */
static bool is_json(const char *text)
{
    const struct json_limits limits = JSON_LIMITS_DEFAULT;
    struct json_error error;
    return json_check(text, strlen(text), &limits, &error);
}

static bool is_acceptable_default(const struct param *param)
{
    const char *text = param->default_text;
    int64_t number = (int64_t)strlen(text);
    switch (param->kind) {
    case PARAM_BOOL:
        return strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
    case PARAM_ENUM:
        for (size_t i = 0; param->choices[i]; i++)
            if (strcmp(param->choices[i], text) == 0)
                return true;
        return false;
    case PARAM_JSON:
        return is_json(text);
    case PARAM_INT:
        if (!is_json(text) || !json_exact_int64((struct json_slice){ .at = text, .len = strlen(text) }, &number))
            return false;
        break;
    case PARAM_STRING:
        break;
    }
    return number >= param->minimum && number <= param->maximum;
}

static bool is_free_name(const struct param_block *block, const struct param *param)
{
    for (const struct param *other = block->params; other < param; other++)
        if (strcmp(other->name, param->name) == 0)
            return false;
    return strcmp(param->name, "timeout_ms") != 0 && strcmp(param->name, "priority") != 0;
}

static bool check_name(const struct param_block *block, const struct param *param, char ret_message[CONFIG_MESSAGE_MAX])
{
    size_t len = strspn(param->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    if (param->name[len] != '\0' || len > NAME_MAX_BYTES)
        return config_fail(ret_message, "args: a name is 1 to %d of a-z, A-Z, 0-9, _ and -", NAME_MAX_BYTES);
    if (!is_free_name(block, param))
        return config_fail(ret_message, "args: %s is taken: each name once; timeout_ms and priority are the service's",
                           param->name);
    return true;
}

/* `text` is the block's. */
static bool read_param(char *text, struct param_block *block, struct param *param, char ret_message[CONFIG_MESSAGE_MAX])
{
    char *rest = NULL, *name = strtok_r(text, " \t", &rest), *kind = name ? next_word(&rest) : NULL;
    if (!kind)
        return config_fail(ret_message, "args: each is a name and int, string, enum, bool or json");
    *param = (struct param){ .name = name, .description = "" };
    if (!check_name(block, param, ret_message) || !read_kind(kind, &rest, block, param, ret_message))
        return false;
    for (char *word; (word = next_word(&rest)) != NULL;) {
        if (strcmp(word, "required") == 0)
            param->required = true;
        else if (strcmp(word, "default") == 0 && (param->default_text = next_word(&rest)) != NULL) {
            if (param->kind == PARAM_STRING && strchr("\"'", param->default_text[0]))
                return config_fail(ret_message, "args: %s: its default goes without quotes, blanks and commas",
                                   param->name);
            if (!is_acceptable_default(param))
                return config_fail(ret_message, "args: %s: its default is not one of its values%s", param->name,
                                   param->kind == PARAM_BOOL ? ", true and false" : "");
        } else
            return config_fail(ret_message, "args: %s: \"%s\" is neither required nor default VALUE", param->name,
                               word);
    }
    if (param->required && param->default_text)
        return config_fail(ret_message, "args: %s: what is required has no default", param->name);
    return true;
}

bool config_args_read(const char *text, struct param **ret_params, char ret_message[CONFIG_MESSAGE_MAX])
{
    if (!utf8_valid(text, strlen(text)))
        return config_fail(ret_message, "args: is not UTF-8");
    struct param_block *block = calloc(1, sizeof *block);
    char *rest = NULL;
    size_t count = 0;
    bool is_good = block != NULL;
    *ret_params = NULL;
    if (!block)
        return config_fail(ret_message, "no memory");
    snprintf(block->text, sizeof block->text, "%s", text);
    for (char *part = strtok_r(block->text, ",", &rest); part && is_good; part = strtok_r(NULL, ",", &rest)) {
        if (count == TASK_PARAMS_MAX)
            is_good = config_fail(ret_message, "args: there are more than %d", TASK_PARAMS_MAX);
        else
            is_good = read_param(part, block, &block->params[count++], ret_message);
    }
    if (is_good && count > 0)
        *ret_params = block->params; /* the block's first member */
    else
        free(block);
    return is_good;
}
