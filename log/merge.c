/* log/merge.c -- see merge.h. The smallest key is searched among the sources one by one: there are
 * few, and comparing keys costs little beside unpacking blocks. */
#include "log/merge.h"

#include <stdlib.h>

enum source_kind { SOURCE_TABLE, SOURCE_RUN };

struct merge_source {
    enum source_kind kind;
    bool valid; /* row is the source's next. */
    struct row row;
    const struct memtable *table;
    struct memtable_iter table_iter;
    struct run *run;
    struct run_iter *run_iter; /* NULL while not opened. */
    bool keep_blocks;
};

void merge_init(struct merge *merge, unsigned sources_max)
{
    *merge = (struct merge){.room = sources_max};
    merge->sources = mem_zero((sources_max + 1) * sizeof(*merge->sources));
}

static struct merge_source *source_add(struct merge *merge, enum source_kind kind)
{
    CHECK(merge->count < merge->room);
    struct merge_source *source = &merge->sources[merge->count++];
    source->kind = kind;
    return source;
}

void merge_add_table(struct merge *merge, const struct memtable *table)
{
    source_add(merge, SOURCE_TABLE)->table = table;
}

void merge_add_run(struct merge *merge, struct run *run, bool keep_blocks)
{
    struct merge_source *source = source_add(merge, SOURCE_RUN);
    source->run = run;
    source->keep_blocks = keep_blocks;
}

/* Take the source's present row, if any. */
static void source_load(struct merge *merge, struct merge_source *source)
{
    switch (source->kind) {
        case SOURCE_TABLE:
            source->valid = memtable_row(&source->table_iter, &source->row);
            break;
        case SOURCE_RUN:
            source->valid = source->run_iter->valid;
            source->row = source->run_iter->row;
            if (source->run_iter->err != 0) merge->err = source->run_iter->err;
            break;
    }
}

static void source_seek(struct merge *merge, struct merge_source *source, struct slice key)
{
    switch (source->kind) {
        case SOURCE_TABLE:
            memtable_seek(source->table, key, &source->table_iter);
            break;
        case SOURCE_RUN:
            if (source->run_iter == NULL)
                source->run_iter = mem_alloc(sizeof(*source->run_iter));
            else
                run_iter_close(source->run_iter);
            run_iter_open(source->run_iter, source->run, key, source->keep_blocks);
            break;
    }
    source_load(merge, source);
}

static void source_step(struct merge *merge, struct merge_source *source)
{
    switch (source->kind) {
        case SOURCE_TABLE:
            memtable_step(&source->table_iter);
            break;
        case SOURCE_RUN:
            run_iter_next(source->run_iter);
            break;
    }
    source_load(merge, source);
}

/* Choose the smallest key; of equal ones the first source, which is the newest. */
static void merge_settle(struct merge *merge)
{
    const struct merge_source *best = NULL;
    for (unsigned i = 0; i < merge->count && merge->err == 0; i++) {
        const struct merge_source *source = &merge->sources[i];
        if (!source->valid) continue;
        if (best == NULL || slice_compare(source->row.key, best->row.key) < 0) best = source;
    }
    merge->valid = merge->err == 0 && best != NULL;
    if (merge->valid) merge->row = best->row;
}

void merge_seek(struct merge *merge, struct slice key)
{
    merge->err = 0;
    for (unsigned i = 0; i < merge->count; i++)
        source_seek(merge, &merge->sources[i], key);
    merge_settle(merge);
}

void merge_next(struct merge *merge)
{
    CHECK(merge->valid);
    /* The row's key belongs to one of the sources that step: keep it until all have. */
    struct row_key key = {.len = merge->row.key.len};
    memcpy(key.bytes, merge->row.key.data, key.len);
    for (unsigned i = 0; i < merge->count; i++) {
        struct merge_source *source = &merge->sources[i];
        if (source->valid && slice_equal(source->row.key, row_key_bytes(&key)))
            source_step(merge, source);
    }
    merge_settle(merge);
}

void merge_close(struct merge *merge)
{
    for (unsigned i = 0; i < merge->count; i++) {
        struct merge_source *source = &merge->sources[i];
        if (source->run_iter == NULL) continue;
        run_iter_close(source->run_iter);
        free(source->run_iter);
    }
    free(merge->sources);
}
