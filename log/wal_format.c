/* log/wal_format.c -- see wal_format.h; log/FORMAT.md has the same as tables. */
#include "log/wal_format.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "log/limits.h"
#include "log/pack.h"

enum {
    /* A file's head. The checksum covers all of it behind itself, padding included. */
    HEAD_CHECK = 0,
    HEAD_MAGIC = 8,
    HEAD_VERSION = 16,
    HEAD_BYTES = 20,
    HEAD_OWNER = 24,
    HEAD_SALT = 32,
    HEAD_NUMBER = 40,
    HEAD_PREV_NUMBER = 48,
    HEAD_PREV_END = 56,
    HEAD_PREV_LAST = 64,
    HEAD_FLAGS = 72,
    HEAD_PARTS = 76,
    HEAD_SEATS = 80,
    HEAD_ALIGN = 4096,
    SEAT_BYTES = 16,

    FLAG_RECOVERED = 1,
    FLAG_COPIED = 2,

    /* A batch's head. Its checksum covers the rest of the head, body_hash the body. */
    BATCH_CHECK = 0,
    BATCH_MAGIC = 8,
    BATCH_BYTES = 12,
    BATCH_NUMBER = 16,
    BATCH_NAME = 24,
    BATCH_BODY_HASH = 32,

    RECORD_PADDING = 0, /* In place of a kind: zeroes to the end of the batch. */
};

#define FILE_MAGIC UINT64_C(0x4c4157594c524150) /* "PARLYWAL" on the disk. */
#define BATCH_MAGIC_VALUE UINT32_C(0x62574c50)  /* "PLWb" on the disk. */

static_assert(HEAD_SEATS + SEAT_BYTES * PARTITIONS_MAX <= WAL_HEAD_BYTES_MAX, "heads fit");
static_assert(BATCH_BODY_HASH + 8 == WAL_BATCH_HEAD_BYTES, "the body follows the head");
static_assert(WAL_BATCH_HEAD_BYTES % WAL_ALIGN == 0, "an empty batch needs no padding");
static_assert(WAL_BATCH_BYTES_MAX % WAL_ALIGN == 0, "padding never exceeds the limit");

size_t wal_head_bytes(unsigned parts_count)
{
    CHECK(parts_count >= 1);
    CHECK(parts_count <= PARTITIONS_MAX);
    size_t bytes = HEAD_SEATS + (size_t)SEAT_BYTES * parts_count;
    return (bytes + HEAD_ALIGN - 1) / HEAD_ALIGN * HEAD_ALIGN;
}

void wal_head_encode(const struct wal_head *head, const struct wal_seat *seats, struct buf *out)
{
    size_t bytes = wal_head_bytes(head->parts_count);
    uint8_t *at = buf_grow(out, bytes);
    memset(at, 0, bytes);
    put_u64(at + HEAD_MAGIC, FILE_MAGIC);
    put_u32(at + HEAD_VERSION, WAL_VERSION);
    put_u32(at + HEAD_BYTES, (uint32_t)bytes);
    put_u64(at + HEAD_OWNER, head->owner);
    put_u64(at + HEAD_SALT, head->salt);
    put_u64(at + HEAD_NUMBER, head->number);
    put_u64(at + HEAD_PREV_NUMBER, head->prev_number);
    put_u64(at + HEAD_PREV_END, head->prev_end);
    put_u64(at + HEAD_PREV_LAST, head->prev_last);
    uint32_t flags = (head->recovered ? FLAG_RECOVERED : 0) | (head->copied ? FLAG_COPIED : 0);
    put_u32(at + HEAD_FLAGS, flags);
    put_u32(at + HEAD_PARTS, head->parts_count);
    for (unsigned part = 0; part < head->parts_count; part++) {
        uint8_t *seat = at + HEAD_SEATS + (size_t)SEAT_BYTES * part;
        put_u64(seat, seats[part].term);
        put_u64(seat + 8, seats[part].vote);
    }
    put_u64(at + HEAD_CHECK, hash64((struct slice){at + 8, bytes - 8}));
}

