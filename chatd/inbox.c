/* chatd/inbox.c -- see inbox.h.
 *
 * A row needs its room loaded and the user's mentions counted; until then its seat stays dirty and
 * the next gathering tries again. The `inbox` operation waits for both, for all chats, at most
 * ROOM_LOAD_MS: a chat whose partition has no leader is left out and pushed when it has one. */
#include "chatd/inbox.h"

#include <stdio.h>
#include <stdlib.h>

#include "chatd/ops.h"
#include "chatd/out.h"
#include "chatd/worker.h"

enum {
    IV_BYTES_MAX = 1024,
    INBOX_PUSH_ROWS_MAX = 200,
    INBOX_SOON_MS = 5, /* Gathering while somebody waits for the whole list. */
    GONE_MAX = 500,    /* Chats that left the list, told to who comes back. */
};

/* ---- mentions: counted once from the store, then by the events that come ---- */

struct mentions {
    struct call call;
    struct client_query request;
    char chat[CHAT_BYTES_MAX];
    uint8_t chat_len;
};

static void mentions_done(struct client_query *request, int err)
{
    struct mentions *ask = CONTAINER_OF(request, struct mentions, request);
    struct session *session = ask->call.session;
    struct seat *seat =
        session == NULL ? NULL : seat_find(session, (struct slice){ask->chat, ask->chat_len});
    call_end(&ask->call);
    if (seat != NULL) {
        seat->mentions_asking = false;
        if (err == 0 || err == ERR_NO_STREAM) {
            uint32_t count = err == 0 ? request->query.rows_count : 0;
            seat->mentions = (uint8_t)(count < TAG_SEQS_MAX ? count : TAG_SEQS_MAX);
            seat->mentions_known = true;
            inbox_dirty(seat);
        }
    }
    buf_free(&request->query.rows);
    free(ask);
}

static void mentions_ask(struct seat *seat, seq_t read)
{
    if (seat->mentions_asking) return;
    struct mentions *ask = mem_zero(sizeof(*ask));
    call_begin(&ask->call, seat->session, (struct op_id){0});
    memcpy(ask->chat, seat->room->chat, seat->room->chat_len);
    ask->chat_len = seat->room->chat_len;
    ask->request = (struct client_query){
        .query = {.kind = STORE_TAG,
                  .stream = {ask->chat, ask->chat_len},
                  .prefix = session_user(seat->session),
                  .from = read,
                  .limit_count = TAG_SEQS_MAX,
                  .limit_bytes = BODY_BYTES_MAX},
        .done = mentions_done,
    };
    seat->mentions_asking = true;
    client_query(seat->session->worker->client, &ask->request);
}

void inbox_mention(struct seat *seat, const struct room_event *event)
{
    if (!seat->listed || event->tags.len == 0) return;
    struct reader r = reader_of(event->tags);
    uint64_t count = read_bounded(&r, RECORD_TAGS_MAX);
    while (count-- > 0 && !r.failed) {
        if (!slice_equal(read_slice(&r, TAG_BYTES_MAX), session_user(seat->session))) continue;
        if (seat->mentions < TAG_SEQS_MAX) seat->mentions++;
        if (seat->mentions_asking) seat->mentions_known = false; /* The answer may miss it. */
    }
}

/* The mentions above the read mark; false while they are being asked for. */
static bool seat_mentions(struct seat *seat, seq_t read)
{
    if (seat->mentions > 0 && read > seat->mentions_read) seat->mentions_known = false;
    if (!seat->mentions_known) {
        mentions_ask(seat, read);
        return false;
    }
    seat->mentions_read = read;
    return true;
}

/* ---- rows ---- */

