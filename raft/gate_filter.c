/* raft/gate_filter.c -- the rules about messages: what comes in, what goes out.
 *
 * In:  a message waits while its sender has one waiting (links deliver in order, and so do we),
 *      or while F1 or F4 forbid it; then it is corrected (F3, F6, F9, F10, F15, F18), libraft's
 *      view is mended for it (F11, F13), and libraft gets it.
 * Out: libraft's answer is corrected (F2, F6, F9, F12), entries are cut into pieces (F18), and
 *      the bytes wait until term and vote behind them are durable (GATE_VOTE).
 * Every correction keeps a message one that a correct peer could have sent. */
#include <stdlib.h>

#include "raft/gate_impl.h"

enum { PROGRESS_PROBE = 0 }; /* libraft's src/progress.h. */

/* What entries leave free of a link's room: a heartbeat or a vote that finds none would cost an
 * election. It holds a thousand of them. */
enum { ROOM_RESERVE_BYTES = 64 * 1024 };

/* ---- out ---- */

void gate_verified(struct gate *gate, term_t term, index_t index)
{
    if (gate->verified_term != term) {
        gate->verified_term = term;
        gate->verified = 0;
    }
    if (index > gate->verified) gate->verified = index;
}

/* Does message, being delivered now, come from the leader of term, and up to where does it show
 * that our log equals its? */
static index_t shown_by(const struct raft_message *message, term_t term)
{
    if (message == NULL) return 0;
    if (message->type == RAFT_IO_APPEND_ENTRIES && message->append_entries.term == term) {
        return message->append_entries.prev_log_index + message->append_entries.n_entries;
    }
    if (message->type == RAFT_IO_INSTALL_SNAPSHOT && message->install_snapshot.term == term) {
        return message->install_snapshot.last_index;
    }
    return 0;
}

/* F2: libraft acknowledges last_stored, a tail of older terms included that was never compared
 * with this leader's log, which then counts it as replicated. What is committed is in every later
 * leader's log, so it may be acknowledged (F9): a leader that believes less of us, and has
 * compacted what lies between, would send installs for ever. */
static void correct_acknowledgement(struct gate *gate, struct raft_append_entries_result *result)
{
    index_t commit = gate->raft.commit_index;
    gate_verified(gate, result->term, shown_by(gate->current, result->term));
    gate_verified(gate, result->term, commit);
    if (gate_on(gate, GATE_F2) && result->last_log_index > gate->verified) {
        result->last_log_index = gate->verified;
    }
    if (gate_on(gate, GATE_F9) && result->last_log_index < commit) {
        result->last_log_index = commit;
    }
}

/* F6: last_log_index of a rejection is a hint where to try next. No entry of ours with a term
 * above the leader's at the rejected place can be in the leader's log before it: skip them all. */
static void correct_rejection(struct gate *gate, struct raft_append_entries_result *result)
{
    const struct raft_message *m = gate->current;
    if (!gate_on(gate, GATE_F6) || m == NULL || m->type != RAFT_IO_APPEND_ENTRIES) return;
    if (m->append_entries.prev_log_index != result->rejected) return;
    index_t hint = result->rejected - 1;
    if (hint > result->last_log_index) hint = result->last_log_index;
    while (hint > gate->raft.commit_index &&
           gate_term_of(gate, hint) > m->append_entries.prev_log_term) {
        hint--;
    }
    result->last_log_index = hint;
}

/* F12: a refusal of a pre-vote echoes the candidate's term, so that a candidate whose term is
 * behind never learns of the higher one that keeps it from winning. */
static void correct_vote_result(struct gate *gate, struct raft_request_vote_result *result)
{
    if (!gate_on(gate, GATE_F12)) return;
    if (result->pre_vote != raft_tribool_true || result->vote_granted) return;
    if (result->term < gate->raft.current_term) result->term = gate->raft.current_term;
}

