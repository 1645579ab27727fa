/* log/row.h -- rows, what a store is made of: keys whose byte order is the order of the table, and
 * the values of each class.
 *
 * A key is {u8 length, stream, u8 class, rest}; numbers in it are big endian, so that memcmp puts
 * a stream's rows together, by class, records by seq. Each row carries the index of the entry that
 * wrote it; of several with one key the newest wins; a deletion is a row too.
 *
 * Owns:   nothing: encoders append to the caller's buffer, views borrow from the decoded bytes.
 * Thread: any.
 * Errors: decoders return false or fail the reader for bytes that are no such value.
 * Format: log/FORMAT.md, chapter Row. */
#ifndef LOG_ROW_H_
#define LOG_ROW_H_

#include "log/store.h"

enum row_class {
    ROW_HEAD = 1,
    ROW_ATTRIBUTE,
    ROW_CURSOR,
    ROW_PRODUCER,
    ROW_TAG,
    ROW_RECORD,
    ROW_XREF, /* (ref, seq): the record seq is about the record ref. */
    ROW_CLASSES_END
};

enum {
    ROW_KEY_BYTES_MAX = 2 + STREAM_NAME_BYTES_MAX + KEY_BYTES_MAX,
    /* The largest value is a record's: its payload, tags, producer and numbers. */
    ROW_VALUE_BYTES_MAX =
        PAYLOAD_BYTES_MAX + RECORD_TAGS_MAX * (TAG_BYTES_MAX + 1) + PRODUCER_BYTES_MAX + 128,
    ROW_DELETED = 1, /* The only row flag: an attribute was dropped. */
};

/* A row as a table or a run gives it; all borrowed. */
struct row {
    struct slice key;
    struct slice value;
    index_t index; /* Of the entry that wrote it. */
    uint8_t flags;
};

/* A key under construction, in the caller's memory. */
struct row_key {
    size_t len;
    uint8_t bytes[ROW_KEY_BYTES_MAX];
};
static inline struct slice row_key_bytes(const struct row_key *key)
{
    return (struct slice){key->bytes, key->len};
}

/* rest: the key within its class, at most KEY_BYTES_MAX bytes; all is copied. */
void row_key_make(struct row_key *key, struct slice stream, enum row_class class,
                  struct slice rest);
void row_key_record(struct row_key *key, struct slice stream, seq_t seq);
void row_key_xref(struct row_key *key, struct slice stream, seq_t ref, seq_t seq);
/* Take a key apart; false when it is none. stream and rest borrow from key. */
bool row_key_split(struct slice key, struct slice *stream, enum row_class *class,
                   struct slice *rest);
/* Of a ROW_RECORD key its seq, of a ROW_XREF key the seq of the later record; 0 for others. */
seq_t row_key_seq(struct slice key);
/* True when key begins with all of prefix. */
bool slice_begins(struct slice bytes, struct slice prefix);

/* ---- values; ROW_HEAD is stream_head_encode's ---- */

enum { ATTRIBUTE_STAMPED = 1 };
struct attribute_row {
    uint64_t version; /* Of its last change. */
    uint8_t flags;
    struct slice value; /* With the stamp in front when ATTRIBUTE_STAMPED. */
};
void attribute_row_put(struct buf *out, const struct attribute_row *row);
bool attribute_row_get(struct slice value, struct attribute_row *out);

/* A mark: how far somebody came. */
struct cursor_row {
    uint64_t version;
    seq_t seq;
    uint64_t ordinal;
};
void cursor_row_put(struct buf *out, const struct cursor_row *row);
bool cursor_row_get(struct slice value, struct cursor_row *out);

struct xref_row {
    uint16_t kind;
    uint8_t flags; /* RECORD_DEPENDENT counts here. */
};
void xref_row_put(struct buf *out, const struct xref_row *row);
bool xref_row_get(struct slice value, struct xref_row *out);

/* A tag's last seqs, oldest first. */
struct tag_row {
    unsigned count;
    seq_t seqs[TAG_SEQS_MAX];
};
void tag_row_put(struct buf *out, const struct tag_row *row);
bool tag_row_get(struct slice value, struct tag_row *out);
void tag_row_add(struct tag_row *row, seq_t seq); /* Drops the oldest when full. */

/* A record without its seq, which the key holds. header: what the chain covers beside the
 * payload's digest: u64 seq and then the value's bytes up to the chain, without RECORD_ERASED. */
void record_row_header(struct buf *out, const struct record_view *record);
/* record->chain is set; an erased one has its digest instead of the payload. */
void record_row_put(struct buf *out, const struct record_view *record);
bool record_row_get(seq_t seq, struct slice value, struct record_view *out);

/* One used number of a producer. */
struct producer_outcome {
    uint64_t content;  /* txn_content_hash. */
    seq_t first, last; /* 0, 0 when it wrote no record. */
    uint64_t version;
    bool rejected;
    uint16_t failed;
};
/* The outcomes of numbers last_n - count + 1 .. last_n, oldest first. */
struct producer_row {
    uint64_t last_n;
    unsigned count;
    struct producer_outcome outcomes[PRODUCER_OUTCOMES_MAX];
};
bool producer_row_get(struct slice value, struct producer_row *out);
/* The last number alone; false when value is no producer's. */
bool producer_row_last(struct slice value, uint64_t *last_n);
/* Append to out: value (empty: none yet) with the outcome of the next number; the oldest is
 * dropped when PRODUCER_OUTCOMES_MAX are there. False, out as it was: value is damaged. */
bool producer_row_add(struct buf *out, struct slice value, const struct producer_outcome *outcome);

#endif /* LOG_ROW_H_ */
