/* chatd/transport_conn.c -- connections: messages, their queue, the flush, the close.
 *
 * Happy path: conn_send queues a message that was framed once; at the end of the loop's turn
 * transport_flush gathers what waits for one socket into writes of up to 16 KiB. A write is always
 * whole frames, so what the library sends itself (pongs, closes) falls between them. What the
 * socket did not take the library keeps, at most one write, and we wait for it to be writable.
 * Failure: a write that fails kills the connection, and closed follows in a later turn.
 * Invariants: queue_bytes is the sum over the queue; a connection is in the dirty list exactly
 * while dirty; nothing is written in CONN_KILLED and after. */
#include <libwebsockets.h>
#include <stdlib.h>

#include "chatd/transport_impl.h"

struct message {
    unsigned refs;
    size_t len;
    uint8_t bytes[]; /* Whole frames. Never changed: LWS_WRITE_RAW only reads them. */
};

enum {
    OPCODE_TEXT = 0x81, /* With FIN. */
    OPCODE_CLOSE = 0x88,
    CLOSE_REASON_BYTES_MAX = 120, /* A control frame carries 125, two are the code. */
};

/* moves[from] holds the phases that may follow. */
static const unsigned moves[] = {
    [CONN_HANDSHAKE] = 1u << CONN_HTTP | 1u << CONN_OPEN | 1u << CONN_KILLED | 1u << CONN_GONE,
    [CONN_HTTP] = 1u << CONN_KILLED | 1u << CONN_GONE,
    [CONN_OPEN] = 1u << CONN_CLOSING | 1u << CONN_KILLED | 1u << CONN_GONE,
    [CONN_CLOSING] = 1u << CONN_KILLED | 1u << CONN_GONE,
    [CONN_KILLED] = 1u << CONN_GONE,
    [CONN_GONE] = 0,
};

void conn_move(struct conn *conn, enum conn_phase to)
{
    CHECK(moves[conn->phase] & 1u << to);
    conn->phase = to;
    conn->since_ms = transport_now_ms(conn->t);
}

uint64_t transport_now_ms(const struct transport *t)
{
    return uv_now(t->loop);
}

/* ---- messages ---- */

struct message *message_raw(struct slice bytes)
{
    struct message *m = mem_alloc(sizeof(*m) + bytes.len);
    *m = (struct message){.refs = 1, .len = bytes.len};
    memcpy(m->bytes, bytes.data, bytes.len);
    return m;
}

struct message *message_text(struct slice text)
{
    CHECK(text.len <= SERVER_FRAME_BYTES_MAX);
    uint8_t header[10] = {OPCODE_TEXT};
    size_t header_bytes = 2;
    if (text.len < 126) {
        header[1] = (uint8_t)text.len;
    } else if (text.len < 65536) {
        header_bytes = 4;
        header[1] = 126;
        header[2] = (uint8_t)(text.len >> 8);
        header[3] = (uint8_t)text.len;
    } else {
        header_bytes = 10;
        header[1] = 127;
        for (int i = 0; i < 8; i++)
            header[2 + i] = (uint8_t)((uint64_t)text.len >> (56 - 8 * i));
    }
    struct message *m = mem_alloc(sizeof(*m) + header_bytes + text.len);
    *m = (struct message){.refs = 1, .len = header_bytes + text.len};
    memcpy(m->bytes, header, header_bytes);
    if (text.len > 0) memcpy(m->bytes + header_bytes, text.data, text.len);
    return m;
}

static struct message *message_ref(struct message *m)
{
    CHECK(m->refs > 0);
    m->refs++;
    return m;
}

void message_unref(struct message *m)
{
    CHECK(m->refs > 0);
    if (--m->refs == 0) free(m);
}

/* ---- the queue ---- */

static struct message *queue_at(const struct conn *conn, uint32_t place)
{
    return conn->queue[(conn->queue_head + place) & (conn->queue_slots - 1)];
}

static void queue_push(struct conn *conn, struct message *m)
{
    if (conn->queue_count == conn->queue_slots) {
        uint32_t slots = conn->queue_slots == 0 ? 4 : conn->queue_slots * 2;
        struct message **queue = mem_alloc(slots * sizeof(struct message *));
        for (uint32_t i = 0; i < conn->queue_count; i++)
            queue[i] = queue_at(conn, i);
        free(conn->queue);
        conn->queue = queue;
        conn->queue_slots = slots;
        conn->queue_head = 0;
    }
    conn->queue[(conn->queue_head + conn->queue_count) & (conn->queue_slots - 1)] = message_ref(m);
    conn->queue_count++;
    conn->queue_bytes += m->len;
    conn->t->queue_bytes += m->len;
}

/* An idle connection keeps no ring: most are idle. */
static void queue_pop(struct conn *conn)
{
    struct message *m = queue_at(conn, 0);
    conn->queue_head = (conn->queue_head + 1) & (conn->queue_slots - 1);
    conn->queue_count--;
    conn->queue_bytes -= m->len;
    conn->t->queue_bytes -= m->len;
    message_unref(m);
    if (conn->queue_count > 0) return;
    CHECK(conn->queue_bytes == 0);
    free(conn->queue);
    conn->queue = NULL;
    conn->queue_slots = conn->queue_head = 0;
}

