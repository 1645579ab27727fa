/* log/row.c -- see row.h.
 *
 * The producer's row is rewritten with every transaction, so adding to it copies bytes instead of
 * decoding: outcomes are stored as differences from the one before, the first one from the base in
 * front, and dropping the oldest moves the base. */
#include "log/row.h"

/* ---- keys ---- */

void row_key_make(struct row_key *key, struct slice stream, enum row_class class, struct slice rest)
{
    CHECK(stream.len >= 1 && stream.len <= STREAM_NAME_BYTES_MAX && rest.len <= KEY_BYTES_MAX);
    uint8_t *at = key->bytes;
    *at++ = (uint8_t)stream.len;
    memcpy(at, stream.data, stream.len);
    at += stream.len;
    *at++ = (uint8_t) class;
    if (rest.len != 0) memcpy(at, rest.data, rest.len);
    key->len = 2 + stream.len + rest.len;
}

static void put_big(uint8_t *at, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        at[i] = (uint8_t)(value >> (56 - 8 * i));
}

static uint64_t get_big(const uint8_t *at)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | at[i];
    return value;
}

void row_key_record(struct row_key *key, struct slice stream, seq_t seq)
{
    uint8_t rest[8];
    put_big(rest, seq);
    row_key_make(key, stream, ROW_RECORD, (struct slice){rest, sizeof(rest)});
}

void row_key_xref(struct row_key *key, struct slice stream, seq_t ref, seq_t seq)
{
    uint8_t rest[16];
    put_big(rest, ref);
    put_big(rest + 8, seq);
    row_key_make(key, stream, ROW_XREF, (struct slice){rest, sizeof(rest)});
}

bool row_key_split(struct slice key, struct slice *stream, enum row_class *class,
                   struct slice *rest)
{
    const uint8_t *at = key.data;
    if (key.len < 3 || key.len > ROW_KEY_BYTES_MAX || at[0] == 0) return false;
    size_t len = at[0];
    if (key.len < 2 + len) return false;
    uint8_t number = at[1 + len];
    if (number < ROW_HEAD || number >= ROW_CLASSES_END) return false;
    *stream = (struct slice){at + 1, len};
    *class = number;
    *rest = (struct slice){at + 2 + len, key.len - 2 - len};
    if (number == ROW_HEAD) return rest->len == 0;
    if (number == ROW_RECORD) return rest->len == 8;
    if (number == ROW_XREF) return rest->len == 16;
    return rest->len >= 1 && rest->len <= KEY_BYTES_MAX;
}

seq_t row_key_seq(struct slice key)
{
    struct slice stream, rest;
    enum row_class class;
    if (!row_key_split(key, &stream, &class, &rest)) return 0;
    if (class != ROW_RECORD && class != ROW_XREF) return 0;
    return get_big((const uint8_t *)rest.data + rest.len - 8);
}

bool slice_begins(struct slice bytes, struct slice prefix)
{
    return bytes.len >= prefix.len &&
           (prefix.len == 0 || memcmp(bytes.data, prefix.data, prefix.len) == 0);
}

/* ---- attribute, cursor, xref, tag ---- */

static struct slice reader_rest(struct reader *r)
{
    return read_bytes(r, reader_left(r));
}

void attribute_row_put(struct buf *out, const struct attribute_row *row)
{
    buf_varint(out, row->version);
    buf_u8(out, row->flags);
    buf_put(out, row->value.data, row->value.len);
}

bool attribute_row_get(struct slice value, struct attribute_row *out)
{
    struct reader r = reader_of(value);
    out->version = read_varint(&r);
    out->flags = read_u8(&r);
    out->value = reader_rest(&r);
    size_t stamp = out->flags & ATTRIBUTE_STAMPED ? TXN_STAMP_BYTES : 0;
    return reader_done(&r) && (out->flags & ~ATTRIBUTE_STAMPED) == 0 && out->value.len >= stamp &&
           out->value.len <= VALUE_BYTES_MAX + stamp;
}

void cursor_row_put(struct buf *out, const struct cursor_row *row)
{
    buf_varint(out, row->version);
    buf_varint(out, row->seq);
    buf_varint(out, row->ordinal);
}

