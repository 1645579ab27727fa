/* log/cache.h -- blocks of runs, unpacked and checked, kept while there is room for them.
 *
 * Owns:   the blocks, each for as long as somebody holds it or there is room.
 * Thread: any; a lock inside. Borrows the budget, whose used_bytes it moves.
 * Units:  bytes of block contents. */
#ifndef LOG_CACHE_H_
#define LOG_CACHE_H_

#include "log/store.h"

struct cache; /* Opaque. */

/* Immutable bytes; hold by cache_find or cache_add, let go by cache_release. */
struct block {
    struct slice bytes;          /* Owned by the block. */
    uint64_t run_id, offset;     /* Private: the place they were read from. */
    unsigned holds;              /* Private, under the cache's lock, like all that follows. */
    bool kept;                   /* Still to be found. */
    struct block *next;          /* Of the same slot. */
    struct block *newer, *older; /* By last use. */
};

/* At most limit_bytes stay when nobody holds them, fewer when the budget is used up. */
struct cache *cache_create(struct store_budget *budget, size_t limit_bytes);
void cache_destroy(struct cache *cache); /* No block is held any more. */

/* NULL when it is not here. */
struct block *cache_find(struct cache *cache, uint64_t run_id, uint64_t offset);
/* bytes: taken; keep: others may want it. The block, held; that of another thread which came
 * first when there is one. */
struct block *cache_add(struct cache *cache, uint64_t run_id, uint64_t offset, struct buf *bytes,
                        bool keep);
void cache_release(struct cache *cache, struct block *block); /* NULL is fine. */
size_t cache_bytes(struct cache *cache);

#endif /* LOG_CACHE_H_ */
