/* login.js -- who this tab is: tokens from links, kept per user, and the device id.
 *
 * A link carries a token in its fragment, which no server or proxy sees; it is taken out of the
 * address at once. localStorage keeps each user's token and device, sessionStorage which user this
 * tab is. A link of another user than the tab's (or this browser's last) replaces it only after
 * the person agreed: otherwise anybody's link could make them write under a foreign name. */

import { randomId, readFragment } from './ids.js';
import { Store } from './store.js';

const LETS_GO_MS = 150; // A tab hears within some ms that another one took over.

export class Login {
    constructor(local, session) {
        this.local = new Store(local);
        this.tab = new Store(session);
    }

    /* The link in the address, if any: {tok, user, chat}. It is gone from the address after. */
    takeLink(location, history) {
        const link = readFragment(location.hash);
        if (link) history.replaceState(history.state, '', location.pathname + location.search);
        return link;
    }

    /* The user of this tab, or the one this browser used last, if a token of it is kept. */
    get user() {
        const user = this.tab.get('user') ?? this.local.get('last');
        return user !== null && this.token(user) !== null ? user : null;
    }

    token(user) {
        return this.storeOf(user).get('token');
    }

    storeOf(user) {
        return this.local.under('user').under(user);
    }

    /* This tab is user from now on; the token, when given, is the newest. */
    enter(user, tok = null) {
        if (tok !== null) this.storeOf(user).set('token', tok);
        this.tab.set('user', user);
        this.local.set('last', user);
    }

    /* Forget the token; the device and what is unsent stay, for the next time. */
    leave(user) {
        this.storeOf(user).delete('token');
        this.tab.delete('user');
        if (this.local.get('last') === user) this.local.delete('last');
    }

    /* {user, tok, dev}: one device per user and browser. Making it is this tab's claim on it. */
    identity(user) {
        const store = this.storeOf(user);
        let dev = store.get('dev');
        if (!dev) {
            dev = randomId();
            store.set('dev', dev);
        }
        return { user, tok: this.token(user), dev };
    }

    /* Take the device over for this tab; taken() runs once another tab does the same. Resolves when
     * the tab that had it has let go: what it wrote last is in the store by then. */
    async claim(user, window, taken) {
        const store = this.storeOf(user);
        const key = store.prefix + 'tab';
        const mine = randomId(8);
        const others = store.get('tab') !== null;
        store.set('tab', mine);
        window.addEventListener('storage', (event) => {
            if (event.key === key && event.newValue !== null) taken();
        });
        window.addEventListener('pagehide', () => store.get('tab') === mine && store.delete('tab'));
        if (others) await new Promise((resolve) => setTimeout(resolve, LETS_GO_MS));
    }
}
