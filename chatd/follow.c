/* chatd/follow.c -- see follow.h. */
#include "chatd/follow.h"

#include <stdlib.h>

#include "chatd/out.h"
#include "chatd/session.h"
#include "chatd/worker.h"

enum {
    PAGE_EVENTS = 128,
    PAGE_BYTES = 128 * 1024,
    RETRY_MS = 500,
    NOTE_KIND_BYTES_MAX = 32,
};

/* One page of what the seat missed. Its call tells whether the session is still there. */
struct catch_up {
    struct call call;
    struct client_query request;
    struct txn_check check;
    char chat[CHAT_BYTES_MAX];
    uint8_t chat_len;
    char key[CHAT_KEY_BYTES];
};

void follow_refuse(struct seat *seat, const char *why)
{
    struct buf out = {0};
    out_object(&out);
    out_key(&out, "closed");
    out_object(&out);
    out_key_string(&out, "c", room_chat(seat->room));
    out_key_string(&out, "why", slice_str(why));
    out_key_uint(&out, "s", seat->position);
    out_key_uint(&out, "first", seat->room->head.first);
    out_key_uint(&out, "head", seat->room->head.last);
    out_object_end(&out);
    out_object_end(&out);
    session_say(seat->session, &out);
    buf_free(&out);
}

void follow_end(struct seat *seat, const char *why)
{
    if (!seat->following) return;
    seat->following = seat->live = false;
    seat->session->following_count--;
    if (why[0] != '\0') follow_refuse(seat, why);
}

void follow_begin(struct seat *seat, seq_t position, uint8_t what)
{
    if (!seat->following) seat->session->following_count++;
    seat->following = true;
    seat->live = false;
    seat->position = position;
    seat->what = what;
    follow_catch_up(seat);
}

/* A record that the ring does not hold any more, for this one connection. */
static void say_event(struct seat *seat, const struct record_view *record)
{
    bool own = slice_equal(event_user(record), session_user(seat->session));
    struct buf text = {0}, out = {0};
    if (event_write(&text, room_chat(seat->room), record, own)) {
        out_object(&out);
        out_key_raw(&out, "ev", buf_bytes(&text));
        out_object_end(&out);
        session_say(seat->session, &out);
    }
    buf_free(&text);
    buf_free(&out);
}

static void catch_up_rows(struct seat *seat, const struct store_query *query)
{
    struct reader r = reader_of(buf_bytes(&query->rows));
    while (reader_left(&r) > 0 && seat->following) {
        struct record_view record;
        record_decode(&r, &record);
        if (r.failed || record.seq != seat->position + 1) break; /* It moved on meanwhile. */
        if (seat->what & FOLLOW_EV) say_event(seat, &record);
        seat->position = record.seq;
        if (conn_blocked(seat->session->conn)) follow_end(seat, "lag");
    }
}

static void catch_up_done(struct client_query *request, int err)
{
    struct catch_up *page = CONTAINER_OF(request, struct catch_up, request);
    struct session *session = page->call.session;
    struct seat *seat =
        session == NULL ? NULL : seat_find(session, (struct slice){page->chat, page->chat_len});
    call_end(&page->call);
    if (seat != NULL) {
        seat->catching_up = false;
        if (seat->following && err == 0) catch_up_rows(seat, &request->query);
        if (seat->following && err == ERR_REJECTED) follow_end(seat, "gone");
        if (seat->following && err == ERR_RESET) follow_end(seat, "trim");
        if (seat->following && err != 0 && err != ERR_NO_LEADER && err != ERR_TIMEOUT)
            follow_end(seat, "lag");
        if (seat->following) follow_catch_up(seat);
    }
    buf_free(&request->query.rows);
    free(page);
}

void follow_catch_up(struct seat *seat)
{
    struct room *room = seat->room;
    if (!room->loaded || seat->catching_up) return;
    /* They left and joined again since: what lies between is not theirs. */
    if (seat->position + 1 < room_first_visible(room, session_user(seat->session))) {
        follow_end(seat, "gone");
        return;
    }
    if (seat_advance(seat) || !seat->following) return;
    if (room->head.last - seat->position > SESSION_BEHIND_MAX) {
        follow_end(seat, "far");
        return;
    }
    struct catch_up *page = mem_zero(sizeof(*page));
    call_begin(&page->call, seat->session, (struct op_id){0});
    memcpy(page->chat, room->chat, room->chat_len);
    page->chat_len = room->chat_len;
    page->check = (struct txn_check){.kind = TXN_IF_PRESENT,
                                     .key = chat_key(page->key, 'm', session_user(seat->session))};
    page->request = (struct client_query){
        .query = {.kind = STORE_RECORDS,
                  .stream = {page->chat, page->chat_len},
                  .from = seat->position + 1,
                  .checks = &page->check,
                  .checks_count = 1,
                  .limit_count = PAGE_EVENTS,
                  .limit_bytes = PAGE_BYTES},
        .done = catch_up_done,
    };
    seat->catching_up = true;
    client_query(room->worker->client, &page->request);
}

/* ---- notes ---- */

void note_encode(struct buf *out, struct slice user, struct slice device, struct slice kind,
                 struct slice body)
{
    buf_slice(out, user);
    buf_slice(out, device);
    buf_slice(out, kind);
    buf_slice(out, body);
}

void follow_note(struct seat *seat, struct slice signal)
{
    struct reader r = reader_of(signal);
    struct slice user = read_slice(&r, ID_BYTES_MAX), device = read_slice(&r, ID_BYTES_MAX);
    struct slice kind = read_slice(&r, NOTE_KIND_BYTES_MAX);
    struct slice body = read_slice(&r, CLIENT_SIGNAL_BYTES_MAX);
    if (!reader_done(&r)) return;
    struct session *session = seat->session;
    bool mine =
        slice_equal(user, session_user(session)) && slice_equal(device, session_device(session));
    if (mine || conn_blocked(session->conn)) return; /* Best effort: a slow reader misses it. */
    struct buf out = {0};
    out_object(&out);
    out_key(&out, "note");
    out_object(&out);
    out_key_string(&out, "c", room_chat(seat->room));
    out_key_string(&out, "u", user);
    out_key_string(&out, "k", kind);
    if (body.len > 0) out_key_raw(&out, "b", body);
    out_object_end(&out);
    out_object_end(&out);
    session_say(session, &out);
    buf_free(&out);
}
