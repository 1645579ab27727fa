/* tests/chatd/ops_chaos_test.c -- people who ask for anything, from a seed, on a real cluster.
 *
 * Method: the example of a random operation with random fields left out, or replaced by values of
 * every kind, from one of three people who share a direct chat and a group; now and then one
 * vanishes in the middle. Every request must be answered unless the server closed the connection,
 * no front-end may die, and no log may hold a sanitizer's report or a failed CHECK.
 * PARLEY_CHAOS_SEED and PARLEY_CHAOS_REQUESTS make it another and longer run. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "chatd/ids.h"
#include "chatd/ops.h"
#include "jepsen/sim/splitmix.h"
#include "tests/lib/cluster.h"
#include "tests/lib/ws.h"

enum { PEOPLE = 3, WAITING_MAX = 16 };

struct talker {
    struct ws ws;
    char user[8];
    char *token;
    unsigned front;
    json_int_t i;             /* The last request's number. */
    unsigned waiting;         /* Requests without an answer yet. */
    char *asked[WAITING_MAX]; /* They; owned. */
    json_int_t number[WAITING_MAX];
};

static struct cluster cluster; /* Each test runs in its own process. */
static struct talker people[PEOPLE];
static struct splitmix random_state;

static void answered(struct talker *talker, unsigned place)
{
    free(talker->asked[place]);
    talker->waiting--;
    talker->asked[place] = talker->asked[talker->waiting];
    talker->number[place] = talker->number[talker->waiting];
}

static void vanish(struct talker *talker)
{
    ws_close(&talker->ws);
    while (talker->waiting > 0)
        answered(talker, 0);
}

static void start(unsigned nodes)
{
    cluster_set_up(&cluster, nodes, 2);
    for (unsigned p = 0; p < PEOPLE; p++) {
        snprintf(people[p].user, sizeof(people[p].user), "u%u", p);
        people[p].token = cluster_token(&cluster, people[p].user);
        people[p].front = 1 + p % 2;
        people[p].ws.fd = -1;
    }
}
static void tear_down(void)
{
    for (unsigned p = 0; p < PEOPLE; p++) {
        vanish(&people[p]);
        free(people[p].token);
    }
    cluster_tear_down(&cluster);
}
TestSuite(ops_chaos, .fini = tear_down, .timeout = 3600);

static uint64_t chance(uint64_t below)
{
    return splitmix_below(&random_state, below);
}

static bool one_in(uint64_t n)
{
    return chance(n) == 0;
}

#define PICK(list) (list)[chance(ARRAY_COUNT(list))]

/* ---- requests ---- */

static const char *some_chat(void)
{
    static const char *chats[] = {"d/u0/u1", "d/u0/u1", "d/u1/u2", "d/u0/u0",
                                  "c/none",  "d/x/y",   "d/u2/u1", "c/",
                                  "sys/map", "u/u0",    "",        "d/u0/u1/u2"};
    static char group[GROUP_BYTES + 1];
    if (!one_in(3)) return PICK(chats);
    struct slice id = chat_group(slice_str("u0"), slice_str("picnic"), group);
    group[id.len] = '\0';
    return group;
}

static json_t *some_value(unsigned depth)
{
    static const char *texts[] = {"",       "a",        "msg", "void", "ev",    "mark",
                                  "typing", "u0",       "u1",  "u2",   "carol", "1.5",
                                  "1.999",  "\xc3\xa9", "all", "note", "owner"};
    static const json_int_t numbers[] = {-2,  -1,  0,     1,         2,         3,
                                         100, 500, 65536, 1LL << 31, 1LL << 53, (1LL << 53) - 1};
    json_t *value;
    switch (chance(depth > 2 ? 5 : 8)) {
        case 0:
            return json_null();
        case 1:
            return json_boolean(one_in(2));
        case 2:
            return json_integer(PICK(numbers));
        case 3:
            return json_string(PICK(texts));
        case 4:
            return json_string(some_chat());
        case 5:
            value = json_array();
            for (uint64_t n = chance(4); n > 0; n--)
                json_array_append_new(value, some_value(depth + 1));
            return value;
        case 6:
            value = json_object();
            for (uint64_t n = chance(4); n > 0; n--)
                json_object_set_new(value, PICK(texts), some_value(depth + 1));
            return value;
        default:
            return json_real(0.5);
    }
}

/* The example of row with its placeholders filled in; the caller decrefs. */
static json_t *example(const struct op_row *row, const struct talker *talker)
{
    const char *key;
    json_t *value, *args = json_loads(row->example, 0, NULL);
    void *next;
    cr_assert_not_null(args, "%s", row->example);
    json_object_foreach_safe(args, next, key, value)
    {
        const char *text = json_is_string(value) ? json_string_value(value) : "";
        if (strcmp(text, "<JWT>") == 0)
            json_object_set_new(args, key, json_string(talker->token));
        else if (strcmp(text, "<CHAT>") == 0 || strcmp(text, "<GROUP>") == 0)
            json_object_set_new(args, key, json_string(some_chat()));
    }
    if (json_object_get(args, "users") != NULL)
        json_object_set_new(args, "users", json_pack("[s, s]", "u1", one_in(2) ? "u2" : "carol"));
    if (json_object_get(args, "n") != NULL)
        json_object_set_new(args, "n", json_integer((json_int_t)chance(40)));
    return args;
}

static void spoil(json_t *args, const struct op_row *row)
{
    for (uint64_t times = chance(3); times > 0; times--) {
        const char *field = row->fields[chance(row->fields_count)];
        if (one_in(4))
            json_object_del(args, field);
        else
            json_object_set_new(args, field, some_value(0));
    }
}

