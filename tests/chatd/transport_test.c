/* tests/chatd/transport_test.c -- WebSockets of the transport, over real sockets. L1-L23 are the
 * rules about the library that chatd/transport*.c obey. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/chatd/transport_fixture.h"
#include "tests/lib/ws.h"

#define PROTOCOL "Sec-WebSocket-Protocol: parley.v1\r\n"

static struct fixture f; /* Each test runs in its own process. */
static struct ws ws, other;
static void set_up(void)
{
    fixture_init(&f);
    ws.fd = other.fd = -1;
}
static void tear_down(void)
{
    ws_close(&ws);
    ws_close(&other);
    fixture_stop(&f);
}
TestSuite(transport, .init = set_up, .fini = tear_down, .timeout = 30);

/* A new client is served: whatever happened before did no harm. */
static bool serves(void)
{
    ws_open(&other, f.port);
    ws_send(&other, "hello");
    bool same = slice_equal(ws_text(&other), slice_str("hello"));
    ws_close(&other);
    return same;
}

static int upgrade(const char *path, const char *headers)
{
    ws_close(&ws);
    ws_connect(&ws, f.port);
    return ws_upgrade(&ws, path, headers);
}

Test(transport, a_text_is_echoed_whatever_its_length)
{
    static const size_t lengths[] = {1, 125, 126, 127, 4095, 4096, 4097, 65535, 65536};
    char *text = mem_alloc(65536);
    memset(text, 'x', 65536);
    fixture_start(&f);
    ws_open(&ws, f.port);
    for (size_t i = 0; i < ARRAY_COUNT(lengths); i++) {
        struct slice sent = {text, lengths[i]};
        ws_send_frame(&ws, WS_TEXT, true, sent);
        cr_expect(slice_equal(ws_text(&ws), sent), "%zu bytes", lengths[i]);
    }
    free(text);
}

Test(transport, many_texts_in_one_segment_are_answered_in_order)
{
    char text[16];
    fixture_start(&f);
    ws_open(&ws, f.port);
    for (int i = 0; i < 2000; i++) {
        snprintf(text, sizeof(text), "n%d", i);
        ws_send(&ws, text);
    }
    for (int i = 0; i < 2000; i++) {
        snprintf(text, sizeof(text), "n%d", i);
        cr_assert(slice_equal(ws_text(&ws), slice_str(text)));
    }
    struct transport_stats stats = fixture_stats(&f);
    cr_expect_eq(stats.frames_in, 2000);
    cr_expect_eq(stats.frames_out, 2000);
    cr_expect_lt(stats.writes, 1000, "%llu writes: frames are gathered",
                 (unsigned long long)stats.writes);
}

/* The library sends the pong when the socket is writable: it may come after the text. */
Test(transport, a_message_in_pieces_is_put_together_around_a_ping)
{
    struct ws_frame frame;
    bool pong = false, text = false;
    fixture_start(&f);
    ws_open(&ws, f.port);
    ws_send_frame(&ws, WS_TEXT, false, slice_str("one "));
    ws_send_frame(&ws, WS_PING, true, slice_str("p"));
    ws_send_frame(&ws, 0, false, slice_str(""));
    ws_send_frame(&ws, 0, true, slice_str("two"));
    for (int i = 0; i < 2 && ws_read(&ws, &frame); i++) {
        if (frame.opcode == WS_PONG) pong = slice_equal(frame.payload, slice_str("p"));
        if (frame.opcode == WS_TEXT) text = slice_equal(frame.payload, slice_str("one two"));
    }
    cr_expect(pong);
    cr_expect(text);
}

Test(transport, an_empty_text_is_no_frame)
{
    fixture_start(&f);
    ws_open(&ws, f.port);
    ws_send(&ws, "");
    ws_send(&ws, "x");
    cr_expect(slice_equal(ws_text(&ws), slice_str("x")));
}

Test(transport, a_binary_frame_is_closed_with_1003)
{
    fixture_start(&f);
    ws_open(&ws, f.port);
    ws_send_frame(&ws, WS_BINARY, true, slice_str("x"));
    cr_expect_eq(ws_close_code(&ws), CLOSE_UNSUPPORTED);
    cr_expect(fixture_closed(&f, 1));
}

