/* tests/chatd/transport_http_test.c -- HTTP of the transport: one request a socket, files in
 * memory, and what must not get through. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "log/env_uv.h"
#include "tests/chatd/transport_fixture.h"
#include "tests/lib/dir.h"
#include "tests/lib/ws.h"

enum { BIG_BYTES = 6 * 1024 * 1024 }; /* More than the kernel takes for one socket. */

static struct fixture f; /* Each test runs in its own process. */
static struct dir dir;
static struct env_uv *uv;
static struct webroot *files;
static struct buf answer;

static void put_file(const char *name, const char *text)
{
    dir_put(&dir, name, 0, slice_str(text));
}
static void set_up(void)
{
    dir_set_up(&dir);
    put_file("index.html", "<!doctype html>");
    put_file("app.js", "export {}");
    put_file("notes.txt", "not served");
    put_file(".hidden.js", "not served");
    dir_zero(&dir, "big.js", 0, BIG_BYTES);
    cr_assert_eq(env_uv_create(NULL, &uv), 0);
    cr_assert_eq(webroot_load(env_uv_env(uv), dir.path, &files), 0);
    fixture_init(&f);
    f.config.files = files;
}
static void tear_down(void)
{
    fixture_stop(&f);
    webroot_destroy(files);
    env_uv_destroy(uv);
    dir_tear_down(&dir);
    buf_free(&answer);
}
TestSuite(transport_http, .init = set_up, .fini = tear_down, .timeout = 30);

static int get(const char *path)
{
    buf_free(&answer);
    return http_get(f.port, path, &answer);
}

static int send_raw(const char *request)
{
    buf_free(&answer);
    return http_exchange(f.port, slice_str(request), &answer);
}

/* The answer holds text (in its headers, whose names may come in any case, or its body). */
static bool answered(const char *text)
{
    buf_u8(&answer, 0);
    answer.len--;
    return answer.len > 0 && strcasestr((char *)answer.data, text) != NULL;
}

Test(transport_http, files_come_with_their_type_and_strict_headers)
{
    fixture_start(&f);
    cr_assert_eq(get("/"), 200);
    cr_expect(answered("\r\n\r\n<!doctype html>"));
    cr_expect(answered("content-type: text/html; charset=utf-8\r\n"));
    cr_expect(answered("content-length: 15\r\n"));
    cr_expect(answered("cache-control: no-cache\r\n"));
    cr_expect(answered("x-content-type-options: nosniff\r\n"));
    cr_expect(answered("content-security-policy: default-src 'self'; connect-src 'self' ws: wss:"));
    cr_expect(answered("connection: close\r\n"));
    cr_expect_eq(get("/index.html"), 200);
    cr_assert_eq(get("/app.js?v=1"), 200);
    cr_expect(answered("content-type: text/javascript"));
}

