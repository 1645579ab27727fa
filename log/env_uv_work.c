/* log/env_uv_work.c -- work that blocks: lanes, each a thread with a queue, and libuv's pool.
 *
 * A lane's thread takes one work after the other; what is done goes to the lane's own list, and
 * one uv_async per env tells the loop, which takes the lists over and calls done.
 * Invariant: a work is in exactly one place: a lane's queue, its thread, a lane's finished list,
 * env's done list. Lane and loop share the lane's fields under its mutex and nothing else. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "log/env_uv_impl.h"

enum { LANE_NAME_BYTES_MAX = 15 }; /* The kernel's limit for a thread's name. */

struct env_lane {
    struct env_uv *uv;
    struct env_lane *next; /* In uv->lanes; the loop's. */
    char name[LANE_NAME_BYTES_MAX + 1];
    uv_thread_t thread;
    uv_mutex_t mutex; /* Guards all below. */
    uv_cond_t wanted; /* Something was queued, or stopping was set. */
    struct env_work *queue, *queue_last;
    struct env_work *finished, *finished_last;
    bool stopping;
};

struct pool_work {
    uv_work_t req;
    struct env_uv *uv;
    struct env_work *work; /* NULL: taken back. */
    bool running;
};

static void list_append(struct env_work **first, struct env_work **last, struct env_work *work)
{
    work->next = NULL;
    if (*first == NULL)
        *first = work;
    else
        (*last)->next = work;
    *last = work;
}

/* ---- the lane's thread ---- */

/* Wait for work; NULL when the lane stops and its queue is empty. */
static struct env_work *lane_take(struct env_lane *lane)
{
    uv_mutex_lock(&lane->mutex);
    while (lane->queue == NULL && !lane->stopping)
        uv_cond_wait(&lane->wanted, &lane->mutex);
    struct env_work *work = lane->queue;
    if (work != NULL) lane->queue = work->next;
    uv_mutex_unlock(&lane->mutex);
    return work;
}

static void lane_run(void *arg)
{
    struct env_lane *lane = arg;
    pthread_setname_np(pthread_self(), lane->name);
    for (;;) {
        struct env_work *work = lane_take(lane);
        if (work == NULL) return;
        work->work(work);
        uv_mutex_lock(&lane->mutex);
        bool first = lane->finished == NULL;
        list_append(&lane->finished, &lane->finished_last, work);
        uv_mutex_unlock(&lane->mutex);
        if (first) uv_async_send(&lane->uv->async);
    }
}

/* ---- the loop ---- */

static void lanes_done(uv_async_t *async)
{
    struct env_uv *uv = CONTAINER_OF(async, struct env_uv, async);
    for (struct env_lane *lane = uv->lanes; lane != NULL; lane = lane->next) {
        uv_mutex_lock(&lane->mutex);
        struct env_work *work = lane->finished;
        lane->finished = NULL;
        uv_mutex_unlock(&lane->mutex);
        while (work != NULL) {
            struct env_work *next = work->next;
            list_append(&uv->done, &uv->done_last, work);
            work = next;
        }
    }
    while (uv->done != NULL) {
        struct env_work *work = uv->done;
        uv->done = work->next;
        work->impl = NULL;
        work->done(work); /* Last: it may free the work, and destroy a lane. */
    }
}

void env_uv_work_init(struct env_uv *uv)
{
    CHECK(uv_async_init(uv->loop, &uv->async, lanes_done) == 0);
    CHECK(uv_mutex_init(&uv->pool_mutex) == 0);
    CHECK(uv_cond_init(&uv->pool_ended) == 0);
}

void env_uv_work_close(struct env_uv *uv)
{
    uv_cond_destroy(&uv->pool_ended);
    uv_mutex_destroy(&uv->pool_mutex);
}