Test(transport, more_than_64_kib_is_closed_with_1009_in_one_piece_or_many)
{
    char *text = mem_alloc(65537);
    memset(text, 'x', 65537);
    fixture_start(&f);
    ws_open(&ws, f.port);
    ws_send_frame(&ws, WS_TEXT, true, (struct slice){text, 65537});
    cr_expect_eq(ws_close_code(&ws), CLOSE_TOO_BIG);

    ws_open(&ws, f.port);
    for (int i = 0; i < 17; i++)
        ws_send_frame(&ws, i == 0 ? WS_TEXT : 0, false, (struct slice){text, 4096});
    cr_expect_eq(ws_close_code(&ws), CLOSE_TOO_BIG);

    /* A header that promises 2^62 bytes, none of which need to come. */
    ws_open(&ws, f.port);
    ws_write(&ws, (struct slice){"\x81\xff\x40\0\0\0\0\0\0\0\1\2\3\4y", 15});
    int code = ws_close_code(&ws);
    cr_expect(code == CLOSE_TOO_BIG || code == 0, "%d", code);
    cr_expect(serves());
    free(text);
}

/* Each is a violation of RFC 6455: the connection ends, the server goes on. */
Test(transport, malformed_frames_end_their_connection_alone)
{
    static const struct slice wrong[] = {
        {"\x81\x01x", 3},              /* Not masked. */
        {"\x83\x80\0\0\0\0", 6},       /* Opcode 3. */
        {"\x8b\x80\0\0\0\0", 6},       /* Opcode 11. */
        {"\xc1\x81\0\0\0\0x", 7},      /* RSV1, though nothing was agreed upon (L2). */
        {"\x91\x81\0\0\0\0x", 7},      /* RSV3. */
        {"\x09\x80\0\0\0\0", 6},       /* A ping in pieces. */
        {"\x89\xfe\0\x7e\0\0\0\0", 8}, /* A ping of 126 bytes. */
        {"\x80\x81\0\0\0\0x", 7},      /* A continuation of nothing. */
    };
    fixture_start(&f);
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        ws_open(&ws, f.port);
        ws_write(&ws, wrong[i]);
        shutdown(ws.fd, SHUT_WR);
        cr_expect(ws_ended(&ws), "case %zu", i);
        ws_close(&ws);
        cr_expect(fixture_closed(&f, (unsigned)i + 1), "case %zu", i);
        f.closed = f.opened = (unsigned)i + 1;
    }
    cr_expect(serves());
}

Test(transport, closes_carry_their_code_and_end_at_once_when_answered)
{
    fixture_start(&f);
    ws_open(&ws, f.port);
    ws_send(&ws, "before");
    ws_send(&ws, "close");
    ws_send(&ws, "never seen");
    cr_expect(slice_equal(ws_text(&ws), slice_str("before")));
    ws_close(&ws);

    ws_open(&ws, f.port);
    ws_send(&ws, "close");
    cr_expect_eq(ws_close_code(&ws), CLOSE_REPLACED);
    cr_expect(fixture_closed(&f, 2));
}

/* L6, L7, L15: our frame is sent, and a peer that never answers it is ended by the deadline. */
Test(transport, a_close_that_nobody_answers_ends_by_its_deadline)
{
    struct ws_frame frame;
    f.config.limits.close_ms = 500;
    f.config.limits.walk_ms = 50;
    fixture_start(&f);
    ws_open(&ws, f.port);
    ws_send(&ws, "close");
    cr_assert(ws_read(&ws, &frame));
    cr_expect_eq(frame.opcode, WS_CLOSE);
    cr_expect_eq(frame.close_code, CLOSE_REPLACED);
    cr_expect_eq(fixture_conns(&f), 1, "it has 500 ms");
    cr_expect(ws_ended(&ws));
    cr_expect(fixture_closed(&f, 1));
}

Test(transport, a_close_of_the_peer_is_echoed)
{
    struct ws_frame frame;
    fixture_start(&f);
    ws_open(&ws, f.port);
    ws_send_frame(&ws, WS_CLOSE, true, (struct slice){"\x03\xe8", 2});
    cr_assert(ws_read(&ws, &frame));
    cr_expect_eq(frame.opcode, WS_CLOSE);
    cr_expect_eq(frame.close_code, 1000);
    cr_expect(ws_ended(&ws));
    cr_expect(fixture_closed(&f, 1));
}

