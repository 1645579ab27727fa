/* tests/chatd/auth_test.c -- which tokens are accepted, and that none is that should not be. */
#include "chatd/auth.h"

#include <criterion/criterion.h>
#include <jwt.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

#define SECRET "0123456789abcdef0123456789abcdef"
#define NOW_MS 1790000000000
#define VALID "\"sub\":\"bob\",\"exp\":1790000060"

static struct auth *auth;
static struct auth_claims claims;
static const char *why;
static char *pem_private, *pem_public; /* Of the key that key_make made last. */
static void tear_down(void)
{
    auth_destroy(auth);
    free(pem_private);
    free(pem_public);
}
TestSuite(auth, .fini = tear_down, .timeout = 20);

static int create(const struct auth_key *keys, size_t count, const char *iss, const char *aud)
{
    struct auth_config config = {keys, count, iss, aud};
    size_t which;
    return auth_create(&config, &auth, &which, &why);
}

static void with_secret(const char *kid, const char *iss, const char *aud)
{
    struct auth_key key = {"HS256", kid, slice_str(SECRET)};
    cr_assert_eq(create(&key, 1, iss, aud), 0);
}

static int verify(const char *token)
{
    claims = (struct auth_claims){.exp_ms = 0};
    return auth_verify(auth, slice_str(token), slice_str("phone"), NOW_MS, &claims, &why);
}

/* A token of these claims, signed by libjwt with alg and key; the caller frees it. */
static char *token_of(const char *grants, jwt_alg_t alg, struct slice key, const char *kid)
{
    jwt_t *jwt;
    char text[1024];
    snprintf(text, sizeof(text), "{%s}", grants);
    cr_assert_eq(jwt_new(&jwt), 0);
    cr_assert_eq(jwt_add_grants_json(jwt, text), 0, "%s", text);
    if (kid != NULL) cr_assert_eq(jwt_add_header(jwt, "kid", kid), 0);
    cr_assert_eq(jwt_set_alg(jwt, alg, key.data, (int)key.len), 0);
    char *token = jwt_encode_str(jwt);
    cr_assert_not_null(token);
    jwt_free(jwt);
    return token;
}

static int verify_grants(const char *grants)
{
    char *token = token_of(grants, JWT_ALG_HS256, slice_str(SECRET), NULL);
    int rv = verify(token);
    free(token);
    return rv;
}

static void key_make(const char *type, size_t bits_or_0)
{
    EVP_PKEY *key = bits_or_0 > 0 ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", bits_or_0)
                                  : EVP_PKEY_Q_keygen(NULL, NULL, "EC", type);
    char *data;
    BIO *bio = BIO_new(BIO_s_mem());
    cr_assert_not_null(key);
    PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    long bytes = BIO_get_mem_data(bio, &data);
    free(pem_private);
    pem_private = mem_string((struct slice){data, (size_t)bytes});
    BIO_reset(bio);
    PEM_write_bio_PUBKEY(bio, key);
    bytes = BIO_get_mem_data(bio, &data);
    free(pem_public);
    pem_public = mem_string((struct slice){data, (size_t)bytes});
    BIO_free(bio);
    EVP_PKEY_free(key);
}

Test(auth, a_token_of_ours_is_accepted_and_says_who)
{
    struct buf token = {.data = NULL};
    struct auth_grant grant = {.user = slice_str("bob"),
                               .exp_ms = NOW_MS + 5000,
                               .kid = "k1",
                               .issuer = "parley",
                               .audience = "chat",
                               .device = "phone"};
    with_secret("k1", "parley", "chat");
    cr_assert_eq(auth_sign(&grant, slice_str(SECRET), &token), 0);
    buf_u8(&token, 0);
    cr_assert_eq(verify((char *)token.data), 0, "%s", why);
    cr_expect_str_eq(claims.user, "bob");
    cr_expect_eq(claims.exp_ms, NOW_MS + 5000);
    cr_expect_str_eq(claims.jti, "");
    buf_free(&token);

    grant.user = slice_str("no/user");
    cr_expect_eq(auth_sign(&grant, slice_str(SECRET), &token), ERR_INVAL);
    grant.user = slice_str("bob");
    cr_expect_eq(auth_sign(&grant, slice_str("short"), &token), ERR_INVAL);
    cr_expect_eq(token.len, 0);
}

