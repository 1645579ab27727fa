/* log/env_uv.h -- the real world for log/env.h: one libuv loop, POSIX files, threads, TCP.
 *
 * The turn: callbacks of the loop's poll run, then the tasks they deferred, phase by phase; tasks
 * deferred by timers run before the next wait. The loop never waits while a task is queued, and
 * never wakes for itself: an idle env sleeps until its next timer.
 *
 * Owns:   its loop, unless one was given; all handles on it that serve env's calls.
 * Thread: create, run and destroy on one thread, the loop's. Lanes and the pool are env's own.
 * Errors: ERR_*. SIGPIPE is ignored from the first create on. */
#ifndef LOG_ENV_UV_H_
#define LOG_ENV_UV_H_

#include <uv.h>

#include "log/env.h"

struct env_uv; /* Opaque. Made by env_uv_create, freed by env_uv_destroy. */

/* loop: borrowed until env_uv_destroy (whoever else uses it, as libwebsockets does, closes its own
 * handles), or NULL for a loop of env's own. Success: *out is the caller's. ERR_IO: the system
 * refused. */
MUST_CHECK int env_uv_create(uv_loop_t *loop, struct env_uv **out);

struct env *env_uv_env(struct env_uv *uv); /* Lives as long as uv. */
uv_loop_t *env_uv_loop(struct env_uv *uv); /* Likewise. */

/* Run the loop until env_uv_stop. */
void env_uv_run(struct env_uv *uv);
/* Have env_uv_run return after this turn; from the loop's thread, also before env_uv_run. */
void env_uv_stop(struct env_uv *uv);

/* Call asked once for each SIGTERM or SIGINT, on the loop. Once per process and env. */
MUST_CHECK int env_uv_on_term(struct env_uv *uv, void (*asked)(void *arg), void *arg);

/* Close everything: timers, tasks and work not done by now never call back; connections and
 * listeners still open are closed without a callback; waits for lanes and the pool. All lanes must
 * be destroyed before. Runs the loop without waiting until its handles are closed. */
void env_uv_destroy(struct env_uv *uv);

#endif /* LOG_ENV_UV_H_ */
