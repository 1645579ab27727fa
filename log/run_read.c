/* log/run_read.c -- reading a run by key and in order, through the block cache.
 *
 * Happy path: the top index, in memory, names an index block, which names a block of rows; each is
 * found in the cache, or read, checked and put there.
 * Failure modes: a frame whose checksum or form is wrong counts as damage and ends the read with
 * ERR_CORRUPT; nothing of it is given to anybody.
 * Invariant: an iterator that is valid holds the block its row lies in. */
#include <stdlib.h>

#include "log/pack.h"
#include "log/run.h"

struct run {
    struct env *env;
    struct cache *cache;
    struct env_file *file;
    char *path;
    _Atomic uint64_t *damage;
    uint64_t bytes;
    struct run_footer footer; /* top: empty; its rows are in `top`. */
    struct buf top;
    unsigned refs;
    bool doomed;
};

static int damaged(struct run *run, int err)
{
    if (err == ERR_CORRUPT) (*run->damage)++;
    return err;
}

/* Read exactly bytes; ERR_CORRUPT when the file is shorter. */
static int file_read(struct run *run, void *out, size_t bytes, uint64_t offset)
{
    size_t got;
    int err = env_file_read(run->env, run->file, out, bytes, offset, &got);
    if (err != 0) return err;
    return got == bytes ? 0 : ERR_CORRUPT;
}

/* Read, check and unpack a frame that its link says is there. */
static int frame_read(struct run *run, const struct run_link *link, enum run_block_kind kind,
                      size_t content_max, struct buf *out)
{
    if (link->frame_bytes > content_max + RUN_FRAME_BYTES) return ERR_CORRUPT;
    if (link->offset > run->bytes || link->frame_bytes > run->bytes - link->offset)
        return ERR_CORRUPT;
    void *frame = mem_alloc(link->frame_bytes);
    int err = file_read(run, frame, link->frame_bytes, link->offset);
    if (err == 0) {
        struct run_place place = {run->footer.id, link->offset, kind};
        err = run_frame_get((struct slice){frame, link->frame_bytes}, place, content_max, out);
    }
    free(frame);
    return err;
}

/* The block, held; from the cache when it is there. */
static int block_load(struct run *run, const struct run_link *link, enum run_block_kind kind,
                      bool keep, struct block **out)
{
    struct block *block = cache_find(run->cache, run->footer.id, link->offset);
    if (block == NULL) {
        struct buf content = {0};
        int err = frame_read(run, link, kind, RUN_ROWS_BYTES_MAX, &content);
        if (err != 0) {
            buf_free(&content);
            return damaged(run, err);
        }
        block = cache_add(run->cache, run->footer.id, link->offset, &content, keep);
    }
    *out = block;
    return 0;
}

/* ---- opening ---- */

static int footer_read(struct run *run)
{
    uint8_t head[RUN_HEAD_BYTES], tail[RUN_TAIL_BYTES];
    struct run_link link;
    struct run_footer footer;
    uint64_t id = 0, want = run->footer.id;
    if (run->bytes < RUN_HEAD_BYTES + RUN_TAIL_BYTES) return ERR_CORRUPT;
    int err = file_read(run, head, sizeof(head), 0);
    if (err == 0) err = run_head_get(head, &id);
    if (err == 0 && id != want) err = ERR_CORRUPT;
    if (err == 0) err = file_read(run, tail, sizeof(tail), run->bytes - RUN_TAIL_BYTES);
    if (err == 0) err = run_tail_get(tail, id, &link);
    if (err != 0) return err;

    struct buf content = {0};
    err = frame_read(run, &link, RUN_BLOCK_FOOTER, RUN_FOOTER_BYTES_MAX, &content);
    if (err == 0) err = run_footer_get(buf_bytes(&content), &footer);
    if (err == 0 && (footer.id != id || footer.filter_blocks > UINT32_MAX)) err = ERR_CORRUPT;
    if (err == 0) {
        buf_put(&run->top, footer.top.data, footer.top.len);
        run->footer = footer;
        run->footer.top = (struct slice){NULL, 0};
    }
    buf_free(&content);
    return err;
}

