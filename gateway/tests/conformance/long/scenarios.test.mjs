// Every load scenario of loadtest/, with the command that its README gives and a few hundred clients, against three nodes
// behind HAProxy as docs/load-balancers ships it. For `./test long`. What the scenarios count is asserted, and no time; the
// reports, and a table of all of them, are kept in target/test-artifacts/scenarios.

import assert from "node:assert/strict";
import { mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { BALANCERS, Balancer } from "../support/balancer.mjs";
import { formed } from "../support/cluster.mjs";
import { runScenario } from "../support/loadtest.mjs";
import { CHAT, POLICY, TARGET } from "../support/node.mjs";
import { stage } from "../support/stage.mjs";
import { until } from "../support/until.mjs";

const FOLDER = join(TARGET, "test-artifacts/scenarios");
const HAPROXY = BALANCERS.find((one) => one.name === "haproxy, cookie");
/** Connecting, the events, and the patience of the program at the end. */
const WITHIN = 90_000;

/** Options in the place of the README's, and what is due then: publications times those whom they are for. */
const SCENARIOS = [
  { scenario: "steady_fanout", options: { "--users": 400, "--rate": 10, "--duration": "15s" }, sent: 150, due: 150 * 400 },
  { scenario: "steady_fanout", polling: 100, options: { "--users": 200, "--rate": 5, "--duration": "15s" }, sent: 75, due: 75 * 200 },
  { scenario: "user_updates", options: { "--users": 400, "--rate": 300, "--duration": "15s" }, sent: 4500, due: 4500 },
  { scenario: "user_updates", polling: 50, options: { "--users": 300, "--rate": 150, "--duration": "15s" }, sent: 2250, due: 2250 },
  { scenario: "chat", policy: CHAT, options: { "--users": 300, "--rooms": 30, "--rate": 100, "--duration": "15s" }, sent: 1500, due: 1500 * 9 },
  { scenario: "connect_storm", options: { "--users": 600, "--rate": 100 }, sent: 3, due: 3 * 600 },
  { scenario: "reconnect_wave", options: { "--users": 300, "--rate": 10, "--duration": "16s", "--spread": "3s" }, sent: 160, due: 160 * 300, again: 300 },
  // Half of the time without the ten that read slowly.
  { scenario: "slow_consumer", options: { "--users": 100, "--slow": 10, "--rate": 20, "--duration": "16s" }, sent: 320, due: 160 * 100 + 160 * 90 },
  // In rooms of 15: 96 of 100 publications for one of these, 4 for a user; and 10 who begin and end to type, for the others.
  { scenario: "crm_day", polling: 10, options: { "--users": 300, "--rooms": 20, "--rate": 100, "--duration": "15s" },
    sent: 1500 + 300, due: 1440 * 15 + 60 + 300 * 14 },
];

describe("load scenarios behind HAProxy", () => {
  const on = stage();
  const clusters = new Map(); // by policy
  const rows = [];

  before(async () => {
    rmSync(FOLDER, { recursive: true, force: true });
    const redis = await on.redis();
    for (const policy of [POLICY, CHAT]) {
      const config = {
        policy,
        redis: { url: redis.url, prefix: policy === CHAT ? "chat" : "crm" },
        server: { trusted_proxies: ["127.0.0.1"] },
        log: { level: "info" },
      };
      const nodes = await Promise.all([1, 2, 3].map(() => on.node({ config })));
      await formed(nodes);
      clusters.set(policy, { nodes, proxy: on.keep(await Balancer.start(HAPROXY, nodes)) });
    }
  });

  for (const { scenario, policy = POLICY, polling = 0, options, sent, due, again = 0 } of SCENARIOS) {
    const name = polling ? `${scenario}, ${polling} % by polling` : scenario;

    test(name, async (t) => {
      const { nodes, proxy } = clusters.get(policy);
      const begun = await sessions(nodes);
      const all = polling ? { ...options, "--polling": polling } : options;
      const ran = await runScenario(scenario, { name, folder: FOLDER, options: all, target: proxy.url, nodes, within: WITHIN });
      assert.equal(ran.code, 0, ran.said);

      const { verdict, figures, foreign } = ran.report;
      assert.deepEqual(verdict, { outcome: "ok", doubts: [], missed: [] });
      const { users, connected, connect_failed, lost, publish_failed, delivered, duplicates } = figures;
      assert.deepEqual({ sent: figures.sent, due: figures.due, delivered, duplicates, foreign }, { sent, due, delivered: due, duplicates: 0, foreign: 0 });
      const wanted = options["--users"];
      assert.deepEqual({ users, connected, connect_failed, lost, publish_failed },
        { users: wanted, connected: wanted, connect_failed: 0, lost: 0, publish_failed: 0 });
      const shares = (await sessions(nodes)).map((count, n) => count - begun[n]);
      assert.equal(shares.reduce((sum, one) => sum + one), 1 + wanted + again, "one for each connect, and one to see who is there");
      shares.forEach((share, n) => assert.ok(share > wanted / 10, `node ${n} has its share: ${shares}`));
      if (scenario === "slow_consumer") assert.ok(ran.report.to_slow_clients < 160 * 10, "those were slow");
      for (const file of ran.reports) assert.ok(statSync(file).size > 500, file);

      rows.push([name, users, figures.sent, delivered, figures.p50_ms, figures.p99_ms, figures.connect_p99_ms, busiest(ran.report), shares.join(" "), ran.code]);
      t.diagnostic(`${connected} clients (${shares.join(", ")}), ${figures.sent} sent, ${delivered} of ${due} delivered, p50 ${figures.p50_ms} ms, p99 ${figures.p99_ms} ms`);
      await until("those that polled are missed, too", async () => (await nodes[0].ops.stats()).cluster.connected === 0, { within: 60_000 });
    });
  }

  test("a table of all", () => {
    const head = ["scenario", "users", "sent", "delivered", "p50 ms", "p99 ms", "connect p99 ms", "connects in the busiest second", "sessions on the nodes", "exit code"];
    const lines = [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`);
    mkdirSync(FOLDER, { recursive: true });
    writeFileSync(join(FOLDER, "all.md"), `${lines.join("\n")}\n`);
    assert.equal(rows.length, SCENARIOS.length);
  });

  /** How many each node has begun. */
  const sessions = (nodes) => Promise.all(nodes.map((node) => node.ops.metric("roomcast_handshakes_total", { outcome: "accepted" })));

  /** By how many the connections have grown in one second, at most. */
  const busiest = ({ series }) => Math.max(...series.map((point, n) => point.connections - (series[n - 1]?.connections ?? 0)));
});
