// Notices to backends: for every client that connects one disconnect, however it goes and whatever dies.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { TRANSPORTS } from "./support/client.mjs";
import { formed } from "./support/cluster.mjs";
import { Node } from "./support/node.mjs";
import { assertPaired, Hook, leftInRedis, streamed } from "./support/notified.mjs";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

/** A node is dead when its lease has run out; then somebody has to look. */
const DEATH = { within: 40_000 };
const PINGS = { engine: { ping_interval: "500ms", ping_timeout: "500ms" } };
const STAY = { reconnection: false };

/** The ways to go, each with what it is called. */
const WAYS = {
  "the client says goodbye": ["client_namespace_disconnect", (client) => client.socket.disconnect()],
  "the connection is closed": ["transport_close", (client) => client.socket.io.engine.close()],
  "pings are not answered": ["ping_timeout", (client) => (client.socket.io.engine.transport.send = () => {})],
  "sent away by the API": ["server_namespace_disconnect", (client, node) => node.ops.api("/disconnect", { session: client.socket.id })],
  "closed by the API": ["server_transport_close", (client, node) => node.ops.api("/disconnect", { session: client.socket.id, reconnect: true })],
};

const of = (notices, sessions, type) => notices.filter((one) => one.type === type && sessions.has(one.session));
const idle = async (nodes) => {
  for (const node of nodes) {
    await until("nothing waits", async () => (await node.ops.metric("roomcast_notices_waiting")) === 0);
  }
};

for (const to of ["stream", "webhook"]) {
  describe(`notices by the ${to}`, () => {
    const on = stage();
    let redis;
    let hook;
    let nodes;
    // One that soon misses an answer to a ping.
    let nervous;
    const start = (more) => on.node({ config: { redis: { url: redis.url }, ...more, ...(to === "stream" ? { notices: { to } } : hook.config()) } });
    /** All that a backend was told. */
    const told = async () => (to === "stream" ? streamed(redis) : hook.taken);
    const connect = (node, claims, options) => on.connect(node, { token: token(claims), ...STAY, ...options });
    const crowd = async (node, count, options) => {
      const clients = await Promise.all(Array.from({ length: count }, (_, n) => connect(node, { sub: `u${n}` }, options)));
      return { clients, sessions: new Set(clients.map((client) => client.socket.id)) };
    };

    before(async () => {
      redis = await on.redis();
      hook = on.keep(await Hook.start());
      [nervous, ...nodes] = await Promise.all([PINGS, {}, {}, {}].map(start));
      await formed([nervous, ...nodes]);
    });

    for (const [way, [reason, go]] of Object.entries(WAYS)) {
      for (const [name, transports] of Object.entries(TRANSPORTS)) {
        test(`${way}, ${name}: one connect and one disconnect`, async () => {
          const node = reason === "ping_timeout" ? nervous : nodes[1];
          const client = await connect(node, { sub: "ann", tenant_id: "acme" }, { transports });
          if (name === "upgrade") await until("it is upgraded", () => client.transport === "websocket");
          const session = client.socket.id;
          const mine = async () => (await told()).filter((one) => one.session === session);
          const [came] = await until("it is announced", async () => ((await mine()).length === 1 ? mine() : false));
          await go(client, node);
          const went = (await until("its end is told", async () => ((await mine()).length === 2 ? mine() : false)))[1];
          assert.equal(went.reason, reason);
          for (const notice of [came, went]) {
            const { user, tenant, connection } = notice;
            assert.deepEqual({ user, tenant, connection }, { user: "ann", tenant: "acme", connection: came.connection });
            assert.equal(notice.node, await node.id());
          }
          assert.ok(Number(went.at) >= Number(came.at) && Number(came.at) === Number(came.connected_at));
        });
      }
    }

    test("who is refused is not announced", async () => {
      const earlier = (await told()).length;
      await on.client(nodes[0], { token: "nonsense", ...STAY }).refused();
      const client = await connect(nodes[0]);
      const session = client.socket.id;
      await until("the next one is", async () => (await told()).some((one) => one.session === session));
      assert.equal((await told()).length, earlier + 1);
    });

    test("a node that is stopped reports all of its clients", async () => {
      const node = await start();
      const { sessions } = await crowd(node, 40);
      await node.stop();
      const gone = await until("all are told", async () => {
        const notices = of(await told(), sessions, "disconnect");
        return notices.length >= 40 && notices;
      });
      assert.deepEqual([...new Set(gone.map((one) => one.reason))], ["server_shutting_down"]);
    });

    test("a node that is killed: the others report its clients, once", async () => {
      const node = await start();
      await formed([nervous, ...nodes, node]);
      const { sessions } = await crowd(node, 60);
      await until("all are announced", async () => of(await told(), sessions, "connect").length === 60);
      const id = await node.id();
      await node.kill();
      const gone = await until("all are told", async () => {
        const notices = of(await told(), sessions, "disconnect");
        return notices.length >= 60 && notices;
      }, DEATH);
      assert.deepEqual([...new Set(gone.map((one) => one.reason))], ["node_lost"]);
      assert.ok(gone.every((one) => one.node === id));
      assertPaired((await told()).filter((one) => sessions.has(one.session)));
    });

    test("500 come and go at once: each is told, and nothing is left", async () => {
      const crowds = await Promise.all(nodes.map((node, n) => crowd(node, n === 0 ? 168 : 166)));
      const sessions = new Set(crowds.flatMap((one) => [...one.sessions]));
      assert.equal(sessions.size, 500);
      on.closeClients();
      await until("all are told", async () => of(await told(), sessions, "disconnect").length >= 500, { within: 30_000 });
      await idle(nodes);
      assertPaired(await told());
      assert.equal(await leftInRedis(redis), 0);
      for (const node of nodes) {
        assert.equal((await node.ops.stats()).node.connected, 0);
        for (const reason of ["notice_queue_full", "notice_trimmed"]) {
          assert.equal(await node.ops.metric("roomcast_dropped_total", { reason }), 0);
        }
      }
      const sum = async (labels) => {
        const counts = await Promise.all([nervous, ...nodes].map((node) => node.ops.metric("roomcast_notices_total", labels)));
        return counts.reduce((one, other) => one + other, 0);
      };
      assert.ok((await sum({ type: "connect", outcome: "written" })) >= 500);
      if (to === "webhook") {
        assert.ok((await sum({ type: "disconnect", outcome: "delivered" })) >= 500);
        await until("the stream is empty", async () => (await streamed(redis)).length === 0);
        assert.equal(hook.wrong, undefined, "every request was signed");
      }
    });
  });
}

