/* log/apply.c -- what a transaction does to its stream.
 *
 * Happy path: the stream's head and the producer's row are read, checks and limits are judged
 * against the state before, then sets, advances, erases and records become rows in the memtable,
 * and the head with its version + 1 and its chain last.
 * Failure modes: a producer's number that is not its next one is answered from its row; a part that
 * does not hold rejects the whole before anything was written.
 * Invariants: the result depends on the entry and the rows alone (no clock, no chance, nothing of
 * how rows are spread over memory and runs); every row read was made ready by store_fetch. */
#include <stdlib.h>

#include "log/entry.h"
#include "log/pack.h"
#include "log/store_impl.h"

/* One transaction being applied. */
struct change {
    struct store *store;
    const struct fetch_job *fetch;
    struct reading reading;
    const struct txn *txn;
    index_t index;
    int64_t time_ms;
    struct stream_head head; /* Becomes the one after. version 0: the stream is absent. */
    uint64_t version;        /* What it raises the stream to when it changes anything. */
    bool changed;
    struct slice producer; /* The producer's row as it was; empty: none. */
    struct outcome outcome;
};

/* ---- rows ---- */

static bool get(struct change *c, const struct row_key *key, struct row *out)
{
    int found = reading_get(&c->reading, row_key_bytes(key), out);
    CHECK(found >= 0); /* store_fetch made it ready. */
    return found == 1;
}

/* Write a row with the value gathered in store->value; before: as memtable_put wants it. */
static void put_flagged(struct change *c, const struct row_key *key, uint8_t flags,
                        const struct row_key *before)
{
    struct store *store = c->store;
    struct row row = {row_key_bytes(key), buf_bytes(&store->value), c->index, flags};
    if (memtable_put(store->active, &row, before)) rowcache_forget(store->rows, row.key);
}

static void put(struct change *c, const struct row_key *key)
{
    put_flagged(c, key, 0, NULL);
}

/* The buffer for the value of the next put, empty. */
static struct buf *value_begin(struct change *c)
{
    c->store->value.len = 0;
    return &c->store->value;
}

static void head_load(struct change *c)
{
    struct row_key key;
    struct row row;
    row_key_make(&key, c->txn->stream, ROW_HEAD, (struct slice){NULL, 0});
    c->head = (struct stream_head){.first = 1};
    if (!get(c, &key, &row)) return;
    struct reader r = reader_of(row.value);
    stream_head_decode(&r, &c->head);
    CHECK(reader_done(&r) && c->head.version > 0);
}

static void head_store(struct change *c)
{
    struct row_key key;
    c->head.version = c->version;
    c->head.index = c->index;
    c->head.time_ms = c->time_ms;
    row_key_make(&key, c->txn->stream, ROW_HEAD, (struct slice){NULL, 0});
    stream_head_encode(&c->head, value_begin(c));
    CHECK(c->store->value.len <= HEAD_BYTES_MAX);
    put(c, &key);
}

/* False when it is not there or dropped. */
static bool attribute_present(struct change *c, struct slice key)
{
    struct row_key row_key;
    struct row row;
    row_key_make(&row_key, c->txn->stream, ROW_ATTRIBUTE, key);
    return get(c, &row_key, &row) && (row.flags & ROW_DELETED) == 0;
}

static bool record_load(struct change *c, seq_t seq, struct record_view *out)
{
    struct row_key key;
    struct row row;
    row_key_record(&key, c->txn->stream, seq);
    if (!get(c, &key, &row)) return false;
    CHECK(record_row_get(seq, row.value, out));
    return true;
}

/* ---- the producer's numbers: exactly once ---- */

/* The outcome of a number used before. */
static void duplicate_tell(struct change *c)
{
    struct producer_row row;
    struct outcome *outcome = &c->outcome;
    CHECK(producer_row_get(c->producer, &row));
    *outcome = (struct outcome){.duplicate = true, .last_n = row.last_n};
    uint64_t age = row.last_n - c->txn->n;
    if (age >= row.count) return; /* Forgotten but for having been. */
    const struct producer_outcome *then = &row.outcomes[row.count - 1 - age];
    if (then->content != txn_content_hash(c->txn) && !(c->txn->flags & TXN_ANY_CONTENT)) {
        *outcome = (struct outcome){.status = ERR_REUSED,
                                    .details = true,
                                    .ordinal = c->head.ordinal,
                                    .version = c->head.version,
                                    .last_n = row.last_n,
                                    .time_ms = c->time_ms};
        return;
    }
    outcome->details = true;
    outcome->status = then->rejected ? ERR_REJECTED : 0;
    outcome->failed = then->failed;
    outcome->first = then->first;
    outcome->last = then->last;
    outcome->version = then->version;
}