Test(transport, a_peer_that_vanishes_is_told_to_the_handlers)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    fixture_start(&f);
    ws_open(&ws, f.port);
    setsockopt(ws.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    ws_close(&ws);
    cr_expect(fixture_closed(&f, 1));
}

/* ---- the upgrade ---- */

Test(transport, only_parley_v1_at_ws_upgrades)
{
    fixture_start(&f);
    cr_expect_eq(upgrade("/ws", ""), 400, "L5: no subprotocol");
    cr_expect_eq(upgrade("/ws", "Sec-WebSocket-Protocol: chat\r\n"), 400);
    cr_expect_neq(upgrade("/ws", "Sec-WebSocket-Protocol: -\r\n"), 101, "L5: the HTTP one");
    cr_expect_neq(upgrade("/ws", "Sec-WebSocket-Protocol: -, parley.v1\r\n"), 101, "L5");
    cr_expect_eq(upgrade("/", PROTOCOL), 404);
    cr_expect_eq(upgrade("/ws/", PROTOCOL), 404);
    cr_expect_eq(upgrade("/ws", "Sec-WebSocket-Protocol: x, parley.v1\r\n"), 101);
    cr_expect_eq(upgrade("/ws?a=b", PROTOCOL), 101);
    cr_expect(serves());
}

Test(transport, an_origin_must_be_the_pages_own)
{
    fixture_start(&f); /* The test client's host is 127.0.0.1. */
    cr_expect_eq(upgrade("/ws", PROTOCOL "Origin: http://127.0.0.1\r\n"), 101);
    cr_expect_eq(upgrade("/ws", PROTOCOL "Origin: https://127.0.0.1\r\n"), 101);
    cr_expect_eq(upgrade("/ws", PROTOCOL "Origin: http://127.0.0.1.evil.example\r\n"), 403);
    cr_expect_eq(upgrade("/ws", PROTOCOL "Origin: http://127.0.0.1:81\r\n"), 403);
    cr_expect_eq(upgrade("/ws", PROTOCOL "Origin: null\r\n"), 403);
}

Test(transport, or_one_of_those_configured)
{
    const char *origins[] = {"https://chat.example", "https://other.example:8443"};
    f.config.origins = origins;
    f.config.origins_count = 2;
    fixture_start(&f);
    cr_expect_eq(upgrade("/ws", PROTOCOL "Origin: https://other.example:8443\r\n"), 101);
    cr_expect_eq(upgrade("/ws", PROTOCOL "Origin: http://127.0.0.1\r\n"), 403);
    cr_expect_eq(upgrade("/ws", PROTOCOL), 101, "programs have no origin");
}

/* L2: a compressed frame would abort the process; the offer is not taken. */
Test(transport, compression_is_never_agreed_upon)
{
    fixture_start(&f);
    cr_expect_eq(upgrade("/ws", PROTOCOL "Sec-WebSocket-Extensions: permessage-deflate\r\n"), 101);
    cr_expect_null(memmem(ws.in.data, ws.in.len, "xtensions", 9));
}

/* ---- keepalive ---- */

Test(transport, silence_gets_a_ping_and_then_4009)
{
    struct ws_frame frame;
    f.config.limits.ping_ms = 100;
    f.config.limits.silent_ms = 300;
    f.config.limits.walk_ms = 50;
    fixture_start(&f);
    ws_open(&ws, f.port);
    cr_assert(ws_read(&ws, &frame));
    cr_expect_eq(frame.opcode, WS_PING);
    cr_expect_gt(frame.payload.len, 0, "L17");
    cr_assert(ws_read(&ws, &frame));
    cr_expect_eq(frame.opcode, WS_TEXT);
    cr_expect(slice_equal(frame.payload, slice_str("{}")));
    cr_expect_eq(ws_close_code(&ws), CLOSE_SILENT);
    cr_expect_eq(fixture_stats(&f).silent, 1);
}

