/* raft/client_feed.c -- feeds: who works, from where on, and what there is to do.
 *
 * Happy path: READ the lease and cursor; TAKE the lease when nobody has it; then again and again:
 * SCAN which streams changed after the cursor's entry, and read the RECORDS of each from the
 * cursor's time on; when all that had changed at the first page was given, the owner says that it
 * is done and the cursor moves to there (MOVE). A long scan renews the lease on its way (BEAT). One
 * request is under way at a time.
 *
 * Records do not tell their entry, but entries have times that never go back: the records of
 * entries after the cursor's are among those that are not older than it.
 *
 * Failure: a transaction that failed, or whose outcome is unknown, is followed by READ: the lease's
 * value says whether it is ours. A lease that another took ends the work at the next MOVE. */
#include <stdio.h>
#include <stdlib.h>

#include "raft/client_impl.h"

enum {
    BEAT_MS = 3000,  /* A lease is renewed so often. */
    WATCH_MS = 2000, /* Somebody else's is looked at so often. */
    IDLE_MS = 500,   /* Nothing changed: look again. */
    PAUSE_MS = 500,  /* A request failed: try again. */
    PAGE_STREAMS = 256,
    PAGE_RECORDS = 256,
    PAGE_BYTES = 256 * 1024,
    STREAM_BYTES_MAX = 9 + CLIENT_FEED_NAME_BYTES_MAX + 1 + 5 + 1, /* sys/feed/NAME/65535 */
};

enum feed_step { FEED_READ, FEED_TAKE, FEED_BEAT, FEED_MOVE, FEED_SCAN, FEED_RECORDS, FEED_GIVEN };

struct cursor {
    index_t index; /* All entries up to it are dealt with. */
    int64_t time_ms;
};
struct client_feed {
    struct client *client;
    char stream[STREAM_BYTES_MAX];
    part_t part;
    const struct feed_handlers *handlers;
    void *arg;
    enum feed_step step;   /* Under way, or next when the timer fires. */
    enum feed_step resume; /* BEAT: what comes after it. */
    bool open;             /* A request is. */
    bool closed;           /* By the owner; freed when nothing is open. */
    bool busy;             /* A handler runs. */
    struct env_timer timer;

    uint64_t owner, epoch, beat; /* Of our lease. */
    bool held;
    uint64_t lease_version; /* Ours, or somebody's as last seen. */
    bool lease_there;
    uint64_t seen_ms, beat_ms;  /* When theirs changed, when ours was renewed. */
    struct cursor cursor, next; /* next: where a scan will have come to. */

    struct client_txn txn;
    struct client_query query;
    struct client_changed changed;
    struct reader streams; /* Of changed.streams: those not read yet. */
    uint32_t streams_left;
    struct buf after, name; /* The last stream of the page before; the one being read. */
    seq_t from;             /* Of RECORDS: 0 for by time. */
    bool first_page, given; /* Of the scan; some record was. */
};

static void feed_go(struct client_feed *feed, enum feed_step step);

static void feed_free(struct client_feed *feed)
{
    buf_free(&feed->query.query.rows);
    buf_free(&feed->changed.streams);
    buf_free(&feed->after);
    buf_free(&feed->name);
    free(feed);
}

/* A request ended. False: so does the feed. */
static bool feed_back(struct client_feed *feed, int err)
{
    feed->open = false;
    if (feed->closed)
        feed_free(feed);
    else if (err != ERR_CANCELED)
        return true;
    return false;
}

static void feed_later(struct client_feed *feed, enum feed_step step, uint64_t ms)
{
    feed->step = step;
    env_timer_start(feed->client->env, &feed->timer, ms);
}

static void timer_fired(struct env_timer *timer)
{
    struct client_feed *feed = CONTAINER_OF(timer, struct client_feed, timer);
    feed_go(feed, feed->step);
}

