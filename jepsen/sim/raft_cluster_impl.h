/* jepsen/sim/raft_cluster_impl.h -- what raft_cluster.c (links, the watch, the test's calls) and
 * raft_replica.c (one node's process) share. Private to them. */
#ifndef JEPSEN_SIM_RAFT_CLUSTER_IMPL_H_
#define JEPSEN_SIM_RAFT_CLUSTER_IMPL_H_

#include "jepsen/sim/raft_cluster.h"
#include "jepsen/sim/raft_replay.h"

enum {
    HEARTBEAT_MS = 50,
    ELECTION_MS = 300,
    LINK_BYTES = 4 * 1024 * 1024,     /* What a link takes before it says no. */
    OP_BYTES = 8,                     /* An entry begins with the number of its operation. */
    WAL_FILE_TEST_BYTES = 512 * 1024, /* Holds the largest entry; small, so that many are used. */
};

enum frame { FRAME_GATE, FRAME_PROBE, FRAME_ANSWER };

/* A message on its way. */
struct parcel {
    uint64_t due_us;
    unsigned from;
    struct parcel *next;
    size_t bytes;
    uint8_t data[];
};

struct link {
    enum cluster_cut cut;
    uint64_t last_due_us;
};

struct committed {
    index_t index;
    term_t term;
    enum gate_entry type;
    struct slice data; /* Borrowed from the gate until a manifest covers it. */
};

/* The state that a manifest holds. */
struct state {
    index_t index;
    term_t term;
    uint64_t chain;
    index_t configuration_index;
    struct buf configuration;
    batch_t wal_from;
};

struct proposal {
    index_t index;
    term_t term;
    uint64_t op;
};

struct read {
    uint64_t round;
    term_t term;
    index_t index;    /* The read point. */
    index_t promise;  /* What was acknowledged when it began. */
    uint32_t answers; /* Bit per node. */
    bool busy;
};

enum job { JOB_NONE, JOB_CHECKPOINT, JOB_INSTALL };

struct replica {
    struct cluster *cluster;
    unsigned number;
    struct sim_node *node;
    bool asleep;
    uint64_t slow_us;

    /* The process: gone with a crash. */
    struct env *env;
    struct wal *wal;
    struct gate *gate;
    struct env_timer tick, inbox_timer, fetch_timer, slow_timer;
    struct env_task work;
    struct state applied, durable;
    struct committed *queue;
    size_t queue_count, queue_capacity, queue_done;
    struct proposal *proposals;
    size_t proposals_count, proposals_capacity;
    struct parcel *inbox;
    struct read read;
    bool get_wanted;
    index_t get_at_least;
    enum job job; /* What the worker writes. */
    struct state job_state;
    struct env_work job_work;
    int job_err;
    bool commit_wanted; /* An install waits for the worker. */
    struct state install;
    unsigned install_from; /* Who leads and has what we lack. */
    index_t committed;     /* Told by the gate. */
    struct replay replay;  /* Between wal_open and gate_open. */
    batch_t durable_batch; /* Of the WAL, */
    batch_t slow_batch;    /* and what of it the gate learns when slow_timer fires. */
};

struct fact {
    uint64_t chain;
    term_t term;
};

struct cluster {
    struct world *world;
    struct cluster_config config;
    struct replica replicas[CLUSTER_NODES_MAX];
    struct link links[CLUSTER_NODES_MAX][CLUSTER_NODES_MAX];
    struct fact *facts; /* By index: what was applied there first. */
    size_t facts_count;
    uint64_t *leaders; /* By term: who led. */
    size_t leaders_count;
    uint64_t ops, rounds;
    index_t acked_index;
    struct cluster_counts counts;
    char violation[256];
    bool (*pass)(void *arg, unsigned from, unsigned to, struct slice message);
    void *pass_arg;
};

/* A node's raft id, and back. */
static inline uint64_t id_of(unsigned n)
{
    return 257 + n;
}

static inline unsigned number_of(uint64_t id)
{
    CHECK(id >= 257 && id < 257 + CLUSTER_NODES_MAX);
    return (unsigned)(id - 257);
}

/* ---- raft_cluster.c ---- */
PRINTF_LIKE(2, 3) void violated(struct cluster *c, const char *format, ...);
void watch_leader(struct replica *r); /* It leads: was there another in this term? */
void watch_applied(struct replica *r, const struct committed *e);   /* Was it another entry? */
void watch_committed(struct replica *r, const struct committed *e); /* Acknowledge what is ours. */
/* Send bytes (borrowed until return) to node `to`; they arrive in replica_inbox, or never. */
void post(struct replica *from, unsigned to, enum frame frame, struct slice bytes);
void host_send(void *arg, uint64_t to, struct slice message);
size_t host_room(void *arg, uint64_t to);
void inbox_fired(struct env_timer *timer);

/* ---- raft_replica.c ---- */
void replica_boot(void *arg, struct env *env);
void replica_died(void *arg);
void replica_frame(struct replica *r, unsigned from, enum frame frame, struct slice body);

#endif /* JEPSEN_SIM_RAFT_CLUSTER_IMPL_H_ */