int wal_head_decode(struct slice bytes, struct wal_head *out)
{
    const uint8_t *at = bytes.data;
    if (bytes.len < HEAD_ALIGN || get_u64(at + HEAD_MAGIC) != FILE_MAGIC) return ERR_CORRUPT;
    size_t head_bytes = get_u32(at + HEAD_BYTES);
    if (head_bytes < HEAD_ALIGN || head_bytes > bytes.len) return ERR_CORRUPT;
    uint64_t check = hash64((struct slice){at + 8, head_bytes - 8});
    if (get_u64(at + HEAD_CHECK) != check) return ERR_CORRUPT;
    if (get_u32(at + HEAD_VERSION) != WAL_VERSION) return ERR_VERSION;

    unsigned parts_count = get_u32(at + HEAD_PARTS);
    if (parts_count < 1 || parts_count > PARTITIONS_MAX) return ERR_CORRUPT;
    if (head_bytes != wal_head_bytes(parts_count)) return ERR_CORRUPT;
    uint32_t flags = get_u32(at + HEAD_FLAGS);
    *out = (struct wal_head){
        .owner = get_u64(at + HEAD_OWNER),
        .salt = get_u64(at + HEAD_SALT),
        .number = get_u64(at + HEAD_NUMBER),
        .prev_number = get_u64(at + HEAD_PREV_NUMBER),
        .prev_end = get_u64(at + HEAD_PREV_END),
        .prev_last = get_u64(at + HEAD_PREV_LAST),
        .recovered = (flags & FLAG_RECOVERED) != 0,
        .copied = (flags & FLAG_COPIED) != 0,
        .parts_count = parts_count,
        .seats = at + HEAD_SEATS,
    };
    return 0;
}

struct wal_seat wal_head_seat(const struct wal_head *head, part_t part)
{
    CHECK(part < head->parts_count);
    const uint8_t *at = head->seats + (size_t)SEAT_BYTES * part;
    return (struct wal_seat){get_u64(at), get_u64(at + 8)};
}

void wal_batch_begin(struct buf *out)
{
    CHECK(out->len == 0);
    memset(buf_grow(out, WAL_BATCH_HEAD_BYTES), 0, WAL_BATCH_HEAD_BYTES);
}

void wal_record_encode(const struct wal_record *record, struct buf *out)
{
    size_t before = out->len;
    buf_reserve(out, record->data.len + WAL_RECORD_HEAD_BYTES);
    buf_u8(out, (uint8_t)record->kind);
    buf_varint(out, record->part);
    if (record->kind == WAL_VOTE) {
        buf_varint(out, record->term);
        buf_varint(out, record->vote);
    } else {
        buf_varint(out, record->index);
    }
    if (record->kind == WAL_ENTRY) {
        buf_varint(out, record->term);
        buf_u8(out, record->type);
        buf_slice(out, record->data);
    }
    CHECK(out->len - before <= record->data.len + WAL_RECORD_HEAD_BYTES);
}

void wal_batch_end(struct buf *out)
{
    static const uint8_t zeroes[WAL_ALIGN];
    CHECK(out->len >= WAL_BATCH_HEAD_BYTES);
    buf_put(out, zeroes, (WAL_ALIGN - out->len % WAL_ALIGN) % WAL_ALIGN);
}

void wal_batch_seal(struct slice batch, wal_number_t number, batch_t name, uint64_t salt)
{
    CHECK(batch.len >= WAL_BATCH_HEAD_BYTES);
    CHECK(batch.len <= WAL_BATCH_BYTES_MAX);
    CHECK(batch.len % WAL_ALIGN == 0);
    uint8_t *at = (uint8_t *)(uintptr_t)batch.data;
    struct slice body = {at + WAL_BATCH_HEAD_BYTES, batch.len - WAL_BATCH_HEAD_BYTES};
    put_u32(at + BATCH_MAGIC, BATCH_MAGIC_VALUE);
    put_u32(at + BATCH_BYTES, (uint32_t)batch.len);
    put_u64(at + BATCH_NUMBER, number);
    put_u64(at + BATCH_NAME, name);
    put_u64(at + BATCH_BODY_HASH, hash64_seed(body, salt));
    struct slice head = {at + BATCH_MAGIC, WAL_BATCH_HEAD_BYTES - BATCH_MAGIC};
    put_u64(at + BATCH_CHECK, hash64_seed(head, salt));
}

