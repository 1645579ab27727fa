/* log/checkpoint.c -- the memtable becomes a run, the manifest names it.
 *
 * Happy path: the memtable is frozen and another one grows (no row is copied); a worker writes the
 * frozen rows as one run, syncs it and renames the manifest; on the loop the run joins the view.
 * The written table stays as a cache, until the next one was written or memory is short, so that a
 * stream in use does not become cold with every checkpoint.
 * Failure modes: no space, or the like: the run is deleted, the rows stay in memory, and the next
 * checkpoint writes them with what gathered since. At most two frozen tables wait so.
 * Invariant: frozen.facts are those of the newest frozen table, so rows and facts written are of
 * one moment. */
#include <stdlib.h>

#include "log/store_impl.h"

enum { UNWRITTEN_MAX = 2 };

struct checkpoint_job {
    struct job job;
    struct store *store;
    struct env *env;
    const char *dir; /* The store's, which waits for this job. */
    struct view *view;
    struct manifest manifest; /* What is to hold afterwards. */
    bool rows;                /* There are some: manifest.runs[0] is to be written. */
    bool moved;               /* Facts alone are news too. */
    struct run *run;
    void (*done)(void *arg, int err);
    void *arg;
    int err;
};

static unsigned unwritten_count(const struct view *view)
{
    unsigned count = 0;
    for (unsigned i = 0; i < view->tables_count; i++)
        count += !view->tables[i].written;
    return count;
}

static void freeze(struct store *store)
{
    struct view_table tables[STORE_TABLES_MAX];
    unsigned count = store->view->tables_count;
    CHECK(count < STORE_TABLES_MAX);
    memtable_freeze(store->active);
    tables[0] = (struct view_table){.table = store->active};
    memcpy(tables + 1, store->view->tables, count * sizeof(tables[0]));
    store_view_set(store,
                   view_create(tables, count + 1, store->view->runs, store->view->runs_count));
    memtable_unref(store->active); /* The view has it. */
    store->active = memtable_create(store->budget);
}

/* ---- worker ---- */

static int run_fill(const struct view *view, struct run_writer *writer)
{
    struct merge merge;
    int err = 0;
    merge_init(&merge, view->tables_count);
    for (unsigned i = 0; i < view->tables_count; i++)
        if (!view->tables[i].written) merge_add_table(&merge, view->tables[i].table);
    for (merge_seek(&merge, (struct slice){NULL, 0}); merge.valid && err == 0; merge_next(&merge))
        err = run_writer_add(writer, &merge.row);
    merge_close(&merge);
    return err;
}

static int run_make(struct checkpoint_job *job, const char *path)
{
    struct run_writer *writer = NULL;
    struct manifest_run *run = &job->manifest.runs[0];
    int err = run_writer_open(job->env, path, run->id, &writer);
    if (err == 0) err = run_fill(job->view, writer);
    if (err == 0) err = run_writer_finish(writer, run->from, run->to, &run->bytes);
    run_writer_close(writer);
    if (err != 0) return err;
    return run_open(job->env, job->store->blocks, path, run->id, run->bytes,
                    &job->store->damage_count, &job->run);
}

static void checkpoint_run(struct job *base)
{
    struct checkpoint_job *job = CONTAINER_OF(base, struct checkpoint_job, job);
    char path[STORE_PATH_BYTES_MAX];
    if (job->err != 0) return; /* Refused before it began. */
    if (job->rows) {
        run_path(path, job->dir, job->manifest.runs[0].number);
        job->err = run_make(job, path);
    }
    if (job->err == 0 && (job->rows || job->moved))
        job->err = manifest_write(job->env, job->dir, &job->manifest);
    if (job->err == 0 || !job->rows) return;
    if (job->run != NULL)
        run_doom(job->run, true);
    else
        (void)!env_unlink(job->env, path); /* Or at the next start. */
}

/* ---- loop ---- */

