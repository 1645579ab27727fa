/* raft/gate_msg.c -- the bytes of libraft's messages, field by field.
 *
 * Message, version 1; integers little endian:
 *   u8 version, u8 type (libraft's RAFT_IO_*), u8 flags (1: installing), u16 part,
 *   u64 from, u64 to, then by type:
 *   1 append entries   u64 term, u64 previous index, u64 previous term, u64 commit, u32 count,
 *                      count times: u64 term, u8 type, slice data
 *   2 its result       u64 term, u64 rejected, u64 last index
 *   3 request vote     u64 term, u64 candidate, u64 last index, u64 last term,
 *                      u8 disrupt, u8 pre-vote
 *   4 its result       u64 term, u8 granted, u8 pre-vote (0 unknown, 1 true, 2 false)
 *   5 install snapshot u64 term, u64 index, u64 term of index, u64 configuration's index,
 *                      slice configuration, slice data
 *   6 timeout now      u64 term, u64 last index, u64 last term
 * Configuration, libraft's own form: u8 1, u64 count, count times: u64 id, the id in decimal with
 * an end mark (libraft's address), u8 role.
 *
 * A decoder lets through only what libraft's asserts, compiled out in Debian's build, would. */
#include "raft/gate_msg.h"

#include <stdio.h>

enum {
    MSG_VERSION = 1,
    FLAG_INSTALLING = 1,
    CONFIGURATION_VERSION = 1,
    ENTRY_BYTES_MIN = 8 + 1 + 1, /* Term, type, an empty slice. */
};

/* Indexes and terms beyond this are nonsense, and sums of two of them must not overflow. */
#define NUMBER_MAX (UINT64_C(1) << 62)

void *gate_alloc(size_t bytes)
{
    void *p = raft_malloc(bytes > 0 ? bytes : 1);
    CHECK(p != NULL);
    return p;
}

void *gate_copy(const void *data, size_t bytes)
{
    void *p = gate_alloc(bytes);
    if (bytes > 0) memcpy(p, data, bytes);
    return p;
}

void gate_address(uint64_t id, char out[GATE_ADDRESS_BYTES])
{
    (void)snprintf(out, GATE_ADDRESS_BYTES, "%llu", (unsigned long long)id);
}

/* ---- configurations ---- */

void gate_configuration_encode(struct buf *out, const struct gate_member *members, size_t count)
{
    CHECK(count >= 1 && count <= GATE_MEMBERS_MAX);
    buf_u8(out, CONFIGURATION_VERSION);
    buf_u64(out, count);
    for (size_t i = 0; i < count; i++) {
        char address[GATE_ADDRESS_BYTES];
        gate_address(members[i].id, address);
        buf_u64(out, members[i].id);
        buf_put(out, address, strlen(address) + 1);
        buf_u8(out, (uint8_t)members[i].role);
    }
}

/* Read one member; its id must be new among the count before it. */
static void read_member(struct reader *r, struct gate_member *members, size_t count)
{
    uint64_t id = read_u64(r);
    char address[GATE_ADDRESS_BYTES];
    gate_address(id, address);
    struct slice text = read_bytes(r, strlen(address) + 1);
    uint8_t role = read_u8(r);
    if (r->failed || id == 0 || role > GATE_SPARE || memcmp(text.data, address, text.len) != 0) {
        r->failed = true;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (members[i].id == id) r->failed = true;
    }
    members[count] = (struct gate_member){id, (enum gate_role)role};
}

/* Read a configuration, which may have bytes behind it. */
static void read_members(struct reader *r, struct gate_member out[GATE_MEMBERS_MAX], size_t *count)
{
    if (read_u8(r) != CONFIGURATION_VERSION) r->failed = true;
    uint64_t wanted = read_u64(r);
    if (wanted < 1 || wanted > GATE_MEMBERS_MAX) r->failed = true;
    *count = 0;
    while (!r->failed && *count < wanted) {
        read_member(r, out, *count);
        (*count)++;
    }
}

