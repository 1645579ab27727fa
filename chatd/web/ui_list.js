/* ui_list.js -- the left pane: who I am and whether connected, the search, the list of chats. */

import { isDirect, listNames, peerOf } from './ids.js';
import { arrange, avatar, h, icon, iconButton, setText } from './ui_dom.js';
import { previewOf } from './ui_rows.js';
import { listTime } from './ui_time.js';

const SHOWN_MAX = 500; // Lines drawn; the search reaches all.

export class ListView {
    constructor(app) {
        this.app = app;
        this.lines = new Map(); // c -> {root, ...parts}
        const { client } = app;
        this.dot = h('span.dot');
        this.state = h('span.state-text', { role: 'status' });
        this.retry = h(
            'button.link',
            { type: 'button', hidden: true, onclick: () => client.session.hurry() },
            'Retry',
        );
        this.search = h('input', {
            type: 'search',
            placeholder: 'Search chats',
            'aria-label': 'Search chats',
            autocomplete: 'off',
            spellcheck: 'false',
            oninput: () => this.draw(),
        });
        this.items = h('ul.chats', { 'aria-label': 'Chats' });
        this.note = h('div.list-note');
        this.root = h(
            'aside.list',
            { 'aria-label': 'Chats' },
            h(
                'header.bar',
                {},
                avatar(client.me),
                h(
                    'div.bar-text',
                    {},
                    h('div.bar-title', {}, client.me),
                    h('div.bar-sub', {}, this.dot, this.state, this.retry),
                ),
                iconButton('out', 'Sign out', () => app.signOut()),
                iconButton('plus', 'New chat', () => app.newChat(), 'accent'),
            ),
            h('label.search', {}, icon('search'), this.search),
            h('div.scroll', {}, this.items, this.note),
        );
    }

    draw() {
        this.drawState();
        const { client } = this.app;
        const wanted = this.search.value.trim().toLowerCase();
        const rows = this.rows().filter(
            ({ c }) => !wanted || (client.title(c) ?? '').toLowerCase().includes(wanted),
        );
        const shown = rows.slice(0, SHOWN_MAX);
        arrange(
            this.items,
            shown.map((row) => this.line(row)),
        );
        const kept = new Set(shown.map((row) => row.c));
        for (const c of this.lines.keys()) if (!kept.has(c)) this.lines.delete(c);
        this.drawNote(rows.length, wanted);
    }

    /* The inbox, and above it what was begun here but is not yet in it. */
    rows() {
        const { client, active } = this.app;
        const rows = client.inbox.list();
        const listed = client.inbox.rows;
        for (const [c, one] of client.conversations) {
            const begun =
                one.outbox.items.length > 0 || one.outbox.refused.length > 0 || one === active;
            if (begun && !listed.has(c)) rows.unshift({ c, unread: 0, head: 0 });
        }
        return rows;
    }

    drawState() {
        const { state, retryAt } = this.app.client.session;
        const left = Math.max(1, Math.ceil((retryAt - Date.now()) / 1000));
        const text = {
            online: 'Online',
            connecting: 'Connecting\u2026',
            waiting: `No connection \u00b7 ${left}\u2009s`,
            over: 'Not connected',
        }[state];
        setText(this.state, text);
        this.dot.className = `dot ${state}`;
        this.retry.hidden = state !== 'waiting';
    }

    drawNote(count, wanted) {
        const { client } = this.app;
        let text = '';
        if (count === 0 && wanted) text = 'No chat has that name.';
        else if (count === 0 && client.inboxLoaded)
            text = 'No chats yet. Start one with the + above.';
        else if (count === 0) text = 'Loading your chats\u2026';
        setText(this.note, text);
        this.note.hidden = text === '';
    }

    line(row) {
        const part = this.lines.get(row.c) ?? this.makeLine(row.c);
        this.lines.set(row.c, part);
        const { app } = this;
        const { client } = app;
        const direct = isDirect(row.c);
        const title = client.title(row.c);
        const one = client.conversations.get(row.c);
        const typists = one?.chat.typists(Date.now()) ?? [];
        if (title !== part.named) {
            part.named = title;
            const face = avatar(title ?? '\u2026', !direct);
            part.face.replaceChildren(face, part.online);
        }
        setText(part.title, title ?? '\u2026');
        const pending =
            one?.outbox.items.findLast(({ k }) => k === 'msg') ?? one?.outbox.refused.at(-1);
        const last = pending ? { u: client.me, k: 'msg', b: pending.b } : row.last;
        const typing =
            typists.length > 0
                ? direct
                    ? 'typing\u2026'
                    : `${listNames(typists, 2)} typing\u2026`
                : '';
        setText(
            part.preview,
            typing || previewOf(last, client.me, direct) || (row.head > 0 ? '' : 'Say hello'),
        );
        part.preview.classList.toggle('typing', typing !== '');
        setText(part.time, row.last?.ts ? listTime(row.last.ts, client.now()) : '');
        const unread = row.unread ?? 0;
        setText(part.badge, unread > 999 ? '999+' : String(unread));
        part.badge.hidden = unread === 0;
        part.badge.classList.toggle('quiet', Boolean(row.mute));
        const online = direct && Boolean(client.presence.get(peerOf(row.c, client.me))?.on);
        part.online.hidden = !online;
        const current = app.active?.c === row.c;
        part.button.setAttribute('aria-current', String(current));
        const unreadText = unread > 0 ? `, ${unread} unread` : '';
        part.button.setAttribute(
            'aria-label',
            `${title ?? 'Group'}${online ? ', online' : ''}${unreadText}`,
        );
        return part.root;
    }

    makeLine(c) {
        const part = {
            face: h('span.face'),
            online: h('span.presence', { hidden: true }),
            title: h('span.chat-title'),
            preview: h('span.chat-preview', { dir: 'auto' }),
            time: h('span.chat-time'),
            badge: h('span.badge', { hidden: true }),
        };
        part.button = h(
            'button.chat',
            { type: 'button', 'data-chat': c, onclick: () => this.app.go(c) },
            part.face,
            h(
                'span.chat-text',
                {},
                h('span.chat-row', {}, part.title, part.time),
                h('span.chat-row', {}, part.preview, part.badge),
            ),
        );
        part.root = h('li', {}, part.button);
        return part;
    }
}
