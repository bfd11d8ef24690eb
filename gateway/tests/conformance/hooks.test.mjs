// What the backend is asked about clients: whether one may connect, and whether one may enter a room. In doubt: no.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { connectedAll, formed } from "./support/cluster.mjs";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";
import { until } from "./support/until.mjs";
import { WEBHOOK_SECRET, Webhook } from "./support/webhook.mjs";

const policy = (more = "") => `
[identity]
user = "claims.sub"
tenant = "claims.tenant_id"

[[join]]
room = "user:{user}"

[[subscribe]]
event = "enter"
leave = "leave"
room = "room:{arg}"
allow = "arg in claims.list"
ask = "webhook"

[[subscribe]]
event = "enter:asked"
room = "asked:{arg}"
ask = "webhook"

[[reply]]
event = "ping"
ack = { pong = true }
${more}`;

const WAYS = { websocket: ["websocket"], polling: ["polling"] };
const REFUSED = "the backend refused the connection";
const UNAVAILABLE = "the backend cannot be asked now, try again later";

describe("hooks", () => {
  const on = stage();
  let redis, webhook, nodes, lenient;

  /** Answers each kind of question in a way of its own. */
  const answers = (ways) => {
    webhook.does = ({ type, ...body }, response) => {
      const answer = ways[type]?.(body, response) ?? { allow: true };
      if (answer !== "nothing") response.end(typeof answer === "string" ? answer : JSON.stringify(answer));
    };
  };

  before(async () => {
    [redis, webhook] = [await on.redis(), await Webhook.start()];
    const config = (hooks) => ({
      redis: { url: redis.url },
      hooks: { connect: "webhook", connect_timeout: "1s", ...hooks },
      webhook: { url: webhook.url, secret: WEBHOOK_SECRET, timeout: "1s", breaker_failures: 0 },
    });
    nodes = await Promise.all([1, 2].map(() => on.node({ policy: policy(), config: config({}) })));
    lenient = await on.node({ policy: policy(), config: config({ on_failure: "allow" }) });
  });

  after(() => webhook.stop());

  beforeEach(async () => {
    answers({});
    webhook.requests.length = 0;
    await formed([...nodes, lenient]);
    await connectedAll(nodes);
  });

  const claims = { sub: "ann", tenant_id: "acme", list: ["1"] };
  const client = (node, { transports = ["websocket"], ...more } = {}) => on.client(node, { token: token(claims), transports, ...more });
  const connect = (node, options) => client(node, options).connected();
  const asked = (type) => webhook.requests.filter(({ body }) => body.type === type).map(({ body }) => body);
  const reached = async (room) => (await nodes[1].publish({ room, event: "e" })).sockets;

  for (const [way, transports] of Object.entries(WAYS)) {
    test(`${way}: the backend is asked who connects, and adds rooms that are open by then`, async () => {
      answers({ connect: () => ({ allow: true, rooms: ["vip", "user:ann", "vip"] }) });
      const ann = await connect(nodes[0], { transports, query: { page: "7" } });
      assert.deepEqual([await reached("vip"), await reached("user:ann")], [1, 1]);
      const [{ claims: seen, id, ...body }] = asked("connect");
      assert.deepEqual(body, {
        type: "connect", query: { page: "7" }, address: body.address, user: "ann", tenant: "acme", session: ann.socket.id,
      });
      assert.match(body.address, /^(127\.0\.0\.1|::1|::ffff:127\.0\.0\.1)/);
      assert.equal(id, webhook.requests[0].id);
      assert.deepEqual(seen.list, ["1"]);
      assert.deepEqual(webhook.forged, []);
    });

    test(`${way}: it says no, or nothing that is a yes`, async () => {
      for (const [answer, message] of [
        [{ allow: false }, REFUSED],
        [{ allow: false, code: "banned", message: "for a week" }, REFUSED],
        [{}, UNAVAILABLE],
        [{ allow: "true" }, UNAVAILABLE],
        ["<html>", UNAVAILABLE],
        ["", UNAVAILABLE],
        [{ allow: true, rooms: ["{}"] }, UNAVAILABLE],
        [{ allow: true, rooms: [`roomcast:reply:${await nodes[0].id()}`] }, UNAVAILABLE],
        [{ allow: true, rooms: Array.from({ length: 129 }, (_, n) => `r${n}`) }, UNAVAILABLE],
      ]) {
        answers({ connect: () => answer });
        const refused = await client(nodes[0], { transports }).refused();
        assert.equal(refused.message, message, JSON.stringify(answer));
      }
      assert.equal((await nodes[0].ops.stats()).node.connected, 0);
    });
  }

  test("a bad token is refused before anybody is asked", async () => {
    const refused = await on.client(nodes[0], { token: token(claims, { key: "x".repeat(64) }) }).refused();
    assert.match(refused.message, /signature/);
    assert.deepEqual(asked("connect"), []);
  });

  test("it is slow, fails or is gone: refused in time, or let in without its rooms", async () => {
    const trouble = {
      slow: () => answers({ connect: () => "nothing" }),
      fails: () => webhook.answers(500),
      refuses: () => webhook.answers(403, { allow: true }),
    };
    for (const [name, begin] of Object.entries(trouble)) {
      begin();
      const began = performance.now();
      assert.equal((await client(nodes[0]).refused()).message, UNAVAILABLE, name);
      await connect(lenient);
      assert.ok(performance.now() - began < 8000, name);
    }
    await webhook.stop();
    assert.equal((await client(nodes[0]).refused()).message, UNAVAILABLE);
    await connect(lenient);
    await webhook.start();
    answers({});
    await connect(nodes[0]);
    assert.ok((await nodes[0].ops.metric("roomcast_handshakes_total", { outcome: "hook_unavailable" })) >= 4);
  });

  test("it is asked for rooms where the policy does not say yes", async () => {
    answers({ subscribe: ({ arg }) => (arg === "2" ? { allow: true } : { allow: false, code: "sold_out", message: "no seat left" }) });
    const ann = await connect(nodes[0]);
    assert.deepEqual(await ann.ask("enter", "1"), { ok: true, room: "room:1" });
    assert.deepEqual(asked("subscribe"), [], "the policy said yes");
    assert.deepEqual(await ann.ask("enter", "2"), { ok: true, room: "room:2" });
    assert.equal(await reached("room:2"), 1);
    assert.deepEqual(await ann.ask("enter", "3"), { ok: false, code: "sold_out", message: "no seat left" });
    ann.emit("enter", "4");
    assert.deepEqual(await ann.next("subscribe:error"), [{ event: "enter", code: "sold_out", message: "no seat left" }]);
    assert.deepEqual(await ann.ask("enter:asked", "2"), { ok: true, room: "asked:2" });
    const [{ claims: seen, id, ...body }] = asked("subscribe");
    assert.deepEqual(body, {
      type: "subscribe", event: "enter", room: "room:2", arg: "2", user: "ann", tenant: "acme", session: ann.socket.id,
    });
    assert.equal(await reached("room:3"), 0);
    assert.equal((await ann.ask("enter", { no: "name" })).code, "bad_argument");
    assert.equal(asked("subscribe").length, 4, "what names no room is not asked for");
  });

  test("no answer is no room, and can be tried again", async () => {
    const ann = await connect(nodes[0]);
    for (const [name, begin] of Object.entries({
      slow: () => answers({ subscribe: () => "nothing" }),
      fails: () => webhook.answers(500),
      rubbish: () => webhook.answers(200, "<html>"),
    })) {
      begin();
      assert.equal((await ann.ask("enter", "2")).code, "backend_unavailable", name);
    }
    answers({ subscribe: () => ({ allow: false }) });
    assert.deepEqual(await ann.ask("enter", "2"), { ok: false, code: "not_allowed", message: "not allowed" });
    answers({});
    assert.deepEqual(await ann.ask("enter", "2"), { ok: true, room: "room:2" });
  });

  test("later events of the client wait, in their order, and others do not", async () => {
    let open;
    answers({ subscribe: (_, response) => ((open = response), "nothing") });
    const [ann, bob] = [await connect(nodes[0]), await connect(nodes[0])];
    const order = [];
    const note = (name) => () => order.push(name);
    const all = [ann.ask("enter", "2").then(note("enter")), ann.ask("ping").then(note("ping")), ann.ask("leave", "2").then(note("leave"))];
    await until("it is asked", () => open);
    assert.deepEqual(await bob.ask("ping"), { pong: true });
    assert.deepEqual(order, []);
    open.end('{"allow":true}');
    await Promise.all(all);
    assert.deepEqual(order, ["enter", "ping", "leave"]);
    assert.equal(await reached("room:2"), 0);
  });

  test("who goes while the backend is asked joins nothing", async () => {
    let open;
    answers({ subscribe: (_, response) => ((open = response), "nothing") });
    const ann = await connect(nodes[0]);
    ann.emit("enter", "2");
    await until("it is asked", () => open);
    ann.close();
    await until("it is gone", async () => (await nodes[0].ops.stats()).node.connected === 0);
    open.end('{"allow":true}');
    assert.equal(await reached("room:2"), 0);
  });

  test("what the backend gave stays when the policy changes, until it or the client takes it away", async () => {
    answers({ connect: () => ({ allow: true, rooms: ["user:ann", "vip"] }) });
    const ann = await connect(nodes[0]);
    for (const arg of ["1", "2"]) assert.equal((await ann.ask("enter", arg)).ok, true);
    const before = await nodes[0].ops.metric("roomcast_reload_total", { outcome: "applied" });
    const changed = policy().replace("arg in claims.list", "false").replace('room = "user:{user}"', 'room = "new:{user}"');
    writeFileSync(join(nodes[0].folder, "policy.toml"), changed);
    nodes[0].child.signal("SIGHUP");
    await until("the policy is in force", async () =>
      (await nodes[0].ops.metric("roomcast_reload_total", { outcome: "applied" })) === before + 1);
    const counts = {};
    for (const room of ["user:ann", "new:ann", "vip", "room:1", "room:2"]) counts[room] = await reached(room);
    assert.deepEqual(counts, { "user:ann": 1, "new:ann": 1, vip: 1, "room:1": 0, "room:2": 1 });
    await nodes[1].ops.api("/leave", { session: ann.socket.id, rooms: ["vip"] });
    assert.deepEqual(await ann.ask("leave", "2"), { ok: true, room: "room:2" });
    assert.deepEqual([await reached("vip"), await reached("room:2")], [0, 0]);
  });
});
