/* log/txn.c -- bytes to transactions and back.
 *
 * Happy path: a decoder reads the counts first, takes one block of memory for all arrays, and
 * fills it. Bytes that end early or go on are ERR_CORRUPT; what is well formed but breaks a
 * limit is ERR_INVAL or ERR_TOO_BIG, judged by the same txn_limits that encoding uses.
 * Invariant: counts are compared with limits and bytes left before anything is allocated for them.
 */
#include "log/txn.h"

#include <stdlib.h>

#include "log/pack.h"

/* ---- limits ---- */

static int check_limits(const struct txn_check *check)
{
    bool keyed = check->kind <= TXN_IF_VERSION;
    if (check->kind < TXN_IF_PRESENT || check->kind >= TXN_IF_KINDS_END) return ERR_INVAL;
    if (keyed && check->key.len == 0) return ERR_INVAL;
    if (check->key.len > KEY_BYTES_MAX || check->value.len > VALUE_BYTES_MAX) return ERR_TOO_BIG;
    return 0;
}

static int set_limits(const struct txn_set *set)
{
    bool drop = (set->flags & TXN_SET_DROP) != 0;
    if (set->flags & ~(TXN_SET_DROP | TXN_SET_STAMP)) return ERR_INVAL;
    if (drop && (set->flags != TXN_SET_DROP || set->value.len != 0)) return ERR_INVAL;
    if (set->key.len == 0) return ERR_INVAL;
    if (set->key.len > KEY_BYTES_MAX || set->value.len > VALUE_BYTES_MAX) return ERR_TOO_BIG;
    return 0;
}

static int advance_limits(const struct txn_advance *advance)
{
    if (advance->flags & ~TXN_ADVANCE_WRITTEN) return ERR_INVAL;
    if (advance->key.len == 0) return ERR_INVAL;
    if (advance->key.len > KEY_BYTES_MAX || advance->only_if.len > KEY_BYTES_MAX)
        return ERR_TOO_BIG;
    return 0;
}

static int record_limits(const struct txn_record *record)
{
    if (record->flags & ~(RECORD_COUNTED | RECORD_DEPENDENT)) return ERR_INVAL;
    if ((record->flags & RECORD_DEPENDENT) && record->ref == 0) return ERR_INVAL;
    if (record->payload.len > PAYLOAD_BYTES_MAX) return ERR_TOO_BIG;
    if (record->tags_count > RECORD_TAGS_MAX) return ERR_TOO_BIG;
    for (unsigned i = 0; i < record->tags_count; i++) {
        if (record->tags[i].len == 0) return ERR_INVAL;
        if (record->tags[i].len > TAG_BYTES_MAX) return ERR_TOO_BIG;
    }
    return 0;
}

static uint64_t parts_count(const struct txn *txn)
{
    return (uint64_t)txn->checks_count + txn->sets_count + txn->advances_count + txn->erases_count +
           txn->records_count;
}

static int txn_limits(const struct txn *txn)
{
    uint64_t parts = parts_count(txn);
    int err = 0;
    if (txn->stream.len == 0 || (txn->flags & ~TXN_ANY_CONTENT)) return ERR_INVAL;
    if (txn->stream.len > STREAM_NAME_BYTES_MAX) return ERR_TOO_BIG;
    if (txn->producer.len > PRODUCER_BYTES_MAX || parts > TXN_PARTS_MAX) return ERR_TOO_BIG;
    if ((txn->producer.len == 0) != (txn->n == 0)) return ERR_INVAL;
    for (unsigned i = 0; i < txn->checks_count && err == 0; i++)
        err = check_limits(&txn->checks[i]);
    for (unsigned i = 0; i < txn->sets_count && err == 0; i++)
        err = set_limits(&txn->sets[i]);
    for (unsigned i = 0; i < txn->advances_count && err == 0; i++)
        err = advance_limits(&txn->advances[i]);
    for (unsigned i = 0; i < txn->erases_count && err == 0; i++)
        err = txn->erases[i] == 0 ? ERR_INVAL : 0;
    for (unsigned i = 0; i < txn->records_count && err == 0; i++)
        err = record_limits(&txn->records[i]);
    return err;
}