/* True when the transaction's number is the producer's next one, or there is no producer.
 * Otherwise the outcome is told. */
static bool producer_admits(struct change *c)
{
    struct row_key key;
    struct row row;
    uint64_t last_n = 0;
    if (c->txn->producer.len == 0) return true;
    row_key_make(&key, c->txn->stream, ROW_PRODUCER, c->txn->producer);
    if (get(c, &key, &row)) {
        c->producer = row.value;
        CHECK(producer_row_last(row.value, &last_n));
    }
    c->outcome.last_n = last_n;
    if (c->txn->n == last_n + 1) return true;
    if (c->txn->n <= last_n)
        duplicate_tell(c);
    else
        c->outcome.status = ERR_GAP;
    return false;
}

/* The number is used up: remember its outcome. */
static void producer_note(struct change *c)
{
    struct row_key key;
    struct producer_outcome outcome = {
        .content = txn_content_hash(c->txn),
        .first = c->outcome.first,
        .last = c->outcome.last,
        .version = c->outcome.version,
        .rejected = c->outcome.status == ERR_REJECTED,
        .failed = c->outcome.failed,
    };
    if (c->txn->producer.len == 0) return;
    CHECK(producer_row_add(value_begin(c), c->producer, &outcome));
    row_key_make(&key, c->txn->stream, ROW_PRODUCER, c->txn->producer);
    put(c, &key);
    c->outcome.last_n = c->txn->n;
}

/* ---- dependents ---- */

static int seq_order(const void *a, const void *b)
{
    seq_t x = get_u64(a), y = get_u64(b);
    return x < y ? -1 : x > y;
}

/* Append what a table knows to be DEPENDENT on ref. */
static void table_dependents(const struct memtable *table, struct slice stream, seq_t ref,
                             struct buf *seqs)
{
    struct row_key from;
    struct memtable_iter iter;
    struct row row;
    struct xref_row xref;
    row_key_xref(&from, stream, ref, 0);
    struct slice prefix = {from.bytes, from.len - sizeof(seq_t)};
    for (memtable_seek(table, row_key_bytes(&from), &iter);
         memtable_row(&iter, &row) && slice_begins(row.key, prefix); memtable_step(&iter)) {
        CHECK(xref_row_get(row.value, &xref));
        if (xref.flags & RECORD_DEPENDENT) buf_u64(seqs, row_key_seq(row.key));
    }
}

/* The seqs of records DEPENDENT on ref, as u64 in store->scratch, each once, and their number. A
 * record lies in a run and in a table that was written and still stays, hence "each once". */
static size_t dependents_find(struct change *c, seq_t ref)
{
    struct buf *seqs = &c->store->scratch;
    const struct view *view = c->store->view;
    seqs->len = 0;
    fetch_dependents(c->fetch, c->txn->stream, ref, seqs);
    table_dependents(c->store->active, c->txn->stream, ref, seqs);
    for (unsigned i = 0; i < view->tables_count; i++)
        table_dependents(view->tables[i].table, c->txn->stream, ref, seqs);
    size_t count = seqs->len / sizeof(seq_t), kept = 0;
    if (count == 0) return 0;
    qsort(seqs->data, count, sizeof(seq_t), seq_order);
    for (size_t i = 0; i < count; i++) {
        uint8_t *at = seqs->data + i * sizeof(seq_t);
        if (kept > 0 && get_u64(at) == get_u64(at - sizeof(seq_t))) continue;
        memmove(seqs->data + kept * sizeof(seq_t), at, sizeof(seq_t));
        kept++;
    }
    return kept;
}

/* ---- judging: the state before ---- */

/* The first check that does not hold, or the count of checks. */
static unsigned checks_judge(struct change *c)
{
    const struct txn *txn = c->txn;
    for (unsigned i = 0; i < txn->checks_count; i++) {
        uint64_t version = c->head.version;
        int holds = reading_check(&c->reading, txn->stream, &c->head, &txn->checks[i], &version);
        CHECK(holds >= 0);
        if (holds) continue;
        c->outcome.version = version;
        return i;
    }
    return txn->checks_count;
}

