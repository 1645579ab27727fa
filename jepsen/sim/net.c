/* jepsen/sim/net.c -- links and connections between simulated nodes.
 *
 * A connection is a wire with two ends and a way in each direction. A way carries chunks, in
 * order; the event of its first chunk is its arrival at the other machine, whose end then waits
 * for its node's turn to be told. Opening is chunks too: SYN there, ACK or REFUSED back.
 *
 *     CONNECTING --> OPEN --> CLOSING --> freed, after closed()
 *         `----------------------^
 *
 * An end that closes puts a FIN behind its bytes and leaves the wire; a wire without ends is
 * freed. An end whose machine lost power leaves without a FIN: the other one learns of it when
 * what it sends meets the machine up again, which answers RESET. */
#include "jepsen/sim/net.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "jepsen/sim/sim_impl.h"

enum {
    LINK_DELAY_US = 50,
    LINK_JITTER_US = 50,
    LINK_BYTES_PER_US = 1000,
    CONNECT_US = 2 * 1000 * 1000, /* As the real env has it. */
    WINDOW_BYTES = 1024 * 1024,   /* What the kernels at both ends hold of one way. */
    RETRANSMIT_US = 200 * 1000,   /* After healing, what was lost comes within that. */
    SPLIT_ONE_IN = 16,
    PORT_FIRST = 20000, /* Of listeners that asked for any. */
};

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
    struct sim_node *nodes[2]; /* Who connected, whom to; the second may be NULL: no such host. */
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
    bool opened_due, flush_due, drained_due;
    struct chunks arrived;
    char peer[32];
};

struct env_listener {
    struct sim_node *node;
    struct env_listener *next, **link; /* node->listeners. */
    void (*accepted)(void *arg, struct env_conn *conn);
    void *arg;
    uint16_t port;
};

static void conn_end(struct env_conn *conn, int err, enum chunk_kind last);

/* ---- chunks and links ---- */

static struct chunk *chunks_pop(struct chunks *chunks)
{
    struct chunk *chunk = chunks->first;
    if (chunk != NULL) chunks->first = chunk->next;
    return chunk;
}

static void chunks_append(struct chunks *chunks, struct chunk *chunk)
{
    chunk->next = NULL;
    if (chunks->first == NULL)
        chunks->first = chunk;
    else
        chunks->last->next = chunk;
    chunks->last = chunk;
}

static void chunk_free(struct chunk *chunk)
{
    buf_free(&chunk->bytes);
    free(chunk);
}

static void chunks_free(struct chunks *chunks)
{
    for (struct chunk *chunk; (chunk = chunks_pop(chunks)) != NULL;)
        chunk_free(chunk);
}

static struct link *link_between(const struct sim_node *from, const struct sim_node *to)
{
    return &from->world->links[from->number][to->number];
}

static struct link *way_link(const struct way *way)
{
    const struct wire *wire = way->wire;
    return link_between(wire->nodes[way->side], wire->nodes[1 - way->side]);
}

/* Set the event of the way's first chunk. */
static void way_arm(struct way *way)
{
    if (way->chunks.first == NULL || way_link(way)->set.cut) return;
    timer_heap_start(&way->wire->world->events, &way->arrival, way->chunks.first->arrive_us);
}

/* Put a chunk on the way; bytes: taken, emptied; NULL when there are none. */
static void way_send(struct way *way, enum chunk_kind kind, struct buf *bytes)
{
    struct world *world = way->wire->world;
    struct link *link = way_link(way);
    struct chunk *chunk = mem_zero(sizeof(*chunk));
    chunk->kind = kind;
    if (bytes != NULL) {
        chunk->bytes = *bytes;
        *bytes = (struct buf){0};
    }
    if (kind == CHUNK_BYTES && link->set.loss_ppm > 0 &&
        splitmix_below(&link->chance, 1000000) < link->set.loss_ppm)
        chunk->kind = CHUNK_RESET;
    way->window_bytes += chunk->bytes.len;
    uint64_t at_us = world->now_us > link->busy_until_us ? world->now_us : link->busy_until_us;
    if (link->set.bytes_per_us > 0) at_us += chunk->bytes.len / link->set.bytes_per_us;
    link->busy_until_us = at_us;
    at_us += link->set.delay_us + splitmix_below(&link->chance, link->set.jitter_us + 1);
    if (at_us < way->last_us) at_us = way->last_us;
    way->last_us = at_us;
    chunk->arrive_us = at_us;
    bool first = way->chunks.first == NULL;
    chunks_append(&way->chunks, chunk);
    if (first) way_arm(way);
}

