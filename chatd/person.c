/* chatd/person.c -- see person.h. */
#include "chatd/person.h"

#include <stdio.h>
#include <stdlib.h>

#include "chatd/inbox.h"
#include "chatd/out.h"
#include "chatd/worker.h"

enum { PERSON_RETRY_MS = 1000 };

/* ---- what the tail brings ---- */

static void person_chat_item(struct person *person, struct slice chat, bool listed)
{
    struct person_chat *known;
    if (chat_parse(chat, NULL, NULL) == CHAT_INVALID) return;
    HASH_FIND(hh, person->chats, chat.data, chat.len, known);
    if (known == NULL) {
        if (!listed || HASH_COUNT(person->chats) >= SESSION_CHATS_MAX) return;
        known = mem_zero(sizeof(*known));
        memcpy(known->chat, chat.data, chat.len);
        known->chat_len = (uint8_t)chat.len;
        HASH_ADD_KEYPTR(hh, person->chats, known->chat, known->chat_len, known);
    }
    known->listed = listed;
    for (struct session *s = person->sessions; s != NULL; s = s->next_own)
        inbox_listed(s, chat, listed);
}

static void person_item(void *arg, const struct item_view *item)
{
    struct person *person = arg;
    struct slice chat;
    if (!item->cursor && chat_key_is(item->key, 'c', &chat)) {
        person_chat_item(person, chat, !item->dropped);
    } else if (slice_equal(item->key, slice_str("seen")) && item->value.len < 20) {
        char digits[20];
        memcpy(digits, item->value.data, item->value.len);
        digits[item->value.len] = '\0';
        person->seen_ms = strtoll(digits, NULL, 10);
    }
}

static void person_head(void *arg, const struct stream_head *head)
{
    struct person *person = arg;
    person->version = head->version;
    if (person->loaded) return;
    person->loaded = true;
    for (struct session *s = person->sessions; s != NULL; s = s->next_own)
        inbox_known(s);
}

/* What happened before comes next, and ends with the head; if nothing did, that never comes. */
static void person_started(void *arg, const struct stream_head *head)
{
    struct person *person = arg;
    if (head->version <= person->version) person_head(arg, head);
}

static void devices_free(struct person *person)
{
    struct person_device *device, *next;
    HASH_ITER(hh, person->devices, device, next)
    {
        HASH_DELETE(hh, person->devices, device);
        free(device);
    }
}

static void person_session_reset(void *arg)
{
    struct person *person = arg;
    devices_free(person);
    env_defer(person->worker->env, &person->push);
}

/* The payload of a claim tells connections of one device apart: the later one stays. */
static void person_session(void *arg, struct slice key, struct slice payload, bool present)
{
    struct person *person = arg;
    struct person_device *device;
    if (!id_valid(key)) return;
    HASH_FIND(hh, person->devices, key.data, key.len, device);
    if (present && device == NULL) {
        device = mem_zero(sizeof(*device));
        memcpy(device->device, key.data, key.len);
        device->device_len = (uint8_t)key.len;
        HASH_ADD_KEYPTR(hh, person->devices, device->device, device->device_len, device);
    } else if (!present && device != NULL) {
        HASH_DELETE(hh, person->devices, device);
        free(device);
    }
    for (struct session *s = person->sessions; present && s != NULL; s = s->next_own)
        session_claimed(s, key, payload);
    env_defer(person->worker->env, &person->push);
}

static void person_open(struct person *person);

static void person_ended(void *arg, int err)
{
    struct person *person = arg;
    (void)err;
    client_tail_close(person->tail);
    person->tail = NULL;
    env_timer_start(person->worker->env, &person->retry, PERSON_RETRY_MS);
}

static const struct tail_handlers PERSON_TAIL = {
    .started = person_started,
    .head = person_head,
    .item = person_item,
    .session = person_session,
    .session_reset = person_session_reset,
    .ended = person_ended,
};

static void person_open(struct person *person)
{
    char name[USER_STREAM_BYTES];
    struct tail_position from = {0, 0};
    person->tail = client_tail_open(person->worker->client, user_stream(name, person_user(person)),
                                    TAIL_ALL, from, true, &PERSON_TAIL, person);
}

static void person_retry(struct env_timer *timer)
{
    person_open(CONTAINER_OF(timer, struct person, retry));
}

/* ---- watchers ---- */

void person_write(const struct person *person, struct buf *out)
{
    unsigned devices = HASH_COUNT(person->devices);
    out_object(out);
    out_key_string(out, "u", person_user(person));
    out_key_bool(out, "on", devices > 0);
    if (devices > 0)
        out_key_uint(out, "devs", devices);
    else if (person->seen_ms > 0)
        out_key_uint(out, "last", (uint64_t)person->seen_ms);
    out_object_end(out);
}

static void person_free(struct person *person)
{
    if (person->tail != NULL) client_tail_close(person->tail);
    env_timer_stop(person->worker->env, &person->retry);
    HASH_DELETE(hh, person->worker->people, person);
    devices_free(person);
    struct person_chat *chat, *next;
    HASH_ITER(hh, person->chats, chat, next)
    {
        HASH_DELETE(hh, person->chats, chat);
        free(chat);
    }
    free(person);
}

