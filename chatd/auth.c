/* chatd/auth.c -- see auth.h.
 *
 * libjwt checks signatures, by the algorithm that the token's header names; so the header is read
 * first, and only keys of that algorithm are tried: a public key is never used as a secret, and
 * "none" is no algorithm of any key. Then the claims are read from the very bytes that were
 * signed, strictly, rather than from what libjwt made of them. */
#include "chatd/auth.h"

#include <jansson.h>
#include <jwt.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>

enum {
    RSA_BITS_MIN = 2048,
    EC_P256_BITS = 256,
    NOT_BEFORE_LEEWAY_MS = 60 * 1000, /* Clocks of issuer and server differ. */
};

struct key {
    jwt_alg_t alg;
    char *kid; /* Owned; NULL: any. */
    uint8_t *bytes;
    size_t len;
};

struct auth {
    struct key keys[AUTH_KEYS_MAX];
    size_t keys_count;
    char *issuer;   /* Owned; NULL: any. */
    char *audience; /* Owned; NULL: any. */
};

/* ---- configuration ---- */

static jwt_alg_t alg_of(const char *name)
{
    if (strcmp(name, "HS256") == 0) return JWT_ALG_HS256;
    if (strcmp(name, "RS256") == 0) return JWT_ALG_RS256;
    if (strcmp(name, "ES256") == 0) return JWT_ALG_ES256;
    return JWT_ALG_INVAL;
}

/* Why pem cannot verify alg; NULL: it can. */
static const char *judge_pem(struct slice pem, jwt_alg_t alg)
{
    const char *why = NULL;
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    CHECK(bio != NULL);
    EVP_PKEY *key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    BIO_free(bio);
    if (key == NULL) return "it is not a public key in PEM";
    int type = EVP_PKEY_base_id(key);
    int bits = EVP_PKEY_bits(key);
    if (alg == JWT_ALG_RS256 && type != EVP_PKEY_RSA) why = "RS256 needs an RSA key";
    if (alg == JWT_ALG_RS256 && bits < RSA_BITS_MIN) why = "RS256 needs at least 2048 bits";
    if (alg == JWT_ALG_ES256 && (type != EVP_PKEY_EC || bits != EC_P256_BITS))
        why = "ES256 needs a key on the curve P-256";
    EVP_PKEY_free(key);
    return why;
}

static const char *judge_key(const struct auth_key *key)
{
    jwt_alg_t alg = alg_of(key->alg);
    if (alg == JWT_ALG_INVAL) return "the algorithm must be HS256, RS256 or ES256";
    if (key->key.len > TOKEN_BYTES_MAX) return "it is longer than any key";
    if (alg != JWT_ALG_HS256) return judge_pem(key->key, alg);
    return key->key.len < AUTH_SECRET_BYTES_MIN ? "a secret needs at least 32 bytes" : NULL;
}

static char *copy_or_null(const char *text)
{
    return text == NULL ? NULL : mem_string(slice_str(text));
}

int auth_create(const struct auth_config *config, struct auth **out, size_t *which,
                const char **why)
{
    *which = 0;
    *why = "1 to 16 keys are needed";
    if (config->keys_count < 1 || config->keys_count > AUTH_KEYS_MAX) return ERR_INVAL;
    for (size_t i = 0; i < config->keys_count; i++) {
        *which = i;
        *why = judge_key(&config->keys[i]);
        if (*why != NULL) return ERR_INVAL;
    }
    struct auth *auth = mem_zero(sizeof(*auth));
    auth->issuer = copy_or_null(config->issuer);
    auth->audience = copy_or_null(config->audience);
    auth->keys_count = config->keys_count;
    for (size_t i = 0; i < config->keys_count; i++) {
        const struct auth_key *key = &config->keys[i];
        auth->keys[i] = (struct key){.alg = alg_of(key->alg),
                                     .kid = copy_or_null(key->kid),
                                     .bytes = mem_copy(key->key.data, key->key.len),
                                     .len = key->key.len};
    }
    *out = auth;
    return 0;
}

