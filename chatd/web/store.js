/* store.js -- what this browser keeps: tokens, device ids, outboxes, addresses.
 *
 * localStorage is shared by all tabs of the page's origin; sessionStorage is the tab's own. Values
 * are JSON. Reading what another program damaged gives the fallback. set() says whether it was
 * kept: a full or forbidden storage is an answer, not an exception. */

export class Store {
    constructor(storage, prefix = 'parley/') {
        this.storage = storage;
        this.prefix = prefix;
    }

    /* A part of the store with a longer prefix. */
    under(name) {
        return new Store(this.storage, `${this.prefix}${name}/`);
    }

    get(key, fallback = null) {
        try {
            const text = this.storage.getItem(this.prefix + key);
            return text === null ? fallback : JSON.parse(text);
        } catch {
            return fallback;
        }
    }

    set(key, value) {
        try {
            this.storage.setItem(this.prefix + key, JSON.stringify(value));
            return true;
        } catch {
            return false;
        }
    }

    delete(key) {
        try {
            this.storage.removeItem(this.prefix + key);
        } catch {
            // Forbidden storage holds nothing.
        }
    }

    /* All keys below this prefix, without it. */
    keys() {
        const found = [];
        for (let at = 0; at < this.storage.length; at++) {
            const key = this.storage.key(at);
            if (key.startsWith(this.prefix)) found.push(key.slice(this.prefix.length));
        }
        return found;
    }
}
