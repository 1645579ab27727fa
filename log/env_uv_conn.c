/* log/env_uv_conn.c -- connections and listeners of the real env: libuv's TCP streams.
 *
 * What a turn appends to a connection's buffer is written once, at phase SEND, by uv_try_write.
 * What the kernel does not take then becomes `inflight`, which uv_write owns until it is through;
 * meanwhile `out` gathers on, and follows in one piece.
 *
 *     CONNECTING --> OPEN --> CLOSING --> freed, after closed()
 *         `----------------------^
 *
 * Every end goes through conn_end, which sets the reason and closes the handle; libuv calls
 * conn_closed in a later turn, always, and that is the one place that frees a connection. */
#include <stdio.h>
#include <stdlib.h>

#include "log/env_uv_impl.h"

enum conn_state { CONN_CONNECTING, CONN_OPEN, CONN_CLOSING };

enum { PEER_BYTES_MAX = 80 }; /* A host of 63 bytes in brackets, a colon, a port. */

struct env_conn {
    uv_tcp_t tcp;
    struct env_uv *uv;
    const struct env_conn_ops *ops; /* NULL: accepted just now, or closed before it had any. */
    void *arg;
    enum conn_state state;
    int err; /* CONN_CLOSING: what closed() is told. */

    uv_connect_t connect;
    struct resolve *resolve;     /* A name is being resolved; NULL otherwise. */
    struct env_timer connecting; /* Started while CONN_CONNECTING. */
    uint16_t port;

    struct buf out;      /* Gathers. */
    struct buf inflight; /* uv_write's while writing. */
    uv_write_t write;
    bool writing;
    bool deaf; /* A write failed: output is dropped; reading goes on to the peer's last words. */

    bool in_sends, in_drains;
    struct env_conn *next_send, *next_drain;
    struct env_conn *next, **link; /* uv->conns. */
    char peer[PEER_BYTES_MAX];
};

/* Outlives its connection when that is closed first: libuv cannot always cancel. */
struct resolve {
    uv_getaddrinfo_t req;
    struct env_uv *uv;
    struct env_conn *conn; /* NULL: nobody waits any more. */
};

struct env_listener {
    uv_tcp_t tcp;
    struct env_uv *uv;
    void (*accepted)(void *arg, struct env_conn *conn);
    void *arg;
    uint16_t port;
    bool closing;
    struct env_listener *next, **link; /* uv->listeners. */
};

static uv_stream_t *conn_stream(struct env_conn *conn)
{
    return (uv_stream_t *)&conn->tcp;
}

static uint16_t sockaddr_port(const struct sockaddr_storage *from)
{
    return ntohs(from->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)from)->sin6_port
                                             : ((const struct sockaddr_in *)from)->sin_port);
}

static void peer_print(char *out, const char *host, uint16_t port)
{
    const char *format = strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u";
    snprintf(out, PEER_BYTES_MAX, format, host, (unsigned)port);
}

/* host as numbers into *out. False: it is a name. */
static bool sockaddr_parse(const char *host, uint16_t port, struct sockaddr_storage *out)
{
    return uv_ip4_addr(host, port, (struct sockaddr_in *)out) == 0 ||
           uv_ip6_addr(host, port, (struct sockaddr_in6 *)out) == 0;
}

/* ---- birth and death ---- */

static void connecting_fired(struct env_timer *timer);

static struct env_conn *conn_new(struct env_uv *uv, enum conn_state state)
{
    CHECK(!uv->closing);
    struct env_conn *conn = mem_zero(sizeof(*conn));
    conn->uv = uv;
    conn->state = state;
    env_timer_init(&conn->connecting, connecting_fired);
    CHECK(uv_tcp_init(uv->loop, &conn->tcp) == 0);
    CHECK(uv_tcp_nodelay(&conn->tcp, 1) == 0); /* Remembered: there is no socket yet. */
    uv->handles_count++;
    conn->next = uv->conns;
    conn->link = &uv->conns;
    if (conn->next != NULL) conn->next->link = &conn->next;
    uv->conns = conn;
    return conn;
}

