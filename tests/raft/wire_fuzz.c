/* tests/raft/wire_fuzz.c -- any bytes may come as any message: an error, never a crash. */
#include <stdlib.h>

#include "raft/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Decoded views are read to their ends, so that a sanitizer sees one that points outside. */
static void touch(struct slice s)
{
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < s.len; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)s.data)[i]);
}

static void client_side(uint8_t kind, struct slice body)
{
    static struct wire_leader leaders[PARTITIONS_MAX];
    unsigned count;
    struct wire_welcome welcome;
    struct wire_map map;
    struct wire_txn_done txn;
    struct wire_query_done query;
    struct wire_heads_done heads;
    struct wire_text_done text;
    struct wire_error error;
    struct wire_end end;
    struct wire_changed_done changed;
    if (kind == WIRE_WELCOME) (void)!wire_welcome_decode(body, &welcome);
    if (kind == WIRE_MAP) (void)!wire_map_decode(body, &map);
    if (kind == WIRE_LEADERS) (void)!wire_leaders_decode(body, leaders, &count);
    if (kind == WIRE_TXN_DONE) (void)!wire_txn_done_decode(body, &txn);
    if (kind == WIRE_QUERY_DONE && wire_query_done_decode(body, &query) == 0) touch(query.rows);
    if (kind == WIRE_HEADS_DONE && wire_heads_done_decode(body, &heads) == 0) touch(heads.hits);
    if (kind == WIRE_TEXT_DONE && wire_text_done_decode(body, &text) == 0) touch(text.text);
    if (kind == WIRE_ERROR && wire_error_decode(body, &error) == 0) touch(error.text);
    if (kind == WIRE_CHANGED_DONE && wire_changed_done_decode(body, &changed) == 0)
        touch(changed.streams);
    if (kind == WIRE_TAIL_ENDED) (void)!wire_tail_ended_decode(body, &end);
}

static void events(struct slice body)
{
    uint64_t tail;
    struct reader r;
    if (wire_events_open(body, &tail, &r) != 0) return;
    struct wire_event event;
    while (reader_left(&r) > 0 && wire_event_decode(&r, &event) == 0) {
        if (event.kind == WIRE_EVENT_RECORD) touch(event.record.payload);
        if (event.kind == WIRE_EVENT_ITEM) touch(event.item.value);
        if (event.kind == WIRE_EVENT_SIGNAL) touch(event.payload);
    }
}

static void claims(struct slice body)
{
    struct reader r = reader_of(body);
    struct wire_claim claim;
    while (reader_left(&r) > 0 && wire_claim_decode(&r, &claim) == 0)
        touch(claim.payload);
}

static void node_side(uint8_t kind, struct slice body)
{
    struct wire_hello hello;
    struct wire_txn txn;
    struct wire_query query;
    struct wire_heads heads;
    struct wire_tail_open open;
    struct wire_signal signal;
    struct wire_ask ask;
    uint64_t tail;
    struct wire_changed changed;
    if (kind == WIRE_CHANGED && wire_changed_decode(body, &changed) == 0) touch(changed.after);
    if (kind == WIRE_HELLO) (void)!wire_hello_decode(body, &hello);
    if (kind == WIRE_TXN && wire_txn_decode(body, &txn) == 0) touch(txn.txn);
    if (kind == WIRE_QUERY && wire_query_decode(body, &query) == 0)
        for (unsigned i = 0; i < query.query.checks_count; i++)
            touch(query.checks[i].value);
    if (kind == WIRE_HEADS && wire_heads_decode(body, &heads) == 0)
        for (unsigned i = 0; i < heads.streams_count; i++)
            touch(read_slice(&heads.streams, STREAM_NAME_BYTES_MAX));
    if (kind == WIRE_TAIL_OPEN && wire_tail_open_decode(body, &open) == 0) touch(open.stream);
    if (kind == WIRE_TAIL_CLOSE) (void)!wire_tail_close_decode(body, &tail);
    if (kind == WIRE_SIGNAL && wire_signal_decode(body, &signal) == 0) touch(signal.payload);
    if (kind == WIRE_STATUS && wire_ask_decode(body, &ask) == 0) touch(ask.text);
    if (kind == WIRE_CLAIMS) claims(body);
    if (kind == WIRE_TAIL_EVENTS) events(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    uint8_t kind = data[0] % WIRE_KINDS_END;
    uint8_t *exact = mem_copy(data + 1, size - 1); /* So that one byte beyond is seen. */
    client_side(kind, (struct slice){exact, size - 1});
    node_side(kind, (struct slice){exact, size - 1});
    free(exact);
    return 0;
}
