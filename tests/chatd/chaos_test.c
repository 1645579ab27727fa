/* tests/chatd/chaos_test.c -- people go on chatting while nodes and front-ends die by SIGKILL.
 *
 * Method: three nodes, two front-ends, real processes; three people send numbered messages to one
 * group as fast as they may, two more only read along (chaos_person.h). Meanwhile one process after
 * the other, leaders among them, is killed and started again, once two nodes at a time. At the end
 * every message that was acknowledged is there once, at the seq that was acknowledged, in the order
 * of its number; everybody saw every seq once; both front-ends tell the same, `h` included. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/chatd/chaos_person.h"
#include "tests/chatd/people.h"

enum { SENDERS = 3, PEOPLE = 5, NODES = 3, FRONTS = 2, ROUNDS = 6, SAMPLES = 12 };

static struct cluster cluster; /* Each test runs in its own process. */
static struct person people[PEOPLE];

static void set_up(void)
{
    cluster_set_up(&cluster, NODES, FRONTS);
}
static void tear_down(void)
{
    for (int i = 0; i < PEOPLE; i++)
        person_free(&people[i]);
    cluster_tear_down(&cluster);
}
TestSuite(chat_chaos, .init = set_up, .fini = tear_down, .timeout = 240);

static void sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&time, NULL);
}

/* A group of all, made by the first. */
static void make_chat(char out[64])
{
    struct talker first;
    connect_as(&first, &cluster, "p0", "maker", 1);
    say(&first, "{\"i\":2,\"chat.new\":{\"key\":\"k\",\"users\":[\"p1\",\"p2\",\"p3\",\"p4\"]}}");
    json_t *made = answer(&first, 2);
    const char *chat = json_string_value(json_object_get(json_object_get(made, "ok"), "c"));
    cr_assert_not_null(chat);
    snprintf(out, 64, "%s", chat);
    json_decref(made);
    ws_close(&first.ws);
}

static void kill_and_restart(void)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned node = 1 + round % NODES, other = 1 + (round + 1) % NODES;
        unsigned front = 1 + round % FRONTS;
        bool two = round == ROUNDS / 2; /* No majority for a while. */
        cluster_kill(&cluster, "logd", node, SIGKILL);
        if (two) cluster_kill(&cluster, "logd", other, SIGKILL);
        sleep_ms(500);
        cluster_kill(&cluster, "chatd", front, SIGKILL);
        sleep_ms(500);
        cluster_restart_logd(&cluster, node);
        if (two) cluster_restart_logd(&cluster, other);
        cluster_restart_chatd(&cluster, front);
        sleep_ms(1500);
    }
}

static void wait_for(atomic_bool *flag, atomic_bool *over)
{
    while (!atomic_load(flag) && !atomic_load(over))
        sleep_ms(10);
}

/* What one front-end says of the chat from seq on; the caller decrefs. */
static json_t *hist(struct talker *p, const char *chat, int64_t seq, int limit)
{
    static int i = 100;
    i++;
    say(p, "{\"i\":%d,\"hist\":{\"c\":\"%s\",\"from\":%lld,\"limit\":%d}}", i, chat, (long long)seq,
        limit);
    json_t *tree = answer(p, i);
    cr_assert_not_null(json_object_get(tree, "ok"));
    return tree;
}

static struct person *person_of(const char *user)
{
    for (int i = 0; i < PEOPLE; i++)
        if (strcmp(people[i].user, user) == 0) return &people[i];
    cr_assert(false, "%s is nobody", user);
    return NULL;
}

/* Every event of the chat: dense, in the order of each sender's numbers, as acknowledged, and as
 * everybody saw it. Returns the head. */
