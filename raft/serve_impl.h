/* raft/serve_impl.h -- private to serve*.c: a client's connection and the requests it has open. */
#ifndef RAFT_SERVE_IMPL_H_
#define RAFT_SERVE_IMPL_H_

#include "raft/frame.h"
#include "raft/serve.h"
#include "raft/tails.h"

enum conn_state {
    CONN_HELLO, /* Accepted; nothing but HELLO may come. */
    CONN_OPEN,
    CONN_CLOSED, /* Closed by us; the last callback is still to come. */
};

struct serve_conn {
    struct serve *serve;
    struct env_conn *conn; /* Borrowed until closed(). */
    struct serve_conn *next, *prev;
    enum conn_state state;
    struct frame_parser parser;
    uint64_t client;          /* As in its hello. */
    uint64_t heard_ms;        /* When it said something last. */
    struct request *requests; /* Open ones. */
    unsigned requests_count;
    struct tails_conn tails; /* From CONN_OPEN on. */
};

/* What all kinds of open requests share; embedded first. A partition holds it. */
struct request {
    struct serve *serve;
    struct serve_conn *conn; /* NULL: it closed meanwhile. */
    struct request *next;    /* In its connection's list, or among the orphans. */
    struct request **at;     /* The pointer that points here. */
    uint64_t id;             /* The client's. */
    struct part *part;
    void (*release)(struct request *request); /* Frees it, or keeps it for the next one. */
};

struct serve {
    struct env *env;
    struct serve_config config;
    struct env_listener *listener;
    struct env_timer sweep;
    struct env_task tell; /* Says LEADERS for the partitions in `changed`. */
    bool changed[PARTITIONS_MAX];
    struct wire_map map;
    uint8_t node; /* 0 before serve_join. */
    struct part *parts[PARTITIONS_MAX];
    struct tails *tails;
    struct serve_conn *conns;
    struct request *orphans;       /* Open ones whose connection closed. */
    struct txn_request *free_txns; /* Kept for the next ones. */
    struct serve_stats stats;
    bool closed;
};

/* Who leads, as far as this node can tell. A leader that applied nothing of its own term yet does
 * not count: it would have to turn requests away. */
struct wire_leader serve_leader_of(const struct serve *serve, const struct part *part);
/* Tell the client what was wrong with it, then close. Gives err back. */
int serve_refuse(struct serve_conn *c, int err, const char *text);
/* After something was appended: a client that does not read is refused. */
void serve_bound(struct serve_conn *c);

/* Each takes the body of such a frame: hands it on, or answers, or refuses the connection. Returns
 * 0, or what stops the reading of frames. body: borrowed until return. */
MUST_CHECK int serve_take_txn(struct serve_conn *c, struct slice body);
MUST_CHECK int serve_take_query(struct serve_conn *c, struct slice body);
MUST_CHECK int serve_take_heads(struct serve_conn *c, struct slice body);
MUST_CHECK int serve_take_changed(struct serve_conn *c, struct slice body);
MUST_CHECK int serve_take_ask(struct serve_conn *c, uint8_t kind, struct slice body);

/* Likewise, for tails, signals and sessions. */
MUST_CHECK int serve_take_tail_open(struct serve_conn *c, struct slice body);
MUST_CHECK int serve_take_tail_close(struct serve_conn *c, struct slice body);
MUST_CHECK int serve_take_signal(struct serve_conn *c, struct slice body);
MUST_CHECK int serve_take_claims(struct serve_conn *c, struct slice body);

/* The connection is about to go; its open requests stay, as orphans. */
void serve_requests_orphan(struct serve_conn *c);
/* Free those kept for the next ones; with `open`, also those that a partition held that is gone. */
void serve_requests_free(struct serve *serve, bool open);

#endif /* RAFT_SERVE_IMPL_H_ */
