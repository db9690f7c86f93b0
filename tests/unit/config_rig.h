/* config_rig: loads a configuration from words and files, for the tests of service/config*.c. */
#ifndef TWINPOOL_TESTS_UNIT_CONFIG_RIG_H
#define TWINPOOL_TESTS_UNIT_CONFIG_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/attrs.h"
#include "service/config.h"
#include "service/config_table.h"

enum { WORDS_MAX = 16 };

struct ctx {
    struct config config;
    enum config_action action;
    char *errors; /* of the last load */
    char file[64];
};

static inline int set_up(void **state)
{
    static struct ctx ctx;
    memset(&ctx, 0, sizeof(ctx));
    strcpy(ctx.file, "/tmp/test_config.XXXXXX");
    int fd = mkstemp(ctx.file);
    if (fd < 0)
        return -1;
    close(fd);
    *state = &ctx;
    return 0;
}

static inline int tear_down(void **state)
{
    struct ctx *ctx = *state;
    free(ctx->errors);
    unlink(ctx->file);
    return 0;
}

static inline void write_file(const struct ctx *ctx, const char *text)
{
    FILE *file = fopen(ctx->file, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static inline bool load_words(struct ctx *ctx, int argc, char *const *argv, char *const *environment)
{
    size_t len;
    free(ctx->errors);
    ctx->errors = NULL;
    FILE *errors = open_memstream(&ctx->errors, &len);
    assert_non_null(errors);
    bool is_loaded = config_load(argc, argv, environment, &ctx->config, &ctx->action, errors);
    assert_int_equal(fclose(errors), 0);
    assert_true(is_loaded == (len == 0)); /* a message exactly if it failed */
    return is_loaded;
}

/* Flags and variables as text with spaces between words. */
static inline bool load(struct ctx *ctx, const char *flags, const char *variables)
{
    char *argv[WORDS_MAX] = { NULL }, *environment[WORDS_MAX] = { NULL };
    char name[] = "twinpool";
    int argc = 0;
    size_t variable_count = 0;
    char *flag_words = strdup(flags), *variable_words = strdup(variables), *rest;
    argv[argc++] = name;
    for (char *word = strtok_r(flag_words, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    for (char *word = strtok_r(variable_words, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        environment[variable_count++] = word;
    assert_true(argc < WORDS_MAX && variable_count < WORDS_MAX);
    bool is_loaded = load_words(ctx, argc, argv, environment);
    free(flag_words);
    free(variable_words);
    return is_loaded;
}

static inline bool load_file(struct ctx *ctx, const char *text)
{
    char flags[100];
    write_file(ctx, text);
    snprintf(flags, sizeof(flags), "--config %s", ctx->file);
    return load(ctx, flags, "");
}

static inline char *printed(const struct config *config)
{
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    config_print(config, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