static int64_t check_history(struct talker *reader, const char *chat)
{
    int64_t seq = 0, last_n[PEOPLE] = {0};
    for (bool more = true; more;) {
        json_t *tree = hist(reader, chat, seq + 1, 500), *ok = json_object_get(tree, "ok"), *ev;
        size_t at;
        more = json_is_true(json_object_get(ok, "more"));
        json_array_foreach(json_object_get(ok, "ev"), at, ev)
        {
            cr_assert_eq(json_integer_value(json_object_get(ev, "s")), ++seq, "no hole, no double");
            if (strcmp(json_string_value(json_object_get(ev, "k")), "msg") != 0) continue;
            struct person *p = person_of(json_string_value(json_object_get(ev, "u")));
            int64_t n = json_integer_value(json_object_get(ev, "n"));
            cr_assert_eq(n, ++last_n[p - people], "%s: once, in order", p->user);
            cr_assert(p->sent[n].seq == seq, "%s: n %lld acknowledged at %lld is at %lld", p->user,
                      (long long)n, (long long)p->sent[n].seq, (long long)seq);
            for (int i = 0; i < PEOPLE; i++) {
                const struct person_event *seen = &people[i].followed[seq];
                cr_assert(seen->n == n && strcmp(seen->user, p->user) == 0,
                          "%s saw seq %lld as others did", people[i].user, (long long)seq);
            }
        }
        json_decref(tree);
    }
    for (int i = 0; i < PEOPLE; i++)
        cr_expect_eq(last_n[i], people[i].acked_n, "%s: all that was acknowledged", people[i].user);
    return seq;
}

/* What was said with an acknowledgement, and by both front-ends, of the same seq. */
static void check_hashes(struct talker readers[FRONTS], const char *chat)
{
    for (int i = 0; i < SENDERS * SAMPLES; i++) {
        const struct person *p = &people[i % SENDERS];
        const struct person_event *sent = &p->sent[1 + i / SENDERS * (p->acked_n - 1) / SAMPLES];
        for (int j = 0; j < FRONTS; j++) {
            json_t *tree = hist(&readers[j], chat, sent->seq, 1);
            cr_expect_str_eq(json_string_value(json_object_get(json_object_get(tree, "ok"), "h")),
                             sent->h);
            json_decref(tree);
        }
    }
}

Test(chat_chaos, nothing_acknowledged_is_lost_doubled_or_swapped)
{
    char chat[64];
    int64_t total = 1; /* The event of the chat's making. */
    make_chat(chat);
    for (int i = 0; i < PEOPLE; i++) {
        char user[8];
        snprintf(user, sizeof(user), "p%d", i);
        person_start(&people[i], &cluster, chat, user, i < SENDERS);
    }
    sleep_ms(1000);
    kill_and_restart();
    for (int i = 0; i < PEOPLE; i++)
        atomic_store(&people[i].finish, true);
    for (int i = 0; i < PEOPLE; i++)
        wait_for(&people[i].all_acked, &people[i].over);
    for (int i = 0; i < PEOPLE; i++)
        total += people[i].acked_n;
    for (int i = 0; i < PEOPLE; i++)
        atomic_store(&people[i].head, total);
    for (int i = 0; i < PEOPLE; i++)
        person_join(&people[i]);
    for (int i = 0; i < PEOPLE; i++) {
        const struct person *p = &people[i];
        fprintf(stderr, "%s: %lld sent, %u connects, %u errors, %u duplicates, %u reads %s\n",
                p->user, (long long)p->acked_n, p->connects, p->errors, p->duplicates, p->hists,
                p->why);
        cr_expect_str_eq(p->why, "", "%s: %s", p->user, p->why);
    }
    for (int i = 0; i < PEOPLE; i++)
        cr_assert_eq(people[i].why[0], '\0');
    struct talker readers[FRONTS];
    for (unsigned j = 0; j < FRONTS; j++) {
        connect_as(&readers[j], &cluster, "p4", j == 0 ? "r1" : "r2", 1 + j);
        cr_expect_eq(check_history(&readers[j], chat), total);
    }
    check_hashes(readers, chat);
    for (unsigned j = 0; j < FRONTS; j++)
        ws_close(&readers[j].ws);
}
