/* raft/confirm.c -- see confirm.h.
 *
 * Happy path: confirm_ask marks the partition; the task at the end of the turn draws one round
 * number, lets each partition claim, and sends one question to each voter concerned; answers count
 * voters off until the majority is there.
 * Invariants: an answer counts only for the very round that asked (numbers are never reused, and
 * begin at a random place after each start), only from a voter of the claim, only with its term. */
#include "raft/confirm.h"

#include <stdlib.h>

enum { PEERS_MAX = CONFIRM_VOTERS_MAX };

/* One partition's round. */
struct round {
    bool wanted; /* Asked for, not begun. */
    bool open;   /* Begun, no majority yet. */
    uint64_t number;
    uint64_t begun_ms;
    struct confirm_claim claim;
    uint32_t answered; /* Bits of claim.voters. */
    unsigned votes;
};

/* Questions of one peer that wait for our terms to be durable. */
struct owed {
    uint64_t to;       /* Raft id; 0: free. */
    uint64_t *numbers; /* Per partition: the newest round asked; 0: none. */
    unsigned count;
};

struct confirm {
    struct env *env;
    struct confirm_host host;
    unsigned parts_count;
    uint64_t number; /* Of the last round. */
    struct round *rounds;
    struct owed owed[PEERS_MAX];
    struct env_task begin;
    struct buf out;
};

static void confirm_begin(struct env_task *task);

struct confirm *confirm_create(struct env *env, unsigned parts_count,
                               const struct confirm_host *host)
{
    CHECK(parts_count >= 1);
    CHECK(parts_count <= PARTITIONS_MAX);
    struct confirm *confirm = mem_zero(sizeof *confirm);
    *confirm = (struct confirm){.env = env, .host = *host, .parts_count = parts_count};
    confirm->rounds = mem_zero(parts_count * sizeof *confirm->rounds);
    /* Not from 0, so that a late answer to a former life of this node meets no round of this. */
    confirm->number = env_random(env) >> 1;
    env_task_init(&confirm->begin, ENV_PHASE_LOG, confirm_begin);
    return confirm;
}

void confirm_destroy(struct confirm *confirm)
{
    env_undefer(confirm->env, &confirm->begin);
    for (size_t i = 0; i < PEERS_MAX; i++)
        free(confirm->owed[i].numbers);
    buf_free(&confirm->out);
    free(confirm->rounds);
    free(confirm);
}

void confirm_ask(struct confirm *confirm, part_t part)
{
    CHECK(part < confirm->parts_count);
    struct round *round = &confirm->rounds[part];
    if (round->wanted || round->open) return;
    round->wanted = true;
    env_defer(confirm->env, &confirm->begin);
}

bool confirm_open(const struct confirm *confirm, part_t part)
{
    CHECK(part < confirm->parts_count);
    return confirm->rounds[part].wanted || confirm->rounds[part].open;
}

void confirm_forget(struct confirm *confirm, part_t part)
{
    CHECK(part < confirm->parts_count);
    confirm->rounds[part].wanted = false;
    confirm->rounds[part].open = false;
}

static void round_check(struct confirm *confirm, part_t part)
{
    struct round *round = &confirm->rounds[part];
    if (!round->open || round->votes < round->claim.majority) return;
    round->open = false;
    confirm->host.confirmed(confirm->host.arg, part);
}

static bool round_asks(const struct round *round, uint64_t number, uint64_t voter)
{
    if (!round->open || round->number != number) return false;
    for (unsigned i = 0; i < round->claim.voters_count; i++)
        if (round->claim.voters[i] == voter) return true;
    return false;
}

/* One question to voter, for all partitions of this round that it votes in. */
static void question_send(struct confirm *confirm, uint64_t number, uint64_t voter)
{
    unsigned count = 0;
    for (unsigned p = 0; p < confirm->parts_count; p++)
        if (round_asks(&confirm->rounds[p], number, voter)) count++;
    confirm->out.len = 0;
    buf_u64(&confirm->out, number);
    buf_varint(&confirm->out, count);
    for (unsigned p = 0; p < confirm->parts_count; p++)
        if (round_asks(&confirm->rounds[p], number, voter)) buf_varint(&confirm->out, p);
    confirm->host.send(confirm->host.arg, voter, true, buf_bytes(&confirm->out));
}

static unsigned voters_add(uint64_t *voters, unsigned count, const struct confirm_claim *claim)
{
    for (unsigned i = 0; i < claim->voters_count; i++) {
        unsigned at = 0;
        while (at < count && voters[at] != claim->voters[i])
            at++;
        if (at == count && count < PEERS_MAX) voters[count++] = claim->voters[i];
    }
    return count;
}

