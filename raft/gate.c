/* raft/gate.c -- calls from the host, and what follows each entry into libraft.
 *
 * Happy path of a leader: gate_propose -> libraft appends (WAL) and sends (pieces) -> followers
 * append, their WAL syncs, they answer -> our own append's callback, held until a quorum has the
 * entry (F5), lets libraft commit and apply -> host.committed. Every call of the host ends in
 * gate_after, which hands out all callbacks that are due, until nothing moves any more.
 *
 * Failure: a crash at any point finds what the WAL holds; nothing else is kept. What libraft is
 * never told (a failed write) stops the process. Messages are lost as a network may lose them.
 *
 * Invariants: gate_check. */
#include "raft/gate.h"

#include <limits.h>
#include <stdlib.h>

#include "raft/gate_impl.h"

enum { PROGRESS_SNAPSHOT = 2 }; /* libraft's src/progress.h. */

static int err_from_raft(int rv)
{
    switch (rv) {
        case 0:
            return 0;
        case RAFT_NOTLEADER:
            return ERR_NOT_LEADER;
        case RAFT_BADID:
        case RAFT_NOTFOUND:
            return ERR_NOT_FOUND;
        case RAFT_DUPLICATEID:
        case RAFT_DUPLICATEADDRESS:
        case RAFT_BADROLE:
            return ERR_EXISTS;
        case RAFT_CANTCHANGE:
            return ERR_BUSY;
        default:
            return ERR_INVAL;
    }
}

/* ---- what follows each entry into libraft ---- */

/* F5: libraft tests its last stored index only when it looks for what a quorum has; with appends
 * in flight all the time it never finds any. So an append counts as stored here once a quorum has
 * its last entry. Not before our log ends in our own term: that is what F1 waits for. */
static bool quorum_has(const struct gate *gate, index_t end)
{
    const struct raft *r = &gate->raft;
    if (!gate_on(gate, GATE_F5) || r->state != RAFT_LEADER) return true;
    if (gate_term_of(gate, r->last_stored) != r->current_term) return true;
    unsigned voters = 0, have = 0;
    for (unsigned i = 0; i < r->configuration.n; i++) {
        const struct raft_server *server = &r->configuration.servers[i];
        if (server->role != RAFT_VOTER) continue;
        voters++;
        if (server->id == r->id || r->leader_state.progress[i].match_index >= end) have++;
    }
    return have > voters / 2;
}

static bool after_appends(struct gate *gate)
{
    struct gate_appends *a = &gate->appends;
    if (a->durable_count == 0 || !quorum_has(gate, a->items[a->front].end)) return false;
    struct gate_append append;
    gate_appends_pop(gate, &append);
    append.req->cb(append.req, 0);
    return true;
}

bool gate_after_sends(struct gate *gate)
{
    struct gate_sent *sent = gate->sent;
    if (sent == NULL) return false;
    gate->sent = sent->next;
    if (gate->sent == NULL) gate->sent_tail = &gate->sent;
    sent->req->cb(sent->req, sent->status);
    free(sent);
    return true;
}

/* Shipments whose peer has them, or that nobody waits for any more. */
static bool after_shipments(struct gate *gate)
{
    const struct raft *r = &gate->raft;
    for (struct gate_shipment **at = &gate->shipments; *at != NULL; at = &(*at)->next) {
        struct gate_shipment *s = *at;
        unsigned i = gate_member_at(gate, s->to);
        if (r->state == RAFT_LEADER && i < r->configuration.n &&
            r->leader_state.progress[i].state == PROGRESS_SNAPSHOT) {
            continue;
        }
        *at = s->next;
        gate_send_done(gate, s->req, 0);
        free(s);
        return true;
    }
    return false;
}

/* Only a leader waits for snapshots: what it asked for in an earlier term is void, and must not
 * gather while the host cannot make one. */
static bool after_gets(struct gate *gate)
{
    if (gate->gets_count == 0 || gate->raft.state == RAFT_LEADER) return false;
    struct raft_io_snapshot_get *get = gate->gets[--gate->gets_count];
    get->cb(get, NULL, RAFT_CANCELED);
    return true;
}

/* libraft's own snapshot is "stored": it drops the entries up to trim_index from memory. */
static bool after_trim(struct gate *gate)
{
    struct raft_io_snapshot_put *req = gate->trim;
    if (req == NULL) return false;
    gate->trim = NULL;
    gate->log_bytes -= gate_entries_bytes(gate, gate->raft.log.offset + 1, gate->trim_index);
    req->cb(req, 0);
    CHECK(gate->raft.log.offset == gate->trim_index);
    return true;
}

