/* raft/part_read.c -- linearizable reads of one partition, and whoever else waits for the proof
 * that this node still leads.
 *
 * Happy path: part_read puts the request into `fresh` -> a round is asked for -> part_claim, when
 * it begins, moves `fresh` to `asked` and notes what is committed -> part_confirmed moves `asked`
 * to `confirmed` -> when the noted index is applied, the query goes to the store.
 * Failure modes: leadership lost, or another term: all end with ERR_NOT_LEADER; nothing was done.
 * Invariants: what is in `asked` arrived before the open round began; `confirmed` is ordered by
 * index. */
#include "raft/part_impl.h"

static void waits_empty(struct part_waits *list)
{
    *list = (struct part_waits){.end = &list->first};
}

void waits_init(struct part *part)
{
    waits_empty(&part->fresh);
    waits_empty(&part->asked);
    waits_empty(&part->confirmed);
    waits_empty(&part->failed);
}

static void waits_push(struct part_waits *list, struct part_wait *wait)
{
    wait->next = NULL;
    *list->end = wait;
    list->end = &wait->next;
}

/* Append all of from to list. */
static void waits_move(struct part_waits *list, struct part_waits *from)
{
    if (from->first == NULL) return;
    *list->end = from->first;
    list->end = from->end;
    waits_empty(from);
}

static int wait_refusal(const struct part *part)
{
    if (part->ended) return ERR_CANCELED;
    if (part->stopped != 0) return part->stopped;
    if (gate_state(part->gate) != GATE_LEADER)
        return gate_leader(part->gate) != 0 ? ERR_NOT_LEADER : ERR_NO_LEADER;
    return part->waiting_count >= PART_WAITING_MAX ? ERR_BUSY : 0;
}

static void wait_start(struct part *part, struct part_wait *wait,
                       void (*go)(struct part_wait *wait, int err))
{
    *wait = (struct part_wait){.part = part, .go = go, .err = wait_refusal(part)};
    if (wait->err == ERR_BUSY) part->stats.busy_count++;
    part->waiting_count++;
    waits_push(wait->err == 0 ? &part->fresh : &part->failed, wait);
    part_defer(part);
}

/* ---- the four kinds ---- */

static void query_done(struct store_query *query, int err)
{
    struct part_read *req = CONTAINER_OF(query, struct part_read, query);
    struct part *part = req->wait.part;
    part->querying_count--;
    req->done(req, err);
}

static void read_go(struct part_wait *wait, int err)
{
    struct part_read *req = CONTAINER_OF(wait, struct part_read, wait);
    if (err != 0) {
        req->done(req, err);
        return;
    }
    wait->part->querying_count++;
    req->query.done = query_done;
    store_query(wait->part->store, &req->query);
}

void part_read(struct part *part, struct part_read *req)
{
    wait_start(part, &req->wait, read_go);
}

static void heads_done(struct store_heads *heads, int err)
{
    struct part_heads *req = CONTAINER_OF(heads, struct part_heads, heads);
    struct part *part = req->wait.part;
    part->querying_count--;
    req->done(req, err);
}

static void heads_go(struct part_wait *wait, int err)
{
    struct part_heads *req = CONTAINER_OF(wait, struct part_heads, wait);
    if (err != 0) {
        req->done(req, err);
        return;
    }
    wait->part->querying_count++;
    req->index = store_facts(wait->part->store)->index;
    req->heads.done = heads_done;
    store_heads(wait->part->store, &req->heads);
}

void part_heads(struct part *part, struct part_heads *req)
{
    wait_start(part, &req->wait, heads_go);
}

static void changed_done(struct store_changed *changed, int err)
{
    struct part_changed *req = CONTAINER_OF(changed, struct part_changed, changed);
    struct part *part = req->wait.part;
    part->querying_count--;
    req->done(req, err);
}

static void changed_go(struct part_wait *wait, int err)
{
    struct part_changed *req = CONTAINER_OF(wait, struct part_changed, wait);
    if (err != 0) {
        req->done(req, err);
        return;
    }
    wait->part->querying_count++;
    req->changed.done = changed_done;
    store_changed(wait->part->store, &req->changed);
}

void part_changed(struct part *part, struct part_changed *req)
{
    wait_start(part, &req->wait, changed_go);
}

static void confirm_go(struct part_wait *wait, int err)
{
    struct part_confirm *req = CONTAINER_OF(wait, struct part_confirm, wait);
    req->done(req, err);
}

void part_confirm(struct part *part, struct part_confirm *req)
{
    wait_start(part, &req->wait, confirm_go);
}

/* ---- rounds ---- */

void waits_ask(struct part *part)
{
    if (part->fresh.first != NULL && part_leads(part)) part->host.ask(part->host.arg, part->number);
}

bool part_claim(struct part *part, struct confirm_claim *out)
{
    if (!part_leads(part)) return false;
    *out = (struct confirm_claim){.term = gate_term(part->gate),
                                  .majority = part->voters_count / 2 + 1};
    for (unsigned i = 0; i < part->voters_count; i++) {
        if (part->voters[i] == part->config.self)
            out->self_votes = gate_settled(part->gate);
        else
            out->voters[out->voters_count++] = part->voters[i];
    }
    part->round_index = gate_commit(part->gate);
    part->round_term = out->term;
    part->round_ms = env_now_ms(part->env);
    waits_move(&part->asked, &part->fresh);
    return true;
}

void part_confirmed(struct part *part)
{
    if (!part_leads(part) || gate_term(part->gate) != part->round_term) return;
    part->confirmed_ms = part->round_ms;
    for (struct part_wait *wait = part->asked.first; wait != NULL; wait = wait->next)
        wait->index = part->round_index;
    waits_move(&part->confirmed, &part->asked);
    part_defer(part);
}

bool part_vouch(const struct part *part, term_t *term)
{
    if (part->gate == NULL || !gate_settled(part->gate)) return false;
    *term = gate_term(part->gate);
    return true;
}

void waits_run(struct part *part)
{
    index_t applied = store_facts(part->store)->index;
    struct part_wait *wait;
    while ((wait = part->confirmed.first) != NULL && wait->index <= applied && part_leads(part)) {
        part->confirmed.first = wait->next;
        if (part->confirmed.first == NULL) waits_empty(&part->confirmed);
        part->waiting_count--;
        part->stats.reads_count++;
        wait->go(wait, 0);
    }
}

void waits_fail(struct part *part, int err)
{
    struct part_waits all;
    waits_empty(&all);
    waits_move(&all, &part->confirmed);
    waits_move(&all, &part->asked);
    waits_move(&all, &part->fresh);
    for (struct part_wait *wait = all.first; wait != NULL; wait = wait->next)
        wait->err = err;
    waits_move(&part->failed, &all);
    if (part->failed.first != NULL) part_defer(part);
}

void waits_finish(struct part *part)
{
    struct part_wait *wait = part->failed.first;
    waits_empty(&part->failed);
    while (wait != NULL) {
        struct part_wait *next = wait->next;
        part->waiting_count--;
        wait->go(wait, wait->err);
        wait = next;
    }
}
