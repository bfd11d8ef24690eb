// Clients that stop reading: what they get and do not get by the policy of a room, and when they are gone. Nobody beside them
// notices anything.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { before, beforeEach, describe, test } from "node:test";
import { formed } from "./support/cluster.mjs";
import { Numbers } from "./support/numbers.mjs";
import { API_KEY, Node } from "./support/node.mjs";
import { RawPolling } from "./support/raw.mjs";
import { Reader } from "./support/reader.mjs";
import { stage } from "./support/stage.mjs";
import { Authority, SecureOps } from "./support/tls.mjs";
import { token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

const POLICY = `
[identity]
user = "claims.sub"

[[join]]
room = "user:{user}"
[[join]]
each = '["ticker:1", "state:1", "plain"]'
room = "{item}"

[[reply]]
event = "ping"
ack   = { pong = true }

[[room]]
pattern = "ticker:*"
slow    = "drop_oldest"
[[room]]
pattern = "state:*"
slow    = "latest"
`;
const MAX = 1024 * 1024;
const KIB = 1024;
/** Long for a test: who is gone earlier went for another reason. Pings take longer. */
const DEADLINE = "5s";

const ways = { plain: false, TLS: true };

for (const [way, isSecure] of Object.entries(ways)) {
  describe(`slow clients, ${way}`, () => {
    const on = stage();
    let nodes;
    let ca;
    let number = 0;

    before(async () => {
      const redis = await on.redis();
      const authority = isSecure && on.keep(new Authority());
      ca = authority.pem;
      nodes = await Promise.all([start("100s"), start(DEADLINE)]);

      async function start(write_deadline) {
        const pair = isSecure && authority.sign();
        const server = isSecure ? { tls_cert_file: "tls.crt", tls_key_file: "tls.key" } : {};
        const node = await Node.prepare({
          policy: POLICY,
          files: isSecure ? { "tls.crt": pair.cert, "tls.key": pair.key } : {},
          config: { redis: { url: redis.url }, engine: { write_deadline }, limits: { max_outbound_bytes: MAX }, server },
        });
        on.nodes.push(node);
        if (isSecure) node.url = `https://127.0.0.1:${node.port}`;
        return node.start();
      }
    });

    beforeEach(() => formed(nodes));

    /** One that stopped reading on a node, one who reads beside it, and what is counted from now on. */
    async function scene(node) {
      const user = `slow-${way}-${(number += 1)}`;
      const slow = on.keep(await Reader.connect(node, { token: token({ sub: user }), ca: ca || undefined }));
      const beside = await on.connect(node, { token: token({ sub: "beside" }), transports: ["websocket"], ca });
      await slow.stall(`user:${user}`);
      const counts = async () => {
        const action = (name) => node.ops.metric("roomcast_slow_consumers_total", { action: name });
        return {
          disconnect: await action("disconnect"),
          drop_oldest: await action("drop_oldest"),
          latest: await action("latest"),
          dropped: await node.ops.metric("roomcast_dropped_total", { reason: "slow_consumer" }),
        };
      };
      const start = await counts();
      const counted = async () => {
        const now = await counts();
        return Object.fromEntries(Object.entries(now).map(([name, value]) => [name, value - start[name]]));
      };
      return { user, slow, beside, counted };
    }

    const idle = (node, connected) => until("nothing waits, and only who reads is there", async () => {
      const { node: { connected: now } } = await node.ops.stats();
      return now === connected && (await node.ops.metric("roomcast_outbound_bytes")) === 0;
    }, { within: 20_000 });

    test("drop_oldest: the newest events come, in their order, and everything else does", async () => {
      const [node, other] = nodes;
      const { user, slow, beside, counted } = await scene(node);
      slow.send('420["ping"]');
      const data = "x".repeat(100 * KIB);
      for (let n = 1; n <= 30; n += 1) {
        await other.publish({ room: "ticker:1", event: "tick", data: { n, data } });
        if (n % 10 === 0) await other.publish({ room: `user:${user}`, event: "kept", data: n });
      }
      slow.send('421["ping"]');
      await other.publish({ room: "plain", event: "end" });
      await beside.next("end");
      assert.deepEqual(beside.inbox.filter(({ event }) => event === "tick").map(({ args }) => args[0].n), numbers(1, 30));
      slow.read();
      await until("the end and both answers came", () => slow.events.at(-1)?.[0] === "end" && slow.acks.length === 2);
      const ticks = slow.events.filter(([event]) => event === "tick").map(([, { n }]) => n);
      assert.ok(ticks.length > 0 && ticks.length < 30, `${ticks}`);
      assert.deepEqual(ticks, numbers(31 - ticks.length, 30), "those that are missing are the oldest");
      assert.deepEqual(slow.events.filter(([event]) => event === "kept").map(([, n]) => n), [10, 20, 30]);
      const rest = slow.events.filter(([event]) => event !== "end").map(([, n]) => n.n ?? n);
      assert.deepEqual(rest, rest.toSorted((a, b) => a - b), "all of them are in the order of publication");
      const lost = 30 - ticks.length;
      assert.deepEqual(await counted(), { disconnect: 0, drop_oldest: lost, latest: 0, dropped: lost });
      slow.close();
      await idle(node, 1);
    });

    test("latest: of each event the newest comes, at its place", async () => {
      const [node, other] = nodes;
      const { slow, beside, counted } = await scene(node);
      for (let n = 1; n <= 20; n += 1) {
        for (const event of ["ready", "status"]) await other.publish({ room: "state:1", event, data: n });
        if (n === 19) await other.publish({ room: "plain", event: "kept", data: n });
      }
      await other.publish({ room: "plain", event: "end" });
      await beside.next("end");
      assert.equal(beside.inbox.filter(({ event }) => event === "ready" || event === "status").length, 40);
      slow.read();
      await until("the end came", () => slow.events.at(-1)?.[0] === "end");
      assert.deepEqual(slow.events, [["kept", 19], ["ready", 20], ["status", 20], ["end"]]);
      assert.deepEqual(await counted(), { disconnect: 0, drop_oldest: 0, latest: 38, dropped: 0 });
      for (let n = 1; n <= 5; n += 1) await other.publish({ room: "state:1", event: "ready", data: n });
      await until("who reads again gets all of them", () => slow.events.length === 9);
      slow.close();
      await idle(node, 1);
    });

    test("disconnect: the connection is closed, and what waited is forgotten", async () => {
      const [node, other] = nodes;
      const { user, slow, beside, counted } = await scene(node);
      const data = "x".repeat(100 * KIB);
      for (let n = 1; n <= 15; n += 1) await other.publish({ room: "plain", event: "tick", data: { n, data } });
      await other.publish({ room: "plain", event: "end" });
      await beside.next("end");
      assert.deepEqual(beside.inbox.filter(({ event }) => event === "tick").map(({ args }) => args[0].n), numbers(1, 15));
      await idle(node, 1);
      const { disconnect, drop_oldest, latest, dropped } = await counted();
      assert.deepEqual({ disconnect, drop_oldest, latest }, { disconnect: 1, drop_oldest: 0, latest: 0 });
      assert.ok(dropped >= 1, `${dropped}`);
      assert.ok((await node.ops.metric("roomcast_disconnects_total", { reason: "slow_consumer" })) >= 1);
      assert.equal((await other.publish({ room: `user:${user}`, event: "late" })).sockets, 0);
      slow.read();
      await slow.closed;
      const ticks = slow.events.map(([, { n }]) => n);
      assert.deepEqual(ticks, numbers(1, ticks.length), "what came before came in order");
    });

    test("who takes nothing for the write deadline is gone, whatever it sends", async () => {
      const [other, node] = nodes;
      const { user, slow, beside, counted } = await scene(node);
      const stream = new Numbers(other, "plain", { event: "number" }).start();
      const sending = setInterval(() => slow.send('42["ping"]'), 50);
      try {
        await idle(node, 1);
      } finally {
        clearInterval(sending);
        await stream.stop();
      }
      assert.equal((await other.publish({ room: `user:${user}`, event: "late" })).sockets, 0);
      assert.ok((await node.ops.metric("roomcast_disconnects_total", { reason: "transport_error" })) >= 1);
      await other.publish({ room: "plain", event: "end" });
      await beside.next("end");
      stream.assertHeard(beside, { from: 1 });
      assert.deepEqual(await counted(), { disconnect: 0, drop_oldest: 0, latest: 0, dropped: 0 });
      slow.read();
      await slow.closed;
    });
  });
}

describe("slow clients, polling", () => {
  const on = stage();

  test("what comes between two polls is bounded, and the answer to CONNECT comes first", async () => {
    const config = { limits: { max_outbound_bytes: 10 * KIB } };
    const node = await on.node({ policy: POLICY, config });
    const raw = new RawPolling(`${node.url}/socket.io/?EIO=4&transport=polling`);
    const { sid } = JSON.parse((await raw.next()).slice(1));
    raw.url += `&sid=${sid}`;
    await raw.send(`40${JSON.stringify({ token: token() })}`);
    await until("it is in", async () => (await node.ops.stats()).node.connected === 1);
    await raw.send('427["ping"]');
    const data = "x".repeat(KIB);
    for (let n = 1; n <= 20; n += 1) {
      await node.publish({ room: "ticker:1", event: "tick", data: { n, data } });
      await node.publish({ room: "state:1", event: "ready", data: n });
    }
    const seen = [];
    while (!seen.at(-1)?.includes('"ready",20')) seen.push(await raw.next());
    assert.match(seen[0], /^40\{/);
    assert.match(seen[1], /^437\[/);
    const ticks = seen.filter((packet) => packet.includes("tick")).map((packet) => JSON.parse(packet.slice(2))[1].n);
    assert.deepEqual(ticks, numbers(21 - ticks.length, 20));
    assert.ok(ticks.length < 20, `${ticks}`);
    assert.deepEqual(seen.filter((packet) => packet.includes("ready")), ['42["ready",20]']);
    const lost = (action) => node.ops.metric("roomcast_slow_consumers_total", { action });
    assert.equal((await lost("drop_oldest")) + (await lost("latest")), 20 - ticks.length + 19);
    assert.equal(await lost("disconnect"), 0);
  });

  test("a policy that is loaded later is that of the next events", async () => {
    const node = await on.node({ policy: POLICY.replace('"latest"', '"disconnect"') });
    const raw = await RawPolling.connect(node.url, { token: token() });
    const publish = async () => {
      for (let n = 1; n <= 3; n += 1) await node.publish({ room: "state:1", event: "ready", data: n });
      await node.publish({ room: "plain", event: "end" });
    };
    const seen = async () => {
      const packets = [];
      while (packets.at(-1) !== '42["end"]') packets.push(await raw.next());
      return packets.slice(0, -1);
    };
    await publish();
    assert.deepEqual(await seen(), [1, 2, 3].map((n) => `42["ready",${n}]`));
    writeFileSync(join(node.folder, "policy.toml"), POLICY);
    node.child.signal("SIGHUP");
    await until("it is in force", async () => (await node.ops.metric("roomcast_reload_total", { outcome: "applied" })) > 0);
    await publish();
    assert.deepEqual(await seen(), ['42["ready",3]']);
  });
});

function numbers(from, to) {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, n) => from + n);
}
