/* tests/raft/gate_peer_fuzz.c -- well-formed messages that no correct peer sends, to a leader and
 * to a follower of a small group: whatever they bring about, no process dies of them. */
#include "raft/gate_msg.h"
#include "tests/raft/gate_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Small numbers near those in use find more than large ones; the watch keeps arrays by them. */
static uint64_t number(struct reader *r, uint64_t near)
{
    uint8_t byte = read_u8(r);
    return byte >= 250 ? UINT64_C(1) << (byte - 236) : near + byte % 8 - (near >= 4 ? 4 : near);
}

static void fill_entries(struct reader *r, struct raft_append_entries *a, term_t term,
                         struct raft_entry entries[4])
{
    static uint8_t payload[16];
    a->entries = entries;
    a->n_entries = read_u8(r) % 5;
    term_t last = a->prev_log_term;
    for (unsigned i = 0; i < a->n_entries; i++) {
        last = last + read_u8(r) % 2;
        if (last < 1) last = 1;
        if (last > term) last = term;
        entries[i] = (struct raft_entry){.term = last,
                                         .type = read_u8(r) % 2 == 0 ? RAFT_COMMAND : RAFT_BARRIER,
                                         .buf = {payload, sizeof(payload)}};
    }
}

/* What the replicas of the simulated group expect a snapshot to carry. */
static void fill_data(struct raft_install_snapshot *s, uint8_t data[16])
{
    put_u64(data, 0);
    put_u64(data + 8, s->last_index);
    s->data = (struct raft_buffer){data, 16};
}

static void fill(struct reader *r, const struct gate *gate, struct raft_message *m,
                 struct raft_entry entries[4], struct raft_server *server,
                 uint8_t snapshot_data[16])
{
    term_t term = number(r, gate_term(gate));
    index_t last = gate_last_index(gate);
    switch (m->type) {
        case RAFT_IO_APPEND_ENTRIES:
            m->append_entries.term = term;
            m->append_entries.prev_log_index = number(r, last);
            m->append_entries.prev_log_term = number(r, term);
            m->append_entries.leader_commit = number(r, last);
            fill_entries(r, &m->append_entries, term, entries);
            break;
        case RAFT_IO_APPEND_ENTRIES_RESULT:
            m->append_entries_result = (struct raft_append_entries_result){
                term, read_u8(r) % 2 == 0 ? 0 : number(r, last), number(r, last)};
            break;
        case RAFT_IO_REQUEST_VOTE:
            m->request_vote.term = term;
            m->request_vote.last_log_index = number(r, last);
            m->request_vote.last_log_term = number(r, term);
            m->request_vote.disrupt_leader = read_u8(r) % 2 == 0;
            m->request_vote.pre_vote = read_u8(r) % 2 == 0;
            break;
        case RAFT_IO_REQUEST_VOTE_RESULT:
            m->request_vote_result.term = term;
            m->request_vote_result.vote_granted = read_u8(r) % 2 == 0;
            m->request_vote_result.pre_vote = (raft_tribool)(read_u8(r) % 3);
            break;
        case RAFT_IO_INSTALL_SNAPSHOT:
            m->install_snapshot = (struct raft_install_snapshot){.term = term,
                                                                 .last_index = number(r, last),
                                                                 .last_term = number(r, term),
                                                                 .conf = {server, 1},
                                                                 .conf_index = 1};
            fill_data(&m->install_snapshot, snapshot_data);
            break;
        default:
            m->timeout_now = (struct raft_timeout_now){term, number(r, last), number(r, term)};
            break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = reader_of((struct slice){data, size});
    struct rig rig;
    rig_open(&rig, (struct rig_options){.nodes = 3,
                                        .voters = 3,
                                        .rules = ALL_RULES,
                                        .log_bytes = 2000,
                                        .checkpoint_entries = 10});
    (void)rig_propose(&rig, 0, 15, 16);
    char address[GATE_ADDRESS_BYTES];
    gate_address(rig_id(1), address);
    struct raft_server server = {rig_id(1), address, RAFT_VOTER};
    while (reader_left(&r) > 0) {
        unsigned to = read_u8(&r) % 2;
        unsigned from = (to + 1 + read_u8(&r) % 2) % 3;
        struct raft_entry entries[4];
        uint8_t snapshot_data[16];
        struct raft_message m = {.type = (unsigned short)(1 + read_u8(&r) % 6)};
        m.request_vote.candidate_id = 0;
        fill(&r, cluster_gate(rig.c, to), &m, entries, &server, snapshot_data);
        if (m.type == RAFT_IO_REQUEST_VOTE) m.request_vote.candidate_id = rig_id(from);
        struct gate_envelope envelope = {.from = rig_id(from), .to = rig_id(to)};
        struct buf bytes = {0};
        gate_msg_encode(&bytes, &envelope, &m);
        gate_receive(cluster_gate(rig.c, to), buf_bytes(&bytes));
        buf_free(&bytes);
        if (read_u8(&r) % 4 == 0) world_run_for(rig.world, 5 * MS);
        gate_check(cluster_gate(rig.c, to));
    }
    rig_close(&rig);
    return 0;
}
