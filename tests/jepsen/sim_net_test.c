/* tests/jepsen/sim_net_test.c -- connections between simulated nodes; the same seed, the same run.
 *
 * Method: a server echoes, a client sends numbered lines; faults come in between. */
#include "jepsen/sim/net.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum { PORT = 7000 };

static struct world *world;
static struct sim_node *client_node, *server_node;
static struct env *client_env;
static struct env_conn *client, *server;
static struct buf got;
static int opened_count, drained_count, server_closed_count;
static int client_err = 1;

struct server {
    struct env *env;
};
static struct server the_server;

static void server_received(struct env_conn *conn, void *arg, struct slice bytes)
{
    struct server *s = arg;
    buf_put(env_conn_out(s->env, conn), bytes.data, bytes.len);
}
static void server_closed(struct env_conn *conn, void *arg, int err)
{
    (void)conn;
    (void)arg;
    (void)err;
    server = NULL;
    server_closed_count++;
}
static const struct env_conn_ops server_ops = {NULL, server_received, NULL, server_closed};

static void accepted(void *arg, struct env_conn *conn)
{
    struct server *s = arg;
    server = conn;
    cr_expect_eq(strncmp(env_conn_peer(s->env, conn), "client:", 7), 0);
    env_conn_accept(s->env, conn, &server_ops, s);
}
static void server_boot(void *arg, struct env *env)
{
    struct server *s = arg;
    struct env_listener *listener;
    struct env_address at = {"server", PORT};
    s->env = env;
    cr_assert_eq(env_listen(env, &at, accepted, s, &listener), 0);
    cr_expect_eq(env_listen(env, &at, accepted, s, &listener), ERR_ADDR_IN_USE);
}
static void server_died(void *arg)
{
    (void)arg;
    server = NULL;
}
static const struct sim_program server_program = {server_boot, server_died};

static void client_opened(struct env_conn *conn, void *arg)
{
    (void)conn;
    (void)arg;
    opened_count++;
}
static void client_received(struct env_conn *conn, void *arg, struct slice bytes)
{
    (void)conn;
    (void)arg;
    buf_put(&got, bytes.data, bytes.len);
}
static void client_drained(struct env_conn *conn, void *arg)
{
    (void)arg;
    cr_expect_eq(env_conn_backlog(client_env, conn), 0);
    drained_count++;
}
static void client_closed(struct env_conn *conn, void *arg, int err)
{
    (void)arg;
    CHECK(conn == client);
    client = NULL;
    client_err = err;
}
static const struct env_conn_ops client_ops = {client_opened, client_received, client_drained,
                                               client_closed};

static void world_make(uint64_t seed)
{
    world = world_create(seed);
    server_node = sim_node_create(world, "server", &server_program, &the_server);
    client_node = sim_node_create(world, "client", NULL, NULL);
    client_env = sim_node_env(client_node);
    sim_node_start(server_node);
    world_run_for(world, 1000);
}
static void set_up(void)
{
    world_make(3);
}
static void tear_down(void)
{
    world_destroy(world);
    buf_free(&got);
}
TestSuite(sim_net, .init = set_up, .fini = tear_down, .timeout = 20);

static void dial(const char *host, uint16_t port)
{
    struct env_address to = {.port = port};
    snprintf(to.host, sizeof(to.host), "%s", host);
    client_err = 1;
    client = env_connect(client_env, &to, &client_ops, NULL);
}
static void say(const char *text)
{
    buf_put(env_conn_out(client_env, client), text, strlen(text));
}
static void expect_got(const char *text)
{
    cr_expect(slice_equal(buf_bytes(&got), slice_str(text)), "%.*s", (int)got.len,
              (const char *)got.data);
}

Test(sim_net, bytes_go_there_and_back_in_order)
{
    dial("server", PORT);
    say("before it opened, ");
    world_run_for(world, 10000);
    say("and after");
    world_run_for(world, 10000);
    expect_got("before it opened, and after");
    cr_expect_eq(opened_count, 1);
    cr_expect_geq(drained_count, 2);
    cr_expect_eq(client_err, 1, "still open");
}

Test(sim_net, closing_sends_what_gathered_and_tells_both)
{
    dial("server", PORT);
    world_run_for(world, 10000);
    say("bye");
    env_conn_close(client_env, client);
    env_conn_close(client_env, client); /* Twice does nothing. */
    cr_expect_eq(client_err, 1, "closed comes later");
    world_run_for(world, 10000);
    cr_expect_eq(client_err, 0);
    cr_expect_eq(server_closed_count, 1);
    cr_expect_eq(got.len, 0, "nothing after close");
}

