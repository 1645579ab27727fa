/* log/store.h -- one partition's streams on this disk: rows keyed (stream, class, key).
 *
 * Entries are applied in order; what they change gathers in a memtable; a checkpoint writes it as
 * one immutable sorted run and names it in the manifest, whose rename is the only commit point.
 * After a crash the store is what the manifest says, and the entries after it are applied again.
 *
 * Happy path: store_open -> (store_fetch -> store_apply)* with reads between -> checkpoints.
 * Owns:   the folder's manifest and runs. Borrows: env, the budget, both longer-lived.
 * Thread: the loop's; store_open blocks; checkpoints, deltas and cold reads work on env's pool,
 *         over frozen memtables and reference-counted runs.
 * Errors: ERR_CORRUPT in a manifest: the node does not start. In a run: the call that met it
 *         fails with it, and stats count it; nothing damaged is ever served.
 * Format: log/FORMAT.md, version 1. */
#ifndef LOG_STORE_H_
#define LOG_STORE_H_

#include "log/env.h"
#include "log/txn.h"

struct store;

/* The memory of all stores of a node: counted together, so that the largest checkpoints first. */
struct store_budget {
    size_t limit_bytes;        /* Of memtables, cached rows, indexes and blocks. */
    _Atomic size_t used_bytes; /* Private to log/: workers load blocks. */
};

/* What a manifest says beside its runs; also what a snapshot carries to another node. */
struct store_facts {
    index_t index;               /* Applied up to here. */
    term_t term;                 /* Of that entry. */
    int64_t time_ms;             /* Of the last applied entry; never goes back. */
    uint64_t history;            /* Running hash over every applied transaction and outcome. */
    index_t configuration_index; /* Of the raft configuration below. */
    struct slice configuration;  /* The gate's bytes; borrowed from the store. */
    batch_t wal_from;            /* WAL entries of this partition before this batch are void. */
};
void facts_encode(const struct store_facts *facts, struct buf *out);
void facts_decode(struct reader *r, struct store_facts *out); /* Slices borrow; fails r. */

struct store_config {
    const char *dir; /* Copied; made when absent. */
    part_t part;
    uint64_t owner; /* Names the cluster; a manifest of another: ERR_FOREIGN. */
    struct store_budget *budget;
};

/* why: names the file, the offset and what is wrong on ERR_CORRUPT and ERR_FOREIGN. */
MUST_CHECK int store_open(struct env *env, const struct store_config *config, struct store **out,
                          char *why, size_t why_bytes);
/* Waits for work under way; nothing is written (the WAL has it). No callback runs any more; so not
 * from inside one. */
void store_close(struct store *store);
/* For the simulator's crash: frees memory, touches no file, runs no callback; work under way on
 * this store must be gone already with its env. */
void store_abandon(struct store *store);

const struct store_facts *store_manifest(const struct store *store); /* Durable. */
const struct store_facts *store_facts(const struct store *store);    /* As applied. */

/* ---- applying ---- */

/* An entry's payload: transactions that became one raft entry. Written by entry_* (log/entry.h),
 * read by store_apply. */

/* Makes the rows that an entry names ready in memory and pins them until it is applied. */
struct store_fetch {
    struct slice entry;                               /* Borrowed until done. */
    void (*done)(struct store_fetch *fetch, int err); /* ERR_CORRUPT: a run is damaged. After any
                                                         error nothing more can be applied: what
                                                         is left is reading, and an install. */
};
/* Returns true when all rows are in memory already: done is not called then. Otherwise done runs
 * on a later turn. Fetches are made, for committed entries alone, and their entries applied, in
 * log order: every entry that was fetched is applied, and none that was not. An entry ahead that
 * is not applied yet is taken into account. fetch itself is free once it is ready. Bytes that are
 * no entry: true; store_apply then says so. */
MUST_CHECK bool store_fetch(struct store *store, struct store_fetch *fetch);

/* One committed transaction, told while an entry is applied. All borrowed until return. */
struct applied_txn {
    unsigned place; /* In its entry, from 0. */
    const struct txn *txn;
    const struct outcome *outcome;
    const struct stream_head *head; /* After it; NULL when the stream does not exist. */
    bool changed;                   /* It raised the version: subscribers hear of it. */
};
typedef void (*applied_cb)(void *arg, const struct applied_txn *applied);

/* Apply entry `index`, which is facts.index + 1, whose fetch is done. each runs for every
 * transaction, in order. ERR_CORRUPT: the bytes are no entry (a bug, or damage); ERR_VERSION: of a
 * later apply version; nothing is applied then. The result depends on the entry and the rows alone.
 */
