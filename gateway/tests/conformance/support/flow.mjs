// A flow of numbered messages into a queue that survives its broker, and the proof of what became of each.

import assert from "node:assert/strict";
import { until } from "./until.mjs";

/** How many messages may wait for the broker's word at a time. */
const WINDOW = 50;
let flows = 0;

export class Flow {
  /** Numbers that the broker has stored for sure. The others were sent again, under their old message id. */
  sent = 0;

  constructor(rabbit, queue, { count, tenants }) {
    Object.assign(this, { rabbit, queue, count, tenants, name: `flow-${(flows += 1)}` });
  }

  /** A client for each tenant, by `connect(n, tenant)`. */
  listen(connect) {
    return Promise.all(this.tenants.map((tenant, n) => connect(n % 2, tenant)));
  }

  start() {
    this.ended = this.#run();
    this.ended.catch(() => {}); // whoever waits for the end is told
    return this;
  }

  /** The numbers of one tenant, in their order. */
  numbersOf(n) {
    return [...Array(this.count).keys()].filter((number) => number % this.tenants.length === n);
  }

  arrived(clients) {
    return until(`all ${this.count} messages have arrived`, () => {
      const missing = clients.map((client, n) => this.numbersOf(n).length - new Set(this.heard(client)).size);
      if (missing.some((count) => count > 0)) throw new Error(`missing: ${missing}`);
      return true;
    }, { within: 60_000 });
  }

  heard(client) {
    return client.inbox.filter(({ event }) => event === "n").map(({ args }) => args[0]);
  }

  /**
   * Each number once, at the tenant that it was for, and those of a tenant in the order in which they were sent; at most
   * so many of them once more.
   */
  assertExact(clients, { doubled = 0 } = {}) {
    for (const [n, client] of clients.entries()) {
      const all = this.heard(client);
      const expected = this.numbersOf(n);
      const heard = [...new Set(all)];
      assert.ok(all.length - heard.length <= doubled, `${all.length - heard.length} doubled for ${this.tenants[n]}`);
      assert.deepEqual([...heard].sort((a, b) => a - b), expected, `all of ${this.tenants[n]}, and nothing else`);
      assert.deepEqual(heard, expected, `the order of ${this.tenants[n]}`);
    }
  }

  /**
   * In windows: the next begins when the broker has stored all of the one before. What it did not confirm, because it died
   * meanwhile, is sent again before anything else, in its order.
   */
  async #run() {
    while (this.sent < this.count) {
      let backend;
      try {
        backend = await this.rabbit.backend();
        while (this.sent < this.count) {
          const window = Array.from({ length: Math.min(WINDOW, this.count - this.sent) }, (_, n) => this.sent + n);
          await Promise.all(window.map((number) => this.#send(backend, number)));
          this.sent += window.length;
        }
      } catch (error) {
        await until("the broker is there again", () => backendIsThere(this.rabbit), { within: 60_000, every: 200 });
      } finally {
        await backend?.close();
      }
    }
  }

  #send(backend, number) {
    const message = { type: "n", tenantId: this.tenants[number % this.tenants.length], data: number };
    return new Promise((resolve, reject) => {
      backend.connection.once("close", () => reject(new Error("the connection was lost")));
      backend.send(this.queue, message, { messageId: `${this.name}-${number}` }).then(resolve, reject);
    });
  }
}

async function backendIsThere(rabbit) {
  await (await rabbit.connect()).close();
  return true;
}