static void confirm_begin(struct env_task *task)
{
    struct confirm *confirm = CONTAINER_OF(task, struct confirm, begin);
    uint64_t number = ++confirm->number;
    uint64_t voters[PEERS_MAX];
    unsigned voters_count = 0;
    for (unsigned p = 0; p < confirm->parts_count; p++) {
        struct round *round = &confirm->rounds[p];
        if (!round->wanted) continue;
        round->wanted = false;
        round->open = confirm->host.claim(confirm->host.arg, (part_t)p, &round->claim);
        if (!round->open) continue;
        CHECK(round->claim.voters_count <= CONFIRM_VOTERS_MAX);
        CHECK(round->claim.majority >= 1);
        round->number = number;
        round->begun_ms = env_now_ms(confirm->env);
        round->answered = 0;
        round->votes = round->claim.self_votes ? 1 : 0;
        voters_count = voters_add(voters, voters_count, &round->claim);
    }
    for (unsigned i = 0; i < voters_count; i++)
        question_send(confirm, number, voters[i]);
    for (unsigned p = 0; p < confirm->parts_count; p++)
        round_check(confirm, (part_t)p); /* A sole voter confirms itself. */
}

/* ---- answering ---- */

static struct owed *owed_of(struct confirm *confirm, uint64_t to)
{
    struct owed *free_one = NULL;
    for (size_t i = 0; i < PEERS_MAX; i++) {
        if (confirm->owed[i].to == to) return &confirm->owed[i];
        if (confirm->owed[i].to == 0 || confirm->owed[i].count == 0) free_one = &confirm->owed[i];
    }
    if (free_one == NULL) return NULL;
    if (free_one->numbers == NULL)
        free_one->numbers = mem_zero(confirm->parts_count * sizeof *free_one->numbers);
    free_one->to = to;
    return free_one;
}

/* Answer what can be answered; partitions whose term is not durable stay owed. A question holds
 * one round, so answers of one number share a message. */
static void owed_pay(struct confirm *confirm, struct owed *owed)
{
    while (owed->count > 0) {
        uint64_t number = 0;
        unsigned count = 0;
        struct buf items = {0};
        for (unsigned p = 0; p < confirm->parts_count; p++) {
            term_t term;
            if (owed->numbers[p] == 0) continue;
            if (number != 0 && owed->numbers[p] != number) continue;
            if (!confirm->host.term(confirm->host.arg, (part_t)p, &term)) continue;
            number = owed->numbers[p];
            owed->numbers[p] = 0;
            owed->count--;
            count++;
            buf_varint(&items, p);
            buf_varint(&items, term);
        }
        if (count > 0) {
            confirm->out.len = 0;
            buf_u64(&confirm->out, number);
            buf_varint(&confirm->out, count);
            buf_put(&confirm->out, items.data, items.len);
            confirm->host.send(confirm->host.arg, owed->to, false, buf_bytes(&confirm->out));
        }
        buf_free(&items);
        if (count == 0) return;
    }
}

static int question_receive(struct confirm *confirm, uint64_t from, struct reader *r)
{
    uint64_t number = read_u64(r);
    uint64_t count = read_bounded(r, confirm->parts_count);
    struct owed *owed = owed_of(confirm, from);
    for (uint64_t i = 0; i < count && !r->failed; i++) {
        uint64_t part = read_varint(r);
        if (r->failed || part >= confirm->parts_count || number == 0) return ERR_CORRUPT;
        if (owed == NULL) continue;
        if (owed->numbers[part] == 0) owed->count++;
        owed->numbers[part] = number;
    }
    if (owed != NULL) owed_pay(confirm, owed);
    return reader_done(r) ? 0 : ERR_CORRUPT;
}

static void answer_count(struct round *round, uint64_t from, uint64_t number, term_t term)
{
    if (!round->open || round->number != number || term != round->claim.term) return;
    for (unsigned i = 0; i < round->claim.voters_count; i++) {
        uint32_t bit = (uint32_t)1 << i;
        if (round->claim.voters[i] != from || round->answered & bit) continue;
        round->answered |= bit;
        round->votes++;
    }
}

static int answer_receive(struct confirm *confirm, uint64_t from, struct reader *r)
{
    uint64_t number = read_u64(r);
    uint64_t count = read_bounded(r, confirm->parts_count);
    for (uint64_t i = 0; i < count && !r->failed; i++) {
        uint64_t part = read_varint(r);
        term_t term = read_varint(r);
        if (r->failed || part >= confirm->parts_count) return ERR_CORRUPT;
        answer_count(&confirm->rounds[part], from, number, term);
        round_check(confirm, (part_t)part);
    }
    return reader_done(r) ? 0 : ERR_CORRUPT;
}

int confirm_receive(struct confirm *confirm, uint64_t from, bool question, struct slice bytes)
{
    CHECK(from != 0);
    struct reader r = reader_of(bytes);
    return question ? question_receive(confirm, from, &r) : answer_receive(confirm, from, &r);
}

void confirm_settled(struct confirm *confirm)
{
    for (size_t i = 0; i < PEERS_MAX; i++)
        if (confirm->owed[i].count > 0) owed_pay(confirm, &confirm->owed[i]);
}

void confirm_tick(struct confirm *confirm)
{
    uint64_t now_ms = env_now_ms(confirm->env);
    for (unsigned p = 0; p < confirm->parts_count; p++) {
        struct round *round = &confirm->rounds[p];
        if (!round->open || now_ms - round->begun_ms < CONFIRM_AGAIN_MS) continue;
        round->open = false;
        confirm_ask(confirm, (part_t)p);
    }
}
