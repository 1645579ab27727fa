/* tests/raft/links_fuzz.c -- any bytes as bodies of the links' frames. */
#include "raft/links_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct slice body = {data, bytes};
    struct link_hello hello;
    struct link_welcome welcome;
    struct link_state state;
    struct reader r;
    if (link_hello_decode(body, &hello) == 0) {
        struct buf again = {0};
        link_hello_encode(&hello, &again);
        CHECK(slice_equal(buf_bytes(&again), body)); /* One value has one form. */
        buf_free(&again);
    }
    (void)!link_welcome_decode(body, &welcome);
    if (link_items_open(body, &state, &r) != 0) return 0;
    size_t left = reader_left(&r);
    uint8_t kind;
    struct slice item;
    while (link_item_next(&r, &kind, &item)) {
        CHECK(item.len + LINK_ITEM_HEAD_BYTES <= left);
        left -= item.len + LINK_ITEM_HEAD_BYTES;
    }
    CHECK(r.failed || left == 0);
    return 0;
}