/* ---- wires ---- */

static void wire_free(struct wire *wire)
{
    for (int side = 0; side < 2; side++) {
        timer_heap_stop(&wire->world->events, &wire->ways[side].arrival);
        chunks_free(&wire->ways[side].chunks);
    }
    *wire->link = wire->next;
    if (wire->next != NULL) wire->next->link = wire->link;
    free(wire);
}

/* The end leaves its wire, last words said. */
static void conn_leave(struct env_conn *conn)
{
    struct wire *wire = conn->wire;
    if (wire == NULL) return;
    conn->wire = NULL;
    wire->ends[conn->side] = NULL;
    if (wire->ends[1 - conn->side] == NULL) wire_free(wire);
}

static struct env_listener *listener_at(const struct sim_node *node, uint16_t port)
{
    struct env_listener *listener = node->listeners;
    while (listener != NULL && listener->port != port)
        listener = listener->next;
    return listener;
}

static struct env_conn *conn_new(struct sim_node *node, struct wire *wire, int side);

static void syn_arrived(struct wire *wire)
{
    struct sim_node *node = wire->nodes[1];
    if (node->no_power) return; /* Nobody answers. */
    struct env_listener *listener = node->up ? listener_at(node, wire->port) : NULL;
    if (listener == NULL) {
        way_send(&wire->ways[1], CHUNK_REFUSED, NULL);
        return;
    }
    struct env_conn *conn = conn_new(node, wire, 1);
    conn->state = CONN_OPEN;
    conn->accepts = listener;
    struct world *world = wire->world;
    snprintf(conn->peer, sizeof(conn->peer), "%s:%u", wire->nodes[0]->name,
             (unsigned)world->port_next);
    world->port_next = world->port_next == UINT16_MAX ? 32768 : (uint16_t)(world->port_next + 1);
    sim_node_ready(node, &conn->ready);
    way_send(&wire->ways[1], CHUNK_ACK, NULL);
}

/* A chunk came for an end that is gone. */
static void chunk_lost(struct way *way, const struct chunk *chunk)
{
    const struct sim_node *node = way->wire->nodes[1 - way->side];
    if (chunk->kind == CHUNK_BYTES && !node->no_power)
        way_send(&way->wire->ways[1 - way->side], CHUNK_RESET, NULL);
}

/* A lost chunk breaks its connection for the sender too. */
static void reset_arrived(struct way *way, struct env_conn *end)
{
    struct env_conn *sender = way->wire->ends[way->side];
    conn_end(end, ERR_CLOSED, CHUNK_RESET);
    if (sender != NULL) conn_end(sender, ERR_CLOSED, CHUNK_RESET);
}

static void way_arrived(struct env_timer *event)
{
    struct way *way = CONTAINER_OF(event, struct way, arrival);
    struct wire *wire = way->wire;
    struct chunk *chunk = chunks_pop(&way->chunks);
    way_arm(way);
    struct slice bytes = buf_bytes(&chunk->bytes);
    world_trace(wire->world, TRACE_NET, (uint64_t)chunk->kind << 32 | wire->port,
                XXH3_64bits(bytes.data, bytes.len));
    struct env_conn *end = wire->ends[1 - way->side];
    if (chunk->kind == CHUNK_SYN) {
        syn_arrived(wire);
    } else if (end == NULL) {
        chunk_lost(way, chunk);
    } else if (chunk->kind == CHUNK_RESET) {
        reset_arrived(way, end); /* The wire is gone now. */
    } else {
        chunks_append(&end->arrived, chunk);
        sim_node_ready(end->node, &end->ready);
        return;
    }
    chunk_free(chunk);
}

static struct wire *wire_create(struct world *world, struct sim_node *from, struct sim_node *to,
                                uint16_t port)
{
    struct wire *wire = mem_zero(sizeof(*wire));
    wire->world = world;
    wire->nodes[0] = from;
    wire->nodes[1] = to;
    wire->port = port;
    for (int side = 0; side < 2; side++) {
        wire->ways[side].wire = wire;
        wire->ways[side].side = side;
        env_timer_init(&wire->ways[side].arrival, way_arrived);
    }
    wire->next = world->wires;
    wire->link = &world->wires;
    if (wire->next != NULL) wire->next->link = &wire->next;
    world->wires = wire;
    return wire;
}

/* ---- connections ---- */

