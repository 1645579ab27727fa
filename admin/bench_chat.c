/* admin/bench_chat.c -- parley bench chat: people in pairs who talk, through real WebSockets.
 *
 * Users 2k and 2k+1 share a direct chat, each on a front-end of their own where there are two, and
 * send in turn of a common clock, so that all together send `rate` messages a second: an open loop,
 * a slow cluster is not spared. Each message carries its number and when it was sent; the other
 * must see every number once, in order. Ack and delivery are measured from when the message was
 * due. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/cli.h"
#include "admin/measure.h"
#include "admin/ws.h"
#include "chatd/auth.h"
#include "chatd/ids.h"
#include "chatd/out.h"

enum {
    USERS_DEFAULT = 200,
    RATE_DEFAULT = 2000,
    SECONDS_DEFAULT = 10,
    SIZE_DEFAULT = 100,
    OPEN_MS = 30000,
    END_MS = 15000, /* What is under way at the end arrives by then. */
    TICK_US = 1000,
    TOKEN_MS = 3600 * 1000,
    REQUEST_HELLO = 1,
    REQUEST_OPEN = 2,
    REQUEST_SEND = 10, /* + n */
    DUE_MAX = 4096,    /* Sends of one user without an answer that are timed. */
};

struct people;

struct user {
    struct people *people;
    struct ws *ws;
    unsigned number;
    char name[32], chat[CHAT_BYTES_MAX + 1];
    bool ready, gone;
    uint64_t n;         /* Last number sent. */
    uint64_t acked;     /* Answers of sends that were ok. */
    uint64_t seen_n;    /* The other's last number that arrived. */
    uint64_t delivered; /* How many of the other's arrived, once and in order. */
    uint64_t due[DUE_MAX];
};

struct people {
    struct cli *cli;
    struct cli_link link;
    struct user *users;
    unsigned ready_count, next;
    struct env_timer tick;
    uint64_t begin_us, until_us, sent;
    bool ready, done;
    char *padding, *secret;
    struct latency acks, deliveries;
    uint64_t errors;
};

static uint64_t user_other_sent(const struct user *user)
{
    return user->people->users[user->number ^ 1].n;
}

static void say(struct user *user, struct buf *text)
{
    if (!user->gone) ws_send(user->ws, buf_bytes(text));
    buf_free(text);
}

static void say_hello(struct user *user)
{
    struct people *people = user->people;
    struct buf out = {0}, token = {0};
    struct auth_grant grant = {.user = slice_str(user->name),
                               .exp_ms = env_wall_ms(people->link.env) + TOKEN_MS};
    if (auth_sign(&grant, slice_str(people->secret), &token) != 0) people->errors++;
    out_object(&out);
    out_key_uint(&out, "i", REQUEST_HELLO);
    out_key(&out, "hello");
    out_object(&out);
    out_key_raw(&out, "v", slice_str("[1,1]"));
    out_key_string(&out, "tok", buf_bytes(&token));
    out_key_string(&out, "dev", slice_str("bench"));
    out_object_end(&out);
    out_object_end(&out);
    buf_free(&token);
    say(user, &out);
}

static void say_open(struct user *user)
{
    struct buf out = {0};
    out_object(&out);
    out_key_uint(&out, "i", REQUEST_OPEN);
    out_key(&out, "open");
    out_object(&out);
    out_key_string(&out, "c", slice_str(user->chat));
    out_key_raw(&out, "from", slice_str("-1"));
    out_key_raw(&out, "what", slice_str("[\"ev\"]"));
    out_object_end(&out);
    out_object_end(&out);
    say(user, &out);
}

static void say_message(struct user *user, uint64_t due_us)
{
    struct buf out = {0};
    uint64_t n = ++user->n;
    user->due[n % DUE_MAX] = due_us;
    out_object(&out);
    out_key_uint(&out, "i", REQUEST_SEND + n);
    out_key(&out, "send");
    out_object(&out);
    out_key_string(&out, "c", slice_str(user->chat));
    out_key_uint(&out, "n", n);
    out_key_string(&out, "k", slice_str("msg"));
    out_key(&out, "b");
    out_object(&out);
    out_key_string(&out, "text", slice_str(user->people->padding));
    out_key_uint(&out, "due", due_us);
    out_object_end(&out);
    out_object_end(&out);
    out_object_end(&out);
    say(user, &out);
}

