// Clients with `socket.io-msgpack-parser`: nothing is configured for them, and they see what all others see.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import parser from "socket.io-msgpack-parser";
import { TRANSPORTS } from "./support/client.mjs";
import { connectedAll, formed } from "./support/cluster.mjs";
import { BINARY, COMPRESSED, Frames } from "./support/compressing.mjs";
import { scene } from "./support/scene.mjs";
import { stage } from "./support/stage.mjs";
import { seconds, token } from "./support/token.mjs";
import { until } from "./support/until.mjs";

const POLICY = `
[identity]
user = "claims.sub"

[[join]]
room = "all"

[[join]]
room = "user:{user}"

[[reply]]
event = "echo"
ack   = "data"

[[reply]]
event = "reflect"
emit  = "reflected"
data  = "data"

[[relay]]
event = "say"
room  = "all"
emit  = "said"
data  = "data"
`;

const bytes = Buffer.from([0, 1, 2, 127, 128, 254, 255]);
const binary = (buffer) => ({ $binary: buffer.toString("base64") });
/** The parser itself writes whole numbers from 2^64 on as others. */
const numbers = [0, 1, -1, 127, 128, -32, -33, -128, -129, 255, 256, 65535, 65536, -32769, 2 ** 31, -(2 ** 31) - 1, 2 ** 32, 2 ** 53 - 1,
  -(2 ** 53) + 1, 2 ** 63, 1.5, -0.1, 5e-324];
const LONG = { items: Array.from({ length: 60 }, (_, n) => ({ id: n, text: `message number ${n}`, isRead: n % 2 === 0 })) };

const encode = (packet) => new parser.Encoder().encode(packet)[0];
function decode(message) {
  let packet;
  const decoder = new parser.Decoder();
  decoder.on("decoded", (one) => (packet = one));
  decoder.add(message);
  return packet;
}
const CONNECT = (sub = "u1") => encode({ type: 0, data: { token: token({ sub }) }, nsp: "/" });

