/* chatd/op_send.c -- send: one message, one transaction, one outcome for ever.
 *
 * The transaction checks at the commit point that the sender is a member, appends the event, and
 * raises the sender's own marks to it. What the cluster says is turned into the protocol's words:
 * used tells whether the number has its outcome.
 * Invariant: the sends of one chat are answered in the order they came in, though a duplicate is
 * read again before, and a refusal is known at once: the seat keeps them in a queue. */
#include <stdlib.h>

#include "chatd/direct.h"
#include "chatd/ops.h"
#include "chatd/out.h"
#include "chatd/worker.h"

enum {
    SEND_CHECK_MEMBER, /* Place of the check in the transaction: what was refused. */
    SEND_CHECK_HEAD,
    SEND_CHECKS_MAX
};

enum send_kind { SEND_MSG, SEND_VOID };

struct send {
    struct call call;
    struct direct_waiter direct;
    struct client_txn request;
    struct client_query again; /* The record of a duplicate. */
    char chat[CHAT_BYTES_MAX];
    uint8_t chat_len;
    char producer[PRODUCER_BYTES_MAX];
    uint8_t user_len, producer_len;
    enum send_kind kind;
    bool head_given;
    uint64_t n;
    seq_t if_head;
    bool judged; /* outcome is there: what the log store said. */
    struct outcome outcome;
    struct send *next; /* In its seat, by the order of asking. */
    bool queued;       /* It is there. */
    bool decided;      /* The answer is known, in reply; it waits for those before it. */
    struct buf reply;
    unsigned mentions_count;
    struct slice mentions[RECORD_TAGS_MAX]; /* In memory, behind the body. */
    size_t body_bytes;
    char memory[]; /* The body, then the mentions' names. */
};

static struct slice send_chat(const struct send *send)
{
    return (struct slice){send->chat, send->chat_len};
}

/* The session's seat there, which keeps what is open; NULL when there is none, or no session. */
static struct seat *send_seat(struct send *send)
{
    return send->call.session == NULL ? NULL : seat_find(send->call.session, send_chat(send));
}

static void send_free(struct send *send)
{
    call_end(&send->call);
    buf_free(&send->again.query.rows);
    buf_free(&send->reply);
    free(send);
}

/* Behind what was asked before it in this chat: answers keep that order. */
static void send_queue(struct send *send, struct seat *seat)
{
    struct send **end = &seat->sends;
    while (*end != NULL)
        end = &(*end)->next;
    *end = send;
    send->queued = true;
    seat->sends_open++;
}

static void send_tell(struct send *send)
{
    if (send->call.session != NULL && send->reply.len > 0)
        session_say(send->call.session, &send->reply);
    send_free(send);
}

/* Its answer is in reply: tell it, and what waited for it, once it is the first. */
static void send_decided(struct send *send)
{
    struct seat *seat = send_seat(send);
    send->decided = true;
    if (!send->queued || seat == NULL) {
        send_tell(send);
        return;
    }
    while ((send = seat->sends) != NULL && send->decided) {
        seat->sends = send->next;
        seat->sends_open--;
        send_tell(send);
    }
}

void sends_forget(struct seat *seat)
{
    for (struct send *send = seat->sends, *next; send != NULL; send = next) {
        next = send->next;
        send->next = NULL;
        send->queued = false;
        if (send->decided) send_free(send); /* The others end with their transactions. */
    }
    seat->sends = NULL;
    seat->sends_open = 0;
}

/* Refuse, with used and the last number that is known to be used. */
static void send_refuse(struct send *send, const struct fault *fault, bool used)
{
    struct seat *seat = send_seat(send);
    struct buf more = {0};
    /* Not known: at least what came before this one was used, or is under way. */
    uint64_t before = send->n > 0 ? send->n - 1 : 0; /* 0: n itself could not be read. */
    uint64_t n = seat != NULL && seat->n > 0 ? seat->n : before;
    if (send->judged) n = send->outcome.last_n;
    out_key_bool(&more, "used", used);
    out_key_uint(&more, "n", n);
    reply_err(&send->reply, send->call.id, fault, buf_bytes(&more));
    buf_free(&more);
    send_decided(send);
}

static void send_ok(struct send *send)
{
    const struct outcome *outcome = &send->outcome;
    struct buf ok = {0};
    out_object(&ok);
    if (outcome->last != 0) {
        char h[CHAIN_TEXT_BYTES];
        chain_text(outcome->chain, h);
        out_key_uint(&ok, "s", outcome->last);
        out_key_uint(&ok, "o", outcome->ordinal);
        out_key_uint(&ok, "ts", (uint64_t)outcome->time_ms);
        out_key_string(&ok, "h", (struct slice){h, sizeof(h)});
    }
    if (outcome->duplicate) out_key_bool(&ok, "dup", true);
    out_object_end(&ok);
    if (send->call.id.given) reply_ok(&send->reply, send->call.id, buf_bytes(&ok));
    buf_free(&ok);
    send_decided(send);
}

