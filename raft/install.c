/* raft/install.c -- see install.h.
 *
 * Happy path: OPEN {part, base, at least} -> the other side makes a delta -> OPENED {id, bytes,
 * facts} -> READ {id, offset} -> DATA, until all is there -> the store checks it -> done.
 * Failure modes: no answer (the request is said again; READ names id and offset, so that a new
 * connection goes on where the old one broke); the delta is gone, or the other side refuses: the
 * fetch ends, and the leader's next message begins it anew.
 * Invariant: one request per partition is open at a time. */
#include "raft/install.h"

#include <stdlib.h>

enum {
    TRIES_MAX = 60,                      /* Two minutes: a large delta takes its time to be made. */
    BACKLOG_BYTES_MAX = 4 * 1024 * 1024, /* Received and not written yet. */
};

enum fetch_phase { FETCH_NONE, FETCH_OPENING, FETCH_READING, FETCH_FINISHING };

/* What this node is fetching for one partition. */
struct fetch {
    struct install *install;
    part_t part;
    enum fetch_phase phase;
    uint64_t from;
    index_t wanted; /* At least. */
    index_t base;   /* Our manifest's index, that the delta starts at. */
    uint64_t id;    /* Of the delta. */
    uint64_t bytes, offset;
    struct store_install *staged; /* Owned. */
    index_t staged_index;
    bool asked; /* A request is open. */
    uint64_t asked_ms;
    unsigned tries;
    bool unwanted; /* FETCH_FINISHING: no done follows. */
};

/* A delta that this node lends. */
struct lend {
    struct install *install;
    uint64_t to;
    part_t part;
    uint64_t id;
    index_t base;
    struct store_delta *delta; /* NULL while it is being made. */
    struct buf facts;
    uint64_t used_ms;
    unsigned busy_count; /* Making, or reads under way. */
    bool over;           /* Free it when nothing is under way. */
    struct lend *next;
};

struct lend_read {
    struct env_work work;
    struct lend *lend;
    uint64_t offset;
    size_t bytes, got;
    int err;
    uint8_t data[];
};