describe("MessagePack", () => {
  const on = stage();
  let nodes;
  before(async () => {
    const redis = await on.redis();
    const config = { redis: { url: redis.url } };
    nodes = await Promise.all([0, 1].map(() => on.node({ policy: POLICY, config })));
    await connectedAll(nodes);
    await formed(nodes);
  });

  for (const [way, transports] of Object.entries(TRANSPORTS)) {
    describe(way, () => {
      const options = (claims, more) => ({ token: token(claims), transports, parser, ...more });
      const connect = (claims = {}, node = nodes[0], more = {}) => on.connect(node, options(claims, more));
      const moved = (client) => until("it has moved", () => way !== "upgrade" || client.transport === "websocket");
      /** One with each parser on each node. */
      const everybody = () => Promise.all(nodes.flatMap((node) =>
        [parser, undefined].map((parser) => connect({}, node, { parser }))));

      /** What is published, and the arguments that must arrive. */
      const payloads = {
        object: [{ data: { a: 1, b: [true, null, "x"], "": {} } }, [{ a: 1, b: [true, null, "x"], "": {} }]],
        "null": [{ data: null }, [null]],
        "no arguments": [{}, []],
        "several arguments": [{ args: [1, "two", { three: 3 }, [4], null] }, [1, "two", { three: 3 }, [4], null]],
        numbers: [{ data: [...numbers, 1e21, 1.7976931348623157e308] }, [[...numbers, 1e21, 1.7976931348623157e308]]],
        unicode: [{ data: { "ünï \u2028 😀 \\u0000": "\u0000\u001f\"/\\" } }, [{ "ünï \u2028 😀 \\u0000": "\u0000\u001f\"/\\" }]],
        "short and long": [{ data: [31, 32, 255, 256, 65535, 65536].map((n) => "é".repeat(n / 2)) },
          [[31, 32, 255, 256, 65535, 65536].map((n) => "é".repeat(n / 2))]],
        "few and many": [{ data: [15, 16, 65536].map((n) => Array(n).fill(0)) }, [[15, 16, 65536].map((n) => Array(n).fill(0))]],
        bytes: [{ data: binary(bytes) }, [bytes]],
        "bytes inside": [{ data: { file: binary(bytes), more: [binary(Buffer.from("x")), 1] } }, [{ file: bytes, more: [Buffer.from("x"), 1] }]],
        "ten attachments": [{ args: Array.from({ length: 10 }, (_, n) => binary(Buffer.alloc(n, n))) },
          Array.from({ length: 10 }, (_, n) => Buffer.alloc(n, n))],
        "500 KB of bytes": [{ data: binary(Buffer.alloc(500_000, 7)) }, [Buffer.alloc(500_000, 7)]],
      };
      test(`from a backend, the same for both parsers: ${Object.keys(payloads).join(", ")}`, async () => {
        const clients = await everybody();
        for (const [name, [envelope, expected]] of Object.entries(payloads)) {
          const { sockets } = await nodes[0].publish({ room: "user:u1", event: "news", ...envelope });
          assert.equal(sockets, 4);
          for (const client of clients) assert.deepEqual(await client.next("news"), expected, name);
        }
      });

      test("from a backend: numbers as JavaScript reads their digits", async () => {
        const [one, other] = await everybody();
        const data = "[12345678901234567890,123456789012345678901234567890,-9223372036854775807,-0,0.0,1E+2,1.10,1e400]";
        await nodes[0].publish(`{"room": "user:u1", "event": "news", "data": ${data}}`);
        assert.deepEqual(await one.next("news"), [JSON.parse(data)]);
        assert.deepEqual(await other.next("news"), [JSON.parse(data)]);
      });

      const values = { object: { a: 1, b: [null, "x"], "": {} }, text: "ünï 😀", numbers, "null": null, list: [1, [2]], bytes,
        "bytes inside": { file: bytes, list: [Buffer.from("x"), 1] }, "500 KB": "x".repeat(500_000), "500 KB of bytes": Buffer.alloc(500_000, 7),
        "what looks like bytes": { _placeholder: true, num: 0 } };
      test(`from a client, brought back by an ack and by an event: ${Object.keys(values).join(", ")}`, async () => {
        const client = await connect();
        for (const [name, value] of Object.entries(values)) {
          assert.deepEqual(await client.ask("echo", value), value, name);
          client.emit("reflect", value);
          assert.deepEqual(await client.next("reflected"), [value], name);
        }
      });

      test("from a client: what JSON does not know is what JSON.stringify makes of it", async () => {
        const client = await connect();
        const odd = { date: new Date(1785000000123), undefined, list: [undefined, NaN, Infinity], zero: -0, f() {}, buffer: new Uint8Array([1, 2]).buffer };
        const { buffer, ...rest } = await client.ask("echo", odd);
        assert.deepEqual(rest, JSON.parse(JSON.stringify({ ...odd, buffer: undefined })));
        assert.deepEqual(buffer, Buffer.from([1, 2]));
      });

      test("from a client: to others, whatever their parser", async () => {
        const clients = await everybody();
        for (const [n, client] of clients.entries()) {
          const data = { n, numbers, bytes, more: [Buffer.from("x")] };
          assert.deepEqual(await client.ask("say", data), { ok: true });
          for (const other of clients.filter((one) => one !== client)) assert.deepEqual(await other.next("said"), [data]);
        }
      });

      test("each question gets its own answer", async () => {
        const client = await connect();
        const all = Array.from({ length: 300 }, (_, n) => n);
        assert.deepEqual(await Promise.all(all.map((n) => client.ask("echo", n))), all);
      });

      test("a backend asks, and both kinds answer", async () => {
        const clients = await everybody();
        clients.forEach(({ socket }, n) => socket.on("who", (data, answer) => answer({ n, data }, bytes)));
        const answer = await nodes[0].ops.api("/request", { room: "user:u1", event: "who", data: "x", timeout: "30s" });
        answer.acks.sort(([a], [b]) => a.n - b.n);
        assert.deepEqual(answer, { acks: [0, 1, 2, 3].map((n) => [{ n, data: "x" }, binary(bytes)]), missing: 0, complete: true });
      });

      test("who is refused hears the same", async () => {
        const expired = { exp: seconds() - 60 };
        const [one, other] = await Promise.all([parser, undefined].map((parser) => on.client(nodes[0], options(expired, { parser })).refused()));
        assert.equal(one.data.code, "token_expired");
        assert.deepEqual([one.message, one.data], [other.message, other.data]);
      });

      test("an unknown namespace is refused by its name", async () => {
        const client = await connect();
        const other = client.socket.io.socket("/x", {});
        const error = await new Promise((resolve, reject) => {
          other.once("connect_error", resolve).once("connect", reject);
          other.connect();
        });
        assert.equal(error.message, "Invalid namespace");
        assert.equal(await client.ask("echo", 1), 1, "and / goes on");
      });

      test("without a token of its own, by a header", async () => {
        const client = await connect({}, nodes[0], { token: undefined, extraHeaders: { authorization: `Bearer ${token()}` } });
        assert.equal(await client.ask("echo", 1), 1);
      });

      test("who goes is gone, and who is sent away knows it", async () => {
        const [leaver, sent] = await Promise.all(["leaver", "sent"].map((sub) => connect({ sub })));
        leaver.close();
        await until("it is gone", async () => (await nodes[0].publish({ room: "user:leaver", event: "news" })).sockets === 0);
        await nodes[1].ops.api("/disconnect", { session: sent.socket.id });
        assert.equal((await sent.next("disconnect"))[0], "io server disconnect");
        assert.equal(sent.socket.active, false);
      });

      test("who comes back speaks as before", async () => {
        const client = await connect({ sub: "back" }, nodes[0], { reconnectionDelay: 10, reconnectionDelayMax: 50 });
        await moved(client);
        for (let n = 0; n < 2; n += 1) {
          await nodes[1].ops.api("/disconnect", { session: client.socket.id, reconnect: true });
          assert.match((await client.next("disconnect"))[0], /^transport (close|error)$/);
          await client.next("connect");
          await nodes[1].publish({ room: "user:back", event: "news", data: { n, bytes: binary(bytes) } });
          assert.deepEqual(await client.next("news"), [{ n, bytes }]);
        }
      });

      test("order is kept, also while it moves", async () => {
        const client = await connect({ sub: "mover" });
        for (let n = 0; n < 50; n += 1) {
          await nodes[0].publish({ room: "user:mover", event: "news", data: { n, bytes: binary(bytes), numbers } });
        }
        for (let n = 0; n < 50; n += 1) assert.deepEqual(await client.next("news"), [{ n, bytes, numbers }]);
        await moved(client);
        assert.equal(await client.ask("echo", 1), 1);
      });
    });
  }
});

