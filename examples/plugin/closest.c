/* closest: the line of the payload that is nearest to a word, by edit distance (Wagner and Fischer, 1974). */
#include <stdio.h>
#include <string.h>

#include <twinpool/task.h>

enum { WORD_MAX = 100, LINE_MAX_BYTES = 1000 };

static size_t smallest(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

static size_t distance(const char *word, size_t word_len, const char *line, size_t line_len)
{
    size_t row[WORD_MAX + 1];
    for (size_t i = 0; i <= word_len; i++)
        row[i] = i;
    for (size_t j = 1; j <= line_len; j++) {
        size_t diagonal = row[0];
        row[0] = j;
        for (size_t i = 1; i <= word_len; i++) {
            size_t above = row[i];
            row[i] = smallest(row[i - 1] + 1, above + 1, diagonal + (word[i - 1] != line[j - 1]));
            diagonal = above;
        }
    }
    return row[word_len];
}

static int run(struct twinpool_job *job)
{
    size_t word_len, best = SIZE_MAX, best_number = 0;
    const char *word = twinpool_get_text(job, "word", &word_len);
    const char *at = job->payload, *end = at ? at + job->payload_len : NULL;
    if (!at)
        return twinpool_fail(job, "send the lines as the body, with Content-Type: application/octet-stream");
    for (size_t number = 1; at < end; number++) {
        if (twinpool_is_cancelled(job))
            return -1;
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((line_end ? line_end : end) - at);
        size_t found = len <= LINE_MAX_BYTES ? distance(word, word_len, at, len) : SIZE_MAX;
        if (found < best) {
            best = found;
            best_number = number;
        }
        at += len + 1;
    }
    char result[80];
    if (best_number == 0)
        return twinpool_append_text(job, "null");
    snprintf(result, sizeof result, "{\"line\":%zu,\"distance\":%zu}", best_number, best);
    return twinpool_append_text(job, result);
}

static int self_test(void) { return distance("kitten", 6, "sitting", 7) == 3 && distance("", 0, "ab", 2) == 2 ? 0 : 1; }

const struct twinpool_task twinpool_task = { TWINPOOL_TASK_ABI,
                                             sizeof(struct twinpool_task),
                                             .description = "the line of the payload that is nearest to a word",
                                             .args = "word string 1..100 required",
                                             .flags =
                                                 TWINPOOL_TAKES_PAYLOAD | TWINPOOL_IDEMPOTENT | TWINPOOL_POLLS_CANCEL,
                                             .run = run,
                                             .self_test = self_test };
