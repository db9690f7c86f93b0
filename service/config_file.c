/* config_file: libinih splits the lines; keys, values and what may not be there are judged here.
 *
 * The library is used with the settings it has everywhere: it neither tells its handler the line number nor takes lines
 * beyond 200 bytes (it would cut them silently), so its reader is ours, which counts lines and refuses long ones. An
 * indented line continues the value above it, by another call of the handler with the same key; that is for lists only,
 * whose parts are joined, so that a long one can have one part to a line. */
#include "service/config_file.h"

#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <string.h>

#include "base/nearest_name.h"
#include "service/config_tasks.h"
#include "service/config_value.h"

#define TASK_PREFIX "task."

struct reading {
    const char *path;
    FILE *file;
    FILE *errors;
    struct config *config;
    bool *given;
    unsigned line, section_line; /* that is read, and of the last [section] */
    int read_errno;              /* why the reading ended, unless by the end of the file */
    bool has_failed;
};

static void PRINTF_LIKE(2, 3) fail(struct reading *reading, const char *format, ...)
{
    va_list args;
    fprintf(reading->errors, "twinpool: %s:%u: ", reading->path, reading->line);
    va_start(args, format);
    vfprintf(reading->errors, format, args);
    va_end(args);
    fputc('\n', reading->errors);
    reading->has_failed = true;
}

/* ini_reader: like fgets(); NULL ends the reading. */
static char *next_line(char *line, int size, void *context)
{
    struct reading *reading = context;
    if (reading->has_failed)
        return NULL;
    if (!fgets(line, size, reading->file)) {
        reading->read_errno = ferror(reading->file) ? errno : 0;
        return NULL;
    }
    reading->line++;
    if (line[strspn(line, " \t")] == '[')
        reading->section_line = reading->line;
    if (!strchr(line, '\n') && !feof(reading->file)) {
        fail(reading, "the line is longer than %d bytes; a list may go on in indented lines", size - 2);
        return NULL;
    }
    return line;
}

static void refuse_key(struct reading *reading, const char *key)
{
    struct nearest_name nearest;
    char candidate[CONFIG_NAME_MAX];
    nearest_name_start(&nearest, key);
    for (size_t i = 0; i < config_option_count; i++) {
        config_option_key(&config_options[i], candidate);
        nearest_name_offer(&nearest, candidate);
    }
    if (nearest.name[0] != '\0')
        fail(reading, "unknown option %s; did you mean %s?", key, nearest.name);
    else
        fail(reading, "unknown option %s", key);
}

/* The library cuts comments off the line with the key only. */
static size_t len_without_comment(const char *part)
{
    const char *comment = strstr(part, " ;"), *after_tab = strstr(part, "\t;");
    if (!comment || (after_tab && after_tab < comment))
        comment = after_tab;
    return comment ? (size_t)(comment - part) : strlen(part);
}

/* The list so far and one more part, without the comma that may end the line. False: too long. */
static bool join_list(const char *list, const char *part, char ret_joined[CONFIG_TEXT_MAX])
{
    size_t len = len_without_comment(part);
    while (len > 0 && (part[len - 1] == ',' || part[len - 1] == ' ' || part[len - 1] == '\t'))
        len--;
    const char *comma = list[0] != '\0' && len > 0 ? "," : "";
    int needed = snprintf(ret_joined, CONFIG_TEXT_MAX, "%s%s%.*s", list, comma, (int)len, part);
    return needed >= 0 && needed < CONFIG_TEXT_MAX;
}

static void set_option(struct reading *reading, const struct config_option *option, const char *value)
{
    char message[CONFIG_MESSAGE_MAX], joined[CONFIG_TEXT_MAX];
    bool *is_given = &reading->given[option - config_options];

    if (option->kind == CONFIG_KIND_LIST) {
        char key[CONFIG_NAME_MAX];
        if (!join_list(*is_given ? (const char *)reading->config + option->offset : "", value, joined)) {
            config_option_key(option, key);
            fail(reading, "%s: the list is longer than %d bytes", key, CONFIG_TEXT_MAX - 1);
            return;
        }
        value = joined;
    } else if (*is_given) {
        fail(reading, "this option was set before; an indented line continues the one above it");
        return;
    }
    *is_given = true;
    if (!config_value_set(option, value, reading->config, message)) {
        char key[CONFIG_NAME_MAX];
        config_option_key(option, key);
        fail(reading, "%s: %s", key, message);
    }
}

/* ini_handler: 1 lets the library go on. */
static int take_pair(void *context, const char *section, const char *key, const char *value)
{
    struct reading *reading = context;
    if (reading->has_failed)
        return 1;
    if (strncmp(section, TASK_PREFIX, strlen(TASK_PREFIX)) == 0) {
        char message[CONFIG_MESSAGE_MAX];
        if (!config_tasks_set(reading->config, section + strlen(TASK_PREFIX), key, value, reading->section_line,
                              message))
            fail(reading, "%s", message);
        return 1;
    }
    if (section[0] != '\0' && strcmp(section, "twinpool") != 0) {
        fail(reading, "there is no section [%s]; options stand alone or under [twinpool], tasks under [task.NAME]",
             section);
        return 1;
    }
    const struct config_option *option = config_option_find(key);
    if (option)
        set_option(reading, option, value);
    else
        refuse_key(reading, key);
    return 1;
}

bool config_file_read(const char *path, struct config *config, bool given[CONFIG_OPTIONS_MAX], FILE *errors)
{
    struct reading reading = { .path = path, .errors = errors, .config = config, .given = given };
    reading.file = fopen(path, "re");
    if (!reading.file) {
        fprintf(errors, "twinpool: %s: %m\n", path);
        return false;
    }
    int bad_line = ini_parse_stream(next_line, &reading, take_pair, &reading);
    if (!reading.has_failed && reading.read_errno != 0) {
        fprintf(errors, "twinpool: %s: %s\n", path, strerrordesc_np(reading.read_errno));
        reading.has_failed = true;
    } else if (!reading.has_failed && bad_line != 0) {
        reading.line = bad_line > 0 ? (unsigned)bad_line : 0;
        fail(&reading, "not a line of the form `key = value`");
    }
    fclose(reading.file);
    char message[CONFIG_MESSAGE_MAX];
    if (!reading.has_failed && !config_tasks_check(config, &reading.line, message))
        fail(&reading, "%s", message);
    return !reading.has_failed;
}
