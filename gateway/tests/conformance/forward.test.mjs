// Clients' events for backends, by the stream and by the webhook, and the answers back: on two nodes, with real backends.

import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { connectedAll, disconnectedAll, formed } from "./support/cluster.mjs";
import { Inbound } from "./support/inbound.mjs";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";
import { until } from "./support/until.mjs";
import { WEBHOOK_SECRET, Webhook } from "./support/webhook.mjs";

const POLICY = `
[identity]
user = "claims.sub"
tenant = "claims.tenant_id"

[[join]]
room = "user:{user}"

[[subscribe]]
event = "enter"
room = "{arg}"
allow = "true"

[[forward]]
event = "ask"
to = "stream"
timeout = "2s"

[[forward]]
event = "tell"
to = "stream"
answer = false

[[forward]]
event = "made"
to = "stream"
answer = false
allow = "data.n > 0"
data = { n = "{data.n}", by = "{user}", at = "{now_ms}" }

[[forward]]
event = "call"
to = "webhook"
timeout = "2s"

[[forward]]
event = "again"
to = "webhook"
timeout = "3s"
idempotent = true

[[forward]]
event = "seldom"
to = "webhook"
rate = "1/m"
`;

const WAYS = { websocket: ["websocket"], polling: ["polling"] };
const unavailable = { ok: false, code: "backend_unavailable", message: "the backend cannot be reached now, try again later", retry: true };
const timedOut = { ok: false, code: "backend_timeout", message: "the backend did not answer in time and may have done it or not", retry: true };
const failed = { ok: false, code: "backend_failed", message: "the backend failed, try again later", retry: true };
const refused = { ok: false, code: "backend_refused", message: "the backend refused it", retry: false };