/* The run is first of all now; what was written is only a cache from here on. */
static void view_advance(struct store *store, struct checkpoint_job *job)
{
    struct view *old = store->view;
    struct run **runs = mem_alloc((old->runs_count + 1) * sizeof(struct run *));
    runs[0] = job->run;
    for (unsigned i = 0; i < old->runs_count; i++)
        runs[i + 1] = old->runs[i];
    store_view_set(store, view_create(old->tables, old->tables_count, runs, old->runs_count + 1));
    free(runs);
    bool covered = store->budget->used_bytes > store->budget->limit_bytes;
    for (unsigned i = 0; i < store->view->tables_count; i++) {
        struct view_table *table = &store->view->tables[i];
        table->written = true; /* Only checkpoints freeze: all there are were written. */
        if (covered) store_table_leave(store, table);
        covered = true;
    }
    store_tables_trim(store);
}

static void checkpoint_done(struct job *base)
{
    struct checkpoint_job *job = CONTAINER_OF(base, struct checkpoint_job, job);
    struct store *store = job->store;
    store->checkpointing = false;
    if (job->err == 0) {
        manifest_free(&store->manifest);
        manifest_copy(&store->manifest, &job->manifest);
        store->checkpoints_count++;
        if (job->rows) view_advance(store, job);
    }
    job->done(job->arg, job->err);
}

static void checkpoint_release(struct job *base)
{
    struct checkpoint_job *job = CONTAINER_OF(base, struct checkpoint_job, job);
    if (job->run != NULL) run_unref(job->run);
    manifest_free(&job->manifest);
    view_unref(job->view);
}

static const struct job_kind checkpoint_kind = {checkpoint_run, checkpoint_done,
                                                checkpoint_release};

/* The manifest to write: facts of the last freeze, and a run in front when there are rows. */
static void manifest_plan(struct store *store, struct manifest *plan, bool rows)
{
    unsigned count = store->manifest.runs_count;
    manifest_copy(plan, &store->manifest);
    manifest_set_facts(plan, &store->frozen.facts);
    if (rows) {
        plan->runs = mem_resize(plan->runs, (count + 1) * sizeof(plan->runs[0]));
        memmove(plan->runs + 1, plan->runs, count * sizeof(plan->runs[0]));
        plan->runs[0] = (struct manifest_run){
            .number = store->run_next++,
            .id = env_random(store->env),
            .from = store->manifest.facts.index,
            .to = plan->facts.index,
        };
        plan->runs_count = count + 1;
    }
    plan->run_next = store->run_next;
}

/* Freeze what grew, unless enough waits to be written already. ERR_BUSY: tables that fetches count
 * on take all the room, until some are applied. ERR_NO_SPACE: the manifest names all it can. */
static int checkpoint_prepare(struct store *store, struct checkpoint_job *job)
{
    unsigned unwritten = unwritten_count(store->view);
    if (store->manifest.runs_count >= RUNS_MAX) return ERR_NO_SPACE;
    if (unwritten < UNWRITTEN_MAX) {
        bool grew = memtable_rows(store->active) > 0;
        if (grew && store->view->tables_count == STORE_TABLES_MAX) return ERR_BUSY;
        if (grew) freeze(store);
        unwritten += grew;
        manifest_set_facts(&store->frozen, &store->facts);
    }
    job->rows = unwritten > 0;
    job->moved = store->frozen.facts.index != store->manifest.facts.index;
    manifest_plan(store, &job->manifest, job->rows);
    return 0;
}

int store_checkpoint(struct store *store, void (*done)(void *arg, int err), void *arg)
{
    if (store->checkpointing || store->installing) return ERR_BUSY;
    struct checkpoint_job *job = mem_zero(sizeof(*job));
    job->store = store;
    job->env = store->env;
    job->dir = store->dir;
    job->done = done;
    job->arg = arg;
    job->err = checkpoint_prepare(store, job);
    job->view = store->view; /* With what was frozen just now. */
    view_ref(job->view);
    store->checkpointing = true;
    job_start(store->env, &store->jobs, &checkpoint_kind, &job->job);
    return 0;
}

bool store_checkpointing(const struct store *store)
{
    return store->checkpointing;
}
