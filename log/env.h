/* log/env.h -- everything outside the process: clocks, chance, timers, the turn of the loop,
 * workers, files, connections.
 *
 * One struct env is one loop with its thread. log/env_uv.h makes the real one, on libuv; the
 * simulator makes its own, in virtual time. Nothing above this header calls the operating system,
 * and nothing reads a clock or draws chance elsewhere: the same inputs give the same run.
 *
 * Owns:   its connections and listeners (struct env_conn, env_listener), until their close.
 *         Timers, tasks and work requests live in the caller's memory.
 * Thread: the loop's, except the file calls: they block, and belong on a worker, a lane, or into
 *         start-up before the loop runs. Callbacks run on the loop, never from inside the call
 *         that asked for them.
 * Units:  names end in ms, us, ns or bytes.
 * Errors: 0 or ERR_*; on error outputs are untouched and no callback follows. */
#ifndef LOG_ENV_H_
#define LOG_ENV_H_

#include "log/base.h"
#include "log/codec.h"

struct env;
struct env_lane; /* A thread of its own that does work in the order it was submitted. */
struct env_file;
struct env_conn;
struct env_listener;

/* ---- timers: fire once; start again to repeat ---- */
struct env_timer {
    void (*fired)(struct env_timer *timer); /* Set by env_timer_init. */
    uint64_t due_us;                        /* Private: to env_now_us's clock. */
    uint64_t order;                         /* Private: ties fire in the order of their start. */
    size_t slot;                            /* Private: place in the heap; 0 when stopped. */
};

/* ---- the turn of the loop: what its callbacks collected is acted upon at its end ---- */
enum env_phase {
    ENV_PHASE_WORK, /* Make entries, apply, answer. */
    ENV_PHASE_LOG,  /* Submit the write-ahead log's batch. */
    ENV_PHASE_SEND, /* Private to env: connections write what gathered in their buffers. */
    ENV_PHASES
};

/* A task runs once for each env_defer that found it idle, before the loop waits again. Earlier
 * phases run until nothing of them is left, those that tasks add included. */
struct env_task {
    void (*run)(struct env_task *task); /* Set by env_task_init. */
    struct env_task *next;              /* Private. */
    enum env_phase phase;               /* Set by env_task_init. */
    bool queued;                        /* Private. */
};

/* ---- work that blocks: on a pool, or in order on a lane ---- */
struct env_work {
    void (*work)(struct env_work *work); /* On another thread: touches the request alone. */
    void (*done)(struct env_work *work); /* On the loop, once; may free the request. */
    struct env_work *next;               /* Private. */
    void *impl;                          /* Private. */
};

/* ---- connections: ordered bytes both ways (TCP) ---- */
struct env_conn_ops {
    void (*opened)(struct env_conn *conn, void *arg);                       /* After env_connect. */
    void (*received)(struct env_conn *conn, void *arg, struct slice bytes); /* bytes borrowed. */
    void (*drained)(struct env_conn *conn, void *arg); /* Backlog fell to 0. May be NULL. */
    /* The last callback of a connection, also after env_conn_close; err tells why (0: closed by
     * us, ERR_CLOSED: by the peer, ERR_CONNECT, ERR_TIMEOUT). conn is gone when it returns. */
    void (*closed)(struct env_conn *conn, void *arg, int err);
};

struct env_address {
    char host[64]; /* A numeric IPv4 or IPv6 address, or a name that resolves to one. */
    uint16_t port; /* 0 when listening: any free port, see env_listener_port. */
};

enum env_open {
    ENV_READ = 1,
    ENV_WRITE = 2,
    ENV_CREATE = 4,    /* Make it when absent. */
    ENV_EXCLUSIVE = 8, /* With ENV_CREATE: ERR_EXISTS when present. */
};

/* Called for each name in a folder ("." and ".." left out); name borrowed until return. */
typedef void (*env_name_cb)(void *arg, const char *name);

/* What an implementation provides; callers use the env_* functions below. */
struct env_ops {
    uint64_t (*now_us)(struct env *);
    int64_t (*wall_ms)(struct env *);
    uint64_t (*random)(struct env *);
    void (*timer_start)(struct env *, struct env_timer *, uint64_t delay_us);
    void (*timer_stop)(struct env *, struct env_timer *);
    void (*defer)(struct env *, struct env_task *);
    void (*undefer)(struct env *, struct env_task *);
    void (*work_submit)(struct env *, struct env_lane *, struct env_work *);
    void (*work_forget)(struct env *, struct env_work *);
    struct env_lane *(*lane_create)(struct env *, const char *name);
    void (*lane_destroy)(struct env *, struct env_lane *);

