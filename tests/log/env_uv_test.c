/* tests/log/env_uv_test.c -- the loop, timers, phases, lanes and files of the real env.
 *
 * Method: a script of callbacks writes letters into `story`, which must read as the contract
 * tells. Nothing sleeps: each test stops the loop itself, its timeout is the failure. */
#include "log/env_uv.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/lib/dir.h"

static struct env_uv *uv;
static struct env *env;
static char story[64];

static void tell(char letter)
{
    size_t len = strlen(story);
    CHECK(len + 1 < sizeof(story));
    story[len] = letter;
}
static void set_up(void)
{
    cr_assert_eq(env_uv_create(NULL, &uv), 0);
    env = env_uv_env(uv);
}
static void tear_down(void)
{
    env_uv_destroy(uv);
}
TestSuite(env_uv, .init = set_up, .fini = tear_down, .timeout = 10);

/* ---- timers ---- */

static struct env_timer early, late, never;

static void early_fired(struct env_timer *timer)
{
    (void)timer;
    tell('e');
    env_timer_stop(env, &never);
}
static void late_fired(struct env_timer *timer)
{
    (void)timer;
    tell('l');
    env_uv_stop(uv);
}
static void never_fired(struct env_timer *timer)
{
    (void)timer;
    tell('n');
}

Test(env_uv, timers_fire_in_order_and_stop_at_once)
{
    env_timer_init(&early, early_fired);
    env_timer_init(&late, late_fired);
    env_timer_init(&never, never_fired);
    uint64_t start_us = env_now_us(env);
    env_timer_start(env, &late, 20);
    env_timer_start(env, &never, 6);
    env_timer_start(env, &early, 5);
    env_uv_run(uv);
    cr_expect_str_eq(story, "el");
    cr_expect_geq(env_now_us(env) - start_us, 20000);
}

static void again_fired(struct env_timer *timer)
{
    tell('a');
    if (strlen(story) < 5)
        env_timer_start(env, timer, 0);
    else
        env_uv_stop(uv);
}

Test(env_uv, a_timer_of_no_delay_leaves_the_loop_alive)
{
    env_timer_init(&early, again_fired);
    env_timer_start(env, &early, 0);
    env_uv_run(uv);
    cr_expect_str_eq(story, "aaaaa");
}

/* ---- the turn ---- */

static struct env_task work_task, more_task, log_task, send_task;

static void work_run(struct env_task *task)
{
    (void)task;
    tell('w');
    env_defer(env, &log_task);
}
static void log_run(struct env_task *task)
{
    (void)task;
    tell('l');
    if (strlen(story) < 3) env_defer(env, &more_task); /* Back to an earlier phase. */
}
static void more_run(struct env_task *task)
{
    (void)task;
    tell('m');
    env_defer(env, &log_task);
}
static void send_run(struct env_task *task)
{
    (void)task;
    tell('s');
    env_uv_stop(uv);
}

Test(env_uv, phases_run_in_order_until_nothing_is_left)
{
    env_task_init(&work_task, ENV_PHASE_WORK, work_run);
    env_task_init(&more_task, ENV_PHASE_WORK, more_run);
    env_task_init(&log_task, ENV_PHASE_LOG, log_run);
    env_task_init(&send_task, ENV_PHASE_SEND, send_run);
    env_defer(env, &send_task);
    env_defer(env, &work_task);
    env_defer(env, &work_task); /* Queued already: runs once. */
    env_uv_run(uv);
    cr_expect_str_eq(story, "wlmls");
}

/* First, middle and last of a phase; the queue must stay whole behind each. */
Test(env_uv, a_task_taken_back_does_not_run)
{
    env_task_init(&work_task, ENV_PHASE_LOG, work_run);
    env_task_init(&more_task, ENV_PHASE_LOG, more_run);
    env_task_init(&log_task, ENV_PHASE_LOG, log_run);
    env_task_init(&send_task, ENV_PHASE_LOG, send_run);
    env_defer(env, &work_task);
    env_defer(env, &more_task);
    env_defer(env, &log_task);
    env_undefer(env, &more_task);
    env_undefer(env, &log_task);
    env_undefer(env, &work_task);
    env_undefer(env, &work_task); /* Not queued: does nothing. */
    env_defer(env, &send_task);
    env_uv_run(uv);
    cr_expect_str_eq(story, "s");
}

