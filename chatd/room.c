/* chatd/room.c -- see room.h.
 *
 * Loading: one read of the latest records gives the head, then the tail from there, with version 0,
 * brings every attribute and cursor. The tail's head() ends each group of records and items that
 * belong together: what seats are told about marks and removals waits for it, so that a removed
 * member gets the event of the removal first. */
#include "chatd/room.h"

#include <jansson.h>
#include <stdlib.h>

#include "chatd/follow.h"
#include "chatd/inbox.h"
#include "chatd/ops.h"
#include "chatd/out.h"
#include "chatd/worker.h"

enum { ROOM_RETRY_MS = 1000, LOAD_BYTES = 64 * 1024 };

/* The read that starts a room; outlives it when the room goes first. */
struct room_load {
    struct client_query request;
    struct room *room; /* NULL: the room is gone. */
    char chat[CHAT_BYTES_MAX];
};

static void room_load(struct room *room);
static void room_release(struct room *room);

/* ---- events ---- */

static struct room_event *ring_at(const struct room *room, seq_t seq)
{
    return &room->events[seq & (room->events_capacity - 1)];
}

static void event_free(struct room_event *event)
{
    if (event->message != NULL) message_unref(event->message);
    if (event->own != NULL) message_unref(event->own);
    buf_free(&event->text);
    free(event->memory);
    *event = (struct room_event){0};
}

static bool ring_empty(const struct room *room)
{
    return room->events_first > room->events_last;
}

static void ring_clear(struct room *room)
{
    for (; !ring_empty(room); room->events_first++) {
        event_free(ring_at(room, room->events_first));
    }
    room->events_first = 1;
    room->events_last = 0;
    room->events_bytes = 0;
}

static void ring_drop_first(struct room *room)
{
    struct room_event *event = ring_at(room, room->events_first++);
    room->events_bytes -= event->text.len;
    event_free(event);
}

static void ring_grow(struct room *room)
{
    unsigned capacity = room->events_capacity == 0 ? ROOM_LOAD_EVENTS : room->events_capacity * 2;
    struct room_event *events = mem_zero(capacity * sizeof(*events));
    for (seq_t seq = room->events_first; seq <= room->events_last; seq++)
        events[seq & (capacity - 1)] = *ring_at(room, seq);
    free(room->events);
    room->events = events;
    room->events_capacity = capacity;
}

/* A push of one event: {"ev":{...}}. */
static struct message *push_event(struct slice text)
{
    struct buf out = {0};
    out_object(&out);
    out_key_raw(&out, "ev", text);
    out_object_end(&out);
    struct message *message = message_text(buf_bytes(&out));
    buf_free(&out);
    return message;
}

static void event_fill(struct room_event *event, struct slice chat,
                       const struct record_view *record)
{
    struct slice user = event_user(record);
    *event =
        (struct room_event){.seq = record->seq, .ordinal = record->ordinal, .kind = record->kind};
    char *memory = mem_alloc(user.len + record->tags.len);
    if (user.len > 0) memcpy(memory, user.data, user.len);
    if (record->tags.len > 0) memcpy(memory + user.len, record->tags.data, record->tags.len);
    event->memory = memory;
    event->user = (struct slice){memory, user.len};
    event->tags = (struct slice){memory + user.len, record->tags.len};

    if (!event_write(&event->text, chat, record, false))
        return; /* An unknown kind: only counted. */
    event->message = push_event(buf_bytes(&event->text));
    struct buf own = {0};
    (void)event_write(&own, chat, record, true);
    event->own = push_event(buf_bytes(&own));
    buf_free(&own);
}

/* Events come in order; one that the ring has already is left alone. */
static struct room_event *ring_put(struct room *room, const struct record_view *record)
{
    if (!ring_empty(room) && record->seq <= room->events_last) return NULL;
    if (!ring_empty(room) && record->seq != room->events_last + 1) ring_clear(room);
    if (ring_empty(room)) {
        room->events_first = record->seq;
        room->events_last = record->seq - 1;
    }
    if (room->events_last - room->events_first + 1 == room->events_capacity) {
        if (room->events_capacity < ROOM_EVENTS_MAX)
            ring_grow(room);
        else
            ring_drop_first(room);
    }
    if (room->events_capacity == 0) ring_grow(room);
    struct room_event *event = ring_at(room, record->seq);
    event_fill(event, room_chat(room), record);
    room->events_last = record->seq;
    room->events_bytes += event->text.len;
    while (room->events_bytes > ROOM_EVENTS_BYTES && room->events_first < room->events_last)
        ring_drop_first(room);
    return event;
}

struct room_event *room_event_find(struct room *room, seq_t seq)
{
    if (ring_empty(room) || seq < room->events_first || seq > room->events_last) return NULL;
    return ring_at(room, seq);
}