/* Tell whether the lease is ours. False: the owner closed the feed. */
static bool feed_hold(struct client_feed *feed, bool held)
{
    if (feed->held == held) return true;
    feed->held = held;
    feed->busy = true;
    if (feed->handlers->held != NULL) feed->handlers->held(feed->arg, held);
    feed->busy = false;
    if (!feed->closed) return true;
    feed_free(feed);
    return false;
}

/* ---- lease and cursor ---- */

struct lease {
    bool there;
    uint64_t version, owner, epoch, beat;
};

static void items_parse(const struct store_query *query, struct lease *lease, struct cursor *cursor)
{
    struct reader r = reader_of(buf_bytes(&query->rows));
    for (uint32_t i = 0; i < query->rows_count; i++) {
        struct item_view item;
        item_decode(&r, &item);
        struct reader value = reader_of(item.value);
        if (slice_equal(item.key, slice_str("lease"))) {
            *lease = (struct lease){.there = true, .version = item.version};
            lease->owner = read_u64(&value);
            lease->epoch = read_u64(&value);
            lease->beat = read_u64(&value);
        } else if (slice_equal(item.key, slice_str("cursor"))) {
            cursor->index = read_u64(&value);
            cursor->time_ms = (int64_t)read_u64(&value);
        }
    }
}

/* The lease as it is now: ours, nobody's, or somebody's who lives or not. */
static void lease_judge(struct client_feed *feed, const struct lease *lease)
{
    uint64_t now_ms = env_now_ms(feed->client->env);
    bool same = feed->lease_there == lease->there && feed->lease_version == lease->version;
    bool ours = lease->there && lease->owner == feed->owner;
    feed->lease_there = lease->there;
    feed->lease_version = lease->version;
    feed->epoch = lease->epoch;
    feed->beat = lease->beat;
    if (!same) feed->seen_ms = now_ms;
    if (!feed_hold(feed, ours)) return;
    if (ours) {
        feed->after.len = 0;
        feed_go(feed, FEED_SCAN);
    } else if (!lease->there || now_ms - feed->seen_ms >= CLIENT_FEED_LEASE_MS) {
        feed_go(feed, FEED_TAKE);
    } else {
        feed_later(feed, FEED_READ, WATCH_MS);
    }
}

static void read_done(struct client_query *query, int err)
{
    struct client_feed *feed = CONTAINER_OF(query, struct client_feed, query);
    struct lease lease = {0};
    if (!feed_back(feed, err)) return;
    if (err != 0 && err != ERR_NO_STREAM) {
        feed_later(feed, FEED_READ, PAUSE_MS);
        return;
    }
    feed->cursor = (struct cursor){0};
    if (err == 0) items_parse(&query->query, &lease, &feed->cursor);
    lease_judge(feed, &lease);
}

static void feed_query(struct client_feed *feed, const struct store_query *query,
                       void (*done)(struct client_query *query, int err))
{
    struct buf rows = feed->query.query.rows;
    feed->query = (struct client_query){.query = *query, .done = done};
    feed->query.query.rows = rows;
    feed->open = true;
    client_query(feed->client, &feed->query);
}

static void txn_done(struct client_txn *txn, int err, const struct outcome *outcome,
                     uint32_t after_ms)
{
    struct client_feed *feed = CONTAINER_OF(txn, struct client_feed, txn);
    (void)after_ms;
    if (!feed_back(feed, err)) return;
    if (err != 0 || outcome->status != 0) {
        /* Refused: another was faster. Unknown: reading tells. */
        feed_later(feed, FEED_READ, err == 0 ? 0 : PAUSE_MS);
        return;
    }
    feed->beat_ms = env_now_ms(feed->client->env);
    feed->lease_version = outcome->version;
    feed->lease_there = true;
    if (feed->step == FEED_MOVE) feed->cursor = feed->next;
    if (feed_hold(feed, true)) feed_go(feed, feed->step == FEED_BEAT ? feed->resume : FEED_SCAN);
}

