/* log/query.h -- answering a query from whatever a reading reaches. Private to the store.
 *
 * Thread: the loop's with a reading of memory, which may not suffice; a worker's with one that
 * waits for runs. */
#ifndef LOG_QUERY_H_
#define LOG_QUERY_H_

#include "log/view.h"

/* Fill in ask's answers (not its done). ERR_BUSY: memory does not tell, nothing is answered;
 * otherwise what store_query's done is given. */
MUST_CHECK int query_answer(struct reading *reading, struct store_query *ask);

/* STORE_RECORDS_AT: the first seq whose time is at least ask->from, the last + 1 when there is
 * none. Records that the reading misses lie in a memtable it cannot see: those from `unseen` on are
 * of that time or later, those before are earlier; unseen 0: all are earlier. */
MUST_CHECK int query_search(struct reading *reading, const struct store_query *ask,
                            const struct stream_head *head, seq_t unseen, seq_t *out);

/* Of the stream; 0 or an error. version 0 when it is absent. */
MUST_CHECK int query_head(struct reading *reading, struct slice stream, struct stream_head *out);

/* Copy from the growing memtable into copy what query_answer would look at there. */
void query_copy(const struct memtable *active, const struct store_query *ask,
                struct memtable *copy);

#endif /* LOG_QUERY_H_ */
