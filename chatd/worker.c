/* chatd/worker.c -- see worker.h.
 *
 * Stopping: no new connections; the open ones are closed at a rate that ends in STOP_MS; then what
 * is left is killed, rooms and people end, the client of the log store ends its requests, and the
 * loop runs out of handles. */
#include "chatd/worker.h"

#include <stdlib.h>

#include "chatd/direct.h"
#include "chatd/out.h"

enum {
    TICK_MS = 1000,
    STOP_MS = 5000,
    STOP_POLL_MS = 50,
    DRAIN_PER_SECOND_MIN = 100,
};

/* ---- HTTP ---- */

static bool worker_ready(const struct worker *worker)
{
    unsigned partitions = client_partitions(worker->client);
    return !worker->stopping && partitions > 0 &&
           client_leaders_known(worker->client) == partitions;
}

static void worker_request(void *arg, struct request *request)
{
    struct worker *worker = arg;
    const char *path = request_path(request);
    if (strcmp(path, "/healthz") == 0)
        request_reply(request, 200, "text/plain", slice_str("ok\n"));
    else if (strcmp(path, "/readyz") != 0)
        request_reply(request, 404, "text/plain", slice_str("nothing here\n"));
    else if (worker_ready(worker))
        request_reply(request, 200, "text/plain", slice_str("ready\n"));
    else
        request_reply(request, 503, "text/plain",
                      slice_str("not every partition has a leader that is known here\n"));
}

static const struct transport_handlers HANDLERS = {
    .opened = session_opened,
    .frame = session_frame,
    .unblocked = session_unblocked,
    .closed = session_closed,
    .request = worker_request,
};

/* ---- numbers ---- */

static void worker_tick(struct env_timer *timer)
{
    struct worker *worker = CONTAINER_OF(timer, struct worker, tick);
    struct worker_stats stats = worker->stats;
    stats.rooms = HASH_COUNT(worker->rooms);
    stats.people = HASH_COUNT(worker->people);
    stats.transport = transport_stats(worker->transport);
    uv_mutex_lock(&worker->mutex);
    worker->published = stats;
    uv_mutex_unlock(&worker->mutex);
    env_timer_start(worker->env, &worker->tick, TICK_MS);
}

struct worker_stats worker_published(struct worker *worker)
{
    uv_mutex_lock(&worker->mutex);
    struct worker_stats stats = worker->published;
    uv_mutex_unlock(&worker->mutex);
    return stats;
}

/* ---- transactions that nobody waits for ---- */

static void forget_done(struct client_txn *request, int err, const struct outcome *outcome,
                        uint32_t after_ms)
{
    (void)err;
    (void)outcome;
    (void)after_ms;
    free(request);
}

void worker_txn_forget(struct worker *worker, const struct txn *txn)
{
    struct client_txn *request = mem_zero(sizeof(*request));
    *request = (struct client_txn){.txn = txn, .done = forget_done};
    client_txn(worker->client, request);
}

/* ---- stopping ---- */

static void client_closed(void *arg)
{
    struct worker *worker = arg;
    worker->client = NULL;
    directs_destroy(worker);
    env_timer_stop(worker->env, &worker->tick);
    env_uv_stop(worker->uv);
}

static void worker_end(struct worker *worker)
{
    rooms_destroy(worker);
    people_destroy(worker);
    client_destroy(worker->client, client_closed, worker);
}

static void stop_poll(struct env_timer *timer)
{
    struct worker *worker = CONTAINER_OF(timer, struct worker, stop_timer);
    bool late = env_now_ms(worker->env) >= worker->stop_ms;
    if (worker->sessions != NULL && !late) {
        env_timer_start(worker->env, timer, STOP_POLL_MS);
        return;
    }
    transport_close(worker->transport); /* Ends what is left before it returns. */
    CHECK(worker->sessions == NULL);
    worker_end(worker);
}

