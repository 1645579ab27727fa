/* jepsen/sim/raft_replica.c -- one node of the simulated group: a small partition around its gate.
 *
 * Committed entries queue and are applied at the end of the turn; manifests are written by a
 * worker and renamed into place; an install fetches for a while, then its manifest replaces all.
 * What it keeps in memory dies with its node. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "jepsen/sim/raft_cluster_impl.h"
#include "log/pack.h"

/* ---- the state machine ---- */

static void state_free(struct state *s)
{
    buf_free(&s->configuration);
    *s = (struct state){0};
}

static void state_copy(struct state *to, const struct state *from)
{
    struct buf configuration = to->configuration;
    configuration.len = 0;
    buf_put(&configuration, from->configuration.data, from->configuration.len);
    *to = *from;
    to->configuration = configuration;
}

static void apply(struct replica *r, const struct committed *e)
{
    if (e->index <= r->applied.index) return; /* An install brought more than it was asked for. */
    CHECK(e->index == r->applied.index + 1);
    uint8_t head[24];
    put_u64(head, r->applied.chain);
    put_u64(head + 8, e->term);
    put_u64(head + 16, (uint64_t)e->type);
    r->applied.chain = hash64_pair((struct slice){head, sizeof(head)}, e->data);
    r->applied.index = e->index;
    r->applied.term = e->term;
    if (e->type == GATE_CHANGE) {
        r->applied.configuration.len = 0;
        buf_put(&r->applied.configuration, e->data.data, e->data.len);
        r->applied.configuration_index = e->index;
    }
    watch_applied(r, e);
    watch_committed(r, e);
}

static void host_committed(void *arg, index_t index, term_t term, enum gate_entry type,
                           struct slice data)
{
    struct replica *r = arg;
    CHECK(index == r->committed + 1);
    r->committed = index;
    if (r->queue_count == r->queue_capacity) {
        r->queue_capacity = r->queue_capacity > 0 ? r->queue_capacity * 2 : 64;
        r->queue = mem_resize(r->queue, r->queue_capacity * sizeof(r->queue[0]));
    }
    r->queue[r->queue_count++] = (struct committed){index, term, type, data};
    env_defer(r->env, &r->work);
}

static void host_changed(void *arg)
{
    struct replica *r = arg;
    env_defer(r->env, &r->work);
    if (gate_state(r->gate) == GATE_LEADER) watch_leader(r);
}

/* ---- manifests ---- */

static void state_encode(const struct state *s, struct buf *out)
{
    buf_u64(out, s->index);
    buf_u64(out, s->term);
    buf_u64(out, s->chain);
    buf_u64(out, s->configuration_index);
    buf_u64(out, s->wal_from);
    buf_slice(out, buf_bytes(&s->configuration));
    buf_u64(out, hash64(buf_bytes(out)));
}

static int state_decode(struct slice bytes, struct state *out)
{
    struct reader r = reader_of(bytes);
    struct state s = {.index = read_u64(&r)};
    s.term = read_u64(&r);
    s.chain = read_u64(&r);
    s.configuration_index = read_u64(&r);
    s.wal_from = read_u64(&r);
    struct slice configuration = read_slice(&r, GATE_CONFIGURATION_MAX);
    size_t hashed = bytes.len - reader_left(&r);
    uint64_t hash = read_u64(&r);
    if (!reader_done(&r) || hash != hash64((struct slice){bytes.data, hashed})) return ERR_CORRUPT;
    buf_put(&s.configuration, configuration.data, configuration.len);
    *out = s;
    return 0;
}

static int manifest_write(struct env *env, const struct state *s)
{
    struct buf bytes = {0};
    state_encode(s, &bytes);
    struct env_file *file;
    int rv = env_file_open(env, "/data/manifest.new", ENV_WRITE | ENV_CREATE, &file);
    if (rv == 0) {
        rv = env_file_truncate(env, file, 0);
        if (rv == 0) rv = env_file_write(env, file, bytes.data, bytes.len, 0);
        if (rv == 0) rv = env_file_sync(env, file);
        env_file_close(env, file);
    }
    if (rv == 0) rv = env_rename(env, "/data/manifest.new", "/data/manifest");
    if (rv == 0) rv = env_dir_sync(env, "/data");
    buf_free(&bytes);
    return rv;
}

