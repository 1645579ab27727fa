/* tests/log/model.c -- see model.h. */
#include "tests/log/model.h"

#include <stdlib.h>

#include "log/row.h"

void model_init(struct model *model)
{
    memset(model, 0, sizeof(*model));
    sha_init(&model->sha);
}

static struct slice copy_of(struct slice s)
{
    return (struct slice){mem_copy(s.data == NULL ? "" : s.data, s.len), s.len};
}

static void slice_free(struct slice s)
{
    free((void *)s.data);
}

void model_free(struct model *model)
{
    for (unsigned i = 0; i < model->streams_count; i++) {
        struct model_stream *s = &model->streams[i];
        for (seq_t k = 0; k < s->head.last; k++) {
            slice_free(s->records[k].view.payload);
            slice_free(s->records[k].view.producer);
            slice_free(s->records[k].view.tags);
            slice_free(s->records[k].view.digest);
        }
        free(s->records);
        for (unsigned k = 0; k < s->items_count; k++) {
            slice_free(s->items[k].view.key);
            slice_free(s->items[k].view.value);
        }
        for (unsigned k = 0; k < s->producers_count; k++) {
            slice_free(s->producers[k].name);
            free(s->producers[k].numbers);
        }
        for (unsigned k = 0; k < s->tags_count; k++) {
            slice_free(s->tags[k].name);
            free(s->tags[k].seqs);
        }
        slice_free(s->name);
    }
    sha_close(&model->sha);
}

struct model_stream *model_stream(struct model *model, struct slice name)
{
    for (unsigned i = 0; i < model->streams_count; i++)
        if (slice_equal(model->streams[i].name, name)) return &model->streams[i];
    return NULL;
}

static struct model_stream *stream_of(struct model *model, struct slice name)
{
    struct model_stream *s = model_stream(model, name);
    if (s != NULL) return s;
    CHECK(model->streams_count < MODEL_STREAMS_MAX);
    s = &model->streams[model->streams_count++];
    memset(s, 0, sizeof(*s));
    s->name = copy_of(name);
    s->head.first = 1;
    return s;
}

static struct model_item *item_of(struct model_stream *s, bool cursor, struct slice key)
{
    for (unsigned i = 0; i < s->items_count; i++)
        if (s->items[i].view.cursor == cursor && slice_equal(s->items[i].view.key, key))
            return &s->items[i];
    return NULL;
}

static struct model_item *item_make(struct model_stream *s, bool cursor, struct slice key)
{
    struct model_item *item = item_of(s, cursor, key);
    if (item != NULL) return item;
    CHECK(s->items_count < ARRAY_COUNT(s->items));
    item = &s->items[s->items_count++];
    *item = (struct model_item){.view = {.key = copy_of(key), .cursor = cursor}};
    return item;
}

static struct model_item *attribute(struct model_stream *s, struct slice key)
{
    struct model_item *item = item_of(s, false, key);
    return item == NULL || item->view.dropped ? NULL : item;
}

static struct record_view *record(struct model_stream *s, seq_t seq)
{
    return seq == 0 || seq > s->head.last ? NULL : &s->records[seq - 1].view;
}

static struct model_producer *producer_of(struct model_stream *s, struct slice name)
{
    for (unsigned i = 0; i < s->producers_count; i++)
        if (slice_equal(s->producers[i].name, name)) return &s->producers[i];
    CHECK(s->producers_count < MODEL_KEYS_MAX);
    struct model_producer *p = &s->producers[s->producers_count++];
    *p = (struct model_producer){.name = copy_of(name)};
    return p;
}

/* ---- checks ---- */

