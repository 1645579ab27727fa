/* tests/jepsen/sim_world_test.c -- nodes, their turns, their work and their deaths. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "jepsen/sim/net.h"
#include "jepsen/sim/world.h"

static struct world *world;
static struct sim_node *node;
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
    world = world_create(7);
    node = sim_node_create(world, "n1", NULL, NULL);
    env = sim_node_env(node);
}
static void tear_down(void)
{
    world_destroy(world);
}
TestSuite(sim_world, .init = set_up, .fini = tear_down, .timeout = 20);

/* ---- timers and tasks: the same law as the real env's ---- */

static struct env_timer early, late, never;
static struct env_task work_task, log_task;

static void early_fired(struct env_timer *timer)
{
    (void)timer;
    tell('e');
    env_timer_stop(env, &never);
    env_defer(env, &log_task);
    env_defer(env, &work_task);
}
static void late_fired(struct env_timer *timer)
{
    (void)timer;
    tell('l');
}
static void work_run(struct env_task *task)
{
    (void)task;
    tell('W');
}
static void log_run(struct env_task *task)
{
    (void)task;
    tell('L');
}

Test(sim_world, timers_and_tasks_run_in_order)
{
    env_timer_init(&early, early_fired);
    env_timer_init(&late, late_fired);
    env_timer_init(&never, late_fired);
    env_task_init(&work_task, ENV_PHASE_WORK, work_run);
    env_task_init(&log_task, ENV_PHASE_LOG, log_run);
    env_timer_start(env, &late, 20);
    env_timer_start(env, &never, 6);
    env_timer_start(env, &early, 5);
    world_run_for(world, 19999);
    cr_expect_str_eq(story, "eWL");
    world_run_for(world, 1000);
    cr_expect_str_eq(story, "eWLl");
}

Test(sim_world, time_is_virtual_and_differs_between_nodes)
{
    struct env *other = sim_node_env(sim_node_create(world, "n2", NULL, NULL));
    uint64_t before_us = env_now_us(env);
    int64_t wall_ms = env_wall_ms(env);
    cr_expect_neq(env_now_us(other), before_us);
    world_run_for(world, 5000000);
    cr_expect_eq(env_now_us(env), before_us + 5000000);
    cr_expect_eq(env_wall_ms(env), wall_ms + 5000);
    sim_node_wall_shift(node, -3600000);
    cr_expect_eq(env_wall_ms(env), wall_ms + 5000 - 3600000);
}

/* ---- work ---- */

struct job {
    struct env_work work;
    char letter;
    struct env_file *file; /* Written and synced, when set. */
};

static void job_work(struct env_work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);
    tell(job->letter);
    if (job->file == NULL) return;
    CHECK(env_file_write(env, job->file, "first", 5, 0) == 0);
    CHECK(env_file_sync(env, job->file) == 0);
    CHECK(env_file_write(env, job->file, "later", 5, 0) == 0);
    CHECK(env_file_sync(env, job->file) == 0);
}
static void job_done(struct env_work *work)
{
    tell((char)(CONTAINER_OF(work, struct job, work)->letter - 'a' + 'A'));
}

Test(sim_world, a_lane_works_in_order)
{
    struct env_lane *lane = env_lane_create(env, "test");
    struct job jobs[3];
    for (int i = 0; i < 3; i++) {
        jobs[i] = (struct job){{.work = job_work, .done = job_done}, (char)('a' + i), NULL};
        env_work_submit(env, lane, &jobs[i].work);
    }
    cr_expect_str_eq(story, "", "never from inside the call");
    world_run_for(world, 1000);
    cr_expect(strchr(story, 'A') < strchr(story, 'B'), "%s", story);
    cr_expect(strchr(story, 'B') < strchr(story, 'C'), "%s", story);
    cr_expect_eq(strlen(story), 6);
    env_lane_destroy(env, lane);
}

Test(sim_world, destroying_a_lane_does_its_work_and_tells_nothing)
{
    struct env_lane *lane = env_lane_create(env, "test");
    struct job jobs[3];
    for (int i = 0; i < 3; i++) {
        jobs[i] = (struct job){{.work = job_work, .done = job_done}, (char)('a' + i), NULL};
        env_work_submit(env, lane, &jobs[i].work);
    }
    env_lane_destroy(env, lane);
    world_run_for(world, 1000);
    cr_expect_str_eq(story, "abc");
}

/* The work writes and syncs twice, some 150 us each. Cut at every microsecond: first neither
 * holds for sure, then "first" does, then "later"; never the later without its time. */
Test(sim_world, a_crash_in_the_middle_of_work_undoes_the_rest)
{
    int seen[3] = {0}; /* Neither, first, later. */
    for (uint64_t at_us = 0; at_us < 600; at_us += 3) {
        tear_down();
        memset(story, 0, sizeof(story));
        set_up();
        struct job job = {{.work = job_work, .done = job_done}, 'a', NULL};
        cr_assert_eq(env_file_open(env, "/data/f", ENV_READ | ENV_WRITE | ENV_CREATE, &job.file),
                     0);
        cr_assert_eq(env_dir_sync(env, "/data"), 0);
        env_work_submit(env, NULL, &job.work);
        world_run_for(world, at_us);
        sim_node_crash(node, at_us % 2 ? SIM_POWER : SIM_KILL);
        sim_node_crash(node, SIM_POWER); /* A kill undoes the rest too; what is left is synced. */
        if (strchr(story, 'A')) cr_assert_gt(at_us, 200);
        char text[6] = "";
        size_t got;
        cr_assert_eq(env_file_open(env, "/data/f", ENV_READ, &job.file), 0);
        cr_assert_eq(env_file_read(env, job.file, text, 5, 0, &got), 0);
        int state = got == 0 ? 0 : strcmp(text, "first") == 0 ? 1 : 2;
        if (state == 2) cr_assert_str_eq(text, "later");
        if (at_us < 100) cr_assert_neq(state, 2);
        if (at_us > 450) cr_assert_eq(state, 2);
        seen[state]++;
    }
    cr_expect(seen[0] > 0 && seen[1] > 0 && seen[2] > 0);
}

