/* log/env_uv_impl.h -- what the files env_uv*.c share; nobody else includes it.
 *
 * env_uv.c: the loop, its clock, timers and turn. env_uv_work.c: lanes and the pool.
 * env_uv_conn.c: connections and listeners. env_uv_file.c: files. */
#ifndef LOG_ENV_UV_IMPL_H_
#define LOG_ENV_UV_IMPL_H_

#include "log/env_uv.h"
#include "log/timer_heap.h"
#include "log/turn.h"

enum {
    ENV_UV_RANDOM_COUNT = 32,            /* Numbers drawn from the kernel at once. */
    ENV_UV_READ_BYTES = 256 * 1024,      /* One read from a socket: a few per turn at full speed. */
    ENV_UV_KEEP_BYTES = 256 * 1024,      /* A connection's buffer larger than that is given back
                                            once it is empty. */
    ENV_UV_CONNECT_US = 2 * 1000 * 1000, /* A connect that takes longer has failed. */
    ENV_UV_LISTEN_BACKLOG = 511,
};

struct env_uv {
    struct env env; /* First: what the ops are given. */
    uv_loop_t *loop;
    uv_loop_t own_loop;   /* loop points here unless one was given. */
    bool loop_given;      /* loop is somebody else's. */
    bool closing;         /* Inside env_uv_destroy: nothing calls back any more. */
    size_t handles_count; /* Handles and requests on the loop whose last callback is to come. */

    /* The clock: read once a turn, on first use. */
    uint64_t now_us; /* 0: not read in this turn yet. */
    bool turned;     /* The loop runs: before, in start-up, each use reads the clock. */

    struct timer_heap timers;
    uv_timer_t timer;      /* Set to the first of timers. */
    uint64_t timer_due_us; /* What timer is set to; UINT64_MAX: stopped. */

    struct turn turn;
    bool turning;         /* Tasks run right now. */
    uv_prepare_t prepare; /* Runs the tasks of timers, before the wait. */
    uv_check_t check;     /* Runs the tasks of what the wait brought. */
    uv_idle_t idle;       /* Started while tasks are queued, so that the loop does not wait. */

    uv_async_t async;       /* Lanes have something done. */
    struct env_lane *lanes; /* All of them. */
    struct env_work *done;  /* Done on a lane, taken from it, not told yet; oldest first. */
    struct env_work *done_last;
    uv_mutex_t pool_mutex; /* Guards the state of each work of the pool. */
    uv_cond_t pool_ended;  /* One of them ran. */

    struct env_task send;    /* Writes what the connections of sends gathered. */
    struct env_conn *sends;  /* Linked by next_send. */
    struct env_conn *drains; /* To be told that they drained, in the next turn; by next_drain. */
    struct env_conn *conns;  /* All not yet freed. */
    struct env_listener *listeners;
    uint8_t *read_buffer; /* ENV_UV_READ_BYTES; lent to one read at a time. */

    uv_signal_t signals[2];
    void (*term)(void *arg); /* NULL: signals are not watched. */
    void *term_arg;

    uint64_t random[ENV_UV_RANDOM_COUNT];
    size_t random_left; /* Of random, not given out yet. */
};

static inline struct env_uv *env_uv_of(struct env *env)
{
    return (struct env_uv *)(void *)env;
}

/* env_uv.c: the loop must not wait before the next check. */
void env_uv_wake(struct env_uv *uv);
/* env_uv.c: translate a negative UV_* code. */
int err_from_uv(int code);

/* env_uv_work.c */
void env_uv_work_init(struct env_uv *uv);
void env_uv_work_submit(struct env *env, struct env_lane *lane, struct env_work *work);
void env_uv_work_forget(struct env *env, struct env_work *work);
void env_uv_work_close(struct env_uv *uv); /* Nothing of the pool is left. */
struct env_lane *env_uv_lane_create(struct env *env, const char *name);
void env_uv_lane_destroy(struct env *env, struct env_lane *lane);

/* env_uv_conn.c */
void env_uv_conn_init(struct env_uv *uv);
void env_uv_conn_drains(struct env_uv *uv);    /* At the start of a turn. */
void env_uv_conn_close_all(struct env_uv *uv); /* Without callbacks. */
int env_uv_listen(struct env *env, const struct env_address *address,
                  void (*accepted)(void *arg, struct env_conn *conn), void *arg,
                  struct env_listener **out);
uint16_t env_uv_listener_port(struct env *env, struct env_listener *listener);
void env_uv_listener_close(struct env *env, struct env_listener *listener);
struct env_conn *env_uv_connect(struct env *env, const struct env_address *address,
                                const struct env_conn_ops *ops, void *arg);
void env_uv_conn_accept(struct env *env, struct env_conn *conn, const struct env_conn_ops *ops,
                        void *arg);
struct buf *env_uv_conn_out(struct env *env, struct env_conn *conn);
size_t env_uv_conn_backlog(struct env *env, struct env_conn *conn);
const char *env_uv_conn_peer(struct env *env, struct env_conn *conn);
void env_uv_conn_close(struct env *env, struct env_conn *conn);

/* env_uv_file.c */
int env_uv_file_open(struct env *env, const char *path, int flags, struct env_file **out);
void env_uv_file_close(struct env *env, struct env_file *file);
int env_uv_file_read(struct env *env, struct env_file *file, void *out, size_t bytes,
                     uint64_t offset, size_t *got);
int env_uv_file_write(struct env *env, struct env_file *file, const void *data, size_t bytes,
                      uint64_t offset);
int env_uv_file_sync(struct env *env, struct env_file *file);
int env_uv_file_size(struct env *env, struct env_file *file, uint64_t *bytes);
int env_uv_file_truncate(struct env *env, struct env_file *file, uint64_t bytes);
int env_uv_rename(struct env *env, const char *from, const char *to);
int env_uv_unlink(struct env *env, const char *path);
int env_uv_dir_make(struct env *env, const char *path);
int env_uv_dir_sync(struct env *env, const char *path);
int env_uv_dir_list(struct env *env, const char *path, env_name_cb each, void *arg);
int env_uv_dir_lock(struct env *env, const char *path, struct env_file **lock);
int env_uv_disk_free(struct env *env, const char *path, uint64_t *bytes);

#endif /* LOG_ENV_UV_IMPL_H_ */