static bool check_holds(struct model_stream *s, const struct txn_check *check, uint64_t *version)
{
    struct model_item *a = check->kind <= TXN_IF_VERSION ? attribute(s, check->key) : NULL;
    const struct record_view *r;
    size_t stamp = a != NULL && a->stamped ? TXN_STAMP_BYTES : 0;
    switch (check->kind) {
        case TXN_IF_PRESENT:
            return a != NULL;
        case TXN_IF_ABSENT:
            return a == NULL;
        case TXN_IF_EQUALS:
            return a != NULL && slice_equal(check->value,
                                            (struct slice){(const char *)a->view.value.data + stamp,
                                                           a->view.value.len - stamp});
        case TXN_IF_VERSION:
            *version = a == NULL ? 0 : a->view.version;
            return *version == check->number;
        case TXN_IF_STREAM_ABSENT:
            return s->head.version == 0;
        case TXN_IF_LAST:
            return s->head.last == check->number;
        case TXN_IF_NOT_ERASED:
            r = record(s, check->number);
            return r != NULL && !(r->flags & RECORD_ERASED);
        case TXN_IF_KINDS_END:
            break;
    }
    CHECK(false);
    return false;
}

static unsigned dependents(struct model_stream *s, seq_t ref)
{
    unsigned count = 0;
    for (seq_t seq = 1; seq <= s->head.last; seq++)
        count += record(s, seq)->ref == ref && (record(s, seq)->flags & RECORD_DEPENDENT);
    return count;
}

static bool present_after_sets(struct model_stream *s, const struct txn *txn, struct slice key)
{
    bool present = attribute(s, key) != NULL;
    for (unsigned i = 0; i < txn->sets_count; i++)
        if (slice_equal(txn->sets[i].key, key)) present = !(txn->sets[i].flags & TXN_SET_DROP);
    return present;
}

static bool record_fits(struct model_stream *s, const struct txn *txn,
                        const struct txn_record *part)
{
    if (part->ref > s->head.last) return false;
    if (!(part->flags & RECORD_DEPENDENT)) return true;
    if (record(s, part->ref)->flags & (RECORD_ERASED | RECORD_DEPENDENT)) return false;
    for (unsigned i = 0; i < txn->erases_count; i++)
        if (txn->erases[i] == part->ref) return false;
    return dependents(s, part->ref) < ERASE_DEPENDENTS_MAX;
}

/* The place of the first part that does not hold; -1: all do. */
static int part_failing(struct model_stream *s, const struct txn *txn, uint64_t *version)
{
    int place = 0;
    for (unsigned i = 0; i < txn->checks_count; i++, place++) {
        uint64_t told = *version;
        if (check_holds(s, &txn->checks[i], &told)) continue;
        *version = told;
        return place;
    }
    for (unsigned i = 0; i < txn->advances_count; i++, place++) {
        const struct txn_advance *a = &txn->advances[i];
        if (a->flags & TXN_ADVANCE_WRITTEN) continue;
        if (a->only_if.len != 0 && !present_after_sets(s, txn, a->only_if)) continue;
        if (a->seq > s->head.last || a->ordinal > s->head.ordinal) return place;
    }
    for (unsigned i = 0; i < txn->erases_count; i++, place++)
        if (txn->erases[i] > s->head.last) return place;
    for (unsigned i = 0; i < txn->records_count; i++, place++)
        if (!record_fits(s, txn, &txn->records[i])) return place;
    return -1;
}

/* ---- changes ---- */

static bool do_set(struct model_stream *s, const struct txn *txn, const struct txn_set *set,
                   uint64_t version)
{
    if ((set->flags & TXN_SET_DROP) && attribute(s, set->key) == NULL) return false;
    struct model_item *item = item_make(s, false, set->key);
    struct buf value = {0};
    uint64_t ordinal = s->head.ordinal;
    for (unsigned i = 0; i < txn->records_count; i++)
        ordinal += txn->records[i].flags & RECORD_COUNTED;
    if (set->flags & TXN_SET_STAMP) buf_u64(&value, s->head.last + txn->records_count);
    if (set->flags & TXN_SET_STAMP) buf_u64(&value, ordinal);
    buf_put(&value, set->value.data, set->value.len);
    slice_free(item->view.value);
    item->view.value = copy_of(buf_bytes(&value));
    item->view.dropped = set->flags & TXN_SET_DROP;
    item->view.version = version;
    item->stamped = set->flags & TXN_SET_STAMP;
    buf_free(&value);
    return true;
}

