/* chatd/transport.c -- the library's context and callbacks, keepalive, drain, the end.
 *
 * One struct conn goes with each socket from accept on, as the library's opaque pointer. The
 * library parses HTTP and frames, answers pings and echoes closes; accept, output, timers and
 * limits are ours. Its callbacks come to two protocols: "-" is HTTP and every handshake,
 * parley.v1 an open WebSocket. */
#include "chatd/transport.h"

#include <libwebsockets.h>
#include <stdlib.h>

#include "chatd/sock.h"
#include "chatd/transport_impl.h"

enum {
    RX_BUFFER_BYTES = 4096, /* Read at once from one socket; 1 KiB halves what coalesces. */
    HEADER_BYTES_MAX = 8192,
    TICK_MS_MAX = 100,
    TICK_MS_MIN = 5,
};

struct transport_limits transport_limits_default(void)
{
    return (struct transport_limits){
        .conns_max = 10000,
        .handshakes_per_ip = 512,
        .handshake_ms = 10 * 1000,
        .ping_ms = 25 * 1000,
        .silent_ms = 75 * 1000,
        .stall_ms = 30 * 1000,
        .close_ms = 5 * 1000,
        .walk_ms = 1000,
    };
}

/* ---- the library's callbacks ---- */

static struct conn *conn_of(struct lws *wsi)
{
    return lws_get_opaque_user_data(wsi);
}

/* HTTP, and everything before a WebSocket is open. */
static int http_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                         size_t len)
{
    struct conn *conn = conn_of(wsi);
    (void)user;
    if (conn == NULL) return 0; /* Not ours yet, or not a client's socket. */
    switch (reason) {
        case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE: /* in dangles here (L4). */
            return http_upgrade(conn);
        case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
            return -1; /* A WebSocket that chose "-": it was never checked (L5). */
        case LWS_CALLBACK_HTTP:
            return http_request(conn, in, len);
        case LWS_CALLBACK_HTTP_WRITEABLE:
            return http_writable(conn);
        case LWS_CALLBACK_HTTP_BODY:
        case LWS_CALLBACK_RAW_ADOPT: /* CONNECT makes a raw socket without any timeout. */
        case LWS_CALLBACK_RAW_RX:
            return -1;
        case LWS_CALLBACK_CLOSED_HTTP:
        case LWS_CALLBACK_RAW_CLOSE:
            conn_gone(conn);
            return 0;
        case LWS_CALLBACK_WSI_DESTROY: /* For sockets of both protocols: the last word. */
            lws_set_opaque_user_data(wsi, NULL);
            conn_destroy(conn);
            return 0;
        default:
            return 0;
    }
}

static int ws_received(struct conn *conn, struct slice piece)
{
    struct lws *wsi = conn->wsi;
    bool first = lws_is_first_fragment(wsi);
    if (lws_frame_is_binary(wsi)) conn_close(conn, CLOSE_UNSUPPORTED, "text frames only");
    conn_received(conn, piece, first, lws_is_final_fragment(wsi),
                  lws_remaining_packet_payload(wsi));
    return 0;
}

/* The library echoes the close of a peer that began it, and hangs up on one that answers ours. */
static int ws_peer_closed(struct conn *conn)
{
    if (conn->phase == CONN_OPEN) {
        conn_peer_closed(conn);
        return 0;
    }
    (void)!conn_flush(conn); /* Both began at once: ours may still be queued. */
    return -1;
}

static int ws_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                       size_t len)
{
    struct conn *conn = conn_of(wsi);
    (void)user;
    if (conn == NULL || conn->phase == CONN_GONE) return 0; /* L16: also without ESTABLISHED. */
    switch (reason) {
        case LWS_CALLBACK_ESTABLISHED:
            conn_opened(conn);
            return 0;
        case LWS_CALLBACK_RECEIVE:
            return ws_received(conn, (struct slice){in, len});
        case LWS_CALLBACK_RECEIVE_PONG: /* Only of pings with a payload (L17): ours have one. */
            conn_heard(conn);
            return 0;
        case LWS_CALLBACK_SERVER_WRITEABLE:
            conn->want_write = false;
            if (conn->phase == CONN_KILLED) return -1;
            return conn_flush(conn) != 0 ? -1 : 0;
        case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
            return ws_peer_closed(conn);
        case LWS_CALLBACK_CLOSED:
            conn_gone(conn);
            return 0;
        default:
            return 0;
    }
}

/* tx_packet_size: a smaller one makes the library chop and copy every write (L13). */
static const struct lws_protocols protocols[] = {
    {"-", http_callback, 0, 0, 0, NULL, 1 << 20},
    {"parley.v1", ws_callback, 0, RX_BUFFER_BYTES, 0, NULL, 1 << 20},
    {NULL, NULL, 0, 0, 0, NULL, 0},
};

