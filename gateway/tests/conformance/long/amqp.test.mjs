// Messages flow through RabbitMQ while it is killed and hangs, and nodes are killed and stopped. For `./test long`.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { describe, test } from "node:test";
import { connectedAll, formed } from "../support/cluster.mjs";
import { Flow } from "../support/flow.mjs";
import { Rabbit } from "../support/rabbit.mjs";
import { stage } from "../support/stage.mjs";
import { token } from "../support/token.mjs";
import { until } from "../support/until.mjs";

const ROUNDS = Number(process.env.ROOMCAST_AMQP_ROUNDS ?? 4);
const QUEUE = "long.events";
const TENANTS = ["t-a", "t-b", "t-c", "t-d"];
const AGAIN = { within: 60_000 };

const POLICY = `
[identity]
user = "claims.sub"
tenant = "claims.tenant_id"

[[join]]
room = "tenant:{tenant}"

[[ingest]]
source = "amqp:${QUEUE}"
room   = "tenant:{message.tenantId}"
event  = "{message.type}"
data   = "message.data"
`;

describe(`a queue of RabbitMQ, ${ROUNDS} rounds of trouble`, () => {
  const on = stage();

  test("none is lost, none doubled, each tenant's in their order", async () => {
    const [redis, rabbit] = await Promise.all([on.redis(), Rabbit.start()]);
    on.keep(rabbit);
    // A silent broker is noticed soon.
    const amqp = { url: `${rabbit.url}?heartbeat=2` };
    const options = { config: { redis: { url: redis.url }, amqp, log: { level: "info" } }, policy: POLICY };
    // The listeners are at one that stays.
    const nodes = await Promise.all([on.node(options), on.node(options), on.node(options)]);
    const [stays, ...others] = nodes;
    await formed(nodes);
    await connectedAll(nodes);
    const consuming = (expected, which = nodes) => until(`these say ${expected}`, async () => {
      const gauges = await Promise.all(which.map((node) => node.ops.metric("roomcast_amqp_connected")));
      return gauges.every((gauge) => gauge === expected);
    }, AGAIN);
    const threads = () => readdirSync(`/proc/${stays.child.pid}/task`).length;
    await consuming(1);
    const most = threads() + 2;

    const troubles = [
      async () => {
        await rabbit.kill();
        await consuming(0);
        await rabbit.start();
      },
      async () => {
        await rabbit.freeze();
        await consuming(0);
        // Connections that a silent broker accepts cost nothing lasting.
        const tried = () => stays.log.split("did not answer in time").length;
        const before = tried();
        await until("it was tried in vain", () => tried() > before, AGAIN);
        assert.ok(threads() <= most, `${threads()} threads`);
        rabbit.thaw();
      },
      async () => {
        await others[0].kill();
        await others[0].start();
      },
      async () => {
        await others[1].stop();
        await others[1].start();
      },
    ];
    const flow = new Flow(rabbit, QUEUE, { count: 1000 * ROUNDS * troubles.length, tenants: TENANTS });
    const clients = await flow.listen((_, tenant) => on.connect(stays, { token: token({ tenant_id: tenant }) }));
    flow.start();
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const trouble of troubles) {
        const before = clients[0].count("n");
        await until("messages flow", () => clients[0].count("n") > before + 20 || flow.sent === flow.count, AGAIN);
        await trouble();
        await consuming(1);
      }
    }
    await flow.ended;
    await flow.arrived(clients);
    await until("the queue is empty", async () => (await rabbit.depth(QUEUE)) === 0, AGAIN);
    flow.assertExact(clients);
    assert.ok(threads() <= most, `${threads()} threads`);
  });
});
