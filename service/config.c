/* config: puts the sources together: defaults, then file, environment and flags, each over the one before, then the
 * checks that concern two options.
 *
 * Flags are read by our own loop rather than getopt_long(), which takes abbreviations (so that a new option could
 * change what an old command line means), keeps its position in globals, and reorders argv. */
#include "service/config.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest_name.h"
#include "service/config_file.h"
#include "service/config_tasks.h"
#include "service/config_table.h"
#include "service/config_value.h"

#define VARIABLE_PREFIX "TWINPOOL_"

struct arguments {
    enum config_action action;
    const char *file;                       /* of --config or TWINPOOL_CONFIG, or NULL */
    const char *values[CONFIG_OPTIONS_MAX]; /* of config_options[i], or NULL */
};

static const struct action_name {
    const char *text;
    enum config_action action;
} action_names[] = {
    { "--help", CONFIG_HELP },
    { "-h", CONFIG_HELP },
    { "--version", CONFIG_VERSION },
    { "--print-config", CONFIG_PRINT },
    { "healthcheck", CONFIG_HEALTHCHECK },
    { "docs", CONFIG_DOCS },
};

static bool COLD PRINTF_LIKE(2, 3) fail(FILE *errors, const char *format, ...)
{
    va_list args;
    fputs("twinpool: ", errors);
    va_start(args, format);
    vfprintf(errors, format, args);
    va_end(args);
    fputc('\n', errors);
    return false;
}

/* ---- flags */

static bool refuse_argument(const char *argument, FILE *errors)
{
    struct nearest_name nearest;
    char flag[CONFIG_NAME_MAX + 2] = "--";
    char typed[CONFIG_NAME_MAX];
    snprintf(typed, sizeof(typed), "%.*s", (int)strcspn(argument, "="), argument);
    nearest_name_start(&nearest, typed);
    for (size_t i = 0; i < ARRAY_LEN(action_names); i++)
        if (strlen(action_names[i].text) > strlen("-h")) /* one letter is near every other */
            nearest_name_offer(&nearest, action_names[i].text);
    nearest_name_offer(&nearest, "--config");
    for (size_t i = 0; i < config_option_count; i++) {
        config_option_key(&config_options[i], flag + 2);
        nearest_name_offer(&nearest, flag);
    }
    const char *what = argument[0] == '-' ? "option" : "command";
    if (nearest.name[0] != '\0')
        return fail(errors, "unknown %s %s; did you mean %s?", what, typed, nearest.name);
    return fail(errors, "unknown %s %s; --help lists what there is", what, typed);
}

static const struct action_name *find_action(const char *argument)
{
    for (size_t i = 0; i < ARRAY_LEN(action_names); i++) {
        if (strcmp(action_names[i].text, argument) == 0)
            return &action_names[i];
    }
    return NULL;
}

/* Where the value of this flag is kept; NULL: no such flag. */
static const char **value_place(const char *flag, struct arguments *arguments)
{
    if (strncmp(flag, "--", 2) != 0)
        return NULL;
    if (strcmp(flag, "--config") == 0)
        return &arguments->file;
    const struct config_option *option = config_option_find(flag + 2);
    return option ? &arguments->values[option - config_options] : NULL;
}

static bool read_arguments(int argc, char *const *argv, struct arguments *ret_arguments, FILE *errors)
{
    for (int i = 1; i < argc; i++) {
        const struct action_name *action = find_action(argv[i]);
        if (action) {
            ret_arguments->action = action->action;
            continue;
        }
        char flag[CONFIG_NAME_MAX + 2];
        const char *equals = strchr(argv[i], '=');
        size_t flag_len = equals ? (size_t)(equals - argv[i]) : strlen(argv[i]);
        snprintf(flag, sizeof(flag), "%.*s", (int)flag_len, argv[i]);
        const char **place = value_place(flag, ret_arguments);
        if (!place || flag_len >= sizeof(flag))
            return refuse_argument(argv[i], errors);
        if (equals)
            *place = equals + 1;
        else if (i + 1 < argc)
            *place = argv[++i];
        else
            return fail(errors, "%s: a value is missing", flag);
    }
    return true;
}

static bool apply_arguments(const struct arguments *arguments, struct config *config, bool *given, FILE *errors)
{
    char message[CONFIG_MESSAGE_MAX], key[CONFIG_NAME_MAX];
    for (size_t i = 0; i < config_option_count; i++) {
        if (!arguments->values[i])
            continue;
        config_option_key(&config_options[i], key);
        if (!config_value_set(&config_options[i], arguments->values[i], config, message))
            return fail(errors, "--%s: %s", key, message);
        given[i] = true;
    }
    return true;
}

/* ---- environment */

/* Variables with our prefix that are not options: TWINPOOL_CONFIG is read elsewhere, TWINPOOL_BIN tells test programs
 * where the program is, and the rest is what Kubernetes sets in every container beside a Service named "twinpool". Its
 * TWINPOOL_PORT is a URL (tcp://10.0.0.1:80); a number there is somebody's attempt to choose the port. */
static bool is_foreign_variable(const char *name, const char *value)
{
    return strcmp(name, VARIABLE_PREFIX "CONFIG") == 0 || strcmp(name, VARIABLE_PREFIX "BIN") == 0 ||
           strncmp(name, VARIABLE_PREFIX "SERVICE_", strlen(VARIABLE_PREFIX "SERVICE_")) == 0 ||
           (strcmp(name, VARIABLE_PREFIX "PORT") == 0 && strstr(value, "://")) ||
           strncmp(name, VARIABLE_PREFIX "PORT_", strlen(VARIABLE_PREFIX "PORT_")) == 0;
}