describe("MessagePack, compressed", () => {
  const on = stage();
  let node;
  before(async () => (node = await on.node({ policy: POLICY, config: { engine: { compression: "permessage-deflate" } } })));

  test("an event is compressed once, and as a whole", async () => {
    const open = async (extensions) => {
      const frames = on.keep(await Frames.open(node.url, { extensions, auth: null }));
      frames.send(BINARY, CONNECT());
      const { first, payload } = await frames.next();
      assert.deepEqual([first, decode(payload).type], [BINARY, 0]);
      return frames;
    };
    const clients = [await open("permessage-deflate"), await open("permessage-deflate"), await open()];
    const data = { ...LONG, zeros: Buffer.alloc(5000) };
    await node.publish({ room: "all", event: "news", data: { ...LONG, zeros: binary(data.zeros) } });
    await node.publish({ room: "all", event: "news", data: "short" });
    const seen = [];
    for (const [n, client] of clients.entries()) {
      const [long, short] = [await client.next(), await client.next()];
      assert.deepEqual([long.first, short.first], [n < 2 ? BINARY | COMPRESSED : BINARY, BINARY]);
      assert.deepEqual(decode(long.payload), { type: 2, nsp: "/", data: ["news", data] });
      assert.deepEqual(decode(short.payload), { type: 2, nsp: "/", data: ["news", "short"] });
      seen.push(long);
    }
    assert.ok(seen[0].size * 5 < seen[2].size, `${seen[0].size} of ${seen[2].size}`);
    assert.ok(seen[0].sent.equals(seen[1].sent));
  });

  for (const [way, transports] of Object.entries(TRANSPORTS)) {
    test(`official clients that compress, ${way}`, async () => {
      const client = await on.connect(node, { token: token(), transports, parser, perMessageDeflate: { threshold: 0 } });
      assert.deepEqual(await client.ask("echo", LONG), LONG);
      await until("it has moved", () => client.transport === transports.at(-1));
      await node.publish({ room: "user:u1", event: "news", data: LONG });
      assert.deepEqual(await client.next("news"), [LONG]);
      assert.deepEqual(await client.ask("echo", { ...LONG, bytes }), { ...LONG, bytes });
    });
  }
});

