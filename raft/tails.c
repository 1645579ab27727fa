/* raft/tails.c -- see tails.h. Here: connections, subscribers, streams; tails_point.c moves them.
 *
 * Happy path: an open makes a subscriber at a point of its own, which is confirmed and read. A
 * change marks its stream dirty; at the end of the turn the resting points of dirty streams read
 * on.
 *
 * Failure: when leadership ends, all tails of the partition end, so that nobody listens to a
 * deposed leader. Streams whose last point went are freed with the dirty ones. */
#include "raft/tails.h"

#include <stdlib.h>

#include "log/pack.h"
#include "raft/tails_impl.h"

/* ---- streams ---- */

void stream_dirty(struct tails_stream *stream)
{
    struct tails *tails = stream->tails;
    if (stream->dirty) return;
    stream->dirty = true;
    stream->next_dirty = tails->dirty;
    tails->dirty = stream;
    env_defer(tails->env, &tails->pump);
}

static struct tails_stream *stream_find(const struct tails *tails, struct slice name)
{
    if (tails->streams == NULL) return NULL;
    struct table_link *link = table_find(&tails->streams_table, hash64(name));
    for (; link != NULL; link = table_find_next(link)) {
        struct tails_stream *stream = CONTAINER_OF(link, struct tails_stream, link);
        if (slice_equal(buf_bytes(&stream->name), name)) return stream;
    }
    return NULL;
}

static struct tails_stream *stream_get(struct tails *tails, struct slice name)
{
    struct tails_stream *stream = stream_find(tails, name);
    if (stream != NULL) return stream;
    stream = mem_zero(sizeof(*stream));
    *stream = (struct tails_stream){.tails = tails,
                                    .part = partition_of(name, tails->parts_count),
                                    .next = tails->streams,
                                    .at = &tails->streams};
    if (stream->next != NULL) stream->next->at = &stream->next;
    tails->streams = stream;
    buf_put(&stream->name, name.data, name.len);
    table_add(&tails->streams_table, &stream->link, hash64(name));
    return stream;
}

static void stream_free(struct tails_stream *stream)
{
    CHECK(stream->points == NULL);
    *stream->at = stream->next;
    if (stream->next != NULL) stream->next->at = stream->at;
    table_remove(&stream->tails->streams_table, &stream->link);
    buf_free(&stream->name);
    free(stream);
}

static void pump_run(struct env_task *task)
{
    struct tails *tails = CONTAINER_OF(task, struct tails, pump);
    while (tails->dirty != NULL) {
        struct tails_stream *stream = tails->dirty;
        tails->dirty = stream->next_dirty;
        struct point *next;
        for (struct point *point = stream->points; point != NULL; point = next) {
            next = point->next;
            point_pump(point);
        }
        stream->dirty = false;
        if (stream->points == NULL) stream_free(stream);
    }
}

void tails_applied(struct tails *tails, const struct applied_txn *applied)
{
    if (!applied->changed) return;
    struct tails_stream *stream = stream_find(tails, applied->txn->stream);
    if (stream == NULL) return;
    stream->version = applied->head->version;
    stream_dirty(stream);
}

/* ---- subscribers ---- */

bool tails_conn_full(const struct tails_conn *c)
{
    return env_conn_backlog(c->tails->env, c->conn) > TAILS_BACKLOG_BYTES;
}

void sub_tell(const struct tails_sub *sub, struct slice events)
{
    struct buf *out = env_conn_out(sub->conn->tails->env, sub->conn->conn);
    size_t at = frame_begin(out, WIRE_TAIL_EVENTS);
    wire_events_begin(sub->id, out);
    buf_put(out, events.data, events.len);
    frame_end(out, at);
}

void sub_tell_sessions(struct tails_sub *sub)
{
    const struct tails_stream *stream = sub->point->stream;
    struct buf events = {0};
    sessions_list(stream->tails->sessions, stream->part, buf_bytes(&stream->name), &events);
    if (events.len > 0) sub_tell(sub, buf_bytes(&events));
    buf_free(&events);
    sub->missed = false;
}

static uint64_t sub_hash(const struct tails_conn *c, uint64_t id)
{
    return hash64((struct slice){&id, sizeof(id)}) ^ c->client;
}

