/* tests/chatd/chaos_person.h -- somebody who sends numbered messages to one chat and follows it, as
 * the protocol says, whatever happens to the front-ends; on a thread of their own.
 *
 * Sends are pipelined; what has no answer is sent again, unchanged and in order, after an error and
 * after a reconnect. Events are applied by seq; holes and closed chats are filled by `hist`.
 *
 * Owns:   its thread, connection and record of what happened. Borrows: cluster, chat.
 * Thread: person_start .. person_join from the test's; in between everything is the person's own,
 *         but the atomic fields.
 * Errors: a broken promise ends the person, with why[] told; person_join first, then read it. */
#ifndef TESTS_CHATD_CHAOS_PERSON_H_
#define TESTS_CHATD_CHAOS_PERSON_H_

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tests/lib/cluster.h"
#include "tests/lib/ws.h"

enum {
    PERSON_SENDS_MAX = 4000,
    PERSON_EVENTS_MAX = 20000,
    PERSON_WINDOW = 8,          /* Sends without an answer. */
    PERSON_PACE_MS = 15,        /* Between two sends. */
    PERSON_PATIENCE_MS = 30000, /* An answer or the last event is later than that: it hangs. */
    PERSON_H_BYTES = 65,
};

/* An event, or what `send` said of it. */
struct person_event {
    int64_t seq;
    char user[16];
    int64_t n;
    char h[PERSON_H_BYTES]; /* Of sends. */
};

struct person {
    const struct cluster *cluster;
    const char *chat;
    char user[16];
    char *token;
    bool sends;
    atomic_bool finish; /* No new messages from now on. */
    atomic_llong head;  /* 0, or where the chat ends: followed up to there, the person is done. */
    atomic_bool all_acked; /* Every message sent has its outcome; only after finish. */
    atomic_bool over;
    char why[512]; /* "": nothing is wrong. */

    /* sent[n]: by number; acked when seq is not 0. followed[seq]. */
    struct person_event *sent, *followed;
    int64_t sent_n, acked_n; /* The last one made; all up to here are acked. */
    int64_t last;            /* Followed up to here. */
    unsigned connects, errors, duplicates, hists;

    /* Private. */
    pthread_t thread;
    struct ws ws;
    bool connected, open, erring, catching_up, reopen;
    unsigned front;
    int64_t i, answered_i; /* Requests of this connection; the last send answered. */
    int64_t next_n;        /* To be sent next. */
    int64_t asked_n[256];  /* By i: which number; 0: something else. */
    unsigned outstanding;  /* Sends on this connection without an answer. */
    int64_t pause_until_ms, sent_ms, heard_ms, progress_ms;
};

/* Begin, as user of chat; with sends they write, otherwise they only read along. user: copied. */
void person_start(struct person *person, const struct cluster *cluster, const char *chat,
                  const char *user, bool sends);
/* Wait until they are over: at `head`, or with why. */
void person_join(struct person *person);
/* Free what is recorded; after person_join. */
void person_free(struct person *person);

#endif /* TESTS_CHATD_CHAOS_PERSON_H_ */
