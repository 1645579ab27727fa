/* log/txn.h -- the transaction: the one command that changes a stream, and what became of it.
 *
 * A transaction touches one stream and happens whole or not at all. Its checks see the state
 * before it; then come sets, advances, erases, records. A producer's number n gets one outcome,
 * for ever: it is used up by COMMITTED and REJECTED, by nothing else.
 *
 * Owns:   txn_decode's arrays, until txn_free; all slices borrow from the decoded bytes.
 * Errors: ERR_CORRUPT for bytes that are no transaction, ERR_TOO_BIG and ERR_INVAL for one that
 *         breaks a limit (log/limits.h); decoding never reads beyond its bytes.
 * Format: log/FORMAT.md, chapter Transaction (the rules of each part as well). It travels unchanged
 * from the client library through the raft entry to every replica. */
#ifndef LOG_TXN_H_
#define LOG_TXN_H_

#include "log/codec.h"
#include "log/limits.h"

/* Where a reader stands and what a stream holds at a read point. */
struct stream_head {
    seq_t first;      /* The oldest record kept; last + 1 when none is. */
    seq_t last;       /* 0 when none was ever written. */
    uint64_t ordinal; /* COUNTED records ever written. */
    uint64_t version; /* Raised by every transaction that changes anything; 0: no such stream. */
    uint8_t chain[32];
    index_t index;   /* The entry that changed it last. */
    int64_t time_ms; /* That entry's time. */
};

enum txn_check_kind {
    TXN_IF_PRESENT = 1,   /* Attribute key is there. */
    TXN_IF_ABSENT,        /* Attribute key is not there. */
    TXN_IF_EQUALS,        /* Attribute key has this value (a stamp in front is not compared). */
    TXN_IF_VERSION,       /* Attribute key was last changed by version `number`; 0: not there. */
    TXN_IF_STREAM_ABSENT, /* The stream does not exist yet. */
    TXN_IF_LAST,          /* The stream's last seq is `number`. */
    TXN_IF_NOT_ERASED,    /* Record `number` exists and was not erased. */
    TXN_IF_KINDS_END
};
struct txn_check {
    enum txn_check_kind kind;
    struct slice key;
    struct slice value;
    uint64_t number;
};

enum { TXN_SET_DROP = 1, TXN_SET_STAMP = 2, TXN_STAMP_BYTES = 16 };
/* TXN_SET_DROP deletes the attribute. TXN_SET_STAMP stores 16 bytes in front of the value, u64 seq
 * and u64 ordinal of the stream as this transaction leaves it: a member's joining point. */
struct txn_set {
    struct slice key;
    struct slice value;
    uint8_t flags;
};

enum { TXN_ADVANCE_WRITTEN = 1 };
/* Raise cursor `key` to (seq, ordinal), or with TXN_ADVANCE_WRITTEN to the last record and ordinal
 * as this transaction leaves them. Below where it stands: nothing happens. Above the last
 * record: the transaction is REJECTED. only_if not empty and no such attribute (as the sets
 * left them): this one advance is left out. */
struct txn_advance {
    struct slice key;
    struct slice only_if;
    seq_t seq;
    uint64_t ordinal;
    uint8_t flags;
};

enum {
    RECORD_COUNTED = 1,   /* Raises the ordinal: counts as unread. */
    RECORD_DEPENDENT = 2, /* Erased with the record its ref names. */
    RECORD_ERASED = 4,    /* Set by the state machine alone. */
};
struct txn_record {
    uint16_t kind; /* The application's. */
    uint8_t flags;
    seq_t ref; /* 0, or an earlier seq of this stream. */
    struct slice payload;
    const struct slice *tags;
    unsigned tags_count; /* At most RECORD_TAGS_MAX. */
};

enum {
    TXN_ANY_CONTENT = 1, /* Seen before under this n: DUPLICATE whatever the content was then. */
};
struct txn {
    struct slice stream;   /* 1 .. STREAM_NAME_BYTES_MAX bytes. */
    struct slice producer; /* Empty: none, and n is 0. */
    uint64_t n;            /* From 1 when there is a producer. */
    uint8_t flags;
    const struct txn_check *checks;
    const struct txn_set *sets;
    const struct txn_advance *advances;
    const seq_t *erases;
    const struct txn_record *records;
    unsigned checks_count, sets_count, advances_count, erases_count, records_count;
    void *memory; /* Private to txn_decode. */
};

/* Check all limits and append the encoding. 0, ERR_INVAL or ERR_TOO_BIG; out untouched then. */
MUST_CHECK int txn_encode(const struct txn *txn, struct buf *out);
/* Decode one transaction that fills bytes exactly. The caller frees with txn_free. */
MUST_CHECK int txn_decode(struct slice bytes, struct txn *out);
void txn_free(struct txn *txn);
/* Only the stream's name, to choose the partition; ERR_CORRUPT. Borrowed from bytes. */
MUST_CHECK int txn_peek_stream(struct slice bytes, struct slice *stream);

/* XXH3-64 over kind, ref and payload of the records: what "the same content" means. */
uint64_t txn_content_hash(const struct txn *txn);

/* What became of a transaction. */
struct outcome {
    int status;        /* 0 committed; ERR_REJECTED, ERR_GAP, ERR_REUSED, ERR_NO_STREAM. */
    bool duplicate;    /* The number was used before: status and what follows are of then. */
    bool details;      /* False for a duplicate older than the last 32: only `duplicate` counts. */
    uint16_t failed;   /* ERR_REJECTED: the part that did not hold, counted from 0 through checks,
                          advances, erases, records in this order. A check: it is not so. An
                          advance or erase: above the last record before. A record: its ref is,
                          or it is DEPENDENT on one that is erased, DEPENDENT itself, or has
                          ERASE_DEPENDENTS_MAX already. */
    seq_t first, last; /* Records written; 0, 0 when none. */
    uint64_t ordinal;  /* The stream's, after it; 0 in a duplicate. */
    uint64_t version;  /* The stream's, after it. A TXN_IF_VERSION did not hold: the
                          attribute's as it is, 0 when it is not there. */
    uint64_t last_n;   /* The producer's last used number, after it. */
    int64_t time_ms;   /* The entry's time; 0 in a duplicate. */
    uint8_t chain[32]; /* After the last record; zeroes in a duplicate. */
};
void outcome_encode(const struct outcome *outcome, struct buf *out);
void outcome_decode(struct reader *r, struct outcome *out); /* Fails the reader. */

#endif /* LOG_TXN_H_ */
