/* raft/part.c -- life, leadership and proposals of one partition; see part.h.
 *
 * Happy path of a transaction: part_txn copies it into the entry that gathers -> at the end of the
 * turn, or when the entry before it is committed, the entry is encoded and proposed -> the gate
 * reports it committed -> part_apply.c applies it and answers each transaction in order.
 * Failure modes: leadership lost: what was proposed and not yet reported committed ends with
 * ERR_UNKNOWN, what was not proposed with ERR_NOT_LEADER. Overload: ERR_BUSY before anything is
 * kept. This replica's history differs, or its rows are damaged: it stops, see part_stop.
 * Invariants: inflight is ordered by index, in one term; an entry is answered only if it was
 * committed at the index and in the term that it was proposed with. */
#include "raft/part.h"

#include <stdio.h>
#include <stdlib.h>

#include "raft/part_impl.h"

static void part_work(struct env_task *task);

static uint8_t node_of(uint64_t raft_id)
{
    return (uint8_t)(raft_id & 0xff);
}

void part_defer(struct part *part)
{
    env_defer(part->env, &part->work);
}

/* ---- batches ---- */

static void batches_init(struct part_batches *list)
{
    *list = (struct part_batches){.end = &list->first};
}

void batches_push(struct part_batches *list, struct part_batch *batch)
{
    batch->next = NULL;
    *list->end = batch;
    list->end = &batch->next;
    list->count++;
}

struct part_batch *batches_pop(struct part_batches *list)
{
    struct part_batch *batch = list->first;
    if (batch == NULL) return NULL;
    list->first = batch->next;
    if (list->first == NULL) list->end = &list->first;
    list->count--;
    return batch;
}

static struct part_batch *batch_create(void)
{
    struct part_batch *batch = mem_zero(sizeof *batch);
    batch->end = &batch->first;
    return batch;
}

void batch_free(struct part_batch *batch)
{
    entry_free(&batch->entry);
    buf_free(&batch->encoded);
    free(batch);
}

static void txn_end(struct part_txn *req, int err)
{
    req->done(req, err, NULL, err == ERR_BUSY ? PART_BUSY_MS : 0);
}

void batch_fail(struct part *part, struct part_batch *batch, int err)
{
    struct part_txn *req = batch->first;
    if (batch->index == 0) part->queued_bytes -= batch->bytes;
    batch_free(batch);
    while (req != NULL) {
        struct part_txn *next = req->next;
        txn_end(req, err);
        req = next;
    }
}

/* ---- transactions ---- */

/* No room for more entries, on this node or in this partition. */
static bool part_full(const struct part *part)
{
    return part->pressed || gate_log_bytes(part->gate) > PART_LOG_FACTOR * part->config.log_bytes;
}

static int txn_refusal(struct part *part, size_t txn_bytes)
{
    if (part->ended) return ERR_CANCELED;
    if (part->stopped != 0) return part->stopped;
    if (txn_bytes == 0) return ERR_INVAL;
    if (txn_bytes > TXN_BYTES_MAX) return ERR_TOO_BIG;
    if (gate_state(part->gate) != GATE_LEADER)
        return gate_leader(part->gate) != 0 ? ERR_NOT_LEADER : ERR_NO_LEADER;
    if (part->no_space) return ERR_NO_SPACE;
    if (part->queued_bytes + txn_bytes > PART_QUEUE_BYTES_MAX) return ERR_BUSY;
    return part_full(part) ? ERR_BUSY : 0;
}

void part_txn(struct part *part, struct part_txn *req)
{
    req->next = NULL;
    req->err = txn_refusal(part, req->txn.len);
    part_defer(part);
    if (req->err != 0) {
        if (req->err == ERR_BUSY) part->stats.busy_count++;
        *part->refused_end = req;
        part->refused_end = &req->next;
        return;
    }
    struct part_batch *batch = part->gathering;
    if (batch != NULL && !entry_fits(&batch->entry, req->txn.len)) {
        batches_push(&part->waiting, batch);
        batch = NULL;
    }
    if (batch == NULL) batch = batch_create();
    part->gathering = batch;
    entry_add(&batch->entry, req->txn);
    *batch->end = req;
    batch->end = &req->next;
    batch->bytes += req->txn.len;
    part->queued_bytes += req->txn.len;
}

