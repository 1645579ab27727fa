/* log/wal_read.c -- see wal_read.h. */
#include "log/wal_read.h"

#include <stdlib.h>

enum { WINDOW_BYTES = 1024 * 1024 }; /* Read at once. */

int wal_file_open(struct env *env, const char *dir, wal_number_t number, struct wal_file *file)
{
    *file = (struct wal_file){.env = env, .number = number};
    wal_path(file->path, dir, number);
    int err = env_file_open(env, file->path, ENV_READ, &file->file);
    if (err != 0) return err;
    err = env_file_size(env, file->file, &file->size);
    if (err != 0) env_file_close(env, file->file);
    return err;
}

void wal_file_close(struct wal_file *file)
{
    env_file_close(file->env, file->file);
    free(file->window);
}

/* Move the window so that it begins at offset and holds these bytes. */
static int window_move(struct wal_file *file, uint64_t offset, size_t bytes)
{
    size_t want = bytes > WINDOW_BYTES ? bytes : WINDOW_BYTES;
    if (want > file->size - offset) want = (size_t)(file->size - offset);
    if (want > file->capacity) {
        file->window = mem_resize(file->window, want);
        file->capacity = want;
    }
    file->start = offset;
    file->len = 0; /* Until it is read. */
    size_t got = 0;
    int err = env_file_read(file->env, file->file, file->window, want, offset, &got);
    if (err != 0) return err;
    if (got < bytes) return ERR_IO; /* The file became shorter. */
    file->len = got;
    return 0;
}

int wal_file_at(struct wal_file *file, uint64_t offset, size_t bytes, const uint8_t **out)
{
    CHECK(bytes > 0);
    CHECK(offset <= file->size);
    CHECK(bytes <= file->size - offset);
    bool inside = offset >= file->start && offset + bytes <= file->start + file->len;
    int err = inside ? 0 : window_move(file, offset, bytes);
    *out = err == 0 ? file->window + (offset - file->start) : NULL;
    return err;
}

int wal_file_batch(struct wal_file *file, uint64_t offset, uint64_t limit, uint64_t salt,
                   enum wal_found *found, struct wal_batch_head *head, struct slice *body)
{
    const uint8_t *at;
    *found = WAL_FOUND_NOTHING;
    if (limit > file->size) limit = file->size;
    if (offset > limit || limit - offset < WAL_BATCH_HEAD_BYTES) return 0;
    int err = wal_file_at(file, offset, WAL_BATCH_HEAD_BYTES, &at);
    if (err != 0) return err;
    if (!wal_batch_head_decode(at, salt, head)) return 0;
    *found = WAL_FOUND_TORN;
    if (head->bytes > limit - offset) return 0;
    err = wal_file_at(file, offset, head->bytes, &at);
    if (err != 0) return err;
    *body = (struct slice){at + WAL_BATCH_HEAD_BYTES, head->bytes - WAL_BATCH_HEAD_BYTES};
    if (wal_batch_body_holds(head, *body, salt)) *found = WAL_FOUND_BATCH;
    return 0;
}

int wal_file_search(struct wal_file *file, uint64_t offset, batch_t last, uint64_t salt,
                    struct wal_batch_head *head, uint64_t *place)
{
    const uint8_t *at;
    CHECK(offset % WAL_ALIGN == 0);
    while (offset <= file->size && file->size - offset >= WAL_BATCH_HEAD_BYTES) {
        uint64_t left = file->size - offset;
        size_t bytes = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;
        int err = wal_file_at(file, offset, bytes, &at);
        if (err != 0) return err;
        size_t i = 0;
        for (; i + WAL_BATCH_HEAD_BYTES <= bytes; i += WAL_ALIGN)
            if (wal_batch_head_decode(at + i, salt, head) && head->batch > last) {
                *place = offset + i;
                return 0;
            }
        offset += i;
    }
    *head = (struct wal_batch_head){0};
    return 0;
}
