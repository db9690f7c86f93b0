/* A hash table with open addressing that never grows and never forgets: half of its slots are the limit. */
#include "tests/support/origin_keys.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 1 << 16, KEYS_MAX = SLOTS / 2 };

struct slot {
    char *key; /* NULL: free */
    size_t len;
    uint64_t seen;
};

struct origin_keys {
    pthread_mutex_t lock; /* guards the two below */
    size_t count;
    struct slot slots[SLOTS];
};

struct origin_keys *origin_keys_create(void)
{
    struct origin_keys *keys = calloc(1, sizeof *keys);
    if (keys)
        pthread_mutex_init(&keys->lock, NULL);
    return keys;
}

void origin_keys_free(struct origin_keys *keys)
{
    if (!keys)
        return;
    for (size_t i = 0; i < SLOTS && keys->count > 0; i++)
        free(keys->slots[i].key);
    pthread_mutex_destroy(&keys->lock);
    free(keys);
}

/* The key's slot, or the free one where it belongs. FNV-1a. */
static struct slot *find(struct origin_keys *keys, const char *key, size_t len)
{
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)key[i]) * 0x100000001b3;
    for (size_t at = hash % SLOTS;; at = (at + 1) % SLOTS) {
        struct slot *slot = &keys->slots[at];
        if (!slot->key || (slot->len == len && memcmp(slot->key, key, len) == 0))
            return slot;
    }
}

uint64_t origin_keys_see(struct origin_keys *keys, const char *key, size_t len)
{
    pthread_mutex_lock(&keys->lock);
    struct slot *slot = find(keys, key, len);
    if (!slot->key) {
        slot->key = malloc(len + 1);
        if (!slot->key || keys->count == KEYS_MAX)
            abort();
        memcpy(slot->key, key, len);
        slot->len = len;
        keys->count++;
    }
    uint64_t seen = ++slot->seen;
    pthread_mutex_unlock(&keys->lock);
    return seen;
}

uint64_t origin_keys_seen(struct origin_keys *keys, const char *key, size_t len)
{
    pthread_mutex_lock(&keys->lock);
    uint64_t seen = find(keys, key, len)->seen;
    pthread_mutex_unlock(&keys->lock);
    return seen;
}
