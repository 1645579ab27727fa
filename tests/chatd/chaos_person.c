/* tests/chatd/chaos_person.c -- see chaos_person.h. */
#include "tests/chatd/chaos_person.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    TURN_MS = 10,
    AGAIN_MS = 100, /* Before a connection or a refused request is tried again. */
    HIST_I = 1,     /* Requests that are no sends: their i. */
    OPEN_I = 2,
    HELLO_I = 3,
    FIRST_SEND_I = 10,
};

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&time, NULL);
}

static void wrong(struct person *p, const char *format, ...) PRINTF_LIKE(2, 3);
static void wrong(struct person *p, const char *format, ...)
{
    va_list args;
    if (p->why[0] != '\0') return;
    va_start(args, format);
    vsnprintf(p->why, sizeof(p->why), format, args);
    va_end(args);
}

static void say(struct person *p, const char *format, ...) PRINTF_LIKE(2, 3);
static void say(struct person *p, const char *format, ...)
{
    char text[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ws_send(&p->ws, text);
}

/* ---- following ---- */

static void ask_hist(struct person *p)
{
    p->catching_up = true;
    p->hists++;
    say(p, "{\"i\":%d,\"hist\":{\"c\":\"%s\",\"from\":%lld,\"limit\":500}}", HIST_I, p->chat,
        (long long)p->last + 1);
}

static void event_apply(struct person *p, json_t *ev)
{
    json_int_t seq = json_integer_value(json_object_get(ev, "s"));
    if (seq != p->last + 1) {
        if (seq > p->last && !p->catching_up) ask_hist(p);
        return;
    }
    if (seq >= PERSON_EVENTS_MAX) {
        wrong(p, "more events than can be");
        return;
    }
    struct person_event *event = &p->followed[seq];
    event->seq = seq;
    event->n = json_integer_value(json_object_get(ev, "n"));
    snprintf(event->user, sizeof(event->user), "%s", json_string_value(json_object_get(ev, "u")));
    const char *kind = json_string_value(json_object_get(ev, "k"));
    const char *text = json_string_value(json_object_get(json_object_get(ev, "b"), "text"));
    char expected[64];
    snprintf(expected, sizeof(expected), "%s says %lld", event->user, (long long)event->n);
    if (strcmp(kind, "msg") == 0 && (text == NULL || strcmp(text, expected) != 0))
        wrong(p, "seq %lld of %s, n %lld, says \"%s\"", (long long)seq, event->user,
              (long long)event->n, text == NULL ? "" : text);
    p->last = seq;
    p->progress_ms = now_ms();
}

static void hist_answered(struct person *p, json_t *tree)
{
    json_t *ok = json_object_get(tree, "ok"), *ev;
    size_t at;
    int64_t before = p->last;
    json_array_foreach(json_object_get(ok, "ev"), at, ev) event_apply(p, ev);
    bool more = ok == NULL || json_is_true(json_object_get(ok, "more"));
    if (more) {
        if (p->last == before) sleep_ms(AGAIN_MS);
        ask_hist(p);
        return;
    }
    p->catching_up = false;
    if (!p->reopen) return;
    p->reopen = false;
    say(p, "{\"i\":%d,\"open\":{\"c\":\"%s\",\"from\":%lld}}", OPEN_I, p->chat, (long long)p->last);
}

/* ---- sending ---- */

static void send_next(struct person *p)
{
    int64_t n = p->next_n++;
    if (n > p->sent_n) p->sent_n = n;
    p->asked_n[++p->i % 256] = n;
    p->outstanding++;
    p->sent_ms = now_ms();
    if (p->outstanding == 1) p->heard_ms = p->sent_ms;
    say(p,
        "{\"i\":%lld,\"send\":{\"c\":\"%s\",\"n\":%lld,\"k\":\"msg\",\"b\":{\"text\":\"%s says "
        "%lld\"}}}",
        (long long)p->i, p->chat, (long long)n, p->user, (long long)n);
}

static void send_due(struct person *p)
{
    int64_t now = now_ms();
    if (!p->sends || !p->open || now < p->pause_until_ms) return;
    if (p->erring) {
        if (p->outstanding > 0) return; /* First all that was sent is answered. */
        p->erring = false;
        p->next_n = p->acked_n + 1;
    }
    while (p->outstanding < PERSON_WINDOW && p->next_n <= p->sent_n)
        send_next(p); /* Again. */
    bool more = !atomic_load(&p->finish) && p->sent_n + 1 < PERSON_SENDS_MAX;
    if (more && p->outstanding < PERSON_WINDOW && now - p->sent_ms >= PERSON_PACE_MS) send_next(p);
}

static void sent_ok(struct person *p, int64_t n, json_t *ok)
{
    struct person_event *sent = &p->sent[n];
    json_int_t seq = json_integer_value(json_object_get(ok, "s"));
    const char *h = json_string_value(json_object_get(ok, "h"));
    bool again = json_is_true(json_object_get(ok, "dup"));
    p->duplicates += again;
    if (seq == 0 && again) return; /* Older than the last 32: it was used, that is all. */
    if (seq == 0 || h == NULL) {
        wrong(p, "n %lld is ok without s or h", (long long)n);
        return;
    }
    if (sent->seq != 0 && (sent->seq != seq || strcmp(sent->h, h) != 0))
        wrong(p, "n %lld has two outcomes: %lld and %lld", (long long)n, (long long)sent->seq,
              (long long)seq);
    sent->seq = seq;
    sent->n = n;
    snprintf(sent->h, sizeof(sent->h), "%s", h);
    p->progress_ms = now_ms();
    while (p->acked_n < p->sent_n && p->sent[p->acked_n + 1].seq != 0)
        p->acked_n++;
}

static void send_answered(struct person *p, int64_t i, json_t *tree)
{
    int64_t n = p->asked_n[i % 256];
    json_t *ok = json_object_get(tree, "ok"), *err = json_object_get(tree, "err");
    p->outstanding--;
    p->heard_ms = now_ms();
    if (i != p->answered_i + 1)
        wrong(p, "sends of one chat are answered in order: %lld after %lld", (long long)i,
              (long long)p->answered_i);
    p->answered_i = i;
    if (ok != NULL) {
        sent_ok(p, n, ok);
        return;
    }
    p->errors++;
    p->erring = true;
    p->pause_until_ms = now_ms() + AGAIN_MS;
    json_int_t code = json_integer_value(json_object_get(err, "code"));
    json_int_t used_n = json_integer_value(json_object_get(err, "n"));
    bool gap = code == 409 && strcmp(json_string_value(json_object_get(err, "t")), "GAP") == 0;
    if (json_is_true(json_object_get(err, "used")) || used_n > p->sent_n || (code < 429 && !gap)) {
        char *text = json_dumps(tree, 0);
        wrong(p, "n %lld: %s", (long long)n, text);
        free(text);
    }
}

/* ---- the connection ---- */

static void take(struct person *p, json_t *tree)
{
    json_t *ev = json_object_get(tree, "ev"), *closed = json_object_get(tree, "closed");
    json_int_t i = json_integer_value(json_object_get(tree, "i"));
    if (ev != NULL) {
        event_apply(p, ev);
    } else if (closed != NULL) {
        if (strcmp(json_string_value(json_object_get(closed, "why")), "gone") == 0)
            wrong(p, "is told to be no member");
        p->reopen = true;
        if (!p->catching_up) ask_hist(p);
    } else if (i == HELLO_I) {
        p->open = json_object_get(tree, "ok") != NULL;
        if (!p->open) wrong(p, "hello is refused");
    } else if (i == HIST_I) {
        hist_answered(p, tree);
    } else if (i == OPEN_I && json_object_get(tree, "ok") == NULL) {
        p->reopen = true;
        sleep_ms(AGAIN_MS);
        ask_hist(p);
    } else if (i >= FIRST_SEND_I) {
        send_answered(p, i, tree);
    }
}

static void take_text(struct person *p, struct slice text)
{
    const char *at = text.data, *end = at + text.len;
    while (at < end) {
        const char *line = memchr(at, '\n', (size_t)(end - at));
        if (line == NULL) line = end;
        json_t *tree = json_loadb(at, (size_t)(line - at), 0, NULL);
        if (tree == NULL) wrong(p, "no JSON: %.*s", (int)(line - at), at);
        take(p, tree);
        json_decref(tree);
        at = line + 1;
    }
}

static void person_connect(struct person *p)
{
    uint16_t port = cluster_front(p->cluster, 1 + p->front++ % 2);
    if (!ws_try(&p->ws, port)) {
        sleep_ms(AGAIN_MS);
        return;
    }
    p->connects++;
    p->connected = true;
    p->open = p->erring = p->catching_up = p->reopen = false;
    p->i = p->answered_i = FIRST_SEND_I - 1;
    p->outstanding = 0;
    p->next_n = p->acked_n + 1;
    p->heard_ms = now_ms();
    say(p,
        "{\"i\":%d,\"hello\":{\"v\":[1,1],\"tok\":\"%s\",\"dev\":\"d\",\"epoch\":1,"
        "\"pos\":{\"%s\":%lld}}}",
        HELLO_I, p->token, p->chat, (long long)p->last);
}

static void hangs(struct person *p)
{
    int64_t now = now_ms();
    if (p->connected && (!p->open || p->outstanding > 0) && now - p->heard_ms > PERSON_PATIENCE_MS)
        wrong(p, "%s: no answer on one connection", p->open ? "send" : "hello");
    if (now - p->progress_ms > 2 * PERSON_PATIENCE_MS)
        wrong(p, "no progress: acked %lld of %lld, followed %lld of %lld", (long long)p->acked_n,
              (long long)p->sent_n, (long long)p->last, (long long)atomic_load(&p->head));
}

static void person_turn(struct person *p)
{
    if (!p->connected) {
        person_connect(p);
        return;
    }
    send_due(p);
    if (ws_waits(&p->ws, TURN_MS)) {
        struct slice text = ws_text(&p->ws);
        if (text.data == NULL) {
            ws_close(&p->ws);
            p->connected = false;
            return;
        }
        take_text(p, text);
    }
    if (atomic_load(&p->finish) && p->acked_n == p->sent_n) atomic_store(&p->all_acked, true);
}

static void *person_run(void *arg)
{
    struct person *p = arg;
    p->progress_ms = now_ms();
    for (;;) {
        int64_t head = atomic_load(&p->head);
        if (head != 0 && p->last >= head) break;
        person_turn(p);
        hangs(p);
        if (p->why[0] != '\0') break;
    }
    ws_close(&p->ws);
    atomic_store(&p->over, true);
    return NULL;
}

void person_start(struct person *p, const struct cluster *cluster, const char *chat,
                  const char *user, bool sends)
{
    *p = (struct person){.cluster = cluster, .chat = chat, .sends = sends, .ws = {.fd = -1}};
    snprintf(p->user, sizeof(p->user), "%s", user);
    p->token = cluster_token(cluster, user);
    p->front = (unsigned)user[strlen(user) - 1];
    p->sent = mem_zero(PERSON_SENDS_MAX * sizeof(p->sent[0]));
    p->followed = mem_zero(PERSON_EVENTS_MAX * sizeof(p->followed[0]));
    CHECK(pthread_create(&p->thread, NULL, person_run, p) == 0);
}

void person_join(struct person *p)
{
    CHECK(pthread_join(p->thread, NULL) == 0);
}

void person_free(struct person *p)
{
    free(p->token);
    free(p->sent);
    free(p->followed);
}
