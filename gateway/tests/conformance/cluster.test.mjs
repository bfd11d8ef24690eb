// Three nodes over a real Redis: they are one, until one dies or Redis goes, and are one again after.

import assert from "node:assert/strict";
import { before, beforeEach, describe, test } from "node:test";
import { complete, connectedAll, formed } from "./support/cluster.mjs";
import { OUTAGES, outage } from "./support/outage.mjs";
import { freePort } from "./support/port.mjs";
import { Redis } from "./support/redis.mjs";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

const WAYS = { websocket: ["websocket"], polling: ["polling"] };

describe("cluster", () => {
  const on = stage();
  let redis;
  let nodes;

  before(async () => {
    redis = await on.redis();
    nodes = await Promise.all([1, 2, 3].map(() => on.node({ config: { redis: { url: redis.url } } })));
  });

  beforeEach(() => formed(nodes));

  const everywhere = (claims, options) =>
    Promise.all(nodes.map((node) => on.connect(node, { token: token(claims), ...options })));

  for (const [way, transports] of Object.entries(WAYS)) {
    test(`published by HTTP on any node: heard on all, once, and counted, ${way}`, async () => {
      const clients = await everywhere({ tenant_id: "t1" }, { transports });
      for (const [n, node] of nodes.entries()) {
        const answer = await node.publish({ rooms: ["tenant:t1", "user:u1"], event: "news", data: n });
        assert.deepEqual(pick(answer), { nodes: 3, sockets: 3, complete: true });
        for (const client of clients) assert.deepEqual(await client.next("news"), [n]);
      }
      await assertNothingMore(clients);
    });

    test(`published by Redis: heard on all, once, ${way}`, async () => {
      const clients = await everywhere({}, { transports });
      for (let n = 0; n < 20; n += 1) {
        assert.ok((await redis.publish({ room: "user:u1", event: "news", data: { n } })) >= 3);
      }
      for (const client of clients) {
        for (let n = 0; n < 20; n += 1) assert.deepEqual(await client.next("news"), [{ n }]);
      }
      await assertNothingMore(clients);
    });
  }

  test("bytes, numbers, several arguments and exceptions cross nodes untouched", async () => {
    const clients = await everywhere();
    const bytes = Buffer.from([0, 128, 255]);
    const args = [1.5, { file: { $binary: bytes.toString("base64") } }, "ünï"];
    const envelope = { room: "user:u1", event: "news", args, except: [clients[1].socket.id] };
    assert.deepEqual(pick(await nodes[0].publish(envelope)), { nodes: 2, sockets: 2, complete: true });
    await redis.publish(envelope);
    for (const client of [clients[0], clients[2]]) {
      for (let n = 0; n < 2; n += 1) assert.deepEqual(await client.next("news"), [1.5, { file: bytes }, "ünï"]);
    }
    await assertNothingMore(clients);
  });

  test("only nodes and sockets that were reached are counted, and nobody is an answer", async () => {
    await on.connect(nodes[1], { token: token({ sub: "lonely" }) });
    const answer = await nodes[0].publish({ room: "user:lonely", event: "news" });
    assert.deepEqual(pick(answer), { nodes: 1, sockets: 1, complete: true });
    const nobody = await nodes[0].publish({ room: "user:nobody", event: "news" });
    assert.deepEqual(pick(nobody), { nodes: 0, sockets: 0, complete: true });
  });

  test("a user with a socket on another node: reached right in the connect callback", async () => {
    const client = on.client(nodes[2], { token: token({ sub: "fresh" }) });
    const answers = new Promise((resolve, reject) => {
      const publish = () => Promise.all(nodes.map((node, n) => node.publish({ room: "user:fresh", event: "news", data: n })));
      client.socket.on("connect", () => publish().then(resolve, reject));
    });
    assert.deepEqual((await answers).map((answer) => answer.sockets), [1, 1, 1]);
    const heard = [await client.next("news"), await client.next("news"), await client.next("news")];
    assert.deepEqual(heard.flat().sort(), [0, 1, 2]);
  });

  test("two tenants on different nodes never hear each other", async () => {
    const [one, two] = [await on.connect(nodes[0], { token: token({ sub: "one", tenant_id: "t1" }) }),
      await on.connect(nodes[1], { token: token({ sub: "two", tenant_id: "t2" }) })];
    for (const [room, client] of [["tenant:t1", one], ["user:one", one], ["tenant:t2", two], ["user:two", two]]) {
      assert.equal((await nodes[2].publish({ room, event: "news", data: room })).sockets, 1);
      assert.deepEqual(await client.next("news"), [room]);
    }
    for (const client of [one, two]) {
      await nodes[2].publish({ room: "system", event: "settled" });
      await client.next("settled");
      assert.equal(client.count("news"), 0);
    }
  });

  test("/stats counts the whole cluster, a user on several nodes once", async () => {
    await everywhere();
    await on.connect(nodes[0], { token: token({ sub: "u2" }) });
    for (const node of nodes) {
      const { cluster, bus } = await until("all are counted", async () => {
        const stats = await node.ops.stats();
        return stats.cluster.connected === 4 && stats;
      });
      assert.deepEqual(cluster, { nodes: 3, connected: 4, users: 2, rooms: 3, complete: true, missing: [] });
      assert.equal(bus.state, "connected");
    }
  });

  test("a bad envelope in Redis is counted, and harms nobody", async () => {
    const clients = await everywhere();
    const invalid = () => Promise.all(nodes.map((node) => node.ops.metric("roomcast_publish_total", { outcome: "invalid" })));
    const before = await invalid();
    for (const text of ["", "{", "null", "[]", "\u0000", '{"room":"user:u1"}', '{"room":"user:u1","event":"connect"}', "x".repeat(2 << 20)]) {
      await redis.publish(text);
    }
    await redis.publish({ room: "user:u1", event: "news", data: 1 });
    for (const client of clients) assert.deepEqual(await client.next("news"), [1]);
    await assertNothingMore(clients);
    const after = await invalid();
    const sum = (list) => list.reduce((a, b) => a + b);
    assert.ok(sum(after) > sum(before), "counted");
  });

  test("kill -9 of a node: the others go on, and soon nobody waits for it", async () => {
    const clients = await everywhere();
    const [first, second, third] = nodes;
    await third.kill();
    const [reason] = await clients[2].next("disconnect");
    assert.match(reason, /^transport (close|error)$/);
    for (const [n, node] of [first, second].entries()) {
      await node.publish({ room: "user:u1", event: "news", data: n });
      for (const client of clients.slice(0, 2)) assert.deepEqual(await client.next("news"), [n]);
    }
    // Its connection to Redis ended with it, so that nobody waits for it when something is published; that it is dead
    // is noticed a little later.
    await formed([first, second]);
    for (const node of [first, second]) {
      await complete(node, { nodes: 2, sockets: 2 }, { room: "user:u1", event: "probe" });
      const { cluster } = await node.ops.stats();
      assert.deepEqual(cluster, { nodes: 2, connected: 2, users: 1, rooms: 2, complete: true, missing: [] });
    }
    await third.start(); // its clients find it again by themselves
    await clients[2].next("connect");
    await formed(nodes);
    await complete(first, { nodes: 3, sockets: 3 }, { room: "user:u1", event: "probe" });
  });

  for (const [way, how] of Object.entries(OUTAGES)) {
    test(`Redis ${way} and returns under a stream of events`, () => outage(on, redis, nodes, how));
  }

  test("Redis drops every connection: new ones are made, and all is well again", async () => {
    const clients = await everywhere();
    const subscribers = () => redis.ask(async (ask) => (await ask.clientList()).filter((one) => one.sub > 0).map((one) => one.id));
    for (const type of ["pubsub", "normal"]) {
      const before = await subscribers();
      assert.equal(before.length, nodes.length);
      await redis.ask((ask) => ask.sendCommand(["CLIENT", "KILL", "TYPE", type, "SKIPME", "yes"]));
      await until("each node subscribed anew", async () => {
        const now = await subscribers();
        return now.length === nodes.length && now.every((id) => !before.includes(id));
      }, { within: 20_000 });
      await connectedAll(nodes);
      await formed(nodes);
      await redis.publish({ room: "user:u1", event: "news", data: type });
      for (const client of clients) assert.deepEqual(await client.next("news"), [type]);
      assert.deepEqual(pick(await nodes[0].publish({ room: "user:u1", event: "all" })), { nodes: 3, sockets: 3, complete: true });
      for (const client of clients) await client.next("all");
    }
    await assertNothingMore(clients);
  });

  test("Redis not up at the start: the node serves, and connects later", async () => {
    const later = new Redis(await freePort());
    const config = { redis: { url: later.url } };
    const pair = await Promise.all([1, 2].map(() => on.node({ config, answers: "/livez" })));
    const clients = await Promise.all(pair.map((node) => on.connect(node, { token: token() })));
    for (const [n, node] of pair.entries()) {
      assert.notEqual((await node.ops.stats()).bus.state, "connected");
      assert.equal((await fetch(`${node.url}/healthz`)).status, 200);
      const answer = await node.publish({ room: "user:u1", event: "news", data: n });
      assert.deepEqual({ sockets: answer.sockets, complete: answer.complete }, { sockets: 1, complete: false });
      assert.deepEqual(await clients[n].next("news"), [n]);
    }
    await later.start();
    on.keep(later);
    await connectedAll(pair);
    await complete(pair[0], { nodes: 2, sockets: 2 }, { room: "user:u1", event: "probe" });
    await complete(pair[1], { nodes: 2, sockets: 2 }, { room: "user:u1", event: "probe" });
  });

  /** Passes one event through every room of these clients, after which nothing else may have arrived. */
  async function assertNothingMore(clients) {
    await nodes[0].publish({ room: "system", event: "settled" });
    for (const client of clients) {
      await client.next("settled");
      assert.deepEqual(client.inbox.filter((one) => one.event !== "connect"), []);
    }
  }
});

const pick = ({ nodes, sockets, complete }) => ({ nodes, sockets, complete });