/* ---- keepalive: every connection is looked at once in walk_ms ---- */

/* A slow network is not cut, a socket that takes nothing is. What tells them apart is what the
 * peer's host acknowledges, wherever our bytes wait: in the queue, the library or the kernel. The
 * kernel is asked only when it matters. True: bytes wait, so silence means nothing. */
static bool judge_backlog(struct conn *conn, uint64_t now_ms)
{
    struct transport *t = conn->t;
    bool ask = conn->stall_ms != 0 || now_ms - conn->heard_ms >= t->limits.ping_ms;
    bool ours = conn_backlog(conn);
    if (!ours && !ask) return false;
    struct sock_progress progress = sock_progress(lws_get_socket_fd(conn->wsi));
    if (!ours && !progress.pending) {
        conn->stall_ms = 0;
        return false;
    }
    if (conn->stall_ms == 0 || progress.acked_bytes != conn->acked_bytes) {
        if (conn->stall_ms != 0) conn->heard_ms = now_ms; /* Acknowledging is a sign of life. */
        conn->stall_ms = now_ms;
        conn->acked_bytes = progress.acked_bytes;
    } else if (now_ms - conn->stall_ms >= t->limits.stall_ms) {
        t->stats.stalled++;
        conn_kill(conn);
    }
    return true;
}

static void judge_silence(struct conn *conn, uint64_t now_ms)
{
    struct transport *t = conn->t;
    uint64_t silent_ms = now_ms - conn->heard_ms;
    if (silent_ms >= t->limits.silent_ms) {
        t->stats.silent++;
        conn_close(conn, CLOSE_SILENT, "nothing heard");
    } else if (silent_ms >= t->limits.ping_ms && !conn->pinged) {
        conn->pinged = true;
        if (conn_send(conn, t->ping) != 0) conn->pinged = false; /* Full: next time. */
    }
}

static void judge(struct conn *conn, uint64_t now_ms)
{
    const struct transport_limits *limits = &conn->t->limits;
    uint64_t age_ms = now_ms - conn->since_ms;
    switch (conn->phase) {
        case CONN_HANDSHAKE: /* The library's own timeouts do not cover all of it. */
            if (age_ms >= (uint64_t)limits->handshake_ms + limits->close_ms) conn_kill(conn);
            break;
        case CONN_HTTP:
            if (age_ms >= (uint64_t)HTTP_REPLY_MS + limits->close_ms) conn_kill(conn);
            break;
        case CONN_OPEN:
            if (!judge_backlog(conn, now_ms)) judge_silence(conn, now_ms);
            break;
        case CONN_CLOSING:
            if (age_ms >= limits->close_ms) conn_kill(conn);
            break;
        case CONN_KILLED:
        case CONN_GONE:
            break;
    }
}

static void walk(struct transport *t, unsigned tick_ms)
{
    uint64_t now_ms = transport_now_ms(t);
    uint64_t count = (uint64_t)t->sockets * tick_ms / t->limits.walk_ms + 1;
    for (; count > 0 && t->first != NULL; count--) {
        struct conn *conn = t->cursor != NULL ? t->cursor : t->first;
        t->cursor = conn->next;
        judge(conn, now_ms);
    }
}

/* Close the oldest connections, as many as the rate allows since the last tick. */
static void drain_some(struct transport *t, unsigned tick_ms)
{
    t->drain_credit += (uint64_t)t->drain_per_second * tick_ms;
    for (struct conn *conn = t->first; conn != NULL && t->drain_credit >= 1000; conn = conn->next) {
        if (conn->phase != CONN_OPEN) continue;
        conn_close(conn, CLOSE_DRAIN, "moving on");
        t->drain_credit -= 1000;
    }
    if (t->drain_credit > 1000) t->drain_credit = 1000; /* Nobody left to spend it on. */
}

static unsigned tick_of(const struct transport *t)
{
    unsigned tick_ms = t->limits.walk_ms / 10;
    if (tick_ms > TICK_MS_MAX) return TICK_MS_MAX;
    return tick_ms < TICK_MS_MIN ? TICK_MS_MIN : tick_ms;
}

static void ticked(uv_timer_t *timer)
{
    struct transport *t = timer->data;
    walk(t, tick_of(t));
    if (t->draining) drain_some(t, tick_of(t));
}

static void check_ran(uv_check_t *check)
{
    transport_flush(check->data);
}

static void prepare_ran(uv_prepare_t *prepare)
{
    transport_flush(prepare->data);
}

/* ---- start and end ---- */

