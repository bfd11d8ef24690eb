// `roomcast tail`: an event is followed by its hops through two nodes, however it came in; and what is private is not shown.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Child } from "./support/child.mjs";
import { connectedAll, formed } from "./support/cluster.mjs";
import { keepSecret } from "./support/output.mjs";
import { API_KEY, ROOMCAST, environment } from "./support/node.mjs";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";
import { until, within } from "./support/until.mjs";

const READ_KEY = "conformance-read-key-0123456789";
const FEED = "tail.events";
const POLICY = `
[identity]
user = "claims.sub"

[[join]]
room = "user:{user}"

[[join]]
room = "all"

[[subscribe]]
event = "enter"
leave = "leave"
room  = "topic:{arg}"
allow = "arg != 'closed'"

[[relay]]
event = "say"
room  = "all"
emit  = "said"
data  = "data"

[[forward]]
event = "order"
to    = "stream"
answer = false

[[ingest]]
source = ["channel:${FEED}", "stream:${FEED}.kept"]
room   = "{message.room}"
event  = "{message.type}"
data   = "message.data"
`;

/** The command, with all lines that it has printed. */
class Tail {
  constructor(nodes, args, { key = API_KEY } = {}) {
    const urls = nodes.flatMap((node) => ["--url", node.ops.url]);
    this.child = new Child("roomcast-tail", ROOMCAST, ["tail", ...urls, ...args], {
      env: environment({ ROOMCAST_API_KEY: keepSecret(key) }),
    });
    this.nodes = nodes;
  }

  get lines() {
    const whole = this.child.stdout.slice(0, this.child.stdout.lastIndexOf("\n") + 1);
    return whole.split("\n").filter(Boolean);
  }

  get all() {
    return this.lines.map((line) => JSON.parse(line));
  }

  /** Every node is looked at. */
  begun() {
    return this.until("every node is looked at", () => this.of({ kind: "begin" }).length === this.nodes.length);
  }

  of(fields) {
    return this.all.filter((line) => Object.entries(fields).every(([name, value]) => line[name] === value));
  }

  until(what, condition) {
    return until(what, () => {
      if (this.child.ended) throw new Error(this.child.output);
      const met = condition();
      if (!met) throw new Error(this.child.tail());
      return met;
    });
  }

  /** So many lines with these fields. */
  some(fields, count = 1) {
    return this.until(`${count} of ${JSON.stringify(fields)}`, () => {
      const found = this.of(fields);
      return found.length >= count && found;
    });
  }

  close() {
    return this.child.ended ?? this.child.end("SIGINT");
  }
}

