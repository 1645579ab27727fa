/* log/wal_recover.c -- see wal_recover.h.
 *
 * The happy path: read the heads of all files; find where the batches of the last one end; replay
 * every file up to its end; make a new file that says where that end is and holds a copy of the
 * last batch, because nothing proves yet that this one is durable; replay that file.
 *
 * A batch is written only after the one before it is durable, and a file's head only after the
 * last batch before the file; heads are durable before the first batch behind them. Hence:
 *  - A head proves all batches before its file. In files before the last, whatever is not a valid
 *    batch in front of the end that the next head names is damage.
 *  - In the last file a bad batch is torn and is cut whole, unless the head of a batch with a
 *    higher number is found anywhere behind it: that one was written after the bad one was
 *    durable. (The head is enough: it has a checksum of its own.)
 *  - Behind the last file lie files that were made ahead, got half a head, or a head and half a
 *    batch. A batch of a higher number in one of them proves that more was durable: damage.
 *
 * Recovery may stop at any point and run again: what it makes gets its name only when complete and
 * synced, so a file of recovery is whole or not there, and until it is there the old files say all
 * they said before. Only files without a whole batch are deleted. */
#include "log/wal_recover.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/limits.h"
#include "log/wal_read.h"

/* A file of the folder. */
struct image {
    wal_number_t number; /* By its name. */
    uint64_t size;
    bool used; /* It has a valid head. */
    struct wal_head head;
    uint8_t head_bytes[WAL_HEAD_BYTES_MAX];
};

struct recovery {
    struct env *env;
    const struct wal_config *config;
    const struct wal_handlers *handlers;
    struct wal_state *state;
    char *why;
    size_t why_bytes;

    struct image *images; /* Owned; by number. */
    size_t images_count, images_capacity;
    size_t used_count; /* images[0 .. used_count) are the log, the rest is left over. */
    uint64_t salt;

    batch_t last;      /* The last batch that was replayed or is before the first file. */
    uint64_t end;      /* In the last file: where the batches end that are proved durable. */
    batch_t end_last;  /* The last batch before end. */
    size_t copy_bytes; /* The batch at end, which nothing proves durable yet; 0: none. */
};

/* Say why recovery fails; returns err. */
PRINTF_LIKE(4, 5)
static int fail(struct recovery *rec, int err, const char *path, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(rec->why, rec->why_bytes, "%s: %s", path, text);
    return err;
}

static int fail_io(struct recovery *rec, int err, const char *path)
{
    return fail(rec, err, path, "%s", err_text(err));
}

/* Damage at an offset of a file. */
static int damage(struct recovery *rec, const struct wal_file *file, uint64_t offset,
                  const char *what)
{
    return fail(rec, ERR_CORRUPT, file->path, "offset %" PRIu64 ": %s", offset, what);
}

static int open_file(struct recovery *rec, wal_number_t number, struct wal_file *file)
{
    int err = wal_file_open(rec->env, rec->config->dir, number, file);
    return err == 0 ? 0 : fail_io(rec, err, file->path);
}

/* wal_file_batch, and why it failed. */
static int batch_at(struct recovery *rec, struct wal_file *file, uint64_t offset, uint64_t limit,
                    enum wal_found *found, struct wal_batch_head *head, struct slice *body)
{
    int err = wal_file_batch(file, offset, limit, rec->salt, found, head, body);
    return err == 0 ? 0 : fail_io(rec, err, file->path);
}

/* ---- which files there are ---- */

static void found_name(void *arg, const char *name)
{
    struct recovery *rec = arg;
    wal_number_t number = wal_path_number(name);
    if (number == 0) return;
    if (rec->images_count == rec->images_capacity) {
        rec->images_capacity = rec->images_capacity * 2 + 8;
        rec->images = mem_resize(rec->images, rec->images_capacity * sizeof *rec->images);
    }
    rec->images[rec->images_count++] = (struct image){.number = number};
}

static int order_images(const void *a, const void *b)
{
    wal_number_t x = ((const struct image *)a)->number;
    wal_number_t y = ((const struct image *)b)->number;
    return x < y ? -1 : x > y;
}