/* Runs inside libraft, which may be tearing leadership down. */
static void barrier_done(struct raft_barrier *barrier, int status)
{
    struct gate *gate = barrier->data;
    gate->barrier_busy = false;
    if (status == 0) gate->ready_term = gate->led_term;
}

/* F1: libraft has no entry of its own at the beginning of a term, and no callback that tells of
 * leadership. */
static bool after_election(struct gate *gate)
{
    struct raft *r = &gate->raft;
    if (r->state != RAFT_LEADER || gate->led_term == r->current_term) return false;
    if (gate->barrier_busy || r->transfer != NULL) return false;
    gate->led_term = r->current_term;
    gate->barrier.data = gate;
    gate->barrier_busy = true;
    CHECK(raft_barrier(r, &gate->barrier, barrier_done) == 0);
    return true;
}

/* May libraft shrink its log in memory with the next entry it applies? It asks fsm_snapshot. */
static void aim_trim(struct gate *gate)
{
    struct raft *r = &gate->raft;
    r->snapshot.threshold = UINT_MAX;
    size_t budget = gate->config.log_bytes;
    if (gate->log_bytes <= budget || gate->checkpointed <= r->log.offset) return;
    /* A peer that installs needs what follows its snapshot; wait for it within reason. */
    if (gate->shipments != NULL && gate->log_bytes < 2 * budget) return;
    r->snapshot.threshold = 1;
}

static void ask_snapshot(struct gate *gate)
{
    if (gate->gets_count == 0 || gate->get_asked) return;
    gate->get_asked = true;
    const struct gate_host *host = &gate->config.host;
    host->snapshot_get(host->arg, gate->raft.log.snapshot.last_index);
}

/* A configuration of libraft's as bytes, into out. */
static void encode_members(const struct raft_configuration *c, struct buf *out)
{
    struct gate_member members[GATE_MEMBERS_MAX];
    CHECK(c->n <= GATE_MEMBERS_MAX);
    for (unsigned i = 0; i < c->n; i++) {
        members[i] = (struct gate_member){c->servers[i].id, (enum gate_role)c->servers[i].role};
    }
    gate_configuration_encode(out, members, c->n);
}

static void tell_install(struct gate *gate)
{
    if (!gate->fetching || gate->fetch_told) return;
    gate->fetch_told = true;
    const struct raft_install_snapshot *s = &gate->fetch.install_snapshot;
    struct buf configuration = {0};
    encode_members(&s->conf, &configuration);
    struct gate_snapshot snapshot = {.index = s->last_index,
                                     .term = s->last_term,
                                     .configuration = buf_bytes(&configuration),
                                     .configuration_index = s->conf_index,
                                     .data = {s->data.base, s->data.len}};
    const struct gate_host *host = &gate->config.host;
    host->install(host->arg, gate->fetch.server_id, &snapshot);
    buf_free(&configuration);
}

/* The put that libraft just asked for: the host makes it durable. */
static bool tell_commit(struct gate *gate)
{
    if (gate->put_snapshot == NULL) return false;
    const struct raft_snapshot *s = gate->put_snapshot;
    gate->put_snapshot = NULL;
    gate->configuration.len = 0;
    encode_members(&s->configuration, &gate->configuration);
    gate->configuration_index = s->configuration_index;
    gate->reported = s->index;
    struct gate_snapshot snapshot = {.index = s->index,
                                     .term = s->term,
                                     .configuration = buf_bytes(&gate->configuration),
                                     .configuration_index = s->configuration_index,
                                     .data = {s->bufs[0].base, s->bufs[0].len}};
    const struct gate_host *host = &gate->config.host;
    host->install_commit(host->arg, &snapshot);
    return true;
}

static void tell_changed(struct gate *gate)
{
    const struct raft *r = &gate->raft;
    struct gate_seen now;
    memset(&now, 0, sizeof(now)); /* Compared whole, padding included. */
    now.state = r->state;
    now.term = r->current_term;
    now.leader = gate_leader(gate);
    now.ready = gate_ready(gate);
    now.transferring = r->transfer != NULL;
    now.changing = gate->change_busy;
    now.installing = gate_installing(gate);
    now.configuration = r->configuration_index;
    now.uncommitted = r->configuration_uncommitted_index;
    if (memcmp(&now, &gate->seen, sizeof(now)) == 0) return;
    gate->seen = now;
    gate->config.host.changed(gate->config.host.arg);
}

/* Hand out all callbacks that are due, each of which may make others due. */
void gate_after(struct gate *gate)
{
    CHECK(gate->inside);
    bool moved = true;
    while (moved) {
        CHECK(gate->raft.state != RAFT_UNAVAILABLE);
        if (gate->put == NULL) gate_report(gate, gate->raft.last_applied);
        moved = gate_after_sends(gate) || after_trim(gate) || after_appends(gate) ||
                after_election(gate) || after_shipments(gate) || after_gets(gate) ||
                tell_commit(gate) || gate_admit(gate);
    }
    gate_flush(gate);
    aim_trim(gate);
    ask_snapshot(gate);
    tell_install(gate);
    tell_changed(gate);
    gate->inside = false;
}

