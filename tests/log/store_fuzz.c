/* tests/log/store_fuzz.c -- any bytes as what a store reads from its disk or from another node:
 * rows, blocks, frames, footers, manifests, facts, records, items, heads. The first byte chooses.
 */
#include <stdlib.h>

#include "log/manifest.h"
#include "log/pack.h"
#include "log/run_block.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Decoded and encoded again it is the same. */
#define ROUND(bytes, type, decode, encode)                           \
    do {                                                             \
        struct type view;                                            \
        struct buf again = {0};                                      \
        struct reader r = reader_of(bytes);                          \
        decode(&r, &view);                                           \
        if (!r.failed) {                                             \
            encode(&view, &again);                                   \
            CHECK(again.len <= (bytes).len);                         \
            CHECK(memcmp(again.data, (bytes).data, again.len) == 0); \
        }                                                            \
        buf_free(&again);                                            \
    } while (0)

static void try_values(struct slice value)
{
    struct attribute_row attribute;
    struct cursor_row cursor;
    struct xref_row xref;
    struct tag_row tag;
    struct record_view record;
    struct producer_row producer;
    struct producer_outcome outcome = {.content = 1, .first = 5, .last = 6, .version = 7};
    struct buf out = {0};
    uint64_t last_n;
    if (attribute_row_get(value, &attribute)) attribute_row_put(&out, &attribute);
    if (cursor_row_get(value, &cursor)) cursor_row_put(&out, &cursor);
    if (xref_row_get(value, &xref)) xref_row_put(&out, &xref);
    if (tag_row_get(value, &tag)) tag_row_put(&out, &tag);
    if (record_row_get(3, value, &record)) record_row_put(&out, &record);
    out.len = 0;
    if (producer_row_get(value, &producer) && producer_row_last(value, &last_n)) {
        CHECK(producer.last_n == last_n);
        CHECK(producer_row_add(&out, value, &outcome));
        CHECK(producer_row_get(buf_bytes(&out), &producer));
        CHECK(producer.last_n == last_n + 1);
    }
    buf_free(&out);
}

static void try_rows(struct slice content)
{
    struct rows_reader rows;
    struct row row;
    struct slice stream, rest;
    enum row_class class;
    rows_open(&rows, content);
    while (rows_next(&rows, &row)) {
        struct run_link link;
        if (row_key_split(row.key, &stream, &class, &rest)) try_values(row.value);
        (void)run_link_get(row.value, &link);
        (void)row_key_seq(row.key);
    }
}

static void try_run(struct slice bytes)
{
    struct run_place place = {1, 2, RUN_BLOCK_ROWS};
    struct run_footer footer;
    struct run_link link;
    struct buf out = {0};
    size_t frame_bytes;
    uint64_t id;
    if (bytes.len >= RUN_FRAME_BYTES) (void)!run_frame_size(bytes, 1 << 20, &frame_bytes);
    (void)!run_frame_get(bytes, place, 1 << 20, &out);
    (void)!run_footer_get(bytes, &footer);
    if (bytes.len >= RUN_HEAD_BYTES) (void)!run_head_get(bytes.data, &id);
    if (bytes.len >= RUN_TAIL_BYTES) (void)!run_tail_get(bytes.data, 1, &link);
    buf_free(&out);
}

/* A manifest whose checksum is right, as a damaged writer would make it. */
static void try_manifest(struct slice bytes)
{
    struct manifest manifest;
    struct buf whole = {0}, again = {0};
    if (manifest_decode(bytes, &manifest) == 0) manifest_free(&manifest);
    buf_put(&whole, "parlyman\1\0\0\0", 12);
    buf_put(&whole, bytes.data, bytes.len);
    uint64_t sum = hash64(buf_bytes(&whole));
    buf_u64(&whole, sum);
    if (manifest_decode(buf_bytes(&whole), &manifest) == 0) {
        manifest_encode(&manifest, &again);
        CHECK(slice_equal(buf_bytes(&again), buf_bytes(&whole)));
        manifest_free(&manifest);
    }
    buf_free(&whole);
    buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    struct slice bytes = {data + 1, size - 1};
    switch (data[0] % 8) {
        case 0:
            try_values(bytes);
            break;
        case 1:
            try_rows(bytes);
            break;
        case 2:
            try_run(bytes);
            break;
        case 3:
            try_manifest(bytes);
            break;
        case 4:
            ROUND(bytes, store_facts, facts_decode, facts_encode);
            break;
        case 5:
            ROUND(bytes, record_view, record_decode, record_encode);
            break;
        case 6:
            ROUND(bytes, item_view, item_decode, item_encode);
            break;
        default:
            ROUND(bytes, stream_head, stream_head_decode, stream_head_encode);
            break;
    }
    return 0;
}