/* ---- encoding ---- */

static void check_encode(const struct txn_check *check, struct buf *out)
{
    buf_u8(out, (uint8_t)check->kind);
    if (check->kind <= TXN_IF_VERSION) buf_slice(out, check->key);
    if (check->kind == TXN_IF_EQUALS) buf_slice(out, check->value);
    if (check->kind == TXN_IF_VERSION || check->kind >= TXN_IF_LAST) buf_varint(out, check->number);
}

static void set_encode(const struct txn_set *set, struct buf *out)
{
    buf_u8(out, set->flags);
    buf_slice(out, set->key);
    if (!(set->flags & TXN_SET_DROP)) buf_slice(out, set->value);
}

static void advance_encode(const struct txn_advance *advance, struct buf *out)
{
    buf_u8(out, advance->flags);
    buf_slice(out, advance->key);
    buf_slice(out, advance->only_if);
    if (advance->flags & TXN_ADVANCE_WRITTEN) return;
    buf_varint(out, advance->seq);
    buf_varint(out, advance->ordinal);
}

static void record_part_encode(const struct txn_record *record, struct buf *out)
{
    buf_varint(out, record->kind);
    buf_u8(out, record->flags);
    buf_varint(out, record->ref);
    buf_varint(out, record->tags_count);
    for (unsigned i = 0; i < record->tags_count; i++)
        buf_slice(out, record->tags[i]);
    buf_slice(out, record->payload);
}

static unsigned tags_total(const struct txn *txn)
{
    unsigned total = 0;
    for (unsigned i = 0; i < txn->records_count; i++)
        total += txn->records[i].tags_count;
    return total;
}

int txn_encode(const struct txn *txn, struct buf *out)
{
    size_t len_before = out->len;
    int err = txn_limits(txn);
    if (err != 0) return err;

    buf_u8(out, txn->flags);
    buf_slice(out, txn->stream);
    buf_slice(out, txn->producer);
    if (txn->producer.len != 0) buf_varint(out, txn->n);
    buf_varint(out, txn->checks_count);
    buf_varint(out, txn->sets_count);
    buf_varint(out, txn->advances_count);
    buf_varint(out, txn->erases_count);
    buf_varint(out, txn->records_count);
    buf_varint(out, tags_total(txn));
    for (unsigned i = 0; i < txn->checks_count; i++)
        check_encode(&txn->checks[i], out);
    for (unsigned i = 0; i < txn->sets_count; i++)
        set_encode(&txn->sets[i], out);
    for (unsigned i = 0; i < txn->advances_count; i++)
        advance_encode(&txn->advances[i], out);
    for (unsigned i = 0; i < txn->erases_count; i++)
        buf_varint(out, txn->erases[i]);
    for (unsigned i = 0; i < txn->records_count; i++)
        record_part_encode(&txn->records[i], out);

    if (out->len - len_before <= TXN_BYTES_MAX) return 0;
    out->len = len_before;
    return ERR_TOO_BIG;
}

/* ---- decoding ---- */

/* Keys, values and payloads are read with the whole transaction's bound; txn_limits judges them
 * afterwards, so that one too long is ERR_TOO_BIG and not ERR_CORRUPT. */
static struct slice part_slice(struct reader *r)
{
    return read_slice(r, TXN_BYTES_MAX);
}

static void check_decode(struct reader *r, struct txn_check *check)
{
    *check = (struct txn_check){.kind = read_u8(r)};
    if (check->kind < TXN_IF_PRESENT || check->kind >= TXN_IF_KINDS_END) {
        r->failed = true;
        return;
    }
    if (check->kind <= TXN_IF_VERSION) check->key = part_slice(r);
    if (check->kind == TXN_IF_EQUALS) check->value = part_slice(r);
    if (check->kind == TXN_IF_VERSION || check->kind >= TXN_IF_LAST) check->number = read_varint(r);
}

