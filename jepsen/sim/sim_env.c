/* jepsen/sim/sim_env.c -- the env of a simulated node: clock, timers, tasks, work, files.
 *
 * Work: a worker that is free takes the oldest work of its queue, a moment later. The function
 * runs in one go; the disk calls in it move the disk's clock ahead of the world's, and done is
 * told when the world has come that far. A crash in between undoes what the function did after
 * that moment (jepsen/sim/disk.c), so it counts as dead in the middle of the work. */
#include <stdlib.h>

#include "jepsen/sim/sim_impl.h"

enum {
    WORKER_WAKE_US = 5, /* From submit to the work's start: that and as much again at most. */
    WORK_US = 2,        /* Work takes that long besides its disk calls. */
    POOL_WORKERS = 4,   /* As libuv has. */
};

/* One worker busy with one work: first about to start it, then about to be done. */
struct job {
    struct env_timer event;
    struct ready ready;
    struct env_lane *lane;
    struct env_work *work;
    struct job *next, **link; /* lane->jobs. */
    bool started;
};

/* ---- clock, chance, timers, tasks ---- */

static uint64_t env_sim_now_us(struct env *env)
{
    struct sim_node *node = sim_node_of(env);
    return node->world->now_us + node->clock_us;
}

static int64_t env_sim_wall_ms(struct env *env)
{
    struct sim_node *node = sim_node_of(env);
    return node->wall_first_ms + (int64_t)(node->world->now_us / 1000);
}

static uint64_t env_sim_random(struct env *env)
{
    return splitmix_next(&sim_node_of(env)->chance);
}

static void env_sim_timer_start(struct env *env, struct env_timer *timer, uint64_t delay_us)
{
    struct sim_node *node = sim_node_of(env);
    if (node->frozen) return;
    timer_heap_start(&node->timers, timer, env_sim_now_us(env) + delay_us);
    if (timer_heap_first(&node->timers) == timer) sim_node_arm(node);
}

static void env_sim_timer_stop(struct env *env, struct env_timer *timer)
{
    timer_heap_stop(&sim_node_of(env)->timers, timer);
}

static void env_sim_defer(struct env *env, struct env_task *task)
{
    struct sim_node *node = sim_node_of(env);
    if (node->frozen) return;
    turn_defer(&node->turn, task);
    sim_node_arm(node);
}

static void env_sim_undefer(struct env *env, struct env_task *task)
{
    turn_undefer(&sim_node_of(env)->turn, task);
}

/* ---- work ---- */

static void job_free(struct job *job)
{
    timer_heap_stop(&job->lane->node->world->events, &job->event);
    *job->link = job->next;
    if (job->next != NULL) job->next->link = job->link;
    free(job);
}

static void lane_next(struct env_lane *lane);

static void job_told(struct ready *ready)
{
    struct job *job = CONTAINER_OF(ready, struct job, ready);
    struct env_work *work = job->work;
    job_free(job);
    work->done(work); /* Last: it may free the work, and destroy the lane. */
}

static void job_run(struct job *job)
{
    struct sim_node *node = job->lane->node;
    struct world *world = node->world;
    job->started = true;
    sim_node_enter(node, true);
    job->work->work(job->work);
    uint64_t done_us = node->disk->at_us + WORK_US + splitmix_below(&node->chance, WORK_US);
    if (!sim_node_dying(node)) timer_heap_start(&world->events, &job->event, done_us);
    sim_node_leave(node); /* Last: with the node dies the job. */
}

static void job_fired(struct env_timer *event)
{
    struct job *job = CONTAINER_OF(event, struct job, event);
    struct sim_node *node = job->lane->node;
    struct world *world = node->world;
    if (node->paused_until_us > world->now_us) {
        timer_heap_start(&world->events, event, node->paused_until_us);
        return;
    }
    world_trace(world, job->started ? TRACE_DONE : TRACE_WORK, node->number, 0);
    if (!job->started) {
        job_run(job);
        return;
    }
    job->lane->workers_busy--;
    sim_node_ready(node, &job->ready);
    lane_next(job->lane);
}