static int compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* The median of the voters' clocks as last heard: one that is wrong moves it no further than to
 * its neighbour. Never less than the last entry's. */
static int64_t entry_time(struct part *part)
{
    int64_t times[GATE_MEMBERS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < part->voters_count; i++) {
        bool low;
        if (part->host.heard(part->host.arg, part->voters[i], &times[count], &low)) count++;
    }
    qsort(times, count, sizeof times[0], compare_times);
    int64_t last = store_facts(part->store)->time_ms;
    int64_t median = count == 0 ? last : times[(count - 1) / 2];
    return median > last ? median : last;
}

static unsigned uncommitted_count(const struct part *part)
{
    unsigned count = 0;
    for (const struct part_batch *b = part->inflight.first; b != NULL; b = b->next)
        if (b->index > part->committed) count++;
    return count;
}

static struct part_batch *batch_next(struct part *part)
{
    if (part->waiting.first != NULL) return part->waiting.first;
    return part->gathering;
}

static void part_propose(struct part *part)
{
    struct part_batch *batch;
    while (part->led_term != 0 && !part->changed && gate_ready(part->gate) &&
           !gate_transferring(part->gate) && part->inflight.count < PART_UNAPPLIED_MAX &&
           uncommitted_count(part) < PART_UNCOMMITTED_MAX && (batch = batch_next(part)) != NULL) {
        if (batch->encoded.len == 0) entry_close(&batch->entry, entry_time(part), &batch->encoded);
        if (batch == part->gathering) {
            part->gathering = NULL;
            batches_push(&part->waiting, batch);
        }
        index_t index;
        int err = gate_propose(part->gate, buf_bytes(&batch->encoded), &index);
        if (err != 0) return; /* changed() tells when to try again, or that leadership ended. */
        struct part_batch *first = batches_pop(&part->waiting);
        CHECK(first == batch);
        batch->index = index;
        batch->term = gate_term(part->gate);
        part->queued_bytes -= batch->bytes;
        buf_free(&batch->encoded);
        batches_push(&part->inflight, batch);
    }
}

/* ---- leadership ---- */

/* What the queues held for the term that we led in. What the gate already reported as committed is
 * going to be applied, and answered then. */
static void leadership_lost(struct part *part)
{
    part->led_term = 0;
    part->host.forget(part->host.arg, part->number);
    struct part_batches open = part->inflight, waiting = part->waiting;
    batches_init(&part->inflight);
    batches_init(&part->waiting);
    if (part->gathering != NULL) {
        if (waiting.first == NULL) waiting.end = &waiting.first;
        batches_push(&waiting, part->gathering);
        part->gathering = NULL;
    }
    struct part_batch *batch;
    while (open.first != NULL && open.first->index <= part->committed && part->stopped == 0) {
        batch = open.first;
        open.first = batch->next;
        batches_push(&part->inflight, batch);
    }
    while ((batch = open.first) != NULL) {
        open.first = batch->next;
        batch_fail(part, batch, ERR_UNKNOWN);
    }
    while ((batch = waiting.first) != NULL) {
        waiting.first = batch->next;
        batch_fail(part, batch, part->stopped != 0 ? part->stopped : ERR_NOT_LEADER);
    }
    waits_fail(part, part->stopped != 0 ? part->stopped : ERR_NOT_LEADER);
}

static void members_note(struct part *part)
{
    struct gate_member members[GATE_MEMBERS_MAX];
    size_t count = gate_members(part->gate, members);
    part->voters_count = 0;
    for (size_t i = 0; i < count; i++)
        if (members[i].role == GATE_VOTER) part->voters[part->voters_count++] = members[i].id;
}

/* Entries of ours that are not going to be applied here: a snapshot took their place, or this
 * replica stopped. Their outcomes are there, but not known to us. */
void inflight_fail(struct part *part)
{
    struct part_batch *batch;
    while ((batch = batches_pop(&part->inflight)) != NULL)
        batch_fail(part, batch, ERR_UNKNOWN);
}

static void part_settle(struct part *part)
{
    part->changed = false;
    term_t leads_in = 0;
    if (part->gate != NULL) {
        members_note(part);
        if (gate_state(part->gate) == GATE_LEADER) leads_in = gate_term(part->gate);
    }
    if (part->led_term != 0 && part->led_term != leads_in) leadership_lost(part);
    if (part->stopped != 0 && part->led_term == 0) inflight_fail(part);
    if (leads_in == 0 || part->led_term == leads_in) return;
    part->led_term = leads_in;
    part->stats.elections_count++;
    part->led_ms = part->confirmed_ms = env_now_ms(part->env);
}

