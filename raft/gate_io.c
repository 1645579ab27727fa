/* raft/gate_io.c -- what libraft calls: its disk, its network, its state machine.
 *
 * Every method takes its request, returns 0 and leaves the rest to gate_after: a callback from
 * inside a method would reach into libraft's half-done work, and an error leaves its state half
 * changed (rules 15, 16 and 19; a WAL that fails stops the process instead). */
#include <limits.h>
#include <stdlib.h>

#include "raft/gate_impl.h"

static struct gate *gate_of(struct raft_io *io)
{
    return io->impl;
}

/* ---- term and vote ---- */

void gate_write_vote(struct gate *gate, term_t term, uint64_t vote)
{
    struct wal_record record = {
        .kind = WAL_VOTE, .part = gate->config.part, .term = term, .vote = vote};
    gate->settle_batch = wal_append(gate->config.wal, &record);
    gate->disk_term = term;
    gate->disk_vote = vote;
}

static int io_set_term(struct raft_io *io, raft_term term)
{
    struct gate *gate = gate_of(io);
    CHECK(term > gate->disk_term);
    gate_write_vote(gate, term, 0);
    return 0;
}

static int io_set_vote(struct raft_io *io, raft_id id)
{
    struct gate *gate = gate_of(io);
    if (gate_on(gate, GATE_F3)) CHECK(gate->disk_vote == 0 || gate->disk_vote == id);
    gate_write_vote(gate, gate->disk_term, id);
    return 0;
}

/* ---- start ---- */

static int io_init(struct raft_io *io, raft_id id, const char *address)
{
    (void)io;
    (void)id;
    (void)address;
    return 0;
}

struct raft_snapshot *gate_snapshot_copy(const struct gate_snapshot *from)
{
    struct raft_snapshot *s = gate_alloc(sizeof(*s));
    *s = (struct raft_snapshot){.index = from->index,
                                .term = from->term,
                                .configuration_index = from->configuration_index,
                                .n_bufs = 1};
    CHECK(gate_configuration_decode(from->configuration, &s->configuration) == 0);
    s->bufs = gate_alloc(sizeof(s->bufs[0]));
    s->bufs[0] = (struct raft_buffer){gate_copy(from->data.data, from->data.len), from->data.len};
    return s;
}

/* Each entry in memory of its own, without a batch: libraft frees a batch by searching its whole
 * log for other users. */
static struct raft_entry *load_entries(struct gate *gate)
{
    const struct gate_boot *boot = gate->boot;
    if (boot->entries_count == 0) return NULL;
    struct raft_entry *entries = gate_alloc(boot->entries_count * sizeof(entries[0]));
    for (size_t i = 0; i < boot->entries_count; i++) {
        const struct gate_boot_entry *e = &boot->entries[i];
        entries[i] = (struct raft_entry){
            .term = e->term,
            .type = (unsigned short)e->type,
            .buf = {gate_copy(e->data.data, e->data.len), e->data.len},
        };
        gate->log_bytes += gate_entry_cost(e->data.len);
    }
    return entries;
}

static int io_load(struct raft_io *io, raft_term *term, raft_id *vote,
                   struct raft_snapshot **snapshot, raft_index *start, struct raft_entry **entries,
                   size_t *count)
{
    struct gate *gate = gate_of(io);
    const struct gate_boot *boot = gate->boot;
    *term = gate->disk_term;
    *vote = gate->disk_vote;
    *snapshot = boot->snapshot.index > 0 ? gate_snapshot_copy(&boot->snapshot) : NULL;
    *start = boot->snapshot.index + 1;
    *entries = load_entries(gate);
    *count = boot->entries_count;
    gate->next_index = *start + *count;
    return 0;
}

static int io_start(struct raft_io *io, unsigned ms, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct gate *gate = gate_of(io);
    (void)ms;
    gate->tick = tick;
    gate->recv = recv;
    return 0;
}

/* Bootstrap is gate_open's; recovery from a lost majority is not offered. */
static int io_bootstrap(struct raft_io *io, const struct raft_configuration *configuration)
{
    (void)io;
    (void)configuration;
    return RAFT_CANTBOOTSTRAP;
}

static int io_recover(struct raft_io *io, const struct raft_configuration *configuration)
{
    (void)io;
    (void)configuration;
    return RAFT_IOERR;
}

static void io_close(struct raft_io *io, raft_io_close_cb cb)
{
    gate_of(io)->closed = cb;
}

/* ---- the log ---- */

size_t gate_appends_in_flight(const struct gate *gate)
{
    return gate->appends.count - gate->appends.durable_count;
}

static void appends_push(struct gate_appends *a, struct gate_append append)
{
    if (a->count == a->capacity) {
        size_t capacity = a->capacity > 0 ? a->capacity * 2 : 16;
        struct gate_append *items = mem_alloc(capacity * sizeof(items[0]));
        for (size_t i = 0; i < a->count; i++) {
            items[i] = a->items[(a->front + i) & (a->capacity - 1)];
        }
        free(a->items);
        a->items = items;
        a->capacity = capacity;
        a->front = 0;
    }
    a->items[(a->front + a->count) & (a->capacity - 1)] = append;
    a->count++;
}

