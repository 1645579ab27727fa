/* tests/raft/served.c -- see served.h. */
#include "tests/raft/served.h"

#include <stdio.h>

static void node_status(void *arg, struct buf *json)
{
    struct served_node *node = arg;
    char text[32];
    int len = snprintf(text, sizeof(text), "{\"node\":%u}", node->number);
    buf_put(json, text, (size_t)len);
}

static int node_form(void *arg, struct slice map, struct buf *text)
{
    struct served_node *node = arg;
    buf_put(text, map.data, map.len);
    return node->formed ? ERR_EXISTS : 0;
}

static void node_join(struct served_node *node, struct env *env)
{
    struct served *served = node->served;
    struct part *parts[SERVED_PARTS];
    for (part_t p = 0; p < SERVED_PARTS; p++)
        parts[p] = fake_part(served->fake, env, node->number, p);
    serve_join(node->serve, &served->map, (uint8_t)node->number, parts);
    node->formed = true;
}

static void node_boot(void *arg, struct env *env)
{
    struct served_node *node = arg;
    struct serve_config config = {.address = node->served->addresses[node->number - 1],
                                  .status = node_status,
                                  .form = node_form,
                                  .arg = node};
    CHECK(serve_create(env, &config, &node->serve) == 0);
    if (node->formed) node_join(node, env);
}

static void node_died(void *arg)
{
    struct served_node *node = arg;
    serve_abandon(node->serve);
    node->serve = NULL;
    fake_node_died(node->served->fake, node->number);
}

static const struct sim_program program = {node_boot, node_died};

static void set_up(struct served *served, uint64_t seed, bool formed)
{
    *served = (struct served){.world = world_create(seed)};
    served->fake = fake_create(SERVED_NODES, SERVED_PARTS);
    served->map = (struct wire_map){
        .cluster = 77, .version = 1, .parts_count = SERVED_PARTS, .nodes_count = SERVED_NODES};
    for (unsigned i = 0; i < SERVED_NODES; i++) {
        struct served_node *node = &served->nodes[i];
        *node = (struct served_node){.served = served, .number = i + 1, .formed = formed};
        snprintf(node->name, sizeof(node->name), "n%u", i + 1);
        snprintf(served->addresses[i].host, sizeof(served->addresses[i].host), "%s", node->name);
        served->addresses[i].port = SERVED_PORT;
        served->map.nodes[i] = (struct wire_node){(uint8_t)(i + 1), served->addresses[i]};
        node->sim = sim_node_create(served->world, node->name, &program, node);
        sim_node_start(node->sim);
    }
    for (part_t p = 0; p < SERVED_PARTS; p++)
        fake_lead(served->fake, p, 1 + p % SERVED_NODES);
    served->sim = sim_node_create(served->world, "cli", NULL, NULL);
    served->env = sim_node_env(served->sim);
    /* The library finds the others by the map. */
    struct client_config config = {.nodes = served->addresses, .nodes_count = formed ? 1 : 3};
    CHECK(client_create(served->env, &config, &served->client) == 0);
}

void served_set_up(struct served *served, uint64_t seed)
{
    set_up(served, seed, true);
}

void served_set_up_unformed(struct served *served, uint64_t seed)
{
    set_up(served, seed, false);
}

void served_join(struct served *served)
{
    for (unsigned i = 0; i < SERVED_NODES; i++)
        node_join(&served->nodes[i], sim_node_env(served->nodes[i].sim));
}

void served_set_true(void *arg)
{
    *(bool *)arg = true;
}

static bool is_true(void *arg)
{
    return *(bool *)arg;
}

void served_tear_down(struct served *served)
{
    bool closed = false;
    if (served->client != NULL) {
        client_destroy(served->client, served_set_true, &closed);
        CHECK(world_run_until(served->world, is_true, &closed, 1000000));
    }
    world_destroy(served->world);
    fake_destroy(served->fake);
}

void served_crash(struct served *served, unsigned node)
{
    sim_node_crash(served->nodes[node - 1].sim, SIM_KILL);
}

void served_start(struct served *served, unsigned node)
{
    sim_node_start(served->nodes[node - 1].sim);
}

void served_cut(struct served *served, unsigned node, bool cut)
{
    struct sim_node *other = served->nodes[node - 1].sim;
    struct net_link to = net_link(served->sim, other);
    struct net_link from = net_link(other, served->sim);
    to.cut = from.cut = cut;
    net_link_set(served->sim, other, to);
    net_link_set(other, served->sim, from);
}
