/* jepsen/sim/world.c -- the queue of events, nodes, their turns and their deaths.
 *
 * Every event is an env_timer in one heap, embedded in what it concerns; a node that dies takes
 * its events out. A node's own timers are in a heap of the node, so that a death drops them
 * without touching memory that the node has freed.
 *
 * What becomes ready for a node (bytes, work done) waits for its next turn, which is set to when
 * the node wakes, is done with the turn before, and is not paused. So what comes close together
 * shares a turn, as in a real loop under load. */
#include "jepsen/sim/world.h"

#include <stdio.h>
#include <stdlib.h>

#include "jepsen/sim/sim_impl.h"

enum {
    WAKE_US = 2, /* From ready to the turn's start: that and as much again at most. */
    TURN_US = 5, /* A turn keeps the loop busy that long, */
    ITEM_US = 2, /* and that long more for each thing it handles. */
};

/* A moment in 2026, so that time stamps look like ones; and clocks of nodes differ. */
static const int64_t wall_first_ms = 1790000000000;
enum { WALL_SPREAD_MS = 50 };
static const uint64_t clock_spread_us = 1000000000;

/* A call of the schedule, see world_at. */
struct call {
    struct env_timer event;
    struct world *world;
    struct call *next, **link;
    void (*run)(void *arg);
    void *arg;
};

/* ---- the world ---- */

struct world *world_create(uint64_t seed)
{
    struct world *world = mem_zero(sizeof(*world));
    world->seed = seed;
    world->chance = splitmix_stream(seed, STREAM_WORLD, 0);
    world->hash = seed;
    world->port_next = 32768;
    return world;
}

static void call_free(struct call *call)
{
    *call->link = call->next;
    if (call->next != NULL) call->next->link = call->link;
    free(call);
}

static void node_free(struct sim_node *node)
{
    if (node->up) sim_node_crash(node, SIM_KILL);
    timer_heap_stop(&node->world->events, &node->boot_event);
    disk_destroy(node->disk);
    free(node);
}

void world_destroy(struct world *world)
{
    for (unsigned i = 0; i < world->nodes_count; i++)
        node_free(world->nodes[i]);
    net_close(world);
    while (world->calls != NULL) {
        timer_heap_stop(&world->events, &world->calls->event);
        call_free(world->calls);
    }
    CHECK(timer_heap_first(&world->events) == NULL);
    timer_heap_free(&world->events);
    free(world);
}

uint64_t world_now_us(const struct world *world)
{
    return world->now_us;
}

uint64_t world_random(struct world *world)
{
    return splitmix_next(&world->chance);
}

uint64_t world_hash(const struct world *world)
{
    return world->hash;
}

uint64_t world_events(const struct world *world)
{
    return world->events_count;
}

void world_trace(struct world *world, enum sim_trace kind, uint64_t a, uint64_t b)
{
    struct splitmix mix = {world->hash ^ world->now_us};
    mix.state = splitmix_next(&mix) ^ ((uint64_t)kind << 56) ^ a;
    mix.state = splitmix_next(&mix) ^ b;
    world->hash = splitmix_next(&mix);
}

bool world_step(struct world *world)
{
    struct env_timer *event = timer_heap_first(&world->events);
    if (event == NULL) return false;
    CHECK(event->due_us >= world->now_us);
    world->now_us = event->due_us;
    world->events_count++;
    timer_heap_stop(&world->events, event);
    event->fired(event);
    return true;
}

void world_run_for(struct world *world, uint64_t us)
{
    uint64_t until_us = world->now_us + us;
    for (;;) {
        const struct env_timer *event = timer_heap_first(&world->events);
        if (event == NULL || event->due_us > until_us) break;
        world_step(world);
    }
    world->now_us = until_us;
}

bool world_run_until(struct world *world, bool (*done)(void *arg), void *arg, uint64_t us)
{
    uint64_t until_us = world->now_us + us;
    while (!done(arg)) {
        const struct env_timer *event = timer_heap_first(&world->events);
        if (event == NULL || event->due_us > until_us) return false;
        world_step(world);
    }
    return true;
}