static void sends_forget(struct env_uv *uv, struct env_conn *conn)
{
    struct env_conn **at = &uv->sends;
    while (*at != conn)
        at = &(*at)->next_send;
    *at = conn->next_send;
}

static void drains_forget(struct env_uv *uv, struct env_conn *conn)
{
    struct env_conn **at = &uv->drains;
    while (*at != conn)
        at = &(*at)->next_drain;
    *at = conn->next_drain;
}

static void conn_closed(uv_handle_t *handle)
{
    struct env_conn *conn = CONTAINER_OF(handle, struct env_conn, tcp);
    struct env_uv *uv = conn->uv;
    CHECK(conn->state == CONN_CLOSING);
    if (conn->ops != NULL && !uv->closing) conn->ops->closed(conn, conn->arg, conn->err);
    if (conn->in_sends) sends_forget(uv, conn);
    if (conn->in_drains) drains_forget(uv, conn);
    *conn->link = conn->next;
    if (conn->next != NULL) conn->next->link = conn->link;
    buf_free(&conn->out);
    buf_free(&conn->inflight);
    free(conn);
    uv->handles_count--;
}

/* The connection ends for this reason; the first one counts. */
static void conn_end(struct env_conn *conn, int err)
{
    if (conn->state == CONN_CLOSING) return;
    conn->state = CONN_CLOSING;
    conn->err = err;
    env_timer_stop(&conn->uv->env, &conn->connecting);
    if (conn->resolve != NULL) {
        conn->resolve->conn = NULL;
        uv_cancel((uv_req_t *)&conn->resolve->req); /* Busy: it comes back and finds nobody. */
        conn->resolve = NULL;
    }
    uv_close((uv_handle_t *)&conn->tcp, conn_closed);
}

/* ---- output ---- */

static void conn_want_send(struct env_conn *conn)
{
    if (conn->in_sends || conn->state != CONN_OPEN) return;
    struct env_uv *uv = conn->uv;
    conn->in_sends = true;
    conn->next_send = uv->sends;
    uv->sends = conn;
    env_defer(&uv->env, &uv->send);
}

/* The backlog fell to 0: tell in the next turn, or a fast peer could keep this one for ever. */
static void conn_drained(struct env_conn *conn)
{
    struct env_uv *uv = conn->uv;
    if (conn->out.capacity > ENV_UV_KEEP_BYTES) buf_free(&conn->out);
    if (conn->inflight.capacity > ENV_UV_KEEP_BYTES) buf_free(&conn->inflight);
    if (conn->ops->drained == NULL || conn->in_drains) return;
    conn->in_drains = true;
    conn->next_drain = uv->drains;
    uv->drains = conn;
    env_uv_wake(uv);
}

void env_uv_conn_drains(struct env_uv *uv)
{
    struct env_conn *conn = uv->drains;
    uv->drains = NULL; /* Those who drain anew while we tell are for the next turn. */
    while (conn != NULL) {
        struct env_conn *next = conn->next_drain; /* No connection is freed before we return. */
        conn->in_drains = false;
        bool still = conn->out.len == 0 && !conn->writing; /* Else it will drain anew. */
        if (conn->state == CONN_OPEN && still) conn->ops->drained(conn, conn->arg);
        conn = next;
    }
}

/* The peer takes no more. What it said before (often: why) may wait to be read, so the reader
 * decides when the connection has ended: after a failed write the kernel reports an end there. */
static void conn_deaf(struct env_conn *conn)
{
    conn->deaf = true;
    buf_free(&conn->out);
}

