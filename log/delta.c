/* log/delta.c -- what changed after an index, as one sorted run for another node.
 *
 * Happy path: a worker merges the runs that reach beyond the index, keeps each key's newest row if
 * it was written after it, and writes a file that nothing names; it is deleted with the delta, or
 * at the next start. */
#include <stdio.h>
#include <stdlib.h>

#include "log/store_impl.h"

struct store_delta {
    struct env *env;
    struct env_file *file;
    char *path;
    uint64_t bytes;
    struct manifest manifest; /* Its facts alone. */
};

struct delta_job {
    struct job job;
    struct env *env;
    struct view *view;
    index_t from;
    uint64_t id;
    struct store_delta *delta; /* Being made. */
    void (*done)(void *arg, int err, struct store_delta *delta);
    void *arg;
    int err;
};

static int rows_write(struct delta_job *job, struct run_writer *writer)
{
    struct merge merge;
    int err = 0;
    merge_init(&merge, job->view->runs_count);
    for (unsigned i = 0; i < job->view->runs_count; i++)
        if (run_facts(job->view->runs[i])->to > job->from)
            merge_add_run(&merge, job->view->runs[i], false);
    for (merge_seek(&merge, (struct slice){NULL, 0}); merge.valid && err == 0; merge_next(&merge))
        if (merge.row.index > job->from) err = run_writer_add(writer, &merge.row);
    if (err == 0) err = merge.err;
    merge_close(&merge);
    return err;
}

static void delta_run(struct job *base)
{
    struct delta_job *job = CONTAINER_OF(base, struct delta_job, job);
    struct store_delta *delta = job->delta;
    struct run_writer *writer = NULL;
    job->err = run_writer_open(job->env, delta->path, job->id, &writer);
    if (job->err == 0) job->err = rows_write(job, writer);
    if (job->err == 0)
        job->err = run_writer_finish(writer, job->from, delta->manifest.facts.index, &delta->bytes);
    run_writer_close(writer);
    if (job->err == 0) job->err = env_file_open(job->env, delta->path, ENV_READ, &delta->file);
}

static void delta_done(struct job *base)
{
    struct delta_job *job = CONTAINER_OF(base, struct delta_job, job);
    struct store_delta *delta = job->delta;
    if (job->err == 0) job->delta = NULL; /* The caller's now. */
    job->done(job->arg, job->err, job->err == 0 ? delta : NULL);
}

static void delta_release(struct job *base)
{
    struct delta_job *job = CONTAINER_OF(base, struct delta_job, job);
    if (job->delta != NULL) store_delta_release(job->delta);
    view_unref(job->view);
}

static const struct job_kind delta_kind = {delta_run, delta_done, delta_release};

int store_delta_make(struct store *store, index_t from,
                     void (*done)(void *arg, int err, struct store_delta *delta), void *arg)
{
    char path[STORE_PATH_BYTES_MAX];
    if (store->installing) return ERR_BUSY;
    if (from > store->manifest.facts.index) return ERR_INVAL;
    int len = snprintf(path, sizeof(path), "%s/delta-%016llx.tmp", store->dir,
                       (unsigned long long)store->run_next++);
    CHECK(len > 0 && (size_t)len < sizeof(path));
    struct delta_job *job = mem_zero(sizeof(*job));
    job->env = store->env;
    job->view = store->view;
    view_ref(job->view);
    job->from = from;
    job->id = env_random(store->env);
    job->delta = mem_zero(sizeof(*job->delta));
    job->delta->env = store->env;
    job->delta->path = mem_string(slice_str(path));
    manifest_set_facts(&job->delta->manifest, &store->manifest.facts);
    job->done = done;
    job->arg = arg;
    job_start(store->env, &store->jobs, &delta_kind, &job->job);
    return 0;
}

uint64_t store_delta_bytes(const struct store_delta *delta)
{
    return delta->bytes;
}

const struct store_facts *store_delta_facts(const struct store_delta *delta)
{
    return &delta->manifest.facts;
}

int store_delta_read(struct store_delta *delta, uint64_t offset, void *out, size_t bytes,
                     size_t *got)
{
    return env_file_read(delta->env, delta->file, out, bytes, offset, got);
}

void store_delta_release(struct store_delta *delta)
{
    if (delta->file != NULL) env_file_close(delta->env, delta->file);
    (void)!env_unlink(delta->env, delta->path); /* Or at the next start. */
    manifest_free(&delta->manifest);
    free(delta->path);
    free(delta);
}
