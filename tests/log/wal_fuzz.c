/* tests/log/wal_fuzz.c -- recovery over arbitrary files.
 *
 * The input is a recipe for up to three files: heads and batches with valid checksums and odd
 * fields, then bytes to change anywhere; raw bytes alone would never get past a checksum. Whatever
 * the files hold, recovery ends with a log or an error, and a second one gives the same: the same
 * error, or the same records and not one more. */
#include <stdlib.h>

#include "jepsen/sim/world.h"
#include "log/codec.h"
#include "log/pack.h"
#include "log/wal.h"
#include "log/wal_format.h"

enum { PARTS = 2, FILES_MAX = 3, FILE_BYTES = 64 * 1024 };

static const uint64_t owner = 7, salt = 0x1234567890abcdef;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the recipe ---- */

enum {
    ODD_RECOVERED = 1,
    ODD_COPIED = 2,
    ODD_END = 4,    /* The head names another end, */
    ODD_LAST = 8,   /* another last batch, */
    ODD_PREV = 16,  /* another file, */
    ODD_OWNER = 32, /* another owner. */
};

static void put_batch(struct reader *r, struct buf *out, wal_number_t number, batch_t *last)
{
    struct buf batch = {0};
    uint8_t odd = read_u8(r);
    size_t bytes = read_u8(r);
    wal_batch_begin(&batch);
    if (bytes > reader_left(r)) bytes = reader_left(r);
    struct slice body = read_bytes(r, bytes);
    if (odd & 1) {
        buf_put(&batch, body.data, body.len);
    } else {
        struct wal_record record = {.kind = WAL_ENTRY, .part = odd >> 7, .index = *last + 1};
        record.term = 1 + odd;
        record.data = body;
        wal_record_encode(&record, &batch);
    }
    wal_batch_end(&batch);
    *last += (odd & 6) == 6 ? odd >> 3 : 1;
    wal_batch_seal(buf_bytes(&batch), number + ((odd & 0x38) == 0x38), *last, salt);
    buf_put(out, batch.data, batch.len);
    buf_free(&batch);
}

/* One file, which goes on behind the end of the one before. */
static void put_file(struct reader *r, struct buf *out, wal_number_t number, uint64_t *end,
                     batch_t *last)
{
    static const struct wal_seat seats[PARTS] = {{3, 1}, {0, 0}};
    uint8_t odd = read_u8(r);
    struct wal_head head = {
        .owner = owner + ((odd & ODD_OWNER) != 0),
        .salt = salt,
        .number = number,
        .prev_number = number - 1 + ((odd & ODD_PREV) != 0),
        .prev_end = *end + (odd & ODD_END ? read_u8(r) : 0),
        .prev_last = *last + (odd & ODD_LAST ? read_u8(r) : 0),
        .recovered = (odd & ODD_RECOVERED) != 0,
        .copied = (odd & ODD_COPIED) != 0,
        .parts_count = PARTS,
    };
    wal_head_encode(&head, seats, out);
    for (unsigned batches = read_u8(r) % 6; batches > 0; batches--)
        put_batch(r, out, number, last);
    *end = out->len;
    if (head.recovered) return;
    enum { TAIL_BYTES = 1024 }; /* Of what was made ahead; more would only take time. */
    memset(buf_grow(out, TAIL_BYTES), 0, TAIL_BYTES);
}

static void write_file(struct env *env, wal_number_t number, struct slice bytes)
{
    char path[WAL_PATH_BYTES];
    struct env_file *file;
    wal_path(path, "/data/wal", number);
    CHECK(env_file_open(env, path, ENV_WRITE | ENV_CREATE, &file) == 0);
    CHECK(env_file_write(env, file, bytes.data, bytes.len, 0) == 0);
    env_file_close(env, file);
}

static void write_files(struct env *env, struct reader r)
{
    struct buf files[FILES_MAX] = {{0}};
    uint64_t end = 0;
    batch_t last = 0;
    unsigned count = read_u8(&r) % (FILES_MAX + 1);
    CHECK(env_dir_make(env, "/data/wal") == 0);
    for (unsigned i = 0; i < count; i++)
        put_file(&r, &files[i], i + 1, &end, &last);
    while (reader_left(&r) >= 4) {
        struct buf *file = &files[read_u8(&r) % FILES_MAX];
        size_t offset = read_u16(&r);
        uint8_t value = read_u8(&r);
        if (offset < file->len) file->data[offset] ^= value;
    }
    for (unsigned i = 0; i < count; i++) {
        write_file(env, i + 1, buf_bytes(&files[i]));
        buf_free(&files[i]);
    }
}

/* ---- recovery, twice ---- */

struct seen {
    struct wal *wal;
    uint64_t hash; /* Over all records but terms and votes, which every head repeats. */
    struct wal_seat seats[PARTS];
};

static void on_replayed(void *arg, const struct wal_record *record, batch_t batch)
{
    struct seen *seen = arg;
    CHECK(record->part < PARTS);
    if (record->kind == WAL_VOTE) {
        seen->seats[record->part] = (struct wal_seat){record->term, record->vote};
        return;
    }
    uint64_t fields[] = {record->kind, record->part, record->index, record->term, record->type};
    seen->hash = hash64_seed((struct slice){fields, sizeof fields}, seen->hash ^ batch);
    seen->hash = hash64_seed(record->data, seen->hash);
}
static void on_durable(void *arg, batch_t durable)
{
    (void)arg;
    (void)durable;
}
static void on_space(void *arg, bool low)
{
    (void)arg;
    (void)low;
}

static int recover(struct env *env, struct seen *seen)
{
    char why[256] = "";
    struct wal_config config = {
        .dir = "/data/wal", .owner = owner, .parts_count = PARTS, .file_bytes = FILE_BYTES};
    *seen = (struct seen){0};
    struct wal_handlers handlers = {on_replayed, on_durable, on_space, seen};
    int err = wal_open(env, &config, &handlers, &seen->wal, why, sizeof why);
    CHECK((err != 0) == (why[0] != '\0'));
    if (err == 0) wal_close(seen->wal);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen first, second;
    struct world *world = world_create(1);
    struct sim_node *node = sim_node_create(world, "a", NULL, NULL);
    struct env *env = sim_node_env(node);
    write_files(env, reader_of((struct slice){data, size}));
    int err = recover(env, &first);
    CHECK(recover(env, &second) == err);
    if (err == 0) {
        CHECK(first.hash == second.hash);
        CHECK(memcmp(first.seats, second.seats, sizeof first.seats) == 0);
    }
    world_destroy(world);
    return 0;
}
