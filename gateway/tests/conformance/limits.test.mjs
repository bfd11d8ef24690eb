// Limits: who is turned away and comes in later, whose socket is sent away, and what a client is told of its events.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as pace } from "node:timers/promises";
import { TRANSPORTS } from "./support/client.mjs";
import { connectedAll, formed } from "./support/cluster.mjs";
import { Flood } from "./support/flood.mjs";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

const OPEN = "/socket.io/?EIO=4&transport=polling";
const FAST = { reconnectionDelay: 50, reconnectionDelayMax: 200 };

describe("limits", () => {
  const on = stage();
  const start = (limits, more) => on.node({ config: { limits, ...more } });
  const limited = (node, limit) => node.ops.metric("roomcast_limited_total", { limit });
  const begin = (node, headers = {}) => fetch(node.url + OPEN, { headers, signal: AbortSignal.timeout(10_000) });

  for (const [way, transports] of Object.entries(TRANSPORTS)) {
    describe(way, () => {
      for (const [limit, status] of [["max_connections", 503], ["max_connections_per_ip", 429]]) {
        test(`${limit}: one too many is turned away, and comes in by itself when there is a seat`, async () => {
          const node = await start({ [limit]: 1 });
          const first = await on.connect(node, { token: token(), transports });
          const answer = await begin(node);
          assert.deepEqual([answer.status, answer.headers.get("retry-after")], [status, "5"]);
          assert.equal(answer.headers.get("connection"), "close");
          assert.equal(await answer.text(), limit);
          const second = on.client(node, { token: token(), transports, ...FAST });
          await second.refused();
          assert.equal(second.socket.active, true, "it goes on trying: this is no refusal of Socket.IO");
          first.close();
          await second.next("connect");
          assert.ok((await limited(node, limit)) >= 2);
          assert.ok((await node.ops.metric("roomcast_handshakes_total", { outcome: "limited" })) >= 2);
        });
      }

      test("handshakes_per_second: a wave is let in by and by, each client by itself", async () => {
        const node = await start({ handshakes_per_second: 10 });
        const clients = Array.from({ length: 30 }, (_, n) =>
          on.client(node, { token: token({ sub: `u${n}` }), transports, ...FAST }));
        await until("all are in", () => clients.every((client) => client.socket.connected), { within: 30_000 });
        assert.ok((await limited(node, "handshakes_per_second_address")) > 0);
      });

      test("max_connections_per_user: the oldest goes for good, the newest stay", async () => {
        const node = await start({ max_connections_per_user: 2 });
        const connect = () => on.connect(node, { token: token(), transports });
        const [first, second, third] = [await connect(), await connect(), await connect()];
        assert.deepEqual((await first.next("disconnect"))[0], "io server disconnect");
        assert.equal(first.socket.active, false, "it does not come back by itself");
        await until("two are counted", async () => (await node.ops.stats()).node.connected === 2);
        assert.equal((await node.publish({ room: "user:u1", event: "news", data: 1 })).sockets, 2);
        for (const client of [second, third]) assert.deepEqual(await client.next("news"), [1]);
        assert.equal(await limited(node, "max_connections_per_user"), 1);
      });

      test("max_connections_per_user, refuse: the new one is told why", async () => {
        const node = await start({ max_connections_per_user: 1, user_overflow: "refuse" });
        const first = await on.connect(node, { token: token(), transports });
        const second = on.client(node, { token: token(), transports });
        assert.equal((await second.refused()).message, "the user has too many connections");
        assert.equal(first.socket.connected, true);
      });

      test("events_per_second: with an ack each is answered, without one a notice a second", async () => {
        const node = await start({ events_per_second: 5 });
        const client = await on.connect(node, { token: token({ contacts: ["*"] }), transports });
        const answers = await Promise.all(Array.from({ length: 50 }, () => client.ask("ping")));
        const refused = answers.filter((answer) => answer.ok === false);
        assert.ok(refused.length > 0 && refused.length < 50, `${refused.length}`);
        for (const { retryAfter, ...answer } of refused) {
          const message = "too many events, send them more slowly";
          assert.deepEqual(answer, { ok: false, code: "rate_limited", message, retry: true });
          assert.ok(Number.isInteger(retryAfter) && retryAfter >= 1 && retryAfter <= 1000, `${retryAfter}`);
        }
        assert.equal(client.count("limit:exceeded"), 0, "who asked for answers gets answers");
        for (let n = 0; n < 200; n += 1) client.emit("subscribe:contact", `${n}`);
        const [notice] = await until("a notice", () => {
          client.emit("subscribe:contact", "more");
          return client.count("limit:exceeded") > 0 && client.next("limit:exceeded");
        });
        assert.deepEqual(notice, {
          limit: "events_per_second", event: "subscribe:contact", code: "rate_limited",
          message: "too many events, send them more slowly",
        });
        assert.ok(client.count("limit:exceeded") <= 2, "no flood of answers");
        const answer = await until("it is let through again", async () => {
          const answer = await client.ask("subscribe:contact", "last");
          return answer.ok && answer;
        });
        assert.deepEqual(answer, { ok: true, room: "contact:last" });
        const [{ rooms }] = (await node.ops.api("/users/u1")).sockets;
        assert.ok(rooms.length < 50, `what was dropped entered nothing: ${rooms.length}`);
      });

      test("max_event_bytes: a long event is answered, a far too long one ends the connection", async () => {
        const node = await start({ max_event_bytes: "2KiB" });
        const client = await on.connect(node, { token: token(), transports, ...FAST });
        assert.ok((await client.ask("ping", "x".repeat(1900))).timestamp);
        const expected = { ok: false, code: "event_too_large", message: "the event is too large", retry: false };
        assert.deepEqual(await client.ask("ping", "x".repeat(2100)), expected);
        assert.deepEqual(await client.ask("ping", Buffer.alloc(3000)), expected, "bytes count");
        client.emit("subscribe:contact", "x".repeat(2100));
        const [notice] = await client.next("limit:exceeded");
        assert.deepEqual([notice.limit, notice.code], ["max_event_bytes", "event_too_large"]);
        client.emit("ping", "x".repeat(1 << 20));
        assert.match((await client.next("disconnect"))[0], /^transport (close|error)$/);
        await client.next("connect");
      });

      test("max_rooms_per_socket: one more is refused until one is left", async () => {
        const node = await start({ max_rooms_per_socket: 3 });
        const client = await on.connect(node, { token: token({ contacts: ["*"] }), transports }); // user:u1, system
        assert.equal((await client.ask("subscribe:contact", "1")).ok, true);
        const answer = await client.ask("subscribe:contact", "2");
        assert.deepEqual([answer.ok, answer.code], [false, "too_many_rooms"]);
        client.emit("subscribe:contact", "2");
        assert.equal((await client.next("subscribe:error"))[0].code, "too_many_rooms");
        await client.ask("unsubscribe:contact", "1");
        assert.equal((await client.ask("subscribe:contact", "2")).ok, true);
      });
    });
  }

  test("a trusted proxy says whose a session is, in limits and in the log", async () => {
    const node = await start({ max_connections_per_ip: 1 }, { server: { trusted_proxies: ["127.0.0.0/8"] } });
    const from = (address) => ({ token: token(), extraHeaders: { "x-forwarded-for": address }, reconnection: false });
    await on.connect(node, from("203.0.113.7"));
    await on.client(node, from("6.6.6.6, 203.0.113.7")).refused();
    await on.connect(node, from("203.0.113.8"));
    assert.equal((await begin(node, { "x-forwarded-for": "203.0.113.7" })).status, 429);
    assert.match(node.log, /"connected".*"peer":"203\.0\.113\.7"|"peer":"203\.0\.113\.7".*"connected"/);
  });

  test("max_connections_per_user holds over two nodes", async () => {
    const redis = await on.redis();
    const config = { redis: { url: redis.url }, limits: { max_connections_per_user: 2 } };
    const nodes = await Promise.all([1, 2].map(() => on.node({ config })));
    await connectedAll(nodes);
    await formed(nodes);
    const first = await on.connect(nodes[0], { token: token() });
    const second = await on.connect(nodes[1], { token: token() });
    const third = await on.connect(nodes[1], { token: token() });
    assert.equal((await first.next("disconnect"))[0], "io server disconnect", "the oldest, on the other node");
    // Both at once, each on its own node: one more of the oldest for each, and both stay.
    const tabs = await Promise.all(nodes.map((node) => on.connect(node, { token: token() })));
    for (const client of [second, third]) assert.equal((await client.next("disconnect"))[0], "io server disconnect");
    await until("two are left", async () => (await nodes[0].ops.stats()).cluster.connected === 2);
    assert.ok(tabs.every((client) => client.socket.connected && client.count("disconnect") === 0));
  });

  test("a flood from one address keeps nobody else out", async (t) => {
    const node = await start({ handshakes_per_second: 100 }, { log: { level: "info" } });
    // Ten each second: far less than the half that others have.
    const waves = async (label) => {
      const times = [];
      for (let n = 0; n < 40; n += 1) {
        const began = performance.now();
        const client = on.client(node, { token: token({ sub: `${label}${n}` }), transports: n % 2 ? ["polling"] : ["websocket"] });
        await client.connected(); // a refusal is an error: each gets in with its first attempt
        times.push(performance.now() - began);
        await pace(100);
      }
      on.closeClients();
      return times.sort((a, b) => a - b);
    };
    const alone = await waves("a");
    const flood = on.keep(new Flood(node, "127.0.0.2"));
    await until("the flood is on", async () => (await limited(node, "handshakes_per_second_address")) > 50);
    const beside = await waves("b");
    const answers = await flood.stop();
    const accepted = answers[200];
    const refused = answers[429];
    assert.ok(accepted > 0 && refused > 500, JSON.stringify(answers));
    assert.deepEqual(Object.keys(answers).filter((status) => !["200", "429"].includes(status)), [], JSON.stringify(answers));
    assert.equal(await limited(node, "handshakes_per_second"), 0, "the node's own limit was never reached");
    const warnings = node.log.split("\n").filter((line) => line.includes("new sessions are turned away"));
    assert.ok(warnings.length > 0 && warnings.length <= 60, `${warnings.length} warnings`);
    const at = (times, share) => times[Math.min(times.length - 1, Math.floor(times.length * share))].toFixed(1);
    t.diagnostic(`alone: p50 ${at(alone, 0.5)} ms, p99 ${at(alone, 0.99)} ms`);
    t.diagnostic(`beside the flood: p50 ${at(beside, 0.5)} ms, p99 ${at(beside, 0.99)} ms`);
    t.diagnostic(`the flood: ${accepted} accepted, ${refused} refused`);
  });
});
