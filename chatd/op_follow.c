/* chatd/op_follow.c -- open, close, hist, mark and note: reading along in a chat.
 *
 * Whoever reads is checked at the read point: the query carries "is a member" to the log store. */
#include <stdlib.h>

#include "chatd/follow.h"
#include "chatd/ops.h"
#include "chatd/out.h"
#include "chatd/worker.h"

enum {
    HIST_EVENTS_MAX = 500,
    HIST_EVENTS_DEFAULT = 50,
    HIST_BYTES = 512 * 1024,
    TYPING_EVERY_MS = 3000,
};

/* What open, hist and mark have in common: a chat of mine, a check, a read. */
struct reading {
    struct call call;
    struct room_waiter waiter;
    struct client_query request;
    struct client_txn txn;
    struct txn_check check;
    char chat[CHAT_BYTES_MAX];
    uint8_t chat_len, user_len;
    char user[ID_BYTES_MAX];
    char key[CHAT_KEY_BYTES];
    char producer[PRODUCER_BYTES_MAX];
    uint8_t producer_len;
    /* open */
    bool from_now, resumed;
    seq_t from;
    uint8_t what;
    /* hist */
    bool back;
    seq_t visible;
    /* mark */
    seq_t recv, read;
    uint64_t read_ordinal;
};

static struct slice reading_chat(const struct reading *reading)
{
    return (struct slice){reading->chat, reading->chat_len};
}

static struct slice reading_user(const struct reading *reading)
{
    return (struct slice){reading->user, reading->user_len};
}

/* Begin, or answer the refusal and return NULL. */
static struct reading *reading_begin(struct session *session, struct op *op, struct args *args,
                                     struct slice chat)
{
    struct reading *reading = mem_zero(sizeof(*reading));
    call_begin(&reading->call, session, op->id);
    if (!args_failed(args)) {
        memcpy(reading->chat, chat.data, chat.len);
        reading->chat_len = (uint8_t)chat.len;
        reading->user_len = session->user_len;
        memcpy(reading->user, session->user, session->user_len);
        reading->check = (struct txn_check){
            .kind = TXN_IF_PRESENT, .key = chat_key(reading->key, 'm', reading_user(reading))};
        if (seat_take(session, chat) != NULL) return reading;
        (void)fault_set(&args->fault, FAULT_RATE, "too many chats on one connection");
    }
    call_fault(&reading->call, &args->fault);
    free(reading);
    return NULL;
}

/* The seat, or NULL when the session is gone or gave it up. */
static struct seat *reading_seat(const struct reading *reading)
{
    return reading->call.session == NULL ? NULL
                                         : seat_find(reading->call.session, reading_chat(reading));
}

static void reading_end(struct reading *reading)
{
    call_end(&reading->call);
    buf_free(&reading->request.query.rows);
    free(reading);
}

static void reading_err(struct reading *reading, int err)
{
    struct fault fault = fault_from_err(err);
    if (err == ERR_REJECTED || err == ERR_NO_STREAM) fault = (struct fault){.kind = FAULT_NOCHAT};
    if (err == ERR_RESET) fault = (struct fault){.kind = FAULT_TRIM};
    call_fault(&reading->call, &fault);
    reading_end(reading);
}

/* Wait for the room: ready runs with the seat still there, or the reading ends here. */
static void reading_wait(struct reading *reading, void (*ready)(struct room_waiter *, int))
{
    reading->waiter.ready = ready;
    room_when_loaded(reading_seat(reading)->room, &reading->waiter);
}

static void out_marks(struct buf *out, struct room *room)
{
    out_key(out, "marks");
    out_array(out);
    if (room->members_count <= ROOM_MARKS_MEMBERS_MAX) {
        for (struct room_member *m = room->members; m != NULL; m = m->hh.next) {
            if (!m->member) continue;
            out_object(out);
            out_key_string(out, "u", (struct slice){m->user, m->user_len});
            out_key_uint(out, "recv", m->recv);
            out_key_uint(out, "read", m->read);
            out_object_end(out);
        }
    }
    out_array_end(out);
}

