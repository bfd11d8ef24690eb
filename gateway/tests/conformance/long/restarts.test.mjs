// The outages of the ordinary suite, again and again in a row: what is slow to break shows here. For `./test long`.

import { describe, test } from "node:test";
import { complete, formed } from "../support/cluster.mjs";
import { OUTAGES, outage } from "../support/outage.mjs";
import { stage } from "../support/stage.mjs";

const ROUNDS = 12;

describe("restarts, again and again", () => {
  const on = stage();
  let redis;
  let nodes;

  test("start", async () => {
    redis = await on.redis();
    nodes = await Promise.all([1, 2, 3].map(() => on.node({ config: { redis: { url: redis.url } } })));
    await formed(nodes);
  });

  for (let round = 1; round <= ROUNDS; round += 1) {
    for (const [way, how] of Object.entries(OUTAGES)) {
      test(`round ${round}: Redis ${way}`, () => outage(on, redis, nodes, how));
    }

    test(`round ${round}: a node is killed, another one is stopped, both return`, async () => {
      const [killed, stopped, witness] = [0, 1, 2].map((n) => nodes[(n + round) % nodes.length]);
      await killed.kill();
      await stopped.stop();
      await complete(witness, { nodes: 0, sockets: 0 }, { room: "user:u1", event: "probe" });
      await formed([witness]);
      await Promise.all([killed.start(), stopped.start()]);
      await formed(nodes);
    });
  }
});
