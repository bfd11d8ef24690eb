// Thousands of light clients in a process of their own: it may have at most 20,000 descriptors, and its work is not done where
// others measure. `Peers` is what a suite holds; this file run by itself is the process.

import { fork } from "node:child_process";
import { Light } from "./light.mjs";
import { token } from "./token.mjs";
import { until, within } from "./until.mjs";

/** Clients that begin to connect at a time. */
const AT_ONCE = 200;
const PATIENCE = 300_000;
/** How long one of them may take until it is in, with all that it tries again. */
const CONNECTING = 60_000;

export class Peers {
  #answers = [];

  constructor() {
    this.child = fork(import.meta.filename, [], { stdio: "inherit" });
    this.child.on("message", (answer) => this.#answers.shift()?.(answer));
  }

  /**
   * Connects so many more, each with the claims and the number in its name, from an address (of each there are some 28,000
   * connections a minute); `stalls` = they stop reading as soon as they are in.
   */
  open(url, { count, sub = "peer", claims = {}, from, stalls = false }) {
    return this.#ask({ open: { url, count, sub, claims, from, stalls } });
  }

  /** Forgets how long events took, and from now on remembers. */
  reset() {
    return this.#ask({ reset: true });
  }

  /** How long events took since, in milliseconds: `{count, p50, p99}`. Their first argument is when they were sent. */
  latencies() {
    return this.#ask({ latencies: true });
  }

  /** `{connected, lost}`. */
  state() {
    return this.#ask({ state: true });
  }

  closeAll() {
    return this.#ask({ closeAll: true });
  }

  close() {
    this.child.kill("SIGKILL");
  }

  async #ask(question) {
    const answered = new Promise((resolve) => this.#answers.push(resolve));
    this.child.send(question);
    const answer = await within(`peers answer ${Object.keys(question)}`, answered, PATIENCE);
    if (answer.error) throw new Error(answer.error);
    return answer;
  }
}

/** A moment that other processes of this machine understand, in milliseconds. */
export const moment = () => Number(process.hrtime.bigint() / 1000n) / 1000;

if (process.argv[1] === import.meta.filename) serve();

function serve() {
  let clients = [];
  let times = [];
  let lost = 0;

  async function open({ url, count, sub, claims, from, stalls }) {
    const exp = Math.floor(Date.now() / 1000) + 7200;
    for (let begun = 0; begun < count; begun += AT_ONCE) {
      const some = Array.from({ length: Math.min(AT_ONCE, count - begun) }, (_, n) => {
        const client = new Light(url, token({ ...claims, sub: `${sub}-${begun + n}`, exp }), from);
        client.onEvent = (_, [, sent]) => typeof sent === "number" && times.push(moment() - sent);
        return client.open();
      });
      clients.push(...some);
      await Promise.all(some.map((client) => isIn(client, stalls)));
    }
    return { connected: clients.filter((client) => client.connected).length };
  }

  /** Waits until it is in; and lets it stop reading then, now and whenever it comes back. */
  async function isIn(client, stalls) {
    await until("a peer is in", () => client.connected, { within: CONNECTING, every: 5 })
      .catch(({ message }) => { throw new Error(`${message}; it was told ${client.refusal ?? "nothing"}`); });
    if (!stalls) return;
    client.socket.pause();
    client.socket.once("close", () => {
      lost += 1;
      // Who does not come back is missed where connections are counted.
      if (clients.includes(client)) isIn(client, true).catch(({ message }) => console.error(message));
    });
    // Who reads nothing does not see that it was closed, but notices when it writes.
    const speaking = setInterval(() => client.socket.write(Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0x33])), 500);
    client.socket.once("close", () => clearInterval(speaking));
  }

  const answers = {
    open,
    reset: () => ((times = []), {}),
    latencies: () => {
      const sorted = Float64Array.from(times).sort();
      const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
      return { count: sorted.length, p50: at(0.5), p99: at(0.99) };
    },
    state: () => ({ connected: clients.filter((client) => client.connected).length, lost }),
    closeAll: () => {
      const all = clients;
      clients = [];
      all.forEach((client) => client.close());
      return {};
    },
  };
  process.on("message", async (question) => {
    const [[name, value]] = Object.entries(question);
    process.send(await Promise.resolve(answers[name](value)).catch(({ message }) => ({ error: message })));
  });
  process.once("disconnect", () => process.exit(0));
}