static void manifest_read(struct env *env, struct state *out)
{
    struct env_file *file;
    uint64_t bytes = 0;
    size_t got = 0;
    int rv = env_file_open(env, "/data/manifest", ENV_READ, &file);
    if (rv == ERR_NOT_FOUND) return;
    CHECK(rv == 0);
    CHECK(env_file_size(env, file, &bytes) == 0);
    void *data = mem_alloc((size_t)bytes + 1);
    CHECK(env_file_read(env, file, data, (size_t)bytes, 0, &got) == 0);
    env_file_close(env, file);
    CHECK(state_decode((struct slice){data, got}, out) == 0);
    free(data);
}

static void job_run(struct env_work *work) /* On a worker. */
{
    struct replica *r = CONTAINER_OF(work, struct replica, job_work);
    r->job_err = manifest_write(r->env, &r->job_state);
}

static void answer_get(struct replica *r)
{
    if (!r->get_wanted || r->durable.index < r->get_at_least) return;
    r->get_wanted = false;
    uint8_t data[16];
    put_u64(data, r->durable.chain);
    put_u64(data + 8, r->durable.index);
    struct gate_snapshot snapshot = {.index = r->durable.index,
                                     .term = r->durable.term,
                                     .configuration = buf_bytes(&r->durable.configuration),
                                     .configuration_index = r->durable.configuration_index,
                                     .data = {data, sizeof(data)}};
    gate_snapshot_ready(r->gate, &snapshot);
}

static void job_done(struct env_work *work)
{
    struct replica *r = CONTAINER_OF(work, struct replica, job_work);
    CHECK(r->job_err == 0);
    enum job job = r->job;
    r->job = JOB_NONE;
    r->cluster->counts.manifests++;
    state_copy(&r->durable, &r->job_state);
    if (job == JOB_INSTALL) {
        r->cluster->counts.installs++;
        state_copy(&r->applied, &r->durable);
        gate_install_done(r->gate);
    } else {
        /* After an install that brought more, the gate has some of it still to come. */
        index_t known = r->durable.index < r->committed ? r->durable.index : r->committed;
        gate_checkpointed(r->gate, known);
    }
    answer_get(r);
    env_defer(r->env, &r->work);
}

static void job_start(struct replica *r, enum job job, const struct state *state)
{
    r->job = job;
    state_copy(&r->job_state, state);
    r->job_work = (struct env_work){.work = job_run, .done = job_done};
    env_work_submit(r->env, NULL, &r->job_work);
}

/* The end of a turn: apply what is committed, write a manifest when one is due. */
static void replica_work(struct env_task *task)
{
    struct replica *r = CONTAINER_OF(task, struct replica, work);
    while (r->queue_done < r->queue_count)
        apply(r, &r->queue[r->queue_done++]);
    r->queue_count = r->queue_done = 0;
    if (r->job != JOB_NONE) return;
    if (r->commit_wanted) {
        r->commit_wanted = false;
        job_start(r, JOB_INSTALL, &r->install);
        return;
    }
    index_t fresh = r->applied.index - r->durable.index;
    bool due = fresh >= r->cluster->config.checkpoint_entries;
    bool wanted = r->get_wanted && r->applied.index >= r->get_at_least && fresh > 0;
    if (r->applied.index > 0 && (due || wanted))
        job_start(r, JOB_CHECKPOINT, &r->applied);
    else
        answer_get(r);
}

/* ---- snapshots ---- */

static void host_snapshot_get(void *arg, index_t at_least)
{
    struct replica *r = arg;
    r->get_wanted = true;
    r->get_at_least = at_least;
    env_defer(r->env, &r->work);
}

static void host_install(void *arg, uint64_t from, const struct gate_snapshot *snapshot)
{
    struct replica *r = arg;
    (void)snapshot;
    CHECK(!r->commit_wanted);
    CHECK(r->job != JOB_INSTALL);
    r->install_from = number_of(from);
    /* Mostly quick, sometimes as long as leaders last. */
    uint64_t most_us = env_random_below(r->env, 4) == 0 ? 2000000 : 30000;
    env_timer_start_us(r->env, &r->fetch_timer, 500 + env_random_below(r->env, most_us));
}

static void fetch_fired(struct env_timer *timer)
{
    struct replica *r = CONTAINER_OF(timer, struct replica, fetch_timer);
    bool ok = env_random_below(r->env, 100) >= r->cluster->config.install_fail_percent;
    gate_install_ready(r->gate, ok);
}

