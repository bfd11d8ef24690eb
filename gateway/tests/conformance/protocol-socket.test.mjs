// Socket.IO, protocol 5, sentence by sentence: the groups are the sections of github.com/socketio/socket.io-protocol. What
// that document leaves open and clients rely on is as the reference server and its parser do it.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Clients, POLICY, QUIET, WAYS } from "./support/conform.mjs";
import { TEXT, frame } from "./support/frames.mjs";
import { request } from "./support/polling.mjs";
import { stage } from "./support/stage.mjs";
import { token } from "./support/token.mjs";
import { PROMPT, SOON, until } from "./support/until.mjs";
import { idOf } from "./support/wire.mjs";

/** Pings soon, with much time for an answer. */
const PING = { ping_interval: "300ms", ping_timeout: "12s" };
/** For what the server does after ten seconds. */
const LATER = 30_000;
const BYTES = Buffer.from([0, 1, 2, 127, 128, 254, 255]);
const NO_TOKEN = { message: "no token: send it as auth.token or in the Authorization header" };

const part = (num) => `{"_placeholder":true,"num":${num}}`;
const some = (count) => Array.from({ length: count }, (_, n) => Buffer.from([n, 255 - n]));
/** Sessions that have not said CONNECT. */
const SESSIONS = { websocket: (clients, options) => clients.session(options), polling: (clients, options) => clients.poll(options) };