describe("roomcast tail", () => {
  const on = stage();
  let redis, nodes, backend, ids;
  const connect = (n, sub) => on.connect(nodes[n], { token: token({ sub }) });
  const tail = (args, options) => on.keep(new Tail(nodes, args, options));

  before(async () => {
    redis = await on.redis();
    const options = { config: { redis: { url: redis.url }, api: { read_keys: [READ_KEY] } }, policy: POLICY };
    nodes = await Promise.all([on.node(options), on.node(options)]);
    await formed(nodes);
    await connectedAll(nodes);
    backend = on.keep(await redis.backend());
    ids = await Promise.all(nodes.map((node) => node.id()));
  });

  test("an event by each way in is seen with its hops on both nodes", async () => {
    const clients = [await connect(0, "u1"), await connect(1, "u1"), await connect(1, "u1")];
    const seen = tail(["--json", "--room", "user:u1", "--all-nodes"]);
    await seen.begun();
    const feed = (type) => JSON.stringify({ room: "user:u1", type, data: 1 });
    await nodes[0].publish({ room: "user:u1", event: "by-api", data: 1 });
    await backend.call("user:u1", { event: "by-function", data: 1 });
    await backend.append({ room: "user:u1", event: "by-stream", data: 1 });
    await backend.publish({ room: "user:u1", event: "by-channel", data: 1 });
    await backend.command("PUBLISH", FEED, feed("by-own-channel"));
    await backend.command("XADD", `${FEED}.kept`, "*", "message", feed("by-own-stream"));
    const ways = {
      "by-api": ["api", "node"],
      "by-function": [undefined, "function"],
      "by-stream": ["stream", "node"],
      "by-channel": [undefined, "channel"],
      "by-own-channel": [undefined, "ingest"],
      "by-own-stream": ["ingest_stream", "node"],
    };
    for (const [event, [publisher, arrival]] of Object.entries(ways)) {
      for (const client of clients) assert.deepEqual(await client.next(event), [1]);
      const hops = await seen.some({ kind: "delivery", event }, 2);
      assert.deepEqual(hops.map((hop) => hop.node).sort(), [...ids].sort(), event);
      for (const hop of hops) {
        assert.equal(hop.source, arrival, event);
        assert.equal(hop.sockets, hop.node === ids[0] ? 1 : 2, event);
        assert.ok(hop.took_ms >= 0);
        assert.equal(hop.data, undefined);
      }
      if (arrival === "channel" || arrival === "ingest") continue;
      assert.equal(hops[0].publication, hops[1].publication, event);
      for (const hop of hops) assert.ok(hop.since_entry_ms >= 0 && hop.since_bus_ms >= 0, JSON.stringify(hop));
      if (!publisher) continue;
      const [origin] = await seen.some({ kind: "publish", event });
      assert.equal(origin.source, publisher);
      assert.equal(origin.publication, hops[0].publication);
      assert.equal(origin.subscribers, 2);
      for (const hop of hops) assert.equal(hop.from, origin.node);
    }
    const [origin] = seen.of({ kind: "publish", event: "by-api" });
    const sockets = Object.fromEntries(origin.nodes.map((hop) => [hop.node, hop.sockets]));
    assert.deepEqual(sockets, { [ids[0]]: 1, [ids[1]]: 2 });
    assert.ok(origin.complete && origin.took_ms >= origin.bus_ms);
    assert.ok(!seen.child.output.includes("no --url leads to"));
  });

  test("lines of several nodes are in order, and the hops of a publication below it", async () => {
    await Promise.all([connect(0, "u2"), connect(1, "u2")]);
    const seen = tail(["--room", "user:u2"], { key: READ_KEY });
    await until("both nodes are looked at", () => seen.lines.filter((line) => / begin /.test(line)).length === 2);
    await nodes[0].publish({ room: "user:u2", event: "news", data: "private" });
    const shown = await seen.until("three lines", () => {
      const lines = seen.lines.filter((line) => line.includes("news"));
      return lines.length === 3 && lines;
    });
    assert.match(shown[0], /^[\d:.]+Z \S{4} publish +api {2}user:u2 {2}news {2}reached {2}-> bus [\d.]+ ms -> 2 subscribers/);
    for (const line of shown.slice(1)) assert.match(line, /^[\d:.]+Z \S{4} {3}delivery +node \S{4} {2}user:u2 .*-> 1 socket /);
    assert.ok(!seen.child.output.includes("private"));
  });

  test("what is lost is seen with its reason", async () => {
    const seen = tail(["--json"]);
    await seen.begun();
    await backend.publish({ room: "user:u1" });
    await backend.publish("no JSON");
    await backend.append({ event: "no-room" });
    await backend.command("PUBLISH", FEED, JSON.stringify({ room: "user:u1" }));
    await backend.command("PUBLISH", "roomcast:nodes", "no frame");
    await nodes[0].ops.post("/api/v1/publish", { room: "user:u1", event: "disconnect" });
    for (const [source, reason, count] of [
      ["channel", "no_event", 2],
      ["channel", "not_json", 2],
      ["stream", "no_room", 1],
      ["node", "frame_version", 2],
      ["api", "bad_event", 1],
    ]) {
      await seen.some({ kind: "drop", source, reason }, count);
    }
    await until("both say what they cannot translate", () => seen.of({ kind: "drop", source: "ingest" }).length === 2);
    const client = on.client(nodes[1], { token: "no token at all" });
    await client.refused();
    await seen.some({ kind: "refusal", reason: "token_malformed", node: ids[1] });
  });

  test("what clients do is seen, also of one user alone", async () => {
    const seen = tail(["--json", "--user", "u3"]);
    await seen.begun();
    const [client, other] = [await connect(0, "u3"), await connect(1, "u4")];
    await client.ask("enter", "1");
    await client.ask("enter", "closed");
    await client.ask("leave", "1");
    await client.ask("say", { text: "hello" });
    await other.next("said");
    await client.ask("order", { secret: "of the order" });
    await other.ask("enter", "2");
    client.close();
    await seen.some({ kind: "disconnect" });
    const kinds = seen.all.filter((line) => line.user).map(({ kind, event, reason, user }) => [kind, event ?? reason, user]);
    assert.deepEqual(kinds, [
      ["connect", undefined, "u3"],
      ["subscribe", "enter", "u3"],
      ["refusal", "enter", "u3"],
      ["leave", "leave", "u3"],
      ["relay", "say", "u3"],
      ["forward", "order", "u3"],
      ["forwarded", "order", "u3"],
      ["disconnect", "client_namespace_disconnect", "u3"],
    ]);
    assert.equal(seen.of({ kind: "forwarded" })[0].outcome, "accepted");
    assert.ok(!seen.child.output.includes("of the order") && !seen.child.output.includes('"u4"'));
  });

  test("payloads are shown to those who may see them, and cut", async () => {
    const seen = tail(["--json", "--data", "--event", "paid_*"]);
    await seen.begun();
    await nodes[0].publish({ room: "nobody", event: "paid_little", data: { a: 1 } });
    await nodes[0].publish({ room: "nobody", event: "paid_much", data: "much ".repeat(2_000) });
    assert.deepEqual((await seen.some({ kind: "publish", event: "paid_little" }))[0].data, [{ a: 1 }]);
    const [{ data, data_cut: cut }] = await seen.some({ kind: "publish", event: "paid_much" });
    assert.deepEqual([data, cut.length], [undefined, 2048]);
  });

  test("a key that does not suffice ends it with a sentence", async () => {
    for (const [args, key, expect] of [
      [[], "wrong-key-0123456789", /refused \(401 Unauthorized\): unauthorized/],
      [["--data"], READ_KEY, /refused \(403 Forbidden\): forbidden: .*api\.keys/],
      [["--room", "a*b"], READ_KEY, /refused \(422 .*\): bad_filter/],
    ]) {
      const seen = tail(args, { key });
      const { code } = await within("it ends", seen.child.exit);
      assert.equal(code, 64, seen.child.output);
      assert.match(seen.child.output, expect);
      assert.equal(seen.child.stdout, "");
    }
  });

  test("a node that is not looked at is named, and one that comes back is looked at again", async () => {
    const alone = on.keep(new Tail([nodes[0]], ["--json", "--all-nodes"]));
    await alone.begun();
    await until("the other one is named", () => alone.child.output.includes(`no --url leads to ${ids[1]}`));
    const seen = tail(["--json"]);
    await seen.begun();
    await nodes[1].stop();
    await seen.some({ kind: "end", reason: "node_stopping", node: ids[1] });
    await nodes[0].publish({ room: "nobody", event: "meanwhile" });
    await seen.some({ kind: "publish", event: "meanwhile" });
    await nodes[1].start();
    await formed(nodes);
    const id = await nodes[1].id();
    await seen.some({ kind: "begin", node: id });
    const { code } = await seen.child.end("SIGINT");
    assert.equal(code, 0, seen.child.output);
  });
});
