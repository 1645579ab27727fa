/* tests/log/codec_test.c -- what is written is read back, and no byte beyond it. */
#include "log/codec.h"

#include <criterion/criterion.h>

static struct buf buf;
static void tear_down(void)
{
    buf_free(&buf);
}
TestSuite(codec, .fini = tear_down, .timeout = 10);

Test(codec, every_kind_is_read_as_it_was_written)
{
    buf_u8(&buf, 7);
    buf_u16(&buf, 0x1234);
    buf_u32(&buf, 0x12345678);
    buf_u64(&buf, UINT64_MAX);
    buf_slice(&buf, slice_str("bytes"));

    struct reader r = reader_of(buf_bytes(&buf));
    cr_expect_eq(read_u8(&r), 7);
    cr_expect_eq(read_u16(&r), 0x1234);
    cr_expect_eq(read_u32(&r), 0x12345678);
    cr_expect_eq(read_u64(&r), UINT64_MAX);
    cr_expect(slice_equal(read_slice(&r, 5), slice_str("bytes")));
    cr_expect(reader_done(&r));
}

/* Every power of two and its neighbours: all lengths of a varint, both ends of each. */
Test(codec, varints_of_every_length_survive)
{
    for (unsigned bit = 0; bit < 64; bit++)
        for (int off = -1; off <= 1; off++) {
            uint64_t value = ((uint64_t)1 << bit) + (uint64_t)off;
            buf.len = 0;
            buf_varint(&buf, value);
            struct reader r = reader_of(buf_bytes(&buf));
            cr_assert_eq(read_varint(&r), value);
            cr_assert(reader_done(&r));
        }
}

/* One value has one form: a checksum or a hash over encoded bytes must not have two. */
Test(codec, a_varint_longer_than_needed_fails)
{
    struct reader r = reader_of((struct slice){"\x81\x00", 2});
    cr_expect_eq(read_varint(&r), 0);
    cr_expect(r.failed);
}

Test(codec, a_varint_beyond_64_bits_fails)
{
    struct reader r = reader_of((struct slice){"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10});
    cr_expect_eq(read_varint(&r), 0);
    cr_expect(r.failed);
}

Test(codec, a_short_read_fails_and_stays_failed)
{
    struct reader r = reader_of(slice_str("abc"));
    cr_expect_eq(read_u32(&r), 0);
    cr_expect(r.failed);
    cr_expect_eq(read_u8(&r), 0, "one byte is there, but the reader failed before");
    cr_expect_not(reader_done(&r));
}

Test(codec, a_slice_longer_than_its_limit_fails)
{
    buf_slice(&buf, slice_str("four"));
    struct reader r = reader_of(buf_bytes(&buf));
    cr_expect_eq(read_slice(&r, 3).len, 0);
    cr_expect(r.failed);
}
