/* Any bytes as names and values of a URL's headers, with a byte 0xff between them: no accepted header can become
 * anything but one header line. */
#include <cjson/cJSON.h>

#include "tests/fuzz/fetch_exchange.h"

/* The bytes up to the next 0xff as a text; NULL at the end. */
static char *next_text(const uint8_t **at, const uint8_t *end)
{
    if (*at >= end)
        return NULL;
    const uint8_t *stop = memchr(*at, 0xff, (size_t)(end - *at));
    size_t len = (size_t)((stop ? stop : end) - *at);
    char *text = malloc(len + 1);
    require(text != NULL);
    memcpy(text, *at, len);
    text[len] = '\0';
    *at = stop ? stop + 1 : end;
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *at = data, *end = data + size;
    cJSON *body = cJSON_CreateObject(), *headers = cJSON_AddObjectToObject(body, "headers");
    cJSON_AddStringToObject(body, "url", "http://h/");
    char *name, *value;
    while ((name = next_text(&at, end)) != NULL) {
        value = next_text(&at, end);
        cJSON_AddStringToObject(headers, name, value ? value : "");
        free(name);
        free(value);
    }
    char *text = cJSON_PrintUnformatted(body);
    require(text != NULL);
    try_body(text, strlen(text));
    cJSON_free(text);
    cJSON_Delete(body);
    return 0;
}
