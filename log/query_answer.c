/* log/query_answer.c -- see query.h.
 *
 * Happy path: head, checks, then rows of one kind until a limit is met.
 * Records are dense, so that those of a range are read by number, in pieces small enough to turn
 * around when they are wanted backwards. */
#include "log/query.h"

enum { PIECE_RECORDS = 32 };

/* ---- answers ---- */

/* True when one more row of this size may be given; otherwise a limit was met. */
static bool row_fits(struct store_query *ask, size_t bytes)
{
    bool fits = ask->rows_count < ask->limit_count &&
                (ask->rows_count == 0 || ask->rows.len + bytes <= ask->limit_bytes);
    if (!fits) ask->more = true;
    return fits;
}

static bool bytes_give(struct store_query *ask, struct slice bytes)
{
    if (!row_fits(ask, bytes.len)) return false;
    buf_put(&ask->rows, bytes.data, bytes.len);
    ask->rows_count++;
    return true;
}

static bool item_give(struct store_query *ask, const struct item_view *item)
{
    struct buf bytes = {0};
    item_encode(item, &bytes);
    bool given = bytes_give(ask, buf_bytes(&bytes));
    buf_free(&bytes);
    return given;
}

/* ---- head ---- */

int query_head(struct reading *reading, struct slice stream, struct stream_head *out)
{
    struct row_key key;
    struct row row;
    row_key_make(&key, stream, ROW_HEAD, (struct slice){NULL, 0});
    int found = reading_get(reading, row_key_bytes(&key), &row);
    if (found < 0) return found;
    *out = (struct stream_head){.first = 1};
    if (found == 0) return 0;
    struct reader r = reader_of(row.value);
    stream_head_decode(&r, out);
    return reader_done(&r) ? 0 : ERR_CORRUPT;
}

/* ---- records ---- */

/* Encoded records of a piece, in order of seq. */
struct piece {
    struct buf bytes;
    size_t ends[PIECE_RECORDS];
    unsigned count;
};

static int piece_add(struct piece *piece, seq_t seq, struct slice value)
{
    struct record_view record;
    if (!record_row_get(seq, value, &record)) return ERR_CORRUPT;
    record_encode(&record, &piece->bytes);
    piece->ends[piece->count++] = piece->bytes.len;
    return 0;
}

/* From memory, one by one. */
static int piece_get(struct reading *reading, struct slice stream, seq_t lo, seq_t hi,
                     struct piece *piece)
{
    for (seq_t seq = lo; seq <= hi; seq++) {
        struct row_key key;
        struct row row;
        row_key_record(&key, stream, seq);
        int found = reading_get(reading, row_key_bytes(&key), &row);
        if (found == 0) found = ERR_CORRUPT; /* Seqs are dense. */
        if (found > 0) found = piece_add(piece, seq, row.value);
        if (found < 0) return found;
    }
    return 0;
}

/* From everything, in one sweep. */
static int piece_sweep(struct merge *merge, struct slice stream, seq_t lo, seq_t hi,
                       struct piece *piece)
{
    struct row_key key;
    row_key_record(&key, stream, lo);
    merge_seek(merge, row_key_bytes(&key));
    for (seq_t seq = lo; seq <= hi; seq++) {
        row_key_record(&key, stream, seq);
        if (merge->err != 0) return merge->err;
        if (!merge->valid || !slice_equal(merge->row.key, row_key_bytes(&key))) return ERR_CORRUPT;
        int err = piece_add(piece, seq, merge->row.value);
        if (err != 0) return err;
        merge_next(merge);
    }
    return merge->err;
}

/* Give the piece's records; false when a limit was met. */
static bool piece_give(struct store_query *ask, const struct piece *piece)
{
    for (unsigned i = 0; i < piece->count; i++) {
        unsigned at = ask->backwards ? piece->count - 1 - i : i;
        size_t start = at == 0 ? 0 : piece->ends[at - 1];
        if (!bytes_give(ask, (struct slice){piece->bytes.data + start, piece->ends[at] - start}))
            return false;
    }
    return true;
}

/* The records lo .. hi, from the end that comes first. merge: NULL for memory alone. */
static int records_give(struct reading *reading, struct merge *merge, struct store_query *ask,
                        seq_t lo, seq_t hi)
{
    int err = 0;
    bool room = true;
    struct piece piece = {0};
    while (lo <= hi && room && err == 0) {
        seq_t count = hi - lo + 1;
        if (count > PIECE_RECORDS) count = PIECE_RECORDS;
        if (count > ask->limit_count - ask->rows_count) count = ask->limit_count - ask->rows_count;
        seq_t from = ask->backwards ? hi - count + 1 : lo;
        piece.count = 0;
        piece.bytes.len = 0;
        if (merge == NULL)
            err = piece_get(reading, ask->stream, from, from + count - 1, &piece);
        else
            err = piece_sweep(merge, ask->stream, from, from + count - 1, &piece);
        if (err != 0) break;
        room = piece_give(ask, &piece);
        if (ask->backwards)
            hi = from - 1;
        else
            lo = from + count;
        if (room && lo <= hi) room = row_fits(ask, 0);
    }
    buf_free(&piece.bytes);
    return err;
}

