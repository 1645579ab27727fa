/* tests/raft/frame_fuzz.c -- any bytes, in any pieces, at a parser of frames.
 *
 * The first byte tells how the rest is cut; what is given must be within the limit, and cutting
 * must not change what comes out. */
#include "log/pack.h"
#include "raft/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { LIMIT = 4096 };

static int take(void *arg, uint8_t kind, struct slice body)
{
    uint64_t *sum = arg;
    CHECK(body.len <= LIMIT);
    *sum = hash64_seed(body, *sum + kind);
    return 0;
}

static int feed_in_pieces(const uint8_t *data, size_t bytes, size_t piece, uint64_t *sum)
{
    struct frame_parser parser = {0};
    int err = 0;
    for (size_t at = 0; at < bytes && err == 0; at += piece) {
        size_t len = bytes - at < piece ? bytes - at : piece;
        err = frame_feed(&parser, (struct slice){data + at, len}, LIMIT, take, sum);
    }
    frame_parser_free(&parser);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 2) return 0;
    uint64_t whole = 1, cut = 1;
    int err_whole = feed_in_pieces(data + 1, bytes - 1, bytes, &whole);
    int err_cut = feed_in_pieces(data + 1, bytes - 1, (size_t)data[0] + 1, &cut);
    CHECK(whole == cut);
    CHECK(err_whole == err_cut);
    /* Mutations seldom meet a checksum: wrap the bytes, so that frames come out too. */
    struct buf framed = {0};
    struct slice body = {data, bytes < LIMIT ? bytes : LIMIT};
    frame_put(&framed, data[0], body);
    frame_put(&framed, data[1], (struct slice){data, 1});
    whole = cut = 1;
    CHECK(feed_in_pieces(framed.data, framed.len, framed.len, &whole) == 0);
    CHECK(feed_in_pieces(framed.data, framed.len, (size_t)data[0] + 1, &cut) == 0);
    CHECK(whole == cut);
    buf_free(&framed);
    return 0;
}
