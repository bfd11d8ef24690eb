// Queues of a real RabbitMQ: `[[ingest]]` with `amqp:`.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { connectedAll, formed } from "./support/cluster.mjs";
import { FEED } from "./support/crm.mjs";
import { Flow } from "./support/flow.mjs";
import { PASSWORD, Rabbit } from "./support/rabbit.mjs";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

const REFUSED = `${FEED}.refused`;

const POLICY = `
[identity]
user = "claims.sub"
tenant = "claims.tenant_id"

[[join]]
room = "tenant:{tenant}"

[[ingest]]
source = "amqp:${FEED}"
room   = "tenant:{message.tenantId}"
event  = "{message.type}"
data   = "message.data"
`;

/** A broker that has just begun, or was just killed, takes its time on a busy machine. */
const AGAIN = { within: 30_000 };

describe("queues of RabbitMQ", () => {
  const on = stage();
  let redis, rabbit, nodes;
  const connect = (n, tenant) => on.connect(nodes[n], { token: token({ tenant_id: tenant }) });
  const consuming = (expected = 1) => until(`every node says ${expected} of its queue`, async () => {
    const gauges = await Promise.all(nodes.map((node) => node.ops.metric("roomcast_amqp_connected")));
    if (!gauges.every((gauge) => gauge === expected)) throw new Error(JSON.stringify(gauges));
    return true;
  }, AGAIN);
  const empty = () => until("the queue is empty, and nobody has anything in hand", async () => (await rabbit.depth(FEED)) === 0, AGAIN);

  before(async () => {
    [redis, rabbit] = await Promise.all([on.redis(), Rabbit.start()]);
    on.keep(rabbit);
    // With the queue that the backend made, as backends do: durable, and nothing besides.
    await rabbit.ask((backend) => backend.channel.assertQueue(FEED, { durable: true, arguments: { "x-single-active-consumer": true } }));
    const options = { config: { redis: { url: redis.url }, amqp: { url: rabbit.url } }, policy: POLICY };
    nodes = await Promise.all([on.node(options), on.node(options)]);
    await formed(nodes);
    await connectedAll(nodes);
    await consuming();
  });

  test("{type, tenantId, data} reaches the tenant's sockets on every node, and nobody besides", async () => {
    const own = [await connect(0, "t-a"), await connect(1, "t-a")];
    const other = await connect(0, "t-b");
    await rabbit.ask(async (backend) => {
      for (let n = 0; n < 100; n += 1) await backend.send(FEED, { type: "new_message", tenantId: "t-a", data: { n } });
      await backend.send(FEED, `{"type":"big","tenantId":"t-a","data":[12345678901234567890, 1.10]}`);
    });
    for (const one of own) {
      for (let n = 0; n < 100; n += 1) assert.deepEqual(await one.next("new_message"), [{ n }]);
      await one.next("big");
      assert.deepEqual(one.inbox, []);
    }
    assert.deepEqual(other.inbox, []);
    await empty();
  });

  test("poison goes into a queue of its own with the reason and all that it had, and holds up nobody", async () => {
    const one = await connect(1, "t-a");
    const poison = {
      not_json: "{",
      room: `{"type":"x","data":1}`,
      event: `{"type":"connect","tenantId":"t-a","data":1}`,
      data: `{"type":"x","tenantId":"t-a"}`,
      too_large: JSON.stringify({ type: "x", tenantId: "t-a", data: "x".repeat(1 << 20) }),
    };
    await rabbit.ask(async (backend) => {
      for (const [reason, text] of Object.entries(poison)) {
        await backend.send(FEED, text, {
          messageId: reason, contentType: "application/json", type: "t", expiration: "600000", userId: "crm",
          headers: { trace: 7, CC: [FEED] },
        });
      }
      await backend.send(FEED, { type: "good", tenantId: "t-a", data: 1 });
      assert.deepEqual(await one.next("good"), [1]);
      // A broker that found the header CC again would put a copy into the queue, and so on for ever.
      const found = [];
      await until("all are put aside", async () => {
        const message = await backend.take(REFUSED);
        if (message) found.push(message);
        return found.length === 5;
      });
      for (const { text, headers, properties } of found) {
        assert.equal(text, poison[properties.messageId]);
        const { trace, "x-roomcast-reason": reason, "x-roomcast-expiration": expiration, "x-roomcast-user-id": user } = headers;
        assert.deepEqual({ trace, reason, expiration, user }, { trace: 7, reason: properties.messageId, expiration: "600000", user: "crm" });
        const { contentType, type, deliveryMode } = properties;
        assert.deepEqual({ contentType, type, deliveryMode, expiration: properties.expiration },
          { contentType: "application/json", type: "t", deliveryMode: 2, expiration: undefined });
      }
    });
    await empty();
    const invalid = await Promise.all(nodes.map((node) => node.ops.metric("roomcast_publish_total", { source: "amqp", outcome: "invalid" })));
    assert.equal(invalid.reduce((a, b) => a + b), 5);
  });

  test("a message that is published twice with one id is one event", async () => {
    const one = await connect(0, "t-a");
    await rabbit.ask(async (backend) => {
      for (const data of [1, 2]) await backend.send(FEED, { type: "once", tenantId: "t-a", data }, { messageId: "the same" });
      await backend.send(FEED, { type: "end", tenantId: "t-a", data: 1 });
    });
    await one.next("end");
    assert.deepEqual(await one.next("once"), [1]);
    assert.equal(one.count("once"), 0);
  });

  test("RabbitMQ is killed and comes back while 2,000 messages flow: none lost, none doubled, in order", async () => {
    const flow = new Flow(rabbit, FEED, { count: 2000, tenants: ["t-a", "t-b", "t-c"] });
    const clients = await flow.listen(connect);
    flow.start();
    await until("some have arrived", () => clients.every((client) => client.count("n") > 50), AGAIN);
    await rabbit.kill();
    await consuming(0);
    await rabbit.start();
    await consuming();
    await flow.ended;
    await flow.arrived(clients);
    await empty();
    flow.assertExact(clients);
  });

  test("a node is killed while messages flow: none lost, none doubled", async () => {
    const flow = new Flow(rabbit, FEED, { count: 1000, tenants: ["t-d", "t-e"] });
    // The listeners are on the node that stays.
    const clients = await flow.listen((_, tenant) => connect(1, tenant));
    flow.start();
    await until("some have arrived", () => clients.every((client) => client.count("n") > 20), AGAIN);
    await nodes[0].kill();
    await flow.ended;
    await flow.arrived(clients);
    flow.assertExact(clients);
    await nodes[0].start();
    await formed(nodes);
    await connectedAll(nodes);
    await consuming();
    await empty();
  });

  test("a node is stopped while messages flow: the other goes on", async () => {
    const flow = new Flow(rabbit, FEED, { count: 1000, tenants: ["t-d", "t-e"] });
    const clients = await flow.listen((_, tenant) => connect(0, tenant));
    flow.start();
    await until("some have arrived", () => clients.every((client) => client.count("n") > 20), AGAIN);
    await nodes[1].stop();
    await flow.ended;
    await flow.arrived(clients);
    flow.assertExact(clients);
    await nodes[1].start();
    await formed(nodes);
    await connectedAll(nodes);
    await consuming();
    await empty();
  });

  test("Redis goes and comes back while messages flow: none lost", async () => {
    const flow = new Flow(rabbit, FEED, { count: 500, tenants: ["t-f"] });
    const [client] = await flow.listen(connect);
    flow.start();
    await until("some have arrived", () => client.count("n") > 50, AGAIN);
    await redis.stop("SIGTERM");
    await until("the nodes miss it", async () => (await nodes[0].ops.stats()).bus.state !== "connected", AGAIN);
    await redis.start();
    await flow.ended;
    await flow.arrived([client]);
    await connectedAll(nodes);
    await empty();
    // This Redis has forgotten what it had published: that which was on its way for the room may come twice.
    flow.assertExact([client], { doubled: 1 });
  });

  test("the queue is deleted and made anew by the nodes", async () => {
    const one = await connect(0, "t-a");
    await rabbit.ask((backend) => backend.channel.deleteQueue(FEED));
    await until("it is made anew", () => nodes.some((node) => node.log.includes("the queue did not exist and was made")), AGAIN);
    await consuming();
    await rabbit.ask((backend) => backend.send(FEED, { type: "anew", tenantId: "t-a", data: 1 }));
    assert.deepEqual(await one.next("anew"), [1]);
    await empty();
  });

  test("a node on its own reads a queue; one that may not says why, and goes on trying", async () => {
    const policy = POLICY.replaceAll(FEED, "alone");
    const wrong = await on.node({ config: { amqp: { url: rabbit.url.replace("crm:", "crm:x-") } }, policy });
    const missing = await on.node({ config: { amqp: { url: rabbit.url, declare: false } }, policy });
    for (const [node, why] of [[wrong, /"ERROR".*the queue cannot be consumed".*ACCESS_REFUSED/], [missing, /"ERROR".*the queue \\"alone\\" does not exist; make it/]]) {
      await until("it says why", () => why.test(node.log), AGAIN);
      assert.equal(await node.ops.metric("roomcast_amqp_connected"), 0);
    }
    const alone = await on.node({ config: { amqp: { url: rabbit.url } }, policy });
    // The broker gives the queue to one of the two, and nothing joins them.
    const clients = await Promise.all([alone, missing].map((node) => on.connect(node, { token: token({ tenant_id: "t-a" }) })));
    await until("there is a queue", async () => (await alone.ops.metric("roomcast_amqp_connected")) === 1, AGAIN);
    await rabbit.ask((backend) => backend.send("alone", { type: "x", tenantId: "t-a", data: 1 }));
    await until("it arrives", () => clients.some(({ inbox }) => inbox.length));
    assert.deepEqual(clients.flatMap(({ inbox }) => inbox.map(({ event, args }) => [event, ...args])), [["x", 1]]);
    await until("the other has one, too", async () => (await missing.ops.metric("roomcast_amqp_connected")) === 1, AGAIN);
    await Promise.all([wrong, missing, alone].map((node) => node.stop()));
  });

  test("no password stands in a log", () => {
    for (const node of on.nodes) {
      for (const form of [PASSWORD, encodeURIComponent(PASSWORD), Buffer.from(PASSWORD).toString("base64")]) {
        assert.ok(!node.log.includes(form));
      }
    }
  });
});
