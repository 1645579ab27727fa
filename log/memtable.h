/* log/memtable.h -- the rows changed since a checkpoint, sorted, in memory; one per key, the
 * newest.
 *
 * A skip list in key order, and beside it a hash table, since most looks are for one key. Frozen,
 * it changes no more, so that workers walk it while the loop fills the next one.
 *
 * Owns:   copies of all keys and values, in chunks freed with the table.
 * Thread: the loop's while it grows; any once frozen. References are counted on the loop. */
#ifndef LOG_MEMTABLE_H_
#define LOG_MEMTABLE_H_

#include "log/row.h"

struct memtable; /* Opaque. Made by memtable_create, gone with its last reference. */
struct memtable_node;

struct memtable *memtable_create(struct store_budget *budget); /* One reference; budget borrowed. */
void memtable_ref(struct memtable *table);
void memtable_unref(struct memtable *table);

/* Put a row (copied) in the place of an older one with its key. True when the key is new here.
 * before: NULL, or a key that may well be the next smaller one in the table: it saves a search. */
bool memtable_put(struct memtable *table, const struct row *row, const struct row_key *before);
/* The row of key, borrowed until the next put or the table's end; false when there is none. */
bool memtable_get(const struct memtable *table, struct slice key, struct row *out);

void memtable_freeze(struct memtable *table); /* No put follows. */
size_t memtable_bytes(const struct memtable *table);
size_t memtable_rows(const struct memtable *table);

/* A place in key order; valid while nothing is put. */
struct memtable_iter {
    const struct memtable_node *node; /* Private: NULL at the end. */
};
/* Go to the first row whose key is at least key. */
void memtable_seek(const struct memtable *table, struct slice key, struct memtable_iter *iter);
bool memtable_row(const struct memtable_iter *iter, struct row *out); /* False at the end. */
void memtable_step(struct memtable_iter *iter);                       /* Not at the end. */

#endif /* LOG_MEMTABLE_H_ */
