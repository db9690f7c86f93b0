/* config_docs: the table for people: --help, --print-config and docs/configuration.md. */
#include <stdio.h>
#include <string.h>

#include "service/config.h"
#include "service/config_table.h"
#include "service/config_tasks.h"
#include "service/config_value.h"

enum { HELP_INDENT = 36, HELP_WIDTH = 99 };

/* Prints text word by word, with `prefix` before each new line but the first; `column` is where the first one begins.
 */
static void print_wrapped(FILE *out, const char *text, size_t column, const char *prefix, size_t width)
{
    bool is_line_start = true;
    while (*text != '\0') {
        size_t word = strcspn(text, " ");
        if (!is_line_start && column + 1 + word > width) {
            fprintf(out, "\n%s", prefix);
            column = strlen(prefix);
            is_line_start = true;
        }
        column += word + (is_line_start ? 0 : 1);
        fprintf(out, "%s%.*s", is_line_start ? "" : " ", (int)word, text);
        is_line_start = false;
        text += word;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static void print_help_row(FILE *out, const struct config_option *option)
{
    char key[CONFIG_NAME_MAX], placeholder[CONFIG_NAME_MAX], text[512];
    config_option_key(option, key);
    config_option_placeholder(option, placeholder);
    int column = fprintf(out, "  --%s %s", key, placeholder);
    if (column >= HELP_INDENT) {
        fputc('\n', out);
        column = 0;
    }
    fprintf(out, "%*s", HELP_INDENT - column, "");
    snprintf(text, sizeof(text), "%s [%s]", option->help, option->initial[0] != '\0' ? option->initial : "none");
    char prefix[HELP_INDENT + 1];
    memset(prefix, ' ', HELP_INDENT);
    prefix[HELP_INDENT] = '\0';
    print_wrapped(out, text, HELP_INDENT, prefix, HELP_WIDTH);
}

void config_print_help(FILE *out)
{
    fputs("twinpool: two pools over HTTP: threads that fetch URLs, and processes that compute.\n"
          "\n"
          "Usage:\n"
          "  twinpool [--config FILE] [OPTION VALUE ...]\n"
          "                                    serve until SIGTERM or SIGINT; SIGHUP: read it all again\n"
          "  twinpool check-task FILE          load a plug-in, print its args' schema, run its self-test\n"
          "  twinpool healthcheck              exit 0 if the service on the --listen address answers, else 1\n"
          "  twinpool docs                     every option as a Markdown page\n"
          "  twinpool --print-config           the effective options as a file for --config\n"
          "  twinpool --help | -h | --version\n"
          "\n"
          "Each option is also an environment variable (--io-threads: TWINPOOL_IO_THREADS) and a key in the\n"
          "file that --config FILE names (io-threads = 2). A flag goes before a variable, a variable before\n"
          "the file. BYTES may end in k, m or g; MS are milliseconds; [...] is the default. A CIDR is a\n"
          "network (10.0.0.0/8, fd00::/8) or one address.\n",
          out);
    for (unsigned group = 0; group < CONFIG_GROUP_COUNT; group++) {
        fprintf(out, "\n%s:\n", config_group_title((enum config_group)group));
        for (size_t i = 0; i < config_option_count; i++) {
            if (config_options[i].group == (enum config_group)group)
                print_help_row(out, &config_options[i]);
        }
    }
    fputs("\nExample:\n"
          "  twinpool --listen 127.0.0.1:8080 --workers 4 --fetch-allow 10.0.0.0/8\n"
          "  curl 'http://127.0.0.1:8080/compute/sum_squares?n=10000000'\n",
          out);
}

/* A list goes one part to a line, because the file's lines are short. */
static void print_value(FILE *out, const char *value, bool is_list)
{
    for (; *value != '\0'; value++) {
        fputc(*value, out);
        if (is_list && *value == ',' && value[1] != '\0')
            fputs("\n    ", out);
    }
    fputc('\n', out);
}

void config_print(const struct config *config, FILE *out)
{
    char key[CONFIG_NAME_MAX], value[CONFIG_TEXT_MAX];
    fputs("# Options of twinpool: twinpool --config FILE\n", out);
    for (unsigned group = 0; group < CONFIG_GROUP_COUNT; group++) {
        fprintf(out, "\n# %s\n", config_group_title((enum config_group)group));
        for (size_t i = 0; i < config_option_count; i++) {
            const struct config_option *option = &config_options[i];
            if (option->group != (enum config_group)group)
                continue;
            config_option_key(option, key);
            config_value_text(option, config, value);
            fputs("; ", out);
            print_wrapped(out, option->help, 2, "; ", HELP_WIDTH);
            fprintf(out, "%s =%s", key, value[0] != '\0' ? " " : "");
            print_value(out, value, option->kind == CONFIG_KIND_LIST);
        }
    }
    config_tasks_print(config, out);
}

/* What stands in the table's column "Values". */
static void print_doc_values(FILE *out, const struct config_option *option)
{
    switch (option->kind) {
    case CONFIG_KIND_COUNT:
        fprintf(out, "%llu to %llu", (unsigned long long)option->minimum, (unsigned long long)option->maximum);
        break;
    case CONFIG_KIND_BYTES:
        fprintf(out, "%llu to %llu bytes", (unsigned long long)option->minimum, (unsigned long long)option->maximum);
        break;
    case CONFIG_KIND_MS:
        fprintf(out, "%llu to %llu ms", (unsigned long long)option->minimum, (unsigned long long)option->maximum);
        break;
    case CONFIG_KIND_CHOICE:
        for (size_t i = 0; option->choices[i]; i++)
            fprintf(out, "%s`%s`", i ? ", " : "", option->choices[i]);
        break;
    case CONFIG_KIND_LISTEN:
        fputs("`ADDR:PORT`, `[ADDR]:PORT`", out);
        break;
    case CONFIG_KIND_LIST:
        fputs(option->list->documented, out);
        break;
    case CONFIG_KIND_TEXT:
    case CONFIG_KIND_PATH:
        fputs("a file's name", out);
        break;
    }
}

static void print_doc_row(FILE *out, const struct config_option *option)
{
    char key[CONFIG_NAME_MAX], variable[CONFIG_NAME_MAX];
    config_option_key(option, key);
    config_option_variable(option, variable);
    fprintf(out, "| `--%s` | `%s` | ", key, variable);
    if (option->initial[0] != '\0')
        fprintf(out, "`%s`", option->initial);
    else
        fputs("none", out);
    fputs(" | ", out);
    print_doc_values(out, option);
    fprintf(out, " | %s |\n", option->help);
}

void config_print_docs(FILE *out)
{
    fputs(
        "# Options\n"
        "\n"
        "This page is made from the program's own table: `twinpool docs`.\n"
        "\n"
        "An option can be given in three places. A flag goes before a variable, a variable before the file, the file "
        "before\n"
        "the default.\n"
        "\n"
        "- a flag: `--io-threads 4` or `--io-threads=4`, never abbreviated; if it is given twice, the last one counts\n"
        "- a variable: `TWINPOOL_IO_THREADS=4`\n"
        "- a line of the INI file that `--config FILE` or `TWINPOOL_CONFIG` names: `io-threads = 4`, alone or under\n"
        "  `[twinpool]`. A line that begins with `#` or `;` is a comment; behind a value only ` ;` begins one. Lines\n"
        "  have at most 198 bytes. An indented line goes on with the list above it.\n"
        "  [twinpool.ini](twinpool.ini) is a file with every default.\n"
        "\n"
        "`--print-config` prints what is in effect, as such a file. Sizes are in bytes and may end in `k`, `m` or `g` "
        "(1024,\n"
        "1024², 1024³); times are in milliseconds.\n"
        "\n"
        "Whatever is wrong stops the program at its start with exit status 2 and a line that names the place: an "
        "unknown\n"
        "name (also of a variable that begins with `TWINPOOL_`; the ones that Kubernetes sets for a Service named\n"
        "`twinpool` are left alone), a value out of its range, a default deadline above the longest one. What only "
        "shows\n"
        "when it is used (an address that is taken, a file without certificates) stops it with status 1. A *default* "
        "that is\n"
        "above a limit that you set lower comes down to it.\n",
        out);
    for (unsigned group = 0; group < CONFIG_GROUP_COUNT; group++) {
        fprintf(out, "\n## %s\n\n| flag | variable | default | values | meaning |\n|---|---|---|---|---|\n",
                config_group_title((enum config_group)group));
        for (size_t i = 0; i < config_option_count; i++) {
            if (config_options[i].group == (enum config_group)group)
                print_doc_row(out, &config_options[i]);
        }
    }
    fputs(
        "\n## Commands\n"
        "\n"
        "| command | does |\n"
        "|---|---|\n"
        "| `twinpool` | serves until SIGTERM or SIGINT. SIGHUP reads file, environment and flags again and replaces "
        "front end and workers "
        "without losing a request; what is wrong with the new ones is logged (`reload_failed`) and changes nothing |\n"
        "| `twinpool check-task FILE` | loads a plug-in, prints the schema of its args and runs its self-test; exit "
        "status 0: well |\n"
        "| `twinpool healthcheck` | asks `/healthz` at the `--listen` address (0.0.0.0 and `[::]`: this machine); "
        "prints nothing and exits with 0 if it answers 200 within 2 s, else with 1 and a line that says why |\n"
        "| `twinpool docs` | prints this page |\n"
        "| `twinpool --print-config` | prints the options in effect |\n"
        "| `twinpool --help`, `--version` | print and exit |\n",
        out);
    config_tasks_print_docs(out);
}