static void out_mine(struct buf *out, const struct room_member *me)
{
    out_key(out, "mine");
    out_object(out);
    out_key_uint(out, "recv", me == NULL ? 0 : me->recv);
    out_key_uint(out, "read", me == NULL ? 0 : me->read);
    out_object_end(out);
}

/* ---- open ---- */

/* Who resumes has no request to answer: the chat is closed for them. */
static void open_err(struct reading *reading, int err)
{
    struct seat *seat = reading_seat(reading);
    if (!reading->resumed || seat == NULL) {
        reading_err(reading, err);
        return;
    }
    seat->position = reading->from;
    follow_refuse(seat, err == ERR_REJECTED || err == ERR_NO_STREAM ? "gone" : "lag");
    reading_end(reading);
}

/* The reply comes before its events. */
static void open_answer(struct room_waiter *waiter, int err)
{
    struct reading *reading = CONTAINER_OF(waiter, struct reading, waiter);
    struct client_query *request = &reading->request;
    struct seat *seat = reading_seat(reading);
    if (err != 0 || seat == NULL) {
        open_err(reading, err != 0 ? err : ERR_CANCELED);
        return;
    }
    struct room *room = seat->room;
    if (room_role(room, reading_user(reading)) == ROLE_NONE) {
        open_err(reading, ERR_REJECTED); /* Removed since the read. */
        return;
    }
    const struct stream_head *head = &request->query.head;
    struct room_member *me = room_member_find(room, reading_user(reading));
    seq_t visible = room_first_visible(room, reading_user(reading));
    seq_t position = reading->from_now ? head->last : reading->from;
    if (position + 1 < visible) position = visible - 1;
    if (position > head->last) position = head->last;
    if (seat->n < request->query.number) seat->n = request->query.number;

    struct buf ok = {0};
    out_object(&ok);
    out_key_uint(&ok, "head", head->last);
    out_key_uint(&ok, "first", head->first > visible ? head->first : visible);
    out_key_uint(&ok, "n", request->query.number);
    out_marks(&ok, room);
    out_mine(&ok, me);
    out_object_end(&ok);
    call_ok(&reading->call, &ok);
    follow_begin(seat, position, reading->what);
    reading_end(reading);
}

/* The tail may be behind the read: who just joined is known once the room is as new as it. */
static void open_producer_done(struct client_query *request, int err)
{
    struct reading *reading = CONTAINER_OF(request, struct reading, request);
    struct seat *seat = reading_seat(reading);
    if (err != 0 || seat == NULL) {
        open_err(reading, err != 0 ? err : ERR_CANCELED);
        return;
    }
    reading->waiter.ready = open_answer;
    room_when_changed(seat->room, request->query.head.version, &reading->waiter);
}

static void open_loaded(struct room_waiter *waiter, int err)
{
    struct reading *reading = CONTAINER_OF(waiter, struct reading, waiter);
    if (err != 0 || reading_seat(reading) == NULL) {
        open_err(reading, err != 0 ? err : ERR_CANCELED);
        return;
    }
    reading->request = (struct client_query){
        .query = {.kind = STORE_PRODUCER,
                  .stream = reading_chat(reading),
                  .prefix = {reading->producer, reading->producer_len},
                  .checks = &reading->check,
                  .checks_count = 1,
                  .limit_count = 1},
        .done = open_producer_done,
    };
    client_query(reading->call.worker->client, &reading->request);
}

static void open_begin(struct reading *reading, struct session *session)
{
    reading->producer_len = (uint8_t)session_producer(session, reading->producer).len;
    reading_wait(reading, open_loaded);
}

void op_open(struct session *session, struct op *op, struct args *args)
{
    static const char *const WHAT[] = {"ev", "mark", "note"};
    struct slice chat = arg_chat(args, "c", ARG_REQUIRED);
    int64_t from = arg_int_or(args, "from", -1, INT_MAX_53 - 1, -1);
    uint32_t what =
        arg_words(args, "what", WHAT, ARRAY_COUNT(WHAT), FOLLOW_EV | FOLLOW_MARK | FOLLOW_NOTE);
    if (!args_failed(args) && session->following_count >= SESSION_FOLLOW_MAX) {
        (void)fault_set(&args->fault, FAULT_RATE, "%d chats are followed already",
                        SESSION_FOLLOW_MAX);
        args->failed = true;
    }
    struct reading *reading = reading_begin(session, op, args, chat);
    if (reading == NULL) return;
    reading->from_now = from < 0;
    reading->from = from < 0 ? 0 : (seq_t)from;
    reading->what = (uint8_t)what;
    open_begin(reading, session);
}