bool part_leads(const struct part *part)
{
    return part->gate != NULL && part->stopped == 0 && gate_state(part->gate) == GATE_LEADER &&
           gate_ready(part->gate) && store_facts(part->store)->term == gate_term(part->gate);
}

static void leading_tell(struct part *part)
{
    bool leading = part_leads(part) && !part->ended &&
                   env_now_ms(part->env) - part->confirmed_ms <= part->config.election_ms;
    if (leading == part->told_leading) return;
    part->told_leading = leading;
    if (part->observer.leading != NULL) part->observer.leading(part->observer.arg, part, leading);
}

void part_stop(struct part *part, int err)
{
    if (part->stopped != 0) return;
    part->stopped = err;
    part->stopped_ms = env_now_ms(part->env);
    diag_error(part->diag, "part", "replica stopped serving part=%u index=%llu reason=\"%s\"",
               (unsigned)part->number, (unsigned long long)store_facts(part->store)->index,
               err_text(err));
    part->changed = true;
    (void)part_hand_over(part); /* When it cannot, the gate closes all the same: part_step_down. */
    part_defer(part);
}

/* A stopped replica must not lead, nor keep a log in memory that it never applies. */
static void part_step_down(struct part *part)
{
    bool leader = gate_state(part->gate) == GATE_LEADER;
    if (leader && env_now_ms(part->env) - part->stopped_ms < PART_STEP_DOWN_MS) return;
    if (part->fetching_count > 0 || part->install == INSTALL_COMMITTING)
        return; /* They read the gate's memory. */
    apply_drop(part);
    gate_close(part->gate);
    part->gate = NULL;
    part->changed = true;
    part_defer(part);
}

bool part_hand_over(struct part *part)
{
    if (part->gate == NULL || gate_state(part->gate) != GATE_LEADER) return false;
    return gate_transfer(part->gate, 0) == 0;
}

bool part_hand_to(struct part *part, uint64_t to, uint64_t calm_ms, index_t lag_max)
{
    if (!part_leads(part) || env_now_ms(part->env) - part->led_ms < calm_ms) return false;
    index_t match = gate_match(part->gate, to);
    if (match == 0 || match + lag_max < gate_last_index(part->gate)) return false;
    return gate_transfer(part->gate, to) == 0;
}

/* ---- the turn ---- */

static void refused_finish(struct part *part)
{
    struct part_txn *req = part->refused;
    part->refused = NULL;
    part->refused_end = &part->refused;
    while (req != NULL) {
        struct part_txn *next = req->next;
        txn_end(req, req->err);
        req = next;
    }
}

static void part_work(struct env_task *task)
{
    struct part *part = CONTAINER_OF(task, struct part, work);
    if (part->changed) part_settle(part);
    apply_run(part);
    if (part->gate != NULL) {
        part_propose(part);
        disk_run(part);
        waits_ask(part);
    }
    waits_run(part);
    waits_finish(part);
    refused_finish(part);
    leading_tell(part);
}

/* ---- the gate's host ---- */

static void host_send(void *arg, uint64_t to, struct slice message)
{
    struct part *part = arg;
    part->host.send(part->host.arg, part->number, to, message);
}

static size_t host_room(void *arg, uint64_t to)
{
    struct part *part = arg;
    return part->host.room(part->host.arg, to);
}

static void host_committed(void *arg, index_t index, term_t term, enum gate_entry type,
                           struct slice data)
{
    struct part *part = arg;
    apply_queue(part, index, term, type, data);
    part_defer(part);
}

static void host_changed(void *arg)
{
    struct part *part = arg;
    part->changed = true;
    part_defer(part);
}

static void host_snapshot_get(void *arg, index_t at_least)
{
    disk_snapshot_get(arg, at_least);
}

static void host_install(void *arg, uint64_t from, const struct gate_snapshot *snapshot)
{
    disk_install(arg, from, snapshot->index);
}

static void host_install_commit(void *arg, const struct gate_snapshot *snapshot)
{
    struct part *part = arg;
    CHECK(part->staged != NULL);
    CHECK(part->staged_index >= snapshot->index);
    disk_install_commit(part);
}

/* ---- life ---- */