Test(transport, a_pong_is_a_sign_of_life)
{
    struct ws_frame frame;
    f.config.limits.ping_ms = 50;
    f.config.limits.silent_ms = 800;
    f.config.limits.walk_ms = 50;
    fixture_start(&f);
    ws_open(&ws, f.port);
    for (int pings = 0; pings < 24;) {
        cr_assert(ws_read(&ws, &frame));
        cr_assert_neq(frame.opcode, WS_CLOSE);
        if (frame.opcode != WS_PING) continue;
        ws_send_frame(&ws, WS_PONG, true, frame.payload);
        pings++;
    }
    cr_expect_eq(fixture_conns(&f), 1);
}

/* ---- slow readers ---- */

static void no_job(struct fixture *fixture)
{
    (void)fixture;
}

/* Make the server fill the connection; how many texts it queued. */
static unsigned flood(void)
{
    ws_connect_small(&ws, f.port);
    cr_assert_eq(ws_upgrade(&ws, "/ws", PROTOCOL), 101);
    ws_send(&ws, "flood");
    for (int i = 0; i < 200 && f.flooded == 0; i++) {
        fixture_pause(5);
        fixture_run(&f, no_job);
    }
    return f.flooded;
}

Test(transport, a_full_queue_refuses_and_what_it_took_arrives_in_order)
{
    char number[16];
    fixture_start(&f);
    unsigned count = flood();
    cr_assert_gt(count, 16);
    cr_expect(f.blocked);
    for (unsigned i = 0; i < count; i++) {
        struct slice text = ws_text(&ws);
        cr_assert_eq(text.len, FLOOD_TEXT_BYTES);
        snprintf(number, sizeof(number), "%u", i);
        cr_assert_str_eq(text.data, number);
    }
    ws_send(&ws, "more");
    cr_expect(slice_equal(ws_text(&ws), slice_str("more")));
    fixture_run(&f, no_job);
    cr_expect_eq(f.unblocked, 1);
    cr_expect_eq(fixture_conns(&f), 1);
}

/* The kernel may have taken all of it from us: what counts is whether the peer's host does. */
Test(transport, a_socket_that_takes_no_byte_is_killed)
{
    f.config.limits.ping_ms = 100;
    f.config.limits.stall_ms = 300;
    f.config.limits.walk_ms = 50;
    fixture_start(&f);
    flood();
    cr_expect(fixture_closed(&f, 1));
    cr_expect_eq(fixture_stats(&f).stalled, 1);
    cr_expect(serves());
}

/* It reads for longer than stall_ms and silent_ms, some bytes every 20 ms, and is not done then. */
Test(transport, a_slow_reader_is_never_cut)
{
    char bytes[8192];
    f.config.limits.stall_ms = 800;
    f.config.limits.ping_ms = 100;
    f.config.limits.silent_ms = 800;
    f.config.limits.walk_ms = 50;
    fixture_start(&f);
    size_t left = flood() * (size_t)(FLOOD_TEXT_BYTES + 4);
    for (int i = 0; i < 100; i++) {
        ssize_t got = recv(ws.fd, bytes, sizeof(bytes), 0);
        cr_assert_gt(got, 0);
        left -= (size_t)got;
        fixture_pause(20);
    }
    cr_expect_gt(left, 0, "it was slow to the end");
    cr_expect_eq(fixture_conns(&f), 1);
    cr_expect_eq(fixture_stats(&f).stalled + fixture_stats(&f).silent, 0);
}

/* ---- limits on who may connect ---- */

Test(transport, unfinished_handshakes_of_one_address_are_limited)
{
    struct ws half[2];
    f.config.limits.handshakes_per_ip = 2;
    fixture_start(&f);
    for (int i = 0; i < 2; i++) {
        ws_connect(&half[i], f.port);
        ws_write(&half[i], slice_str("GET /ws HTTP/1.1\r\nHost:"));
    }
    ws_connect(&ws, f.port);
    cr_expect_eq(ws_upgrade(&ws, "/ws", PROTOCOL), 429);
    ws_close(&half[0]);
    ws_close(&half[1]);
    cr_assert_neq(fixture_stats(&f).refused, 0);
    for (int tries = 0; tries < 100 && upgrade("/ws", PROTOCOL) != 101; tries++)
        fixture_pause(5);
    ws_open(&other, f.port); /* An open connection counts no more. */
    struct ws third;
    ws_open(&third, f.port);
    ws_close(&third);
}