static struct tails_sub *sub_find(const struct tails_conn *c, uint64_t id)
{
    struct table_link *link = table_find(&c->tails->subs_table, sub_hash(c, id));
    for (; link != NULL; link = table_find_next(link)) {
        struct tails_sub *sub = CONTAINER_OF(link, struct tails_sub, link);
        if (sub->conn == c && sub->id == id) return sub;
    }
    return NULL;
}

static void sub_free(struct tails_sub *sub)
{
    table_remove(&sub->conn->tails->subs_table, &sub->link);
    *sub->at = sub->next;
    if (sub->next != NULL) sub->next->at = sub->at;
    point_leave(sub);
    free(sub);
}

static void say_ended(const struct tails_conn *c, uint64_t id, part_t part, int err)
{
    const struct tails *tails = c->tails;
    struct wire_end end = {.id = id, .err = err};
    const struct part *replica = tails->parts[part];
    if (replica != NULL && !part_leads(replica)) {
        end.leader = part_leader_node(replica);
        end.term = part_term(replica);
    }
    struct buf *out = env_conn_out(tails->env, c->conn);
    size_t at = frame_begin(out, WIRE_TAIL_ENDED);
    wire_tail_ended_encode(&end, out);
    frame_end(out, at);
}

void sub_end(struct tails_sub *sub, int err)
{
    say_ended(sub->conn, sub->id, sub->point->stream->part, err);
    sub_free(sub);
}

int tails_open(struct tails_conn *c, const struct wire_tail_open *m)
{
    struct tails *tails = c->tails;
    CHECK(c->conn != NULL);
    if (sub_find(c, m->tail) != NULL) return ERR_INVAL;
    part_t part = partition_of(m->stream, tails->parts_count);
    int err = tails->parts[part] == NULL ? ERR_NOT_LEADER : 0;
    if (tails->subs_table.count >= TAILS_MAX) err = ERR_BUSY;
    if (tails->stopped) err = ERR_NO_LEADER;
    if (err != 0) {
        say_ended(c, m->tail, part, err);
        return 0;
    }
    struct tails_sub *sub = mem_zero(sizeof(*sub));
    sub->conn = c;
    sub->id = m->tail;
    sub->sessions = (m->flags & WIRE_TAIL_SESSIONS) != 0;
    sub->next = c->subs;
    sub->at = &c->subs;
    if (sub->next != NULL) sub->next->at = &sub->next;
    c->subs = sub;
    table_add(&tails->subs_table, &sub->link, sub_hash(c, m->tail));
    bool heads = (m->flags & WIRE_TAIL_HEADS) != 0;
    struct point *point = point_create(stream_get(tails, m->stream), heads, m->seq, m->version);
    point_join(point, sub);
    point_confirm(point);
    return 0;
}

void tails_close(struct tails_conn *c, uint64_t tail)
{
    struct tails_sub *sub = sub_find(c, tail);
    if (sub != NULL) sub_free(sub);
}

void tails_conn_begin(struct tails_conn *c, struct tails *tails, struct env_conn *conn,
                      uint64_t client)
{
    *c = (struct tails_conn){.tails = tails, .conn = conn, .client = client};
}

void tails_conn_end(struct tails_conn *c)
{
    while (c->subs != NULL)
        sub_free(c->subs);
    c->conn = NULL;
}

/* Comes after nearly every turn that wrote: looks at subscribers only when some are behind. */
void tails_conn_drained(struct tails_conn *c)
{
    if (!c->behind) return;
    c->behind = false;
    for (struct tails_sub *sub = c->subs; sub != NULL; sub = sub->next) {
        if (tails_conn_full(c)) {
            c->behind = true; /* The next drain goes on. */
            return;
        }
        if (sub->missed && sub->point->started) sub_tell_sessions(sub);
        if (!sub->point->paused) continue;
        sub->point->paused = false;
        stream_dirty(sub->point->stream);
    }
}

/* ---- signals and sessions ---- */