static void conn_written(uv_write_t *write, int status)
{
    struct env_conn *conn = CONTAINER_OF(write, struct env_conn, write);
    conn->writing = false;
    conn->inflight.len = 0;
    if (conn->state != CONN_OPEN) return;
    if (status < 0)
        conn_deaf(conn);
    else if (conn->out.len > 0)
        conn_want_send(conn);
    else
        conn_drained(conn);
}

/* What the kernel takes of out at once, in bytes, or a UV_* code. */
static int conn_try(struct env_conn *conn)
{
    uv_buf_t bytes = uv_buf_init((char *)conn->out.data, (unsigned)conn->out.len);
    int taken = uv_try_write(conn_stream(conn), &bytes, 1);
    return taken == UV_EAGAIN ? 0 : taken;
}

static void conn_flush(struct env_conn *conn)
{
    if (conn->state != CONN_OPEN || conn->writing || conn->out.len == 0) return;
    int taken = conn->deaf ? -1 : conn_try(conn);
    if (taken < 0) {
        conn_deaf(conn);
        return;
    }
    if ((size_t)taken == conn->out.len) {
        conn->out.len = 0;
        conn_drained(conn);
        return;
    }
    struct buf empty = conn->inflight;
    CHECK(empty.len == 0);
    conn->inflight = conn->out;
    conn->out = empty;
    uv_buf_t rest = uv_buf_init((char *)conn->inflight.data + taken,
                                (unsigned)(conn->inflight.len - (size_t)taken));
    conn->writing = true;
    CHECK(uv_write(&conn->write, conn_stream(conn), &rest, 1, conn_written) == 0);
}

static void send_run(struct env_task *task)
{
    struct env_uv *uv = CONTAINER_OF(task, struct env_uv, send);
    while (uv->sends != NULL) {
        struct env_conn *conn = uv->sends;
        uv->sends = conn->next_send;
        conn->in_sends = false;
        conn_flush(conn);
    }
}

struct buf *env_uv_conn_out(struct env *env, struct env_conn *conn)
{
    (void)env;
    conn_want_send(conn);
    return &conn->out;
}

size_t env_uv_conn_backlog(struct env *env, struct env_conn *conn)
{
    (void)env;
    return conn->out.len + (conn->writing ? uv_stream_get_write_queue_size(conn_stream(conn)) : 0);
}

const char *env_uv_conn_peer(struct env *env, struct env_conn *conn)
{
    (void)env;
    return conn->peer;
}

void env_uv_conn_close(struct env *env, struct env_conn *conn)
{
    (void)env;
    if (conn->state == CONN_OPEN && !conn->writing && !conn->deaf && conn->out.len > 0) {
        int taken = conn_try(conn); /* At once or never. */
        (void)taken;
    }
    conn_end(conn, 0);
}

/* ---- input ---- */

static void read_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *out)
{
    (void)hint;
    struct env_conn *conn = CONTAINER_OF(handle, struct env_conn, tcp);
    *out = uv_buf_init((char *)conn->uv->read_buffer, ENV_UV_READ_BYTES);
}

static void conn_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *bytes)
{
    struct env_conn *conn = CONTAINER_OF(stream, struct env_conn, tcp);
    if (got > 0)
        conn->ops->received(conn, conn->arg, (struct slice){bytes->base, (size_t)got});
    else if (got < 0)
        conn_end(conn, got == UV_ETIMEDOUT ? ERR_TIMEOUT : ERR_CLOSED);
}

static void conn_read_start(struct env_conn *conn)
{
    if (uv_read_start(conn_stream(conn), read_alloc, conn_read) != 0) conn_end(conn, ERR_CLOSED);
}

/* ---- connecting ---- */

static void connecting_fired(struct env_timer *timer)
{
    conn_end(CONTAINER_OF(timer, struct env_conn, connecting), ERR_TIMEOUT);
}

