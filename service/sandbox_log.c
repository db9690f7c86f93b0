#include "service/sandbox_log.h"

#include <string.h>

#include "base/log.h"
#include "pool/sandbox.h"

void sandbox_log_probe(char *ret_text, size_t size)
{
    const struct sandbox_rules rules = sandbox_rules_for_tasks();
    struct sandbox_report report;
    char texts[SANDBOX_MECHANISMS][sizeof report.of[0].note + 32];
    struct log_field fields[SANDBOX_MECHANISMS + 1] = { 0 };
    bool is_complete = sandbox_probe(&rules, &report);
    for (unsigned i = 0; i < SANDBOX_MECHANISMS; i++) {
        sandbox_outcome_text(&report.of[i], texts[i], sizeof texts[i]);
        fields[i] = (struct log_field)LOG_STR(sandbox_mechanism_name((enum sandbox_mechanism)i), texts[i]);
    }
    enum log_level level = is_complete ? LOG_INFO : LOG_WARNING;
    if (log_enabled(level))
        log_write(level, "sandbox", fields);
    struct buf text = BUF_INIT(size - 1);
    sandbox_describe(&report, &text);
    size_t len = text.failed ? 0 : text.len;
    if (len > 0)
        memcpy(ret_text, text.data, len);
    ret_text[len] = '\0';
    buf_done(&text);
}
