/* tests/web/two_people.test.mjs -- two people chat in two browsers while processes are killed.
 *
 * Each is on a front-end of their own. Both write at once; in the middle alice's front-end dies by
 * SIGKILL, later the node that leads their chat. Both must see every line exactly once and in the
 * same order, and go on as before. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { chromium } from 'playwright-core';

import { Cluster } from './cluster.mjs';

const LINES = 40; // Each; together more than one page of history.
const PATIENCE_MS = 30000;
const FLAGS = [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
];

let cluster;
let browser;
let alice;
let bob;
const complaints = [];

before(async () => {
    cluster = await Cluster.start();
    browser = await chromium.launch({
        executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
        args: FLAGS,
    });
    alice = await visit(1, 'alice');
    bob = await visit(2, 'bob');
});

after(async () => {
    await browser?.close();
    await cluster?.stop();
});

async function visit(j, user) {
    const context = await browser.newContext({ viewport: { width: 1100, height: 700 } });
    context.setDefaultTimeout(PATIENCE_MS);
    const page = await tab(context, user);
    await page.goto(await cluster.link(j, user));
    await page.locator('.dot.online').waitFor();
    return page;
}

/* A page whose errors count. */
async function tab(context, user) {
    const page = await context.newPage();
    page.on('pageerror', (error) => complaints.push(`${user}: ${error.stack}`));
    page.on('console', (message) => {
        if (message.type() === 'error' && !/ERR_CONNECTION|WebSocket/.test(message.text())) {
            complaints.push(`${user}: ${message.text()}`);
        }
    });
    return page;
}

async function say(page, text) {
    await page.locator('.composer textarea').fill(text);
    await page.keyboard.press('Enter');
}

/* What the page shows, top to bottom: [{text, state}]. */
function shown(page) {
    return page.locator('.msg').evaluateAll((messages) =>
        messages.map((one) => ({
            text: one.querySelector('.text').textContent,
            state: one.querySelector('.tick')?.classList[1] ?? '',
        })),
    );
}

const texts = async (page) => (await shown(page)).map((one) => one.text);