static bool do_advance(struct model_stream *s, const struct txn *txn, const struct txn_advance *a,
                       uint64_t version)
{
    seq_t seq = a->seq;
    uint64_t ordinal = a->ordinal;
    if (a->only_if.len != 0 && attribute(s, a->only_if) == NULL) return false;
    if (a->flags & TXN_ADVANCE_WRITTEN) {
        seq = s->head.last + txn->records_count;
        ordinal = s->head.ordinal;
        for (unsigned i = 0; i < txn->records_count; i++)
            ordinal += txn->records[i].flags & RECORD_COUNTED;
    }
    struct model_item *old = item_of(s, true, a->key);
    if (seq <= (old == NULL ? 0 : old->view.seq)) return false;
    struct model_item *item = item_make(s, true, a->key);
    item->view.seq = seq;
    if (ordinal > item->view.ordinal) item->view.ordinal = ordinal;
    item->view.version = version;
    return true;
}

static bool do_wipe(struct model *model, struct record_view *r)
{
    uint8_t digest[SHA_BYTES];
    if (r->flags & RECORD_ERASED) return false;
    sha_256(&model->sha, r->payload, digest);
    slice_free(r->payload);
    r->payload = copy_of((struct slice){"", 0});
    slice_free(r->digest);
    r->digest = copy_of((struct slice){digest, sizeof(digest)});
    r->flags |= RECORD_ERASED;
    return true;
}

static bool do_erase(struct model *model, struct model_stream *s, seq_t seq)
{
    bool changed = do_wipe(model, record(s, seq));
    for (seq_t k = 1; k <= s->head.last; k++)
        if (record(s, k)->ref == seq && (record(s, k)->flags & RECORD_DEPENDENT))
            changed |= do_wipe(model, record(s, k));
    return changed;
}

static void do_tag(struct model_stream *s, struct slice name, seq_t seq)
{
    struct model_tag *tag = NULL;
    for (unsigned i = 0; i < s->tags_count; i++)
        if (slice_equal(s->tags[i].name, name)) tag = &s->tags[i];
    if (tag == NULL) {
        CHECK(s->tags_count < MODEL_KEYS_MAX);
        tag = &s->tags[s->tags_count++];
        *tag = (struct model_tag){.name = copy_of(name)};
    }
    if (tag->count > 0 && tag->seqs[tag->count - 1] == seq) return;
    tag->seqs = mem_resize(tag->seqs, (tag->count + 1) * sizeof(seq_t));
    tag->seqs[tag->count++] = seq;
}

static void do_record(struct model *model, struct model_stream *s, const struct txn *txn,
                      const struct txn_record *part, int64_t time_ms)
{
    struct buf tags = {0}, link = {0};
    uint8_t digest[SHA_BYTES];
    buf_varint(&tags, part->tags_count);
    for (unsigned i = 0; i < part->tags_count; i++)
        buf_slice(&tags, part->tags[i]);
    s->head.last++;
    s->head.ordinal += part->flags & RECORD_COUNTED;
    s->records = mem_resize(s->records, s->head.last * sizeof(s->records[0]));
    struct record_view *r = &s->records[s->head.last - 1].view;
    *r = (struct record_view){.seq = s->head.last,
                              .ordinal = s->head.ordinal,
                              .time_ms = time_ms,
                              .producer = copy_of(txn->producer),
                              .n = txn->n,
                              .kind = part->kind,
                              .flags = part->flags,
                              .ref = part->ref,
                              .payload = copy_of(part->payload),
                              .digest = copy_of((struct slice){"", 0}),
                              .tags = copy_of(buf_bytes(&tags))};
    sha_256(&model->sha, part->payload, digest);
    buf_put(&link, s->head.chain, SHA_BYTES);
    record_row_header(&link, r);
    buf_put(&link, digest, SHA_BYTES);
    sha_256(&model->sha, buf_bytes(&link), s->head.chain);
    memcpy(r->chain, s->head.chain, SHA_BYTES);
    for (unsigned i = 0; i < part->tags_count; i++)
        do_tag(s, part->tags[i], s->head.last);
    buf_free(&tags);
    buf_free(&link);
}