/* Write the lease, and with MOVE the cursor, if the lease is as we know it. */
static void feed_write(struct client_feed *feed)
{
    uint8_t lease[24], cursor[16];
    put_u64(lease, feed->owner);
    put_u64(lease + 8, feed->step == FEED_TAKE ? ++feed->epoch : feed->epoch);
    put_u64(lease + 16, ++feed->beat);
    put_u64(cursor, feed->next.index);
    put_u64(cursor + 8, (uint64_t)feed->next.time_ms);
    struct slice lease_key = slice_str("lease");
    struct txn_check check = {.kind = feed->lease_there ? TXN_IF_VERSION : TXN_IF_ABSENT,
                              .key = lease_key,
                              .number = feed->lease_there ? feed->lease_version : 0};
    struct txn_set sets[2] = {{.key = lease_key, .value = {lease, sizeof(lease)}},
                              {.key = slice_str("cursor"), .value = {cursor, sizeof(cursor)}}};
    struct txn txn = {.stream = slice_str(feed->stream),
                      .checks = &check,
                      .checks_count = 1,
                      .sets = sets,
                      .sets_count = feed->step == FEED_MOVE ? 2 : 1};
    feed->txn = (struct client_txn){.txn = &txn, .done = txn_done};
    feed->open = true;
    client_txn(feed->client, &feed->txn);
}

/* ---- what there is to do ---- */

static bool beat_due(const struct client_feed *feed)
{
    return env_now_ms(feed->client->env) - feed->beat_ms >= BEAT_MS;
}

/* The scan goes on with step, after renewing the lease when that is due. */
static void scan_on(struct client_feed *feed, enum feed_step step)
{
    feed->resume = step;
    feed_go(feed, beat_due(feed) ? FEED_BEAT : step);
}

/* All of the scan was given. */
static void scan_end(struct client_feed *feed)
{
    if (feed->given) {
        feed->step = FEED_GIVEN;
        feed->busy = true;
        feed->handlers->batch(feed->arg);
        feed->busy = false;
        if (feed->closed)
            feed_free(feed);
        else if (feed->step != FEED_GIVEN)
            feed_go(feed, feed->step); /* It said done at once. */
    } else if (beat_due(feed)) {
        feed_go(feed, FEED_MOVE);
    } else {
        feed->cursor = feed->next; /* Nothing to do up to there: it is written with a later move. */
        feed->after.len = 0;
        feed_later(feed, FEED_SCAN, IDLE_MS);
    }
}

/* The next stream of the page that has records, or the next page. */
static void stream_next(struct client_feed *feed)
{
    while (feed->streams_left > 0) {
        struct stream_head head;
        feed->streams_left--;
        struct slice name = read_slice(&feed->streams, STREAM_NAME_BYTES_MAX);
        stream_head_decode(&feed->streams, &head);
        feed->name.len = 0;
        buf_put(&feed->name, name.data, name.len);
        feed->after.len = 0;
        buf_put(&feed->after, name.data, name.len);
        feed->from = 0;
        if (head.last == 0) continue; /* As are the feeds' own streams. */
        scan_on(feed, FEED_RECORDS);
        return;
    }
    if (feed->changed.more)
        scan_on(feed, FEED_SCAN);
    else
        scan_end(feed);
}

static void changed_done(struct client_changed *changed, int err)
{
    struct client_feed *feed = CONTAINER_OF(changed, struct client_feed, changed);
    if (!feed_back(feed, err)) return;
    if (err != 0) {
        feed_later(feed, FEED_READ, PAUSE_MS);
        return;
    }
    if (feed->first_page) feed->next = (struct cursor){changed->index, changed->time_ms};
    feed->streams = reader_of(buf_bytes(&changed->streams));
    feed->streams_left = changed->streams_count;
    stream_next(feed);
}