static void conn_free(struct env_conn *conn)
{
    struct sim_node *node = conn->node;
    CHECK(conn->wire == NULL);
    timer_heap_stop(&node->world->events, &conn->connecting);
    if (conn->in_sends) {
        struct env_conn **at = &node->sends;
        while (*at != conn)
            at = &(*at)->next_send;
        *at = conn->next_send;
    }
    *conn->link = conn->next;
    if (conn->next != NULL) conn->next->link = conn->link;
    chunks_free(&conn->arrived);
    buf_free(&conn->out);
    free(conn);
}

/* The connection ends for this reason; last is what the other end is told. */
static void conn_end(struct env_conn *conn, int err, enum chunk_kind last)
{
    if (conn->state == CONN_CLOSING) return;
    struct sim_node *node = conn->node;
    conn->state = CONN_CLOSING;
    conn->err = err;
    conn->closing_turn = node->turns_count;
    timer_heap_stop(&node->world->events, &conn->connecting);
    if (conn->wire != NULL && conn->wire->ends[1 - conn->side] != NULL && last == CHUNK_FIN)
        way_send(&conn->wire->ways[conn->side], CHUNK_FIN, NULL);
    conn_leave(conn);
    sim_node_ready(node, &conn->ready);
}

static void conn_flush(struct env_conn *conn)
{
    if (conn->state != CONN_OPEN || conn->out.len == 0) return;
    if (conn->wire == NULL) return;
    struct way *way = &conn->wire->ways[conn->side];
    size_t room = WINDOW_BYTES > way->window_bytes ? WINDOW_BYTES - way->window_bytes : 0;
    if (room == 0) return; /* Goes on when the other end has received. */
    if (room >= conn->out.len) {
        way_send(way, CHUNK_BYTES, &conn->out);
        if (conn->ops != NULL && conn->ops->drained != NULL) {
            conn->drained_due = true;
            sim_node_ready(conn->node, &conn->ready);
        }
        return;
    }
    struct buf part = {0};
    buf_put(&part, conn->out.data, room);
    conn->out.len -= room;
    memmove(conn->out.data, conn->out.data + room, conn->out.len);
    way_send(way, CHUNK_BYTES, &part);
}

static void send_run(struct env_task *task)
{
    struct sim_node *node = CONTAINER_OF(task, struct sim_node, send);
    while (node->sends != NULL) {
        struct env_conn *conn = node->sends;
        node->sends = conn->next_send;
        conn->in_sends = false;
        conn_flush(conn);
    }
}

/* Now and then in two pieces: a stream has no bounds to rely on. */
static void conn_received(struct env_conn *conn, struct slice bytes)
{
    struct splitmix *chance = &conn->node->chance;
    if (bytes.len > 1 && splitmix_below(chance, SPLIT_ONE_IN) == 0) {
        size_t first = 1 + (size_t)splitmix_below(chance, bytes.len - 1);
        conn->ops->received(conn, conn->arg, (struct slice){bytes.data, first});
        if (conn->state != CONN_OPEN || sim_node_dying(conn->node)) return;
        bytes = (struct slice){(const uint8_t *)bytes.data + first, bytes.len - first};
    }
    conn->ops->received(conn, conn->arg, bytes);
}

/* One chunk that arrived is told. */
static void conn_receive(struct env_conn *conn, struct chunk *chunk)
{
    if (chunk->kind == CHUNK_REFUSED) {
        conn_end(conn, ERR_CONNECT, CHUNK_RESET);
        return;
    }
    if (chunk->kind == CHUNK_ACK) {
        conn->state = CONN_OPEN;
        timer_heap_stop(&conn->node->world->events, &conn->connecting);
        if (conn->out.len > 0) net_conn_out(&conn->node->env, conn);
        conn->ops->opened(conn, conn->arg);
        return;
    }
    if (chunk->kind == CHUNK_FIN) {
        conn_end(conn, ERR_CLOSED, CHUNK_RESET);
        return;
    }
    CHECK(chunk->kind == CHUNK_BYTES);
    struct wire *wire = conn->wire;
    wire->ways[1 - conn->side].window_bytes -= chunk->bytes.len;
    struct env_conn *sender = wire->ends[1 - conn->side];
    if (sender != NULL && sender->out.len > 0 && !sender->in_sends) {
        sender->flush_due = true;
        sim_node_ready(sender->node, &sender->ready);
    }
    conn_received(conn, buf_bytes(&chunk->bytes));
}

static void conn_accept_due(struct env_conn *conn)
{
    struct env_listener *listener = conn->accepts;
    conn->accepts = NULL;
    listener->accepted(listener->arg, conn); /* It may close the listener. */
    CHECK(conn->ops != NULL || conn->state == CONN_CLOSING || sim_node_dying(conn->node));
}

