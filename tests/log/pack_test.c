/* tests/log/pack_test.c -- hashes are the published ones, and LZ4 never steps out of its bytes. */
#include "log/pack.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/limits.h"

static struct buf packed;
static struct buf out;
static void tear_down(void)
{
    buf_free(&packed);
    buf_free(&out);
}
TestSuite(pack, .fini = tear_down, .timeout = 10);

/* As published for xxHash 0.8. The values are in files and choose partitions, so
 * another version of the library must not change them. */
Test(pack, hashes_are_those_of_xxh3)
{
    cr_expect_eq(hash64((struct slice){NULL, 0}), 0x2d06800538d394c2u);
    cr_expect_eq(hash64(slice_str("a")), 0xe6c632b61e964e1fu);
    cr_expect_eq(hash64(slice_str("abc")), 0x78af5f94892f3950u);
}

Test(pack, the_pieces_of_a_pair_count_as_pieces)
{
    uint64_t ab_c = hash64_pair(slice_str("ab"), slice_str("c"));
    cr_expect_eq(ab_c, hash64_pair(slice_str("ab"), slice_str("c")));
    cr_expect_neq(ab_c, hash64_pair(slice_str("a"), slice_str("bc")));
    cr_expect_neq(ab_c, hash64(slice_str("abc")));
}

Test(pack, names_of_the_system_live_in_partition_0)
{
    cr_expect_eq(partition_of(slice_str("sys/"), 16), 0);
    cr_expect_eq(partition_of(slice_str("sys/cluster"), 16), 0);
    cr_expect_eq(partition_of(slice_str("sys"), 16), hash64(slice_str("sys")) % 16);
    cr_expect_eq(partition_of(slice_str("c/1"), 16), hash64(slice_str("c/1")) % 16);
    cr_expect_eq(partition_of(slice_str("c/1"), 1), 0);
}

/* Method: 16,000 names over 16 partitions; a fair share is 1,000. */
Test(pack, names_spread_over_all_partitions)
{
    unsigned names_count[16] = {0};
    for (unsigned i = 0; i < 16000; i++) {
        char name[16];
        snprintf(name, sizeof name, "c/%u", i);
        names_count[partition_of(slice_str(name), 16)]++;
    }
    for (unsigned part = 0; part < 16; part++) {
        cr_expect_gt(names_count[part], 850);
        cr_expect_lt(names_count[part], 1150);
    }
}

/* Bytes that LZ4 can shorten: runs of a letter, with some noise. */
static struct slice sample(uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = i % 37 == 0 ? (uint8_t)(i * 131 >> 3) : (uint8_t)('a' + i / 64 % 26);
    return (struct slice){bytes, len};
}

Test(pack, what_was_packed_unpacks_behind_what_is_there)
{
    uint8_t bytes[2000];
    for (size_t len = 0; len <= sizeof bytes; len += 125) {
        struct slice src = sample(bytes, len);
        packed.len = out.len = 0;
        buf_put(&packed, "head", 4);
        buf_put(&out, "head", 4);
        size_t packed_bytes = lz4_pack(src, &packed);
        cr_assert_eq(packed.len, 4 + packed_bytes);
        struct slice from = {packed.data + 4, packed_bytes};
        cr_assert_eq(lz4_unpack(from, len, &out), 0);
        struct slice got = {out.data + 4, out.len - 4};
        cr_assert(slice_equal(got, src));
        cr_assert_eq(memcmp(out.data, "head", 4), 0);
    }
    cr_expect_lt(packed.len, 1000, "2,000 bytes of runs became %zu", packed.len);
}

Test(pack, another_length_than_was_packed_is_damage)
{
    uint8_t bytes[500];
    lz4_pack(sample(bytes, sizeof bytes), &packed);
    cr_expect_eq(lz4_unpack(buf_bytes(&packed), sizeof bytes - 1, &out), ERR_CORRUPT);
    cr_expect_eq(lz4_unpack(buf_bytes(&packed), sizeof bytes + 1, &out), ERR_CORRUPT);
    cr_expect_eq(lz4_unpack(buf_bytes(&packed), 0, &out), ERR_CORRUPT);
    cr_expect_eq(lz4_unpack((struct slice){NULL, 0}, 0, &out), ERR_CORRUPT);
    cr_expect_eq(out.len, 0);
}

/* Cut at every byte, and every byte turned over: an error or other bytes, never a step outside
 * (which the sanitizers would see). */
Test(pack, damaged_bytes_never_step_outside)
{
    uint8_t bytes[300];
    lz4_pack(sample(bytes, sizeof bytes), &packed);
    for (size_t len = 0; len < packed.len; len++) {
        uint8_t *cut = mem_copy(packed.data, len);
        cr_assert_eq(lz4_unpack((struct slice){cut, len}, sizeof bytes, &out), ERR_CORRUPT);
        free(cut);
    }
    for (size_t i = 0; i < packed.len; i++) {
        packed.data[i] ^= 0xff;
        int err = lz4_unpack(buf_bytes(&packed), sizeof bytes, &out);
        cr_assert(err == ERR_CORRUPT || (err == 0 && out.len == sizeof bytes));
        packed.data[i] ^= 0xff;
        out.len = 0;
    }
}
