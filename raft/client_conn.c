/* raft/client_conn.c -- nodes: one connection each, kept up while the client lives.
 *
 *     DOWN -> GREETING -> UP -> DOWN      (CLOSING on the way, when we are who closes)
 *
 * Happy path: connect, HELLO; WELCOME makes it UP; MAP and LEADERS follow by themselves. Every
 * TICK_MS a PROBE shows the node that we live, and its answer that it does.
 *
 * Failure: a connection that ends, or is silent for SILENT_MS, loses the calls in flight on it
 * (they are sent elsewhere, or end) and is made again after a pause that grows. */
#include <stdlib.h>

#include "raft/client_impl.h"

enum {
    TICK_MS = 2000,
    SILENT_MS = 6000, /* Three probes without an answer. */
};

static void node_connect(struct client_node *node);

/* It ends because of what it did, or by our wish; closed() does the rest. */
static void node_drop(struct client_node *node, int err)
{
    if (node->state == NODE_CLOSING || node->conn == NULL) return;
    if (err != 0) node->err = err;
    node->state = NODE_CLOSING;
    env_timer_stop(node->client->env, &node->timer);
    env_conn_close(node->client->env, node->conn);
}

void client_node_say(struct client_node *node, uint8_t kind, struct slice body)
{
    CHECK(node->conn != NULL);
    frame_put(env_conn_out(node->client->env, node->conn), kind, body);
}

/* ---- what nodes say ---- */

static struct client_node *node_at(const struct client *client, const struct wire_node *one)
{
    for (unsigned i = 0; i < client->nodes_count; i++) {
        const struct env_address *address = &client->nodes[i]->address;
        if (client->nodes[i]->number == one->number) return client->nodes[i];
        if (address->port == one->address.port && strcmp(address->host, one->address.host) == 0)
            return client->nodes[i];
    }
    return NULL;
}

static int take_map(struct client_node *node, struct slice body)
{
    struct client *client = node->client;
    struct wire_map map;
    int err = wire_map_decode(body, &map);
    if (err != 0) return err;
    if (client->mapped) {
        if (map.cluster != client->map.cluster) return ERR_FOREIGN;
        if (map.parts_count != client->map.parts_count) return ERR_CORRUPT;
        if (map.version <= client->map.version) return 0;
    }
    bool first = !client->mapped;
    client->map = map;
    client->mapped = true;
    for (unsigned i = 0; i < map.nodes_count; i++)
        if (node_at(client, &map.nodes[i]) == NULL)
            (void)client_node_create(client, &map.nodes[i].address); /* Full: known ones must do. */
    if (first) client_mapped(client);
    return 0;
}

static int take_leaders(struct client_node *node, struct slice body)
{
    struct client *client = node->client;
    struct wire_leader leaders[PARTITIONS_MAX];
    unsigned count;
    int err = wire_leaders_decode(body, leaders, &count);
    if (err != 0) return err;
    if (!client->mapped) return ERR_CORRUPT;
    for (unsigned i = 0; i < count; i++) {
        const struct wire_leader *one = &leaders[i];
        if (one->part >= client->map.parts_count) return ERR_CORRUPT;
        route_learn(&client->routes[one->part], one->node, one->term, node->number);
    }
    return 0;
}

/* A node that joins a cluster later welcomes a second time. */
static int take_welcome(struct client_node *node, struct slice body)
{
    struct client *client = node->client;
    struct wire_welcome m;
    int err = wire_welcome_decode(body, &m);
    if (err != 0) return err;
    if (m.version < WIRE_VERSION_MIN || m.version > WIRE_VERSION_MAX) return ERR_VERSION;
    if (client->mapped && m.cluster != 0 && m.cluster != client->map.cluster) return ERR_FOREIGN;
    node->number = m.node;
    node->state = NODE_UP;
    node->attempts = 0;
    node->err = 0;
    while (node->asks.first != NULL)
        call_send(node->asks.first);
    client_flush(client);
    client_tails_node_up(client, node);
    return 0;
}

static int take_error(struct client_node *node, struct slice body)
{
    struct wire_error m;
    int err = wire_error_decode(body, &m);
    return err != 0 ? err : (node->err = m.err);
}

static int take_txn_done(struct client_node *node, struct slice body)
{
    struct wire_txn_done m;
    int err = wire_txn_done_decode(body, &m);
    if (err != 0) return err;
    struct call *call = call_of(node, m.end.id);
    if (call == NULL) return 0;
    if (call->kind != CALL_TXN) return ERR_CORRUPT;
    answer_txn(call, &m);
    return 0;
}

static int take_query_done(struct client_node *node, struct slice body)
{
    struct wire_query_done m;
    int err = wire_query_done_decode(body, &m);
    if (err != 0) return err;
    struct call *call = call_of(node, m.end.id);
    if (call == NULL) return 0;
    if (call->kind != CALL_QUERY) return ERR_CORRUPT;
    answer_query(call, &m);
    return 0;
}

static int take_heads_done(struct client_node *node, struct slice body)
{
    struct wire_heads_done m;
    int err = wire_heads_done_decode(body, &m);
    if (err != 0) return err;
    struct call *call = call_of(node, m.end.id);
    if (call == NULL) return 0;
    if (call->kind != CALL_HEADS) return ERR_CORRUPT;
    answer_heads(call, &m);
    return 0;
}

static int take_changed_done(struct client_node *node, struct slice body)
{
    struct wire_changed_done m;
    int err = wire_changed_done_decode(body, &m);
    if (err != 0) return err;
    struct call *call = call_of(node, m.end.id);
    if (call == NULL) return 0;
    if (call->kind != CALL_CHANGED) return ERR_CORRUPT;
    answer_changed(call, &m);
    return 0;
}

