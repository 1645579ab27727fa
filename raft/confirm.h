/* raft/confirm.h -- rounds that prove leadership: what makes a read linearizable (read index).
 *
 * A partition that leads asks for a round. At the end of the turn one question per peer leaves for
 * all partitions that asked. Each peer answers with its own term of
 * that partition, once that term is durable. A majority of the voters, ourselves among them, whose
 * term is still ours proves that nobody else led when the round began; so a read that arrived
 * before the round began may be answered from what was committed when it began.
 *
 * Owns:   its rounds. Borrows: env, the host.
 * Thread: the loop's. confirmed runs from confirm_receive or from the task that begins rounds.
 * Errors: malformed messages are dropped: ERR_CORRUPT. Lost ones are asked again by confirm_tick.
 * Format: question: u64 round, varint count, varint part each; answer: u64 round, varint
 *         count, {varint part, varint term} each. */
#ifndef RAFT_CONFIRM_H_
#define RAFT_CONFIRM_H_

#include "log/env.h"
#include "log/limits.h"

struct confirm; /* Opaque. Made by confirm_create, freed by confirm_destroy. */

enum {
    CONFIRM_VOTERS_MAX = 2 * NODES_MAX,
    CONFIRM_AGAIN_MS = 100, /* A round without its majority is begun anew after this. */
};

/* What a leader says when its round begins. */
struct confirm_claim {
    term_t term;
    bool self_votes; /* Our own raft id is among the voters, and our term is durable. */
    uint64_t voters[CONFIRM_VOTERS_MAX]; /* Raft ids of the others. */
    unsigned voters_count;               /* Of the others. */
    unsigned majority;                   /* Of all voters. */
};

struct confirm_host {
    /* A round of this partition begins now: note what is committed. False: it does not lead. */
    bool (*claim)(void *arg, part_t part, struct confirm_claim *out);
    /* A majority confirmed the round that the last claim began. */
    void (*confirmed)(void *arg, part_t part);
    /* Our term of this partition, for an answer. False: it is not durable yet; asked again by
     * confirm_settled. */
    bool (*term)(void *arg, part_t part, term_t *term);
    /* Send to the confirm of raft id `to`; may drop it. bytes: borrowed until return. */
    void (*send)(void *arg, uint64_t to, bool question, struct slice bytes);
    void *arg;
};

/* host: copied. */
struct confirm *confirm_create(struct env *env, unsigned parts_count,
                               const struct confirm_host *host);
void confirm_destroy(struct confirm *confirm);

/* Begin a round for part at the end of this turn. While one is open it ends first: ask again when
 * it confirmed. */
void confirm_ask(struct confirm *confirm, part_t part);
bool confirm_open(const struct confirm *confirm, part_t part); /* Asked for, and no answer yet. */
void confirm_forget(struct confirm *confirm, part_t part);     /* Leadership ended. */

/* From the links. bytes: borrowed until return. */
MUST_CHECK int confirm_receive(struct confirm *confirm, uint64_t from, bool question,
                               struct slice bytes);
void confirm_settled(struct confirm *confirm); /* Terms may have become durable. */
void confirm_tick(struct confirm *confirm);    /* Every 50 ms: rounds that got lost. */

#endif /* RAFT_CONFIRM_H_ */
