/* config_table: the options, one row each. Everything else about them (flags, variables, keys, checks, help, documents)
 * is derived from the rows. To add an option, add a field to struct config and a row here. */
#ifndef TWINPOOL_SERVICE_CONFIG_TABLE_H
#define TWINPOOL_SERVICE_CONFIG_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"

enum config_kind {
    CONFIG_KIND_COUNT,  /* a whole number */
    CONFIG_KIND_BYTES,  /* a whole number, k, m or g may follow */
    CONFIG_KIND_MS,     /* a whole number of milliseconds */
    CONFIG_KIND_CHOICE, /* one of `choices`; the field is an enum in their order */
    CONFIG_KIND_LISTEN, /* ADDR:PORT */
    CONFIG_KIND_LIST,   /* words with commas between; `list` reads them */
    CONFIG_KIND_PATH,   /* a file's name; "": none */
    CONFIG_KIND_TEXT
};

struct config;

/* What kind of list it is. */
struct config_list {
    /* Keeps the parsed form in the config. False: *ret_reason is a static text. */
    bool (*parse)(const char *text, struct config *config, const char **ret_reason);
    const char *placeholder; /* "CIDR[,CIDR...]" */
    const char *described;   /* "a list of networks such as 10.0.0.0/8,fd00::/8" */
    const char *documented;  /* the same in Markdown */
};

enum config_group {
    CONFIG_GROUP_SERVICE,
    CONFIG_GROUP_COMPUTE,
    CONFIG_GROUP_FETCH,
    CONFIG_GROUP_LOGGING,
    CONFIG_GROUP_COUNT
};

enum {
    CONFIG_OPTIONS_MAX = 80,
    CONFIG_NAME_MAX = 64, /* bytes of a flag's or variable's name, with the NUL */
    CONFIG_CHOICES_MAX = 5
};

struct config_option {
    const char *field; /* its name in struct config: "io_threads" */
    enum config_group group;
    enum config_kind kind;
    size_t offset, size; /* of the field, in bytes */
    uint64_t minimum, maximum;
    const char *choices[CONFIG_CHOICES_MAX]; /* ends with NULL */
    const struct config_list *list;
    const char *initial; /* the default, as one would write it */
    const char *help;    /* a clause without a full stop */
};

extern const struct config_option config_options[];
extern const size_t config_option_count;

const char *config_group_title(enum config_group group);

/* "io-threads": behind `--` it is the flag, in the file it is the key. */
void config_option_key(const struct config_option *option, char ret_key[CONFIG_NAME_MAX]) NONNULL;
/* "TWINPOOL_IO_THREADS" */
void config_option_variable(const struct config_option *option, char ret_variable[CONFIG_NAME_MAX]) NONNULL;
/* What stands for the value in the help: "N", "BYTES", "text|json" */
void config_option_placeholder(const struct config_option *option, char ret_text[CONFIG_NAME_MAX]) NONNULL;

/* By key; NULL: no such option. */
const struct config_option *config_option_find(const char *key) NONNULL;

#endif
