/* ui_rows.js -- what a chat's window and outbox look like as lines on the screen. Pure.
 *
 * A row is {key, kind, ...}: 'day' {ts}, 'unread', 'system' {text}, 'msg' {user, mine, text, ts,
 * state, first, last, why}. first and last say where a run of one person's messages begins and
 * ends. The key of a message of this device is its number, so that it stays the same element from
 * the moment it is typed. */

import { listNames } from './ids.js';
import { sameDay } from './ui_time.js';

const RUN_MS = 5 * 60000; // Messages further apart are not one run.

/* one: a Conversation; unreadFrom: the first seq to be marked as new, or 0. */
export function rowsOf(one, { me, dev, unreadFrom = 0 }) {
    const rows = [];
    const others = one.others();
    let marked = unreadFrom === 0;
    const shown = new Set();
    for (const ev of one.chat.events) {
        const row = rowOfEvent(one.chat, ev, { me, dev, others });
        if (!row || (one.direct && row.kind === 'system')) continue; // Two people need no joining.
        if (!marked && ev.s >= unreadFrom && !row.mine && row.kind === 'msg') {
            rows.push({ key: 'unread', kind: 'unread' });
            marked = true;
        }
        rows.push(row);
        shown.add(row.key);
    }
    const { sent, items, refused } = one.outbox;
    for (const item of sent) pend(rows, shown, item, { me, dev, state: 'sent' });
    for (const item of refused) pend(rows, shown, item, { me, dev, state: 'failed' });
    for (const item of items) pend(rows, shown, item, { me, dev, state: 'sending' });
    return withRuns(withDays(rows));
}

function pend(rows, shown, item, { me, dev, state }) {
    const key = state === 'failed' ? `f:${item.key}` : `m:${dev}:${item.n}`;
    if (item.k !== 'msg' || shown.has(key)) return;
    shown.add(key);
    const { b, n, at } = item;
    const ts = item.ts ?? at;
    rows.push({
        key,
        kind: 'msg',
        mine: true,
        user: me,
        text: textOf(b),
        n,
        ts,
        state,
        id: item.key,
        why: item.why,
    });
}

function rowOfEvent(chat, ev, { me, dev, others }) {
    const { s, u, k, b, ts } = ev;
    if (k === 'msg') {
        const mine = u === me;
        const key = mine && ev.d === dev ? `m:${dev}:${ev.n}` : `s:${s}`;
        const ticks = mine ? chat.ticks(s, others) : null;
        const state = ticks?.state ?? '';
        const row = { key, kind: 'msg', mine, user: u, text: textOf(b), ts, s, state };
        if (b === undefined) row.erased = true;
        if (mine && others.length > 1) row.readBy = `${ticks.read} of ${others.length}`;
        return row;
    }
    const text = systemText(ev, me);
    return text ? { key: `s:${s}`, kind: 'system', text, ts, s } : null;
}

export function textOf(b) {
    if (b === undefined) return 'This message was deleted';
    if (typeof b?.text === 'string') return b.text;
    return b?.type ? `[${b.type}]` : '[no text]';
}

/* What happened to the group, in a sentence; null for what is no news to people. */
export function systemText({ u, k, b }, me) {
    const name = (user) => (user === me ? 'you' : user);
    const who = u === me ? 'You' : u;
    const users = (b?.users ?? []).map(name);
    const list = listNames(users, 4);
    switch (k) {
        case 'join':
            return users.length === 0 || (users.length === 1 && b.users[0] === u)
                ? `${who} joined`
                : `${who} added ${listNames(
                      users.filter((user) => user !== name(u)),
                      4,
                  )}`;
        case 'leave':
            return `${who} left`;
        case 'kick':
            return `${who} removed ${list || 'someone'}`;
        case 'ban':
            return `${who} banned ${list || 'someone'}`;
        case 'title':
            return `${who} named the group \u201c${b?.title ?? ''}\u201d`;
        case 'role':
            return `${who} changed the role of ${list || 'someone'}`;
        case 'owner':
            return `${who} handed the group over to ${name(b?.user ?? 'someone')}`;
        default:
            return null;
    }
}

/* One line for a list of chats. */
export function previewOf(ev, me, isDirect) {
    if (!ev) return '';
    if (ev.k !== undefined && ev.k !== 'msg') return systemText(ev, me) ?? '';
    const text = textOf(ev.b).replace(/\s+/g, ' ').slice(0, 200);
    if (ev.u === me) return `You: ${text}`;
    return isDirect ? text : `${ev.u}: ${text}`;
}

function withDays(rows) {
    const out = [];
    let day = null;
    for (const row of rows) {
        if (row.ts !== undefined && (day === null || !sameDay(row.ts, day))) {
            const unread = out.at(-1)?.kind === 'unread' ? out.pop() : null;
            out.push({
                key: `d:${new Date(row.ts).toDateString()}:${row.key}`,
                kind: 'day',
                ts: row.ts,
            });
            if (unread) out.push(unread);
            day = row.ts;
        }
        out.push(row);
    }
    return out;
}

function withRuns(rows) {
    const joined = (a, b) =>
        a?.kind === 'msg' &&
        b?.kind === 'msg' &&
        a.user === b.user &&
        a.mine === b.mine &&
        b.ts - a.ts < RUN_MS;
    rows.forEach((row, at) => {
        row.first = !joined(rows[at - 1], row);
        row.last = !joined(row, rows[at + 1]);
    });
    return rows;
}
