/* ui_details.js -- the right pane of a group: its members, adding and removing them, leaving. */

import { isDirect, isUser } from './ids.js';
import { confirmDialog, toast } from './ui_dialogs.js';
import { arrange, avatar, h, iconButton, setText } from './ui_dom.js';
import { lastSeen } from './ui_time.js';

export class DetailsView {
    constructor(app) {
        this.app = app;
        this.lines = new Map(); // user -> {root, ...parts}
        this.face = h('span.face.large');
        this.title = h('h2');
        this.count = h('p.quiet-text');
        this.input = h('input', {
            type: 'text',
            placeholder: 'Add someone by their id',
            'aria-label': 'Add someone by their id',
            autocomplete: 'off',
            autocapitalize: 'off',
            spellcheck: 'false',
        });
        this.form = h(
            'form.add',
            { onsubmit: (event) => this.add(event) },
            this.input,
            iconButton('plus', 'Add', null, 'accent'),
        );
        this.members = h('ul.members', { 'aria-label': 'Members' });
        this.closeButton = iconButton('close', 'Close', () => app.toggleDetails());
        this.leaveButton = h(
            'button.danger',
            { type: 'button', onclick: () => this.leave() },
            'Leave the group',
        );
        this.root = h(
            'aside.details',
            { 'aria-label': 'Members' },
            h(
                'header.bar',
                {},
                h('div.bar-text', {}, h('div.bar-title', {}, 'Members')),
                this.closeButton,
            ),
            h(
                'div.scroll',
                {},
                h('div.details-head', {}, this.face, this.title, this.count),
                this.form,
                this.members,
                this.leaveButton,
            ),
        );
    }

    focus() {
        this.closeButton.focus();
    }

    draw() {
        const { app } = this;
        const one = app.active;
        this.root.hidden = !app.detailsShown || !one || isDirect(one.c);
        if (this.root.hidden) return;
        const title = app.client.title(one.c) ?? '\u2026';
        if (this.named !== title) {
            this.named = title;
            this.face.replaceChildren(avatar(title, true));
            setText(this.title, title);
        }
        const members = one.members ?? [];
        setText(
            this.count,
            one.members
                ? `${members.length} ${members.length === 1 ? 'member' : 'members'}`
                : 'Loading\u2026',
        );
        const may = ['owner', 'admin'].includes(one.info?.role);
        this.form.hidden = !may || one.phase === 'gone';
        // An owner may not leave.
        this.leaveButton.hidden = one.phase === 'gone' || one.info?.role === 'owner';
        const rank = { owner: 0, admin: 1, member: 2, reader: 3 };
        const sorted = [...members].sort(
            (a, b) => (rank[a.role] ?? 4) - (rank[b.role] ?? 4) || (a.u < b.u ? -1 : 1),
        );
        arrange(
            this.members,
            sorted.map((member) => this.line(one, member, may)),
        );
    }

    line(one, { u, role }, may) {
        const { client } = this.app;
        const key = `${one.c} ${u}`;
        const part = this.lines.get(key) ?? this.makeLine(one, u);
        this.lines.set(key, part);
        const presence = client.presence.get(u);
        const seen = presence?.last ? lastSeen(presence.last, client.now()) : '';
        setText(part.sub, u === client.me ? 'you' : presence?.on ? 'online' : seen);
        part.online.hidden = !presence?.on || u === client.me;
        setText(part.role, role && role !== 'member' ? role : '');
        part.remove.hidden = !may || u === client.me || role === 'owner';
        return part.root;
    }

    makeLine(one, u) {
        const part = {
            sub: h('span.quiet-text'),
            online: h('span.presence', { hidden: true }),
            role: h('span.role'),
        };
        part.remove = iconButton('close', `Remove ${u}`, () => this.remove(one, u));
        part.root = h(
            'li.member',
            {},
            h('span.face', {}, avatar(u), part.online),
            h('span.member-text', {}, h('span', {}, u), part.sub),
            part.role,
            part.remove,
        );
        return part;
    }

    async add(event) {
        event.preventDefault();
        const user = this.input.value.trim();
        if (!isUser(user)) {
            toast('That is not a user id.');
            return;
        }
        try {
            await this.app.client.addMembers(this.app.active.c, [user]);
            this.input.value = '';
        } catch (refusal) {
            toast(`Could not add ${user}: ${refusal.message}`);
        }
    }

    async remove(one, user) {
        if (!(await confirmDialog(`Remove ${user} from the group?`, 'Remove'))) return;
        try {
            await this.app.client.removeMember(one.c, user);
        } catch (refusal) {
            toast(`Could not remove ${user}: ${refusal.message}`);
        }
    }

    async leave() {
        const one = this.app.active;
        if (
            !(await confirmDialog(
                'Leave this group? You will get no more of its messages.',
                'Leave',
            ))
        )
            return;
        try {
            await this.app.client.leave(one.c);
            this.app.back();
            this.app.back();
        } catch (refusal) {
            toast(`Could not leave: ${refusal.message}`);
        }
    }
}