/* To all who follow the stream, or to those alone who want sessions. */
static void publish(struct tails *tails, struct slice name, const struct wire_event *event,
                    bool session)
{
    struct tails_stream *stream = stream_find(tails, name);
    if (stream == NULL) return;
    tails->events.len = 0;
    wire_event_encode(event, &tails->events);
    for (struct point *point = stream->points; point != NULL; point = point->next) {
        if (!point->started) continue; /* They hear of all who are there when they start. */
        for (struct tails_sub *sub = point->subs; sub != NULL; sub = sub->point_next) {
            if (session && !sub->sessions) continue;
            if (!tails_conn_full(sub->conn)) {
                sub_tell(sub, buf_bytes(&tails->events));
            } else if (session) {
                sub->missed = true;
                sub->conn->behind = true;
            }
        }
    }
}

void tails_signal(struct tails *tails, const struct wire_signal *m)
{
    struct wire_event event = {.kind = WIRE_EVENT_SIGNAL, .payload = m->payload};
    publish(tails, m->stream, &event, false);
}

void tails_claim(struct tails_conn *c, const struct wire_claim *m)
{
    struct tails *tails = c->tails;
    if (tails->stopped) return;
    sessions_claim(tails->sessions, partition_of(m->stream, tails->parts_count), c->client, m);
}

static void session_told(void *arg, struct slice stream, const struct wire_event *event)
{
    publish(arg, stream, event, true);
}

static void sessions_settled(void *arg, part_t part)
{
    struct tails *tails = arg;
    for (struct tails_stream *stream = tails->streams; stream != NULL; stream = stream->next) {
        if (stream->part != part) continue;
        for (struct point *point = stream->points; point != NULL; point = point->next) {
            if (!point->started) continue;
            for (struct tails_sub *sub = point->subs; sub != NULL; sub = sub->point_next) {
                if (!sub->sessions) continue;
                sub->missed = true;
                sub->conn->behind = true;
                if (!tails_conn_full(sub->conn)) sub_tell_sessions(sub);
            }
        }
    }
}

/* ---- leadership and life ---- */

/* End the tails of one partition, or of all (PARTITIONS_MAX). */
static void end_all(struct tails *tails, unsigned part, int err)
{
    for (struct tails_stream *stream = tails->streams; stream != NULL; stream = stream->next) {
        if (part != PARTITIONS_MAX && stream->part != part) continue;
        struct point *next;
        for (struct point *point = stream->points; point != NULL; point = next) {
            next = point->next;
            unsigned left = 0;
            for (struct tails_sub *sub = point->subs; sub != NULL; sub = sub->point_next)
                left++;
            while (left-- > 0)
                sub_end(point->subs, err); /* The last may take the point along. */
        }
    }
}

void tails_leading(struct tails *tails, part_t part, bool leading)
{
    sessions_leading(tails->sessions, part, leading);
    if (!leading) end_all(tails, part, ERR_NO_LEADER);
}

struct tails *tails_create(struct env *env)
{
    struct tails *tails = mem_zero(sizeof(*tails));
    struct sessions_hooks hooks = {session_told, sessions_settled, tails};
    tails->env = env;
    tails->sessions = sessions_create(env, &hooks);
    env_task_init(&tails->pump, ENV_PHASE_WORK, pump_run);
    return tails;
}

void tails_join(struct tails *tails, struct part *const *parts, unsigned parts_count)
{
    CHECK(tails->parts == NULL);
    tails->parts = parts;
    tails->parts_count = parts_count;
}

void tails_stop(struct tails *tails)
{
    tails->stopped = true;
    end_all(tails, PARTITIONS_MAX, ERR_NO_LEADER);
    for (unsigned i = 0; i < tails->parts_count; i++)
        sessions_leading(tails->sessions, (part_t)i, false);
}

void tails_destroy(struct tails *tails)
{
    CHECK(tails->subs_table.count == 0);
    while (tails->streams != NULL) {
        while (tails->streams->points != NULL)
            point_destroy(tails->streams->points);
        stream_free(tails->streams);
    }
    sessions_destroy(tails->sessions);
    table_free(&tails->streams_table);
    table_free(&tails->subs_table);
    buf_free(&tails->events);
    free(tails);
}

unsigned tails_count(const struct tails *tails)
{
    return (unsigned)tails->subs_table.count;
}

unsigned tails_sessions_count(const struct tails *tails)
{
    return sessions_count(tails->sessions);
}