Test(transport_http, a_head_has_headers_alone)
{
    fixture_start(&f);
    cr_assert_eq(send_raw("HEAD /app.js HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    cr_expect(answered("content-length: 9\r\n"));
    cr_expect_not(answered("export"));
}

Test(transport_http, only_known_names_are_files)
{
    static const char *paths[] = {
        "/notes.txt",
        "/nothing.js",
        "/../app.js/x",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2fetc/passwd",
        "/app.js/",
        "/App.js",
        "/app.js%00.txt",
        "/%00",
        "/etc/passwd",
        "/index.html/..",
        "/./../../etc/passwd",
        "//etc/passwd",
        "/%c0%ae%c0%ae/etc",
        "/app.js%20",
        "/\\..\\app.js",
    };
    fixture_start(&f);
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        int status = get(paths[i]);
        bool refused = status == 404 || status == 403 || status == 0 || status == 400;
        bool index = status == 200 && answered("<!doctype html>"); /* "/index.html/.." is "/". */
        cr_expect(refused || index, "%s: %d", paths[i], status);
        cr_expect_not(answered("root:"), "%s", paths[i]);
    }
}

/* L18: the library's own timeout would cut it after one second here. */
Test(transport_http, a_large_file_reaches_a_slow_reader_whole)
{
    struct ws ws;
    char bytes[65536];
    size_t total = 0;
    ssize_t got;
    f.config.limits.handshake_ms = 1000;
    fixture_start(&f);
    ws_connect_small(&ws, f.port);
    ws_write(&ws, slice_str("GET /big.js HTTP/1.1\r\nHost: x\r\n\r\n"));
    fixture_pause(1500);
    while ((got = recv(ws.fd, bytes, sizeof(bytes), 0)) > 0)
        total += (size_t)got;
    cr_expect_eq(got, 0);
    cr_expect_gt(total, BIG_BYTES);
    cr_expect_lt(total, BIG_BYTES + 1024);
    ws_close(&ws);
}

Test(transport_http, other_requests_go_to_the_handler)
{
    fixture_start(&f);
    cr_assert_eq(get("/healthz"), 200);
    cr_expect(answered("\r\n\r\nok\n"));
    cr_expect_eq(get("/readyz"), 404);
    cr_expect(answered("no such path"));
}

Test(transport_http, an_answer_may_come_later)
{
    struct ws ws;
    char bytes[4096] = {0};
    fixture_start(&f);
    ws_connect(&ws, f.port);
    ws_write(&ws, slice_str("GET /later HTTP/1.1\r\nHost: x\r\n\r\n"));
    cr_assert(fixture_waiting(&f));
    cr_expect_eq(get("/healthz"), 200, "others are served meanwhile");
    fixture_reply(&f);
    size_t len = 0;
    for (ssize_t got; (got = recv(ws.fd, bytes + len, sizeof(bytes) - 1 - len, 0)) > 0;)
        len += (size_t)got;
    cr_expect_not_null(strstr(bytes, "\r\n\r\nlate\n"));
    ws_close(&ws);
}

Test(transport_http, an_answer_to_nobody_does_no_harm)
{
    struct ws ws;
    fixture_start(&f);
    ws_connect(&ws, f.port);
    ws_write(&ws, slice_str("GET /later HTTP/1.1\r\nHost: x\r\n\r\n"));
    cr_assert(fixture_waiting(&f));
    ws_close(&ws);
    cr_expect_eq(get("/healthz"), 200);
    fixture_reply(&f);
    cr_expect_eq(get("/healthz"), 200);

    ws_connect(&ws, f.port); /* And one that is still open at the end of everything. */
    ws_write(&ws, slice_str("GET /later HTTP/1.1\r\nHost: x\r\n\r\n"));
    cr_assert(fixture_waiting(&f));
    fixture_stop(&f);
    ws_close(&ws);
}

/* L1: on the library alone the first of these takes a core for ever, after the client has gone. */
Test(transport_http, a_second_request_on_a_socket_is_never_looked_at)
{
    static const char *pipelined[] = {
        "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nContent-Length: "
        "5\r\n\r\nhello",
        "GET /later HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        "GET /later HTTP/1.1\r\nHost: x\r\n\r\nGET /later HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: "
        "websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: parley.v1\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    };
    fixture_start(&f);
    for (size_t i = 0; i < ARRAY_COUNT(pipelined); i++) {
        send_raw(pipelined[i]);
        cr_expect_not(answered(" 101 "), "case %zu", i);
        bool later = strncmp(pipelined[i], "GET /later", 10) == 0;
        if (later) cr_expect_eq(answer.len, 0, "case %zu: the first has no answer yet", i);
        if (answer.len > 0) {
            const void *first = memmem(answer.data, answer.len, "HTTP/1.1 ", 9);
            size_t rest = answer.len - 1;
            cr_expect_eq(first, answer.data);
            cr_expect_null(memmem(answer.data + 1, rest, "HTTP/1.1 ", 9), "case %zu", i);
        }
        cr_expect_eq(get("/healthz"), 200, "case %zu", i);
        fixture_run(&f, fixture_drop_waiting);
    }
}

/* L19. A status, or no answer at all: never a crash, a hang or a 200. */
Test(transport_http, requests_with_bodies_are_refused)
{
    static const struct {
        const char *request;
        int status;
    } cases[] = {
        {"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 405},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405},
        {"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", 413},
        {"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 413},
        {"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 413},
        {"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501},
        {"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 200},
        {"OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n", 405},
        {"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", 405},
    };
    fixture_start(&f);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        cr_expect_eq(send_raw(cases[i].request), cases[i].status, "%s", cases[i].request);
}

#define UPGRADE(to)                                                               \
    "Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n" \
    "Upgrade: " to "\r\n\r\n"

/* L3: HTTP/2 in the clear; L4: a use after free; and CONNECT, which turns a socket raw, without
 * any timeout of the library's. */
Test(transport_http, other_upgrades_and_protocols_end_the_socket)
{
    static const char *wrong[] = {
        "GET / HTTP/1.1\r\nHost: x\r\n" UPGRADE("h2c"),
        "GET /ws HTTP/1.1\r\nHost: x\r\n" UPGRADE("h2c"),
        "GET / HTTP/1.1\r\nHost: x\r\n" UPGRADE("foo"),
        "GET / HTTP/1.1\r\nHost: x\r\n" UPGRADE(""),
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n" UPGRADE(
            "foo") "GET / HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\nraw bytes",
        "CONNECT /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n",
        "\x16\x03\x01\x02\x01\x01\xfc\x03\x03", /* TLS. */
        "GET\r\n\r\n",
        "\r\n\r\n\r\n",
    };
    f.config.limits.handshake_ms = 1000;
    f.config.limits.walk_ms = 100;
    f.config.limits.close_ms = 100;
    fixture_start(&f);
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        struct ws ws;
        ws_connect(&ws, f.port);
        ws_write(&ws, slice_str(wrong[i]));
        cr_expect(ws_ended(&ws), "case %zu", i);
        ws_close(&ws);
    }
    cr_expect_eq(get("/healthz"), 200);
}

/* L20: all headers share 8 KiB. */
Test(transport_http, headers_beyond_8_kib_end_the_socket)
{
    struct buf request = {.data = NULL};
    fixture_start(&f);
    for (size_t bytes = 1000; bytes < 100000; bytes *= 3) {
        request.len = 0;
        buf_put(&request, "GET / HTTP/1.1\r\nHost: x\r\nOrigin: ", 33);
        memset(buf_grow(&request, bytes), 'h', bytes);
        buf_put(&request, "\r\n\r\n", 4);
        int status = http_exchange(f.port, buf_bytes(&request), NULL);
        cr_expect(bytes < 8000 ? status == 200 : status != 200, "%zu bytes: %d", bytes, status);
    }
    buf_free(&request);
    cr_expect_eq(get("/healthz"), 200);
}

Test(transport_http, a_folder_without_index_or_too_much_is_refused)
{
    struct webroot *root;
    cr_expect_eq(webroot_load(env_uv_env(uv), "/nonexistent", &root), ERR_NOT_FOUND);
    dir_remove(&dir, "index.html");
    cr_expect_eq(webroot_load(env_uv_env(uv), dir.path, &root), ERR_NOT_FOUND);
    put_file("index.html", "x");
    dir_zero(&dir, "big2.js", 0, BIG_BYTES);
    cr_expect_eq(webroot_load(env_uv_env(uv), dir.path, &root), ERR_TOO_BIG);
}