/* Will the attribute be there once the sets are done? The last set of a key counts. */
static bool attribute_after_sets(struct change *c, struct slice key)
{
    for (unsigned i = c->txn->sets_count; i > 0; i--) {
        const struct txn_set *set = &c->txn->sets[i - 1];
        if (slice_equal(set->key, key)) return (set->flags & TXN_SET_DROP) == 0;
    }
    return attribute_present(c, key);
}

static bool advance_counts(struct change *c, const struct txn_advance *advance)
{
    return advance->only_if.len == 0 || attribute_after_sets(c, advance->only_if);
}

static bool advance_holds(struct change *c, const struct txn_advance *advance)
{
    if (advance->flags & TXN_ADVANCE_WRITTEN) return true;
    bool within = advance->seq <= c->head.last && advance->ordinal <= c->head.ordinal;
    return within || !advance_counts(c, advance);
}

static bool erased_here(const struct txn *txn, seq_t seq)
{
    for (unsigned i = 0; i < txn->erases_count; i++)
        if (txn->erases[i] == seq) return true;
    return false;
}

static bool record_holds(struct change *c, const struct txn_record *record)
{
    struct record_view about;
    if (record->ref > c->head.last) return false;
    if ((record->flags & RECORD_DEPENDENT) == 0) return true;
    if (!record_load(c, record->ref, &about)) return false;
    if (about.flags & (RECORD_ERASED | RECORD_DEPENDENT)) return false;
    if (erased_here(c->txn, record->ref)) return false;
    return dependents_find(c, record->ref) < ERASE_DEPENDENTS_MAX;
}

/* True when all parts hold; otherwise the outcome is told. */
static bool parts_hold(struct change *c)
{
    const struct txn *txn = c->txn;
    unsigned failed = checks_judge(c);
    bool holds = failed == txn->checks_count;
    for (unsigned i = 0; i < txn->advances_count && holds; i++, failed += holds)
        holds = advance_holds(c, &txn->advances[i]);
    for (unsigned i = 0; i < txn->erases_count && holds; i++, failed += holds)
        holds = txn->erases[i] <= c->head.last;
    for (unsigned i = 0; i < txn->records_count && holds; i++, failed += holds)
        holds = record_holds(c, &txn->records[i]);
    if (holds) return true;
    c->outcome.status = ERR_REJECTED;
    c->outcome.failed = (uint16_t)failed;
    return false;
}

/* ---- changing ---- */

/* Where the stream's records end once this transaction is done. */
static void end_after(const struct change *c, seq_t *last, uint64_t *ordinal)
{
    *last = c->head.last + c->txn->records_count;
    *ordinal = c->head.ordinal;
    for (unsigned i = 0; i < c->txn->records_count; i++)
        if (c->txn->records[i].flags & RECORD_COUNTED) ++*ordinal;
}

static void set_do(struct change *c, const struct txn_set *set)
{
    struct row_key key;
    uint8_t stamped[TXN_STAMP_BYTES];
    struct attribute_row row = {.version = c->version, .value = set->value};
    bool drop = (set->flags & TXN_SET_DROP) != 0;
    if (drop && !attribute_present(c, set->key)) return;
    row_key_make(&key, c->txn->stream, ROW_ATTRIBUTE, set->key);
    struct buf *value = value_begin(c);
    if (set->flags & TXN_SET_STAMP) {
        seq_t last;
        uint64_t ordinal;
        end_after(c, &last, &ordinal);
        put_u64(stamped, last);
        put_u64(stamped + 8, ordinal);
        row.flags = ATTRIBUTE_STAMPED;
        row.value = (struct slice){stamped, sizeof(stamped)};
    }
    attribute_row_put(value, &row);
    if (set->flags & TXN_SET_STAMP) buf_put(value, set->value.data, set->value.len);
    put_flagged(c, &key, drop ? ROW_DELETED : 0, NULL);
    c->changed = true;
}

static void advance_do(struct change *c, const struct txn_advance *advance)
{
    struct row_key key;
    struct row row;
    struct cursor_row before = {0};
    struct cursor_row after = {c->version, advance->seq, advance->ordinal};
    if (advance->flags & TXN_ADVANCE_WRITTEN) end_after(c, &after.seq, &after.ordinal);
    if (advance->only_if.len != 0 && !attribute_present(c, advance->only_if)) return;
    row_key_make(&key, c->txn->stream, ROW_CURSOR, advance->key);
    if (get(c, &key, &row)) CHECK(cursor_row_get(row.value, &before));
    if (after.seq <= before.seq) return;
    if (after.ordinal < before.ordinal) after.ordinal = before.ordinal;
    cursor_row_put(value_begin(c), &after);
    put(c, &key);
    c->changed = true;
}

