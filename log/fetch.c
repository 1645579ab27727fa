/* log/fetch.c -- the rows that an entry names, made ready before it is applied.
 *
 * Happy path: every row is in a memtable, or in the row cache, where it is pinned: nothing to wait
 * for. What is known to be absent is cached as absent and pinned as well.
 * Otherwise a worker reads what is missing from the runs of the view at this moment; on its return
 * each row goes into the cache, unless a table has a newer one by now.
 * Invariant: from a fetch until its entry is applied, no table that was there and not leaving, or
 * came since, is let go (store_tables_trim), so that what was found in memory then still is, and
 * what the worker found together with the tables is everything. */
#include <stdlib.h>

#include "log/entry.h"
#include "log/pack.h"
#include "log/store_impl.h"

/* Records that are DEPENDENT on another: asked for by erasing that one, or adding to them. */
struct fetch_range {
    struct row_key from; /* ROW_XREF (ref, 0). */
    struct buf seqs;     /* Found in runs: u64 each. */
};

/* A row that memory did not tell of. */
struct fetch_row {
    struct row_key key;
    bool present;
    index_t index;
    uint8_t flags;
    struct buf value;
};

struct fetch_job {
    struct fetch_job *next; /* In log order. */
    uint64_t number;
    struct store *store;
    struct store_fetch *fetch; /* The caller's; NULL once it was told, or had not to be. */
    bool failed;               /* Never ready: nothing from here on may be applied. */
    struct cached_row **pins;
    unsigned pins_count, pins_room;
    struct fetch_row *rows;
    unsigned rows_count, rows_room;
    struct fetch_range *ranges;
    unsigned ranges_count, ranges_room;
};

/* What runs on the worker; the fetch_job outlives it, or the store closed. */
struct fetch_work {
    struct job job;
    struct fetch_job *fetch;
    struct view *view;
    struct memtable *none; /* An empty table: the worker reads runs, memory was looked at. */
    int err;
};

/* Room for one more in a growing array. */
static void *array_grow(void *array, unsigned count, unsigned *room, size_t item_bytes)
{
    if (count < *room) return array;
    *room = *room == 0 ? 8 : *room * 2;
    return mem_resize(array, *room * item_bytes);
}

/* In a memtable that is here until the entry of fetch `number` is applied. One that was leaving
 * when that fetch began may go before, as soon as older ones are applied; all its rows are in runs
 * that the fetch reads. */
static bool stays_in_tables(const struct store *store, uint64_t number, struct slice key)
{
    struct row row;
    if (memtable_get(store->active, key, &row)) return true;
    for (unsigned i = 0; i < store->view->tables_count; i++) {
        const struct view_table *table = &store->view->tables[i];
        bool stays = !table->leaving || table->until >= number;
        if (stays && memtable_get(table->table, key, &row)) return true;
    }
    return false;
}

/* ---- what an entry names ---- */

static void pin_take(struct fetch_job *job, struct cached_row *cached)
{
    job->pins = array_grow(job->pins, job->pins_count, &job->pins_room, sizeof(job->pins[0]));
    job->pins[job->pins_count++] = cached;
}

static void row_miss(struct fetch_job *job, const struct row_key *key)
{
    job->rows = array_grow(job->rows, job->rows_count, &job->rows_room, sizeof(job->rows[0]));
    struct fetch_row *row = &job->rows[job->rows_count++];
    *row = (struct fetch_row){.key = {.len = key->len}};
    memcpy(row->key.bytes, key->bytes, key->len);
}

/* The stream whose rows are being named, and what its runs' filters said, once asked. */
struct naming {
    struct fetch_job *job;
    struct reading *reading;
    struct slice stream;
    int in_runs; /* RUN_ABSENT, RUN_MAYBE (or not known), -1: not asked yet. */
};

static bool maybe_in_runs(struct naming *naming)
{
    if (naming->in_runs < 0) {
        int answer = reading_in_runs(naming->reading, naming->stream);
        naming->in_runs = answer == RUN_ABSENT ? RUN_ABSENT : RUN_MAYBE;
    }
    return naming->in_runs == RUN_MAYBE;
}

