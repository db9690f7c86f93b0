#include "service/config_args.h"

#include <stdlib.h>
#include <string.h>

#include "service/config_tasks.h"

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
    return end != second && *end == '\0' && low <= high;
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

static bool is_acceptable_default(const struct param *param)
{
    const char *text = param->default_text;
    if (param->kind == PARAM_BOOL)
        return strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
    if (param->kind == PARAM_ENUM) {
        size_t i = 0;
        while (param->choices[i] && strcmp(param->choices[i], text) != 0)
            i++;
        return param->choices[i] != NULL;
    }
    if (param->kind != PARAM_INT)
        return true;
    char *end;
    long long number = strtoll(text, &end, 10);
    return end != text && *end == '\0' && number >= param->minimum && number <= param->maximum;
}

/* `text` is the block's. */
static bool read_param(char *text, struct param_block *block, struct param *param, char ret_message[CONFIG_MESSAGE_MAX])
{
    char *rest = NULL, *name = strtok_r(text, " \t", &rest), *kind = name ? next_word(&rest) : NULL;
    if (!kind)
        return config_fail(ret_message, "args: each is a name and int, string, enum, bool or json");
    *param = (struct param){ .name = name, .description = "" };
    if (!read_kind(kind, &rest, block, param, ret_message))
        return false;
    for (char *word; (word = next_word(&rest)) != NULL;) {
        if (strcmp(word, "required") == 0)
            param->required = true;
        else if (strcmp(word, "default") == 0 && (param->default_text = next_word(&rest)) != NULL) {
            if (!is_acceptable_default(param))
                return config_fail(ret_message, "args: %s: its default is not one of its values", param->name);
        } else
            return config_fail(ret_message, "args: %s: \"%s\" is neither required nor default VALUE", param->name,
                               word);
    }
    return true;
}

bool config_args_read(const char *text, struct param **ret_params, char ret_message[CONFIG_MESSAGE_MAX])
{
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
