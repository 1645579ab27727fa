/* log/install.c -- another node's delta becomes this store's state.
 *
 * Happy path: bytes gather and a worker writes them; at the end it syncs the file and checks every
 * block of it, so that nothing damaged is ever installed; the commit renames a manifest that names
 * the file, alone or beside the runs there are, and the loop swaps the view.
 * Failure modes: whatever fails before the rename leaves the store as it was; the file is deleted,
 * at the latest at the next start.
 * Invariant: one job of an install is under way at most; cancelling waits for it. */
#include <stdlib.h>

#include "log/store_impl.h"

struct store_install {
    struct store *store;
    struct manifest manifest; /* Its facts alone: the sender's. */
    index_t from;
    struct manifest_run named; /* How the manifest will name the file. */
    struct env_file *file;     /* Opened by the first job that writes. */
    struct buf pending;        /* Came, and is not written. */
    size_t writing_bytes;      /* Of the job under way. */
    struct run *run;           /* Once it is checked. */
    bool busy, canceled, finishing;
    int err;
    void (*done)(void *arg, int err); /* Of finish, then of commit. */
    void *arg;
};

/* Writes what gathered; the last one checks the file as well. */
struct write_job {
    struct job job;
    struct store_install *install; /* NULL once it may be gone. */
    struct buf bytes;
    bool check;
    int err;
};

struct commit_job {
    struct job job;
    struct store_install *install;
    struct manifest manifest; /* What is to hold afterwards. */
    int err;
};

static void install_path(const struct store_install *install, char out[STORE_PATH_BYTES_MAX])
{
    run_path(out, install->store->dir, install->named.number);
}

/* Frees all; the file goes unless a view has the run. */
static void install_free(struct store_install *install)
{
    char path[STORE_PATH_BYTES_MAX];
    struct env *env = install->store->env;
    if (install->file != NULL) env_file_close(env, install->file);
    if (install->run != NULL) {
        run_unref(install->run);
    } else {
        install_path(install, path);
        (void)!env_unlink(env, path); /* It may not be there at all. */
    }
    buf_free(&install->pending);
    manifest_free(&install->manifest);
    free(install);
}

int store_install_begin(struct store *store, const struct store_facts *facts, index_t from,
                        struct store_install **out)
{
    if (from > store->manifest.facts.index || from > facts->index) return ERR_INVAL;
    if (facts->configuration.len > STORE_CONFIGURATION_BYTES_MAX) return ERR_INVAL;
    struct store_install *install = mem_zero(sizeof(*install));
    install->store = store;
    install->from = from;
    manifest_set_facts(&install->manifest, facts);
    install->named =
        (struct manifest_run){.number = store->run_next++, .from = from, .to = facts->index};
    *out = install;
    return 0;
}

/* ---- writing: worker ---- */

static int bytes_write(struct write_job *job)
{
    struct store_install *install = job->install;
    struct env *env = install->store->env;
    char path[STORE_PATH_BYTES_MAX];
    int err = 0;
    install_path(install, path);
    if (install->file == NULL)
        err = env_file_open(env, path, ENV_READ | ENV_WRITE | ENV_CREATE, &install->file);
    if (err == 0 && job->bytes.len != 0)
        err = env_file_write(env, install->file, job->bytes.data, job->bytes.len,
                             install->named.bytes);
    if (err == 0) install->named.bytes += job->bytes.len;
    return err;
}

/* Whether the file is the run that was promised, whole. */
static int file_check(struct store_install *install)
{
    struct store *store = install->store;
    char path[STORE_PATH_BYTES_MAX];
    uint8_t head[RUN_HEAD_BYTES];
    size_t got = 0;
    install_path(install, path);
    int err = env_file_sync(store->env, install->file);
    if (err == 0) err = env_file_read(store->env, install->file, head, sizeof(head), 0, &got);
    if (err == 0) err = got == sizeof(head) ? run_head_get(head, &install->named.id) : ERR_CORRUPT;
    if (err == 0)
        err = run_open(store->env, store->blocks, path, install->named.id, install->named.bytes,
                       &store->damage_count, &install->run);
    if (err != 0) return err;
    const struct run_footer *footer = run_facts(install->run);
    run_doom(install->run, true); /* Until it is committed. */
    if (footer->from != install->from || footer->to != install->named.to) return ERR_CORRUPT;
    return run_verify(install->run);
}

static void write_run(struct job *base)
{
    struct write_job *job = CONTAINER_OF(base, struct write_job, job);
    job->err = job->install->err;
    if (job->err == 0) job->err = bytes_write(job);
    if (job->err == 0 && job->check) job->err = file_check(job->install);
}

/* ---- writing: loop ---- */

static void install_step(struct store_install *install);

static void write_done(struct job *base)
{
    struct write_job *job = CONTAINER_OF(base, struct write_job, job);
    struct store_install *install = job->install;
    if (install->canceled) return; /* The release frees it. */
    job->install = NULL;           /* Its owner may let it go in done. */
    install->busy = false;
    install->writing_bytes = 0;
    install->err = job->err;
    if (job->check)
        install->done(install->arg, install->err);
    else
        install_step(install);
}

static void write_release(struct job *base)
{
    struct write_job *job = CONTAINER_OF(base, struct write_job, job);
    buf_free(&job->bytes);
    if (job->install != NULL && job->install->canceled) install_free(job->install);
}