static void name_key(struct naming *naming, const struct row_key *key)
{
    struct store *store = naming->job->store;
    struct row row = {.key = row_key_bytes(key)};
    if (stays_in_tables(store, naming->job->number, row.key)) return;
    struct cached_row *cached = rowcache_find(store->rows, row.key);
    if (cached != NULL) {
        rowcache_pin(cached);
        pin_take(naming->job, cached);
    } else if (maybe_in_runs(naming)) {
        row_miss(naming->job, key);
    } else {
        pin_take(naming->job, rowcache_add(store->rows, &row, false));
    }
}

static void name_row(struct naming *naming, enum row_class class, struct slice rest)
{
    struct row_key key;
    row_key_make(&key, naming->stream, class, rest);
    name_key(naming, &key);
}

static void name_record(struct naming *naming, seq_t seq)
{
    struct row_key key;
    row_key_record(&key, naming->stream, seq);
    name_key(naming, &key);
}

static void name_dependents(struct naming *naming, seq_t ref)
{
    struct fetch_job *job = naming->job;
    if (!maybe_in_runs(naming)) return;
    job->ranges =
        array_grow(job->ranges, job->ranges_count, &job->ranges_room, sizeof(job->ranges[0]));
    struct fetch_range *range = &job->ranges[job->ranges_count++];
    *range = (struct fetch_range){0};
    row_key_xref(&range->from, naming->stream, ref, 0);
}

static void name_check(struct naming *naming, const struct txn_check *check)
{
    if (check->kind <= TXN_IF_VERSION) name_row(naming, ROW_ATTRIBUTE, check->key);
    if (check->kind == TXN_IF_NOT_ERASED) name_record(naming, check->number);
}

static void name_record_part(struct naming *naming, const struct txn_record *record)
{
    for (unsigned i = 0; i < record->tags_count; i++)
        name_row(naming, ROW_TAG, record->tags[i]);
    if ((record->flags & RECORD_DEPENDENT) == 0) return;
    name_record(naming, record->ref);
    name_dependents(naming, record->ref);
}

/* Every row that apply.c may read for this transaction. A set that puts reads nothing. */
static void name_txn(struct fetch_job *job, struct reading *reading, const struct txn *txn)
{
    struct naming naming = {job, reading, txn->stream, -1};
    name_row(&naming, ROW_HEAD, (struct slice){NULL, 0});
    if (txn->producer.len != 0) name_row(&naming, ROW_PRODUCER, txn->producer);
    for (unsigned i = 0; i < txn->checks_count; i++)
        name_check(&naming, &txn->checks[i]);
    for (unsigned i = 0; i < txn->sets_count; i++)
        if (txn->sets[i].flags & TXN_SET_DROP) name_row(&naming, ROW_ATTRIBUTE, txn->sets[i].key);
    for (unsigned i = 0; i < txn->advances_count; i++) {
        name_row(&naming, ROW_CURSOR, txn->advances[i].key);
        if (txn->advances[i].only_if.len != 0)
            name_row(&naming, ROW_ATTRIBUTE, txn->advances[i].only_if);
    }
    for (unsigned i = 0; i < txn->erases_count; i++) {
        name_record(&naming, txn->erases[i]);
        name_dependents(&naming, txn->erases[i]);
    }
    for (unsigned i = 0; i < txn->records_count; i++)
        name_record_part(&naming, &txn->records[i]);
}

/* False when the bytes are no entry; store_apply will say so. */
static bool name_entry(struct fetch_job *job, struct reading *reading, struct slice bytes)
{
    struct entry_view view;
    struct slice txn_bytes;
    bool sound = true;
    if (entry_open(bytes, &view) != 0) return false;
    while (sound && entry_next(&view, &txn_bytes)) {
        struct txn txn;
        sound = txn_decode(txn_bytes, &txn) == 0;
        if (!sound) break;
        name_txn(job, reading, &txn);
        txn_free(&txn);
    }
    sound = sound && !view.txns.failed;
    entry_view_free(&view);
    return sound;
}