MUST_CHECK int store_apply(struct store *store, index_t index, term_t term, struct slice entry,
                           applied_cb each, void *arg);
/* An entry without transactions: a barrier, or a raft configuration (configuration not NULL). */
void store_skip(struct store *store, index_t index, term_t term, const struct slice *configuration);

/* ---- reading: at this moment's applied state ---- */

/* A record as stored. Slices borrow from whoever gave it. */
struct record_view {
    seq_t seq;
    uint64_t ordinal; /* Of the stream after this record. */
    int64_t time_ms;
    struct slice producer;
    uint64_t n;
    uint16_t kind;
    uint8_t flags; /* RECORD_ERASED: payload is empty. */
    seq_t ref;
    struct slice payload;
    struct slice digest; /* RECORD_ERASED: SHA-256 of the payload there was; otherwise empty. */
    uint8_t chain[32];
    struct slice tags; /* Encoded: varint count, then slices. */
};
void record_encode(const struct record_view *record, struct buf *out);
void record_decode(struct reader *r, struct record_view *out); /* Fails the reader. */

/* An attribute or a cursor as stored. */
struct item_view {
    struct slice key;
    struct slice value; /* Attributes: empty when dropped. */
    uint64_t version;   /* Of its last change. */
    seq_t seq;          /* Cursors. */
    uint64_t ordinal;   /* Cursors. */
    bool cursor, dropped;
};
void item_encode(const struct item_view *item, struct buf *out);
void item_decode(struct reader *r, struct item_view *out);

enum store_query_kind {
    STORE_HEAD = 1,   /* The head alone. */
    STORE_RECORDS,    /* Records from `from` on, or backwards; only those with
                         seq <= `to` when to is not 0. */
    STORE_RECORDS_AT, /* Records from the first whose time is at least `from` (ms) on. */
    STORE_ATTRIBUTES, /* Attributes whose key begins with prefix, after `after`, in byte order. */
    STORE_CURSORS,    /* Cursors, likewise. */
    STORE_CHANGES,    /* Attributes and cursors (dropped ones too) changed after version `from`,
                         attributes first, by key. after: the key of the last item had, with a
                         byte in front: 0 of an attribute, 1 of a cursor. */
    STORE_TAG,        /* Last seqs of tag `prefix` above `from`: items with seq set. */
    STORE_PRODUCER,   /* The producer `prefix`: its last n in `number`, 0 when it is not known. A
                         stream that is absent may know producers whose transactions were
                         rejected: number is set beside ERR_NO_STREAM too. */
    STORE_QUERY_KINDS_END
};

/* The caller's memory until done runs. */
struct store_query {
    enum store_query_kind kind;
    struct slice stream; /* Borrowed until done. */
    uint64_t from, to;   /* Seq, time or version, by kind. */
    bool backwards;      /* STORE_RECORDS: from `from` downwards; 0 means from the last. */
    struct slice prefix, after;
    const struct txn_check *checks; /* All must hold at the read point. */
    unsigned checks_count;
    uint32_t limit_count; /* At most this many rows; 0 only for STORE_HEAD. */
    uint32_t limit_bytes; /* Stop before more; one row is given at least. */

    /* Answers. */
    struct stream_head head; /* At the read point, also when the query failed a check. */
    uint16_t failed;         /* ERR_REJECTED: the check that did not hold. */
    uint64_t number;
    struct buf rows; /* record_encode or item_encode, one after the other. Caller frees. */
    uint32_t rows_count;
    bool more; /* A limit stopped it. */
    /* ERR_NO_STREAM, ERR_REJECTED, ERR_CORRUPT, ERR_RESET (records from below first asked for;
     * `from` 0 is the first there is). */
    void (*done)(struct store_query *query, int err);
};
/* done runs once, on the loop, after this call has returned (at the end of this turn when memory
 * has the answer); the state read is the one at this call. */
void store_query(struct store *store, struct store_query *query);

/* Which of these streams changed after entry `since`: hits are appended to out as
 * {varint place, head}. done as above. For inboxes: at most 4096 streams. */
struct store_heads {
    const struct slice *streams; /* Borrowed until done. */
    unsigned streams_count;
    index_t since;
    struct buf out; /* Caller frees. */
    unsigned hits_count;
    void (*done)(struct store_heads *heads, int err);
};
void store_heads(struct store *store, struct store_heads *heads);
/* Which streams changed after entry `since`, by name, after the name `after`: feeds go on from
 * there. Each is a slice and its head as of now, or later than now when there are several pages. */
