/* log/run.h -- a run: rows in key order in one immutable file, each key once.
 *
 * A writer adds rows in order and ends with a footer; a run is then opened, and read by key or in
 * order. Every byte read is covered by a checksum: what is damaged is never served.
 *
 * Owns:   its file. Borrows: env and the block cache, both longer-lived.
 * Thread: a writer, and all reading, belong to workers; a run is immutable and read by many at
 *         once. References are counted on the loop.
 * Errors: ERR_CORRUPT, ERR_IO, ERR_NO_SPACE, ERR_VERSION.
 * Format: log/FORMAT.md, chapter Run. */
#ifndef LOG_RUN_H_
#define LOG_RUN_H_

#include "log/cache.h"
#include "log/run_block.h"

/* ---- writing ---- */

struct run_writer; /* Opaque. */

/* Makes the file anew. id: names the run for ever, never given twice. */
MUST_CHECK int run_writer_open(struct env *env, const char *path, uint64_t id,
                               struct run_writer **out);
/* row: copied; its key is larger than the one before. */
MUST_CHECK int run_writer_add(struct run_writer *writer, const struct row *row);
/* Write index, filter and footer, and sync the file; it holds commit indexes (from, to]. */
MUST_CHECK int run_writer_finish(struct run_writer *writer, index_t from, index_t to,
                                 uint64_t *file_bytes);
void run_writer_close(struct run_writer *writer); /* The file stays; NULL is fine. */

/* ---- reading ---- */

struct run; /* Opaque; one reference by run_open. */

/* Blocks: reads head, tail and footer. path: copied. bytes: the file's length as the manifest says,
 * another is ERR_CORRUPT. id: likewise. damage: counts blocks found damaged, atomically; borrowed.
 */
MUST_CHECK int run_open(struct env *env, struct cache *cache, const char *path, uint64_t id,
                        uint64_t bytes, _Atomic uint64_t *damage, struct run **out);
void run_ref(struct run *run);
/* The last one closes the file, and deletes it when it is doomed. */
void run_unref(struct run *run);
void run_doom(struct run *run, bool doomed);
const struct run_footer *run_facts(const struct run *run); /* top: empty. */
uint64_t run_file_bytes(const struct run *run);

enum run_answer { RUN_ABSENT = 0, RUN_MAYBE = 1 };
/* By the filter: RUN_ABSENT, RUN_MAYBE or an error. Loop's thread with wait false: ERR_BUSY when
 * the filter's block is not in memory. */
MUST_CHECK int run_may_have(struct run *run, uint64_t stream_hash, bool wait);

/* A place in a run, with the blocks it stands in held. */
struct run_iter {
    struct run *run;
    bool keep;                         /* Blocks read stay in the cache. */
    int err;                           /* What stopped it: 0 at the end. */
    bool valid;                        /* row holds a row. */
    struct row row;                    /* Borrowed until the next call. */
    struct block *index_block, *block; /* Private, as the rest. */
    struct rows_reader top, index, rows;
};
/* Stand at the first row whose key is at least key; borrows run until run_iter_close. */
void run_iter_open(struct run_iter *iter, struct run *run, struct slice key, bool keep);
void run_iter_next(struct run_iter *iter);
void run_iter_close(struct run_iter *iter);

/* Read the whole file and check all of it: order, counts, filter, indexes within (from, to]. */
MUST_CHECK int run_verify(struct run *run);

#endif /* LOG_RUN_H_ */