static void enter(struct gate *gate)
{
    CHECK(!gate->inside);
    CHECK(!gate->closing);
    gate->inside = true;
}

/* ---- calls of the host ---- */

/* F8: a sole voter whose timer runs out becomes leader in the term it is in, which may have had
 * a leader: it shall be a new term. */
static void raise_sole_voter(struct gate *gate)
{
    struct raft *r = &gate->raft;
    if (!gate_on(gate, GATE_F8) || r->state != RAFT_FOLLOWER || !gate_sole_voter(gate)) return;
    uint64_t waited = env_now_ms(gate->config.env) - r->election_timer_start;
    if (waited < r->follower_state.randomized_election_timeout) return;
    gate_write_vote(gate, r->current_term + 1, gate->config.self);
    r->current_term = gate->disk_term;
    r->voted_for = gate->disk_vote;
}

void gate_tick(struct gate *gate)
{
    enter(gate);
    /* F4: no candidacy over appends or an install in flight. A leader ticks on. */
    bool busy = gate_appends_in_flight(gate) > 0 || gate->put != NULL;
    if (gate->get_again) gate->get_asked = gate->get_again = false;
    if (!(gate_on(gate, GATE_F4) && gate->raft.state == RAFT_FOLLOWER && busy)) {
        raise_sole_voter(gate);
        gate->tick(&gate->io);
    }
    gate_after(gate);
}

void gate_receive(struct gate *gate, struct slice message)
{
    enter(gate);
    struct gate_arrival *arrival = mem_zero(sizeof(*arrival));
    struct gate_envelope envelope;
    bool good = gate_msg_decode(message, &envelope, &arrival->message) == 0;
    bool ours = good && envelope.to == gate->config.self && envelope.part == gate->config.part &&
                envelope.from != gate->config.self;
    if (ours) {
        gate->stats.received_count++;
        arrival->installing = envelope.installing;
        arrival->bytes = message.len + sizeof(*arrival);
        gate_arrive(gate, arrival);
    } else {
        gate->stats.refused_count++;
        if (good) gate_msg_free(&arrival->message);
        free(arrival);
    }
    gate_after(gate);
}

void gate_durable(struct gate *gate, batch_t durable)
{
    enter(gate);
    CHECK(durable >= gate->durable);
    gate->durable = durable;
    struct gate_appends *a = &gate->appends;
    while (a->durable_count < a->count) {
        size_t at = (a->front + a->durable_count) & (a->capacity - 1);
        if (a->items[at].batch > durable) break;
        a->durable_count++;
    }
    gate_after(gate);
}

static void apply_done(struct raft_apply *req, int status, void *result)
{
    (void)status; /* The host learns what became of it by committed(). */
    (void)result;
    free(req);
}

int gate_propose(struct gate *gate, struct slice data, index_t *index)
{
    struct raft *r = &gate->raft;
    CHECK(data.len >= 1 && data.len <= ENTRY_BYTES_MAX);
    if (r->state != RAFT_LEADER) return ERR_NOT_LEADER;
    if (!gate_ready(gate) || r->transfer != NULL) return ERR_BUSY;
    enter(gate);
    struct raft_apply *req = mem_zero(sizeof(*req));
    struct raft_buffer buffer = {gate_copy(data.data, data.len), data.len};
    *index = gate_last_index(gate) + 1;
    CHECK(raft_apply(r, req, &buffer, 1, apply_done) == 0);
    gate_after(gate);
    return 0;
}

int gate_transfer(struct gate *gate, uint64_t to)
{
    struct raft *r = &gate->raft;
    if (r->state != RAFT_LEADER) return ERR_NOT_LEADER;
    if (!gate_ready(gate) || r->transfer != NULL) return ERR_BUSY;
    enter(gate);
    int rv = raft_transfer(r, &gate->transfer, to, NULL);
    gate_after(gate);
    return err_from_raft(rv);
}

/* ---- membership ---- */

/* Rule 14: libraft checks only that it knows of no uncommitted change, which it forgets with a
 * restart; what an own-term entry committed is certain. */
static int may_change(const struct gate *gate)
{
    const struct raft *r = &gate->raft;
    if (r->state != RAFT_LEADER) return ERR_NOT_LEADER;
    if (gate_on(gate, GATE_F14) && !gate_ready(gate)) return ERR_BUSY;
    if (r->transfer != NULL || gate->change_busy) return ERR_BUSY;
    return r->configuration_uncommitted_index != 0 ? ERR_BUSY : 0;
}

