// All ways in at the same time, while nodes are killed, Redis hangs and subscriptions are cut. For `./test long`.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as pace } from "node:timers/promises";
import { connectedAll, formed } from "../support/cluster.mjs";
import { stage } from "../support/stage.mjs";
import { token } from "../support/token.mjs";
import { until } from "../support/until.mjs";

const SECONDS = Number(process.env.ROOMCAST_CHAOS_SECONDS ?? 60);
const ROOMS = Array.from({ length: 20 }, (_, n) => `user:chaos-${n}`);
const TRANSPORTS = [["websocket"], ["polling"], ["polling", "websocket"]];

describe(`all ways in, ${SECONDS} seconds of trouble`, () => {
  const on = stage();

  test("nothing arrives twice or in another order, and everything arrives when the trouble is over", async (t) => {
    const redis = await on.redis();
    const config = { redis: { url: redis.url, unsubscribe_delay: "500ms" }, log: { level: "info" }, engine: { ping_interval: "2s", ping_timeout: "4s" } };
    const nodes = await Promise.all([1, 2, 3].map(() => on.node({ config })));
    await formed(nodes);
    const clients = await Promise.all(ROOMS.flatMap((room, r) => nodes.map(async (node, n) => {
      const client = await on.connect(node, {
        token: token({ sub: room.slice("user:".length) }), transports: TRANSPORTS[(r + n) % 3], reconnectionDelayMax: 1000,
      });
      return { client, room };
    })));
    const backends = await Promise.all([1, 2, 3].map(async () => on.keep(await redis.backend())));
    const sources = [
      ...nodes.map((node, n) => new Source(`api ${n}`, (envelope) => node.publish(envelope))),
      new Source("function", (envelope) => backends[0].call(envelope.room, envelope)),
      new Source("stream", (envelope) => backends[1].append(envelope)),
      new Source("channel", (envelope) => backends[2].publish(envelope)),
    ];
    for (const source of sources) source.start();

    const done = [];
    const end = Date.now() + SECONDS * 1000;
    for (let round = 0; Date.now() < end; round += 1) {
      const next = Date.now() + 5000;
      const kinds = Object.keys(TROUBLE);
      const trouble = kinds[round % kinds.length];
      await TROUBLE[trouble](redis, nodes[Math.floor(round / kinds.length) % nodes.length]);
      done.push(trouble);
      await pace(Math.max(0, next - Date.now()));
    }

    await formed(nodes);
    await connectedAll(nodes);
    for (const { client } of clients) await until("a client is back", () => client.socket.connected, { within: 30_000 });
    await until("the stream was read", async () => (await backends[0].command("XLEN", "roomcast:ingest")) === 0, { within: 30_000 });
    const calm = sources.map((source) => source.sent + 2); // the one on its way may still have met the trouble
    await until("every source goes on", () => sources.every((source, s) => source.sent > calm[s] + 3 * ROOMS.length), { within: 60_000 });
    await Promise.all(sources.map((source) => source.stop()));

    for (const { client, room } of clients) {
      for (const [s, source] of sources.entries()) {
        const expected = source.numbers(room, calm[s]);
        await until(`${source.name}: all since ${calm[s]} arrived in ${room}`, () => {
          const heard = new Set(source.heard(client));
          const missing = expected.filter((number) => !heard.has(number));
          if (missing.length) throw new Error(`missing ${missing}`);
          return true;
        });
        source.assertHeard(client, room);
      }
    }
    for (const source of sources) {
      assert.deepEqual([...source.doubtful].filter((number) => number > calm[sources.indexOf(source)]), [], `${source.name}: doubts in peace`);
      t.diagnostic(`${source.name}: ${source.sent} sent, ${source.doubtful.size} in doubt, ${source.lost(clients)} deliveries lost`);
    }
    t.diagnostic(`done: ${done.join(", ")}`);
  });
});

/** What happens to the cluster. Each ends by itself. */
const TROUBLE = {
  "subscriptions cut": (redis) => redis.ask((ask) => ask.sendCommand(["CLIENT", "KILL", "TYPE", "pubsub"])),
  "node killed": async (_, node) => {
    await node.kill();
    await node.start({ answers: "/livez" });
  },
  "Redis hangs": async (redis) => {
    await redis.freeze();
    await pace(2000);
    redis.thaw();
  },
};

/** Numbers its publications over all rooms, one after the other. */
class Source {
  sent = 0;
  /** Numbers that the publisher was told to be in doubt. */
  doubtful = new Set();
  #going = true;

  constructor(name, publish) {
    Object.assign(this, { name, publish });
  }

  start() {
    this.ended = this.#run();
  }

  async stop() {
    this.#going = false;
    await this.ended;
  }

  heard(client) {
    return client.inbox.filter((one) => one.event === this.name).map((one) => one.args[0]);
  }

  /** The numbers that were sent to a room, from `from` on. */
  numbers(room, from = 1) {
    const numbers = [];
    for (let number = from; number <= this.sent; number += 1) if (roomOf(number) === room) numbers.push(number);
    return numbers;
  }

  /** Each number of the room at most once, and in order but for those in doubt, which may come late. */
  assertHeard(client, room) {
    const heard = this.heard(client);
    assert.deepEqual(heard.filter((number) => roomOf(number) !== room), [], `${this.name}: of another room`);
    assert.deepEqual(heard.filter((number, n) => heard.indexOf(number) !== n), [], `${this.name}: twice in ${room}`);
    const sure = heard.filter((number) => !this.doubtful.has(number));
    assert.deepEqual(sure.filter((number, n) => n > 0 && number < sure[n - 1]), [], `${this.name}: out of order in ${room}`);
  }

  lost(clients) {
    return clients.reduce((sum, { client, room }) => sum + this.numbers(room).length - this.heard(client).length, 0);
  }

  async #run() {
    while (this.#going) {
      const number = this.sent + 1;
      try {
        const answer = await this.publish({ room: roomOf(number), event: this.name, data: number });
        if (answer.complete === false) this.doubtful.add(number);
      } catch {
        this.doubtful.add(number);
      }
      this.sent = number;
      await pace(10);
    }
  }
}

const roomOf = (number) => ROOMS[number % ROOMS.length];