static void host_install_commit(void *arg, const struct gate_snapshot *snapshot)
{
    struct replica *r = arg;
    CHECK(snapshot->data.len == 16);
    CHECK(get_u64((const uint8_t *)snapshot->data.data + 8) == snapshot->index);
    state_free(&r->install);
    r->install = (struct state){.index = snapshot->index,
                                .term = snapshot->term,
                                .chain = get_u64(snapshot->data.data),
                                .configuration_index = snapshot->configuration_index,
                                .wal_from = wal_next(r->wal)};
    buf_put(&r->install.configuration, snapshot->configuration.data, snapshot->configuration.len);
    /* Who sends it has gone on meanwhile: rows come as of then. */
    const struct replica *from = &r->cluster->replicas[r->install_from];
    if (from->gate != NULL && from->applied.index > snapshot->index &&
        env_random_below(r->env, 2) == 0) {
        batch_t wal_from = r->install.wal_from;
        state_copy(&r->install, &from->applied);
        r->install.wal_from = wal_from;
    }
    r->committed = snapshot->index;
    r->commit_wanted = true;
    r->queue_count = r->queue_done = 0;
    env_defer(r->env, &r->work);
}

/* ---- reads ---- */

static void finish_read(struct replica *r)
{
    struct cluster *c = r->cluster;
    struct gate_member members[GATE_MEMBERS_MAX];
    size_t count = gate_members(r->gate, members);
    unsigned voters = 0, have = 0;
    for (size_t i = 0; i < count; i++) {
        if (members[i].role != GATE_VOTER) continue;
        voters++;
        if (members[i].id == id_of(r->number))
            have++;
        else if (r->read.answers >> number_of(members[i].id) & 1)
            have++;
    }
    if (have <= voters / 2) return;
    r->read.busy = false;
    if (gate_state(r->gate) != GATE_LEADER || gate_term(r->gate) != r->read.term) {
        c->counts.reads_lost++;
        return;
    }
    c->counts.reads++;
    if (r->read.index < r->read.promise) {
        violated(c, "node %u read at %" PRIu64 ", acknowledged was %" PRIu64, r->number,
                 r->read.index, r->read.promise);
    }
}

void cluster_read(struct cluster *c, unsigned n)
{
    struct replica *r = &c->replicas[n];
    if (r->gate == NULL || !gate_ready(r->gate)) return;
    if (r->read.busy) c->counts.reads_lost++;
    r->read = (struct read){.round = ++c->rounds,
                            .term = gate_term(r->gate),
                            .index = gate_commit(r->gate),
                            .promise = c->acked_index,
                            .busy = true};
    uint8_t frame[16];
    put_u64(frame, r->read.round);
    put_u64(frame + 8, r->read.term);
    for (unsigned i = 0; i < c->config.nodes; i++) {
        if (i != n) post(r, i, FRAME_PROBE, (struct slice){frame, sizeof(frame)});
    }
    finish_read(r);
}

/* A peer's leader asks for our term: only once it is durable (gate_settled). */
static void answer_probe(struct replica *r, unsigned from, const uint8_t *probe)
{
    if (!gate_settled(r->gate)) return;
    uint8_t frame[16];
    put_u64(frame, get_u64(probe));
    put_u64(frame + 8, gate_term(r->gate));
    post(r, from, FRAME_ANSWER, (struct slice){frame, sizeof(frame)});
}

static void take_answer(struct replica *r, unsigned from, const uint8_t *answer)
{
    if (!r->read.busy || get_u64(answer) != r->read.round) return;
    if (get_u64(answer + 8) != r->read.term) return;
    r->read.answers |= 1U << from;
    finish_read(r);
}

void replica_frame(struct replica *r, unsigned from, enum frame frame, struct slice body)
{
    switch (frame) {
        case FRAME_GATE:
            gate_receive(r->gate, body);
            break;
        case FRAME_PROBE:
            answer_probe(r, from, body.data);
            break;
        case FRAME_ANSWER:
            take_answer(r, from, body.data);
            break;
    }
}

/* ---- the process ---- */

static void tick_fired(struct env_timer *timer)
{
    struct replica *r = CONTAINER_OF(timer, struct replica, tick);
    env_timer_start(r->env, &r->tick, HEARTBEAT_MS);
    if (r->asleep && gate_state(r->gate) == GATE_FOLLOWER) return;
    gate_tick(r->gate);
}

static void wal_replayed(void *arg, const struct wal_record *record, batch_t batch)
{
    struct replica *r = arg;
    CHECK(replay_record(&r->replay, record, batch) == 0);
}

static void slow_arm(struct replica *r)
{
    r->slow_batch = r->durable_batch;
    env_timer_start_us(r->env, &r->slow_timer, r->slow_us);
}

