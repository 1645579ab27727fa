/* tests/log/timer_heap_test.c -- timers fire in the order of their time, then of their start. */
#include "log/timer_heap.h"

#include <criterion/criterion.h>

enum { TIMERS = 200, MOVES = 20000 };

static struct timer_heap heap;
static struct env_timer timers[TIMERS];
static size_t fired[TIMERS + 2];
static size_t fired_count;

static void fire(struct env_timer *timer)
{
    fired[fired_count++] = (size_t)(timer - timers);
}
static void set_up(void)
{
    for (size_t i = 0; i < TIMERS; i++)
        env_timer_init(&timers[i], fire);
}
static void tear_down(void)
{
    timer_heap_free(&heap);
}
TestSuite(timer_heap, .init = set_up, .fini = tear_down, .timeout = 10);

/* Compare with a naive model: an array that is searched. */
Test(timer_heap, random_starts_and_stops_keep_the_order)
{
    uint64_t chance = 1;
    for (int move = 0; move < MOVES; move++) {
        chance = chance * 6364136223846793005u + 1442695040888963407u;
        struct env_timer *timer = &timers[(chance >> 33) % TIMERS];
        if ((chance >> 20) % 3 == 0)
            timer_heap_stop(&heap, timer);
        else
            timer_heap_start(&heap, timer, (chance >> 40) % 50);
        if (move % 100 == 0) timer_heap_check(&heap);

        const struct env_timer *first = NULL;
        for (size_t i = 0; i < TIMERS; i++) {
            const struct env_timer *t = &timers[i];
            if (t->slot == 0) continue;
            if (first == NULL || t->due_us < first->due_us ||
                (t->due_us == first->due_us && t->order < first->order))
                first = t;
        }
        cr_assert_eq(timer_heap_first(&heap), first);
    }
}

Test(timer_heap, equal_times_fire_in_the_order_of_their_start)
{
    for (size_t i = 0; i < 5; i++)
        timer_heap_start(&heap, &timers[i], 7);
    timer_heap_start(&heap, &timers[0], 7); /* Moved: now the last. */
    cr_assert_eq(timer_heap_fire(&heap, 6), 0);
    cr_assert_eq(timer_heap_fire(&heap, 7), 5);
    const size_t order[] = {1, 2, 3, 4, 0};
    for (size_t i = 0; i < 5; i++)
        cr_expect_eq(fired[i], order[i]);
}

static void fire_and_start_again(struct env_timer *timer)
{
    fired_count++;
    timer_heap_start(&heap, timer, 0);
    timer_heap_stop(&heap, &timers[1]);
}

/* A timer that starts itself again at once must not keep the loop for ever; one that is stopped
 * by another that fires before it does not fire. */
Test(timer_heap, what_firing_starts_waits_and_what_it_stops_is_stopped)
{
    env_timer_init(&timers[0], fire_and_start_again);
    timer_heap_start(&heap, &timers[0], 0);
    timer_heap_start(&heap, &timers[1], 0);
    cr_expect_eq(timer_heap_fire(&heap, 10), 1);
    cr_expect_eq(fired_count, 1);
    cr_expect(env_timer_started(&timers[0]));
    cr_expect_not(env_timer_started(&timers[1]));
}
