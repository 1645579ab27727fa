/* tests/lib/ws.c -- see ws.h. */
#include "tests/lib/ws.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static bool connect_to(struct ws *ws, uint16_t port, const int *receive_bytes)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    *ws = (struct ws){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    CHECK(ws->fd >= 0);
    if (receive_bytes != NULL) /* Before connecting: the window is agreed upon then. */
        CHECK(setsockopt(ws->fd, SOL_SOCKET, SO_RCVBUF, receive_bytes, sizeof(int)) == 0);
    if (connect(ws->fd, (struct sockaddr *)&address, sizeof(address)) == 0) return true;
    ws_close(ws);
    return false;
}

void ws_connect(struct ws *ws, uint16_t port)
{
    CHECK(connect_to(ws, port, NULL));
}

bool ws_try(struct ws *ws, uint16_t port)
{
    if (!connect_to(ws, port, NULL)) return false;
    if (ws_upgrade(ws, "/ws", "Sec-WebSocket-Protocol: parley.v1\r\n") == 101) return true;
    ws_close(ws);
    return false;
}

bool ws_waits(struct ws *ws, int wait_ms)
{
    struct pollfd wait = {.fd = ws->fd, .events = POLLIN};
    return ws->at < ws->in.len || poll(&wait, 1, wait_ms) > 0;
}

void ws_connect_small(struct ws *ws, uint16_t port)
{
    int receive_bytes = 4096;
    CHECK(connect_to(ws, port, &receive_bytes));
}

void ws_open(struct ws *ws, uint16_t port)
{
    ws_connect(ws, port);
    CHECK(ws_upgrade(ws, "/ws", "Sec-WebSocket-Protocol: parley.v1\r\n") == 101);
}

void ws_close(struct ws *ws)
{
    if (ws->fd >= 0) close(ws->fd);
    ws->fd = -1;
    buf_free(&ws->in);
    ws->at = 0;
}