/* ---- members ---- */

struct room_member *room_member_find(struct room *room, struct slice user)
{
    struct room_member *member;
    HASH_FIND(hh, room->members, user.data, user.len, member);
    return member;
}

static struct room_member *member_take(struct room *room, struct slice user)
{
    struct room_member *member = room_member_find(room, user);
    if (member != NULL || user.len > ID_BYTES_MAX) return member;
    member = mem_zero(sizeof(*member));
    memcpy(member->user, user.data, user.len);
    member->user_len = (uint8_t)user.len;
    HASH_ADD_KEYPTR(hh, room->members, member->user, member->user_len, member);
    return member;
}

enum role room_role(struct room *room, struct slice user)
{
    struct room_member *member = room_member_find(room, user);
    return member == NULL || !member->member ? ROLE_NONE : member->value.role;
}

seq_t room_first_visible(struct room *room, struct slice user)
{
    struct room_member *member = room_member_find(room, user);
    if (room->history_all || member == NULL || member->value.joined == 0) return 1;
    return member->value.joined;
}

static void member_item(struct room *room, struct slice user, const struct item_view *item)
{
    struct room_member *member = member_take(room, user);
    if (member == NULL) return;
    struct member_value value;
    bool present = !item->dropped && member_decode(item->value, &value) == 0;
    if (present && !member->member) room->members_count++;
    if (!present && member->member) room->members_count--;
    member->member = present;
    if (present) member->value = value;
}

static void member_cursor(struct room *room, struct slice user, const struct item_view *item,
                          bool read)
{
    struct room_member *member = member_take(room, user);
    if (member == NULL) return;
    if (read && item->seq > member->read) {
        member->read = item->seq;
        member->read_ordinal = item->ordinal;
    } else if (!read && item->seq > member->recv) {
        member->recv = item->seq;
    } else {
        return;
    }
    member->marked = room->marks_changed = true;
}

static void members_free(struct room *room)
{
    struct room_member *member, *next;
    HASH_ITER(hh, room->members, member, next)
    {
        HASH_DELETE(hh, room->members, member);
        free(member);
    }
    room->members_count = 0;
}

/* ---- what the tail brings ---- */

static void seat_push(struct seat *seat, struct room_event *event)
{
    struct slice user = session_user(seat->session);
    struct message *message = slice_equal(user, event->user) ? event->own : event->message;
    if (message != NULL && (seat->what & FOLLOW_EV)) session_push(seat->session, seat, message);
    if (seat->following) seat->position = event->seq; /* Else it was not told. */
}

/* A removal may come together with what follows it, before the members' attributes say so: whoever
 * is removed hears of it, and of nothing behind it. */
static void room_removed(struct room *room, const struct record_view *record)
{
    struct slice body = event_body(record);
    json_t *tree = json_loadb(body.data, body.len, 0, NULL), *name;
    size_t at;
    json_array_foreach(json_object_get(tree, "users"), at, name)
    {
        struct slice user = {json_string_value(name), json_string_length(name)};
        for (struct seat *seat = room->seats; seat != NULL; seat = seat->next)
            if (slice_equal(session_user(seat->session), user)) follow_end(seat, "gone");
    }
    json_decref(tree);
}

static void room_record(void *arg, const struct record_view *record)
{
    struct room *room = arg;
    struct room_event *event = ring_put(room, record);
    if (event == NULL) return;
    struct seat *seat, *next;
    for (seat = room->seats; seat != NULL; seat = next) {
        next = seat->next; /* A push may end the following, never the seat. */
        if (seat->following && seat->live && event->seq == seat->position + 1)
            seat_push(seat, event);
        inbox_mention(seat, event);
    }
    if (record->kind == EVENT_KICK || record->kind == EVENT_LEAVE) room_removed(room, record);
}

static void text_replace(char **text, const struct item_view *item)
{
    free(*text);
    *text = item->dropped ? NULL : mem_string(item->value);
}

static void room_item(void *arg, const struct item_view *item)
{
    struct room *room = arg;
    struct slice user;
    if (item->cursor && chat_key_is(item->key, 'r', &user))
        member_cursor(room, user, item, true);
    else if (item->cursor && chat_key_is(item->key, 'd', &user))
        member_cursor(room, user, item, false);
    else if (chat_key_is(item->key, 'm', &user))
        member_item(room, user, item);
    else if (slice_equal(item->key, slice_str("title")))
        text_replace(&room->title, item);
    else if (slice_equal(item->key, slice_str("settings"))) {
        text_replace(&room->settings, item);
        room->history_all = settings_history_all(room->settings);
    }
}