bool cursor_row_get(struct slice value, struct cursor_row *out)
{
    struct reader r = reader_of(value);
    out->version = read_varint(&r);
    out->seq = read_varint(&r);
    out->ordinal = read_varint(&r);
    return reader_done(&r);
}

void xref_row_put(struct buf *out, const struct xref_row *row)
{
    buf_u16(out, row->kind);
    buf_u8(out, row->flags);
}

bool xref_row_get(struct slice value, struct xref_row *out)
{
    struct reader r = reader_of(value);
    out->kind = read_u16(&r);
    out->flags = read_u8(&r);
    return reader_done(&r);
}

void tag_row_put(struct buf *out, const struct tag_row *row)
{
    seq_t before = 0;
    buf_varint(out, row->count);
    for (unsigned i = 0; i < row->count; i++) {
        buf_varint(out, row->seqs[i] - before);
        before = row->seqs[i];
    }
}

bool tag_row_get(struct slice value, struct tag_row *out)
{
    struct reader r = reader_of(value);
    seq_t before = 0;
    out->count = (unsigned)read_bounded(&r, TAG_SEQS_MAX);
    for (unsigned i = 0; i < out->count; i++) {
        before += read_varint(&r);
        out->seqs[i] = before;
    }
    return reader_done(&r);
}

void tag_row_add(struct tag_row *row, seq_t seq)
{
    if (row->count > 0 && row->seqs[row->count - 1] == seq) return; /* Twice on one record. */
    if (row->count == TAG_SEQS_MAX) {
        memmove(row->seqs, row->seqs + 1, (TAG_SEQS_MAX - 1) * sizeof(row->seqs[0]));
        row->count--;
    }
    row->seqs[row->count++] = seq;
}

/* ---- record ---- */

enum { RECORD_FLAGS = RECORD_COUNTED | RECORD_DEPENDENT | RECORD_ERASED };

/* All of a value up to the chain. */
static void record_row_front(struct buf *out, const struct record_view *record, uint8_t flags)
{
    buf_u8(out, flags);
    buf_varint(out, record->kind);
    buf_varint(out, record->ordinal);
    buf_u64(out, (uint64_t)record->time_ms);
    buf_slice(out, record->producer);
    buf_varint(out, record->n);
    buf_varint(out, record->ref);
    buf_slice(out, record->tags);
}

void record_row_header(struct buf *out, const struct record_view *record)
{
    buf_u64(out, record->seq);
    record_row_front(out, record, (uint8_t)(record->flags & ~RECORD_ERASED));
}

void record_row_put(struct buf *out, const struct record_view *record)
{
    bool erased = (record->flags & RECORD_ERASED) != 0;
    CHECK(!erased || record->digest.len == sizeof(record->chain));
    record_row_front(out, record, record->flags);
    buf_put(out, record->chain, sizeof(record->chain));
    struct slice body = erased ? record->digest : record->payload;
    buf_put(out, body.data, body.len);
}

bool record_row_get(seq_t seq, struct slice value, struct record_view *out)
{
    struct reader r = reader_of(value);
    *out = (struct record_view){.seq = seq, .flags = read_u8(&r)};
    out->kind = (uint16_t)read_bounded(&r, UINT16_MAX);
    out->ordinal = read_varint(&r);
    out->time_ms = (int64_t)read_u64(&r);
    out->producer = read_slice(&r, PRODUCER_BYTES_MAX);
    out->n = read_varint(&r);
    out->ref = read_varint(&r);
    out->tags = read_slice(&r, 1 + RECORD_TAGS_MAX * (TAG_BYTES_MAX + 1));
    struct slice chain = read_bytes(&r, sizeof(out->chain));
    struct slice body = reader_rest(&r);
    if (r.failed || (out->flags & ~RECORD_FLAGS) || out->tags.len == 0) return false;
    memcpy(out->chain, chain.data, sizeof(out->chain));
    bool erased = (out->flags & RECORD_ERASED) != 0;
    if (erased)
        out->digest = body;
    else
        out->payload = body;
    return erased ? body.len == sizeof(out->chain) : body.len <= PAYLOAD_BYTES_MAX;
}

/* ---- producer: varint last_n, u8 count, base, newest, outcomes ---- */

