/* log/env_uv.c -- the loop of the real env: create, turn, clock, timers, destroy.
 *
 * One turn of libuv: timers -> idle -> prepare -> wait -> callbacks of what happened -> check ->
 * closed handles. Tasks run at check and at prepare; prepare also sets the one uv_timer to the
 * first timer due and forgets the time, so that the next use of the clock reads it anew. The idle
 * handle is started while tasks are queued: libuv then does not wait, whoever deferred them. */
#include "log/env_uv.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "log/env_uv_impl.h"

int err_from_uv(int code)
{
    CHECK(code < 0);
    switch (code) {
        case UV_EOF:
            return ERR_CLOSED;
        case UV_ECANCELED:
            return ERR_CANCELED;
        default: /* On Linux the others are errnos, but for those of getaddrinfo. */
            return code <= UV_EAI_ADDRFAMILY ? ERR_CONNECT : err_from_errno(-code);
    }
}

/* ---- clock and chance ---- */

static uint64_t uv_clock_us(void)
{
    return uv_hrtime() / 1000 + 1; /* + 1: never 0. */
}

static uint64_t uv_now_us(struct env *env)
{
    struct env_uv *uv = env_uv_of(env);
    if (uv->now_us != 0) return uv->now_us;
    uint64_t now_us = uv_clock_us();
    if (uv->turned) uv->now_us = now_us;
    return now_us;
}

