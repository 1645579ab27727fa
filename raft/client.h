/* raft/client.h -- the client library of the log store: what chatd, parley and the harness use.
 *
 * It knows the nodes from a few addresses, learns partitions and leaders, keeps one connection per
 * node with many requests in flight, and retries what is safe: reads always, a transaction with a
 * producer (same producer, same n) always, one without a producer only when nothing was done.
 * Transactions of one (producer, stream) are sent in the order they were given, also after a change
 * of leader.
 *
 * Owns:   its connections, requests' copies. Request structs are the caller's until done.
 * Thread: the env's loop. done runs once, on a later turn, also when the client is destroyed
 *         (ERR_CANCELED).
 * Errors: after deadline_ms ERR_NO_LEADER (nothing was done), ERR_UNKNOWN (may be done) or
 *         ERR_TIMEOUT (reads); ERR_BUSY only when the cluster said so until the deadline.
 * Bounds: CLIENT_INFLIGHT_BYTES_MAX in flight per node, CLIENT_QUEUE_BYTES_MAX waiting: then
 *         ERR_BUSY at once. */
#ifndef RAFT_CLIENT_H_
#define RAFT_CLIENT_H_

#include "log/store.h"

struct client;

struct client_config {
    const struct env_address *nodes; /* Client addresses; copied. One that answers is enough. */
    unsigned nodes_count;            /* 1 .. NODES_MAX. */
};
MUST_CHECK int client_create(struct env *env, const struct client_config *config,
                             struct client **out);
/* Every open request ends with ERR_CANCELED in later turns; then `closed` runs, last of all. No
 * handler of a tail runs any more; tails that are open end with the client, at `closed`. */
void client_destroy(struct client *client, void (*closed)(void *arg), void *arg);

/* The map, once learnt from any node; client_ready(arg, err) when there is one. */
void client_when_ready(struct client *client, uint32_t deadline_ms,
                       void (*ready)(void *arg, int err), void *arg);
unsigned client_partitions(const struct client *client); /* 0 before the map is known. */
part_t client_partition_of(const struct client *client, struct slice stream);
unsigned client_leaders_known(const struct client *client); /* Partitions with a known leader. */

/* ---- transactions ---- */
struct client_txn {
    const struct txn *txn; /* Borrowed until client_txn returns. */
    uint32_t deadline_ms;  /* From now; 0: CLIENT_DEADLINE_MS. */
    /* err 0: see outcome (rejected, gap and duplicate ones too). ERR_BUSY: after_ms. */
    void (*done)(struct client_txn *req, int err, const struct outcome *outcome, uint32_t after_ms);
    void *impl; /* Private. */
};
void client_txn(struct client *client, struct client_txn *req);

/* ---- linearizable reads ---- */
struct client_query {
    struct store_query query; /* Inputs as in log/store.h, copied; answers there when done. The
                                 caller frees query.rows. query.done is not used. */
    uint32_t deadline_ms;
    void (*done)(struct client_query *req, int err);
    void *impl; /* Private. */
};
void client_query(struct client *client, struct client_query *req);

/* Of the given streams, all of one partition, which changed after entry `since`. */
struct client_heads {
    const struct slice *streams; /* Copied. */
    unsigned streams_count;      /* 1 .. CLIENT_HEADS_MAX. */
    index_t since;
    uint32_t deadline_ms;
    /* Answers: pairs (place in streams, head) in hits, and the index to ask from next time. */
    struct buf hits; /* varint place, stream_head_encode; caller frees. */
    unsigned hits_count;
    index_t index;
    void (*done)(struct client_heads *req, int err);
    void *impl; /* Private. */
};
void client_heads(struct client *client, struct client_heads *req);

/* ---- tails: everything that happens to a stream from a position on, without a gap ---- */
struct tail_position {
    seq_t seq;        /* Records above it. */
    uint64_t version; /* Attributes and cursors changed after it. */
};
enum tail_what { TAIL_ALL, TAIL_HEADS };

