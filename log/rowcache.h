/* log/rowcache.h -- single rows that were read from runs, and the absence of others.
 *
 * Only keys that no memtable holds are here (but those that leave, whose rows are the same);
 * whoever puts one into a memtable makes the cache forget it. A pinned row stays readable through
 * its pin, also when forgotten.
 *
 * Owns:   copies of keys and values. Thread: the loop's. Borrows the budget. */
#ifndef LOG_ROWCACHE_H_
#define LOG_ROWCACHE_H_

#include "log/row.h"

struct rowcache;   /* Opaque. */
struct cached_row; /* Opaque; valid while pinned, or until the next call that may evict. */

struct rowcache *rowcache_create(struct store_budget *budget, size_t limit_bytes);
void rowcache_destroy(struct rowcache *cache); /* Nothing is pinned any more. */
void rowcache_clear(struct rowcache *cache);   /* Forget all. */

struct cached_row *rowcache_find(struct rowcache *cache, struct slice key); /* NULL: not known. */
/* Remember a row, or with present false that there is none of row->key; copied. Nothing is known
 * of that key. The row comes pinned once. */
struct cached_row *rowcache_add(struct rowcache *cache, const struct row *row, bool present);
void rowcache_forget(struct rowcache *cache, struct slice key);
void rowcache_pin(struct cached_row *cached);
void rowcache_unpin(struct rowcache *cache, struct cached_row *cached); /* May evict. */
/* False: known to be absent. Slices are borrowed from it. */
bool cached_row_get(const struct cached_row *cached, struct row *out);
size_t rowcache_bytes(const struct rowcache *cache);

#endif /* LOG_ROWCACHE_H_ */
