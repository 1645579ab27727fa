/* raft/client_route.c -- partitions, their leaders, and what waits for them.
 *
 * Happy path: a call is sent at once to the leader's connection. It waits in its route's queue, by
 * order of submission, while no leader is known or UP, while the leader said that it is busy, or
 * while too much is in flight to it.
 *
 * Failure: nodes tell who leads, each with the term of its knowledge; a larger term wins. While a
 * leader is missed, all nodes are asked, again and again. When another node leads, what was sent to
 * the old one is sent to the new one: the old one may never answer.
 *
 * Invariants: calls of one partition are sent in order of submission, but for those sent again.
 * Then a node may see n before n - 1; it answers a gap, and the lane decides. */
#include "log/pack.h"
#include "raft/client_impl.h"

static void pause_fired(struct env_timer *timer)
{
    client_flush(CONTAINER_OF(timer, struct route, pause)->client);
}

struct client_node *route_node(const struct route *route)
{
    return route->leader == 0 ? NULL : client_node_by_number(route->client, route->leader);
}

/* ---- sending ---- */

void call_send(struct call *call)
{
    struct client *client = call->client;
    struct client_node *node = call->node;
    CHECK(node->state == NODE_UP);
    /* The slot in the low part finds the call, the counter above tells this send from others. */
    call->id = ++client->sends << 24 | call->slot;
    wire_set_id(&call->body, call->id);
    call_move(call, CALL_SENT, &node->sent);
    client_node_say(node, call->frame, buf_bytes(&call->body));
}

static bool has_room(const struct client_node *node, const struct call *call)
{
    return node->inflight_bytes == 0 ||
           node->inflight_bytes + call->cost <= CLIENT_INFLIGHT_BYTES_MAX;
}

static void route_flush(struct route *route)
{
    struct client *client = route->client;
    if (route->queue.first == NULL || env_timer_started(&route->pause)) return;
    struct client_node *node = route_node(route);
    if (node == NULL) {
        client_seek(client);
        return;
    }
    while (route->queue.first != NULL) {
        struct call *call = route->queue.first;
        if (!has_room(node, call)) {
            client->stuck = true; /* An answer on that connection flushes again. */
            return;
        }
        call->node = node;
        call_send(call);
    }
}

static void flush_run(struct env_task *task)
{
    struct client *client = CONTAINER_OF(task, struct client, flush);
    if (client->closing) return;
    client->stuck = false;
    for (unsigned i = 0; i < client_partitions(client); i++)
        route_flush(&client->routes[i]);
}

void client_flush(struct client *client)
{
    if (!client->closing) env_defer(client->env, &client->flush);
}

/* Calls from before the map have their streams in their bodies. */
static struct slice call_stream(const struct call *call)
{
    struct slice stream = {NULL, 0};
    if (call->kind == CALL_TXN) {
        struct wire_txn m;
        CHECK(wire_txn_decode(buf_bytes(&call->body), &m) == 0);
        CHECK(txn_peek_stream(m.txn, &stream) == 0);
    } else if (call->kind == CALL_QUERY) {
        struct wire_query m;
        CHECK(wire_query_decode(buf_bytes(&call->body), &m) == 0);
        stream = m.query.stream;
    } else {
        struct wire_heads m;
        CHECK(wire_heads_decode(buf_bytes(&call->body), &m) == 0);
        stream = read_slice(&m.streams, STREAM_NAME_BYTES_MAX);
    }
    return stream;
}

static void unrouted_route(struct client *client)
{
    while (client->unrouted.first != NULL) {
        struct call *call = client->unrouted.first;
        call->route = route_of(client, call_stream(call));
        call_move(call, CALL_WAITING, &call->route->queue);
    }
}

void route_submit(struct call *call, struct slice stream)
{
    route_put(call, route_of(call->client, stream));
}

void route_put(struct call *call, struct route *route)
{
    struct client *client = call->client;
    call->route = route;
    call_move(call, CALL_WAITING, route == NULL ? &client->unrouted : &route->queue);
    /* Alone in the queue: it is its turn. Otherwise whatever the first waits for flushes. */
    if (route != NULL && route->queue.first == call) route_flush(route);
}

struct route *route_of(struct client *client, struct slice stream)
{
    return client->mapped ? &client->routes[client_partition_of(client, stream)] : NULL;
}

part_t client_partition_of(const struct client *client, struct slice stream)
{
    CHECK(client->mapped);
    return partition_of(stream, client->map.parts_count);
}

/* ---- leaders ---- */

/* What is in flight to a node that leads this partition no more may never be answered. Calls that
 * cannot be sent again stay: the node may have the outcome. From the last to the first, so that
 * each finds its place at the front of the queue. */
static void recall(struct route *route, struct client_node *node)
{
    struct call *call = node->sent.last;
    while (call != NULL) {
        struct call *before = call->prev;
        bool numbered = call->kind != CALL_TXN || call->lane != NULL;
        if (call->route == route && numbered) call_lost(call);
        call = before;
    }
}

void route_learn(struct route *route, uint8_t leader, term_t term, uint8_t speaker)
{
    struct client *client = route->client;
    if (term < route->term) return;
    if (leader == 0) {
        /* Only the one who was believed to lead can take that back. */
        if (route->leader == speaker) route->leader = 0;
        return;
    }
    if (term == route->term && leader == route->leader) return;
    route->leader = leader;
    route->term = term;
    env_timer_stop(client->env, &route->pause); /* That was about the one before. */
    for (unsigned i = 0; i < client->nodes_count; i++)
        if (client->nodes[i]->number != leader) recall(route, client->nodes[i]);
    client_tails_moved(client, route);
    client_flush(client);
}

static bool leader_missed(const struct client *client)
{
    for (unsigned i = 0; i < client_partitions(client); i++)
        if (route_node(&client->routes[i]) == NULL) return true;
    return false;
}

static void seek_fired(struct env_timer *timer)
{
    struct client *client = CONTAINER_OF(timer, struct client, seek);
    client_flush(client);
    if (!leader_missed(client)) {
        client->seek_attempts = 0;
        return;
    }
    client_seek(client);
    for (unsigned i = 0; i < client->nodes_count; i++)
        if (client->nodes[i]->state == NODE_UP && client->nodes[i]->number != 0)
            client_node_say(client->nodes[i], WIRE_PROBE, (struct slice){NULL, 0});
}

void client_seek(struct client *client)
{
    if (client->closing || !client->mapped || env_timer_started(&client->seek)) return;
    uint64_t delay_ms = client_backoff_ms(client, client->seek_attempts++);
    env_timer_start(client->env, &client->seek, delay_ms);
}

/* ---- life ---- */

void routes_init(struct client *client)
{
    env_task_init(&client->flush, ENV_PHASE_WORK, flush_run);
    env_timer_init(&client->seek, seek_fired);
    for (unsigned i = 0; i < PARTITIONS_MAX; i++) {
        struct route *route = &client->routes[i];
        route->client = client;
        route->part = (part_t)i;
        env_timer_init(&route->pause, pause_fired);
    }
}

void routes_mapped(struct client *client)
{
    unrouted_route(client);
    client_flush(client);
    client_seek(client);
}

void routes_close(struct client *client)
{
    env_timer_stop(client->env, &client->seek);
    for (unsigned i = 0; i < PARTITIONS_MAX; i++)
        env_timer_stop(client->env, &client->routes[i].pause);
}
