/* ui_signin.js -- before and after a session: asking for a link, replacing a user, the end. */

import { readFragment } from './ids.js';
import { confirmDialog } from './ui_dialogs.js';
import { h, icon } from './ui_dom.js';

/* May the link's user replace this tab's? */
export function askSwitch(user, other) {
    return confirmDialog(
        `You are ${user} here, and this link is for ${other}. Go on as ${other} in this tab?`,
        `Go on as ${other}`,
        `Stay ${user}`,
    );
}

/* Nobody is logged in. broken: the page was opened with a link that holds no usable token. */
export function showSignIn(broken) {
    const text = broken
        ? 'The link you opened is damaged. Ask for a new one.'
        : 'Open the link you were given, or paste it here.';
    document.body.append(card('Welcome to Parley', text, linkForm()));
}

const ENDS = {
    token: [
        'Your log-in has ended',
        'Open a new link to go on, or paste it here. What you wrote is kept.',
    ],
    banned: [
        'This device was shut out',
        'It may not connect any more. Ask whoever runs this server.',
    ],
    version: ['Parley is out of date', 'The server speaks a newer version. Load the page again.'],
    replaced: [
        'Parley is open in another tab',
        'Only one tab at a time is connected. What you wrote is kept.',
    ],
};

/* The session is over: why, and what can be done. */
export function overView(why, signOut) {
    const [title, text] = ENDS[why] ?? ENDS.banned;
    const again = { replaced: 'Use Parley here', version: 'Load again' }[why];
    const buttons = [];
    if (why === 'token') buttons.push(linkForm());
    if (again)
        buttons.push(
            h('button.primary', { type: 'button', onclick: () => location.reload() }, again),
        );
    if (why !== 'replaced')
        buttons.push(h('button', { type: 'button', onclick: signOut }, 'Sign out'));
    return card(title, text, ...buttons);
}

function card(title, text, ...rest) {
    return h(
        'div.cover',
        {},
        h(
            'section.card',
            { 'aria-label': title },
            h('span.logo', {}, icon('bubble')),
            h('h1', {}, title),
            h('p', {}, text),
            ...rest,
        ),
    );
}

function linkForm() {
    const input = h('input', {
        type: 'text',
        'aria-label': 'Link',
        placeholder: 'https://\u2026/#token=\u2026',
        autocomplete: 'off',
        spellcheck: 'false',
    });
    const why = h('p.why', { role: 'alert' });
    const submit = (event) => {
        event.preventDefault();
        const text = input.value.trim();
        const hash = text.includes('#') ? text.slice(text.indexOf('#')) : `#token=${text}`;
        if (!readFragment(hash)?.user) {
            why.textContent = 'That is not a Parley link.';
            return;
        }
        location.hash = hash;
        location.reload();
    };
    return h(
        'form.link-form',
        { onsubmit: submit },
        input,
        h('button.primary', { type: 'submit' }, 'Go on'),
        why,
    );
}
