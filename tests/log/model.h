/* tests/log/model.h -- what streams are, written as plainly as can be: arrays, linear searches, no
 * runs, no caches. The store must say the same.
 *
 * Owns: all of it, until model_free. Small by construction: see the maxima below. */
#ifndef TESTS_LOG_MODEL_H_
#define TESTS_LOG_MODEL_H_

#include "log/sha.h"
#include "log/store.h"

enum { MODEL_STREAMS_MAX = 16, MODEL_KEYS_MAX = 64 };

struct model_record {
    struct record_view view; /* Slices owned. */
};
struct model_item {
    struct item_view view; /* key, value owned. */
    bool stamped;
};
struct model_number {
    uint64_t content;
    struct outcome outcome;
};
struct model_producer {
    struct slice name;
    struct model_number *numbers; /* numbers[n - 1]. */
    unsigned count;
};
struct model_tag {
    struct slice name;
    seq_t *seqs;
    unsigned count;
};
struct model_stream {
    struct slice name;
    struct stream_head head;
    struct model_record *records;
    struct model_item items[2 * MODEL_KEYS_MAX]; /* Attributes and cursors. */
    unsigned items_count;
    struct model_producer producers[MODEL_KEYS_MAX];
    unsigned producers_count;
    struct model_tag tags[MODEL_KEYS_MAX];
    unsigned tags_count;
};
struct model {
    struct sha sha;
    struct model_stream streams[MODEL_STREAMS_MAX];
    unsigned streams_count;
    int64_t time_ms;
};

void model_init(struct model *model);
void model_free(struct model *model);
/* NULL when nobody ever named it. */
struct model_stream *model_stream(struct model *model, struct slice name);
/* What the transaction must come to. */
struct outcome model_txn(struct model *model, const struct txn *txn, index_t index,
                         int64_t time_ms);
/* What the query must answer: the store's own encoding, its err returned. */
int model_query(struct model *model, struct store_query *query);

#endif /* TESTS_LOG_MODEL_H_ */