static void early_defers(struct env_timer *timer)
{
    (void)timer;
    env_defer(env, &send_task);
}

/* The next timer is a minute away: had the loop waited first, the test would time out. */
Test(env_uv, a_task_deferred_by_a_timer_runs_before_the_next_wait)
{
    env_task_init(&send_task, ENV_PHASE_SEND, send_run);
    env_timer_init(&early, early_defers);
    env_timer_init(&late, late_fired);
    env_timer_start(env, &late, 60000);
    env_timer_start(env, &early, 1);
    env_uv_run(uv);
    cr_expect_str_eq(story, "s");
}

static void prepare_defers(uv_prepare_t *prepare)
{
    uv_prepare_stop(prepare);
    env_defer(env, &send_task);
}

/* Somebody else's callback of the same loop runs after ours, just before the wait. */
Test(env_uv, a_task_deferred_just_before_the_wait_is_not_slept_over)
{
    static uv_prepare_t prepare; /* Closed by tear_down's loop. */
    env_task_init(&send_task, ENV_PHASE_SEND, send_run);
    cr_assert_eq(uv_prepare_init(env_uv_loop(uv), &prepare), 0);
    cr_assert_eq(uv_prepare_start(&prepare, prepare_defers), 0);
    env_uv_run(uv);
    cr_expect_str_eq(story, "s");
    uv_close((uv_handle_t *)&prepare, NULL);
}

/* ---- lanes and the pool ---- */

enum { WORKS = 1000 };
static struct env_work works[WORKS];
static unsigned long threads[WORKS]; /* Written by the worker, read after done. */
static size_t worked, done_count;

static void lane_work(struct env_work *work)
{
    threads[work - works] = (unsigned long)uv_thread_self();
    CHECK((size_t)(work - works) == worked++);
}
static void lane_done(struct env_work *work)
{
    cr_assert_eq((size_t)(work - works), done_count++);
    if (done_count == WORKS) env_uv_stop(uv);
}

Test(env_uv, a_lane_works_in_order_on_one_thread_of_its_own)
{
    struct env_lane *lane = env_lane_create(env, "test");
    for (size_t i = 0; i < WORKS; i++) {
        works[i] = (struct env_work){.work = lane_work, .done = lane_done};
        env_work_submit(env, lane, &works[i]);
        cr_assert_eq(done_count, 0, "never from inside the call");
    }
    env_uv_run(uv);
    for (size_t i = 1; i < WORKS; i++)
        cr_assert_eq(threads[i], threads[0]);
    cr_expect_neq(threads[0], (unsigned long)uv_thread_self());
    env_lane_destroy(env, lane);
}

Test(env_uv, destroying_a_lane_waits_for_its_work_and_tells_nothing)
{
    struct env_lane *lane = env_lane_create(env, "test");
    for (size_t i = 0; i < WORKS; i++) {
        works[i] = (struct env_work){.work = lane_work, .done = lane_done};
        env_work_submit(env, lane, &works[i]);
    }
    env_lane_destroy(env, lane);
    cr_expect_eq(worked, WORKS);
    env_timer_init(&late, late_fired);
    env_timer_start(env, &late, 5);
    env_uv_run(uv);
    cr_expect_eq(done_count, 0);
}

static struct env_lane *doomed;
static void lane_done_destroys(struct env_work *work)
{
    (void)work;
    done_count++;
    env_lane_destroy(env, doomed);
    env_timer_start(env, &late, 5);
}

