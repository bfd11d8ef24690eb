// Three nodes that hear only of their rooms, the ways into them from Redis, and the API over all of them.

import assert from "node:assert/strict";
import { before, beforeEach, describe, test } from "node:test";
import { TRANSPORTS } from "./support/client.mjs";
import { connectedAll, formed } from "./support/cluster.mjs";
import { RawPolling } from "./support/raw.mjs";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

const WAYS = { websocket: ["websocket"], polling: ["polling"] };
const LEASE = "roomcast:ingest:lease";

describe("bus", () => {
  const on = stage();
  let redis;
  let backend;
  let nodes;

  before(async () => {
    redis = await on.redis();
    backend = on.keep(await redis.backend());
    const config = { redis: { url: redis.url, unsubscribe_delay: "1s" } };
    nodes = await Promise.all([1, 2, 3].map(() => on.node({ config })));
  });

  beforeEach(() => formed(nodes));

  const everywhere = (claims, options) =>
    Promise.all(nodes.map((node) => on.connect(node, { token: token(claims), ...options })));

  describe("a call of the function", () => {
    for (const [way, transports] of Object.entries(WAYS)) {
      test(`reaches the clients of its room on every node and nobody else, once, in order, ${way}`, async () => {
        const clients = await everywhere({ sub: "called" }, { transports });
        const others = await everywhere({ sub: "other" }, { transports });
        let last = 0n;
        for (let n = 0; n < 20; n += 1) {
          const [offset, receivers] = await backend.call("user:called", { room: "user:called", event: "news", args: [n, "ünï"] });
          assert.equal(receivers, 3);
          assert.ok(BigInt(offset) > last, `${offset} after ${last}`);
          last = BigInt(offset);
        }
        for (const client of clients) {
          for (let n = 0; n < 20; n += 1) assert.deepEqual(await client.next("news"), [n, "ünï"]);
        }
        await assertNothingMore([...clients, ...others]);
      });
    }

    test("carries data to the letter", async () => {
      const data = '{ "big":12345678901234567890,"bigger" : 1e400, "b":1.0,"a":[ ] , "text":"\\u00e9\\/" }';
      const raws = await Promise.all(nodes.map((node) => RawPolling.connect(node.url, { token: token({ sub: "raw" }) })));
      await backend.call("user:raw", `{"event":"news", "data": ${data}}`);
      for (const raw of raws) assert.equal(await raw.next(), `42["news",${data}]`);
      await Promise.all(raws.map((raw) => raw.close()));
    });

    for (const [way, transports] of Object.entries(WAYS)) {
      test(`carries bytes, ${way}`, async () => {
        const clients = await everywhere({}, { transports });
        const [bytes, more] = [Buffer.from([0, 128, 255]), Buffer.from("{}")];
        const args = [{ file: binary(bytes) }, [binary(more)], 1];
        await backend.call("user:u1", { event: "news", args });
        for (const client of clients) assert.deepEqual(await client.next("news"), [{ file: bytes }, [more], 1]);
      });
    }

    test("with the id of an earlier one is that one: the same answer, and nothing arrives again", async () => {
      const clients = await everywhere();
      const envelope = { event: "news", data: "once", id: "order-1" };
      const first = await backend.call("user:u1", envelope);
      assert.equal(first[1], 3);
      assert.deepEqual(await backend.call("user:u1", envelope), first);
      assert.deepEqual(await redis.ask((other) => other.sendCommand(["FCALL", "roomcast_publish", "1", "roomcast:{user:u1}",
        JSON.stringify({ ...envelope, data: "another text" })])), first, "from another connection");
      const again = await nodes[1].publish({ room: "user:u1", ...envelope });
      assert.equal(again.offset, first[0], "by the API");
      for (const client of clients) assert.deepEqual(await client.next("news"), ["once"]);
      await assertNothingMore(clients);
      const elsewhere = await backend.call("user:u2", envelope);
      assert.notEqual(elsewhere[0], first[0], "an id is one room's own");
    });

    test("leaves out sockets and rooms of `except`", async () => {
      const clients = await everywhere();
      const [, away, heard] = clients;
      const apart = await on.connect(nodes[2], { token: token({ account_id: "apart" }) });
      await backend.call("user:u1", { event: "news", data: 1, except: [clients[0].socket.id, away.socket.id, "user:apart"] });
      assert.deepEqual(await heard.next("news"), [1]);
      await assertNothingMore([...clients, apart]);
    });

    test("that is refused says why, and leaves nothing behind", async () => {
      const clients = await everywhere();
      const keys = async () => (await backend.command("KEYS", "roomcast:{*")).sort();
      const before = await keys();
      const good = { event: "news", data: 1, id: "refused" };
      for (const [code, envelope] of [
        ["not_json", "{"],
        ["not_json", "[]"],
        ["not_json", '{"event":"news","data":0x10}'],
        ["too_large", { ...good, data: "x".repeat(1 << 20) }],
        ["unknown_field", { ...good, romo: 1 }],
        ["wrong_type", { ...good, event: 1 }],
        ["wrong_type", { ...good, retain: "yes" }],
        ["no_event", { data: 1, id: "refused" }],
        ["bad_event", { ...good, event: "connect" }],
        ["bad_room", { ...good, room: "user:u2" }],
        ["bad_room", { ...good, rooms: ["user:u1", "user:u2"] }],
        ["room_and_rooms", { ...good, room: "user:u1", rooms: ["user:u1"] }],
        ["data_and_args", { ...good, args: [1] }],
        ["bad_args", { event: "news", args: { a: 1 }, id: "refused" }],
        ["bad_id", { ...good, id: "" }],
        ["bad_namespace", { ...good, namespace: "admin" }],
        ["bad_except", { ...good, except: [""] }],
        ["bad_binary", { ...good, data: { $binary: "%" } }],
        ["bad_binary", { ...good, data: { _placeholder: true, num: 0 } }],
        ["too_many_binaries", { ...good, data: Array.from({ length: 11 }, () => binary(Buffer.from("x"))) }],
      ]) {
        await assert.rejects(backend.call("user:u1", envelope), new RegExp(`^\\w*Error: ROOMCAST ${code}: `), JSON.stringify(envelope).slice(0, 100));
      }
      for (const key of ["roomcast:user:u1", "roomcast:{}", "roomcast:{a}b", `roomcast:{${"x".repeat(257)}}`]) {
        await assert.rejects(backend.command("FCALL", "roomcast_publish", 1, key, JSON.stringify(good)), /ROOMCAST bad_room: /, key);
      }
      assert.deepEqual(await keys(), before);
      assert.equal((await backend.call("user:u1", good))[1], 3, "its id is not taken");
      for (const client of clients) assert.deepEqual(await client.next("news"), [1]);
      await assertNothingMore(clients);
    });

    test("is possible again as soon as a Redis that lost everything is back", async () => {
      const clients = await everywhere();
      await backend.command("FUNCTION", "FLUSH");
      await backend.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
      await backend.command("CLIENT", "KILL", "TYPE", "pubsub");
      await until("the function is there", async () => (await backend.command("FUNCTION", "LIST")).length > 0);
      await connectedAll(nodes);
      assert.equal((await backend.call("user:u1", { event: "news", data: 1 }))[1], 3);
      for (const client of clients) assert.deepEqual(await client.next("news"), [1]);
    });
  });

  describe("rooms", () => {
    test("what is published goes to the nodes that have members, and to no other", async () => {
      const client = await on.connect(nodes[0], { token: token({ sub: "alone" }) });
      const received = () => Promise.all(nodes.map((node) => node.ops.metric("roomcast_bus_received_total")));
      const before = await received();
      for (let n = 0; n < 100; n += 1) {
        if (n % 2) await nodes[1].publish({ room: "user:alone", event: "news", data: n });
        else assert.equal((await backend.call("user:alone", { event: "news", data: n }))[1], 1);
      }
      for (let n = 0; n < 100; n += 1) assert.deepEqual(await client.next("news"), [n]);
      const rise = (await received()).map((count, n) => count - before[n]);
      assert.ok(rise[0] === 100 && rise[1] <= 5 && rise[2] <= 5, `${rise}`);
    });

    test("whoever is told that it is connected is reached from then on", async () => {
      await inCrowd(200, async (n) => {
        const user = `now-${n}`;
        const client = on.client(nodes[n % 3], { token: token({ sub: user }), transports: Object.values(TRANSPORTS)[n % 2] });
        const called = new Promise((resolve, reject) => {
          client.socket.on("connect", () => backend.call(`user:${user}`, { event: "news", data: n }).then(resolve, reject));
        });
        assert.equal((await called)[1], 1);
        assert.deepEqual(await client.next("news"), [n]);
        client.close();
      });
    });

    test("whoever is told that it subscribed is reached from then on", async () => {
      const clients = await everywhere({ contacts: ["*"] });
      await inCrowd(200, async (n) => {
        const client = clients[n % 3];
        const called = new Promise((resolve, reject) => {
          client.emit("subscribe:contact", String(n), (answer) =>
            backend.call(`contact:${n}`, { event: `news ${n}` }).then((called) => resolve({ answer, called }), reject));
        });
        const { answer, called: [, receivers] } = await called;
        assert.deepEqual(answer, { ok: true, room: `contact:${n}` });
        assert.equal(receivers, 1);
        await client.next(`news ${n}`);
        assert.equal((await client.ask("unsubscribe:contact", String(n))).ok, true);
      });
    });

    test("also when it enters rooms that its node is just leaving", async () => {
      const config = { redis: { url: redis.url, unsubscribe_delay: "1ms", prefix: "hasty" } };
      const node = await on.node({ config });
      await connectedAll([node]); // a client that is let in before that can miss what is published
      const clients = await Promise.all([0, 1].map(() => on.connect(node, { token: token({ contacts: ["*"] }) })));
      const call = (room, data) => backend.command("FCALL", "roomcast_publish", 1, `hasty:{${room}}`, JSON.stringify({ event: "news", data }));
      for (let n = 0; n < 200; n += 1) {
        const client = clients[n % 2];
        assert.equal((await client.ask("subscribe:contact", "hot")).ok, true);
        await call("contact:hot", n);
        assert.deepEqual(await client.next("news"), [n]);
        assert.equal((await client.ask("unsubscribe:contact", "hot")).ok, true);
        if (n % 3 === 0) await until("the room is left", async () => (await shards("hasty:{contact:hot}")).length === 0, { every: 1 });
      }
      clients.forEach((client) => assert.equal(client.count("news"), 0));
      await node.stop();
    });

    test("a room that everybody has just left is like one that nobody was in: answered at once, and complete", async () => {
      const clients = await everywhere({ contacts: ["*"] });
      for (const client of clients) await client.ask("subscribe:contact", "left");
      for (const client of clients.slice(1)) await client.ask("unsubscribe:contact", "left");
      const one = { nodes: 1, sockets: 1, complete: true };
      for (const node of nodes) assert.deepEqual(pick(await node.publish({ room: "contact:left", event: "news" })), one);
      await clients[0].ask("unsubscribe:contact", "left");
      assert.equal((await shards("roomcast:{contact:left}"))[0][1], 3, "the nodes are still subscribed");
      const began = performance.now();
      for (const node of nodes) {
        assert.deepEqual(pick(await node.publish({ room: "contact:left", event: "news" })), { nodes: 0, sockets: 0, complete: true });
        const asked = await node.ops.api("/request", { room: "contact:left", event: "who", timeout: "30s" });
        assert.deepEqual(asked, { acks: [], missing: 0, complete: true });
      }
      assert.ok(performance.now() - began < 1000);
    });

    test("a room that a node is just leaving is answered at once, and complete", async () => {
      const node = await on.node({ config: { redis: { url: redis.url, unsubscribe_delay: "1ms", prefix: "leaving" } } });
      await connectedAll([node]);
      const client = await on.connect(node, { token: token({ contacts: ["*"] }) });
      for (let n = 0; n < 100; n += 1) {
        await client.ask("subscribe:contact", "left");
        await client.ask("unsubscribe:contact", "left");
        const answers = await Promise.all([1, 2, 3].map(() => node.publish({ room: "contact:left", event: "news" })));
        for (const answer of answers) assert.deepEqual(pick(answer), { nodes: 0, sockets: 0, complete: true }, `round ${n}`);
      }
      await node.stop();
    });

    test("who comes and goes quickly costs Redis nothing, and a room that stays empty is left", async () => {
      const subscribes = await backend.calls("ssubscribe");
      const unsubscribes = await backend.calls("sunsubscribe");
      for (let n = 0; n < 50; n += 1) {
        const client = await on.connect(nodes[0], { token: token({ sub: "restless" }) });
        assert.deepEqual(await shards("roomcast:{user:restless}"), [["roomcast:{user:restless}", 1]]);
        client.close();
      }
      const subscribed = (await backend.calls("ssubscribe")) - subscribes;
      const unsubscribed = (await backend.calls("sunsubscribe")) - unsubscribes;
      assert.ok(subscribed <= 10 && unsubscribed <= 10, `${subscribed} times subscribed, ${unsubscribed} unsubscribed`);
      await until("all rooms are left", async () => (await shards("roomcast:{*}")).length === 0);
    });

    /** Channels of rooms with their number of subscribers, without those in which nodes are answered by backends. */
    async function shards(pattern) {
      const found = await backend.command("PUBSUB", "SHARDCHANNELS", pattern);
      const channels = found.filter((channel) => !String(channel).startsWith("roomcast:{roomcast:reply:"));
      const counts = await Promise.all(channels.map((channel) => backend.command("PUBSUB", "SHARDNUMSUB", channel)));
      return counts.map(([channel, count]) => [String(channel), count]).sort();
    }
  });

  describe("the stream", () => {
    test("is published in order, each entry once, and is empty afterwards", async () => {
      const users = [0, 1, 2, 3, 4].map((n) => `stream-${n}`);
      const clients = await Promise.all(users.flatMap((sub) => nodes.map((node) => on.connect(node, { token: token({ sub }) }))));
      await Promise.all(Array.from({ length: 500 }, (_, n) =>
        backend.append({ room: `user:${users[n % 5]}`, event: "news", data: n, ...(n % 7 ? {} : { id: `entry-${n}` }) })));
      for (const [c, client] of clients.entries()) {
        const user = Math.floor(c / nodes.length);
        for (let n = user; n < 500; n += 5) assert.deepEqual(await client.next("news"), [n]);
      }
      await emptied();
      await assertNothingMore(clients);
    });

    test("an entry that cannot be published is put aside with the reason, and holds up nobody", async () => {
      const clients = await everywhere();
      await backend.append({ room: "user:u1", event: "news", data: 1 });
      const bad = [
        ["not_json", await backend.append("{"), "{"],
        ["no_event", await backend.append({ room: "user:u1" }), '{"room":"user:u1"}'],
        ["no_envelope", await backend.command("XADD", "roomcast:ingest", "*", "letter", "{}"), ""],
      ];
      await backend.append({ room: "user:u1", event: "news", data: 2 });
      for (const client of clients) assert.deepEqual([await client.next("news"), await client.next("news")], [[1], [2]]);
      await emptied();
      const refused = (await backend.command("XRANGE", "roomcast:ingest:refused", "-", "+")).map(([, fields]) => fields.map(String));
      assert.deepEqual(refused, bad.map(([reason, id, envelope]) => ["envelope", envelope, "reason", reason, "id", String(id)]));
    });

    test("kill -9 of the node that publishes it: another goes on where that one was", async () => {
      const users = ["a", "b", "c"].map((name) => `heir-${name}`);
      const reader = await until("somebody reads", async () => {
        const id = await backend.command("GET", LEASE);
        for (const node of nodes) if ((await node.id()) === String(id)) return node;
      });
      const rest = nodes.filter((node) => node !== reader);
      const clients = await Promise.all(users.flatMap((sub) => rest.map((node) => on.connect(node, { token: token({ sub }) }))));
      let added = 0;
      try {
        let killed;
        while (added < 900) {
          await Promise.all(users.map((user, u) => backend.append({ room: `user:${user}`, event: "news", data: added + u })));
          added += users.length;
          if (added === 300) killed = reader.kill();
        }
        await killed;
        for (const [c, client] of clients.entries()) {
          const user = Math.floor(c / rest.length);
          for (let n = user; n < added; n += users.length) assert.deepEqual(await client.next("news", 20_000), [n]);
        }
        await emptied();
        await assertNothingMore(clients, rest[0]);
        const heirs = await Promise.all(rest.map((node) => node.id()));
        assert.ok(heirs.includes(String(await backend.command("GET", LEASE))));
      } finally {
        await reader.start();
      }
    });

    test("what a reader had in hand when it died is published, but for what it was done with", async () => {
      const stream = "heir:ingest";
      await backend.command("XGROUP", "CREATE", stream, "roomcast", 0, "MKSTREAM");
      const add = (data) => backend.command("XADD", stream, "*", "envelope", JSON.stringify({ room: "user:u1", event: "news", data }));
      const ids = [await add(0), await add(1), await add(2)];
      await backend.command("XREADGROUP", "GROUP", "roomcast", "roomcast", "COUNT", 2, "STREAMS", stream, ">");
      await backend.command("XDEL", stream, ids[0]);
      await backend.command("SET", `${stream}:lease`, "the dead one");
      const node = await on.node({ config: { redis: { url: redis.url, prefix: "heir" } } });
      await connectedAll([node]);
      const client = await on.connect(node, { token: token() });
      await backend.command("DEL", `${stream}:lease`);
      for (const n of [1, 2]) assert.deepEqual(await client.next("news"), [n]);
      await emptied(stream);
      assert.equal(await backend.command("EXISTS", `${stream}:refused`), 0);
      assert.equal(client.count("news"), 0);
      await node.stop();
    });

    test("with all nodes down: the function answers, the stream waits, and both go on afterwards", async () => {
      const clients = await everywhere({ sub: "patient" });
      await Promise.all(nodes.map((node) => node.stop()));
      const [offset, receivers] = await backend.call("user:patient", { event: "missed" });
      assert.match(String(offset), /^\d{16}$/);
      assert.equal(receivers, 0);
      for (let n = 0; n < 20; n += 1) await backend.append({ room: "user:patient", event: "news", data: n });
      // Nobody's turn, until the clients are back.
      await backend.command("SET", LEASE, "nobody");
      await Promise.all(nodes.map((node) => node.start()));
      await formed(nodes);
      for (const client of clients) await client.next("connect");
      assert.equal(await backend.command("XLEN", "roomcast:ingest"), 20);
      await backend.command("DEL", LEASE);
      for (const client of clients) {
        for (let n = 0; n < 20; n += 1) assert.deepEqual(await client.next("news"), [n]);
      }
      const [later, reached] = await backend.call("user:patient", { event: "news", data: "called" });
      assert.ok(BigInt(later) > BigInt(offset));
      assert.equal(reached, 3);
      for (const client of clients) assert.deepEqual(await client.next("news"), ["called"]);
      await emptied();
      clients.forEach((client) => assert.equal(client.count("missed"), 0));
    });

    const emptied = (stream = "roomcast:ingest") => until("the stream is empty, and nobody has anything in hand", async () => {
      const [pending] = await backend.command("XPENDING", stream, "roomcast");
      const left = await backend.command("XLEN", stream);
      if (pending || left) throw new Error(`${pending} in hand, ${left} in the stream`);
      return true;
    });
  });

  describe("asking clients", () => {
    for (const [way, transports] of Object.entries(WAYS)) {
      test(`collects what clients of all nodes answer, ${way}`, async () => {
        const clients = await everywhere({}, { transports });
        const bytes = Buffer.from([1, 2, 255]);
        clients.forEach(({ socket }, n) => socket.on("who", (data, answer) => answer({ n, data }, bytes)));
        for (const node of nodes) {
          const answer = await node.ops.api("/request", { room: "user:u1", event: "who", data: "x", timeout: "30s" });
          answer.acks.sort(([a], [b]) => a.n - b.n);
          assert.deepEqual(answer, { acks: [0, 1, 2].map((n) => [{ n, data: "x" }, binary(bytes)]), missing: 0, complete: true });
        }
        assert.deepEqual(await nodes[0].ops.api("/request", { room: "user:nobody", event: "who" }), { acks: [], missing: 0, complete: true });
      });
    }

    test("a client that does not answer is waited for until the timeout, and then missing", async () => {
      const clients = await everywhere();
      for (const { socket } of clients.slice(0, 2)) socket.on("who", (answer) => answer("here"));
      const began = performance.now();
      const answer = await nodes[0].ops.api("/request", { room: "user:u1", event: "who", timeout: 700 });
      const took = performance.now() - began;
      assert.deepEqual(answer, { acks: [["here"], ["here"]], missing: 1, complete: true });
      assert.ok(took >= 700 && took < 5000, `took ${took} ms`);
      await clients[2].next("who");
    });

    test("a client that leaves instead of answering is missing, and waited for no longer", async () => {
      const clients = await everywhere();
      for (const { socket } of clients.slice(0, 2)) socket.on("who", (answer) => answer("here"));
      clients[2].socket.on("who", () => clients[2].close());
      const answer = await nodes[0].ops.api("/request", { room: "user:u1", event: "who", timeout: "9s" });
      assert.deepEqual(answer, { acks: [["here"], ["here"]], missing: 1, complete: true });
    });
  });

  describe("orders", () => {
    const done = { sockets: 1, nodes: 1, complete: true, missing: [] };
    const by = {
      user: () => ({ user: "sent" }),
      session: (client) => ({ session: client.socket.id }),
      room: () => ({ room: "user:sent" }),
    };
    for (const [way, transports] of Object.entries(WAYS)) {
      for (const [what, whom] of Object.entries(by)) {
        test(`by ${what}, at another node: a client is sent away, ${way}`, async () => {
          const client = await on.connect(nodes[1], { token: token({ sub: "sent" }), transports });
          const other = await on.connect(nodes[1], { token: token({ sub: "stays" }), transports });
          const order = { ...whom(client), reason: "test" };
          assert.deepEqual(await nodes[0].ops.api("/disconnect", order), done);
          assert.deepEqual((await client.next("disconnect"))[0], "io server disconnect");
          assert.equal(client.socket.active, false);
          assert.equal((await nodes[2].ops.api("/users/sent")).connected, 0);
          assert.deepEqual(await nodes[0].ops.api("/disconnect", order), { ...done, sockets: 0, nodes: 0 }, "again");
          assert.equal((await nodes[0].publish({ room: "user:stays", event: "news" })).sockets, 1);
          await other.next("news");
        });

        test(`by ${what}, at another node: a client is sent away to come back, ${way}`, async () => {
          const client = await on.connect(nodes[1], { token: token({ sub: "sent" }), transports });
          const id = client.socket.id;
          assert.deepEqual(await nodes[2].ops.api("/disconnect", { ...whom(client), reconnect: true }), done);
          assert.match((await client.next("disconnect"))[0], /^transport (close|error)$/);
          await client.next("connect");
          assert.notEqual(client.socket.id, id);
          await backend.call("user:sent", { event: "news" });
          await client.next("news");
          assert.equal((await nodes[0].ops.api("/users/sent")).connected, 1);
        });
      }
    }

    test("all sockets of a user are put into rooms and taken out again, wherever they are", async () => {
      const clients = await everywhere({ sub: "moved" });
      const other = await on.connect(nodes[1], { token: token({ sub: "unmoved" }) });
      const all = { sockets: 3, nodes: 3, complete: true, missing: [] };
      const order = { user: "moved", rooms: ["team:1", "team:2"] };
      assert.deepEqual(await nodes[1].ops.api("/join", order), all);
      assert.deepEqual(await nodes[2].ops.api("/join", order), all, "again");
      for (const room of ["team:1", "team:2"]) {
        assert.equal((await backend.call(room, { event: "news", data: room }))[1], 3);
        for (const client of clients) assert.deepEqual(await client.next("news"), [room]);
      }
      assert.deepEqual(await nodes[0].ops.api("/leave", { ...order, rooms: ["team:1"] }), all);
      assert.equal((await nodes[0].publish({ room: "team:1", event: "news" })).sockets, 0);
      assert.equal((await nodes[0].publish({ room: "team:2", event: "news" })).sockets, 3);
      for (const client of clients) await client.next("news");
      await assertNothingMore([...clients, other]);
    });
  });

  describe("looking", () => {
    test("rooms, users and nodes are seen from every node, and a killed one is said to be missing", async () => {
      const clients = await everywhere({ sub: "seen", tenant_id: "t1" });
      const [first, second, third] = nodes;
      const ids = await Promise.all(nodes.map((node) => node.id()));
      const members = clients.map(({ socket }, n) => (
        { id: socket.id, user: "seen", tenant: "t1", node: ids[n], rooms: ["system", "tenant:t1", "user:seen"] }));
      const whole = { nodes: 3, complete: true, missing: [] };
      for (const node of nodes) {
        const room = await node.ops.api("/rooms/tenant%3At1?list=1000");
        assert.deepEqual(sorted(room, "members"), { room: "tenant:t1", sockets: 3, users: 1, ...whole, members: byId(members) });
        const user = await node.ops.api("/users/seen");
        assert.deepEqual(sorted(user, "sockets"), { user: "seen", connected: 3, ...whole, sockets: byId(members) });
        assert.deepEqual(await node.ops.api("/rooms/user%3Anobody"), { room: "user:nobody", sockets: 0, users: 0, ...whole, nodes: 0 });
        const seen = await node.ops.api("/nodes");
        assert.deepEqual({ bus: seen.bus, complete: seen.complete }, { bus: "connected", complete: true });
        assert.deepEqual(seen.nodes.map((one) => one.id), [...ids].sort());
        assert.deepEqual(seen.nodes.filter((one) => one.this).map((one) => one.id), [await node.id()]);
      }
      await third.kill();
      const part = { nodes: 2, complete: false, missing: [ids[2]] };
      const [room, user, order] = await Promise.all([first.ops.api("/rooms/user%3Aseen"), second.ops.api("/users/seen"),
        second.ops.api("/join", { user: "seen", rooms: ["team:3"] })]);
      assert.deepEqual(room, { room: "user:seen", sockets: 2, users: 1, ...part });
      assert.deepEqual({ ...user, sockets: user.sockets.length }, { user: "seen", connected: 2, sockets: 2, ...part });
      assert.deepEqual(order, { sockets: 2, ...part });
      await formed([first, second]);
      const rest = { ...whole, nodes: 2 };
      assert.deepEqual(await first.ops.api("/rooms/user%3Aseen"), { room: "user:seen", sockets: 2, users: 1, ...rest });
      assert.deepEqual((await first.ops.api("/nodes")).nodes.map((one) => one.id), ids.slice(0, 2).sort());
      await third.start();
      await formed(nodes);
      await clients[2].next("connect");
      assert.deepEqual(await first.ops.api("/rooms/user%3Aseen"), { room: "user:seen", sockets: 3, users: 1, ...whole });
    });

    const byId = (sockets) => [...sockets].sort((a, b) => (a.id < b.id ? -1 : 1));
    const sorted = (answer, list) => ({ ...answer, [list]: byId(answer[list]) });
  });

  /** Runs a few at a time of `count` trials. */
  async function inCrowd(count, trial) {
    let next = 0;
    const one = async () => {
      while (next < count) await trial(next++);
    };
    await Promise.all(Array.from({ length: 10 }, one));
  }

  /** Passes one event through every room of these clients, after which nothing else may have arrived. */
  async function assertNothingMore(clients, node = nodes[0]) {
    await node.publish({ room: "system", event: "settled" });
    for (const client of clients) {
      await client.next("settled");
      assert.deepEqual(client.inbox.filter((one) => one.event !== "connect"), []);
    }
  }
});