async function until(what, check) {
    for (const end = Date.now() + PATIENCE_MS; ;) {
        const found = await check();
        if (found === true) return;
        if (Date.now() > end) assert.fail(`${what}: ${JSON.stringify(found)}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}

const has = (page, text) => page.locator('.msg .text', { hasText: text }).last().waitFor();

test('the token leaves the address at once', () => {
    assert.equal(alice.url(), cluster.url(1));
    assert.equal(bob.url(), cluster.url(2));
});

test('a first message arrives, counts as unread, and is read', async () => {
    await alice.getByRole('button', { name: 'New chat' }).click();
    await alice.locator('input[name=people]').fill('bob');
    await alice.getByRole('button', { name: 'Start chat' }).click();
    await say(alice, 'hello bob');
    await bob.locator('.chat .badge', { hasText: '1' }).waitFor();
    await alice.locator('.msg .tick.recv').waitFor();
    await bob.locator('.chat').first().click();
    await has(bob, 'hello bob');
    await alice.locator('.msg .tick.read').waitFor();
    await bob.locator('.chat .badge').waitFor({ state: 'hidden' });
});

test('typing and being online show', async () => {
    await alice.locator('.thread .bar-sub', { hasText: 'online' }).waitFor();
    await bob.locator('.composer textarea').pressSequentially('hm');
    await alice.locator('.typing-line', { hasText: 'typing' }).waitFor();
    await say(bob, 'hello alice');
    await has(alice, 'hello alice');
    await until(
        'typing ends',
        async () => (await alice.locator('.typing-line').textContent()) === '',
    );
});

/* Both write LINES lines at once; trouble comes when alice is half through. Then both must show
 * all there was before and every new line once, in one order, each writer's own in theirs. */
async function writeThrough(mark, trouble) {
    const lines = (user) => Array.from({ length: LINES }, (_, at) => `${user} ${mark} ${at + 1}`);
    const before = await texts(alice);
    const write = async (page, user) => {
        for (const [at, line] of lines(user).entries()) {
            await say(page, line);
            if (user === 'alice' && at === LINES / 2) await trouble();
        }
    };
    await Promise.all([write(alice, 'alice'), write(bob, 'bob')]);
    for (const [page, user] of [
        [alice, 'alice'],
        [bob, 'bob'],
    ]) {
        await until(`${user} has sent everything`, async () => {
            const waiting = await page.locator('.tick.sending, .tick.failed').count();
            return waiting === 0 || `${waiting} waiting`;
        });
    }
    const expected = [...before, ...lines('alice'), ...lines('bob')].sort();
    const same = (one) => JSON.stringify([...one].sort()) === JSON.stringify(expected);
    await until('both show every line once', async () => {
        const [a, b] = [await texts(alice), await texts(bob)];
        return (same(a) && same(b)) || [a, b];
    });
    const order = await texts(alice);
    assert.deepEqual(await texts(bob), order);
    for (const user of ['alice', 'bob']) {
        const own = order.filter((text) => text.startsWith(`${user} ${mark} `));
        assert.deepEqual(own, lines(user));
    }
}

test('a front-end dies in the middle; nothing is lost, doubled or swapped', async () => {
    await writeThrough('front', () => cluster.killFront(1));
});

test('after the move ticks, typing and presence go on', async () => {
    await until('all of alice is read', async () => {
        const states = (await shown(alice)).map((one) => one.state).filter(Boolean);
        return states.every((state) => state === 'read') || states;
    });
    await alice.locator('.dot.online').waitFor();
    await alice.locator('.thread .bar-sub', { hasText: 'online' }).waitFor();
    await alice.locator('.composer textarea').pressSequentially('still');
    await bob.locator('.typing-line', { hasText: 'typing' }).waitFor();
});

test('the leading node dies in the middle; nothing is lost, doubled or swapped', async () => {
    await writeThrough('leader', () => cluster.killLeader());
});

test('another tab takes over in the middle of writing; what was written is sent once', async () => {
    await cluster.startFront(1); // A tab is loaded from the origin whose storage it shares.
    const first = alice;
    alice = await tab(first.context(), 'alice');
    const cover = first.locator('.cover', { hasText: 'another tab' });
    let opening;
    for (let at = 1; at <= LINES && !(await cover.isVisible()); at++) {
        await say(first, `tab ${at}`);
        if (at === 5) opening = alice.goto(cluster.url(1));
    }
    await Promise.all([opening, cover.waitFor()]);
    const written = await texts(first);
    assert.ok(written.at(-1).startsWith('tab '));
    await first.close();
    await alice.locator('.chat').first().click();
    await has(alice, written.at(-1));
    await say(alice, 'and on');
    await has(bob, 'and on');
    assert.deepEqual(await texts(bob), [...written, 'and on']);
});

test('a reload shows the end, and scrolling back the beginning', async () => {
    const order = await texts(bob);
    await bob.reload();
    await has(bob, order.at(-1));
    await until('the first line is back', async () => {
        await bob.locator('.messages').evaluate((box) => (box.scrollTop = 0));
        return (await texts(bob))[0] === order[0];
    });
    assert.deepEqual(await texts(bob), order);
});

test('a group is made, members are added and leave', async () => {
    await alice.getByRole('button', { name: 'New chat' }).click();
    await alice.getByText('Group', { exact: true }).click();
    await alice.locator('input[name=title]').fill('Hikers');
    await alice.locator('input[name=people]').fill('bob');
    await alice.getByRole('button', { name: 'Make group' }).click();
    await alice.locator('.thread .bar-title', { hasText: 'Hikers' }).waitFor();
    await say(alice, 'who comes along?');
    await bob.locator('.chat', { hasText: 'Hikers' }).click();
    await has(bob, 'who comes along?');
    await alice.getByRole('button', { name: 'Members' }).click();
    await alice.getByLabel('Add someone by their id').fill('carol');
    await alice.keyboard.press('Enter');
    await bob.locator('.system', { hasText: 'alice added carol' }).waitFor();
    await bob.getByRole('button', { name: 'Members' }).click();
    await bob.getByRole('button', { name: 'Leave the group' }).click();
    await bob.locator('dialog').getByRole('button', { name: 'Leave' }).click();
    await alice.locator('.system', { hasText: 'bob left' }).waitFor();
    await until(
        'the group left the list',
        async () => (await bob.locator('.chat', { hasText: 'Hikers' }).count()) === 0,
    );
});

test('the pages had nothing to complain about', () => {
    assert.deepEqual(complaints, []);
});
