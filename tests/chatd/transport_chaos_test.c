/* tests/chatd/transport_chaos_test.c -- clients that send whatever they like, from a seed.
 *
 * Method: each client sends a handshake with random mistakes and then random frames, or random
 * requests one behind the other, cut into random pieces, some bytes flipped, and leaves in one of
 * several ways. Every few clients an honest one must be served. The library has been crashed and
 * hung by less (L1-L5). PARLEY_CHAOS_SEED and PARLEY_CHAOS_CLIENTS make it another and longer run.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "jepsen/sim/splitmix.h"
#include "tests/chatd/transport_fixture.h"
#include "tests/lib/ws.h"

static struct fixture f; /* Each test runs in its own process. */
static struct splitmix random_state;
static struct buf out;

static void tear_down(void)
{
    fixture_stop(&f);
    buf_free(&out);
}
TestSuite(transport_chaos, .fini = tear_down, .timeout = 3600);

static uint64_t chance(uint64_t below)
{
    return splitmix_below(&random_state, below);
}

static bool one_in(uint64_t n)
{
    return chance(n) == 0;
}

static void put(const char *text)
{
    buf_put(&out, text, strlen(text));
}

#define PICK(list) (list)[chance(ARRAY_COUNT(list))]

static void put_filler(size_t bytes)
{
    if (bytes > 0) memset(buf_grow(&out, bytes), 'x', bytes);
}