void gate_appends_pop(struct gate *gate, struct gate_append *out)
{
    struct gate_appends *a = &gate->appends;
    CHECK(a->count > 0);
    *out = a->items[a->front];
    a->front = (a->front + 1) & (a->capacity - 1);
    a->count--;
    if (a->durable_count > 0) a->durable_count--;
}

static int io_append(struct raft_io *io, struct raft_io_append *req,
                     const struct raft_entry *entries, unsigned count, raft_io_append_cb cb)
{
    struct gate *gate = gate_of(io);
    CHECK(count > 0);
    CHECK(gate_term_of(gate, gate->next_index) == entries[0].term);
    batch_t batch = 0;
    for (unsigned i = 0; i < count; i++) {
        struct wal_record record = {.kind = WAL_ENTRY,
                                    .part = gate->config.part,
                                    .index = gate->next_index++,
                                    .term = entries[i].term,
                                    .type = (uint8_t)entries[i].type,
                                    .data = gate_entry_bytes(&entries[i])};
        batch = wal_append(gate->config.wal, &record);
        gate->log_bytes += gate_entry_cost(entries[i].buf.len);
    }
    req->cb = cb;
    appends_push(&gate->appends, (struct gate_append){req, gate->next_index - 1, batch});
    gate->appended_count++;
    return 0;
}

static int io_truncate(struct raft_io *io, raft_index index)
{
    struct gate *gate = gate_of(io);
    if (gate_on(gate, GATE_F4)) CHECK(gate_appends_in_flight(gate) == 0);
    CHECK(index > gate->raft.commit_index && index < gate->next_index);
    struct wal_record record = {.kind = WAL_TRUNCATE, .part = gate->config.part, .index = index};
    (void)wal_append(gate->config.wal, &record);
    gate->log_bytes -= gate_entries_bytes(gate, index, gate->next_index - 1);
    gate->next_index = index;
    return 0;
}

/* ---- messages ---- */

void gate_send_done(struct gate *gate, struct raft_io_send *req, int status)
{
    struct gate_sent *sent = mem_alloc(sizeof(*sent));
    *sent = (struct gate_sent){req, status, NULL};
    *gate->sent_tail = sent;
    gate->sent_tail = &sent->next;
}

static bool has_room(struct gate *gate, uint64_t to)
{
    return gate->config.host.room(gate->config.host.arg, to) > 0;
}

/* Keep the request of an install open until the peer has it (rule 17); without a link: fail. */
static void ship(struct gate *gate, struct raft_io_send *req, uint64_t to)
{
    if (!has_room(gate, to)) {
        gate_send_done(gate, req, RAFT_NOCONNECTION);
        return;
    }
    gate->stats.installs_count++;
    if (!gate_on(gate, GATE_F17)) {
        gate_send_done(gate, req, 0);
        return;
    }
    struct gate_shipment *s = mem_alloc(sizeof(*s));
    *s = (struct gate_shipment){req, to, env_now_ms(gate->config.env), gate->shipments};
    gate->shipments = s;
}

static int io_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message,
                   raft_io_send_cb cb)
{
    struct gate *gate = gate_of(io);
    uint64_t to = message->server_id;
    bool install = message->type == RAFT_IO_INSTALL_SNAPSHOT;
    if (cb != NULL) { /* NULL for a timeout now, whose request may be gone any time. */
        req->cb = cb;
        /* F7: a failed APPEND_ENTRIES would set next_index back to match + 1, which on a fresh
         * leader is 1: a needless install. Rejections find the place as well. */
        bool fail = !gate_on(gate, GATE_F7) && message->type == RAFT_IO_APPEND_ENTRIES &&
                    !has_room(gate, to);
        if (install) {
            ship(gate, req, to);
        } else {
            gate_send_done(gate, req, fail ? RAFT_NOCONNECTION : 0);
        }
    }
    /* 0: an answer to a leader that is not known any more. */
    if (to != 0 && !gate->closing) gate_emit(gate, message);
    return 0;
}

/* ---- snapshots ---- */

static int io_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                           const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct gate *gate = gate_of(io);
    if (gate->closing) return RAFT_CANCELED; /* The one error that may be returned here. */
    CHECK(gate->trim == NULL);
    CHECK(gate->put == NULL);
    req->cb = cb;
    if (trailing > 0) {
        gate->trim = req;
        return 0;
    }
    if (gate_on(gate, GATE_F4)) CHECK(gate->appends.count == 0);
    gate->put = req;
    gate->put_snapshot = snapshot;
    gate->put_bufs = snapshot->bufs;
    gate->next_index = snapshot->index + 1;
    gate->log_bytes = 0;
    gate_verified(gate, gate->raft.current_term, snapshot->index);
    return 0;
}

