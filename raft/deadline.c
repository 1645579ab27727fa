/* raft/deadline.c -- see deadline.h. */
#include "raft/deadline.h"

static uint64_t now_tick(const struct deadlines *all)
{
    return env_now_ms(all->env) / DEADLINE_TICK_MS;
}

/* Look at one slot: what is due passes, the rest is of later turns of the wheel. What is added
 * meanwhile lands at the front, and is never due in this slot. */
static void slot_pass(struct deadlines *all, uint64_t tick)
{
    struct deadline **at = &all->slots[tick % DEADLINE_SLOTS];
    while (*at != NULL) {
        struct deadline *one = *at;
        if (one->due_tick > tick) {
            at = &one->next;
            continue;
        }
        deadline_remove(all, one);
        all->passed(all, one);
        at = &all->slots[tick % DEADLINE_SLOTS]; /* passed may have removed others. */
    }
}

static void timer_fired(struct env_timer *timer)
{
    struct deadlines *all = CONTAINER_OF(timer, struct deadlines, timer);
    uint64_t now = now_tick(all);
    /* After a long pause one turn of the wheel meets every slot. */
    if (now - all->tick > DEADLINE_SLOTS) all->tick = now - DEADLINE_SLOTS;
    while (all->tick < now && all->count > 0)
        slot_pass(all, ++all->tick);
    if (all->count > 0) env_timer_start(all->env, timer, DEADLINE_TICK_MS);
}

void deadlines_init(struct deadlines *all, struct env *env,
                    void (*passed)(struct deadlines *all, struct deadline *one))
{
    *all = (struct deadlines){.passed = passed, .env = env};
    env_timer_init(&all->timer, timer_fired);
}

void deadlines_close(struct deadlines *all)
{
    env_timer_stop(all->env, &all->timer);
}

void deadline_add(struct deadlines *all, struct deadline *one, uint64_t delay_ms)
{
    CHECK(one->at == NULL);
    uint64_t now = now_tick(all);
    if (all->count == 0) all->tick = now;
    /* The tick that now is in began before: one more, so that none passes early. */
    one->due_tick = now + 1 + (delay_ms + DEADLINE_TICK_MS - 1) / DEADLINE_TICK_MS;
    struct deadline **slot = &all->slots[one->due_tick % DEADLINE_SLOTS];
    one->next = *slot;
    one->at = slot;
    if (one->next != NULL) one->next->at = &one->next;
    *slot = one;
    all->count++;
    if (!env_timer_started(&all->timer)) env_timer_start(all->env, &all->timer, DEADLINE_TICK_MS);
}

void deadline_remove(struct deadlines *all, struct deadline *one)
{
    if (one->at == NULL) return;
    *one->at = one->next;
    if (one->next != NULL) one->next->at = one->at;
    one->next = NULL;
    one->at = NULL;
    CHECK(all->count > 0);
    all->count--;
}
