// Ten minutes of coming, going and publishing on three nodes: nothing is lost, nothing piles up. For `./test long`.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { TRANSPORTS } from "../support/client.mjs";
import { formed } from "../support/cluster.mjs";
import { Numbers } from "../support/numbers.mjs";
import { stage } from "../support/stage.mjs";
import { token } from "../support/token.mjs";
import { until } from "../support/until.mjs";

const MINUTES = Number(process.env.ROOMCAST_SOAK_MINUTES ?? 10);
const CROWD = 60;

describe(`soak, ${MINUTES} minutes`, () => {
  const on = stage();

  test("clients come and go under a stream: those that stay hear everything, and memory is given back", async (t) => {
    const redis = await on.redis();
    const config = { redis: { url: redis.url }, log: { level: "info" }, engine: { ping_interval: "2s", ping_timeout: "4s" } };
    const nodes = await Promise.all([1, 2, 3].map(() => on.node({ config })));
    await formed(nodes);
    const staying = await Promise.all(Object.values(TRANSPORTS).map((transports, n) =>
      on.connect(nodes[n], { token: token({ exp: Math.floor(Date.now() / 1000) + 3600 }), transports })));
    const streams = nodes.map((node, n) => new Numbers(node, "user:u1", { every: 20, event: `number ${n}` }).start());

    const end = Date.now() + MINUTES * 60_000;
    let early; // after the first rounds, when pools and buffers have their size
    for (let round = 1; Date.now() < end; round += 1) {
      const crowd = await Promise.all(Array.from({ length: CROWD }, (_, n) =>
        on.connect(nodes[n % 3], { token: token({ sub: `guest-${n}` }), transports: Object.values(TRANSPORTS)[n % 3] })));
      const answers = await Promise.all(crowd.map((_, n) => nodes[round % 3].publish({ room: `user:guest-${n}`, event: "hello", data: round })));
      answers.forEach((answer) => assert.deepEqual({ sockets: answer.sockets, complete: answer.complete }, { sockets: 1, complete: true }));
      for (const client of crowd) assert.deepEqual(await client.next("hello"), [round]);
      crowd.forEach((client) => client.close());
      if (round === 20) early = nodes.map(resident);
    }

    await Promise.all(streams.map((stream) => stream.stop()));
    await nodes[0].publish({ room: "user:u1", event: "end" });
    for (const client of staying) {
      await client.next("end");
      assert.equal(client.count("disconnect"), 0);
      for (const stream of streams) stream.assertHeard(client, { from: 1 });
    }
    on.closeClients();
    await until("nobody is left anywhere", async () => {
      const { connected, users, rooms } = (await nodes[0].ops.stats()).cluster;
      return connected + users + rooms === 0;
    }, { within: 30_000 });
    const late = nodes.map(resident);
    t.diagnostic(`resident KiB, early ${early}, late ${late}`);
    if (early) late.forEach((kib, n) => assert.ok(kib < early[n] * 1.5 + 8192, `node ${n}: ${early[n]} KiB grew to ${kib} KiB`));
  });
});

/** Resident memory of a node in KiB. */
function resident(node) {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${node.child.pid}/status`, "utf8"))[1]);
}
