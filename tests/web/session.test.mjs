/* tests/web/session.test.mjs -- coming back: where to, when, and when not.
 *
 * Method: a WebSocket of our own that the test opens, feeds and closes, and node's own clock. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { Session } from '../../chatd/web/session.js';
import { Store } from '../../chatd/web/store.js';

const OWN = 'ws://own/ws';
const OTHER = 'ws://other/ws';

let sockets;
let said;
let session;

class Socket {
    static OPEN = 1;

    constructor(url) {
        this.url = url;
        this.readyState = 0;
        this.sent = [];
        sockets.push(this);
    }

    send(text) {
        this.sent.push(JSON.parse(text));
    }

    close() {
        this.readyState = 3;
    }

    open() {
        this.readyState = 1;
        this.onopen();
    }

    say(object) {
        this.onmessage({ data: typeof object === 'string' ? object : JSON.stringify(object) });
    }

    drop(code = 1006) {
        this.readyState = 3;
        this.onclose?.({ code, reason: '' });
    }
}

class Memory extends Map {
    getItem(key) {
        return this.get(key) ?? null;
    }
    setItem(key, value) {
        this.set(key, value);
    }
    removeItem(key) {
        this.delete(key);
    }
}

beforeEach(() => {
    mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
    globalThis.WebSocket = Socket;
    sockets = [];
    said = { states: [], pushes: [], hellos: [] };
    session = new Session({ user: 'alice', tok: 't', dev: 'd' }, OWN, new Store(new Memory()), {
        state: ({ state }) => said.states.push(state),
        resume: () => ({ pos: { 'c/1': 7 } }),
        hello: (reply) => said.hellos.push(reply),
        push: (object) => said.pushes.push(object),
    });
});

afterEach(() => {
    session.stop();
    mock.timers.reset();
});

const settle = () => new Promise((resolve) => setImmediate(resolve));

async function online(reply = {}) {
    const socket = sockets.at(-1);
    socket.open();
    socket.say({ i: socket.sent[0].i, ok: { v: 1, alt: [OTHER], back_ms: 1000, ...reply } });
    await settle();
    return socket;
}

test('hello comes first, authenticates and resumes', async () => {
    session.start();
    const socket = await online();
    const { hello } = socket.sent[0];
    assert.deepEqual([hello.tok, hello.dev, hello.v, hello.pos], ['t', 'd', [1, 1], { 'c/1': 7 }]);
    assert.equal(session.state, 'online');
    assert.equal(said.hellos.length, 1);
});

test('after a loss the other front-end, within back_ms; every question is answered', async () => {
    session.start();
    const socket = await online();
    const asked = assert.rejects(session.request('hist', {}), { code: 0 });
    socket.drop();
    await asked;
    assert.equal(session.state, 'waiting');
    assert.ok(session.retryAt - Date.now() <= 1000);
    mock.timers.tick(1000);
    assert.equal(sockets.at(-1).url, OTHER);
    await online();
    assert.equal(session.state, 'online');
});

test('while nobody answers all addresses are tried in turn, ever more slowly', () => {
    session.store.set('addresses', [OTHER]);
    session.start();
    const pauses = [];
    for (let at = 0; at < 20; at++) {
        sockets.at(-1).drop();
        pauses.push(session.retryAt - Date.now());
        mock.timers.tick(30000);
    }
    const urls = sockets.map((socket) => socket.url);
    assert.deepEqual(urls.slice(0, 4), [OWN, OTHER, OWN, OTHER]);
    assert.ok(pauses.at(-1) >= 15000 && pauses.at(-1) <= 30000);
    assert.ok(pauses[2] <= 1000);
});

test('closes from 4500 on are final; the reason is told', async () => {
    for (const [code, why] of [
        [4501, 'token'],
        [4503, 'banned'],
        [4505, 'version'],
        [4510, 'replaced'],
    ]) {
        session.connect();
        (await online()).drop(code);
        assert.deepEqual([session.state, session.why], ['over', why]);
        mock.timers.tick(60000);
        assert.equal(session.state, 'over');
    }
});

test('a refused token ends it, a newer one begins again', async () => {
    session.start();
    const socket = sockets.at(-1);
    socket.open();
    socket.say({ i: 1, err: { code: 401, t: 'AUTH' } });
    await settle();
    assert.deepEqual([session.state, session.why], ['over', 'token']);
    session.renew('newer');
    assert.equal((await online()).sent[0].hello.tok, 'newer');
});

test('drain moves on within its spread, without a loss in between', async () => {
    session.start();
    const socket = await online();
    socket.say({ drain: { after_ms: 0, spread_ms: 2000 } });
    assert.equal(session.state, 'online');
    mock.timers.tick(2000);
    assert.equal(sockets.at(-1).url, OTHER);
    assert.equal(said.states.includes('waiting'), false);
});

test('a silent server is left; one that speaks is not', async () => {
    session.start();
    const socket = await online();
    for (let at = 0; at < 4; at++) {
        mock.timers.tick(25000);
        socket.say({});
    }
    assert.equal(session.state, 'online');
    mock.timers.tick(66000);
    assert.notEqual(session.state, 'online');
});

test('a server that was asked and says nothing is left sooner', async () => {
    session.start();
    const socket = await online();
    session.request('hist', {}).catch(() => {});
    mock.timers.tick(14000);
    socket.say({});
    mock.timers.tick(14000);
    assert.equal(session.state, 'online');
    mock.timers.tick(7000);
    assert.notEqual(session.state, 'online');
});

test('no answer to hello: the next address', () => {
    session.store.set('addresses', [OTHER]);
    session.start();
    sockets.at(-1).open();
    mock.timers.tick(8000);
    assert.equal(session.state, 'waiting');
    mock.timers.tick(3000);
    assert.equal(sockets.at(-1).url, OTHER);
});

test('several objects in a frame, with a bad line between', async () => {
    session.start();
    const socket = await online();
    socket.say('{"ev":{"s":1}}\nrubbish\n\n{"ev":{"s":2}}');
    assert.deepEqual(
        said.pushes.map(({ ev }) => ev.s),
        [1, 2],
    );
});