    int (*file_open)(struct env *, const char *path, int flags, struct env_file **out);
    void (*file_close)(struct env *, struct env_file *);
    int (*file_read)(struct env *, struct env_file *, void *out, size_t bytes, uint64_t offset,
                     size_t *got);
    int (*file_write)(struct env *, struct env_file *, const void *data, size_t bytes,
                      uint64_t offset);
    int (*file_sync)(struct env *, struct env_file *);
    int (*file_size)(struct env *, struct env_file *, uint64_t *bytes);
    int (*file_truncate)(struct env *, struct env_file *, uint64_t bytes);
    int (*rename)(struct env *, const char *from, const char *to);
    int (*unlink)(struct env *, const char *path);
    int (*dir_make)(struct env *, const char *path);
    int (*dir_sync)(struct env *, const char *path);
    int (*dir_list)(struct env *, const char *path, env_name_cb each, void *arg);
    int (*dir_lock)(struct env *, const char *path, struct env_file **lock);
    int (*disk_free)(struct env *, const char *path, uint64_t *bytes);

    int (*listen)(struct env *, const struct env_address *,
                  void (*accepted)(void *arg, struct env_conn *conn), void *arg,
                  struct env_listener **out);
    uint16_t (*listener_port)(struct env *, struct env_listener *);
    void (*listener_close)(struct env *, struct env_listener *);
    struct env_conn *(*connect)(struct env *, const struct env_address *,
                                const struct env_conn_ops *, void *arg);
    void (*conn_accept)(struct env *, struct env_conn *, const struct env_conn_ops *, void *arg);
    struct buf *(*conn_out)(struct env *, struct env_conn *);
    size_t (*conn_backlog)(struct env *, struct env_conn *);
    const char *(*conn_peer)(struct env *, struct env_conn *);
    void (*conn_close)(struct env *, struct env_conn *);
};

/* The head of every implementation. */
struct env {
    const struct env_ops *ops;
};

/* Microseconds of a clock that never goes back; its zero means nothing. Taken once per turn. */
static inline uint64_t env_now_us(struct env *env)
{
    return env->ops->now_us(env);
}
static inline uint64_t env_now_ms(struct env *env)
{
    return env->ops->now_us(env) / 1000;
}
/* Milliseconds since 1970 as this machine believes; may jump. For time stamps alone. */
static inline int64_t env_wall_ms(struct env *env)
{
    return env->ops->wall_ms(env);
}
static inline uint64_t env_random(struct env *env)
{
    return env->ops->random(env);
}
/* Uniform in 0 .. below - 1; below is at least 1. */
static inline uint64_t env_random_below(struct env *env, uint64_t below)
{
    CHECK(below > 0);
    return env->ops->random(env) % below; /* The bias is below 2^-32 for what is asked here. */
}

static inline void env_timer_init(struct env_timer *timer, void (*fired)(struct env_timer *))
{
    *timer = (struct env_timer){.fired = fired};
}
/* Fire after delay; a started timer is moved. */
static inline void env_timer_start_us(struct env *env, struct env_timer *timer, uint64_t delay_us)
{
    env->ops->timer_start(env, timer, delay_us);
}
static inline void env_timer_start(struct env *env, struct env_timer *timer, uint64_t delay_ms)
{
    env->ops->timer_start(env, timer, delay_ms * 1000);
}
/* Its memory may be freed afterwards. Stopping a stopped timer does nothing. */
static inline void env_timer_stop(struct env *env, struct env_timer *timer)
{
    env->ops->timer_stop(env, timer);
}
static inline bool env_timer_started(const struct env_timer *timer)
{
    return timer->slot != 0;
}

static inline void env_task_init(struct env_task *task, enum env_phase phase,
                                 void (*run)(struct env_task *))
{
    *task = (struct env_task){.run = run, .phase = phase};
}
/* Run task at the end of this turn; does nothing when it is queued already. The task stays where
 * it is until it ran or env_undefer took it back. */
static inline void env_defer(struct env *env, struct env_task *task)
{
    env->ops->defer(env, task);
}
/* Not any more: its memory may be freed afterwards. Does nothing when it is not queued. */
static inline void env_undefer(struct env *env, struct env_task *task)
{
    if (task->queued) env->ops->undefer(env, task);
}

/* Run work->work elsewhere, then work->done on the loop. lane NULL: the pool, in any order. */
static inline void env_work_submit(struct env *env, struct env_lane *lane, struct env_work *work)
{
    env->ops->work_submit(env, lane, work);
}
/* Take back work of the pool whose done was not called: what has not begun never does, what runs is
 * waited for, and done does not follow. Its memory may be freed afterwards. */
static inline void env_work_forget(struct env *env, struct env_work *work)
{
    env->ops->work_forget(env, work);
}
static inline struct env_lane *env_lane_create(struct env *env, const char *name)
{
    return env->ops->lane_create(env, name); /* name: copied, at most 15 bytes. */
}
/* Waits until the lane did its work; the done callbacks of that work never run afterwards. */
static inline void env_lane_destroy(struct env *env, struct env_lane *lane)
{
    env->ops->lane_destroy(env, lane);
}