Test(sim_world, a_stalled_disk_delays_work)
{
    struct job job = {{.work = job_work, .done = job_done}, 'a', NULL};
    cr_assert_eq(env_file_open(env, "/data/f", ENV_READ | ENV_WRITE | ENV_CREATE, &job.file), 0);
    disk_stall(sim_node_disk(node), 500000);
    env_work_submit(env, NULL, &job.work);
    world_run_for(world, 499999);
    cr_expect_str_eq(story, "a");
    world_run_for(world, 1000);
    cr_expect_str_eq(story, "aA");
}

/* ---- death and boot ---- */

struct program {
    struct env *env;
    struct env_timer timer;
    struct env_task task;
    struct job job;
    unsigned boots, fired, died;
};

static void program_fired(struct env_timer *timer)
{
    struct program *p = CONTAINER_OF(timer, struct program, timer);
    p->fired++;
    env_timer_start(p->env, timer, 10);
}
static void program_task(struct env_task *task)
{
    tell('T');
    (void)task;
}
static void program_boot(void *arg, struct env *its)
{
    struct program *p = arg;
    p->env = its;
    p->boots++;
    env_timer_init(&p->timer, program_fired);
    env_timer_start(its, &p->timer, 10);
}
static void program_died(void *arg)
{
    struct program *p = arg;
    p->died++;
    env_timer_stop(p->env, &p->timer); /* Allowed, as is all else. */
    env_defer(p->env, &p->task);
    env_work_submit(p->env, NULL, &p->job.work);
    env_timer_start(p->env, &p->timer, 1);
}
static const struct sim_program program = {program_boot, program_died};

Test(sim_world, a_death_ends_all_and_a_boot_begins_anew)
{
    static struct program p; /* Dies last with the world. */
    p.job = (struct job){{.work = job_work, .done = job_done}, 'a', NULL};
    env_task_init(&p.task, ENV_PHASE_WORK, program_task);
    struct sim_node *n2 = sim_node_create(world, "n2", &program, &p);
    cr_expect_not(sim_node_up(n2));
    sim_node_start(n2);
    world_run_for(world, 95000);
    cr_expect_eq(p.fired, 9);
    sim_node_crash(n2, SIM_KILL);
    cr_expect_eq(p.died, 1);
    world_run_for(world, 100000);
    cr_expect_eq(p.fired, 9);
    sim_node_start(n2);
    world_run_for(world, 95000);
    cr_expect_eq(p.boots, 2);
    cr_expect_eq(p.fired, 18);
    cr_expect_str_eq(story, "", "what the dead asked for never happened");
}

static void suicide_fired(struct env_timer *timer)
{
    (void)timer;
    struct env_file *file;
    sim_node_crash(node, SIM_POWER);
    cr_expect_eq(env_file_open(env, "/data/ghost", ENV_WRITE | ENV_CREATE, &file), 0);
    cr_expect_eq(env_file_write(env, file, "x", 1, 0), 0, "says 0 and does nothing");
    env_timer_start(env, &late, 1);
    env_defer(env, &work_task);
    tell('d');
}

Test(sim_world, a_node_that_dies_in_a_callback_has_no_effect_from_then_on)
{
    struct env_file *file;
    env_timer_init(&early, suicide_fired);
    env_timer_init(&late, late_fired);
    env_task_init(&work_task, ENV_PHASE_WORK, work_run);
    env_timer_start(env, &early, 1);
    env_timer_start(env, &late, 1);
    world_run_for(world, 100000);
    cr_expect_str_eq(story, "d");
    cr_expect_eq(env_file_open(env, "/data/ghost", ENV_READ, &file), ERR_NOT_FOUND);
}

Test(sim_world, a_paused_node_goes_on_where_it_was)
{
    env_timer_init(&late, late_fired);
    env_timer_start(env, &late, 10);
    sim_node_pause(node, 50000);
    world_run_for(world, 49999);
    cr_expect_str_eq(story, "");
    world_run_for(world, 1000);
    cr_expect_str_eq(story, "l");
}

static void count_call(void *arg)
{
    ++*(int *)arg;
}
static bool is_two(void *arg)
{
    return *(int *)arg == 2;
}

Test(sim_world, calls_of_the_schedule_come_in_time)
{
    int count = 0;
    world_at(world, 300, count_call, &count);
    world_at(world, 100, count_call, &count);
    world_at(world, 900, count_call, &count);
    cr_expect(world_run_until(world, is_two, &count, 1000));
    cr_expect_eq(world_now_us(world), 300);
    cr_expect_not(world_run_until(world, is_two, &(int){0}, 10));
}
