/* raft/gate_view.c -- libraft's state as the gate's files and the host see it; nothing changes. */
#include "raft/gate_impl.h"

/* libraft's entry and reference, and malloc's share of both and the data: measured 100. */
enum { ENTRY_OVERHEAD = 96 };

/* ---- libraft's log and members ---- */

const struct raft_entry *gate_entry(const struct gate *gate, index_t index)
{
    const struct raft_log *l = &gate->raft.log;
    size_t count = l->front <= l->back ? l->back - l->front : l->size - l->front + l->back;
    if (index <= l->offset || index > l->offset + count) return NULL;
    return &l->entries[(l->front + (size_t)(index - l->offset - 1)) % l->size];
}

term_t gate_term_of(const struct gate *gate, index_t index)
{
    const struct raft_log *l = &gate->raft.log;
    if (index == 0) return 0;
    if (index == l->snapshot.last_index) return l->snapshot.last_term;
    const struct raft_entry *entry = gate_entry(gate, index);
    return entry != NULL ? entry->term : 0;
}

index_t gate_last_index(const struct gate *gate)
{
    const struct raft_log *l = &gate->raft.log;
    size_t count = l->front <= l->back ? l->back - l->front : l->size - l->front + l->back;
    return l->offset + count;
}

size_t gate_entry_cost(size_t data_bytes)
{
    return data_bytes + ENTRY_OVERHEAD;
}

size_t gate_entries_bytes(const struct gate *gate, index_t first, index_t last)
{
    size_t bytes = 0;
    for (index_t i = first; i <= last; i++) {
        const struct raft_entry *entry = gate_entry(gate, i);
        CHECK(entry != NULL);
        bytes += gate_entry_cost(entry->buf.len);
    }
    return bytes;
}

unsigned gate_member_at(const struct gate *gate, uint64_t id)
{
    const struct raft_configuration *c = &gate->raft.configuration;
    unsigned i = 0;
    while (i < c->n && c->servers[i].id != id)
        i++;
    return i;
}

bool gate_sole_voter(const struct gate *gate)
{
    const struct raft_configuration *c = &gate->raft.configuration;
    unsigned voters = 0, mine = 0;
    for (unsigned i = 0; i < c->n; i++) {
        if (c->servers[i].role != RAFT_VOTER) continue;
        voters++;
        if (c->servers[i].id == gate->config.self) mine++;
    }
    return voters == 1 && mine == 1;
}

/* ---- accessors ---- */

enum gate_state gate_state(const struct gate *gate)
{
    switch (gate->raft.state) {
        case RAFT_LEADER:
            return GATE_LEADER;
        case RAFT_CANDIDATE:
            return GATE_CANDIDATE;
        default:
            return GATE_FOLLOWER;
    }
}

term_t gate_term(const struct gate *gate)
{
    return gate->raft.current_term;
}

uint64_t gate_vote(const struct gate *gate)
{
    return gate->raft.voted_for;
}

uint64_t gate_leader(const struct gate *gate)
{
    const struct raft *r = &gate->raft;
    if (r->state == RAFT_LEADER) return r->id;
    return r->state == RAFT_FOLLOWER ? r->follower_state.current_leader.id : 0;
}

bool gate_ready(const struct gate *gate)
{
    const struct raft *r = &gate->raft;
    return r->state == RAFT_LEADER && gate->ready_term == r->current_term;
}

bool gate_settled(const struct gate *gate)
{
    return !gate_on(gate, GATE_VOTE) || gate->durable >= gate->settle_batch;
}

index_t gate_commit(const struct gate *gate)
{
    return gate->raft.commit_index;
}

size_t gate_log_bytes(const struct gate *gate)
{
    return gate->log_bytes;
}

bool gate_transferring(const struct gate *gate)
{
    return gate->raft.transfer != NULL;
}

bool gate_changing(const struct gate *gate)
{
    return gate->change_busy || gate->raft.configuration_uncommitted_index != 0;
}

bool gate_installing(const struct gate *gate)
{
    return gate->fetching || gate->fetched || gate->put != NULL;
}

bool gate_idle(const struct gate *gate)
{
    return gate->appends.count == 0 && gate->parcels == NULL && gate->arrivals == NULL &&
           gate->shipments == NULL && gate->gets_count == 0 && !gate_installing(gate) &&
           gate_settled(gate);
}

size_t gate_members(const struct gate *gate, struct gate_member out[GATE_MEMBERS_MAX])
{
    const struct raft_configuration *c = &gate->raft.configuration;
    CHECK(c->n <= GATE_MEMBERS_MAX);
    for (unsigned i = 0; i < c->n; i++) {
        out[i] = (struct gate_member){c->servers[i].id, (enum gate_role)c->servers[i].role};
    }
    return c->n;
}

index_t gate_match(const struct gate *gate, uint64_t id)
{
    const struct raft *r = &gate->raft;
    unsigned at = gate_member_at(gate, id);
    if (r->state != RAFT_LEADER || at == r->configuration.n) return 0;
    return r->leader_state.progress[at].match_index;
}

void gate_stats(const struct gate *gate, struct gate_stats *out)
{
    *out = gate->stats;
}

void gate_check(const struct gate *gate)
{
    const struct raft *r = &gate->raft;
    index_t last = gate_last_index(gate);
    CHECK(!gate->inside);
    CHECK(r->state != RAFT_UNAVAILABLE);
    CHECK(r->current_term == gate->disk_term);
    CHECK(r->voted_for == gate->disk_vote);
    CHECK(gate->next_index == last + 1);
    CHECK(gate->appends.durable_count <= gate->appends.count);
    CHECK(gate->parcels == NULL || !gate_settled(gate));
    CHECK(gate->sent == NULL);
    CHECK(gate->trim == NULL);
    if (gate->put != NULL) return; /* The rest is in between two states. */
    CHECK(gate->reported == r->last_applied);
    CHECK(r->last_applied <= r->commit_index);
    CHECK(r->commit_index <= last);
    CHECK(r->log.offset <= r->last_applied);
    CHECK(gate->configuration_index <= gate->reported);
    CHECK(gate->log_bytes == gate_entries_bytes(gate, r->log.offset + 1, last));
}