int gate_members_decode(struct slice configuration, struct gate_member out[GATE_MEMBERS_MAX],
                        size_t *count)
{
    struct reader r = reader_of(configuration);
    struct gate_member members[GATE_MEMBERS_MAX];
    size_t found;
    read_members(&r, members, &found);
    if (!reader_done(&r)) return ERR_CORRUPT;
    memcpy(out, members, found * sizeof(members[0]));
    *count = found;
    return 0;
}

int gate_configuration_decode(struct slice bytes, struct raft_configuration *out)
{
    struct gate_member members[GATE_MEMBERS_MAX];
    size_t count;
    int rv = gate_members_decode(bytes, members, &count);
    if (rv != 0) return rv;
    raft_configuration_init(out);
    for (size_t i = 0; i < count; i++) {
        char address[GATE_ADDRESS_BYTES];
        gate_address(members[i].id, address);
        CHECK(raft_configuration_add(out, members[i].id, address, (int)members[i].role) == 0);
    }
    return 0;
}

struct slice gate_entry_bytes(const struct raft_entry *entry)
{
    if (entry->type == RAFT_BARRIER) return (struct slice){NULL, 0};
    struct slice all = {entry->buf.base, entry->buf.len};
    if (entry->type != RAFT_CHANGE) return all;
    struct reader r = reader_of(all);
    struct gate_member members[GATE_MEMBERS_MAX];
    size_t count;
    read_members(&r, members, &count);
    CHECK(!r.failed);
    return (struct slice){all.data, all.len - reader_left(&r)};
}

/* ---- writing ---- */

static void write_entries(struct buf *out, const struct raft_append_entries *a)
{
    buf_u64(out, a->term);
    buf_u64(out, a->prev_log_index);
    buf_u64(out, a->prev_log_term);
    buf_u64(out, a->leader_commit);
    buf_u32(out, a->n_entries);
    for (unsigned i = 0; i < a->n_entries; i++) {
        buf_u64(out, a->entries[i].term);
        buf_u8(out, (uint8_t)a->entries[i].type);
        buf_slice(out, gate_entry_bytes(&a->entries[i]));
    }
}

static void write_install(struct buf *out, const struct raft_install_snapshot *s)
{
    struct gate_member members[GATE_MEMBERS_MAX];
    CHECK(s->conf.n <= GATE_MEMBERS_MAX);
    for (unsigned i = 0; i < s->conf.n; i++) {
        members[i] =
            (struct gate_member){s->conf.servers[i].id, (enum gate_role)s->conf.servers[i].role};
    }
    struct buf configuration = {0};
    gate_configuration_encode(&configuration, members, s->conf.n);
    buf_u64(out, s->term);
    buf_u64(out, s->last_index);
    buf_u64(out, s->last_term);
    buf_u64(out, s->conf_index);
    buf_slice(out, buf_bytes(&configuration));
    buf_slice(out, (struct slice){s->data.base, s->data.len});
    buf_free(&configuration);
}

static void write_request_vote(struct buf *out, const struct raft_request_vote *v)
{
    buf_u64(out, v->term);
    buf_u64(out, v->candidate_id);
    buf_u64(out, v->last_log_index);
    buf_u64(out, v->last_log_term);
    buf_u8(out, v->disrupt_leader);
    buf_u8(out, v->pre_vote);
}