/* Each chat of hello's pos is an open from that seq, without a reply. */
void open_resume(struct session *session, struct slice chat, seq_t from)
{
    struct reading *reading = mem_zero(sizeof(*reading));
    call_begin(&reading->call, session, (struct op_id){0});
    memcpy(reading->chat, chat.data, chat.len);
    reading->chat_len = (uint8_t)chat.len;
    reading->user_len = session->user_len;
    memcpy(reading->user, session->user, session->user_len);
    reading->check = (struct txn_check){.kind = TXN_IF_PRESENT,
                                        .key = chat_key(reading->key, 'm', reading_user(reading))};
    reading->resumed = true;
    reading->from = from;
    reading->what = FOLLOW_EV | FOLLOW_MARK | FOLLOW_NOTE;
    if (seat_take(session, chat) == NULL)
        reading_end(reading);
    else
        open_begin(reading, session);
}

void op_close(struct session *session, struct op *op, struct args *args)
{
    struct slice chat = arg_chat(args, "c", ARG_REQUIRED);
    struct call call;
    struct buf ok = {0};
    call_begin(&call, session, op->id);
    if (args_failed(args)) {
        call_fault(&call, &args->fault);
        return;
    }
    struct seat *seat = seat_find(session, chat);
    if (seat != NULL) follow_end(seat, "");
    out_object(&ok);
    out_object_end(&ok);
    call_ok(&call, &ok);
}

/* ---- hist ---- */

struct hist_rows {
    struct record_view *records;
    size_t count;
};

static struct hist_rows hist_decode(const struct store_query *query)
{
    struct hist_rows rows = {mem_alloc(query->rows_count * sizeof(struct record_view)), 0};
    struct reader r = reader_of(buf_bytes(&query->rows));
    while (reader_left(&r) > 0 && rows.count < query->rows_count) {
        record_decode(&r, &rows.records[rows.count]);
        if (r.failed) break;
        rows.count++;
    }
    return rows;
}

static void hist_answer(struct room_waiter *waiter, int err)
{
    struct reading *reading = CONTAINER_OF(waiter, struct reading, waiter);
    struct seat *seat = reading_seat(reading);
    if (err != 0 || seat == NULL) {
        reading_err(reading, err != 0 ? err : ERR_CANCELED);
        return;
    }
    const struct store_query *query = &reading->request.query;
    struct hist_rows rows = hist_decode(query);
    reading->visible = room_first_visible(seat->room, reading_user(reading));
    seq_t first = query->head.first > reading->visible ? query->head.first : reading->visible;
    seq_t next = 0, low = 0;
    bool more = query->more;
    struct buf ok = {0};
    out_object(&ok);
    out_key(&ok, "ev");
    out_array(&ok);
    for (size_t i = 0; i < rows.count; i++) {
        const struct record_view *record = &rows.records[reading->back ? rows.count - 1 - i : i];
        if (record->seq < first) continue; /* From before they joined. */
        bool own = slice_equal(event_user(record), reading_user(reading));
        (void)event_write(&ok, reading_chat(reading), record, own);
        if (low == 0) low = record->seq;
        next = record->seq + 1;
    }
    out_array_end(&ok);
    if (next == 0) next = reading->from > first ? reading->from : first;
    if (reading->back) more = low > first;
    out_key_uint(&ok, "next", next);
    out_key_uint(&ok, "first", first);
    out_key_uint(&ok, "head", query->head.last);
    out_key_bool(&ok, "more", more);
    if (rows.count > 0) {
        char h[CHAIN_TEXT_BYTES];
        chain_text(rows.records[reading->back ? 0 : rows.count - 1].chain, h);
        out_key_string(&ok, "h", (struct slice){h, sizeof(h)});
    }
    out_object_end(&ok);
    free(rows.records);
    call_ok(&reading->call, &ok);
    reading_end(reading);
}