static void put_handshake(void)
{
    static const char *lines[] = {
        "Host: 127.0.0.1",           "Upgrade: websocket",
        "Connection: Upgrade",       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: parley.v1"};
    static const char *strange[] = {"",
                                    "foo",
                                    "h2c",
                                    "websocket",
                                    "Upgrade, HTTP2-Settings",
                                    "parley.v1, other",
                                    "-",
                                    "0",
                                    "8",
                                    "\x80\xff",
                                    ",;,",
                                    " ",
                                    "-, parley.v1"};
    static const char *more[] = {"Content-Length: 5",
                                 "Content-Length: -1",
                                 "Content-Length: 99999999999999999999",
                                 "Transfer-Encoding: chunked",
                                 "HTTP2-Settings: AAMAAABkAAQAAP__",
                                 "Sec-WebSocket-Extensions: permessage-deflate",
                                 "Sec-WebSocket-Extensions: ,,;;",
                                 "Origin: http://evil.example",
                                 "Expect: 100-continue",
                                 "Upgrade: foo"};
    static const char *methods[] = {"POST", "HEAD", "PUT", "CONNECT", "OPTIONS", "FOO", "PRI"};
    static const char *paths[] = {"/", "/ws?token=t", "/a%00b",    "/%zz",      "/../..", "//",
                                  "*", "?",           "http://x/", "/ws/../ws", "/later"};
    bool spoilt = one_in(2);
    put(spoilt && one_in(5) ? PICK(methods) : "GET");
    put(" ");
    put(spoilt && one_in(4) ? PICK(paths) : "/ws");
    put(spoilt && one_in(10) ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n");
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        if (spoilt && one_in(12)) continue;
        put(lines[i]);
        if (spoilt && one_in(10)) put(PICK(strange));
        put("\r\n");
    }
    for (size_t i = chance(3); spoilt && i > 0; i--) {
        put(PICK(more));
        put("\r\n");
    }
    if (spoilt && one_in(10)) {
        put("X: ");
        put_filler(chance(10000));
        put("\r\n");
    }
    put("\r\n");
}

static void put_frame(void)
{
    static const size_t lengths[] = {0,   1,    2,    5,     125,   126,   127,
                                     200, 1024, 4096, 16384, 65535, 65536, 70000};
    static const uint8_t opcodes[] = {0x81, 0x81, 0x81, 0x01, 0x80, 0x00, 0x82, 0x88, 0x89, 0x8a};
    size_t bytes = PICK(lengths);
    uint8_t first = PICK(opcodes);
    if (one_in(10)) first = (uint8_t)chance(256);
    buf_u8(&out, first);
    uint8_t mask = one_in(15) ? 0 : 0x80;
    if (bytes < 126) {
        buf_u8(&out, (uint8_t)(mask | bytes));
    } else {
        buf_u8(&out, (uint8_t)(mask | 127));
        for (int shift = 56; shift >= 0; shift -= 8)
            buf_u8(&out, (uint8_t)((uint64_t)bytes >> shift));
    }
    if (mask != 0) put_filler(4);
    if (one_in(30)) bytes = bytes / 2; /* Cut short: what follows is taken for its rest. */
    put_filler(bytes);
}

static void put_request(void)
{
    static const char *methods[] = {"GET", "GET", "POST", "HEAD", "PUT", "DELETE", "XX"};
    static const char *paths[] = {"/", "/healthz", "/later", "/x", "/ws"};
    static const size_t bodies[] = {0, 0, 1, 100, 5000, 70000};
    char line[128];
    size_t body = PICK(bodies);
    snprintf(line, sizeof(line), "%s %s HTTP/1.%u\r\nHost: x\r\n", PICK(methods), PICK(paths),
             (unsigned)chance(2));
    put(line);
    snprintf(line, sizeof(line), "Content-Length: %zu\r\n", one_in(3) ? (size_t)chance(99) : body);
    if (one_in(2)) put(line);
    if (one_in(4)) put("Connection: keep-alive\r\n");
    if (one_in(10)) put("Upgrade: h2c\r\n");
    put("\r\n");
    put_filler(body);
}

/* Send out in pieces, then leave. */
static void send_pieces(struct ws *ws)
{
    bool whole = one_in(2);
    char sink[65536];
    for (size_t at = 0; at < out.len;) {
        size_t piece = whole ? out.len : 1 + chance(one_in(3) ? 60 : 6000);
        if (piece > out.len - at) piece = out.len - at;
        /* Never waits: a server that closed, or does not read, is left alone. */
        ssize_t sent = send(ws->fd, out.data + at, piece, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent <= 0) break;
        at += (size_t)sent;
        while (one_in(3) && recv(ws->fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
            continue;
    }
    if (one_in(3)) shutdown(ws->fd, SHUT_WR);
    if (one_in(3)) {
        struct linger reset = {.l_onoff = 1, .l_linger = 0};
        setsockopt(ws->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    } else if (one_in(2)) {
        struct pollfd wait = {.fd = ws->fd, .events = POLLIN};
        while (poll(&wait, 1, 10) > 0 && recv(ws->fd, sink, sizeof(sink), 0) > 0)
            continue;
    }
}

static void one_client(void)
{
    struct ws ws;
    out.len = 0;
    if (one_in(4)) {
        for (uint64_t requests = 1 + chance(4); requests > 0; requests--)
            put_request();
    } else {
        put_handshake();
        for (uint64_t frames = chance(12); frames > 0; frames--)
            put_frame();
    }
    for (uint64_t flips = one_in(8) ? chance(8) : 0; flips > 0; flips--)
        out.data[chance(out.len)] = (uint8_t)chance(256);
    ws_connect(&ws, f.port);
    send_pieces(&ws);
    ws_close(&ws);
}

static bool serves(void)
{
    struct ws ws;
    ws_open(&ws, f.port);
    ws_send(&ws, "still here?");
    bool same = slice_equal(ws_text(&ws), slice_str("still here?"));
    ws_close(&ws);
    return same && http_get(f.port, "/healthz", NULL) == 200;
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

Test(transport_chaos, whatever_clients_send_others_are_served)
{
    uint64_t seed = number_of("PARLEY_CHAOS_SEED", 1);
    uint64_t clients = number_of("PARLEY_CHAOS_CLIENTS", 400);
    random_state = (struct splitmix){seed};
    fixture_init(&f);
    fixture_start(&f);
    for (uint64_t i = 0; i < clients; i++) {
        one_client();
        if (i % 20 != 19) continue;
        cr_assert(serves(), "seed %llu, after client %llu", (unsigned long long)seed,
                  (unsigned long long)i);
        fixture_run(&f, fixture_drop_waiting);
    }
}
