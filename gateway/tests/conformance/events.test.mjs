// Events: what a backend publishes arrives untouched, what a client asks is answered, and both learn what became of it.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { RawPolling } from "./support/raw.mjs";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";

const WAYS = { websocket: ["websocket"], polling: ["polling"], upgrade: ["polling", "websocket"] };

/** Answers with what was sent, so that what a client sends can be seen. */
const POLICY = `
[identity]
user = "claims.sub"

[[join]]
room = "user:{user}"

[[join]]
each = "claims.groups"
room = "group:{item}"

[[reply]]
event = "echo"
ack   = "data"

[[reply]]
event = "reflect"
emit  = "reflected"
data  = "data"

[[reply]]
event = "ping"
emit  = "pong"
data  = { timestamp = "{now_ms}" }
ack   = { timestamp = "{now_ms}" }
`;

const bytes = Buffer.from([0, 1, 2, 127, 128, 254, 255]);
const binary = (buffer) => ({ $binary: buffer.toString("base64") });

for (const [way, transports] of Object.entries(WAYS)) {
  describe(`events, ${way}`, () => {
    const on = stage();
    let node;
    before(async () => (node = await on.node({ policy: POLICY })));

    const connect = (claims = {}) => on.connect(node, { token: token(claims), transports });

    describe("from backends", () => {
      /** What is published, and the arguments that must arrive. */
      const payloads = {
        object: [{ data: { a: 1, b: [true, null, "x"] } }, [{ a: 1, b: [true, null, "x"] }]],
        text: [{ data: "text" }, ["text"]],
        "null": [{ data: null }, [null]],
        "false": [{ data: false }, [false]],
        "no arguments": [{}, []],
        "several arguments": [{ args: [1, "two", { three: 3 }, [4], null] }, [1, "two", { three: 3 }, [4], null]],
        "an empty list of arguments": [{ args: [] }, []],
        unicode: [{ data: "ünï \u2028 😀 \\u0000" }, ["ünï \u2028 😀 \\u0000"]],
        bytes: [{ data: binary(bytes) }, [bytes]],
        "bytes inside": [
          { data: { file: binary(bytes), more: [binary(Buffer.from("x")), 1] } },
          [{ file: bytes, more: [Buffer.from("x"), 1] }],
        ],
        "bytes among arguments": [{ args: ["a", binary(bytes), binary(Buffer.alloc(0))] }, ["a", bytes, Buffer.alloc(0)]],
        "ten attachments": [
          { args: Array.from({ length: 10 }, (_, n) => binary(Buffer.from([n]))) },
          Array.from({ length: 10 }, (_, n) => Buffer.from([n])),
        ],
        "500 KB": [{ data: "x".repeat(500_000) }, ["x".repeat(500_000)]],
      };

      for (const [name, [envelope, expected]] of Object.entries(payloads)) {
        test(`payload: ${name}`, async () => {
          const client = await connect();
          const { sockets, nodes, complete } = await node.publish({ room: "user:u1", event: "news", ...envelope });
          assert.deepEqual({ sockets, nodes, complete }, { sockets: 1, nodes: 1, complete: true });
          assert.deepEqual(await client.next("news"), expected);
        });
      }

      test("event names are the backend's business", async () => {
        const client = await connect();
        for (const event of ["whatsapp:qr:generated", "phone_status_changed", "with space", "{braces}", "ünï", "e".repeat(256)]) {
          await node.publish({ room: "user:u1", event, data: event });
          assert.deepEqual(await client.next(event), [event]);
        }
      });

      test("a socket in several of the rooms gets the event once", async () => {
        const both = await connect({ groups: ["a", "b"] });
        const one = await connect({ sub: "u2", groups: ["b"] });
        const { sockets } = await node.publish({ rooms: ["group:a", "group:b", "user:u1", "group:a"], event: "news", data: 1 });
        assert.equal(sockets, 2);
        for (const [client, user] of [[both, "u1"], [one, "u2"]]) {
          assert.deepEqual(await client.next("news"), [1]);
          await settled(client, user);
          assert.equal(client.count("news"), 0);
        }
      });

      test("except leaves out rooms and sockets", async () => {
        const clients = [];
        for (const sub of ["u1", "u2", "u3"]) clients.push(await connect({ sub, groups: ["all"] }));
        const [, left, third] = clients;
        const except = ["user:u1", third.socket.id];
        assert.equal((await node.publish({ room: "group:all", event: "news", data: 1, except })).sockets, 1);
        assert.deepEqual(await left.next("news"), [1]);
        for (const [client, user] of [[clients[0], "u1"], [third, "u3"]]) {
          await settled(client, user);
          assert.equal(client.count("news"), 0);
        }
      });

      test("order of one publisher is kept", async () => {
        const client = await connect();
        for (let n = 0; n < 100; n += 1) await node.publish({ room: "user:u1", event: "news", data: n, count: false });
        for (let n = 0; n < 100; n += 1) assert.deepEqual(await client.next("news"), [n]);
      });

      test("numbers beyond JavaScript's, and every other byte of the JSON, are left alone", async () => {
        const raw = await RawPolling.connect(node.url, { token: token() });
        const data = '{"n":12345678901234567890,"f":1.10,"e":1E+2,"o":{"b":1,"a":2},"s":"\\u00e9\\/"}';
        await node.publish(`{"room": "user:u1", "event": "news", "data": ${data}}`);
        assert.equal(await raw.next(), `42["news",${data}]`);
        await raw.close();
      });
    });

    describe("from clients", () => {
      const values = {
        object: { a: 1, b: [null, "x"] },
        text: "text",
        number: 1.5,
        null: null,
        list: [1, [2]],
        bytes,
        "bytes inside": { file: bytes, list: [Buffer.from("x"), 1] },
        "500 KB": "x".repeat(500_000),
        "500 KB of bytes": Buffer.alloc(500_000, 7),
      };

      for (const [name, value] of Object.entries(values)) {
        test(`${name}: the acknowledgement brings it back`, async () => {
          const client = await connect();
          assert.deepEqual(await client.ask("echo", value), value);
        });
      }

      test("an answer may be an event", async () => {
        const client = await connect();
        client.emit("reflect", { file: bytes });
        assert.deepEqual(await client.next("reflected"), [{ file: bytes }]);
      });

      test("ping is answered by pong, and by an acknowledgement when asked", async () => {
        const client = await connect();
        const before = Date.now();
        client.emit("ping");
        const [{ timestamp }] = await client.next("pong");
        assert.ok(Number.isInteger(timestamp) && timestamp >= before - 1000 && timestamp <= Date.now() + 1000, timestamp);
        const answer = await client.ask("ping");
        assert.ok(answer.timestamp >= timestamp);
        await client.next("pong");
      });

      test("each question gets its own answer", async () => {
        const client = await connect();
        const numbers = Array.from({ length: 50 }, (_, n) => n);
        assert.deepEqual(await Promise.all(numbers.map((n) => client.ask("echo", n))), numbers);
      });

      test("an event without a rule: said in the acknowledgement, else only counted", async () => {
        const client = await connect();
        const { ok, code, message } = await client.ask("nobody:knows", 1);
        assert.deepEqual({ ok, code }, { ok: false, code: "unknown_event" });
        assert.ok(message);
        const counted = () => node.ops.metric("roomcast_dropped_total", { reason: "unknown_event" });
        const before = await counted();
        client.emit("nobody:knows", bytes);
        await settled(client);
        assert.equal(await client.ask("echo", 1), 1, "and the connection goes on");
        assert.equal(await counted(), before + 1);
        assert.deepEqual(client.inbox, []);
      });
    });

    async function settled(client, user = "u1") {
      await node.publish({ room: `user:${user}`, event: "settled" });
      await client.next("settled");
    }
  });
}