/* Files. path: copied; absolute. flags: of enum env_open. */
MUST_CHECK static inline int env_file_open(struct env *env, const char *path, int flags,
                                           struct env_file **out)
{
    return env->ops->file_open(env, path, flags, out);
}
static inline void env_file_close(struct env *env, struct env_file *file)
{
    env->ops->file_close(env, file);
}
/* *got is less than bytes at the file's end only. */
MUST_CHECK static inline int env_file_read(struct env *env, struct env_file *file, void *out,
                                           size_t bytes, uint64_t offset, size_t *got)
{
    return env->ops->file_read(env, file, out, bytes, offset, got);
}
/* All bytes or an error; after an error any part may be written. */
MUST_CHECK static inline int env_file_write(struct env *env, struct env_file *file,
                                            const void *data, size_t bytes, uint64_t offset)
{
    return env->ops->file_write(env, file, data, bytes, offset);
}
/* fdatasync. An error means that what was written is lost or not, and no retry can tell. */
MUST_CHECK static inline int env_file_sync(struct env *env, struct env_file *file)
{
    return env->ops->file_sync(env, file);
}
MUST_CHECK static inline int env_file_size(struct env *env, struct env_file *file, uint64_t *bytes)
{
    return env->ops->file_size(env, file, bytes);
}
MUST_CHECK static inline int env_file_truncate(struct env *env, struct env_file *file,
                                               uint64_t bytes)
{
    return env->ops->file_truncate(env, file, bytes);
}
/* Replaces to when present. Durable only after env_dir_sync of the folder. */
MUST_CHECK static inline int env_rename(struct env *env, const char *from, const char *to)
{
    return env->ops->rename(env, from, to);
}
MUST_CHECK static inline int env_unlink(struct env *env, const char *path)
{
    return env->ops->unlink(env, path);
}
/* 0 when it is there already. */
MUST_CHECK static inline int env_dir_make(struct env *env, const char *path)
{
    return env->ops->dir_make(env, path);
}
MUST_CHECK static inline int env_dir_sync(struct env *env, const char *path)
{
    return env->ops->dir_sync(env, path);
}
/* In no given order. ERR_NOT_FOUND: no such folder. */
MUST_CHECK static inline int env_dir_list(struct env *env, const char *path, env_name_cb each,
                                          void *arg)
{
    return env->ops->dir_list(env, path, each, arg);
}
/* Take the folder for this process alone until *lock is closed. ERR_LOCKED: somebody has it. */
MUST_CHECK static inline int env_dir_lock(struct env *env, const char *path, struct env_file **lock)
{
    return env->ops->dir_lock(env, path, lock);
}
MUST_CHECK static inline int env_disk_free(struct env *env, const char *path, uint64_t *bytes)
{
    return env->ops->disk_free(env, path, bytes);
}

/* Connections. accepted: must call env_conn_accept or env_conn_close before it returns. */
MUST_CHECK static inline int env_listen(struct env *env, const struct env_address *address,
                                        void (*accepted)(void *arg, struct env_conn *conn),
                                        void *arg, struct env_listener **out)
{
    return env->ops->listen(env, address, accepted, arg, out);
}
static inline uint16_t env_listener_port(struct env *env, struct env_listener *listener)
{
    return env->ops->listener_port(env, listener);
}
static inline void env_listener_close(struct env *env, struct env_listener *listener)
{
    env->ops->listener_close(env, listener);
}
/* Never NULL: a failure comes as closed(), in a later turn. ops: borrowed until then. */
static inline struct env_conn *env_connect(struct env *env, const struct env_address *address,
                                           const struct env_conn_ops *ops, void *arg)
{
    return env->ops->connect(env, address, ops, arg);
}
static inline void env_conn_accept(struct env *env, struct env_conn *conn,
                                   const struct env_conn_ops *ops, void *arg)
{
    env->ops->conn_accept(env, conn, ops, arg);
}
/* The buffer to append to; it is sent at the end of this turn. Borrowed until the callback that
 * asked for it returns. Before opened() it gathers. */
static inline struct buf *env_conn_out(struct env *env, struct env_conn *conn)
{
    return env->ops->conn_out(env, conn);
}
/* Bytes appended and not yet taken by the operating system. Who sends bounds it. */
static inline size_t env_conn_backlog(struct env *env, struct env_conn *conn)
{
    return env->ops->conn_backlog(env, conn);
}
/* The peer's address for people, "127.0.0.1:7001"; lives as long as the connection. */
static inline const char *env_conn_peer(struct env *env, struct env_conn *conn)
{
    return env->ops->conn_peer(env, conn);
}
/* Sends what gathered so far if the peer takes it at once; closed() follows in a later turn and
 * is the only callback that does. Closing twice does nothing. */
static inline void env_conn_close(struct env *env, struct env_conn *conn)
{
    env->ops->conn_close(env, conn);
}

#endif /* LOG_ENV_H_ */