/* Wipe one payload; its digest stays, so that the chain does. */
static void payload_erase(struct change *c, seq_t seq)
{
    struct record_view record;
    struct row_key key;
    uint8_t digest[SHA_BYTES];
    if (!record_load(c, seq, &record)) return;
    if (record.flags & RECORD_ERASED) return;
    sha_256(&c->store->sha, record.payload, digest);
    record.flags |= RECORD_ERASED;
    record.payload = (struct slice){NULL, 0};
    record.digest = (struct slice){digest, sizeof(digest)};
    record_row_put(value_begin(c), &record);
    row_key_record(&key, c->txn->stream, seq);
    put(c, &key);
    c->changed = true;
}

static void erase_do(struct change *c, seq_t seq)
{
    size_t count = dependents_find(c, seq);
    payload_erase(c, seq);
    for (size_t i = 0; i < count; i++)
        payload_erase(c, get_u64(c->store->scratch.data + i * sizeof(seq_t)));
}

static void tags_note(struct change *c, const struct txn_record *record, seq_t seq)
{
    for (unsigned i = 0; i < record->tags_count; i++) {
        struct row_key key;
        struct row row;
        struct tag_row tag = {0};
        row_key_make(&key, c->txn->stream, ROW_TAG, record->tags[i]);
        if (get(c, &key, &row)) CHECK(tag_row_get(row.value, &tag));
        tag_row_add(&tag, seq);
        tag_row_put(value_begin(c), &tag);
        put(c, &key);
    }
}

static void xref_note(struct change *c, const struct txn_record *record, seq_t seq)
{
    struct row_key key;
    struct xref_row xref = {record->kind, record->flags};
    if (record->ref == 0) return;
    row_key_xref(&key, c->txn->stream, record->ref, seq);
    xref_row_put(value_begin(c), &xref);
    put(c, &key);
}

/* chain = SHA-256(chain before || header || SHA-256(payload)). */
static void chain_step(struct change *c, struct record_view *record)
{
    struct store *store = c->store;
    uint8_t digest[SHA_BYTES];
    struct buf *link = &store->header;
    sha_256(&store->sha, record->payload, digest);
    link->len = 0;
    buf_put(link, c->head.chain, sizeof(c->head.chain));
    record_row_header(link, record);
    buf_put(link, digest, sizeof(digest));
    sha_256(&store->sha, buf_bytes(link), c->head.chain);
    memcpy(record->chain, c->head.chain, sizeof(record->chain));
}

static void record_do(struct change *c, const struct txn_record *record)
{
    struct row_key key, before;
    struct buf *tags = &c->store->scratch;
    tags->len = 0;
    buf_varint(tags, record->tags_count);
    for (unsigned i = 0; i < record->tags_count; i++)
        buf_slice(tags, record->tags[i]);

    c->head.last++;
    if (record->flags & RECORD_COUNTED) c->head.ordinal++;
    struct record_view view = {
        .seq = c->head.last,
        .ordinal = c->head.ordinal,
        .time_ms = c->time_ms,
        .producer = c->txn->producer,
        .n = c->txn->n,
        .kind = record->kind,
        .flags = record->flags,
        .ref = record->ref,
        .payload = record->payload,
        .tags = buf_bytes(tags),
    };
    chain_step(c, &view);
    record_row_put(value_begin(c), &view);
    row_key_record(&key, c->txn->stream, view.seq);
    row_key_record(&before, c->txn->stream, view.seq - 1);
    put_flagged(c, &key, 0, &before);
    xref_note(c, record, view.seq);
    tags_note(c, record, view.seq);
    c->changed = true;
}

static void parts_do(struct change *c)
{
    const struct txn *txn = c->txn;
    for (unsigned i = 0; i < txn->sets_count; i++)
        set_do(c, &txn->sets[i]);
    for (unsigned i = 0; i < txn->advances_count; i++)
        advance_do(c, &txn->advances[i]);
    for (unsigned i = 0; i < txn->erases_count; i++)
        erase_do(c, txn->erases[i]);
    if (txn->records_count > 0) {
        c->outcome.first = c->head.last + 1;
        c->outcome.last = c->head.last + txn->records_count;
    }
    for (unsigned i = 0; i < txn->records_count; i++)
        record_do(c, &txn->records[i]);
    if (c->changed) head_store(c);
    c->outcome.version = c->head.version;
    c->outcome.ordinal = c->head.ordinal;
    memcpy(c->outcome.chain, c->head.chain, sizeof(c->outcome.chain));
}