static void run_free(struct run *run)
{
    if (run->file != NULL) env_file_close(run->env, run->file);
    /* A file that cannot be deleted now is unknown at the next start, and deleted then. */
    if (run->doomed) (void)!env_unlink(run->env, run->path);
    buf_free(&run->top);
    free(run->path);
    free(run);
}

int run_open(struct env *env, struct cache *cache, const char *path, uint64_t id, uint64_t bytes,
             _Atomic uint64_t *damage, struct run **out)
{
    uint64_t file_bytes = 0;
    struct run *run = mem_zero(sizeof(*run));
    run->env = env;
    run->cache = cache;
    run->path = mem_string(slice_str(path));
    run->damage = damage;
    run->bytes = bytes;
    run->footer.id = id;
    run->refs = 1;
    int err = env_file_open(env, path, ENV_READ, &run->file);
    if (err == ERR_NOT_FOUND) err = ERR_CORRUPT;
    if (err == 0) err = env_file_size(env, run->file, &file_bytes);
    if (err == 0 && file_bytes != bytes) err = ERR_CORRUPT;
    if (err == 0) err = footer_read(run);
    if (err != 0) {
        (void)damaged(run, err);
        run_free(run);
        return err;
    }
    *out = run;
    return 0;
}

void run_ref(struct run *run)
{
    CHECK(run->refs > 0);
    run->refs++;
}

void run_unref(struct run *run)
{
    CHECK(run->refs > 0);
    if (--run->refs == 0) run_free(run);
}

void run_doom(struct run *run, bool doomed)
{
    run->doomed = doomed;
}

const struct run_footer *run_facts(const struct run *run)
{
    return &run->footer;
}

uint64_t run_file_bytes(const struct run *run)
{
    return run->bytes;
}

/* ---- the filter ---- */

int run_may_have(struct run *run, uint64_t stream_hash, bool wait)
{
    if (run->footer.filter_blocks == 0) return RUN_ABSENT;
    uint64_t number = run_filter_block(stream_hash, run->footer.filter_blocks);
    struct run_link link = {
        run->footer.filter_offset + number * (RUN_FRAME_BYTES + RUN_FILTER_BYTES),
        RUN_FRAME_BYTES + RUN_FILTER_BYTES};
    struct block *block = cache_find(run->cache, run->footer.id, link.offset);
    if (block == NULL && !wait) return ERR_BUSY;
    if (block == NULL) {
        int err = block_load(run, &link, RUN_BLOCK_FILTER, true, &block);
        if (err != 0) return err;
    }
    bool whole = block->bytes.len == RUN_FILTER_BYTES;
    bool has = whole && run_filter_has(block->bytes.data, stream_hash);
    cache_release(run->cache, block);
    if (!whole) return damaged(run, ERR_CORRUPT);
    return has ? RUN_MAYBE : RUN_ABSENT;
}

/* ---- iterators ---- */

static void iter_fail(struct run_iter *iter, int err)
{
    iter->valid = false;
    iter->err = err;
}

/* The form is wrong although the checksum is right: written so, or for another version. */
static void iter_damaged(struct run_iter *iter)
{
    iter_fail(iter, damaged(iter->run, ERR_CORRUPT));
}

/* Hold the block that an index row names in *hold, and read its rows with *rows. */
static bool iter_descend(struct run_iter *iter, const struct row *from, enum run_block_kind kind,
                         struct block **hold, struct rows_reader *rows)
{
    struct run_link link;
    struct block *block;
    if (!run_link_get(from->value, &link)) {
        iter_damaged(iter);
        return false;
    }
    int err = block_load(iter->run, &link, kind, iter->keep, &block);
    if (err != 0) {
        iter_fail(iter, err);
        return false;
    }
    cache_release(iter->run->cache, *hold);
    *hold = block;
    rows_open(rows, block->bytes);
    return true;
}

