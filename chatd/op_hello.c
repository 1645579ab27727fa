/* chatd/op_hello.c -- hello and auth: who is there, and going on where they were.
 *
 * A refused hello closes the connection with a code, since a browser sees nothing else of it.
 * The reply tells, for each chat of pos, the last number this device used there; the events above
 * pos come behind it. */
#include <stdio.h>
#include <stdlib.h>

#include "chatd/follow.h"
#include "chatd/ops.h"
#include "chatd/out.h"
#include "chatd/worker.h"

enum {
    PROTOCOL_VERSION = 1,
    VERSIONS_MAX = 1000,
    UA_BYTES_MAX = 128,
    IV_BYTES_MAX = 1024,
    EPOCH = 1, /* Changes only with a restore from a backup, which is not built yet. */
};

struct hello;

/* One chat of pos: what is asked about it. */
struct hello_chat {
    struct client_query request;
    struct hello *hello;
    struct txn_check check;
    struct slice chat; /* In memory. */
    seq_t seq;
    bool mine;
};

struct hello {
    struct call call;
    size_t pending_count, chats_count;
    char producer[PRODUCER_BYTES_MAX], key[CHAT_KEY_BYTES];
    uint8_t producer_len;
    char *memory;
    struct hello_chat chats[];
};

static void out_limits(struct buf *ok)
{
    out_key(ok, "lim");
    out_object(ok);
    out_key_uint(ok, "body", BODY_BYTES_MAX);
    out_key_uint(ok, "inflight", SESSION_INFLIGHT_MAX);
    out_key_uint(ok, "follow", SESSION_FOLLOW_MAX);
    out_key_uint(ok, "watch", SESSION_WATCH_MAX);
    out_key_uint(ok, "pos", SESSION_POS_MAX);
    out_object_end(ok);
}

static void out_numbers(const struct hello *hello, struct buf *ok)
{
    out_key(ok, "n");
    out_object(ok);
    for (size_t i = 0; i < hello->chats_count; i++) {
        if (!hello->chats[i].mine) continue;
        out_name(ok, hello->chats[i].chat);
        out_uint(ok, hello->chats[i].request.query.number);
    }
    out_object_end(ok);
}

static void hello_free(struct hello *hello)
{
    call_end(&hello->call);
    for (size_t i = 0; i < hello->chats_count; i++)
        buf_free(&hello->chats[i].request.query.rows);
    free(hello->memory);
    free(hello);
}

static void hello_answer(struct hello *hello)
{
    struct session *session = hello->call.session;
    struct buf ok = {0};
    if (session == NULL) {
        hello_free(hello);
        return;
    }
    out_object(&ok);
    out_key_uint(&ok, "v", PROTOCOL_VERSION);
    out_key_string(&ok, "user", session_user(session));
    out_key_string(&ok, "sid", session_claim(session));
    out_key_uint(&ok, "epoch", EPOCH);
    out_key_uint(&ok, "now", (uint64_t)env_wall_ms(session->worker->env));
    out_numbers(hello, &ok);
    out_key_raw(&ok, "alt", slice_str(session->worker->front->alt));
    out_key_uint(&ok, "back_ms", SESSION_BACK_MS);
    out_limits(&ok);
    out_key(&ok, "feat");
    out_array(&ok);
    out_array_end(&ok);
    out_object_end(&ok);
    call_ok(&hello->call, &ok);
    person_join(session);
    for (size_t i = 0; i < hello->chats_count; i++) {
        const struct hello_chat *chat = &hello->chats[i];
        struct seat *seat = seat_take(session, chat->chat);
        if (seat != NULL && chat->mine) seat->n = chat->request.query.number;
        open_resume(session, chat->chat, chat->seq);
    }
    hello_free(hello);
}

/* Not mine, or not known now: its open tells what is wrong; hello goes on. */
static void hello_chat_done(struct client_query *request, int err)
{
    struct hello_chat *chat = CONTAINER_OF(request, struct hello_chat, request);
    chat->mine = err == 0;
    if (--chat->hello->pending_count == 0) hello_answer(chat->hello);
}

static void hello_ask(struct hello *hello, struct hello_chat *chat)
{
    chat->check =
        (struct txn_check){.kind = TXN_IF_PRESENT,
                           .key = chat_key(hello->key, 'm', session_user(hello->call.session))};
    chat->request = (struct client_query){
        .query = {.kind = STORE_PRODUCER,
                  .stream = chat->chat,
                  .prefix = {hello->producer, hello->producer_len},
                  .checks = &chat->check,
                  .checks_count = 1,
                  .limit_count = 1},
        .deadline_ms = SESSION_BACK_MS,
        .done = hello_chat_done,
    };
    client_query(hello->call.worker->client, &chat->request);
}

