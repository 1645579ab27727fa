/* tests/chatd/protocol_test.c -- the protocol as clients see it, on a real cluster of processes.
 *
 * Method: one cluster of one node and two front-ends per test; people are small blocking WebSocket
 * clients; what they say and hear is text, as on the wire. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "chatd/ids.h"
#include "tests/chatd/people.h"

static struct cluster cluster;
static void set_up(void)
{
    cluster_set_up(&cluster, 1, 2);
}
static void tear_down(void)
{
    cluster_tear_down(&cluster);
}
TestSuite(protocol, .init = set_up, .fini = tear_down, .timeout = 120);

static void send_text(struct talker *p, const char *chat, int n, const char *text)
{
    say(p, "{\"i\":%d,\"send\":{\"c\":\"%s\",\"n\":%d,\"k\":\"msg\",\"b\":{\"text\":\"%s\"}}}",
        100 + n, chat, n, text);
}

/* Next event's body text must be this; its seq is returned. */
static json_int_t expect_event(struct talker *p, const char *text)
{
    json_t *tree = hear(p, "ev"), *ev = json_object_get(tree, "ev");
    cr_assert_str_eq(json_string_value(json_object_get(json_object_get(ev, "b"), "text")), text);
    json_int_t seq = json_integer_value(json_object_get(ev, "s"));
    json_decref(tree);
    return seq;
}

Test(protocol, two_people_on_two_front_ends_chat_directly)
{
    struct talker alice, bob;
    connect_as(&alice, &cluster, "alice", "d1", 1);
    connect_as(&bob, &cluster, "bob", "d1", 2);
    send_text(&alice, "d/alice/bob", 1, "hello");
    expect_ok(&alice, 101);
    say(&bob, "{\"i\":2,\"open\":{\"c\":\"d/alice/bob\",\"from\":0}}");
    expect_ok(&bob, 2);
    cr_expect_eq(expect_event(&bob, "hello"), 1);
    say(&alice, "{\"i\":2,\"open\":{\"c\":\"d/alice/bob\",\"from\":-1}}");
    expect_ok(&alice, 2);
    send_text(&bob, "d/alice/bob", 1, "hi");
    cr_expect_eq(expect_event(&alice, "hi"), 2);
    ws_close(&alice.ws);
    ws_close(&bob.ws);
}

Test(protocol, a_number_sent_twice_is_stored_once_on_any_front_end)
{
    struct talker one, two;
    connect_as(&one, &cluster, "alice", "phone", 1);
    send_text(&one, "d/alice/bob", 1, "once");
    json_t *first = answer(&one, 101);
    connect_as(&two, &cluster, "alice", "phone", 2);
    send_text(&two, "d/alice/bob", 1, "once");
    json_t *again = answer(&two, 101);
    cr_expect_eq(member(again, "ok", "s"), member(first, "ok", "s"));
    cr_expect_eq(member(again, "ok", "ts"), member(first, "ok", "ts"));
    cr_expect_eq(member(again, "ok", "o"), member(first, "ok", "o"));
    cr_expect(json_is_true(json_object_get(json_object_get(again, "ok"), "dup")));
    send_text(&two, "d/alice/bob", 1, "other");
    expect_err(&two, 101, 409, "REUSED");
    send_text(&two, "d/alice/bob", 3, "too far");
    json_t *gap = answer(&two, 103);
    cr_expect_eq(member(gap, "err", "code"), 409);
    cr_expect_eq(member(gap, "err", "n"), 1);
    cr_expect(json_is_false(json_object_get(json_object_get(gap, "err"), "used")));
    json_decref(first);
    json_decref(again);
    json_decref(gap);
    cr_expect_eq(ws_close_code(&one.ws), 4510, "one device, two connections: the older goes");
    ws_close(&two.ws);
}

/* A client that lost count is told the truth, also when that is "none yet". */
Test(protocol, a_gap_tells_the_last_number_exactly)
{
    struct talker alice;
    connect_as(&alice, &cluster, "alice", "d1", 1);
    send_text(&alice, "d/alice/bob", 5, "too far");
    json_t *gap = answer(&alice, 105);
    cr_expect_eq(member(gap, "err", "code"), 409);
    cr_expect_eq(member(gap, "err", "n"), 0);
    json_decref(gap);
    ws_close(&alice.ws);
}

