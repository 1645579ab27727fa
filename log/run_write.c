/* log/run_write.c -- writing a run: blocks of rows, blocks of their index, filter, footer, tail.
 *
 * Happy path: rows gather until a block is full; its last key goes into the index block that
 * gathers, and when that is full its last key into the top index, which the footer carries.
 * Bytes are written in pieces of half a MiB, so that a large run takes little memory. */
#include <stdlib.h>

#include "log/pack.h"
#include "log/run.h"

enum { WRITE_BYTES = 512 * 1024 };

struct run_writer {
    struct env *env;
    struct env_file *file;
    uint64_t id;
    uint64_t offset; /* Where `out` begins in the file. */
    struct buf out;  /* Not yet written. */
    struct rows_packer rows, index, top;
    struct buf streams;          /* u64 hash of each stream. */
    struct row_key stream_front; /* Length and name of the last row's stream. */
    uint64_t rows_count, streams_count;
};

static uint64_t writer_at(const struct run_writer *writer)
{
    return writer->offset + writer->out.len;
}

static int writer_flush(struct run_writer *writer, size_t leave_below)
{
    if (writer->out.len < leave_below || writer->out.len == 0) return 0;
    int err = env_file_write(writer->env, writer->file, writer->out.data, writer->out.len,
                             writer->offset);
    if (err != 0) return err;
    writer->offset += writer->out.len;
    writer->out.len = 0;
    return 0;
}

int run_writer_open(struct env *env, const char *path, uint64_t id, struct run_writer **out)
{
    struct env_file *file;
    uint8_t head[RUN_HEAD_BYTES];
    int err = env_file_open(env, path, ENV_WRITE | ENV_CREATE, &file);
    if (err != 0) return err;
    err = env_file_truncate(env, file, 0);
    if (err != 0) {
        env_file_close(env, file);
        return err;
    }
    struct run_writer *writer = mem_zero(sizeof(*writer));
    writer->env = env;
    writer->file = file;
    writer->id = id;
    run_head_put(head, id);
    buf_put(&writer->out, head, sizeof(head));
    *out = writer;
    return 0;
}

/* Frame content at the end of what is written, and name it by key in the index above. */
static void block_put(struct run_writer *writer, enum run_block_kind kind, struct rows_packer *rows,
                      struct rows_packer *above)
{
    struct run_link link = {.offset = writer_at(writer)};
    struct run_place place = {writer->id, link.offset, kind};
    struct buf value = {0};
    size_t len_before = writer->out.len;
    run_frame_put(&writer->out, place, buf_bytes(&rows->bytes), true);
    link.frame_bytes = writer->out.len - len_before;
    run_link_put(&value, &link);
    rows_pack(above, &(struct row){.key = row_key_bytes(&rows->last), .value = buf_bytes(&value)});
    rows_pack_reset(rows);
    buf_free(&value);
}

static void rows_end(struct run_writer *writer)
{
    if (writer->rows.last.len == 0) return;
    block_put(writer, RUN_BLOCK_ROWS, &writer->rows, &writer->index);
}

static void index_end(struct run_writer *writer)
{
    if (writer->index.last.len == 0) return;
    block_put(writer, RUN_BLOCK_INDEX, &writer->index, &writer->top);
}

/* Note the hash of a stream when its first row comes. */
static void stream_note(struct run_writer *writer, struct slice key)
{
    struct slice front = {key.data, (size_t)1 + *(const uint8_t *)key.data};
    if (slice_equal(front, row_key_bytes(&writer->stream_front))) return;
    memcpy(writer->stream_front.bytes, front.data, front.len);
    writer->stream_front.len = front.len;
    writer->streams_count++;
    struct slice name = {(const uint8_t *)front.data + 1, front.len - 1};
    buf_u64(&writer->streams, hash64(name));
}

int run_writer_add(struct run_writer *writer, const struct row *row)
{
    struct slice stream, rest;
    enum row_class class;
    CHECK(row_key_split(row->key, &stream, &class, &rest));
    stream_note(writer, row->key);
    rows_pack(&writer->rows, row);
    writer->rows_count++;
    if (writer->rows.bytes.len < RUN_BLOCK_BYTES) return 0;
    rows_end(writer);
    if (writer->index.bytes.len >= RUN_BLOCK_BYTES) index_end(writer);
    return writer_flush(writer, WRITE_BYTES);
}

/* All filter blocks, one after the other, unpacked so that their places can be computed. */
static int filter_write(struct run_writer *writer, struct run_footer *footer)
{
    uint64_t bits = writer->streams_count * RUN_FILTER_BITS;
    footer->filter_offset = writer_at(writer);
    footer->filter_blocks = (bits + RUN_FILTER_BYTES * 8 - 1) / (RUN_FILTER_BYTES * 8);
    uint8_t *filter = mem_zero(footer->filter_blocks * RUN_FILTER_BYTES + 1);
    for (uint64_t i = 0; i < writer->streams_count; i++) {
        uint64_t hash = get_u64(writer->streams.data + 8 * i);
        uint64_t block = run_filter_block(hash, footer->filter_blocks);
        run_filter_add(filter + block * RUN_FILTER_BYTES, hash);
    }
    int err = 0;
    for (uint64_t i = 0; i < footer->filter_blocks && err == 0; i++) {
        struct run_place place = {writer->id, writer_at(writer), RUN_BLOCK_FILTER};
        struct slice content = {filter + i * RUN_FILTER_BYTES, RUN_FILTER_BYTES};
        run_frame_put(&writer->out, place, content, false);
        err = writer_flush(writer, WRITE_BYTES);
    }
    free(filter);
    return err;
}

static void footer_write(struct run_writer *writer, const struct run_footer *footer)
{
    struct run_link link = {.offset = writer_at(writer)};
    struct run_place place = {writer->id, link.offset, RUN_BLOCK_FOOTER};
    struct buf content = {0};
    size_t len_before = writer->out.len;
    run_footer_put(&content, footer);
    run_frame_put(&writer->out, place, buf_bytes(&content), true);
    link.frame_bytes = writer->out.len - len_before;
    buf_free(&content);
    run_tail_put(buf_grow(&writer->out, RUN_TAIL_BYTES), writer->id, &link);
}

int run_writer_finish(struct run_writer *writer, index_t from, index_t to, uint64_t *file_bytes)
{
    struct run_footer footer = {.id = writer->id, .from = from, .to = to};
    rows_end(writer);
    index_end(writer);
    footer.rows_count = writer->rows_count;
    footer.streams_count = writer->streams_count;
    int err = filter_write(writer, &footer);
    if (err != 0) return err;
    footer.top = buf_bytes(&writer->top.bytes);
    if (footer.top.len > RUN_FOOTER_BYTES_MAX / 2) return ERR_TOO_BIG;
    footer_write(writer, &footer);
    err = writer_flush(writer, 0);
    if (err == 0) err = env_file_sync(writer->env, writer->file);
    if (err == 0) *file_bytes = writer->offset;
    return err;
}

void run_writer_close(struct run_writer *writer)
{
    if (writer == NULL) return;
    env_file_close(writer->env, writer->file);
    buf_free(&writer->out);
    buf_free(&writer->rows.bytes);
    buf_free(&writer->index.bytes);
    buf_free(&writer->top.bytes);
    buf_free(&writer->streams);
    free(writer);
}