/* Runs inside libraft. */
static void change_done(struct raft_change *change, int status)
{
    struct gate *gate = change->data;
    (void)status; /* gate_members tells. */
    gate->change_busy = false;
}

/* After a membership call of libraft that returned rv. */
static int changed(struct gate *gate, int rv)
{
    if (rv == 0) gate->change_busy = true;
    gate_after(gate);
    return err_from_raft(rv);
}

int gate_member_add(struct gate *gate, uint64_t id)
{
    int rv = may_change(gate);
    if (rv != 0) return rv;
    if (id == 0 || gate->raft.configuration.n >= GATE_MEMBERS_MAX) return ERR_INVAL;
    if (gate_member_at(gate, id) < gate->raft.configuration.n) return ERR_EXISTS;
    char address[GATE_ADDRESS_BYTES];
    gate_address(id, address);
    enter(gate);
    gate->change.data = gate;
    return changed(gate, raft_add(&gate->raft, &gate->change, id, address, change_done));
}

int gate_member_assign(struct gate *gate, uint64_t id, enum gate_role role)
{
    int rv = may_change(gate);
    if (rv != 0) return rv;
    unsigned at = gate_member_at(gate, id);
    if (at == gate->raft.configuration.n) return ERR_NOT_FOUND;
    if (gate->raft.configuration.servers[at].role == (int)role) return ERR_EXISTS;
    if (id == gate->config.self || role > GATE_SPARE) return ERR_INVAL;
    enter(gate);
    gate->change.data = gate;
    return changed(gate, raft_assign(&gate->raft, &gate->change, id, (int)role, change_done));
}

int gate_member_remove(struct gate *gate, uint64_t id)
{
    int rv = may_change(gate);
    if (rv != 0) return rv;
    if (gate_member_at(gate, id) == gate->raft.configuration.n) return ERR_NOT_FOUND;
    if (id == gate->config.self) return ERR_INVAL;
    enter(gate);
    gate->change.data = gate;
    return changed(gate, raft_remove(&gate->raft, &gate->change, id, change_done));
}

/* ---- snapshots ---- */

void gate_checkpointed(struct gate *gate, index_t index)
{
    enter(gate);
    CHECK(index <= gate->reported);
    if (index > gate->checkpointed) {
        gate->checkpointed = index;
        wal_release(gate->config.wal, gate->config.part, index);
    }
    gate_after(gate);
}

void gate_snapshot_ready(struct gate *gate, const struct gate_snapshot *snapshot)
{
    enter(gate);
    CHECK(gate->get_asked);
    if (snapshot != NULL && snapshot->index >= gate->raft.log.snapshot.last_index) {
        CHECK(snapshot->data.len <= GATE_SNAPSHOT_DATA_MAX);
        gate->get_asked = false;
        size_t count = gate->gets_count;
        struct raft_io_snapshot_get *gets[GATE_MEMBERS_MAX];
        memcpy(gets, gate->gets, sizeof(gets));
        gate->gets_count = 0;
        for (size_t i = 0; i < count; i++) {
            gets[i]->cb(gets[i], gate_snapshot_copy(snapshot), 0);
        }
    } else {
        gate->get_again = true; /* With the next tick. */
    }
    gate_after(gate);
}

void gate_install_ready(struct gate *gate, bool ok)
{
    enter(gate);
    CHECK(gate->fetching);
    gate->fetching = false;
    if (ok) {
        struct gate_arrival *arrival = mem_zero(sizeof(*arrival));
        arrival->message = gate->fetch;
        arrival->fetched = gate->fetched = true;
        arrival->bytes = sizeof(*arrival) + gate->fetch.install_snapshot.data.len;
        gate_arrive(gate, arrival);
    } else {
        gate_msg_free(&gate->fetch);
    }
    gate_after(gate);
}

void gate_install_done(struct gate *gate)
{
    enter(gate);
    CHECK(gate->put != NULL);
    struct raft_io_snapshot_put *req = gate->put;
    gate->put = NULL;
    gate->checkpointed = gate->reported;
    /* The manifest voids all entries before it; this one lets the WAL drop those above, too. */
    struct wal_record record = {
        .kind = WAL_TRUNCATE, .part = gate->config.part, .index = gate->reported + 1};
    (void)wal_append(gate->config.wal, &record);
    wal_release(gate->config.wal, gate->config.part, gate->reported);
    /* F10: libraft keeps the index of a change that the snapshot overtook, and as a leader would
     * wait for ever for it to be committed. */
    if (gate_on(gate, GATE_F10)) gate->raft.configuration_uncommitted_index = 0;
    req->cb(req, 0);
    gate_after(gate);
}
