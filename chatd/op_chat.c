/* chatd/op_chat.c -- chat.new, get, members, add, kick, leave: who is in a chat.
 *
 * Each is one transaction on the chat whose checks hold at the commit point, then the members'
 * lists (chatd/lists.h). Doing it twice does it once; a client that got no answer asks again. */
#include <stdlib.h>

#include "chatd/lists.h"
#include "chatd/ops.h"
#include "chatd/out.h"
#include "chatd/worker.h"

enum {
    USERS_MAX = 500,
    TITLE_BYTES_MAX = 256,
    KEY_TEXT_BYTES_MAX = 128,
    SETTINGS_BYTES_MAX = 4096,
    MEMBERS_PAGE_MAX = 1000,
    MEMBERS_PAGE_DEFAULT = 200,
    ATTEMPTS_MAX = 5, /* The members changed under our feet: look again, this often. */
    PAGE_BYTES = 256 * 1024,
};

enum change_kind { CHANGE_NEW, CHANGE_ADD, CHANGE_KICK, CHANGE_LEAVE };

struct change {
    struct call call;
    struct room_waiter waiter;
    struct client_query head;
    struct client_txn request;
    enum change_kind kind;
    char chat[CHAT_BYTES_MAX];
    uint8_t chat_len, user_len;
    char user[ID_BYTES_MAX];
    char *title, *settings; /* CHANGE_NEW; NULL: none. */
    unsigned attempts_count;
    seq_t seq;
    size_t users_count;
    struct slice users[USERS_MAX + 1]; /* In memory. The creator of a new chat is the first. */
    char memory[];
};

static struct slice change_chat(const struct change *change)
{
    return (struct slice){change->chat, change->chat_len};
}

static struct slice change_user(const struct change *change)
{
    return (struct slice){change->user, change->user_len};
}

static struct change *change_make(struct session *session, struct op *op, enum change_kind kind,
                                  const struct slice users[], size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += users[i].len;
    struct change *change = mem_alloc(sizeof(*change) + bytes);
    memset(change, 0, sizeof(*change));
    call_begin(&change->call, session, op->id);
    change->kind = kind;
    change->user_len = session->user_len;
    memcpy(change->user, session->user, session->user_len);
    char *at = change->memory;
    for (size_t i = 0; i < count; i++) {
        memcpy(at, users[i].data, users[i].len);
        change->users[i] = (struct slice){at, users[i].len};
        at += users[i].len;
    }
    change->users_count = count;
    return change;
}

static void change_end(struct change *change)
{
    call_end(&change->call);
    buf_free(&change->head.query.rows);
    free(change->title);
    free(change->settings);
    free(change);
}

static void change_fault(struct change *change, const struct fault *fault)
{
    call_fault(&change->call, fault);
    change_end(change);
}

static void change_ok(struct change *change)
{
    struct buf ok = {0};
    out_object(&ok);
    if (change->kind == CHANGE_NEW) {
        out_key_string(&ok, "c", change_chat(change));
        out_key_uint(&ok, "n", 0);
    }
    out_key_uint(&ok, "seq", change->seq);
    out_object_end(&ok);
    call_ok(&change->call, &ok);
    change_end(change);
}

static void change_lists_done(void *arg, int err)
{
    struct change *change = arg;
    if (err == 0) {
        change_ok(change);
        return;
    }
    struct fault fault = fault_from_err(err == ERR_NO_LEADER ? ERR_UNKNOWN : err);
    change_fault(change, &fault);
}

static void change_lists(struct change *change)
{
    bool listed = change->kind == CHANGE_NEW || change->kind == CHANGE_ADD;
    lists_write(change->call.worker, change_chat(change), change->users, change->users_count,
                listed, change_lists_done, change);
}

/* {"users":[...]} */
static void notice_users(struct buf *out, const struct change *change)
{
    struct buf body = {0};
    out_object(&body);
    out_key(&body, "users");
    out_array(&body);
    for (size_t i = 0; i < change->users_count; i++)
        out_string(&body, change->users[i]);
    out_array_end(&body);
    out_object_end(&body);
    notice_encode(out, change_user(change), buf_bytes(&body));
    buf_free(&body);
}

/* The parts of a transaction about some users: keys live in `keys`. */
struct parts {
    struct txn_check checks[USERS_MAX + 3];
    struct txn_set sets[USERS_MAX + 5];
    struct txn_advance advances[2 * (USERS_MAX + 1)];
    unsigned checks_count, sets_count, advances_count;
    char keys[3 * (USERS_MAX + 1) + 1][CHAT_KEY_BYTES];
    unsigned keys_count;
};

