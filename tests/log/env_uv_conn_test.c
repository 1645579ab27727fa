/* tests/log/env_uv_conn_test.c -- connections of the real env, over loopback.
 *
 * Method: a client and a server in one loop; `story` gathers what each was told. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log/env_uv.h"

static struct env_uv *uv;
static struct env *env;
static struct env_listener *listener;
static struct env_conn *client, *server;
static struct buf got; /* What the server received. */
static char story[64]; /* o c d C D: opened, closed, drained of client (server in capitals). */
static int client_err = 1, server_err = 1;

static void tell(char letter)
{
    size_t len = strlen(story);
    CHECK(len + 1 < sizeof(story));
    story[len] = letter;
}

static void (*on_opened)(void);
static void (*on_received)(void);
static void (*on_drained)(void);
static void (*on_closed)(void);

static void opened(struct env_conn *conn, void *arg)
{
    (void)arg;
    CHECK(conn == client);
    tell('o');
    if (on_opened != NULL) on_opened();
}
static void client_received(struct env_conn *conn, void *arg, struct slice bytes)
{
    (void)arg;
    CHECK(conn == client);
    CHECK(bytes.len > 0);
    tell('r');
}
static void client_drained(struct env_conn *conn, void *arg)
{
    (void)arg;
    cr_expect_eq(env_conn_backlog(env, conn), 0);
    if (on_drained != NULL) on_drained();
}
static void client_closed(struct env_conn *conn, void *arg, int err)
{
    (void)arg;
    CHECK(conn == client);
    client = NULL;
    client_err = err;
    tell('c');
    if (on_closed != NULL) on_closed();
    if (server == NULL) env_uv_stop(uv);
}
static void server_received(struct env_conn *conn, void *arg, struct slice bytes)
{
    (void)arg;
    CHECK(conn == server);
    buf_put(&got, bytes.data, bytes.len);
    if (on_received != NULL) on_received();
}
static void server_closed(struct env_conn *conn, void *arg, int err)
{
    (void)arg;
    CHECK(conn == server);
    server = NULL;
    server_err = err;
    tell('C');
    if (client == NULL) env_uv_stop(uv);
}

static const struct env_conn_ops client_ops = {opened, client_received, client_drained,
                                               client_closed};
static const struct env_conn_ops server_ops = {NULL, server_received, NULL, server_closed};

static void accepted(void *arg, struct env_conn *conn)
{
    server = conn;
    env_conn_accept(env, conn, &server_ops, arg);
}

static void dial(const char *host)
{
    struct env_address to = {.port = env_listener_port(env, listener)};
    snprintf(to.host, sizeof(to.host), "%s", host);
    client = env_connect(env, &to, &client_ops, NULL);
    cr_assert_not_null(client);
    cr_assert_str_eq(story, "", "never from inside the call");
}

static void set_up(void)
{
    cr_assert_eq(env_uv_create(NULL, &uv), 0);
    env = env_uv_env(uv);
    struct env_address any = {"127.0.0.1", 0};
    cr_assert_eq(env_listen(env, &any, accepted, NULL, &listener), 0);
    cr_assert_neq(env_listener_port(env, listener), 0);
}
static void tear_down(void)
{
    env_uv_destroy(uv);
    buf_free(&got);
}
TestSuite(env_uv_conn, .init = set_up, .fini = tear_down, .timeout = 10);

static void client_close(void)
{
    env_conn_close(env, client);
    env_conn_close(env, client); /* Twice does nothing. */
    cr_expect_not(strchr(story, 'c'), "closed comes later");
}

/* Before opened the buffer gathers; close sends what gathered since. */
static void send_more_and_close(void)
{
    buf_put(env_conn_out(env, client), " world", 6);
    client_close();
}

Test(env_uv_conn, what_gathered_is_sent_even_when_closing)
{
    dial("127.0.0.1");
    buf_put(env_conn_out(env, client), "hello", 5);
    on_opened = send_more_and_close;
    env_uv_run(uv);
    cr_expect(slice_equal(buf_bytes(&got), slice_str("hello world")));
    cr_expect_eq(client_err, 0);
    cr_expect_eq(server_err, ERR_CLOSED);
}

