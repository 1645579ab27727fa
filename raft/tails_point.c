/* raft/tails_point.c -- the positions that subscribers stand at, and how they move.
 *
 * Happy path: a new point is confirmed once (this node leads, and applied all that was committed),
 * then reads: records after its seq and items changed after its version, both of one read point. It
 * tells them to its subscribers and moves on; at the stream's end it rests, and meets the others.
 *
 * Failure: a read that is stopped by a limit goes on from there; only when all of a read point was
 * told does HEAD say so, which moves the version. A subscriber whose connection is full stays
 * behind, at a point of its own. A read that fails ends the tails.
 *
 * Invariants: all subscribers of a point were told the same, up to its seq and version. */
#include <stdlib.h>

#include "raft/tails_impl.h"

/* Two queries over one state of the store; on the heap while they are under way. */
struct point_read {
    struct point *point;
    struct store_query records; /* Or the head alone. */
    struct store_query items;
    unsigned open; /* Queries. */
    int err;
};

static void point_move(struct point *point, enum point_state state)
{
    static const bool allowed[POINT_STATES][POINT_STATES] = {
        [POINT_CONFIRMING] = {[POINT_RESTING] = true},
        [POINT_READING] = {[POINT_RESTING] = true},
        [POINT_RESTING] = {[POINT_CONFIRMING] = true, [POINT_READING] = true},
    };
    CHECK(allowed[point->state][state]);
    point->state = state;
}

struct point *point_create(struct tails_stream *stream, bool heads, seq_t seq, uint64_t version)
{
    struct point *point = mem_zero(sizeof(*point));
    *point = (struct point){.stream = stream,
                            .state = POINT_RESTING,
                            .heads = heads,
                            .seq = seq,
                            .version = version,
                            .next = stream->points,
                            .at = &stream->points};
    if (point->next != NULL) point->next->at = &point->next;
    stream->points = point;
    return point;
}

static void read_free(struct point_read *read)
{
    buf_free(&read->records.rows);
    buf_free(&read->items.rows);
    free(read);
}

void point_destroy(struct point *point)
{
    *point->at = point->next;
    if (point->next != NULL) point->next->at = point->at;
    if (point->stream->points == NULL) stream_dirty(point->stream); /* It goes, a little later. */
    if (point->read != NULL) read_free(point->read);
    buf_free(&point->after);
    free(point);
}

void point_join(struct point *point, struct tails_sub *sub)
{
    sub->point = point;
    sub->point_next = point->subs;
    sub->point_at = &point->subs;
    if (sub->point_next != NULL) sub->point_next->point_at = &sub->point_next;
    point->subs = sub;
}

static void sub_unlink(struct tails_sub *sub)
{
    *sub->point_at = sub->point_next;
    if (sub->point_next != NULL) sub->point_next->point_at = sub->point_at;
    sub->point = NULL;
}

void point_leave(struct tails_sub *sub)
{
    struct point *point = sub->point;
    sub_unlink(sub);
    if (point->subs == NULL && point->state == POINT_RESTING) point_destroy(point);
}

/* ---- telling ---- */

/* It stays where the point stands now, alone, until its connection drained. */
static void sub_pause(struct tails_sub *sub)
{
    struct point *from = sub->point;
    struct point *own = point_create(from->stream, from->heads, from->seq, from->version);
    own->started = from->started;
    own->paused = true;
    sub->conn->behind = true;
    sub_unlink(sub);
    point_join(own, sub);
}

/* To all who stand at point; those who cannot take it stay behind. */
static void point_tell(struct point *point, struct slice events, bool starts)
{
    struct tails_sub *next;
    for (struct tails_sub *sub = point->subs; sub != NULL; sub = next) {
        next = sub->point_next;
        if (tails_conn_full(sub->conn)) {
            sub_pause(sub);
            continue;
        }
        if (events.len > 0) sub_tell(sub, events);
        if (starts && sub->sessions) sub_tell_sessions(sub);
    }
}

static void tell_head(enum wire_event_kind kind, const struct stream_head *head, struct buf *out)
{
    wire_event_encode(&(struct wire_event){.kind = kind, .head = *head}, out);
}

/* The rows of a read as events; *seq is the last record's. False: they are damaged. */
static bool tell_records(const struct store_query *query, seq_t *seq, struct buf *out)
{
    struct reader r = reader_of(buf_bytes(&query->rows));
    for (uint32_t i = 0; i < query->rows_count; i++) {
        struct wire_event event = {.kind = WIRE_EVENT_RECORD};
        record_decode(&r, &event.record);
        if (r.failed || event.record.seq != *seq + 1) return false;
        *seq = event.record.seq;
        wire_event_encode(&event, out);
    }
    return reader_done(&r);
}

/* Likewise; after becomes what the next page is asked for with. */
static bool tell_items(const struct store_query *query, struct buf *after, struct buf *out)
{
    struct reader r = reader_of(buf_bytes(&query->rows));
    struct wire_event event = {.kind = WIRE_EVENT_ITEM};
    for (uint32_t i = 0; i < query->rows_count; i++) {
        item_decode(&r, &event.item);
        if (r.failed) return false;
        wire_event_encode(&event, out);
    }
    after->len = 0;
    if (query->more) {
        buf_u8(after, event.item.cursor ? 1 : 0);
        buf_put(after, event.item.key.data, event.item.key.len);
    }
    return reader_done(&r);
}

static void point_end(struct point *point, int err)
{
    while (point->subs != NULL && point->subs->point_next != NULL)
        sub_end(point->subs, err);
    if (point->subs != NULL)
        sub_end(point->subs, err); /* The last one takes the point along. */
    else
        point_destroy(point);
}