int part_open(struct env *env, const struct part_config *config, struct part **out, char *why,
              size_t why_bytes)
{
    struct store *store;
    int err = store_open(env, &config->store, &store, why, why_bytes);
    if (err != 0) return err;
    struct part *part = mem_zero(sizeof *part);
    *part = (struct part){.env = env,
                          .diag = config->diag,
                          .store = store,
                          .host = config->host,
                          .config = *config,
                          .number = config->store.part,
                          .boot = boot_create(),
                          .manifest = store_manifest(store)->index,
                          .committed = store_facts(store)->index};
    part->config.store = (struct store_config){0};
    env_task_init(&part->work, ENV_PHASE_WORK, part_work);
    batches_init(&part->inflight);
    batches_init(&part->waiting);
    part->refused_end = &part->refused;
    part->apply_end = NULL;
    waits_init(part);
    *out = part;
    return 0;
}

int part_replayed(struct part *part, const struct wal_record *record, batch_t batch)
{
    CHECK(record->part == part->number);
    CHECK(part->boot != NULL);
    return boot_record(part->boot, store_manifest(part->store), record, batch);
}

bool part_blank(const struct part *part)
{
    CHECK(part->boot != NULL);
    return boot_blank(part->boot) && part->manifest == 0;
}

int part_start(struct part *part, struct wal *wal, const struct gate_member *members,
               size_t members_count)
{
    CHECK(part->gate == NULL);
    part->wal = wal;
    struct gate_config config = {.env = part->env,
                                 .wal = wal,
                                 .part = part->number,
                                 .self = part->config.self,
                                 .election_ms = part->config.election_ms,
                                 .heartbeat_ms = part->config.heartbeat_ms,
                                 .log_bytes = part->config.log_bytes,
                                 .rules = GATE_RULES_ALL,
                                 .host = {.send = host_send,
                                          .room = host_room,
                                          .committed = host_committed,
                                          .changed = host_changed,
                                          .snapshot_get = host_snapshot_get,
                                          .install = host_install,
                                          .install_commit = host_install_commit,
                                          .arg = part}};
    const struct store_facts *manifest = store_manifest(part->store);
    struct gate_boot boot = {.snapshot = {.index = manifest->index,
                                          .term = manifest->term,
                                          .configuration = manifest->configuration,
                                          .configuration_index = manifest->configuration_index},
                             .bootstrap = members,
                             .bootstrap_count = members_count};
    int err = boot_result(part->boot, &boot);
    if (err != 0) return err;
    struct buf facts = {0};
    facts_encode(manifest, &facts);
    boot.snapshot.data = buf_bytes(&facts);
    part->gate_knows = manifest->index;
    err = gate_open(&config, &boot, &part->gate);
    buf_free(&facts);
    boot_free(part->boot);
    part->boot = NULL;
    if (err != 0) return err;
    part->changed = true;
    part_defer(part);
    return 0;
}

void part_end(struct part *part)
{
    part->ended = true;
    if (part->led_term != 0) leadership_lost(part);
    waits_fail(part, ERR_CANCELED);
    leading_tell(part);
    part->observer = (struct part_observer){0};
    part_defer(part);
}

bool part_idle(const struct part *part)
{
    return part->waiting_count == 0 && part->querying_count == 0 && part->inflight.count == 0 &&
           part->waiting.count == 0 && part->gathering == NULL && part->refused == NULL &&
           !part->work.queued;
}

static void batches_drop(struct part_batches *list)
{
    struct part_batch *batch;
    while ((batch = batches_pop(list)) != NULL)
        batch_free(batch);
}

static void part_free(struct part *part)
{
    env_undefer(part->env, &part->work);
    apply_drop(part);
    batches_drop(&part->inflight);
    batches_drop(&part->waiting);
    if (part->gathering != NULL) batch_free(part->gathering);
    boot_free(part->boot);
    free(part);
}

void part_close(struct part *part)
{
    if (part->staged != NULL) store_install_cancel(part->staged);
    store_close(part->store);
    if (part->gate != NULL) gate_close(part->gate);
    part_free(part);
}

void part_abandon(struct part *part)
{
    store_abandon(part->store);
    if (part->gate != NULL) gate_close(part->gate);
    part_free(part);
}

/* ---- from the node ---- */

