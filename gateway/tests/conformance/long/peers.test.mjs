// Very many clients, of whom some are slow or dead: what the others notice of them, and what of them is left in memory. For
// `./test long`.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { setTimeout as pace } from "node:timers/promises";
import { Peers, moment } from "../support/peers.mjs";
import { Reader } from "../support/reader.mjs";
import { stage } from "../support/stage.mjs";
import { token } from "../support/token.mjs";
import { until } from "../support/until.mjs";

const READERS = Number(process.env.ROOMCAST_PEERS_READERS ?? 10_000);
const PHASES = Number(process.env.ROOMCAST_PEERS_PHASES ?? 7);
const AMONG = Number(process.env.ROOMCAST_PEERS_AMONG ?? 2000);
const MINUTES = Number(process.env.ROOMCAST_PEERS_MINUTES ?? 3);
const SOCKETS = Number(process.env.ROOMCAST_PEERS_SOCKETS ?? 19_000);
const STORMS = 10;

const POLICY = `
[identity]
user = "claims.sub"
[[join]]
room = "user:{user}"
[[join]]
room = "all"
[[join]]
when = "has(claims.stalls)"
room = "stalled"
[[room]]
pattern = "*"
slow    = "drop_oldest"
`;

describe("slow and dead peers among very many", () => {
  const on = stage();
  const start = (config) => on.node({ policy: POLICY, config: { log: { level: "warn" }, ...config } });

  test(`${READERS} readers do not notice one that reads 1 KB a second`, async (t) => {
    const node = await start({ engine: { write_deadline: "1h" }, limits: { max_outbound_bytes: 256 * 1024 } });
    const peers = on.keep(new Peers());
    await peers.open(node.url, { count: READERS });
    const data = "x".repeat(1024);
    const p99 = { without: [], with: [] };
    // The first phases warm both sides up, and are not counted.
    for (let phase = -1; phase < PHASES; phase += 1) {
      for (const how of phase % 2 === 0 ? ["without", "with"] : ["with", "without"]) {
        const slow = how === "with" ? await slowReader(node) : undefined;
        await peers.reset();
        for (let n = 0; n < 10; n += 1) {
          await node.publish({ room: "all", event: "tick", args: [moment(), data] });
          await pace(500);
        }
        await until("everybody heard everything", async () => (await peers.latencies()).count === READERS * 10, { within: 60_000, every: 500 });
        if (phase >= 0) p99[how].push((await peers.latencies()).p99);
        slow?.close();
        await until("only readers are left", async () => (await node.ops.stats()).node.connected === READERS, { within: 30_000 });
      }
    }
    const ratio = median(p99.with) / median(p99.without);
    t.diagnostic(`p99 in ms without ${p99.without.map(Math.round)}, with ${p99.with.map(Math.round)}; medians' ratio ${ratio.toFixed(3)}`);
    assert.ok(ratio <= 1.1, `${ratio}`);
    await peers.closeAll();
  });

  test("one in a hundred reads nothing: memory stays as it is, and each of them goes", async (t) => {
    const count = AMONG;
    const node = await start({ engine: { write_deadline: "5s" }, limits: { max_outbound_bytes: 4 << 20 } });
    const peers = on.keep(new Peers());
    const dead = on.keep(new Peers());
    await peers.open(node.url, { count: count - count / 100 });
    const levels = [];
    const end = Date.now() + MINUTES * 60_000;
    await dead.open(node.url, { count: count / 100, sub: "dead", claims: { stalls: true }, stalls: true });
    const filler = "x".repeat(64 * 1024);
    let looked = Date.now();
    while (Date.now() < end) {
      // Their systems take the first megabytes.
      await Promise.all([1, 2, 3, 4].map(() => node.publish({ room: "stalled", event: "filler", data: filler })));
      await node.publish({ room: "all", event: "tick", args: [moment(), "x".repeat(1024)] });
      if (Date.now() > looked + 1000) {
        looked = Date.now();
        levels.push(resident(node));
      }
      await pace(50);
    }
    const { lost } = await dead.state();
    const gone = await node.ops.metric("roomcast_disconnects_total", { reason: "transport_error" });
    t.diagnostic(`${lost} times one of them was closed, ${gone} of these for its deadline; resident KiB ${levels}`);
    assert.ok(gone >= count / 100, `${gone}`);
    assert.equal((await peers.state()).connected, count - count / 100, "the others stay");
    const third = Math.floor(levels.length / 3);
    const [early, late] = [median(levels.slice(0, third)), median(levels.slice(-third))];
    assert.ok(late <= early * 1.1, `${early} KiB grew to ${late} KiB`);
    dead.close();
    await until("only readers are left, and nothing waits", async () =>
      (await node.ops.stats()).node.connected === count - count / 100
      && (await node.ops.metric("roomcast_outbound_bytes")) === 0, { within: 20_000 });
    await peers.closeAll();
  });

  test(`${SOCKETS} sockets come and go ten times: what they took is given back`, async (t) => {
    const node = await start({});
    const peers = on.keep(new Peers());
    const levels = [];
    for (let storm = 0; storm < STORMS; storm += 1) {
      const { connected } = await peers.open(node.url, { count: SOCKETS, from: `127.0.0.${10 + storm}` });
      assert.equal(connected, SOCKETS);
      const idle = await settled(node);
      await peers.closeAll();
      await until("nobody is left", async () => (await node.ops.stats()).node.connected === 0, { within: 60_000 });
      levels.push([idle, await settled(node)]);
      t.diagnostic(`storm ${storm + 1}: resident KiB with all of them ${levels[storm][0]}, with none ${levels[storm][1]}`);
    }
    for (const which of [0, 1]) {
      const [first, last] = [levels[0][which], levels.at(-1)[which]];
      assert.ok(last <= first * 1.1, `${first} KiB grew to ${last} KiB`);
    }
  });

  /** One for whom as much waits as may wait, and that goes on with a kilobyte a second. */
  async function slowReader(node) {
    const reader = await Reader.connect(node, { token: token({ sub: "slow" }) });
    await reader.stall("user:slow");
    const dropped = () => node.ops.metric("roomcast_slow_consumers_total", { action: "drop_oldest" });
    const before = await dropped();
    await until("it loses something", async () => {
      await node.publish({ room: "user:slow", event: "filler", data: "x".repeat(64 * 1024) });
      return (await dropped()) > before;
    });
    const reading = setInterval(() => reader.socket.read(1024), 1000);
    reader.closed.then(() => clearInterval(reading));
    return reader;
  }
});

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];

/** Resident memory of a node in KiB. */
function resident(node) {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${node.child.pid}/status`, "utf8"))[1]);
}

/** The same, when it does not fall any more. */
function settled(node) {
  const seen = [];
  return until("memory is given back", () => {
    seen.push(resident(node));
    const [before, now] = [seen.at(-6), seen.at(-1)];
    return before !== undefined && now >= before * 0.995 && now;
  }, { within: 60_000, every: 1000 });
}