struct client_tail; /* Opened by client_tail_open, until client_tail_close. */
struct tail_handlers {
    /* Once per (re)connection, before what follows: the stream as of the read point. The tail
     * reconnects by itself, from the last position it delivered. */
    void (*started)(void *arg, const struct stream_head *head);
    /* The stream changed (every transaction that raised its version, or several at once). */
    void (*head)(void *arg, const struct stream_head *head);
    void (*record)(void *arg, const struct record_view *record); /* TAIL_ALL. Seq + 1 each time. */
    void (*item)(void *arg, const struct item_view *item);       /* TAIL_ALL. */
    void (*signal)(void *arg, struct slice payload);             /* May be lost. */
    /* A session on the stream came (payload as claimed, also when it changed) or went. On every
     * start: session_reset, then all that are there. A leader that is new does not know of all at
     * first: it tells who comes, and only when everybody had time to claim again comes
     * session_reset with all that are there, from one turn. */
    void (*session)(void *arg, struct slice key, struct slice payload, bool present);
    void (*session_reset)(void *arg);
    /* The tail ended by itself: ERR_RESET (position too old: query, then open again). Close it
     * still. */
    void (*ended)(void *arg, int err);
};
/* stream: copied. handlers: borrowed until close; any may be NULL. sessions: want session events.
 */
struct client_tail *client_tail_open(struct client *client, struct slice stream,
                                     enum tail_what what, struct tail_position from, bool sessions,
                                     const struct tail_handlers *handlers, void *arg);
/* No handler runs afterwards. */
void client_tail_close(struct client_tail *tail);

/* ---- signals and sessions: best effort ---- */
/* To the current subscribers of a stream; stream and payload (at most 4 KiB) copied. */
void client_signal(struct client *client, struct slice stream, struct slice payload);
/* Claim key on stream, with payload, until released; the client repeats the claim every 5 s in one
 * frame per node. Claiming again replaces the payload. All copied. */
void client_claim(struct client *client, struct slice stream, struct slice key,
                  struct slice payload);
void client_release(struct client *client, struct slice stream, struct slice key);

/* ---- feeds: all records committed to a partition, for one worker at a time ---- */

/* A feed has a name; for each partition it has a cursor and a lease, attributes of the stream
 * sys/feed/NAME/PARTITION. Of several who open the same feed one holds the lease; another takes it
 * when it was not renewed for CLIENT_FEED_LEASE_MS. A cursor moves only while the lease is held by
 * who moves it. Nothing rests on the lease but that work is seldom done twice: every record is
 * given at least once, those of a stream in order, and perhaps again after a change of holder or
 * a failure. */
struct client_feed;
struct feed_handlers {
    /* This one holds the lease from now on, or no longer. May be NULL. */
    void (*held)(void *arg, bool held);
    /* Both borrowed until return. */
    void (*record)(void *arg, struct slice stream, const struct record_view *record);
    /* What was given so far may be dealt with: then call client_feed_done, once, within
     * CLIENT_FEED_LEASE_MS, and the cursor moves behind it. More records come afterwards. */
    void (*batch)(void *arg);
};
/* name: 1 .. CLIENT_FEED_NAME_BYTES_MAX bytes, copied. The map is known (client_when_ready). The
 * handlers are borrowed until close. */
struct client_feed *client_feed_open(struct client *client, struct slice name, part_t part,
                                     const struct feed_handlers *handlers, void *arg);
void client_feed_done(struct client_feed *feed); /* After batch; also from inside it. */
/* No handler runs afterwards. Before client_destroy. The lease is left to run out. */
void client_feed_close(struct client_feed *feed);

/* ---- for operators ---- */
/* What a node says of itself, as JSON text (raft/status.h tells its fields); the node may be one
 * that belongs to no cluster yet. node: place in the config's list. text borrowed until return. */
struct client_status {
    unsigned node;
    uint32_t deadline_ms;
    void (*done)(struct client_status *req, int err, struct slice text);
    void *impl; /* Private. */
};
void client_status(struct client *client, struct client_status *req);

/* Ask one node to join a cluster that is being made (`parley cluster init`): map is JSON text,
 * its fields are in raft/identity.h. Only
 * a node with an empty folder does; ERR_EXISTS otherwise, with its words in text. */
struct client_form {
    unsigned node;
    struct slice map; /* Copied. */
    uint32_t deadline_ms;
    void (*done)(struct client_form *req, int err, struct slice text);
    void *impl; /* Private. */
};
void client_form(struct client *client, struct client_form *req);

enum {
    CLIENT_DEADLINE_MS = 10000,                  /* Protocol: an outcome at most 10 s after. */
    CLIENT_INFLIGHT_BYTES_MAX = 8 * 1024 * 1024, /* Per node: what its link holds in a second. */
    CLIENT_QUEUE_BYTES_MAX = 32 * 1024 * 1024,   /* Waiting for a leader. */
    CLIENT_HEADS_MAX = 4096,                     /* Streams in one client_heads. */
    CLIENT_SIGNAL_BYTES_MAX = 4096,
    CLIENT_FEED_LEASE_MS = 10000,
    CLIENT_FEED_NAME_BYTES_MAX = 64,
};

#endif /* RAFT_CLIENT_H_ */
