#include "tests/abuse/naive.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/timing.h"

enum { URL_BYTES_MAX = 256 * 1024, PATIENCE_MS = 1000 };

static size_t forget(char *bytes, size_t size, size_t count, void *user)
{
    (void)bytes;
    (void)user;
    return size * count;
}

bool naive_reaches_canary(const char *url, const char *variable, const char *value)
{
    struct buf text = BUF_INIT(URL_BYTES_MAX);
    uint64_t before = lab_canary_hits();
    CURL *easy = curl_easy_init();
    lab_expand(url, LAB_STRICT, &text);
    buf_byte(&text, '\0');
    if (variable)
        setenv(variable, value, 1);
    curl_easy_setopt(easy, CURLOPT_URL, text.data);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)scaled_ms(PATIENCE_MS));
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, forget);
    (void)curl_easy_perform(easy);
    curl_easy_cleanup(easy);
    if (variable)
        unsetenv(variable);
    buf_done(&text);
    return lab_canary_hits() > before;
}

static bool is_about_places(const char *code)
{
    return strcmp(code, "blocked_address") == 0 || strcmp(code, "host_not_allowed") == 0 ||
           strcmp(code, "port_not_allowed") == 0 || strcmp(code, "loop_detected") == 0;
}

struct naive_result naive_run(const struct trial_group *group)
{
    struct naive_result result = { 0 };
    for (size_t i = 0; i < group->count; i++) {
        const struct trial *trial = &group->trials[i];
        if (!trial->url || !is_about_places(trial->expect))
            continue;
        result.tried++;
        result.reached += naive_reaches_canary(trial->url, NULL, NULL);
    }
    return result;
}
