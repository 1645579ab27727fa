/* raft/ops.h -- the operators' port of a daemon: /metrics (Prometheus) and /healthz over HTTP.
 *
 * Served by libmicrohttpd on a thread of its own, so that an operator who asks often, or a client
 * that reads slowly, costs the daemon's loop nothing.
 * Owns:   its socket and thread. Thread: create and destroy on any one; the callbacks run on the
 *         port's own thread, one at a time: what they read is the caller's to guard.
 * Errors: ERR_ADDR_IN_USE, ERR_INVAL (not a numeric address), ERR_IO.
 * Bounds: OPS_CONNECTIONS_MAX at once, OPS_SECONDS for one. */
#ifndef RAFT_OPS_H_
#define RAFT_OPS_H_

#include "log/env.h"

enum { OPS_CONNECTIONS_MAX = 16, OPS_SECONDS = 10 };

struct ops;

struct ops_handlers {
    /* Append the metrics, in Prometheus' text format. */
    void (*metrics)(void *arg, struct buf *text);
    /* 0: 200 "ok". Otherwise 503 and the words appended to text. */
    int (*health)(void *arg, struct buf *text);
    void *arg; /* Borrowed until ops_destroy. */
};

/* handlers: copied. */
MUST_CHECK int ops_create(const struct env_address *address, const struct ops_handlers *handlers,
                          struct ops **out);
void ops_destroy(struct ops *ops); /* NULL is fine. No callback runs afterwards. */

/* One metric without labels, or with them ("worker=\"1\""); type is "counter" or "gauge". */
void ops_metric(struct buf *text, const char *name, const char *type, const char *help);
void ops_value(struct buf *text, const char *name, const char *labels, uint64_t value);

#endif /* RAFT_OPS_H_ */