/* As in open: what they may see is known once the room is as new as the read. */
static void hist_done(struct client_query *request, int err)
{
    struct reading *reading = CONTAINER_OF(request, struct reading, request);
    struct seat *seat = reading_seat(reading);
    if (err != 0 || seat == NULL) {
        reading_err(reading, err != 0 ? err : ERR_CANCELED);
        return;
    }
    reading->waiter.ready = hist_answer;
    room_when_changed(seat->room, request->query.head.version, &reading->waiter);
}

static void hist_loaded(struct room_waiter *waiter, int err)
{
    struct reading *reading = CONTAINER_OF(waiter, struct reading, waiter);
    struct seat *seat = reading_seat(reading);
    if (err != 0 || seat == NULL) {
        reading_err(reading, err != 0 ? err : ERR_CANCELED);
        return;
    }
    struct store_query *query = &reading->request.query;
    reading->visible = room_first_visible(seat->room, reading_user(reading));
    if (query->kind == STORE_RECORDS && !reading->back && query->from < reading->visible)
        query->from = reading->visible;
    query->stream = reading_chat(reading);
    query->checks = &reading->check;
    query->checks_count = 1;
    query->limit_bytes = HIST_BYTES;
    reading->request.done = hist_done;
    client_query(reading->call.worker->client, &reading->request);
}

void op_hist(struct session *session, struct op *op, struct args *args)
{
    struct slice chat = arg_chat(args, "c", ARG_REQUIRED);
    int64_t from = arg_int_or(args, "from", 0, INT_MAX_53 - 1, 0);
    int64_t to = arg_int_or(args, "to", 0, INT_MAX_53 - 1, 0);
    int64_t limit = arg_int_or(args, "limit", 1, HIST_EVENTS_MAX, HIST_EVENTS_DEFAULT);
    int64_t around = arg_int_or(args, "around", 1, INT_MAX_53 - 1, 0);
    int64_t at = arg_int_or(args, "at", 1, INT_MAX_53 - 1, 0);
    bool back = arg_bool(args, "back", ARG_OPTIONAL);
    struct reading *reading = reading_begin(session, op, args, chat);
    if (reading == NULL) return;
    if (around > 0) {
        from = around > limit / 2 ? around - limit / 2 : 1;
        back = false;
    }
    reading->back = back;
    reading->from = (seq_t)from;
    reading->request.query = (struct store_query){
        .kind = at > 0 ? STORE_RECORDS_AT : STORE_RECORDS,
        .from = at > 0 ? (uint64_t)at : (uint64_t)(from == 0 && !back ? 1 : from),
        .to = (uint64_t)to,
        .backwards = back,
        .limit_count = (uint32_t)limit,
    };
    reading_wait(reading, hist_loaded);
}

/* ---- mark ---- */

static void mark_done(struct client_txn *request, int err, const struct outcome *outcome,
                      uint32_t after_ms)
{
    struct reading *reading = CONTAINER_OF(request, struct reading, txn);
    struct fault fault = {.kind = FAULT_NOCHAT};
    struct buf ok = {0};
    (void)after_ms;
    if (err == 0 && outcome->status == 0) {
        out_object(&ok);
        out_object_end(&ok);
        call_ok(&reading->call, &ok);
        reading_end(reading);
        return;
    }
    if (err != 0)
        fault = fault_from_err(err);
    else if (outcome->status == ERR_REJECTED && outcome->failed > 0)
        (void)fault_set(&fault, FAULT_FIELD, "recv and read are at most the chat's head");
    if (reading->call.id.given) call_fault(&reading->call, &fault);
    reading_end(reading);
}

static void mark_go(struct reading *reading)
{
    char recv[CHAT_KEY_BYTES], read[CHAT_KEY_BYTES];
    struct txn_advance advances[2];
    unsigned count = 0;
    if (reading->recv > 0)
        advances[count++] = (struct txn_advance){.key = chat_key(recv, 'd', reading_user(reading)),
                                                 .seq = reading->recv};
    if (reading->read > 0)
        advances[count++] = (struct txn_advance){.key = chat_key(read, 'r', reading_user(reading)),
                                                 .seq = reading->read,
                                                 .ordinal = reading->read_ordinal};
    struct txn txn = {.stream = reading_chat(reading),
                      .checks = &reading->check,
                      .checks_count = 1,
                      .advances = advances,
                      .advances_count = count};
    reading->txn = (struct client_txn){.txn = &txn, .done = mark_done};
    client_txn(reading->call.worker->client, &reading->txn);
}

