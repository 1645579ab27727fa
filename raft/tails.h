/* raft/tails.h -- a node's subscribers: who follows which stream, from where, on which connection.
 *
 * A subscriber stands at a position of its stream. What lies behind it is read from the store, and
 * so is what comes later: a change only wakes those who stand at the stream's end. One way to read
 * means that nothing can be told twice or left out. Subscribers at the same position share one
 * read and one encoding.
 *
 * Owns:   subscriptions, and the sessions (raft/sessions.h). Borrows: env, partitions, connections.
 * Thread: the loop's.
 * Errors: told to the client as TAIL_ENDED: ERR_NOT_LEADER, ERR_NO_LEADER: go elsewhere; ERR_RESET:
 *         the position is too old or not of this history; ERR_BUSY: TAILS_MAX are open.
 * Bounds: a connection with more than TAILS_BACKLOG_BYTES unread gets no more; its subscribers wait
 *         where they stand and go on once it drained. Signals meanwhile are lost. */
#ifndef RAFT_TAILS_H_
#define RAFT_TAILS_H_

#include "raft/part.h"
#include "raft/wire.h"

enum {
    TAILS_MAX = 200000,                /* On this node; some hundred bytes each. */
    TAILS_BACKLOG_BYTES = 1024 * 1024, /* As much as a client takes in some turns. */
    TAILS_PAGE_RECORDS = 256,          /* One read of what lies behind. */
    TAILS_PAGE_BYTES = 256 * 1024,
};

struct tails;

struct tails *tails_create(struct env *env);
/* No connection is open any more, no confirmation is waited for, and the stores are closed. */
void tails_destroy(struct tails *tails);
/* This node has replicas from now on. parts: as in serve_join, but borrowed until destroy. */
void tails_join(struct tails *tails, struct part *const *parts, unsigned parts_count);
/* From the partition's observer. */
void tails_applied(struct tails *tails, const struct applied_txn *applied);
void tails_leading(struct tails *tails, part_t part, bool leading);
/* End every tail, forget every session, take no more. Reads under way end by themselves. */
void tails_stop(struct tails *tails);

/* A connection's subscriptions; embedded in what knows the connection. */
struct tails_conn {
    struct tails *tails;
    struct env_conn *conn; /* NULL: ended. */
    uint64_t client;
    struct tails_sub *subs;
    bool behind; /* Some were left behind since it drained last. */
};
void tails_conn_begin(struct tails_conn *c, struct tails *tails, struct env_conn *conn,
                      uint64_t client);
void tails_conn_end(struct tails_conn *c); /* Says nothing more on it. Twice is once. */
void tails_conn_drained(struct tails_conn *c);

/* What a client says; borrowed until return. ERR_INVAL: it broke a rule, with open: the id is open
 * already. */
MUST_CHECK int tails_open(struct tails_conn *c, const struct wire_tail_open *m);
void tails_close(struct tails_conn *c, uint64_t tail);
void tails_signal(struct tails *tails, const struct wire_signal *m);
void tails_claim(struct tails_conn *c, const struct wire_claim *m);

/* For metrics: tails that are open, sessions that are claimed. */
unsigned tails_count(const struct tails *tails);
unsigned tails_sessions_count(const struct tails *tails);

#endif /* RAFT_TAILS_H_ */
