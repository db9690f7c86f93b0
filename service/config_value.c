/* config_value: strict readings. A number is digits and nothing else (no sign, space, point or hexadecimal), so that
 * every text has one meaning or none. */
#include "service/config_value.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/listen_address.h"

bool config_fail(char ret_message[CONFIG_MESSAGE_MAX], const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(ret_message, CONFIG_MESSAGE_MAX, format, values);
    va_end(values);
    return false;
}

/* Quotes what a person typed: control bytes shown as '?', long text cut. */
static void quote(const char *text, char ret_quoted[80])
{
    char shown[64];
    size_t len = 0;
    for (; len < sizeof(shown) - 1 && text[len] != '\0'; len++)
        shown[len] = iscntrl((unsigned char)text[len]) ? '?' : text[len];
    shown[len] = '\0';
    snprintf(ret_quoted, 80, "\"%s%s\"", shown, text[len] != '\0' ? "..." : "");
}

/* How far a k, m or g behind the digits shifts; -1: something else stands there. */
static int suffix_shift(const char *suffix, enum config_kind kind)
{
    if (suffix[0] == '\0')
        return 0;
    if (kind != CONFIG_KIND_BYTES || suffix[1] != '\0')
        return -1;
    switch (tolower((unsigned char)suffix[0])) {
    case 'k':
        return 10;
    case 'm':
        return 20;
    case 'g':
        return 30;
    default:
        return -1;
    }
}

static bool parse_number(const struct config_option *option, const char *text, uint64_t *ret_number)
{
    if (!isdigit((unsigned char)text[0]))
        return false;
    char *end;
    errno = 0;
    unsigned long long digits = strtoull(text, &end, 10);
    int shift = suffix_shift(end, option->kind);
    if (errno != 0 || shift < 0 || digits > UINT64_MAX >> shift)
        return false;
    uint64_t number = (uint64_t)digits << shift;
    if (number < option->minimum || number > option->maximum)
        return false;
    *ret_number = number;
    return true;
}

static void store(const struct config_option *option, void *fields, uint64_t number)
{
    char *field = (char *)fields + option->offset;
    uint32_t narrow = (uint32_t)number;
    if (option->size == sizeof(number))
        memcpy(field, &number, sizeof(number));
    else
        memcpy(field, &narrow, sizeof(narrow));
}

uint64_t config_value_number(const struct config_option *option, const void *fields)
{
    const char *field = (const char *)fields + option->offset;
    uint64_t wide;
    uint32_t narrow;
    if (option->size == sizeof(wide)) {
        memcpy(&wide, field, sizeof(wide));
        return wide;
    }
    memcpy(&narrow, field, sizeof(narrow));
    return narrow;
}

static bool set_number(const struct config_option *option, const char *text, void *fields)
{
    uint64_t number;
    if (!parse_number(option, text, &number))
        return false;
    store(option, fields, number);
    return true;
}

static bool set_choice(const struct config_option *option, const char *text, void *fields)
{
    for (unsigned i = 0; option->choices[i]; i++) {
        if (strcmp(option->choices[i], text) == 0) {
            store(option, fields, i);
            return true;
        }
    }
    return false;
}

/* The text of an option that is kept as text too; false: too long. */
static bool set_text(const struct config_option *option, const char *text, void *fields)
{
    size_t len = strlen(text);
    if (len >= option->size)
        return false;
    memcpy((char *)fields + option->offset, text, len + 1);
    return true;
}

static bool set_list(const struct config_option *option, const char *text, void *fields,
                     char ret_message[CONFIG_MESSAGE_MAX])
{
    const char *reason = "the list is too long";
    char quoted[80];
    if (strlen(text) < option->size && option->list->parse(text, fields, &reason))
        return set_text(option, text, fields);
    quote(text, quoted);
    snprintf(ret_message, CONFIG_MESSAGE_MAX, "%s is not %s: %s", quoted, option->list->described, reason);
    return false;
}

static bool set_listen(const struct config_option *option, const char *text, void *fields)
{
    struct listen_address address;
    return listen_address_parse(text, &address) && set_text(option, text, fields);
}