static void person_push(struct env_task *task)
{
    struct person *person = CONTAINER_OF(task, struct person, push);
    if (person->watches == NULL) {
        if (person->sessions == NULL) person_free(person);
        return;
    }
    struct buf out = {0};
    out_object(&out);
    out_key(&out, "pres");
    person_write(person, &out);
    out_object_end(&out);
    struct message *message = message_text(buf_bytes(&out));
    buf_free(&out);
    for (struct watch *watch = person->watches; watch != NULL; watch = watch->next)
        session_push(watch->session, NULL, message);
    message_unref(message);
}

/* ---- coming and going ---- */

static struct person *person_take(struct worker *worker, struct slice user)
{
    struct person *person;
    HASH_FIND(hh, worker->people, user.data, user.len, person);
    if (person != NULL) return person;
    person = mem_zero(sizeof(*person));
    person->worker = worker;
    memcpy(person->user, user.data, user.len);
    person->user_len = (uint8_t)user.len;
    env_task_init(&person->push, ENV_PHASE_WORK, person_push);
    env_timer_init(&person->retry, person_retry);
    HASH_ADD_KEYPTR(hh, worker->people, person->user, person->user_len, person);
    person_open(person);
    return person;
}

/* A queued task cannot be taken back: it frees a person who is not needed any more. */
static void person_release(struct person *person)
{
    if (person->sessions == NULL && person->watches == NULL)
        env_defer(person->worker->env, &person->push);
}

void person_join(struct session *session)
{
    char name[USER_STREAM_BYTES];
    struct person *person = person_take(session->worker, session_user(session));
    session->person = person;
    session->next_own = person->sessions;
    person->sessions = session;
    client_claim(session->worker->client, user_stream(name, person_user(person)),
                 session_device(session), session_claim(session));
    struct person_chat *chat, *next;
    HASH_ITER(hh, person->chats, chat, next)
    {
        if (chat->listed) inbox_listed(session, (struct slice){chat->chat, chat->chat_len}, true);
    }
    if (person->loaded) inbox_known(session);
}

/* Best effort: what a front-end that dies does not write is the time it was last seen. */
static void person_seen(struct person *person)
{
    char name[USER_STREAM_BYTES], text[24];
    person->seen_ms = env_wall_ms(person->worker->env);
    snprintf(text, sizeof(text), "%lld", (long long)person->seen_ms);
    struct txn_set set = {.key = slice_str("seen"), .value = slice_str(text)};
    struct txn txn = {
        .stream = user_stream(name, person_user(person)), .sets = &set, .sets_count = 1};
    worker_txn_forget(person->worker, &txn);
}

void person_leave(struct session *session)
{
    struct person *person = session->person;
    char name[USER_STREAM_BYTES];
    bool same_device = false;
    struct session **at = &person->sessions;
    while (*at != session)
        at = &(*at)->next_own;
    *at = session->next_own;
    session->person = NULL;
    for (struct session *s = person->sessions; s != NULL; s = s->next_own)
        same_device |= slice_equal(session_device(s), session_device(session));
    if (!same_device)
        client_release(person->worker->client, user_stream(name, person_user(person)),
                       session_device(session));
    if (HASH_COUNT(person->devices) <= 1) person_seen(person);
    person_release(person);
}

int person_watch(struct session *session, struct slice user)
{
    struct watch *watch;
    HASH_FIND(hh, session->watches, user.data, user.len, watch);
    if (watch != NULL) return 0;
    if (HASH_COUNT(session->watches) >= SESSION_WATCH_MAX) return ERR_BUSY;
    watch = mem_zero(sizeof(*watch));
    watch->session = session;
    watch->person = person_take(session->worker, user);
    watch->next = watch->person->watches;
    if (watch->next != NULL) watch->next->prev = watch;
    watch->person->watches = watch;
    HASH_ADD_KEYPTR(hh, session->watches, watch->person->user, watch->person->user_len, watch);
    return 0;
}

static void watch_end(struct watch *watch)
{
    struct person *person = watch->person;
    HASH_DELETE(hh, watch->session->watches, watch);
    if (watch->prev != NULL)
        watch->prev->next = watch->next;
    else
        person->watches = watch->next;
    if (watch->next != NULL) watch->next->prev = watch->prev;
    free(watch);
    person_release(person);
}

void person_unwatch(struct session *session, struct slice user)
{
    struct watch *watch;
    HASH_FIND(hh, session->watches, user.data, user.len, watch);
    if (watch != NULL) watch_end(watch);
}

void person_unwatch_all(struct session *session)
{
    struct watch *watch, *next;
    HASH_ITER(hh, session->watches, watch, next) watch_end(watch);
}

void people_destroy(struct worker *worker)
{
    struct person *person, *next;
    HASH_ITER(hh, worker->people, person, next)
    {
        CHECK(person->sessions == NULL && person->watches == NULL);
        env_defer(worker->env, &person->push);
    }
}