static void queue_drop(struct conn *conn)
{
    while (conn->queue_count > 0)
        queue_pop(conn);
}

/* ---- what is to be flushed ---- */

/* Keeps the loop awake, and has nothing to do itself. */
static void idle_ran(uv_idle_t *idle)
{
    (void)idle;
}

static void dirty_add(struct conn *conn)
{
    struct transport *t = conn->t;
    if (conn->dirty) return;
    if (t->dirty == NULL) uv_idle_start(&t->idle, idle_ran);
    conn->dirty = true;
    conn->dirty_prev = NULL;
    conn->dirty_next = t->dirty;
    if (t->dirty != NULL) t->dirty->dirty_prev = conn;
    t->dirty = conn;
}

static void dirty_remove(struct conn *conn)
{
    struct transport *t = conn->t;
    if (!conn->dirty) return;
    conn->dirty = false;
    if (conn->dirty_prev != NULL)
        conn->dirty_prev->dirty_next = conn->dirty_next;
    else
        t->dirty = conn->dirty_next;
    if (conn->dirty_next != NULL) conn->dirty_next->dirty_prev = conn->dirty_prev;
    if (t->dirty == NULL) uv_idle_stop(&t->idle);
}

/* The library's writable callback costs four epoll_ctl: only for a socket that is full (L12). */
static void want_write(struct conn *conn)
{
    if (conn->want_write) return;
    conn->want_write = true;
    lws_callback_on_writable(conn->wsi);
}

/* Gather the next frames into one write; *frames says how many. One large frame is not copied. */
static struct slice gather(struct conn *conn, uint32_t *frames)
{
    struct transport *t = conn->t;
    struct message *m = queue_at(conn, 0);
    size_t bytes = 0;
    *frames = 1;
    if (conn->queue_count == 1 || m->len + queue_at(conn, 1)->len > CONN_WRITE_BYTES)
        return (struct slice){m->bytes, m->len};
    for (*frames = 0; *frames < conn->queue_count; (*frames)++) {
        m = queue_at(conn, *frames);
        if (bytes + m->len > CONN_WRITE_BYTES) break;
        memcpy(t->scratch + bytes, m->bytes, m->len);
        bytes += m->len;
    }
    return (struct slice){t->scratch, bytes};
}

int conn_flush(struct conn *conn)
{
    struct transport *t = conn->t;
    if (conn->phase != CONN_OPEN && conn->phase != CONN_CLOSING) return 0;
    while (conn->queue_count > 0) {
        /* Not lws_send_pipe_choked: that is a poll() each time. */
        if (lws_partial_buffered(conn->wsi)) {
            want_write(conn);
            break;
        }
        uint32_t frames;
        struct slice bytes = gather(conn, &frames);
        /* RAW: the frames are ready, and shared; the library copies only what the socket left. */
        if (lws_write(conn->wsi, (uint8_t *)(uintptr_t)bytes.data, bytes.len, LWS_WRITE_RAW) < 0)
            return ERR_CLOSED;
        t->stats.writes++;
        t->stats.frames_out += frames;
        while (frames-- > 0)
            queue_pop(conn);
    }
    if (conn->blocked && conn->queue_bytes <= CONN_QUEUE_BYTES_LOW) {
        conn->blocked = false;
        if (conn->phase == CONN_OPEN) t->handlers.unblocked(conn->user);
    }
    return 0;
}

/* The list is taken whole: what the unblocked handler sends meanwhile is flushed in the next turn,
 * so this ends. Nobody leaves the list while it is walked: sockets end in the library's callbacks.
 */
void transport_flush(struct transport *t)
{
    struct conn *list = t->dirty;
    if (list == NULL) return;
    t->dirty = NULL;
    uv_idle_stop(&t->idle);
    while (list != NULL) {
        struct conn *conn = list;
        list = conn->dirty_next;
        conn->dirty = false;
        if (!conn->want_write && conn_flush(conn) != 0) conn_kill(conn);
    }
}

/* ---- a connection's life ---- */

static void rx_drop(struct conn *conn)
{
    conn->t->rx_bytes -= conn->rx.len;
    buf_free(&conn->rx);
}

struct conn *conn_create(struct transport *t)
{
    struct conn *conn = mem_zero(sizeof(*conn));
    conn->t = t;
    conn->phase = CONN_HANDSHAKE;
    conn->since_ms = conn->heard_ms = transport_now_ms(t);
    conn->prev = t->last;
    if (t->last != NULL)
        t->last->next = conn;
    else
        t->first = conn;
    t->last = conn;
    t->sockets++;
    return conn;
}

void conn_opened(struct conn *conn)
{
    struct transport *t = conn->t;
    handshake_done(conn);
    conn_move(conn, CONN_OPEN);
    conn->heard_ms = transport_now_ms(t);
    conn->opened = true;
    t->open++;
    conn->user = t->handlers.opened(t->arg, conn);
}

