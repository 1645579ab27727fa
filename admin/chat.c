/* admin/chat.c -- parley token, chat tail, chat post: chat from the operator's side. */
#include <stdio.h>
#include <stdlib.h>

#include "admin/cli.h"
#include "chatd/auth.h"
#include "chatd/chat.h"
#include "chatd/out.h"

enum {
    TTL_DEFAULT_S = 86400,
    LIMIT_DEFAULT = 20,
    PAGE_BYTES = 900 * 1024,
    WAIT_MS = 15000,
    FOLLOW_MS = 24 * 3600 * 1000,
};

int command_token(struct cli *cli)
{
    struct buf token = {0};
    char *secret = NULL, here[] = "data";
    const char *why;
    if (cli->dir[0] == '\0' && cli->secret[0] == '\0' && cli_set_dir(cli, here, &why) != 0)
        return cli_fail(EXIT_USAGE, "%s", why);
    int rv = cli_find_secret(cli, &secret);
    if (rv != 0) return rv;
    struct env_uv *uv;
    if (env_uv_create(NULL, &uv) != 0) {
        free(secret);
        return cli_fail(EXIT_FAILED, "the system gives no event loop");
    }
    uint64_t ttl_s = cli->ttl_s == 0 ? TTL_DEFAULT_S : cli->ttl_s;
    struct auth_grant grant = {.user = slice_str(cli->words[0]),
                               .exp_ms = env_wall_ms(env_uv_env(uv)) + (int64_t)ttl_s * 1000};
    env_uv_destroy(uv);
    int err = auth_sign(&grant, slice_str(secret), &token);
    free(secret);
    if (err != 0)
        return cli_fail(EXIT_USAGE,
                        "a user id is 1-64 of A-Za-z0-9._@+=|:~-, the first a letter or digit; a "
                        "secret has 32 bytes at least");
    printf("%.*s\n", (int)token.len, (const char *)token.data);
    buf_free(&token);
    return EXIT_FINE;
}

/* ---- chat tail ---- */

struct tailing {
    struct cli *cli;
    struct cli_link link;
    struct client_query query;
    bool done;
    int err;
};

static void print_record(struct tailing *tailing, const struct record_view *record)
{
    struct buf out = {0};
    struct slice chat = slice_str(tailing->cli->words[0]);
    if (tailing->cli->json) {
        if (event_write(&out, chat, record, true)) printf("%.*s\n", (int)out.len, out.data);
    } else {
        struct slice user = event_user(record), body = event_body(record);
        const char *name = event_name(record->kind);
        printf("%6llu  %-12.*s %-6s %.*s\n", (unsigned long long)record->seq, (int)user.len,
               (const char *)user.data, name == NULL ? "?" : name, (int)body.len,
               (const char *)body.data);
    }
    fflush(stdout);
    buf_free(&out);
}

static void tail_read(struct client_query *request, int err)
{
    struct tailing *tailing = CONTAINER_OF(request, struct tailing, query);
    tailing->err = err;
    tailing->done = true;
}

static void print_rows(struct tailing *tailing)
{
    const struct store_query *query = &tailing->query.query;
    struct record_view *records = mem_alloc(query->rows_count * sizeof(*records));
    struct reader r = reader_of(buf_bytes(&query->rows));
    uint32_t count = 0;
    for (; count < query->rows_count; count++) {
        record_decode(&r, &records[count]);
        if (r.failed) break;
    }
    while (count > 0)
        print_record(tailing, &records[--count]); /* They came latest first. */
    free(records);
}

static void tail_record(void *arg, const struct record_view *record)
{
    print_record(arg, record);
}

static void tail_ended(void *arg, int err)
{
    struct tailing *tailing = arg;
    tailing->err = err;
    tailing->done = true;
}

int command_chat_tail(struct cli *cli)
{
    static const struct tail_handlers HANDLERS = {.record = tail_record, .ended = tail_ended};
    struct tailing tailing = {.cli = cli};
    int rv = cli_open(cli, &tailing.link, true);
    if (rv != 0) return rv;
    tailing.query = (struct client_query){
        .query = {.kind = STORE_RECORDS,
                  .stream = slice_str(cli->words[0]),
                  .backwards = true,
                  .limit_count = cli->limit == 0 ? LIMIT_DEFAULT : (uint32_t)cli->limit,
                  .limit_bytes = PAGE_BYTES},
        .done = tail_read,
    };
    client_query(tailing.link.client, &tailing.query);
    (void)cli_run(&tailing.link, &tailing.done, WAIT_MS);
    if (tailing.err == 0) print_rows(&tailing);
    if (tailing.err == 0 && cli->follow) {
        struct tail_position from = {tailing.query.query.head.last,
                                     tailing.query.query.head.version};
        struct client_tail *tail = client_tail_open(tailing.link.client, slice_str(cli->words[0]),
                                                    TAIL_ALL, from, false, &HANDLERS, &tailing);
        tailing.done = false;
        (void)cli_run(&tailing.link, &tailing.done, FOLLOW_MS);
        client_tail_close(tail);
    }
    buf_free(&tailing.query.query.rows);
    cli_close(&tailing.link);
    if (tailing.err == ERR_NO_STREAM)
        return cli_fail(EXIT_FAILED, "%s: no such chat", cli->words[0]);
    return tailing.err == 0 ? EXIT_FINE : cli_fail(EXIT_FAILED, "%s", err_text(tailing.err));
}

/* ---- chat post ---- */

struct posting {
    struct client_txn request;
    struct outcome outcome;
    bool done;
    int err;
};

static void post_done(struct client_txn *request, int err, const struct outcome *outcome,
                      uint32_t after_ms)
{
    struct posting *posting = CONTAINER_OF(request, struct posting, request);
    (void)after_ms;
    posting->err = err;
    if (err == 0) posting->outcome = *outcome;
    posting->done = true;
}

/* Said by "operator", who is no member: it counts as unread for all. */
int command_chat_post(struct cli *cli)
{
    struct cli_link link;
    struct posting posting = {0};
    struct buf body = {0}, payload = {0};
    if (utf8_valid_bytes(slice_str(cli->words[1])) != strlen(cli->words[1]))
        return cli_fail(EXIT_USAGE, "the text is not UTF-8");
    int rv = cli_open(cli, &link, true);
    if (rv != 0) return rv;
    out_object(&body);
    out_key_string(&body, "text", slice_str(cli->words[1]));
    out_object_end(&body);
    notice_encode(&payload, slice_str("operator"), buf_bytes(&body));
    struct txn_check check = {.kind = TXN_IF_PRESENT, .key = slice_str("kind")};
    struct txn_record record = {
        .kind = EVENT_MSG, .flags = RECORD_COUNTED, .payload = buf_bytes(&payload)};
    struct txn txn = {.stream = slice_str(cli->words[0]),
                      .checks = &check,
                      .checks_count = 1,
                      .records = &record,
                      .records_count = 1};
    posting.request = (struct client_txn){.txn = &txn, .done = post_done};
    client_txn(link.client, &posting.request);
    (void)cli_run(&link, &posting.done, WAIT_MS);
    cli_close(&link);
    buf_free(&body);
    buf_free(&payload);
    if (posting.err != 0) return cli_fail(EXIT_FAILED, "%s", err_text(posting.err));
    if (posting.outcome.status != 0)
        return cli_fail(EXIT_FAILED, "%s: no such chat", cli->words[0]);
    printf(cli->json ? "{\"seq\":%llu}\n" : "seq %llu\n", (unsigned long long)posting.outcome.last);
    return EXIT_FINE;
}
