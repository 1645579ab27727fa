/* raft/table.h -- a hash table whose links live in what it holds.
 *
 * Owns:   its array of chains. Borrows: the links, from table_add to table_remove.
 * Thread: any, one at a time. Errors: none. It grows by doubling and never shrinks. */
#ifndef RAFT_TABLE_H_
#define RAFT_TABLE_H_

#include "log/base.h"

/* Embedded in what is held. Private to the table, but for hash. */
struct table_link {
    uint64_t hash; /* As given to table_add. */
    struct table_link *next;
};

/* All zeroes is an empty one. */
struct table {
    struct table_link **chains; /* Private. */
    size_t chains_count;        /* Private: 0, or a power of two. */
    size_t count;               /* Links held. */
};

void table_add(struct table *table, struct table_link *link, uint64_t hash);
void table_remove(struct table *table, struct table_link *link); /* It is held: checked. */
/* The first link with this hash, and the next one with the same; NULL when there is none. Who asks
 * compares keys. */
struct table_link *table_find(const struct table *table, uint64_t hash);
struct table_link *table_find_next(const struct table_link *link);
void table_free(struct table *table); /* Its links are not touched. */

#endif /* RAFT_TABLE_H_ */