Test(env_uv, a_lane_may_be_destroyed_by_what_it_did)
{
    doomed = env_lane_create(env, "test");
    env_timer_init(&late, late_fired);
    for (size_t i = 0; i < 100; i++) {
        works[i] = (struct env_work){.work = lane_work, .done = lane_done_destroys};
        env_work_submit(env, doomed, &works[i]);
    }
    env_uv_run(uv);
    cr_expect_eq(done_count, 1);
    cr_expect_eq(worked, 100);
}

static void pool_work(struct env_work *work)
{
    threads[work - works] = (unsigned long)uv_thread_self();
}
static void pool_done(struct env_work *work)
{
    cr_expect_neq(threads[work - works], 0);
    if (++done_count == 50) env_uv_stop(uv);
}

Test(env_uv, the_pool_does_each_work_once)
{
    for (size_t i = 0; i < 50; i++) {
        works[i] = (struct env_work){.work = pool_work, .done = pool_done};
        env_work_submit(env, NULL, &works[i]);
    }
    env_uv_run(uv);
    cr_expect_eq(done_count, 50);
}

Test(env_uv, destroy_waits_for_the_pool_and_tells_nothing)
{
    struct env_uv *other;
    cr_assert_eq(env_uv_create(NULL, &other), 0);
    works[0] = (struct env_work){.work = pool_work, .done = pool_done};
    env_work_submit(env_uv_env(other), NULL, &works[0]);
    env_uv_destroy(other);
    cr_expect_neq(threads[0], 0);
    cr_expect_eq(done_count, 0);
}

/* Memory of work taken back is freed at once; done would then be seen by the sanitizer. */
Test(env_uv, work_taken_back_is_waited_for_or_never_done)
{
    enum { TAKEN = 40 };
    for (size_t i = 0; i < TAKEN; i++) {
        works[i] = (struct env_work){.work = pool_work, .done = pool_done};
        env_work_submit(env, NULL, &works[i]);
    }
    for (size_t i = 0; i < TAKEN; i++) {
        env_work_forget(env, &works[i]);
        memset(&works[i], 0, sizeof(works[i]));
    }
    for (size_t i = TAKEN; i < TAKEN + 50; i++) {
        works[i] = (struct env_work){.work = pool_work, .done = pool_done};
        env_work_submit(env, NULL, &works[i]);
    }
    env_uv_run(uv);
    cr_expect_eq(done_count, 50);
}

/* ---- signals, chance, a loop of somebody else's ---- */

static void term_came(void *arg)
{
    tell(*(char *)arg);
    env_uv_stop(uv);
}

Test(env_uv, sigterm_calls_back_on_the_loop)
{
    char letter = 't';
    cr_assert_eq(env_uv_on_term(uv, term_came, &letter), 0);
    kill(getpid(), SIGTERM);
    cr_expect_str_eq(story, "");
    env_uv_run(uv);
    cr_expect_str_eq(story, "t");
}

Test(env_uv, chance_does_not_repeat)
{
    uint64_t first = env_random(env);
    for (int i = 0; i < 100; i++)
        cr_assert_neq(env_random(env), first);
}

Test(env_uv, a_given_loop_is_left_usable)
{
    uv_loop_t loop;
    struct env_uv *guest;
    cr_assert_eq(uv_loop_init(&loop), 0);
    cr_assert_eq(env_uv_create(&loop, &guest), 0);
    cr_expect_eq(env_uv_loop(guest), &loop);
    env_uv_destroy(guest);
    cr_expect_eq(uv_loop_close(&loop), 0, "no handle is left on it");
}

/* Idle means asleep: in 100 ms the loop turns for its timer alone. */
static int turns;
static void turn_counted(uv_check_t *check)
{
    (void)check;
    turns++;
}

Test(env_uv, an_idle_loop_sleeps)
{
    static uv_check_t check; /* Closed by tear_down's loop. */
    cr_assert_eq(uv_check_init(env_uv_loop(uv), &check), 0);
    cr_assert_eq(uv_check_start(&check, turn_counted), 0);
    env_timer_init(&late, late_fired);
    env_timer_start(env, &late, 100);
    env_uv_run(uv);
    cr_expect_leq(turns, 3);
    uv_close((uv_handle_t *)&check, NULL);
}
