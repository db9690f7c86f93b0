#include <string.h>

#include "handlers/handler.h"

const char *exchange_query(const struct exchange *x, const char *name)
{
    for (size_t i = 0; i < x->query_count; i++)
        if (strcmp(x->query[i].name, name) == 0)
            return x->query[i].value;
    return NULL;
}