static void set_decode(struct reader *r, struct txn_set *set)
{
    *set = (struct txn_set){.flags = read_u8(r)};
    set->key = part_slice(r);
    if (!(set->flags & TXN_SET_DROP)) set->value = part_slice(r);
}

static void advance_decode(struct reader *r, struct txn_advance *advance)
{
    *advance = (struct txn_advance){.flags = read_u8(r)};
    advance->key = part_slice(r);
    advance->only_if = part_slice(r);
    if (advance->flags & TXN_ADVANCE_WRITTEN) return;
    advance->seq = read_varint(r);
    advance->ordinal = read_varint(r);
}

/* Takes its tags from *tags, of which *left are not used yet. */
static void record_part_decode(struct reader *r, struct txn_record *record, struct slice **tags,
                               unsigned *left)
{
    *record = (struct txn_record){.kind = (uint16_t)read_bounded(r, UINT16_MAX)};
    record->flags = read_u8(r);
    record->ref = read_varint(r);
    unsigned count = (unsigned)read_bounded(r, *left);
    record->tags = *tags;
    record->tags_count = count;
    for (unsigned i = 0; i < count; i++)
        (*tags)[i] = part_slice(r);
    *tags += count;
    *left -= count;
    record->payload = part_slice(r);
}

/* The counts, compared with their limits and with what the bytes left can hold. */
static int counts_decode(struct reader *r, struct txn *txn, unsigned *tags)
{
    txn->checks_count = (unsigned)read_bounded(r, TXN_BYTES_MAX);
    txn->sets_count = (unsigned)read_bounded(r, TXN_BYTES_MAX);
    txn->advances_count = (unsigned)read_bounded(r, TXN_BYTES_MAX);
    txn->erases_count = (unsigned)read_bounded(r, TXN_BYTES_MAX);
    txn->records_count = (unsigned)read_bounded(r, TXN_BYTES_MAX);
    *tags = (unsigned)read_bounded(r, TXN_BYTES_MAX);
    uint64_t parts = parts_count(txn);
    if (r->failed || parts + *tags > reader_left(r)) return ERR_CORRUPT;
    if (parts > TXN_PARTS_MAX || *tags > txn->records_count * RECORD_TAGS_MAX) return ERR_TOO_BIG;
    return 0;
}

/* All arrays lie in one block; those of 8-byte members first, all are so aligned. */
static void parts_decode(struct reader *r, struct txn *txn, unsigned tags_count)
{
    size_t checks_bytes = txn->checks_count * sizeof(struct txn_check);
    size_t sets_bytes = txn->sets_count * sizeof(struct txn_set);
    size_t advances_bytes = txn->advances_count * sizeof(struct txn_advance);
    size_t erases_bytes = txn->erases_count * sizeof(seq_t);
    size_t records_bytes = txn->records_count * sizeof(struct txn_record);
    size_t tags_bytes = tags_count * sizeof(struct slice);
    char *at = mem_alloc(checks_bytes + sets_bytes + advances_bytes + erases_bytes + records_bytes +
                         tags_bytes + 1);
    txn->memory = at;

    struct txn_check *checks = (void *)at;
    struct txn_set *sets = (void *)(at += checks_bytes);
    struct txn_advance *advances = (void *)(at += sets_bytes);
    seq_t *erases = (void *)(at += advances_bytes);
    struct txn_record *records = (void *)(at += erases_bytes);
    struct slice *tags = (void *)(at += records_bytes);
    for (unsigned i = 0; i < txn->checks_count; i++)
        check_decode(r, &checks[i]);
    for (unsigned i = 0; i < txn->sets_count; i++)
        set_decode(r, &sets[i]);
    for (unsigned i = 0; i < txn->advances_count; i++)
        advance_decode(r, &advances[i]);
    for (unsigned i = 0; i < txn->erases_count; i++)
        erases[i] = read_varint(r);
    unsigned tags_left = tags_count;
    for (unsigned i = 0; i < txn->records_count; i++)
        record_part_decode(r, &records[i], &tags, &tags_left);
    if (tags_left != 0) r->failed = true;

    txn->checks = checks;
    txn->sets = sets;
    txn->advances = advances;
    txn->erases = erases;
    txn->records = records;
}

