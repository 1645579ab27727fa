/* chatd/session.c -- see session.h. The hello itself is chatd/op_hello.c. */
#include "chatd/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "chatd/follow.h"
#include "chatd/inbox.h"
#include "chatd/ops.h"
#include "chatd/out.h"
#include "chatd/worker.h"

/* ---- out ---- */

void session_push(struct session *session, struct seat *seat, struct message *message)
{
    bool slow = seat != NULL && conn_blocked(session->conn);
    int err = slow ? ERR_BUSY : conn_send(session->conn, message);
    if (err == 0) session->worker->stats.pushes++;
    if (err != ERR_BUSY || seat == NULL) return;
    session->worker->stats.lagged++;
    follow_end(seat, "lag");
}

void session_say(struct session *session, const struct buf *text)
{
    struct message *message = message_text(buf_bytes(text));
    int err = conn_send(session->conn, message);
    message_unref(message);
    /* Answers fit until a client asks without ever reading: that one has to come back. */
    if (err == ERR_BUSY) conn_close(session->conn, CLOSE_FULL, "answers were not read");
}

/* ---- calls ---- */

void call_begin(struct call *call, struct session *session, struct op_id id)
{
    *call = (struct call){.session = session, .worker = session->worker, .id = id};
    call->next = session->calls;
    if (call->next != NULL) call->next->prev = call;
    session->calls = call;
    session->calls_count++;
}

void call_end(struct call *call)
{
    struct session *session = call->session;
    if (session == NULL) return;
    if (call->prev != NULL)
        call->prev->next = call->next;
    else
        session->calls = call->next;
    if (call->next != NULL) call->next->prev = call->prev;
    session->calls_count--;
    call->session = NULL;
}

void call_ok(struct call *call, struct buf *ok)
{
    if (call->session != NULL && call->id.given) {
        struct buf out = {0};
        reply_ok(&out, call->id, buf_bytes(ok));
        session_say(call->session, &out);
        buf_free(&out);
    }
    buf_free(ok);
    call_end(call);
}

void call_fault(struct call *call, const struct fault *fault)
{
    if (call->session != NULL) {
        struct buf out = {0};
        reply_err(&out, call->id, fault, (struct slice){NULL, 0});
        session_say(call->session, &out);
        buf_free(&out);
    }
    call_end(call);
}

void call_err(struct call *call, int err)
{
    struct fault fault = fault_from_err(err);
    call_fault(call, &fault);
}

/* ---- in ---- */

static void session_refuse(struct session *session, struct op_id id, const struct fault *fault)
{
    struct buf out = {0};
    session->worker->stats.refusals++;
    reply_err(&out, id, fault, (struct slice){NULL, 0});
    session_say(session, &out);
    buf_free(&out);
}

static bool known(void *arg, const char *name)
{
    (void)arg;
    return op_row_find(name) != NULL;
}

static void session_line(struct session *session, struct slice line)
{
    struct op op;
    struct fault fault = {0};
    if (op_parse(line, known, NULL, &op, &fault) != 0) {
        session_refuse(session, op.id, &fault);
        return;
    }
    if (op.name == NULL) goto out; /* {}: a sign of life. */
    const struct op_row *row = op_row_find(op.name);
    struct args args = args_of(&op);
    args_must(&args, &op, row->fields, row->fields_count);
    if (args_failed(&args))
        session_refuse(session, op.id, &args.fault);
    else if (!session->open && row->run != op_hello)
        conn_close(session->conn, CLOSE_POLICY, "hello comes first");
    else if (session->calls_count >= SESSION_CALLS_MAX)
        session_refuse(session, op.id, &(struct fault){.kind = FAULT_RATE});
    else
        row->run(session, &op, &args);
out:
    op_free(&op);
}

void session_frame(void *user, struct slice text)
{
    struct session *session = user;
    struct slice lines[FRAME_LINES_MAX];
    struct fault fault = {0};
    size_t count;
    session->worker->stats.frames++;
    if (frame_split(text, lines, &count, &fault) != 0) {
        session_refuse(session, (struct op_id){0}, &fault);
        return;
    }
    for (size_t i = 0; i < count; i++)
        session_line(session, lines[i]);
}

/* ---- life ---- */

