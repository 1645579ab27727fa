/* tests/log/txn_fuzz.c -- any bytes as a transaction, an outcome and an entry: what is accepted
 * has one form, and encodes to it. */
#include <stdlib.h>

#include "log/entry.h"
#include "log/txn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_txn(struct slice bytes)
{
    struct txn txn;
    if (txn_decode(bytes, &txn) != 0) return;
    struct buf out = {0};
    CHECK(txn_encode(&txn, &out) == 0);
    CHECK(slice_equal(buf_bytes(&out), bytes));
    (void)txn_content_hash(&txn);
    buf_free(&out);
    txn_free(&txn);
}

static void try_outcome(struct slice bytes)
{
    struct reader r = reader_of(bytes);
    struct outcome outcome;
    outcome_decode(&r, &outcome);
    if (!reader_done(&r)) return;
    struct buf out = {0};
    outcome_encode(&outcome, &out);
    CHECK(slice_equal(buf_bytes(&out), bytes));
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = {data, size}, txn;
    struct entry_view view;
    try_txn(bytes);
    try_outcome(bytes);
    if (entry_open(bytes, &view) != 0) return 0;
    while (entry_next(&view, &txn))
        try_txn(txn);
    entry_view_free(&view);
    return 0;
}