static int io_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req,
                           raft_io_snapshot_get_cb cb)
{
    struct gate *gate = gate_of(io);
    CHECK(gate->gets_count < ARRAY_COUNT(gate->gets));
    req->cb = cb;
    gate->gets[gate->gets_count++] = req;
    return 0;
}

static raft_time io_time(struct raft_io *io)
{
    return env_now_ms(gate_of(io)->config.env);
}

static int io_random(struct raft_io *io, int min, int max)
{
    CHECK(min >= 0 && max >= min);
    return min + (int)env_random_below(gate_of(io)->config.env, (uint64_t)(max - min) + 1);
}

/* ---- the state machine ---- */

static void report(struct gate *gate, index_t index, const struct raft_entry *entry)
{
    CHECK(index == gate->reported + 1);
    struct slice data = gate_entry_bytes(entry);
    gate->reported = index;
    if (entry->type == RAFT_CHANGE) {
        gate->configuration.len = 0;
        buf_put(&gate->configuration, data.data, data.len);
        gate->configuration_index = index;
    }
    const struct gate_host *host = &gate->config.host;
    host->committed(host->arg, index, entry->term, (enum gate_entry)entry->type, data);
}

void gate_report(struct gate *gate, index_t index)
{
    while (gate->reported < index) {
        const struct raft_entry *entry = gate_entry(gate, gate->reported + 1);
        CHECK(entry != NULL);
        CHECK(entry->type != RAFT_COMMAND);
        report(gate, gate->reported + 1, entry);
    }
}

/* libraft does not say which index this is: it is the one after last_applied. */
static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *data, void **result)
{
    struct gate *gate = fsm->data;
    index_t index = gate->raft.last_applied + 1;
    const struct raft_entry *entry = gate_entry(gate, index);
    CHECK(entry != NULL);
    CHECK(entry->buf.base == data->base);
    gate_report(gate, index - 1);
    report(gate, index, entry);
    *result = NULL;
    return 0;
}

/* How far the log in memory may shrink: down to half the budget, to what the manifest holds (a
 * restart begins there too), and, while the budget is not far exceeded, to what the slowest peer
 * that answers still needs. */
static index_t trim_target(struct gate *gate)
{
    struct raft *r = &gate->raft;
    size_t budget = gate->config.log_bytes;
    index_t limit = gate->checkpointed;
    if (limit >= r->last_applied) limit = r->last_applied - 1; /* Trailing 0 would mean install. */
    if (r->state == RAFT_LEADER && gate->log_bytes < 2 * budget) {
        for (unsigned i = 0; i < r->configuration.n; i++) {
            const struct raft_progress *p = &r->leader_state.progress[i];
            if (r->configuration.servers[i].id == r->id || !p->recent_recv) continue;
            if (p->match_index < limit) limit = p->match_index;
        }
    }
    index_t target = r->log.offset;
    size_t left = gate->log_bytes;
    while (target < limit && left > budget / 2) {
        left -= gate_entries_bytes(gate, target + 1, target + 1);
        target++;
    }
    return target;
}

/* libraft takes its snapshot at last_applied; ours is the manifest, whose index is lower. All that
 * its snapshot does here is to shrink the log in memory. */
static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer **bufs, unsigned *count)
{
    struct gate *gate = fsm->data;
    struct raft *r = &gate->raft;
    index_t target = trim_target(gate);
    r->snapshot.threshold = UINT_MAX; /* Once per request of gate_after. */
    if (gate->closing || target <= r->log.offset) return RAFT_BUSY;
    CHECK(target < r->last_applied);
    CHECK(r->last_applied - target < UINT_MAX);
    r->snapshot.trailing = (unsigned)(r->last_applied - target);
    gate->trim_index = target;
    *bufs = gate_alloc(sizeof(**bufs));
    (*bufs)[0] = (struct raft_buffer){gate_alloc(1), 1};
    *count = 1;
    return 0;
}

/* At start the host has its state already; after an install it switched in install_commit. */
static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    (void)fsm;
    raft_free(buf->base);
    return 0;
}

void gate_io_init(struct gate *gate)
{
    gate->io = (struct raft_io){
        .version = 1, /* No snapshot of ours needs async_work. */
        .impl = gate,
        .init = io_init,
        .close = io_close,
        .load = io_load,
        .start = io_start,
        .bootstrap = io_bootstrap,
        .recover = io_recover,
        .set_term = io_set_term,
        .set_vote = io_set_vote,
        .send = io_send,
        .append = io_append,
        .truncate = io_truncate,
        .snapshot_put = io_snapshot_put,
        .snapshot_get = io_snapshot_get,
        .time = io_time,
        .random = io_random,
    };
    gate->fsm = (struct raft_fsm){.version = 1,
                                  .data = gate,
                                  .apply = fsm_apply,
                                  .snapshot = fsm_snapshot,
                                  .restore = fsm_restore};
}