/* base is what the oldest outcome is a difference from, newest what the next one will be; both are
 * {varint seq, varint version}. One outcome: u64 content, varint (failed << 1 | rejected), varint
 * records, and when there are any varint (first - the last seq before), then zigzag (version - the
 * version before). */
struct producer_base {
    seq_t last;
    uint64_t version;
};

static uint64_t zigzag(uint64_t difference)
{
    return difference << 1 ^ (uint64_t)((int64_t)difference >> 63);
}

static uint64_t unzigzag(uint64_t value)
{
    return value >> 1 ^ (0 - (value & 1));
}

static void outcome_put(struct buf *out, struct producer_base *base,
                        const struct producer_outcome *outcome)
{
    bool wrote = outcome->first != 0;
    buf_u64(out, outcome->content);
    buf_varint(out, (uint64_t)outcome->failed << 1 | (outcome->rejected ? 1 : 0));
    buf_varint(out, wrote ? outcome->last - outcome->first + 1 : 0);
    if (wrote) buf_varint(out, outcome->first - base->last);
    buf_varint(out, zigzag(outcome->version - base->version));
    if (wrote) base->last = outcome->last;
    base->version = outcome->version;
}

static void outcome_get(struct reader *r, struct producer_base *base, struct producer_outcome *out)
{
    out->content = read_u64(r);
    uint64_t failed = read_bounded(r, (UINT16_MAX << 1) + 1);
    uint64_t records = read_bounded(r, TXN_PARTS_MAX);
    out->rejected = (failed & 1) != 0;
    out->failed = (uint16_t)(failed >> 1);
    out->first = records == 0 ? 0 : base->last + read_varint(r);
    out->last = records == 0 ? 0 : out->first + records - 1;
    out->version = base->version + unzigzag(read_varint(r));
    if (records != 0) base->last = out->last;
    base->version = out->version;
}

struct producer_front {
    uint64_t last_n;
    unsigned count;
    struct producer_base base, newest;
};

static void producer_front_get(struct reader *r, struct producer_front *front)
{
    front->last_n = read_varint(r);
    front->count = read_u8(r);
    front->base.last = read_varint(r);
    front->base.version = read_varint(r);
    front->newest.last = read_varint(r);
    front->newest.version = read_varint(r);
    if (front->count == 0 || front->count > PRODUCER_OUTCOMES_MAX || front->count > front->last_n)
        r->failed = true;
}

bool producer_row_last(struct slice value, uint64_t *last_n)
{
    struct reader r = reader_of(value);
    struct producer_front front;
    producer_front_get(&r, &front);
    *last_n = front.last_n;
    return !r.failed;
}

bool producer_row_get(struct slice value, struct producer_row *out)
{
    struct reader r = reader_of(value);
    struct producer_front front;
    producer_front_get(&r, &front);
    if (r.failed) return false;
    out->last_n = front.last_n;
    out->count = front.count;
    for (unsigned i = 0; i < out->count && !r.failed; i++)
        outcome_get(&r, &front.base, &out->outcomes[i]);
    return reader_done(&r) && front.base.last == front.newest.last &&
           front.base.version == front.newest.version;
}

bool producer_row_add(struct buf *out, struct slice value, const struct producer_outcome *outcome)
{
    struct producer_front front = {0};
    struct producer_outcome oldest;
    struct reader r = reader_of(value);
    if (value.len != 0) {
        producer_front_get(&r, &front);
        if (front.count == PRODUCER_OUTCOMES_MAX && !r.failed) {
            outcome_get(&r, &front.base, &oldest);
            front.count--;
        }
        if (r.failed) return false;
    }
    struct producer_base newest = front.newest;
    if (outcome->first != 0) newest.last = outcome->last;
    newest.version = outcome->version;
    buf_varint(out, front.last_n + 1);
    buf_u8(out, (uint8_t)(front.count + 1));
    buf_varint(out, front.base.last);
    buf_varint(out, front.base.version);
    buf_varint(out, newest.last);
    buf_varint(out, newest.version);
    struct slice kept = reader_rest(&r);
    buf_put(out, kept.data, kept.len);
    outcome_put(out, &front.newest, outcome);
    return true;
}
