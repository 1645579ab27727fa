/* raft/status.h -- what a node says of itself to operators, as JSON and as metrics.
 *
 * Thread: the loop's. Format of the JSON:
 *   {"version": "0.1.0", "node": 1, "client": "HOST:PORT", "peer": "HOST:PORT",
 *    "cluster": "16 hex digits" or null while it belongs to none, "incarnation": 1, "raft_id": 257,
 *    "uptime_ms": 1, "healthy": true, "disk_low": false, "disk_free_bytes": 1,
 *    "memory": {"limit_bytes": 1, "used_bytes": 1},
 *    "nodes": [{"node": 1, "client": "HOST:PORT", "peer": "HOST:PORT", "connected": true}],
 *    "partitions": [{"part": 0, "role": "leader" | "candidate" | "follower", "term": 1,
 *        "leader": 1 (0: unknown), "leads": true, "commit": 1, "applied": 1, "last": 1,
 *        "manifest": 1, "history": "16 hex digits" (at applied), "stopped": null or "DIVERGED",
 *        "queued_bytes": 0, "log_bytes": 0, "waiting": 0, "txns": 0, "entries": 0, "reads": 0,
 *        "busy": 0, "elections": 0,
 *        "voters": [{"id": 257, "node": 1, "lag": 0}]  (lag: only known to a leader),
 *        "store": {"runs": 0, "runs_bytes": 0, "dirty_bytes": 0, "cache_bytes": 0, "damage": 0,
 *            "checkpoints": 0}}],
 *    "wal": {"live_bytes": 1, "durable": 1, "batches": 1, "bytes": 1, "sync_us_last": 1,
 *        "sync_us_max": 1, "stall_us": 0},
 *    "links": {"up": 4, "frames_sent": 1, "bytes_sent": 1, "bytes_received": 1, "refused": 0},
 *    "clients": {"connections": 1, "tails": 0, "sessions": 0, "open": 0, "txns": 0, "queries": 0,
 *        "busy": 0, "closed": 0}}
 * A node of no cluster says "cluster": null, and neither "nodes" nor what follows them. */
#ifndef RAFT_STATUS_H_
#define RAFT_STATUS_H_

#include "raft/node.h"

/* Append the JSON text. view: borrowed until return. */
void status_json(const struct node_view *view, struct buf *out);

/* True when every partition here has a leader that this node knows of and none stopped. */
bool status_healthy(const struct node_view *view);

/* Append the same in Prometheus' text format; names begin with parley_logd_. */
void status_metrics(const struct node_view *view, struct buf *out);

#endif /* RAFT_STATUS_H_ */
