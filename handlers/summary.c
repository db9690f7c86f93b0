/* summary: written by hand, because snprintf() took as long for it as the rest of a short answer. */
#include "handlers/summary.h"

#include <string.h>

#include "base/clock.h"
#include "base/decimal.h"

size_t summary_write(const struct summary *summary, char ret_text[static SUMMARY_TEXT_SIZE])
{
    char *to = stpcpy(ret_text, "\"ok\":");
    to = stpcpy(decimal_put(to, summary->ok), ",\"failed\":");
    to = decimal_put(to, summary->count - summary->ok);
    if (summary->has_quorum) {
        to = decimal_put(stpcpy(to, ",\"quorum\":{\"required\":"), summary->required);
        to = decimal_put(stpcpy(to, ",\"succeeded\":"), summary->succeeded);
        to = stpcpy(to, summary->succeeded >= summary->required ? ",\"met\":true}" : ",\"met\":false}");
    }
    to = decimal_put_ms(stpcpy(to, ",\"elapsed_ms\":"), clock_now_ns() - summary->started_ns);
    return (size_t)(to - ret_text);
}