/* ---- what comes ---- */

static void look_done(struct people *people)
{
    if (people->until_us == 0 || env_now_us(people->link.env) < people->until_us) return;
    uint64_t acked = 0, delivered = 0;
    for (unsigned i = 0; i < people->cli->users; i++) {
        acked += people->users[i].acked;
        delivered += people->users[i].delivered;
    }
    people->done = acked >= people->sent && delivered >= people->sent;
}

static void answered(struct user *user, uint64_t id, bool ok)
{
    struct people *people = user->people;
    if (!ok) people->errors++;
    if (id == REQUEST_HELLO && ok) {
        say_message(user, 0); /* The first one makes the chat. It is not measured. */
    } else if (id == REQUEST_SEND + 1) {
        say_open(user);
    } else if (id == REQUEST_OPEN && ok) {
        user->ready = true;
        people->ready = ++people->ready_count == people->cli->users;
    } else if (id > REQUEST_SEND + 1 && ok) {
        user->acked++;
        latency_add(&people->acks,
                    env_now_us(people->link.env) - user->due[(id - REQUEST_SEND) % DUE_MAX]);
    }
}

static void event(struct user *user, json_t *ev)
{
    struct people *people = user->people;
    const char *from = json_string_value(json_object_get(ev, "u"));
    uint64_t n = (uint64_t)json_integer_value(json_object_get(ev, "n"));
    uint64_t due_us =
        (uint64_t)json_integer_value(json_object_get(json_object_get(ev, "b"), "due"));
    if (from == NULL || strcmp(from, user->name) == 0 || due_us == 0) return;
    bool in_order = user->seen_n == 0 ? n == 2 : n == user->seen_n + 1;
    user->seen_n = n;
    if (!in_order) {
        people->errors++;
        return;
    }
    user->delivered++;
    latency_add(&people->deliveries, env_now_us(people->link.env) - due_us);
}

static void line(struct user *user, const char *text, size_t bytes)
{
    json_t *tree = json_loadb(text, bytes, 0, NULL);
    json_t *ev = json_object_get(tree, "ev");
    if (ev != NULL)
        event(user, ev);
    else if (json_object_get(tree, "closed") != NULL)
        user->people->errors++;
    else if (json_object_get(tree, "i") != NULL)
        answered(user, (uint64_t)json_integer_value(json_object_get(tree, "i")),
                 json_object_get(tree, "ok") != NULL);
    json_decref(tree);
    look_done(user->people);
}

static void ws_text(void *arg, struct slice text)
{
    const char *at = text.data, *end = at + text.len;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (stop == NULL) stop = end;
        if (stop > at) line(arg, at, (size_t)(stop - at));
        at = stop + 1;
    }
}

static void ws_opened(void *arg)
{
    say_hello(arg);
}

static void ws_closed(void *arg, int err, int code)
{
    struct user *user = arg;
    user->gone = true;
    if (user->people->done) return;
    user->people->errors++;
    (void)cli_fail(EXIT_FAILED, "%s was closed: %s %d", user->name, err_text(err), code);
}

static const struct ws_handlers HANDLERS = {ws_opened, ws_text, ws_closed};

/* ---- the clock ---- */

static void tick(struct env_timer *timer)
{
    struct people *people = CONTAINER_OF(timer, struct people, tick);
    uint64_t now_us = env_now_us(people->link.env);
    uint64_t end_us = now_us < people->until_us ? now_us : people->until_us;
    uint64_t due = (end_us - people->begin_us) * people->cli->rate / 1000000;
    while (people->sent < due) {
        struct user *user = &people->users[people->next++ % people->cli->users];
        say_message(user, people->begin_us + people->sent * 1000000 / people->cli->rate);
        people->sent++;
    }
    if (now_us < people->until_us)
        env_timer_start_us(people->link.env, &people->tick, TICK_US);
    else
        look_done(people);
}