static void keep(struct gate *gate, uint64_t to, struct slice bytes)
{
    if (gate->parcels_bytes + bytes.len > GATE_HELD_BYTES_MAX) {
        gate->stats.dropped_count++;
        return;
    }
    struct gate_parcel *p = mem_alloc(sizeof(*p) + bytes.len);
    p->to = to;
    p->bytes = bytes.len;
    p->next = NULL;
    memcpy(p->data, bytes.data, bytes.len);
    *gate->parcels_tail = p;
    gate->parcels_tail = &p->next;
    gate->parcels_bytes += bytes.len;
    gate->stats.held_count++;
}

static void pass(struct gate *gate, uint64_t to, struct slice bytes)
{
    gate->stats.sent_count++;
    gate->config.host.send(gate->config.host.arg, to, bytes);
}

void gate_flush(struct gate *gate)
{
    while (gate->parcels != NULL && gate_settled(gate)) {
        struct gate_parcel *p = gate->parcels;
        gate->parcels = p->next;
        if (gate->parcels == NULL) gate->parcels_tail = &gate->parcels;
        gate->parcels_bytes -= p->bytes;
        pass(gate, p->to, (struct slice){p->data, p->bytes});
        free(p);
    }
}

/* Rule GATE_VOTE: libraft wants set_term and set_vote durable before they return. We append them
 * to the WAL instead, and nothing that could depend on them leaves before they are on disk. */
static void dispatch(struct gate *gate, const struct raft_message *message)
{
    struct gate_envelope envelope = {.part = gate->config.part,
                                     .from = gate->config.self,
                                     .to = message->server_id,
                                     .installing = gate_installing(gate)};
    gate->scratch.len = 0;
    gate_msg_encode(&gate->scratch, &envelope, message);
    struct slice bytes = buf_bytes(&gate->scratch);
    if (gate->parcels != NULL || !gate_settled(gate)) {
        keep(gate, message->server_id, bytes);
    } else {
        pass(gate, message->server_id, bytes);
    }
}

/* How many entries from `from` on make one piece; *bytes is what they take. */
static unsigned piece_of(const struct raft_append_entries *all, unsigned from, size_t *bytes)
{
    unsigned count = 0;
    *bytes = 0;
    while (from + count < all->n_entries) {
        size_t more = all->entries[from + count].buf.len + 32;
        if (count > 0 && *bytes + more > GATE_CHUNK_BYTES) break;
        *bytes += more;
        count++;
    }
    return count;
}

/* F18: libraft puts everything from next_index on into one message, again with every heartbeat
 * while it probes. We send pieces, each with its own previous entry and no commit beyond its end
 * (a follower takes the smaller of commit and its last entry, compared or not); and one piece
 * alone while probing, when libraft does not count on the rest having left. */
static void emit_entries(struct gate *gate, const struct raft_message *message)
{
    const struct raft_append_entries *all = &message->append_entries;
    struct raft *r = &gate->raft;
    unsigned at = gate_member_at(gate, message->server_id);
    bool probe = r->state == RAFT_LEADER && at < r->configuration.n &&
                 r->leader_state.progress[at].state == PROGRESS_PROBE;
    unsigned sent = 0;
    do {
        size_t bytes;
        unsigned count = piece_of(all, sent, &bytes);
        if (!gate_on(gate, GATE_F18)) count = all->n_entries;
        size_t room = gate->config.host.room(gate->config.host.arg, message->server_id);
        if (count > 0 && room < bytes + ROOM_RESERVE_BYTES) {
            gate->stats.dropped_count++;
            return; /* A rejection will tell libraft where to go on. */
        }
        struct raft_message piece = *message;
        struct raft_append_entries *a = &piece.append_entries;
        a->entries = all->n_entries > 0 ? all->entries + sent : NULL;
        a->n_entries = count;
        a->prev_log_index = all->prev_log_index + sent;
        if (sent > 0) a->prev_log_term = all->entries[sent - 1].term;
        index_t end = a->prev_log_index + count;
        if (gate_on(gate, GATE_F18) && a->leader_commit > end) a->leader_commit = end;
        dispatch(gate, &piece);
        sent += count;
    } while (sent < all->n_entries && !probe);
}

