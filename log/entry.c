/* log/entry.c -- see entry.h.
 *
 * Happy path: transactions gather as slices; closing packs them once. Opening unpacks into memory
 * of the view, bounded by ENTRY_BYTES_MAX, and then hands out slices of it.
 * Invariant: what was packed is smaller than what was not, so every entry that fits unpacked
 * fits. */
#include "log/entry.h"

#include <stdlib.h>

#include "log/pack.h"

enum {
    ENTRY_FLAG_LZ4 = 1,
    ENTRY_HEAD_BYTES = 10, /* Version, flags, time. */
    ENTRY_COUNT_BYTES = 2, /* The varint of ENTRY_TXNS_MAX. */
    ENTRY_SLICE_BYTES = 3, /* The varint of TXN_BYTES_MAX. */
    ENTRY_ROOM_BYTES = 64, /* What is left for the packed form's own length. */
};
_Static_assert(ENTRY_TXNS_MAX < 1 << 14, "the count is a varint of two bytes at most");
_Static_assert(TXN_BYTES_MAX < 1 << 21, "a length is a varint of three bytes at most");

bool entry_fits(const struct entry *entry, size_t txn_bytes)
{
    size_t bytes = ENTRY_HEAD_BYTES + ENTRY_COUNT_BYTES + ENTRY_ROOM_BYTES + entry->txns.len +
                   ENTRY_SLICE_BYTES + txn_bytes;
    return entry->count < ENTRY_TXNS_MAX && bytes <= ENTRY_BYTES_MAX;
}

void entry_add(struct entry *entry, struct slice txn)
{
    CHECK(entry_fits(entry, txn.len));
    buf_slice(&entry->txns, txn);
    entry->count++;
}

/* Append count and transactions as they are. */
static void body_put(const struct entry *entry, struct buf *out)
{
    buf_varint(out, entry->count);
    buf_put(out, entry->txns.data, entry->txns.len);
}

/* Append the packed body; false, and out as it was, when that saves nothing. */
static bool body_pack(const struct entry *entry, struct buf *out)
{
    size_t len_before = out->len;
    struct buf body = {0};
    body_put(entry, &body);
    buf_varint(out, body.len);
    (void)lz4_pack(buf_bytes(&body), out);
    bool smaller = out->len - len_before < body.len;
    if (!smaller) out->len = len_before;
    buf_free(&body);
    return smaller;
}

void entry_close(struct entry *entry, int64_t time_ms, struct buf *out)
{
    size_t start = out->len;
    buf_u8(out, ENTRY_VERSION);
    buf_u8(out, 0);
    buf_u64(out, (uint64_t)time_ms);
    bool packed = entry->txns.len >= ENTRY_PACK_BYTES_MIN && body_pack(entry, out);
    if (packed)
        out->data[start + 1] = ENTRY_FLAG_LZ4;
    else
        body_put(entry, out);
    CHECK(out->len - start <= ENTRY_BYTES_MAX);
    entry->txns.len = 0;
    entry->count = 0;
}

void entry_free(struct entry *entry)
{
    buf_free(&entry->txns);
    entry->count = 0;
}

int entry_open(struct slice bytes, struct entry_view *out)
{
    struct reader r = reader_of(bytes);
    uint8_t version = read_u8(&r);
    uint8_t flags = read_u8(&r);
    int64_t time_ms = (int64_t)read_u64(&r);
    if (r.failed || bytes.len > ENTRY_BYTES_MAX) return ERR_CORRUPT;
    if (version == 0 || version > ENTRY_VERSION) return ERR_VERSION;
    if (flags & ~ENTRY_FLAG_LZ4) return ERR_CORRUPT;

    struct buf body = {0};
    if (flags & ENTRY_FLAG_LZ4) {
        size_t body_bytes = (size_t)read_bounded(&r, ENTRY_BYTES_MAX);
        struct slice packed = read_bytes(&r, reader_left(&r));
        int err = r.failed ? ERR_CORRUPT : lz4_unpack(packed, body_bytes, &body);
        if (err != 0) {
            buf_free(&body);
            return ERR_CORRUPT;
        }
        r = reader_of(buf_bytes(&body));
    }
    unsigned count = (unsigned)read_bounded(&r, ENTRY_TXNS_MAX);
    if (r.failed) {
        buf_free(&body);
        return ERR_CORRUPT;
    }
    *out = (struct entry_view){time_ms, count, r, body.data};
    return 0;
}

bool entry_next(struct entry_view *view, struct slice *txn)
{
    if (view->count == 0) {
        if (reader_left(&view->txns) != 0) view->txns.failed = true;
        return false;
    }
    struct slice bytes = read_slice(&view->txns, TXN_BYTES_MAX);
    if (view->txns.failed) return false;
    view->count--;
    *txn = bytes;
    return true;
}

void entry_view_free(struct entry_view *view)
{
    free(view->memory);
    *view = (struct entry_view){0};
}
