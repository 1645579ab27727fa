/* chatd/op_presence.c -- pres.watch and pres.unwatch: who is online. */
#include <stdlib.h>

#include "chatd/ops.h"
#include "chatd/out.h"
#include "chatd/worker.h"

/* Only fellow members of a chat may be watched. */
struct watching {
    struct call call;
    struct room_waiter waiter;
    char chat[CHAT_BYTES_MAX];
    uint8_t chat_len;
    size_t users_count;
    struct slice users[SESSION_WATCH_MAX]; /* In memory. */
    char memory[];
};

static struct watching *watching_make(struct slice chat, const struct slice users[], size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += users[i].len;
    struct watching *watching = mem_alloc(sizeof(*watching) + bytes);
    memset(watching, 0, sizeof(*watching));
    char *at = watching->memory;
    for (size_t i = 0; i < count; i++) {
        memcpy(at, users[i].data, users[i].len);
        watching->users[i] = (struct slice){at, users[i].len};
        at += users[i].len;
    }
    watching->users_count = count;
    memcpy(watching->chat, chat.data, chat.len);
    watching->chat_len = (uint8_t)chat.len;
    return watching;
}

/* The states as known now; what is not known yet comes as a push. */
static bool watch_all(struct watching *watching, struct room *room, struct buf *ok)
{
    struct session *session = watching->call.session;
    out_object(ok);
    out_key(ok, "states");
    out_array(ok);
    for (size_t i = 0; i < watching->users_count; i++) {
        struct slice user = watching->users[i];
        struct person *person;
        if (room_role(room, user) == ROLE_NONE) continue;
        if (person_watch(session, user) != 0) return false;
        HASH_FIND(hh, session->worker->people, user.data, user.len, person);
        person_write(person, ok);
    }
    out_array_end(ok);
    out_object_end(ok);
    return true;
}

static void watch_loaded(struct room_waiter *waiter, int err)
{
    struct watching *watching = CONTAINER_OF(waiter, struct watching, waiter);
    struct session *session = watching->call.session;
    struct slice chat = {watching->chat, watching->chat_len};
    struct seat *seat = session == NULL ? NULL : seat_find(session, chat);
    struct fault fault = {.kind = FAULT_NOCHAT};
    struct buf ok = {0};
    if (err != 0)
        fault = fault_from_err(err);
    else if (seat != NULL && room_role(seat->room, session_user(session)) != ROLE_NONE) {
        if (watch_all(watching, seat->room, &ok)) {
            call_ok(&watching->call, &ok);
            free(watching);
            return;
        }
        (void)fault_set(&fault, FAULT_RATE, "at most %d users are watched", SESSION_WATCH_MAX);
    }
    buf_free(&ok);
    call_fault(&watching->call, &fault);
    free(watching);
}

void op_pres_watch(struct session *session, struct op *op, struct args *args)
{
    struct slice users[SESSION_WATCH_MAX];
    struct slice chat = arg_chat(args, "c", ARG_REQUIRED);
    size_t count = arg_users(args, "users", ARG_REQUIRED, users, SESSION_WATCH_MAX);
    if (args_failed(args)) count = 0;
    struct watching *watching = watching_make(chat, users, count);
    call_begin(&watching->call, session, op->id);
    struct seat *seat = args_failed(args) ? NULL : seat_take(session, chat);
    if (seat == NULL) {
        if (!args_failed(args)) (void)fault_set(&args->fault, FAULT_RATE, "too many chats");
        call_fault(&watching->call, &args->fault);
        free(watching);
        return;
    }
    watching->waiter.ready = watch_loaded;
    room_when_loaded(seat->room, &watching->waiter);
}

void op_pres_unwatch(struct session *session, struct op *op, struct args *args)
{
    struct slice users[SESSION_WATCH_MAX];
    size_t count = arg_users(args, "users", ARG_REQUIRED, users, SESSION_WATCH_MAX);
    struct call call;
    struct buf ok = {0};
    call_begin(&call, session, op->id);
    if (args_failed(args)) {
        call_fault(&call, &args->fault);
        return;
    }
    for (size_t i = 0; i < count; i++)
        person_unwatch(session, users[i]);
    out_object(&ok);
    out_object_end(&ok);
    call_ok(&call, &ok);
}