static void push_mark(struct room *room, struct room_member *member)
{
    struct buf out = {0};
    out_object(&out);
    out_key(&out, "mark");
    out_object(&out);
    out_key_string(&out, "c", room_chat(room));
    out_key_string(&out, "u", (struct slice){member->user, member->user_len});
    out_key_uint(&out, "recv", member->recv);
    out_key_uint(&out, "read", member->read);
    out_object_end(&out);
    out_object_end(&out);
    struct message *message = message_text(buf_bytes(&out));
    buf_free(&out);
    for (struct seat *seat = room->seats, *next; seat != NULL; seat = next) {
        next = seat->next;
        if (seat->following && (seat->what & FOLLOW_MARK))
            session_push(seat->session, seat, message);
    }
    message_unref(message);
}

static void room_marks(struct room *room)
{
    bool push = room->loaded && room->members_count <= ROOM_MARKS_MEMBERS_MAX;
    for (struct room_member *m = room->members; m != NULL; m = m->hh.next) {
        if (m->marked && m->member && push) push_mark(room, m);
        m->marked = false;
    }
    room->marks_changed = false;
}

/* End the waits for what is there, or with err all of them. */
static void waiters_end(struct room *room, int err)
{
    struct room_waiter *waiter = room->waiters, *next;
    room->waiters = NULL;
    for (; waiter != NULL; waiter = next) {
        next = waiter->next;
        if (err != 0 || waiter->version <= room->head.version) {
            waiter->ready(waiter, err);
        } else {
            waiter->next = room->waiters;
            room->waiters = waiter;
        }
    }
    if (room->waiters == NULL && room->loaded) env_timer_stop(room->worker->env, &room->timer);
}

/* The end of what belongs together: tell the seats. */
static void room_head(void *arg, const struct stream_head *head)
{
    struct room *room = arg;
    room->head = *head;
    if (room->marks_changed) room_marks(room);
    room->loaded = true;
    waiters_end(room, 0);
    for (struct seat *seat = room->seats, *next; seat != NULL; seat = next) {
        next = seat->next;
        bool gone = room_role(room, session_user(seat->session)) == ROLE_NONE;
        if (seat->following && gone)
            follow_end(seat, "gone");
        else if (seat->following && !seat->live)
            follow_catch_up(seat);
        inbox_dirty(seat);
    }
}

/* A chat that does not exist: no head will come. */
static void room_started(void *arg, const struct stream_head *head)
{
    struct room *room = arg;
    if (head->version == 0 && !room->loaded) room_head(room, head);
}

static void room_signal(void *arg, struct slice payload)
{
    struct room *room = arg;
    for (struct seat *seat = room->seats, *next; seat != NULL; seat = next) {
        next = seat->next;
        if (seat->following && (seat->what & FOLLOW_NOTE)) follow_note(seat, payload);
    }
}

/* The position became too old: learn all anew. */
static void room_ended(void *arg, int err)
{
    struct room *room = arg;
    (void)err;
    client_tail_close(room->tail);
    room->tail = NULL;
    room->loaded = false;
    ring_clear(room);
    members_free(room);
    for (struct seat *seat = room->seats; seat != NULL; seat = seat->next)
        seat->live = false;
    env_timer_start(room->worker->env, &room->timer, ROOM_RETRY_MS);
}

static const struct tail_handlers ROOM_TAIL = {
    .started = room_started,
    .head = room_head,
    .record = room_record,
    .item = room_item,
    .signal = room_signal,
    .ended = room_ended,
};

/* ---- loading ---- */

static void ring_load(struct room *room, const struct client_query *request)
{
    struct record_view records[ROOM_LOAD_EVENTS];
    struct reader r = reader_of(buf_bytes(&request->query.rows));
    unsigned count = 0;
    while (reader_left(&r) > 0 && count < ROOM_LOAD_EVENTS) {
        record_decode(&r, &records[count]);
        if (r.failed) break;
        count++;
    }
    while (count > 0)
        (void)ring_put(room, &records[--count]); /* They came latest first. */
}

static void load_done(struct client_query *request, int err)
{
    struct room_load *load = CONTAINER_OF(request, struct room_load, request);
    struct room *room = load->room;
    if (room == NULL) goto out;
    room->load = NULL;
    if (err != 0 && err != ERR_NO_STREAM) {
        waiters_end(room, err);
        env_timer_start(room->worker->env, &room->timer, ROOM_RETRY_MS);
        goto out;
    }
    struct tail_position from = {0, 0};
    if (err == 0) {
        ring_load(room, request);
        from.seq = request->query.head.last;
    }
    room->tail = client_tail_open(room->worker->client, room_chat(room), TAIL_ALL, from, false,
                                  &ROOM_TAIL, room);
out:
    buf_free(&request->query.rows);
    free(load);
}