/* A duplicate tells the same as the first time: its record knows. */
static void again_done(struct client_query *request, int err)
{
    struct send *send = CONTAINER_OF(request, struct send, again);
    struct reader r = reader_of(buf_bytes(&request->query.rows));
    struct record_view record;
    if (err == 0) record_decode(&r, &record);
    if (err == 0 && !r.failed && record.seq == send->outcome.last) {
        send->outcome.ordinal = record.ordinal;
        send->outcome.time_ms = record.time_ms;
        memcpy(send->outcome.chain, record.chain, sizeof(record.chain));
        send_ok(send);
        return;
    }
    struct fault fault = fault_from_err(ERR_UNKNOWN); /* Sent again, it is answered again. */
    send_refuse(send, &fault, false);
}

static void again_ask(struct send *send)
{
    send->again = (struct client_query){
        .query = {.kind = STORE_RECORDS,
                  .stream = send_chat(send),
                  .from = send->outcome.last,
                  .limit_count = 1,
                  .limit_bytes = PAYLOAD_BYTES_MAX},
        .done = again_done,
    };
    client_query(send->call.worker->client, &send->again);
}

static void send_rejected(struct send *send)
{
    struct fault fault = {0};
    if (send->outcome.failed == SEND_CHECK_HEAD)
        (void)fault_set(&fault, FAULT_HEAD, "the chat's head is not %llu any more",
                        (unsigned long long)send->if_head);
    else
        fault.kind = FAULT_NOCHAT;
    send_refuse(send, &fault, true);
}

static void send_done(struct client_txn *request, int err, const struct outcome *outcome,
                      uint32_t after_ms)
{
    struct send *send = CONTAINER_OF(request, struct send, request);
    struct seat *seat = send_seat(send);
    struct fault fault = {0};
    if (err != 0) {
        fault = fault_from_err(err);
        if (after_ms > 0) fault.after_ms = after_ms;
        send_refuse(send, &fault, false);
        return;
    }
    send->outcome = *outcome;
    send->judged = true;
    if (seat != NULL && outcome->last_n > seat->n) seat->n = outcome->last_n;
    switch (outcome->status) {
        case 0:
            if (outcome->duplicate && outcome->last != 0)
                again_ask(send);
            else
                send_ok(send);
            return;
        case ERR_REJECTED:
            send_rejected(send);
            return;
        case ERR_GAP:
            fault.kind = FAULT_GAP;
            send_refuse(send, &fault, false);
            return;
        case ERR_REUSED:
            fault.kind = FAULT_REUSED;
            send_refuse(send, &fault, true);
            return;
        default:
            fault.kind = FAULT_NOCHAT; /* ERR_NO_STREAM: a void into nothing. */
            send_refuse(send, &fault, false);
    }
}

static void send_go(struct send *send)
{
    char member[CHAT_KEY_BYTES], recv[CHAT_KEY_BYTES], read[CHAT_KEY_BYTES];
    struct slice user = {send->producer, send->user_len};
    struct slice key = chat_key(member, 'm', user);
    struct txn_check checks[SEND_CHECKS_MAX] = {
        [SEND_CHECK_MEMBER] = {.kind = TXN_IF_PRESENT, .key = key},
        [SEND_CHECK_HEAD] = {.kind = TXN_IF_LAST, .number = send->if_head},
    };
    struct txn_advance advances[] = {
        {.key = chat_key(recv, 'd', user), .flags = TXN_ADVANCE_WRITTEN},
        {.key = chat_key(read, 'r', user), .flags = TXN_ADVANCE_WRITTEN},
    };
    struct txn_record record = {.kind = EVENT_MSG,
                                .flags = RECORD_COUNTED,
                                .payload = {send->memory, send->body_bytes},
                                .tags = send->mentions,
                                .tags_count = send->mentions_count};
    struct txn txn = {.stream = send_chat(send),
                      .producer = {send->producer, send->producer_len},
                      .n = send->n,
                      .checks = checks,
                      .checks_count = send->head_given ? 2 : 1};
    if (send->kind == SEND_VOID) {
        txn.flags = TXN_ANY_CONTENT;
    } else {
        txn.advances = advances;
        txn.advances_count = ARRAY_COUNT(advances);
        txn.records = &record;
        txn.records_count = 1;
    }
    send->request = (struct client_txn){.txn = &txn, .done = send_done};
    client_txn(send->call.worker->client, &send->request);
}

