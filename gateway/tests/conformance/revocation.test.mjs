// Tokens that are revoked: the official client is sent away and stays away, on every node, and the token is refused by
// all of them, whatever becomes of nodes and of Redis.

import assert from "node:assert/strict";
import { before, beforeEach, describe, test } from "node:test";
import { connectedAll, disconnectedAll, formed } from "./support/cluster.mjs";
import { TRANSPORTS } from "./support/client.mjs";
import { stage } from "./support/stage.mjs";
import { seconds, token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

const REFUSED = "the token has been revoked";
const ALL = (sockets, nodes) => ({ sockets, nodes, complete: true, missing: [] });

describe("revocation", () => {
  const on = stage();
  let redis;
  let nodes;
  let number = 0;

  before(async () => {
    redis = await on.redis();
    nodes = await Promise.all([1, 2].map(() => on.node({ config: { redis: { url: redis.url } } })));
  });

  beforeEach(async () => {
    await connectedAll(nodes);
    await formed(nodes);
  });

  /** A name that no other test has: what is revoked stays revoked. */
  const fresh = (what) => `${what}-${(number += 1)}`;
  const revoke = (node, body) => node.ops.api("/revoke", body);
  const everywhere = (options) => Promise.all(nodes.map((node) => on.connect(node, options)));

  async function assertSentAway(client) {
    assert.deepEqual((await client.next("disconnect"))[0], "io server disconnect");
    assert.equal(client.socket.active, false, "it does not come back by itself");
    assert.equal(client.count("connect"), 0);
  }

  async function assertRefused(node, options) {
    const error = await on.client(node, { reconnection: false, ...options }).refused();
    assert.equal(error.message, REFUSED);
  }

  for (const [way, transports] of Object.entries(TRANSPORTS)) {
    test(`one token by its jti, ${way}`, async () => {
      const [sub, jti] = [fresh("user"), fresh("token")];
      const [revoked, other] = [token({ sub, jti }), token({ sub, jti: `${jti}-other` })];
      const gone = await everywhere({ token: revoked, transports });
      const stay = await everywhere({ token: other, transports });
      assert.deepEqual(await revoke(nodes[0], { jti, expires_at: seconds() + 600 }), ALL(2, 2));
      for (const client of gone) await assertSentAway(client);
      for (const node of nodes) {
        await assertRefused(node, { token: revoked, transports });
        await on.connect(node, { token: other, transports });
      }
      await nodes[1].publish({ room: `user:${sub}`, event: "still", data: 1 });
      for (const client of stay) assert.deepEqual(await client.next("still"), [1]);
    });

    test(`a user's tokens that were issued before, ${way}`, async () => {
      const [sub, now] = [fresh("user"), seconds()];
      const [old, unsaid] = [token({ sub, iat: now - 60 }), token({ sub, iat: undefined })];
      const [later, neighbour] = [token({ sub, iat: now }), token({ sub: fresh("user"), iat: now - 60 })];
      const gone = [...await everywhere({ token: old, transports }), await on.connect(nodes[1], { token: unsaid, transports })];
      const stay = [...await everywhere({ token: later, transports }), ...await everywhere({ token: neighbour, transports })];
      assert.deepEqual(await revoke(nodes[1], { user: sub, issued_before: now - 10 }), ALL(3, 2));
      for (const client of gone) await assertSentAway(client);
      for (const node of nodes) {
        await assertRefused(node, { token: old, transports });
        await assertRefused(node, { token: unsaid, transports });
        await on.connect(node, { token: later, transports });
        await on.connect(node, { token: neighbour, transports });
      }
      for (const node of nodes) await node.publish({ room: "system", event: "settled" });
      for (const client of stay) {
        await client.next("settled");
        assert.equal(client.count("disconnect"), 0);
      }
    });
  }

  test("a client that was sent away comes back with another token", async () => {
    const [sub, jti] = [fresh("user"), fresh("token")];
    let mine = token({ sub, jti });
    const client = await on.connect(nodes[0], { auth: (give) => give({ token: mine }) });
    await revoke(nodes[1], { jti });
    await assertSentAway(client);
    client.socket.connect();
    assert.equal((await client.refused()).message, REFUSED);
    mine = token({ sub, jti: `${jti}-new` });
    client.socket.connect();
    await client.connected();
  });

  test("in place of its token a client shows one that was revoked: refused, and it goes by the last that was not", async () => {
    const [sub, jti] = [fresh("user"), fresh("token")];
    const next = token({ sub, jti: `${jti}-next` });
    const client = await on.connect(nodes[0], { token: token({ sub, jti }) });
    await revoke(nodes[1], { jti: `${jti}-bad` });
    const refused = await client.ask("auth:refresh", { token: token({ sub, jti: `${jti}-bad` }) });
    assert.deepEqual(refused, { ok: false, code: "token_revoked", message: REFUSED });
    assert.equal((await client.ask("auth:refresh", { token: next })).ok, true);
    assert.deepEqual(await revoke(nodes[1], { jti }), ALL(0, 0));
    assert.deepEqual(await revoke(nodes[1], { jti: `${jti}-next` }), ALL(1, 1));
    await assertSentAway(client);
  });

  test("a node that restarts refuses from the first client on", async () => {
    const jti = fresh("token");
    const revoked = token({ jti });
    await revoke(nodes[0], { jti });
    for (const node of nodes) {
      await node.kill();
      await node.start();
      await assertRefused(node, { token: revoked });
    }
    // Nobody lives any more who was told.
    await Promise.all(nodes.map((node) => node.stop()));
    await Promise.all(nodes.map((node) => node.start()));
    for (const node of nodes) await assertRefused(node, { token: revoked });
  });

  test("a Redis that lost everything knows it again from the nodes that live, for those that start", async () => {
    const jti = fresh("token");
    const revoked = token({ jti });
    await revoke(nodes[0], { jti });
    await redis.stop();
    await redis.start();
    await connectedAll(nodes);
    await until("it was written again", () => isInRedis(jti));
    await nodes[1].stop();
    await nodes[1].start();
    for (const node of nodes) await assertRefused(node, { token: revoked });

    // Without a link that breaks, it is noticed with the next look.
    await redis.ask((ask) => ask.flushAll());
    await until("it was written again", () => isInRedis(jti), { within: 60_000 });
  });

  test("Redis away at the time: refused here at once, and by the others when it is back", async () => {
    const [sub, jti] = [fresh("user"), fresh("token")];
    const revoked = token({ sub, jti });
    const clients = await everywhere({ token: revoked });
    await redis.stop();
    await disconnectedAll(nodes);
    const answer = await revoke(nodes[0], { jti });
    assert.deepEqual({ sockets: answer.sockets, complete: answer.complete }, { sockets: 1, complete: false });
    await assertSentAway(clients[0]);
    await assertRefused(nodes[0], { token: revoked });
    await on.connect(nodes[1], { token: revoked }); // it cannot know
    assert.equal(clients[1].count("disconnect"), 0);
    await redis.start();
    await assertSentAway(clients[1]);
    await assertRefused(nodes[1], { token: revoked });
    assert.ok(await isInRedis(jti));
  });

  test("a node that hangs is named, and knows it when it goes on", async () => {
    const jti = fresh("token");
    const revoked = token({ jti });
    const clients = await everywhere({ token: revoked });
    const missing = [await nodes[1].id()];
    try {
      await nodes[1].child.freeze();
      assert.deepEqual(await revoke(nodes[0], { jti }), { sockets: 1, nodes: 1, complete: false, missing });
      await assertSentAway(clients[0]);
    } finally {
      nodes[1].child.thaw();
    }
    await assertSentAway(clients[1]);
    await assertRefused(nodes[1], { token: revoked });
  });

  test("what is revoked is counted, and stands in no log", async () => {
    const [sub, jti] = [fresh("user"), fresh("secret-token-id")];
    const client = await on.connect(nodes[0], { token: token({ sub, jti }) });
    const [ended, refused] = await counts();
    await revoke(nodes[1], { jti });
    await assertSentAway(client);
    await assertRefused(nodes[0], { token: token({ sub, jti }) });
    assert.deepEqual(await counts(), [ended + 1, refused + 1]);
    assert.ok((await nodes[0].ops.metric("roomcast_revocations")) >= 1);
    for (const node of nodes) assert.ok(!node.log.includes(jti));
  });

  const counts = () => Promise.all([
    nodes[0].ops.metric("roomcast_revoked_total"),
    nodes[0].ops.metric("roomcast_handshakes_total", { outcome: "token_revoked" }),
  ]);

  const isInRedis = (jti) => redis.ask((ask) => ask.zScore("roomcast:revoked", JSON.stringify({ jti })));
});