static const struct job_kind write_kind = {write_run, write_done, write_release};

/* Write what gathered, or check what was written, when there is cause and nothing under way. */
static void install_step(struct store_install *install)
{
    if (install->busy || (install->pending.len == 0 && !install->finishing)) return;
    struct write_job *job = mem_zero(sizeof(*job));
    job->install = install;
    job->bytes = install->pending;
    job->check = install->finishing;
    install->pending = (struct buf){0};
    install->writing_bytes = job->bytes.len;
    install->busy = true;
    job_start(install->store->env, &install->store->jobs, &write_kind, &job->job);
}

void store_install_put(struct store_install *install, struct slice bytes)
{
    CHECK(!install->finishing);
    if (install->err != 0) return; /* The finish will tell. */
    buf_put(&install->pending, bytes.data, bytes.len);
    install_step(install);
}

size_t store_install_backlog(const struct store_install *install)
{
    return install->pending.len + install->writing_bytes;
}

void store_install_finish(struct store_install *install, void (*done)(void *arg, int err),
                          void *arg)
{
    CHECK(!install->finishing);
    install->finishing = true;
    install->done = done;
    install->arg = arg;
    install_step(install);
}

void store_install_cancel(struct store_install *install)
{
    CHECK(!install->store->installing);
    install->canceled = true;
    if (!install->busy) install_free(install);
}

/* ---- committing ---- */

static void commit_run(struct job *base)
{
    struct commit_job *job = CONTAINER_OF(base, struct commit_job, job);
    struct store *store = job->install->store;
    /* What is here already reaches further: installing would go back. */
    if (job->manifest.facts.index < store->manifest.facts.index)
        job->err = ERR_INVAL;
    else if (job->manifest.runs_count > RUNS_MAX)
        job->err = ERR_TOO_BIG;
    else
        job->err = manifest_write(store->env, store->dir, &job->manifest);
}

/* The installed run first; behind it those there were, unless it is a full copy. */
static struct view *view_installed(const struct store *store, const struct store_install *install)
{
    const struct view *old = store->view;
    struct run **runs = mem_alloc((old->runs_count + 1) * sizeof(struct run *));
    unsigned count = 0;
    runs[count++] = install->run;
    for (unsigned i = 0; i < old->runs_count; i++) {
        if (install->from == 0)
            run_doom(old->runs[i], true);
        else
            runs[count++] = old->runs[i];
    }
    struct view *view = view_create(NULL, 0, runs, count);
    free(runs);
    return view;
}

/* Everything in memory was of the state before. */
static void store_replace(struct store *store, struct commit_job *job)
{
    run_doom(job->install->run, false);
    fetch_free_all(store);
    memtable_unref(store->active);
    store->active = memtable_create(store->budget);
    store_view_set(store, view_installed(store, job->install));
    store->tables_leaving = 0;
    rowcache_clear(store->rows);
    manifest_free(&store->manifest);
    manifest_copy(&store->manifest, &job->manifest);
    manifest_set_facts(&store->frozen, &store->manifest.facts);
    store_facts_set(store, &store->manifest.facts);
}

static void commit_done(struct job *base)
{
    struct commit_job *job = CONTAINER_OF(base, struct commit_job, job);
    struct store_install *install = job->install;
    struct store *store = install->store;
    void (*done)(void *, int) = install->done;
    void *arg = install->arg;
    store->installing = false;
    if (job->err == 0) store_replace(store, job);
    install_free(install);
    job->install = NULL;
    done(arg, job->err);
}

static void commit_release(struct job *base)
{
    struct commit_job *job = CONTAINER_OF(base, struct commit_job, job);
    if (job->install != NULL) { /* The store closes: whether it was committed, the disk tells. */
        run_doom(job->install->run, false);
        install_free(job->install);
    }
    manifest_free(&job->manifest);
}

static const struct job_kind commit_kind = {commit_run, commit_done, commit_release};

static void manifest_plan(struct store_install *install, batch_t wal_from, struct manifest *plan)
{
    const struct store *store = install->store;
    unsigned kept = install->from == 0 ? 0 : store->manifest.runs_count;
    manifest_copy(plan, &store->manifest);
    manifest_set_facts(plan, &install->manifest.facts);
    plan->facts.wal_from = wal_from;
    plan->runs = mem_resize(plan->runs, (kept + 1) * sizeof(plan->runs[0]));
    memmove(plan->runs + 1, plan->runs, kept * sizeof(plan->runs[0]));
    plan->runs[0] = install->named;
    plan->runs_count = kept + 1;
    plan->run_next = store->run_next;
}

void store_install_commit(struct store_install *install, batch_t wal_from,
                          void (*done)(void *arg, int err), void *arg)
{
    struct store *store = install->store;
    CHECK(install->run != NULL && install->err == 0 && !install->busy);
    CHECK(!store->checkpointing && !store->installing && !fetch_waits(store));
    struct commit_job *job = mem_zero(sizeof(*job));
    job->install = install;
    install->done = done;
    install->arg = arg;
    manifest_plan(install, wal_from, &job->manifest);
    store->installing = true;
    job_start(store->env, &store->jobs, &commit_kind, &job->job);
}
