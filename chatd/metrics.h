/* chatd/metrics.h -- a front-end's numbers on the operators' port, summed over its workers.
 *
 * Borrows: the workers, until metrics_destroy. Thread: main's; numbers are those that the workers
 * publish once a second. */
#ifndef CHATD_METRICS_H_
#define CHATD_METRICS_H_

#include "chatd/worker.h"
#include "raft/ops.h"

struct metrics;

/* Errors as ops_create's. */
MUST_CHECK int metrics_create(const struct env_address *address, struct worker *const workers[],
                              unsigned workers_count, struct metrics **out);
void metrics_destroy(struct metrics *metrics); /* NULL is fine. */

#endif /* CHATD_METRICS_H_ */