static void do_parts(struct model *model, struct model_stream *s, const struct txn *txn,
                     index_t index, int64_t time_ms)
{
    uint64_t version = s->head.version + 1;
    bool changed = txn->records_count > 0;
    for (unsigned i = 0; i < txn->sets_count; i++)
        changed |= do_set(s, txn, &txn->sets[i], version);
    for (unsigned i = 0; i < txn->advances_count; i++)
        changed |= do_advance(s, txn, &txn->advances[i], version);
    for (unsigned i = 0; i < txn->erases_count; i++)
        changed |= do_erase(model, s, txn->erases[i]);
    for (unsigned i = 0; i < txn->records_count; i++)
        do_record(model, s, txn, &txn->records[i], time_ms);
    if (!changed) return;
    s->head.version = version;
    s->head.index = index;
    s->head.time_ms = time_ms;
}

/* The outcome when the producer's number is not the next one; false when it is. */
static bool number_answers(struct model_stream *s, const struct txn *txn, struct outcome *out)
{
    if (txn->producer.len == 0) return false;
    struct model_producer *p = producer_of(s, txn->producer);
    out->last_n = p->count;
    if (txn->n == p->count + 1) return false;
    if (txn->n > p->count) {
        out->status = ERR_GAP;
        return true;
    }
    const struct model_number *then = &p->numbers[txn->n - 1];
    bool known = p->count - txn->n < PRODUCER_OUTCOMES_MAX;
    bool same = then->content == txn_content_hash(txn) || (txn->flags & TXN_ANY_CONTENT);
    if (known && !same) {
        out->status = ERR_REUSED;
        memset(out->chain, 0, sizeof(out->chain));
        return true;
    }
    *out = (struct outcome){.duplicate = true, .last_n = p->count};
    if (!known) return true;
    out->details = true;
    out->status = then->outcome.status;
    out->failed = then->outcome.failed;
    out->first = then->outcome.first;
    out->last = then->outcome.last;
    out->version = then->outcome.version;
    return true;
}

struct outcome model_txn(struct model *model, const struct txn *txn, index_t index, int64_t time_ms)
{
    struct model_stream *s = stream_of(model, txn->stream);
    if (time_ms < model->time_ms) time_ms = model->time_ms;
    model->time_ms = time_ms;
    struct outcome out = {.details = true,
                          .ordinal = s->head.ordinal,
                          .version = s->head.version,
                          .time_ms = time_ms};
    memcpy(out.chain, s->head.chain, SHA_BYTES);
    if (number_answers(s, txn, &out)) return out;
    if (s->head.version == 0 && txn->records_count == 0 && txn->sets_count == 0) {
        out.status = ERR_NO_STREAM;
        return out;
    }
    uint64_t version = s->head.version;
    int failing = part_failing(s, txn, &version);
    if (failing >= 0) {
        out.status = ERR_REJECTED;
        out.failed = (uint16_t)failing;
        out.version = version;
    } else {
        if (txn->records_count > 0) {
            out.first = s->head.last + 1;
            out.last = s->head.last + txn->records_count;
        }
        do_parts(model, s, txn, index, time_ms);
        out.version = s->head.version;
        out.ordinal = s->head.ordinal;
        memcpy(out.chain, s->head.chain, SHA_BYTES);
    }
    if (txn->producer.len == 0) return out;
    struct model_producer *p = producer_of(s, txn->producer);
    out.last_n = txn->n;
    p->numbers = mem_resize(p->numbers, (p->count + 1) * sizeof(p->numbers[0]));
    p->numbers[p->count++] = (struct model_number){txn_content_hash(txn), out};
    return out;
}

/* ---- queries ---- */

static bool give(struct store_query *q, struct slice bytes)
{
    bool fits = q->rows_count < q->limit_count &&
                (q->rows_count == 0 || q->rows.len + bytes.len <= q->limit_bytes);
    q->more |= !fits;
    if (!fits) return false;
    buf_put(&q->rows, bytes.data, bytes.len);
    q->rows_count++;
    return true;
}

