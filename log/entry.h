/* log/entry.h -- the payload of a raft entry: transactions that arrived in one turn.
 *
 * Format: u8 apply version, u8 flags (1: LZ4), u64 time_ms, then (LZ4: varint size and packed
 * bytes) varint count and count slices, each one encoded transaction. At most ENTRY_BYTES_MAX.
 * The time is chosen by the leader before proposing; a store applies max(its last, this). */
#ifndef LOG_ENTRY_H_
#define LOG_ENTRY_H_

#include "log/codec.h"
#include "log/limits.h"

enum {
    ENTRY_VERSION = 1,          /* The apply version this build writes. */
    ENTRY_PACK_BYTES_MIN = 512, /* Smaller ones are not worth LZ4. */
};

/* Gathers transactions. All zeroes is an empty one; entry_free ends it. */
struct entry {
    struct buf txns; /* Private: slices, one after the other. */
    unsigned count;  /* Transactions in it. */
};

/* True when the encoded transaction still fits; otherwise close this entry first. */
bool entry_fits(const struct entry *entry, size_t txn_bytes);
void entry_add(struct entry *entry, struct slice txn); /* Copied. */
/* Encode into out (appended) and empty the entry. Packs once when that makes it smaller. */
void entry_close(struct entry *entry, int64_t time_ms, struct buf *out);
void entry_free(struct entry *entry);

/* Reading: unpacked bytes live in `memory`, owned by the view, until entry_view_free. */
struct entry_view {
    int64_t time_ms;
    unsigned count;     /* Transactions not handed out yet. */
    struct reader txns; /* Private: entry_next reads it; `failed` after the last tells. */
    void *memory;
};
MUST_CHECK int entry_open(struct slice bytes, struct entry_view *out); /* ERR_CORRUPT/VERSION. */
/* The next transaction's bytes; false after the last or when damaged (txns.failed tells). */
MUST_CHECK bool entry_next(struct entry_view *view, struct slice *txn);
void entry_view_free(struct entry_view *view);

#endif /* LOG_ENTRY_H_ */