/* Is the head, which is valid, one of this log? */
static int head_check(struct recovery *rec, const struct image *image, const char *path)
{
    const struct wal_head *head = &image->head;
    if (head->owner != rec->config->owner)
        return fail(rec, ERR_FOREIGN, path,
                    "belongs to another node (owner %016" PRIx64 ", not %016" PRIx64 ")",
                    head->owner, rec->config->owner);
    if (head->parts_count != rec->config->parts_count)
        return fail(rec, ERR_INVAL, path, "has %u partitions, the configuration %u",
                    head->parts_count, rec->config->parts_count);
    if (head->number != image->number)
        return fail(rec, ERR_CORRUPT, path, "offset 0: is file %" PRIu64 " by its head",
                    head->number);
    return 0;
}

static int image_read(struct recovery *rec, struct image *image)
{
    struct wal_file file;
    const uint8_t *at = NULL;
    int err = open_file(rec, image->number, &file);
    if (err != 0) return err;
    size_t bytes = file.size < WAL_HEAD_BYTES_MAX ? (size_t)file.size : WAL_HEAD_BYTES_MAX;
    if (bytes > 0) err = wal_file_at(&file, 0, bytes, &at);
    if (at != NULL) memcpy(image->head_bytes, at, bytes);
    wal_file_close(&file);
    if (err != 0) return fail_io(rec, err, file.path);
    err = wal_head_decode((struct slice){image->head_bytes, bytes}, &image->head);
    if (err == ERR_VERSION) return fail(rec, err, file.path, "is of another version");
    image->used = err == 0;
    return image->used ? head_check(rec, image, file.path) : 0;
}

/* The valid heads are a chain from the first file on, without a gap. */
static int chain_check(struct recovery *rec)
{
    char path[WAL_PATH_BYTES];
    for (size_t i = 0; i < rec->images_count; i++)
        if (rec->images[i].used) rec->used_count = i + 1;
    for (size_t i = 0; i < rec->used_count; i++) {
        const struct image *image = &rec->images[i];
        wal_path(path, rec->config->dir, image->number);
        if (!image->used) return fail(rec, ERR_CORRUPT, path, "offset 0: the head is damaged");
        if (i == 0) continue;
        if (image->number != image[-1].number + 1 || image->head.prev_number != image[-1].number)
            return fail(rec, ERR_CORRUPT, path, "offset 0: the file before it is missing");
        if (image->head.salt != image[-1].head.salt)
            return fail(rec, ERR_CORRUPT, path, "offset 0: is of another log");
    }
    if (rec->used_count > 0 || rec->images_count == 0) return 0;
    wal_path(path, rec->config->dir, rec->images[0].number);
    return fail(rec, ERR_CORRUPT, path, "offset 0: no file has a valid head");
}

static int images_find(struct recovery *rec)
{
    int err = env_dir_list(rec->env, rec->config->dir, found_name, rec);
    if (err != 0) return fail_io(rec, err, rec->config->dir);
    if (rec->images_count > 0)
        qsort(rec->images, rec->images_count, sizeof *rec->images, order_images);
    for (size_t i = 0; i < rec->images_count && err == 0; i++)
        err = image_read(rec, &rec->images[i]);
    if (err == 0) err = chain_check(rec);
    if (err == 0 && rec->used_count > 0) rec->salt = rec->images[0].head.salt;
    return err;
}

/* ---- where the last file ends ---- */

/* Refuse when anything in the file from offset on proves that a batch after `last` was durable. */
static int refuse_proof(struct recovery *rec, struct wal_file *file, uint64_t offset, batch_t last)
{
    struct wal_batch_head head;
    uint64_t place;
    int err = wal_file_search(file, offset, last, rec->salt, &head, &place);
    if (err != 0) return fail_io(rec, err, file->path);
    if (head.batch == 0) return 0;
    return fail(rec, ERR_CORRUPT, file->path,
                "offset %" PRIu64 ": batch %" PRIu64 " is here, so batch %" PRIu64
                " was durable, but it is damaged or missing",
                place, head.batch, last + 1);
}

/* Walk over the valid batches of the last file. Sets end, end_last and copy_bytes. */
static int end_walk(struct recovery *rec, struct wal_file *file, const struct wal_head *head)
{
    struct wal_batch_head batch;
    enum wal_found found;
    struct slice body;
    uint64_t offset = wal_head_bytes(rec->config->parts_count);
    batch_t last = head->prev_last;
    rec->end = offset;
    rec->end_last = last;
    for (;;) {
        int err = batch_at(rec, file, offset, file->size, &found, &batch, &body);
        if (err != 0) return err;
        if (found == WAL_FOUND_NOTHING) return refuse_proof(rec, file, offset, last);
        if (batch.batch != last + 1 || batch.number != file->number)
            return damage(rec, file, offset, "a batch of another place");
        /* Behind the head of a torn batch: it is no proof of itself. */
        if (found == WAL_FOUND_TORN) return refuse_proof(rec, file, offset + WAL_ALIGN, last);
        rec->end = offset;
        rec->end_last = last;
        rec->copy_bytes = batch.bytes;
        last = batch.batch;
        offset += batch.bytes;
    }
}

