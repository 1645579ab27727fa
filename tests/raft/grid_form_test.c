/* tests/raft/grid_form_test.c -- making a cluster, with the power failing at every step of it.
 *
 * Method: one node in a simulated world is asked to form a cluster of its own while its disk fails
 * before the k-th change, for every k; then it starts again. It either knows nothing of a cluster
 * and can be asked anew, or goes on where it was; in the end it serves. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>

#include "raft/status.h"
#include "tests/raft/grid.h"

enum { SECOND_US = 1000000, CHANGES_MAX = 2000 };

static const char map[] =
    "{\"cluster\":\"00000000000000aa\",\"partitions\":2,\"nodes\":["
    "{\"node\":1,\"client\":\"n1:7000\",\"peer\":\"n1:7100\"}]}";

static struct node_under_test {
    struct world *world;
    struct sim_node *sim;
    struct node *node;
    struct diag diag;
    char why[512];
} under;

static void silent(void *arg, struct slice line)
{
    (void)arg;
    (void)line;
}

static void boot(void *arg, struct env *env)
{
    struct node_under_test *u = arg;
    struct node_config config = {.dir = "/data",
                                 .node = 1,
                                 .client = {"n1", 7000},
                                 .peer = {"n1", 7100},
                                 .memory_bytes = 1024 * 1024,
                                 .wal_file_bytes = 128 * 1024};
    diag_init(&u->diag, DIAG_ERROR, NULL, silent, NULL);
    u->why[0] = '\0';
    if (node_create(env, &config, &u->diag, &u->node, u->why, sizeof(u->why)) != 0) u->node = NULL;
}

static void died(void *arg)
{
    struct node_under_test *u = arg;
    if (u->node != NULL) node_abandon(u->node);
    u->node = NULL;
}

static const struct sim_program program = {boot, died};

struct forming {
    struct client_form form;
    bool done;
    int err;
};

static void form_done(struct client_form *form, int err, struct slice text)
{
    struct forming *forming = CONTAINER_OF(form, struct forming, form);
    (void)text;
    forming->err = err;
    forming->done = true;
}

static bool is_true(void *arg)
{
    return *(bool *)arg;
}

static bool serves(void *arg)
{
    struct node_under_test *u = arg;
    struct node_view view;
    if (u->node == NULL) return false;
    node_view(u->node, &view);
    if (view.identity == NULL || !view.identity->formed) return false;
    return part_leads(view.parts[0]) && part_leads(view.parts[1]);
}

static int form(struct client *client, uint32_t deadline_ms)
{
    struct forming forming = {
        .form = {.map = {map, sizeof(map) - 1}, .deadline_ms = deadline_ms, .done = form_done}};
    client_form(client, &forming.form);
    cr_assert(world_run_until(under.world, is_true, &forming.done, 20 * SECOND_US));
    return forming.err;
}

/* The connection from before the power cut hangs: asked again until the node answers. */
static int form_again(struct client *client)
{
    int err = form(client, 2000);
    for (unsigned i = 0; i < 20 && (err == ERR_TIMEOUT || err == ERR_CONNECT); i++) {
        world_run_for(under.world, SECOND_US / 4);
        err = form(client, 2000);
    }
    return err;
}

static void set_true(void *arg)
{
    *(bool *)arg = true;
}