void conn_gone(struct conn *conn)
{
    struct transport *t = conn->t;
    if (conn->phase == CONN_GONE) return;
    conn_move(conn, CONN_GONE);
    dirty_remove(conn);
    queue_drop(conn);
    rx_drop(conn);
    handshake_done(conn);
    http_abandon(conn);
    if (!conn->opened) return;
    conn->opened = false;
    t->open--;
    t->handlers.closed(conn->user);
}

void conn_destroy(struct conn *conn)
{
    struct transport *t = conn->t;
    conn_gone(conn);
    if (t->cursor == conn) t->cursor = conn->next;
    if (conn->prev != NULL)
        conn->prev->next = conn->next;
    else
        t->first = conn->next;
    if (conn->next != NULL)
        conn->next->prev = conn->prev;
    else
        t->last = conn->prev;
    t->sockets--;
    free(conn);
}

void conn_kill(struct conn *conn)
{
    if (conn->phase >= CONN_KILLED) return;
    conn_move(conn, CONN_KILLED);
    dirty_remove(conn);
    queue_drop(conn);
    /* ASYNC is the firm one: no flush, no close frame (L15). The library's timers are armed only
     * by its own events: wake it (L7). */
    lws_set_timeout(conn->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
    lws_cancel_service(conn->t->context);
}

bool conn_backlog(const struct conn *conn)
{
    return conn->queue_count > 0 || lws_partial_buffered(conn->wsi);
}

/* ---- for the handlers ---- */

static bool queue_fits(const struct conn *conn, size_t bytes)
{
    return conn->queue_bytes + bytes <= CONN_QUEUE_BYTES_MAX &&
           conn->t->queue_bytes + bytes <= TRANSPORT_QUEUE_BYTES_MAX;
}

int conn_send(struct conn *conn, struct message *m)
{
    if (conn->phase != CONN_OPEN || conn->t->ended) return ERR_CLOSED;
    if (conn->queue_count > 0 && !queue_fits(conn, m->len)) return ERR_BUSY;
    queue_push(conn, m);
    if (conn->queue_bytes >= CONN_QUEUE_BYTES_HIGH) conn->blocked = true;
    dirty_add(conn);
    return 0;
}

bool conn_blocked(const struct conn *conn)
{
    return conn->blocked;
}

/* The library's own way to close from outside its receive callback sends no frame on this build
 * (L6): the frame is ours, queued like any other, and a deadline ends the socket. */
void conn_close(struct conn *conn, enum close_code code, const char *reason)
{
    uint8_t frame[4 + CLOSE_REASON_BYTES_MAX];
    size_t reason_bytes = strnlen(reason, CLOSE_REASON_BYTES_MAX);
    if (conn->phase != CONN_OPEN || conn->t->ended) return;
    frame[0] = OPCODE_CLOSE;
    frame[1] = (uint8_t)(2 + reason_bytes);
    frame[2] = (uint8_t)((unsigned)code >> 8);
    frame[3] = (uint8_t)code;
    memcpy(frame + 4, reason, reason_bytes);
    struct message *m = message_raw((struct slice){frame, 4 + reason_bytes});
    queue_push(conn, m);
    message_unref(m);
    conn_move(conn, CONN_CLOSING);
    rx_drop(conn);
    dirty_add(conn);
}

/* ---- input ---- */

void conn_heard(struct conn *conn)
{
    conn->heard_ms = transport_now_ms(conn->t);
    conn->pinged = false;
}

/* It reads nothing any more; the library answers its close. */
void conn_peer_closed(struct conn *conn)
{
    conn_move(conn, CONN_CLOSING);
    dirty_remove(conn);
    queue_drop(conn);
}

static void deliver(struct conn *conn, struct slice text)
{
    conn->t->stats.frames_in++;
    if (text.len > 0) conn->t->handlers.frame(conn->user, text);
}

/* Receiving is never held up by flow control: the library would spin (L14). What a client may have
 * open is bounded by the operations. */
void conn_received(struct conn *conn, struct slice piece, bool first, bool last, size_t remaining)
{
    conn_heard(conn);
    if (conn->phase != CONN_OPEN) return; /* After our close frame nothing counts. */
    if (conn->rx.len + piece.len + remaining > CLIENT_FRAME_BYTES_MAX) {
        conn_close(conn, CLOSE_TOO_BIG, "a frame may have 64 KiB");
        return;
    }
    if (first && last && conn->rx.len == 0) {
        deliver(conn, piece); /* Whole, in place. */
        return;
    }
    if (conn->t->rx_bytes + piece.len > TRANSPORT_RX_BYTES_MAX) {
        conn_close(conn, CLOSE_FULL, "too many unfinished messages");
        return;
    }
    buf_put(&conn->rx, piece.data, piece.len);
    conn->t->rx_bytes += piece.len;
    if (!last) return;
    struct buf whole = conn->rx;
    conn->rx = (struct buf){.data = NULL};
    conn->t->rx_bytes -= whole.len;
    deliver(conn, buf_bytes(&whole));
    buf_free(&whole);
}
