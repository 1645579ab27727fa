/* log/sha.h -- SHA-256, for the chain of every stream: the one place that knows OpenSSL's EVP.
 *
 * Owns:   OpenSSL's method and context, made once and used for every hash: 0.2 us for 256 bytes,
 *         where a new context each time takes 0.4.
 * Thread: one at a time; each thread has its own struct sha.
 * Units:  a digest is SHA_BYTES bytes. */
#ifndef LOG_SHA_H_
#define LOG_SHA_H_

#include "log/base.h"

enum { SHA_BYTES = 32 };

/* Embedded by its user; the fields are private. */
struct sha {
    struct evp_md_st *method;  /* Owned: fetched once, a fetch takes locks. */
    struct evp_md_ctx_st *run; /* Owned: the hash under way. */
};

/* Fetch and free OpenSSL's part; CHECK: there is memory for it. */
void sha_init(struct sha *sha);
void sha_close(struct sha *sha);

/* The digest of bytes (borrowed until return) into out. */
void sha_256(struct sha *sha, struct slice bytes, uint8_t out[SHA_BYTES]);

/* The same in pieces: begin, add any number of times, end. sha_begin forgets what was added. */
void sha_begin(struct sha *sha);
void sha_add(struct sha *sha, struct slice bytes); /* bytes: borrowed until return. */
void sha_end(struct sha *sha, uint8_t out[SHA_BYTES]);

#endif /* LOG_SHA_H_ */