static void conn_connected(uv_connect_t *connect, int status)
{
    struct env_conn *conn = CONTAINER_OF(connect, struct env_conn, connect);
    if (conn->state != CONN_CONNECTING) return;
    if (status != 0) {
        conn_end(conn, status == UV_ETIMEDOUT ? ERR_TIMEOUT : ERR_CONNECT);
        return;
    }
    conn->state = CONN_OPEN;
    env_timer_stop(&conn->uv->env, &conn->connecting);
    conn_read_start(conn);
    if (conn->state != CONN_OPEN) return;
    if (conn->out.len > 0) conn_want_send(conn);
    conn->ops->opened(conn, conn->arg);
}

static void conn_dial(struct env_conn *conn, const struct sockaddr *to)
{
    int rv = uv_tcp_connect(&conn->connect, &conn->tcp, to, conn_connected);
    if (rv != 0) conn_end(conn, ERR_CONNECT);
}

static void conn_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct resolve *resolve = CONTAINER_OF(req, struct resolve, req);
    struct env_conn *conn = resolve->conn;
    if (conn != NULL) {
        conn->resolve = NULL;
        if (status != 0 || found == NULL)
            conn_end(conn, ERR_CONNECT);
        else
            conn_dial(conn, found->ai_addr);
    }
    uv_freeaddrinfo(found);
    resolve->uv->handles_count--;
    free(resolve);
}

static const struct addrinfo resolve_hints = {.ai_socktype = SOCK_STREAM};

static void conn_resolve(struct env_conn *conn, const struct env_address *address)
{
    struct resolve *resolve = mem_zero(sizeof(*resolve));
    resolve->uv = conn->uv;
    resolve->conn = conn;
    char port[8];
    snprintf(port, sizeof(port), "%u", (unsigned)address->port);
    int rv = uv_getaddrinfo(conn->uv->loop, &resolve->req, conn_resolved, address->host, port,
                            &resolve_hints);
    if (rv != 0) {
        free(resolve);
        conn_end(conn, ERR_CONNECT);
        return;
    }
    conn->uv->handles_count++;
    conn->resolve = resolve;
}

struct env_conn *env_uv_connect(struct env *env, const struct env_address *address,
                                const struct env_conn_ops *ops, void *arg)
{
    struct env_uv *uv = env_uv_of(env);
    struct env_conn *conn = conn_new(uv, CONN_CONNECTING);
    conn->ops = ops;
    conn->arg = arg;
    peer_print(conn->peer, address->host, address->port);
    env_timer_start_us(env, &conn->connecting, ENV_UV_CONNECT_US);
    struct sockaddr_storage to;
    if (sockaddr_parse(address->host, address->port, &to))
        conn_dial(conn, (const struct sockaddr *)&to);
    else
        conn_resolve(conn, address);
    return conn;
}

/* ---- listening ---- */

/* Where a connection comes from, for people. */
static void conn_name_peer(struct env_conn *conn)
{
    struct sockaddr_storage from;
    int bytes = sizeof(from);
    char host[64] = "?";
    if (uv_tcp_getpeername(&conn->tcp, (struct sockaddr *)&from, &bytes) != 0) {
        peer_print(conn->peer, host, 0);
        return;
    }
    uv_ip_name((const struct sockaddr *)&from, host, sizeof(host));
    peer_print(conn->peer, host, sockaddr_port(&from));
}

static void listener_came(uv_stream_t *stream, int status)
{
    struct env_listener *listener = CONTAINER_OF(stream, struct env_listener, tcp);
    if (status != 0) return; /* The connection was given up before we got to it. */
    struct env_conn *conn = conn_new(listener->uv, CONN_OPEN);
    if (uv_accept(stream, conn_stream(conn)) != 0) {
        conn_end(conn, ERR_CLOSED);
        return;
    }
    conn_name_peer(conn);
    listener->accepted(listener->arg, conn); /* Last: it may close the listener. */
    CHECK(conn->ops != NULL || conn->state == CONN_CLOSING);
}