static void slow_fired(struct env_timer *timer)
{
    struct replica *r = CONTAINER_OF(timer, struct replica, slow_timer);
    batch_t durable = r->slow_batch;
    if (r->durable_batch > durable) slow_arm(r);
    gate_durable(r->gate, durable);
}

static void wal_durable_now(void *arg, batch_t durable)
{
    struct replica *r = arg;
    r->durable_batch = durable;
    if (env_timer_started(&r->slow_timer)) return;
    if (r->slow_us == 0) {
        gate_durable(r->gate, durable);
    } else {
        slow_arm(r);
    }
}

static void wal_space(void *arg, bool low)
{
    (void)arg;
    (void)low;
}

static void open_wal(struct replica *r)
{
    struct wal_config config = {.dir = "/data/wal",
                                .owner = id_of(r->number),
                                .parts_count = 1,
                                .file_bytes = WAL_FILE_TEST_BYTES};
    struct wal_handlers handlers = {wal_replayed, wal_durable_now, wal_space, r};
    char why[200] = "";
    int rv = wal_open(r->env, &config, &handlers, &r->wal, why, sizeof(why));
    if (rv != 0) {
        printf("node %u: %s: %s\n", r->number, err_name(rv), why);
        CHECK(rv == 0);
    }
}

static void open_gate(struct replica *r)
{
    const struct cluster *c = r->cluster;
    struct gate_config config = {
        .env = r->env,
        .wal = r->wal,
        .part = 0,
        .self = id_of(r->number),
        .election_ms = ELECTION_MS,
        .heartbeat_ms = HEARTBEAT_MS,
        .log_bytes = c->config.log_bytes,
        .rules = c->config.rules,
        .host = {host_send, host_room, host_committed, host_changed, host_snapshot_get,
                 host_install, host_install_commit, r},
    };
    struct gate_member members[CLUSTER_NODES_MAX];
    for (unsigned i = 0; i < c->config.voters; i++) {
        members[i] = (struct gate_member){id_of(i), GATE_VOTER};
    }
    struct state *s = &r->durable;
    const struct replay *f = &r->replay;
    bool fresh = f->term == 0 && s->index == 0 && f->entries_count == 0;
    struct gate_boot boot = {
        .term = f->term,
        .vote = f->vote,
        .snapshot =
            {s->index, s->term, buf_bytes(&s->configuration), s->configuration_index, {"", 0}},
        .entries = f->entries,
        .entries_count = f->entries_count,
        .bootstrap = members,
        .bootstrap_count = fresh && r->number < c->config.voters ? c->config.voters : 0,
    };
    CHECK(gate_open(&config, &boot, &r->gate) == 0);
}

void replica_boot(void *arg, struct env *env)
{
    struct replica *r = arg;
    r->env = env;
    env_timer_init(&r->tick, tick_fired);
    env_timer_init(&r->inbox_timer, inbox_fired);
    env_timer_init(&r->fetch_timer, fetch_fired);
    env_timer_init(&r->slow_timer, slow_fired);
    env_task_init(&r->work, ENV_PHASE_WORK, replica_work);
    r->cluster->counts.boots++;
    manifest_read(env, &r->durable);
    state_copy(&r->applied, &r->durable);
    r->committed = r->durable.index;
    replay_init(&r->replay, r->durable.index, r->durable.wal_from);
    open_wal(r);
    CHECK(replay_end(&r->replay) == 0);
    open_gate(r);
    replay_free(&r->replay);
    env_timer_start_us(env, &r->tick, 1 + env_random_below(env, HEARTBEAT_MS * 1000));
}

void replica_died(void *arg)
{
    struct replica *r = arg;
    if (r->gate != NULL) gate_close(r->gate);
    if (r->wal != NULL) wal_close(r->wal);
    r->gate = NULL;
    r->wal = NULL;
    state_free(&r->applied);
    state_free(&r->durable);
    state_free(&r->job_state);
    state_free(&r->install);
    free(r->queue);
    r->queue = NULL;
    r->queue_count = r->queue_capacity = r->queue_done = 0;
    free(r->proposals);
    r->proposals = NULL;
    r->proposals_count = r->proposals_capacity = 0;
    while (r->inbox != NULL) {
        struct parcel *p = r->inbox;
        r->inbox = p->next;
        free(p);
    }
    r->read = (struct read){0};
    r->get_wanted = r->commit_wanted = false;
    r->job = JOB_NONE;
}