/* The ordinal of the event that was read, when it is not one of the latest. */
static void mark_ordinal_done(struct client_query *request, int err)
{
    struct reading *reading = CONTAINER_OF(request, struct reading, request);
    struct reader r = reader_of(buf_bytes(&request->query.rows));
    struct record_view record;
    if (err != 0) {
        reading_err(reading, err);
        return;
    }
    record_decode(&r, &record);
    if (!r.failed && record.seq == reading->read) reading->read_ordinal = record.ordinal;
    mark_go(reading); /* Above the head: refused there. */
}

static void mark_loaded(struct room_waiter *waiter, int err)
{
    struct reading *reading = CONTAINER_OF(waiter, struct reading, waiter);
    struct seat *seat = reading_seat(reading);
    if (err != 0 || seat == NULL) {
        reading_err(reading, err != 0 ? err : ERR_CANCELED);
        return;
    }
    struct room_event *event = room_event_find(seat->room, reading->read);
    if (event != NULL || reading->read == 0) {
        reading->read_ordinal = event == NULL ? 0 : event->ordinal;
        mark_go(reading);
        return;
    }
    reading->request = (struct client_query){
        .query = {.kind = STORE_RECORDS,
                  .stream = reading_chat(reading),
                  .from = reading->read,
                  .checks = &reading->check,
                  .checks_count = 1,
                  .limit_count = 1,
                  .limit_bytes = PAYLOAD_BYTES_MAX},
        .done = mark_ordinal_done,
    };
    client_query(reading->call.worker->client, &reading->request);
}

void op_mark(struct session *session, struct op *op, struct args *args)
{
    struct slice chat = arg_chat(args, "c", ARG_REQUIRED);
    int64_t recv = arg_int_or(args, "recv", 0, INT_MAX_53 - 1, 0);
    int64_t read = arg_int_or(args, "read", 0, INT_MAX_53 - 1, 0);
    if (!args_failed(args) && recv == 0 && read == 0)
        args_refuse(args, "recv", "or read: a seq of the chat");
    struct reading *reading = reading_begin(session, op, args, chat);
    if (reading == NULL) return;
    reading->read = (seq_t)read;
    reading->recv = (seq_t)(read > recv ? read : recv); /* Who read it received it. */
    reading_wait(reading, mark_loaded);
}

/* ---- note ---- */

void op_note(struct session *session, struct op *op, struct args *args)
{
    static const char *const KINDS[] = {"typing"};
    struct slice chat = arg_chat(args, "c", ARG_REQUIRED);
    size_t kind = arg_word(args, "k", ARG_REQUIRED, KINDS, ARRAY_COUNT(KINDS));
    struct slice body = arg_raw(args, "b", ARG_OPTIONAL, CLIENT_SIGNAL_BYTES_MAX / 2);
    struct reading *reading = reading_begin(session, op, args, chat);
    if (reading == NULL) return;
    struct seat *seat = reading_seat(reading);
    uint64_t now_ms = env_now_ms(session->worker->env);
    bool allowed = seat->room->loaded && room_role(seat->room, session_user(session)) != ROLE_NONE;
    /* Too soon after the last one: it still shows there. */
    bool soon = seat->typing_ms != 0 && now_ms - seat->typing_ms < TYPING_EVERY_MS;
    if (allowed && !soon) {
        struct buf signal = {0};
        note_encode(&signal, session_user(session), session_device(session), slice_str(KINDS[kind]),
                    body);
        client_signal(session->worker->client, chat, buf_bytes(&signal));
        buf_free(&signal);
        seat->typing_ms = now_ms;
    }
    struct fault fault = {.kind = FAULT_NOCHAT};
    if (allowed) {
        struct buf ok = {0};
        out_object(&ok);
        out_object_end(&ok);
        call_ok(&reading->call, &ok);
    } else if (reading->call.id.given) {
        call_fault(&reading->call, &fault);
    }
    reading_end(reading);
}
