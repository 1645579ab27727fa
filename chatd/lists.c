/* chatd/lists.c -- see lists.h. */
#include "chatd/lists.h"

#include <stdlib.h>

#include "chatd/worker.h"

enum {
    ATTEMPTS_MAX = 3
}; /* Of a write whose outcome is not known: doing it twice is doing it once. */

struct lists;

struct list_write {
    struct client_txn request;
    struct lists *lists;
    unsigned attempts_count;
    char user[ID_BYTES_MAX];
    uint8_t user_len;
};

struct lists {
    struct worker *worker;
    char chat[CHAT_BYTES_MAX];
    uint8_t chat_len;
    bool listed;
    void (*done)(void *arg, int err);
    void *arg;
    size_t pending_count;
    int err;
    struct list_write writes[];
};

static void list_done(struct client_txn *request, int err, const struct outcome *outcome,
                      uint32_t after_ms);

static void list_send(struct list_write *write)
{
    struct lists *lists = write->lists;
    char name[USER_STREAM_BYTES], key[CHAT_KEY_BYTES];
    struct slice user = {write->user, write->user_len};
    struct slice attribute = chat_key(key, 'c', (struct slice){lists->chat, lists->chat_len});
    struct txn_check check = {.kind = lists->listed ? TXN_IF_ABSENT : TXN_IF_PRESENT,
                              .key = attribute};
    struct txn_set set = {.key = attribute, .flags = lists->listed ? 0 : TXN_SET_DROP};
    struct txn txn = {.stream = user_stream(name, user),
                      .checks = &check,
                      .checks_count = 1,
                      .sets = &set,
                      .sets_count = 1};
    write->attempts_count++;
    write->request = (struct client_txn){.txn = &txn, .done = list_done};
    client_txn(lists->worker->client, &write->request);
}

static void list_done(struct client_txn *request, int err, const struct outcome *outcome,
                      uint32_t after_ms)
{
    struct list_write *write = CONTAINER_OF(request, struct list_write, request);
    struct lists *lists = write->lists;
    (void)outcome; /* Rejected: it stands there, or is gone, already. */
    (void)after_ms;
    if (err == ERR_UNKNOWN && write->attempts_count < ATTEMPTS_MAX) {
        list_send(write);
        return;
    }
    if (lists->err == 0) lists->err = err;
    if (--lists->pending_count > 0) return;
    lists->done(lists->arg, lists->err);
    free(lists);
}

void lists_write(struct worker *worker, struct slice chat, const struct slice users[], size_t count,
                 bool listed, void (*done)(void *arg, int err), void *arg)
{
    CHECK(count > 0 && chat.len <= CHAT_BYTES_MAX);
    struct lists *lists = mem_zero(sizeof(*lists) + count * sizeof(lists->writes[0]));
    lists->worker = worker;
    memcpy(lists->chat, chat.data, chat.len);
    lists->chat_len = (uint8_t)chat.len;
    lists->listed = listed;
    lists->done = done;
    lists->arg = arg;
    lists->pending_count = count;
    for (size_t i = 0; i < count; i++) {
        struct list_write *write = &lists->writes[i];
        CHECK(users[i].len <= ID_BYTES_MAX);
        write->lists = lists;
        memcpy(write->user, users[i].data, users[i].len);
        write->user_len = (uint8_t)users[i].len;
        list_send(write);
    }
}