void env_uv_conn_accept(struct env *env, struct env_conn *conn, const struct env_conn_ops *ops,
                        void *arg)
{
    (void)env;
    CHECK(conn->ops == NULL);
    CHECK(conn->state == CONN_OPEN);
    conn->ops = ops;
    conn->arg = arg;
    conn_read_start(conn);
}

static void listener_closed(uv_handle_t *handle)
{
    struct env_listener *listener = CONTAINER_OF(handle, struct env_listener, tcp);
    listener->uv->handles_count--;
    free(listener);
}

void env_uv_listener_close(struct env *env, struct env_listener *listener)
{
    (void)env;
    CHECK(!listener->closing);
    listener->closing = true;
    *listener->link = listener->next;
    if (listener->next != NULL) listener->next->link = listener->link;
    uv_close((uv_handle_t *)&listener->tcp, listener_closed);
}

/* Where to listen; a name is resolved here and now: listening belongs to start-up. */
static int listen_resolve(struct env_uv *uv, const struct env_address *address,
                          struct sockaddr_storage *out)
{
    if (sockaddr_parse(address->host, address->port, out)) return 0;
    uv_getaddrinfo_t req;
    char port[8];
    snprintf(port, sizeof(port), "%u", (unsigned)address->port);
    int rv = uv_getaddrinfo(uv->loop, &req, NULL, address->host, port, &resolve_hints);
    if (rv != 0) return ERR_CONNECT;
    memcpy(out, req.addrinfo->ai_addr, req.addrinfo->ai_addrlen);
    uv_freeaddrinfo(req.addrinfo);
    return 0;
}

static int listener_open(struct env_listener *listener, const struct sockaddr_storage *at)
{
    /* libuv sets SO_REUSEADDR: a restart need not wait for old connections to be forgotten. */
    int rv = uv_tcp_bind(&listener->tcp, (const struct sockaddr *)at, 0);
    if (rv == 0)
        rv = uv_listen((uv_stream_t *)&listener->tcp, ENV_UV_LISTEN_BACKLOG, listener_came);
    struct sockaddr_storage bound;
    int bytes = sizeof(bound);
    if (rv == 0) rv = uv_tcp_getsockname(&listener->tcp, (struct sockaddr *)&bound, &bytes);
    if (rv != 0) return err_from_uv(rv);
    listener->port = sockaddr_port(&bound);
    return 0;
}

int env_uv_listen(struct env *env, const struct env_address *address,
                  void (*accepted)(void *arg, struct env_conn *conn), void *arg,
                  struct env_listener **out)
{
    struct env_uv *uv = env_uv_of(env);
    CHECK(!uv->closing);
    struct sockaddr_storage at;
    int err = listen_resolve(uv, address, &at);
    if (err != 0) return err;
    struct env_listener *listener = mem_zero(sizeof(*listener));
    listener->uv = uv;
    listener->accepted = accepted;
    listener->arg = arg;
    CHECK(uv_tcp_init(uv->loop, &listener->tcp) == 0);
    uv->handles_count++;
    listener->next = uv->listeners;
    listener->link = &uv->listeners;
    if (listener->next != NULL) listener->next->link = &listener->next;
    uv->listeners = listener;
    err = listener_open(listener, &at);
    if (err != 0) {
        env_uv_listener_close(env, listener);
        return err;
    }
    *out = listener;
    return 0;
}

uint16_t env_uv_listener_port(struct env *env, struct env_listener *listener)
{
    (void)env;
    return listener->port;
}

/* ---- with the env ---- */

void env_uv_conn_init(struct env_uv *uv)
{
    uv->read_buffer = mem_alloc(ENV_UV_READ_BYTES);
    env_task_init(&uv->send, ENV_PHASE_SEND, send_run);
}

void env_uv_conn_close_all(struct env_uv *uv)
{
    for (struct env_conn *conn = uv->conns; conn != NULL; conn = conn->next)
        conn_end(conn, 0);
    while (uv->listeners != NULL)
        env_uv_listener_close(&uv->env, uv->listeners);
}
