/* log/merge.h -- several tables and runs read as one: key order, of equal keys the newest row.
 *
 * Owns:   its places in the sources. Borrows: the sources, until merge_close.
 * Thread: a worker's when runs are among the sources.
 * Errors: in err, and valid is false: ERR_CORRUPT, ERR_IO. */
#ifndef LOG_MERGE_H_
#define LOG_MERGE_H_

#include "log/memtable.h"
#include "log/run.h"

struct merge_source; /* Opaque. */

struct merge {
    bool valid;                   /* row is one. */
    int err;                      /* 0 at the end. */
    struct row row;               /* Borrowed until the next call. */
    struct merge_source *sources; /* Private, as the rest. */
    unsigned count, room;
};

/* For at most this many sources, which are added newest first. */
void merge_init(struct merge *merge, unsigned sources_max);
void merge_add_table(struct merge *merge, const struct memtable *table);
void merge_add_run(struct merge *merge, struct run *run, bool keep_blocks);
/* Stand at the first row whose key is at least key; may be called again. */
void merge_seek(struct merge *merge, struct slice key);
void merge_next(struct merge *merge); /* From a valid row. */
void merge_close(struct merge *merge);

#endif /* LOG_MERGE_H_ */
