/* chatd/direct.c -- see direct.h. */
#include "chatd/direct.h"

#include <stdlib.h>

#include "chatd/lists.h"
#include "chatd/worker.h"

enum { ATTEMPTS_MAX = 3 }; /* Of a making whose outcome is not known: twice is once. */

/* One request at a time per chat; it outlives nothing: the worker waits for its client. */
struct direct_make {
    struct client_txn request;
    struct direct *direct;
    unsigned attempts_count;
};

static void make_send(struct direct_make *make);

static void direct_end(struct direct *direct, int err)
{
    struct direct_waiter *waiter = direct->waiters, *next;
    direct->waiters = NULL;
    direct->waiters_end = &direct->waiters;
    direct->there = err == 0;
    if (err != 0) HASH_DELETE(hh, direct->worker->directs, direct);
    for (; waiter != NULL; waiter = next) {
        next = waiter->next;
        waiter->ready(waiter, err);
    }
    if (err != 0) free(direct);
}

static void lists_done(void *arg, int err)
{
    direct_end(arg, err);
}

static void make_done(struct client_txn *request, int err, const struct outcome *outcome,
                      uint32_t after_ms)
{
    struct direct_make *make = CONTAINER_OF(request, struct direct_make, request);
    struct direct *direct = make->direct;
    struct slice chat = {direct->chat, direct->chat_len}, users[2];
    (void)outcome; /* Rejected: somebody made it before. */
    (void)after_ms;
    if (err == ERR_UNKNOWN && make->attempts_count < ATTEMPTS_MAX) {
        make_send(make);
        return;
    }
    free(make);
    if (err != 0) {
        direct_end(direct, err);
        return;
    }
    CHECK(chat_parse(chat, &users[0], &users[1]) == CHAT_DIRECT);
    size_t count = slice_equal(users[0], users[1]) ? 1 : 2;
    lists_write(direct->worker, chat, users, count, true, lists_done, direct);
}

static void make_send(struct direct_make *make)
{
    struct direct *direct = make->direct;
    struct slice chat = {direct->chat, direct->chat_len}, a, b;
    char key_a[CHAT_KEY_BYTES], key_b[CHAT_KEY_BYTES];
    CHECK(chat_parse(chat, &a, &b) == CHAT_DIRECT);
    struct slice role = slice_str(role_name(ROLE_MEMBER));
    struct txn_check check = {.kind = TXN_IF_STREAM_ABSENT};
    struct txn_set sets[] = {
        {.key = slice_str("kind"), .value = slice_str("direct")},
        {.key = chat_key(key_a, 'm', a), .value = role, .flags = TXN_SET_STAMP},
        {.key = chat_key(key_b, 'm', b), .value = role, .flags = TXN_SET_STAMP},
    };
    struct txn txn = {.stream = chat,
                      .checks = &check,
                      .checks_count = 1,
                      .sets = sets,
                      .sets_count = slice_equal(a, b) ? 2 : 3};
    make->attempts_count++;
    make->request = (struct client_txn){.txn = &txn, .done = make_done};
    client_txn(direct->worker->client, &make->request);
}

static void direct_make(struct direct *direct)
{
    struct direct_make *make = mem_zero(sizeof(*make));
    make->direct = direct;
    make_send(make);
}

/* Forget the oldest that nobody waits for. */
static void directs_bound(struct worker *worker)
{
    struct direct *oldest = worker->directs;
    if (HASH_COUNT(worker->directs) < DIRECTS_MAX || !oldest->there) return;
    HASH_DELETE(hh, worker->directs, oldest);
    free(oldest);
}

bool direct_ensure(struct worker *worker, struct slice chat, struct direct_waiter *waiter)
{
    struct direct *direct;
    HASH_FIND(hh, worker->directs, chat.data, chat.len, direct);
    if (direct != NULL && direct->there) return true;
    bool begin = direct == NULL;
    if (begin) {
        directs_bound(worker);
        direct = mem_zero(sizeof(*direct));
        direct->worker = worker;
        memcpy(direct->chat, chat.data, chat.len);
        direct->chat_len = (uint8_t)chat.len;
        direct->waiters_end = &direct->waiters;
        HASH_ADD_KEYPTR(hh, worker->directs, direct->chat, direct->chat_len, direct);
    }
    waiter->next = NULL;
    *direct->waiters_end = waiter;
    direct->waiters_end = &waiter->next;
    if (begin) direct_make(direct);
    return false;
}

void directs_destroy(struct worker *worker)
{
    struct direct *direct, *next;
    HASH_ITER(hh, worker->directs, direct, next)
    {
        CHECK(direct->waiters == NULL);
        HASH_DELETE(hh, worker->directs, direct);
        free(direct);
    }
}
