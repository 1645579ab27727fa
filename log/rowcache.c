/* log/rowcache.c -- see rowcache.h. A hash table of rows, and a list of them by last use.
 *
 * Invariant: bytes counts every row there is, also forgotten ones that a pin keeps. */
#include "log/rowcache.h"

#include <stdlib.h>

#include "log/pack.h"

enum {
    SLOTS_FIRST = 256,
    ROWCACHE_FLOOR_BYTES = 64 * 1024, /* Kept even when the budget is used up. */
};

struct cached_row {
    struct cached_row *next;          /* Of the same slot. */
    struct cached_row *newer, *older; /* By last use. */
    index_t index;
    uint32_t hash, value_len;
    uint32_t pins;
    uint16_t key_len;
    uint8_t flags;
    bool present, known; /* known: still to be found. */
    uint8_t bytes[];     /* Key, value. */
};

struct rowcache {
    struct store_budget *budget;
    size_t limit_bytes, bytes;
    struct cached_row **slots;
    size_t slots_count, rows_count;
    struct cached_row *newest, *oldest;
};

struct rowcache *rowcache_create(struct store_budget *budget, size_t limit_bytes)
{
    struct rowcache *cache = mem_zero(sizeof(*cache));
    cache->budget = budget;
    cache->limit_bytes = limit_bytes;
    cache->slots_count = SLOTS_FIRST;
    cache->slots = mem_zero(SLOTS_FIRST * sizeof(struct cached_row *));
    return cache;
}

static size_t cached_bytes(const struct cached_row *cached)
{
    return sizeof(*cached) + cached->key_len + cached->value_len;
}

static struct slice cached_key(const struct cached_row *cached)
{
    return (struct slice){cached->bytes, cached->key_len};
}

static void use_unlink(struct rowcache *cache, struct cached_row *cached)
{
    *(cached->newer == NULL ? &cache->newest : &cached->newer->older) = cached->older;
    *(cached->older == NULL ? &cache->oldest : &cached->older->newer) = cached->newer;
}

static void use_now(struct rowcache *cache, struct cached_row *cached)
{
    cached->newer = NULL;
    cached->older = cache->newest;
    *(cache->newest == NULL ? &cache->oldest : &cache->newest->newer) = cached;
    cache->newest = cached;
}

static void cached_free(struct rowcache *cache, struct cached_row *cached)
{
    CHECK(cached->pins == 0 && !cached->known);
    cache->bytes -= cached_bytes(cached);
    cache->budget->used_bytes -= cached_bytes(cached);
    free(cached);
}

static struct cached_row **slot_of(struct rowcache *cache, uint32_t hash)
{
    return &cache->slots[hash & (cache->slots_count - 1)];
}

/* Not to be found any more; freed when nobody pins it. */
static void cached_drop(struct rowcache *cache, struct cached_row *cached)
{
    struct cached_row **at = slot_of(cache, cached->hash);
    while (*at != cached)
        at = &(*at)->next;
    *at = cached->next;
    use_unlink(cache, cached);
    cache->rows_count--;
    cached->known = false;
    if (cached->pins == 0) cached_free(cache, cached);
}

static bool rowcache_full(const struct rowcache *cache)
{
    if (cache->bytes <= ROWCACHE_FLOOR_BYTES) return false;
    return cache->bytes > cache->limit_bytes ||
           cache->budget->used_bytes > cache->budget->limit_bytes;
}

/* Pinned rows are passed over. They are the newest of all as a rule, so few are met. */
static void rowcache_shrink(struct rowcache *cache)
{
    struct cached_row *cached = cache->oldest;
    while (cached != NULL && rowcache_full(cache)) {
        struct cached_row *newer = cached->newer;
        if (cached->pins == 0) cached_drop(cache, cached);
        cached = newer;
    }
}

void rowcache_clear(struct rowcache *cache)
{
    while (cache->oldest != NULL)
        cached_drop(cache, cache->oldest);
}

void rowcache_destroy(struct rowcache *cache)
{
    rowcache_clear(cache);
    CHECK(cache->bytes == 0);
    free(cache->slots);
    free(cache);
}

static struct cached_row *find_hashed(struct rowcache *cache, struct slice key, uint32_t hash)
{
    struct cached_row *cached = *slot_of(cache, hash);
    while (cached != NULL && (cached->hash != hash || !slice_equal(cached_key(cached), key)))
        cached = cached->next;
    return cached;
}

struct cached_row *rowcache_find(struct rowcache *cache, struct slice key)
{
    if (cache->rows_count == 0) return NULL;
    struct cached_row *cached = find_hashed(cache, key, (uint32_t)hash64(key));
    if (cached == NULL) return NULL;
    use_unlink(cache, cached);
    use_now(cache, cached);
    return cached;
}

static void slots_double(struct rowcache *cache)
{
    struct cached_row **old = cache->slots;
    size_t old_count = cache->slots_count;
    cache->slots_count = 2 * old_count;
    cache->slots = mem_zero(cache->slots_count * sizeof(struct cached_row *));
    for (size_t i = 0; i < old_count; i++)
        while (old[i] != NULL) {
            struct cached_row *cached = old[i];
            struct cached_row **slot = slot_of(cache, cached->hash);
            old[i] = cached->next;
            cached->next = *slot;
            *slot = cached;
        }
    free(old);
}

struct cached_row *rowcache_add(struct rowcache *cache, const struct row *row, bool present)
{
    uint32_t hash = (uint32_t)hash64(row->key);
    struct slice value = present ? row->value : (struct slice){NULL, 0};
    CHECK(find_hashed(cache, row->key, hash) == NULL);
    struct cached_row *cached = mem_alloc(sizeof(*cached) + row->key.len + value.len);
    *cached = (struct cached_row){
        .index = row->index,
        .hash = hash,
        .value_len = (uint32_t)value.len,
        .pins = 1,
        .key_len = (uint16_t)row->key.len,
        .flags = row->flags,
        .present = present,
        .known = true,
    };
    memcpy(cached->bytes, row->key.data, row->key.len);
    if (value.len != 0) memcpy(cached->bytes + row->key.len, value.data, value.len);
    cache->bytes += cached_bytes(cached);
    cache->budget->used_bytes += cached_bytes(cached);
    cached->next = *slot_of(cache, hash);
    *slot_of(cache, hash) = cached;
    use_now(cache, cached);
    if (++cache->rows_count > cache->slots_count) slots_double(cache);
    rowcache_shrink(cache);
    return cached;
}

void rowcache_forget(struct rowcache *cache, struct slice key)
{
    if (cache->rows_count == 0) return;
    struct cached_row *cached = find_hashed(cache, key, (uint32_t)hash64(key));
    if (cached != NULL) cached_drop(cache, cached);
}

void rowcache_pin(struct cached_row *cached)
{
    cached->pins++;
}

void rowcache_unpin(struct rowcache *cache, struct cached_row *cached)
{
    CHECK(cached->pins > 0);
    if (--cached->pins > 0) return;
    if (!cached->known)
        cached_free(cache, cached);
    else
        rowcache_shrink(cache);
}

bool cached_row_get(const struct cached_row *cached, struct row *out)
{
    if (!cached->present) return false;
    *out = (struct row){cached_key(cached),
                        {cached->bytes + cached->key_len, cached->value_len},
                        cached->index,
                        cached->flags};
    return true;
}

size_t rowcache_bytes(const struct rowcache *cache)
{
    return cache->bytes;
}