/* True when the power failed before forming was over. */
static bool run(uint64_t k)
{
    under = (struct node_under_test){.world = world_create(k + 1)};
    under.sim = sim_node_create(under.world, "n1", &program, &under);
    sim_node_start(under.sim);
    struct env *env = sim_node_env(sim_node_create(under.world, "cli", NULL, NULL));
    struct env_address address = {"n1", 7000};
    struct client_config config = {.nodes = &address, .nodes_count = 1};
    struct client *client;
    cr_assert_eq(client_create(env, &config, &client), 0);
    world_run_for(under.world, SECOND_US / 10);
    disk_cut_before(sim_node_disk(under.sim), k);
    int err = form(client, 300);
    (void)world_run_until(under.world, serves, &under, SECOND_US / 2);
    bool cut = !sim_node_up(under.sim);
    if (cut) {
        disk_cut_before(sim_node_disk(under.sim), 0);
        sim_node_start(under.sim);
        world_run_for(under.world, SECOND_US / 10);
        cr_assert_not_null(under.node, "cut before change %llu: %s", (unsigned long long)k,
                           under.why);
        struct node_view view;
        node_view(under.node, &view);
        if (view.identity == NULL) {
            cr_assert_neq(err, 0, "change %llu: it had agreed", (unsigned long long)k);
            int again = form_again(client);
            cr_assert_eq(again, 0, "change %llu: %s", (unsigned long long)k, err_text(again));
        }
    } else {
        disk_cut_before(sim_node_disk(under.sim), 0);
    }
    cr_assert(world_run_until(under.world, serves, &under, 10 * SECOND_US),
              "cut before change %llu: it never serves", (unsigned long long)k);
    cr_assert_eq(form_again(client), ERR_EXISTS, "once is enough");
    bool closed = false;
    client_destroy(client, set_true, &closed);
    cr_assert(world_run_until(under.world, is_true, &closed, SECOND_US));
    world_destroy(under.world);
    return cut;
}

Test(grid_form, forming_survives_a_power_cut_before_every_change, .timeout = 120)
{
    uint64_t k = 1;
    while (k < CHANGES_MAX && run(k))
        k++;
    cr_assert_gt(k, 10, "forming changes the disk");
    cr_assert_lt(k, CHANGES_MAX);
}

/* ---- what a node says of itself ---- */

static struct grid grid;

static json_t *status_of(unsigned node)
{
    struct node_view view;
    struct buf text = {0};
    node_view(grid.nodes[node].node, &view);
    status_json(&view, &text);
    json_t *status = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    cr_assert_not_null(status);
    buf_free(&text);
    return status;
}

Test(grid_status, a_node_says_what_it_is, .timeout = 60)
{
    grid_set_up(&grid, 5, 3, 1024 * 1024);
    json_t *status = status_of(0);
    cr_expect_eq(json_integer_value(json_object_get(status, "node")), 1);
    cr_expect_str_eq(json_string_value(json_object_get(status, "cluster")), "00000000000000aa");
    cr_expect(json_is_true(json_object_get(status, "healthy")));
    cr_expect_eq(json_array_size(json_object_get(status, "nodes")), 3);
    const json_t *parts = json_object_get(status, "partitions");
    cr_assert_eq(json_array_size(parts), GRID_PARTS);
    const json_t *part = json_array_get(parts, 0);
    cr_expect_gt(json_integer_value(json_object_get(part, "leader")), 0);
    cr_expect_eq(json_array_size(json_object_get(part, "voters")), 3);
    json_decref(status);
    grid_tear_down(&grid);
}

/* Each line is a comment or `name value` or `name{labels} value`. */
Test(grid_status, its_metrics_are_lines_that_prometheus_reads, .timeout = 60)
{
    grid_set_up(&grid, 5, 3, 1024 * 1024);
    struct node_view view;
    struct buf text = {0};
    node_view(grid.nodes[0].node, &view);
    status_metrics(&view, &text);
    buf_put(&text, "", 1);
    unsigned samples = 0;
    char *rest = (char *)text.data;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        char name[128];
        unsigned long long value;
        if (line[0] == '\0' || line[0] == '#') continue;
        cr_expect_eq(sscanf(line, "%127[a-z_]", name), 1, "%s", line);
        cr_expect(strncmp(name, "parley_logd_", 12) == 0, "%s", line);
        const char *space = strrchr(line, ' ');
        cr_assert_not_null(space);
        cr_expect_eq(sscanf(space, " %llu", &value), 1, "%s", line);
        samples++;
    }
    cr_expect_gt(samples, 50);
    buf_free(&text);
    grid_tear_down(&grid);
}