Test(protocol, void_uses_a_number_up_or_tells_that_it_was_sent)
{
    struct talker alice;
    connect_as(&alice, &cluster, "alice", "d1", 1);
    send_text(&alice, "d/alice/bob", 1, "sent");
    expect_ok(&alice, 101);
    say(&alice, "{\"i\":5,\"send\":{\"c\":\"d/alice/bob\",\"n\":1,\"k\":\"void\"}}");
    json_t *sent = answer(&alice, 5);
    cr_expect_eq(member(sent, "ok", "s"), 1, "it turns out sent");
    say(&alice, "{\"i\":6,\"send\":{\"c\":\"d/alice/bob\",\"n\":2,\"k\":\"void\"}}");
    expect_ok(&alice, 6);
    send_text(&alice, "d/alice/bob", 2, "late");
    expect_err(&alice, 102, 409, "REUSED");
    send_text(&alice, "d/alice/bob", 3, "next");
    json_t *next = answer(&alice, 103);
    cr_expect_eq(member(next, "ok", "s"), 2, "the void stored nothing");
    json_decref(sent);
    json_decref(next);
    ws_close(&alice.ws);
}

Test(protocol, pipelined_sends_are_answered_and_delivered_in_order)
{
    struct talker alice, bob;
    char text[16];
    connect_as(&alice, &cluster, "alice", "d1", 1);
    connect_as(&bob, &cluster, "bob", "d1", 2);
    for (int n = 1; n <= 32; n++) {
        snprintf(text, sizeof(text), "m%d", n);
        send_text(&alice, "d/alice/bob", n, text);
    }
    for (int n = 1; n <= 32; n++) {
        json_t *tree = hear(&alice, "i");
        cr_assert_eq(json_integer_value(json_object_get(tree, "i")), 100 + n);
        cr_assert_eq(member(tree, "ok", "s"), n);
        json_decref(tree);
    }
    say(&bob, "{\"i\":2,\"open\":{\"c\":\"d/alice/bob\",\"from\":0}}");
    for (int n = 1; n <= 32; n++) {
        snprintf(text, sizeof(text), "m%d", n);
        cr_assert_eq(expect_event(&bob, text), n);
    }
    ws_close(&alice.ws);
    ws_close(&bob.ws);
}

Test(protocol, a_group_grows_and_shrinks_and_who_left_reads_nothing)
{
    struct talker alice, bob, carol;
    connect_as(&alice, &cluster, "alice", "d1", 1);
    connect_as(&bob, &cluster, "bob", "d1", 1);
    connect_as(&carol, &cluster, "carol", "d1", 2);
    say(&alice, "{\"i\":2,\"chat.new\":{\"key\":\"k\",\"title\":\"Team\",\"users\":[\"bob\"]}}");
    json_t *made = answer(&alice, 2);
    const char *chat = json_string_value(json_object_get(json_object_get(made, "ok"), "c"));
    cr_assert_not_null(chat);
    say(&alice, "{\"i\":3,\"chat.new\":{\"key\":\"k\",\"title\":\"Team\",\"users\":[\"bob\"]}}");
    json_t *same = answer(&alice, 3);
    cr_expect_str_eq(json_string_value(json_object_get(json_object_get(same, "ok"), "c")), chat);

    say(&carol, "{\"i\":2,\"hist\":{\"c\":\"%s\"}}", chat);
    expect_err(&carol, 2, 404, "NOCHAT");
    say(&bob, "{\"i\":2,\"chat.add\":{\"c\":\"%s\",\"users\":[\"carol\"]}}", chat);
    expect_err(&bob, 2, 403, "DENIED");
    say(&alice, "{\"i\":4,\"chat.add\":{\"c\":\"%s\",\"users\":[\"carol\",\"bob\"]}}", chat);
    expect_ok(&alice, 4);
    say(&carol, "{\"i\":3,\"open\":{\"c\":\"%s\",\"from\":0}}", chat);
    expect_ok(&carol, 3);
    say(&alice, "{\"i\":5,\"chat.kick\":{\"c\":\"%s\",\"users\":[\"carol\"]}}", chat);
    expect_ok(&alice, 5);
    json_t *closed = hear(&carol, "closed");
    cr_expect_str_eq(json_string_value(json_object_get(json_object_get(closed, "closed"), "why")),
                     "gone");
    send_text(&carol, chat, 1, "still here?");
    json_t *refused = answer(&carol, 101);
    cr_expect_eq(member(refused, "err", "code"), 404);
    cr_expect(json_is_true(json_object_get(json_object_get(refused, "err"), "used")),
              "refused at the commit point: the number is used up");
    say(&bob, "{\"i\":3,\"chat.leave\":{\"c\":\"%s\"}}", chat);
    expect_ok(&bob, 3);
    say(&alice, "{\"i\":6,\"chat.members\":{\"c\":\"%s\"}}", chat);
    json_t *members = answer(&alice, 6);
    cr_expect_eq(json_array_size(json_object_get(json_object_get(members, "ok"), "members")), 1);
    json_decref(made);
    json_decref(same);
    json_decref(closed);
    json_decref(refused);
    json_decref(members);
    ws_close(&alice.ws);
    ws_close(&bob.ws);
    ws_close(&carol.ws);
}

