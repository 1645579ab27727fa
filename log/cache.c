/* log/cache.c -- see cache.h. A hash table of blocks and a list of them by last use, one lock.
 *
 * Invariant: bytes counts every block there is, held or kept; the budget counts the same. */
#include "log/cache.h"

#include <pthread.h>
#include <stdlib.h>

#include "log/pack.h"

enum {
    CACHE_SLOTS = 1024,             /* 32 MiB of blocks, one a slot. */
    CACHE_FLOOR_BYTES = 512 * 1024, /* Kept even when the budget is used up: index and filters. */
};

struct cache {
    pthread_mutex_t lock;
    struct store_budget *budget;
    size_t limit_bytes, bytes;
    struct block *newest, *oldest;
    struct block *slots[CACHE_SLOTS];
};

struct cache *cache_create(struct store_budget *budget, size_t limit_bytes)
{
    struct cache *cache = mem_zero(sizeof(*cache));
    CHECK(pthread_mutex_init(&cache->lock, NULL) == 0);
    cache->budget = budget;
    cache->limit_bytes = limit_bytes;
    return cache;
}

static struct block **slot_of(struct cache *cache, uint64_t run_id, uint64_t offset)
{
    uint64_t place[2] = {run_id, offset};
    return &cache->slots[hash64((struct slice){place, sizeof(place)}) % CACHE_SLOTS];
}

static size_t block_bytes(const struct block *block)
{
    return sizeof(*block) + block->bytes.len;
}

static void block_free(struct cache *cache, struct block *block)
{
    CHECK(block->holds == 0 && !block->kept);
    cache->bytes -= block_bytes(block);
    cache->budget->used_bytes -= block_bytes(block);
    free((void *)block->bytes.data);
    free(block);
}

/* Out of the list by use. */
static void use_unlink(struct cache *cache, struct block *block)
{
    *(block->newer == NULL ? &cache->newest : &block->newer->older) = block->older;
    *(block->older == NULL ? &cache->oldest : &block->older->newer) = block->newer;
}

static void use_now(struct cache *cache, struct block *block)
{
    block->newer = NULL;
    block->older = cache->newest;
    *(cache->newest == NULL ? &cache->oldest : &cache->newest->newer) = block;
    cache->newest = block;
}

static void block_drop(struct cache *cache, struct block *block)
{
    struct block **at = slot_of(cache, block->run_id, block->offset);
    while (*at != block)
        at = &(*at)->next;
    *at = block->next;
    use_unlink(cache, block);
    block->kept = false;
    if (block->holds == 0) block_free(cache, block);
}

static bool cache_full(const struct cache *cache)
{
    if (cache->bytes <= CACHE_FLOOR_BYTES) return false;
    return cache->bytes > cache->limit_bytes ||
           cache->budget->used_bytes > cache->budget->limit_bytes;
}

/* Held blocks are passed over: dropping them would free nothing now. */
static void cache_shrink(struct cache *cache)
{
    struct block *block = cache->oldest;
    while (block != NULL && cache_full(cache)) {
        struct block *newer = block->newer;
        if (block->holds == 0) block_drop(cache, block);
        block = newer;
    }
}

void cache_destroy(struct cache *cache)
{
    while (cache->oldest != NULL)
        block_drop(cache, cache->oldest);
    CHECK(cache->bytes == 0);
    CHECK(pthread_mutex_destroy(&cache->lock) == 0);
    free(cache);
}

static struct block *find_locked(struct cache *cache, uint64_t run_id, uint64_t offset)
{
    struct block *block = *slot_of(cache, run_id, offset);
    while (block != NULL && (block->run_id != run_id || block->offset != offset))
        block = block->next;
    if (block == NULL) return NULL;
    block->holds++;
    use_unlink(cache, block);
    use_now(cache, block);
    return block;
}

struct block *cache_find(struct cache *cache, uint64_t run_id, uint64_t offset)
{
    pthread_mutex_lock(&cache->lock);
    struct block *block = find_locked(cache, run_id, offset);
    pthread_mutex_unlock(&cache->lock);
    return block;
}

struct block *cache_add(struct cache *cache, uint64_t run_id, uint64_t offset, struct buf *bytes,
                        bool keep)
{
    pthread_mutex_lock(&cache->lock);
    struct block *block = keep ? find_locked(cache, run_id, offset) : NULL;
    if (block != NULL) {
        buf_free(bytes);
    } else {
        block = mem_alloc(sizeof(*block));
        *block = (struct block){
            .bytes = buf_bytes(bytes), .run_id = run_id, .offset = offset, .holds = 1};
        *bytes = (struct buf){0};
        cache->bytes += block_bytes(block);
        cache->budget->used_bytes += block_bytes(block);
        if (keep) {
            struct block **slot = slot_of(cache, run_id, offset);
            block->kept = true;
            block->next = *slot;
            *slot = block;
            use_now(cache, block);
        }
    }
    cache_shrink(cache);
    pthread_mutex_unlock(&cache->lock);
    return block;
}

void cache_release(struct cache *cache, struct block *block)
{
    if (block == NULL) return;
    pthread_mutex_lock(&cache->lock);
    CHECK(block->holds > 0);
    block->holds--;
    if (block->holds == 0 && !block->kept) block_free(cache, block);
    pthread_mutex_unlock(&cache->lock);
}

size_t cache_bytes(struct cache *cache)
{
    pthread_mutex_lock(&cache->lock);
    size_t bytes = cache->bytes;
    pthread_mutex_unlock(&cache->lock);
    return bytes;
}
