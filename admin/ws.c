/* admin/ws.c -- see ws.h. */
#include "admin/ws.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    OP_TEXT = 1,
    OP_CLOSE = 8,
    OP_PING = 9,
    OP_PONG = 10,
    HEAD_BYTES_MAX = 4096,
    FINAL = 0x80,
    MASKED = 0x80,
};

struct ws {
    struct env *env;
    struct env_conn *conn;
    const struct ws_handlers *handlers;
    void *arg;
    struct env_address address;
    struct buf in;
    bool upgraded;
    int err, code;
};

static void ws_fail(struct ws *ws, int err)
{
    if (ws->err == 0) ws->err = err;
    env_conn_close(ws->env, ws->conn);
}

/* Client frames are masked (section 5.3); a mask of zeroes changes nothing and is allowed: what it
 * protects against are proxies, and there is none. */
static void frame_write(struct ws *ws, uint8_t op, struct slice body)
{
    struct buf *out = env_conn_out(ws->env, ws->conn);
    buf_u8(out, FINAL | op);
    if (body.len < 126) {
        buf_u8(out, (uint8_t)(MASKED | body.len));
    } else if (body.len < 65536) {
        buf_u8(out, MASKED | 126);
        buf_u8(out, (uint8_t)(body.len >> 8));
        buf_u8(out, (uint8_t)body.len);
    } else {
        buf_u8(out, MASKED | 127);
        for (int i = 7; i >= 0; i--)
            buf_u8(out, (uint8_t)((uint64_t)body.len >> (8 * i)));
    }
    buf_u32(out, 0);
    buf_put(out, body.data, body.len);
}

static void frame_read(struct ws *ws, uint8_t op, struct slice body)
{
    const uint8_t *bytes = body.data;
    if (op == OP_TEXT)
        ws->handlers->text(ws->arg, body);
    else if (op == OP_PING)
        frame_write(ws, OP_PONG, body);
    else if (op == OP_CLOSE) {
        if (body.len >= 2) ws->code = bytes[0] << 8 | bytes[1];
        ws_fail(ws, ERR_CLOSED);
    } else if (op != OP_PONG) {
        ws_fail(ws, ERR_CORRUPT);
    }
}

/* Take one frame from the front of in; bytes used, 0 when it is not whole yet. */
static size_t frame_take(struct ws *ws, const uint8_t *at, size_t left)
{
    if (left < 2) return 0;
    size_t head = 2;
    uint64_t bytes = at[1] & 0x7f;
    if (bytes == 126) {
        if (left < 4) return 0;
        head = 4;
        bytes = (uint64_t)at[2] << 8 | at[3];
    } else if (bytes == 127) {
        if (left < 10) return 0;
        head = 10;
        bytes = 0;
        for (int i = 0; i < 8; i++)
            bytes = bytes << 8 | at[2 + i];
    }
    if (!(at[0] & FINAL) || (at[1] & MASKED) || bytes > WS_MESSAGE_BYTES_MAX) {
        ws_fail(ws, ERR_CORRUPT);
        return 0;
    }
    if (left < head + bytes) return 0;
    frame_read(ws, at[0] & 0x0f, (struct slice){at + head, (size_t)bytes});
    return head + (size_t)bytes;
}

/* The end of the answer's head; 0 when it is not whole yet. */
static size_t upgrade_take(struct ws *ws)
{
    static const char YES[] = "HTTP/1.1 101 ";
    uint8_t *end = memmem(ws->in.data, ws->in.len, "\r\n\r\n", 4);
    if (end == NULL) {
        if (ws->in.len > HEAD_BYTES_MAX) ws_fail(ws, ERR_CORRUPT);
        return 0;
    }
    if (ws->in.len < sizeof(YES) || memcmp(ws->in.data, YES, sizeof(YES) - 1) != 0) {
        ws_fail(ws, ERR_CONNECT);
        return 0;
    }
    ws->upgraded = true;
    ws->handlers->opened(ws->arg);
    return (size_t)(end + 4 - ws->in.data);
}

static void ws_received(struct env_conn *conn, void *arg, struct slice bytes)
{
    struct ws *ws = arg;
    size_t used = 0;
    (void)conn;
    buf_put(&ws->in, bytes.data, bytes.len);
    if (!ws->upgraded) used = upgrade_take(ws);
    while (ws->upgraded && ws->err == 0) {
        size_t taken = frame_take(ws, ws->in.data + used, ws->in.len - used);
        if (taken == 0) break;
        used += taken;
    }
    memmove(ws->in.data, ws->in.data + used, ws->in.len - used);
    ws->in.len -= used;
}

static void ws_opened(struct env_conn *conn, void *arg)
{
    struct ws *ws = arg;
    char request[512];
    int bytes = snprintf(request, sizeof(request),
                         "GET /ws HTTP/1.1\r\nHost: %s:%u\r\nUpgrade: websocket\r\n"
                         "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                         "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                         "Sec-WebSocket-Protocol: parley.v1\r\n\r\n",
                         ws->address.host, ws->address.port);
    buf_put(env_conn_out(ws->env, conn), request, (size_t)bytes);
}

static void ws_closed(struct env_conn *conn, void *arg, int err)
{
    struct ws *ws = arg;
    (void)conn;
    ws->handlers->closed(ws->arg, ws->err != 0 ? ws->err : err, ws->code);
    buf_free(&ws->in);
    free(ws);
}

static const struct env_conn_ops OPS = {
    .opened = ws_opened, .received = ws_received, .closed = ws_closed};

struct ws *ws_open(struct env *env, const struct env_address *address,
                   const struct ws_handlers *handlers, void *arg)
{
    struct ws *ws = mem_zero(sizeof(*ws));
    ws->env = env;
    ws->address = *address;
    ws->handlers = handlers;
    ws->arg = arg;
    ws->conn = env_connect(env, address, &OPS, ws);
    return ws;
}

void ws_send(struct ws *ws, struct slice text)
{
    frame_write(ws, OP_TEXT, text);
}

void ws_close(struct ws *ws)
{
    env_conn_close(ws->env, ws->conn);
}
