/* tests/raft/grid.c -- see grid.h. */
#include "tests/raft/grid.h"

#include <stdio.h>
#include <stdlib.h>

#include "raft/status.h"

enum { SECOND_US = 1000000 };

static void line_print(void *arg, struct slice line)
{
    struct grid_node *node = arg;
    if (!node->grid->loud) return;
    fprintf(stderr, "%10llu %s %.*s", (unsigned long long)world_now_us(node->grid->world),
            node->name, (int)line.len, (const char *)line.data);
}

static struct env_address address_of(const struct grid_node *node, uint16_t port)
{
    struct env_address address = {.port = port};
    snprintf(address.host, sizeof(address.host), "%s", node->name);
    return address;
}

static void node_boot(void *arg, struct env *env)
{
    struct grid_node *node = arg;
    diag_init(&node->diag, DIAG_DEBUG, NULL, line_print, node);
    struct node_config config = {.dir = "/data",
                                 .node = (uint8_t)node->number,
                                 .client = address_of(node, GRID_CLIENT_PORT),
                                 .peer = address_of(node, GRID_PEER_PORT),
                                 .memory_bytes = node->grid->memory_bytes,
                                 .wal_file_bytes = 512 * 1024};
    node->boots_count++;
    node->why[0] = '\0';
    int err = node_create(env, &config, &node->diag, &node->node, node->why, sizeof(node->why));
    if (err == 0) return;
    node->node = NULL;
    if (node->grid->loud) fprintf(stderr, "%s does not start: %s\n", node->name, node->why);
}

static void node_died(void *arg)
{
    struct grid_node *node = arg;
    if (node->node != NULL) node_abandon(node->node);
    node->node = NULL;
}

static const struct sim_program program = {node_boot, node_died};

static char *map_text(const struct grid *grid)
{
    struct buf text = {0};
    char line[256];
    int len =
        snprintf(line, sizeof(line),
                 "{\"cluster\":\"00000000000000aa\",\"partitions\":%d,\"nodes\":[", GRID_PARTS);
    buf_put(&text, line, (size_t)len);
    for (unsigned i = 0; i < grid->nodes_count; i++) {
        const char *name = grid->nodes[i].name;
        len =
            snprintf(line, sizeof(line), "%s{\"node\":%u,\"client\":\"%s:%d\",\"peer\":\"%s:%d\"}",
                     i == 0 ? "" : ",", i + 1, name, GRID_CLIENT_PORT, name, GRID_PEER_PORT);
        buf_put(&text, line, (size_t)len);
    }
    buf_put(&text, "]}", 3); /* With its end mark. */
    return (char *)text.data;
}

struct forming {
    struct client_form form;
    int err;
    bool done;
};

static void form_done(struct client_form *form, int err, struct slice text)
{
    struct forming *forming = CONTAINER_OF(form, struct forming, form);
    if (err != 0) fprintf(stderr, "form: %.*s\n", (int)text.len, (const char *)text.data);
    forming->err = err;
    forming->done = true;
}

static bool is_true(void *arg)
{
    return *(bool *)arg;
}

static bool settled(void *arg)
{
    return grid_settled(arg);
}

static void grid_form(struct grid *grid)
{
    char *map = map_text(grid);
    for (unsigned i = 0; i < grid->nodes_count; i++) {
        struct forming forming = {
            .form = {.node = i, .map = slice_str(map), .deadline_ms = 5000, .done = form_done}};
        client_form(grid->client, &forming.form);
        CHECK(world_run_until(grid->world, is_true, &forming.done, 10 * SECOND_US));
        CHECK(forming.err == 0);
    }
    free(map);
    CHECK(world_run_until(grid->world, settled, grid, 20 * SECOND_US));
}

void grid_set_up(struct grid *grid, uint64_t seed, unsigned nodes_count, size_t memory_bytes)
{
    *grid = (struct grid){.world = world_create(seed),
                          .nodes_count = nodes_count,
                          .memory_bytes = memory_bytes,
                          .loud = getenv("GRID_LOUD") != NULL};
    struct env_address addresses[GRID_NODES_MAX];
    for (unsigned i = 0; i < nodes_count; i++) {
        struct grid_node *node = &grid->nodes[i];
        *node = (struct grid_node){.grid = grid, .number = i + 1};
        snprintf(node->name, sizeof(node->name), "n%u", i + 1);
        node->sim = sim_node_create(grid->world, node->name, &program, node);
        sim_node_start(node->sim);
        addresses[i] = address_of(node, GRID_CLIENT_PORT);
    }
    grid->client_sim = sim_node_create(grid->world, "cli", NULL, NULL);
    grid->env = sim_node_env(grid->client_sim);
    struct client_config config = {.nodes = addresses, .nodes_count = nodes_count};
    CHECK(client_create(grid->env, &config, &grid->client) == 0);
    grid_form(grid);
}

static void set_true(void *arg)
{
    *(bool *)arg = true;
}

void grid_tear_down(struct grid *grid)
{
    bool closed = false;
    client_destroy(grid->client, set_true, &closed);
    CHECK(world_run_until(grid->world, is_true, &closed, SECOND_US));
    world_destroy(grid->world);
}

void grid_crash(struct grid *grid, unsigned node, enum sim_crash how)
{
    sim_node_crash(grid->nodes[node].sim, how);
}

void grid_start(struct grid *grid, unsigned node)
{
    bool refused = sim_node_up(grid->nodes[node].sim) && grid->nodes[node].why[0] != '\0';
    if (refused) sim_node_crash(grid->nodes[node].sim, SIM_KILL);
    if (!sim_node_up(grid->nodes[node].sim)) sim_node_start(grid->nodes[node].sim);
}

struct part *grid_part(struct grid *grid, unsigned node, part_t part)
{
    struct node_view view;
    if (grid->nodes[node].node == NULL) return NULL;
    node_view(grid->nodes[node].node, &view);
    return view.identity == NULL ? NULL : view.parts[part];
}

int grid_leader(struct grid *grid, part_t part)
{
    for (unsigned i = 0; i < grid->nodes_count; i++) {
        struct part *p = grid_part(grid, i, part);
        if (p != NULL && part_leads(p)) return (int)i;
    }
    return -1;
}

static bool part_settled(struct grid *grid, part_t number)
{
    int leader = grid_leader(grid, number);
    if (leader < 0) return false;
    struct part_stats stats;
    part_stats(grid_part(grid, (unsigned)leader, number), &stats);
    for (unsigned i = 0; i < grid->nodes_count; i++) {
        struct part *part = grid_part(grid, i, number);
        if (part == NULL || part_applied(part) != stats.last) return false;
    }
    return true;
}

bool grid_settled(struct grid *grid)
{
    for (part_t p = 0; p < GRID_PARTS; p++)
        if (!part_settled(grid, p)) return false;
    return true;
}

void grid_check_history(struct grid *grid)
{
    for (part_t p = 0; p < GRID_PARTS; p++) {
        const struct store_facts *first = NULL;
        for (unsigned i = 0; i < grid->nodes_count; i++) {
            struct part *part = grid_part(grid, i, p);
            if (part == NULL) continue;
            const struct store_facts *facts = store_facts(part_store(part));
            if (first == NULL) first = facts;
            if (first->index == facts->index) CHECK(first->history == facts->history);
        }
    }
}
