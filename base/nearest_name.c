/* nearest_name: Levenshtein distance with one row of the matrix (Wagner and Fischer 1974). Names are short, so its
 * quadratic cost does not matter. */
#include "base/nearest_name.h"

#include <string.h>

static unsigned least_of(unsigned a, unsigned b, unsigned c)
{
    unsigned least = a < b ? a : b;
    return least < c ? least : c;
}

/* Both shorter than NEAREST_NAME_MAX. */
static unsigned edit_distance(const char *from, const char *to)
{
    unsigned row[NEAREST_NAME_MAX];
    size_t to_len = strlen(to);
    for (size_t j = 0; j <= to_len; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; from[i - 1] != '\0'; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= to_len; j++) {
            unsigned replaced = diagonal + (from[i - 1] != to[j - 1]);
            diagonal = row[j];
            row[j] = least_of(row[j] + 1, row[j - 1] + 1, replaced);
        }
    }
    return row[to_len];
}

void nearest_name_start(struct nearest_name *nearest, const char *typed)
{
    nearest->typed = typed;
    nearest->distance = (unsigned)strlen(typed) / 3 + 1;
    nearest->name[0] = '\0';
}

void nearest_name_offer(struct nearest_name *nearest, const char *name)
{
    size_t len = strlen(name);
    if (len >= NEAREST_NAME_MAX || strlen(nearest->typed) >= NEAREST_NAME_MAX)
        return;
    unsigned distance = edit_distance(nearest->typed, name);
    if (distance > nearest->distance || (distance == nearest->distance && nearest->name[0] != '\0'))
        return;
    nearest->distance = distance;
    memcpy(nearest->name, name, len + 1);
}
