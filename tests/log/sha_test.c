/* tests/log/sha_test.c -- SHA-256 gives the digests of FIPS 180-4, again and again. */
#include "log/sha.h"

#include <criterion/criterion.h>
#include <stdio.h>

static struct sha sha;
static void set_up(void)
{
    sha_init(&sha);
}
static void tear_down(void)
{
    sha_close(&sha);
}
TestSuite(sha, .init = set_up, .fini = tear_down, .timeout = 10);

static void expect_digest(const uint8_t digest[SHA_BYTES], const char *hex)
{
    char text[2 * SHA_BYTES + 1];
    for (size_t i = 0; i < SHA_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    cr_expect_str_eq(text, hex);
}

static const char OF_ABC[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
static const char OF_NOTHING[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

Test(sha, known_digests_come_out)
{
    uint8_t digest[SHA_BYTES];
    sha_256(&sha, slice_str("abc"), digest);
    expect_digest(digest, OF_ABC);
    sha_256(&sha, (struct slice){NULL, 0}, digest);
    expect_digest(digest, OF_NOTHING);
}

Test(sha, pieces_give_the_digest_of_the_whole)
{
    uint8_t digest[SHA_BYTES];
    sha_begin(&sha);
    sha_add(&sha, slice_str("a"));
    sha_add(&sha, slice_str(""));
    sha_add(&sha, slice_str("bc"));
    sha_end(&sha, digest);
    expect_digest(digest, OF_ABC);
}

Test(sha, begin_forgets_a_hash_that_was_not_ended)
{
    uint8_t digest[SHA_BYTES];
    sha_begin(&sha);
    sha_add(&sha, slice_str("something else"));
    sha_256(&sha, slice_str("abc"), digest);
    expect_digest(digest, OF_ABC);
}