static int context_open(struct transport *t)
{
    /* All zero: no validity checks. The default ones keep a sorted list of all sockets (L8). */
    static const lws_retry_bo_t no_validity = {.secs_since_valid_ping = 0};
    void *loops[1] = {t->loop};
    struct lws_context_creation_info info = {
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_DISABLE_IPV6 |
                   LWS_SERVER_OPTION_UV_NO_SIGSEGV_SIGFPE_SPIN,
        .port = CONTEXT_PORT_NO_LISTEN_SERVER, /* We accept ourselves (L9, L10). */
        .foreign_loops = loops,
        .protocols = protocols,
        .pcontext = &t->context, /* Made NULL by the end. */
        .gid = -1,
        .uid = -1,
        .vhost_name = "default",
        .server_string = "parley",
        .alpn = "http/1.1", /* L3. */
        .extensions = NULL, /* L2: permessage-deflate aborts the process. */
        .retry_and_idle_policy = &no_validity,
        .pt_serv_buf_size = 16384,
        .max_http_header_data = HEADER_BYTES_MAX, /* L20. */
        .timeout_secs = (t->limits.handshake_ms + 999) / 1000,
        .timeout_secs_ah_idle = (t->limits.handshake_ms + 999) / 1000,
        .fd_limit_per_thread = 0, /* L11. */
    };
    /* What goes wrong at start is told; later the library would write a line, at whatever rate
     * they come, for every bad request (L23). */
    lws_set_log_level(LLL_ERR, NULL);
    t->context = lws_create_context(&info);
    lws_set_log_level(0, NULL);
    if (t->context == NULL) return ERR_IO;
    t->vhost = lws_get_vhost_by_name(t->context, "default");
    CHECK(t->vhost != NULL);
    return 0;
}

static void handles_open(struct transport *t)
{
    CHECK(uv_timer_init(t->loop, &t->tick) == 0);
    CHECK(uv_check_init(t->loop, &t->check) == 0);
    CHECK(uv_prepare_init(t->loop, &t->prepare) == 0);
    CHECK(uv_idle_init(t->loop, &t->idle) == 0);
    t->tick.data = t->check.data = t->prepare.data = t->idle.data = t;
    CHECK(uv_timer_start(&t->tick, ticked, tick_of(t), tick_of(t)) == 0);
    CHECK(uv_check_start(&t->check, check_ran) == 0);
    CHECK(uv_prepare_start(&t->prepare, prepare_ran) == 0);
}

static void origins_copy(struct transport *t, const struct transport_config *config)
{
    t->origins_count = config->origins_count;
    t->origins = mem_zero(config->origins_count * sizeof(char *));
    for (size_t i = 0; i < config->origins_count; i++)
        t->origins[i] = mem_string(slice_str(config->origins[i]));
}

static void transport_free(struct transport *t)
{
    accept_free(t);
    for (size_t i = 0; i < t->origins_count; i++)
        free(t->origins[i]);
    free(t->origins);
    message_unref(t->ping);
    free(t);
}

int transport_create(uv_loop_t *loop, const struct transport_config *config,
                     const struct transport_handlers *handlers, void *arg, struct transport **out)
{
    static const uint8_t ping[] = {0x89, 4, 'p', 'i', 'n', 'g', 0x81, 2, '{', '}'};
    struct transport *t = mem_zero(sizeof(*t));
    t->loop = loop;
    t->limits = config->limits;
    t->handlers = *handlers;
    t->arg = arg;
    t->files = config->files;
    t->ping = message_raw((struct slice){ping, sizeof(ping)});
    origins_copy(t, config);

    int rv = accept_open(t, config->host, config->port);
    if (rv != 0) goto undo_memory;
    rv = context_open(t);
    if (rv != 0) goto undo_memory;
    handles_open(t);
    accept_start(t);
    *out = t;
    return 0;

undo_memory:
    transport_free(t);
    return rv;
}

uint16_t transport_port(const struct transport *t)
{
    return t->port;
}

unsigned transport_conns(const struct transport *t)
{
    return t->open;
}

struct transport_stats transport_stats(const struct transport *t)
{
    return t->stats;
}

void transport_drain(struct transport *t, unsigned per_second)
{
    if (!t->draining) accept_stop(t);
    t->draining = true;
    t->drain_per_second = per_second;
}

void transport_close(struct transport *t)
{
    CHECK(!t->ended);
    t->ended = true;
    accept_stop(t);
    uv_close((uv_handle_t *)&t->tick, NULL);
    uv_close((uv_handle_t *)&t->check, NULL);
    uv_close((uv_handle_t *)&t->prepare, NULL);
    uv_close((uv_handle_t *)&t->idle, NULL);
    lws_context_destroy(t->context); /* Begins; the loop ends it. */
    CHECK(t->open == 0);
}

void transport_destroy(struct transport *t)
{
    CHECK(t->ended);
    if (t->context != NULL) lws_context_destroy(t->context); /* The second call frees it. */
    CHECK(t->context == NULL);
    CHECK(t->sockets == 0);
    CHECK(t->queue_bytes == 0);
    CHECK(t->rx_bytes == 0);
    transport_free(t);
}