void gate_msg_encode(struct buf *out, const struct gate_envelope *envelope,
                     const struct raft_message *message)
{
    buf_u8(out, MSG_VERSION);
    buf_u8(out, (uint8_t)message->type);
    buf_u8(out, envelope->installing ? FLAG_INSTALLING : 0);
    buf_u16(out, envelope->part);
    buf_u64(out, envelope->from);
    buf_u64(out, envelope->to);
    switch (message->type) {
        case RAFT_IO_APPEND_ENTRIES:
            write_entries(out, &message->append_entries);
            break;
        case RAFT_IO_APPEND_ENTRIES_RESULT:
            buf_u64(out, message->append_entries_result.term);
            buf_u64(out, message->append_entries_result.rejected);
            buf_u64(out, message->append_entries_result.last_log_index);
            break;
        case RAFT_IO_REQUEST_VOTE:
            write_request_vote(out, &message->request_vote);
            break;
        case RAFT_IO_REQUEST_VOTE_RESULT:
            buf_u64(out, message->request_vote_result.term);
            buf_u8(out, message->request_vote_result.vote_granted);
            buf_u8(out, (uint8_t)message->request_vote_result.pre_vote);
            break;
        case RAFT_IO_INSTALL_SNAPSHOT:
            write_install(out, &message->install_snapshot);
            break;
        case RAFT_IO_TIMEOUT_NOW:
            buf_u64(out, message->timeout_now.term);
            buf_u64(out, message->timeout_now.last_log_index);
            buf_u64(out, message->timeout_now.last_log_term);
            break;
        default:
            CHECK(false);
    }
}

/* ---- reading ---- */

static uint64_t read_number(struct reader *r)
{
    uint64_t value = read_u64(r);
    if (value > NUMBER_MAX) r->failed = true;
    return value;
}

static bool read_bool(struct reader *r)
{
    uint8_t value = read_u8(r);
    if (value > 1) r->failed = true;
    return value == 1;
}

/* Walk the entries without allocating: are they whole, do terms never fall? Sum of their bytes. */
static size_t scan_entries(struct reader r, const struct raft_append_entries *a, bool *good)
{
    size_t bytes = 0;
    term_t term = a->prev_log_term;
    for (unsigned i = 0; i < a->n_entries && !r.failed; i++) {
        term_t own = read_number(&r);
        uint8_t type = read_u8(&r);
        struct slice data = read_slice(&r, ENTRY_BYTES_MAX);
        if (own < 1 || own < term || own > a->term) r.failed = true;
        if (type < RAFT_COMMAND || type > RAFT_CHANGE) r.failed = true;
        if (type == RAFT_CHANGE && !r.failed) {
            struct gate_member members[GATE_MEMBERS_MAX];
            size_t count;
            if (gate_members_decode(data, members, &count) != 0) r.failed = true;
        }
        term = own;
        bytes += data.len;
    }
    *good = reader_done(&r);
    return bytes;
}

/* Entries in one array, their data in one batch: what libraft's freeing expects. */
static void read_entries(struct reader *r, struct raft_append_entries *a)
{
    a->term = read_number(r);
    a->prev_log_index = read_number(r);
    a->prev_log_term = read_number(r);
    a->leader_commit = read_number(r);
    a->n_entries = read_u32(r);
    a->entries = NULL;
    bool pair = (a->prev_log_index == 0) == (a->prev_log_term == 0);
    if (r->failed || !pair || a->term < 1 || a->prev_log_term > a->term ||
        a->n_entries > reader_left(r) / ENTRY_BYTES_MIN) {
        r->failed = true;
        return;
    }
    bool good;
    size_t bytes = scan_entries(*r, a, &good);
    if (!good) {
        r->failed = true;
        return;
    }
    if (a->n_entries == 0) return;
    a->entries = gate_alloc(a->n_entries * sizeof(a->entries[0]));
    uint8_t *batch = gate_alloc(bytes);
    uint8_t *at = batch;
    for (unsigned i = 0; i < a->n_entries; i++) {
        struct raft_entry *e = &a->entries[i];
        e->term = read_u64(r);
        e->type = read_u8(r);
        struct slice data = read_slice(r, ENTRY_BYTES_MAX);
        if (data.len > 0) memcpy(at, data.data, data.len);
        e->buf = (struct raft_buffer){at, data.len};
        e->batch = batch;
        at += data.len;
    }
}

static void read_result(struct reader *r, struct raft_append_entries_result *a)
{
    a->term = read_number(r);
    a->rejected = read_number(r);
    a->last_log_index = read_number(r);
}