Test(transport, beyond_the_limit_of_connections_is_503)
{
    f.config.limits.conns_max = 1;
    fixture_start(&f);
    ws_open(&other, f.port);
    cr_expect_eq(upgrade("/ws", PROTOCOL), 503);
    ws_close(&other);
    cr_expect(fixture_closed(&f, 1));
    for (int tries = 0; tries < 100 && upgrade("/ws", PROTOCOL) != 101; tries++)
        fixture_pause(5);
    ws_send(&ws, "x");
    cr_expect(slice_equal(ws_text(&ws), slice_str("x")));
}

Test(transport, a_handshake_that_does_not_end_is_ended)
{
    f.config.limits.handshake_ms = 1000;
    fixture_start(&f);
    ws_connect(&ws, f.port);
    ws_write(&ws, slice_str("GET /ws HTTP/1.1\r\nHost:"));
    ws_connect(&other, f.port); /* This one says nothing at all. */
    cr_expect(ws_ended(&ws));
    cr_expect(ws_ended(&other));
}

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* L9: the library's own listener takes a whole core and writes half a million lines a second. */
Test(transport, without_file_descriptors_the_loop_does_not_spin)
{
    struct rlimit limit = {48, 48};
    struct ws all[64];
    int count = 0;
    fixture_start(&f);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (; count < 64; count++) { /* Both ends are in this process. */
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0) break;
        close(fd);
        ws_connect(&all[count], f.port);
    }
    double before = cpu_s();
    fixture_pause(400);
    cr_expect_lt(cpu_s() - before, 0.2);
    cr_expect_gt(fixture_stats(&f).no_files, 0);
    while (count > 0)
        ws_close(&all[--count]);
    for (int tries = 0; tries < 100 && upgrade("/ws", PROTOCOL) != 101; tries++)
        fixture_pause(20);
    cr_expect(serves());
}

/* L10, and why a taken port has to be asked for. */
Test(transport, transports_share_a_port_and_others_see_it_taken)
{
    struct fixture second;
    fixture_start(&f);
    cr_expect_eq(transport_probe("127.0.0.1", f.port), ERR_ADDR_IN_USE);
    cr_expect_eq(transport_probe("not a host", f.port), ERR_INVAL);
    fixture_init(&second);
    second.config.port = f.port;
    fixture_start(&second);
    for (int i = 0; i < 40; i++)
        cr_expect(serves());
    fixture_run(&f, no_job);
    fixture_run(&second, no_job);
    cr_expect_eq(f.opened + second.opened, 40);
    cr_expect_gt(f.opened, 0);
    cr_expect_gt(second.opened, 0);
    fixture_stop(&second);
    fixture_stop(&f);
    cr_expect_eq(transport_probe("127.0.0.1", second.port), 0);
}

/* ---- the end ---- */

static void job_drain(struct fixture *fixture)
{
    transport_drain(fixture->t, 10);
}

Test(transport, a_drain_closes_everybody_with_4001_at_its_rate)
{
    struct ws all[10];
    fixture_start(&f);
    for (int i = 0; i < 10; i++)
        ws_open(&all[i], f.port);
    fixture_run(&f, job_drain);
    fixture_pause(120);
    cr_expect_gt(fixture_conns(&f), 2, "10 a second");
    for (int i = 0; i < 10; i++)
        cr_expect_eq(ws_close_code(&all[i]), CLOSE_DRAIN);
    cr_expect(fixture_closed(&f, 10));
    cr_expect_eq(transport_probe("127.0.0.1", f.port), 0, "nobody listens");
}

/* fixture_stop checks that closed came for each, and that nothing is left on the loop. */
Test(transport, the_end_takes_connections_of_every_kind_with_it)
{
    struct ws half;
    fixture_start(&f);
    flood();
    ws_open(&other, f.port);
    ws_connect(&half, f.port);
    ws_write(&half, slice_str("GET / HTTP/1.1\r\n"));
    fixture_stop(&f);
    ws_close(&half);
}