static void feed_scan(struct client_feed *feed)
{
    struct buf streams = feed->changed.streams;
    feed->first_page = feed->after.len == 0;
    if (feed->first_page) feed->given = false;
    feed->changed = (struct client_changed){.part = feed->part,
                                            .since = feed->cursor.index,
                                            .after = buf_bytes(&feed->after),
                                            .limit_count = PAGE_STREAMS,
                                            .streams = streams,
                                            .done = changed_done};
    feed->open = true;
    client_changed(feed->client, &feed->changed);
}

/* Give what came. False: the owner closed the feed. */
static bool records_give(struct client_feed *feed)
{
    const struct store_query *query = &feed->query.query;
    struct reader r = reader_of(buf_bytes(&query->rows));
    feed->busy = true;
    for (uint32_t i = 0; i < query->rows_count && !feed->closed; i++) {
        struct record_view record;
        record_decode(&r, &record);
        if (r.failed) break;
        feed->from = record.seq + 1;
        feed->given = true;
        feed->handlers->record(feed->arg, buf_bytes(&feed->name), &record);
    }
    feed->busy = false;
    if (!feed->closed) return true;
    feed_free(feed);
    return false;
}

static void records_done(struct client_query *query, int err)
{
    struct client_feed *feed = CONTAINER_OF(query, struct client_feed, query);
    if (!feed_back(feed, err)) return;
    if (err == ERR_NO_STREAM) {
        stream_next(feed);
    } else if (err != 0) {
        /* Trimmed meanwhile: what is left of it comes anew with the scan. */
        feed_later(feed, FEED_READ, PAUSE_MS);
    } else if (records_give(feed)) {
        if (query->query.more)
            scan_on(feed, FEED_RECORDS);
        else
            stream_next(feed);
    }
}

static void feed_go(struct client_feed *feed, enum feed_step step)
{
    struct store_query query = {
        .stream = slice_str(feed->stream), .limit_count = PAGE_RECORDS, .limit_bytes = PAGE_BYTES};
    CHECK(!feed->open);
    feed->step = step;
    switch (step) {
        case FEED_READ:
            query.kind = STORE_ATTRIBUTES;
            feed_query(feed, &query, read_done);
            break;
        case FEED_TAKE:
        case FEED_MOVE:
            feed->after.len = 0;
            feed_write(feed);
            break;
        case FEED_BEAT:
            feed_write(feed);
            break;
        case FEED_SCAN:
            feed_scan(feed);
            break;
        case FEED_RECORDS:
            query.stream = buf_bytes(&feed->name);
            query.kind = feed->from == 0 ? STORE_RECORDS_AT : STORE_RECORDS;
            query.from = feed->from == 0 ? (uint64_t)feed->cursor.time_ms : feed->from;
            feed_query(feed, &query, records_done);
            break;
        case FEED_GIVEN:
            break;
    }
}

/* ---- for the owner ---- */

struct client_feed *client_feed_open(struct client *client, struct slice name, part_t part,
                                     const struct feed_handlers *handlers, void *arg)
{
    CHECK(part < client_partitions(client));
    CHECK(name.len > 0);
    CHECK(name.len <= CLIENT_FEED_NAME_BYTES_MAX);
    struct client_feed *feed = mem_zero(sizeof(*feed));
    feed->client = client;
    feed->part = part;
    feed->handlers = handlers;
    feed->arg = arg;
    feed->owner = env_random(client->env);
    snprintf(feed->stream, sizeof(feed->stream), "sys/feed/%.*s/%u", (int)name.len,
             (const char *)name.data, (unsigned)part);
    env_timer_init(&feed->timer, timer_fired);
    feed_go(feed, FEED_READ);
    return feed;
}

void client_feed_done(struct client_feed *feed)
{
    CHECK(feed->step == FEED_GIVEN);
    feed->step = FEED_MOVE;
    if (!feed->busy) feed_go(feed, FEED_MOVE);
}

void client_feed_close(struct client_feed *feed)
{
    CHECK(!feed->closed);
    feed->closed = true;
    env_timer_stop(feed->client->env, &feed->timer);
    if (!feed->open && !feed->busy) feed_free(feed);
}