/* Append the row of one chat; false when it is not known yet. */
static bool row_write(struct seat *seat, struct buf *out)
{
    struct room *room = seat->room;
    if (!room->loaded) return false;
    struct room_member *me = room_member_find(room, session_user(seat->session));
    if (me == NULL || !me->member) return false;
    uint64_t read_ordinal = me->read_ordinal;
    if (read_ordinal < me->value.joined_ordinal && !room->history_all)
        read_ordinal = me->value.joined_ordinal;
    if (!seat_mentions(seat, me->read)) return false;

    uint64_t total = room->head.ordinal;
    out_object(out);
    out_key_string(out, "c", room_chat(room));
    out_key_uint(out, "head", room->head.last);
    struct room_event *last = room_event_find(room, room->head.last);
    if (last != NULL && last->text.len > 0) out_key_raw(out, "last", buf_bytes(&last->text));
    out_key_uint(out, "unread", total > read_ordinal ? total - read_ordinal : 0);
    out_key_uint(out, "ment", seat->mentions);
    out_key_uint(out, "recv", me->recv);
    out_key_uint(out, "read", me->read);
    out_key_bool(out, "mute", false);
    out_key_bool(out, "pin", false);
    out_key_bool(out, "hide", false);
    out_object_end(out);
    return true;
}

/* iv: what a later `inbox` continues from. Version 1: the version of the user's stream; which chats
 * changed since is answered by all of them, which the protocol allows. */
static void out_iv(struct session *session, struct buf *out)
{
    char iv[40];
    snprintf(iv, sizeof(iv), "1.%llu", (unsigned long long)session->person->version);
    out_key_string(out, "iv", slice_str(iv));
}

static void out_gone(struct session *session, struct buf *out)
{
    out_key(out, "gone");
    out_array(out);
    if (session->inbox_gone.len > 0) out_raw(out, buf_bytes(&session->inbox_gone));
    out_array_end(out);
    buf_free(&session->inbox_gone);
}

/* ---- pushes ---- */

static void inbox_soon(struct session *session)
{
    if (session->inbox_waiting != NULL)
        env_timer_start(session->worker->env, &session->inbox_timer, INBOX_SOON_MS);
    else if (!env_timer_started(&session->inbox_timer))
        env_timer_start(session->worker->env, &session->inbox_timer, INBOX_GATHER_MS);
}

void inbox_dirty(struct seat *seat)
{
    struct session *session = seat->session;
    if (!seat->listed || seat->dirty) return;
    seat->dirty = true;
    seat->dirty_next = session->dirty;
    session->dirty = seat;
    inbox_soon(session);
}

static void inbox_push(struct session *session)
{
    struct seat *seat = session->dirty, *next;
    struct buf out = {0};
    unsigned rows = 0;
    session->dirty = NULL;
    out_object(&out);
    out_key(&out, "inbox");
    out_object(&out);
    out_iv(session, &out);
    out_key(&out, "chats");
    out_array(&out);
    for (; seat != NULL; seat = next) {
        next = seat->dirty_next;
        seat->dirty = false;
        if (rows < INBOX_PUSH_ROWS_MAX && row_write(seat, &out))
            rows++;
        else if (seat->room->loaded || rows == INBOX_PUSH_ROWS_MAX)
            inbox_dirty(seat); /* A room that loads says so itself. */
    }
    out_array_end(&out);
    bool gone = session->inbox_gone.len > 0;
    out_gone(session, &out);
    out_object_end(&out);
    out_object_end(&out);
    if (rows > 0 || gone) session_say(session, &out);
    buf_free(&out);
}

/* ---- the operation: the whole list in pages, latest first ---- */

struct inbox_call {
    struct call call;
    struct env_timer deadline;
    struct inbox_call *next; /* The session's. */
    int64_t before;          /* Only chats whose latest event is older; 0: all. */
    unsigned limit;
    struct client_query left; /* With iv: what left the list since then. */
    char stream[USER_STREAM_BYTES];
};

struct listed {
    struct seat *seat;
    int64_t time_ms;
};

/* Latest first; ties by id, so that pages are the same each time. */
static int listed_order(const void *a, const void *b)
{
    const struct listed *x = a, *y = b;
    if (x->time_ms != y->time_ms) return x->time_ms < y->time_ms ? 1 : -1;
    return slice_compare(room_chat(x->seat->room), room_chat(y->seat->room));
}

