/* tests/admin/noise_test.c -- whatever strangers send to any port, the daemons live on and answer.
 *
 * Method: a real cluster; from a seed, many connections to every port that listens (clients, peers,
 * operators, people), each sending noise, or the beginning of what belongs there with a byte
 * changed, a length that is too large, or its end missing; then no process has died, the logs hold
 * no sanitizer's report, and a write is acknowledged. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "jepsen/sim/splitmix.h"
#include "raft/frame.h"
#include "raft/wire.h"
#include "tests/lib/cluster.h"
#include "tests/lib/ws.h"

enum { NODES = 3, FRONTS = 1, ROUNDS = 40, NOISE_BYTES_MAX = 20000 };

static struct cluster cluster;
static struct splitmix chance;

static void set_up(void)
{
    cluster_set_up(&cluster, NODES, FRONTS);
    chance = splitmix_stream(1, 0, 0);
}
static void tear_down(void)
{
    cluster_tear_down(&cluster);
}
TestSuite(noise, .init = set_up, .fini = tear_down, .timeout = 120);

static void put_noise(struct buf *out)
{
    for (uint64_t left = splitmix_below(&chance, NOISE_BYTES_MAX); left > 0; left--)
        buf_u8(out, (uint8_t)splitmix_next(&chance));
}

/* A frame of the log store's protocols: whole, but what is in it is noise. */
static void put_frame(struct buf *out)
{
    struct buf body = {0};
    put_noise(&body);
    size_t bytes = body.len == 0 ? 0 : (size_t)splitmix_below(&chance, body.len);
    frame_put(out, (uint8_t)splitmix_below(&chance, 32), (struct slice){body.data, bytes});
    buf_free(&body);
}

/* A frame that says it is longer than any may be. */
static void put_huge(struct buf *out)
{
    buf_u32(out, UINT32_MAX - (uint32_t)splitmix_below(&chance, 1000));
    put_noise(out);
}

static void put_request(struct buf *out)
{
    static const char *const STARTS[] = {
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Protocol: parley.v1\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
        "POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
    };
    const char *text = STARTS[splitmix_below(&chance, ARRAY_COUNT(STARTS))];
    buf_put(out, text, strlen(text));
}

/* What is sent over one connection. */
static void put_any(struct buf *out)
{
    static void (*const PUTS[])(struct buf *) = {put_noise, put_frame, put_huge, put_request};
    for (uint64_t left = splitmix_below(&chance, 3) + 1; left > 0; left--)
        PUTS[splitmix_below(&chance, ARRAY_COUNT(PUTS))](out);
    if (out->len > 0 && splitmix_below(&chance, 3) == 0)
        out->data[splitmix_below(&chance, out->len)] ^= (uint8_t)(splitmix_next(&chance) | 1);
    if (splitmix_below(&chance, 3) == 0) out->len = (size_t)splitmix_below(&chance, out->len + 1);
}

/* Send it, and leave at once, half the time by a reset. */
static void visit(uint16_t port)
{
    struct buf out = {0};
    struct ws ws;
    ws_connect(&ws, port);
    put_any(&out);
    ws_write(&ws, buf_bytes(&out));
    if (splitmix_below(&chance, 2) == 0) {
        struct linger linger = {1, 0};
        (void)setsockopt(ws.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    }
    ws_close(&ws);
    buf_free(&out);
}

static void expect_alive(void)
{
    for (unsigned i = 1; i <= NODES; i++)
        cr_assert_neq(cluster_pid(&cluster, "logd", i), 0, "logd %u died", i);
    for (unsigned j = 1; j <= FRONTS; j++)
        cr_assert_neq(cluster_pid(&cluster, "chatd", j), 0, "chatd %u died", j);
}

Test(noise, strangers_on_any_port_harm_nobody)
{
    char *said = NULL;
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 1; i <= NODES; i++)
            for (unsigned offset = 0; offset <= 200; offset += 100)
                visit((uint16_t)(cluster.port + offset + i));
        for (unsigned j = 1; j <= FRONTS; j++)
            for (unsigned offset = 1000; offset <= 1100; offset += 100)
                visit((uint16_t)(cluster.port + offset + j));
        expect_alive();
    }
    int rv = cluster_parley(&cluster, &said, "status");
    cr_expect_eq(rv, 0, "%s", said);
    free(said);
    said = NULL;
    rv = cluster_parley(&cluster, &said, "bench append --inflight 16 --streams 16 --seconds 1");
    cr_expect_eq(rv, 0, "%s", said);
    free(said);
    cr_expect_eq(http_get(cluster_front(&cluster, 1), "/readyz", NULL), 200);
}
