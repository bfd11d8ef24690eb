// A load balancer as small as one can be: connections go in turn to the nodes that say they are well. For websockets: a
// polling client would need the same node each time.

import { connect, createServer } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { freePort } from "./port.mjs";
import { until } from "./until.mjs";

/** Between two looks at a node's health. */
const LOOK = 100;

export class Balancer {
  #well = new Set();
  #sockets = new Set();
  #turn = 0;
  #isOpen = true;

  static async start(nodes) {
    const balancer = new Balancer();
    balancer.nodes = nodes;
    const port = await freePort();
    balancer.url = `http://127.0.0.1:${port}`;
    balancer.server = createServer((client) => balancer.#pass(client));
    await new Promise((resolve) => balancer.server.listen(port, "127.0.0.1", resolve));
    balancer.looking = balancer.#look();
    await until("all nodes are well", () => balancer.#well.size === nodes.length);
    return balancer;
  }

  /** From now on these. */
  use(nodes) {
    this.nodes = nodes;
  }

  async close() {
    this.#isOpen = false;
    this.#sockets.forEach((socket) => socket.destroy());
    await new Promise((resolve) => this.server.close(resolve));
    await this.looking;
  }

  #pass(client) {
    const well = this.nodes.filter((node) => this.#well.has(node));
    const node = well[(this.#turn += 1) % well.length];
    if (!node) return client.destroy();
    const server = connect(node.port, "127.0.0.1");
    for (const [one, other] of [[client, server], [server, client]]) {
      this.#sockets.add(one);
      one.on("error", () => {}); // its end follows
      one.on("close", () => {
        this.#sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  }

  async #look() {
    while (this.#isOpen) {
      await Promise.all(this.nodes.map(async (node) => {
        const answer = await fetch(`${node.url}/healthz`, { signal: AbortSignal.timeout(1000) }).catch(() => undefined);
        if (answer?.ok) this.#well.add(node);
        else this.#well.delete(node);
      }));
      await pause(LOOK);
    }
  }
}