Test(env_uv_conn, a_name_is_resolved)
{
    dial("localhost");
    cr_expect_eq(strncmp(env_conn_peer(env, client), "localhost:", 10), 0);
    on_opened = client_close;
    env_uv_run(uv);
    cr_expect_str_eq(story, "ocC");
}

static void server_close(void)
{
    cr_expect_eq(strncmp(env_conn_peer(env, server), "127.0.0.1:", 10), 0);
    env_conn_close(env, server);
}
static void client_says_hello(void)
{
    buf_put(env_conn_out(env, client), "x", 1);
}

Test(env_uv_conn, a_close_by_the_peer_is_told)
{
    dial("127.0.0.1");
    on_opened = client_says_hello;
    on_received = server_close;
    env_uv_run(uv);
    cr_expect_eq(client_err, ERR_CLOSED);
    cr_expect_eq(server_err, 0);
}

Test(env_uv_conn, nobody_listening_is_no_connection)
{
    struct env_address to = {"127.0.0.1", env_listener_port(env, listener)};
    env_listener_close(env, listener);
    client = env_connect(env, &to, &client_ops, NULL);
    cr_expect_eq(client_err, 1, "never from inside the call");
    env_uv_run(uv);
    cr_expect_eq(client_err, ERR_CONNECT);
    cr_expect_str_eq(story, "c", "never opened");
}

Test(env_uv_conn, a_name_that_does_not_exist_is_no_connection)
{
    struct env_address to = {"no such host", 1};
    client = env_connect(env, &to, &client_ops, NULL);
    env_uv_run(uv);
    cr_expect_eq(client_err, ERR_CONNECT);
}

Test(env_uv_conn, closing_before_it_opened_tells_closed_alone)
{
    dial("localhost");
    client_close();
    env_uv_run(uv);
    cr_expect_str_eq(story, "c");
    cr_expect_eq(client_err, 0);
}

/* A listener whose queue is full answers no SYN: the kernel would try for two minutes. */
Test(env_uv_conn, a_connect_that_takes_too_long_fails)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), fill[8];
    struct sockaddr_in at;
    socklen_t bytes = sizeof(at);
    cr_assert_eq(uv_ip4_addr("127.0.0.1", 0, &at), 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    cr_assert_eq(listen(fd, 0), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&at, &bytes), 0);
    for (size_t i = 0; i < ARRAY_COUNT(fill); i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fill[i], (struct sockaddr *)&at, sizeof(at));
    }
    struct env_address to = {"127.0.0.1", ntohs(at.sin_port)};
    uint64_t start_us = env_now_us(env);
    client = env_connect(env, &to, &client_ops, NULL);
    env_uv_run(uv);
    cr_expect_eq(client_err, ERR_TIMEOUT);
    cr_expect_lt(env_now_us(env) - start_us, 3000000);
    for (size_t i = 0; i < ARRAY_COUNT(fill); i++)
        close(fill[i]);
    close(fd);
}

/* More than any socket buffer holds, in chunks, each sent when the one before has drained. */
enum { CHUNK_BYTES = 3000000, CHUNKS = 5 };
static int chunks;

static void send_chunk(void)
{
    if (chunks++ == CHUNKS) {
        client_close();
        return;
    }
    memset(buf_grow(env_conn_out(env, client), CHUNK_BYTES), chunks, CHUNK_BYTES);
    cr_expect_eq(env_conn_backlog(env, client), CHUNK_BYTES);
}

Test(env_uv_conn, large_output_arrives_whole_and_drains)
{
    dial("127.0.0.1");
    on_opened = send_chunk;
    on_drained = send_chunk;
    env_uv_run(uv);
    cr_assert_eq(got.len, (size_t)CHUNKS * CHUNK_BYTES);
    for (size_t i = 0; i < got.len; i += 1000)
        cr_assert_eq(got.data[i], 1 + i / CHUNK_BYTES);
}

