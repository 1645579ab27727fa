/* jepsen/sim/world.h -- a world in one thread and virtual time: nodes, disks and a network, all
 * chance in it from one seed.
 *
 * One queue of events, ordered by (time, sequence). A node is one process on one machine: it has a
 * struct env of its own, a disk that outlives its crashes, and an address, which is its name. A
 * node's loop turns when something is ready for it: due timers, then what became ready, then the
 * tasks deferred; turns and work take virtual time. Every node, disk and link draws from a stream
 * of its own, so that adding one leaves the chance of the others as it was. The same seed and the
 * same calls give the same run; world_hash proves it.
 *
 * Owns:   nodes, their envs, disks and connections. Borrows: the nodes' programs.
 * Thread: one. Units: virtual us. */
#ifndef JEPSEN_SIM_WORLD_H_
#define JEPSEN_SIM_WORLD_H_

#include "jepsen/sim/disk.h"
#include "log/env.h"

enum { SIM_NODES_MAX = 32 }; /* Servers and clients of one world; links are a square of it. */

struct world;    /* Opaque. Made by world_create, freed by world_destroy. */
struct sim_node; /* Opaque. Made by sim_node_create, freed with its world. */

/* What runs on a node. */
struct sim_program {
    /* The process starts: open files, listen, start timers. From sim_node_start. NULL: the test
     * itself calls the node's env; the node is up from the start, and again right after a crash. */
    void (*boot)(void *arg, struct env *env);
    /* The process is dead: free its memory. Calls to its env are allowed, have no effect on the
     * world (writes say 0), and no callback follows. What is left of timers, tasks, work,
     * connections and files is gone when it returns. May be NULL. */
    void (*died)(void *arg);
};

enum sim_crash {
    SIM_KILL,  /* kill -9: the disk keeps all that was written; peers see connections reset. */
    SIM_POWER, /* Power fails: the disk keeps what a cut leaves; peers see nothing at first. */
};

struct world *world_create(uint64_t seed);
void world_destroy(struct world *world); /* Nodes die first, as by sim_node_crash. */

uint64_t world_now_us(const struct world *world); /* From 0. */
uint64_t world_random(struct world *world);       /* A stream for the schedule of the run alone. */
bool world_step(struct world *world);             /* Run one event. False: there is none. */
void world_run_for(struct world *world, uint64_t us); /* Run all events of that time. */
/* Step until done(arg) holds, for at most us. True when it holds. */
bool world_run_until(struct world *world, bool (*done)(void *arg), void *arg, uint64_t us);
uint64_t world_hash(const struct world *world);   /* Over every event so far. */
uint64_t world_events(const struct world *world); /* Events so far. */

/* Call run(arg) after delay_us, outside all nodes: where schedules crash, cut and heal. */
void world_at(struct world *world, uint64_t delay_us, void (*run)(void *arg), void *arg);

/* name: the host that others connect to; copied, at most 15 bytes, unique. program and arg:
 * borrowed until world_destroy; NULL: both its calls are. The folder "/data" exists and is durable.
 */
struct sim_node *sim_node_create(struct world *world, const char *name,
                                 const struct sim_program *program, void *arg);
struct env *sim_node_env(struct sim_node *node); /* The same through all crashes. */
struct disk *sim_node_disk(struct sim_node *node);
bool sim_node_up(const struct sim_node *node);

void sim_node_start(struct sim_node *node); /* Boot, in an event of its own. The node is down. */

/* The process dies, now; from a callback of this node itself: when that callback returns, and
 * until then its calls have no effect any more. Does nothing when it is down. */
void sim_node_crash(struct sim_node *node, enum sim_crash how);

/* Freeze the process (as SIGSTOP does) for us: nothing of it runs, its disk and sockets live on. */
void sim_node_pause(struct sim_node *node, uint64_t us);

/* Move the node's wall clock; env_now_us never notices. */
void sim_node_wall_shift(struct sim_node *node, int64_t ms);

#endif /* JEPSEN_SIM_WORLD_H_ */