bool wal_batch_head_decode(const uint8_t *at, uint64_t salt, struct wal_batch_head *out)
{
    if (get_u32(at + BATCH_MAGIC) != BATCH_MAGIC_VALUE) return false;
    struct slice head = {at + BATCH_MAGIC, WAL_BATCH_HEAD_BYTES - BATCH_MAGIC};
    if (get_u64(at + BATCH_CHECK) != hash64_seed(head, salt)) return false;
    size_t bytes = get_u32(at + BATCH_BYTES);
    if (bytes < WAL_BATCH_HEAD_BYTES || bytes > WAL_BATCH_BYTES_MAX) return false;
    if (bytes % WAL_ALIGN != 0) return false;
    *out = (struct wal_batch_head){
        .bytes = bytes,
        .number = get_u64(at + BATCH_NUMBER),
        .batch = get_u64(at + BATCH_NAME),
        .body_hash = get_u64(at + BATCH_BODY_HASH),
    };
    return true;
}

bool wal_batch_body_holds(const struct wal_batch_head *head, struct slice body, uint64_t salt)
{
    CHECK(body.len == head->bytes - WAL_BATCH_HEAD_BYTES);
    return hash64_seed(body, salt) == head->body_hash;
}

/* Padding is fewer zeroes than WAL_ALIGN, up to the end. */
static bool padding_holds(struct reader *body)
{
    if (reader_left(body) >= WAL_ALIGN) return false;
    while (reader_left(body) > 0)
        if (read_u8(body) != 0) return false;
    return true;
}

int wal_record_decode(struct reader *body, unsigned parts_count, struct wal_record *out, bool *end)
{
    bool padding = reader_left(body) > 0 && *body->at == RECORD_PADDING;
    if (padding && !padding_holds(body)) return ERR_CORRUPT;
    *end = reader_left(body) == 0;
    if (*end) return 0;

    struct wal_record record = {.kind = read_u8(body)};
    record.part = (part_t)read_bounded(body, parts_count - 1);
    switch (record.kind) {
        case WAL_ENTRY:
            record.index = read_varint(body);
            record.term = read_varint(body);
            record.type = read_u8(body);
            record.data = read_slice(body, ENTRY_BYTES_MAX);
            break;
        case WAL_TRUNCATE:
            record.index = read_varint(body);
            break;
        case WAL_VOTE:
            record.term = read_varint(body);
            record.vote = read_varint(body);
            break;
        default:
            return ERR_CORRUPT;
    }
    if (body->failed) return ERR_CORRUPT;
    if (record.kind != WAL_VOTE && record.index == 0) return ERR_CORRUPT;
    *out = record;
    return 0;
}

void wal_path(char out[WAL_PATH_BYTES], const char *dir, wal_number_t number)
{
    int len = snprintf(out, WAL_PATH_BYTES, "%s/%010" PRIu64 ".wal", dir, number);
    CHECK(len > 0 && len < WAL_PATH_BYTES);
}

wal_number_t wal_path_number(const char *name)
{
    uint64_t number = 0;
    int len = 0;
    if (sscanf(name, "%19" SCNu64 ".wal%n", &number, &len) != 1 || number == 0) return 0;
    /* One number has one name: what would not be written so is not ours. */
    char again[64];
    snprintf(again, sizeof again, "%010" PRIu64 ".wal", number);
    return strcmp(again, name) == 0 ? number : 0;
}

void wal_path_of(char out[WAL_PATH_BYTES], const char *dir, const char *name)
{
    int len = snprintf(out, WAL_PATH_BYTES, "%s/%s", dir, name);
    CHECK(len > 0 && len < WAL_PATH_BYTES);
}