/* The push that somebody came or went; those that say the contrary may come before. */
static void hear_presence(struct talker *p, bool on)
{
    for (bool heard = false; !heard;) {
        json_t *pres = hear(p, "pres");
        heard = json_is_true(json_object_get(json_object_get(pres, "pres"), "on")) == on;
        json_decref(pres);
    }
}

Test(protocol, marks_typing_presence_and_inbox_reach_the_other)
{
    struct talker alice, bob;
    connect_as(&alice, &cluster, "alice", "d1", 1);
    connect_as(&bob, &cluster, "bob", "d1", 2);
    send_text(&alice, "d/alice/bob", 1, "read me");
    expect_ok(&alice, 101);
    json_t *inbox = hear(&bob, "inbox");
    json_t *row = json_array_get(json_object_get(json_object_get(inbox, "inbox"), "chats"), 0);
    cr_expect_eq(json_integer_value(json_object_get(row, "unread")), 1);
    say(&alice, "{\"i\":2,\"open\":{\"c\":\"d/alice/bob\",\"from\":0}}");
    expect_ok(&alice, 2);
    say(&bob, "{\"i\":2,\"open\":{\"c\":\"d/alice/bob\",\"from\":0}}");
    expect_ok(&bob, 2);
    say(&bob, "{\"i\":3,\"mark\":{\"c\":\"d/alice/bob\",\"read\":1}}");
    expect_ok(&bob, 3);
    json_t *mark;
    do { /* Alice's own mark, raised by her send, may come first. */
        mark = hear(&alice, "mark");
        if (strcmp(json_string_value(json_object_get(json_object_get(mark, "mark"), "u")), "bob") ==
            0)
            break;
        json_decref(mark);
    } while (true);
    cr_expect_eq(member(mark, "mark", "read"), 1);
    say(&bob, "{\"i\":4,\"mark\":{\"c\":\"d/alice/bob\",\"read\":9}}");
    expect_err(&bob, 4, 422, "FIELD");
    say(&bob, "{\"note\":{\"c\":\"d/alice/bob\",\"k\":\"typing\"}}");
    json_t *note = hear(&alice, "note");
    cr_expect_str_eq(json_string_value(json_object_get(json_object_get(note, "note"), "u")), "bob");
    say(&alice, "{\"i\":3,\"pres.watch\":{\"c\":\"d/alice/bob\",\"users\":[\"bob\"]}}");
    json_t *watch = answer(&alice, 3);
    json_t *states = json_object_get(json_object_get(watch, "ok"), "states");
    /* Another worker than bob's knows of nobody at first, and then says who is there. */
    if (!json_is_true(json_object_get(json_array_get(states, 0), "on")))
        hear_presence(&alice, true);
    json_decref(watch);
    ws_close(&bob.ws);
    hear_presence(&alice, false);
    json_decref(inbox);
    json_decref(mark);
    json_decref(note);
    ws_close(&alice.ws);
}