struct install {
    struct env *env;
    struct diag *diag;
    struct install_host host;
    unsigned parts_count;
    struct fetch *fetches;
    struct lend *lends;
    uint64_t tokens; /* Bytes that may be asked for until the next tick. */
    struct env_task end;
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

static void install_end(struct env_task *task);

struct install *install_create(struct env *env, unsigned parts_count, struct diag *diag,
                               const struct install_host *host)
{
    struct install *install = mem_zero(sizeof(*install));
    *install =
        (struct install){.env = env, .diag = diag, .host = *host, .parts_count = parts_count};
    install->fetches = mem_zero(parts_count * sizeof(*install->fetches));
    for (unsigned i = 0; i < parts_count; i++) {
        install->fetches[i].install = install;
        install->fetches[i].part = (part_t)i;
    }
    env_task_init(&install->end, ENV_PHASE_WORK, install_end);
    return install;
}

/* ---- the replica that needs rows ---- */

static void fetch_ask(struct fetch *fetch)
{
    struct install *install = fetch->install;
    struct buf out = {0};
    buf_u16(&out, fetch->part);
    fetch->asked = true;
    fetch->asked_ms = env_now_ms(install->env);
    fetch->tries++;
    if (fetch->phase == FETCH_OPENING) {
        buf_u64(&out, fetch->base);
        buf_u64(&out, fetch->wanted);
        install->host.send(install->host.arg, fetch->from, INSTALL_OPEN, buf_bytes(&out));
    } else {
        buf_u64(&out, fetch->id);
        buf_u64(&out, fetch->offset);
        install->host.send(install->host.arg, fetch->from, INSTALL_READ, buf_bytes(&out));
    }
    buf_free(&out);
}

static void fetch_reset(struct fetch *fetch)
{
    if (fetch->staged != NULL) store_install_cancel(fetch->staged);
    fetch->staged = NULL;
    fetch->phase = FETCH_NONE;
    fetch->asked = false;
    fetch->tries = 0;
}

static void fetch_fail(struct fetch *fetch, const char *why)
{
    struct install *install = fetch->install;
    diag_warn(install->diag, "install", "fetch ended part=%u from=%u offset=%llu reason=\"%s\"",
              (unsigned)fetch->part, (unsigned)(fetch->from & 0xff),
              (unsigned long long)fetch->offset, why);
    fetch_reset(fetch);
    install->host.done(install->host.arg, fetch->part, NULL, 0);
}

static void fetch_open(struct fetch *fetch, index_t base)
{
    fetch_reset(fetch);
    fetch->phase = FETCH_OPENING;
    fetch->base = base;
    fetch_ask(fetch);
}

void install_fetch(struct install *install, part_t part, uint64_t from, index_t index)
{
    CHECK(part < install->parts_count);
    struct fetch *fetch = &install->fetches[part];
    struct store *store = install->host.store(install->host.arg, part);
    bool serves =
        fetch->from == from && fetch->phase == FETCH_READING && fetch->staged_index >= index;
    fetch->from = from;
    fetch->wanted = index;
    fetch->unwanted = false;
    if (serves || fetch->phase == FETCH_FINISHING || install->closing) return;
    if (store == NULL) return;
    fetch_open(fetch, store_manifest(store)->index);
}

void install_cancel(struct install *install, part_t part)
{
    CHECK(part < install->parts_count);
    struct fetch *fetch = &install->fetches[part];
    fetch->unwanted = true;
    if (fetch->phase != FETCH_FINISHING) fetch_reset(fetch);
}

static void fetch_finished(void *arg, int err)
{
    struct fetch *fetch = arg;
    struct install *install = fetch->install;
    struct store_install *staged = fetch->staged;
    if (err == 0 && !fetch->unwanted && !install->closing && fetch->staged_index >= fetch->wanted) {
        fetch->staged = NULL;
        fetch_reset(fetch);
        install->host.done(install->host.arg, fetch->part, staged, fetch->staged_index);
    } else if (fetch->unwanted || install->closing) {
        fetch_reset(fetch);
    } else {
        fetch_fail(fetch, err == 0 ? "a later snapshot is wanted" : err_text(err));
    }
    if (install->closing) env_defer(install->env, &install->end);
}

/* Ask for the next bytes when pace and memory allow; otherwise the tick does. */
static void fetch_go_on(struct fetch *fetch)
{
    struct install *install = fetch->install;
    if (fetch->offset == fetch->bytes) {
        fetch->phase = FETCH_FINISHING;
        store_install_finish(fetch->staged, fetch_finished, fetch);
        return;
    }
    if (install->tokens < INSTALL_CHUNK_BYTES) return;
    if (store_install_backlog(fetch->staged) > BACKLOG_BYTES_MAX) return;
    install->tokens -= INSTALL_CHUNK_BYTES;
    fetch_ask(fetch);
}

static int opened_receive(struct install *install, struct fetch *fetch, struct reader *r)
{
    uint64_t id = read_u64(r);
    index_t base = read_u64(r);
    uint64_t bytes = read_u64(r);
    struct store_facts facts;
    facts_decode(r, &facts);
    if (!reader_done(r) || bytes == 0) return ERR_CORRUPT;
    if (fetch->phase != FETCH_OPENING || (base != fetch->base && base != 0)) return 0;
    if (facts.index < fetch->wanted) return 0;
    struct store *store = install->host.store(install->host.arg, fetch->part);
    if (store == NULL) return 0;
    int err = store_install_begin(store, &facts, base, &fetch->staged);
    if (err != 0) {
        fetch->staged = NULL;
        fetch_fail(fetch, err_text(err));
        return 0;
    }
    fetch->phase = FETCH_READING;
    fetch->id = id;
    fetch->bytes = bytes;
    fetch->offset = 0;
    fetch->staged_index = facts.index;
    fetch->asked = false;
    fetch->tries = 0;
    fetch_go_on(fetch);
    return 0;
}

static int data_receive(struct fetch *fetch, struct reader *r)
{
    uint64_t id = read_u64(r);
    uint64_t offset = read_u64(r);
    size_t bytes = reader_left(r);
    if (r->failed || bytes == 0 || bytes > INSTALL_CHUNK_BYTES) return ERR_CORRUPT;
    /* An answer to a request that was said again comes twice. */
    if (fetch->phase != FETCH_READING || id != fetch->id || offset != fetch->offset) return 0;
    if (bytes > fetch->bytes - fetch->offset) return ERR_CORRUPT;
    store_install_put(fetch->staged, read_bytes(r, bytes));
    fetch->offset += bytes;
    fetch->asked = false;
    fetch->tries = 0;
    fetch_go_on(fetch);
    return 0;
}

static int refused_receive(struct fetch *fetch, struct reader *r)
{
    uint64_t id = read_u64(r);
    int err = -(int)read_u32(r);
    if (!reader_done(r)) return ERR_CORRUPT;
    if (fetch->phase == FETCH_OPENING && id == 0 && err == ERR_RESET && fetch->base != 0)
        fetch_open(fetch, 0); /* What we have is too old to start from: a full copy. */
    else if ((fetch->phase == FETCH_OPENING && id == 0) ||
             (fetch->phase == FETCH_READING && id == fetch->id))
        fetch_fail(fetch, err_text(err));
    return 0;
}

static void fetch_tick(struct fetch *fetch, uint64_t now_ms)
{
    if (fetch->phase == FETCH_NONE || fetch->phase == FETCH_FINISHING) return;
    if (fetch->tries > TRIES_MAX)
        fetch_fail(fetch, "no answer");
    else if (fetch->asked && now_ms - fetch->asked_ms >= INSTALL_AGAIN_MS)
        fetch_ask(fetch);
    else if (!fetch->asked)
        fetch_go_on(fetch);
}

/* ---- the side that has them ---- */

static void lend_free(struct lend *lend)
{
    struct lend **at = &lend->install->lends;
    while (*at != lend)
        at = &(*at)->next;
    *at = lend->next;
    if (lend->delta != NULL) store_delta_release(lend->delta);
    buf_free(&lend->facts);
    free(lend);
}

static void lend_end(struct lend *lend)
{
    lend->over = true;
    if (lend->busy_count == 0) lend_free(lend);
}

/* One piece of its work is done. */
static void lend_rest(struct lend *lend)
{
    struct install *install = lend->install;
    CHECK(lend->busy_count > 0);
    lend->busy_count--;
    if (lend->over && lend->busy_count == 0) lend_free(lend);
    if (install->closing) env_defer(install->env, &install->end);
}

static void refuse(struct install *install, uint64_t to, part_t part, uint64_t id, int err)
{
    struct buf out = {0};
    buf_u16(&out, part);
    buf_u64(&out, id);
    buf_u32(&out, (uint32_t)-err);
    install->host.send(install->host.arg, to, INSTALL_REFUSED, buf_bytes(&out));
    buf_free(&out);
}

static void opened_send(struct lend *lend)
{
    struct buf out = {0};
    buf_u16(&out, lend->part);
    buf_u64(&out, lend->id);
    buf_u64(&out, lend->base);
    buf_u64(&out, store_delta_bytes(lend->delta));
    buf_put(&out, lend->facts.data, lend->facts.len);
    lend->install->host.send(lend->install->host.arg, lend->to, INSTALL_OPENED, buf_bytes(&out));
    buf_free(&out);
}

static void delta_made(void *arg, int err, struct store_delta *delta)
{
    struct lend *lend = arg;
    lend->delta = err == 0 ? delta : NULL;
    if (err == 0 && !lend->over) opened_send(lend);
    if (err != 0 && !lend->over) {
        refuse(lend->install, lend->to, lend->part, 0, err);
        lend->over = true;
    }
    lend_rest(lend);
}

static struct lend *lend_find(struct install *install, uint64_t to, part_t part)
{
    for (struct lend *l = install->lends; l != NULL; l = l->next)
        if (l->to == to && l->part == part && !l->over) return l;
    return NULL;
}

static unsigned lends_count(const struct install *install)
{
    unsigned count = 0;
    for (const struct lend *l = install->lends; l != NULL; l = l->next)
        count++;
    return count;
}

static int lend_make(struct install *install, uint64_t to, part_t part, index_t base,
                     struct store *store)
{
    struct lend *lend = mem_zero(sizeof(*lend));
    *lend = (struct lend){.install = install,
                          .to = to,
                          .part = part,
                          .base = base,
                          .id = env_random(install->env) | 1, /* 0 is none. */
                          .used_ms = env_now_ms(install->env),
                          .busy_count = 1,
                          .next = install->lends};
    install->lends = lend;
    facts_encode(store_manifest(store), &lend->facts);
    int err = store_delta_make(store, base, delta_made, lend);
    if (err == 0) return 0;
    lend->busy_count = 0;
    lend_free(lend);
    return err;
}

static int open_receive(struct install *install, uint64_t from, part_t part, struct reader *r)
{
    index_t base = read_u64(r);
    index_t at_least = read_u64(r);
    if (!reader_done(r)) return ERR_CORRUPT;
    struct store *store = install->host.store(install->host.arg, part);
    struct lend *lend = lend_find(install, from, part);
    if (lend != NULL && lend->base == base && lend->delta == NULL) return 0; /* Being made. */
    if (lend != NULL) lend_end(lend);
    int err = ERR_NOT_FOUND;
    if (install->closing || store == NULL || store_manifest(store)->index < at_least)
        err = ERR_NOT_FOUND;
    else if (lends_count(install) >= INSTALL_LENDS_MAX)
        err = ERR_BUSY;
    else
        err = lend_make(install, from, part, base, store);
    if (err != 0) refuse(install, from, part, 0, err);
    return 0;
}

static void read_work(struct env_work *work)
{
    struct lend_read *read = CONTAINER_OF(work, struct lend_read, work);
    read->err =
        store_delta_read(read->lend->delta, read->offset, read->data, read->bytes, &read->got);
}

static void read_done(struct env_work *work)
{
    struct lend_read *read = CONTAINER_OF(work, struct lend_read, work);
    struct lend *lend = read->lend;
    struct install *install = lend->install;
    if (read->err == 0 && read->got > 0 && !lend->over) {
        struct buf out = {0};
        buf_u16(&out, lend->part);
        buf_u64(&out, lend->id);
        buf_u64(&out, read->offset);
        buf_put(&out, read->data, read->got);
        install->host.send(install->host.arg, lend->to, INSTALL_DATA, buf_bytes(&out));
        buf_free(&out);
    } else if (!lend->over) {
        refuse(install, lend->to, lend->part, lend->id, read->err == 0 ? ERR_INVAL : read->err);
    }
    free(read);
    lend_rest(lend);
}

static int read_receive(struct install *install, uint64_t from, part_t part, struct reader *r)
{
    uint64_t id = read_u64(r);
    uint64_t offset = read_u64(r);
    if (!reader_done(r)) return ERR_CORRUPT;
    struct lend *lend = lend_find(install, from, part);
    if (lend == NULL || lend->id != id || lend->delta == NULL) {
        refuse(install, from, part, id, ERR_NOT_FOUND);
        return 0;
    }
    lend->used_ms = env_now_ms(install->env);
    if (lend->busy_count > 0) return 0; /* Said again while the first one is being read. */
    struct lend_read *read = mem_alloc(sizeof(*read) + INSTALL_CHUNK_BYTES);
    *read = (struct lend_read){.work = {.work = read_work, .done = read_done},
                               .lend = lend,
                               .offset = offset,
                               .bytes = INSTALL_CHUNK_BYTES};
    lend->busy_count++;
    env_work_submit(install->env, NULL, &read->work);
    return 0;
}

/* ---- both ---- */

int install_receive(struct install *install, uint64_t from, uint8_t kind, struct slice bytes)
{
    struct reader r = reader_of(bytes);
    part_t part = read_u16(&r);
    if (r.failed || part >= install->parts_count) return ERR_CORRUPT;
    struct fetch *fetch = &install->fetches[part];
    if (kind == INSTALL_OPEN) return open_receive(install, from, part, &r);
    if (kind == INSTALL_READ) return read_receive(install, from, part, &r);
    if (kind < INSTALL_OPEN || kind > INSTALL_REFUSED) return ERR_CORRUPT;
    if (fetch->from != from || install->closing) return 0;
    if (kind == INSTALL_OPENED) return opened_receive(install, fetch, &r);
    if (kind == INSTALL_DATA) return data_receive(fetch, &r);
    return refused_receive(fetch, &r);
}

void install_tick(struct install *install)
{
    uint64_t now_ms = env_now_ms(install->env);
    const uint64_t ticks_per_s = 20;
    install->tokens = INSTALL_BYTES_PER_S / ticks_per_s;
    for (unsigned i = 0; i < install->parts_count; i++)
        fetch_tick(&install->fetches[i], now_ms);
    for (struct lend *l = install->lends, *next; l != NULL; l = next) {
        next = l->next;
        if (l->busy_count == 0 && now_ms - l->used_ms > INSTALL_LEND_MS) lend_end(l);
    }
}

static void install_free(struct install *install)
{
    env_undefer(install->env, &install->end);
    free(install->fetches);
    free(install);
}

static void install_end(struct env_task *task)
{
    struct install *install = CONTAINER_OF(task, struct install, end);
    if (install->lends != NULL) return; /* lend_rest comes here again. */
    for (unsigned i = 0; i < install->parts_count; i++)
        if (install->fetches[i].phase == FETCH_FINISHING) return;
    void (*closed)(void *) = install->closed;
    void *arg = install->closed_arg;
    install_free(install);
    closed(arg);
}

void install_close(struct install *install, void (*closed)(void *arg), void *arg)
{
    CHECK(!install->closing);
    install->closing = true;
    install->closed = closed;
    install->closed_arg = arg;
    for (unsigned i = 0; i < install->parts_count; i++)
        if (install->fetches[i].phase != FETCH_FINISHING) fetch_reset(&install->fetches[i]);
    for (struct lend *l = install->lends, *next; l != NULL; l = next) {
        next = l->next;
        lend_end(l);
    }
    env_defer(install->env, &install->end);
}

void install_abandon(struct install *install)
{
    for (unsigned i = 0; i < install->parts_count; i++)
        fetch_reset(&install->fetches[i]);
    while (install->lends != NULL)
        lend_free(install->lends);
    install_free(install);
}
