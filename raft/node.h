/* raft/node.h -- everything of one logd around a given env: no process, no main.
 *
 * It opens its folder; when that belongs to a cluster it recovers the write-ahead log and the
 * partitions, links to the other nodes and serves clients. An empty folder serves nothing but
 * status, until it is asked to take part in a cluster that is being made.
 *
 * Owns:   the folder, the log, partitions, links, clients' connections. Borrows: env, diag.
 * Thread: the loop's. node_create blocks (recovery), and so does forming.
 * Errors: why says in one line what is wrong: a foreign, damaged or locked folder, a port in use.
 */
#ifndef RAFT_NODE_H_
#define RAFT_NODE_H_

#include "log/diag.h"
#include "log/wal.h"
#include "raft/identity.h"
#include "raft/install.h"
#include "raft/links.h"
#include "raft/part.h"
#include "raft/serve.h"

struct node; /* Opaque. Made by node_create, ended by node_stop or node_abandon. */

enum {
    NODE_ELECTION_MS = 300, /* Longer than a hiccup, short enough to fail over within a second. */
    NODE_HEARTBEAT_MS = 50,
    NODE_MEMORY_BYTES = 256 * 1024 * 1024,
    NODE_MEMORY_BYTES_MIN = 32 * 1024 * 1024,
    NODE_HAND_OVER_MS = 2000, /* A planned stop waits so long for others to lead. */
    NODE_STALL_MS = 500,      /* A disk that does not answer for so long leads no more. */
    NODE_CHECKPOINTS_MAX = 2, /* At once: they share the disk with the log. */
    NODE_CHECKPOINT_AGE_MS = 3600 * 1000,
    NODE_CHECKPOINT_AGAIN_MS = 1000, /* After one that failed. */
    NODE_WAL_FILES_MAX = 4,          /* Of live log: with more, writes wait for checkpoints. */
};

struct node_config {
    const char *dir;                 /* Copied. Absolute. */
    uint8_t node;                    /* Our number; 0: whatever the folder says. */
    struct env_address client, peer; /* To listen on. */
    size_t memory_bytes;             /* Budget of logs in memory, memtables, caches. */
    uint64_t wal_file_bytes;         /* WAL_FILE_BYTES in the product. */
};

/* config: copied. diag: borrowed. */
MUST_CHECK int node_create(struct env *env, const struct node_config *config, struct diag *diag,
                           struct node **out, char *why, size_t why_bytes);
/* Hand over leaderships, end all requests, close everything, free node; then stopped(arg), once. */
void node_stop(struct node *node, void (*stopped)(void *arg), void *arg);
/* For the simulator's crash: frees memory; env is dead already. */
void node_abandon(struct node *node);

/* ---- what others may see of it; borrowed, NULL or 0 while the node belongs to no cluster ---- */
struct node_view {
    const struct identity *identity;
    uint64_t raft_id;
    struct part *const *parts; /* identity->parts_count of them. */
    struct wal *wal;
    struct links *links;
    struct serve *serve; /* Always there. */
    const struct node_config *config;
    uint64_t started_ms; /* env's clock. */
    const struct store_budget *budget;
    bool low; /* The disk is nearly full. */
    struct env *env;
};
void node_view(struct node *node, struct node_view *out);

#endif /* RAFT_NODE_H_ */