static void room_load(struct room *room)
{
    CHECK(room->load == NULL && room->tail == NULL);
    struct room_load *load = mem_zero(sizeof(*load));
    memcpy(load->chat, room->chat, room->chat_len);
    load->room = room;
    load->request = (struct client_query){
        .query = {.kind = STORE_RECORDS,
                  .stream = {load->chat, room->chat_len},
                  .backwards = true,
                  .limit_count = ROOM_LOAD_EVENTS,
                  .limit_bytes = LOAD_BYTES},
        .done = load_done,
    };
    room->load = load;
    env_timer_start(room->worker->env, &room->timer, ROOM_LOAD_MS);
    client_query(room->worker->client, &load->request);
}

static void room_timer(struct env_timer *timer)
{
    struct room *room = CONTAINER_OF(timer, struct room, timer);
    if (room->load == NULL && room->tail == NULL) {
        room_load(room);
        return;
    }
    waiters_end(room, ERR_NO_LEADER);
}

void room_when_changed(struct room *room, uint64_t version, struct room_waiter *waiter)
{
    waiter->version = version;
    if (room->loaded && version <= room->head.version) {
        waiter->ready(waiter, 0);
        return;
    }
    waiter->next = room->waiters;
    room->waiters = waiter;
    if (!env_timer_started(&room->timer))
        env_timer_start(room->worker->env, &room->timer, ROOM_LOAD_MS);
}

void room_when_loaded(struct room *room, struct room_waiter *waiter)
{
    room_when_changed(room, 0, waiter);
}

static struct room *room_take(struct worker *worker, struct slice chat)
{
    struct room *room;
    HASH_FIND(hh, worker->rooms, chat.data, chat.len, room);
    if (room != NULL) return room;
    room = mem_zero(sizeof(*room));
    room->worker = worker;
    room->events_first = 1;
    memcpy(room->chat, chat.data, chat.len);
    room->chat_len = (uint8_t)chat.len;
    env_timer_init(&room->timer, room_timer);
    HASH_ADD_KEYPTR(hh, worker->rooms, room->chat, room->chat_len, room);
    room_load(room);
    return room;
}

static void room_free(struct room *room)
{
    if (room->tail != NULL) client_tail_close(room->tail);
    if (room->load != NULL) room->load->room = NULL;
    env_timer_stop(room->worker->env, &room->timer);
    HASH_DELETE(hh, room->worker->rooms, room);
    ring_clear(room);
    free(room->events);
    members_free(room);
    free(room->title);
    free(room->settings);
    free(room);
}

/* Who waits still has no seat any more: they have nobody to answer. */
static void room_release(struct room *room)
{
    if (room->seats != NULL) return;
    waiters_end(room, ERR_CANCELED);
    room_free(room);
}

void rooms_destroy(struct worker *worker)
{
    struct room *room, *next;
    HASH_ITER(hh, worker->rooms, room, next)
    {
        CHECK(room->seats == NULL);
        room_free(room);
    }
}

/* ---- seats ---- */

struct seat *seat_find(struct session *session, struct slice chat)
{
    struct seat *seat;
    HASH_FIND(hh, session->seats, chat.data, chat.len, seat);
    return seat;
}

/* Seats that only a past send or read left behind. */
static void seats_prune(struct session *session)
{
    struct seat *seat, *next;
    HASH_ITER(hh, session->seats, seat, next)
    {
        if (!seat->listed && !seat->following && seat->sends_open == 0) seat_leave(seat);
    }
}

struct seat *seat_take(struct session *session, struct slice chat)
{
    struct seat *seat = seat_find(session, chat);
    if (seat != NULL) return seat;
    if (HASH_COUNT(session->seats) >= SEATS_MAX) seats_prune(session);
    if (HASH_COUNT(session->seats) >= SEATS_MAX) return NULL;
    seat = mem_zero(sizeof(*seat));
    seat->session = session;
    seat->room = room_take(session->worker, chat);
    seat->next = seat->room->seats;
    if (seat->next != NULL) seat->next->prev = seat;
    seat->room->seats = seat;
    HASH_ADD_KEYPTR(hh, session->seats, seat->room->chat, seat->room->chat_len, seat);
    return seat;
}

void seat_leave(struct seat *seat)
{
    struct room *room = seat->room;
    inbox_forget(seat);
    sends_forget(seat);
    HASH_DELETE(hh, seat->session->seats, seat);
    if (seat->prev != NULL)
        seat->prev->next = seat->next;
    else
        room->seats = seat->next;
    if (seat->next != NULL) seat->next->prev = seat->prev;
    free(seat);
    room_release(room);
}

bool seat_advance(struct seat *seat)
{
    struct room *room = seat->room;
    CHECK(seat->following);
    while (seat->following && seat->position < room->head.last) {
        struct room_event *event = room_event_find(room, seat->position + 1);
        if (event == NULL) return false;
        seat_push(seat, event);
    }
    seat->live = seat->following;
    return true;
}
