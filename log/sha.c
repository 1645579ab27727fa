/* log/sha.c -- see sha.h.
 *
 * OpenSSL fails these calls when memory is short or the method is missing, neither of which a
 * caller could mend: CHECK. */
#include "log/sha.h"

#include <openssl/evp.h>

void sha_init(struct sha *sha)
{
    sha->method = EVP_MD_fetch(NULL, "SHA256", NULL);
    CHECK(sha->method != NULL);
    CHECK(EVP_MD_get_size(sha->method) == SHA_BYTES);
    sha->run = EVP_MD_CTX_new();
    CHECK(sha->run != NULL);
}

void sha_close(struct sha *sha)
{
    EVP_MD_CTX_free(sha->run);
    EVP_MD_free(sha->method);
    *sha = (struct sha){0};
}

void sha_256(struct sha *sha, struct slice bytes, uint8_t out[SHA_BYTES])
{
    sha_begin(sha);
    sha_add(sha, bytes);
    sha_end(sha, out);
}

void sha_begin(struct sha *sha)
{
    int ok = EVP_DigestInit_ex2(sha->run, sha->method, NULL);
    CHECK(ok == 1);
}

void sha_add(struct sha *sha, struct slice bytes)
{
    int ok = EVP_DigestUpdate(sha->run, bytes.data, bytes.len);
    CHECK(ok == 1);
}

void sha_end(struct sha *sha, uint8_t out[SHA_BYTES])
{
    unsigned bytes_count = 0;
    int ok = EVP_DigestFinal_ex(sha->run, out, &bytes_count);
    CHECK(ok == 1);
    CHECK(bytes_count == SHA_BYTES);
}