Test(protocol, hist_pages_both_ways_and_inbox_lists_all)
{
    struct talker alice;
    char text[16];
    connect_as(&alice, &cluster, "alice", "d1", 1);
    for (int n = 1; n <= 10; n++) {
        snprintf(text, sizeof(text), "m%d", n);
        send_text(&alice, "d/alice/alice", n, text);
        expect_ok(&alice, 100 + n);
    }
    say(&alice, "{\"i\":2,\"hist\":{\"c\":\"d/alice/alice\",\"back\":true,\"limit\":3}}");
    json_t *back = answer(&alice, 2), *ok = json_object_get(back, "ok");
    cr_assert_eq(json_array_size(json_object_get(ok, "ev")), 3);
    cr_expect_eq(
        json_integer_value(json_object_get(json_array_get(json_object_get(ok, "ev"), 0), "s")), 8,
        "in order, also backwards");
    cr_expect_eq(json_integer_value(json_object_get(ok, "next")), 11);
    cr_expect(json_is_true(json_object_get(ok, "more")));
    say(&alice, "{\"i\":3,\"hist\":{\"c\":\"d/alice/alice\",\"from\":4,\"to\":6}}");
    json_t *from = answer(&alice, 3);
    cr_expect_eq(json_array_size(json_object_get(json_object_get(from, "ok"), "ev")), 3);
    say(&alice, "{\"i\":4,\"inbox\":{}}");
    json_t *inbox = answer(&alice, 4);
    json_t *chats = json_object_get(json_object_get(inbox, "ok"), "chats");
    cr_assert_eq(json_array_size(chats), 1);
    cr_expect_eq(json_integer_value(json_object_get(json_array_get(chats, 0), "head")), 10);
    cr_expect_eq(json_integer_value(json_object_get(json_array_get(chats, 0), "unread")), 0);
    json_decref(back);
    json_decref(from);
    json_decref(inbox);
    ws_close(&alice.ws);
}

Test(protocol, who_comes_back_gets_what_they_missed_once)
{
    struct talker alice, bob;
    connect_as(&alice, &cluster, "alice", "d1", 1);
    for (int n = 1; n <= 3; n++) {
        send_text(&alice, "d/alice/bob", n, n == 1 ? "a" : n == 2 ? "b" : "c");
        expect_ok(&alice, 100 + n);
    }
    char *token = cluster_token(&cluster, "bob");
    bob.user = "bob";
    ws_open(&bob.ws, cluster_front(&cluster, 2));
    say(&bob,
        "{\"i\":1,\"hello\":{\"v\":[1,1],\"tok\":\"%s\",\"dev\":\"d1\",\"epoch\":1,"
        "\"pos\":{\"d/alice/bob\":1}}}",
        token);
    free(token);
    json_t *hello = answer(&bob, 1);
    json_t *numbers = json_object_get(json_object_get(hello, "ok"), "n");
    cr_expect_not_null(json_object_get(numbers, "d/alice/bob"));
    cr_expect_eq(expect_event(&bob, "b"), 2);
    cr_expect_eq(expect_event(&bob, "c"), 3);
    json_decref(hello);
    ws_close(&alice.ws);
    ws_close(&bob.ws);
}

Test(protocol, bad_frames_get_an_error_that_says_what_was_wrong)
{
    struct talker alice;
    connect_as(&alice, &cluster, "alice", "d1", 1);
    say(&alice, "{\"i\":2,\"nonsense\":{}}");
    expect_err(&alice, 2, 405, "OP");
    say(&alice, "{\"i\":3,\"send\":{\"c\":\"nope\",\"n\":1,\"k\":\"msg\",\"b\":{}}}");
    expect_err(&alice, 3, 422, "FIELD");
    say(&alice, "{\"i\":4,\"send\":{\"c\":\"d/alice/bob\",\"n\":\"1\",\"k\":\"msg\",\"b\":{}}}");
    expect_err(&alice, 4, 422, "FIELD");
    say(&alice, "{\"i\":5,\"open\":{\"c\":\"d/alice/bob\",\"c\":\"x\"}}");
    expect_err(&alice, 5, 422, "FIELD");
    say(&alice, "{\"i\":6,\"send\":{\"c\":\"d/bob/carol\",\"n\":1,\"k\":\"msg\",\"b\":{}}}");
    expect_err(&alice, 6, 404, "NOCHAT");
    say(&alice, "{\"i\":7,\"hist\":{\"c\":\"c/none\"},\"must\":[\"magic\"]}");
    expect_err(&alice, 7, 422, "FIELD");
    say(&alice, "[1,2]\n{\"i\":8,\"inbox\":{}}");
    expect_ok(&alice, 8);
    ws_close(&alice.ws);
}