/* While a first part is under way more gathers behind it. */
static void send_piece(void)
{
    if (chunks++ == 200) return;
    memset(buf_grow(env_conn_out(env, client), 100000), chunks, 100000);
}
static struct env_timer pace;
static void pace_fired(struct env_timer *timer)
{
    for (int i = 0; i < 10; i++)
        send_piece();
    if (chunks < 200)
        env_timer_start(env, timer, 0);
    else
        on_drained = client_close;
}
static void start_pace(void)
{
    env_timer_init(&pace, pace_fired);
    env_timer_start(env, &pace, 0);
}

Test(env_uv_conn, output_behind_a_slow_write_keeps_its_order)
{
    dial("127.0.0.1");
    on_opened = start_pace;
    env_uv_run(uv);
    cr_assert_eq(got.len, (size_t)200 * 100000);
    for (size_t i = 0; i < got.len; i += 1000)
        cr_assert_eq(got.data[i], (uint8_t)(1 + i / 100000));
}

Test(env_uv_conn, a_port_in_use_is_told)
{
    struct env_listener *second;
    struct env_address same = {"127.0.0.1", env_listener_port(env, listener)};
    cr_expect_eq(env_listen(env, &same, accepted, NULL, &second), ERR_ADDR_IN_USE);
}

static void refuse(void *arg, struct env_conn *conn)
{
    (void)arg;
    env_conn_close(env, conn);
}

Test(env_uv_conn, a_connection_may_be_refused_when_it_comes)
{
    struct env_address any = {"127.0.0.1", 0};
    env_listener_close(env, listener);
    cr_assert_eq(env_listen(env, &any, refuse, NULL, &listener), 0);
    dial("127.0.0.1");
    env_uv_run(uv);
    cr_expect_str_eq(story, "oc");
    cr_expect_eq(client_err, ERR_CLOSED);
}

static void dial_again(void)
{
    on_closed = NULL;
    struct env_address to = {"127.0.0.1", env_listener_port(env, listener)};
    env_listener_close(env, listener);
    client = env_connect(env, &to, &client_ops, NULL);
}

Test(env_uv_conn, closed_may_connect_again)
{
    dial("127.0.0.1");
    on_opened = client_close;
    on_closed = dial_again;
    env_uv_run(uv);
    cr_expect_eq(strlen(story), 4, "o, c, C and c again");
    cr_expect_eq(client_err, ERR_CONNECT);
}

/* The server says why and closes while the client still sends: the client's next write fails, but
 * what the server said is waiting to be read. */
static void server_says_why(void)
{
    if (server == NULL) return;
    buf_put(env_conn_out(env, server), "why", 3);
    env_conn_close(env, server);    /* More came than one read took: the kernel resets. */
    env_timer_start(env, &pace, 0); /* The client writes before it reads. */
}
static void endless_fired(struct env_timer *timer)
{
    if (client == NULL) return;
    memset(buf_grow(env_conn_out(env, client), 1000000), 1, 1000000);
    env_timer_start(env, timer, 100);
}
static void send_endlessly(void)
{
    env_timer_init(&pace, endless_fired);
    env_timer_start(env, &pace, 0);
}

Test(env_uv_conn, the_last_words_of_a_peer_are_read_though_writing_failed)
{
    dial("127.0.0.1");
    on_opened = send_endlessly;
    on_received = server_says_why;
    env_uv_run(uv);
    cr_expect_eq(client_err, ERR_CLOSED);
    cr_expect(strchr(story, 'r'), "%s", story);
}

/* Destroy with connections open: nothing calls back, nothing leaks (the sanitizer looks). */
static void stop(void)
{
    env_uv_stop(uv);
}

Test(env_uv_conn, destroying_env_closes_without_a_callback)
{
    dial("127.0.0.1");
    on_opened = client_says_hello;
    on_received = stop;
    env_uv_run(uv);
    cr_expect_str_eq(story, "o");
}