static struct slice parts_key(struct parts *parts, char letter, struct slice user)
{
    return chat_key(parts->keys[parts->keys_count++], letter, user);
}

static void parts_join(struct parts *parts, struct slice user, enum role role)
{
    parts->sets[parts->sets_count++] = (struct txn_set){.key = parts_key(parts, 'm', user),
                                                        .value = slice_str(role_name(role)),
                                                        .flags = TXN_SET_STAMP};
    parts->advances[parts->advances_count++] =
        (struct txn_advance){.key = parts_key(parts, 'd', user), .flags = TXN_ADVANCE_WRITTEN};
    parts->advances[parts->advances_count++] =
        (struct txn_advance){.key = parts_key(parts, 'r', user), .flags = TXN_ADVANCE_WRITTEN};
}

static void change_send(struct change *change, struct parts *parts, enum event_kind kind,
                        void (*done)(struct client_txn *, int, const struct outcome *, uint32_t))
{
    struct buf payload = {0};
    notice_users(&payload, change);
    struct txn_record record = {.kind = (uint16_t)kind, .payload = buf_bytes(&payload)};
    struct txn txn = {.stream = change_chat(change),
                      .checks = parts->checks,
                      .checks_count = parts->checks_count,
                      .sets = parts->sets,
                      .sets_count = parts->sets_count,
                      .advances = parts->advances,
                      .advances_count = parts->advances_count,
                      .records = &record,
                      .records_count = 1};
    change->request = (struct client_txn){.txn = &txn, .done = done};
    client_txn(change->call.worker->client, &change->request);
    buf_free(&payload);
    free(parts);
}

/* ---- chat.new ---- */

/* Rejected: it was made before, by this user with this key. The lists are written all the same. */
static void new_done(struct client_txn *request, int err, const struct outcome *outcome,
                     uint32_t after_ms)
{
    struct change *change = CONTAINER_OF(request, struct change, request);
    (void)after_ms;
    if (err != 0) {
        struct fault fault = fault_from_err(err);
        change_fault(change, &fault);
        return;
    }
    change->seq = outcome->status == 0 ? outcome->last : 1;
    change_lists(change);
}

void op_chat_new(struct session *session, struct op *op, struct args *args)
{
    struct slice users[USERS_MAX + 1] = {session_user(session)};
    char id[GROUP_BYTES];
    struct slice key = arg_string(args, "key", ARG_REQUIRED, KEY_TEXT_BYTES_MAX);
    struct slice title = arg_string(args, "title", ARG_OPTIONAL, TITLE_BYTES_MAX);
    struct slice settings = arg_raw(args, "settings", ARG_OPTIONAL, SETTINGS_BYTES_MAX);
    size_t count = arg_users(args, "users", ARG_OPTIONAL, users + 1, USERS_MAX);
    size_t kept = 1;
    for (size_t i = 1; i <= count && !args_failed(args); i++)
        if (!slice_equal(users[i], users[0])) users[kept++] = users[i];
    struct change *change = change_make(session, op, CHANGE_NEW, users, kept);
    if (args_failed(args)) {
        change_fault(change, &args->fault);
        return;
    }
    struct slice chat = chat_group(session_user(session), key, id);
    memcpy(change->chat, chat.data, chat.len);
    change->chat_len = (uint8_t)chat.len;
    struct parts *parts = mem_zero(sizeof(*parts));
    parts->checks[parts->checks_count++] = (struct txn_check){.kind = TXN_IF_STREAM_ABSENT};
    parts->sets[parts->sets_count++] =
        (struct txn_set){.key = slice_str("kind"), .value = slice_str("group")};
    if (title.len > 0)
        parts->sets[parts->sets_count++] =
            (struct txn_set){.key = slice_str("title"), .value = title};
    if (settings.len > 0)
        parts->sets[parts->sets_count++] =
            (struct txn_set){.key = slice_str("settings"), .value = settings};
    for (size_t i = 0; i < change->users_count; i++)
        parts_join(parts, change->users[i], i == 0 ? ROLE_OWNER : ROLE_MEMBER);
    change_send(change, parts, EVENT_JOIN, new_done);
}

/* ---- chat.add, chat.kick, chat.leave: decided on the room, checked at the commit ---- */

static void change_try(struct change *change, struct room *room);

