/* tasks: GET /tasks: what can be computed, and the JSON Schema of each task's args.
 *
 * The document never changes, so it is written on the first request and kept for good. Two loops may write it at the
 * same time; the first to be done wins. An answer is a copy: at a few KiB that costs less than a second way to answer
 * would. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_write.h"
#include "handlers/handler.h"
#include "tasks/task.h"

enum { DOCUMENT_MAX_BYTES = 1024 * 1024 };

static char *_Atomic document; /* NUL-terminated; NULL until the first request */

static void write_task(struct buf *out, const struct task *task)
{
    buf_byte(out, '{');
    json_key(out, "name");
    json_text(out, task->name);
    buf_byte(out, ',');
    json_key(out, "description");
    json_text(out, task->description);
    buf_byte(out, ',');
    json_key(out, "takes_payload");
    json_bool(out, task->takes_payload);
    buf_byte(out, ',');
    json_key(out, "idempotent");
    json_bool(out, task->is_idempotent);
    buf_byte(out, ',');
    json_key(out, "args");
    task_schema(task, out);
    buf_byte(out, '}');
}

static char *write_document(void)
{
    struct buf out = BUF_INIT(DOCUMENT_MAX_BYTES);
    size_t len;

    buf_lit(&out, "{\"tasks\":[");
    for (size_t i = 0; i < task_count; i++) {
        if (i > 0)
            buf_byte(&out, ',');
        write_task(&out, task_table[i]);
    }
    buf_append(&out, "]}", sizeof "]}"); /* with its NUL */
    if (out.failed) {
        buf_done(&out);
        return NULL;
    }
    return buf_take(&out, &len);
}

static const char *get_document(void)
{
    char *kept = atomic_load(&document);
    if (kept)
        return kept;
    char *written = write_document();
    if (written && !atomic_compare_exchange_strong(&document, &kept, written)) {
        free(written);
        written = kept;
    }
    return written;
}

static void handle(struct exchange *x)
{
    const char *text = get_document();
    char *copy = text ? strdup(text) : NULL;
    if (copy)
        exchange_answer(x, 200, JSON_TYPE, copy, strlen(copy));
    else
        exchange_problem(x, ST_NO_MEMORY, NULL);
}

const struct endpoint endpoint_tasks = { .handle = handle };
