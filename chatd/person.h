/* chatd/person.h -- one user as this worker knows them: their chats, and whether they are online.
 *
 * A person is there while a session of theirs is here or somebody here watches them. One tail on
 * u/<user> brings the list of chats (attributes), last seen, and the sessions of all front-ends.
 * Owns:   the tail. Borrows: worker. Thread: the worker's.
 * Bounds: SESSION_CHATS_MAX chats are listed; further ones are ignored. */
#ifndef CHATD_PERSON_H_
#define CHATD_PERSON_H_

#include <uthash.h>

#include "chatd/chat.h"
#include "raft/client.h"

struct worker;
struct session;

struct person_chat {
    UT_hash_handle hh;
    char chat[CHAT_BYTES_MAX];
    uint8_t chat_len;
    bool listed; /* False: it was, and is not any more: `gone` in the inbox. */
};

/* A session of any front-end. */
struct person_device {
    UT_hash_handle hh;
    char device[ID_BYTES_MAX];
    uint8_t device_len;
};

struct watch {
    struct person *person;
    struct session *session;
    struct watch *next, *prev; /* Private: of the person's list. */
    UT_hash_handle hh;         /* The session's, by user. */
};

struct person {
    UT_hash_handle hh; /* The worker's, by user. */
    struct worker *worker;
    char user[ID_BYTES_MAX];
    uint8_t user_len;
    bool loaded;      /* The list of chats is known. */
    uint64_t version; /* Of the user's stream. */
    int64_t seen_ms;  /* Last online; 0: never, or not known. */
    struct person_chat *chats;
    struct person_device *devices;
    struct session *sessions; /* Here, by session->next_own. */
    struct watch *watches;
    struct client_tail *tail;
    struct env_task push;   /* Private: tell the watchers at the end of the turn. */
    struct env_timer retry; /* Private. */
};

static inline struct slice person_user(const struct person *person)
{
    return (struct slice){person->user, person->user_len};
}

/* A session of this person begins and ends here: it is claimed in the cluster until the end. */
void person_join(struct session *session);
void person_leave(struct session *session);

/* session watches user; watching twice is one watch. ERR_BUSY: SESSION_WATCH_MAX. */
MUST_CHECK int person_watch(struct session *session, struct slice user);
void person_unwatch(struct session *session, struct slice user);
void person_unwatch_all(struct session *session);

/* Append {"u":..,"on":..,"devs":..} or {"u":..,"on":false,"last":..}. */
void person_write(const struct person *person, struct buf *out);

/* Ends all persons, at the end of this turn or before: the worker stops. */
void people_destroy(struct worker *worker);

#endif /* CHATD_PERSON_H_ */