/* ---- reading runs: worker ---- */

static int row_order(const void *a, const void *b)
{
    const struct fetch_row *x = a, *y = b;
    return slice_compare(row_key_bytes(&x->key), row_key_bytes(&y->key));
}

/* Bring the rows in order, which reads each block once, and let go of those named twice. */
static void rows_sort(struct fetch_job *job)
{
    unsigned kept = 0;
    if (job->rows_count == 0) return;
    qsort(job->rows, job->rows_count, sizeof(job->rows[0]), row_order);
    for (unsigned i = 0; i < job->rows_count; i++) {
        if (kept > 0 && row_order(&job->rows[kept - 1], &job->rows[i]) == 0) continue;
        if (kept != i) job->rows[kept] = job->rows[i];
        kept++;
    }
    job->rows_count = kept;
}

static int row_read(struct reading *reading, struct fetch_row *row)
{
    struct row found;
    int answer = reading_get(reading, row_key_bytes(&row->key), &found);
    if (answer < 0) return answer;
    row->present = answer == 1;
    if (!row->present) return 0;
    row->index = found.index;
    row->flags = found.flags;
    buf_put(&row->value, found.value.data, found.value.len);
    return 0;
}

/* The seqs in a range; their records are wanted too. */
static int range_read(struct fetch_job *job, struct reading *reading, struct fetch_range *range)
{
    struct slice stream, rest;
    enum row_class class;
    struct merge merge;
    struct xref_row xref;
    struct slice prefix = {range->from.bytes, range->from.len - sizeof(seq_t)};
    CHECK(row_key_split(row_key_bytes(&range->from), &stream, &class, &rest));
    int err = reading_merge(reading, stream, &merge);
    if (err != 0) return err;
    for (merge_seek(&merge, row_key_bytes(&range->from));
         merge.valid && slice_begins(merge.row.key, prefix); merge_next(&merge)) {
        struct row_key key;
        if (!xref_row_get(merge.row.value, &xref)) {
            merge.err = ERR_CORRUPT;
            break;
        }
        if ((xref.flags & RECORD_DEPENDENT) == 0) continue;
        buf_u64(&range->seqs, row_key_seq(merge.row.key));
        row_key_record(&key, stream, row_key_seq(merge.row.key));
        row_miss(job, &key);
    }
    err = merge.err;
    merge_close(&merge);
    return err;
}

static void fetch_run(struct job *base)
{
    struct fetch_work *work = CONTAINER_OF(base, struct fetch_work, job);
    struct fetch_job *job = work->fetch;
    struct reading reading = {.active = work->none, .view = work->view, .wait = true};
    for (unsigned i = 0; i < job->ranges_count && work->err == 0; i++)
        work->err = range_read(job, &reading, &job->ranges[i]);
    rows_sort(job);
    for (unsigned i = 0; i < job->rows_count && work->err == 0; i++)
        work->err = row_read(&reading, &job->rows[i]);
    reading_end(&reading);
}

/* ---- back on the loop ---- */

/* Pin what the worker found, unless a table has it, newer or the same; also one that began to leave
 * while the worker read: what goes into the cache outlives that table. */
static void row_take(struct fetch_job *job, const struct fetch_row *found)
{
    struct store *store = job->store;
    struct row row = {.key = row_key_bytes(&found->key)};
    if (stays_in_tables(store, job->number, row.key)) return;
    struct cached_row *cached = rowcache_find(store->rows, row.key);
    if (cached == NULL) {
        row.value = buf_bytes(&found->value);
        row.index = found->index;
        row.flags = found->flags;
        cached = rowcache_add(store->rows, &row, found->present);
    } else {
        rowcache_pin(cached);
    }
    pin_take(job, cached);
}