static bool refuse_variable(const char *name, FILE *errors)
{
    struct nearest_name nearest;
    char candidate[CONFIG_NAME_MAX];
    nearest_name_start(&nearest, name + strlen(VARIABLE_PREFIX));
    for (size_t i = 0; i < config_option_count; i++) {
        config_option_variable(&config_options[i], candidate);
        nearest_name_offer(&nearest, candidate + strlen(VARIABLE_PREFIX));
    }
    if (nearest.name[0] != '\0')
        return fail(errors, "%s: unknown variable; did you mean " VARIABLE_PREFIX "%s?", name, nearest.name);
    return fail(errors, "%s: unknown variable; --help lists the options", name);
}

static bool apply_variable(const char *name, const char *value, struct config *config, bool *given, FILE *errors)
{
    char message[CONFIG_MESSAGE_MAX], candidate[CONFIG_NAME_MAX];
    for (size_t i = 0; i < config_option_count; i++) {
        config_option_variable(&config_options[i], candidate);
        if (strcmp(candidate, name) != 0)
            continue;
        given[i] = true;
        return config_value_set(&config_options[i], value, config, message) || fail(errors, "%s: %s", name, message);
    }
    return refuse_variable(name, errors);
}

static bool apply_environment(char *const *environment, struct config *config, bool *given, FILE *errors)
{
    char name[CONFIG_NAME_MAX];
    for (; *environment; environment++) {
        const char *equals = strchr(*environment, '=');
        if (!equals || strncmp(*environment, VARIABLE_PREFIX, strlen(VARIABLE_PREFIX)) != 0)
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)(equals - *environment), *environment);
        if (!is_foreign_variable(name, equals + 1) && !apply_variable(name, equals + 1, config, given, errors))
            return false;
    }
    return true;
}

static const char *find_variable(char *const *environment, const char *name)
{
    size_t len = strlen(name);
    for (; *environment; environment++) {
        if (strncmp(*environment, name, len) == 0 && (*environment)[len] == '=')
            return *environment + len + 1;
    }
    return NULL;
}

/* ---- defaults, and what must hold between two options */

static bool apply_defaults(struct config *config, FILE *errors)
{
    char message[CONFIG_MESSAGE_MAX];
    memset(config, 0, sizeof(*config));
    for (size_t i = 0; i < config_option_count; i++) {
        if (!config_value_set(&config_options[i], config_options[i].initial, config, message))
            return fail(errors, "the default of %s: %s", config_options[i].field, message);
    }
    return true;
}

static const struct {
    const char *part, *whole; /* keys: part may not be above whole */
} bounds[] = {
    { "max-url-bytes", "max-header-bytes" },
    { "compute-timeout-ms", "compute-timeout-max-ms" },
    { "fetch-timeout-ms", "fetch-timeout-max-ms" },
    { "fetch-dns-timeout-ms", "fetch-timeout-max-ms" },
    { "fetch-connect-timeout-ms", "fetch-timeout-max-ms" },
    { "fetch-tls-timeout-ms", "fetch-timeout-max-ms" },
    { "fetch-first-byte-timeout-ms", "fetch-timeout-max-ms" },
    { "fetch-max-urls", "fetch-queue-max" },
    { "fetch-max-body-bytes", "fetch-max-total-bytes" },
    { "fetch-max-body-bytes", "fetch-memory-bytes" },
    { "fetch-per-call", "fetch-inflight-max" },
    { "workers", "workers-max" },
};

/* A default gives way to a limit that was set lower; a value that was given does not. */
static bool check_bounds(struct config *config, const bool *given, FILE *errors)
{
    char part_text[CONFIG_TEXT_MAX], text[CONFIG_TEXT_MAX], message[CONFIG_MESSAGE_MAX];
    for (size_t i = 0; i < ARRAY_LEN(bounds); i++) {
        const struct config_option *part = config_option_find(bounds[i].part);
        const struct config_option *whole = config_option_find(bounds[i].whole);
        uint64_t limit = config_value_number(whole, config); /* 0, where it may be that: none */
        if (config_value_number(part, config) <= limit || (limit == 0 && whole->minimum == 0))
            continue;
        config_value_text(part, config, part_text);
        config_value_text(whole, config, text);
        if (given[part - config_options])
            return fail(errors, "--%s %s is above --%s %s%s: lower the one or raise the other", bounds[i].part,
                        part_text, bounds[i].whole, text, given[whole - config_options] ? "" : " (its default)");
        if (!config_value_set(part, text, config, message))
            return fail(errors, "--%s %s leaves no value for --%s: %s", bounds[i].whole, text, bounds[i].part, message);
    }
    return config_tasks_check_bounds(config, message) || fail(errors, "%s", message);
}

bool config_load(int argc, char *const *argv, char *const *environment, struct config *ret_config,
                 enum config_action *ret_action, FILE *errors)
{
    struct arguments arguments = { .action = CONFIG_SERVE,
                                   .file = find_variable(environment, VARIABLE_PREFIX "CONFIG") };
    bool given[CONFIG_OPTIONS_MAX] = { false };
    struct config config;

    if (!read_arguments(argc, argv, &arguments, errors) || !apply_defaults(&config, errors))
        return false;
    bool needs_values =
        arguments.action != CONFIG_HELP && arguments.action != CONFIG_VERSION && arguments.action != CONFIG_DOCS;
    if (needs_values &&
        ((arguments.file && !config_file_read(arguments.file, &config, given, errors)) ||
         !apply_environment(environment, &config, given, errors) ||
         !apply_arguments(&arguments, &config, given, errors) || !check_bounds(&config, given, errors))) {
        free(config.tasks);
        return false;
    }
    *ret_config = config;
    *ret_action = arguments.action;
    return true;
}
