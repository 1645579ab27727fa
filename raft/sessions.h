/* raft/sessions.h -- who is there: keys on streams in the leader's memory, claimed again and again.
 *
 * A session is gone SESSION_MS after its last claim, or when its claimer lets go of it. It belongs
 * to the client that claimed it last: the release of an earlier claimer counts for nothing. A new
 * leader knows nobody; it says that somebody is gone only once everybody had SESSION_MS to claim.
 *
 * Owns:   the sessions. Borrows: env. Thread: the loop's.
 * Errors: none: best effort. Bounds: below; claims beyond them are dropped. */
#ifndef RAFT_SESSIONS_H_
#define RAFT_SESSIONS_H_

#include "raft/wire.h"

enum {
    SESSION_MS = 15000,
    SESSIONS_STREAM_MAX = 512,              /* On one stream: all of them fit into one frame. */
    SESSIONS_MAX = 500000,                  /* On one node. */
    SESSIONS_BYTES_MAX = 128 * 1024 * 1024, /* Likewise. */
};

struct sessions;

struct sessions_hooks {
    /* Somebody came, changed, or went; called from sessions_claim and from a timer. */
    void (*told)(void *arg, struct slice stream, const struct wire_event *event);
    /* The leader of this partition knows everybody from now on. */
    void (*settled)(void *arg, part_t part);
    void *arg;
};
struct sessions *sessions_create(struct env *env, const struct sessions_hooks *hooks); /* Copied. */
void sessions_destroy(struct sessions *sessions);

/* false: all sessions of the partition are forgotten, without a word. */
void sessions_leading(struct sessions *sessions, part_t part, bool leading);
/* client: who claims. claim: copied. Ignored when this node does not lead the partition. */
void sessions_claim(struct sessions *sessions, part_t part, uint64_t client,
                    const struct wire_claim *claim);
/* Append what tells a subscriber who is there: SESSION_RESET, then a SESSION each; before the
 * partition is settled without the RESET. */
void sessions_list(const struct sessions *sessions, part_t part, struct slice stream,
                   struct buf *events);
unsigned sessions_count(const struct sessions *sessions);

#endif /* RAFT_SESSIONS_H_ */