Test(protocol, a_bad_token_closes_with_4501_and_silence_before_hello_is_cut)
{
    struct talker eve = {.user = "eve"};
    ws_open(&eve.ws, cluster_front(&cluster, 1));
    say(&eve, "{\"i\":1,\"hello\":{\"v\":[1,1],\"tok\":\"a.b.c\",\"dev\":\"d\"}}");
    cr_expect_eq(ws_close_code(&eve.ws), 4501);
    ws_open(&eve.ws, cluster_front(&cluster, 1));
    say(&eve, "{\"i\":1,\"hello\":{\"v\":[2,3],\"tok\":\"a.b.c\",\"dev\":\"d\"}}");
    cr_expect_eq(ws_close_code(&eve.ws), 4505);
    ws_open(&eve.ws, cluster_front(&cluster, 1));
    say(&eve, "{\"i\":1,\"inbox\":{}}");
    cr_expect_eq(ws_close_code(&eve.ws), 1008);
}

/* A front-end that was away hears of a removal and of messages behind it in one read: who was
 * removed is told of the first alone. */
Test(protocol, who_is_removed_hears_nothing_that_comes_after)
{
    struct talker alice, bob;
    connect_as(&alice, &cluster, "alice", "d1", 1);
    connect_as(&bob, &cluster, "bob", "d1", 2);
    say(&alice, "{\"i\":2,\"chat.new\":{\"key\":\"removal\",\"users\":[\"bob\"]}}");
    json_t *made = answer(&alice, 2), *tree = NULL;
    const char *chat = json_string_value(json_object_get(json_object_get(made, "ok"), "c"));
    cr_assert_not_null(chat);
    say(&bob, "{\"i\":2,\"open\":{\"c\":\"%s\",\"from\":-1}}", chat);
    expect_ok(&bob, 2);

    pid_t away = cluster_pid(&cluster, "chatd", 2);
    cr_assert_eq(kill(away, SIGSTOP), 0);
    cluster_kill(&cluster, "logd", 1, SIGKILL); /* Its tail ends, and begins where it was. */
    cluster_restart_logd(&cluster, 1);
    say(&alice, "{\"i\":4,\"chat.kick\":{\"c\":\"%s\",\"users\":[\"bob\"]}}", chat);
    expect_ok(&alice, 4);
    for (int n = 1; n <= 5; n++) {
        send_text(&alice, chat, n, "secret");
        expect_ok(&alice, 100 + n);
    }
    cr_assert_eq(kill(away, SIGCONT), 0);
    cr_expect_eq(member(tree = hear(&bob, "ev"), "ev", "s"), 2, "the removal");
    json_decref(tree);
    for (bool closed = false; !closed; json_decref(tree)) {
        struct slice text = ws_text(&bob.ws);
        cr_assert_not_null(text.data);
        tree = json_loadb(text.data, text.len, 0, NULL);
        cr_expect_null(json_object_get(tree, "ev"), "%.*s", (int)text.len, (const char *)text.data);
        closed = json_object_get(tree, "closed") != NULL;
    }
    json_decref(made);
    ws_close(&alice.ws);
    ws_close(&bob.ws);
}

/* One front-end adds, the other removes at once: it must know of what was acknowledged before. */
Test(protocol, a_removal_holds_whatever_front_end_did_the_adding)
{
    struct talker one, two;
    connect_as(&one, &cluster, "alice", "d1", 1);
    connect_as(&two, &cluster, "alice", "d2", 2);
    say(&one, "{\"i\":2,\"chat.new\":{\"key\":\"both\"}}");
    json_t *made = answer(&one, 2);
    const char *chat = json_string_value(json_object_get(json_object_get(made, "ok"), "c"));
    cr_assert_not_null(chat);
    for (int round = 0; round < 30; round++) {
        say(&one, "{\"i\":3,\"chat.add\":{\"c\":\"%s\",\"users\":[\"bob\"]}}", chat);
        expect_ok(&one, 3);
        say(&two, "{\"i\":4,\"chat.kick\":{\"c\":\"%s\",\"users\":[\"bob\"]}}", chat);
        expect_ok(&two, 4);
        say(&one, "{\"i\":5,\"chat.members\":{\"c\":\"%s\"}}", chat);
        json_t *members = answer(&one, 5);
        cr_assert_eq(json_array_size(json_object_get(json_object_get(members, "ok"), "members")), 1,
                     "round %d: the removal was acknowledged", round);
        json_decref(members);
    }
    json_decref(made);
    ws_close(&one.ws);
    ws_close(&two.ws);
}
