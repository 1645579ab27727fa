/* admin/bench_append.c -- parley bench append: durable appends through the client library.
 *
 * `inflight` writers each own their streams and a producer, and append one record after another:
 * an append counts once it was acknowledged. At the end every stream is read back, and each record
 * must be the one that was acknowledged under its number. */
#include <stdio.h>
#include <stdlib.h>

#include "admin/cli.h"
#include "admin/measure.h"
#include "log/pack.h"

enum {
    SECONDS_DEFAULT = 10,
    INFLIGHT_DEFAULT = 64,
    SIZE_DEFAULT = 256,
    STREAMS_DEFAULT = 1024,
    NAME_BYTES = 48,
    END_MS = 30000, /* What is open at the end gets its answer by then. */
    VERIFY_MS = 300000,
    PAGE_RECORDS = 2048,
    PAGE_BYTES = 900 * 1024,
    BENCH_KIND = 1,
};

struct bench;

struct stream {
    char name[NAME_BYTES];
    uint64_t acked; /* Records 1 .. acked of this stream are acknowledged. */
};

struct writer {
    struct client_txn request;
    struct bench *bench;
    struct stream *stream; /* Where the append under way goes. */
    unsigned next_stream;
    uint64_t begin_us;
    uint8_t *payload;
};

struct verify {
    struct client_query request;
    struct bench *bench;
    unsigned stream; /* The one being read; by steps of verifies_count. */
    uint64_t next;
};

enum { VERIFIES = 8 }; /* Pages of almost 1 MiB: what a client may have under way. */

struct bench {
    struct cli *cli;
    struct cli_link link;
    struct stream *streams;
    struct writer *writers;
    uint64_t streams_count, until_us;
    unsigned open_count;
    bool done;
    struct latency latency;
    uint64_t errors, verified, wrong;
    int last_err; /* Of an append; 0: none failed with one. */
    int read_err; /* The first one met while reading back. */
    struct verify verifies[VERIFIES];
    unsigned verifies_open;
};

/* The payload is decided by stream and number, so that reading back needs no copy. */
static void payload_fill(const struct stream *stream, uint64_t n, uint8_t *out, size_t bytes)
{
    uint64_t state = hash64(slice_str(stream->name)) + n * 0x9e3779b97f4a7c15u;
    for (size_t at = 0; at < bytes; at += sizeof(state)) {
        size_t part = bytes - at < sizeof(state) ? bytes - at : sizeof(state);
        state = state * 6364136223846793005u + 1442695040888963407u;
        memcpy(out + at, &state, part);
    }
}

static void writer_go(struct writer *writer);

static void append_done(struct client_txn *request, int err, const struct outcome *outcome,
                        uint32_t after_ms)
{
    struct writer *writer = CONTAINER_OF(request, struct writer, request);
    struct bench *bench = writer->bench;
    (void)after_ms;
    if (err == 0 && outcome->status == 0 && outcome->last == writer->stream->acked + 1) {
        writer->stream->acked++;
        latency_add(&bench->latency, env_now_us(bench->link.env) - writer->begin_us);
    } else {
        bench->errors++;
        if (err != 0) bench->last_err = err;
    }
    writer_go(writer);
}

static void writer_go(struct writer *writer)
{
    struct bench *bench = writer->bench;
    writer->begin_us = env_now_us(bench->link.env);
    if (writer->begin_us >= bench->until_us) {
        bench->done = --bench->open_count == 0;
        return;
    }
    writer->stream = &bench->streams[writer->next_stream];
    writer->next_stream += (unsigned)bench->cli->inflight;
    if (writer->next_stream >= bench->streams_count)
        writer->next_stream = (unsigned)(writer - bench->writers);
    uint64_t n = writer->stream->acked + 1;
    payload_fill(writer->stream, n, writer->payload, bench->cli->size);
    struct txn_record record = {.kind = BENCH_KIND,
                                .flags = RECORD_COUNTED,
                                .payload = {writer->payload, bench->cli->size}};
    struct txn txn = {.stream = slice_str(writer->stream->name),
                      .producer = slice_str("bench/append"),
                      .n = n,
                      .records = &record,
                      .records_count = 1};
    writer->request = (struct client_txn){.txn = &txn, .done = append_done};
    client_txn(bench->link.client, &writer->request);
}

/* ---- reading back ---- */

static void verify_go(struct verify *verify);

static void verify_rows(struct verify *verify)
{
    struct bench *bench = verify->bench;
    const struct stream *stream = &bench->streams[verify->stream];
    struct reader r = reader_of(buf_bytes(&verify->request.query.rows));
    uint8_t *want = mem_alloc(bench->cli->size);
    while (reader_left(&r) > 0) {
        struct record_view record;
        record_decode(&r, &record);
        payload_fill(stream, record.seq, want, bench->cli->size);
        bool good = !r.failed && record.seq == verify->next && record.n == record.seq &&
                    slice_equal(record.payload, (struct slice){want, bench->cli->size});
        if (!good) bench->wrong++;
        if (r.failed || !good) break;
        if (record.seq <= stream->acked) bench->verified++;
        verify->next++;
    }
    free(want);
}

static void verify_next(struct verify *verify)
{
    struct bench *bench = verify->bench;
    verify->stream += VERIFIES;
    verify->next = 1;
    verify_go(verify);
    if (bench->verifies_open == 0) bench->done = true;
}

