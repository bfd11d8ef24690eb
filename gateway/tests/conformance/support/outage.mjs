// Redis goes away under a stream of events, and returns. What must hold meanwhile and after, whatever the way it went.

import assert from "node:assert/strict";
import { complete, connectedAll, disconnectedAll, formed } from "./cluster.mjs";
import { Numbers } from "./numbers.mjs";
import { token } from "./token.mjs";
import { until } from "./until.mjs";

/** Ways for Redis to be gone and to be back. */
export const OUTAGES = {
  "ends by SIGTERM": { leave: (redis) => redis.stop("SIGTERM"), back: (redis) => redis.start() },
  "ends by SIGKILL": { leave: (redis) => redis.stop("SIGKILL"), back: (redis) => redis.start() },
  "hangs": { leave: (redis) => redis.freeze(), back: (redis) => redis.thaw() },
};

/** One outage of `redis` for the cluster of `nodes`, with a client of user u1 on each. */
export async function outage(on, redis, nodes, { leave, back }) {
  const clients = await Promise.all(nodes.map((node) => on.connect(node, { token: token() })));
  const stream = new Numbers(nodes[0], "user:u1").start();
  const marks = {};
  try {
    await until("the stream flows", () => clients.every((client) => stream.heard(client).length > 10));
    await leave(redis);
    try {
      await disconnectedAll(nodes);
      marks.apart = stream.sent + 1; // the one on its way may still have met the end
      for (const [n, node] of nodes.entries()) await assertServes(on, node, clients[n], n);
      await until("the stream flows meanwhile", () => stream.sent > marks.apart + 10);
    } finally {
      await back(redis);
    }
    await formed(nodes);
    await connectedAll(nodes);
    marks.together = stream.sent + 2;
    await until("the stream flows again", () => stream.sent > marks.together + 50);
    await redis.publish({ room: "user:u1", event: "by redis", data: 1 });
    for (const client of clients) assert.deepEqual(await client.next("by redis"), [1]);
  } finally {
    await stream.stop();
  }
  assertNothingLost(stream, clients, marks);
  const everybody = { nodes: nodes.length, sockets: nodes.length };
  await complete(nodes[0], everybody, { room: "user:late", event: "news", data: "who came meanwhile is known everywhere" });
}

/** `apart`: from here on every node knew that it was alone. `together`: from here on they were one again. */
function assertNothingLost(stream, clients, { apart, together }) {
  const doubt = stream.unconfirmed();
  const late = doubt.filter((number) => number > apart);
  const told = late.map((number) => `${number}: ${stream.answers.get(number)?.message ?? JSON.stringify(stream.answers.get(number))}`);
  assert.deepEqual(late, [], `no doubt once the state was known, after ${apart} and before ${together}: ${told.join("; ")}`);
  stream.assertHeard(clients[0], { from: 1, but: doubt });
  for (const client of clients.slice(1)) stream.assertHeard(client, { from: together, but: doubt });
  for (let number = together; number <= stream.sent; number += 1) {
    const { nodes, sockets, complete } = stream.answers.get(number);
    const everybody = { nodes: clients.length, sockets: clients.length, complete: true };
    assert.deepEqual({ nodes, sockets, complete }, everybody, `number ${number}`);
  }
}

/** Without Redis a node serves its own: publishing says that it is alone, and newcomers are let in. */
async function assertServes(on, node, client, n) {
  const answer = await node.publish({ room: "user:u1", event: "local", data: n });
  assert.deepEqual({ sockets: answer.sockets, complete: answer.complete }, { sockets: 1, complete: false });
  assert.deepEqual(await client.next("local"), [n]);
  assert.ok((await client.ask("ping")).timestamp, "what clients ask is answered");
  const late = await on.connect(node, { token: token({ sub: "late" }) });
  assert.equal((await node.publish({ room: "user:late", event: "news", data: n })).sockets, 1);
  assert.deepEqual(await late.next("news"), [n]);
}
