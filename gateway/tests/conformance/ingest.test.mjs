// Streams of backends that know nothing of rooms: `[[ingest]]` with `stream:`.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { connectedAll, disconnectedAll, formed } from "./support/cluster.mjs";
import { FEED } from "./support/crm.mjs";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

const REFUSED = "roomcast:ingest:refused";
const OTHER = "crm.flat";
const GROUP = "roomcast";

const rules = (...sources) => `
[identity]
user = "claims.sub"
tenant = "claims.tenant_id"

[[join]]
room = "tenant:{tenant}"

[[ingest]]
source = ${JSON.stringify(sources)}
room   = "tenant:{message.tenantId}"
event  = "{message.type}"
data   = "message.data"
when   = "!has(message.skip)"
`;

describe("streams of backends", () => {
  const on = stage();
  let redis, nodes, backend;
  const connect = (n, tenant, sub = "u1") => on.connect(nodes[n], { token: token({ sub, tenant_id: tenant }) });
  const append = (stream, fields) => backend.command("XADD", stream, "*", ...Object.entries(fields).flat());
  const feed = (message) => append(FEED, { message: JSON.stringify(message) });
  const sum = async (outcome) => {
    const counts = nodes.filter((node) => !node.child.ended)
      .map((node) => node.ops.metric("roomcast_publish_total", { source: "ingest_stream", outcome }));
    return (await Promise.all(counts)).reduce((a, b) => a + b);
  };
  const nothingInHand = (stream) => until(`nobody has anything of ${stream} in hand`, async () => {
    const [group] = await backend.command("XINFO", "GROUPS", stream);
    const { pending, lag } = Object.fromEntries(pairs(group));
    if (pending !== 0 || lag !== 0) throw new Error(JSON.stringify({ pending, lag }));
    return true;
  });

  before(async () => {
    redis = await on.redis();
    const options = { config: { redis: { url: redis.url } }, policy: rules(`stream:${FEED}`) };
    // Appended before any node was there: read from the beginning.
    backend = on.keep(await redis.backend());
    await append(FEED, { message: JSON.stringify({ type: "early", tenantId: "t-early", data: 1 }) });
    nodes = await Promise.all([on.node(options), on.node(options)]);
    await formed(nodes);
    await connectedAll(nodes);
    await nothingInHand(FEED);
  });

  test("{type, tenantId, data} reaches the tenant's sockets on every node, in order, once", async () => {
    const own = [await connect(0, "t-a"), await connect(1, "t-a")];
    const other = await connect(0, "t-b");
    for (let n = 0; n < 200; n += 1) await feed({ type: "new_message", tenantId: "t-a", data: { n } });
    // The same without JSON around it.
    await append(FEED, { type: "flat", tenantId: "t-a", data: '{"a":12345678901234567890}' });
    for (const one of own) {
      for (let n = 0; n < 200; n += 1) assert.deepEqual(await one.next("new_message"), [{ n }]);
      assert.deepEqual(await one.next("flat"), [{ a: 12345678901234567890 }]);
    }
    await nothingInHand(FEED);
    assert.deepEqual(other.inbox, []);
    for (const one of own) assert.deepEqual(one.inbox, []);
    assert.ok((await backend.command("XLEN", FEED)) >= 201, "entries stay for other groups");
    await backend.command("XGROUP", "CREATE", FEED, "another", "0");
    await backend.command("XGROUP", "DESTROY", FEED, "another");
  });

  test("a number in a flat entry is a tenant's id, and ids that look like numbers stay what they are", async () => {
    const [number, text] = [await connect(0, 7), await connect(1, "007")];
    await append(FEED, { type: "x", tenantId: 7, data: "plain text" });
    await append(FEED, { type: "x", tenantId: "007", data: "true" });
    assert.deepEqual(await number.next("x"), ["plain text"]);
    assert.deepEqual(await text.next("x"), [true]);
  });

  test("what no event can be made of is put aside with its reason, and holds up nobody", async () => {
    const one = await connect(0, "t-a");
    const before = await sum("invalid");
    const poison = {
      not_json: { message: "{" },
      room: { type: "x", data: 1 },
      event: { message: JSON.stringify({ type: "connect", tenantId: "t-a", data: 1 }) },
      data: { type: "x", tenantId: "t-a" },
      condition: { message: "[]" },
    };
    const ids = {};
    for (const [reason, fields] of Object.entries(poison)) ids[await append(FEED, fields)] = reason;
    await feed({ type: "good", tenantId: "t-a", data: 1 });
    assert.deepEqual(await one.next("good"), [1]);
    await nothingInHand(FEED);
    const refused = (await backend.command("XRANGE", REFUSED, "-", "+")).map(([, fields]) => Object.fromEntries(pairs(fields)));
    for (const [id, reason] of Object.entries(ids)) {
      const found = refused.find((entry) => entry.id === id);
      const kept = poison[reason].message ?? JSON.stringify(poison[reason]);
      assert.deepEqual(found, { message: kept, reason, id, source: `stream:${FEED}` });
    }
    assert.equal((await sum("invalid")) - before, Object.keys(poison).length);
  });

  test("what no rule is for is let go of, and counted", async () => {
    const before = await sum("unused");
    await feed({ type: "x", tenantId: "t-a", data: 1, skip: true });
    await until("it is counted", async () => (await sum("unused")) === before + 1);
    await nothingInHand(FEED);
  });

  test("nothing is lost and nothing doubled when the node that reads is killed", async () => {
    const listeners = [await connect(0, "t-a"), await connect(1, "t-a")];
    const lease = `roomcast:ingest:lease:${FEED}`;
    const reader = await backend.command("GET", lease);
    const ids = await Promise.all(nodes.map((node) => node.id()));
    const victim = ids.indexOf(String(reader));
    assert.notEqual(victim, -1);
    const survivor = listeners[1 - victim];
    const count = 300;
    const appending = (async () => {
      for (let n = 0; n < count; n += 1) await feed({ type: "n", tenantId: "t-a", data: n });
    })();
    await until("some have arrived", () => survivor.count("n") > 20);
    await nodes[victim].kill();
    await appending;
    await until("all have arrived", () => survivor.count("n") >= count, { within: 20_000 });
    await nothingInHand(FEED);
    const heard = survivor.inbox.filter(({ event }) => event === "n").map(({ args }) => args[0]);
    assert.deepEqual(heard, [...Array(count).keys()]);
    await nodes[victim].start();
    await formed(nodes);
    await connectedAll(nodes);
  });

  test("each is published once when Redis is away for a while with what it holds", async () => {
    const listeners = [await connect(0, "t-a"), await connect(1, "t-a")];
    await feed({ type: "before", tenantId: "t-a", data: 1 });
    for (const one of listeners) await one.next("before");
    const gaps = () => Promise.all(nodes.map((node) => node.ops.metric("roomcast_gaps_total", { scope: "all" })));
    const before = await gaps();
    await redis.freeze();
    // Written into the connection, and answered when Redis is there again.
    const appended = Promise.all([...Array(50).keys()].map((n) => feed({ type: "n", tenantId: "t-a", data: n })));
    await disconnectedAll(nodes);
    redis.thaw();
    await appended;
    // Who publishes has a link, and hears itself. The other node may be back later: then they are in its gap.
    await until("all have arrived", () => listeners.some((one) => one.count("n") >= 50), { within: 20_000 });
    await connectedAll(nodes);
    await nothingInHand(FEED);
    const heard = listeners.map((one) => one.inbox.filter(({ event }) => event === "n").map(({ args }) => args[0]));
    assert.ok(heard.some((all) => new Set(all).size === 50), JSON.stringify(heard));
    for (const all of heard) assert.equal(all.length, new Set(all).size, "none doubled");
    (await gaps()).forEach((count, n) => assert.ok(count > before[n], "it is known that events may be missing"));
  });

  test("another policy begins and ends streams without a restart", async () => {
    const one = await connect(0, "t-a");
    const { writeFileSync } = await import("node:fs");
    const write = (...sources) => nodes.forEach((node) => {
      writeFileSync(`${node.folder}/policy.toml`, rules(...sources));
      node.child.signal("SIGHUP");
    });
    await append(OTHER, { type: "other", tenantId: "t-a", data: 1 });
    write(`stream:${FEED}`, `stream:${OTHER}`);
    assert.deepEqual(await one.next("other"), [1]);
    write(`stream:${OTHER}`);
    await until("nobody reads the first any more", async () => (await backend.command("EXISTS", `roomcast:ingest:lease:${FEED}`)) === 0);
    await feed({ type: "late", tenantId: "t-a", data: 2 });
    await append(OTHER, { type: "other", tenantId: "t-a", data: 3 });
    assert.deepEqual(await one.next("other"), [3]);
    assert.equal(one.count("late"), 0);
    write(`stream:${FEED}`);
    assert.deepEqual(await one.next("late"), [2]);
    const groups = await backend.command("XINFO", "GROUPS", OTHER);
    assert.equal(Object.fromEntries(pairs(groups[0])).name, GROUP);
  });
});

/** Names and values in turn, as Redis answers them to a client without RESP3. */
function pairs(list) {
  if (!Array.isArray(list)) return Object.entries(list).map(([name, value]) => [name, value]);
  return list.flatMap((name, n) => (n % 2 ? [] : [[String(name), typeof list[n + 1] === "number" ? list[n + 1] : String(list[n + 1])]]));
}
