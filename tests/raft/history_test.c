/* tests/raft/history_test.c -- who differs from a majority knows it, and nobody else believes so.
 */
#include "raft/history.h"

#include <criterion/criterion.h>

static const uint64_t voters[] = {257, 258, 259};
static struct history history;
static index_t at;
TestSuite(history, .timeout = 10);

static void apply_up_to(index_t index)
{
    for (index_t i = 1; i <= index; i++)
        history_applied(&history, i, i * 100);
}

Test(history, equal_hashes_are_no_divergence)
{
    apply_up_to(10);
    history_heard(&history, 258, 10, 1000);
    history_heard(&history, 259, 9, 900);
    cr_expect_not(history_diverged(&history, voters, 3, &at));
}

/* One peer that differs may be the one that is wrong. */
Test(history, one_of_two_peers_that_differs_is_no_verdict)
{
    apply_up_to(10);
    history_heard(&history, 258, 10, 1);
    cr_expect_not(history_diverged(&history, voters, 3, &at));
    history_heard(&history, 259, 10, 1000);
    cr_expect_not(history_diverged(&history, voters, 3, &at));
}

Test(history, a_majority_that_differs_is)
{
    apply_up_to(10);
    history_heard(&history, 258, 8, 1);
    history_heard(&history, 259, 10, 1);
    cr_assert(history_diverged(&history, voters, 3, &at));
    cr_expect_eq(at, 8);
}

/* What a peer told of an index that we did not reach yet is compared when we do. */
Test(history, a_peer_ahead_is_compared_later)
{
    apply_up_to(10);
    history_heard(&history, 258, 12, 1);
    history_heard(&history, 259, 12, 1);
    cr_expect_not(history_diverged(&history, voters, 3, &at));
    history_applied(&history, 11, 1100);
    history_applied(&history, 12, 1200);
    cr_assert(history_diverged(&history, voters, 3, &at));
    cr_expect_eq(at, 12);
}

Test(history, what_was_left_behind_tells_nothing)
{
    apply_up_to(HISTORY_INDEXES + 50);
    history_heard(&history, 258, 10, 1);
    history_heard(&history, 259, 10, 1);
    cr_expect_not(history_diverged(&history, voters, 3, &at));
}

/* Five voters split two against two and one: no majority agrees, so every one of them stops. */
Test(history, without_an_agreeing_majority_all_stop)
{
    const uint64_t five[] = {257, 258, 259, 260, 261};
    apply_up_to(10);
    history_heard(&history, 258, 10, 1000);
    history_heard(&history, 259, 10, 1);
    history_heard(&history, 260, 10, 1);
    cr_expect_not(history_diverged(&history, five, 5, &at));
    history_heard(&history, 261, 10, 2);
    cr_expect(history_diverged(&history, five, 5, &at));
}

Test(history, who_is_no_voter_does_not_count)
{
    apply_up_to(10);
    history_heard(&history, 300, 10, 1);
    history_heard(&history, 301, 10, 1);
    cr_expect_not(history_diverged(&history, voters, 3, &at));
}