void gate_emit(struct gate *gate, const struct raft_message *message)
{
    if (message->type == RAFT_IO_APPEND_ENTRIES) {
        emit_entries(gate, message);
        return;
    }
    struct raft_message m = *message;
    if (m.type == RAFT_IO_APPEND_ENTRIES_RESULT) {
        if (m.append_entries_result.rejected == 0) {
            correct_acknowledgement(gate, &m.append_entries_result);
        } else {
            correct_rejection(gate, &m.append_entries_result);
        }
    } else if (m.type == RAFT_IO_REQUEST_VOTE_RESULT) {
        correct_vote_result(gate, &m.request_vote_result);
    }
    dispatch(gate, &m);
}

/* ---- in: what must wait ---- */

void gate_arrival_free(struct gate_arrival *arrival)
{
    gate_msg_free(&arrival->message);
    free(arrival);
}

/* F1: libraft commits by counting replicas of any term (Figure 8 of the Raft paper). Its barrier
 * at the beginning of a term helps only if nothing is counted before the leader's own log ends in
 * this term. */
static bool waits_for_own_term(const struct gate *gate, const struct raft_message *m)
{
    const struct raft *r = &gate->raft;
    if (!gate_on(gate, GATE_F1) || m->type != RAFT_IO_APPEND_ENTRIES_RESULT) return false;
    return m->append_entries_result.rejected == 0 && r->state == RAFT_LEADER &&
           m->append_entries_result.term == r->current_term && r->last_stored > r->commit_index &&
           gate_term_of(gate, r->last_stored) != r->current_term;
}

/* The first entry of a that differs from ours, or 0. */
static index_t first_conflict(const struct gate *gate, const struct raft_append_entries *a)
{
    for (unsigned k = 0; k < a->n_entries; k++) {
        index_t index = a->prev_log_index + 1 + k;
        term_t own = gate_term_of(gate, index);
        if (own == 0 && index > gate->raft.log.snapshot.last_index) return 0; /* All new. */
        if (own != 0 && own != a->entries[k].term) return index;
    }
    return 0;
}

/* F4: libraft mixes up which appends and installs in flight belong to which log when it becomes a
 * candidate, installs or truncates over them. */
static bool waits_for_disk(const struct gate *gate, const struct raft_message *m)
{
    if (!gate_on(gate, GATE_F4)) return false;
    bool appending = gate_appends_in_flight(gate) > 0;
    bool installing = gate->put != NULL;
    switch (m->type) {
        case RAFT_IO_TIMEOUT_NOW:
            return appending || installing;
        case RAFT_IO_INSTALL_SNAPSHOT: /* Appends that F5 holds would count for the new log too. */
            return gate->appends.count > 0 || installing;
        case RAFT_IO_REQUEST_VOTE:
            return installing && m->request_vote.disrupt_leader;
        case RAFT_IO_APPEND_ENTRIES:
            return appending && first_conflict(gate, &m->append_entries) != 0;
        default:
            return false;
    }
}

static bool sender_waits(const struct gate *gate, uint64_t from, const struct gate_arrival *end)
{
    for (const struct gate_arrival *a = gate->arrivals; a != end; a = a->next) {
        if (a->message.server_id == from) return true;
    }
    return false;
}

/* ---- in: corrections ---- */

/* F15: libraft disables itself for good (state UNAVAILABLE) when a message contradicts what is
 * committed, and half believes one from a second leader of its own term. Neither can come from a
 * correct peer: refuse it. */