describe("notices and a Redis that goes", () => {
  const on = stage();

  test("who comes and goes meanwhile is told afterwards", async () => {
    const redis = await on.redis();
    const node = await on.node({ config: { redis: { url: redis.url }, notices: { to: "stream" } } });
    const stays = await on.connect(node, { token: token({ sub: "stays" }), ...STAY });
    await until("it is announced", async () => (await streamed(redis)).length === 1);
    await redis.stop();
    const passes = await on.connect(node, { token: token({ sub: "passes" }), ...STAY });
    passes.close();
    await until("it is gone", async () => (await node.ops.stats()).node.connected === 1);
    await redis.start();
    const notices = await until("all are told", async () => {
      const found = await streamed(redis);
      return found.length === 3 && found;
    }, { within: 20_000 });
    assertPaired(notices, 1);
    const again = notices.filter((one) => one.again === "true").map((one) => one.user);
    assert.ok(again.includes("stays"), "Redis had forgotten it");
    stays.close();
    await until("it is gone", async () => (await streamed(redis)).length === 4);
    assertPaired(await streamed(redis));
  });
});

describe("notices to a webhook in trouble", () => {
  const on = stage();
  let redis;
  let hook;
  let nodes;

  before(async () => {
    redis = await on.redis();
    hook = on.keep(await Hook.start());
    const config = { redis: { url: redis.url }, ...hook.config({ breaker_pause: "500ms", timeout: "1s" }) };
    nodes = await Promise.all([1, 2].map(() => on.node({ config })));
    await formed(nodes);
  });

  const visit = async (count) => {
    const clients = await Promise.all(Array.from({ length: count }, (_, n) =>
      on.connect(nodes[n % 2], { token: token({ sub: `u${n}` }), ...STAY })));
    const sessions = clients.map((client) => client.socket.id);
    on.closeClients();
    return new Set(sessions);
  };
  const ids = (sessions) => new Set(hook.taken.filter((one) => sessions.has(one.session)).map((one) => one.id));

  for (const [trouble, begin, end] of [
    ["slow", () => (hook.does = () => ({ status: 200, after: 300 }))],
    ["too slow now and then", () => (hook.does = () => ({ status: 200, after: Math.random() < 0.2 ? 1500 : 0 }))],
    ["wrong", () => (hook.does = () => ({ status: 503 }))],
    ["wrong now and then", () => (hook.does = () => ({ status: Math.random() < 0.3 ? 500 : 200 }))],
    ["gone and back", () => hook.close(), () => hook.open()],
  ]) {
    test(`${trouble}: none is lost, and none twice in effect`, async () => {
      await begin();
      const asked = hook.asked;
      const sessions = await visit(30);
      if (!end) await until("it is asked", () => hook.asked > asked + 3);
      await until("all wait in Redis", async () => (await streamed(redis)).length + ids(sessions).size >= 60);
      await end?.();
      if (trouble === "wrong") hook.does = () => ({ status: 200 });
      await until("all are told", () => ids(sessions).size === 60, { within: 60_000 });
      hook.does = () => ({ status: 200 });
      assertPaired(hook.taken.filter((one) => sessions.has(one.session)));
      assert.equal(hook.wrong, undefined);
    });
  }

  test("one that always fails holds nobody else up", async () => {
    const poison = await on.connect(nodes[0], { token: token({ sub: "poison" }), ...STAY });
    await until("it is told", () => hook.taken.some((one) => one.user === "poison"));
    hook.does = (notice) => ({ status: notice.user === "poison" ? 500 : 200 });
    poison.close();
    await until("it fails", () => hook.asked > 0);
    const sessions = await visit(20);
    await until("the others are told", () => ids(sessions).size === 40, { within: 20_000 });
    assert.equal(hook.taken.filter((one) => one.user === "poison").length, 1);
    hook.does = () => ({ status: 200 });
    await until("it is told in the end", () => hook.taken.filter((one) => one.user === "poison").length === 2, { within: 40_000 });
  });

  test("what it will never take is put aside with the reason", async () => {
    hook.does = (notice) => ({ status: notice.type === "connect" ? 400 : 200 });
    const sessions = await visit(1);
    await until("its end is told", () => ids(sessions).size === 1);
    const refused = await redis.ask((client) => client.sendCommand(["XRANGE", "roomcast:notices:refused", "-", "+"]));
    const [, fields] = refused.at(-1);
    assert.equal(fields[fields.indexOf("reason") + 1], "status_400");
    assert.ok(sessions.has(JSON.parse(fields[fields.indexOf("notice") + 1]).session));
    const counts = await Promise.all(nodes.map((node) => node.ops.metric("roomcast_notices_total", { outcome: "refused" })));
    assert.equal(counts[0] + counts[1], 1);
    hook.does = () => ({ status: 200 });
  });

  test("the node whose turn it is dies: another goes on", async () => {
    const reader = await redis.ask((client) => client.get("roomcast:notices:lease"));
    const at = (await nodes[0].id()) === reader ? 0 : 1;
    hook.does = () => ({ status: 200, after: 100 });
    const sessions = await visit(30);
    await until("some are told", () => ids(sessions).size > 3);
    await nodes[at].kill();
    await until("all are told", () => ids(sessions).size === 60, DEATH);
    assertPaired(hook.taken.filter((one) => sessions.has(one.session)));
  });
});