static void change_loaded(struct room_waiter *waiter, int err)
{
    struct change *change = CONTAINER_OF(waiter, struct change, waiter);
    struct session *session = change->call.session;
    struct seat *seat = session == NULL ? NULL : seat_find(session, change_chat(change));
    if (err == 0 && seat != NULL) {
        change_try(change, seat->room);
        return;
    }
    struct fault fault = fault_from_err(err != 0 ? err : ERR_CANCELED);
    change_fault(change, &fault);
}

static void change_done(struct client_txn *request, int err, const struct outcome *outcome,
                        uint32_t after_ms)
{
    struct change *change = CONTAINER_OF(request, struct change, request);
    struct session *session = change->call.session;
    struct seat *seat = session == NULL ? NULL : seat_find(session, change_chat(change));
    struct fault fault = {.kind = FAULT_NOLEADER};
    (void)after_ms;
    if (err == 0 && outcome->status == 0) {
        change->seq = outcome->last;
        change_lists(change);
        return;
    }
    if (err != 0)
        fault = fault_from_err(err);
    else if (outcome->status == ERR_NO_STREAM)
        fault.kind = FAULT_NOCHAT;
    else if (seat != NULL && ++change->attempts_count < ATTEMPTS_MAX) {
        /* The members are not what the room knew: it hears of it any moment. */
        room_when_changed(seat->room, outcome->version, &change->waiter);
        return;
    }
    change_fault(change, &fault);
}

/* Those of the users whom the change still concerns. */
static size_t change_filter(struct change *change, struct room *room, struct slice out[])
{
    bool want_member = change->kind != CHANGE_ADD;
    size_t count = 0;
    for (size_t i = 0; i < change->users_count; i++)
        if ((room_role(room, change->users[i]) != ROLE_NONE) == want_member)
            out[count++] = change->users[i];
    return count;
}

static bool change_allowed(struct change *change, struct room *room, struct fault *fault)
{
    enum role role = room_role(room, change_user(change));
    bool direct = chat_parse(change_chat(change), NULL, NULL) == CHAT_DIRECT;
    if (change->kind == CHANGE_LEAVE && role == ROLE_NONE) return true; /* Left before. */
    if (role == ROLE_NONE) return fault_set(fault, FAULT_NOCHAT, "%s", "") == 0;
    if (direct)
        return fault_set(fault, FAULT_DENIED, "a direct chat has two members for ever") == 0;
    if (change->kind == CHANGE_LEAVE && role == ROLE_OWNER)
        return fault_set(fault, FAULT_DENIED, "the owner hands the chat over before leaving") == 0;
    if (change->kind != CHANGE_LEAVE && role < ROLE_ADMIN)
        return fault_set(fault, FAULT_DENIED, "owners and admins add and remove members") == 0;
    for (size_t i = 0; change->kind == CHANGE_KICK && i < change->users_count; i++)
        if (room_role(room, change->users[i]) >= role)
            return fault_set(fault, FAULT_DENIED, "nobody removes their equal") == 0;
    return true;
}

static void change_try(struct change *change, struct room *room)
{
    static const enum event_kind EVENTS[] = {
        [CHANGE_ADD] = EVENT_JOIN, [CHANGE_KICK] = EVENT_KICK, [CHANGE_LEAVE] = EVENT_LEAVE};
    struct fault fault = {0};
    struct slice users[USERS_MAX + 1];
    if (!change_allowed(change, room, &fault)) {
        change_fault(change, &fault);
        return;
    }
    size_t count = change_filter(change, room, users);
    if (count == 0) { /* Done before; the lists are written all the same. */
        change->seq = room->head.last;
        change_lists(change);
        return;
    }
    struct parts *parts = mem_zero(sizeof(*parts));
    parts->checks[parts->checks_count++] =
        (struct txn_check){.kind = TXN_IF_EQUALS,
                           .key = parts_key(parts, 'm', change_user(change)),
                           .value = slice_str(role_name(room_role(room, change_user(change))))};
    memcpy(change->users, users, count * sizeof(users[0]));
    change->users_count = count;
    for (size_t i = 0; i < count; i++) {
        struct slice key = parts_key(parts, 'm', users[i]);
        bool add = change->kind == CHANGE_ADD;
        parts->checks[parts->checks_count++] =
            (struct txn_check){.kind = add ? TXN_IF_ABSENT : TXN_IF_PRESENT, .key = key};
        if (add)
            parts_join(parts, users[i], ROLE_MEMBER);
        else
            parts->sets[parts->sets_count++] = (struct txn_set){.key = key, .flags = TXN_SET_DROP};
    }
    change_send(change, parts, EVENTS[change->kind], change_done);
}