static bool give_record(struct store_query *q, const struct record_view *r)
{
    struct buf bytes = {0};
    record_encode(r, &bytes);
    bool given = give(q, buf_bytes(&bytes));
    buf_free(&bytes);
    return given;
}

static bool give_item(struct store_query *q, const struct item_view *item)
{
    struct buf bytes = {0};
    item_encode(item, &bytes);
    bool given = give(q, buf_bytes(&bytes));
    buf_free(&bytes);
    return given;
}

static void query_records(struct model_stream *s, struct store_query *q)
{
    seq_t lo = 1, hi = s->head.last, from = q->from;
    if (q->kind == STORE_RECORDS_AT)
        for (from = 1; from <= hi && record(s, from)->time_ms < (int64_t)q->from;)
            from++;
    if (q->to != 0 && q->to < hi) hi = q->to;
    if (q->backwards && from != 0 && from < hi) hi = from;
    if (!q->backwards && from != 0) lo = from;
    if (q->backwards) {
        for (seq_t seq = hi; seq >= lo && seq > 0; seq--)
            if (!give_record(q, record(s, seq))) return;
    } else {
        for (seq_t seq = lo; seq <= hi; seq++)
            if (!give_record(q, record(s, seq))) return;
    }
}

static int item_order(const void *a, const void *b)
{
    const struct model_item *x = *(struct model_item *const *)a;
    const struct model_item *y = *(struct model_item *const *)b;
    if (x->view.cursor != y->view.cursor) return x->view.cursor - y->view.cursor;
    return slice_compare(x->view.key, y->view.key);
}

static bool item_asked(const struct store_query *q, const struct item_view *v)
{
    if (q->kind == STORE_CHANGES) {
        struct slice after = q->after;
        if (v->version <= q->from) return false;
        if (after.len == 0) return true;
        bool cursors = *(const char *)after.data == 1;
        after = (struct slice){(const char *)after.data + 1, after.len - 1};
        if (v->cursor != cursors) return v->cursor;
        return slice_compare(v->key, after) > 0;
    }
    if (v->cursor != (q->kind == STORE_CURSORS) || v->dropped) return false;
    return slice_begins(v->key, q->prefix) &&
           (q->after.len == 0 || slice_compare(v->key, q->after) > 0);
}

static void query_items(struct model_stream *s, struct store_query *q)
{
    struct model_item *sorted[2 * MODEL_KEYS_MAX];
    for (unsigned i = 0; i < s->items_count; i++)
        sorted[i] = &s->items[i];
    qsort(sorted, s->items_count, sizeof(sorted[0]), item_order);
    for (unsigned i = 0; i < s->items_count; i++)
        if (item_asked(q, &sorted[i]->view) && !give_item(q, &sorted[i]->view)) return;
}

static void query_tag(struct model_stream *s, struct store_query *q)
{
    for (unsigned i = 0; i < s->tags_count; i++) {
        const struct model_tag *tag = &s->tags[i];
        if (!slice_equal(tag->name, q->prefix)) continue;
        unsigned start = tag->count > TAG_SEQS_MAX ? tag->count - TAG_SEQS_MAX : 0;
        for (unsigned k = start; k < tag->count; k++)
            if (tag->seqs[k] > q->from && !give_item(q, &(struct item_view){.seq = tag->seqs[k]}))
                return;
    }
}

int model_query(struct model *model, struct store_query *q)
{
    struct model_stream *s = stream_of(model, q->stream);
    uint64_t version;
    if (q->kind == STORE_PRODUCER) q->number = producer_of(s, q->prefix)->count;
    q->head = s->head;
    if (s->head.version == 0) return ERR_NO_STREAM;
    for (unsigned i = 0; i < q->checks_count; i++)
        if (!check_holds(s, &q->checks[i], &version)) {
            q->failed = (uint16_t)i;
            return ERR_REJECTED;
        }
    if (q->kind == STORE_RECORDS || q->kind == STORE_RECORDS_AT) query_records(s, q);
    if (q->kind >= STORE_ATTRIBUTES && q->kind <= STORE_CHANGES) query_items(s, q);
    if (q->kind == STORE_TAG) query_tag(s, q);
    return 0;
}