describe("Socket.IO protocol", { concurrency: 4 }, () => {
  const on = stage();
  let calm;
  let brisk;
  before(async () => {
    calm = await on.node({ policy: POLICY, config: QUIET });
    brisk = await on.node({ policy: POLICY, config: { ...QUIET, engine: PING } });
  });
  const clients = (t, node = calm) => new Clients(t, node.url);
  const publish = (client, what, node = calm) => node.publish({ room: `user:${client.user}`, event: "news", ...what });
  const connects = (sub) => `40${JSON.stringify({ token: token({ sub }) })}`;

  for (const [way, session] of Object.entries(SESSIONS)) {
    describe(`Connection to a namespace, ${way}`, () => {
      test("to / with a payload: CONNECT with a sid, and nothing else", async (t) => {
        const client = await session(clients(t));
        await client.send(connects("u1"));
        const packet = await client.next();
        assert.deepEqual(Object.keys(JSON.parse(packet.slice(2))), ["sid"]);
        await client.alive();
      });

      test("to / without a payload", async (t) => {
        const client = await session(clients(t), { headers: { authorization: `Bearer ${token()}` } });
        await client.send("40");
        assert.ok(idOf(await client.next()));
        await client.alive();
      });

      test("to / by its name", async (t) => {
        const client = await session(clients(t));
        await client.send(connects("u1").replace("40", "40/,"));
        assert.ok(idOf(await client.next()));
        await client.alive();
      });

      test("refused: CONNECT_ERROR with a message", async (t) => {
        for (const connect of ["40", "40{}", '40{"token":null}']) {
          const client = await session(clients(t));
          await client.send(connect);
          const packet = await client.next();
          assert.match(packet, /^44\{/);
          assert.equal(JSON.parse(packet.slice(2)).message, NO_TOKEN.message);
        }
      });

      test("who was refused may try again on the same session", async (t) => {
        const client = await session(clients(t));
        await client.send("40");
        assert.match(await client.next(), /^44\{/);
        await client.send(connects("u1"));
        assert.ok(idOf(await client.next()));
        await client.alive();
      });

      const unknown = { "40/x,": "/x", "40/x": "/x", '40/x,{"token":"abc"}': "/x", "40/admin/deep,": "/admin/deep", "40/ü,": "/ü", "40/1,": "/1" };
      for (const [connect, namespace] of Object.entries(unknown)) {
        test(`${connect}: an unknown namespace is refused by its name, and / is still there`, async (t) => {
          const client = await session(clients(t));
          await client.send(connect);
          assert.equal(await client.next(), `44${namespace},{"message":"Invalid namespace"}`);
          await client.send(connects("u1"));
          assert.ok(idOf(await client.next()));
          await client.alive();
        });
      }

      test("an unknown namespace beside /: refused, and / goes on", async (t) => {
        const client = await WAYS[way](clients(t));
        await client.send("40/x,");
        assert.equal(await client.next(), '44/x,{"message":"Invalid namespace"}');
        await client.alive();
      });

      const first = { "an event": '42["echo",1]', "an event with an ack": '421["echo",1]', "an ack": "431[]", "DISCONNECT": "41",
        "CONNECT_ERROR": '44{"message":"x"}', "a binary event": `451-["echo",${part(0)}]`, "bytes": BYTES,
        "an event for another namespace": '42/x,["echo",1]' };
      for (const [name, packet] of Object.entries(first)) {
        test(`${name} before CONNECT: closed`, async (t) => assertEnds(await session(clients(t)), [packet], PROMPT));
      }

      test("CONNECT twice never makes two sockets", async (t) => {
        const client = await session(clients(t), { user: `twice-${way}` });
        if (way === "polling") await client.post(`${connects(client.user)}\x1e${connects(client.user)}`);
        else await client.write(Buffer.concat([0, 1].map(() => frame(TEXT, connects(client.user)))));
        await client.next().catch(() => {});
        assert.ok((await publish(client, { data: 1 })).sockets <= 1);
      });

      test("CONNECT to where it is connected: closed", async (t) => {
        const client = await WAYS[way](clients(t));
        await assertEnds(client, [connects(client.user)]);
        await until("it is gone", async () => (await publish(client, { data: 1 })).sockets === 0);
      });

      test("CONNECT_ERROR from a client: closed", async (t) => assertEnds(await WAYS[way](clients(t)), ['44{"message":"x"}']));

      for (const [name, say] of [["nothing", undefined], ["a namespace that does not exist", "40/x,"], ["no token", "40"]]) {
        test(`who says ${name} is sent away after a while`, async (t) => {
          const client = await session(clients(t));
          if (say) {
            await client.send(say);
            assert.match(await client.next(), /^44/);
          }
          if (way === "websocket") await client.closed(LATER);
          else await until("the session is unknown", async () => (await client.post("3")).status === 400, { within: LATER });
        });
      }
    });
  }

  describe("Connection to a namespace: ids", () => {
    test("the public id is another one than the session's, of 20 characters", async (t) => {
      const all = clients(t);
      for (const client of [await all.websocket(), await all.polling()]) {
        assert.match(client.id, /^[\w-]{20}$/);
        assert.notEqual(client.id, client.sid);
        assert.ok(!client.id.includes(client.sid) && !client.sid.includes(client.id));
      }
    });

    test("nobody can poll, post or upgrade with a public id", async (t) => {
      const all = clients(t);
      for (const client of [await all.websocket(), await all.polling()]) {
        const query = `EIO=4&transport=polling&sid=${client.id}`;
        assert.equal((await request(calm.url, { query })).status, 400);
        assert.equal((await request(calm.url, { query, method: "POST", body: "41" })).status, 400);
        const thief = await all.open({ sid: client.id });
        if (thief.answer.status === 101) await thief.closed();
        await client.alive();
      }
    });

    test("no public id is given out twice", async (t) => {
      const all = clients(t);
      const ids = await Promise.all(Array.from({ length: 20 }, async (_, n) => (await WAYS[n % 2 ? "polling" : "websocket"](all)).id));
      assert.equal(new Set(ids).size, 20);
    });
  });

  for (const [way, connect] of Object.entries(WAYS)) {
    describe(`Sending and receiving data, ${way}`, () => {
      /** JSON as it is written, and comes back. */
      const kinds = ["null", "true", "false", "0", "-1", "1.5", "1e21", "-0.0", "12345678901234567890", "1.10", "1E+2", '""', '"text"',
        '"\\u0000\\u001e\\"\\\\\\/\\n"', '"ünï\u2028😀"', '"\\ud83d\\ude00"', '"\\ud800"', "[]", "{}", "[[[]],{}]", '{"a":{"b":[1,"2",null,true]},"":0}',
        '{"b":1,"a":2}', '{"_placeholder":false,"num":0}', '{"type":"Buffer","data":[1]}'];
      for (const json of kinds) {
        test(`${json} comes back as it was written`, async (t) => {
          const client = await connect(clients(t));
          await client.send(`421["echo",${json}]`);
          assert.equal(await client.next(), `431[${json}]`);
        });
      }

      test("several arguments arrive in their order", async (t) => {
        const client = await connect(clients(t));
        await publish(client, { args: [1, "2", { 3: [true] }, null] });
        assert.equal(await client.next(), '42["news",1,"2",{"3":[true]},null]');
      });

      test("an event without arguments is a list of its name", async (t) => {
        const client = await connect(clients(t));
        await publish(client, {});
        assert.equal(await client.next(), '42["news"]');
      });

      test("white space and escapes in JSON are no harm", async (t) => {
        const client = await connect(clients(t));
        await client.send('421[ "ec\\u0068o" ,\t1\n]');
        assert.equal(await client.next(), "431[1]");
      });

      test("a name that no rule has, and any text is one", async (t) => {
        const client = await connect(clients(t));
        for (const name of ["x", "ünï 😀", "42", "message", "error", "constructor", "__proto__", "x".repeat(1000)]) {
          await client.send(`421[${JSON.stringify(name)},1]`);
          assert.equal(JSON.parse((await client.next()).slice(3))[0].code, "unknown_event", name.slice(0, 20));
        }
      });

      for (let count = 1; count <= 10; count += 1) {
        test(`${count} attachments, inside of each other, both ways`, async (t) => {
          const client = await connect(clients(t));
          const bytes = some(count);
          const nested = bytes.reduce((inner, _, n) => `{"part":${part(n)},"more":[${inner}]}`, "null");
          await client.send(`45${count}-1["echo",${nested}]`, ...(way === "polling" ? bytes : []));
          if (way === "websocket") for (const one of bytes) await client.send(one);
          const { text, value } = await whole(client);
          assert.match(text, new RegExp(`^46${count}-1\\[`));
          assert.deepEqual(value, [filled(JSON.parse(nested), bytes)]);
        });
      }

      test("attachments belong to their numbers, whatever their order in the JSON", async (t) => {
        const client = await connect(clients(t));
        const bytes = some(3);
        await client.send(`453-1["echo",[${part(2)},${part(0)},${part(1)}]]`);
        for (const one of bytes) await client.send(one);
        assert.deepEqual((await whole(client)).value, [[bytes[2], bytes[0], bytes[1]]]);
      });

      test("an attachment may be empty", async (t) => {
        const client = await connect(clients(t));
        await client.send(`451-1["echo",${part(0)}]`);
        await client.send(Buffer.alloc(0));
        assert.deepEqual((await whole(client)).value, [Buffer.alloc(0)]);
      });

      test("an event may come back with its attachments", async (t) => {
        const client = await connect(clients(t));
        await client.send(`451-["reflect",{"file":${part(0)}}]`);
        await client.send(BYTES);
        const { text, value } = await whole(client);
        assert.match(text, /^451-\["reflected",/);
        assert.deepEqual(value, ["reflected", { file: BYTES }]);
      });

      for (const count of [1, 2, 10]) {
        test(`a backend's event with ${count} attachments`, async (t) => {
          const client = await connect(clients(t));
          const bytes = some(count);
          await publish(client, { args: ["a", bytes.map((one) => ({ $binary: one.toString("base64") }))] });
          const { text, value } = await whole(client);
          assert.match(text, new RegExp(`^45${count}-\\["news"`));
          assert.deepEqual(value, ["news", "a", bytes]);
        });
      }

      test("a heartbeat may come between an event and its attachment", async (t) => {
        const client = await connect(clients(t));
        await client.send(`451-1["echo",${part(0)}]`);
        await client.send("3");
        await client.send(BYTES);
        assert.deepEqual((await whole(client)).value, [BYTES]);
      });

      test("after an event with attachments others are as before", async (t) => {
        const client = await connect(clients(t));
        for (let n = 0; n < 3; n += 1) {
          await client.send(`451-["nobody:knows",${part(0)}]`);
          await client.send(BYTES);
          await client.alive();
        }
      });

      const ordered = way === "polling" ? test : test;
      ordered("what one client sends is handled in its order", async (t) => {
        const client = await connect(clients(t));
        const count = way === "polling" ? 2000 : 5000;
        const packets = Array.from({ length: count }, (_, n) => `42${n}["echo",${n}]`);
        if (way === "polling") await client.send(...packets);
        else await client.write(Buffer.concat(packets.map((one) => frame(TEXT, one))));
        for (let n = 0; n < count; n += 1) assert.equal(await client.next(), `43${n}[${n}]`);
      });
    });

    describe(`Acknowledgement, ${way}`, () => {
      for (const id of [0, 1, 42, 4_294_967_296, Number.MAX_SAFE_INTEGER]) {
        test(`the answer has the id ${id}`, async (t) => {
          const client = await connect(clients(t));
          await client.send(`42${id}["echo","x"]`);
          assert.equal(await client.next(), `43${id}["x"]`);
        });
      }

      test("who gives no id gets no answer", async (t) => {
        const client = await connect(clients(t));
        await client.send('42["echo","x"]');
        await client.alive();
      });

      test("the same id again gets its own answer", async (t) => {
        const client = await connect(clients(t));
        for (const n of [1, 2]) {
          await client.send(`427["echo",${n}]`);
          assert.equal(await client.next(), `437[${n}]`);
        }
      });

      const asks = async (client) => {
        const asked = calm.ops.api("/request", { room: `user:${client.user}`, event: "asked", data: 1, timeout: "9s" });
        const packet = await client.next();
        const [, id] = /^42(\d+)\["asked",1\]$/.exec(packet) ?? assert.fail(packet);
        return { asked, id };
      };

      for (const [name, args] of [["no arguments", "[]"], ["several arguments", '[1,"2",{"3":null}]']]) {
        test(`a client's answer with ${name}`, async (t) => {
          const client = await connect(clients(t));
          const { asked, id } = await asks(client);
          await client.send(`43${id}${args}`);
          assert.deepEqual((await asked).acks, [JSON.parse(args)]);
        });
      }

      test("a client's answer with attachments", async (t) => {
        const client = await connect(clients(t));
        const { asked, id } = await asks(client);
        await client.send(`462-${id}[${part(1)},{"b":${part(0)}}]`);
        for (const one of some(2)) await client.send(one);
        const [first, second] = some(2).map((one) => ({ $binary: one.toString("base64") }));
        assert.deepEqual((await asked).acks, [[second, { b: first }]]);
        await client.alive();
      });

      test("an answer that nobody waits for is no harm, nor one that comes twice", async (t) => {
        const client = await connect(clients(t));
        await client.send('43123456["x"]');
        const { asked, id } = await asks(client);
        for (const n of [1, 2]) await client.send(`43${id}[${n}]`);
        assert.deepEqual((await asked).acks, [[1]]);
        await client.alive();
      });

      test("an answer is taken from who was asked only", async (t) => {
        const all = clients(t);
        const [client, other] = [await connect(all), await connect(all)];
        const { asked, id } = await asks(client);
        await other.send(`43${id}["forged"]`);
        await other.alive();
        await client.send(`43${id}["true"]`);
        assert.deepEqual((await asked).acks, [["true"]]);
      });
    });

    describe(`Disconnection from a namespace, ${way}`, () => {
      test("from then on the client gets nothing, and no answer", async (t) => {
        const client = await connect(clients(t));
        await client.send("41");
        await until("it is gone", async () => (await publish(client, { data: 1 })).sockets === 0);
        // What was published before the packet was read has reached it.
        if (way === "websocket") assert.deepEqual(client.inbox.filter((packet) => packet !== '42["news",1]'), []);
      });

      // The connection may be kept alive, says the document; here it is not.
      test("the session ends with it", async (t) => {
        const client = await connect(clients(t));
        await assertEnds(client, ["41"], PROMPT);
      });

      test("by the server: DISCONNECT", async (t) => {
        const client = await connect(clients(t));
        assert.equal((await calm.ops.api("/disconnect", { user: client.user })).sockets, 1);
        assert.equal(await client.next(), "41");
      });

      test("by the server, for coming back: the connection ends without DISCONNECT", async (t) => {
        const client = await connect(clients(t));
        const polled = way === "polling" && client.get();
        assert.equal((await calm.ops.api("/disconnect", { user: client.user, reconnect: true })).sockets, 1);
        if (polled) {
          assert.ok(!(await polled).text.includes("41"));
          await client.gone();
        } else {
          await client.closed();
          assert.deepEqual(client.inbox, []);
        }
      });
    });

    describe(`Packet encoding, ${way}: what is no packet closes, and harms nobody`, () => {
      const tests = (packets, declare) => packets.forEach((packet) => declare(packet, async (t) => {
        const all = clients(t);
        const [client, neighbour] = [await connect(all), await connect(all)];
        await assertEnds(client, [packet]);
        await until("it is gone", async () => (await publish(client, { data: 1 })).sockets === 0);
        await neighbour.alive();
      }));

      tests([
        // The type.
        "4", "4abc", "47", "48", "49", "4-1", "4 2[]", '4["echo"]',
        // The payload of an event is mandatory and a list that is not empty.
        "42", "42{}", "42[]", '42["', '42["echo"', '42["echo",', '42"echo"', "42null", "421", "42x", "42[1,]", "42['echo']",
        '42["echo",01]', '42["echo",NaN]', '42["echo","\t"]', '42["echo","\\x"]', '42["echo","\\u12"]',
        // Its first item is a name.
        "42[null]", "42[{}]", "42[[]]", "42[true]", "421[null,1]",
        // The id is a number.
        '42abc["echo",1]', '421.5["echo",1]', '42-1["echo",1]', '421e3["echo",1]', '42 1["echo",1]',
        // The payload of an ack is mandatory and a list.
        "431", '431"x"', "431null", "43[",
        // Attachments are counted, before a dash.
        '45["echo",1]', '45-["echo",1]', '45x-["echo",1]', '45-1-["echo",1]', '451["echo",1]', `451.5-["echo",${part(0)}]`,
        `45999999999999-["echo",${part(0)}]`, `4518446744073709551617-["echo",${part(0)}]`, '46["echo"]',
      ], test);

      tests([
        // Behind the list there is nothing.
        '42["echo"]]', '42["echo"]x', "431{}", "431[",
        // The payload of CONNECT is an object, and DISCONNECT has none.
        "40abc", "40[]", '40"x"', "40null", "40{", "41{}", "41[]", "41x",
        // There are 1 to 10 attachments.
        '450-["echo",1]', `4511-["echo",${part(0)}]`, "460-1[]", "4611-1[]",
        // Namespaces that are not joined.
        '42/x,["echo",1]', '42/x,1["echo",1]', "41/x,", '43/x,1["echo"]', `451-/x,["echo",${part(0)}]`, '42/x["echo",1]',
      ], test);

      const sequences = {
        "bytes that no event announced": [BYTES],
        "bytes beyond those announced": [`451-["echo",${part(0)}]`, BYTES, BYTES],
        "an event where an attachment is awaited": [`451-["echo",${part(0)}]`, '42["echo",1]'],
        "an event with attachments where one is awaited": [`451-["echo",${part(0)}]`, `451-["echo",${part(0)}]`],
        "DISCONNECT where an attachment is awaited": [`451-["echo",${part(0)}]`, "41"],
        "an attachment without a placeholder": ['451-["echo",1]', BYTES],
        "a placeholder without an attachment": [`451-["echo",[${part(0)},${part(1)}]]`, BYTES],
        "a placeholder beyond the attachments": [`451-["echo",${part(1)}]`, BYTES],
        "a placeholder below 0": [`451-["echo",${part(-1)}]`, BYTES],
        "a placeholder between two": [`451-["echo",${part(0.5)}]`, BYTES],
        "a placeholder that is a text": [`451-["echo",${part('"0"')}]`, BYTES],
        "a placeholder without a number": ['451-["echo",{"_placeholder":true}]', BYTES],
        "an attachment for a name": [`451-[${part(0)},1]`, BYTES],
      };
      for (const [name, packets] of Object.entries(sequences)) {
        test(name, async (t) => {
          const all = clients(t);
          const [client, neighbour] = [await connect(all), await connect(all)];
          await assertEnds(client, packets);
          await until("it is gone", async () => (await publish(client, { data: 1 })).sockets === 0);
          await neighbour.alive();
        });
      }

      test("an event without attachments may look as if it had one", async (t) => {
        const client = await connect(clients(t));
        await client.send(`421["echo",${part(0)}]`);
        assert.match(await client.next(), /^431\[/);
        await client.alive();
      });
    });
  }
});

/** Sends them, and asserts that the server ends the session without an answer. */
async function assertEnds(client, packets, limit = SOON) {
  if (client.closed) {
    for (const packet of packets) await client.send(packet);
    await client.closed(limit);
    assert.deepEqual(client.inbox.filter(isAnswer), []);
    return;
  }
  for (const packet of packets) {
    const { status } = await client.post(typeof packet === "string" ? packet : `b${packet.toString("base64")}`);
    assert.ok([200, 400].includes(status), String(status));
    if (status === 400) break;
  }
  assert.deepEqual((await client.gone(limit)).filter(isAnswer), []);
}

const isAnswer = (packet) => /^4[03456]/.test(packet);

/** The next packet with its attachments in their places. */
async function whole(client) {
  const text = await client.next();
  const [, count, json] = /^4[56](\d+)-\d*(\[.*)$/.exec(text) ?? assert.fail(text);
  const bytes = [];
  while (bytes.length < Number(count)) bytes.push(await client.next());
  assert.ok(bytes.every(Buffer.isBuffer));
  return { text, value: filled(JSON.parse(json), bytes) };
}

function filled(value, bytes) {
  if (value?._placeholder === true) return bytes[value.num];
  if (Array.isArray(value)) return value.map((one) => filled(one, bytes));
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, filled(one, bytes)]));
  return value;
}