static void conn_told(struct ready *ready)
{
    struct env_conn *conn = CONTAINER_OF(ready, struct env_conn, ready);
    struct sim_node *node = conn->node;
    if (conn->accepts != NULL && conn->state == CONN_OPEN) conn_accept_due(conn);
    while (conn->state != CONN_CLOSING && !sim_node_dying(node)) {
        struct chunk *chunk = chunks_pop(&conn->arrived);
        if (chunk == NULL) break;
        conn_receive(conn, chunk);
        chunk_free(chunk);
    }
    if (sim_node_dying(node)) return; /* All connections go with it. */
    if (conn->flush_due) conn_flush(conn);
    conn->flush_due = false;
    if (conn->drained_due && conn->state == CONN_OPEN && conn->out.len == 0) {
        conn->drained_due = false;
        conn->ops->drained(conn, conn->arg);
    }
    if (conn->state != CONN_CLOSING) return;
    if (conn->closing_turn == node->turns_count) {
        sim_node_ready(node, &conn->ready);
        return;
    }
    if (conn->ops != NULL) conn->ops->closed(conn, conn->arg, conn->err);
    if (!sim_node_dying(node)) conn_free(conn);
}

static void connecting_fired(struct env_timer *event)
{
    conn_end(CONTAINER_OF(event, struct env_conn, connecting), ERR_TIMEOUT, CHUNK_RESET);
}

static struct env_conn *conn_new(struct sim_node *node, struct wire *wire, int side)
{
    struct env_conn *conn = mem_zero(sizeof(*conn));
    conn->node = node;
    conn->wire = wire;
    conn->side = side;
    if (wire != NULL) wire->ends[side] = conn;
    conn->ready.run = conn_told;
    env_timer_init(&conn->connecting, connecting_fired);
    conn->next = node->conns;
    conn->link = &node->conns;
    if (conn->next != NULL) conn->next->link = &conn->next;
    node->conns = conn;
    return conn;
}

/* ---- calls ---- */

int net_listen(struct env *env, const struct env_address *address,
               void (*accepted)(void *arg, struct env_conn *conn), void *arg,
               struct env_listener **out)
{
    struct sim_node *node = sim_node_of(env);
    uint16_t port = address->port;
    while (port == 0) {
        if (listener_at(node, node->port_next) == NULL) port = node->port_next;
        node->port_next = node->port_next == UINT16_MAX ? PORT_FIRST : node->port_next + 1;
    }
    if (listener_at(node, port) != NULL) return ERR_ADDR_IN_USE;
    struct env_listener *listener = mem_zero(sizeof(*listener));
    *listener = (struct env_listener){node, node->listeners, &node->listeners, accepted, arg, port};
    if (listener->next != NULL) listener->next->link = &listener->next;
    node->listeners = listener;
    *out = listener;
    return 0;
}

uint16_t net_listener_port(struct env *env, struct env_listener *listener)
{
    (void)env;
    return listener->port;
}

void net_listener_close(struct env *env, struct env_listener *listener)
{
    struct sim_node *node = sim_node_of(env);
    for (struct env_conn *conn = node->conns; conn != NULL; conn = conn->next)
        if (conn->accepts == listener) {
            conn->accepts = NULL;
            conn_end(conn, 0, CHUNK_FIN);
        }
    *listener->link = listener->next;
    if (listener->next != NULL) listener->next->link = listener->link;
    free(listener);
}

static struct sim_node *host_find(const struct world *world, const char *host)
{
    for (unsigned i = 0; i < world->nodes_count; i++)
        if (strcmp(world->nodes[i]->name, host) == 0) return world->nodes[i];
    return NULL;
}

struct env_conn *net_connect(struct env *env, const struct env_address *address,
                             const struct env_conn_ops *ops, void *arg)
{
    struct sim_node *node = sim_node_of(env);
    struct world *world = node->world;
    struct sim_node *to = node->frozen ? NULL : host_find(world, address->host);
    struct wire *wire = to == NULL ? NULL : wire_create(world, node, to, address->port);
    struct env_conn *conn = conn_new(node, wire, 0);
    conn->ops = ops;
    conn->arg = arg;
    snprintf(conn->peer, sizeof(conn->peer), "%.20s:%u", address->host, (unsigned)address->port);
    if (wire == NULL) {
        conn_end(conn, ERR_CONNECT, CHUNK_RESET);
        return conn;
    }
    timer_heap_start(&world->events, &conn->connecting, world->now_us + CONNECT_US);
    way_send(&wire->ways[0], CHUNK_SYN, NULL);
    return conn;
}

