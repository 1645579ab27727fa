/* log/changed.c -- store_changed: which streams changed after an index, by name.
 *
 * Happy path: the loop copies the changed heads of the growing memtable, a worker merges them with
 * the frozen tables and the runs that reach beyond the index. Of each stream only the head is
 * looked at: the walk leaps from one stream to the next. Invariant: what the copy left out for want
 * of room lies behind its last stream, and so does nothing that is answered. */
#include <stdlib.h>

#include "log/store_impl.h"

enum { CLASS_BEHIND_ALL = 0xff }; /* No row has it: a key behind all rows of a stream. */

struct changed_job {
    struct job job;
    struct store_changed *changed;
    struct view *view;
    struct memtable *copy; /* Heads of the growing memtable, ... */
    bool copy_full;        /* ... which has more of them behind copy_last. */
    struct buf copy_last, after;
    struct buf out; /* The worker's. */
    uint32_t count;
    bool more;
    int err;
};

static void key_behind(struct row_key *key, struct slice stream)
{
    row_key_make(key, stream, ROW_HEAD, (struct slice){NULL, 0});
    key->bytes[key->len - 1] = CLASS_BEHIND_ALL;
}

/* Where a walk behind stream `after` begins. */
static void key_begin(struct row_key *key, struct slice after)
{
    if (after.len == 0)
        key->len = 0;
    else
        key_behind(key, after);
}

static void copy_heads(const struct memtable *active, struct changed_job *job, index_t since,
                       uint32_t limit)
{
    struct row_key key;
    struct memtable_iter iter;
    struct row row;
    key_begin(&key, buf_bytes(&job->after));
    memtable_seek(active, row_key_bytes(&key), &iter);
    while (memtable_row(&iter, &row)) {
        struct slice stream, rest;
        enum row_class class;
        CHECK(row_key_split(row.key, &stream, &class, &rest));
        if (class == ROW_HEAD && row.index > since) {
            job->copy_full = limit-- == 0;
            if (job->copy_full) return;
            (void)memtable_put(job->copy, &row, NULL);
            job->copy_last.len = 0;
            buf_put(&job->copy_last, stream.data, stream.len);
        }
        key_behind(&key, stream);
        memtable_seek(active, row_key_bytes(&key), &iter);
    }
}

/* Whether the copy may have left out a head before this stream. */
static bool beyond_copy(const struct changed_job *job, struct slice stream)
{
    struct row_key key, last;
    if (!job->copy_full) return false;
    row_key_make(&key, stream, ROW_HEAD, (struct slice){NULL, 0});
    row_key_make(&last, buf_bytes(&job->copy_last), ROW_HEAD, (struct slice){NULL, 0});
    return slice_compare(row_key_bytes(&key), row_key_bytes(&last)) > 0;
}

/* A stream by its first row. False: the answer ends before it. */
static bool stream_give(struct changed_job *job, const struct row *row, struct slice stream,
                        enum row_class class)
{
    struct stream_head head;
    if (class != ROW_HEAD || row->index <= job->changed->since) return true;
    if (beyond_copy(job, stream) || job->count == job->changed->limit_count) {
        job->more = true;
        return false;
    }
    struct reader r = reader_of(row->value);
    stream_head_decode(&r, &head);
    if (!reader_done(&r)) {
        job->err = ERR_CORRUPT;
        return false;
    }
    buf_slice(&job->out, stream);
    stream_head_encode(&head, &job->out);
    job->count++;
    return true;
}

static void changed_run(struct job *base)
{
    struct changed_job *job = CONTAINER_OF(base, struct changed_job, job);
    struct merge merge;
    struct row_key key;
    merge_init(&merge, 1 + job->view->tables_count + job->view->runs_count);
    merge_add_table(&merge, job->copy);
    for (unsigned i = 0; i < job->view->tables_count; i++)
        merge_add_table(&merge, job->view->tables[i].table);
    for (unsigned i = 0; i < job->view->runs_count; i++)
        if (run_facts(job->view->runs[i])->to > job->changed->since)
            merge_add_run(&merge, job->view->runs[i], false);
    key_begin(&key, buf_bytes(&job->after));
    for (merge_seek(&merge, row_key_bytes(&key)); merge.valid;
         merge_seek(&merge, row_key_bytes(&key))) {
        struct slice stream, rest;
        enum row_class class;
        if (!row_key_split(merge.row.key, &stream, &class, &rest)) {
            job->err = ERR_CORRUPT;
            break;
        }
        key_behind(&key, stream);
        if (!stream_give(job, &merge.row, stream, class)) break;
    }
    if (job->err == 0) job->err = merge.err;
    /* What the copy left out is behind everything: another page has it. */
    if (job->copy_full) job->more = true;
    merge_close(&merge);
}

static void changed_done(struct job *base)
{
    struct changed_job *job = CONTAINER_OF(base, struct changed_job, job);
    struct store_changed *changed = job->changed;
    buf_free(&changed->out);
    changed->out = job->out;
    job->out = (struct buf){0};
    changed->count = job->count;
    changed->more = job->more;
    changed->done(changed, job->err);
}

static void changed_release(struct job *base)
{
    struct changed_job *job = CONTAINER_OF(base, struct changed_job, job);
    view_unref(job->view);
    memtable_unref(job->copy);
    buf_free(&job->copy_last);
    buf_free(&job->after);
    buf_free(&job->out);
}

static const struct job_kind changed_kind = {changed_run, changed_done, changed_release};

void store_changed(struct store *store, struct store_changed *changed)
{
    CHECK(changed->limit_count > 0);
    CHECK(changed->after.len <= STREAM_NAME_BYTES_MAX);
    struct changed_job *job = mem_zero(sizeof(*job));
    changed->index = store->facts.index;
    changed->time_ms = store->facts.time_ms;
    job->changed = changed;
    job->view = store->view;
    view_ref(job->view);
    job->copy = memtable_create(store->budget);
    buf_put(&job->after, changed->after.data, changed->after.len);
    if (changed->since < changed->index)
        copy_heads(store->active, job, changed->since, changed->limit_count);
    job_start(store->env, &store->jobs, &changed_kind, &job->job);
}