static int64_t uv_wall_ms(struct env *env)
{
    (void)env;
    struct timespec ts;
    CHECK(clock_gettime(CLOCK_REALTIME, &ts) == 0);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static uint64_t uv_random_next(struct env *env)
{
    struct env_uv *uv = env_uv_of(env);
    if (uv->random_left == 0) {
        CHECK(uv_random(NULL, NULL, uv->random, sizeof(uv->random), 0, NULL) == 0);
        uv->random_left = ENV_UV_RANDOM_COUNT;
    }
    return uv->random[--uv->random_left];
}

/* ---- timers ---- */

static void timer_fired(uv_timer_t *timer)
{
    struct env_uv *uv = CONTAINER_OF(timer, struct env_uv, timer);
    uv->timer_due_us = UINT64_MAX;
    uv->now_us = 0;
    timer_heap_fire(&uv->timers, uv_now_us(&uv->env));
}

/* Set the uv_timer to the first timer, rounded up: it shall not wake before there is work. */
static void timer_arm(struct env_uv *uv)
{
    const struct env_timer *first = timer_heap_first(&uv->timers);
    uint64_t due_us = first == NULL ? UINT64_MAX : first->due_us;
    if (due_us == uv->timer_due_us) return;
    uv->timer_due_us = due_us;
    if (first == NULL) {
        uv_timer_stop(&uv->timer);
        return;
    }
    uv_update_time(uv->loop);
    uint64_t now_us = uv_clock_us();
    uint64_t wait_ms = due_us <= now_us ? 0 : (due_us - now_us + 999) / 1000;
    CHECK(uv_timer_start(&uv->timer, timer_fired, wait_ms, 0) == 0);
}

static void uv_env_timer_start(struct env *env, struct env_timer *timer, uint64_t delay_us)
{
    struct env_uv *uv = env_uv_of(env);
    timer_heap_start(&uv->timers, timer, uv_now_us(env) + delay_us);
    if (timer->due_us < uv->timer_due_us) timer_arm(uv);
}

static void uv_env_timer_stop(struct env *env, struct env_timer *timer)
{
    timer_heap_stop(&env_uv_of(env)->timers, timer);
}

/* ---- the turn ---- */

static void idle_run(uv_idle_t *idle)
{
    (void)idle; /* It is there to keep the loop from waiting. */
}

void env_uv_wake(struct env_uv *uv)
{
    CHECK(uv_idle_start(&uv->idle, idle_run) == 0);
}

static void uv_defer(struct env *env, struct env_task *task)
{
    struct env_uv *uv = env_uv_of(env);
    turn_defer(&uv->turn, task);
    if (!uv->turning) env_uv_wake(uv);
}

static void uv_undefer(struct env *env, struct env_task *task)
{
    struct env_uv *uv = env_uv_of(env);
    turn_undefer(&uv->turn, task);
}

static void turn_end(struct env_uv *uv)
{
    if (uv->turn.count == 0) return;
    uv->turning = true;
    while (turn_run_one(&uv->turn)) {
    }
    uv->turning = false;
}

static void prepare_run(uv_prepare_t *prepare)
{
    struct env_uv *uv = CONTAINER_OF(prepare, struct env_uv, prepare);
    turn_end(uv);
    timer_arm(uv);
    uv->turned = true;
    uv->now_us = 0;
    if (uv->drains == NULL) uv_idle_stop(&uv->idle);
}

static void check_run(uv_check_t *check)
{
    struct env_uv *uv = CONTAINER_OF(check, struct env_uv, check);
    env_uv_conn_drains(uv);
    turn_end(uv);
}

/* ---- create, run, destroy ---- */

static const struct env_ops env_uv_ops = {
    .now_us = uv_now_us,
    .wall_ms = uv_wall_ms,
    .random = uv_random_next,
    .timer_start = uv_env_timer_start,
    .timer_stop = uv_env_timer_stop,
    .defer = uv_defer,
    .undefer = uv_undefer,
    .work_submit = env_uv_work_submit,
    .work_forget = env_uv_work_forget,
    .lane_create = env_uv_lane_create,
    .lane_destroy = env_uv_lane_destroy,
    .file_open = env_uv_file_open,
    .file_close = env_uv_file_close,
    .file_read = env_uv_file_read,
    .file_write = env_uv_file_write,
    .file_sync = env_uv_file_sync,
    .file_size = env_uv_file_size,
    .file_truncate = env_uv_file_truncate,
    .rename = env_uv_rename,
    .unlink = env_uv_unlink,
    .dir_make = env_uv_dir_make,
    .dir_sync = env_uv_dir_sync,
    .dir_list = env_uv_dir_list,
    .dir_lock = env_uv_dir_lock,
    .disk_free = env_uv_disk_free,
    .listen = env_uv_listen,
    .listener_port = env_uv_listener_port,
    .listener_close = env_uv_listener_close,
    .connect = env_uv_connect,
    .conn_accept = env_uv_conn_accept,
    .conn_out = env_uv_conn_out,
    .conn_backlog = env_uv_conn_backlog,
    .conn_peer = env_uv_conn_peer,
    .conn_close = env_uv_conn_close,
};

int env_uv_create(uv_loop_t *loop, struct env_uv **out)
{
    struct env_uv *uv = mem_zero(sizeof(*uv));
    uv->env.ops = &env_uv_ops;
    uv->loop_given = loop != NULL;
    uv->loop = loop != NULL ? loop : &uv->own_loop;
    if (loop == NULL && uv_loop_init(&uv->own_loop) != 0) {
        free(uv);
        return ERR_IO;
    }
    signal(SIGPIPE, SIG_IGN); /* Writing to a closed connection is an error, not a death. */
    uv->timer_due_us = UINT64_MAX;
    CHECK(uv_timer_init(uv->loop, &uv->timer) == 0);
    CHECK(uv_prepare_init(uv->loop, &uv->prepare) == 0);
    CHECK(uv_prepare_start(&uv->prepare, prepare_run) == 0);
    CHECK(uv_check_init(uv->loop, &uv->check) == 0);
    CHECK(uv_check_start(&uv->check, check_run) == 0);
    CHECK(uv_idle_init(uv->loop, &uv->idle) == 0);
    env_uv_work_init(uv);
    env_uv_conn_init(uv);
    *out = uv;
    return 0;
}

struct env *env_uv_env(struct env_uv *uv)
{
    return &uv->env;
}

uv_loop_t *env_uv_loop(struct env_uv *uv)
{
    return uv->loop;
}

void env_uv_run(struct env_uv *uv)
{
    uv_run(uv->loop, UV_RUN_DEFAULT);
}

void env_uv_stop(struct env_uv *uv)
{
    uv_stop(uv->loop);
}

static void signal_came(uv_signal_t *signal, int number)
{
    (void)number;
    struct env_uv *uv = signal->data;
    uv->term(uv->term_arg);
}

int env_uv_on_term(struct env_uv *uv, void (*asked)(void *arg), void *arg)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    CHECK(uv->term == NULL);
    uv->term = asked;
    uv->term_arg = arg;
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
        CHECK(uv_signal_init(uv->loop, &uv->signals[i]) == 0);
        uv->signals[i].data = uv;
        int rv = uv_signal_start(&uv->signals[i], signal_came, numbers[i]);
        if (rv != 0) return err_from_uv(rv);
    }
    return 0;
}

static void handle_closed(uv_handle_t *handle)
{
    ((struct env_uv *)handle->data)->handles_count--;
}

static void handle_close(struct env_uv *uv, uv_handle_t *handle)
{
    handle->data = uv;
    uv->handles_count++;
    uv_close(handle, handle_closed);
}

void env_uv_destroy(struct env_uv *uv)
{
    CHECK(uv->lanes == NULL);
    uv->closing = true;
    env_uv_conn_close_all(uv);
    handle_close(uv, (uv_handle_t *)&uv->timer);
    handle_close(uv, (uv_handle_t *)&uv->prepare);
    handle_close(uv, (uv_handle_t *)&uv->check);
    handle_close(uv, (uv_handle_t *)&uv->idle);
    handle_close(uv, (uv_handle_t *)&uv->async);
    for (size_t i = 0; uv->term != NULL && i < ARRAY_COUNT(uv->signals); i++)
        handle_close(uv, (uv_handle_t *)&uv->signals[i]);
    while (uv->handles_count > 0)
        uv_run(uv->loop, UV_RUN_ONCE);
    if (!uv->loop_given) CHECK(uv_loop_close(uv->loop) == 0);
    env_uv_work_close(uv);
    timer_heap_free(&uv->timers);
    free(uv->read_buffer);
    free(uv);
}
