#include "tests/support/files.h"

#include <libgen.h>
#include <stdio.h>

#include "tests/support/spawn.h"

bool files_write(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    bool is_written = file && fputs(text, file) >= 0;
    return file && fclose(file) == 0 && is_written;
}

void files_plugin(const char *name, char *ret_path, size_t size)
{
    char program[512];
    snprintf(program, sizeof program, "%s", spawn_twinpool());
    snprintf(ret_path, size, "%s/tests/plugins/%s.so", dirname(program), name);
}