/* A file that recovery made is complete: the head and the batch that it says. */
static int end_recovered(struct recovery *rec, struct wal_file *file, const struct wal_head *head)
{
    struct wal_batch_head batch;
    enum wal_found found;
    struct slice body;
    rec->end = wal_head_bytes(rec->config->parts_count);
    rec->end_last = head->prev_last;
    if (!head->copied) return 0;
    int err = batch_at(rec, file, rec->end, file->size, &found, &batch, &body);
    if (err != 0) return err;
    if (found != WAL_FOUND_BATCH)
        return damage(rec, file, rec->end, "the batch that was copied here is damaged");
    rec->end += batch.bytes;
    rec->end_last++;
    return 0;
}

/* Find where the batches of one file end, the last one of the log. */
static int end_of(struct recovery *rec, const struct image *image)
{
    struct wal_file file;
    int err = open_file(rec, image->number, &file);
    if (err != 0) return err;
    if (image->head.recovered)
        err = end_recovered(rec, &file, &image->head);
    else
        err = end_walk(rec, &file, &image->head);
    wal_file_close(&file);
    return err;
}

/* A file that has a head and no whole batch is left over: its head was read, but perhaps from
 * memory, and the next file must not build on it. Yet it proves that the file before is whole. */
static int end_before(struct recovery *rec)
{
    char path[WAL_PATH_BYTES];
    const struct image *image = &rec->images[rec->used_count - 1];
    wal_path(path, rec->config->dir, image[0].number);
    if (rec->used_count == 1)
        return fail(rec, ERR_CORRUPT, path, "offset %zu: the first batch is damaged",
                    wal_head_bytes(rec->config->parts_count));
    wal_path(path, rec->config->dir, image[-1].number);
    rec->used_count--;
    int err = end_of(rec, &image[-1]);
    if (err != 0) return err;
    if (rec->end_last + (rec->copy_bytes > 0) == image->head.prev_last) return 0;
    return fail(rec, ERR_CORRUPT, path,
                "offset %" PRIu64 ": the batches end before batch %" PRIu64
                ", which the next file's head proves",
                rec->end + rec->copy_bytes, image->head.prev_last);
}

/* Find the end of the log, and refuse when something behind it proves that there was more. */
static int end_find(struct recovery *rec)
{
    struct wal_file file;
    const struct image *last = &rec->images[rec->used_count - 1];
    int err = end_of(rec, last);
    bool left_over = err == 0 && !last->head.recovered && rec->copy_bytes == 0;
    if (left_over) err = end_before(rec);
    for (size_t i = rec->used_count; i < rec->images_count && err == 0; i++) {
        const struct image *image = &rec->images[i];
        /* A torn first batch behind a valid head is no proof of itself. */
        size_t from = image->used ? wal_head_bytes(rec->config->parts_count) + WAL_ALIGN : 0;
        err = open_file(rec, image->number, &file);
        if (err != 0) break;
        err = refuse_proof(rec, &file, from, rec->end_last + (rec->copy_bytes > 0));
        wal_file_close(&file);
    }
    return err;
}

/* ---- replaying ---- */

static void replay_record(struct recovery *rec, const struct wal_record *record, batch_t batch)
{
    wal_state_note(rec->state, record);
    rec->handlers->replayed(rec->handlers->arg, record, batch);
}

/* body: of the batch at offset. */
static int replay_batch(struct recovery *rec, const struct wal_file *file, uint64_t offset,
                        batch_t batch, struct slice body)
{
    struct reader reader = reader_of(body);
    struct wal_record record;
    bool end;
    for (;;) {
        int err = wal_record_decode(&reader, rec->config->parts_count, &record, &end);
        if (err != 0) return damage(rec, file, offset, "the batch holds what is not a record");
        if (end) return 0;
        replay_record(rec, &record, batch);
    }
}