static bool contradicts(const struct gate *gate, const struct raft_message *m)
{
    const struct raft *r = &gate->raft;
    if (!gate_on(gate, GATE_F15)) return false;
    if (m->type == RAFT_IO_INSTALL_SNAPSHOT) {
        return r->state == RAFT_LEADER && m->install_snapshot.term == r->current_term;
    }
    if (m->type != RAFT_IO_APPEND_ENTRIES) return false;
    const struct raft_append_entries *a = &m->append_entries;
    if (a->term < r->current_term) return false;
    if (r->state == RAFT_LEADER && a->term == r->current_term) return true;
    term_t own = a->prev_log_index > 0 ? gate_term_of(gate, a->prev_log_index) : 0;
    if (own != 0 && own != a->prev_log_term) return a->prev_log_index <= r->commit_index;
    index_t conflict = first_conflict(gate, a);
    return conflict != 0 && conflict <= r->commit_index;
}

/* F3: libraft grants its vote to the target of a transfer though it voted in this term. */
static bool would_vote_twice(const struct gate *gate, const struct raft_message *m)
{
    const struct raft *r = &gate->raft;
    if (!gate_on(gate, GATE_F3) || m->type != RAFT_IO_REQUEST_VOTE) return false;
    const struct raft_request_vote *v = &m->request_vote;
    return !v->pre_vote && r->transfer != NULL && r->voted_for != 0 && v->term == r->current_term &&
           r->voted_for != v->candidate_id;
}

/* F18, the other end: what a message does not show to be the leader's is not committed by it. */
static void bound_commit(const struct gate *gate, struct raft_append_entries *a)
{
    index_t end = a->prev_log_index + a->n_entries;
    if (gate_on(gate, GATE_F18) && a->leader_commit > end) a->leader_commit = end;
}

/* F9: the leader's next entry lies below what we compacted, so we hold it, but libraft has no
 * term to compare and rejects. Make it a heartbeat at our snapshot, which every leader holds. */
static void lift_to_snapshot(struct gate *gate, struct raft_message *m)
{
    const struct raft *r = &gate->raft;
    struct raft_append_entries *a = &m->append_entries;
    if (!gate_on(gate, GATE_F9) || r->state != RAFT_FOLLOWER || a->term != r->current_term) return;
    if (a->prev_log_index == 0 || a->prev_log_index >= r->log.snapshot.last_index) return;
    if (gate_term_of(gate, a->prev_log_index) != 0 || gate->put != NULL) return;
    gate_msg_free(m);
    a->prev_log_index = r->log.snapshot.last_index;
    a->prev_log_term = r->log.snapshot.last_term;
    if (a->leader_commit > a->prev_log_index) a->leader_commit = a->prev_log_index;
}

/* The configuration that holds once entries from index on are gone: the last one before it in the
 * log, or the last committed one. Its bytes, and in *at its entry's index. */
static struct slice configuration_before(const struct gate *gate, index_t index, index_t *at)
{
    for (index_t i = index - 1; i > gate->reported; i--) {
        const struct raft_entry *entry = gate_entry(gate, i);
        if (entry == NULL || entry->type != RAFT_CHANGE) continue;
        *at = i;
        return gate_entry_bytes(entry);
    }
    *at = gate->configuration_index;
    return buf_bytes(&gate->configuration);
}

/* F10: when entries that it takes back hold a configuration, libraft reads the committed one from
 * its log, where it may be compacted (a NULL it does not expect); and after a restart it does not
 * know that its configuration was not committed, and keeps it. We know it from what was committed
 * (gate_report), put it in place first, and libraft finds nothing to take back. */