struct slice session_producer(const struct session *session, char out[PRODUCER_BYTES_MAX])
{
    memcpy(out, session->user, session->user_len);
    out[session->user_len] = '/';
    memcpy(out + session->user_len + 1, session->device, session->device_len);
    return (struct slice){out, (size_t)session->user_len + 1 + session->device_len};
}

static void expiry_start(struct session *session)
{
    int64_t left_ms = session->expires_ms - env_wall_ms(session->worker->env);
    int64_t next_ms = session->expiry_told ? left_ms : left_ms - EXPIRY_WARNING_MS;
    if (next_ms < 0) next_ms = 0;
    if (next_ms > EXPIRY_TURN_MS) next_ms = EXPIRY_TURN_MS;
    env_timer_start(session->worker->env, &session->expiry, (uint64_t)next_ms);
}

void session_renew(struct session *session, int64_t expires_ms)
{
    session->expires_ms = expires_ms;
    session->expiry_told = false;
    expiry_start(session);
}

void session_accept(struct session *session, struct slice user, struct slice device,
                    int64_t expires_ms)
{
    struct env *env = session->worker->env;
    CHECK(!session->open && user.len <= ID_BYTES_MAX && device.len <= ID_BYTES_MAX);
    memcpy(session->user, user.data, user.len);
    session->user_len = (uint8_t)user.len;
    memcpy(session->device, device.data, device.len);
    session->device_len = (uint8_t)device.len;
    session->open = true;
    int length =
        snprintf(session->claim, sizeof(session->claim), "%012llx-%016llx",
                 (unsigned long long)env_wall_ms(env), (unsigned long long)env_random(env));
    session->claim_len = (uint8_t)length;
    session_renew(session, expires_ms);
    inbox_open(session);
    session->worker->stats.hellos++;
}

static void session_expired(struct env_timer *timer)
{
    struct session *session = CONTAINER_OF(timer, struct session, expiry);
    if (!session->open) {
        conn_close(session->conn, CLOSE_POLICY, "no hello within 10 s");
        return;
    }
    int64_t left_ms = session->expires_ms - env_wall_ms(session->worker->env);
    if (left_ms <= 0) {
        conn_close(session->conn, CLOSE_TOKEN, "the token has expired");
        return;
    }
    if (!session->expiry_told && left_ms <= EXPIRY_WARNING_MS) {
        struct buf out = {0};
        session->expiry_told = true;
        out_object(&out);
        out_key(&out, "exp");
        out_object(&out);
        out_key_uint(&out, "in_ms", (uint64_t)left_ms);
        out_object_end(&out);
        out_object_end(&out);
        session_say(session, &out);
        buf_free(&out);
    }
    expiry_start(session);
}

void *session_opened(void *arg, struct conn *conn)
{
    struct worker *worker = arg;
    struct session *session = mem_zero(sizeof(*session));
    session->worker = worker;
    session->conn = conn;
    env_timer_init(&session->expiry, session_expired);
    env_timer_start(worker->env, &session->expiry, HELLO_MS);
    session->next = worker->sessions;
    if (session->next != NULL) session->next->prev = session;
    worker->sessions = session;
    worker->stats.sessions++;
    return session;
}

void session_unblocked(void *user)
{
    inbox_resume(user);
}

void session_closed(void *user)
{
    struct session *session = user;
    struct worker *worker = session->worker;
    env_timer_stop(worker->env, &session->expiry);
    if (session->open) inbox_close(session);
    struct call *call, *next_call;
    for (call = session->calls; call != NULL; call = next_call) {
        next_call = call->next;
        call->session = NULL;
        call->next = call->prev = NULL;
    }
    person_unwatch_all(session);
    if (session->person != NULL) person_leave(session);
    struct seat *seat, *next;
    HASH_ITER(hh, session->seats, seat, next) seat_leave(seat);
    if (session->prev != NULL)
        session->prev->next = session->next;
    else
        worker->sessions = session->next;
    if (session->next != NULL) session->next->prev = session->prev;
    worker->stats.sessions--;
    free(session);
}

void session_claimed(struct session *session, struct slice device, struct slice claim)
{
    if (!slice_equal(device, session_device(session))) return;
    if (slice_compare(claim, session_claim(session)) > 0)
        conn_close(session->conn, CLOSE_REPLACED, "this device connected anew");
}