static void replay_seats(struct recovery *rec, const struct wal_head *head)
{
    for (unsigned part = 0; part < head->parts_count; part++) {
        struct wal_seat seat = wal_head_seat(head, (part_t)part);
        struct wal_record record = {.kind = WAL_VOTE, .part = (part_t)part};
        record.term = seat.term;
        record.vote = seat.vote;
        if (seat.term != 0 || seat.vote != 0) replay_record(rec, &record, head->prev_last + 1);
    }
}

/* Replay the batches of a file up to `end`; the last one is number `last`. */
static int replay_batches(struct recovery *rec, struct wal_file *file, uint64_t end, batch_t last)
{
    struct wal_batch_head batch;
    enum wal_found found;
    struct slice body;
    uint64_t offset = wal_head_bytes(rec->config->parts_count);
    while (offset < end) {
        int err = batch_at(rec, file, offset, end, &found, &batch, &body);
        if (err != 0) return err;
        if (found != WAL_FOUND_BATCH) return damage(rec, file, offset, "a batch is damaged");
        if (batch.batch != rec->last + 1 || batch.number != file->number)
            return damage(rec, file, offset, "a batch of another place");
        err = replay_batch(rec, file, offset, batch.batch, body);
        if (err != 0) return err;
        rec->last = batch.batch;
        offset += batch.bytes;
    }
    if (offset == end && rec->last == last) return 0;
    return damage(rec, file, offset, "the batches end elsewhere than the next file says");
}

/* Replay terms and votes of a file's head, then its batches. */
static int replay_file(struct recovery *rec, const struct wal_head *head, uint64_t end,
                       batch_t last)
{
    struct wal_file file;
    int err = open_file(rec, head->number, &file);
    if (err != 0) return err;
    wal_state_begin_file(rec->state, head->number, end);
    wal_state_last_file(rec->state)->settled = true;
    rec->last = head->prev_last;
    replay_seats(rec, head);
    err = replay_batches(rec, &file, end, last);
    wal_file_close(&file);
    return err;
}

static int replay_all(struct recovery *rec)
{
    int err = 0;
    for (size_t i = 0; i < rec->used_count && err == 0; i++) {
        const struct image *image = &rec->images[i];
        bool last = i + 1 == rec->used_count;
        uint64_t end = last ? rec->end : image[1].head.prev_end;
        err = replay_file(rec, &image->head, end, last ? rec->end_last : image[1].head.prev_last);
    }
    return err;
}

/* ---- the new file ---- */

/* Append the batch at the end of the last file to out, as a batch of file `number`. */
static int copy_batch(struct recovery *rec, wal_number_t number, struct buf *out)
{
    struct wal_file file;
    struct wal_batch_head batch;
    enum wal_found found;
    struct slice body;
    int err = open_file(rec, rec->images[rec->used_count - 1].number, &file);
    if (err != 0) return err;
    err = batch_at(rec, &file, rec->end, file.size, &found, &batch, &body);
    if (err == 0 && (found != WAL_FOUND_BATCH || batch.bytes != rec->copy_bytes))
        err = damage(rec, &file, rec->end, "reads differently every time");
    if (err == 0) {
        struct buf copy = {0};
        wal_batch_begin(&copy);
        buf_put(&copy, body.data, body.len);
        wal_batch_seal(buf_bytes(&copy), number, batch.batch, rec->salt);
        buf_put(out, copy.data, copy.len);
        buf_free(&copy);
    }
    wal_file_close(&file);
    return err;
}

/* Write bytes as a new file and let it have its name only when it is complete and durable. */
static int file_make(struct recovery *rec, const char *path, struct slice bytes)
{
    struct env_file *file;
    char aside[WAL_PATH_BYTES];
    wal_path_of(aside, rec->config->dir, WAL_NAME_RECOVERED);
    int err = env_file_open(rec->env, aside, ENV_WRITE | ENV_CREATE, &file);
    if (err != 0) return fail_io(rec, err, aside);
    err = env_file_write(rec->env, file, bytes.data, bytes.len, 0);
    if (err == 0) err = env_file_sync(rec->env, file);
    env_file_close(rec->env, file);
    if (err == 0) err = env_rename(rec->env, aside, path);
    if (err == 0) err = env_dir_sync(rec->env, rec->config->dir);
    return err == 0 ? 0 : fail_io(rec, err, path);
}

