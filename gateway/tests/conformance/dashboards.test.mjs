// Dashboards and alerts: as files, and against a real Prometheus that scrapes three nodes which have something to do.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { before, describe, test } from "node:test";
import { connectedAll, formed } from "./support/cluster.mjs";
import { FEED } from "./support/crm.mjs";
import { Inbound } from "./support/inbound.mjs";
import { IdentityProvider } from "./support/idp.mjs";
import { CHAT, POLICY, TARGET } from "./support/node.mjs";
import { metricsIn, filledIn, measured } from "./support/promql.mjs";
import { Prometheus, promtool } from "./support/prometheus.mjs";
import { wrongIn } from "./support/schema.mjs";
import { stage } from "./support/stage.mjs";
import { seconds, signer, token } from "./support/token.mjs";
import { until } from "./support/until.mjs";
import { WEBHOOK_SECRET, Webhook } from "./support/webhook.mjs";

const ROOT = resolve(import.meta.dirname, "../../..");
const read = (name) => readFileSync(join(ROOT, name), "utf8");
const list = (folder) => readdirSync(join(ROOT, folder)).filter((name) => /\.(json|yaml)$/.test(name));

/** Whoever has linked to a dashboard, or replaces it by another version, knows it by this. */
const UIDS = { "bus.json": "roomcast-bus", "cluster.json": "roomcast-cluster", "node.json": "roomcast-node" };
const VARIABLES = ["datasource", "namespace", "job", "instance", "__rate_interval"];

/** What has no data on these nodes, and why. An entry that is not needed any more is an error. */
const WITHOUT_DATA = {
  "node: Certificates end in": "only a listener with a certificate has one",
  RoomcastCertificateExpires: "only a listener with a certificate has one",
};

/** Metrics that no dashboard shows, and why. Likewise. */
const NOT_SHOWN = {};

const boards = list("grafana/dashboards").map((file) => ({ file, name: file.replace(".json", ""), ...JSON.parse(read(`grafana/dashboards/${file}`)) }));
const panels = boards.flatMap((board) => board.panels.filter((panel) => panel.type !== "row").map((panel) => ({ ...panel, board: board.name })));
const rules = list("grafana/alerts").map((file) => ({ file, text: read(`grafana/alerts/${file}`) }));
const alertNames = rules.flatMap(({ text }) => [...text.matchAll(/^ +- alert: (\w+)$/gm)].map(([, name]) => name));

