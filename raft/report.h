/* raft/report.h -- texts of a daemon's loop for the operators' port (raft/ops.h), whose thread must
 * not touch the loop's state: the loop makes them, and only while somebody asks.
 *
 * Owns:   the port and the texts. Borrows: env.
 * Thread: the loop's; make runs there, at most four times a second.
 * Errors: as ops_create's. A loop that makes no text for REPORT_WAIT_S is told to be unhealthy. */
#ifndef RAFT_REPORT_H_
#define RAFT_REPORT_H_

#include "log/env.h"

struct report; /* Opaque. Made by report_create, ended by report_destroy. */

enum { REPORT_POLL_MS = 250, REPORT_WAIT_S = 3 };

/* Append the metrics, and to reason why the daemon is not healthy (nothing: it is). */
typedef void (*report_cb)(void *arg, struct buf *metrics, struct buf *reason);

MUST_CHECK int report_create(struct env *env, const struct env_address *address, report_cb make,
                             void *arg, struct report **out);
void report_destroy(struct report *report); /* Waits for the port's thread. */

#endif /* RAFT_REPORT_H_ */