static void low_note(struct part *part)
{
    unsigned low_count = 0;
    bool low_self = false;
    for (unsigned i = 0; i < part->voters_count; i++) {
        int64_t wall_ms;
        bool low = false;
        if (!part->host.heard(part->host.arg, part->voters[i], &wall_ms, &low) || !low) continue;
        low_count++;
        if (part->voters[i] == part->config.self) low_self = true;
    }
    unsigned majority = part->voters_count / 2 + 1;
    bool was = part->no_space;
    part->no_space = part->voters_count - low_count < majority;
    /* Ours alone is full: somebody else can lead. */
    if (low_self && !part->no_space && part->led_term != 0) (void)part_hand_over(part);
    if (was == part->no_space || part->led_term == 0) return;
    diag_warn(part->diag, "part", "%s part=%u full=%u voters=%u",
              part->no_space ? "writes refused, disks are full" : "writes taken again",
              (unsigned)part->number, low_count, part->voters_count);
}

static void history_tick(struct part *part)
{
    const struct store_facts *facts = store_facts(part->store);
    uint64_t now_ms = env_now_ms(part->env);
    if (facts->index != part->told_index && now_ms - part->told_ms >= PART_TELL_MS) {
        part->told_index = facts->index;
        part->told_ms = now_ms;
        part->host.tell(part->host.arg, part->number, facts->index, facts->history);
    }
    index_t at;
    if (history_diverged(&part->history, part->voters, part->voters_count, &at)) {
        diag_error(part->diag, "part", "history differs from the majority's part=%u index=%llu",
                   (unsigned)part->number, (unsigned long long)at);
        part_stop(part, ERR_DIVERGED);
    }
}

void part_tick(struct part *part)
{
    if (part->gate == NULL) return;
    if (part->stopped != 0) {
        part_step_down(part);
        if (part->gate == NULL) return;
    }
    gate_tick(part->gate);
    low_note(part);
    disk_tick(part);
    if (part->stopped == 0) history_tick(part);
    /* Tails need a fresh confirmation also when nobody reads. */
    if (part_leads(part) && part->stopped == 0 &&
        env_now_ms(part->env) - part->confirmed_ms >= part->config.election_ms / 2)
        part->host.ask(part->host.arg, part->number);
    leading_tell(part);
}

void part_receive(struct part *part, struct slice message)
{
    if (part->gate == NULL) return;
    /* What is dropped here is sent again: a follower that is slow slows its leader's log down. */
    if (message.len > PART_SMALL_MESSAGE_BYTES && part_full(part)) return;
    gate_receive(part->gate, message);
}

void part_press(struct part *part, bool pressed)
{
    part->pressed = pressed;
}

void part_durable(struct part *part, batch_t durable)
{
    if (part->gate != NULL) gate_durable(part->gate, durable);
}

void part_heard(struct part *part, uint64_t from, index_t index, uint64_t history)
{
    history_heard(&part->history, from, index, history);
}

void part_observe(struct part *part, const struct part_observer *observer)
{
    CHECK(part->observer.leading == NULL);
    part->observer = *observer;
    part->told_leading = false;
    part_defer(part);
}

struct store *part_store(struct part *part)
{
    return part->store;
}

struct gate *part_gate(struct part *part)
{
    return part->gate;
}

part_t part_number(const struct part *part)
{
    return part->number;
}

enum part_role part_role(const struct part *part)
{
    if (part->gate == NULL) return PART_FOLLOWER;
    switch (gate_state(part->gate)) {
        case GATE_LEADER:
            return PART_LEADER;
        case GATE_CANDIDATE:
            return PART_CANDIDATE;
        default:
            return PART_FOLLOWER;
    }
}

uint8_t part_leader_node(const struct part *part)
{
    return part->gate == NULL ? 0 : node_of(gate_leader(part->gate));
}

term_t part_term(const struct part *part)
{
    return part->gate == NULL ? 0 : gate_term(part->gate);
}

index_t part_applied(const struct part *part)
{
    return store_facts(part->store)->index;
}

void part_stats(const struct part *part, struct part_stats *out)
{
    *out = part->stats;
    out->queued_bytes = part->queued_bytes;
    out->waiting_count = part->waiting_count;
    out->stopped = part->stopped;
    if (part->gate == NULL) return;
    out->commit = gate_commit(part->gate);
    out->last = gate_last_index(part->gate);
    out->log_bytes = gate_log_bytes(part->gate);
}
