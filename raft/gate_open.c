/* raft/gate_open.c -- a gate begins with what recovery found, and ends at any moment.
 *
 * Opening checks that what was found can be one group's log, decides the term (F8), and lets
 * libraft load it. Closing gives libraft all callbacks it waits for, at once and with no effect
 * outside memory, so that it serves a simulated crash as well. */
#include <assert.h>
#include <limits.h>
#include <stdlib.h>

#include "raft/gate_impl.h"

/* The rules write into libraft's public fields: this is the layout of exactly 0.15. */
static_assert(sizeof(struct raft) == 656, "libraft is not 0.15");
static_assert(offsetof(struct raft, current_term) == 48, "libraft is not 0.15");
static_assert(offsetof(struct raft, log) == 64, "libraft is not 0.15");
static_assert(offsetof(struct raft, configuration) == 136, "libraft is not 0.15");
static_assert(offsetof(struct raft, configuration_index) == 152, "libraft is not 0.15");
static_assert(offsetof(struct raft, commit_index) == 184, "libraft is not 0.15");
static_assert(offsetof(struct raft, state) == 208, "libraft is not 0.15");
static_assert(offsetof(struct raft, leader_state.progress) == 216, "libraft is not 0.15");
static_assert(offsetof(struct raft, election_timer_start) == 280, "libraft is not 0.15");
static_assert(offsetof(struct raft, transfer) == 288, "libraft is not 0.15");
static_assert(offsetof(struct raft, snapshot) == 296, "libraft is not 0.15");
static_assert(sizeof(struct raft_progress) == 56, "libraft is not 0.15");
static_assert(sizeof(struct raft_entry) == 40, "libraft is not 0.15");

static_assert((int)GATE_NORMAL == (int)RAFT_COMMAND, "entry types are libraft's");
static_assert((int)GATE_BARRIER == (int)RAFT_BARRIER, "entry types are libraft's");
static_assert((int)GATE_CHANGE == (int)RAFT_CHANGE, "entry types are libraft's");
static_assert((int)GATE_STANDBY == RAFT_STANDBY, "roles are libraft's");
static_assert((int)GATE_VOTER == RAFT_VOTER, "roles are libraft's");
static_assert((int)GATE_SPARE == RAFT_SPARE, "roles are libraft's");

/* Rule 17 watches installs; libraft's own timeout shall never end one: a day. */
enum { INSTALL_TIMEOUT_MS = 24 * 3600 * 1000 };

/* ---- open and close ---- */

/* Terms never fall, the first entry of all is a configuration, configurations can be read. */
static bool boot_is_sound(const struct gate_boot *boot)
{
    const struct gate_snapshot *s = &boot->snapshot;
    struct gate_member members[GATE_MEMBERS_MAX];
    size_t count;
    if (s->index > 0) {
        if (s->term == 0 || s->configuration_index == 0 || s->configuration_index > s->index) {
            return false;
        }
        if (gate_members_decode(s->configuration, members, &count) != 0) return false;
    } else if (boot->entries_count > 0 && boot->entries[0].type != GATE_CHANGE) {
        return false;
    }
    term_t term = s->index > 0 ? s->term : 1;
    for (size_t i = 0; i < boot->entries_count; i++) {
        const struct gate_boot_entry *e = &boot->entries[i];
        if (e->term < term || e->type < GATE_NORMAL || e->type > GATE_CHANGE) return false;
        if (e->type == GATE_CHANGE && gate_members_decode(e->data, members, &count) != 0) {
            return false;
        }
        term = e->term;
    }
    return true;
}

/* An install may bring more than the entry it was asked for, and the log that grew behind that
 * entry need not be the one that was committed; its terms are lower then, all of them (no leader
 * of the manifest's term or a later one lacks what the manifest holds). Such a log is void. */