/* {"drain":...}: come back elsewhere, at a moment of your own within the time we take. */
static void say_drain(struct worker *worker)
{
    struct buf out = {0};
    out_object(&out);
    out_key(&out, "drain");
    out_object(&out);
    out_key_uint(&out, "after_ms", 0);
    out_key_uint(&out, "spread_ms", STOP_MS / 2);
    out_object_end(&out);
    out_object_end(&out);
    for (struct session *s = worker->sessions; s != NULL; s = s->next)
        session_say(s, &out);
    buf_free(&out);
}

static void stop_asked(uv_async_t *async)
{
    struct worker *worker = CONTAINER_OF(async, struct worker, stop_asked);
    if (worker->stopping) return;
    worker->stopping = true;
    say_drain(worker);
    worker->stop_ms = env_now_ms(worker->env) + STOP_MS;
    unsigned rate = transport_conns(worker->transport) * 1000 / (STOP_MS / 2);
    transport_drain(worker->transport, rate < DRAIN_PER_SECOND_MIN ? DRAIN_PER_SECOND_MIN : rate);
    env_timer_start(worker->env, &worker->stop_timer, STOP_POLL_MS);
}

/* ---- life ---- */

int worker_create(const struct front *front, struct worker **out)
{
    const struct front_config *config = front->config;
    struct worker *worker = mem_zero(sizeof(*worker));
    worker->front = front;
    CHECK(uv_loop_init(&worker->loop) == 0);
    CHECK(uv_mutex_init(&worker->mutex) == 0);
    int err = env_uv_create(&worker->loop, &worker->uv);
    if (err != 0) goto free_worker;
    worker->env = env_uv_env(worker->uv);
    diag_init(&worker->diag, DIAG_INFO, worker->env, NULL, NULL);

    struct transport_config transport = {
        .host = config->listen.host,
        .port = config->listen.port,
        .origins = (const char *const *)config->origins,
        .origins_count = config->origins_count,
        .files = front->files,
        .limits = transport_limits_default(),
    };
    transport.limits.conns_max = front->conns_max;
    err = transport_create(&worker->loop, &transport, &HANDLERS, worker, &worker->transport);
    if (err != 0) goto destroy_env;
    struct client_config nodes = {config->nodes, config->nodes_count};
    err = client_create(worker->env, &nodes, &worker->client);
    if (err != 0) goto destroy_transport;
    CHECK(uv_async_init(&worker->loop, &worker->stop_asked, stop_asked) == 0);
    env_timer_init(&worker->tick, worker_tick);
    env_timer_init(&worker->stop_timer, stop_poll);
    env_timer_start(worker->env, &worker->tick, 0);
    *out = worker;
    return 0;

destroy_transport:
    transport_close(worker->transport);
destroy_env:
    env_uv_destroy(worker->uv);
    uv_run(&worker->loop, UV_RUN_DEFAULT);
    if (worker->transport != NULL) transport_destroy(worker->transport);
free_worker:
    uv_mutex_destroy(&worker->mutex);
    CHECK(uv_loop_close(&worker->loop) == 0);
    free(worker);
    return err;
}

static void worker_main(void *arg)
{
    struct worker *worker = arg;
    env_uv_run(worker->uv);
    uv_close((uv_handle_t *)&worker->stop_asked, NULL);
    env_uv_destroy(worker->uv);
    uv_run(&worker->loop, UV_RUN_DEFAULT);
    transport_destroy(worker->transport);
}

void worker_start(struct worker *worker)
{
    CHECK(uv_thread_create(&worker->thread, worker_main, worker) == 0);
}

void worker_ask_stop(struct worker *worker)
{
    CHECK(uv_async_send(&worker->stop_asked) == 0);
}

void worker_join(struct worker *worker)
{
    CHECK(uv_thread_join(&worker->thread) == 0);
}

void worker_destroy(struct worker *worker)
{
    uv_mutex_destroy(&worker->mutex);
    CHECK(uv_loop_close(&worker->loop) == 0);
    free(worker);
}