void net_conn_accept(struct env *env, struct env_conn *conn, const struct env_conn_ops *ops,
                     void *arg)
{
    (void)env;
    CHECK(conn->ops == NULL);
    CHECK(conn->state == CONN_OPEN);
    conn->ops = ops;
    conn->arg = arg;
}

struct buf *net_conn_out(struct env *env, struct env_conn *conn)
{
    struct sim_node *node = sim_node_of(env);
    if (!conn->in_sends && conn->state == CONN_OPEN && !node->frozen) {
        conn->in_sends = true;
        conn->next_send = node->sends;
        node->sends = conn;
        env_defer(env, &node->send);
    }
    return &conn->out;
}

size_t net_conn_backlog(struct env *env, struct env_conn *conn)
{
    (void)env;
    return conn->out.len;
}

const char *net_conn_peer(struct env *env, struct env_conn *conn)
{
    (void)env;
    return conn->peer;
}

void net_conn_close(struct env *env, struct env_conn *conn)
{
    struct sim_node *node = sim_node_of(env);
    if (node->frozen || sim_node_dying(node)) return; /* It goes with the node. */
    conn_flush(conn);
    conn_end(conn, 0, CHUNK_FIN);
}

/* ---- links, for tests and schedules ---- */

struct net_link net_link(struct sim_node *from, struct sim_node *to)
{
    return link_between(from, to)->set;
}

void net_link_set(struct sim_node *from, struct sim_node *to, struct net_link set)
{
    struct world *world = from->world;
    struct link *link = link_between(from, to);
    bool was_cut = link->set.cut;
    link->set = set;
    if (was_cut == set.cut) return;
    for (struct wire *wire = world->wires; wire != NULL; wire = wire->next)
        for (int side = 0; side < 2; side++) {
            struct way *way = &wire->ways[side];
            if (way_link(way) != link) continue;
            if (set.cut) {
                timer_heap_stop(&world->events, &way->arrival);
                continue;
            }
            uint64_t at_us = world->now_us + splitmix_below(&link->chance, RETRANSMIT_US);
            for (struct chunk *c = way->chunks.first; c != NULL; c = c->next)
                if (c->arrive_us < at_us) c->arrive_us = at_us;
            if (way->last_us < at_us) way->last_us = at_us;
            way_arm(way);
        }
}

void net_cut(struct sim_node *from, struct sim_node *to)
{
    struct net_link set = net_link(from, to);
    set.cut = true;
    net_link_set(from, to, set);
}

void net_isolate(struct sim_node *node)
{
    struct world *world = node->world;
    for (unsigned i = 0; i < world->nodes_count; i++) {
        if (world->nodes[i] == node) continue;
        net_cut(node, world->nodes[i]);
        net_cut(world->nodes[i], node);
    }
}

void net_heal(struct world *world)
{
    for (unsigned from = 0; from < world->nodes_count; from++)
        for (unsigned to = 0; to < world->nodes_count; to++) {
            struct net_link set = world->links[from][to].set;
            set.cut = false;
            set.loss_ppm = 0;
            net_link_set(world->nodes[from], world->nodes[to], set);
        }
}

/* ---- with the node ---- */

static void link_init(struct world *world, unsigned from, unsigned to)
{
    struct link *link = &world->links[from][to];
    link->set = (struct net_link){
        .delay_us = LINK_DELAY_US, .jitter_us = LINK_JITTER_US, .bytes_per_us = LINK_BYTES_PER_US};
    link->chance = splitmix_stream(world->seed, STREAM_LINK, from * SIM_NODES_MAX + to);
}

void net_node_init(struct sim_node *node)
{
    env_task_init(&node->send, ENV_PHASE_SEND, send_run);
    node->port_next = PORT_FIRST;
    for (unsigned i = 0; i <= node->number; i++) {
        link_init(node->world, i, node->number);
        link_init(node->world, node->number, i);
    }
}

void net_node_died(struct sim_node *node, enum sim_crash how)
{
    while (node->conns != NULL) {
        struct env_conn *conn = node->conns;
        if (how == SIM_KILL && conn->wire != NULL && conn->wire->ends[1 - conn->side] != NULL)
            way_send(&conn->wire->ways[conn->side], CHUNK_RESET, NULL);
        conn_leave(conn);
        conn_free(conn);
    }
    while (node->listeners != NULL)
        net_listener_close(&node->env, node->listeners);
    CHECK(node->sends == NULL);
    env_task_init(&node->send, ENV_PHASE_SEND, send_run);
}

void net_close(struct world *world)
{
    while (world->wires != NULL)
        wire_free(world->wires);
}