Test(sim_net, connecting_fails_where_nobody_listens)
{
    dial("server", PORT + 1);
    world_run_for(world, 10000);
    cr_expect_eq(client_err, ERR_CONNECT);
    dial("nowhere", PORT);
    cr_expect_eq(client_err, 1, "never from inside the call");
    world_run_for(world, 10000);
    cr_expect_eq(client_err, ERR_CONNECT);
    sim_node_crash(server_node, SIM_KILL);
    dial("server", PORT);
    world_run_for(world, 10000);
    cr_expect_eq(client_err, ERR_CONNECT);
}

Test(sim_net, connecting_to_what_does_not_answer_times_out)
{
    net_cut(client_node, server_node);
    dial("server", PORT);
    world_run_for(world, 1999000);
    cr_expect_eq(client_err, 1);
    world_run_for(world, 2000);
    cr_expect_eq(client_err, ERR_TIMEOUT);
    net_heal(world);
    sim_node_crash(server_node, SIM_POWER);
    dial("server", PORT);
    world_run_for(world, 2001000);
    cr_expect_eq(client_err, ERR_TIMEOUT);
    cr_expect_eq(opened_count, 0);
}

Test(sim_net, a_cut_is_one_way_and_heals)
{
    dial("server", PORT);
    world_run_for(world, 10000);
    net_cut(server_node, client_node);
    say("one");
    world_run_for(world, 1000000);
    cr_expect_eq(got.len, 0);
    say(" two");
    net_heal(world);
    world_run_for(world, 1000000);
    expect_got("one two");
}

Test(sim_net, a_dead_process_resets_its_connections)
{
    dial("server", PORT);
    world_run_for(world, 10000);
    sim_node_crash(server_node, SIM_KILL);
    world_run_for(world, 10000);
    cr_expect_eq(client_err, ERR_CLOSED);
}

/* Without power nobody says goodbye; only when it is back and hears of a connection it does not
 * know does it answer. */
Test(sim_net, a_machine_without_power_is_silent)
{
    dial("server", PORT);
    world_run_for(world, 10000);
    sim_node_crash(server_node, SIM_POWER);
    say("hello?");
    world_run_for(world, 5000000);
    cr_expect_eq(client_err, 1);
    sim_node_start(server_node);
    world_run_for(world, 5000000);
    say("hello again?");
    world_run_for(world, 5000000);
    cr_expect_eq(client_err, ERR_CLOSED);
}

Test(sim_net, loss_breaks_the_connection_for_both)
{
    dial("server", PORT);
    world_run_for(world, 10000);
    struct net_link link = net_link(client_node, server_node);
    link.loss_ppm = 1000000;
    net_link_set(client_node, server_node, link);
    say("lost");
    world_run_for(world, 10000);
    cr_expect_eq(client_err, ERR_CLOSED);
    cr_expect_eq(server_closed_count, 1);
    cr_expect_eq(got.len, 0);
}

/* Far more than the window: it waits, and drains in the end. */
Test(sim_net, large_output_waits_for_the_reader)
{
    enum { BYTES = 5000000 };
    dial("server", PORT);
    world_run_for(world, 10000);
    uint8_t *at = buf_grow(env_conn_out(client_env, client), BYTES);
    for (size_t i = 0; i < BYTES; i++)
        at[i] = (uint8_t)(i / 1000);
    sim_node_pause(server_node, 1000000);
    world_run_for(world, 900000);
    cr_expect_gt(env_conn_backlog(client_env, client), 3000000);
    world_run_for(world, 2000000);
    cr_expect_eq(env_conn_backlog(client_env, client), 0);
    cr_assert_eq(got.len, BYTES);
    for (size_t i = 0; i < BYTES; i += 500)
        cr_assert_eq(got.data[i], (uint8_t)(i / 1000));
}

/* ---- determinism ---- */

static void run_with_faults(uint64_t seed)
{
    world_make(seed);
    client = NULL;
    for (int round = 0; round < 200; round++) {
        if (client == NULL) dial("server", PORT);
        say("line");
        uint64_t chance = world_random(world);
        if (chance % 11 == 0) net_cut(client_node, server_node);
        if (chance % 7 == 0) net_heal(world);
        if (chance % 13 == 0) sim_node_crash(server_node, chance % 2 ? SIM_KILL : SIM_POWER);
        if (chance % 5 == 0 && !sim_node_up(server_node)) sim_node_start(server_node);
        world_run_for(world, chance % 50000);
    }
}

Test(sim_net, the_same_seed_gives_the_same_run)
{
    tear_down();
    uint64_t hashes[4], events[4];
    static const uint64_t seeds[4] = {5, 5, 6, 7};
    for (int i = 0; i < 4; i++) {
        run_with_faults(seeds[i]);
        hashes[i] = world_hash(world);
        events[i] = world_events(world);
        if (i < 3) tear_down();
    }
    cr_expect_eq(hashes[0], hashes[1]);
    cr_expect_eq(events[0], events[1]);
    cr_expect_neq(hashes[0], hashes[2]);
    cr_expect_neq(hashes[2], hashes[3]);
}
