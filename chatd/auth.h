/* chatd/auth.h -- tokens: who says who a client is.
 *
 * A JWT is accepted when one configured key verifies it by that key's own algorithm, fixed in the
 * configuration: "none", and an algorithm that the token chose, never count. sub must be a user
 * id, exp must lie ahead; iss and aud are checked when configured; a dev claim must equal the
 * device that says hello.
 * Owns:   the keys. Thread: any; a struct auth never changes once made.
 * Errors: auth_create ERR_INVAL; auth_verify gives the reason as a text for the client.
 * Format: RFC 7519, signed HS256, RS256 or ES256, at most TOKEN_BYTES_MAX bytes. */
#ifndef CHATD_AUTH_H_
#define CHATD_AUTH_H_

#include "chatd/ids.h"
#include "log/base.h"
#include "log/codec.h"

struct auth;

enum {
    AUTH_KEYS_MAX = 16,
    AUTH_SECRET_BYTES_MIN = 32, /* HS256: a secret shorter than the hash can be guessed. */
    AUTH_JTI_BYTES_MAX = 128,
};

struct auth_key {
    const char *alg;  /* "HS256", "RS256" or "ES256". */
    const char *kid;  /* NULL: the key is tried whatever kid a token names. */
    struct slice key; /* The secret (HS256), or the public key as PEM. */
};

struct auth_config {
    const struct auth_key *keys; /* 1 .. AUTH_KEYS_MAX. */
    size_t keys_count;
    const char *issuer;   /* NULL: iss is not checked. */
    const char *audience; /* NULL: aud is not checked. Else aud, or one of its array, is this. */
};

/* What an accepted token says. */
struct auth_claims {
    char user[ID_BYTES_MAX + 1];
    int64_t exp_ms;                   /* Since 1970. */
    char jti[AUTH_JTI_BYTES_MAX + 1]; /* Empty when there is none. */
};

/* Copies the configuration. ERR_INVAL: *why (static storage) says what is wrong with key number
 * *which, from 0. */
MUST_CHECK int auth_create(const struct auth_config *config, struct auth **out, size_t *which,
                           const char **why);
void auth_destroy(struct auth *auth); /* NULL is fine. */

/* Check token at now_ms (since 1970) for a client on device. 0: *claims is filled.
 * ERR_PERM: *why, static storage, is a reason that may be shown to the client. */
MUST_CHECK int auth_verify(const struct auth *auth, struct slice token, struct slice device,
                           int64_t now_ms, struct auth_claims *claims, const char **why);

/* What to put into a token of our own. */
struct auth_grant {
    struct slice user;    /* A valid id. */
    int64_t exp_ms;       /* Since 1970; cut to whole seconds. */
    const char *kid;      /* NULL: none. */
    const char *issuer;   /* NULL: none. */
    const char *audience; /* NULL: none. */
    const char *device;   /* NULL: none. */
};

/* Append to out a token signed HS256 with secret. ERR_INVAL: the user id or the secret. */
MUST_CHECK int auth_sign(const struct auth_grant *grant, struct slice secret, struct buf *out);

#endif /* CHATD_AUTH_H_ */