/* Make the file that goes on behind the last one, and replay it. */
static int recovered_make(struct recovery *rec)
{
    char path[WAL_PATH_BYTES];
    struct buf bytes = {0};
    bool first = rec->used_count == 0;
    wal_number_t prev = first ? 0 : rec->images[rec->used_count - 1].number;
    struct wal_head head = {
        .owner = rec->config->owner,
        .salt = rec->salt,
        .number = prev + 1,
        .prev_number = prev,
        .prev_end = rec->end,
        .prev_last = rec->end_last,
        .recovered = true,
        .copied = rec->copy_bytes > 0,
        .parts_count = rec->config->parts_count,
    };
    wal_head_encode(&head, rec->state->seats, &bytes);
    int err = head.copied ? copy_batch(rec, head.number, &bytes) : 0;
    if (err != 0) goto out;
    wal_path(path, rec->config->dir, head.number);
    err = file_make(rec, path, buf_bytes(&bytes));
    if (err != 0) goto out;
    err = wal_head_decode(buf_bytes(&bytes), &head);
    CHECK(err == 0);
    err = replay_file(rec, &head, bytes.len, head.prev_last + head.copied);
    rec->end = bytes.len;
out:
    buf_free(&bytes);
    return err;
}

/* ---- all of it ---- */

/* Make the folder, for good: the parent is synced, or a crash takes folder and log together. */
static int folder_make(struct recovery *rec)
{
    char parent[WAL_PATH_BYTES];
    int err = env_dir_make(rec->env, rec->config->dir);
    if (err != 0) return fail_io(rec, err, rec->config->dir);
    wal_path_of(parent, rec->config->dir, "");
    parent[strlen(parent) - 1] = '\0';
    char *slash = strrchr(parent, '/');
    CHECK(slash != NULL);
    slash[slash == parent ? 1 : 0] = '\0';
    err = env_dir_sync(rec->env, parent);
    return err == 0 ? 0 : fail_io(rec, err, parent);
}

/* Delete what never became part of the log: files half made, and files made ahead. */
static int leftovers_delete(struct recovery *rec)
{
    static const char *const aside[] = {WAL_NAME_AHEAD, WAL_NAME_RECOVERED};
    char path[WAL_PATH_BYTES];
    for (size_t i = 0; i < ARRAY_COUNT(aside); i++) {
        wal_path_of(path, rec->config->dir, aside[i]);
        int err = env_unlink(rec->env, path);
        if (err != 0 && err != ERR_NOT_FOUND) return fail_io(rec, err, path);
    }
    for (size_t i = rec->used_count; i < rec->images_count; i++) {
        wal_path(path, rec->config->dir, rec->images[i].number);
        int err = env_unlink(rec->env, path);
        if (err != 0) return fail_io(rec, err, path);
    }
    return 0;
}

/* Everything is read: see to it that all of it is durable, and that there is a file to go on
 * behind. A last file that recovery made serves as it is: so a node that crashes whenever it
 * starts does not leave a file each time. */
static int settle(struct recovery *rec)
{
    bool keep = rec->used_count > 0 && rec->images[rec->used_count - 1].head.recovered;
    int err = leftovers_delete(rec);
    if (err != 0) return err;
    if (!keep) return recovered_make(rec);
    err = env_dir_sync(rec->env, rec->config->dir); /* Its name may not be durable yet. */
    return err == 0 ? 0 : fail_io(rec, err, rec->config->dir);
}

int wal_recover(struct env *env, const struct wal_config *config,
                const struct wal_handlers *handlers, struct wal_state *state,
                struct wal_recovered *out, char *why, size_t why_bytes)
{
    CHECK(state->files_count == 0);
    struct recovery rec = {
        .env = env,
        .config = config,
        .handlers = handlers,
        .state = state,
        .why = why,
        .why_bytes = why_bytes,
    };
    int err = folder_make(&rec);
    if (err == 0) err = images_find(&rec);
    if (err == 0 && rec.used_count == 0) rec.salt = env_random(env);
    if (err == 0 && rec.used_count > 0) err = end_find(&rec);
    if (err == 0) err = replay_all(&rec);
    if (err == 0) err = settle(&rec);
    free(rec.images);
    if (err != 0) return err;
    const struct wal_held *last = wal_state_last_file(state);
    CHECK(rec.end == last->bytes);
    *out = (struct wal_recovered){rec.salt, rec.last, last->number, rec.end};
    return 0;
}