/* The list may still name a chat that the user was removed from a moment ago: it has no row. */
static bool row_due(const struct seat *seat)
{
    if (!seat->listed) return false;
    return !seat->room->loaded || room_role(seat->room, session_user(seat->session)) != ROLE_NONE;
}

/* All rows can be written; asks for what is missing. */
static bool rows_ready(struct session *session)
{
    bool ready = session->person->loaded;
    struct buf scratch = {0};
    for (struct seat *seat = session->seats; seat != NULL; seat = seat->hh.next)
        if (row_due(seat) && !row_write(seat, &scratch)) ready = false;
    buf_free(&scratch);
    return ready;
}

static void left_write(const struct inbox_call *inbox, struct buf *out)
{
    struct reader r = reader_of(buf_bytes(&inbox->left.query.rows));
    out_key(out, "gone");
    out_array(out);
    while (reader_left(&r) > 0) {
        struct item_view item;
        struct slice chat;
        item_decode(&r, &item);
        if (r.failed) break;
        if (item.dropped && !item.cursor && chat_key_is(item.key, 'c', &chat))
            out_string(out, chat);
    }
    out_array_end(out);
}

static void inbox_answer(struct inbox_call *inbox)
{
    struct session *session = inbox->call.session;
    struct listed *all = mem_alloc(HASH_COUNT(session->seats) * sizeof(*all));
    size_t count = 0;
    for (struct seat *seat = session->seats; seat != NULL; seat = seat->hh.next)
        if (seat->listed && seat->room->loaded)
            all[count++] = (struct listed){seat, seat->room->head.time_ms};
    qsort(all, count, sizeof(*all), listed_order);

    struct buf ok = {0};
    unsigned rows = 0;
    int64_t last_ms = 0;
    bool more = false;
    out_object(&ok);
    out_iv(session, &ok);
    out_key(&ok, "chats");
    out_array(&ok);
    for (size_t i = 0; i < count; i++) {
        if (inbox->before != 0 && all[i].time_ms >= inbox->before) continue;
        /* A page ends between two times, so that `before` can name its end. */
        if (rows >= inbox->limit && all[i].time_ms != last_ms) {
            more = true;
            break;
        }
        if (row_write(all[i].seat, &ok)) rows++;
        last_ms = all[i].time_ms;
    }
    out_array_end(&ok);
    left_write(inbox, &ok);
    if (more) out_key_uint(&ok, "before", (uint64_t)last_ms);
    out_key_bool(&ok, "more", more);
    out_object_end(&ok);
    free(all);
    call_ok(&inbox->call, &ok);
}

static void inbox_call_free(struct inbox_call *inbox)
{
    env_timer_stop(inbox->call.worker->env, &inbox->deadline);
    buf_free(&inbox->left.query.rows);
    free(inbox);
}

static void waiting_drop(struct session *session, struct inbox_call *inbox)
{
    struct inbox_call **at = &session->inbox_waiting;
    while (*at != inbox)
        at = &(*at)->next;
    *at = inbox->next;
}

static void inbox_deadline(struct env_timer *timer)
{
    struct inbox_call *inbox = CONTAINER_OF(timer, struct inbox_call, deadline);
    waiting_drop(inbox->call.session, inbox);
    inbox_answer(inbox);
    inbox_call_free(inbox);
}

static void waiting_answer(struct session *session)
{
    if (session->inbox_waiting == NULL || !rows_ready(session)) return;
    struct inbox_call *inbox = session->inbox_waiting, *next;
    session->inbox_waiting = NULL;
    for (; inbox != NULL; inbox = next) {
        next = inbox->next;
        inbox_answer(inbox);
        inbox_call_free(inbox);
    }
}

static void inbox_wait(struct inbox_call *inbox)
{
    struct session *session = inbox->call.session;
    inbox->next = session->inbox_waiting;
    session->inbox_waiting = inbox;
    env_timer_start(session->worker->env, &inbox->deadline, ROOM_LOAD_MS);
    inbox_soon(session);
}

