/* tests/log/wal_rig.h -- a write-ahead log under test, beside a naive model of what it must hold.
 *
 * The rig appends records through wal.h and remembers them. At each wal_open what is replayed must
 * be what was appended up to some batch, and that batch is never below the last one reported
 * durable. Entries that were released may be missing, nothing else.
 *
 * Owns:   the wal, the model. Borrows: env. Thread: one.
 * Errors: a broken promise is told on stderr and aborts (CHECK), so that the seed is near it. */
#ifndef TESTS_LOG_WAL_RIG_H_
#define TESTS_LOG_WAL_RIG_H_

#include "log/wal.h"

enum { RIG_PARTS = 3, RIG_INDEX_MAX = 4096 };

struct rig_entry {
    term_t term;
    uint64_t stamp; /* Which append it was; the data follows from it. 0: no entry. */
};

/* What a log means: the naive model, arrays alone. */
struct rig_part {
    term_t term;
    uint64_t vote;
    index_t last;
    struct rig_entry entries[RIG_INDEX_MAX + 1];
};

struct rig_sent {
    struct wal_record record; /* Without data. */
    size_t data_bytes;
    uint64_t stamp;
    batch_t batch;
};

struct rig {
    struct env *env;
    struct wal_config config;
    struct wal *wal; /* NULL while closed. */
    int err;         /* Of the last rig_open. */
    char why[512];
    bool (*void_now)(void *arg); /* Power is gone: what the log says does not count. May be NULL. */
    void *void_arg;

    struct rig_part truth[RIG_PARTS]; /* All that was appended up to batch acked. */
    struct rig_sent *sent;            /* Owned; what was appended after that. */
    size_t sent_count, sent_capacity;
    batch_t acked;
    struct rig_part tip[RIG_PARTS]; /* truth and sent: what to append next. */
    index_t released[RIG_PARTS];

    struct rig_part found[RIG_PARTS]; /* What wal_open replayed. */
    bool damaged; /* The test damaged what was durable: it compares for itself. */
    uint64_t stamps_count;
    bool low; /* As handlers.space said last. */
    uint64_t space_calls_count;
};

/* env, void_now, void_arg may be set later, before rig_open. dir: borrowed. */
void rig_init(struct rig *rig, struct env *env, const char *dir, uint64_t file_bytes);
void rig_free(struct rig *rig); /* The wal is closed before. */

/* wal_open; when it succeeds, what it replayed is compared with what must be there. */
void rig_open(struct rig *rig);
/* wal_close. died: it was a crash, so that nothing counts as written by it. */
void rig_close(struct rig *rig, bool died);

/* Append; the batch. */
batch_t rig_entry(struct rig *rig, part_t part, size_t data_bytes);
batch_t rig_truncate(struct rig *rig, part_t part, index_t index);
batch_t rig_vote(struct rig *rig, part_t part);
void rig_release(struct rig *rig, part_t part, index_t index); /* At most acked's last. */

bool rig_durable(const struct rig *rig); /* All that was appended is durable. */

/* Entries 1 .. last of part 0 were replayed, as they were appended, and no others. */
bool rig_found_prefix(const struct rig *rig, index_t last);

#endif /* TESTS_LOG_WAL_RIG_H_ */
