// A node with a neighbour on it, who gets its events whatever others do. After each test the node holds nothing but him.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Clients, POLICY, QUIET } from "./conform.mjs";
import { stage } from "./stage.mjs";
import { token } from "./token.mjs";
import { merge } from "./toml.mjs";
import { until } from "./until.mjs";
import { Wire } from "./wire.mjs";

/** Who does not answer is gone in sixteen seconds. The neighbour has as long, which is enough for a busy machine. */
const CONFIG = { ...QUIET, engine: { ping_interval: "1s", ping_timeout: "15s" } };
/** A debug build that is busy may need this much for itself. */
const BREATH = 24 << 20;

/**
 * Declares tests that run one after the other on a node of their own: `declare(hostile, scene)`. `hostile(name, body)` runs
 * `body(clients, scene)`, and then looks whether the neighbour is alone and well.
 */
export function scene(name, config, declare) {
  describe(name, { concurrency: 1 }, () => {
    const on = stage();
    const here = new Scene();
    before(async () => {
      here.node = await on.node({ policy: POLICY, config: merge(CONFIG, config) });
      here.url = here.node.url;
      on.keep({ close: () => here.neighbour?.destroy() });
    });
    const hostile = (name, body) => test(name, async (t) => {
      await here.begin();
      await body(new Clients(t, here.url), here);
      await here.isAlone();
    });
    declare(hostile, here);
  });
}

class Scene {
  #number = 0;

  /** A neighbour who was lost in one test is another one in the next. */
  async begin() {
    if (this.neighbour && !this.neighbour.over) return;
    this.neighbour = await Wire.connected(this.url, token({ sub: "neighbour" }));
  }

  async isAlone() {
    const { node, neighbour } = this;
    assert.equal(neighbour.over, undefined, "the neighbour has lost his connection");
    await until("only the neighbour is counted", async () => {
      const { connected, users, rooms } = (await node.ops.stats()).node;
      const gauges = await Promise.all(["connections", "users", "rooms"].map((one) => node.ops.metric(`roomcast_${one}`)));
      assert.deepEqual([connected, users, rooms, ...gauges], [1, 1, 1, 1, 1, 1]);
      return true;
    }, { within: 40_000 });
    const number = (this.#number += 1);
    assert.equal((await node.publish({ room: "user:neighbour", event: "news", data: number })).sockets, 1);
    assert.equal(await neighbour.next(), `42["news",${number}]`);
    await neighbour.alive();
  }

  memory() {
    return this.node.ops.metric("process_resident_memory_bytes");
  }

  /** Runs it, and asserts that the node takes no more than `most` bytes of memory for it. */
  async within(most, body) {
    const before = await this.memory();
    const result = await body();
    const grown = (await this.memory()) - before;
    assert.ok(grown < most + BREATH, `the node has grown by ${grown} bytes`);
    return result;
  }
}