static void call_fired(struct env_timer *event)
{
    struct call *call = CONTAINER_OF(event, struct call, event);
    void (*run)(void *arg) = call->run;
    void *arg = call->arg;
    world_trace(call->world, TRACE_CALL, 0, 0);
    call_free(call);
    run(arg);
}

void world_at(struct world *world, uint64_t delay_us, void (*run)(void *arg), void *arg)
{
    struct call *call = mem_zero(sizeof(*call));
    call->world = world;
    call->run = run;
    call->arg = arg;
    call->next = world->calls;
    call->link = &world->calls;
    if (call->next != NULL) call->next->link = &call->next;
    world->calls = call;
    env_timer_init(&call->event, call_fired);
    timer_heap_start(&world->events, &call->event, world->now_us + delay_us);
}

/* ---- a node's callbacks ---- */

bool sim_node_dying(const struct sim_node *node)
{
    return node->doomed || node->disk->has_cut;
}

void sim_node_enter(struct sim_node *node, bool timed)
{
    CHECK(!node->running);
    node->running = true;
    disk_enter(node->disk, node->world->now_us, timed);
}

void sim_node_leave(struct sim_node *node)
{
    node->running = false;
    if (sim_node_dying(node)) sim_node_crash(node, node->doomed ? node->doomed_how : SIM_POWER);
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* When node is free to turn. */
static uint64_t node_free_us(const struct sim_node *node)
{
    return max_u64(node->world->now_us, max_u64(node->busy_until_us, node->paused_until_us));
}

void sim_node_arm(struct sim_node *node)
{
    if (!node->up || node->frozen || node->running) return;
    uint64_t at_us = UINT64_MAX;
    const struct env_timer *first = timer_heap_first(&node->timers);
    if (first != NULL) at_us = max_u64(first->due_us - node->clock_us, node_free_us(node));
    if (node->ready != NULL || node->turn.count > 0) {
        uint64_t wake_us = WAKE_US + splitmix_below(&node->chance, WAKE_US + 1);
        uint64_t soon_us = max_u64(node->world->now_us + wake_us, node_free_us(node));
        if (soon_us < at_us) at_us = soon_us;
    }
    struct env_timer *turn = &node->turn_event;
    if (at_us == UINT64_MAX) return;
    if (env_timer_started(turn) && turn->due_us <= at_us) return; /* Too early: it arms anew. */
    timer_heap_start(&node->world->events, turn, at_us);
}

void sim_node_ready(struct sim_node *node, struct ready *ready)
{
    if (ready->queued) return;
    ready->queued = true;
    ready->next = NULL;
    if (node->ready == NULL)
        node->ready = ready;
    else
        node->ready_last->next = ready;
    node->ready_last = ready;
    if (!env_timer_started(&node->turn_event) ||
        node->turn_event.due_us > node->world->now_us + 2 * WAKE_US)
        sim_node_arm(node);
}

/* Fire what is due; what that starts anew is for the next turn. */
static uint64_t turn_run_timers(struct sim_node *node)
{
    uint64_t items_count = 0, order = node->timers.order, now_us = env_now_us(&node->env);
    while (!sim_node_dying(node)) {
        struct env_timer *timer = timer_heap_pop(&node->timers, now_us, order);
        if (timer == NULL) break;
        items_count++;
        timer->fired(timer); /* It may free the timer. */
    }
    return items_count;
}

/* Handle what was ready when the turn began; what becomes ready meanwhile is for the next. */
static uint64_t turn_run_ready(struct sim_node *node)
{
    uint64_t items_count = 0;
    struct ready *last = node->ready_last;
    while (node->ready != NULL && !sim_node_dying(node)) {
        struct ready *ready = node->ready;
        node->ready = ready->next;
        ready->queued = false;
        bool was_last = ready == last;
        items_count++;
        ready->run(ready); /* It may free itself. */
        if (was_last) break;
    }
    return items_count;
}

static void turn_fired(struct env_timer *event)
{
    struct sim_node *node = CONTAINER_OF(event, struct sim_node, turn_event);
    if (node_free_us(node) > node->world->now_us) {
        sim_node_arm(node);
        return;
    }
    world_trace(node->world, TRACE_TURN, node->number, node->turns_count);
    node->turns_count++;
    sim_node_enter(node, false);
    uint64_t items_count = turn_run_timers(node);
    if (node->ready != NULL) items_count += turn_run_ready(node);
    while (!sim_node_dying(node) && turn_run_one(&node->turn))
        items_count++;
    node->busy_until_us =
        max_u64(node->busy_until_us, node->world->now_us + TURN_US + items_count * ITEM_US);
    sim_node_leave(node);
    sim_node_arm(node);
}

/* ---- nodes ---- */

static void boot_fired(struct env_timer *event)
{
    struct sim_node *node = CONTAINER_OF(event, struct sim_node, boot_event);
    CHECK(!node->up);
    world_trace(node->world, TRACE_BOOT, node->number, disk_hash(node->disk));
    node->up = true;
    node->no_power = false;
    node->frozen = false;
    sim_node_enter(node, false);
    node->program->boot(node->arg, &node->env);
    sim_node_leave(node);
    sim_node_arm(node);
}

static const struct sim_program no_program = {NULL, NULL};

struct sim_node *sim_node_create(struct world *world, const char *name,
                                 const struct sim_program *program, void *arg)
{
    CHECK(world->nodes_count < SIM_NODES_MAX);
    struct sim_node *node = mem_zero(sizeof(*node));
    node->world = world;
    node->number = world->nodes_count;
    world->nodes[world->nodes_count++] = node;
    CHECK(strlen(name) < sizeof(node->name));
    snprintf(node->name, sizeof(node->name), "%s", name);
    node->program = program != NULL ? program : &no_program;
    node->arg = arg;
    node->chance = splitmix_stream(world->seed, STREAM_NODE, node->number);
    node->clock_us = splitmix_below(&node->chance, clock_spread_us);
    node->wall_first_ms = wall_first_ms + (int64_t)splitmix_below(&node->chance, WALL_SPREAD_MS);
    node->disk = disk_create(splitmix_stream(world->seed, STREAM_DISK, node->number));
    env_timer_init(&node->boot_event, boot_fired);
    env_timer_init(&node->turn_event, turn_fired);
    sim_env_init(node);
    net_node_init(node);
    node->up = node->program->boot == NULL;
    return node;
}

struct env *sim_node_env(struct sim_node *node)
{
    return &node->env;
}

struct disk *sim_node_disk(struct sim_node *node)
{
    if (!node->running) disk_enter(node->disk, node->world->now_us, false);
    return node->disk;
}

bool sim_node_up(const struct sim_node *node)
{
    return node->up;
}

void sim_node_start(struct sim_node *node)
{
    CHECK(!node->up);
    CHECK(node->program->boot != NULL);
    if (env_timer_started(&node->boot_event)) return;
    timer_heap_start(&node->world->events, &node->boot_event, node->world->now_us);
}

void sim_node_crash(struct sim_node *node, enum sim_crash how)
{
    if (!node->up) return;
    if (node->running) {
        if (node->doomed) return;
        node->doomed = true;
        node->doomed_how = how;
        node->frozen = true;
        disk_freeze(node->disk);
        return;
    }
    world_trace(node->world, TRACE_DIE, node->number, how);
    node->frozen = true;
    disk_freeze(node->disk);
    node->up = false;
    node->no_power = how == SIM_POWER;
    if (!node->doomed) disk_enter(node->disk, node->world->now_us, false);
    if (node->program->died != NULL) node->program->died(node->arg);
    sim_env_died(node);
    net_node_died(node, how);
    timer_heap_stop(&node->world->events, &node->turn_event);
    node->ready = NULL;
    node->doomed = false;
    node->busy_until_us = 0;
    node->paused_until_us = 0;
    disk_crash(node->disk, how == SIM_POWER);
    if (node->program->boot != NULL) return;
    node->up = true;
    node->no_power = false;
    node->frozen = false;
}

void sim_node_pause(struct sim_node *node, uint64_t us)
{
    node->paused_until_us = max_u64(node->paused_until_us, node->world->now_us + us);
}

void sim_node_wall_shift(struct sim_node *node, int64_t ms)
{
    node->wall_first_ms += ms;
}
