/* log/view.c -- see view.h. */
#include "log/view.h"

#include <stdlib.h>

#include "log/pack.h"

struct view *view_create(const struct view_table *tables, unsigned tables_count,
                         struct run *const *runs, unsigned runs_count)
{
    CHECK(tables_count <= STORE_TABLES_MAX);
    struct view *view = mem_zero(sizeof(*view) + runs_count * sizeof(view->runs[0]));
    view->refs = 1;
    view->tables_count = tables_count;
    view->runs_count = runs_count;
    for (unsigned i = 0; i < tables_count; i++) {
        view->tables[i] = tables[i];
        memtable_ref(tables[i].table);
    }
    for (unsigned i = 0; i < runs_count; i++) {
        view->runs[i] = runs[i];
        run_ref(runs[i]);
    }
    return view;
}

void view_ref(struct view *view)
{
    CHECK(view->refs > 0);
    view->refs++;
}

void view_unref(struct view *view)
{
    CHECK(view->refs > 0);
    if (--view->refs > 0) return;
    for (unsigned i = 0; i < view->tables_count; i++)
        memtable_unref(view->tables[i].table);
    for (unsigned i = 0; i < view->runs_count; i++)
        run_unref(view->runs[i]);
    free(view);
}

bool reading_in_tables(const struct reading *reading, struct slice key, struct row *out)
{
    if (memtable_get(reading->active, key, out)) return true;
    for (unsigned i = 0; i < reading->view->tables_count; i++)
        if (memtable_get(reading->view->tables[i].table, key, out)) return true;
    return false;
}

int reading_in_runs(const struct reading *reading, struct slice stream)
{
    uint64_t hash = hash64(stream);
    for (unsigned i = 0; i < reading->view->runs_count; i++) {
        int answer = run_may_have(reading->view->runs[i], hash, reading->wait);
        if (answer != RUN_ABSENT) return answer;
    }
    return RUN_ABSENT;
}

/* The row of key in one run, copied into the scratch. */
static int run_get(struct reading *reading, struct run *run, struct slice key, struct row *out)
{
    struct run_iter iter;
    run_iter_open(&iter, run, key, true);
    int found = iter.err;
    if (iter.valid && slice_equal(iter.row.key, key)) {
        struct buf *scratch = &reading->scratch;
        scratch->len = 0;
        buf_put(scratch, key.data, key.len);
        buf_put(scratch, iter.row.value.data, iter.row.value.len);
        *out = (struct row){{scratch->data, key.len},
                            {scratch->data + key.len, iter.row.value.len},
                            iter.row.index,
                            iter.row.flags};
        found = 1;
    }
    run_iter_close(&iter);
    return found;
}

static int runs_get(struct reading *reading, struct slice key, struct row *out)
{
    struct slice stream, rest;
    enum row_class class;
    CHECK(row_key_split(key, &stream, &class, &rest));
    if (!reading->wait) {
        int answer = reading_in_runs(reading, stream);
        return answer == RUN_MAYBE ? ERR_BUSY : answer;
    }
    uint64_t hash = hash64(stream);
    for (unsigned i = 0; i < reading->view->runs_count; i++) {
        int answer = run_may_have(reading->view->runs[i], hash, true);
        if (answer == RUN_MAYBE) answer = run_get(reading, reading->view->runs[i], key, out);
        if (answer != 0) return answer;
    }
    return 0;
}

int reading_get(struct reading *reading, struct slice key, struct row *out)
{
    if (reading_in_tables(reading, key, out)) return 1;
    if (reading->view->runs_count == 0) return 0;
    struct cached_row *cached = reading->rows == NULL ? NULL : rowcache_find(reading->rows, key);
    if (cached != NULL) return cached_row_get(cached, out) ? 1 : 0;
    return runs_get(reading, key, out);
}

int reading_merge(const struct reading *reading, struct slice stream, struct merge *merge)
{
    const struct view *view = reading->view;
    uint64_t hash = hash64(stream);
    merge_init(merge, 1 + view->tables_count + view->runs_count);
    merge_add_table(merge, reading->active);
    for (unsigned i = 0; i < view->tables_count; i++)
        merge_add_table(merge, view->tables[i].table);
    for (unsigned i = 0; i < view->runs_count; i++) {
        int answer = run_may_have(view->runs[i], hash, reading->wait);
        if (answer == RUN_MAYBE && !reading->wait) answer = ERR_BUSY;
        if (answer < 0) {
            merge_close(merge);
            return answer;
        }
        if (answer == RUN_MAYBE) merge_add_run(merge, view->runs[i], true);
    }
    return 0;
}

void reading_end(struct reading *reading)
{
    buf_free(&reading->scratch);
}

/* ---- checks ---- */

/* 1 and the attribute, 0 when it is absent or dropped. */
static int attribute_get(struct reading *reading, struct slice stream, struct slice key,
                         struct attribute_row *out)
{
    struct row_key row_key;
    struct row row;
    row_key_make(&row_key, stream, ROW_ATTRIBUTE, key);
    int found = reading_get(reading, row_key_bytes(&row_key), &row);
    if (found != 1) return found;
    if (row.flags & ROW_DELETED) return 0;
    return attribute_row_get(row.value, out) ? 1 : ERR_CORRUPT;
}

static bool value_equals(const struct attribute_row *row, struct slice value)
{
    size_t stamp = row->flags & ATTRIBUTE_STAMPED ? TXN_STAMP_BYTES : 0;
    struct slice bare = {(const uint8_t *)row->value.data + stamp, row->value.len - stamp};
    return slice_equal(bare, value);
}

static int not_erased(struct reading *reading, struct slice stream, seq_t seq)
{
    struct row_key key;
    struct row row;
    struct record_view record;
    row_key_record(&key, stream, seq);
    int found = reading_get(reading, row_key_bytes(&key), &row);
    if (found != 1) return found;
    if (!record_row_get(seq, row.value, &record)) return ERR_CORRUPT;
    return (record.flags & RECORD_ERASED) == 0 ? 1 : 0;
}

int reading_check(struct reading *reading, struct slice stream, const struct stream_head *head,
                  const struct txn_check *check, uint64_t *version)
{
    struct attribute_row row = {0};
    int found = 0;
    if (check->kind <= TXN_IF_VERSION) found = attribute_get(reading, stream, check->key, &row);
    if (found < 0) return found;
    switch (check->kind) {
        case TXN_IF_PRESENT:
            return found;
        case TXN_IF_ABSENT:
            return !found;
        case TXN_IF_EQUALS:
            return found == 1 && value_equals(&row, check->value);
        case TXN_IF_VERSION:
            *version = found == 1 ? row.version : 0;
            return *version == check->number;
        case TXN_IF_STREAM_ABSENT:
            return head->version == 0;
        case TXN_IF_LAST:
            return head->last == check->number;
        case TXN_IF_NOT_ERASED:
            if (check->number == 0 || check->number > head->last) return 0;
            return not_erased(reading, stream, check->number);
        case TXN_IF_KINDS_END:
            break;
    }
    CHECK(check->kind < TXN_IF_KINDS_END); /* txn_decode lets no other through. */
    return ERR_INVAL;
}