static void verify_done(struct client_query *request, int err)
{
    struct verify *verify = CONTAINER_OF(request, struct verify, request);
    if (err == 0)
        verify_rows(verify);
    else if (verify->bench->read_err == 0)
        verify->bench->read_err = err;
    bool more = err == 0 && request->query.more;
    buf_free(&request->query.rows);
    if (more)
        verify_go(verify);
    else
        verify_next(verify);
}

static void verify_go(struct verify *verify)
{
    struct bench *bench = verify->bench;
    while (verify->stream < bench->streams_count && bench->streams[verify->stream].acked == 0)
        verify->stream += VERIFIES;
    if (verify->stream >= bench->streams_count) {
        bench->verifies_open--;
        return;
    }
    verify->request = (struct client_query){
        .query = {.kind = STORE_RECORDS,
                  .stream = slice_str(bench->streams[verify->stream].name),
                  .from = verify->next,
                  .limit_count = PAGE_RECORDS,
                  .limit_bytes = PAGE_BYTES},
        .done = verify_done,
    };
    client_query(bench->link.client, &verify->request);
}

static void verify_all(struct bench *bench)
{
    bench->done = false;
    bench->verifies_open = VERIFIES;
    for (unsigned i = 0; i < VERIFIES; i++) {
        bench->verifies[i] = (struct verify){.bench = bench, .stream = i, .next = 1};
        verify_go(&bench->verifies[i]);
    }
    if (bench->verifies_open == 0) bench->done = true;
    (void)cli_run(&bench->link, &bench->done, VERIFY_MS);
}

/* ---- the command ---- */

static void bench_make(struct bench *bench)
{
    struct cli *cli = bench->cli;
    uint64_t run = env_random(bench->link.env);
    bench->streams_count = cli->streams;
    bench->streams = mem_zero(cli->streams * sizeof(bench->streams[0]));
    bench->writers = mem_zero(cli->inflight * sizeof(bench->writers[0]));
    for (uint64_t i = 0; i < cli->streams; i++)
        snprintf(bench->streams[i].name, NAME_BYTES, "bench/%016llx/%llu", (unsigned long long)run,
                 (unsigned long long)i);
    for (uint64_t i = 0; i < cli->inflight; i++) {
        bench->writers[i] = (struct writer){.bench = bench, .next_stream = (unsigned)i};
        bench->writers[i].payload = mem_alloc(cli->size);
    }
}

static int bench_run(struct bench *bench)
{
    struct cli *cli = bench->cli;
    struct cpu cpu;
    char what[128];
    uint64_t sync_us = disk_sync_us(bench->link.env, cli->dir);
    cpu_begin(cli, &cpu);
    uint64_t begin_us = env_now_us(bench->link.env);
    bench->until_us = begin_us + cli->seconds * 1000000;
    bench->open_count = (unsigned)cli->inflight;
    for (uint64_t i = 0; i < cli->inflight; i++)
        writer_go(&bench->writers[i]);
    bool answered = cli_run(&bench->link, &bench->done, cli->seconds * 1000 + END_MS);
    double took_s = (double)(env_now_us(bench->link.env) - begin_us) / 1e6;
    cpu_end(&cpu);
    if (!answered) bench->errors += bench->open_count;
    verify_all(bench);

    snprintf(what, sizeof(what), "append: %llu in flight, %llu bytes, %llu streams, %llu s",
             (unsigned long long)cli->inflight, (unsigned long long)cli->size,
             (unsigned long long)cli->streams, (unsigned long long)cli->seconds);
    struct result result = {.what = what,
                            .rate_per_s = (double)bench->latency.count / took_s,
                            .latency = &bench->latency,
                            .latency_name = "latency",
                            .done = bench->latency.count,
                            .errors = bench->errors,
                            .verified = bench->verified,
                            .sync_us = sync_us};
    result_print(cli, &result, &cpu);
    if (bench->wrong > 0 || bench->verified != bench->latency.count)
        return cli_fail(EXIT_FAILED, "%llu acknowledged, %llu read back, %llu wrong; reading: %s",
                        (unsigned long long)bench->latency.count,
                        (unsigned long long)bench->verified, (unsigned long long)bench->wrong,
                        err_text(bench->read_err));
    if (bench->errors == 0) return EXIT_FINE;
    return cli_fail(EXIT_FAILED, "%llu appends failed; the last: %s",
                    (unsigned long long)bench->errors,
                    bench->last_err == 0 ? "no answer" : err_text(bench->last_err));
}

int command_bench_append(struct cli *cli)
{
    if (cli->inflight == 0) cli->inflight = INFLIGHT_DEFAULT;
    if (cli->size == 0) cli->size = SIZE_DEFAULT;
    if (cli->seconds == 0) cli->seconds = SECONDS_DEFAULT;
    if (cli->streams == 0) cli->streams = STREAMS_DEFAULT;
    if (cli->streams < cli->inflight) cli->streams = cli->inflight;
    struct bench *bench = mem_zero(sizeof(*bench));
    bench->cli = cli;
    int rv = cli_open(cli, &bench->link, true);
    if (rv != 0) {
        free(bench);
        return rv;
    }
    bench_make(bench);
    rv = bench_run(bench);
    cli_close(&bench->link);
    for (uint64_t i = 0; i < cli->inflight; i++)
        free(bench->writers[i].payload);
    free(bench->writers);
    free(bench->streams);
    free(bench);
    return rv;
}
