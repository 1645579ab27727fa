/* tests/chatd/transport_fixture.c -- see transport_fixture.h. */
#include "tests/chatd/transport_fixture.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/ws.h"

struct peer {
    struct fixture *f;
    struct conn *conn;
};

static void *peer_opened(void *arg, struct conn *conn)
{
    struct fixture *f = arg;
    struct peer *peer = mem_alloc(sizeof(*peer));
    *peer = (struct peer){f, conn};
    f->opened++;
    return peer;
}

static void flood(struct peer *peer)
{
    struct buf text = {.data = NULL};
    buf_grow(&text, FLOOD_TEXT_BYTES);
    peer->f->flooded = 0;
    for (int rv = 0; rv == 0;) {
        memset(text.data, ' ', text.len);
        snprintf((char *)text.data, 16, "%u", peer->f->flooded);
        struct message *m = message_text(buf_bytes(&text));
        rv = conn_send(peer->conn, m);
        message_unref(m);
        if (rv == 0) peer->f->flooded++;
        CHECK(rv == 0 || rv == ERR_BUSY);
    }
    peer->f->blocked = conn_blocked(peer->conn);
    buf_free(&text);
}

static void peer_frame(void *user, struct slice text)
{
    struct peer *peer = user;
    if (slice_equal(text, slice_str("close"))) {
        conn_close(peer->conn, CLOSE_REPLACED, "as asked");
        conn_close(peer->conn, CLOSE_BANNED, "the first counts");
    } else if (slice_equal(text, slice_str("flood"))) {
        flood(peer);
    } else {
        struct message *m = message_text(text);
        CHECK(conn_send(peer->conn, m) == 0);
        message_unref(m);
    }
}

static void peer_unblocked(void *user)
{
    struct peer *peer = user;
    CHECK(!conn_blocked(peer->conn));
    peer->f->unblocked++;
}

static void peer_closed(void *user)
{
    struct peer *peer = user;
    peer->f->closed++;
    free(peer);
}

static void peer_request(void *arg, struct request *request)
{
    struct fixture *f = arg;
    if (strcmp(request_path(request), "/healthz") == 0) {
        request_reply(request, 200, "text/plain", slice_str("ok\n"));
    } else if (strcmp(request_path(request), "/later") == 0 && f->waiting == NULL) {
        f->waiting = request;
    } else {
        request_reply(request, 404, "text/plain", slice_str("no such path\n"));
    }
}

static const struct transport_handlers handlers = {
    .opened = peer_opened,
    .frame = peer_frame,
    .unblocked = peer_unblocked,
    .closed = peer_closed,
    .request = peer_request,
};

static void job_asked(uv_async_t *async)
{
    struct fixture *f = async->data;
    if (f->job == NULL) return;
    f->job(f);
    f->job = NULL;
    sem_post(&f->done);
}

static void *thread_main(void *arg)
{
    struct fixture *f = arg;
    CHECK(uv_run(&f->loop, UV_RUN_DEFAULT) == 0);
    return NULL;
}

void fixture_init(struct fixture *f)
{
    *f = (struct fixture){.config = {.host = "127.0.0.1", .limits = transport_limits_default()}};
}

void fixture_start(struct fixture *f)
{
    CHECK(uv_loop_init(&f->loop) == 0);
    CHECK(uv_async_init(&f->loop, &f->async, job_asked) == 0);
    f->async.data = f;
    CHECK(sem_init(&f->done, 0, 0) == 0);
    CHECK(transport_create(&f->loop, &f->config, &handlers, f, &f->t) == 0);
    f->port = transport_port(f->t);
    CHECK(pthread_create(&f->thread, NULL, thread_main, f) == 0);
}

void fixture_run(struct fixture *f, void (*job)(struct fixture *f))
{
    f->job = job;
    CHECK(uv_async_send(&f->async) == 0);
    CHECK(sem_wait(&f->done) == 0);
}

static void job_stop(struct fixture *f)
{
    transport_close(f->t);
    uv_close((uv_handle_t *)&f->async, NULL);
}

void fixture_stop(struct fixture *f)
{
    if (f->t == NULL) return;
    fixture_run(f, job_stop);
    CHECK(pthread_join(f->thread, NULL) == 0);
    CHECK(f->opened == f->closed);
    fixture_drop_waiting(f); /* A request may outlive its connection. */
    transport_destroy(f->t);
    CHECK(uv_loop_close(&f->loop) == 0);
    sem_destroy(&f->done);
    f->t = NULL;
}

static void job_nothing(struct fixture *f)
{
    (void)f;
}

/* What the transport's thread wrote before is seen after this. */
static void settle(struct fixture *f)
{
    fixture_run(f, job_nothing);
}

struct transport_stats fixture_stats(struct fixture *f)
{
    settle(f);
    return transport_stats(f->t);
}

unsigned fixture_conns(struct fixture *f)
{
    settle(f);
    return transport_conns(f->t);
}

void fixture_pause(unsigned ms)
{
    poll(NULL, 0, (int)ms);
}

bool fixture_closed(struct fixture *f, unsigned count)
{
    for (int waited_ms = 0; waited_ms < WS_WAIT_MS; waited_ms += 5) {
        settle(f);
        if (f->closed == count) return true;
        fixture_pause(5);
    }
    return false;
}

bool fixture_waiting(struct fixture *f)
{
    for (int waited_ms = 0; waited_ms < WS_WAIT_MS; waited_ms += 5) {
        settle(f);
        if (f->waiting != NULL) return true;
        fixture_pause(5);
    }
    return false;
}

void fixture_drop_waiting(struct fixture *f)
{
    if (f->waiting == NULL) return;
    request_reply(f->waiting, 200, "text/plain", slice_str("late\n"));
    f->waiting = NULL;
}

void fixture_reply(struct fixture *f)
{
    CHECK(f->waiting != NULL);
    fixture_run(f, fixture_drop_waiting);
}
