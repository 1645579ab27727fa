/* tests/web/cluster.mjs -- a cluster of real processes, on ports and in a folder of its own.
 *
 * PARLEY names the command (default: the release build's). Front-end j serves on P + 1000 + j. */
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const PARLEY = process.env.PARLEY ?? new URL('../../build/parley', import.meta.url).pathname;
const READY_MS = 60000;
const NODES = 3;
const FRONTS = 2;

export class Cluster {
    static async start() {
        const cluster = new Cluster();
        cluster.dir = await mkdtemp(path.join(tmpdir(), 'parley-web-'));
        cluster.port = await freePort();
        const args = [
            'dev',
            '--dir',
            cluster.dir,
            '--port',
            cluster.port,
            '--nodes',
            NODES,
            '--fronts',
            FRONTS,
        ];
        cluster.output = '';
        cluster.process = spawn(PARLEY, args.map(String), { stdio: ['ignore', 'pipe', 'pipe'] });
        for (const stream of ['stdout', 'stderr']) {
            cluster.process[stream].on('data', (data) => (cluster.output += data));
        }
        cluster.process.on('error', (error) => (cluster.output += error.message));
        try {
            for (let j = 1; j <= FRONTS; j++) await cluster.ready(j);
        } catch (error) {
            await cluster.stop();
            throw error;
        }
        return cluster;
    }

    url(j) {
        return `http://127.0.0.1:${this.port + 1000 + j}/`;
    }

    /* What a command says about this cluster. */
    async parley(...args) {
        return (await promisify(execFile)(PARLEY, [...args, '--dir', this.dir])).stdout;
    }

    async link(j, user) {
        return `${this.url(j)}#token=${(await this.parley('token', user)).trim()}`;
    }

    async ready(j) {
        for (const end = Date.now() + READY_MS; ; await sleep(100)) {
            const reply = await fetch(`${this.url(j)}readyz`).catch(() => null);
            if (reply?.ok) return;
            if (Date.now() > end) throw new Error(`front-end ${j} is not ready: ${this.output}`);
        }
    }

    /* SIGKILL; startFront(j) starts the same program again. */
    async killFront(j) {
        this.command = await this.commandOf(`chatd-${j}`);
        await this.kill(`chatd-${j}`);
    }

    async startFront(j) {
        const [program, ...args] = this.command;
        this.again = spawn(program, args, { stdio: 'ignore' });
        await this.ready(j);
    }

    async commandOf(name) {
        const pid = (await readFile(path.join(this.dir, `${name}.pid`), 'utf8')).trim();
        const text = await readFile(`/proc/${pid}/cmdline`, 'utf8');
        return text.split('\0').slice(0, -1);
    }

    /* The node that leads the partition with the most changes: where the test's chat is. */
    async killLeader() {
        const partitions = JSON.parse(await this.parley('partitions', '--json'));
        const busiest = partitions.reduce((a, b) => (b.commit > a.commit ? b : a));
        await this.kill(`logd-${busiest.leader}`);
    }

    async kill(name) {
        const file = path.join(this.dir, `${name}.pid`);
        process.kill(Number(await readFile(file, 'utf8')), 'SIGKILL');
    }

    /* Ends what dev started, and what it left behind. */
    async stop() {
        this.again?.kill('SIGTERM');
        const gone = new Promise((resolve) => this.process.once('exit', resolve));
        if (this.process.exitCode === null && this.process.kill('SIGINT')) {
            await Promise.race([gone, sleep(15000, null, { ref: false })]);
        }
        for (const name of await readdir(this.dir)) {
            if (!name.endsWith('.pid')) continue;
            const pid = Number(await readFile(path.join(this.dir, name), 'utf8'));
            try {
                process.kill(pid, 'SIGKILL');
            } catch {
                // It ended by itself, as it should.
            }
        }
        await rm(this.dir, { recursive: true, force: true });
    }
}

/* A base whose ports are all free now. */
async function freePort() {
    for (;;) {
        const base = 24000 + Math.floor(Math.random() * 70) * 97; // tests/lib has those below.
        const ports = [];
        for (let i = 1; i <= NODES; i++) ports.push(base + i, base + 100 + i, base + 200 + i);
        for (let j = 1; j <= FRONTS; j++) ports.push(base + 1000 + j, base + 1100 + j);
        const free = await Promise.all(ports.map(isFree));
        if (free.every(Boolean)) return base;
    }
}

function isFree(port) {
    return new Promise((resolve) => {
        const server = net.createServer().once('error', () => resolve(false));
        server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
}