/* The room may be behind: what was acknowledged before, wherever, is decided upon. */
static void change_head_done(struct client_query *request, int err)
{
    struct change *change = CONTAINER_OF(request, struct change, head);
    struct session *session = change->call.session;
    struct seat *seat = session == NULL ? NULL : seat_find(session, change_chat(change));
    if (err == 0 && seat != NULL) {
        room_when_changed(seat->room, request->query.head.version, &change->waiter);
        return;
    }
    struct fault fault = fault_from_err(err != 0 ? err : ERR_CANCELED);
    if (err == ERR_NO_STREAM) fault = (struct fault){.kind = FAULT_NOCHAT};
    change_fault(change, &fault);
}

static void change_begin(struct session *session, struct op *op, struct args *args,
                         enum change_kind kind, const struct slice users[], size_t count)
{
    struct slice chat = arg_chat(args, "c", ARG_REQUIRED);
    struct change *change = change_make(session, op, kind, users, args_failed(args) ? 0 : count);
    struct seat *seat = args_failed(args) ? NULL : seat_take(session, chat);
    if (seat == NULL) {
        if (!args_failed(args)) (void)fault_set(&args->fault, FAULT_RATE, "too many chats");
        change_fault(change, &args->fault);
        return;
    }
    memcpy(change->chat, chat.data, chat.len);
    change->chat_len = (uint8_t)chat.len;
    change->waiter.ready = change_loaded;
    change->head = (struct client_query){
        .query = {.kind = STORE_HEAD, .stream = change_chat(change)}, .done = change_head_done};
    client_query(session->worker->client, &change->head);
}

void op_chat_add(struct session *session, struct op *op, struct args *args)
{
    struct slice users[USERS_MAX];
    size_t count = arg_users(args, "users", ARG_REQUIRED, users, USERS_MAX);
    change_begin(session, op, args, CHANGE_ADD, users, count);
}

void op_chat_kick(struct session *session, struct op *op, struct args *args)
{
    struct slice users[USERS_MAX];
    size_t count = arg_users(args, "users", ARG_REQUIRED, users, USERS_MAX);
    change_begin(session, op, args, CHANGE_KICK, users, count);
}

void op_chat_leave(struct session *session, struct op *op, struct args *args)
{
    struct slice user = session_user(session);
    change_begin(session, op, args, CHANGE_LEAVE, &user, 1);
}

/* ---- chat.get, chat.members: reads, checked at the read point ---- */

struct look {
    struct call call;
    struct room_waiter waiter;
    struct client_query request;
    struct txn_check check;
    char chat[CHAT_BYTES_MAX], user[ID_BYTES_MAX], producer[PRODUCER_BYTES_MAX];
    uint8_t chat_len, user_len, producer_len;
    char key[CHAT_KEY_BYTES], after[CHAT_KEY_BYTES];
};

static void look_end(struct look *look)
{
    call_end(&look->call);
    buf_free(&look->request.query.rows);
    free(look);
}

static void look_err(struct look *look, int err)
{
    struct fault fault = fault_from_err(err);
    if (err == ERR_REJECTED || err == ERR_NO_STREAM) fault = (struct fault){.kind = FAULT_NOCHAT};
    call_fault(&look->call, &fault);
    look_end(look);
}

/* Begin, or answer the refusal and return NULL. */
static struct look *look_begin(struct session *session, struct op *op, struct args *args,
                               struct slice chat)
{
    struct look *look = mem_zero(sizeof(*look));
    call_begin(&look->call, session, op->id);
    if (args_failed(args) || seat_take(session, chat) == NULL) {
        if (!args_failed(args)) (void)fault_set(&args->fault, FAULT_RATE, "too many chats");
        call_fault(&look->call, &args->fault);
        look_end(look);
        return NULL;
    }
    memcpy(look->chat, chat.data, chat.len);
    look->chat_len = (uint8_t)chat.len;
    memcpy(look->user, session->user, session->user_len);
    look->user_len = session->user_len;
    look->producer_len = (uint8_t)session_producer(session, look->producer).len;
    look->check = (struct txn_check){
        .kind = TXN_IF_PRESENT,
        .key = chat_key(look->key, 'm', (struct slice){look->user, look->user_len})};
    look->request.query = (struct store_query){
        .stream = {look->chat, look->chat_len}, .checks = &look->check, .checks_count = 1};
    return look;
}

