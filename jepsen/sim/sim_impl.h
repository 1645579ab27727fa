/* jepsen/sim/sim_impl.h -- what the files of the simulator share; nobody else includes it.
 *
 * world.c: the queue of events, nodes, their turns and crashes. sim_env.c: the env of a node:
 * timers, tasks, work, files. net.c: links and wires. net_conn.c: connections. */
#ifndef JEPSEN_SIM_SIM_IMPL_H_
#define JEPSEN_SIM_SIM_IMPL_H_

#include "jepsen/sim/disk_impl.h"
#include "jepsen/sim/net.h"
#include "jepsen/sim/world.h"
#include "log/timer_heap.h"
#include "log/turn.h"

/* The kinds of streams of chance, and of things in the trace. */
enum sim_stream { STREAM_WORLD, STREAM_NODE, STREAM_DISK, STREAM_LINK };
enum sim_trace { TRACE_CALL, TRACE_BOOT, TRACE_DIE, TRACE_TURN, TRACE_WORK, TRACE_DONE, TRACE_NET };

/* Something that waits for its node's next turn. */
struct ready {
    struct ready *next;
    void (*run)(struct ready *ready);
    bool queued;
};

struct link {
    struct net_link set;
    struct splitmix chance;
    uint64_t busy_until_us; /* The last bytes put on it have left. */
};

/* Workers that share a queue: a lane has one, the pool has several. */
struct env_lane {
    struct sim_node *node;
    struct env_lane *next, **link; /* node->lanes; the pool is in no list. */
    unsigned workers_max, workers_busy;
    struct env_work *queue, *queue_last;
    struct job *jobs;
};

struct sim_node {
    struct env env; /* First: what the ops are given. */
    struct world *world;
    unsigned number; /* Place in world->nodes. */
    char name[16];
    const struct sim_program *program;
    void *arg;
    struct splitmix chance;
    uint64_t clock_us;     /* What env_now_us adds to the world's time. */
    int64_t wall_first_ms; /* What env_wall_ms adds to it. */

    bool up;
    bool frozen;   /* Dead or dying: calls have no effect. */
    bool no_power; /* It is down since its power failed: it does not even refuse. */
    bool running;  /* Inside a callback. */
    bool doomed;   /* It dies when the callback returns. */
    enum sim_crash doomed_how;

    struct disk *disk;
    struct timer_heap timers;
    struct turn turn;
    struct env_timer boot_event;
    struct env_timer turn_event; /* The next turn. */
    uint64_t turns_count;
    uint64_t busy_until_us;   /* The loop, or a turn of it, takes until then. */
    uint64_t paused_until_us; /* Frozen by sim_node_pause. */
    struct ready *ready, *ready_last;

    struct env_lane *lanes;
    struct env_lane pool;

    struct env_task send;
    struct env_conn *sends;
    struct env_conn *conns;
    struct env_listener *listeners;
    uint16_t port_next; /* For listeners without one. */
};

struct world {
    uint64_t seed;
    uint64_t now_us;
    uint64_t hash;
    uint64_t events_count;
    struct splitmix chance;
    struct timer_heap events;
    struct call *calls; /* Of world_at, not made yet. */
    struct sim_node *nodes[SIM_NODES_MAX];
    unsigned nodes_count;
    struct link links[SIM_NODES_MAX][SIM_NODES_MAX]; /* From, to. */
    struct wire *wires;
    uint16_t port_next; /* Of those who connect. */
};

static inline struct sim_node *sim_node_of(struct env *env)
{
    return (struct sim_node *)(void *)env;
}

/* ---- world.c ---- */
void world_trace(struct world *world, enum sim_trace kind, uint64_t a, uint64_t b);
void sim_node_ready(struct sim_node *node, struct ready *ready); /* Queue it for the next turn. */
void sim_node_arm(struct sim_node *node);               /* Something changed: when is it? */
void sim_node_enter(struct sim_node *node, bool timed); /* A callback of the node begins. */
void sim_node_leave(struct sim_node *node);             /* It returned; the node may die. */
bool sim_node_dying(const struct sim_node *node);       /* No more callbacks. */

/* ---- sim_env.c ---- */
extern const struct env_ops sim_env_ops;
void sim_env_init(struct sim_node *node);
void sim_env_died(struct sim_node *node); /* All timers, tasks, lanes and work are gone. */

/* ---- net.c ---- */
void net_node_init(struct sim_node *node);
void net_close(struct world *world);

/* ---- net_conn.c ---- */
void net_conn_init(struct sim_node *node);
void net_node_died(struct sim_node *node, enum sim_crash how);
int net_listen(struct env *env, const struct env_address *address,
               void (*accepted)(void *arg, struct env_conn *conn), void *arg,
               struct env_listener **out);
uint16_t net_listener_port(struct env *env, struct env_listener *listener);
void net_listener_close(struct env *env, struct env_listener *listener);
struct env_conn *net_connect(struct env *env, const struct env_address *address,
                             const struct env_conn_ops *ops, void *arg);
void net_conn_accept(struct env *env, struct env_conn *conn, const struct env_conn_ops *ops,
                     void *arg);
struct buf *net_conn_out(struct env *env, struct env_conn *conn);
size_t net_conn_backlog(struct env *env, struct env_conn *conn);
const char *net_conn_peer(struct env *env, struct env_conn *conn);
void net_conn_close(struct env *env, struct env_conn *conn);

#endif /* JEPSEN_SIM_SIM_IMPL_H_ */