void auth_destroy(struct auth *auth)
{
    if (auth == NULL) return;
    for (size_t i = 0; i < auth->keys_count; i++) {
        free(auth->keys[i].kid);
        free(auth->keys[i].bytes);
    }
    free(auth->issuer);
    free(auth->audience);
    free(auth);
}

/* ---- a token's parts ---- */

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* The JSON object in a base64url part; the caller's to json_decref. NULL: there is none. */
static json_t *part_json(struct slice part)
{
    uint8_t *text = mem_alloc(part.len);
    size_t len = 0;
    uint32_t bits = 0;
    json_t *tree = NULL;
    for (size_t i = 0; i < part.len; i++) {
        int value = base64_value(((const char *)part.data)[i]);
        if (value < 0) goto done;
        bits = bits << 6 | (uint32_t)value;
        if (i % 4 != 0) text[len++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    tree = json_loadb((char *)text, len, JSON_REJECT_DUPLICATES, NULL);
    if (tree != NULL && !json_is_object(tree)) {
        json_decref(tree);
        tree = NULL;
    }
done:
    free(text);
    return tree;
}

/* header.payload.signature; false: it does not have three parts. */
static bool split(struct slice token, struct slice *header, struct slice *payload)
{
    const char *text = token.data;
    const char *first = memchr(text, '.', token.len);
    if (first == NULL) return false;
    size_t rest = token.len - (size_t)(first + 1 - text);
    const char *second = memchr(first + 1, '.', rest);
    if (second == NULL) return false;
    size_t signature = rest - (size_t)(second - first);
    if (memchr(second + 1, '.', signature) != NULL) return false;
    *header = (struct slice){text, (size_t)(first - text)};
    *payload = (struct slice){first + 1, (size_t)(second - first - 1)};
    return signature > 0;
}

/* ---- the signature ---- */

/* token: as a string. */
static bool verified_by(const struct key *key, const char *token)
{
    jwt_t *jwt = NULL;
    if (jwt_decode(&jwt, token, key->bytes, (int)key->len) != 0) return false;
    bool right = jwt_get_alg(jwt) == key->alg; /* It read the header as we did. */
    jwt_free(jwt);
    return right;
}

static bool may_verify(const struct key *key, const json_t *header)
{
    const char *alg = json_string_value(json_object_get(header, "alg"));
    const char *kid = json_string_value(json_object_get(header, "kid"));
    if (alg == NULL || alg_of(alg) != key->alg) return false;
    return key->kid == NULL || kid == NULL || strcmp(kid, key->kid) == 0;
}

static bool verified(const struct auth *auth, const json_t *header, struct slice token)
{
    bool right = false;
    char *text = mem_string(token);
    for (size_t i = 0; i < auth->keys_count && !right; i++)
        right = may_verify(&auth->keys[i], header) && verified_by(&auth->keys[i], text);
    free(text);
    return right;
}

/* ---- the claims ---- */

static struct slice string_of(const json_t *value)
{
    return (struct slice){json_string_value(value), json_string_length(value)};
}

static bool is_string(const json_t *value, struct slice expected)
{
    return json_is_string(value) && slice_equal(string_of(value), expected);
}

/* aud is a string, or an array that names the audience among others. */
static bool audience_right(const json_t *aud, const char *expected)
{
    size_t i;
    json_t *item;
    if (is_string(aud, slice_str(expected))) return true;
    json_array_foreach(aud, i, item) if (is_string(item, slice_str(expected))) return true;
    return false;
}

/* Seconds since 1970 as milliseconds; false when value is no such number. */
static bool time_of(const json_t *value, int64_t *ms)
{
    double seconds = json_number_value(value);
    if (!json_is_number(value) || !(seconds >= 0 && seconds < 1e12)) return false;
    *ms = (int64_t)(seconds * 1000);
    return true;
}

static const char *judge_times(const json_t *payload, int64_t now_ms, int64_t *exp_ms)
{
    const json_t *not_before = json_object_get(payload, "nbf");
    int64_t nbf_ms = 0;
    if (!time_of(json_object_get(payload, "exp"), exp_ms)) return "the token has no exp";
    if (*exp_ms <= now_ms) return "the token has expired";
    if (not_before != NULL && !time_of(not_before, &nbf_ms)) return "the token's nbf is not a time";
    if (nbf_ms > now_ms + NOT_BEFORE_LEEWAY_MS) return "the token is not valid yet";
    return NULL;
}

/* Why the claims are not accepted; NULL: they are, and *claims is filled. */
static const char *judge_claims(const struct auth *auth, const json_t *payload, struct slice device,
                                int64_t now_ms, struct auth_claims *claims)
{
    struct auth_claims read = {.exp_ms = 0};
    const json_t *sub = json_object_get(payload, "sub");
    const json_t *dev = json_object_get(payload, "dev");
    const json_t *jti = json_object_get(payload, "jti");
    const char *why = judge_times(payload, now_ms, &read.exp_ms);
    if (why != NULL) return why;
    if (!json_is_string(sub) || !id_valid(string_of(sub))) return "the token's sub is no user id";
    if (auth->issuer != NULL &&
        !is_string(json_object_get(payload, "iss"), slice_str(auth->issuer)))
        return "the token is by another issuer";
    if (auth->audience != NULL && !audience_right(json_object_get(payload, "aud"), auth->audience))
        return "the token is for another audience";
    if (dev != NULL && !is_string(dev, device)) return "the token is for another device";
    if (jti != NULL && (!json_is_string(jti) || json_string_length(jti) > AUTH_JTI_BYTES_MAX))
        return "the token's jti is too long";
    memcpy(read.user, json_string_value(sub), json_string_length(sub) + 1);
    if (jti != NULL) memcpy(read.jti, json_string_value(jti), json_string_length(jti) + 1);
    *claims = read;
    return NULL;
}

int auth_verify(const struct auth *auth, struct slice token, struct slice device, int64_t now_ms,
                struct auth_claims *claims, const char **why)
{
    struct slice header_part, payload_part;
    json_t *payload = NULL;
    *why = "this is not a JWT";
    if (token.len > TOKEN_BYTES_MAX || memchr(token.data, '\0', token.len) != NULL ||
        !split(token, &header_part, &payload_part))
        return ERR_PERM;
    json_t *header = part_json(header_part);
    if (header == NULL) return ERR_PERM;
    if (verified(auth, header, token)) {
        payload = part_json(payload_part);
        if (payload != NULL) *why = judge_claims(auth, payload, device, now_ms, claims);
    } else {
        *why = "no key of ours signed this token";
    }
    json_decref(payload);
    json_decref(header);
    return *why == NULL ? 0 : ERR_PERM;
}

/* ---- signing ---- */

int auth_sign(const struct auth_grant *grant, struct slice secret, struct buf *out)
{
    char user[ID_BYTES_MAX + 1] = {0};
    jwt_t *jwt = NULL;
    if (!id_valid(grant->user) || secret.len < AUTH_SECRET_BYTES_MIN ||
        secret.len > TOKEN_BYTES_MAX)
        return ERR_INVAL;
    memcpy(user, grant->user.data, grant->user.len);
    CHECK(jwt_new(&jwt) == 0);
    CHECK(jwt_add_grant(jwt, "sub", user) == 0);
    CHECK(jwt_add_grant_int(jwt, "exp", (long)(grant->exp_ms / 1000)) == 0);
    if (grant->issuer != NULL) CHECK(jwt_add_grant(jwt, "iss", grant->issuer) == 0);
    if (grant->audience != NULL) CHECK(jwt_add_grant(jwt, "aud", grant->audience) == 0);
    if (grant->device != NULL) CHECK(jwt_add_grant(jwt, "dev", grant->device) == 0);
    if (grant->kid != NULL) CHECK(jwt_add_header(jwt, "kid", grant->kid) == 0);
    CHECK(jwt_set_alg(jwt, JWT_ALG_HS256, secret.data, (int)secret.len) == 0);
    char *token = jwt_encode_str(jwt);
    CHECK(token != NULL);
    buf_put(out, token, strlen(token));
    free(token);
    jwt_free(jwt);
    return 0;
}
