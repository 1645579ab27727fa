/* jepsen/sim/net_conn.c -- connections and listeners of simulated nodes: the ends of wires.
 *
 *     CONNECTING --> OPEN --> CLOSING --> freed, after closed()
 *         `----------------------^
 *
 * What arrived waits with its end for the node's turn: first the acceptance, then chunks in their
 * order, then that the backlog drained; closed() comes in a later turn than the end. */
#include <stdio.h>
#include <stdlib.h>

#include "jepsen/sim/net_impl.h"

enum {
    CONNECT_US = 2 * 1000 * 1000, /* As the real env has it. */
    WINDOW_BYTES = 1024 * 1024,   /* What the kernels at both ends hold of one way. */
    SPLIT_ONE_IN = 16,            /* Of so many chunks one is received in two pieces. */
    LISTEN_PORT_FIRST = 20000,    /* Of listeners that asked for any. */
    CONNECT_PORT_FIRST = 32768,   /* Of those who connect. */
};

struct env_listener {
    struct sim_node *node;
    struct env_listener *next, **link; /* node->listeners. */
    void (*accepted)(void *arg, struct env_conn *conn);
    void *arg;
    uint16_t port;
};

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

/* The end leaves its wire, last words said. */
static void conn_leave(struct env_conn *conn)
{
    struct wire *wire = conn->wire;
    if (wire == NULL) return;
    conn->wire = NULL;
    wire_leave(wire, conn->side);
}

void sim_conn_end(struct env_conn *conn, int err, enum chunk_kind last)
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
        sim_conn_end(conn, ERR_CONNECT, CHUNK_RESET);
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
        sim_conn_end(conn, ERR_CLOSED, CHUNK_RESET);
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
    sim_conn_end(CONTAINER_OF(event, struct env_conn, connecting), ERR_TIMEOUT, CHUNK_RESET);
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

/* ---- listening and connecting ---- */

static struct env_listener *listener_at(const struct sim_node *node, uint16_t port)
{
    struct env_listener *listener = node->listeners;
    while (listener != NULL && listener->port != port)
        listener = listener->next;
    return listener;
}

bool sim_conn_came(struct wire *wire)
{
    struct sim_node *node = wire->nodes[1];
    struct world *world = wire->world;
    struct env_listener *listener = node->up ? listener_at(node, wire->port) : NULL;
    if (listener == NULL) return false;
    struct env_conn *conn = conn_new(node, wire, 1);
    conn->state = CONN_OPEN;
    conn->accepts = listener;
    uint16_t port = world->port_next;
    snprintf(conn->peer, sizeof(conn->peer), "%s:%u", wire->nodes[0]->name, (unsigned)port);
    world->port_next = port == UINT16_MAX ? CONNECT_PORT_FIRST : (uint16_t)(port + 1);
    sim_node_ready(node, &conn->ready);
    return true;
}

int net_listen(struct env *env, const struct env_address *address,
               void (*accepted)(void *arg, struct env_conn *conn), void *arg,
               struct env_listener **out)
{
    struct sim_node *node = sim_node_of(env);
    uint16_t port = address->port;
    while (port == 0) {
        if (listener_at(node, node->port_next) == NULL) port = node->port_next;
        node->port_next = node->port_next == UINT16_MAX ? LISTEN_PORT_FIRST : node->port_next + 1;
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
            sim_conn_end(conn, 0, CHUNK_FIN);
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
        sim_conn_end(conn, ERR_CONNECT, CHUNK_RESET);
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
    sim_conn_end(conn, 0, CHUNK_FIN);
}

/* ---- with the node ---- */

void net_conn_init(struct sim_node *node)
{
    env_task_init(&node->send, ENV_PHASE_SEND, send_run);
    node->port_next = LISTEN_PORT_FIRST;
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
