/* log/view.h -- what a store consists of beside the memtable that grows: frozen memtables and runs,
 * newest first. A view never changes; a new one takes its place, and readers keep what they hold.
 *
 * Owns:   references to its tables and runs. Thread: references are counted on the loop; workers
 *         read through a view that the loop holds for them. */
#ifndef LOG_VIEW_H_
#define LOG_VIEW_H_

#include "log/memtable.h"
#include "log/merge.h"
#include "log/rowcache.h"
#include "log/run.h"

struct view_table {
    struct memtable *table;
    bool written; /* Its rows are in a run too; it stays for who counts on them, or as a cache. */
    bool leaving; /* Stays only until every fetch up to `until` was applied. */
    uint64_t until;
};

struct view {
    unsigned refs;
    unsigned tables_count, runs_count;
    struct view_table tables[STORE_TABLES_MAX];
    struct run *runs[]; /* runs_count of them. */
};

/* Takes a reference to each table and run; comes with one itself. */
struct view *view_create(const struct view_table *tables, unsigned tables_count,
                         struct run *const *runs, unsigned runs_count);
void view_ref(struct view *view);
void view_unref(struct view *view);

/* ---- reading rows through a view ---- */

/* A way to read: on the loop what memory has, on a worker everything. */
struct reading {
    const struct memtable *active; /* Newest rows: on the loop the one that grows, on a worker a
                                      copy of what matters of it. */
    const struct view *view;
    struct rowcache *rows; /* On the loop alone; otherwise NULL. */
    bool wait;             /* Runs may be read: on a worker. */
    struct buf scratch;    /* Private: the last row from a run. */
};

/* 1: *out is the newest row, borrowed until the next call or a change; 0: there is none.
 * ERR_BUSY: memory does not tell (never with wait). ERR_CORRUPT, ERR_IO. */
MUST_CHECK int reading_get(struct reading *reading, struct slice key, struct row *out);
/* Of memory alone, the row cache left out: is there a row in a table? */
bool reading_in_tables(const struct reading *reading, struct slice key, struct row *out);
/* Whether runs may have rows of a stream: RUN_ABSENT, RUN_MAYBE, or an error as above. */
MUST_CHECK int reading_in_runs(const struct reading *reading, struct slice stream);
/* Add all that may have rows of stream to merge (uninitialised); the caller seeks, and closes it
 * when this succeeded. Errors as above. */
MUST_CHECK int reading_merge(const struct reading *reading, struct slice stream,
                             struct merge *merge);
void reading_end(struct reading *reading);

/* Does a check hold? 1, 0, or an error as above. head: of the stream, version 0 when there is
 * none. *version: the attribute's, when it is a TXN_IF_VERSION. */
MUST_CHECK int reading_check(struct reading *reading, struct slice stream,
                             const struct stream_head *head, const struct txn_check *check,
                             uint64_t *version);

#endif /* LOG_VIEW_H_ */