static void drop_stale(struct gate *gate, struct gate_boot *boot)
{
    if (boot->entries_count == 0 || boot->entries[0].term >= boot->snapshot.term) return;
    struct wal_record record = {
        .kind = WAL_TRUNCATE, .part = gate->config.part, .index = boot->snapshot.index + 1};
    (void)wal_append(gate->config.wal, &record);
    boot->entries_count = 0;
}

/* The configuration libraft will start with: the last in the log, committed or not. */
static struct slice boot_configuration(const struct gate_boot *boot)
{
    for (size_t i = boot->entries_count; i > 0; i--) {
        if (boot->entries[i - 1].type == GATE_CHANGE) return boot->entries[i - 1].data;
    }
    return boot->snapshot.configuration;
}

static bool boot_sole_voter(const struct gate_boot *boot, uint64_t self)
{
    struct gate_member members[GATE_MEMBERS_MAX];
    size_t count = 0, voters = 0, mine = 0;
    struct slice configuration = boot_configuration(boot);
    if (configuration.len == 0) return false;
    CHECK(gate_members_decode(configuration, members, &count) == 0);
    for (size_t i = 0; i < count; i++) {
        if (members[i].role != GATE_VOTER) continue;
        voters++;
        if (members[i].id == self) mine++;
    }
    return voters == 1 && mine == 1;
}

/* Term and vote to start with. An entry's term is ours too: it was durable no later than the
 * term's own record in all but an install, where nothing was promised in it. */
static void boot_term(struct gate *gate, const struct gate_boot *boot)
{
    term_t last = boot->snapshot.term;
    if (boot->entries_count > 0) last = boot->entries[boot->entries_count - 1].term;
    bool behind = boot->term < last;
    gate->disk_term = behind ? last : boot->term;
    gate->disk_vote = behind ? 0 : boot->vote;
    /* F8: a sole voter leads at once, in its old term, where an entry that it sent but lost may
     * live on at a standby. */
    if (gate_on(gate, GATE_F8) && boot_sole_voter(boot, gate->config.self)) {
        gate_write_vote(gate, gate->disk_term + 1, gate->config.self);
    }
}

/* The first entry of a new group, the same on all its members. */
static int bootstrap(struct gate *gate, const struct gate_boot *boot, struct buf *configuration)
{
    struct gate_member members[GATE_MEMBERS_MAX];
    size_t count;
    if (boot->term != 0 || boot->snapshot.index != 0 || boot->entries_count != 0) return ERR_INVAL;
    if (boot->bootstrap_count > GATE_MEMBERS_MAX) return ERR_INVAL;
    gate_configuration_encode(configuration, boot->bootstrap, boot->bootstrap_count);
    if (gate_members_decode(buf_bytes(configuration), members, &count) != 0) return ERR_INVAL;
    struct wal_record record = {.kind = WAL_ENTRY,
                                .part = gate->config.part,
                                .index = 1,
                                .term = 1,
                                .type = GATE_CHANGE,
                                .data = buf_bytes(configuration)};
    (void)wal_append(gate->config.wal, &record);
    gate_write_vote(gate, 1, 0);
    return 0;
}

static void never_emit(struct raft_tracer *tracer, const char *file, int line, const char *message)
{
    (void)tracer;
    (void)file;
    (void)line;
    (void)message;
}

static struct gate *gate_create(const struct gate_config *config)
{
    struct gate *gate = mem_zero(sizeof(*gate)); /* raft_init leaves fields as they are. */
    gate->config = *config;
    gate->sent_tail = &gate->sent;
    gate->parcels_tail = &gate->parcels;
    gate->arrivals_tail = &gate->arrivals;
    gate->durable = wal_durable(config->wal);
    return gate;
}

static void gate_free(struct gate *gate)
{
    buf_free(&gate->scratch);
    buf_free(&gate->configuration);
    free(gate->appends.items);
    free(gate);
}