static void ask(struct talker *talker)
{
    size_t count;
    const struct op_row *rows = op_rows(&count);
    /* hello and auth are the first two, and may close the connection: seldom. */
    size_t first = one_in(40) ? 0 : 2;
    const struct op_row *row = &rows[first + chance(count - first)];
    json_t *args = example(row, talker);
    if (one_in(2)) spoil(args, row);
    json_t *request = json_pack("{s:I, s:o}", "i", ++talker->i, row->name, args);
    if (one_in(30)) json_object_set_new(request, "must", some_value(0));
    char *text = json_dumps(request, JSON_COMPACT);
    ws_send(&talker->ws, text);
    talker->number[talker->waiting] = talker->i;
    talker->asked[talker->waiting++] = text;
    json_decref(request);
}

/* ---- answers ---- */

static void hear_line(struct talker *talker, struct slice text)
{
    json_t *tree = json_loadb(text.data, text.len, 0, NULL);
    cr_assert_not_null(tree, "%.*s", (int)text.len, (const char *)text.data);
    json_int_t i = json_integer_value(json_object_get(tree, "i"));
    for (unsigned place = 0; place < talker->waiting; place++)
        if (talker->number[place] == i) answered(talker, place);
    json_decref(tree);
}

/* Read one frame. The server may close; it may not fall silent: an answer takes 10 s at most, what
 * depends on another one may take as long again. */
static void hear(struct talker *talker)
{
    struct ws_frame frame;
    char byte;
    bool got = false;
    for (int waits = 0; !got && waits < 4; waits++) {
        got = ws_read(&talker->ws, &frame);
        if (!got && recv(talker->ws.fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) >= 0) break;
    }
    if (!got) {
        ssize_t left = recv(talker->ws.fd, &byte, 1, MSG_DONTWAIT);
        cr_assert_eq(left, 0, "%s waits for %u answers: %s", talker->user, talker->waiting,
                     talker->asked[0]);
        vanish(talker);
        return;
    }
    if (frame.opcode == WS_CLOSE) vanish(talker);
    if (frame.opcode != WS_TEXT) return;
    const char *at = frame.payload.data, *end = at + frame.payload.len;
    while (at < end) { /* A line each. */
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        struct slice line = {at, (size_t)((newline != NULL ? newline : end) - at)};
        hear_line(talker, line);
        at += line.len + 1;
    }
}

/* Send the request that text is; its answer is awaited like any other. */
static void say(struct talker *talker, const char *format, ...) PRINTF_LIKE(2, 3);
static void say(struct talker *talker, const char *format, ...)
{
    char text[1024];
    va_list list;
    va_start(list, format);
    int len = snprintf(text, sizeof(text), "{\"i\":%lld,", (long long)++talker->i);
    vsnprintf(text + len, sizeof(text) - (size_t)len, format, list);
    va_end(list);
    ws_send(&talker->ws, text);
    talker->number[talker->waiting] = talker->i;
    talker->asked[talker->waiting++] = mem_string(slice_str(text));
}

static void hear_all(struct talker *talker)
{
    while (talker->waiting > 0)
        hear(talker);
}

static void appear(struct talker *talker)
{
    ws_open(&talker->ws, cluster_front(&cluster, talker->front));
    say(talker, "\"hello\":{\"v\":[1,1],\"tok\":\"%s\",\"dev\":\"d1\",\"pos\":{\"d/u0/u1\":0}}}",
        talker->token);
    hear_all(talker);
    cr_assert_geq(talker->ws.fd, 0, "hello is answered");
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

/* Let people ask this many times; between a third and two thirds of them node victim is dead. */
static void let_people_ask(uint64_t requests, unsigned victim)
{
    for (uint64_t done = 0; done < requests; done++) {
        if (victim != 0 && done == requests / 3) cluster_kill(&cluster, "logd", victim, SIGKILL);
        if (victim != 0 && done == requests / 3 * 2) cluster_restart_logd(&cluster, victim);
        struct talker *talker = &people[chance(PEOPLE)];
        if (talker->ws.fd < 0) appear(talker);
        ask(talker);
        while (talker->waiting >= WAITING_MAX)
            hear(talker);
        if (one_in(100)) vanish(talker);
    }
}

static void run_chaos(uint64_t requests, unsigned victim)
{
    random_state = (struct splitmix){number_of("PARLEY_CHAOS_SEED", 1)};
    appear(&people[0]);
    say(&people[0], "\"chat.new\":{\"key\":\"picnic\",\"users\":[\"u1\",\"u2\"]}}");
    say(&people[0], "\"send\":{\"c\":\"d/u0/u1\",\"n\":1,\"k\":\"msg\",\"b\":{}}}");
    hear_all(&people[0]);
    let_people_ask(number_of("PARLEY_CHAOS_REQUESTS", requests), victim);
    for (unsigned p = 0; p < PEOPLE; p++) {
        hear_all(&people[p]);
        vanish(&people[p]);
        appear(&people[p]);
    }
    for (unsigned front = 1; front <= 2; front++)
        cr_expect_neq(cluster_pid(&cluster, "chatd", front), 0);
}

Test(ops_chaos, whatever_people_ask_they_are_answered)
{
    start(1);
    run_chaos(1000, 0);
}

Test(ops_chaos, also_while_a_node_dies_and_comes_back)
{
    start(3);
    run_chaos(600, 1);
}
