// All nodes restarted one after another under thousands of clients behind HAProxy, and a node that is killed. For
// `./test long`. The clients are light ones (support/light.mjs): as many official ones would need more than this machine.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { formed } from "../support/cluster.mjs";
import { HaProxy } from "../support/haproxy.mjs";
import { Light } from "../support/light.mjs";
import { stage } from "../support/stage.mjs";
import { token } from "../support/token.mjs";
import { until } from "../support/until.mjs";

const CLIENTS = Number(process.env.ROOMCAST_ROLLOUT_CLIENTS ?? 3000);
/** Clients that hear the same. */
const GROUP = 30;
/** New sessions each second on each node. */
const BUDGET = 200;
/** Publications each second. */
const EACH_SECOND = 50;

describe(`${CLIENTS} clients`, () => {
  const on = stage();
  const groups = CLIENTS / GROUP;
  const clients = [];
  const published = new Map(); // number → {sockets: as answered, heard}
  let nodes;
  let publishing;
  let sampling;
  /** New sessions in the busiest second of each node. */
  let peaks = [0, 0, 0];
  const away = () => clients.filter((client) => !client.connected).length;
  const allBack = (limit) => until("every client is back", () => {
    if (away()) throw new Error(`${away()} are away`);
    return true;
  }, { within: limit, every: 50 });

  test("connect", async () => {
    const redis = await on.redis();
    nodes = await Promise.all([1, 2, 3].map(() => on.node({ config: {
      redis: { url: redis.url },
      limits: { handshakes_per_second: BUDGET },
      server: { trusted_proxies: ["127.0.0.1"] },
      drain: { wait: "5s", timeout: "25s" },
      log: { level: "info" },
    } })));
    await formed(nodes);
    const proxy = on.keep(await HaProxy.start(nodes));
    on.keep({ close: () => clients.forEach((client) => client.close()) });
    for (let n = 0; n < CLIENTS; n += 1) {
      const exp = Math.floor(Date.now() / 1000) + 3600;
      // Each from an address of its own: one that is too much for a node (429) is not sent to another one by HAProxy.
      const client = new Light(proxy.url, token({ sub: `u${n}`, tenant_id: `t${n % groups}`, exp }), `127.9.${n >> 8}.${n & 255}`);
      client.onEvent = (_, [event, number]) => {
        const one = event === "number" && published.get(number);
        if (one) one.heard += 1;
      };
      clients.push(client.open());
      if (n % 20 === 19) await pause(100);
    }
    await allBack(60_000);
    publishing = publish();
    sampling = sample();
  });

  test("all nodes are restarted one after another", async (t) => {
    for (const [n, node] of nodes.entries()) {
      const before = (await node.ops.stats()).node.connected;
      const began = performance.now();
      publishing.from = nodes.filter((one) => one !== node);
      await node.stop(30_000);
      const took = performance.now() - began;
      await node.start();
      await allBack(30_000);
      await formed(nodes);
      const line = node.log.split("\n").findLast((one) => one.includes('"closing connections"'));
      t.diagnostic(`node ${n}: ${before} clients, ${JSON.parse(line).rate.toFixed(0)} each second, stopped within ${(took / 1000).toFixed(1)} s`);
      assert.doesNotMatch(node.log, /open at the deadline/);
    }
    const sessions = clients.map((client) => client.sessions);
    assert.ok(sessions.every((count) => count >= 2), "everybody had to move");
    report(t);
    assertPeaks(t, 1.5);
  });

  test("a node is killed: all of its clients are back within 10 s, and after 15 s nothing of it is left", async (t) => {
    clients.forEach((client) => (client.gaps = []));
    const [killed, ...others] = [nodes[1], nodes[0], nodes[2]];
    const before = (await killed.ops.stats()).node.connected;
    publishing.from = others;
    const began = performance.now();
    await killed.kill();
    await until("its clients notice", () => away() > 0);
    await allBack(10_000 - (performance.now() - began));
    t.diagnostic(`${before} clients are back after ${((performance.now() - began) / 1000).toFixed(1)} s`);
    const expected = { nodes: 2, connected: CLIENTS, users: CLIENTS, rooms: CLIENTS + groups + 1, complete: true, missing: [] };
    await until("nothing is left of it", async () => {
      for (const node of others) assert.deepEqual((await node.ops.stats()).cluster, expected);
      const gauges = await Promise.all(others.map((node) => node.ops.metric("roomcast_connections")));
      assert.equal(gauges[0] + gauges[1], CLIENTS);
      return true;
    }, { within: 15_000 - (performance.now() - began) });
    report(t);
    // Nobody paces those of a node that is killed. A node lets in what it saved up in a second, and what comes in one.
    assertPeaks(t, 2);
  });

  test("and when all have gone, nobody is left anywhere", async () => {
    await publishing.stop();
    await sampling.stop();
    assert.equal(clients.reduce((sum, client) => sum + client.disconnectPackets, 0), 0);
    clients.forEach((client) => client.close());
    for (const node of [nodes[0], nodes[2]]) {
      await until("nobody is left", async () => {
        const { connected, users, rooms } = (await node.ops.stats()).cluster;
        const gauges = await Promise.all(["connections", "users", "rooms"].map((name) => node.ops.metric(`roomcast_${name}`)));
        return connected + users + rooms + gauges.reduce((sum, one) => sum + one, 0) === 0;
      }, { within: 15_000 });
    }
  });

  /** Since this was last looked at. */
  function assertPeaks(t, most) {
    for (const [n, peak] of peaks.entries()) {
      t.diagnostic(`node ${n}: ${peak.toFixed(0)} new sessions in its busiest second, of ${BUDGET}`);
      assert.ok(peak <= BUDGET * most, `node ${n}: ${peak}`);
    }
    peaks = [0, 0, 0];
  }

  /** What was lost, and for how long who was away. */
  function report(t) {
    const all = [...published.values()];
    const counted = all.filter((one) => one.sockets !== undefined);
    const sum = (of) => counted.reduce((total, one) => total + of(one), 0);
    const lost = sum((one) => GROUP - one.heard);
    const onTheWay = sum((one) => Math.max(0, one.sockets - one.heard));
    t.diagnostic(`${counted.length} publications for ${GROUP} clients each, ${all.length - counted.length} unanswered: ` +
      `${lost} events lost, ${onTheWay} of them on their way to a client, the others for clients that were away`);
    const longest = clients.map((client) => Math.max(0, ...client.gaps)).filter((gap) => gap > 0).sort((one, other) => one - other);
    const at = (part) => ((longest[Math.floor((longest.length - 1) * part)] ?? 0) / 1000).toFixed(2);
    t.diagnostic(`longest gap of each of ${longest.length} clients: p50 ${at(0.5)} s, p99 ${at(0.99)} s, most ${at(1)} s`);
    t.diagnostic(`refused handshakes: ${clients.reduce((total, client) => total + client.refused, 0)}`);
    published.clear();
  }

  /** So many each second, in turn by the nodes that are named, each to one group. */
  function publish() {
    const control = { from: nodes, number: 0 };
    const open = new Set();
    let isOn = true;
    const one = async (number) => {
      const entry = { sockets: undefined, heard: 0 };
      published.set(number, entry);
      const node = control.from[number % control.from.length];
      const answer = await node.publish({ room: `tenant:t${number % groups}`, event: "number", data: number }).catch(() => undefined);
      entry.sockets = answer?.sockets;
    };
    const running = (async () => {
      const began = performance.now();
      for (; isOn; control.number += 1) {
        await pause(Math.max(0, began + (control.number * 1000) / EACH_SECOND - performance.now()));
        const going = one(control.number).finally(() => open.delete(going));
        open.add(going);
      }
      await Promise.all(open);
    })();
    control.stop = () => ((isOn = false), running);
    return control;
  }

  /** The most new sessions of each node in a second. Of a node that is not there nothing is known. */
  function sample() {
    let isOn = true;
    const running = (async () => {
      const last = nodes.map(() => undefined);
      while (isOn) {
        await pause(1000);
        await Promise.all(nodes.map(async (node, n) => {
          const count = await node.ops.metric("roomcast_handshakes_total", { outcome: "accepted" }).catch(() => undefined);
          const now = performance.now();
          const before = last[n];
          last[n] = count === undefined ? undefined : { count, now };
          if (!before || count === undefined || count < before.count) return;
          peaks[n] = Math.max(peaks[n], ((count - before.count) * 1000) / (now - before.now));
        }));
      }
    })();
    return { stop: () => ((isOn = false), running) };
  }
});
