/* tests/web/outbox.test.mjs -- each message of a device gets one outcome, whatever the answers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { INFLIGHT_MAX, Outbox, QUEUE_MAX } from '../../chatd/web/outbox.js';

const GAP = (n) => ({ code: 409, t: 'GAP', used: false, n, retry: true });

function filled(count, saved) {
    const outbox = new Outbox(saved);
    for (let at = 1; at <= count; at++)
        outbox.add({ key: `k${at}`, k: 'msg', b: { text: `t${at}` }, at });
    return outbox;
}

const numbers = (items) => items.map((item) => item.n);
const texts = (items) => items.map((item) => item.b?.text ?? item.k);

/* A chat's producer as a server keeps it: one outcome per number, for ever. */
class Server {
    constructor() {
        this.last = 0;
        this.outcomes = new Map();
        this.stored = [];
    }

    send({ n, k, b }, refuse = null) {
        const content = JSON.stringify([k, b]);
        const first = this.outcomes.get(n);
        if (first)
            return first.content === content
                ? first.outcome
                : { err: { code: 409, t: 'REUSED', used: true, n: this.last } };
        if (n > this.last + 1) return { err: GAP(this.last) };
        if (refuse) return { err: { used: false, n: this.last, ...refuse } };
        this.last = n;
        if (k !== 'void') this.stored.push(b.text);
        const outcome = { ok: { s: this.stored.length, ts: 5 } };
        this.outcomes.set(n, { content, outcome });
        return outcome;
    }
}

function answer(outbox, item, { ok, err }) {
    if (ok) outbox.ok(item, ok);
    else outbox.fail(item, err);
}

/* Send all until nothing is left; refuse(item) may make the server refuse. */
function drain(outbox, server, refuse = () => null) {
    for (let rounds = 0; outbox.items.length > 0; rounds++) {
        assert.ok(rounds < 1000, 'it ends');
        for (const item of outbox.take()) answer(outbox, item, server.send(item, refuse(item)));
        if (outbox.pause(0.5) !== null) outbox.resume();
    }
}

test('numbers run 1, 2, 3 and at most 32 are unanswered', () => {
    const outbox = filled(50);
    const first = outbox.take();
    assert.deepEqual(
        numbers(first),
        Array.from({ length: INFLIGHT_MAX }, (_, at) => at + 1),
    );
    assert.deepEqual(outbox.take(), []);
    outbox.ok(first[0], { s: 1 });
    assert.deepEqual(numbers(outbox.take()), [33]);
});

test('the queue is bounded and says so', () => {
    const outbox = filled(QUEUE_MAX);
    assert.equal(outbox.add({ key: 'x', k: 'msg', b: {}, at: 0 }), null);
});

test('after a loss all that is unanswered goes again, unchanged and in order', () => {
    const outbox = filled(5);
    const sent = outbox.take();
    outbox.ok(sent[0], { s: 1 });
    outbox.ok(sent[1], { s: 2 });
    outbox.lost();
    assert.deepEqual(
        outbox.take().map(({ n, b }) => [n, b.text]),
        [
            [3, 't3'],
            [4, 't4'],
            [5, 't5'],
        ],
    );
});

test('a reload keeps numbers, and what was used up', () => {
    const outbox = filled(3);
    outbox.ok(outbox.take()[0], { s: 1 });
    const again = new Outbox(JSON.parse(JSON.stringify(outbox)));
    assert.deepEqual(numbers(again.take()), [2, 3]);
    assert.equal(again.add({ key: 'n', k: 'msg', b: {}, at: 0 }).n, 4);
});

test('a number the server knows to be used is not given out again', () => {
    const outbox = new Outbox();
    outbox.floor(57);
    assert.equal(outbox.add({ key: 'a', k: 'msg', b: {}, at: 0 }).n, 58);
});

test('an answer lost on the way is a dup later, stored once', () => {
    const server = new Server();
    const outbox = filled(3);
    for (const item of outbox.take()) server.send(item); // No answer arrives.
    outbox.lost();
    drain(outbox, server);
    assert.deepEqual(server.stored, ['t1', 't2', 't3']);
});

test('429 stops the pipeline, waits as long as told, then goes on in order', () => {
    const server = new Server();
    const outbox = filled(4);
    let once = true;
    const items = outbox.take();
    for (const item of items) {
        const busy =
            item.n === 2 && once ? { code: 429, t: 'RATE', retry: true, after_ms: 800 } : null;
        if (busy) once = false;
        assert.equal(outbox.pause(0), null, 'not before every answer is in');
        answer(outbox, item, server.send(item, busy));
    }
    assert.ok(outbox.pause(0) >= 800);
    assert.deepEqual(outbox.take(), []);
    outbox.resume();
    assert.deepEqual(numbers(outbox.take()), [2, 3, 4]);
    assert.deepEqual(server.stored, ['t1']);
});

test('pauses grow while nothing gets through, and start anew after', () => {
    const outbox = filled(1);
    const pauses = [];
    for (let at = 0; at < 4; at++) {
        outbox.fail(outbox.take()[0], { code: 503, t: 'NOLEADER', used: false, n: 0, retry: true });
        pauses.push(outbox.pause(0));
        outbox.resume();
    }
    assert.deepEqual(
        pauses,
        [...pauses].sort((a, b) => a - b),
    );
    assert.ok(pauses[3] > pauses[0]);
    outbox.ok(outbox.take()[0], { s: 1 });
    assert.equal(outbox.stalls, 0);
});