static int answer_records(struct reading *reading, struct store_query *ask)
{
    const struct stream_head *head = &ask->head;
    seq_t lo = head->first, hi = head->last;
    if (ask->to != 0 && ask->to < hi) hi = ask->to;
    if (ask->backwards) {
        if (ask->from != 0 && ask->from < head->first && head->last != 0) return ERR_RESET;
        if (ask->from != 0 && ask->from < hi) hi = ask->from;
    } else {
        if (ask->from != 0 && ask->from < head->first) return ERR_RESET;
        if (ask->from > lo) lo = ask->from;
    }
    if (lo > hi) return 0;
    if (!reading->wait) return records_give(reading, NULL, ask, lo, hi);
    struct merge merge;
    int err = reading_merge(reading, ask->stream, &merge);
    if (err != 0) return err;
    err = records_give(reading, &merge, ask, lo, hi);
    merge_close(&merge);
    return err;
}

/* Is record seq of this time or later? 1, 0 or an error. */
static int record_late(struct reading *reading, struct slice stream, seq_t seq, int64_t time_ms,
                       seq_t unseen)
{
    struct row_key key;
    struct row row;
    struct record_view record;
    row_key_record(&key, stream, seq);
    int found = reading_get(reading, row_key_bytes(&key), &row);
    if (found < 0) return found;
    if (found == 0) return unseen != 0 && seq >= unseen;
    if (!record_row_get(seq, row.value, &record)) return ERR_CORRUPT;
    return record.time_ms >= time_ms;
}

int query_search(struct reading *reading, const struct store_query *ask,
                 const struct stream_head *head, seq_t unseen, seq_t *out)
{
    seq_t lo = head->first, hi = head->last + 1; /* The answer is in lo .. hi. */
    while (lo < hi) {
        seq_t middle = lo + (hi - lo) / 2;
        int late = record_late(reading, ask->stream, middle, (int64_t)ask->from, unseen);
        if (late < 0) return late;
        if (late)
            hi = middle;
        else
            lo = middle + 1;
    }
    *out = lo;
    return 0;
}

static int answer_records_at(struct reading *reading, struct store_query *ask)
{
    struct store_query found = *ask;
    int err = query_search(reading, ask, &ask->head, 0, &found.from);
    if (err != 0) return err;
    err = answer_records(reading, &found);
    ask->rows = found.rows;
    ask->rows_count = found.rows_count;
    ask->more = found.more;
    return err;
}

/* ---- attributes and cursors ---- */

/* The item of a row; ERR_CORRUPT when it is neither. */
static int item_of(const struct row *row, struct item_view *out)
{
    struct slice stream;
    enum row_class class;
    struct attribute_row attribute;
    struct cursor_row cursor;
    *out = (struct item_view){0};
    if (!row_key_split(row->key, &stream, &class, &out->key)) return ERR_CORRUPT;
    if (class == ROW_ATTRIBUTE && attribute_row_get(row->value, &attribute)) {
        out->value = attribute.value;
        out->version = attribute.version;
        out->dropped = (row->flags & ROW_DELETED) != 0;
        return 0;
    }
    if (class == ROW_CURSOR && cursor_row_get(row->value, &cursor)) {
        out->cursor = true;
        out->version = cursor.version;
        out->seq = cursor.seq;
        out->ordinal = cursor.ordinal;
        return 0;
    }
    return ERR_CORRUPT;
}

/* A scan wants attributes that are there; changes want all that changed after a version. */
static bool item_wanted(const struct store_query *ask, const struct item_view *item)
{
    return ask->kind == STORE_CHANGES ? item->version > ask->from : !item->dropped;
}

/* The part of a stream that a scan walks: keys of one class that begin with prefix, after
 * `after`. */
struct scan {
    enum row_class class;
    struct slice prefix, after;
    struct row_key from, begins; /* Where to seek; what every key begins with. */
};

static void scan_prepare(struct scan *scan, struct slice stream)
{
    bool later = slice_compare(scan->after, scan->prefix) > 0;
    row_key_make(&scan->from, stream, scan->class, later ? scan->after : scan->prefix);
    row_key_make(&scan->begins, stream, scan->class, scan->prefix);
}

static bool scan_passed(const struct scan *scan, struct slice item_key)
{
    return scan->after.len != 0 && slice_compare(item_key, scan->after) <= 0;
}

