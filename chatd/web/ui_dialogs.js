/* ui_dialogs.js -- small questions: a new chat, are you sure; and short notices that go away. */

import { isUser } from './ids.js';
import { h, iconButton } from './ui_dom.js';

const TOAST_MS = 5000;

/* A notice at the foot of the page. */
export function toast(text) {
    document.querySelector('.toast')?.remove();
    const element = h('div.toast', { role: 'status' }, text);
    document.body.append(element);
    setTimeout(() => element.remove(), TOAST_MS);
}

/* Show a dialog; it leaves the page when closed. */
function open(dialog, closed = () => {}) {
    dialog.addEventListener('close', () => {
        dialog.remove();
        closed();
    });
    dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());
    document.body.append(dialog);
    dialog.showModal();
    return dialog;
}

/* Resolves to whether the person said yes. */
export function confirmDialog(text, yes, no = 'Cancel') {
    return new Promise((resolve) => {
        let agreed = false;
        const answer = (value) => () => {
            agreed = value;
            dialog.close();
        };
        const dialog = h(
            'dialog',
            { 'aria-label': text },
            h(
                'div.dialog-body',
                {},
                h('p', {}, text),
                h(
                    'div.buttons',
                    {},
                    h('button', { type: 'button', onclick: answer(false) }, no),
                    h('button.primary', { type: 'button', onclick: answer(true) }, yes),
                ),
            ),
        );
        open(dialog, () => resolve(agreed));
    });
}

/* Whom to write to: one person, or a group with a name. go(c) opens the chat. */
export function newChatDialog(client, go) {
    const key = client.newKey(); // Trying again makes no second group.
    const field = (attributes) =>
        h('input', {
            type: 'text',
            autocomplete: 'off',
            autocapitalize: 'off',
            spellcheck: 'false',
            ...attributes,
        });
    const people = field({ required: true, name: 'people' });
    const title = field({ name: 'title', maxlength: '100', placeholder: 'Weekend plans' });
    const why = h('p.why', { role: 'alert' });
    const label = h('span', {}, 'Their id');
    const titleLine = h('label.field', { hidden: true }, h('span', {}, 'Name of the group'), title);
    const button = h('button.primary', { type: 'submit' }, 'Start chat');
    const choose = (group) => {
        titleLine.hidden = !group;
        label.textContent = group ? 'Ids of the members, with spaces between' : 'Their id';
        people.placeholder = group ? 'bob carol' : 'bob';
        people.required = !group;
        button.textContent = group ? 'Make group' : 'Start chat';
        (group ? title : people).focus();
    };
    const kind = (group, text) =>
        h(
            'label.choice',
            {},
            h('input', {
                type: 'radio',
                name: 'kind',
                checked: !group,
                onchange: () => choose(group),
            }),
            h('span', {}, text),
        );
    const submit = async (event) => {
        event.preventDefault();
        const users = [...new Set(people.value.split(/[\s,;]+/).filter(Boolean))];
        const bad = users.find((user) => !isUser(user));
        if (bad !== undefined) {
            why.textContent = `\u201c${bad}\u201d is not a user id.`;
        } else if (titleLine.hidden) {
            if (users.length !== 1) why.textContent = 'A direct chat is with one person.';
            else finish(client.direct(users[0]));
        } else if (title.value.trim() === '') {
            why.textContent = 'The group needs a name.';
        } else {
            await makeGroup(users);
        }
    };
    const makeGroup = async (users) => {
        button.disabled = true;
        try {
            finish(
                await client.newGroup(
                    key,
                    title.value.trim(),
                    users.filter((user) => user !== client.me),
                ),
            );
        } catch (refusal) {
            why.textContent = `The group was not made: ${refusal.message}. Try again.`;
        }
        button.disabled = false;
    };
    const finish = (c) => {
        dialog.close();
        go(c);
    };
    const dialog = h(
        'dialog',
        { 'aria-label': 'New chat' },
        h(
            'form.dialog-body',
            { onsubmit: submit },
            h(
                'div.dialog-head',
                {},
                h('h2', {}, 'New chat'),
                iconButton('close', 'Close', () => dialog.close()),
            ),
            h(
                'div.choices',
                { role: 'radiogroup', 'aria-label': 'Kind' },
                kind(false, 'Direct'),
                kind(true, 'Group'),
            ),
            titleLine,
            h('label.field', {}, label, people),
            why,
            h('div.buttons', {}, button),
        ),
    );
    open(dialog);
    choose(false);
}
