/* raft/serve.h -- a node's clients: their connections, requests, answers, tails and sessions.
 *
 * It listens, greets, hands requests to the partitions of this node (raft/part.h) and writes their
 * answers; those of one turn leave in one write. It observes every partition (part_observe), for
 * the tails and to tell clients who leads.
 *
 * Owns:   its listener, connections, tails and sessions. Borrows: env and the partitions.
 * Thread: the loop's.
 * Errors: a client that breaks the protocol gets an error frame with the reason, then the close.
 * Bounds: SERVE_* below. A request beyond them is answered with ERR_BUSY; a client whose unread
 *         answers exceed SERVE_BACKLOG_BYTES_MAX is closed, with a reason; its tails wait earlier
 *         than that and go on from where they are. */
#ifndef RAFT_SERVE_H_
#define RAFT_SERVE_H_

#include "log/diag.h"
#include "raft/part.h"
#include "raft/wire.h"

struct serve;

struct serve_config {
    struct env_address address; /* Copied. Where clients connect; port 0: any that is free. */
    /* Append what this node says of itself, as JSON text. */
    void (*status)(void *arg, struct buf *json);
    /* Asked to join a cluster that is being made; map (JSON text) is borrowed until return. 0 or
     * ERR_*; words for people are appended to text. On 0 serve_join follows, now or later. */
    int (*form)(void *arg, struct slice map, struct buf *text);
    void *arg;         /* Of both. */
    struct diag *diag; /* Borrowed; may be NULL. */
};

/* Listens from now on, as a node that belongs to no cluster. ERR_ADDR_IN_USE and the like: *out is
 * untouched. config: copied. */
MUST_CHECK int serve_create(struct env *env, const struct serve_config *config, struct serve **out);
uint16_t serve_port(const struct serve *serve);

/* From now on this is node `node` of the cluster in map (copied). parts: map->parts_count of them,
 * NULL for those without a replica here; the array is copied, the partitions are borrowed until
 * serve_close. Called once. */
void serve_join(struct serve *serve, const struct wire_map *map, uint8_t node,
                struct part *const *parts);
/* Nodes or addresses changed; map (copied) has a higher version. Clients are told. */
void serve_map_changed(struct serve *serve, const struct wire_map *map);

/* Stop listening and close all connections; partitions may end afterwards. Requests that a
 * partition still holds end there; then serve_destroy. */
void serve_close(struct serve *serve);
/* After serve_close, once the partitions have ended what they held and their stores are closed, and
 * in a later turn than both: frees. */
void serve_destroy(struct serve *serve);
/* For the simulator's crash: frees memory alone; calls to env have no effect any more, partitions
 * may be gone. */
void serve_abandon(struct serve *serve);

struct serve_stats {
    unsigned connections_count, tails_count, sessions_count;
    unsigned requests_open;
    uint64_t txns_count, queries_count; /* Ever asked for. */
    uint64_t busy_count;                /* Requests answered ERR_BUSY by a bound here. */
    uint64_t closed_count;              /* Connections closed for what they did. */
};
void serve_stats(const struct serve *serve, struct serve_stats *out);

enum {
    SERVE_CONNECTIONS_MAX = 1024,               /* Front-ends' workers and tools. */
    SERVE_REQUESTS_MAX = 65536,                 /* Open at once on this node. */
    SERVE_CONN_REQUESTS_MAX = 32768,            /* Open at once on one connection. */
    SERVE_BACKLOG_BYTES_MAX = 32 * 1024 * 1024, /* Answers one client did not read. */
    SERVE_HELLO_MS = 10000,                     /* A connection says hello within this time. */
    SERVE_SILENT_MS = 30000,                    /* A client says something at least this often. */
};

#endif /* RAFT_SERVE_H_ */