describe("MessagePack from clients that break the rules", { concurrency: true }, () => {
  const event = (hex) => Buffer.concat([Buffer.from("83a47479706502a36e7370a12fa464617461", "hex"), Buffer.from(hex, "hex")]);
  const echo = encode({ type: 2, data: ["echo", 1], id: 1, nsp: "/" });
  const ECHO = '421["echo",1]';
  /** An argument of so many lists, in the list of arguments. */
  const deep = (lists) => event(`92a46563686f${"91".repeat(lists - 1)}90`);
  /** As the first packets of a session. */
  const first = {
    "an event": [echo],
    "an ack": [encode({ type: 3, data: [], id: 1, nsp: "/" })],
    DISCONNECT: [encode({ type: 1, nsp: "/" })],
    CONNECT_ERROR: [encode({ type: 4, data: { message: "x" }, nsp: "/" })],
    "a CONNECT that is cut off": [CONNECT().subarray(0, -1)],
    "a CONNECT with something behind it": [Buffer.concat([CONNECT(), Buffer.from([0])])],
    "a CONNECT to no namespace": [encode({ type: 0, data: {} })],
    "a CONNECT with bytes": [encode({ type: 0, data: { token: bytes }, nsp: "/" })],
    nothing: [Buffer.alloc(0)],
    noise: [Buffer.from("ffffffff", "hex")],
    "a CONNECT of text, then one in MessagePack": ["40", CONNECT()],
    "a CONNECT of text to nowhere, then one in MessagePack": ["40/x,", CONNECT()],
    "a CONNECT in MessagePack, then one of text": [encode({ type: 0, nsp: "/" }), `40${JSON.stringify({ token: token() })}`],
    "a CONNECT in MessagePack to nowhere, then one of text": [encode({ type: 0, nsp: "/x" }), `40${JSON.stringify({ token: token() })}`],
  };
  /** From a client that is in. */
  const later = {
    text: [ECHO],
    "text that announces bytes": ['451-["echo",{"_placeholder":true,"num":0}]', bytes],
    "DISCONNECT as text": ["41"],
    "bytes that are no packet": [bytes],
    "another CONNECT": [CONNECT()],
    "CONNECT_ERROR": [encode({ type: 4, data: { message: "x" }, nsp: "/" })],
    "an event for another namespace": [encode({ type: 2, data: ["echo", 1], nsp: "/x" })],
    "a list that is longer than anything": [event("ddffffffff")],
    "a map that is longer than anything": [event("91dfffffffff")],
    "a text of 4 GiB": [event("91dbffffffff")],
    "bytes of 4 GiB": [event("92a16ec6ffffffff")],
    "an extension of 4 GiB": [event("91c9ffffffff00")],
    "an extension that nobody knows": [event("92a165d60100000000")],
    "129 lists inside of each other": [deep(128)],
    "1,000,000 lists inside of each other": [deep(1_000_000)],
    "1,000,000 lists in what is not looked at": [Buffer.concat([Buffer.from("83a47479706501a36e7370a12fa178", "hex"), Buffer.from("91".repeat(1_000_000) + "90", "hex")])],
    "eleven attachments": [encode({ type: 2, data: ["echo", ...Array(11).fill(bytes)], nsp: "/" })],
    "a placeholder beside bytes": [encode({ type: 2, data: ["echo", { _placeholder: true, num: 0 }, bytes], nsp: "/" })],
    "no UTF-8": [event("91a1ff")],
    "text that is longer as JSON than a message may be": [encode({ type: 2, data: ["echo", "\u0000".repeat(600_000)], nsp: "/" })],
  };

  scene("before CONNECT", {}, (hostile) => {
    for (const [name, packets] of Object.entries(first)) {
      hostile(`${name}, by websocket: closed`, async (clients) => ends(await clients.session(), packets));
      hostile(`${name}, by polling: closed`, async (clients) => forgotten(await clients.poll(), packets));
    }
    hostile("who was refused may try again, in the same way", async (clients) => {
      for (const client of [await clients.session(), await clients.poll()]) {
        await client.send(encode({ type: 0, data: {}, nsp: "/" }));
        assert.equal(decode(await client.next()).type, 4);
        await client.send(encode({ type: 0, data: {}, nsp: "/x" }));
        assert.deepEqual(decode(await client.next()), { type: 4, nsp: "/x", data: { message: "Invalid namespace" } });
        await client.send(CONNECT());
        assert.deepEqual(Object.keys(decode(await client.next()).data), ["sid"]);
        await client.send(encode({ type: 1, nsp: "/" }));
        client.destroy();
      }
    });
  });

  scene("in", {}, (hostile) => {
    const enter = async (client) => {
      await client.send(CONNECT("hostile"));
      assert.equal(decode(await client.next()).type, 0);
      await client.send(echo);
      assert.deepEqual(decode(await client.next()), { type: 3, nsp: "/", id: 1, data: [1] });
      return client;
    };
    for (const [name, packets] of Object.entries(later)) {
      hostile(`${name}, by websocket: closed`, async (clients, node) => {
        const client = await enter(await clients.session());
        await node.within(16 << 20, () => ends(client, packets));
      });
      hostile(`${name}, by polling: closed`, async (clients) => forgotten(await enter(await clients.poll()), packets));
    }
    hostile("bytes after a CONNECT of text are no packet", async (clients) => ends(await clients.websocket(), [echo]));
    hostile("128 lists inside of each other: taken", async (clients) => {
      const client = await enter(await clients.session());
      await client.send(deep(127));
      await client.send(echo);
      assert.equal(decode(await client.next()).id, 1);
      client.destroy();
    });
  });

  /** A websocket that is closed for what it sends. */
  async function ends(wire, packets) {
    for (const packet of packets.slice(0, -1)) {
      await wire.send(packet);
      if (packets.length > 1 && Buffer.isBuffer(packet) !== Buffer.isBuffer(packets.at(-1)) && !wire.id) await answered(wire);
    }
    await wire.send(packets.at(-1)).catch(() => {}); // it may be closed by then
    await wire.closed();
    assert.deepEqual(wire.inbox, []);
  }

  /** A session by polling that is over after what it sends. */
  async function forgotten(polling, packets) {
    const payload = packets.map((one) => (typeof one === "string" ? one : `b${one.toString("base64")}`)).join("\x1e");
    assert.equal((await polling.post(payload)).status, 400);
    await polling.gone();
  }

  async function answered(wire) {
    await wire.watch("an answer arrives, or the end", () => wire.over ?? wire.close ?? (wire.inbox.length || undefined));
    wire.inbox.length = 0;
  }
});
