/* raft/part.c -- life, leadership and the turn of one partition; see part.h.
 *
 * What callbacks of the gate, the store and the node collect, part_work acts upon at the end of the
 * turn: leadership first, then applying, proposing, the disk, reads.
 * Failure modes: leadership lost: open requests end (part_propose.c, part_read.c). This replica's
 * history differs, or its rows are damaged: it stops, see part_stop. */
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

/* ---- leadership ---- */

/* What the queues held for the term that we led in. What the gate already reported as committed is
 * going to be applied, and answered then. */
static void leadership_lost(struct part *part)
{
    part->led_term = 0;
    part->host.forget(part->host.arg, part->number);
    propose_lost(part);
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

static void part_settle(struct part *part)
{
    part->changed = false;
    term_t leads_in = 0;
    if (part->gate != NULL) {
        members_note(part);
        if (gate_state(part->gate) == GATE_LEADER) leads_in = gate_term(part->gate);
    }
    if (part->led_term != 0 && part->led_term != leads_in) leadership_lost(part);
    if (part->stopped != 0 && part->led_term == 0) propose_fail(part);
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

static void part_work(struct env_task *task)
{
    struct part *part = CONTAINER_OF(task, struct part, work);
    if (part->changed) part_settle(part);
    apply_run(part);
    if (part->gate != NULL) {
        propose_run(part);
        disk_run(part);
        waits_ask(part);
    }
    waits_run(part);
    waits_finish(part);
    propose_finish(part);
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
    propose_init(part);
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
    return part->waiting_count == 0 && part->querying_count == 0 && propose_idle(part) &&
           !part->work.queued;
}

static void part_free(struct part *part)
{
    env_undefer(part->env, &part->work);
    apply_drop(part);
    propose_free(part);
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
    if (message.len > PART_SMALL_MESSAGE_BYTES && propose_full(part)) return;
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