static const struct {
    const char *grants;
    bool accepted;
} cases[] = {
    {VALID, true},
    {VALID ",\"dev\":\"phone\",\"jti\":\"j1\",\"nbf\":1790000050", true},
    {"\"sub\":\"bob\",\"exp\":1790000000.5", true},
    {"\"sub\":\"bob\",\"exp\":1790000000", false},
    {"\"sub\":\"bob\",\"exp\":1", false},
    {"\"sub\":\"bob\",\"exp\":-1", false},
    {"\"sub\":\"bob\",\"exp\":1e300", false},
    {"\"sub\":\"bob\",\"exp\":\"1790000060\"", false},
    {"\"sub\":\"bob\"", false},
    {"\"exp\":1790000060", false},
    {"\"sub\":7,\"exp\":1790000060", false},
    {"\"sub\":\"\",\"exp\":1790000060", false},
    {"\"sub\":\"a/b\",\"exp\":1790000060", false},
    {VALID ",\"nbf\":1790000061", false},
    {VALID ",\"nbf\":\"now\"", false},
    {VALID ",\"dev\":\"laptop\"", false},
    {VALID ",\"dev\":null", false},
    {VALID ",\"jti\":7", false},
};

Test(auth, claims_are_checked_one_by_one)
{
    with_secret(NULL, NULL, NULL);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        int rv = verify_grants(cases[i].grants);
        cr_expect_eq(rv, cases[i].accepted ? 0 : ERR_PERM, "%s: %s", cases[i].grants,
                     rv == 0 ? "accepted" : why);
    }
}

Test(auth, issuer_and_audience_are_checked_when_configured)
{
    with_secret(NULL, "parley", "chat");
    cr_expect_eq(verify_grants(VALID ",\"iss\":\"parley\",\"aud\":\"chat\""), 0);
    cr_expect_eq(verify_grants(VALID ",\"iss\":\"parley\",\"aud\":[\"x\",\"chat\"]"), 0);
    cr_expect_eq(verify_grants(VALID ",\"iss\":\"parley\",\"aud\":[\"x\"]"), ERR_PERM);
    cr_expect_eq(verify_grants(VALID ",\"iss\":\"parley\""), ERR_PERM);
    cr_expect_eq(verify_grants(VALID ",\"iss\":\"parley2\",\"aud\":\"chat\""), ERR_PERM);
    cr_expect_eq(verify_grants(VALID ",\"aud\":\"chat\""), ERR_PERM);
}

Test(auth, public_keys_verify_their_own_algorithm)
{
    struct auth_key keys[2] = {{"RS256", "r", {NULL, 0}}, {"ES256", "e", {NULL, 0}}};
    key_make("RSA", 2048);
    char *rsa_private = mem_string(slice_str(pem_private));
    char *rsa_public = mem_string(slice_str(pem_public));
    key_make("P-256", 0);
    keys[0].key = slice_str(rsa_public);
    keys[1].key = slice_str(pem_public);
    cr_assert_eq(create(keys, 2, NULL, NULL), 0, "%s", why);
    char *by_rsa = token_of(VALID, JWT_ALG_RS256, slice_str(rsa_private), "r");
    char *by_ec = token_of(VALID, JWT_ALG_ES256, slice_str(pem_private), NULL);
    char *wrong_kid = token_of(VALID, JWT_ALG_ES256, slice_str(pem_private), "r");
    cr_expect_eq(verify(by_rsa), 0, "%s", why);
    cr_expect_eq(verify(by_ec), 0, "%s", why);
    cr_expect_eq(verify(wrong_kid), ERR_PERM, "a kid names another key");
    free(rsa_private);
    free(rsa_public);
    free(by_rsa);
    free(by_ec);
    free(wrong_kid);
}

/* The classic attack: the public key, which everybody knows, used as the secret of HS256. */
Test(auth, a_public_key_is_never_a_secret)
{
    struct auth_key key = {"RS256", NULL, {NULL, 0}};
    key_make("RSA", 2048);
    key.key = slice_str(pem_public);
    cr_assert_eq(create(&key, 1, NULL, NULL), 0);
    char *forged = token_of(VALID, JWT_ALG_HS256, slice_str(pem_public), NULL);
    cr_expect_eq(verify(forged), ERR_PERM);
    free(forged);
}

