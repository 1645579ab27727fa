/* tests/web/inbox.test.mjs -- the list of chats: what wins, what is shown, who is named. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { directId, isChat, isUser, listNames, peerOf, readFragment } from '../../chatd/web/ids.js';
import { Inbox } from '../../chatd/web/inbox.js';
import { Login } from '../../chatd/web/login.js';
import { systemText } from '../../chatd/web/ui_rows.js';

const row = (c, head, more = {}) => ({
    c,
    head,
    unread: 0,
    recv: 0,
    read: 0,
    last: { ts: head },
    ...more,
});
const token = (sub) => `x.${Buffer.from(JSON.stringify({ sub })).toString('base64url')}.y`;

class Memory {
    constructor() {
        this.map = new Map();
    }
    get length() {
        return this.map.size;
    }
    key(at) {
        return [...this.map.keys()][at];
    }
    getItem(key) {
        return this.map.get(key) ?? null;
    }
    setItem(key, value) {
        this.map.set(key, value);
    }
    removeItem(key) {
        this.map.delete(key);
    }
}

test('for a chat seen twice the larger head wins, then the larger marks', () => {
    const inbox = new Inbox();
    inbox.take({ iv: 'a', chats: [row('c/1', 5, { unread: 2 })] });
    inbox.take({ iv: 'b', chats: [row('c/1', 4, { unread: 9 })] });
    assert.equal(inbox.rows.get('c/1').unread, 2);
    inbox.take({ chats: [row('c/1', 5, { unread: 0, read: 5 })] });
    inbox.take({ chats: [row('c/1', 5, { unread: 2, read: 3 })] });
    assert.equal(inbox.rows.get('c/1').unread, 0);
    assert.equal(inbox.iv, 'b');
});

test('pinned first, then the latest; hidden ones only while they have news', () => {
    const inbox = new Inbox();
    inbox.take({
        chats: [
            row('c/1', 1),
            row('c/2', 9),
            row('c/3', 5, { pin: true }),
            row('c/4', 7, { hide: true }),
        ],
    });
    assert.deepEqual(
        inbox.list().map(({ c }) => c),
        ['c/3', 'c/2', 'c/1'],
    );
    inbox.take({ chats: [row('c/4', 8, { hide: true, unread: 1 })], gone: ['c/1'] });
    assert.deepEqual(
        inbox.list().map(({ c }) => c),
        ['c/3', 'c/2', 'c/4'],
    );
});

test('events and reading keep the unread count between pushes', () => {
    const inbox = new Inbox();
    inbox.take({ chats: [row('c/1', 1, { unread: 0 })] });
    inbox.event({ c: 'c/1', s: 2, k: 'msg', ts: 2 }, false);
    inbox.event({ c: 'c/1', s: 2, k: 'msg', ts: 2 }, false);
    assert.equal(inbox.unread(), 1);
    inbox.read('c/1', 2);
    assert.equal(inbox.unread(), 0);
});

test('names of users and chats', () => {
    assert.ok(
        isUser('a.b@c') &&
            !isUser('-a') &&
            !isUser('') &&
            !isUser('a'.repeat(65)) &&
            !isUser('a/b'),
    );
    assert.equal(directId('bob', 'alice'), 'd/alice/bob');
    assert.equal(directId('a', 'B'), 'd/B/a');
    assert.equal(peerOf('d/alice/bob', 'alice'), 'bob');
    assert.ok(isChat('d/a/b') && isChat('c/0f') && !isChat('d/a') && !isChat('x/1'));
    assert.equal(listNames(['a', 'b', 'c', 'd']), 'a, b and 2 others');
});

test('a link gives its token once; another user is not taken without asking', () => {
    const login = new Login(new Memory(), new Memory());
    const hash = `#token=${token('alice')}&chat=${encodeURIComponent('d/alice/bob')}`;
    assert.deepEqual(readFragment(hash), {
        tok: token('alice'),
        user: 'alice',
        chat: 'd/alice/bob',
    });
    assert.equal(readFragment('#token=rubbish').user, null);
    assert.equal(readFragment('#nothing'), null);
    const calls = [];
    const history = { state: null, replaceState: (...args) => calls.push(args) };
    login.takeLink({ hash, pathname: '/', search: '' }, history);
    assert.deepEqual(calls, [[null, '', '/']]);
    assert.equal(login.user, null);
    login.enter('alice', token('alice'));
    assert.equal(login.user, 'alice');
    const { dev } = login.identity('alice');
    assert.equal(login.identity('alice').dev, dev);
    login.leave('alice');
    assert.equal(login.user, null);
    assert.equal(login.identity('alice').dev, dev);
});

test('what happened to a group is said in a sentence', () => {
    const say = (u, k, b) => systemText({ u, k, b }, 'alice');
    assert.equal(say('alice', 'join', { users: ['alice', 'bob'] }), 'You added bob');
    assert.equal(say('bob', 'join', { users: ['alice'] }), 'bob added you');
    assert.equal(say('bob', 'leave'), 'bob left');
    assert.equal(say('bob', 'kick', { users: ['carol'] }), 'bob removed carol');
    assert.equal(say('bob', 'msg', {}), null);
});