describe("notices without Redis", () => {
  const on = stage();

  test("the webhook is told from memory, also of what it missed", async () => {
    const hook = on.keep(await Hook.start());
    const node = await on.node({ config: hook.config({ breaker_pause: "300ms" }) });
    await hook.close();
    const client = await on.connect(node, { token: token({ sub: "ann" }), ...STAY });
    client.close();
    const stays = await on.connect(node, { token: token({ sub: "bob" }), ...STAY });
    await hook.open();
    await until("both are told", () => hook.taken.length === 3, { within: 30_000 });
    assertPaired(hook.taken, 1);
    await node.stop();
    assertPaired(hook.taken);
    assert.equal(hook.taken.at(-1).reason, "server_shutting_down");
    assert.ok(stays);
  });

  for (const [what, config, message] of [
    ["a stream without Redis", { notices: { to: "stream" } }, /notices\.to.*needs Redis.*redis\.url/],
    ["a webhook without one", { notices: { to: "webhook" } }, /notices\.to.*webhook\.url/],
    ["something else", { notices: { to: "kafka" } }, /notices\.to.*kafka.*"off", "stream" or "webhook"/],
    ["a stream without length", { notices: { stream_max_length: 0 } }, /notices\.stream_max_length/],
  ]) {
    test(`${what}: said at the start`, async () => {
      const node = await Node.prepare({ config });
      await assert.rejects(node.start(), (error) => message.test(error.message));
      assert.equal(node.child.ended.code, 64);
      await node.close();
    });
  }
});