static void left_done(struct client_query *request, int err)
{
    struct inbox_call *inbox = CONTAINER_OF(request, struct inbox_call, left);
    if (inbox->call.session == NULL) {
        inbox_call_free(inbox);
    } else if (err != 0 && err != ERR_NO_STREAM) {
        call_err(&inbox->call, err);
        inbox_call_free(inbox);
    } else {
        inbox_wait(inbox);
    }
}

static void left_ask(struct inbox_call *inbox, uint64_t since)
{
    inbox->left = (struct client_query){
        .query = {.kind = STORE_CHANGES,
                  .stream = user_stream(inbox->stream, session_user(inbox->call.session)),
                  .from = since,
                  .limit_count = GONE_MAX,
                  .limit_bytes = SERVER_FRAME_BYTES_MAX / 4},
        .done = left_done,
    };
    client_query(inbox->call.worker->client, &inbox->left);
}

void op_inbox(struct session *session, struct op *op, struct args *args)
{
    struct slice iv = arg_string(args, "iv", ARG_OPTIONAL, IV_BYTES_MAX);
    int64_t before = arg_int_or(args, "before", 0, INT_MAX_53 - 1, 0);
    int64_t limit = arg_int_or(args, "limit", 1, INBOX_PAGE_MAX, INBOX_PAGE_DEFAULT);
    char text[IV_BYTES_MAX + 1];
    unsigned long long since = 0;
    if (iv.len > 0) memcpy(text, iv.data, iv.len);
    text[iv.len] = '\0';
    if (iv.len > 0 && sscanf(text, "1.%llu", &since) != 1)
        args_refuse(args, "iv", "what an inbox said before");
    struct inbox_call *inbox = mem_zero(sizeof(*inbox));
    call_begin(&inbox->call, session, op->id);
    env_timer_init(&inbox->deadline, inbox_deadline);
    inbox->before = before;
    inbox->limit = (unsigned)limit;
    if (args_failed(args)) {
        call_fault(&inbox->call, &args->fault);
        inbox_call_free(inbox);
    } else if (iv.len > 0) {
        left_ask(inbox, since);
    } else {
        inbox_wait(inbox);
    }
}

void inbox_known(struct session *session)
{
    inbox_soon(session);
}

void inbox_close(struct session *session)
{
    env_timer_stop(session->worker->env, &session->inbox_timer);
    for (struct inbox_call *inbox = session->inbox_waiting, *next; inbox != NULL; inbox = next) {
        next = inbox->next;
        call_end(&inbox->call);
        inbox_call_free(inbox);
    }
    session->inbox_waiting = NULL;
    buf_free(&session->inbox_gone);
}

static void inbox_timer(struct env_timer *timer)
{
    struct session *session = CONTAINER_OF(timer, struct session, inbox_timer);
    if (session->person == NULL) return;
    waiting_answer(session);
    if (!conn_blocked(session->conn)) inbox_push(session);
}

void inbox_resume(struct session *session)
{
    if (session->dirty != NULL) inbox_soon(session);
}

void inbox_open(struct session *session)
{
    env_timer_init(&session->inbox_timer, inbox_timer);
}

void inbox_listed(struct session *session, struct slice chat, bool listed)
{
    struct seat *seat = listed ? seat_take(session, chat) : seat_find(session, chat);
    if (seat == NULL || seat->listed == listed) return;
    if (listed) {
        seat->listed = true;
        inbox_dirty(seat);
        return;
    }
    inbox_forget(seat);
    seat->listed = false;
    if (session->inbox_gone.len > 0) buf_u8(&session->inbox_gone, ',');
    out_string(&session->inbox_gone, chat);
    inbox_soon(session);
}

void inbox_forget(struct seat *seat)
{
    if (!seat->dirty) return;
    struct seat **at = &seat->session->dirty;
    while (*at != seat)
        at = &(*at)->dirty_next;
    *at = seat->dirty_next;
    seat->dirty = false;
}