describe("forward", () => {
  const on = stage();
  let redis, webhook, nodes;
  const backends = [];

  before(async () => {
    [redis, webhook] = [await on.redis(), await Webhook.start()];
    const config = { redis: { url: redis.url }, webhook: { url: webhook.url, secret: WEBHOOK_SECRET, breaker_pause: "1s" } };
    nodes = await Promise.all([1, 2].map(() => on.node({ policy: POLICY, config })));
  });

  after(() => webhook.stop());

  beforeEach(async () => {
    while (backends.length) await backends.pop().close();
    webhook.answers(200, {});
    webhook.requests.length = 0;
    await formed(nodes);
    await connectedAll(nodes);
    await closed();
  });

  after(async () => {
    while (backends.length) await backends.pop().close();
  });

  /** The breaker lets requests through. */
  async function closed() {
    for (const node of nodes) {
      await until("the breaker is closed", async () => {
        if ((await node.ops.metric("roomcast_webhook_circuit_open")) === 0) return true;
        const client = await connect(nodes.indexOf(node));
        await client.ask("call");
        client.close();
      });
    }
    webhook.requests.length = 0;
  }

  const connect = (n, options = {}) => {
    const { claims = { sub: "ann", tenant_id: "acme" }, transports = ["websocket"] } = options;
    return on.connect(nodes[n], { token: token(claims), transports });
  };

  async function inbound(handle = () => {}) {
    const backend = await Inbound.start(redis, handle);
    backends.push(backend);
    return backend;
  }

  const reply = (n, body) => nodes[n].ops.post("/api/v1/reply", body);

  const counted = (n, to, outcome) => nodes[n].ops.metric("roomcast_forwarded_total", { to, outcome });

  for (const [way, transports] of Object.entries(WAYS)) {
    describe(way, () => {
      test("an entry holds what was sent as it was sent, who sent it, and where the answer is waited for", async () => {
        const backend = await inbound(({ id, reply }, redis) => redis.call(reply, { event: id, data: { done: 1 } }));
        const client = await connect(0, { transports });
        assert.deepEqual(await client.ask("ask", { text: "é", list: [1, 2.5] }), { done: 1 });
        const [{ deadline, claims, id, ...entry }] = backend.entries;
        assert.deepEqual(entry, {
          event: "ask", data: '{"text":"é","list":[1,2.5]}', user: "ann", tenant: "acme", session: client.socket.id,
          reply: `roomcast:reply:${await nodes[0].id()}`,
        });
        assert.ok(id.startsWith(`${await nodes[0].id()}-`), id);
        assert.equal(JSON.parse(claims).sub, "ann");
        assert.ok(Math.abs(Number(deadline) - Date.now() - 2000) < 2000, deadline);
      });

      test("several arguments, none, and bytes", async () => {
        const backend = await inbound();
        const client = await connect(1, { transports });
        await client.ask("tell", "a", { b: 1 });
        await client.ask("tell");
        await client.ask("tell", { file: Buffer.from([1, 2]) });
        await until("all are in the stream", () => backend.entries.length === 3);
        const [several, none, bytes] = backend.entries;
        assert.deepEqual([several.data, several.args], ['"a"', '["a",{"b":1}]']);
        assert.deepEqual([none.data, none.args, none.reply], ["null", undefined, undefined]);
        assert.deepEqual(JSON.parse(bytes.data), { file: { $binary: "AQI=" } });
      });

      test("a webhook's answer is the acknowledgement", async () => {
        webhook.does = (body, response) => response.end(JSON.stringify({ got: body.data, list: [1] }));
        const client = await connect(0, { transports });
        assert.deepEqual(await client.ask("call", { a: 1 }), { got: { a: 1 }, list: [1] });
        const [{ id, body }] = webhook.requests;
        const { time, claims, ...rest } = body;
        assert.deepEqual(rest, { type: "event", id, event: "call", data: { a: 1 }, user: "ann", tenant: "acme", session: client.socket.id });
        assert.equal(claims.tenant_id, "acme");
        assert.ok(Math.abs(Date.parse(time) - Date.now()) < 10_000);
        assert.equal(Object.keys(body)[0], "type");
        assert.deepEqual(webhook.forged, []);
      });
    });
  }

  describe("the stream", () => {
    test("all ways to answer, by either node, and bytes in the answer", async () => {
      const ways = [
        ({ id, reply: room }, redis) => redis.call(room, { event: id, data: { by: "function" } }),
        ({ id, reply: room }, redis) => redis.publish({ room, event: id, data: { by: "channel" } }),
        ({ id, reply: room }, redis) => redis.append({ room, event: id, data: { by: "stream" } }),
        ({ id, reply: room }) => nodes[1].publish({ room, event: id, data: { by: "publish" } }),
        ({ id }) => reply(1, { id, data: { by: "reply" } }),
        ({ id }) => reply(0, { id, args: [{ by: "own node" }, 2] }),
        ({ id }) => reply(1, { id, data: { by: { $binary: "AQI=" } } }),
        ({ id }) => reply(1, { id }),
      ];
      await inbound((entry, redis) => ways.shift()(entry, redis));
      const client = await connect(0);
      for (const by of ["function", "channel", "stream", "publish", "reply"]) {
        assert.deepEqual(await client.ask("ask"), { by });
      }
      const both = await new Promise((resolve) => client.socket.emit("ask", (...args) => resolve(args)));
      assert.deepEqual(both, [{ by: "own node" }, 2]);
      assert.deepEqual(await client.ask("ask"), { by: Buffer.from([1, 2]) });
      assert.deepEqual(await client.ask("ask"), undefined);
    });

    test("the publisher is told whether somebody waits, and a second answer is counted", async () => {
      const seen = [];
      await inbound(async ({ id, reply: room }, redis) => {
        seen.push(await (await reply(1, { id, data: 1 })).json());
        const again = await reply(1, { id, data: 2 });
        seen.push(again.status, (await again.json()).code);
        seen.push((await nodes[1].publish({ room, event: id, data: 3 })).sockets);
        seen.push((await redis.call(room, { event: id, data: 4 }))[1]);
      });
      const before = await nodes[0].ops.metric("roomcast_dropped_total", { reason: "forward_reply_late" });
      const client = await connect(0);
      assert.equal(await client.ask("ask"), 1);
      await until("all are answered", () => seen.length === 5);
      assert.deepEqual(seen, [{ sockets: 1 }, 404, "not_waited_for", 0, 1]);
      await until("they are counted", async () =>
        (await nodes[0].ops.metric("roomcast_dropped_total", { reason: "forward_reply_late" })) === before + 3);
      for (const id of ["nonsense", `${"x".repeat(16)}-1`]) assert.equal((await reply(0, { id })).status, 404);
      for (const body of ["{}", "[]", { id: "a", data: 1, args: [] }, { id: "a", other: 1 }]) {
        assert.equal((await reply(0, body)).status, 422, JSON.stringify(body));
      }
    });

    test("what one client sends stands in the stream in its order", async () => {
      const backend = await inbound();
      const clients = [await connect(0), await connect(1)];
      const acks = clients.flatMap((client, c) => Array.from({ length: 100 }, (_, n) => client.ask("tell", [c, n])));
      const ids = await Promise.all(acks);
      assert.ok(ids.every(({ ok, id }) => ok === true && typeof id === "string"));
      assert.equal(new Set(ids.map(({ id }) => id)).size, 200);
      await until("all are in the stream", () => backend.entries.length === 200);
      for (const c of [0, 1]) {
        const numbers = backend.entries.map(({ data }) => JSON.parse(data)).filter(([of]) => of === c).map(([, n]) => n);
        assert.deepEqual(numbers, Array.from({ length: 100 }, (_, n) => n));
      }
    });

    test("nobody answers: the client is told, and the late answer reaches nobody", async () => {
      const backend = await inbound();
      const client = await connect(0);
      assert.deepEqual(await client.ask("ask", 1), timedOut);
      assert.equal((await reply(1, { id: backend.entries[0].id, data: 1 })).status, 404);
    });

    test("a policy's conditions and its own data", async () => {
      const backend = await inbound();
      const client = await connect(0);
      assert.deepEqual(await client.ask("made", { n: 0 }), { ok: false, code: "not_allowed", message: "not allowed" });
      assert.equal((await client.ask("made", { n: 2, more: 1 })).ok, true);
      await until("it is in the stream", () => backend.entries.length === 1);
      const { at, ...data } = JSON.parse(backend.entries[0].data);
      assert.deepEqual(data, { n: 2, by: "ann" });
      assert.ok(Math.abs(at - Date.now()) < 10_000);
      // What is made to look like bytes is no argument.
      for (const data of [{ $binary: "AQI=" }, { n: 1, x: [{ $binary: 1 }] }]) {
        assert.equal((await client.ask("tell", data)).code, "bad_data");
      }
    });

    test("nobody can be in a room of answers", async () => {
      const client = await connect(0);
      const room = `roomcast:reply:${await nodes[0].id()}`;
      assert.equal((await client.ask("enter", room)).code, "bad_argument");
      const response = await nodes[0].ops.post("/api/v1/join", { session: client.socket.id, rooms: [room] });
      assert.deepEqual([response.status, (await response.json()).code], [422, "bad_room"]);
    });

    test("a flood is bounded, and each of it is answered", async () => {
      await inbound();
      const client = await connect(0);
      const acks = await Promise.all(Array.from({ length: 1000 }, (_, n) => client.ask("ask", n)));
      const codes = acks.map(({ code }) => code);
      assert.equal(codes.filter((code) => code === "backend_timeout").length, 256);
      assert.equal(codes.filter((code) => code === "backend_unavailable").length, 744);
    });

    test("without Redis it is said at once, and works again with it", async () => {
      const client = await connect(0);
      await redis.stop();
      await disconnectedAll(nodes);
      const began = performance.now();
      assert.deepEqual(await client.ask("ask", 1), unavailable);
      assert.deepEqual(await client.ask("tell", 1), unavailable);
      assert.ok(performance.now() - began < 1500, "nobody waits");
      await redis.start();
      await connectedAll(nodes);
      await inbound(({ id, reply }, redis) => redis.call(reply, { event: id, data: "back" }));
      await until("it works again", async () => (await client.ask("ask", 1)) === "back");
    });

    test("Redis that dies or hangs on the way leaves nobody without an answer", async () => {
      const client = await connect(0);
      const waiting = [1, 2, 3].map((n) => client.ask("ask", n));
      await until("they are in the stream", async () => (await redis.ask((r) => r.xLen("roomcast:inbound"))) > 0);
      await redis.stop();
      for (const ack of await Promise.all(waiting)) assert.equal(ack.retry, true, JSON.stringify(ack));
      await redis.start();
      await connectedAll(nodes);
      await redis.freeze();
      const frozen = await Promise.all([client.ask("ask", 1), client.ask("tell", 1)]);
      redis.thaw();
      for (const ack of frozen) assert.deepEqual([ack.ok, ack.retry], [false, true], JSON.stringify(ack));
      await connectedAll(nodes);
    });
  });

  describe("the webhook", () => {
    test("what it says no to, in its own words", async () => {
      const client = await connect(0);
      for (const [status, body, expect] of [
        [200, "", { ok: true }],
        [204, "", { ok: true }],
        [202, "[1]", [1]],
        [409, { code: "taken", message: "somebody was faster" }, { ok: false, code: "taken", message: "somebody was faster" }],
        [404, "<html>", refused],
        [200, "<html>", failed],
        [302, "", failed],
        [200, `"${"x".repeat(2 << 20)}"`, failed],
      ]) {
        webhook.answers(status, body);
        assert.deepEqual(await client.ask("call", 1), expect, `${status} ${String(body).slice(0, 20)}`);
      }
    });

    test("one client's calls go one after the other, and others do not wait for them", async () => {
      const [ann, bob] = [await connect(0), await connect(0, { claims: { sub: "bob" } })];
      const open = [];
      webhook.does = ({ user, data }, response) => {
        if (user === "bob") return response.end('"bob"');
        open.push([data, response]);
      };
      const acks = [1, 2, 3].map((n) => ann.ask("call", n));
      for (const n of [1, 2, 3]) {
        await until("it is there", () => open.length === n);
        assert.equal(await bob.ask("call", 0), "bob");
        assert.equal((await ann.ask("tell", n)).ok, true);
        assert.equal(open.length, n, "the next one waits");
        open[n - 1][1].end(String(open[n - 1][0]));
        assert.equal(await acks[n - 1], n);
      }
    });

    test("too many of one client are refused, and each of them is answered", async () => {
      const client = await connect(0);
      webhook.does = (body, response) => setTimeout(() => response.end("1"), 20);
      const acks = await Promise.all(Array.from({ length: 60 }, (_, n) => client.ask("call", n)));
      const done = acks.filter((ack) => ack === 1).length;
      assert.ok(done >= 17, String(done));
      assert.ok(acks.every((ack) => ack === 1 || ack.code === "backend_unavailable"));
      assert.deepEqual(webhook.requests.map(({ body }) => body.data).toSorted((a, b) => a - b), webhook.requests.map(({ body }) => body.data));
    });

    test("it is slow: the client is told in time", async () => {
      webhook.does = () => {};
      const client = await connect(0);
      const began = performance.now();
      assert.deepEqual(await client.ask("call", 1), timedOut);
      assert.ok(performance.now() - began < 5000);
    });

    test("only what may be repeated is repeated, under the same id", async () => {
      const client = await connect(0);
      let fails = 2;
      webhook.does = (_, response) => {
        response.statusCode = fails-- > 0 ? 503 : 200;
        response.end('"done"');
      };
      assert.equal(await client.ask("again", 1), "done");
      assert.equal(new Set(webhook.requests.map(({ id }) => id)).size, 1);
      assert.equal(webhook.requests.length, 3);
      fails = 1;
      assert.deepEqual(await client.ask("call", 1), failed);
      assert.equal(webhook.requests.length, 4);
    });

    test("it fails again and again, is left alone, and comes back", async () => {
      const client = await connect(0);
      assert.deepEqual(await client.ask("call", 0), {});
      webhook.answers(500);
      for (let n = 0; n < 5; n++) assert.deepEqual(await client.ask("call", n), failed);
      assert.equal(await nodes[0].ops.metric("roomcast_webhook_circuit_open"), 1);
      for (let n = 0; n < 20; n++) await client.ask("call", n);
      assert.ok(webhook.requests.length < 12, String(webhook.requests.length));
      await webhook.stop();
      for (let n = 0; n < 3; n++) assert.deepEqual(await client.ask("call", n), unavailable);
      await webhook.start();
      webhook.answers(200, '"back"');
      await until("it answers again", async () => (await client.ask("call", 1)) === "back");
      assert.equal(await nodes[0].ops.metric("roomcast_webhook_circuit_open"), 0);
    });

    test("a rule's rate, and events without an ack", async () => {
      const client = await connect(0);
      const before = await counted(0, "webhook", "answered");
      client.emit("seldom", 1);
      assert.equal((await client.ask("seldom", 2)).code, "rate_limited");
      await until("the first went its way", async () => (await counted(0, "webhook", "answered")) === before + 1);
      webhook.answers(400);
      const dropped = await nodes[0].ops.metric("roomcast_dropped_total", { reason: "forward_failed" });
      client.emit("call", 1);
      await until("a refusal that nobody asked for is counted", async () =>
        (await nodes[0].ops.metric("roomcast_dropped_total", { reason: "forward_failed" })) === dropped + 1);
    });

    test("what a client sent before it went goes its way", async () => {
      const client = await connect(0);
      client.emit("call", "last");
      client.close();
      await until("it is there", () => webhook.requests.some(({ body }) => body.data === "last"));
    });

    test("neither the secret nor what is in the URL's query stands in a log", () => {
      for (const node of nodes) {
        assert.ok(!node.log.includes("not-for-logs") && !node.log.includes(WEBHOOK_SECRET.slice(6)));
      }
    });
  });

  test("a node that stops tells who waits", async () => {
    await inbound();
    const node = await on.node({ policy: POLICY, config: { redis: { url: redis.url }, webhook: { url: webhook.url, secret: WEBHOOK_SECRET } } });
    const client = await on.connect(node, { token: token(), transports: ["websocket"], reconnection: false });
    const waiting = client.ask("ask", 1);
    await until("it is on its way", async () => (await redis.ask((r) => r.xLen("roomcast:inbound"))) > 0);
    await client.ask("tell", 1);
    const [ack] = await Promise.all([waiting, node.stop()]);
    assert.deepEqual(ack, timedOut);
  });
});