/* A free worker takes the oldest work. */
static void lane_next(struct env_lane *lane)
{
    struct sim_node *node = lane->node;
    if (lane->queue == NULL || lane->workers_busy == lane->workers_max) return;
    struct job *job = mem_zero(sizeof(*job));
    job->lane = lane;
    job->work = lane->queue;
    lane->queue = job->work->next;
    job->ready.run = job_told;
    env_timer_init(&job->event, job_fired);
    job->next = lane->jobs;
    job->link = &lane->jobs;
    if (job->next != NULL) job->next->link = &job->next;
    lane->jobs = job;
    lane->workers_busy++;
    uint64_t wake_us = WORKER_WAKE_US + splitmix_below(&node->chance, WORKER_WAKE_US);
    timer_heap_start(&node->world->events, &job->event, node->world->now_us + wake_us);
}

static void env_sim_work_submit(struct env *env, struct env_lane *lane, struct env_work *work)
{
    struct sim_node *node = sim_node_of(env);
    CHECK(work->work != NULL);
    CHECK(work->done != NULL);
    if (node->frozen) return;
    if (lane == NULL) lane = &node->pool;
    work->next = NULL;
    if (lane->queue == NULL)
        lane->queue = work;
    else
        lane->queue_last->next = work;
    lane->queue_last = work;
    lane_next(lane);
}

static void ready_forget(struct sim_node *node, const struct ready *ready);

/* The caller waits for what runs: its loop is busy until then. */
static void env_sim_work_forget(struct env *env, struct env_work *work)
{
    struct sim_node *node = sim_node_of(env);
    struct env_lane *pool = &node->pool;
    struct env_work *last = NULL;
    for (struct env_work **at = &pool->queue; *at != NULL; last = *at, at = &last->next)
        if (*at == work) {
            *at = work->next;
            if (pool->queue_last == work) pool->queue_last = last;
            return;
        }
    struct job *job = pool->jobs;
    while (job != NULL && job->work != work)
        job = job->next;
    if (job == NULL) return; /* The node is dying. */
    if (!job->ready.queued) {
        if (job->started && job->event.due_us > node->busy_until_us)
            node->busy_until_us = job->event.due_us;
        pool->workers_busy--;
    } else {
        ready_forget(node, &job->ready);
    }
    job_free(job);
    lane_next(pool);
}

static struct env_lane *env_sim_lane_create(struct env *env, const char *name)
{
    (void)name;
    struct sim_node *node = sim_node_of(env);
    struct env_lane *lane = mem_zero(sizeof(*lane));
    lane->node = node;
    lane->workers_max = 1;
    lane->next = node->lanes;
    lane->link = &node->lanes;
    if (lane->next != NULL) lane->next->link = &lane->next;
    node->lanes = lane;
    return lane;
}

/* What is ready but not told yet is taken out of the node's list. */
static void ready_forget(struct sim_node *node, const struct ready *ready)
{
    struct ready *last = NULL;
    for (struct ready **at = &node->ready; *at != NULL;) {
        if (*at == ready) {
            *at = ready->next;
            continue;
        }
        last = *at;
        at = &last->next;
    }
    node->ready_last = last;
}

static void lane_drop(struct env_lane *lane)
{
    while (lane->jobs != NULL) {
        if (lane->jobs->ready.queued) ready_forget(lane->node, &lane->jobs->ready);
        job_free(lane->jobs);
    }
    lane->queue = NULL;
    lane->workers_busy = 0;
}

static void lane_free(struct env_lane *lane)
{
    lane_drop(lane);
    *lane->link = lane->next;
    if (lane->next != NULL) lane->next->link = lane->link;
    free(lane);
}

/* The caller waits: work that has not begun runs now, and the loop is busy until all is done. */
static void env_sim_lane_destroy(struct env *env, struct env_lane *lane)
{
    struct sim_node *node = sim_node_of(env);
    for (struct job *job = lane->jobs; job != NULL; job = job->next) {
        if (!job->started) {
            job->work->work(job->work);
        } else if (!job->ready.queued && job->event.due_us > node->busy_until_us) {
            node->busy_until_us = job->event.due_us;
        }
    }
    while (lane->queue != NULL) {
        struct env_work *work = lane->queue;
        lane->queue = work->next;
        work->work(work);
    }
    lane_free(lane);
}

/* ---- files ---- */

static struct disk *disk_of(struct env *env)
{
    return sim_node_disk(sim_node_of(env));
}

