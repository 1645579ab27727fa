/* log/manifest.h -- what a store's folder holds: facts and runs, in one small file that is replaced
 * whole. Its rename is the only commit point.
 *
 * Owns:   struct manifest's memory, until manifest_free. Thread: workers, or the loop at open.
 * Errors: ERR_CORRUPT, ERR_FOREIGN, ERR_VERSION, ERR_NO_SPACE, ERR_IO.
 * Format: log/FORMAT.md, chapter Manifest. */
#ifndef LOG_MANIFEST_H_
#define LOG_MANIFEST_H_

#include "log/store.h"

struct manifest_run {
    uint64_t number; /* Names the file, see run_path. */
    uint64_t id;     /* In the file's head and checksums. */
    uint64_t bytes;  /* Of the file. */
    index_t from, to;
};

struct manifest {
    uint64_t owner;
    part_t part;
    struct store_facts facts;  /* configuration: owned, in `configuration`. */
    struct buf configuration;  /* Set by manifest_set_facts and manifest_decode. */
    uint64_t run_next;         /* No run has this number or a higher one. */
    struct manifest_run *runs; /* Owned; newest first. */
    unsigned runs_count;
};

void manifest_set_facts(struct manifest *manifest, const struct store_facts *facts); /* Copied. */
void manifest_copy(struct manifest *to, const struct manifest *from); /* to: uninitialised. */
void manifest_free(struct manifest *manifest);
void manifest_encode(const struct manifest *manifest, struct buf *out);
/* out: uninitialised; on success the caller frees it. */
MUST_CHECK int manifest_decode(struct slice bytes, struct manifest *out);

/* Read the folder's manifest. ERR_NOT_FOUND: there is none. */
MUST_CHECK int manifest_read(struct env *env, const char *dir, struct manifest *out);
/* Write it aside, sync, sync the folder so that the runs it names are there, rename, sync the
 * folder. On error the old one holds; once renamed, nothing can fail but the last sync, which
 * stops the process. */
MUST_CHECK int manifest_write(struct env *env, const char *dir, const struct manifest *manifest);

enum { STORE_PATH_BYTES_MAX = 1024 };
/* The file of run `number`; ".run" is a name that the store deletes when no manifest has it. */
void run_path(char out[STORE_PATH_BYTES_MAX], const char *dir, uint64_t number);
/* True when name is one of the manifest's: the manifest itself, or a run of it. */
bool manifest_names(const struct manifest *manifest, const char *name);

#endif /* LOG_MANIFEST_H_ */