static void read_request_vote(struct reader *r, struct raft_request_vote *v)
{
    v->term = read_number(r);
    v->candidate_id = read_u64(r);
    v->last_log_index = read_number(r);
    v->last_log_term = read_number(r);
    v->disrupt_leader = read_bool(r);
    v->pre_vote = read_bool(r);
    if (v->term < 1 || v->last_log_term > v->term) r->failed = true;
}

static void read_vote_result(struct reader *r, struct raft_request_vote_result *v)
{
    v->term = read_number(r);
    v->vote_granted = read_bool(r);
    uint8_t pre_vote = read_u8(r);
    if (pre_vote > raft_tribool_false) r->failed = true;
    v->pre_vote = (raft_tribool)pre_vote;
}

static void read_install(struct reader *r, struct raft_install_snapshot *s)
{
    s->term = read_number(r);
    s->last_index = read_number(r);
    s->last_term = read_number(r);
    s->conf_index = read_number(r);
    struct slice configuration = read_slice(r, GATE_CONFIGURATION_MAX);
    struct slice data = read_slice(r, GATE_SNAPSHOT_DATA_MAX);
    if (!reader_done(r) || s->last_index < 1 || s->last_term < 1 || s->last_term > s->term ||
        s->conf_index < 1 || s->conf_index > s->last_index ||
        gate_configuration_decode(configuration, &s->conf) != 0) {
        r->failed = true;
        return;
    }
    s->data = (struct raft_buffer){gate_copy(data.data, data.len), data.len};
}

static void read_timeout_now(struct reader *r, struct raft_timeout_now *t)
{
    t->term = read_number(r);
    t->last_log_index = read_number(r);
    t->last_log_term = read_number(r);
}

int gate_msg_decode(struct slice bytes, struct gate_envelope *envelope,
                    struct raft_message *message)
{
    struct reader r = reader_of(bytes);
    struct raft_message m;
    memset(&m, 0, sizeof(m));
    if (read_u8(&r) != MSG_VERSION) return ERR_CORRUPT;
    m.type = read_u8(&r);
    uint8_t flags = read_u8(&r);
    struct gate_envelope e = {.part = read_u16(&r)};
    e.from = read_u64(&r);
    e.to = read_u64(&r);
    e.installing = flags == FLAG_INSTALLING;
    m.server_id = e.from;
    if (r.failed || flags > FLAG_INSTALLING || e.from == 0 || e.to == 0) return ERR_CORRUPT;
    switch (m.type) {
        case RAFT_IO_APPEND_ENTRIES:
            read_entries(&r, &m.append_entries);
            break;
        case RAFT_IO_APPEND_ENTRIES_RESULT:
            read_result(&r, &m.append_entries_result);
            break;
        case RAFT_IO_REQUEST_VOTE:
            read_request_vote(&r, &m.request_vote);
            if (m.request_vote.candidate_id != e.from) return ERR_CORRUPT;
            break;
        case RAFT_IO_REQUEST_VOTE_RESULT:
            read_vote_result(&r, &m.request_vote_result);
            break;
        case RAFT_IO_INSTALL_SNAPSHOT:
            read_install(&r, &m.install_snapshot);
            break;
        case RAFT_IO_TIMEOUT_NOW:
            read_timeout_now(&r, &m.timeout_now);
            break;
        default:
            return ERR_CORRUPT;
    }
    if (!reader_done(&r)) return ERR_CORRUPT;
    *envelope = e;
    *message = m;
    return 0;
}

void gate_msg_free(struct raft_message *message)
{
    if (message->type == RAFT_IO_APPEND_ENTRIES) {
        struct raft_append_entries *a = &message->append_entries;
        if (a->n_entries > 0) raft_free(a->entries[0].batch);
        raft_free(a->entries);
        a->entries = NULL;
        a->n_entries = 0;
    } else if (message->type == RAFT_IO_INSTALL_SNAPSHOT) {
        raft_configuration_close(&message->install_snapshot.conf);
        raft_free(message->install_snapshot.data.base);
    }
}
