// The two listeners: what the public one shows (nearly nothing), browsers' origins, and what operators see.

import assert from "node:assert/strict";
import { before, beforeEach, describe, test } from "node:test";
import { ORIGIN } from "./support/node.mjs";
import { RawPolling } from "./support/raw.mjs";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

const FOREIGN = "http://evil.example";

describe("listeners", () => {
  const on = stage();
  let node;
  before(async () => (node = await on.node()));

  const open = (path, options) => fetch(node.url + path, { signal: AbortSignal.timeout(10_000), ...options });
  const HANDSHAKE = "/socket.io/?EIO=4&transport=polling";

  describe("public", () => {
    test("/healthz is 200 and holds nothing that an attacker could use", async () => {
      const response = await open("/healthz");
      assert.equal(response.status, 200);
      assert.ok((await response.text()).length <= 2);
    });

    const hidden = ["/", "/index.html", "/livez", "/readyz", "/metrics", "/stats", "/api/v1/publish", "/dev/page.js",
      "/api/v1/openapi.json", "/socket.io/socket.io.js", "/socket.io", "/socket.iox/", "/healthz/x", "/..%2fmetrics"];
    for (const path of hidden) {
      test(`${path} is not there`, async () => {
        for (const method of ["GET", "POST"]) {
          const response = await open(path, { method });
          assert.ok([400, 404, 405].includes(response.status), `${method}: ${response.status}`);
          assert.doesNotMatch(await response.text(), /roomcast_|"node"|<html/i);
        }
      });
    }

    test("the path of the engine may be another", async () => {
      const moved = await on.node({ config: { engine: { path: "/live" } } });
      await on.connect(moved, { token: token(), path: "/live" });
      assert.equal((await fetch(moved.url + HANDSHAKE)).status, 404);
    });
  });

  describe("origins", () => {
    test("an allowed one is echoed, and may connect", async () => {
      const response = await open(HANDSHAKE, { headers: { origin: ORIGIN } });
      assert.equal(response.status, 200);
      assert.equal(response.headers.get("access-control-allow-origin"), ORIGIN);
      assert.match(response.headers.get("vary") ?? "", /origin/i);
      await (await RawPolling.connect(node.url, { token: token() }, { origin: ORIGIN })).close();
      for (const transports of [["websocket"], ["polling"]]) {
        await on.connect(node, { token: token(), transports, extraHeaders: { origin: ORIGIN } });
      }
    });

    test("a preflight of an allowed one is answered", async () => {
      const response = await open(HANDSHAKE, { method: "OPTIONS", headers: {
        origin: ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type" } });
      assert.ok([200, 204].includes(response.status), String(response.status));
      assert.equal(response.headers.get("access-control-allow-origin"), ORIGIN);
      assert.match(response.headers.get("access-control-allow-headers") ?? "", /authorization/i);
      assert.match(response.headers.get("access-control-allow-methods") ?? "", /POST/);
    });

    for (const origin of [FOREIGN, `${ORIGIN}.evil.example`, "null", "http://sub.app.example"]) {
      test(`${origin}: 403 without a CORS header`, async () => {
        for (const method of ["GET", "OPTIONS"]) {
          const response = await open(HANDSHAKE, { method, headers: { origin, "access-control-request-method": "POST" } });
          assert.equal(response.status, 403, method);
          assert.equal(response.headers.get("access-control-allow-origin"), null);
        }
      });
    }

    test("a foreign one is refused over both transports, and counted", async () => {
      const counted = () => node.ops.metric("roomcast_handshakes_total", { outcome: "origin" });
      for (const transports of [["websocket"], ["polling"]]) {
        const before = await counted();
        const client = on.client(node, { token: token(), transports, reconnection: false, extraHeaders: { origin: FOREIGN } });
        assert.match((await client.refused()).message, /websocket error|xhr poll error/);
        assert.equal(await counted(), before + 1);
      }
    });

    test("a session that exists is not open to another origin either", async () => {
      const raw = await RawPolling.connect(node.url, { token: token() }, { origin: ORIGIN });
      const response = await fetch(raw.url, { headers: { origin: FOREIGN } });
      assert.equal(response.status, 403);
      await raw.close();
    });
  });

  describe("operations", () => {
    beforeEach(() => until("earlier clients are gone", async () => (await node.ops.stats()).node.connected === 0));

    test("/livez and /readyz", async () => {
      for (const path of ["/livez", "/readyz"]) assert.equal((await node.ops.get(path)).status, 200, path);
    });

    test("/stats has the shape of the interface", async () => {
      await Promise.all(["u1", "u1", "u2"].map((sub) => on.connect(node, { token: token({ sub }) })));
      const { node: own, cluster, bus } = await node.ops.stats();
      const numbers = { connected: 3, users: 2, rooms: 3 }; // system, user:u1, user:u2
      assert.deepEqual({ connected: own.connected, users: own.users, rooms: own.rooms }, numbers);
      assert.deepEqual(cluster, { nodes: 1, ...numbers, complete: true, missing: [] });
      assert.equal(bus.state, "connected");
    });

    test("/metrics has the names of the interface, each with help", async () => {
      const client = await on.connect(node, { token: token() });
      await client.ask("ping");
      await node.publish({ room: "user:u1", event: "news", data: 1 });
      const text = await (await node.ops.get("/metrics")).text();
      const names = ["connections", "users", "rooms", "handshakes_total", "handshake_duration_seconds", "disconnects_total",
        "events_in_total", "events_out_total", "bytes_out_total", "publish_total", "publish_unreached_total",
        "delivery_latency_seconds", "dropped_total", "bus_connected", "bus_received_total", "draining", "build_info"];
      for (const name of names) {
        assert.match(text, new RegExp(`^# HELP roomcast_${name} \\S`, "m"), name);
        assert.match(text, new RegExp(`^roomcast_${name}(_bucket|_count)?(\\{| )`, "m"), name);
      }
      assert.doesNotMatch(text, /u1|user:|news/, "no label may hold a room, a user or an event");
    });

    test("connections are counted by transport, events by direction, ends by reason", async () => {
      const metric = (name, labels) => node.ops.metric(name, labels);
      const [eventsIn, eventsOut] = [await metric("roomcast_events_in_total"), await metric("roomcast_events_out_total")];
      const ended = await metric("roomcast_disconnects_total");
      await on.connect(node, { token: token(), transports: ["polling"] });
      const client = await on.connect(node, { token: token(), transports: ["websocket"] });
      assert.equal(await metric("roomcast_connections", { transport: "polling" }), 1);
      assert.equal(await metric("roomcast_connections", { transport: "websocket" }), 1);
      await client.ask("ping");
      await node.publish({ room: "user:u1", event: "news", data: 1 });
      assert.equal(await metric("roomcast_events_in_total"), eventsIn + 1);
      assert.equal(await metric("roomcast_events_out_total"), eventsOut + 3, "pong, and news for two");
      on.closeClients();
      await until("both ends are counted", async () => (await metric("roomcast_disconnects_total")) === ended + 2);
    });

    test("the log tells connections and ends, one JSON object a line", async () => {
      const client = await on.connect(node, { token: token({ sub: "logged-user" }) });
      client.close();
      const lines = () => node.log.split("\n").filter(Boolean).map((line) => JSON.parse(line));
      await until("the user's end stands in the log", () => {
        const own = lines().filter((line) => JSON.stringify(line).includes("logged-user"));
        return own.length >= 2 && own.every((line) => line.level && line.timestamp);
      });
    });

    test("nothing but problem documents elsewhere", async () => {
      const response = await node.ops.get("/nothing");
      assert.equal(response.status, 404);
      assert.equal((await response.json()).code, "not_found");
    });
  });
});
