/* jepsen/sim/net_impl.h -- what net.c and net_conn.c share.
 *
 * A connection is a wire with two ends and a way in each direction. A way carries chunks, in
 * order; the event of its first chunk is its arrival at the other machine, whose end then waits
 * for its node's turn to be told. Opening is chunks too: SYN there, ACK or REFUSED back. */
#ifndef JEPSEN_SIM_NET_IMPL_H_
#define JEPSEN_SIM_NET_IMPL_H_

#include "jepsen/sim/sim_impl.h"

enum chunk_kind { CHUNK_SYN, CHUNK_ACK, CHUNK_REFUSED, CHUNK_BYTES, CHUNK_FIN, CHUNK_RESET };

struct chunk {
    struct chunk *next;
    enum chunk_kind kind;
    uint64_t arrive_us;
    struct buf bytes;
};

struct chunks {
    struct chunk *first, *last;
};

/* One direction of a wire, from the end of its side to the other one. */
struct way {
    struct env_timer arrival; /* Of the first chunk; stopped while the link is cut. */
    struct wire *wire;
    int side; /* Of the end that sends. */
    struct chunks chunks;
    size_t window_bytes; /* Sent and not yet received by the other end. */
    uint64_t last_us;    /* When the last chunk arrives. */
};

struct wire {
    struct world *world;
    struct wire *next, **link; /* world->wires. */
    struct sim_node *nodes[2]; /* Who connected, whom to. */
    struct env_conn *ends[2];  /* NULL: not yet, or gone. */
    struct way ways[2];
    uint16_t port; /* That the second listens on. */
};

enum conn_state { CONN_CONNECTING, CONN_OPEN, CONN_CLOSING };

struct env_conn {
    struct sim_node *node;
    struct env_conn *next, **link; /* node->conns. */
    const struct env_conn_ops *ops;
    void *arg;
    enum conn_state state;
    int err;               /* CONN_CLOSING: what closed() is told. */
    uint64_t closing_turn; /* When it ended: closed() comes in a later one. */
    struct wire *wire;     /* NULL: it has left it. */
    int side;
    struct env_timer connecting; /* An event of the world's: the connect takes too long. */

    struct buf out;
    bool in_sends;
    struct env_conn *next_send;

    struct ready ready;           /* Queued when any of these is to be told. */
    struct env_listener *accepts; /* Came, and was not given away yet. */
    bool flush_due, drained_due;
    struct chunks arrived;
    char peer[32];
};

/* ---- net.c ---- */
struct chunk *chunks_pop(struct chunks *chunks); /* The oldest, the caller's now; NULL: none. */
void chunk_free(struct chunk *chunk);
void chunks_free(struct chunks *chunks);
/* Put a chunk on the way; bytes: taken, emptied; NULL when there are none. */
void way_send(struct way *way, enum chunk_kind kind, struct buf *bytes);
/* Without ends; freed when both ends have left it. */
struct wire *wire_create(struct world *world, struct sim_node *from, struct sim_node *to,
                         uint16_t port);
void wire_leave(struct wire *wire, int side);

/* ---- net_conn.c ---- */
/* A connection came to the second node; somebody listens and will be told. False: nobody. */
bool sim_conn_came(struct wire *wire);
/* The connection ends for this reason; last: CHUNK_FIN tells the other end. */
void sim_conn_end(struct env_conn *conn, int err, enum chunk_kind last);

#endif /* JEPSEN_SIM_NET_IMPL_H_ */
