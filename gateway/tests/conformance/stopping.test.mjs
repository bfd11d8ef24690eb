// A node that is stopped: its clients are sent away so that they come back by themselves, and it ends in time.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { TRANSPORTS } from "./support/client.mjs";
import { complete, formed } from "./support/cluster.mjs";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

/** The configured limit for stopping, and what the suite allows: nothing here has a reason to use it up. */
const DRAIN = "5s";
const LIMIT = 4_000;

describe("stopping", () => {
  const on = stage();
  const start = (config) => on.node({ config: { drain: { timeout: DRAIN }, ...config } });

  for (const [name, transports] of Object.entries(TRANSPORTS)) {
    test(`${name}: clients see a transport that closed, and are back on the next node by themselves`, async () => {
      const node = await start();
      const clients = await Promise.all(Array.from({ length: 10 }, (_, n) =>
        on.connect(node, { token: token({ sub: `u${n}`, whatsapp_accounts: ["a"] }), transports })));
      const ids = clients.map((client) => client.socket.id);
      await node.stop(LIMIT);
      for (const client of clients) {
        const [reason] = await client.next("disconnect");
        assert.match(reason, /^transport (close|error)$/, "anything else stops the reconnection of the stock client");
        assert.equal(client.socket.active, true);
      }
      await node.start(); // another process at the same address, as behind a load balancer
      for (const [n, client] of clients.entries()) {
        await client.next("connect");
        assert.ok(!ids.includes(client.socket.id), "an id is never used again");
        assert.equal((await node.publish({ room: `user:u${n}`, event: "news", data: n })).sockets, 1);
        assert.deepEqual(await client.next("news"), [n]);
        assert.deepEqual(client.inbox.filter((one) => one.event === "disconnect"), []);
      }
    });
  }

  test("with nobody connected it ends at once, also with a kept-alive connection open", async () => {
    const node = await start();
    await fetch(`${node.url}/healthz`);
    await node.stop(LIMIT);
  });

  test("SIGINT does the same", async () => {
    const node = await start();
    const client = await on.connect(node, { token: token() });
    const { code } = await node.child.end("SIGINT", LIMIT);
    assert.equal(code, 0);
    assert.match((await client.next("disconnect"))[0], /^transport (close|error)$/);
  });

  test("clients that are about to connect do not hold it up", async () => {
    const node = await start();
    const clients = Array.from({ length: 20 }, (_, n) =>
      on.client(node, { token: token({ sub: `u${n}` }), transports: n % 2 ? ["polling"] : ["websocket"] }));
    await node.stop(LIMIT);
    await node.start();
    await Promise.all(clients.map((client) => until("connected", () => client.socket.connected, { within: 20_000 })));
    for (const client of clients) {
      const reasons = client.inbox.filter((one) => one.event === "disconnect").map((one) => one.args[0]);
      assert.ok(reasons.every((reason) => /^transport (close|error)$/.test(reason)), reasons.join());
    }
  });

  test("in a cluster: nobody waits for a node that said goodbye, and a rollout loses no client", async () => {
    const redis = await on.redis();
    const nodes = await Promise.all([1, 2, 3].map(() => start({ redis: { url: redis.url } })));
    const clients = await Promise.all(nodes.map((node) => on.connect(node, { token: token() })));
    await formed(nodes);
    for (const [n, node] of nodes.entries()) {
      const others = nodes.filter((one) => one !== node);
      await node.stop(LIMIT);
      const answer = await others[0].publish({ room: "user:u1", event: "news", data: n });
      assert.deepEqual({ sockets: answer.sockets, complete: answer.complete }, { sockets: 2, complete: true });
      for (const client of clients.filter((one) => one !== clients[n])) {
        assert.deepEqual(await client.next("news"), [n]);
      }
      await node.start();
      await clients[n].next("connect");
      await formed(nodes);
      await complete(node, { nodes: 3, sockets: 3 }, { room: "user:u1", event: "probe" });
    }
  });
});