static void people_make(struct people *people)
{
    struct cli *cli = people->cli;
    unsigned long long run = env_random(people->link.env) & 0xffffff;
    people->users = mem_zero(cli->users * sizeof(people->users[0]));
    for (unsigned i = 0; i < cli->users; i++) {
        struct user *user = &people->users[i];
        user->people = people;
        user->number = i;
        snprintf(user->name, sizeof(user->name), "b%06llx-%05u", run, i);
    }
    for (unsigned i = 0; i < cli->users; i++) {
        struct user *user = &people->users[i];
        struct slice chat =
            chat_direct(slice_str(user->name), slice_str(people->users[i ^ 1].name), user->chat);
        user->chat[chat.len] = '\0';
        user->ws = ws_open(people->link.env, &cli->fronts[i % cli->fronts_count], &HANDLERS, user);
    }
}

static int people_run(struct people *people)
{
    struct cli *cli = people->cli;
    struct cpu cpu;
    char what[128];
    uint64_t delivered = 0;
    people_make(people);
    if (!cli_run(&people->link, &people->ready, OPEN_MS))
        return cli_fail(EXIT_FAILED, "%u of %llu users could log in and open their chat",
                        people->ready_count, (unsigned long long)cli->users);
    uint64_t sync_us = disk_sync_us(people->link.env, cli->dir);
    cpu_begin(cli, &cpu);
    people->begin_us = env_now_us(people->link.env);
    people->until_us = people->begin_us + cli->seconds * 1000000;
    tick(&people->tick);
    (void)cli_run(&people->link, &people->done, cli->seconds * 1000 + END_MS);
    cpu_end(&cpu);
    for (unsigned i = 0; i < cli->users; i++) {
        struct user *user = &people->users[i];
        delivered += user->delivered;
        if (user->seen_n > user_other_sent(user)) people->errors++;
    }
    people->done = true;
    snprintf(what, sizeof(what), "chat: %llu users in pairs, %llu messages/s, %llu s",
             (unsigned long long)cli->users, (unsigned long long)cli->rate,
             (unsigned long long)cli->seconds);
    struct result result = {.what = what,
                            .rate_per_s = (double)people->acks.count / (double)cli->seconds,
                            .latency = &people->deliveries,
                            .latency_name = "delivery",
                            .second = &people->acks,
                            .second_name = "ack",
                            .done = people->acks.count,
                            .errors = people->errors,
                            .verified = delivered,
                            .sync_us = sync_us};
    result_print(cli, &result, &cpu);
    if (people->errors > 0 || delivered != people->sent || people->acks.count != people->sent)
        return cli_fail(EXIT_FAILED, "%llu sent, %llu acknowledged, %llu delivered in order",
                        (unsigned long long)people->sent, (unsigned long long)people->acks.count,
                        (unsigned long long)delivered);
    return EXIT_FINE;
}

int command_bench_chat(struct cli *cli)
{
    if (cli->users == 0) cli->users = USERS_DEFAULT;
    if (cli->rate == 0) cli->rate = RATE_DEFAULT;
    if (cli->seconds == 0) cli->seconds = SECONDS_DEFAULT;
    if (cli->size == 0) cli->size = SIZE_DEFAULT;
    if (cli->users % 2 != 0) return cli_fail(EXIT_USAGE, "users come in pairs: an even number");
    struct people *people = mem_zero(sizeof(*people));
    people->cli = cli;
    env_timer_init(&people->tick, tick);
    int rv = cli_find_fronts(cli);
    if (rv == 0) rv = cli_find_secret(cli, &people->secret);
    if (rv == 0) rv = cli_open(cli, &people->link, true);
    if (rv == 0) {
        people->padding = mem_alloc(cli->size + 1);
        memset(people->padding, 'x', cli->size);
        people->padding[cli->size] = '\0';
        rv = people_run(people);
        env_timer_stop(people->link.env, &people->tick);
        cli_close(&people->link);
        free(people->padding);
    }
    free(people->users);
    free(people->secret);
    free(people);
    return rv;
}