static void roll_configuration_back(struct gate *gate, const struct raft_append_entries *a)
{
    struct raft *r = &gate->raft;
    if (!gate_on(gate, GATE_F10) || a->term < r->current_term) return;
    if (a->prev_log_index > 0 && gate_term_of(gate, a->prev_log_index) != a->prev_log_term) return;
    index_t conflict = first_conflict(gate, a);
    index_t newest = r->configuration_uncommitted_index;
    if (newest < r->configuration_index) newest = r->configuration_index;
    if (conflict == 0 || newest < conflict) return;
    index_t at;
    struct slice bytes = configuration_before(gate, conflict, &at);
    struct raft_configuration before;
    CHECK(gate_configuration_decode(bytes, &before) == 0);
    raft_configuration_close(&r->configuration);
    r->configuration = before;
    r->configuration_uncommitted_index = at > r->commit_index ? at : 0;
    r->configuration_index = at > r->commit_index ? gate->configuration_index : at;
}

/* F6: libraft sends one probe per heartbeat; let a rejection be answered at once. */
static void answer_at_once(struct gate *gate, const struct raft_message *m)
{
    struct raft *r = &gate->raft;
    unsigned at = gate_member_at(gate, m->server_id);
    if (!gate_on(gate, GATE_F6) || m->append_entries_result.rejected == 0) return;
    if (r->state != RAFT_LEADER || at == r->configuration.n) return;
    r->leader_state.progress[at].last_send = 0;
}

/* Rule 17: libraft believes in an install it sent until a timeout of the order of hours. A peer
 * that rejects our heartbeats and says that it is not at it never got it, or lost it. */
static void watch_shipment(struct gate *gate, const struct gate_arrival *arrival)
{
    const struct raft_message *m = &arrival->message;
    uint64_t now = env_now_ms(gate->config.env);
    for (struct gate_shipment **at = &gate->shipments; *at != NULL; at = &(*at)->next) {
        struct gate_shipment *s = *at;
        if (s->to != m->server_id) continue;
        if (arrival->installing) s->seen_ms = now;
        bool lost = m->append_entries_result.rejected != 0 && !arrival->installing &&
                    now - s->seen_ms >= 2 * (uint64_t)gate->config.election_ms;
        if (!lost) return;
        *at = s->next;
        gate_send_done(gate, s->req, RAFT_NOCONNECTION);
        free(s);
        return;
    }
}

/* ---- in: delivery ---- */

/* F11: a node that its own last configuration, committed or not, does not name as voter refuses
 * its vote, though the candidate may need it. Candidates count the voters of their configuration,
 * so a vote too many does no harm: for this call we are a voter among ourselves.
 * F13: a follower that cannot stand for election never stops believing in its leader. */
static void deliver_request_vote(struct gate *gate, struct raft_message *m)
{
    struct raft *r = &gate->raft;
    bool follower = r->state == RAFT_FOLLOWER;
    if (follower && gate_on(gate, GATE_F13) &&
        env_now_ms(gate->config.env) - r->election_timer_start >= r->election_timeout) {
        r->follower_state.current_leader.id = 0;
    }
    if (!follower || !gate_on(gate, GATE_F11)) {
        gate->recv(&gate->io, m);
        return;
    }
    struct raft_server me = {r->id, r->address, RAFT_VOTER};
    struct raft_configuration real = r->configuration;
    r->configuration = (struct raft_configuration){&me, 1};
    gate->recv(&gate->io, m);
    r->configuration = real; /* recv of a request for a vote never touches it. */
}

/* Correct m and hand it to libraft, which then owns what it points to. */
static void deliver(struct gate *gate, struct gate_arrival *arrival)
{
    struct raft_message *m = &arrival->message;
    char address[GATE_ADDRESS_BYTES];
    gate_address(m->server_id, address);
    m->server_address = address;
    if (contradicts(gate, m) || would_vote_twice(gate, m)) {
        gate->stats.refused_count++;
        gate_msg_free(m);
        return;
    }
    if (m->type == RAFT_IO_APPEND_ENTRIES) {
        bound_commit(gate, &m->append_entries);
        lift_to_snapshot(gate, m);
        roll_configuration_back(gate, &m->append_entries);
    } else if (m->type == RAFT_IO_APPEND_ENTRIES_RESULT) {
        watch_shipment(gate, arrival);
        answer_at_once(gate, m);
    }
    struct raft_message copy = *m; /* recv takes the original apart. */
    uint64_t appended_count = gate->appended_count;
    gate->current = &copy;
    if (m->type == RAFT_IO_REQUEST_VOTE) {
        deliver_request_vote(gate, m);
    } else {
        gate->recv(&gate->io, m);
    }
    gate->current = NULL;
    /* Accepted, and answered when it is on disk. */
    if (copy.type == RAFT_IO_APPEND_ENTRIES && gate->appended_count > appended_count) {
        gate_verified(gate, copy.append_entries.term, shown_by(&copy, copy.append_entries.term));
    }
}