test('504 sends the same number again; what was stored meanwhile stays single', () => {
    const server = new Server();
    const outbox = filled(2);
    const [first, second] = outbox.take();
    server.send(first); // Stored, but the front-end could not know.
    outbox.fail(first, { code: 504, t: 'UNKNOWN', used: false, n: 0, retry: true });
    outbox.fail(second, GAP(0));
    outbox.resume();
    drain(outbox, server);
    assert.deepEqual(server.stored, ['t1', 't2']);
});

test('refused at commit: the number is gone, the others go on, the person is told', () => {
    const outbox = filled(2);
    const [first, second] = outbox.take();
    outbox.fail(first, { code: 403, t: 'DENIED', used: true, n: 1 });
    outbox.ok(second, { s: 1 });
    assert.equal(outbox.refused[0].why.t, 'DENIED');
    assert.equal(outbox.items.length, 0);
    assert.equal(outbox.last, 2);
});

test('refused for good with an open number: the last one drops its number', () => {
    const outbox = filled(1);
    outbox.fail(outbox.take()[0], { code: 413, t: 'BIG', used: false, n: 0 });
    outbox.resume();
    assert.equal(outbox.refused.length, 1);
    assert.equal(outbox.add({ key: 'b', k: 'msg', b: {}, at: 0 }).n, 1);
});

test('refused for good with others behind: a void takes the number, theirs stay', () => {
    const server = new Server();
    const outbox = filled(3);
    drain(outbox, server, (item) => (item.b?.text === 't2' ? { code: 413, t: 'BIG' } : null));
    assert.deepEqual(server.stored, ['t1', 't3']);
    assert.equal(server.last, 3);
    assert.deepEqual(texts(outbox.refused), ['t2']);
});

test('everything refused for good (no member any more) ends, with all of it kept', () => {
    const server = new Server();
    const outbox = filled(4);
    drain(outbox, server, () => ({ code: 404, t: 'NOCHAT' }));
    assert.deepEqual(texts(outbox.refused).sort(), ['t1', 't2', 't3', 't4']);
    assert.deepEqual(server.stored, []);
});

test('a number somebody else used: the message moves to the end, once', () => {
    const server = new Server();
    server.send({ n: 1, k: 'msg', b: { text: 'other tab' } });
    const outbox = filled(2);
    drain(outbox, server);
    assert.deepEqual(server.stored, ['other tab', 't2', 't1']);
});

test('a server that lost our numbers gets them anew, in order', () => {
    const server = new Server();
    const outbox = filled(3, { used: 20, items: [] });
    drain(outbox, server);
    assert.deepEqual(server.stored, ['t1', 't2', 't3']);
    assert.equal(server.last, 3);
});

test('only a GAP makes numbers change: other errors may know less than we do', () => {
    const outbox = filled(1, { used: 6, items: [] });
    outbox.fail(outbox.take()[0], { code: 429, t: 'RATE', used: false, n: 4, retry: true });
    outbox.resume();
    assert.deepEqual(numbers(outbox.take()), [7]);
});

test('the event of a message ends its wait; the late answer changes nothing', () => {
    const outbox = filled(2);
    const [first] = outbox.take();
    assert.equal(outbox.saw(1, 'msg', { text: 't1' }), true);
    assert.equal(outbox.saw(2, 'msg', { text: 'not what we sent' }), false);
    outbox.ok(first, { s: 9 });
    assert.deepEqual(numbers(outbox.items), [2]);
    assert.equal(outbox.sent.length, 0);
});

test('stored but not yet seen: shown until the chat covers it', () => {
    const outbox = filled(1);
    outbox.ok(outbox.take()[0], { s: 7, ts: 1 });
    assert.deepEqual(texts(outbox.sent), ['t1']);
    outbox.covered(6);
    assert.equal(outbox.sent.length, 1);
    outbox.covered(7);
    assert.equal(outbox.sent.length, 0);
});

/* Random losses, refusals to wait and unknown outcomes: every message once, in order. */
test('whatever happens, every message is stored once and in order', () => {
    for (let seed = 1; seed <= 200; seed++) {
        let state = seed;
        const random = () => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) / 2 ** 32;
        const server = new Server();
        const outbox = filled(60);
        for (let rounds = 0; outbox.items.length > 0; rounds++) {
            assert.ok(rounds < 5000, `seed ${seed} ends`);
            let cut = false;
            for (const item of outbox.take()) {
                const luck = random();
                if (luck < 0.02) cut = true;
                const busy = luck > 0.95 ? { code: 429, t: 'RATE', retry: true } : null;
                const reply = luck < 0.01 ? null : server.send(item, busy);
                if (cut) continue;
                if (reply?.ok && luck > 0.9)
                    outbox.fail(item, {
                        code: 504,
                        t: 'UNKNOWN',
                        used: false,
                        n: item.n - 1,
                        retry: true,
                    });
                else answer(outbox, item, reply);
            }
            if (cut) outbox.lost();
            if (outbox.pause(random()) !== null) outbox.resume();
        }
        assert.deepEqual(
            server.stored,
            Array.from({ length: 60 }, (_, at) => `t${at + 1}`),
            `seed ${seed}`,
        );
    }
});
