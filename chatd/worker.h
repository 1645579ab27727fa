/* chatd/worker.h -- one thread of a front-end: a loop, a transport, a client of the log store.
 *
 * Workers share nothing but the port and what is constant (struct front).
 *
 *     create (main thread, one after another) -> run (own thread) -> stop asked -> drained -> end
 *
 * Owns:   everything it points to. Borrows: front, for its whole life.
 * Thread: worker_create, _start, _ask_stop, _join, _destroy: main's. The rest: its own. */
#ifndef CHATD_WORKER_H_
#define CHATD_WORKER_H_

#include <stdatomic.h>

#include "chatd/auth.h"
#include "chatd/config.h"
#include "chatd/session.h"
#include "log/diag.h"
#include "log/env_uv.h"

/* What all workers read and nobody changes. */
struct front {
    const struct front_config *config;
    const struct auth *auth;
    const struct webroot *files; /* NULL: no web client. */
    const char *alt;             /* JSON text of hello's alt: the other front-ends. */
    unsigned conns_max;          /* Clients of one worker. */
};

/* Numbers since the start, except sessions; copied for metrics once a second. */
struct worker_stats {
    uint64_t hellos, refusals, frames, sends, pushes, lagged, sessions;
    uint64_t rooms, people;
    struct transport_stats transport;
};

struct worker {
    const struct front *front;
    uv_loop_t loop;
    struct env_uv *uv;
    struct env *env;
    struct diag diag;
    struct client *client;
    struct transport *transport;
    struct room *rooms;       /* By chat. */
    struct person *people;    /* By user. */
    struct session *sessions; /* All connections. */
    struct direct *directs;   /* Direct chats known to exist (chatd/direct.h). */
    struct worker_stats stats;
    struct env_timer tick; /* Once a second: publishes stats. */
    struct env_timer stop_timer;
    bool stopping, client_gone;
    uint64_t stop_ms;
    uv_thread_t thread;
    uv_async_t stop_asked;
    uv_mutex_t mutex; /* Guards published. */
    struct worker_stats published;
};

/* Listen and connect. Errors as transport_create's and client_create's. */
MUST_CHECK int worker_create(const struct front *front, struct worker **out);
void worker_start(struct worker *worker);
/* Drain: connections are closed over STOP_MS, then the thread ends. */
void worker_ask_stop(struct worker *worker);
void worker_join(struct worker *worker);
void worker_destroy(struct worker *worker);
struct worker_stats worker_published(struct worker *worker); /* Any thread. */

/* A transaction that nobody waits for. */
void worker_txn_forget(struct worker *worker, const struct txn *txn);

#endif /* CHATD_WORKER_H_ */