/* What a whole read says, as events; where the point stands after it in *to. 0 or why its tails
 * end. */
static int read_tell(struct point_read *read, struct point *to, struct buf *out)
{
    const struct point *point = read->point;
    const struct stream_head *head = &read->records.head;
    if (!point->started) tell_head(WIRE_EVENT_STARTED, head, out);
    to->started = true;
    to->more = false;
    if (!point->heads && !point->paging) {
        if (point->seq > head->last || point->version > head->version) return ERR_RESET;
        if (!tell_records(&read->records, &to->seq, out)) return ERR_CORRUPT;
        to->more = read->records.more;
        if (to->more) return 0;
        if (to->seq != head->last) return ERR_CORRUPT;
    }
    if (!point->heads) {
        if (!point->paging) to->page_head = *head;
        if (!tell_items(&read->items, &to->after, out)) return ERR_CORRUPT;
        to->more = to->paging = read->items.more;
        if (to->more) return 0;
        head = &to->page_head;
    }
    if (head->version != point->version) tell_head(WIRE_EVENT_HEAD, head, out);
    to->seq = head->last;
    to->version = head->version;
    return 0;
}

/* Of the same stream, with nothing under way, told the same: one of both is enough. */
static bool point_merge(struct point *point)
{
    for (struct point *other = point->stream->points; other != NULL; other = other->next) {
        if (other == point || other->state != POINT_RESTING || other->paused || other->more)
            continue;
        if (other->heads != point->heads || other->version != point->version) continue;
        if (!other->started || other->seq != point->seq) continue;
        while (point->subs != NULL) {
            struct tails_sub *sub = point->subs;
            sub_unlink(sub);
            point_join(other, sub);
        }
        point_destroy(point);
        return true;
    }
    return false;
}

/* ---- reading ---- */

/* A stream that is not there is one where nothing happened yet. */
static int read_settle(struct point_read *read)
{
    if (read->err == ERR_NO_STREAM) {
        read->records.head = (struct stream_head){.first = 1};
        return 0;
    }
    return read->err;
}

static void read_over(struct point_read *read)
{
    struct point *point = read->point;
    struct tails *tails = point->stream->tails;
    point->read = NULL;
    point_move(point, POINT_RESTING);
    if (point->subs == NULL) {
        read_free(read);
        point_destroy(point);
        return;
    }
    struct point to = *point; /* Its seq, version and so on alone are used. */
    tails->events.len = 0;
    int err = read_settle(read);
    if (err == 0) err = read_tell(read, &to, &tails->events);
    point->after = to.after; /* It may have moved. */
    if (point->stream->version < read->records.head.version)
        point->stream->version = read->records.head.version;
    read_free(read);
    if (err != 0) {
        point_end(point, err);
        return;
    }
    point_tell(point, buf_bytes(&tails->events), !point->started);
    point->started = true;
    point->more = to.more;
    point->paging = to.paging;
    point->seq = to.seq;
    point->version = to.version;
    point->page_head = to.page_head;
    point_pump(point);
}

static void query_over(struct point_read *read, int err)
{
    CHECK(read->open > 0);
    if (err != 0 && read->err == 0) read->err = err;
    if (--read->open > 0) return;
    read_over(read);
}

static void records_done(struct store_query *query, int err)
{
    query_over(CONTAINER_OF(query, struct point_read, records), err);
}

static void items_done(struct store_query *query, int err)
{
    query_over(CONTAINER_OF(query, struct point_read, items), err);
}

static void point_read(struct point *point)
{
    struct tails_stream *stream = point->stream;
    struct tails *tails = stream->tails;
    struct store *store = part_store(tails->parts[stream->part]);
    struct point_read *read = mem_zero(sizeof(*read));
    bool head_alone = point->heads || point->paging;
    read->point = point;
    read->open = point->heads ? 1 : 2;
    read->records = (struct store_query){.kind = head_alone ? STORE_HEAD : STORE_RECORDS,
                                         .stream = buf_bytes(&stream->name),
                                         .from = point->seq + 1,
                                         .limit_count = TAILS_PAGE_RECORDS,
                                         .limit_bytes = TAILS_PAGE_BYTES,
                                         .done = records_done};
    read->items = (struct store_query){.kind = STORE_CHANGES,
                                       .stream = buf_bytes(&stream->name),
                                       .from = point->version,
                                       .after = buf_bytes(&point->after),
                                       .limit_count = WIRE_ROWS_COUNT_MAX,
                                       .limit_bytes = WIRE_EVENTS_BYTES_MAX,
                                       .done = items_done};
    point->read = read;
    point_move(point, POINT_READING);
    store_query(store, &read->records);
    if (!point->heads) store_query(store, &read->items);
}

void point_pump(struct point *point)
{
    if (point->state != POINT_RESTING || point->paused) return;
    CHECK(point->subs != NULL || point->started);
    if (point->subs == NULL) {
        point_destroy(point); /* All stayed behind, at points of their own. */
        return;
    }
    if (!point->started || point->more || point->version < point->stream->version)
        point_read(point);
    else
        (void)point_merge(point);
}

static void confirm_done(struct part_confirm *confirm, int err)
{
    struct point *point = CONTAINER_OF(confirm, struct point, confirm);
    point_move(point, POINT_RESTING);
    if (point->subs == NULL)
        point_destroy(point);
    else if (err != 0)
        point_end(point, err);
    else
        point_pump(point);
}

void point_confirm(struct point *point)
{
    struct tails_stream *stream = point->stream;
    point_move(point, POINT_CONFIRMING);
    point->confirm = (struct part_confirm){.done = confirm_done};
    part_confirm(stream->tails->parts[stream->part], &point->confirm);
}
