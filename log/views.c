/* log/views.c -- what the store answers with, as bytes: heads, records, items, facts. */
#include "log/limits.h"
#include "log/store.h"

static void read_chain(struct reader *r, uint8_t chain[32])
{
    struct slice bytes = read_bytes(r, 32);
    if (!r->failed) memcpy(chain, bytes.data, 32);
}

void stream_head_encode(const struct stream_head *head, struct buf *out)
{
    buf_varint(out, head->first);
    buf_varint(out, head->last);
    buf_varint(out, head->ordinal);
    buf_varint(out, head->version);
    buf_varint(out, head->index);
    buf_u64(out, (uint64_t)head->time_ms);
    buf_put(out, head->chain, sizeof(head->chain));
}

void stream_head_decode(struct reader *r, struct stream_head *out)
{
    *out = (struct stream_head){0};
    out->first = read_varint(r);
    out->last = read_varint(r);
    out->ordinal = read_varint(r);
    out->version = read_varint(r);
    out->index = read_varint(r);
    out->time_ms = (int64_t)read_u64(r);
    read_chain(r, out->chain);
}

void record_encode(const struct record_view *record, struct buf *out)
{
    buf_varint(out, record->seq);
    buf_varint(out, record->ordinal);
    buf_u64(out, (uint64_t)record->time_ms);
    buf_slice(out, record->producer);
    buf_varint(out, record->n);
    buf_u16(out, record->kind);
    buf_u8(out, record->flags);
    buf_varint(out, record->ref);
    buf_slice(out, record->payload);
    buf_slice(out, record->digest);
    buf_put(out, record->chain, sizeof(record->chain));
    buf_slice(out, record->tags);
}

void record_decode(struct reader *r, struct record_view *out)
{
    *out = (struct record_view){.seq = read_varint(r)};
    out->ordinal = read_varint(r);
    out->time_ms = (int64_t)read_u64(r);
    out->producer = read_slice(r, PRODUCER_BYTES_MAX);
    out->n = read_varint(r);
    out->kind = read_u16(r);
    out->flags = read_u8(r);
    out->ref = read_varint(r);
    out->payload = read_slice(r, PAYLOAD_BYTES_MAX);
    out->digest = read_slice(r, sizeof(out->chain));
    read_chain(r, out->chain);
    out->tags = read_slice(r, 1 + RECORD_TAGS_MAX * (TAG_BYTES_MAX + 1));
}

enum { ITEM_CURSOR = 1, ITEM_DROPPED = 2 };

void item_encode(const struct item_view *item, struct buf *out)
{
    buf_u8(out, (uint8_t)((item->cursor ? ITEM_CURSOR : 0) | (item->dropped ? ITEM_DROPPED : 0)));
    buf_slice(out, item->key);
    buf_slice(out, item->value);
    buf_varint(out, item->version);
    buf_varint(out, item->seq);
    buf_varint(out, item->ordinal);
}

void item_decode(struct reader *r, struct item_view *out)
{
    uint8_t bits = read_u8(r);
    if (bits & ~(ITEM_CURSOR | ITEM_DROPPED)) r->failed = true;
    *out = (struct item_view){.cursor = bits & ITEM_CURSOR, .dropped = bits & ITEM_DROPPED};
    out->key = read_slice(r, KEY_BYTES_MAX);
    out->value = read_slice(r, VALUE_BYTES_MAX + TXN_STAMP_BYTES);
    out->version = read_varint(r);
    out->seq = read_varint(r);
    out->ordinal = read_varint(r);
}

void facts_encode(const struct store_facts *facts, struct buf *out)
{
    buf_varint(out, facts->index);
    buf_varint(out, facts->term);
    buf_u64(out, (uint64_t)facts->time_ms);
    buf_u64(out, facts->history);
    buf_varint(out, facts->configuration_index);
    buf_slice(out, facts->configuration);
    buf_varint(out, facts->wal_from);
}

void facts_decode(struct reader *r, struct store_facts *out)
{
    *out = (struct store_facts){.index = read_varint(r)};
    out->term = read_varint(r);
    out->time_ms = (int64_t)read_u64(r);
    out->history = read_u64(r);
    out->configuration_index = read_varint(r);
    out->configuration = read_slice(r, STORE_CONFIGURATION_BYTES_MAX);
    out->wal_from = read_varint(r);
}