static void pool_run(uv_work_t *req)
{
    struct pool_work *pool = CONTAINER_OF(req, struct pool_work, req);
    struct env_uv *uv = pool->uv;
    uv_mutex_lock(&uv->pool_mutex);
    struct env_work *work = pool->work;
    pool->running = work != NULL;
    uv_mutex_unlock(&uv->pool_mutex);
    if (work == NULL) return;
    work->work(work);
    uv_mutex_lock(&uv->pool_mutex);
    pool->running = false;
    uv_cond_broadcast(&uv->pool_ended);
    uv_mutex_unlock(&uv->pool_mutex);
}

void env_uv_work_forget(struct env *env, struct env_work *work)
{
    struct env_uv *uv = env_uv_of(env);
    struct pool_work *pool = work->impl;
    CHECK(pool != NULL && pool->work == work);
    uv_mutex_lock(&uv->pool_mutex);
    while (pool->running)
        uv_cond_wait(&uv->pool_ended, &uv->pool_mutex);
    pool->work = NULL;
    uv_mutex_unlock(&uv->pool_mutex);
    work->impl = NULL;
}

static void pool_done(uv_work_t *req, int status)
{
    struct pool_work *pool = CONTAINER_OF(req, struct pool_work, req);
    struct env_uv *uv = pool->uv;
    struct env_work *work = pool->work;
    CHECK(status == 0); /* Nobody cancels. */
    free(pool);
    uv->handles_count--;
    if (uv->closing || work == NULL) return;
    work->impl = NULL;
    work->done(work);
}

void env_uv_work_submit(struct env *env, struct env_lane *lane, struct env_work *work)
{
    struct env_uv *uv = env_uv_of(env);
    CHECK(work->work != NULL);
    CHECK(work->done != NULL);
    if (lane == NULL) {
        struct pool_work *pool = mem_alloc(sizeof(*pool));
        pool->uv = uv;
        pool->running = false;
        pool->work = work;
        work->impl = pool;
        CHECK(uv_queue_work(uv->loop, &pool->req, pool_run, pool_done) == 0);
        uv->handles_count++;
        return;
    }
    work->impl = lane;
    uv_mutex_lock(&lane->mutex);
    CHECK(!lane->stopping);
    bool was_empty = lane->queue == NULL;
    list_append(&lane->queue, &lane->queue_last, work);
    if (was_empty) uv_cond_signal(&lane->wanted);
    uv_mutex_unlock(&lane->mutex);
}

struct env_lane *env_uv_lane_create(struct env *env, const char *name)
{
    struct env_uv *uv = env_uv_of(env);
    CHECK(strlen(name) <= LANE_NAME_BYTES_MAX);
    struct env_lane *lane = mem_zero(sizeof(*lane));
    lane->uv = uv;
    memcpy(lane->name, name, strlen(name));
    CHECK(uv_mutex_init(&lane->mutex) == 0);
    CHECK(uv_cond_init(&lane->wanted) == 0);
    lane->next = uv->lanes;
    uv->lanes = lane;

    /* Signals are the loop's business: a lane's blocking calls shall not be interrupted. */
    sigset_t all, before;
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_BLOCK, &all, &before) == 0);
    CHECK(uv_thread_create(&lane->thread, lane_run, lane) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    return lane;
}

/* Work of lane that was done but not told yet is dropped. */
static void done_forget(struct env_uv *uv, const struct env_lane *lane)
{
    struct env_work *work = uv->done;
    uv->done = NULL;
    while (work != NULL) {
        struct env_work *next = work->next;
        if (work->impl != lane) list_append(&uv->done, &uv->done_last, work);
        work = next;
    }
}

void env_uv_lane_destroy(struct env *env, struct env_lane *lane)
{
    struct env_uv *uv = env_uv_of(env);
    uv_mutex_lock(&lane->mutex);
    lane->stopping = true;
    uv_cond_signal(&lane->wanted);
    uv_mutex_unlock(&lane->mutex);
    CHECK(uv_thread_join(&lane->thread) == 0);
    CHECK(lane->queue == NULL);
    done_forget(uv, lane);
    struct env_lane **link = &uv->lanes;
    while (*link != lane)
        link = &(*link)->next;
    *link = lane->next;
    uv_cond_destroy(&lane->wanted);
    uv_mutex_destroy(&lane->mutex);
    free(lane);
}