int txn_decode(struct slice bytes, struct txn *out)
{
    if (bytes.len > TXN_BYTES_MAX) return ERR_TOO_BIG;
    struct reader r = reader_of(bytes);
    struct txn txn = {.flags = read_u8(&r)};
    unsigned tags_count;
    txn.stream = part_slice(&r);
    txn.producer = part_slice(&r);
    if (txn.producer.len != 0) txn.n = read_varint(&r);
    int err = counts_decode(&r, &txn, &tags_count);
    if (err != 0) return err;

    parts_decode(&r, &txn, tags_count);
    err = reader_done(&r) ? txn_limits(&txn) : ERR_CORRUPT;
    if (err != 0) {
        txn_free(&txn);
        return err;
    }
    *out = txn;
    return 0;
}

void txn_free(struct txn *txn)
{
    free(txn->memory);
    *txn = (struct txn){0};
}

int txn_peek_stream(struct slice bytes, struct slice *stream)
{
    struct reader r = reader_of(bytes);
    (void)read_u8(&r);
    struct slice name = read_slice(&r, STREAM_NAME_BYTES_MAX);
    if (r.failed || name.len == 0) return ERR_CORRUPT;
    *stream = name;
    return 0;
}

uint64_t txn_content_hash(const struct txn *txn)
{
    uint64_t hash = 0;
    for (unsigned i = 0; i < txn->records_count; i++) {
        const struct txn_record *record = &txn->records[i];
        uint8_t head[10];
        put_u16(head, record->kind);
        put_u64(head + 2, record->ref);
        hash = hash64_seed((struct slice){head, sizeof(head)}, hash);
        hash = hash64_seed(record->payload, hash);
    }
    return hash;
}

/* ---- outcomes ---- */

enum { OUTCOME_DUPLICATE = 1, OUTCOME_DETAILS = 2 };

void outcome_encode(const struct outcome *outcome, struct buf *out)
{
    CHECK(outcome->status <= 0);
    int bits =
        (outcome->duplicate ? OUTCOME_DUPLICATE : 0) | (outcome->details ? OUTCOME_DETAILS : 0);
    buf_u8(out, (uint8_t)bits);
    buf_varint(out, (uint64_t)-outcome->status);
    buf_varint(out, outcome->failed);
    buf_varint(out, outcome->first);
    buf_varint(out, outcome->last);
    buf_varint(out, outcome->ordinal);
    buf_varint(out, outcome->version);
    buf_varint(out, outcome->last_n);
    buf_u64(out, (uint64_t)outcome->time_ms);
    buf_put(out, outcome->chain, sizeof(outcome->chain));
}

void outcome_decode(struct reader *r, struct outcome *out)
{
    *out = (struct outcome){0};
    uint8_t bits = read_u8(r);
    if (bits & ~(OUTCOME_DUPLICATE | OUTCOME_DETAILS)) r->failed = true;
    out->duplicate = (bits & OUTCOME_DUPLICATE) != 0;
    out->details = (bits & OUTCOME_DETAILS) != 0;
    out->status = -(int)read_bounded(r, INT16_MAX);
    out->failed = (uint16_t)read_bounded(r, UINT16_MAX);
    out->first = read_varint(r);
    out->last = read_varint(r);
    out->ordinal = read_varint(r);
    out->version = read_varint(r);
    out->last_n = read_varint(r);
    out->time_ms = (int64_t)read_u64(r);
    struct slice chain = read_bytes(r, sizeof(out->chain));
    if (!r->failed) memcpy(out->chain, chain.data, sizeof(out->chain));
}
