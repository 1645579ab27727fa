/* chatd/webroot.h -- the files of the web client, read into memory at start.
 *
 * A file is found by its exact path ("/app.js"; "/" is "/index.html"): nothing outside the folder
 * can be named, whatever a request holds.
 * Owns:   the contents. Thread: any, once made; it never changes.
 * Errors: 0 or ERR_*. Limits: WEBROOT_FILES_MAX files of WEBROOT_BYTES_MAX in sum, one folder
 *         without folders inside. */
#ifndef CHATD_WEBROOT_H_
#define CHATD_WEBROOT_H_

#include "log/base.h"
#include "log/env.h"

enum {
    WEBROOT_FILES_MAX = 128,
    WEBROOT_BYTES_MAX = 8 * 1024 * 1024,
};

struct webroot;

struct webfile {
    const char *path; /* "/app.js". Everything here is borrowed from the webroot. */
    const char *type; /* The content type. */
    struct slice body;
};

/* Read folder (absolute; blocking). Names with another ending than those of a web page (.html .js
 * .css .svg .png .ico .webmanifest .json .woff2) are left out. ERR_NOT_FOUND: no such folder, or
 * no index.html in it; ERR_TOO_BIG: beyond a limit. */
MUST_CHECK int webroot_load(struct env *env, const char *folder, struct webroot **out);
void webroot_destroy(struct webroot *root); /* NULL is fine. */

/* The file at path, NULL when there is none. */
const struct webfile *webroot_find(const struct webroot *root, const char *path);

#endif /* CHATD_WEBROOT_H_ */