/* The next row of rows whose key is at least key (empty: any). False at its end, or failed. */
static bool rows_find(struct run_iter *iter, struct rows_reader *rows, struct slice key,
                      struct row *out)
{
    while (rows_next(rows, out))
        if (slice_compare(out->key, key) >= 0) return true;
    if (rows->r.failed) iter_damaged(iter);
    return false;
}

/* Stand at the first row at or behind where the readers are whose key is at least key. */
static void iter_settle(struct run_iter *iter, struct slice key)
{
    struct row up;
    while (iter->err == 0) {
        if (iter->block != NULL && rows_find(iter, &iter->rows, key, &iter->row)) {
            iter->valid = true;
            return;
        }
        if (iter->err != 0) return;
        if (iter->index_block != NULL && rows_find(iter, &iter->index, key, &up)) {
            (void)iter_descend(iter, &up, RUN_BLOCK_ROWS, &iter->block, &iter->rows);
            continue;
        }
        if (iter->err != 0) return;
        if (!rows_find(iter, &iter->top, key, &up)) return; /* The end of the run. */
        cache_release(iter->run->cache, iter->block);
        iter->block = NULL;
        (void)iter_descend(iter, &up, RUN_BLOCK_INDEX, &iter->index_block, &iter->index);
    }
}

void run_iter_open(struct run_iter *iter, struct run *run, struct slice key, bool keep)
{
    iter->run = run;
    iter->keep = keep;
    iter->err = 0;
    iter->valid = false;
    iter->index_block = NULL;
    iter->block = NULL;
    rows_open(&iter->top, buf_bytes(&run->top));
    iter_settle(iter, key);
}

void run_iter_next(struct run_iter *iter)
{
    CHECK(iter->valid);
    iter->valid = false;
    iter_settle(iter, (struct slice){NULL, 0});
}

void run_iter_close(struct run_iter *iter)
{
    cache_release(iter->run->cache, iter->block);
    cache_release(iter->run->cache, iter->index_block);
}

/* ---- verifying ---- */

/* A row's form, beyond what its block's checksum says; damage to us, a bug to who wrote it. */
static bool row_sound(const struct run *run, const struct row *row)
{
    struct slice stream, rest;
    enum row_class class;
    return row_key_split(row->key, &stream, &class, &rest) && row->index > run->footer.from &&
           row->index <= run->footer.to;
}

int run_verify(struct run *run)
{
    struct run_iter iter;
    struct row_key last = {.len = 0};
    uint64_t rows = 0, streams = 0;
    int err = 0;
    for (run_iter_open(&iter, run, (struct slice){NULL, 0}, false); iter.valid && err == 0;
         run_iter_next(&iter)) {
        if (!row_sound(run, &iter.row) ||
            (last.len != 0 && slice_compare(row_key_bytes(&last), iter.row.key) >= 0)) {
            err = ERR_CORRUPT;
            break;
        }
        size_t front = (size_t)1 + *(const uint8_t *)iter.row.key.data;
        if (last.len < front || memcmp(last.bytes, iter.row.key.data, front) != 0) {
            struct slice name = {(const uint8_t *)iter.row.key.data + 1, front - 1};
            int answer = run_may_have(run, hash64(name), true);
            if (answer != RUN_MAYBE) err = answer < 0 ? answer : ERR_CORRUPT;
            streams++;
        }
        memcpy(last.bytes, iter.row.key.data, iter.row.key.len);
        last.len = iter.row.key.len;
        rows++;
    }
    if (err == 0) err = iter.err;
    run_iter_close(&iter);
    if (err == 0 && (rows != run->footer.rows_count || streams != run->footer.streams_count))
        err = ERR_CORRUPT;
    return err;
}