bool config_value_set(const struct config_option *option, const char *text, void *fields,
                      char ret_message[CONFIG_MESSAGE_MAX])
{
    bool is_set = false;
    switch (option->kind) {
    case CONFIG_KIND_COUNT:
    case CONFIG_KIND_BYTES:
    case CONFIG_KIND_MS:
        is_set = set_number(option, text, fields);
        break;
    case CONFIG_KIND_CHOICE:
        is_set = set_choice(option, text, fields);
        break;
    case CONFIG_KIND_LISTEN:
        is_set = set_listen(option, text, fields);
        break;
    case CONFIG_KIND_PATH:
    case CONFIG_KIND_TEXT:
        is_set = set_text(option, text, fields);
        break;
    case CONFIG_KIND_LIST:
        return set_list(option, text, fields, ret_message);
    }
    if (!is_set) {
        char quoted[80], allowed[CONFIG_DESCRIPTION_MAX];
        quote(text, quoted);
        config_value_describe(option, allowed);
        snprintf(ret_message, CONFIG_MESSAGE_MAX, "%s is not %s", quoted, allowed);
    }
    return is_set;
}

/* As a person would write it: 8m rather than 8388608. */
static void bytes_text(uint64_t number, char ret_text[CONFIG_TEXT_MAX])
{
    static const char *const suffixes[] = { "", "k", "m", "g" };
    size_t i = 0;
    for (; number != 0 && number % 1024 == 0 && i + 1 < ARRAY_LEN(suffixes); i++)
        number /= 1024;
    snprintf(ret_text, CONFIG_TEXT_MAX, "%" PRIu64 "%s", number, suffixes[i]);
}

void config_value_text(const struct config_option *option, const void *fields, char ret_text[CONFIG_TEXT_MAX])
{
    const char *field = (const char *)fields + option->offset;
    switch (option->kind) {
    case CONFIG_KIND_COUNT:
    case CONFIG_KIND_MS:
        snprintf(ret_text, CONFIG_TEXT_MAX, "%" PRIu64, config_value_number(option, fields));
        break;
    case CONFIG_KIND_BYTES:
        bytes_text(config_value_number(option, fields), ret_text);
        break;
    case CONFIG_KIND_CHOICE:
        snprintf(ret_text, CONFIG_TEXT_MAX, "%s", option->choices[config_value_number(option, fields)]);
        break;
    case CONFIG_KIND_LISTEN:
    case CONFIG_KIND_LIST:
    case CONFIG_KIND_PATH:
    case CONFIG_KIND_TEXT:
        snprintf(ret_text, CONFIG_TEXT_MAX, "%s", field);
        break;
    }
}

void config_value_describe(const struct config_option *option, char ret_text[CONFIG_DESCRIPTION_MAX])
{
    char choices[CONFIG_NAME_MAX];
    switch (option->kind) {
    case CONFIG_KIND_COUNT:
        snprintf(ret_text, CONFIG_DESCRIPTION_MAX, "a whole number from %" PRIu64 " to %" PRIu64, option->minimum,
                 option->maximum);
        break;
    case CONFIG_KIND_BYTES:
        snprintf(ret_text, CONFIG_DESCRIPTION_MAX,
                 "a number of bytes from %" PRIu64 " to %" PRIu64 " (k, m or g may follow: 8m)", option->minimum,
                 option->maximum);
        break;
    case CONFIG_KIND_MS:
        snprintf(ret_text, CONFIG_DESCRIPTION_MAX, "a number of milliseconds from %" PRIu64 " to %" PRIu64,
                 option->minimum, option->maximum);
        break;
    case CONFIG_KIND_CHOICE:
        config_option_placeholder(option, choices);
        snprintf(ret_text, CONFIG_DESCRIPTION_MAX, "one of %s", choices);
        break;
    case CONFIG_KIND_LISTEN:
        snprintf(ret_text, CONFIG_DESCRIPTION_MAX,
                 "ADDR:PORT with a numeric address (127.0.0.1:8080, 0.0.0.0:8080, [::1]:8080)");
        break;
    case CONFIG_KIND_LIST:
        snprintf(ret_text, CONFIG_DESCRIPTION_MAX, "%s", option->list->described);
        break;
    case CONFIG_KIND_TEXT:
        snprintf(ret_text, CONFIG_DESCRIPTION_MAX, "a text of at most %zu bytes", option->size - 1);
        break;
    case CONFIG_KIND_PATH:
        snprintf(ret_text, CONFIG_DESCRIPTION_MAX, "the name of a file, of at most %d bytes", CONFIG_TEXT_MAX - 1);
        break;
    }
}
