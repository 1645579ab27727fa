/* raft/sessions.c -- see sessions.h.
 *
 * All sessions hang in one list by the time of their last claim, so that those to go are at its
 * front; and each in its stream's list, for who asks who is there. */
#include "raft/sessions.h"

#include <stdlib.h>

#include "log/pack.h"
#include "raft/table.h"

enum { SWEEP_MS = 1000 };

/* A stream with sessions. */
struct place {
    struct table_link link;
    part_t part;
    struct session *sessions;
    unsigned sessions_count;
    struct buf stream;
};
struct session {
    struct table_link link;
    struct place *place;
    struct session *next, **at;      /* Of its place. */
    struct session *later, *earlier; /* By claim. */
    uint64_t client;
    uint64_t claimed_ms;
    struct buf key, payload;
};
struct sessions {
    struct env *env;
    struct sessions_hooks hooks;
    struct table places, sessions;
    struct session *oldest, *newest;
    size_t bytes;
    struct env_timer sweep;
    struct {
        bool leading, settled;
        uint64_t since_ms;
    } parts[PARTITIONS_MAX];
};

static uint64_t session_hash(struct slice stream, struct slice key)
{
    return hash64_pair(stream, key);
}

static size_t session_bytes(const struct session *session)
{
    return sizeof(*session) + session->key.capacity + session->payload.capacity;
}

static struct place *place_find(const struct sessions *sessions, struct slice stream)
{
    struct table_link *link = table_find(&sessions->places, hash64(stream));
    for (; link != NULL; link = table_find_next(link)) {
        struct place *place = CONTAINER_OF(link, struct place, link);
        if (slice_equal(buf_bytes(&place->stream), stream)) return place;
    }
    return NULL;
}

static struct session *session_find(const struct sessions *sessions, struct slice stream,
                                    struct slice key)
{
    struct table_link *link = table_find(&sessions->sessions, session_hash(stream, key));
    for (; link != NULL; link = table_find_next(link)) {
        struct session *session = CONTAINER_OF(link, struct session, link);
        if (slice_equal(buf_bytes(&session->key), key) &&
            slice_equal(buf_bytes(&session->place->stream), stream))
            return session;
    }
    return NULL;
}

/* ---- coming and going ---- */

static void order_remove(struct sessions *sessions, struct session *session)
{
    *(session->earlier == NULL ? &sessions->oldest : &session->earlier->later) = session->later;
    *(session->later == NULL ? &sessions->newest : &session->later->earlier) = session->earlier;
}

static void order_append(struct sessions *sessions, struct session *session)
{
    session->later = NULL;
    session->earlier = sessions->newest;
    *(session->earlier == NULL ? &sessions->oldest : &session->earlier->later) = session;
    sessions->newest = session;
}

static struct place *place_get(struct sessions *sessions, part_t part, struct slice stream)
{
    struct place *place = place_find(sessions, stream);
    if (place != NULL) return place;
    place = mem_zero(sizeof(*place));
    place->part = part;
    buf_put(&place->stream, stream.data, stream.len);
    table_add(&sessions->places, &place->link, hash64(stream));
    return place;
}

static struct session *session_add(struct sessions *sessions, part_t part,
                                   const struct wire_claim *claim)
{
    struct session *session = mem_zero(sizeof(*session));
    session->place = place_get(sessions, part, claim->stream);
    session->next = session->place->sessions;
    session->at = &session->place->sessions;
    if (session->next != NULL) session->next->at = &session->next;
    session->place->sessions = session;
    session->place->sessions_count++;
    buf_put(&session->key, claim->key.data, claim->key.len);
    table_add(&sessions->sessions, &session->link, session_hash(claim->stream, claim->key));
    order_append(sessions, session);
    return session;
}

static void session_free(struct sessions *sessions, struct session *session)
{
    struct place *place = session->place;
    sessions->bytes -= session_bytes(session);
    order_remove(sessions, session);
    table_remove(&sessions->sessions, &session->link);
    *session->at = session->next;
    if (session->next != NULL) session->next->at = session->at;
    place->sessions_count--;
    buf_free(&session->key);
    buf_free(&session->payload);
    free(session);
    if (place->sessions != NULL) return;
    table_remove(&sessions->places, &place->link);
    buf_free(&place->stream);
    free(place);
}

static void session_gone(struct sessions *sessions, struct session *session)
{
    struct wire_event event = {.kind = WIRE_EVENT_SESSION_GONE, .key = buf_bytes(&session->key)};
    sessions->hooks.told(sessions->hooks.arg, buf_bytes(&session->place->stream), &event);
    session_free(sessions, session);
}

