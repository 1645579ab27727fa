/* tests/log/env_uv_chaos_test.c -- many connections that send, stall and close at random.
 *
 * Method: every end sends the bytes 0, 1, 2 ... 250, 0, ... in random amounts, checks that what it
 * receives is that sequence from its beginning, and closes at a random moment, often from inside a
 * callback. At the end every connection was told closed once, and the sanitizer finds no leak. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "log/env_uv.h"

enum { CONNS = 120, AT_ONCE = 30, CYCLE = 251, SEND_BYTES_MAX = 600000 };

struct end {
    struct env_conn *conn; /* NULL: closed. */
    uint64_t sent, received;
    bool closing;
};

static struct env_uv *uv;
static struct env *env;
static struct env_listener *listener;
static struct env_timer timer;
static struct end clients[CONNS], servers[CONNS];
static size_t clients_count, servers_count, open_count;
static uint64_t bytes_count, chance_state = 42;

static uint64_t chance(uint64_t below)
{
    chance_state = chance_state * 6364136223846793005u + 1442695040888963407u;
    return (chance_state >> 33) % below;
}

static void act(struct end *end)
{
    if (end->conn == NULL || end->closing) return;
    if (chance(20) == 0) {
        end->closing = true;
        env_conn_close(env, end->conn);
        return;
    }
    if (env_conn_backlog(env, end->conn) > 4 * SEND_BYTES_MAX) return;
    size_t bytes = 1 + chance(chance(8) == 0 ? SEND_BYTES_MAX : 500);
    uint8_t *at = buf_grow(env_conn_out(env, end->conn), bytes);
    for (size_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)(end->sent++ % CYCLE);
}

static void opened(struct env_conn *conn, void *arg)
{
    (void)conn;
    act(arg);
}
static void received(struct env_conn *conn, void *arg, struct slice bytes)
{
    struct end *end = arg;
    const uint8_t *at = bytes.data;
    CHECK(conn == end->conn);
    CHECK(!end->closing);
    for (size_t i = 0; i < bytes.len; i++)
        CHECK(at[i] == end->received++ % CYCLE);
    bytes_count += bytes.len;
    if (chance(4) == 0) act(end);
}
static void drained(struct env_conn *conn, void *arg)
{
    struct end *end = arg;
    CHECK(!end->closing);
    CHECK(env_conn_backlog(env, conn) == 0);
    act(end);
}
static void closed(struct env_conn *conn, void *arg, int err)
{
    struct end *end = arg;
    CHECK(conn == end->conn);
    CHECK(err == 0 || err == ERR_CLOSED);
    end->conn = NULL;
    open_count--;
    if (open_count == 0 && clients_count == CONNS) env_uv_stop(uv);
}
static const struct env_conn_ops ops = {opened, received, drained, closed};

static void accepted(void *arg, struct env_conn *conn)
{
    (void)arg;
    if (servers_count == CONNS || chance(10) == 0) {
        env_conn_close(env, conn);
        return;
    }
    struct end *end = &servers[servers_count++];
    end->conn = conn;
    open_count++;
    env_conn_accept(env, conn, &ops, end);
    if (chance(3) == 0) act(end);
}

/* Keep AT_ONCE connections going, and poke all of them. */
static void timer_fired(struct env_timer *t)
{
    struct env_address to = {"127.0.0.1", env_listener_port(env, listener)};
    while (clients_count < CONNS && open_count < AT_ONCE) {
        struct end *end = &clients[clients_count++];
        end->conn = env_connect(env, &to, &ops, end);
        open_count++;
        if (chance(3) == 0) act(end);
    }
    for (size_t i = 0; i < clients_count; i++)
        act(&clients[i]);
    for (size_t i = 0; i < servers_count; i++)
        act(&servers[i]);
    env_timer_start(env, t, 1);
}

Test(env_uv_chaos, bytes_keep_their_order_and_each_end_is_told_closed_once, .timeout = 30)
{
    struct env_address any = {"127.0.0.1", 0};
    cr_assert_eq(env_uv_create(NULL, &uv), 0);
    env = env_uv_env(uv);
    cr_assert_eq(env_listen(env, &any, accepted, NULL, &listener), 0);
    env_timer_init(&timer, timer_fired);
    env_timer_start(env, &timer, 0);
    env_uv_run(uv);
    env_uv_destroy(uv);
    cr_expect_eq(clients_count, CONNS);
    cr_expect_gt(bytes_count, 1000000);
}