describe("signed nodes", () => {
  const on = stage();
  const OLD = "the-old-key-of-the-cluster";
  const NEW = "the-new-key-of-the-cluster";
  let redis;
  let backend;

  before(async () => {
    redis = await on.redis();
    backend = on.keep(await redis.backend());
  });

  /** A cluster of its own, with one node for each list of keys. */
  const start = (prefix, ...keys) => Promise.all(keys.map((lines) => on.node({
    config: { redis: { url: redis.url, prefix }, cluster: lines && { secret_file: "cluster.key" } },
    files: lines ? { "cluster.key": lines.join("\n") } : {},
  })));
  const known = async (node) => (await node.ops.api("/nodes")).nodes.length;
  const dropped = (node, reason) => node.ops.metric("roomcast_dropped_total", { reason });
  const call = (prefix, data) =>
    backend.command("FCALL", "roomcast_publish", 1, `${prefix}:{user:u1}`, JSON.stringify({ event: "news", data }));
  const assertNoKeyInLog = (nodes) => nodes.forEach(({ log }) => assert.ok(![OLD, NEW].some((key) => log.includes(key))));

  test("with different keys do not know each other; the function reaches the clients of both", async () => {
    const nodes = await start("apart", [OLD], [NEW]);
    const clients = await Promise.all(nodes.map((node) => on.connect(node, { token: token() })));
    for (const [n, node] of nodes.entries()) {
      await until("heartbeats of the other are refused", async () => (await dropped(node, "frame_forged")) > 1);
      assert.equal(await known(node), 1);
      assert.equal(await dropped(node, "frame_unsigned"), 0);
      const before = await dropped(nodes[1 - n], "frame_forged");
      await node.publish({ room: "user:u1", event: "news", data: n });
      assert.deepEqual(await clients[n].next("news"), [n]);
      assert.ok((await dropped(nodes[1 - n], "frame_forged")) > before);
      assert.deepEqual((await node.ops.api("/users/u1")).connected, 1);
    }
    assert.equal((await call("apart", "called"))[1], 2);
    for (const client of clients) {
      assert.deepEqual(await client.next("news"), ["called"]);
      assert.equal(client.count("news"), 0);
    }
    assertNoKeyInLog(nodes);
  });

  test("one with a key believes none without; that one believes it, so that keys can be brought in", async () => {
    const nodes = await start("half", [OLD], undefined);
    const [signed, open] = nodes;
    const clients = await Promise.all(nodes.map((node) => on.connect(node, { token: token() })));
    await until("heartbeats of the other are refused", async () => (await dropped(signed, "frame_unsigned")) > 1);
    assert.equal(await known(signed), 1);
    await until("the other one is known", async () => (await known(open)) === 2);
    await open.publish({ room: "user:u1", event: "news", data: "unsigned" });
    assert.deepEqual(await clients[1].next("news"), ["unsigned"]);
    await signed.publish({ room: "user:u1", event: "news", data: "signed" });
    for (const client of clients) assert.deepEqual(await client.next("news"), ["signed"]);
    assert.equal((await call("half", "called"))[1], 2);
    for (const client of clients) {
      assert.deepEqual(await client.next("news"), ["called"]);
      assert.equal(client.count("news"), 0);
    }
    assert.equal(await dropped(open, "frame_unsigned"), 0);
    assert.equal(await dropped(signed, "frame_forged"), 0);
    assertNoKeyInLog(nodes);
  });

  test("with an old and a new key in different order are one cluster", async () => {
    const nodes = await start("change", [OLD, NEW], [NEW, OLD], [NEW, OLD]);
    await formed(nodes);
    const clients = await Promise.all(nodes.map((node) => on.connect(node, { token: token() })));
    for (const [n, node] of nodes.entries()) {
      const { sockets, complete } = await node.publish({ room: "user:u1", event: "news", data: n });
      assert.deepEqual({ sockets, complete }, { sockets: 3, complete: true });
      for (const client of clients) assert.deepEqual(await client.next("news"), [n]);
      assert.equal(await dropped(node, "frame_forged"), 0);
    }
    assertNoKeyInLog(nodes);
  });
});

