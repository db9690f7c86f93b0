/* output: what a task says when it fails. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "tasks/task.h"

enum status task_fail(struct task_output *output, enum status status, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    (void)vsnprintf(output->detail, sizeof output->detail, format, values);
    va_end(values);
    size_t len = strlen(output->detail);
    for (unsigned cut = 0; cut < 4 && len > 0 && !utf8_valid(output->detail, len); cut++)
        len--; /* it was cut within a character */
    output->detail[len] = '\0';
    return status;
}
