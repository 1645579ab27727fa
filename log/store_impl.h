/* log/store_impl.h -- what the files of the store share: its one struct. Private to them.
 *
 * store.c opens and closes, fetch.c and apply.c change it, query.c reads it, checkpoint.c writes it
 * down, delta.c and install.c carry it to another node. */
#ifndef LOG_STORE_IMPL_H_
#define LOG_STORE_IMPL_H_

#include "log/job.h"
#include "log/manifest.h"
#include "log/sha.h"
#include "log/view.h"

struct fetch_job; /* fetch.c */
struct answer;    /* query.c */

struct store {
    struct env *env;
    char *dir;
    struct store_budget *budget;
    struct cache *blocks;
    struct rowcache *rows;
    struct memtable *active;  /* Grows. */
    struct view *view;        /* The rest; its runs are the manifest's, in the same order. */
    struct manifest manifest; /* As it is on the disk. */
    struct manifest frozen;   /* Its facts: as of the last freeze, what a checkpoint writes. */
    uint64_t run_next;        /* At least the manifest's: files under way have numbers too. */

    struct store_facts facts; /* As applied; configuration points into the buffer below. */
    struct buf configuration;

    struct job_list jobs;
    struct fetch_job *fetch_first, *fetch_last; /* Not applied yet, in log order. */
    uint64_t fetches_made;
    struct answer *answers; /* From memory, to be told at the end of this turn. */
    struct answer **answers_end;
    struct env_task answers_task;
    bool checkpointing, installing;
    unsigned tables_leaving; /* Of the view. */

    /* Kept between transactions, so that applying allocates little. */
    struct sha sha;
    struct buf scratch, header, value;

    uint64_t rows_fetched, checkpoints_count;
    _Atomic uint64_t damage_count;
};

/* What the loop reads with; reading_end ends it. */
struct reading store_reading(struct store *store);

/* Put another view in the place of the present one, whose reference is taken over. */
void store_view_set(struct store *store, struct view *view);
/* Let go of tables that are leaving and that no fetch counts on any more. */
void store_tables_trim(struct store *store);
/* Mark the table for that. */
void store_table_leave(struct store *store, struct view_table *table);
/* Set the applied facts; everything is copied. */
void store_facts_set(struct store *store, const struct store_facts *facts);

/* fetch.c: the entry fetched first is about to be applied; NULL never. Then it was. */
struct fetch_job *fetch_begin(struct store *store);
void fetch_end(struct store *store, struct fetch_job *job);
void fetch_free_all(struct store *store);
uint64_t fetch_oldest(const struct store *store); /* Number of the first not applied; or max. */
bool fetch_waits(const struct store *store);      /* A worker reads for one. */
/* Append the seqs of records in runs that are DEPENDENT on ref, as u64, as the fetch found them. */
void fetch_dependents(const struct fetch_job *job, struct slice stream, seq_t ref,
                      struct buf *seqs);

/* query.c */
void answers_init(struct store *store);
void answers_free(struct store *store); /* Nobody is told. */

#endif /* LOG_STORE_IMPL_H_ */
