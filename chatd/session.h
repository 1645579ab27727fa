/* chatd/session.h -- one client's connection, from its hello to its end.
 *
 *     NEW --hello accepted--> OPEN --socket closed--> gone
 *      |  no hello in HELLO_MS, or refused: closed
 *
 * Owns:   its seats, watches and the calls that are not answered yet. Borrows: worker, conn.
 * Thread: the worker's.
 * Bounds: SESSION_CALLS_MAX requests without an answer, SESSION_FOLLOW_MAX chats followed. */
#ifndef CHATD_SESSION_H_
#define CHATD_SESSION_H_

#include "chatd/frame.h"
#include "chatd/person.h"
#include "chatd/room.h"

enum {
    HELLO_MS = 10000,          /* The protocol's. */
    EXPIRY_WARNING_MS = 60000, /* Likewise. */
    EXPIRY_TURN_MS = 3600000,  /* Looked at again this often: the clock may be set. */
    SESSION_CALLS_MAX = 4096,  /* 32 sends in 128 chats. */
    SESSION_INFLIGHT_MAX = 32, /* Sends without an answer in one chat: what a producer may have. */
    SESSION_FOLLOW_MAX = 2000,
    SESSION_CHATS_MAX = 2000, /* Chats of one user's list that are watched for inbox pushes. */
    SESSION_WATCH_MAX = 500,
    SESSION_POS_MAX = 500,    /* Chats in hello's pos. */
    SESSION_BEHIND_MAX = 500, /* Events pushed to who comes back; further behind: `far`. */
    SESSION_BACK_MS = 3000,   /* back_ms of hello. */
    SESSION_CLAIM_BYTES = 32,
};

struct call;

struct session {
    struct worker *worker;
    struct conn *conn;
    struct session *next, *prev; /* The worker's list. */
    bool open;                   /* hello was accepted. */
    char user[ID_BYTES_MAX], device[ID_BYTES_MAX];
    uint8_t user_len, device_len;
    char claim[SESSION_CLAIM_BYTES]; /* Tells connections of one device apart; later is larger. */
    uint8_t claim_len;
    struct person *person;    /* Once open. */
    struct session *next_own; /* The person's list. */
    struct seat *seats;       /* By chat. */
    struct watch *watches;    /* By user. */
    struct call *calls;       /* Without an answer. */
    unsigned calls_count, following_count;
    struct env_timer expiry; /* NEW: hello's deadline. OPEN: the token's end, and its warning. */
    int64_t expires_ms;
    bool expiry_told;
    /* The inbox (chatd/inbox.c). */
    struct seat *dirty;
    struct env_timer inbox_timer;
    struct buf inbox_gone; /* JSON text: chats that left the list. */
    struct inbox_call *inbox_waiting;
};

static inline struct slice session_user(const struct session *session)
{
    return (struct slice){session->user, session->user_len};
}
static inline struct slice session_device(const struct session *session)
{
    return (struct slice){session->device, session->device_len};
}
static inline struct slice session_claim(const struct session *session)
{
    return (struct slice){session->claim, session->claim_len};
}
/* Write <user>/<device>, what this session's sends are numbered for; borrowed from out. */
struct slice session_producer(const struct session *session, char out[PRODUCER_BYTES_MAX]);

/* The transport's handlers. */
void *session_opened(void *arg, struct conn *conn);
void session_frame(void *user, struct slice text);
void session_unblocked(void *user);
void session_closed(void *user);

/* Send a push, taking no reference. seat not NULL: for what it follows; when the connection is
 * blocked the following ends with `lag` instead. */
void session_push(struct session *session, struct seat *seat, struct message *message);
/* Send JSON text: an answer, or a push that must not be dropped. */
void session_say(struct session *session, const struct buf *text);

/* The session is open for this user and device until expires_ms (since 1970). */
void session_accept(struct session *session, struct slice user, struct slice device,
                    int64_t expires_ms);
/* A renewed token: a minute before its end the client is told, at its end the session closes. */
void session_renew(struct session *session, int64_t expires_ms);

/* Another connection of some device says hello somewhere: the older of one device closes. */
void session_claimed(struct session *session, struct slice device, struct slice claim);

/* ---- calls: requests that are answered later ---- */

/* Embedded at the head of each operation's own request. */
struct call {
    struct session *session; /* NULL once the connection is gone: finish, answer nobody. */
    struct worker *worker;
    struct op_id id;
    struct call *next, *prev; /* Private. */
};
void call_begin(struct call *call, struct session *session, struct op_id id);
/* Answer, and end the call; the caller frees it. ok: JSON text of an object; buf is freed. */
void call_ok(struct call *call, struct buf *ok);
void call_fault(struct call *call, const struct fault *fault);
/* The refusal that an error of the log store stands for. */
void call_err(struct call *call, int err);
void call_end(struct call *call); /* Without an answer. */

#endif /* CHATD_SESSION_H_ */
