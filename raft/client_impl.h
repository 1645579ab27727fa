/* raft/client_impl.h -- private to client*.c: calls, routes, lanes, nodes.
 *
 * A call is one request of the caller. It waits in the route of its partition, is sent on a node's
 * connection, and ends once:
 *
 *     WAITING -> SENT -> (answer that counts, or deadline) -> free
 *        ^        |
 *        +--------+ the node went away, leads no longer, is busy, or met a gap before it
 *
 * ENDED is for what must be told in a later turn: refusals, and the client's end.
 *
 * A lane is one (producer, stream) with open calls, in order of n: it tells whether a gap that a
 * node met is one on this side, which sending again in order closes. */
#ifndef RAFT_CLIENT_IMPL_H_
#define RAFT_CLIENT_IMPL_H_

#include "raft/client.h"
#include "raft/deadline.h"
#include "raft/frame.h"
#include "raft/table.h"
#include "raft/wire.h"

enum {
    CLIENT_NODES_MAX = 2 * NODES_MAX, /* Addresses given, and those of the map. */
    CLIENT_BACKOFF_MS_MIN = 20,       /* The first pause before trying again ... */
    CLIENT_BACKOFF_MS_MAX = 500,      /* ... doubles up to this; half of it is chance. */
    CLIENT_WORDS_BYTES_MAX = 128,
};

enum call_kind { CALL_TXN, CALL_QUERY, CALL_HEADS, CALL_CHANGED, CALL_ASK };
enum call_state { CALL_FREE, CALL_WAITING, CALL_SENT, CALL_ENDED, CALL_STATES };

struct call_list {
    struct call *first, *last;
};

struct call {
    struct client *client;
    uint32_t slot; /* Its place in client->calls, for good. */
    enum call_kind kind;
    enum call_state state;
    uint8_t frame;   /* WIRE_TXN ... */
    void *owner;     /* The caller's struct client_txn, client_query ... */
    struct buf body; /* Of the frame; its id is set anew for each send. */
    uint64_t id;     /* Of the last send. */
    uint64_t order;  /* Of submission: calls of one partition are sent in this order. */
    size_t cost;     /* Bytes it counts for on a connection, its answer's included. */

    struct call_list *list;   /* Where it is: a queue, sent, ended. */
    struct call *next, *prev; /* In list, by order. */
    struct route *route;      /* Not for CALL_ASK. NULL before the map is known. */
    struct client_node *node; /* SENT; CALL_ASK: always. */
    struct deadline deadline;

    struct lane *lane; /* Transactions with a producer. */
    struct call *lane_next, *lane_prev;
    uint64_t n;
    unsigned gaps;     /* How often it met a gap of this side. */
    bool maybe;        /* A node may have done it, or may do it still. */
    bool busy;         /* The last answer was ERR_BUSY. */
    uint32_t after_ms; /* Of that answer. */
    int err;           /* ENDED: what to tell. */
};

/* One partition: who leads it, and what waits for that. */
struct route {
    struct client *client;
    part_t part;
    uint8_t leader; /* Node number; 0: unknown. */
    term_t term;    /* Of the last leader known. */
    struct call_list queue;
    struct env_timer pause; /* Started: nothing is sent until it fires. */
};

enum node_state {
    NODE_DOWN,     /* Waits for its timer, to connect again. */
    NODE_GREETING, /* Connecting, or hello said. */
    NODE_UP,
    NODE_CLOSING, /* Closed by us; the last callback is still to come. */
};
struct client_node {
    struct client *client;
    struct env_address address;
    uint8_t number; /* As it last welcomed us; 0: unknown, or of no cluster. */
    enum node_state state;
    struct env_conn *conn; /* NULL when DOWN. */
    struct frame_parser parser;
    struct env_timer timer; /* DOWN: connect again. Else: is it alive. */
    unsigned attempts;      /* Since it was UP last. */
    uint64_t heard_ms;
    struct call_list sent;
    struct call_list asks; /* CALL_ASK: until it is UP. */
    size_t inflight_bytes;
    int err; /* Why it is not UP: the last reason met. */
};

/* Who waits for the map. */
struct ready {
    struct ready *next;
    struct client *client;
    struct env_timer timer;
    void (*done)(void *arg, int err);
    void *arg;
};

struct client {
    struct env *env;
    uint64_t number; /* Drawn: names this client in hello. */
    struct wire_map map;
    bool mapped;
    struct client_node *nodes[CLIENT_NODES_MAX]; /* The config's first, in its order. */
    unsigned nodes_count, config_count;
    struct route routes[PARTITIONS_MAX];
    struct call_list unrouted; /* Calls from before the map. */
    size_t waiting_bytes;      /* Of all calls that are WAITING. */
    bool stuck;                /* Some route has calls and room was missing on its connection. */