struct store_changed {
    index_t since;
    struct slice after;   /* Copied. Empty: from the first. */
    uint32_t limit_count; /* At most this many; not 0. */
    struct buf out;       /* Slice, stream_head_encode. Caller frees. */
    uint32_t count;
    bool more;       /* There are others behind the last one. */
    index_t index;   /* At the call; all that changed up to it is told. */
    int64_t time_ms; /* Of that entry: later ones have this time or a later one. */
    void (*done)(struct store_changed *changed, int err); /* ERR_CORRUPT. */
};
void store_changed(struct store *store, struct store_changed *changed); /* done as above. */
void stream_head_encode(const struct stream_head *head, struct buf *out);
void stream_head_decode(struct reader *r, struct stream_head *out); /* Fails the reader. */

/* ---- checkpoints and deltas ---- */

/* Freeze the memtable and write it as a run; the manifest then holds all that is applied now (after
 * a failed one perhaps only what that one had frozen: then once more). One at a time: ERR_BUSY
 * while another or an install runs. done(arg, err) on a later turn; ERR_NO_SPACE, ERR_IO, ERR_BUSY
 * (too many fetches are not applied): nothing changed, the rows stay in memory. Nothing new to
 * write is not an error. */
MUST_CHECK int store_checkpoint(struct store *store, void (*done)(void *arg, int err), void *arg);
bool store_checkpointing(const struct store *store);
size_t store_dirty_bytes(const struct store *store); /* Memtable bytes not yet in a run. */

/* Every row with a commit index in (from, manifest's index], as one sorted run in a file of its
 * own: brings an absent replica up to date, or with from 0 seeds an empty one. */
struct store_delta; /* Bytes on disk; the file goes with store_delta_release. */
/* ERR_INVAL: from is beyond the manifest. done on a later turn: delta is the caller's, who releases
 * it before the store closes; NULL on ERR_CORRUPT, ERR_NO_SPACE. */
MUST_CHECK int store_delta_make(struct store *store, index_t from,
                                void (*done)(void *arg, int err, struct store_delta *delta),
                                void *arg);
uint64_t store_delta_bytes(const struct store_delta *delta);
const struct store_facts *store_delta_facts(const struct store_delta *delta); /* Of the manifest
                                               it was made from; borrowed from delta. */
/* Blocks; worker thread. At most bytes from offset on; *got is less at the end alone. */
MUST_CHECK int store_delta_read(struct store_delta *delta, uint64_t offset, void *out, size_t bytes,
                                size_t *got);
void store_delta_release(struct store_delta *delta);

/* The other end: collect a delta's bytes, check them, make them this store's state. */
struct store_install;
/* facts: what the sender's manifest says; from: this store's manifest index that the delta starts
 * at (any at or before the manifest's does), or 0 for a full copy. All copied. ERR_INVAL: they do
 * not fit together. The caller ends it by commit or cancel, before the store closes. */
MUST_CHECK int store_install_begin(struct store *store, const struct store_facts *facts,
                                   index_t from, struct store_install **out);
/* Appends; written on a worker later; bytes copied. Errors come at finish. */
void store_install_put(struct store_install *install, struct slice bytes);
size_t store_install_backlog(const struct store_install *install); /* Bytes not yet written. */
/* All bytes came: check every block and sync. done: ERR_CORRUPT, ERR_NO_SPACE, or 0: ready. After
 * an error only cancel is left. */
void store_install_finish(struct store_install *install, void (*done)(void *arg, int err),
                          void *arg);
/* Replace the store's state: manifest (with wal_from) renamed in; the memtable is dropped; no
 * fetch or checkpoint may be under way, fetches that are ready and not applied are dropped. Nothing
 * may be applied until done. install is freed. done(err): 0; ERR_NO_SPACE, or ERR_INVAL when the
 * manifest has gone further meanwhile: the store is as it was. */
void store_install_commit(struct store_install *install, batch_t wal_from,
                          void (*done)(void *arg, int err), void *arg);
void store_install_cancel(struct store_install *install); /* At any time but during a commit. */

/* For metrics: what it holds now, and what it did since it was opened. */
struct store_stats {
    uint64_t runs_count, runs_bytes;
    uint64_t memtable_bytes, frozen_bytes, cache_bytes;
    uint64_t rows_fetched, damage_count, checkpoints_count;
};
void store_stats(const struct store *store, struct store_stats *out);

#endif /* LOG_STORE_H_ */