static void txn_do(struct change *c)
{
    head_load(c);
    c->version = c->head.version + 1;
    c->outcome = (struct outcome){.details = true,
                                  .ordinal = c->head.ordinal,
                                  .version = c->head.version,
                                  .time_ms = c->time_ms};
    memcpy(c->outcome.chain, c->head.chain, sizeof(c->outcome.chain));
    if (!producer_admits(c)) return;
    bool makes = c->txn->records_count > 0 || c->txn->sets_count > 0;
    if (c->head.version == 0 && !makes) {
        c->outcome.status = ERR_NO_STREAM;
        return;
    }
    if (parts_hold(c)) parts_do(c);
    producer_note(c);
}

/* ---- entries ---- */

static void history_fold(struct store *store, index_t index, unsigned place, struct slice bytes,
                         const struct outcome *outcome)
{
    uint8_t where[16];
    put_u64(where, index);
    put_u64(where + 8, place);
    uint64_t hash = hash64_seed((struct slice){where, sizeof(where)}, store->facts.history);
    hash = hash64_seed(bytes, hash);
    store->scratch.len = 0;
    outcome_encode(outcome, &store->scratch);
    store->facts.history = hash64_seed(buf_bytes(&store->scratch), hash);
}

/* All transactions of an entry, decoded; ERR_CORRUPT when one is none. The caller frees. */
static int entry_decode(struct entry_view *view, struct txn **txns, struct slice **bytes,
                        unsigned *count)
{
    unsigned expected = view->count, got = 0;
    int err = 0;
    *txns = mem_alloc(expected * sizeof(**txns) + 1);
    *bytes = mem_alloc(expected * sizeof(**bytes) + 1);
    while (err == 0 && entry_next(view, &(*bytes)[got])) {
        err = txn_decode((*bytes)[got], &(*txns)[got]);
        if (err == 0) got++;
    }
    if (view->txns.failed) err = ERR_CORRUPT;
    *count = got;
    return err == 0 ? 0 : ERR_CORRUPT;
}

static void entry_do(struct store *store, struct change *c, const struct txn *txns,
                     const struct slice *bytes, unsigned count, applied_cb each, void *arg)
{
    for (unsigned i = 0; i < count; i++) {
        c->txn = &txns[i];
        c->changed = false;
        c->producer = (struct slice){NULL, 0};
        txn_do(c);
        history_fold(store, c->index, i, bytes[i], &c->outcome);
        struct applied_txn applied = {
            .place = i,
            .txn = c->txn,
            .outcome = &c->outcome,
            .head = c->head.version == 0 ? NULL : &c->head,
            .changed = c->changed,
        };
        if (each != NULL) each(arg, &applied);
    }
}

int store_apply(struct store *store, index_t index, term_t term, struct slice entry,
                applied_cb each, void *arg)
{
    struct entry_view view;
    struct txn *txns;
    struct slice *bytes;
    unsigned count;
    CHECK(index == store->facts.index + 1 && term >= store->facts.term && !store->installing);
    int err = entry_open(entry, &view);
    if (err != 0) return err;
    err = entry_decode(&view, &txns, &bytes, &count);
    if (err == 0) {
        struct change c = {.store = store, .index = index};
        c.fetch = fetch_begin(store);
        c.reading = store_reading(store);
        c.time_ms = view.time_ms > store->facts.time_ms ? view.time_ms : store->facts.time_ms;
        entry_do(store, &c, txns, bytes, count, each, arg);
        reading_end(&c.reading);
        store->facts.index = index;
        store->facts.term = term;
        store->facts.time_ms = c.time_ms;
        fetch_end(store, (struct fetch_job *)c.fetch);
        store_tables_trim(store);
    }
    for (unsigned i = 0; i < count; i++)
        txn_free(&txns[i]);
    free(txns);
    free(bytes);
    entry_view_free(&view);
    return err;
}

void store_skip(struct store *store, index_t index, term_t term, const struct slice *configuration)
{
    CHECK(index == store->facts.index + 1 && term >= store->facts.term && !store->installing);
    struct store_facts facts = store->facts;
    facts.index = index;
    facts.term = term;
    if (configuration != NULL) {
        CHECK(configuration->len <= STORE_CONFIGURATION_BYTES_MAX);
        facts.configuration = *configuration;
        facts.configuration_index = index;
        store_facts_set(store, &facts);
    } else {
        store->facts = facts;
    }
}