static int take_text_done(struct client_node *node, struct slice body)
{
    struct wire_text_done m;
    int err = wire_text_done_decode(body, &m);
    if (err != 0) return err;
    struct call *call = call_of(node, m.end.id);
    if (call == NULL) return 0;
    if (call->kind != CALL_ASK) return ERR_CORRUPT;
    answer_text(call, &m);
    return 0;
}

static int take_frame_up(struct client_node *node, uint8_t kind, struct slice body)
{
    switch (kind) {
        case WIRE_WELCOME:
            return take_welcome(node, body);
        case WIRE_MAP:
            return take_map(node, body);
        case WIRE_LEADERS:
            return take_leaders(node, body);
        case WIRE_TXN_DONE:
            return take_txn_done(node, body);
        case WIRE_QUERY_DONE:
            return take_query_done(node, body);
        case WIRE_HEADS_DONE:
            return take_heads_done(node, body);
        case WIRE_CHANGED_DONE:
            return take_changed_done(node, body);
        case WIRE_TAIL_EVENTS:
            return client_tails_take_events(node, body);
        case WIRE_TAIL_ENDED:
            return client_tails_take_ended(node, body);
        case WIRE_TEXT_DONE:
            return take_text_done(node, body);
        default:
            return ERR_CORRUPT;
    }
}

static int take_frame(void *arg, uint8_t kind, struct slice body)
{
    struct client_node *node = arg;
    if (kind == WIRE_ERROR) return take_error(node, body);
    if (node->state == NODE_GREETING && kind != WIRE_WELCOME) return ERR_CORRUPT;
    int err = take_frame_up(node, kind, body);
    if (err == 0 && node->state != NODE_UP) err = ERR_CLOSED; /* What it told made us close it. */
    return err;
}

/* ---- the connection ---- */

static void node_received(struct env_conn *conn, void *arg, struct slice bytes)
{
    struct client_node *node = arg;
    struct client *client = node->client;
    (void)conn;
    node->heard_ms = env_now_ms(client->env);
    int err = frame_feed(&node->parser, bytes, FRAME_BYTES_MAX, take_frame, node);
    if (err != 0) node_drop(node, err);
    if (client->stuck) client_flush(client);
}

static void node_opened(struct env_conn *conn, void *arg)
{
    struct client_node *node = arg;
    const struct client *client = node->client;
    struct wire_hello hello = {.version_min = WIRE_VERSION_MIN,
                               .version_max = WIRE_VERSION_MAX,
                               .cluster = client->mapped ? client->map.cluster : 0,
                               .client = client->number};
    struct buf *out = env_conn_out(client->env, conn);
    size_t at = frame_begin(out, WIRE_HELLO);
    wire_hello_encode(&hello, out);
    frame_end(out, at);
    node->heard_ms = env_now_ms(client->env);
}

/* Everything in flight is lost; from the last to the first, as recall does. */
static void node_lose(struct client_node *node)
{
    while (node->sent.last != NULL)
        call_lost(node->sent.last);
    client_tails_node_down(node->client, node);
    client_seek(node->client);
}

static void node_closed(struct env_conn *conn, void *arg, int err)
{
    struct client_node *node = arg;
    struct client *client = node->client;
    (void)conn;
    if (err != 0) node->err = err; /* Closed by us: node_drop knew why. */
    node->conn = NULL;
    node->state = NODE_DOWN;
    frame_parser_free(&node->parser);
    env_timer_stop(client->env, &node->timer);
    if (!client->closing) node_lose(node);
    if (client->closing) return; /* client.c looks whether all are gone. */
    env_timer_start(client->env, &node->timer, client_backoff_ms(client, node->attempts++));
}

static const struct env_conn_ops node_ops = {
    .opened = node_opened,
    .received = node_received,
    .closed = node_closed,
};

static void node_connect(struct client_node *node)
{
    struct env *env = node->client->env;
    node->state = NODE_GREETING;
    node->heard_ms = env_now_ms(env);
    node->conn = env_connect(env, &node->address, &node_ops, node);
    env_timer_start(env, &node->timer, TICK_MS);
}

static void timer_fired(struct env_timer *timer)
{
    struct client_node *node = CONTAINER_OF(timer, struct client_node, timer);
    struct env *env = node->client->env;
    if (node->state == NODE_DOWN) {
        node_connect(node);
        return;
    }
    if (env_now_ms(env) - node->heard_ms > SILENT_MS) {
        node_drop(node, ERR_TIMEOUT);
        return;
    }
    if (node->state == NODE_UP) client_node_say(node, WIRE_PROBE, (struct slice){NULL, 0});
    env_timer_start(env, timer, TICK_MS);
}

struct client_node *client_node_create(struct client *client, const struct env_address *address)
{
    if (client->nodes_count == CLIENT_NODES_MAX) return NULL;
    struct client_node *node = mem_zero(sizeof(*node));
    node->client = client;
    node->address = *address;
    env_timer_init(&node->timer, timer_fired);
    client->nodes[client->nodes_count++] = node;
    node_connect(node);
    return node;
}

void client_node_close(struct client_node *node)
{
    env_timer_stop(node->client->env, &node->timer);
    node_drop(node, 0);
}

void client_node_destroy(struct client_node *node)
{
    CHECK(node->conn == NULL);
    CHECK(node->sent.first == NULL);
    free(node);
}

struct client_node *client_node_by_number(const struct client *client, uint8_t number)
{
    for (unsigned i = 0; i < client->nodes_count; i++)
        if (client->nodes[i]->number == number && client->nodes[i]->state == NODE_UP)
            return client->nodes[i];
    return NULL;
}