static void start(struct gate *gate, const struct gate_boot *boot)
{
    const struct gate_config *config = &gate->config;
    gate_io_init(gate);
    char address[GATE_ADDRESS_BYTES];
    gate_address(config->self, address);
    CHECK(raft_init(&gate->raft, &gate->io, &gate->fsm, config->self, address) == 0);
    gate->tracer = (struct raft_tracer){.emit = never_emit};
    gate->raft.tracer = &gate->tracer;
    raft_set_election_timeout(&gate->raft, config->election_ms);
    /* A tick that comes a moment early shall send its heartbeat too: four fifths. */
    raft_set_heartbeat_timeout(&gate->raft, config->heartbeat_ms * 4 / 5);
    raft_set_install_snapshot_timeout(&gate->raft, INSTALL_TIMEOUT_MS);
    raft_set_snapshot_threshold(&gate->raft, UINT_MAX);
    raft_set_snapshot_trailing(&gate->raft, 1);
    raft_set_pre_vote(&gate->raft, true);
    gate->reported = boot->snapshot.index;
    gate->checkpointed = boot->snapshot.index;
    buf_put(&gate->configuration, boot->snapshot.configuration.data,
            boot->snapshot.configuration.len);
    gate->configuration_index = boot->snapshot.configuration_index;
    gate->boot = boot;
    gate->inside = true;
    CHECK(raft_start(&gate->raft) == 0);
    gate->boot = NULL;
    gate_after(gate);
}

int gate_open(const struct gate_config *config, const struct gate_boot *boot, struct gate **out)
{
    CHECK(config->self != 0);
    CHECK(config->heartbeat_ms >= 5 && config->election_ms >= 2 * config->heartbeat_ms);
    struct gate *gate = gate_create(config);
    struct gate_boot made = *boot;
    drop_stale(gate, &made);
    if (!boot_is_sound(&made)) {
        gate_free(gate);
        return ERR_CORRUPT;
    }
    struct gate_boot_entry first;
    struct buf configuration = {0};
    if (boot->bootstrap_count > 0) {
        int rv = bootstrap(gate, boot, &configuration);
        if (rv != 0) {
            buf_free(&configuration);
            gate_free(gate);
            return rv;
        }
        first = (struct gate_boot_entry){1, GATE_CHANGE, buf_bytes(&configuration)};
        made.term = 1;
        made.entries = &first;
        made.entries_count = 1;
    }
    boot_term(gate, &made);
    *out = gate;
    start(gate, &made);
    buf_free(&configuration);
    return 0;
}

/* All that libraft still waits for. Appends end well: cancelling two of a leader's makes it
 * truncate below its log's beginning; it is UNAVAILABLE and believes neither. */
static void close_requests(struct gate *gate)
{
    while (gate->appends.count > 0) {
        struct gate_append append;
        gate_appends_pop(gate, &append);
        append.req->cb(append.req, 0);
    }
    while (gate_after_sends(gate)) {
    }
    while (gate->shipments != NULL) {
        struct gate_shipment *s = gate->shipments;
        gate->shipments = s->next;
        s->req->cb(s->req, RAFT_CANCELED);
        free(s);
    }
    for (size_t i = 0; i < gate->gets_count; i++) {
        gate->gets[i]->cb(gate->gets[i], NULL, RAFT_CANCELED);
    }
    if (gate->trim != NULL) gate->trim->cb(gate->trim, RAFT_CANCELED);
    if (gate->put != NULL) {
        gate->put->cb(gate->put, RAFT_CANCELED);
        raft_free(gate->put_bufs);
    }
}

void gate_close(struct gate *gate)
{
    CHECK(!gate->inside);
    gate->closing = true;
    raft_close(&gate->raft, NULL);
    close_requests(gate);
    gate->closed(&gate->io);
    while (gate->parcels != NULL) {
        struct gate_parcel *p = gate->parcels;
        gate->parcels = p->next;
        free(p);
    }
    while (gate->arrivals != NULL) {
        struct gate_arrival *a = gate->arrivals;
        gate->arrivals = a->next;
        gate_arrival_free(a);
    }
    if (gate->fetching) gate_msg_free(&gate->fetch);
    gate_free(gate);
}