describe("keys of the API", () => {
  const on = stage();
  const PUBLISH = "conformance-publish-key-0123456789";
  const READ = "conformance-read-key-0123456789";
  const asked = {
    publish: [["/publish", { room: "user:u1", event: "news" }], ["/publish/batch", { items: [] }], ["/request", { room: "user:nobody", event: "news" }]],
    admin: [["/disconnect", { user: "nobody" }], ["/join", { user: "nobody", rooms: ["a"] }], ["/leave", { user: "nobody", rooms: ["a"] }]],
    read: [["/rooms/system"], ["/users/u1"], ["/nodes"]],
  };
  let node;

  before(async () => (node = await on.node({ config: { api: { publish_keys: [PUBLISH], read_keys: [READ] } } })));

  const status = async (key, path, body) => {
    const headers = { authorization: `Bearer ${key}` };
    const response = await (body ? node.ops.post(`/api/v1${path}`, body, headers) : node.ops.get(`/api/v1${path}`, { headers }));
    const answer = await response.json();
    return { status: response.status, code: answer.code };
  };

  for (const [scope, key, opens] of [["publish", PUBLISH, "publish"], ["read", READ, "read"]]) {
    test(`a key to ${scope} opens that and nothing else`, async () => {
      const client = await on.connect(node, { token: token({ sub: "nobody-special" }) });
      for (const [needed, requests] of Object.entries(asked)) {
        for (const [path, body] of requests) {
          const expected = needed === opens ? { status: 200, code: undefined } : { status: 403, code: "forbidden" };
          assert.deepEqual(await status(key, path, body), expected, path);
        }
      }
      assert.deepEqual(await status(key, "/disconnect", { user: "nobody-special" }), { status: 403, code: "forbidden" });
      assert.equal((await node.publish({ room: "user:nobody-special", event: "news" })).sockets, 1, "still there");
      await client.next("news");
      assert.ok(!node.log.includes(key));
    });
  }

  test("a wrong key opens nothing, and the description needs none", async () => {
    for (const [path, body] of Object.values(asked).flat()) {
      assert.deepEqual(await status(`${READ}x`, path, body), { status: 401, code: "unauthorized" }, path);
    }
    const document = await (await node.ops.get("/api/v1/openapi.json")).json();
    assert.match(document.openapi, /^3\.1\./);
    for (const path of ["/publish", "/request", "/disconnect", "/join", "/leave", "/rooms/{room}", "/users/{id}", "/nodes"]) {
      assert.ok(Object.keys(document.paths).some((one) => one.endsWith(path)), path);
    }
  });
});

const pick = ({ nodes, sockets, complete }) => ({ nodes, sockets, complete });
const binary = (bytes) => ({ $binary: bytes.toString("base64") });
