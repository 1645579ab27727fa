/* tests/chatd/slow_reader_test.c -- who reads too slowly is told so, and loses nothing. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "chatd/limits.h"
#include "tests/lib/cluster.h"
#include "tests/lib/ws.h"

enum {
    TEXT_BYTES = 30000,
    MESSAGES = 300, /* 9 MB: more than the kernel and the queue hold for one socket. */
    WINDOW = 16,    /* Unanswered sends at once. */
};

static struct cluster cluster; /* Each test runs in its own process. */
static struct ws alice, bob;
static char line[TEXT_BYTES + 1024];

static void set_up(void)
{
    cluster_set_up(&cluster, 1, 1);
    alice.fd = bob.fd = -1;
}
static void tear_down(void)
{
    ws_close(&alice);
    ws_close(&bob);
    cluster_tear_down(&cluster);
}
TestSuite(slow_reader, .init = set_up, .fini = tear_down, .timeout = 120);

/* The next object; the caller decrefs. */
static json_t *hear(struct ws *ws)
{
    struct slice text = ws_text(ws);
    cr_assert_not_null(text.data);
    json_t *tree = json_loadb(text.data, text.len, 0, NULL);
    cr_assert_not_null(tree);
    return tree;
}

/* The ok of the next answer; the caller decrefs. */
static json_t *hear_ok(struct ws *ws)
{
    for (;;) {
        json_t *tree = hear(ws);
        json_t *ok = json_incref(json_object_get(tree, "ok"));
        bool answer = json_object_get(tree, "i") != NULL;
        json_decref(tree);
        if (!answer) continue;
        cr_assert_not_null(ok);
        return ok;
    }
}

static void hello(struct ws *ws, const char *user)
{
    char *token = cluster_token(&cluster, user);
    cr_assert_eq(ws_upgrade(ws, "/ws", "Sec-WebSocket-Protocol: parley.v1\r\n"), 101);
    snprintf(line, sizeof(line), "{\"i\":1,\"hello\":{\"v\":[1,1],\"tok\":\"%s\",\"dev\":\"d\"}}",
             token);
    ws_send(ws, line);
    json_decref(hear_ok(ws));
    free(token);
}

static void send_number(unsigned n)
{
    int len = snprintf(
        line, sizeof(line),
        "{\"i\":%u,\"send\":{\"c\":\"d/alice/bob\",\"n\":%u,\"k\":\"msg\",\"b\":{\"text\":\"", n,
        n);
    memset(line + len, 'x', TEXT_BYTES);
    snprintf(line + len + TEXT_BYTES, 8, "\"}}}");
    ws_send(&alice, line);
}

static void send_all(void)
{
    for (unsigned n = 1; n <= MESSAGES + WINDOW; n++) {
        if (n <= MESSAGES) send_number(n);
        if (n > WINDOW) json_decref(hear_ok(&alice));
    }
}

/* Take events in order from last + 1 on; true: it was an event. */
static bool take(const json_t *ev, json_int_t *last)
{
    if (ev == NULL) return false;
    json_int_t seq = json_integer_value(json_object_get(ev, "s"));
    cr_assert_eq(seq, *last + 1, "after %lld comes %lld", (long long)*last, (long long)seq);
    cr_assert_eq(json_integer_value(json_object_get(ev, "n")), seq, "as it was sent");
    *last = seq;
    return true;
}

/* Read pushes until the chat is closed for being slow; returns the last event's seq. */
static json_int_t read_until_closed(void)
{
    json_int_t last = 0;
    for (;;) {
        json_t *tree = hear(&bob), *closed = json_object_get(tree, "closed");
        take(json_object_get(tree, "ev"), &last);
        if (closed != NULL) {
            cr_expect_str_eq(json_string_value(json_object_get(closed, "why")), "lag");
            cr_expect_eq(json_integer_value(json_object_get(closed, "s")), last);
            json_decref(tree);
            return last;
        }
        json_decref(tree);
    }
}

/* Method: a reader with a small buffer opens the chat and reads nothing while 9 MB are sent. */
Test(slow_reader, is_told_lag_and_catches_up_without_a_hole)
{
    ws_connect(&alice, cluster_front(&cluster, 1));
    ws_connect_small(&bob, cluster_front(&cluster, 1));
    hello(&alice, "alice");
    hello(&bob, "bob");
    send_number(1);
    json_decref(hear_ok(&alice));
    ws_send(&bob, "{\"i\":2,\"open\":{\"c\":\"d/alice/bob\",\"from\":0}}");
    json_decref(hear_ok(&bob));
    send_all(); /* The first again: it is answered as a duplicate. */

    json_int_t last = read_until_closed();
    cr_expect_gt(last, 10);
    cr_expect_lt(last, MESSAGES);
    while (last < MESSAGES) {
        size_t i;
        json_t *ev;
        snprintf(line, sizeof(line),
                 "{\"i\":3,\"hist\":{\"c\":\"d/alice/bob\",\"from\":%lld,\"limit\":20}}",
                 (long long)last + 1);
        ws_send(&bob, line);
        json_t *ok = hear_ok(&bob);
        cr_assert_gt(json_array_size(json_object_get(ok, "ev")), 0);
        json_array_foreach(json_object_get(ok, "ev"), i, ev) take(ev, &last);
        json_decref(ok);
    }
    ws_send(&bob, "{\"i\":4,\"open\":{\"c\":\"d/alice/bob\",\"from\":300}}");
    json_decref(hear_ok(&bob));
    send_number(MESSAGES + 1);
    for (bool heard = false; !heard;) {
        json_t *tree = hear(&bob);
        heard = take(json_object_get(tree, "ev"), &last);
        json_decref(tree);
    }
}
