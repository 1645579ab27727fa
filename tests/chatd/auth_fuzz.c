/* tests/chatd/auth_fuzz.c -- any bytes as a token: no crash, and none is accepted. The bytes are
 * also tried as header and payload of a token with a right signature. */
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>

#include "chatd/auth.h"

#define SECRET "0123456789abcdef0123456789abcdef"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* The caller destroys it: made anew each time, since nothing here may outlive a call. */
static struct auth *auth_make(void)
{
    struct auth_key key = {"HS256", NULL, slice_str(SECRET)};
    struct auth_config config = {&key, 1, NULL, NULL};
    struct auth *auth;
    size_t which;
    const char *why;
    CHECK(auth_create(&config, &auth, &which, &why) == 0);
    return auth;
}

static void put_base64(struct buf *out, const void *data, size_t bytes)
{
    char *text = mem_alloc(bytes / 3 * 4 + 8);
    int len = EVP_EncodeBlock((unsigned char *)text, data, (int)bytes);
    for (int i = 0; i < len && text[i] != '='; i++)
        buf_u8(out, (uint8_t)(text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i]));
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct auth *auth = auth_make();
    struct auth_claims claims;
    struct buf token = {.data = NULL};
    const char *why;
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned mac_bytes = 0;
    struct slice device = slice_str("phone");
    CHECK(auth_verify(auth, (struct slice){data, bytes}, device, 0, &claims, &why) == ERR_PERM);

    size_t at = bytes > 0 && data[0] < bytes ? data[0] : 0;
    if (at == 0)
        buf_put(&token, "eyJhbGciOiJIUzI1NiJ9", 20); /* {"alg":"HS256"} */
    else
        put_base64(&token, data, at);
    buf_u8(&token, '.');
    put_base64(&token, data + at, bytes - at);
    HMAC(EVP_sha256(), SECRET, 32, token.data, token.len, mac, &mac_bytes);
    buf_u8(&token, '.');
    put_base64(&token, mac, mac_bytes);
    if (auth_verify(auth, buf_bytes(&token), device, 0, &claims, &why) == 0) {
        CHECK(id_valid(slice_str(claims.user)));
        CHECK(claims.exp_ms > 0);
    }
    buf_free(&token);
    auth_destroy(auth);
    return 0;
}