static bool full(const struct sessions *sessions, struct slice stream)
{
    const struct place *place = place_find(sessions, stream);
    if (place != NULL && place->sessions_count >= SESSIONS_STREAM_MAX) return true;
    return sessions->sessions.count >= SESSIONS_MAX || sessions->bytes >= SESSIONS_BYTES_MAX;
}

void sessions_claim(struct sessions *sessions, part_t part, uint64_t client,
                    const struct wire_claim *claim)
{
    if (!sessions->parts[part].leading) return;
    struct session *session = session_find(sessions, claim->stream, claim->key);
    if (claim->release) {
        if (session != NULL && session->client == client) session_gone(sessions, session);
        return;
    }
    bool tell = session == NULL || !slice_equal(buf_bytes(&session->payload), claim->payload);
    if (session == NULL && full(sessions, claim->stream)) return;
    if (session == NULL)
        session = session_add(sessions, part, claim);
    else
        sessions->bytes -= session_bytes(session);
    session->client = client;
    session->claimed_ms = env_now_ms(sessions->env);
    session->payload.len = 0;
    buf_put(&session->payload, claim->payload.data, claim->payload.len);
    sessions->bytes += session_bytes(session);
    order_remove(sessions, session);
    order_append(sessions, session);
    if (!tell) return;
    struct wire_event event = {
        .kind = WIRE_EVENT_SESSION, .key = claim->key, .payload = claim->payload};
    sessions->hooks.told(sessions->hooks.arg, claim->stream, &event);
}

/* ---- time ---- */

static void parts_settle(struct sessions *sessions, uint64_t now_ms)
{
    for (unsigned i = 0; i < PARTITIONS_MAX; i++) {
        if (!sessions->parts[i].leading || sessions->parts[i].settled) continue;
        if (now_ms - sessions->parts[i].since_ms < SESSION_MS) continue;
        sessions->parts[i].settled = true;
        sessions->hooks.settled(sessions->hooks.arg, (part_t)i);
    }
}

static void sweep_fired(struct env_timer *timer)
{
    struct sessions *sessions = CONTAINER_OF(timer, struct sessions, sweep);
    uint64_t now_ms = env_now_ms(sessions->env);
    while (sessions->oldest != NULL && now_ms - sessions->oldest->claimed_ms > SESSION_MS)
        session_gone(sessions, sessions->oldest);
    parts_settle(sessions, now_ms);
    env_timer_start(sessions->env, timer, SWEEP_MS);
}

void sessions_leading(struct sessions *sessions, part_t part, bool leading)
{
    if (sessions->parts[part].leading == leading) return;
    sessions->parts[part].leading = leading;
    sessions->parts[part].settled = false;
    sessions->parts[part].since_ms = env_now_ms(sessions->env);
    struct session *session = sessions->oldest;
    while (session != NULL) {
        struct session *later = session->later;
        if (session->place->part == part) session_free(sessions, session);
        session = later;
    }
}

void sessions_list(const struct sessions *sessions, part_t part, struct slice stream,
                   struct buf *events)
{
    if (sessions->parts[part].settled)
        wire_event_encode(&(struct wire_event){.kind = WIRE_EVENT_SESSION_RESET}, events);
    const struct place *place = place_find(sessions, stream);
    if (place == NULL) return;
    for (struct session *session = place->sessions; session != NULL; session = session->next) {
        struct wire_event event = {.kind = WIRE_EVENT_SESSION,
                                   .key = buf_bytes(&session->key),
                                   .payload = buf_bytes(&session->payload)};
        wire_event_encode(&event, events);
    }
}

unsigned sessions_count(const struct sessions *sessions)
{
    return (unsigned)sessions->sessions.count;
}

struct sessions *sessions_create(struct env *env, const struct sessions_hooks *hooks)
{
    struct sessions *sessions = mem_zero(sizeof(*sessions));
    sessions->env = env;
    sessions->hooks = *hooks;
    env_timer_init(&sessions->sweep, sweep_fired);
    env_timer_start(env, &sessions->sweep, SWEEP_MS);
    return sessions;
}

void sessions_destroy(struct sessions *sessions)
{
    env_timer_stop(sessions->env, &sessions->sweep);
    while (sessions->oldest != NULL)
        session_free(sessions, sessions->oldest);
    table_free(&sessions->places);
    table_free(&sessions->sessions);
    free(sessions);
}