Test(auth, alg_none_and_other_lengths_of_hash_are_refused)
{
    with_secret(NULL, NULL, NULL);
    /* {"alg":"none"} . {"sub":"bob","exp":1790000060} . */
    cr_expect_eq(verify("eyJhbGciOiJub25lIn0.eyJzdWIiOiJib2IiLCJleHAiOjE3OTAwMDAwNjB9."), ERR_PERM);
    cr_expect_eq(verify("eyJhbGciOiJub25lIn0.eyJzdWIiOiJib2IiLCJleHAiOjE3OTAwMDAwNjB9.x"),
                 ERR_PERM);
    char *longer = token_of(VALID, JWT_ALG_HS512, slice_str(SECRET), NULL);
    cr_expect_eq(verify(longer), ERR_PERM);
    free(longer);
}

/* Every byte of a good token matters, save that the last of a base64 part may carry unused bits. */
Test(auth, a_changed_token_is_refused)
{
    with_secret(NULL, NULL, NULL);
    char *token = token_of(VALID, JWT_ALG_HS256, slice_str(SECRET), NULL);
    size_t len = strlen(token);
    cr_assert_eq(verify(token), 0);
    for (size_t i = 0; i + 1 < len; i++) {
        char kept = token[i];
        token[i] = kept == 'A' ? 'B' : 'A';
        cr_expect_eq(verify(token), ERR_PERM, "byte %zu", i);
        token[i] = kept;
    }
    for (size_t cut = 0; cut < len; cut++) {
        int rv = auth_verify(auth, (struct slice){token, cut}, slice_str("phone"), NOW_MS, &claims,
                             &why);
        cr_expect_eq(rv, ERR_PERM, "cut to %zu", cut);
    }
    free(token);
}

Test(auth, another_secret_is_refused)
{
    with_secret(NULL, NULL, NULL);
    char *token =
        token_of(VALID, JWT_ALG_HS256, slice_str("another secret of 32 bytes......"), NULL);
    cr_expect_eq(verify(token), ERR_PERM);
    cr_expect_str_eq(why, "no key of ours signed this token");
    free(token);
}

Test(auth, what_is_no_token_is_refused)
{
    static const char *wrong[] = {
        "",           ".", "..", "...", "a.b.c", "a.b", "{}.{}.{}", "e30.e30.e30", "e30=.e30=.e30=",
        "W10.W10.W10"};
    char *huge = mem_alloc(TOKEN_BYTES_MAX + 2);
    with_secret(NULL, NULL, NULL);
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        cr_expect_eq(verify(wrong[i]), ERR_PERM, "%s", wrong[i]);
    memset(huge, 'a', TOKEN_BYTES_MAX + 1);
    huge[TOKEN_BYTES_MAX + 1] = '\0';
    cr_expect_eq(verify(huge), ERR_PERM);
    free(huge);
}

Test(auth, keys_that_cannot_be_right_are_refused_at_start)
{
    struct auth_key key = {"HS256", NULL, slice_str("too short")};
    cr_expect_eq(create(&key, 0, NULL, NULL), ERR_INVAL);
    cr_expect_eq(create(&key, 1, NULL, NULL), ERR_INVAL);
    key = (struct auth_key){"none", NULL, slice_str(SECRET)};
    cr_expect_eq(create(&key, 1, NULL, NULL), ERR_INVAL);
    key = (struct auth_key){"RS256", NULL, slice_str(SECRET)};
    cr_expect_eq(create(&key, 1, NULL, NULL), ERR_INVAL, "no PEM");
    key_make("P-256", 0);
    key.key = slice_str(pem_public);
    cr_expect_eq(create(&key, 1, NULL, NULL), ERR_INVAL, "not RSA");
    key.key = slice_str(pem_private);
    cr_expect_eq(create(&key, 1, NULL, NULL), ERR_INVAL, "a private key has no place here");
    key_make("P-384", 0);
    key = (struct auth_key){"ES256", NULL, slice_str(pem_public)};
    cr_expect_eq(create(&key, 1, NULL, NULL), ERR_INVAL, "another curve");
    key_make("RSA", 1024);
    key = (struct auth_key){"RS256", NULL, slice_str(pem_public)};
    cr_expect_eq(create(&key, 1, NULL, NULL), ERR_INVAL, "too few bits");
}
