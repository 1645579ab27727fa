/* jepsen/sim/net.c -- links between simulated nodes, and the wires over them.
 *
 * An end that closes puts a FIN behind its bytes and leaves the wire; a wire without ends is
 * freed. An end whose machine lost power leaves without a FIN: the other one learns of it when
 * what it sends meets the machine up again, which answers RESET. */
#include "jepsen/sim/net.h"

#include <stdlib.h>

#include "jepsen/sim/net_impl.h"
#include "log/pack.h"

enum {
    LINK_DELAY_US = 50,
    LINK_JITTER_US = 50,
    LINK_BYTES_PER_US = 1000,
    RETRANSMIT_US = 200 * 1000, /* After healing, what was lost comes within that. */
};

/* ---- chunks and links ---- */

struct chunk *chunks_pop(struct chunks *chunks)
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

void chunk_free(struct chunk *chunk)
{
    buf_free(&chunk->bytes);
    free(chunk);
}

void chunks_free(struct chunks *chunks)
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

void way_send(struct way *way, enum chunk_kind kind, struct buf *bytes)
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

void wire_leave(struct wire *wire, int side)
{
    wire->ends[side] = NULL;
    if (wire->ends[1 - side] == NULL) wire_free(wire);
}

static void syn_arrived(struct wire *wire)
{
    const struct sim_node *node = wire->nodes[1];
    if (node->no_power) return; /* Nobody answers. */
    way_send(&wire->ways[1], sim_conn_came(wire) ? CHUNK_ACK : CHUNK_REFUSED, NULL);
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
    sim_conn_end(end, ERR_CLOSED, CHUNK_RESET);
    if (sender != NULL) sim_conn_end(sender, ERR_CLOSED, CHUNK_RESET);
}

static void way_arrived(struct env_timer *event)
{
    struct way *way = CONTAINER_OF(event, struct way, arrival);
    struct wire *wire = way->wire;
    struct chunk *chunk = chunks_pop(&way->chunks);
    way_arm(way);
    struct slice bytes = buf_bytes(&chunk->bytes);
    world_trace(wire->world, TRACE_NET, (uint64_t)chunk->kind << 32 | wire->port, hash64(bytes));
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

struct wire *wire_create(struct world *world, struct sim_node *from, struct sim_node *to,
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
    net_conn_init(node);
    for (unsigned i = 0; i <= node->number; i++) {
        link_init(node->world, i, node->number);
        link_init(node->world, node->number, i);
    }
}

void net_close(struct world *world)
{
    while (world->wires != NULL)
        wire_free(world->wires);
}
