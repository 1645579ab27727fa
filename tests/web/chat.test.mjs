/* tests/web/chat.test.mjs -- a chat's window has no hole and no double; marks never go back. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Chat, HELD_MAX } from '../../chatd/web/chat.js';

const ev = (s, u = 'bob') => ({ c: 'c/1', s, u, k: 'msg', ts: s, b: { text: `m${s}` } });
const seqs = (chat) => chat.events.map((one) => one.s);
const range = (from, to) => Array.from({ length: to - from }, (_, at) => ev(from + at));

function opened(head = 0) {
    const chat = new Chat('c/1');
    chat.begin({ head, first: 1 });
    return chat;
}

test('events are applied in order, once', () => {
    const chat = opened();
    assert.equal(chat.push(ev(1)), 'new');
    assert.equal(chat.push(ev(2)), 'new');
    assert.equal(chat.push(ev(2)), 'old');
    assert.equal(chat.push(ev(1)), 'old');
    assert.deepEqual(seqs(chat), [1, 2]);
});

test('a hole keeps what came, asks for what is missing, and closes', () => {
    const chat = opened();
    chat.push(ev(1));
    assert.equal(chat.push(ev(4)), 'hole');
    assert.equal(chat.push(ev(6)), 'hole');
    assert.deepEqual(seqs(chat), [1]);
    assert.deepEqual(chat.hole(), { from: 2, to: 4 });
    assert.equal(chat.fill(2, [ev(2), ev(3)], 4), true);
    assert.deepEqual(seqs(chat), [1, 2, 3, 4]);
    assert.deepEqual(chat.hole(), { from: 5, to: 6 });
    assert.equal(chat.push(ev(5)), 'new');
    assert.deepEqual(seqs(chat), [1, 2, 3, 4, 5, 6]);
    assert.equal(chat.hole(), null);
});

test('what is held beyond a hole is bounded, and comes with the history', () => {
    const chat = opened();
    for (let s = HELD_MAX + 10; s >= 2; s--) chat.push(ev(s));
    assert.ok(chat.held.size <= HELD_MAX);
    chat.push(ev(1));
    assert.equal(chat.last, HELD_MAX + 1);
    chat.fill(chat.last + 1, range(chat.last + 1, HELD_MAX + 11), HELD_MAX + 11);
    assert.deepEqual(seqs(chat), seqs({ events: range(1, HELD_MAX + 11) }));
});

test('history that overlaps what is known doubles nothing', () => {
    const chat = opened();
    for (const s of [1, 2, 3]) chat.push(ev(s));
    assert.equal(chat.fill(2, range(2, 7), 7), true);
    assert.deepEqual(seqs(chat), [1, 2, 3, 4, 5, 6]);
    assert.equal(chat.fill(2, range(2, 7), 7), false);
    assert.equal(chat.fill(20, range(20, 22), 22), false);
    assert.deepEqual(seqs(chat), [1, 2, 3, 4, 5, 6]);
});

test('scrolling back extends the window until the first event there is', () => {
    const chat = opened(100);
    chat.push(ev(101));
    assert.equal(chat.whole, false);
    assert.equal(chat.fill(51, range(51, 101), 101), true);
    assert.equal(chat.fill(1, range(1, 51), 51), true);
    assert.deepEqual(seqs(chat), seqs({ events: range(1, 102) }));
    assert.equal(chat.whole, true);
});

test('what was pushed before the answer that tells the head is not lost', () => {
    const chat = new Chat('c/1');
    chat.push(ev(11));
    chat.push(ev(10));
    chat.begin({ head: 10, first: 1 });
    assert.deepEqual(seqs(chat), [11]);
    assert.deepEqual(
        chat.takeNews().map((one) => one.s),
        [11],
    );
});

test('seqs that may not be seen count as covered', () => {
    const chat = opened(10);
    chat.fill(1, [ev(8), ev(9), ev(10)], 11);
    assert.deepEqual(seqs(chat), [8, 9, 10]);
    assert.equal(chat.whole, true);
});

test('marks never go back, and read raises received', () => {
    const chat = opened();
    assert.equal(chat.mark('bob', { recv: 5 }), true);
    assert.equal(chat.mark('bob', { read: 7 }), true);
    assert.equal(chat.mark('bob', { recv: 6, read: 3 }), false);
    assert.deepEqual(chat.marks.get('bob'), { recv: 7, read: 7 });
});

test('a tick tells how far a message got with all of the others', () => {
    const chat = opened();
    for (const s of [1, 2, 3]) chat.push(ev(s, 'alice'));
    const others = ['bob', 'carol'];
    assert.equal(chat.ticks(3, others).state, 'sent');
    chat.mark('bob', { recv: 3 });
    chat.mark('carol', { recv: 2 });
    assert.equal(chat.ticks(3, others).state, 'sent');
    assert.equal(chat.ticks(2, others).state, 'recv');
    chat.mark('bob', { read: 3 });
    chat.mark('carol', { read: 3 });
    assert.deepEqual(chat.ticks(3, others), { state: 'read', read: 2 });
    assert.equal(chat.ticks(3, []).state, 'sent');
});

test('who writes has read; a message ends typing, and so does time', () => {
    const chat = opened();
    chat.typed('bob', 0);
    chat.typed('carol', 0);
    chat.push(ev(1, 'bob'));
    assert.deepEqual(chat.typists(1000), ['carol']);
    assert.deepEqual(chat.typists(6000), []);
    assert.equal(chat.marks.get('bob').read, 1);
});

test('trimming forgets the oldest, which can be had again', () => {
    const chat = opened();
    for (const one of range(1, 21)) chat.push(one);
    chat.trim(5);
    assert.deepEqual(seqs(chat), [16, 17, 18, 19, 20]);
    chat.fill(11, range(11, 16), 16);
    assert.deepEqual(seqs(chat), seqs({ events: range(11, 21) }));
});