/* The scans that a query asks for; their number. */
static unsigned scans_of(const struct store_query *ask, struct scan out[2])
{
    unsigned count = 0;
    if (ask->kind == STORE_CHANGES) {
        const uint8_t *mark = ask->after.data;
        bool cursors = ask->after.len != 0 && mark[0] == 1;
        struct slice after = ask->after;
        if (after.len != 0) after = (struct slice){mark + 1, after.len - 1};
        if (!cursors) out[count++] = (struct scan){.class = ROW_ATTRIBUTE, .after = after};
        if (!cursors) after = (struct slice){NULL, 0};
        out[count++] = (struct scan){.class = ROW_CURSOR, .after = after};
    } else {
        enum row_class class = ask->kind == STORE_CURSORS ? ROW_CURSOR : ROW_ATTRIBUTE;
        out[count++] = (struct scan){.class = class, .prefix = ask->prefix, .after = ask->after};
    }
    for (unsigned i = 0; i < count; i++)
        scan_prepare(&out[i], ask->stream);
    return count;
}

static int scan_give(struct merge *merge, struct store_query *ask, const struct scan *scan)
{
    struct item_view item;
    struct slice begins = row_key_bytes(&scan->begins);
    for (merge_seek(merge, row_key_bytes(&scan->from));
         merge->valid && slice_begins(merge->row.key, begins); merge_next(merge)) {
        if (item_of(&merge->row, &item) != 0) return ERR_CORRUPT;
        if (scan_passed(scan, item.key) || !item_wanted(ask, &item)) continue;
        if (!item_give(ask, &item)) break;
    }
    return merge->err;
}

static int answer_items(struct reading *reading, struct store_query *ask)
{
    struct scan scans[2];
    struct merge merge;
    if (ask->kind == STORE_CHANGES && ask->head.version <= ask->from) return 0;
    unsigned count = scans_of(ask, scans);
    int err = reading_merge(reading, ask->stream, &merge);
    if (err != 0) return err;
    for (unsigned i = 0; i < count && err == 0 && !ask->more; i++)
        err = scan_give(&merge, ask, &scans[i]);
    merge_close(&merge);
    return err;
}

/* ---- tags and producers ---- */

static int answer_tag(struct reading *reading, struct store_query *ask)
{
    struct row_key key;
    struct row row;
    struct tag_row tag;
    if (ask->prefix.len == 0) return 0;
    row_key_make(&key, ask->stream, ROW_TAG, ask->prefix);
    int found = reading_get(reading, row_key_bytes(&key), &row);
    if (found <= 0) return found;
    if (!tag_row_get(row.value, &tag)) return ERR_CORRUPT;
    for (unsigned i = 0; i < tag.count; i++) {
        struct item_view item = {.seq = tag.seqs[i]};
        if (item.seq > ask->from && !item_give(ask, &item)) break;
    }
    return 0;
}

static int answer_producer(struct reading *reading, struct store_query *ask)
{
    struct row_key key;
    struct row row;
    if (ask->prefix.len == 0) return 0;
    row_key_make(&key, ask->stream, ROW_PRODUCER, ask->prefix);
    int found = reading_get(reading, row_key_bytes(&key), &row);
    if (found <= 0) return found;
    return producer_row_last(row.value, &ask->number) ? 0 : ERR_CORRUPT;
}

/* ---- all of it ---- */

static int checks_answer(struct reading *reading, struct store_query *ask)
{
    for (unsigned i = 0; i < ask->checks_count; i++) {
        uint64_t version = 0;
        int holds = reading_check(reading, ask->stream, &ask->head, &ask->checks[i], &version);
        if (holds < 0) return holds;
        if (holds) continue;
        ask->failed = (uint16_t)i;
        return ERR_REJECTED;
    }
    return 0;
}

int query_answer(struct reading *reading, struct store_query *ask)
{
    ask->head = (struct stream_head){0};
    ask->failed = 0;
    ask->number = 0;
    ask->rows.len = 0;
    ask->rows_count = 0;
    ask->more = false;
    int err = query_head(reading, ask->stream, &ask->head);
    if (err == 0 && ask->kind == STORE_PRODUCER) err = answer_producer(reading, ask);
    if (err == 0 && ask->head.version == 0) err = ERR_NO_STREAM;
    if (err == 0) err = checks_answer(reading, ask);
    if (err != 0) return err;
    switch (ask->kind) {
        case STORE_RECORDS:
            return answer_records(reading, ask);
        case STORE_RECORDS_AT:
            return answer_records_at(reading, ask);
        case STORE_ATTRIBUTES:
        case STORE_CURSORS:
        case STORE_CHANGES:
            return answer_items(reading, ask);
        case STORE_TAG:
            return answer_tag(reading, ask);
        case STORE_HEAD:
        case STORE_PRODUCER:
        case STORE_QUERY_KINDS_END:
            break;
    }
    return 0;
}

