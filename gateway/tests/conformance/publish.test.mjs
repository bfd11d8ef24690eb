// The way in for backends: the API's answers, its refusals, its key, and the command line over it.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Child } from "./support/child.mjs";
import { API_KEY, ROOMCAST, environment } from "./support/node.mjs";
import { stage } from "./support/stage.mjs";
import { token, watchFor } from "./support/token.mjs";

describe("publishing", () => {
  const on = stage();
  let node;
  before(async () => (node = await on.node()));

  describe("answers", () => {
    test("how many were reached, on how many nodes", async () => {
      for (const expected of [0, 1, 2]) {
        const answer = await node.publish({ room: "user:u1", event: "news", data: 1 });
        assert.deepEqual(Object.keys(answer).sort(), ["complete", "nodes", "offset", "sockets"]);
        assert.equal(answer.sockets, expected);
        assert.equal(answer.complete, true);
        await on.connect(node, { token: token() });
      }
    });

    test("nobody reached: an answer and a metric, not an error", async () => {
      const before = await node.ops.metric("roomcast_publish_unreached_total");
      assert.equal((await node.publish({ room: "user:nobody", event: "news" })).sockets, 0);
      assert.equal(await node.ops.metric("roomcast_publish_unreached_total"), before + 1);
      assert.ok(node.log.includes("user:nobody"), "the room that was asked for stands in the log at debug");
    });

    test("count: false is delivered, and not counted", async () => {
      const client = await on.connect(node, { token: token() });
      const response = await node.ops.post("/api/v1/publish", { room: "user:u1", event: "news", data: 1, count: false });
      assert.equal(response.status, 200);
      await response.json();
      assert.deepEqual(await client.next("news"), [1]);
    });

    test("every publication is counted by where it came from", async () => {
      const before = await node.ops.metric("roomcast_publish_total");
      await node.publish({ room: "system", event: "news" });
      assert.equal(await node.ops.metric("roomcast_publish_total"), before + 1);
    });
  });

  describe("a batch", () => {
    const batch = (items) => node.ops.post("/api/v1/publish/batch", { items });

    test("has one result for each item, in order, and a bad item stops nothing", async () => {
      const client = await on.connect(node, { token: token() });
      const items = Array.from({ length: 50 }, (_, n) => ({ room: "user:u1", event: "news", data: n }));
      items.splice(20, 0, { room: "user:u1" }, { room: "user:nobody", event: "news", data: "nobody" });
      const response = await batch(items);
      assert.equal(response.status, 200);
      const { results } = await response.json();
      assert.equal(results.length, items.length);
      assert.equal(results[20].code, "no_event");
      assert.equal(results[21].sockets, 0);
      const good = results.filter((_, n) => n !== 20 && n !== 21);
      assert.ok(good.every(({ sockets, complete }) => sockets === 1 && complete), JSON.stringify(good));
      for (let n = 0; n < 50; n += 1) assert.deepEqual(await client.next("news"), [n]);
    });

    test("may be empty, and is refused when it is no batch", async () => {
      assert.deepEqual(await (await batch([])).json(), { results: [] });
      for (const body of ["", "[]", "{}", '{"items": 1}']) {
        assert.equal((await node.ops.post("/api/v1/publish/batch", body)).status, 422, body);
      }
      assert.equal((await node.ops.get("/api/v1/publish/batch", { method: "POST", body: '{"items":[]}' })).status, 401);
    });
  });

  describe("a bad envelope is refused whole", () => {
    const good = { room: "user:u1", event: "news", data: 1 };
    const refused = {
      "not JSON": ["not_json", "{room: 1}"],
      nothing: ["not_json", ""],
      "a list": ["wrong_type", [good]],
      "no room": ["no_room", { event: "news" }],
      "an empty list of rooms": ["no_room", { rooms: [], event: "news" }],
      "room and rooms": ["room_and_rooms", { ...good, rooms: ["a"] }],
      "129 rooms": ["too_many_rooms", { rooms: Array.from({ length: 129 }, (_, n) => `r${n}`), event: "news" }],
      "an empty room": ["bad_room", { ...good, room: "" }],
      "a room of 257 bytes": ["bad_room", { ...good, room: "é".repeat(128) + "x" }],
      "a room with a line end": ["bad_room", { ...good, room: "a\nb" }],
      "a room with braces": ["bad_room", { ...good, room: "{a}" }],
      "a room that is a number": ["wrong_type", { ...good, room: 1 }],
      "one bad room among good ones": ["bad_room", { rooms: ["user:u1", ""], event: "news" }],
      "no event": ["no_event", { room: "user:u1" }],
      "an empty event": ["bad_event", { ...good, event: "" }],
      "a reserved event": ["bad_event", { ...good, event: "disconnect" }],
      "another reserved event": ["bad_event", { ...good, event: "connect_error" }],
      "data and args": ["data_and_args", { ...good, args: [1] }],
      "args that are no list": ["bad_args", { room: "user:u1", event: "news", args: { 0: 1 } }],
      "binary that is no base64": ["bad_binary", { ...good, data: { $binary: "!" } }],
      "eleven attachments": ["too_many_binaries", { ...good, data: Array(11).fill({ $binary: "AA==" }) }],
      "an unknown field": ["unknown_field", { ...good, rom: "x" }],
      "a field twice": ["duplicate_field", '{"room": "a", "room": "b", "event": "news"}'],
      "except that is no list": ["wrong_type", { ...good, except: "user:u1" }],
      "a namespace without a slash": ["bad_namespace", { ...good, namespace: "chat" }],
      "too large": ["too_large", { ...good, data: "x".repeat(1024 * 1024) }],
      "deeply nested": ["not_json", `{"room":"user:u1","event":"news","data":${"[".repeat(5000)}${"]".repeat(5000)}}`],
    };

    for (const [name, [code, envelope]] of Object.entries(refused)) {
      test(`${name}: ${code}`, async () => {
        const client = await on.connect(node, { token: token() });
        const response = await node.ops.post("/api/v1/publish", envelope);
        assert.equal(response.status, 422);
        assert.match(response.headers.get("content-type"), /^application\/problem\+json/);
        const problem = await response.json();
        assert.deepEqual({ code: problem.code, status: problem.status }, { code, status: 422 });
        assert.ok(problem.detail);
        await node.publish({ room: "user:u1", event: "settled" });
        await client.next("settled");
        assert.equal(client.count("news"), 0);
      });
    }

    test("far too large: refused with a reason, and the next one is served", async () => {
      const response = await node.ops.post("/api/v1/publish", { ...good, data: "x".repeat(8 << 20) });
      assert.equal(response.status, 422);
      assert.equal((await response.json()).code, "too_large");
      assert.equal((await node.publish(good)).complete, true);
    });

    test("and counted", async () => {
      const before = await node.ops.metric("roomcast_publish_total", { outcome: "invalid" });
      await node.ops.post("/api/v1/publish", {});
      assert.equal(await node.ops.metric("roomcast_publish_total", { outcome: "invalid" }), before + 1);
    });
  });

  describe("the key", () => {
    const wrong = {
      none: undefined,
      empty: "Bearer ",
      another: "Bearer another",
      "a part of it": `Bearer ${API_KEY.slice(0, -1)}`,
      "more than it": `Bearer ${API_KEY}0`,
      "without a scheme": API_KEY,
      "a user's token": `Bearer ${token()}`,
    };

    for (const [name, authorization] of Object.entries(wrong)) {
      test(`${name}: 401`, async () => {
        const headers = { "content-type": "application/json", ...(authorization && { authorization }) };
        const body = JSON.stringify({ room: "user:u1", event: "news" });
        const response = await node.ops.get("/api/v1/publish", { method: "POST", headers, body });
        assert.equal(response.status, 401);
        assert.match(response.headers.get("content-type"), /^application\/problem\+json/);
        assert.equal((await response.json()).code, "unauthorized");
      });
    }

    test("a node without keys answers nobody", async () => {
      const closed = await on.node({ config: { api: { keys: undefined } } });
      assert.equal((await closed.ops.post("/api/v1/publish", { room: "a", event: "b" })).status, 401);
    });
  });

  describe("from the command line", () => {
    const run = async (...args) => {
      const child = new Child("roomcast", ROOMCAST, args, { env: environment() });
      const { code } = await child.exit;
      return { code, output: child.output, stdout: child.stdout.trim() };
    };

    test("roomcast publish, by address and by config file", async () => {
      const client = await on.connect(node, { token: token() });
      const what = ["--room", "user:u1", "--event", "news", "--data", '{"n": 12345678901234567890}'];
      const ways = [["--url", node.ops.url, "--api-key", API_KEY], ["--config", node.configFile]];
      for (const way of ways) {
        const { code, output, stdout } = await run("publish", ...way, ...what);
        assert.equal(code, 0, output);
        assert.match(stdout, /1/, "says how many were reached");
        assert.deepEqual(await client.next("news"), [{ n: 12345678901234567890 }]);
      }
    });

    test("roomcast publish says why it failed, without the key", async () => {
      const what = ["--room", "user:u1", "--event", "news"];
      const cases = [
        ["publish", "--url", node.ops.url, "--api-key", "wrong-key-0123", ...what, "--data", "1"],
        ["publish", "--url", "http://127.0.0.1:1", "--api-key", API_KEY, ...what, "--data", "1"],
        ["publish", "--url", node.ops.url, "--api-key", API_KEY, ...what, "--data", "{not json"],
        ["publish", "--url", node.ops.url, "--api-key", API_KEY, "--room", "", "--event", "news", "--data", "1"],
      ];
      for (const args of cases) {
        const { code, output } = await run(...args);
        assert.notEqual(code, 0, output);
        assert.ok(output.trim(), args.join(" "));
        assert.doesNotMatch(output, /panicked|RUST_BACKTRACE/);
        for (const key of [API_KEY, "wrong-key-0123"]) assert.ok(!output.includes(key), output);
      }
    });

    test("roomcast token signs one that connects, with its claims", async () => {
      const { code, output, stdout } = await run("token", "--config", node.configFile, "--user", "cli-user",
        "--claim", "tenant_id=cli-tenant", "--claim", 'whatsapp_accounts=["a"]', "--ttl", "1m");
      assert.equal(code, 0, output);
      const client = await on.connect(node, { token: watchFor(stdout.split("\n").at(-1)) });
      assert.equal((await client.ask("subscribe:whatsapp", "a")).ok, true);
      for (const room of ["user:cli-user", "tenant:cli-tenant", "whatsapp:a"]) {
        assert.equal((await node.publish({ room, event: "news" })).sockets, 1, room);
      }
    });

    test("roomcast stats shows what the cluster holds", async () => {
      await on.connect(node, { token: token() });
      const { code, output, stdout } = await run("stats", "--url", node.ops.url);
      assert.equal(code, 0, output);
      assert.match(stdout, /connected/);
    });
  });
});