describe("dashboards and alerts as files", () => {
  test("dashboards say what they show, and ask of the chosen cluster alone", () => {
    assert.deepEqual(Object.fromEntries(boards.map((board) => [board.file, board.uid])), UIDS);
    for (const board of boards) {
      assert.equal(board.schemaVersion, 39);
      assert.match(board.title, /^Roomcast \/ /);
      assert.ok(board.description && board.tags.includes("roomcast"), board.file);
      const [datasource, ...others] = board.templating.list;
      assert.deepEqual([datasource.name, datasource.type, datasource.query], ["datasource", "datasource", "prometheus"]);
      for (const variable of others) assert.deepEqual(variable.datasource, { type: "prometheus", uid: "${datasource}" });
      const names = board.templating.list.map((variable) => variable.name);
      assert.ok(names.every((name) => VARIABLES.includes(name)), names.join());
      unique(board.panels.map((panel) => panel.id), `${board.file}: ids`);
      unique(board.panels.map((panel) => panel.title), `${board.file}: titles`);
      assertNoOverlap(board);
      for (const panel of board.panels.filter((one) => one.type !== "row")) assertPanel(panel, `${board.name}: ${panel.title}`, names);
    }
  });

  test("dashboards are of the types that Grafana publishes", () => {
    assert.deepEqual(wrongIn(Object.fromEntries(boards.map(({ name, file }) => [name, read(`grafana/dashboards/${file}`)]))), []);
  });

  test("rules are what Prometheus takes, and each alert says what to do", () => {
    promtool(["check", "rules", ...rules.map(({ file }) => join(ROOT, "grafana/alerts", file))]);
    unique(alertNames, "names of alerts");
    assert.ok(alertNames.length >= 30);
    for (const { file, text } of rules) {
      for (const alert of text.split(/^ +- alert: /m).slice(1)) {
        const name = alert.split("\n")[0];
        for (const key of ["for: \\d+[mh]", "severity: (critical|warning)", "summary: \\S", "description: \\S"]) {
          assert.match(alert, new RegExp(`^ +${key}`, "m"), `${file}, ${name}`);
        }
        assert.ok(alert.includes(`runbook_url: "\${ROOMCAST_DOCS}/operations.md#${name.toLowerCase()}"`), `${name} has its own runbook`);
      }
    }
  });

  test("each alert has a section in docs/operations.md, and each section an alert", () => {
    const sections = [...read("docs/operations.md").matchAll(/^### (Roomcast\w+)$/gm)].map(([, name]) => name);
    assert.deepEqual(sections.toSorted(), alertNames.toSorted());
    assert.ok(read("grafana/README.md").includes("${ROOMCAST_DOCS}"), "what stands for the address of the documentation is explained");
  });

  test("commands in docs/operations.md are ones of a shell", () => {
    const blocks = read("docs/operations.md").split("```sh\n").slice(1).map((text) => text.split("```")[0]);
    assert.ok(blocks.length > alertNames.length);
    for (const block of blocks) {
      const { status, stderr } = spawnSync("bash", ["-n"], { input: block, encoding: "utf8" });
      assert.equal(status, 0, `${stderr}${block}`);
    }
  });

  test("each alert fires in one case and does not in another", () => {
    const folder = "grafana/alerts/tests";
    promtool(["test", "rules", ...list(folder).map((file) => join(ROOT, folder, file))]);
    const cases = list(folder).map((file) => read(join(folder, file))).join("\n").split(/^ +- expr: /m).slice(1);
    for (const name of alertNames) {
      const own = cases.filter((text) => text.startsWith(`ALERTS{alertname="${name}", alertstate="firing"}\n`));
      assert.ok(own.some((text) => /exp_samples:\n +- labels: /.test(text)), `${name} has a case in which it fires`);
      assert.ok(own.some((text) => text.includes("exp_samples: []")), `${name} has a case in which it does not`);
    }
  });
});

describe("dashboards and alerts on three nodes", () => {
  const on = stage();
  let redis, nodes, prometheus, at;
  /** Longer than everything that the nodes are given to do. */
  const WINDOW = "2m";

  before(async () => {
    redis = await on.redis();
    const [idp, webhook] = [on.keep(await IdentityProvider.start({ keys: [signer("ES256", "one")] })), await Webhook.start()];
    on.keep({ close: () => webhook.stop() });
    const config = {
      redis: { url: redis.url },
      auth: { jwt: { jwks_url: idp.url, algorithms: ["HS256", "ES256"], leeway: "0s" } },
      webhook: { url: webhook.url, secret: WEBHOOK_SECRET },
      notices: { to: "webhook" },
      limits: { events_per_second: 100 },
      shadow_policy: CHAT,
      log: { level: "info" },
    };
    nodes = await Promise.all([1, 2, 3].map(() => on.node({ config, policy: read(POLICY.slice(ROOT.length + 1)) + MORE_RULES })));
    await connectedAll(nodes);
    await formed(nodes);
    prometheus = on.keep(await Prometheus.start(nodes, rules.map(({ file }) => join(ROOT, "grafana/alerts", file))));
    await new Load(on, nodes, redis).run();
    at = await until("what was counted last was scraped", async () => {
      const now = await prometheus.scraped(nodes.length, Date.now());
      return hasData(await prometheus.query(`rate(roomcast_limited_total[${WINDOW}]) > 0`, now)) && now;
    }, { within: 30_000 });
  });

  test("promtool has nothing to say about what nodes export", async () => {
    for (const node of nodes) assert.equal(promtool(["check", "metrics"], { input: await exported(node) }), "");
  });

  test("what is shown exists, and what exists is shown", async () => {
    const exist = new Set([...(await exported(nodes[0])).matchAll(/^# TYPE (\w+) /gm)].map(([, name]) => name));
    const shown = new Set(panels.flatMap((panel) => panel.targets.flatMap(({ expr }) => [...metricsIn(expr)])));
    const warned = rules.flatMap(({ text }) => [...metricsIn(text)]);
    for (const name of [...shown, ...warned]) assert.ok(exist.has(name), `${name} is in a dashboard or rule, and not in /metrics`);
    const missing = [...exist].filter((name) => !shown.has(name));
    assert.deepEqual(missing, Object.keys(NOT_SHOWN), "no dashboard shows these");
    // Commands look for the beginnings of names; two are those of the function in Redis.
    const functions = ["roomcast_publish", "roomcast_version"];
    for (const [name] of read("docs/operations.md").matchAll(/\b(?:roomcast|process)_\w+/g)) {
      const isOne = functions.includes(name) || [...exist].some((one) => one.startsWith(name));
      assert.ok(isOne, `docs/operations.md names ${name}`);
    }
  });

  test("every query of every panel has data", async () => {
    const report = ["# Dashboards", "", `What each query said of three nodes under some load, ${new Date(at).toISOString()}.`, ""];
    const [empty, needless] = [[], []];
    for (const panel of panels) {
      const name = `${panel.board}: ${panel.title}`;
      report.push(`## ${name}`, "", panel.description, "");
      for (const { expr } of panel.targets) {
        const samples = await prometheus.query(filledIn(expr, WINDOW), at);
        report.push(`- \`${expr}\``, ...samples.map((one) => `  - ${labelled(one)}`), ...(samples.length ? [] : ["  - no data"]));
        const isThere = hasData(samples);
        if (!isThere && !WITHOUT_DATA[name]) empty.push(`${name}: ${expr}`);
        if (isThere && WITHOUT_DATA[name]) needless.push(name);
      }
      report.push("");
    }
    mkdirSync(join(TARGET, "test-artifacts"), { recursive: true });
    writeFileSync(join(TARGET, "test-artifacts/dashboards.md"), report.join("\n"));
    assert.deepEqual({ empty, needless }, { empty: [], needless: [] });
  });

  test("every alert is understood, measures something, and is not firing", async () => {
    const alerts = await prometheus.alerts();
    assert.deepEqual(alerts.map((alert) => alert.name).toSorted(), alertNames.toSorted());
    const [empty, needless] = [[], []];
    for (const { name, query, health, lastError, state, annotations } of alerts) {
      assert.deepEqual({ name, health, lastError }, { name, health: "ok", lastError: undefined });
      assert.notEqual(state, "firing", name);
      assert.ok(annotations.summary && annotations.description.length > 60, name);
      for (const part of measured(query.replaceAll(/offset \w+/g, "offset 2s"))) {
        const isThere = hasData(await prometheus.query(part, at));
        if (!isThere && !WITHOUT_DATA[name]) empty.push(`${name}: ${part}`);
        if (isThere && WITHOUT_DATA[name]) needless.push(name);
      }
    }
    assert.deepEqual({ empty, needless }, { empty: [], needless: [] });
  });

  test("a dead node and an outage of Redis are alerts, and so is what was missed", async () => {
    const [first, , last] = nodes;
    await on.connect(first, { token: token() });
    await Promise.all([last.kill(), redis.stop()]);
    await pending({ RoomcastNodeDown: [last], RoomcastBusDown: nodes.slice(0, 2) });
    await redis.start();
    await connectedAll(nodes.slice(0, 2));
    await pending({ RoomcastNodeDown: [last], RoomcastBusDown: [], RoomcastEventsMissed: [first] });
  });

  /** They would fire for these nodes, if it stayed so. */
  function pending(expected) {
    return until(`pending are ${Object.keys(expected)}`, async () => {
      const alerts = await prometheus.alerts();
      for (const [name, of] of Object.entries(expected)) {
        const found = alerts.find((alert) => alert.name === name).alerts.map(({ labels }) => labels.instance).toSorted();
        assert.deepEqual([name, found], [name, of.map((node) => `127.0.0.1:${node.opsPort}`).toSorted()]);
      }
      return true;
    }, { within: 30_000, every: 200 });
  }
});

/** What the policy of the CRM has no example of. */
const MORE_RULES = `
[[forward]]
event = "order"
to = "stream"
timeout = "5s"

[[forward]]
event = "look:up"
to = "webhook"
timeout = "5s"

[[ingest]]
source = "stream:crm.events"
room = "tenant:{message.tenantId}"
event = "{message.type}"
data = "message.data"
`;

/** Something of everything, also of what goes wrong. */
class Load {
  claims = { tenant_id: "acme", contacts: ["7"], whatsapp_accounts: ["1"] };

  constructor(on, nodes, redis) {
    Object.assign(this, { on, nodes, redis });
  }

  async run() {
    this.backend = this.on.keep(await this.redis.backend());
    this.inbound = this.on.keep(await Inbound.start(this.redis, (entry, backend) => this.#reply(entry, backend)));
    const transports = [["websocket"], ["polling"], ["polling", "websocket"]];
    const clients = await Promise.all(this.nodes.flatMap((node, n) =>
      transports.map((way) => this.on.connect(node, { token: token({ sub: `u${n}`, ...this.claims }), transports: way }))));
    for (const client of clients) assert.equal((await client.ask("subscribe:contact", "7")).ok, true);
    await this.#once(clients);
    for (let round = 0; round < 5; round += 1) await this.#publish(round);
    for (const client of clients) await this.#speak(client);
    await this.#fast();
    if (process.env.ROOMCAST_LONG) await this.#slow(); // thousands of events have to wait for it
    for (const node of this.nodes) await this.#refuse(node);
    clients[0].close();
    await until("both of what a backend is told were told", () => this.#sum("roomcast_notices_total", { type: "disconnect", outcome: "delivered" }));
    await until("streams are read", () => this.#sum("roomcast_publish_total", { source: "ingest_stream", outcome: "invalid" }));
  }

  /** What only a whole node does, and ends of tokens. */
  async #once([first, ...others]) {
    this.nodes[0].child.signal("SIGHUP");
    await this.backend.command("PUBLISH", "roomcast:nodes", "no frame");
    assert.equal((await first.ask("auth:refresh", { token: token({ sub: "u0", ...this.claims }) })).ok, true);
    assert.equal((await others[0].ask("auth:refresh", { token: "no token" })).ok, false);
    const expiring = await this.on.connect(this.nodes[1], { token: token({ exp: seconds() + 2 }) });
    const revoked = await this.on.connect(this.nodes[2], { token: token({ sub: "revoked", jti: "revoked" }) });
    await this.nodes[0].ops.api("/revoke", { jti: "revoked" });
    await Promise.all([expiring.next("disconnect"), revoked.next("disconnect")]);
  }

  /** By every way that there is, well and badly. */
  async #publish(round) {
    const data = { round, text: "x".repeat(200) };
    const feed = JSON.stringify({ type: "new_message", tenantId: "acme", data });
    for (const [n, node] of this.nodes.entries()) {
      for (const room of ["tenant:acme", `user:u${(n + 1) % 3}`, "user:nobody"]) await node.publish({ room, event: "news", data });
      await node.publish({ room: "tenant:acme", event: "news", data, id: `once-${round}` });
      await node.ops.post("/api/v1/publish", { room: "tenant:acme" });
    }
    await this.backend.call("tenant:acme", { event: "news", data });
    await this.backend.publish({ room: "tenant:acme", event: "news", data });
    await this.backend.append({ room: "tenant:acme", event: "news", data });
    await this.backend.command("PUBLISH", FEED, feed);
    await this.backend.command("PUBLISH", FEED, "no JSON");
    await this.backend.command("XADD", "crm.events", "*", "message", feed);
    await this.backend.command("XADD", "crm.events", "*", "message", "no JSON");
  }

  /** What clients say: to each other, to backends, and what nobody wants to hear. */
  async #speak(client) {
    const typing = { contactId: "7", whatsappAccountId: "1" };
    assert.deepEqual(await client.ask("typing:start", typing), { ok: true });
    assert.deepEqual(await client.ask("typing:stop", typing), { ok: true });
    assert.equal((await client.ask("typing:start", { contactId: "8" })).ok, false);
    client.emit("typing:start", { contactId: "8" });
    client.emit("nobody:knows", 1);
    assert.equal((await client.ask("subscribe:campaign", "3")).ok, false); // its claim is missing
    assert.deepEqual(await client.ask("order", { n: 1 }), { took: { n: 1 } });
    assert.deepEqual(await client.ask("look:up", { n: 2 }), {});
  }

  #reply(entry, backend) {
    if (entry.reply) return backend.call(entry.reply.trim(), { event: entry.id, data: { took: JSON.parse(entry.data) } });
  }

  /** A client whose system takes nothing more, so that its queue on the node becomes full. */
  async #slow() {
    const slow = await this.on.connect(this.nodes[0], { token: token({ sub: "slow" }) });
    slow.socket.io.engine.transport.ws._socket.pause();
    const text = "x".repeat(8192);
    await until("events for it are dropped", async () => {
      await Promise.all(Array.from({ length: 1000 }, () => this.backend.call("user:slow", { event: "much", data: text })));
      return this.#sum("roomcast_dropped_total", { reason: "slow_consumer" });
    }, { within: 120_000 });
    slow.socket.io.engine.transport.ws._socket.resume();
  }

  /** One that says more than it may. */
  async #fast() {
    const fast = await this.on.connect(this.nodes[0], { token: token({ sub: "fast" }) });
    for (let n = 0; n < 300; n += 1) fast.emit("ping");
    await fast.next("limit:exceeded");
  }

  async #refuse(node) {
    for (const bad of [undefined, "no token", token({ exp: seconds() - 60 })]) {
      await this.on.client(node, { token: bad, reconnection: false }).refused();
    }
  }

  async #sum(name, labels) {
    const values = await Promise.all(this.nodes.map((node) => node.ops.metric(name, labels)));
    return values.reduce((a, b) => a + b);
  }
}

const exported = async (node) => (await node.ops.get("/metrics")).text();
const hasData = (samples) => samples.some((one) => Number.isFinite(Number(one.value[1])));

function labelled({ metric, value }) {
  const labels = Object.entries(metric).filter(([key]) => !["job", "__name__"].includes(key));
  return `${labels.map(([key, text]) => `${key}=${text}`).join(" ") || "all"}: ${Number(Number(value[1]).toPrecision(4))}`;
}

function unique(values, what) {
  assert.deepEqual(values.filter((value, at) => values.indexOf(value) !== at), [], `${what} that are there twice`);
}

function assertPanel(panel, name, variables) {
  assert.ok(["stat", "timeseries"].includes(panel.type), name);
  assert.ok(panel.description?.length > 10, `${name} has a description`);
  assert.ok(panel.fieldConfig.defaults.unit, `${name} has a unit`);
  assert.deepEqual(panel.datasource, { type: "prometheus", uid: "${datasource}" }, name);
  assert.ok(panel.targets.length > 0, name);
  unique(panel.targets.map((target) => target.refId), `${name}: queries`);
  for (const { expr, datasource, legendFormat } of panel.targets) {
    assert.deepEqual(datasource, { type: "prometheus", uid: "${datasource}" }, name);
    assert.ok(legendFormat, `${name} has legends`);
    for (const [, window] of expr.matchAll(/\[([^\]]*)\]/g)) assert.equal(window, "$__rate_interval", `${name}: the window of a rate`);
    for (const [, variable] of expr.matchAll(/\$(\w+)/g)) assert.ok([...variables, "__rate_interval"].includes(variable), `${name}: $${variable}`);
    for (const [selector] of expr.matchAll(/\{[^}]*\}/g)) assert.ok(selector.includes('job=~"$job"'), `${name} is of the chosen cluster: ${selector}`);
  }
}

function assertNoOverlap({ file, panels: all }) {
  const taken = new Map();
  for (const { title, gridPos } of all) {
    assert.ok(gridPos.x + gridPos.w <= 24, `${file}: ${title} is within the grid`);
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
        assert.equal(taken.get(`${x},${y}`), undefined, `${file}: ${title} lies on another panel`);
        taken.set(`${x},${y}`, title);
      }
    }
  }
}