static void hello_resume(struct session *session, struct op *op, const struct chat_pos pos[],
                         size_t count)
{
    size_t bytes = 0;
    struct hello *hello = mem_zero(sizeof(*hello) + count * sizeof(hello->chats[0]));
    call_begin(&hello->call, session, op->id);
    hello->producer_len = (uint8_t)session_producer(session, hello->producer).len;
    for (size_t i = 0; i < count; i++)
        bytes += pos[i].chat.len;
    char *at = hello->memory = mem_alloc(bytes);
    for (size_t i = 0; i < count; i++) {
        struct hello_chat *chat = &hello->chats[i];
        memcpy(at, pos[i].chat.data, pos[i].chat.len);
        *chat =
            (struct hello_chat){.hello = hello, .chat = {at, pos[i].chat.len}, .seq = pos[i].seq};
        at += pos[i].chat.len;
    }
    hello->chats_count = hello->pending_count = count;
    if (count == 0) hello_answer(hello);
    for (size_t i = 0; i < count; i++)
        hello_ask(hello, &hello->chats[i]);
}

/* Verify tok; the reason, or NULL when it is accepted. */
static const char *hello_verify(struct session *session, struct slice token, struct slice device,
                                struct auth_claims *claims)
{
    const char *why = NULL;
    int64_t now_ms = env_wall_ms(session->worker->env);
    int err = auth_verify(session->worker->front->auth, token, device, now_ms, claims, &why);
    if (err == 0) return NULL;
    session->worker->stats.refusals++;
    return why;
}

static void hello_refuse(struct session *session, struct op *op, const struct fault *fault,
                         enum close_code code)
{
    struct call call;
    call_begin(&call, session, op->id);
    call_fault(&call, fault);
    conn_close(session->conn, code, fault_text(fault));
}

/* v: the first and last version the client speaks. */
static bool versions_meet(struct op *op)
{
    json_t *range = json_object_get(op->args, "v");
    if (json_array_size(range) != 2) return false;
    json_int_t low = json_integer_value(json_array_get(range, 0));
    json_int_t high = json_integer_value(json_array_get(range, 1));
    return low >= 1 && low <= PROTOCOL_VERSION && high >= PROTOCOL_VERSION && high < VERSIONS_MAX;
}

void op_hello(struct session *session, struct op *op, struct args *args)
{
    static const char WHY_VERSION[] = "this server speaks version 1 of the protocol";
    struct chat_pos pos[SESSION_POS_MAX];
    struct auth_claims claims;
    struct fault fault = {0};
    struct slice token = arg_string(args, "tok", ARG_REQUIRED, TOKEN_BYTES_MAX);
    struct slice device = arg_device(args, "dev", ARG_REQUIRED);
    (void)arg_string(args, "ua", ARG_OPTIONAL, UA_BYTES_MAX);
    (void)arg_string(args, "iv", ARG_OPTIONAL, IV_BYTES_MAX);
    int64_t epoch = arg_int_or(args, "epoch", 0, INT_MAX_53 - 1, EPOCH);
    size_t count = arg_positions(args, "pos", pos, SESSION_POS_MAX);
    if (session->open || session->calls_count > 0) args_refuse(args, "hello", "is said once");
    if (args_failed(args)) {
        hello_refuse(session, op, &args->fault, CLOSE_POLICY);
        return;
    }
    if (!versions_meet(op)) {
        (void)fault_set(&fault, FAULT_FIELD, "%s", WHY_VERSION);
        hello_refuse(session, op, &fault, CLOSE_VERSION);
        return;
    }
    const char *why = hello_verify(session, token, device, &claims);
    if (why != NULL) {
        (void)fault_set(&fault, FAULT_AUTH, "%s", why);
        hello_refuse(session, op, &fault, CLOSE_TOKEN);
        return;
    }
    session_accept(session, slice_str(claims.user), device, claims.exp_ms);
    hello_resume(session, op, pos, epoch == EPOCH ? count : 0);
}

void op_auth(struct session *session, struct op *op, struct args *args)
{
    struct auth_claims claims;
    struct call call;
    struct buf ok = {0};
    struct slice token = arg_string(args, "tok", ARG_REQUIRED, TOKEN_BYTES_MAX);
    call_begin(&call, session, op->id);
    if (args_failed(args)) {
        call_fault(&call, &args->fault);
        return;
    }
    struct fault fault = {.kind = FAULT_AUTH};
    const char *why = hello_verify(session, token, session_device(session), &claims);
    if (why == NULL && !slice_equal(slice_str(claims.user), session_user(session)))
        why = "the token is another user's";
    if (why != NULL) {
        (void)fault_set(&fault, FAULT_AUTH, "%s", why);
        call_fault(&call, &fault);
        return;
    }
    session_renew(session, claims.exp_ms);
    out_object(&ok);
    out_object_end(&ok);
    call_ok(&call, &ok);
}