/* ---- what a worker needs of the growing memtable ---- */

static void copy_key(const struct memtable *active, const struct row_key *key,
                     struct memtable *copy, size_t *bytes)
{
    struct row row;
    if (!memtable_get(active, row_key_bytes(key), &row)) return;
    (void)memtable_put(copy, &row, NULL);
    *bytes += row.value.len;
}

static void copy_row(const struct memtable *active, struct slice stream, enum row_class class,
                     struct slice rest, struct memtable *copy)
{
    struct row_key key;
    size_t bytes = 0;
    row_key_make(&key, stream, class, rest);
    copy_key(active, &key, copy, &bytes);
}

/* The first limit_count seqs asked for: no others are read. Nor is what lies behind a piece with
 * which the table's rows alone go beyond limit_bytes, since their encoding is no shorter. */
static void copy_records(const struct memtable *active, const struct store_query *ask, seq_t last,
                         struct memtable *copy)
{
    seq_t seq = ask->from == 0 ? 1 : ask->from;
    size_t bytes = 0;
    if (ask->backwards) {
        seq = ask->to != 0 && ask->to < last ? ask->to : last;
        if (ask->from != 0 && ask->from < seq) seq = ask->from;
    }
    for (uint32_t i = 0; i < ask->limit_count && seq >= 1 && seq <= last; i++) {
        struct row_key key;
        row_key_record(&key, ask->stream, seq);
        copy_key(active, &key, copy, &bytes);
        if (bytes > ask->limit_bytes && (i + 1) % PIECE_RECORDS == 0) break;
        seq = ask->backwards ? seq - 1 : seq + 1;
    }
}

/* One more than the limit of those wanted, to tell whether there are more; dropped ones do not
 * count, but hide older rows. What a STORE_CHANGES does not want need not be there: older rows of
 * its key have older versions. */
static void copy_scan(const struct memtable *active, const struct store_query *ask,
                      const struct scan *scan, struct memtable *copy)
{
    struct memtable_iter iter;
    struct row row;
    struct item_view item;
    uint32_t wanted = 0;
    struct slice begins = row_key_bytes(&scan->begins);
    for (memtable_seek(active, row_key_bytes(&scan->from), &iter);
         memtable_row(&iter, &row) && slice_begins(row.key, begins) && wanted <= ask->limit_count;
         memtable_step(&iter)) {
        CHECK(item_of(&row, &item) == 0);
        bool give = item_wanted(ask, &item);
        if (scan_passed(scan, item.key) || (ask->kind == STORE_CHANGES && !give)) continue;
        (void)memtable_put(copy, &row, NULL);
        wanted += give;
    }
}

static void copy_check(const struct memtable *active, struct slice stream,
                       const struct txn_check *check, struct memtable *copy)
{
    struct row_key key;
    size_t bytes = 0;
    if (check->kind <= TXN_IF_VERSION) copy_row(active, stream, ROW_ATTRIBUTE, check->key, copy);
    if (check->kind != TXN_IF_NOT_ERASED) return;
    row_key_record(&key, stream, check->number);
    copy_key(active, &key, copy, &bytes);
}

/* The stream's last record when anything of it changed in the table; 0: no record of it is there,
 * since whatever appends or erases one writes the head too. */
static seq_t copied_last(const struct memtable *copy, struct slice stream)
{
    struct row_key key;
    struct row row;
    struct stream_head head;
    row_key_make(&key, stream, ROW_HEAD, (struct slice){NULL, 0});
    if (!memtable_get(copy, row_key_bytes(&key), &row)) return 0;
    struct reader r = reader_of(row.value);
    stream_head_decode(&r, &head);
    CHECK(reader_done(&r));
    return head.last;
}

void query_copy(const struct memtable *active, const struct store_query *ask, struct memtable *copy)
{
    struct scan scans[2];
    unsigned scans_count = 0;
    copy_row(active, ask->stream, ROW_HEAD, (struct slice){NULL, 0}, copy);
    for (unsigned i = 0; i < ask->checks_count; i++)
        copy_check(active, ask->stream, &ask->checks[i], copy);
    if (ask->kind == STORE_TAG && ask->prefix.len != 0)
        copy_row(active, ask->stream, ROW_TAG, ask->prefix, copy);
    if (ask->kind == STORE_PRODUCER && ask->prefix.len != 0)
        copy_row(active, ask->stream, ROW_PRODUCER, ask->prefix, copy);
    if (ask->kind == STORE_RECORDS) copy_records(active, ask, copied_last(copy, ask->stream), copy);
    if (ask->kind == STORE_ATTRIBUTES || ask->kind == STORE_CURSORS || ask->kind == STORE_CHANGES)
        scans_count = scans_of(ask, scans);
    for (unsigned i = 0; i < scans_count; i++)
        copy_scan(active, ask, &scans[i], copy);
}
