/* Any line as a program's answer: what is taken for a result is JSON or bytes, what is told of a failure is text. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_check.h"
#include "base/log.h"
#include "base/utf8.h"
#include "pool/program.h"

static const struct json_limits loose = { .depth = 64, .members = 8192, .values = SIZE_MAX, .number_length = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static void require(bool condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    log_setup(LOG_TEXT, LOG_ERROR);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *line = malloc(size > 0 ? size : 1);
    struct buf result = BUF_INIT(1 << 20);
    struct task_output output = { .result = &result };
    struct json_error error;
    require(line != NULL);
    memcpy(line, data, size);
    enum status status = program_take_answer(line, size, 7, &output);
    require(status == ST_OK || status == ST_TASK_FAILED || status == ST_WORKER_PROTOCOL);
    require(status != ST_OK || output.is_binary || json_check(result.data, result.len, &loose, &error));
    require(strnlen(output.detail, sizeof output.detail) < sizeof output.detail);
    require(utf8_valid(output.detail, strlen(output.detail)));
    require(status != ST_WORKER_PROTOCOL || output.detail[0] != '\0');
    buf_done(&result);
    free(line);
    return 0;
}