/* An install that libraft would take: the files it stands for are fetched first. One at a time;
 * another one replaces it. */
static bool must_fetch(const struct gate *gate, const struct gate_arrival *arrival)
{
    const struct raft *r = &gate->raft;
    const struct raft_install_snapshot *s = &arrival->message.install_snapshot;
    if (arrival->message.type != RAFT_IO_INSTALL_SNAPSHOT || arrival->fetched) return false;
    if (s->term < r->current_term || s->last_index <= r->commit_index) return false;
    return gate_term_of(gate, s->last_index) < s->last_term &&
           !contradicts(gate, &arrival->message);
}

static void begin_fetch(struct gate *gate, struct gate_arrival *arrival)
{
    const struct raft_install_snapshot *old = &gate->fetch.install_snapshot;
    const struct raft_install_snapshot *new = &arrival->message.install_snapshot;
    if (gate->fetching) {
        if (gate->fetch.server_id == arrival->message.server_id && old->term == new->term &&
            old->last_index == new->last_index) {
            gate_msg_free(&arrival->message);
            return;
        }
        gate_msg_free(&gate->fetch);
    }
    gate->fetch = arrival->message;
    gate->fetching = true;
    gate->fetch_told = false;
}

/* An install that is only going to be fetched does not touch libraft yet; but the host works on
 * one at a time from the moment it said ready. */
static bool must_wait(const struct gate *gate, const struct gate_arrival *arrival)
{
    if (must_fetch(gate, arrival)) return gate->fetched || gate->put != NULL;
    return waits_for_own_term(gate, &arrival->message) || waits_for_disk(gate, &arrival->message);
}

static void admit(struct gate *gate, struct gate_arrival *arrival)
{
    if (must_fetch(gate, arrival)) {
        begin_fetch(gate, arrival);
    } else {
        if (arrival->fetched) gate->fetched = false;
        deliver(gate, arrival);
    }
    free(arrival);
}

void gate_arrive(struct gate *gate, struct gate_arrival *arrival)
{
    if (!sender_waits(gate, arrival->message.server_id, NULL) && !must_wait(gate, arrival)) {
        admit(gate, arrival);
        return;
    }
    if (gate->arrivals_bytes + arrival->bytes > GATE_HELD_BYTES_MAX) {
        gate->stats.dropped_count++;
        if (arrival->fetched) gate->fetched = false;
        gate_arrival_free(arrival);
        return;
    }
    arrival->next = NULL;
    *gate->arrivals_tail = arrival;
    gate->arrivals_tail = &arrival->next;
    gate->arrivals_bytes += arrival->bytes;
    gate->stats.held_count++;
}

bool gate_admit(struct gate *gate)
{
    for (struct gate_arrival **at = &gate->arrivals; *at != NULL; at = &(*at)->next) {
        struct gate_arrival *arrival = *at;
        if (sender_waits(gate, arrival->message.server_id, arrival) || must_wait(gate, arrival)) {
            continue;
        }
        *at = arrival->next;
        if (gate->arrivals_tail == &arrival->next) gate->arrivals_tail = at;
        gate->arrivals_bytes -= arrival->bytes;
        admit(gate, arrival);
        return true; /* The list and libraft may have changed: look again. */
    }
    return false;
}