static void rows_free(struct fetch_job *job)
{
    for (unsigned i = 0; i < job->rows_count; i++)
        buf_free(&job->rows[i].value);
    free(job->rows);
    job->rows = NULL;
    job->rows_count = job->rows_room = 0;
}

static void fetch_done(struct job *base)
{
    struct fetch_work *work = CONTAINER_OF(base, struct fetch_work, job);
    struct fetch_job *job = work->fetch;
    struct store_fetch *fetch = job->fetch;
    for (unsigned i = 0; i < job->rows_count && work->err == 0; i++)
        row_take(job, &job->rows[i]);
    job->store->rows_fetched += job->rows_count;
    rows_free(job);
    job->failed = work->err != 0;
    job->fetch = NULL;
    fetch->done(fetch, work->err);
}

static void fetch_release(struct job *base)
{
    struct fetch_work *work = CONTAINER_OF(base, struct fetch_work, job);
    view_unref(work->view);
    memtable_unref(work->none);
}

static const struct job_kind fetch_kind = {fetch_run, fetch_done, fetch_release};

/* ---- in log order ---- */

static void job_free(struct fetch_job *job)
{
    for (unsigned i = 0; i < job->pins_count; i++)
        rowcache_unpin(job->store->rows, job->pins[i]);
    for (unsigned i = 0; i < job->ranges_count; i++)
        buf_free(&job->ranges[i].seqs);
    rows_free(job);
    free(job->pins);
    free(job->ranges);
    free(job);
}

static void job_queue(struct store *store, struct fetch_job *job)
{
    store->fetches_made = job->number;
    if (store->fetch_last == NULL)
        store->fetch_first = job;
    else
        store->fetch_last->next = job;
    store->fetch_last = job;
}

bool store_fetch(struct store *store, struct store_fetch *fetch)
{
    struct fetch_job *job = mem_zero(sizeof(*job));
    struct reading reading = store_reading(store);
    job->store = store;
    job->number = store->fetches_made + 1;
    CHECK(!store->installing);
    bool sound = name_entry(job, &reading, fetch->entry);
    reading_end(&reading);
    if (!sound) {
        job_free(job);
        return true;
    }
    job_queue(store, job);
    if (job->rows_count == 0 && job->ranges_count == 0) return true;

    struct fetch_work *work = mem_zero(sizeof(*work));
    job->fetch = fetch;
    work->fetch = job;
    work->view = store->view;
    view_ref(work->view);
    work->none = memtable_create(store->budget);
    job_start(store->env, &store->jobs, &fetch_kind, &work->job);
    return false;
}

struct fetch_job *fetch_begin(struct store *store)
{
    struct fetch_job *job = store->fetch_first;
    CHECK(job != NULL && job->fetch == NULL && !job->failed); /* Fetched, and done. */
    return job;
}

void fetch_end(struct store *store, struct fetch_job *job)
{
    CHECK(job == store->fetch_first);
    store->fetch_first = job->next;
    if (store->fetch_first == NULL) store->fetch_last = NULL;
    job_free(job);
}

uint64_t fetch_oldest(const struct store *store)
{
    return store->fetch_first == NULL ? UINT64_MAX : store->fetch_first->number;
}

bool fetch_waits(const struct store *store)
{
    for (const struct fetch_job *job = store->fetch_first; job != NULL; job = job->next)
        if (job->fetch != NULL) return true;
    return false;
}

void fetch_free_all(struct store *store)
{
    while (store->fetch_first != NULL)
        fetch_end(store, store->fetch_first);
}

void fetch_dependents(const struct fetch_job *job, struct slice stream, seq_t ref, struct buf *seqs)
{
    struct row_key from;
    row_key_xref(&from, stream, ref, 0);
    for (unsigned i = 0; i < job->ranges_count; i++) {
        const struct fetch_range *range = &job->ranges[i];
        if (!slice_equal(row_key_bytes(&range->from), row_key_bytes(&from))) continue;
        buf_put(seqs, range->seqs.data, range->seqs.len);
        return;
    }
}
