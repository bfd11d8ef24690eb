// Everything a suite starts stands on its stage, and ends with it. When a test fails, the logs are shown.

import { after, afterEach } from "node:test";
import { Client } from "./client.mjs";
import { Node } from "./node.mjs";
import { Redis } from "./redis.mjs";

/** To be called inside `describe`: registers the hooks that end what was started. */
export function stage() {
  const on = new Stage();
  afterEach((test) => {
    on.closeClients();
    if (test.error) on.showLogs(test.name);
    on.nodes.forEach((node) => node.assertNoSecretInLog());
  });
  after(() => on.close());
  return on;
}

class Stage {
  nodes = [];
  clients = [];
  #others = [];

  /** A running node; see `Node.prepare` for the options. */
  async node(options = {}) {
    const node = await Node.prepare(options);
    this.nodes.push(node);
    return node.start(options);
  }

  async redis() {
    return this.keep(await Redis.start());
  }

  /** A client that tries to connect. It is closed after the test. */
  client(node, options) {
    const client = new Client(node.url, options);
    this.clients.push(client);
    return client;
  }

  /** A client that is connected. */
  connect(node, options) {
    return this.client(node, options).connected();
  }

  /** Anything with a `close`. */
  keep(thing) {
    this.#others.unshift(thing);
    return thing;
  }

  closeClients() {
    this.clients.splice(0).forEach((client) => client.close());
  }

  showLogs(name) {
    for (const node of this.nodes.filter((one) => one.child)) {
      console.error(`--- log of ${node.url} after the failure of "${name}"\n${node.child.tail()}`);
    }
  }

  async close() {
    this.closeClients();
    const results = await Promise.allSettled(this.nodes.map((node) => node.close()));
    results.push(...(await Promise.allSettled(this.#others.map((thing) => thing.close()))));
    const failed = results.filter((one) => one.status === "rejected").map((one) => one.reason);
    if (failed.length) throw new AggregateError(failed, failed.map((error) => error.message).join("\n"));
  }
}