static void get_write(struct look *look, struct room *room, struct buf *ok)
{
    const struct store_query *query = &look->request.query;
    struct slice user = {look->user, look->user_len};
    struct room_member *me = room_member_find(room, user);
    bool group = chat_parse(room_chat(room), NULL, NULL) == CHAT_GROUP;
    out_object(ok);
    out_key_string(ok, "c", room_chat(room));
    out_key_string(ok, "kind", slice_str(group ? "group" : "direct"));
    if (room->title != NULL) out_key_string(ok, "title", slice_str(room->title));
    out_key_raw(ok, "settings", slice_str(room->settings == NULL ? "{}" : room->settings));
    out_key_string(ok, "role", slice_str(role_name(room_role(room, user))));
    out_key_uint(ok, "count", room->members_count);
    out_key_uint(ok, "head", query->head.last);
    out_key_uint(ok, "first", query->head.first);
    out_key_uint(ok, "recv", me == NULL ? 0 : me->recv);
    out_key_uint(ok, "read", me == NULL ? 0 : me->read);
    out_key_uint(ok, "n", query->number);
    out_key_uint(ok, "ver", query->head.version);
    out_object_end(ok);
}

static void get_loaded(struct room_waiter *waiter, int err)
{
    struct look *look = CONTAINER_OF(waiter, struct look, waiter);
    struct slice chat = {look->chat, look->chat_len};
    struct seat *seat = look->call.session == NULL ? NULL : seat_find(look->call.session, chat);
    struct buf ok = {0};
    if (err != 0 || seat == NULL) {
        look_err(look, err != 0 ? err : ERR_CANCELED);
        return;
    }
    get_write(look, seat->room, &ok);
    call_ok(&look->call, &ok);
    look_end(look);
}

static void get_done(struct client_query *request, int err)
{
    struct look *look = CONTAINER_OF(request, struct look, request);
    struct slice chat = {look->chat, look->chat_len};
    struct seat *seat = look->call.session == NULL ? NULL : seat_find(look->call.session, chat);
    if (err != 0 || seat == NULL) {
        look_err(look, err != 0 ? err : ERR_CANCELED);
        return;
    }
    look->waiter.ready = get_loaded;
    room_when_loaded(seat->room, &look->waiter);
}

void op_chat_get(struct session *session, struct op *op, struct args *args)
{
    struct look *look = look_begin(session, op, args, arg_chat(args, "c", ARG_REQUIRED));
    if (look == NULL) return;
    look->request.query.kind = STORE_PRODUCER;
    look->request.query.prefix = (struct slice){look->producer, look->producer_len};
    look->request.query.limit_count = 1;
    look->request.done = get_done;
    client_query(session->worker->client, &look->request);
}

static void members_done(struct client_query *request, int err)
{
    struct look *look = CONTAINER_OF(request, struct look, request);
    if (err != 0) {
        look_err(look, err);
        return;
    }
    struct reader r = reader_of(buf_bytes(&request->query.rows));
    struct buf ok = {0};
    out_object(&ok);
    out_key(&ok, "members");
    out_array(&ok);
    while (reader_left(&r) > 0) {
        struct item_view item;
        struct slice user;
        struct member_value value;
        item_decode(&r, &item);
        if (r.failed || !chat_key_is(item.key, 'm', &user)) break;
        if (member_decode(item.value, &value) != 0) continue;
        out_object(&ok);
        out_key_string(&ok, "u", user);
        out_key_string(&ok, "role", slice_str(role_name(value.role)));
        out_key_uint(&ok, "joined", value.joined);
        out_object_end(&ok);
    }
    out_array_end(&ok);
    out_key_bool(&ok, "more", request->query.more);
    out_object_end(&ok);
    call_ok(&look->call, &ok);
    look_end(look);
}

void op_chat_members(struct session *session, struct op *op, struct args *args)
{
    struct slice chat = arg_chat(args, "c", ARG_REQUIRED);
    struct slice from = arg_user(args, "from", ARG_OPTIONAL);
    int64_t limit = arg_int_or(args, "limit", 1, MEMBERS_PAGE_MAX, MEMBERS_PAGE_DEFAULT);
    struct look *look = look_begin(session, op, args, chat);
    if (look == NULL) return;
    look->request.query.kind = STORE_ATTRIBUTES;
    look->request.query.prefix = slice_str("m/");
    if (from.len > 0) look->request.query.after = chat_key(look->after, 'm', from);
    look->request.query.limit_count = (uint32_t)limit;
    look->request.query.limit_bytes = PAGE_BYTES;
    look->request.done = members_done;
    client_query(session->worker->client, &look->request);
}