static int env_sim_file_open(struct env *env, const char *path, int flags, struct env_file **out)
{
    return disk_file_open(disk_of(env), path, flags, out);
}

static void env_sim_file_close(struct env *env, struct env_file *file)
{
    disk_file_close(disk_of(env), file);
}

static int env_sim_file_read(struct env *env, struct env_file *file, void *out, size_t bytes,
                             uint64_t offset, size_t *got)
{
    return disk_file_read(disk_of(env), file, out, bytes, offset, got);
}

static int env_sim_file_write(struct env *env, struct env_file *file, const void *data,
                              size_t bytes, uint64_t offset)
{
    return disk_file_write(disk_of(env), file, data, bytes, offset);
}

static int env_sim_file_sync(struct env *env, struct env_file *file)
{
    return disk_file_sync(disk_of(env), file);
}

static int env_sim_file_size(struct env *env, struct env_file *file, uint64_t *bytes)
{
    (void)env;
    *bytes = file->inode->size;
    return 0;
}

static int env_sim_file_truncate(struct env *env, struct env_file *file, uint64_t bytes)
{
    return disk_file_truncate(disk_of(env), file, bytes);
}

static int env_sim_rename(struct env *env, const char *from, const char *to)
{
    return disk_rename(disk_of(env), from, to);
}

static int env_sim_unlink(struct env *env, const char *path)
{
    return disk_unlink(disk_of(env), path);
}

static int env_sim_dir_make(struct env *env, const char *path)
{
    return disk_dir_make(disk_of(env), path);
}

static int env_sim_dir_sync(struct env *env, const char *path)
{
    return disk_dir_sync(disk_of(env), path);
}

static int env_sim_dir_list(struct env *env, const char *path, env_name_cb each, void *arg)
{
    return disk_dir_list(disk_of(env), path, each, arg);
}

static int env_sim_dir_lock(struct env *env, const char *path, struct env_file **lock)
{
    return disk_dir_lock(disk_of(env), path, lock);
}

static int env_sim_disk_free(struct env *env, const char *path, uint64_t *bytes)
{
    struct disk *disk = disk_of(env);
    if (disk_find(disk, path) == NULL) return ERR_NOT_FOUND;
    bool full = disk->used_bytes >= disk->capacity_bytes;
    *bytes = full ? 0 : disk->capacity_bytes - disk->used_bytes;
    return 0;
}

/* ---- with the node ---- */

const struct env_ops sim_env_ops = {
    .now_us = env_sim_now_us,
    .wall_ms = env_sim_wall_ms,
    .random = env_sim_random,
    .timer_start = env_sim_timer_start,
    .timer_stop = env_sim_timer_stop,
    .defer = env_sim_defer,
    .undefer = env_sim_undefer,
    .work_submit = env_sim_work_submit,
    .work_forget = env_sim_work_forget,
    .lane_create = env_sim_lane_create,
    .lane_destroy = env_sim_lane_destroy,
    .file_open = env_sim_file_open,
    .file_close = env_sim_file_close,
    .file_read = env_sim_file_read,
    .file_write = env_sim_file_write,
    .file_sync = env_sim_file_sync,
    .file_size = env_sim_file_size,
    .file_truncate = env_sim_file_truncate,
    .rename = env_sim_rename,
    .unlink = env_sim_unlink,
    .dir_make = env_sim_dir_make,
    .dir_sync = env_sim_dir_sync,
    .dir_list = env_sim_dir_list,
    .dir_lock = env_sim_dir_lock,
    .disk_free = env_sim_disk_free,
    .listen = net_listen,
    .listener_port = net_listener_port,
    .listener_close = net_listener_close,
    .connect = net_connect,
    .conn_accept = net_conn_accept,
    .conn_out = net_conn_out,
    .conn_backlog = net_conn_backlog,
    .conn_peer = net_conn_peer,
    .conn_close = net_conn_close,
};

void sim_env_init(struct sim_node *node)
{
    node->env.ops = &sim_env_ops;
    node->pool.node = node;
    node->pool.workers_max = POOL_WORKERS;
}

void sim_env_died(struct sim_node *node)
{
    while (node->lanes != NULL)
        lane_free(node->lanes);
    lane_drop(&node->pool);
    timer_heap_free(&node->timers); /* The timers' memory is the dead node's: not touched. */
    node->turn = (struct turn){0};
}