    struct call **calls; /* By slot. */
    uint32_t calls_count, calls_capacity;
    struct call *free_calls; /* By next. */
    uint64_t sends, orders;  /* Counters. */
    struct table lanes;
    struct lane *free_lanes;
    struct call_list ended;
    struct env_timer ending; /* Tells what ENDED, a moment later; frees the client at its end. */
    struct deadlines deadlines;
    struct ready *ready;
    struct env_task flush;  /* Send what can be sent. */
    struct env_timer seek;  /* Ask all nodes who leads. */
    unsigned seek_attempts; /* Since a request succeeded. */

    struct client_tails *tails; /* client_tail.c's. */
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* Which streams of a partition changed after an entry; for feeds. Caller's until done. */
struct client_changed {
    part_t part;
    index_t since;
    struct slice after; /* Copied. */
    uint32_t limit_count;
    struct buf streams; /* Slice, stream_head_encode; caller frees. */
    uint32_t streams_count;
    bool more;
    index_t index;
    int64_t time_ms;
    void (*done)(struct client_changed *req, int err);
};
void client_changed(struct client *client, struct client_changed *req); /* The map is known. */

/* ---- client.c: what a call is ---- */
/* Into a list (NULL: none), by order of submission. Checked and accounted for here alone. */
void call_move(struct call *call, enum call_state state, struct call_list *list);
/* The call ends with err and is freed; then its owner is told. outcome: of a transaction without
 * error. after_ms: with ERR_BUSY. text: of CALL_ASK. All borrowed until return. */
void call_finish(struct call *call, int err, const struct outcome *outcome, uint32_t after_ms,
                 struct slice text);
/* Likewise, but without a result, and told in a later turn. */
void call_end_later(struct call *call, int err);
/* Of an answer's id: the call that was sent under it on this node and is open; or NULL. */
struct call *call_of(struct client_node *node, uint64_t id);
/* The map is there, for the first time. */
void client_mapped(struct client *client);
/* A pause before the next attempt: doubles with attempts up to its bound; half of it is chance. */
uint64_t client_backoff_ms(struct client *client, unsigned attempts);

/* ---- client_lane.c: transactions of one producer on one stream ---- */
void lane_join(struct call *call, struct slice stream, struct slice producer);
void lane_leave(struct call *call);
/* The call's n has its outcome now. */
void lane_used(struct call *call);
/* A node that knows of last_n met a gap before call: is it one that calls sent earlier close, or
 * have closed already? */
bool lane_closes_gap(const struct call *call, uint64_t last_n);
void lanes_free(struct client *client);

/* ---- client_route.c: partitions, their leaders, what waits for them ---- */
void routes_init(struct client *client);
void routes_close(struct client *client);
void routes_mapped(struct client *client); /* Calls from before the map find their routes. */
struct route *route_of(struct client *client, struct slice stream); /* NULL before the map. */
void route_submit(struct call *call, struct slice stream);
void route_put(struct call *call, struct route *route); /* NULL: until the map is there. */
/* The leader, when its connection is UP; or NULL. */
struct client_node *route_node(const struct route *route);
/* Node `speaker` says who leads (0: it does not know). */
void route_learn(struct route *route, uint8_t leader, term_t term, uint8_t speaker);
/* Somebody misses a leader: ask for it, soon and again. */
void client_seek(struct client *client);
/* Send what waits and can be sent, at the end of this turn. */
void client_flush(struct client *client);
/* Send on the connection of call->node, which is UP. */
void call_send(struct call *call);

/* ---- client_answer.c: how calls end ---- */
void answer_txn(struct call *call, const struct wire_txn_done *m);
void answer_query(struct call *call, const struct wire_query_done *m);
void answer_heads(struct call *call, const struct wire_heads_done *m);
void answer_changed(struct call *call, const struct wire_changed_done *m);
void answer_text(struct call *call, const struct wire_text_done *m);
void call_lost(struct call *call); /* SENT: its connection is gone, or its node leads no more. */
void call_expired(struct call *call);

/* ---- client_conn.c: nodes ---- */
/* One to this address, connecting; NULL when there are CLIENT_NODES_MAX. */
struct client_node *client_node_create(struct client *client, const struct env_address *address);
/* Begin to close; gone once its conn is NULL. */
void client_node_close(struct client_node *node);
void client_node_destroy(struct client_node *node);
struct client_node *client_node_by_number(const struct client *client,
                                          uint8_t number); /* UP, or NULL. */
/* A frame on a connection that is UP. body: copied. */
void client_node_say(struct client_node *node, uint8_t kind, struct slice body);

/* ---- client_tail.c: tails, signals, claims ---- */
void client_tails_init(struct client *client);
void client_tails_free(struct client *client);
void client_tails_close(struct client *client); /* Says nothing more. */
void client_tails_mapped(struct client *client);
void client_tails_node_up(struct client *client, struct client_node *node);
void client_tails_node_down(struct client *client, const struct client_node *node);
void client_tails_moved(struct client *client, const struct route *route); /* Another leader. */
/* ERR_CORRUPT: close the connection. */
MUST_CHECK int client_tails_take_events(struct client_node *node, struct slice body);
MUST_CHECK int client_tails_take_ended(struct client_node *node, struct slice body);

#endif /* RAFT_CLIENT_IMPL_H_ */