static void send_direct_ready(struct direct_waiter *waiter, int err)
{
    struct send *send = CONTAINER_OF(waiter, struct send, direct);
    if (err == 0) {
        send_go(send);
        return;
    }
    /* The message itself was not sent: whatever became of the chat, nothing happened to n. */
    struct fault fault = fault_from_err(err == ERR_UNKNOWN ? ERR_NO_LEADER : err);
    send_refuse(send, &fault, false);
}

/* b.mentions: ids, each once; anything else there is the clients' own affair. */
static size_t mentions_read(struct op *op, struct slice out[RECORD_TAGS_MAX])
{
    json_t *list = json_object_get(json_object_get(op->args, "b"), "mentions"), *name;
    size_t i, count = 0;
    json_array_foreach(list, i, name)
    {
        struct slice id = {json_string_value(name), json_string_length(name)};
        bool known = !json_is_string(name) || !id_valid(id);
        for (size_t k = 0; k < count && !known; k++)
            known = slice_equal(out[k], id);
        if (!known && count < RECORD_TAGS_MAX) out[count++] = id;
    }
    return count;
}

static struct send *send_make(struct session *session, struct slice body,
                              const struct slice mentions[], size_t mentions_count)
{
    size_t bytes = body.len;
    for (size_t i = 0; i < mentions_count; i++)
        bytes += mentions[i].len;
    struct send *send = mem_alloc(sizeof(*send) + bytes);
    memset(send, 0, sizeof(*send));
    if (body.len > 0) memcpy(send->memory, body.data, body.len);
    send->body_bytes = body.len;
    char *at = send->memory + body.len;
    for (size_t i = 0; i < mentions_count; i++) {
        memcpy(at, mentions[i].data, mentions[i].len);
        send->mentions[i] = (struct slice){at, mentions[i].len};
        at += mentions[i].len;
    }
    send->mentions_count = (unsigned)mentions_count;
    send->user_len = session->user_len;
    send->producer_len = (uint8_t)session_producer(session, send->producer).len;
    return send;
}

/* Who is not one of the two has no such chat. */
static bool direct_allowed(struct session *session, struct slice chat)
{
    struct slice a, b, user = session_user(session);
    if (chat_parse(chat, &a, &b) != CHAT_DIRECT) return true;
    return slice_equal(a, user) || slice_equal(b, user);
}

void op_send(struct session *session, struct op *op, struct args *args)
{
    static const char *const KINDS[] = {[SEND_MSG] = "msg", [SEND_VOID] = "void"};
    struct slice mentions[RECORD_TAGS_MAX];
    struct slice chat = arg_chat(args, "c", ARG_REQUIRED);
    int64_t n = arg_int(args, "n", 1, INT_MAX_53 - 1);
    enum send_kind kind = (enum send_kind)arg_word(args, "k", ARG_REQUIRED, KINDS, 2);
    struct slice body =
        arg_raw(args, "b", kind == SEND_MSG ? ARG_REQUIRED : ARG_OPTIONAL, BODY_BYTES_MAX);
    int64_t if_head = arg_int_or(args, "if_head", 0, INT_MAX_53 - 1, -1);
    if (kind == SEND_VOID) body.len = 0;
    size_t mentions_count =
        args_failed(args) || kind == SEND_VOID ? 0 : mentions_read(op, mentions);
    struct send *send = send_make(session, body, mentions, mentions_count);
    call_begin(&send->call, session, op->id);
    send->kind = kind;
    send->n = (uint64_t)n;
    send->head_given = if_head >= 0;
    send->if_head = if_head >= 0 ? (seq_t)if_head : 0;
    send->direct.ready = send_direct_ready;

    if (chat.len > 0) memcpy(send->chat, chat.data, chat.len);
    send->chat_len = (uint8_t)chat.len;
    struct seat *seat = args_failed(args) ? send_seat(send) : NULL;
    struct fault fault = args->fault;
    if (seat != NULL) send_queue(send, seat);
    if (args_failed(args)) goto refuse;
    fault = (struct fault){.kind = FAULT_NOCHAT};
    if (!direct_allowed(session, chat)) goto refuse;
    seat = seat_take(session, chat);
    fault = (struct fault){.kind = FAULT_RATE};
    if (seat == NULL) goto refuse;
    send_queue(send, seat);
    if (seat->sends_open > SESSION_INFLIGHT_MAX) goto refuse;
    session->worker->stats.sends++;
    if (chat_parse(chat, NULL, NULL) != CHAT_DIRECT ||
        direct_ensure(session->worker, chat, &send->direct))
        send_go(send);
    return;
refuse:
    send_refuse(send, &fault, false);
}
