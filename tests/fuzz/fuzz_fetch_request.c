/* Any bytes as the body of POST /fetch: refused with one answer whose members are JSON, or read into a sound call. */
#include "tests/fuzz/fetch_exchange.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *body = malloc(size > 0 ? size : 1); /* exactly as long as it is: ASan watches its end */
    require(body != NULL);
    memcpy(body, data, size);
    try_body(body, size);
    free(body);
    return 0;
}
