/* tests/raft/client_noise_test.c -- a node that speaks nonsense harms no client.
 *
 * Method: one of the addresses a client is given belongs to a listener that greets as a node does,
 * and then says frames of every kind with bodies of noise. */
#include <criterion/criterion.h>

#include "raft/frame.h"
#include "tests/raft/served.h"

static struct served served;
static struct sim_node *sim;
static unsigned accepted_count, kind;
static bool greets;

static void noise_received(struct env_conn *conn, void *arg, struct slice bytes)
{
    struct env *env = arg;
    struct buf *out = env_conn_out(env, conn);
    uint8_t noise[64];
    (void)bytes;
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (uint8_t)env_random(env);
    if (greets) {
        size_t at = frame_begin(out, WIRE_WELCOME);
        wire_welcome_encode(&(struct wire_welcome){1, 9, 77}, out);
        frame_end(out, at);
    }
    frame_put(out, (uint8_t)(kind++ % 256), (struct slice){noise, env_random_below(env, 64)});
    buf_put(out, noise, 5);
}

static void noise_closed(struct env_conn *conn, void *arg, int err)
{
    (void)conn;
    (void)arg;
    (void)err;
}

static const struct env_conn_ops noise_ops = {.received = noise_received, .closed = noise_closed};

static void noise_accepted(void *arg, struct env_conn *conn)
{
    accepted_count++;
    env_conn_accept(arg, conn, &noise_ops, arg);
}

static void set_up(void)
{
    struct env_listener *listener;
    struct env_address address = {"noise", 7001};
    served_set_up(&served, 9);
    sim = sim_node_create(served.world, "noise", NULL, NULL);
    struct env *env = sim_node_env(sim);
    cr_assert_eq(env_listen(env, &address, noise_accepted, env, &listener), 0);
}
static void tear_down(void)
{
    served_tear_down(&served);
}
TestSuite(client_noise, .init = set_up, .fini = tear_down, .timeout = 60);

struct one {
    struct client_txn req;
    bool ended;
    int err;
};

static void one_done(struct client_txn *req, int err, const struct outcome *outcome,
                     uint32_t after_ms)
{
    struct one *one = CONTAINER_OF(req, struct one, req);
    (void)outcome;
    (void)after_ms;
    one->ended = true;
    one->err = err;
}

static bool one_ended(void *arg)
{
    return ((struct one *)arg)->ended;
}

/* 200 connections, each with another kind of nonsense; what the real nodes are asked is done. */
static void stand_the_noise(void)
{
    struct client *client;
    struct env_address addresses[2] = {{"noise", 7001}, served.addresses[0]};
    struct client_config config = {addresses, 2};
    cr_assert_eq(client_create(served.env, &config, &client), 0);
    for (uint64_t n = 1; accepted_count < 200; n++) {
        struct txn_record record = {.payload = slice_str("x")};
        struct txn txn = {.stream = slice_str("c/1"),
                          .producer = slice_str("alice/1"),
                          .n = n,
                          .records = &record,
                          .records_count = 1};
        struct one one = {.req = {.txn = &txn, .done = one_done}};
        client_txn(client, &one.req);
        cr_assert(world_run_until(served.world, one_ended, &one, 10 * 1000000ull));
        cr_assert_eq(one.err, 0);
        world_run_for(served.world, 200000);
    }
    bool closed = false;
    client_destroy(client, served_set_true, &closed);
    world_run_for(served.world, 1000000);
    cr_expect(closed);
}

Test(client_noise, nonsense_after_a_greeting_is_left_alone)
{
    greets = true;
    stand_the_noise();
}

Test(client_noise, nonsense_instead_of_a_greeting_is_left_alone)
{
    stand_the_noise();
}
