/* main.js -- the page: who logs in, the client, the views. */

import { Client } from './client.js';
import { Login } from './login.js';
import { App } from './ui_app.js';
import { askSwitch, showSignIn } from './ui_signin.js';

const login = new Login(localStorage, sessionStorage);

function ownAddress() {
    return `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws`;
}

/* Take what a link says; returns the chat to open. The person decides about another user. */
async function enterLink(link) {
    const { user } = login;
    if (user !== null && user !== link.user && !(await askSwitch(user, link.user))) return null;
    login.enter(link.user, link.tok);
    return link.chat;
}

async function run(user, chat) {
    login.enter(user);
    let client = null;
    let gone = false;
    await login.claim(user, window, () => {
        gone = true;
        client?.retire();
    });
    client = new Client(login.identity(user), ownAddress(), login.storeOf(user));
    window.addEventListener('online', () => client.session.hurry());
    document.addEventListener('visibilitychange', () => {
        if (document.visibilityState === 'visible') client.session.hurry();
    });
    window.addEventListener('hashchange', () => linkOpened(client));
    window.addEventListener('pageshow', (event) => event.persisted && location.reload());
    new App(client, {
        chat,
        signOut() {
            client.session.stop();
            login.leave(user);
            location.reload();
        },
    });
    if (gone) client.retire();
    else client.start();
}

/* A link pasted into the address of the running page changes its fragment alone. */
async function linkOpened(client) {
    const link = login.takeLink(location, history);
    if (!link?.user) return;
    const before = client.me;
    const chat = await enterLink(link);
    if (login.user !== before) location.reload();
    else if (link.user === before) client.session.renew(link.tok);
    if (chat && link.user === before) client.emit('show', chat);
}

async function main() {
    const link = login.takeLink(location, history);
    const chat = link?.user ? await enterLink(link) : null;
    if (login.user === null) showSignIn(link !== null);
    else run(login.user, chat);
}

main();
