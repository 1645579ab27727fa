/* chatd/room.h -- one chat as this worker knows it: its members, marks and latest events.
 *
 * A room is there while somebody of this worker sits in it. It follows the chat's stream by one
 * tail, encodes each event once, and tells its seats: connections that follow the chat, or whose
 * user has it in their list.
 *
 *     LOADING --head, items and latest records came--> LIVE --tail ended--> LOADING
 *
 * Owns:   the tail, what it learnt, the ring of latest events. Borrows: worker.
 * Thread: the worker's. Callbacks of seats run from the tail's, never from inside a call here.
 * Bounds: ROOM_EVENTS_MAX events in the ring; a seat that is further behind reads the store. */
#ifndef CHATD_ROOM_H_
#define CHATD_ROOM_H_

#include <uthash.h>

#include "chatd/chat.h"
#include "chatd/transport.h"
#include "raft/client.h"

struct worker;
struct session;

enum {
    ROOM_EVENTS_MAX = 256, /* Latest events kept: a reconnecting client finds its gap here. */
    ROOM_EVENTS_BYTES = 256 * 1024, /* Their bytes; the latest one is always kept. */
    ROOM_LOAD_EVENTS = 16,          /* Loaded at the start. */
    SEATS_MAX = 4000,               /* Of a session: followed and listed chats, 2,000 each. */
    ROOM_LOAD_MS = 10000,           /* As long as a request may wait for its leader. */
    ROOM_MARKS_MEMBERS_MAX = 256,   /* Marks are pushed in rooms up to this size. */
};

/* Somebody who is a member, or whose marks are known. */
struct room_member {
    UT_hash_handle hh;
    char user[ID_BYTES_MAX];
    uint8_t user_len;
    bool member;
    bool marked; /* Its marks changed in the transaction under way. */
    struct member_value value;
    seq_t recv, read;
    uint64_t read_ordinal;
};

/* An event of the ring. */
struct room_event {
    seq_t seq;
    uint64_t ordinal;
    uint16_t kind;
    struct slice user;       /* Who did it; in memory of the event. */
    struct message *message; /* For everybody. */
    struct message *own;     /* With the device, for the author's own connections. */
    struct buf text;         /* {"c":...}: for inboxes. */
    struct slice tags;       /* As in record_view, in memory of the event. */
    void *memory;            /* Private. */
};

/* A session's place in a room. */
struct seat {
    struct room *room;
    struct session *session;
    struct seat *next, *prev; /* Private: of the room's list. */
    UT_hash_handle hh;        /* The session's, by the room's chat. */
    bool listed;              /* The chat is in its user's list: inbox pushes. */
    bool following;           /* `open` was answered: pushes. */
    bool live;                /* Following, and nothing lies between position and the tail. */
    bool catching_up;         /* Following, and a read is under way. */
    uint8_t what;             /* Of enum follow_what. */
    seq_t position;           /* Following: all up to here was sent. */
    bool dirty;               /* Something for the inbox. */
    struct seat *dirty_next;
    bool mentions_known, mentions_asking;
    uint8_t mentions;    /* Above the read mark, at most 99. */
    seq_t mentions_read; /* That mark. */
    uint64_t typing_ms;  /* When typing was last passed on. */
    unsigned sends_open; /* Sends without an answer. */
    struct send *sends;  /* They, in the order they came (chatd/op_send.c). */
    uint64_t n;          /* The device's last number known to be used. */
};

enum follow_what { FOLLOW_EV = 1, FOLLOW_MARK = 2, FOLLOW_NOTE = 4 };

struct room_waiter {
    void (*ready)(struct room_waiter *waiter, int err); /* ERR_NO_LEADER: not in time. */
    struct room_waiter *next;                           /* Private. */
    uint64_t version;                                   /* Private. */
};

struct room {
    UT_hash_handle hh; /* The worker's, by chat. */
    struct worker *worker;
    char chat[CHAT_BYTES_MAX];
    uint8_t chat_len;
    bool loaded; /* LIVE. */
    struct stream_head head;
    struct room_member *members; /* By user. */
    unsigned members_count;      /* Those with member set. */
    char *title;                 /* NULL: none. */
    char *settings;              /* JSON text; NULL: none. */
    bool history_all;
    struct room_event *events;       /* Ring: seq % events_capacity. */
    unsigned events_capacity;        /* A power of two, up to ROOM_EVENTS_MAX. */
    seq_t events_first, events_last; /* What it holds; empty when first > last. */
    size_t events_bytes;
    struct seat *seats;
    struct room_waiter *waiters;
    struct client_tail *tail;
    struct room_load *load; /* Private: the query under way. */
    struct env_timer timer; /* Private: loading takes too long, or is to be tried again. */
    bool marks_changed;     /* Private: some member is marked. */
};

static inline struct slice room_chat(const struct room *room)
{
    return (struct slice){room->chat, room->chat_len};
}

/* The session's seat in a chat, made when it has none; the room loads when it is new. NULL: it has
 * SEATS_MAX already that are all in use. Not from inside a room's callbacks. */
struct seat *seat_take(struct session *session, struct slice chat);
/* The session's seat or NULL. */
struct seat *seat_find(struct session *session, struct slice chat);
/* Give up the seat; the room goes with its last one. */
void seat_leave(struct seat *seat);

/* waiter->ready runs once: at once when the room is loaded, otherwise when it is, or could not be
 * within ROOM_LOAD_MS, or everybody left (ERR_CANCELED). */
void room_when_loaded(struct room *room, struct room_waiter *waiter);
/* The same, when the room knows of the stream's version. */
void room_when_changed(struct room *room, uint64_t version, struct room_waiter *waiter);

struct room_member *room_member_find(struct room *room, struct slice user);
/* The member's role, ROLE_NONE for others. */
enum role room_role(struct room *room, struct slice user);
/* The first event this member may see. */
seq_t room_first_visible(struct room *room, struct slice user);
/* An event of the ring, or NULL. */
struct room_event *room_event_find(struct room *room, seq_t seq);

/* Send what the ring holds above the seat's position, and go live when that is all. False: there
 * is a hole, read the store up to the ring. */
bool seat_advance(struct seat *seat);

/* Ends all rooms: the worker stops. No callback runs. */
void rooms_destroy(struct worker *worker);

#endif /* CHATD_ROOM_H_ */