void ws_write(struct ws *ws, struct slice bytes)
{
    const char *at = bytes.data;
    size_t left = bytes.len;
    while (left > 0) {
        struct pollfd wait = {.fd = ws->fd, .events = POLLOUT};
        if (poll(&wait, 1, WS_WAIT_MS) <= 0) return;
        ssize_t sent = send(ws->fd, at, left, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (sent < 0) return;
        at += sent;
        left -= (size_t)sent;
    }
}

/* Read some more bytes. False: the end, or nothing came. */
static bool read_more(struct ws *ws)
{
    struct pollfd wait = {.fd = ws->fd, .events = POLLIN};
    if (ws->fd < 0 || poll(&wait, 1, WS_WAIT_MS) <= 0) return false;
    if (ws->at == ws->in.len) ws->at = ws->in.len = 0;
    buf_reserve(&ws->in, 65536);
    ssize_t got = recv(ws->fd, ws->in.data + ws->in.len, 65536, 0);
    if (got <= 0) return false;
    ws->in.len += (size_t)got;
    return true;
}

static int status_of(struct slice answer)
{
    if (answer.len < 12 || memcmp(answer.data, "HTTP/1.1 ", 9) != 0) return 0;
    const uint8_t *digit = (const uint8_t *)answer.data + 9;
    return (digit[0] - '0') * 100 + (digit[1] - '0') * 10 + (digit[2] - '0');
}

int ws_upgrade(struct ws *ws, const char *path, const char *headers)
{
    char request[4096];
    const uint8_t *end = NULL;
    int len = snprintf(request, sizeof(request),
                       "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                       "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
                       path, headers);
    CHECK(len > 0 && (size_t)len < sizeof(request));
    ws_write(ws, (struct slice){request, (size_t)len});
    while (end == NULL) {
        if (!read_more(ws)) return 0;
        end = memmem(ws->in.data, ws->in.len, "\r\n\r\n", 4);
    }
    ws->at = (size_t)(end - ws->in.data) + 4;
    return status_of(buf_bytes(&ws->in));
}

void ws_send_frame(struct ws *ws, int opcode, bool fin, struct slice payload)
{
    static const uint8_t mask[4] = {0x5a, 0x01, 0xc3, 0x7e};
    struct buf out = {.data = NULL};
    buf_u8(&out, (uint8_t)((fin ? 0x80 : 0) | opcode));
    if (payload.len < 126) {
        buf_u8(&out, (uint8_t)(0x80 | payload.len));
    } else if (payload.len < 65536) {
        buf_u8(&out, 0x80 | 126);
        buf_u8(&out, (uint8_t)(payload.len >> 8));
        buf_u8(&out, (uint8_t)payload.len);
    } else {
        buf_u8(&out, 0x80 | 127);
        for (int shift = 56; shift >= 0; shift -= 8)
            buf_u8(&out, (uint8_t)(payload.len >> shift));
    }
    buf_put(&out, mask, 4);
    for (size_t i = 0; i < payload.len; i++)
        buf_u8(&out, ((const uint8_t *)payload.data)[i] ^ mask[i % 4]);
    ws_write(ws, buf_bytes(&out));
    buf_free(&out);
}

void ws_send(struct ws *ws, const char *text)
{
    ws_send_frame(ws, WS_TEXT, true, slice_str(text));
}

/* The header of the frame at data: false when bytes is too short for it. */
static bool header_of(const uint8_t *data, size_t bytes, size_t *header, uint64_t *payload)
{
    if (bytes < 2) return false;
    CHECK((data[1] & 0x80) == 0); /* Servers do not mask. */
    size_t more = data[1] == 126 ? 2 : data[1] == 127 ? 8 : 0;
    if (bytes < 2 + more) return false;
    uint64_t len = more == 0 ? data[1] : 0;
    for (size_t i = 0; i < more; i++)
        len = len << 8 | data[2 + i];
    *header = 2 + more;
    *payload = len;
    return true;
}

bool ws_read(struct ws *ws, struct ws_frame *frame)
{
    size_t header = 0;
    uint64_t payload = 0;
    for (;;) {
        const uint8_t *data = ws->in.data + ws->at;
        size_t left = ws->in.len - ws->at;
        if (header_of(data, left, &header, &payload) && left - header >= payload) break;
        if (!read_more(ws)) return false;
    }
    const uint8_t *data = ws->in.data + ws->at;
    *frame = (struct ws_frame){.opcode = data[0] & 15,
                               .fin = (data[0] & 0x80) != 0,
                               .payload = {data + header, (size_t)payload}};
    CHECK((data[0] & 0x70) == 0); /* No extension was agreed upon. */
    if (frame->opcode == WS_CLOSE && payload >= 2)
        frame->close_code = data[header] << 8 | data[header + 1];
    ws->at += header + (size_t)payload;
    return true;
}

struct slice ws_text(struct ws *ws)
{
    struct ws_frame frame;
    while (ws_read(ws, &frame) && frame.opcode != WS_CLOSE) {
        if (frame.opcode == WS_PING) ws_send_frame(ws, WS_PONG, true, frame.payload);
        if (frame.opcode != WS_TEXT || slice_equal(frame.payload, slice_str("{}"))) continue;
        return frame.payload;
    }
    return (struct slice){NULL, 0};
}

int ws_close_code(struct ws *ws)
{
    struct ws_frame frame;
    while (ws_read(ws, &frame)) {
        if (frame.opcode != WS_CLOSE) continue;
        struct slice code = {frame.payload.data, frame.payload.len < 2 ? 0 : 2};
        ws_send_frame(ws, WS_CLOSE, true, code);
        ws_close(ws);
        return frame.close_code;
    }
    return ws_ended(ws) ? 0 : -1;
}

bool ws_ended(struct ws *ws)
{
    struct pollfd wait = {.fd = ws->fd, .events = POLLIN};
    char sink[65536];
    while (poll(&wait, 1, WS_WAIT_MS) > 0)
        if (recv(ws->fd, sink, sizeof(sink), 0) <= 0) return true;
    return false;
}

int http_exchange(uint16_t port, struct slice request, struct buf *answer)
{
    struct ws ws;
    ws_connect(&ws, port);
    ws_write(&ws, request);
    while (read_more(&ws))
        continue;
    int status = status_of(buf_bytes(&ws.in));
    if (answer != NULL) {
        *answer = ws.in;
        ws.in = (struct buf){.data = NULL};
    }
    ws_close(&ws);
    return status;
}

int http_get(uint16_t port, const char *path, struct buf *answer)
{
    char request[4096];
    int len =
        snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", path);
    CHECK(len > 0 && (size_t)len < sizeof(request));
    return http_exchange(port, (struct slice){request, (size_t)len}, answer);
}
