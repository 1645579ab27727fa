/* tests/web/losses.test.mjs -- two clients (all but the page) on an unkind server, from seeds.
 *
 * Goal: nothing lost, doubled or swapped, whatever breaks. Method: both write while connections
 * drop, outcomes are unknown and pushes are missing; then the trouble ends, and what each client
 * shows must be what the server stored, every text once, each writer's in order. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { Client } from '../../chatd/web/client.js';
import { Store } from '../../chatd/web/store.js';
import { rowsOf } from '../../chatd/web/ui_rows.js';
import { Model } from './model.mjs';

const SEEDS = Number(process.env.SEEDS ?? 100);
const LINES = 60;
const CHAT = 'd/alice/bob';

class Memory extends Map {
    get length() {
        return this.size;
    }
    key(at) {
        return [...this.keys()][at];
    }
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

beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] }));
afterEach(() => mock.reset());

async function pass(ms) {
    for (let at = 0; at < ms; at += 10) {
        mock.timers.tick(10);
        for (let turn = 0; turn < 4; turn++) await Promise.resolve();
    }
}

function clientOf(user, memory) {
    const client = new Client(
        { user, tok: user, dev: `${user}-1` },
        'ws://x/ws',
        new Store(memory),
    );
    client.start();
    client.open(CHAT);
    return client;
}

function shown(client) {
    const rows = rowsOf(client.conversation(CHAT), { me: client.me, dev: client.dev });
    return rows.filter((row) => row.kind === 'msg').map((row) => row.text);
}

async function run(seed) {
    const model = new Model(seed);
    mock.method(Math, 'random', () => model.random()); // Jitter, too, is the seed's.
    model.c = CHAT;
    globalThis.WebSocket = model.socketClass();
    const memories = { alice: new Memory(), bob: new Memory() };
    const clients = {
        alice: clientOf('alice', memories.alice),
        bob: clientOf('bob', memories.bob),
    };
    for (let line = 1; line <= LINES; line++) {
        for (const user of ['alice', 'bob']) {
            clients[user].conversation(CHAT).send({ text: `${user} ${line}` }, `${line}`);
            if (model.random() < 0.02) {
                // The page is loaded again.
                clients[user].retire();
                clients[user] = clientOf(user, memories[user]);
            }
            await pass(Math.floor(model.random() * 6) * 10);
        }
    }
    model.calm();
    for (let at = 0; at < 60 && !settled(model, clients); at++) await pass(1000);
    check(model, clients, `seed ${seed}`);
    for (const client of Object.values(clients)) client.retire();
}

function settled(model, clients) {
    return (
        model.events.length === 2 * LINES &&
        Object.values(clients).every((client) => {
            const one = client.conversation(CHAT);
            one.older();
            const { chat, outbox } = one;
            return chat.whole && chat.last === model.events.length && outbox.items.length === 0;
        })
    );
}

function check(model, clients, seed) {
    const stored = model.events.map((ev) => ev.b.text);
    for (const user of ['alice', 'bob']) {
        const expected = Array.from({ length: LINES }, (_, at) => `${user} ${at + 1}`);
        assert.deepEqual(
            stored.filter((text) => text.startsWith(user)),
            expected,
            seed,
        );
        assert.deepEqual(shown(clients[user]), stored, `${seed}, as ${user} sees it`);
        assert.equal(clients[user].conversation(CHAT).outbox.items.length, 0, seed);
    }
}

test('on an unkind server two clients end with the same chat, every line once', async () => {
    for (let seed = Number(process.env.SEED ?? 1); seed <= SEEDS; seed++) await run(seed);
});
